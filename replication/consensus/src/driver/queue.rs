//! What the threads share: the queue of proposals, and a board of everything that must not wait.
//!
//! Invariant: whatever is put on the board before a message is queued is seen by the log thread
//! with or before that message. But for the inbox, which has a limit, the board holds at most a few
//! values a group.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use model::{ApplianceId, GroupId, Index};
use parking_lot::Mutex;

use super::{Fatal, OnFatal, OpenFault};
use crate::{
    Event, PeerMessage, Ticket,
    limits::{INBOX_BYTES_MAX, INBOX_MESSAGES_MAX, QUEUE_PROPOSALS_MAX},
    view::Views,
};

/// What goes through the queue.
pub(super) enum Queued {
    Propose {
        group: GroupId,
        ticket: Ticket,
        data: Vec<u8>,
    },
    /// A read or a change of membership.
    Ask(Event),
    /// There is something on the board.
    Look,
    /// The last message of all.
    Stop,
}

/// Both ends of the queue.
pub(super) struct Queue {
    pub(super) sender: SyncSender<Queued>,
    pub(super) receiver: Receiver<Queued>,
}

/// Where an opening group's fate goes.
pub(super) type OpenReply = SyncSender<Result<Index, OpenFault>>;

/// Values that replace one another, and changes of what is open.
#[derive(Default)]
pub(super) struct Board {
    /// The log thread has ended; nobody looks any more.
    pub(super) ended: bool,
    pub(super) applied: BTreeMap<GroupId, Index>,
    pub(super) checkpointed: BTreeMap<GroupId, Index>,
    /// Open, close, remove, and what is told of snapshots and leaders, in order.
    pub(super) changes: Vec<Event>,
    /// What others have sent.
    pub(super) inbox: Vec<Event>,
    inbox_bytes: usize,
    pub(super) openings: BTreeMap<GroupId, Vec<OpenReply>>,
}

impl Board {
    /// All that is on it, as events: the changes, what others sent, then what was applied, then
    /// checkpointed.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let mut events = mem::take(&mut self.changes);
        events.append(&mut self.inbox);
        self.inbox_bytes = 0;
        let applied = mem::take(&mut self.applied);
        events.extend(applied.into_iter().map(|(group, index)| Event::Applied { group, index }));
        let points = mem::take(&mut self.checkpointed);
        events
            .extend(points.into_iter().map(|(group, index)| Event::Checkpointed { group, index }));
        events
    }

    /// Puts a message from another appliance on it, or drops it if too much waits.
    pub(super) fn receive(&mut self, group: GroupId, from: ApplianceId, message: PeerMessage) {
        let bytes = self.inbox_bytes + message.size();
        if bytes <= INBOX_BYTES_MAX && self.inbox.len() < INBOX_MESSAGES_MAX {
            self.inbox_bytes = bytes;
            self.inbox.push(Event::Receive { group, from, message });
        }
    }

    pub(super) fn reply(&mut self, group: GroupId, outcome: impl Fn() -> Result<Index, OpenFault>) {
        for reply in self.openings.remove(&group).into_iter().flatten() {
            // Who does not wait does not want to know.
            let _ = reply.try_send(outcome());
        }
    }
}

pub(super) struct Shared {
    pub(super) views: Arc<Views>,
    pub(super) board: Mutex<Board>,
    pub(super) queued_bytes: AtomicUsize,
    failed: AtomicBool,
    on_fatal: OnFatal,
}

impl Shared {
    pub(super) fn new(views: Arc<Views>, on_fatal: OnFatal) -> (Arc<Self>, Queue) {
        let (sender, receiver) = mpsc::sync_channel(QUEUE_PROPOSALS_MAX);
        let shared = Arc::new(Self {
            views,
            board: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            on_fatal,
        });
        (shared, Queue { sender, receiver })
    }

    /// Whether there was a fault, after which nothing is acknowledged.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Tells of the first fault.
    pub(super) fn fail(&self, fatal: Fatal) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            (self.on_fatal)(fatal);
        }
    }
}

/// Turns a panic of its thread into a fault: with unwinding on, the process would go on without it.
pub(super) struct PanicWatch<'a> {
    pub(super) shared: &'a Shared,
    pub(super) thread: &'static str,
}

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.fail(Fatal::Panicked { thread: self.thread });
        }
    }
}
