//! Decides which appliance may act on an object: the fleet's members, views, loss counts and
//! volumes, leases, the effective owner of an object, the fence that keeps an older reign out,
//! where volumes are placed, when an object moves to where it is used, and what evens out disks.
//!
//! Invariant: one appliance acknowledges for an object in any one reign. Absent on purpose: IO,
//! clocks, Raft, names and bytes; every function here is a function of its arguments.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod balance;
mod copies;
mod fence;
mod fleet;
pub mod heat;
pub mod lease;
mod ledger;
pub mod placement;
mod standing;
mod verifier;

pub use copies::{Copies, Following, Sender, copies, following};
pub use fence::{Fence, effective_owner};
pub use fleet::*;
pub use ledger::{Cause, LEDGER_MAX, Ledger, OwnerChange};
pub use standing::{Claim, Here, Motion, Standing, WaitFor, standing};
pub use verifier::write_verifier;
