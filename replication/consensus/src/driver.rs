//! The two threads that make [`Groups`] run.
//!
//! "log" gathers whatever waits, steps, and so syncs it all at once; "apply" calls the state
//! machines. What is proposed while a sync runs forms the next batch, and its sync overlaps the
//! apply of the one before. An asker alone waits for one sync and two hops between threads.
//!
//! Invariant: a state machine sees an entry only after its sync, and nothing after a fault. Nothing
//! that a state machine may call blocks on the log thread, which may itself be waiting for the
//! apply thread. Absent on purpose: groups with several voters (their ticks, their messages),
//! retries, answers: a state machine answers its askers itself, by ticket.

mod apply;
mod handle;
mod log;
mod queue;

use std::{error::Error, io, sync::Arc, thread};

use model::{Clock, GroupId, Refusal};
use thiserror::Error;

use crate::{Committed, Groups, LogFault, LogStore, Ticket};
pub use handle::{Handle, OpenFault, Opening};
use queue::Shared;

/// Name of the counter of proposals taken into a step.
pub const PROPOSALS_TOTAL: &str = "holdfast_raft_proposals_total";

/// What the entries of all groups are applied to. Called by one thread.
pub trait StateMachines: Send {
    /// Applies `entries` in order, as one batch, and answers the askers of their tickets. When it
    /// returns, the entries count as applied. On a fault the process ends.
    fn apply(&mut self, group: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault>;

    /// Tells the asker of `ticket` that it was refused. With [`Refusal::Busy`] it is open whether
    /// the entry will be applied one day.
    fn refused(&mut self, ticket: Ticket, refusal: Refusal);

    /// The log can't give up old files while it holds this group's old entries: take a checkpoint
    /// soon and report it by [`Handle::checkpointed`]. May come again and again.
    fn checkpoint_wanted(&mut self, group: GroupId);
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
        clock: Arc<dyn Clock>,
        on_fatal: OnFatal,
    ) -> io::Result<Handle> {
        let (shared, queue) = Shared::new(groups.appliance(), on_fatal);
        let (work, works) = apply::channel();
        let for_apply = Arc::clone(&shared);
        let apply = thread::Builder::new()
            .name(APPLY_THREAD.to_owned())
            .spawn(move || apply::run(&for_apply, machines, &works))?;
        let for_log = Arc::clone(&shared);
        let log = thread::Builder::new()
            .name(LOG_THREAD.to_owned())
            .spawn(move || log::run(&for_log, groups, clock.as_ref(), &queue.receiver, &work))?;
        Ok(Handle::new(shared, queue.sender, vec![log, apply]))
    }
}

const LOG_THREAD: &str = "log";
const APPLY_THREAD: &str = "apply";

#[cfg(test)]
mod tests;
