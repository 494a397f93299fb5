//! The two threads that make [`Groups`] run.
//!
//! "log" gathers whatever waits, steps, and so syncs it all at once, and lets time pass for groups
//! of several that are awake; "apply" calls the state machines. What is proposed while a sync runs
//! forms the next batch, and its sync overlaps the apply of the one before. An asker alone waits
//! for one sync and two hops between threads.
//!
//! An appliance has two drivers over one log, see [`Handle::beside`]: the fleet's group, by whose
//! rounds leases live, waits for no sync and no apply of the volumes' groups.
//!
//! Invariant: a state machine sees an entry only after its sync, and nothing after a fault. Nothing
//! that a state machine may call blocks on the log thread, which may itself be waiting for the
//! apply thread. Messages to others leave after the step's write, and nothing waits for them.
//! Absent on purpose: connections, retries, answers: a state machine answers its askers itself, by
//! ticket.

mod apply;
mod handle;
mod log;
mod queue;

use std::{error::Error, io, sync::Arc, thread};

use model::{ApplianceId, Clock, GroupId, Index, Membership, Refusal};
use thiserror::Error;

use crate::{Committed, Groups, LogFault, LogPoint, LogStore, PeerMessage, Role, Ticket};
pub use handle::{Handle, OpenFault, Opening, Wanted};
use queue::Shared;

/// Name of the counter of proposals taken into a step.
pub const PROPOSALS_TOTAL: &str = "holdfast_raft_proposals_total";

/// What the entries of a driver's groups are applied to. Called by one thread of that driver, and
/// of what concerns one group in the order in which it came about.
pub trait StateMachines: Send {
    /// Applies `entries` in order, as one batch, and answers the askers of their tickets. When it
    /// returns, the entries count as applied. An entry with a membership is stored with it. On a
    /// fault the process ends.
    fn apply(&mut self, group: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault>;

    /// Tells the asker of `ticket` that it was refused. With [`Refusal::Busy`] it is open whether
    /// the entry will be applied one day.
    fn refused(&mut self, ticket: Ticket, refusal: Refusal);

    /// The log can't give up old files while it holds this group's old entries: take a checkpoint
    /// soon and report it by [`Handle::checkpointed`]. May come again and again.
    fn checkpoint_wanted(&mut self, group: GroupId);

    /// The read of `ticket` may be done: what has been applied so far holds all that was
    /// acknowledged before it was asked.
    fn read_ready(&mut self, ticket: Ticket);

    /// Who leads the group has changed. What was committed before has been applied.
    fn role_changed(&mut self, group: GroupId, role: Role);

    /// A member is too far behind for the log: make a snapshot of the group's state machine, in
    /// another thread, and report it by [`Handle::snapshot_made`] or [`Handle::snapshot_dropped`].
    fn snapshot_wanted(&mut self, group: GroupId);

    /// This member is too far behind: fetch a snapshot from `from` that holds at least `point`,
    /// in another thread, put it with a mark in the state machine's place, and report
    /// [`Handle::snapshot_installed`] or [`Handle::snapshot_failed`]. Nothing is applied meanwhile.
    fn install_snapshot(
        &mut self,
        group: GroupId,
        from: ApplianceId,
        point: LogPoint,
        membership: Membership,
    );

    /// The log goes on from the installed snapshot, whose last entry is `index`: its mark may go.
    fn log_reset(&mut self, group: GroupId, index: Index);
}

/// The way to other appliances.
pub trait Outbox: Send {
    /// Sends `messages` on their way, in order, or drops them: Raft sends again what matters.
    /// Called by the log thread, at most once a step for each appliance; must not block.
    fn send(&mut self, to: ApplianceId, messages: Vec<(GroupId, PeerMessage)>);
}

/// The outbox of an appliance that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Outbox for NoPeers {
    fn send(&mut self, _: ApplianceId, _: Vec<(GroupId, PeerMessage)>) {}
}

/// A state machine could not apply an entry.
#[derive(Debug, Error)]
#[error("group {group} can't be applied")]
pub struct ApplyFault {
    /// Whose.
    pub group: GroupId,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why the driver ended. The process must end too: nothing more is acknowledged.
#[derive(Debug, Error)]
pub enum Fatal {
    /// The log can't be trusted any more.
    #[error("the log failed")]
    Log(#[from] LogFault),
    /// A state machine failed.
    #[error("a state machine failed")]
    Apply(#[from] ApplyFault),
    /// A thread panicked; the panic's own message is on stderr.
    #[error("the {thread} thread panicked")]
    Panicked {
        /// Which.
        thread: &'static str,
    },
}

/// Called at most once, by a thread of the driver: it ends the process.
pub type OnFatal = Box<dyn Fn(Fatal) + Send + Sync>;

/// Starts the threads.
pub struct Driver;

impl Driver {
    /// Starts the "log" and the "apply" thread; they end with [`Handle::stop`].
    pub fn spawn<L: LogStore>(
        groups: Groups<L>,
        machines: Box<dyn StateMachines>,
        outbox: Box<dyn Outbox>,
        clock: Arc<dyn Clock>,
        on_fatal: OnFatal,
    ) -> io::Result<Handle> {
        let (shared, queue) = Shared::new(groups.views(), on_fatal);
        let (work, works) = apply::channel();
        let for_apply = Arc::clone(&shared);
        let apply = thread::Builder::new()
            .name(APPLY_THREAD.to_owned())
            .spawn(move || apply::run(&for_apply, machines, &works))?;
        let for_log = Arc::clone(&shared);
        let log = thread::Builder::new().name(LOG_THREAD.to_owned()).spawn(move || {
            let out = log::Out { work, outbox };
            log::run(&for_log, groups, clock.as_ref(), &queue.receiver, out);
        })?;
        Ok(Handle::new(shared, queue.sender, vec![log, apply]))
    }
}

const LOG_THREAD: &str = "log";
const APPLY_THREAD: &str = "apply";

#[cfg(test)]
mod tests;
