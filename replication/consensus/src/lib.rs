//! Drives Raft for many groups over one log.
//!
//! [`Groups`] is the core: events in, effects out, one write with one sync for all groups of a
//! step. [`LogStore`] is its only seam; [`EngineLog`] keeps the log on disk, [`MemoryLog`] is its
//! simulated twin. [`Driver`] owns the two threads that sync the log and apply its entries.
//!
//! Invariant: an entry is handed to its state machine, and so its ticket answered, only after it is
//! durable here and committed by the group. A group of several changes its membership by joint
//! consensus, answers reads by a round to a quorum or under a lease, sleeps when nobody uses it,
//! and brings a member that is too far behind up by a snapshot. Absent on purpose: what entries
//! mean, the transport between appliances, what a snapshot holds and how it gets there: the caller
//! makes, moves and installs it, and the log follows.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod driver;
mod engine;
mod event;
mod fields;
mod groups;
mod limits;
mod membership;
mod memory;
mod message;
mod store;
#[cfg(test)]
mod testing;
mod view;

pub use driver::{
    ApplyFault, Driver, Fatal, Handle, NoPeers, OnFatal, OpenFault, Opening, Outbox,
    PROPOSALS_TOTAL, StateMachines, Wanted,
};
pub use engine::{BATCH_ENTRIES, EngineLog, SYNC_SECONDS};
pub use event::{Applied, Committed, Effect, Event, Origin, Role, Ticket};
pub use groups::Groups;
pub use limits::{
    APPLY_BYTES_MAX, APPLY_ENTRIES_MAX, APPLY_STEPS_MAX, BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX,
    INBOX_BYTES_MAX, INBOX_MESSAGES_MAX, LINGER_MAX, LINGER_PROPOSALS_MAX, LOG_FILE_BYTES,
    LOG_PURGE_BYTES, MEMBERS_MAX, PEER_MESSAGE_BYTES_MAX, PROPOSAL_BYTES_MAX, QUEUE_BYTES_MAX,
    QUEUE_PROPOSALS_MAX, TAIL_ENTRIES, TICK, UNCOMMITTED_BYTES_MAX,
};
pub use memory::{MemoryLog, SyncOutcome};
pub use message::{BadMessage, PeerMessage};
pub use raft::eraftpb::{Entry, HardState, Message};
pub use store::{Durability, GroupState, GroupWrite, LogBatch, LogFault, LogPoint, LogStore};
pub use view::GroupView;
