//! The way to the driver, for everybody else.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::JoinHandle,
};

use model::{ApplianceId, GroupId, Index, Membership, Refusal};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use super::queue::{Board, Queued, Shared};
use crate::{
    Applied, Event, GroupView, LogPoint, Origin, PeerMessage, Ticket,
    limits::{PROPOSAL_BYTES_MAX, QUEUE_BYTES_MAX},
};

/// Proposes, opens and closes. All but [`Handle::stop`] and [`Opening::wait`] may be called from
/// anywhere, state machines and async tasks included: they never block.
#[derive(Clone)]
pub struct Handle {
    lane: Lane,
    /// The fleet's group has one of its own, if it was given one.
    fleet: Option<Lane>,
}

/// The way to one driver.
#[derive(Clone)]
struct Lane {
    shared: Arc<Shared>,
    door: Arc<Door>,
}

struct Door {
    queue: SyncSender<Queued>,
    /// Held to read while queueing a proposal, so that none comes in after the stop message.
    closed: RwLock<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: SyncSender<Queued>,
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        let door = Door { queue, closed: RwLock::new(false), threads: Mutex::new(threads) };
        Self { lane: Lane { shared, door: Arc::new(door) }, fleet: None }
    }

    /// The same, but for the fleet's group, which is the other driver's: leases live by its rounds,
    /// and these must wait neither for a sync of the volumes' entries nor for their apply. Both
    /// drivers may share one log.
    #[must_use]
    pub fn beside(self, fleet: Self) -> Self {
        Self { lane: self.lane, fleet: Some(fleet.lane) }
    }

    fn lane(&self, group: GroupId) -> &Lane {
        match &self.fleet {
            Some(fleet) if group == GroupId::FLEET => fleet,
            _ => &self.lane,
        }
    }

    /// Proposes `data` under `ticket`. Once taken, the state machine gets exactly one of `apply`
    /// with the ticket and `refused`, unless the process ends first.
    ///
    /// Refuses at once with `Invalid` what is empty or over
    /// [`PROPOSAL_BYTES_MAX`](crate::PROPOSAL_BYTES_MAX), with `Busy` when too much is waiting, and
    /// with `Fault` when the driver has stopped.
    pub fn propose(&self, group: GroupId, ticket: Ticket, data: Vec<u8>) -> Result<(), Refusal> {
        if data.is_empty() || data.len() > PROPOSAL_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        let lane = self.lane(group);
        let closed = lane.door.closed.read();
        if *closed {
            return Err(Refusal::Fault);
        }
        let len = data.len();
        let waiting = lane.shared.queued_bytes.fetch_add(len, Ordering::Relaxed);
        let sent = match waiting + len > QUEUE_BYTES_MAX {
            true => Err(Refusal::Busy),
            false => match lane.door.queue.try_send(Queued::Propose { group, ticket, data }) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(_)) => Err(Refusal::Busy),
                Err(TrySendError::Disconnected(_)) => Err(Refusal::Fault),
            },
        };
        if sent.is_err() {
            lane.shared.queued_bytes.fetch_sub(len, Ordering::Relaxed);
        }
        sent
    }

    /// Asks when a read may be done, under `ticket`: the state machine gets `read_ready`, or
    /// `refused` with `Busy` if this appliance does not lead the group or ceases to.
    ///
    /// Refuses at once with `Busy` when too much is waiting, and with `Fault` when the driver has
    /// stopped.
    pub fn read(&self, group: GroupId, ticket: Ticket) -> Result<(), Refusal> {
        self.lane(group).ask(Event::Read { group, ticket })
    }

    /// Changes who takes part in a group, as [`Event::ChangeMembership`] says. The ticket is
    /// answered by `apply` with an entry that has a membership, or by `refused`.
    ///
    /// Refuses at once as [`read`](Self::read) does.
    pub fn change_membership(
        &self,
        group: GroupId,
        ticket: Ticket,
        wanted: Wanted,
    ) -> Result<(), Refusal> {
        let Wanted { voters, learners } = wanted;
        self.lane(group).ask(Event::ChangeMembership { group, ticket, voters, learners })
    }

    /// Opens a group whose state machine stands at `applied`. What is proposed after this returns
    /// finds it open; entries that the state machine has not seen come by `apply`.
    pub fn open_group(&self, group: GroupId, applied: Applied) -> Opening {
        self.open(group, applied, Origin::Log)
    }

    /// The same for a state machine that carries the mark of an installed snapshot. When it is
    /// open, the mark may go.
    pub fn open_installed(&self, group: GroupId, applied: Applied) -> Opening {
        self.open(group, applied, Origin::Snapshot)
    }

    fn open(&self, group: GroupId, applied: Applied, origin: Origin) -> Opening {
        let (reply, outcome) = mpsc::sync_channel(1);
        self.lane(group).post(|board| {
            board.openings.entry(group).or_default().push(reply);
            board.changes.push(Event::Open { group, applied, origin });
        });
        Opening { outcome }
    }

    /// What is known here of a group, open or not: who leads it, until when, how far it is.
    pub fn watch(&self, group: GroupId) -> Arc<GroupView> {
        self.lane(group).shared.views.of(group)
    }

    /// Takes what `from` has sent, or drops it if too much is waiting.
    pub fn receive(&self, from: ApplianceId, messages: Vec<(GroupId, PeerMessage)>) {
        let (fleet, others): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|(group, _)| *group == GroupId::FLEET);
        let lanes = [(self.lane(GroupId::FLEET), fleet), (&self.lane, others)];
        for (lane, messages) in lanes.into_iter().filter(|(_, messages)| !messages.is_empty()) {
            lane.post(|board| {
                for (group, message) in messages {
                    board.receive(group, from, message);
                }
            });
        }
    }

    /// Lets another voter lead a group, if this appliance does; seen by `role_changed`.
    pub fn transfer_leader(&self, group: GroupId, to: ApplianceId) {
        self.lane(group).change(Event::TransferLeader { group, to });
    }

    /// Wakes a sleeping group: it is going to be used.
    pub fn wake(&self, group: GroupId) {
        self.lane(group).change(Event::Wake { group });
    }

    /// If that appliance led the group, it does no more: see [`Event::LeaderGone`].
    pub fn leader_gone(&self, group: GroupId, leader: ApplianceId) {
        self.lane(group).change(Event::LeaderGone { group, leader });
    }

    /// A snapshot up to `point` can be fetched here; the log is kept from there.
    pub fn snapshot_made(&self, group: GroupId, point: LogPoint, membership: Membership) {
        self.lane(group).change(Event::SnapshotMade { group, point, membership });
    }

    /// The snapshot can't be fetched any more, or could not be made.
    pub fn snapshot_dropped(&self, group: GroupId) {
        self.lane(group).change(Event::SnapshotDropped { group });
    }

    /// A fetched snapshot is the group's state machine now, with a mark that stays until
    /// [`StateMachines::log_reset`](crate::StateMachines::log_reset).
    pub fn snapshot_installed(&self, group: GroupId, applied: Applied) {
        self.lane(group).change(Event::SnapshotInstalled { group, applied });
    }

    /// The snapshot could not be fetched; the state machine is as it was.
    pub fn snapshot_failed(&self, group: GroupId) {
        self.lane(group).change(Event::SnapshotFailed { group });
    }

    /// Lets go of a group. Proposals on their way to it are refused; its log stays.
    pub fn close_group(&self, group: GroupId) {
        self.lane(group).change(Event::Close { group });
    }

    /// Lets go of a group and deletes its log.
    pub fn remove_group(&self, group: GroupId) {
        self.lane(group).change(Event::Remove { group });
    }

    /// The group's state machine is durable up to `index`: the log may be cut there.
    pub fn checkpointed(&self, group: GroupId, index: Index) {
        self.lane(group).post(|board| {
            board.checkpointed.insert(group, index);
        });
    }

    /// Finishes what was proposed, makes it durable, applies it, and ends all threads. Must not be
    /// called by a state machine. Does nothing the second time.
    pub fn stop(&self) {
        self.lane.stop();
        if let Some(fleet) = &self.fleet {
            fleet.stop();
        }
    }
}

impl Lane {
    fn ask(&self, event: Event) -> Result<(), Refusal> {
        let closed = self.door.closed.read();
        if *closed {
            return Err(Refusal::Fault);
        }
        match self.door.queue.try_send(Queued::Ask(event)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Refusal::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Fault),
        }
    }

    fn stop(&self) {
        *self.door.closed.write() = true;
        // An error says that the log thread has ended already.
        let _ = self.door.queue.send(Queued::Stop);
        for thread in self.door.threads.lock().drain(..) {
            // A panic has been reported as fatal by the thread itself.
            let _ = thread.join();
        }
    }

    fn change(&self, event: Event) {
        self.post(|board| board.changes.push(event));
    }

    fn post(&self, put: impl FnOnce(&mut Board)) {
        let mut board = self.shared.board.lock();
        if board.ended {
            return;
        }
        put(&mut board);
        drop(board);
        // If the queue is full the log thread is about to look anyway.
        let _ = self.door.queue.try_send(Queued::Look);
    }
}

/// Who is to take part in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// All who are to vote; somebody must.
    pub voters: Vec<ApplianceId>,
    /// All who are to get the log without a vote.
    pub learners: Vec<ApplianceId>,
}

/// A group on its way to being open. May be dropped by who does not want to know.
pub struct Opening {
    outcome: Receiver<Result<Index, OpenFault>>,
}

impl Opening {
    /// Waits until the group is open; must not be called by a state machine. Gives the last entry
    /// of its log: when that is applied, all that was ever acknowledged is.
    pub fn wait(self) -> Result<Index, OpenFault> {
        self.outcome.recv().unwrap_or(Err(OpenFault::Stopped))
    }
}

/// Why a group could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenFault {
    /// Acknowledged entries are gone: do not start, restore this appliance.
    #[error(
        "the log has lost acknowledged entries: entry {missing} is missing. Log and catalog are not \
         of one moment: bring back the whole root from one snapshot or backup"
    )]
    Lost {
        /// The first entry that is missing, or is not the one that was applied.
        missing: Index,
    },
    /// The driver has stopped.
    #[error("the driver has stopped")]
    Stopped,
}
