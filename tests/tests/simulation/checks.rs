//! The checkers, one invariant a file. Those that look at one moment are kept by the history as it
//! happens: who acknowledges, live leases, equal catalogs.

pub mod alike;
mod lost;
mod names;
mod once;
pub mod tree;
mod verifier;

use std::fmt;

use crate::history::History;

/// What is promised, one checker each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// One appliance acknowledges per object and reign.
    OneAcknowledges,
    /// Nothing acknowledged is lost.
    NothingLost,
    /// Names are linearizable.
    Names,
    /// Each change is carried out once.
    Once,
    /// A verifier changes whenever unstable data was lost.
    Verifier,
    /// No lease lives after its Down.
    Leases,
    /// Catalogs of equal applied index are equal.
    Catalogs,
    /// In peace all copies become good and hold the same.
    Alike,
    /// In peace every call is answered, and nothing falls into a loop or breaks.
    Progress,
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub struct Violation {
    pub of: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.of, self.what)
    }
}

/// All that is checked at the end of a run: the first violation.
pub fn all(history: &History) -> Result<(), Violation> {
    if let Some(violation) = &history.violation {
        return Err(violation.clone());
    }
    let of = |of| move |what| Violation { of, what };
    once::check(history).map_err(of(Invariant::Once))?;
    names::check(history).map_err(of(Invariant::Names))?;
    verifier::check(history).map_err(of(Invariant::Verifier))?;
    lost::check(history).map_err(of(Invariant::NothingLost))
}
