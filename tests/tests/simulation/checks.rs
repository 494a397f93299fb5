//! The checkers, one invariant a file. Those that look at one moment are kept by the history as it
//! happens: who acknowledges, live leases, equal catalogs.

mod lost;
mod names;
mod once;
pub mod tree;
mod verifier;

use crate::history::History;

/// All that is checked at the end of a run: the first violation.
pub fn all(history: &History) -> Result<(), String> {
    if let Some(violation) = &history.violation {
        return Err(violation.clone());
    }
    once::check(history)?;
    names::check(history)?;
    lost::check(history)?;
    verifier::check(history)
}
