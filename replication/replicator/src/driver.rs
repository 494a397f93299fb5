//! The two ends of a transfer at work: what the cores decide is done here.
//!
//! Invariant: a driver chooses one event, hands it to its core and performs what comes back; it
//! decides nothing. Whatever it has begun ends by itself when it is dropped.
//! Absent on purpose: retries, deadlines, and what a fault means for ownership: the router's.

mod link;
mod receiving;
mod sending;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

pub use receiving::{Receiving, ReceivingEnd};
pub use sending::{Sending, SendingParts};

#[cfg(test)]
mod tests;
