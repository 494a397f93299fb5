//! Drives Raft for many groups over one log.
//!
//! [`Groups`] is the core: events in, effects out, one write with one sync for all groups of a
//! step. [`LogStore`] is its only seam; [`EngineLog`] keeps the log on disk, [`MemoryLog`] is its
//! simulated twin. [`Driver`] owns the two threads that sync the log and apply its entries.
//!
//! Invariant: an entry is handed to its state machine, and so its ticket answered, only after it is
//! durable here and committed by the group. Absent on purpose: what entries mean, the transport
//! between appliances, changes of a group's voters, snapshots. A message that needs one of the last
//! two is dropped, so a group that would need it makes no progress, and no wrong step either.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod driver;
mod engine;
mod event;
mod groups;
mod limits;
mod memory;
mod store;
#[cfg(test)]
mod testing;

pub use driver::{
    ApplyFault, Driver, Fatal, Handle, OnFatal, OpenFault, Opening, PROPOSALS_TOTAL, StateMachines,
};
pub use engine::{BATCH_ENTRIES, EngineLog, SYNC_SECONDS};
pub use event::{Applied, Committed, Effect, Event, Ticket};
pub use groups::Groups;
pub use limits::{
    APPLY_BYTES_MAX, APPLY_ENTRIES_MAX, APPLY_STEPS_MAX, BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX,
    LINGER_MAX, LINGER_PROPOSALS_MAX, LOG_FILE_BYTES, LOG_PURGE_BYTES, PROPOSAL_BYTES_MAX,
    QUEUE_BYTES_MAX, QUEUE_PROPOSALS_MAX, TAIL_ENTRIES, TICK, UNCOMMITTED_BYTES_MAX,
};
pub use memory::{MemoryLog, SyncOutcome};
pub use raft::eraftpb::{Entry, HardState, Message};
pub use store::{Durability, GroupState, GroupWrite, LogBatch, LogFault, LogPoint, LogStore};
