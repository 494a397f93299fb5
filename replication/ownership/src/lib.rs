//! Decides which appliance may act on an object: the fleet's views, loss counts and volumes, the
//! effective owner of an object, and the fence that keeps an older reign out.
//!
//! Invariant: one appliance acknowledges for an object in any one reign. Absent on purpose: IO,
//! clocks, Raft, names and bytes; every function here is a function of its arguments.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod fence;
mod fleet;
mod verifier;

pub use fence::{Fence, effective_owner};
pub use fleet::{Fleet, FleetAnswer, FleetCommand, FleetRefusal, Member, Secret, VOLUMES_MAX};
pub use verifier::write_verifier;
