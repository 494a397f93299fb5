//! What cores get as arguments and the binary provides: time and chance.

use std::time::Duration;

use crate::Timestamp;

/// The two clocks.
pub trait Clock: Send + Sync {
    /// The wall clock, which may jump.
    fn wall(&self) -> Timestamp;
    /// Time since the machine started, suspended or not (`CLOCK_BOOTTIME`); never goes back.
    fn since_boot(&self) -> Duration;
}

/// Random bytes that nobody can guess.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
