//! The "log" thread: gathers, steps, passes on.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use metrics::counter;
use model::{ApplianceId, Clock, GroupId};

use super::{
    LOG_THREAD, OpenFault, Outbox, PROPOSALS_TOTAL,
    apply::Work,
    queue::{PanicWatch, Queued, Shared},
};
use crate::{
    Effect, Event, Groups, LogStore, PeerMessage, Ticket,
    limits::{BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX, LINGER_MAX, LINGER_PROPOSALS_MAX},
};

/// Where effects go.
pub(super) struct Out {
    pub(super) work: SyncSender<Work>,
    pub(super) outbox: Box<dyn Outbox>,
}

pub(super) fn run<L: LogStore>(
    shared: &Shared,
    mut groups: Groups<L>,
    clock: &dyn Clock,
    queue: &Receiver<Queued>,
    mut out: Out,
) {
    let _ended = Ended { shared };
    let _panic = PanicWatch { shared, thread: LOG_THREAD };
    let mut stopping = false;
    let mut previous = Previous::default();
    while !stopping || groups.has_work() {
        let mut gathered = Gathered::default();
        gathered.drain(queue);
        let expected = previous.proposals + gathered.proposals.len();
        if !gathered.any && !stopping && !groups.has_work() {
            let patience = groups.next_tick().map(|due| due.saturating_sub(clock.since_boot()));
            gathered.wait(queue, patience);
            gathered.drain(queue);
        }
        gathered.linger(queue, expected, || previous.linger_left(clock));
        stopping |= gathered.stop;
        previous.proposals = gathered.proposals.len();
        let mut events = gathered.into_events(shared);
        let now = clock.since_boot();
        if groups.next_tick().is_some_and(|due| due <= now) {
            events.push(Event::Tick);
        }
        if shared.has_failed() {
            return;
        }
        match groups.step(now, events) {
            Ok(effects) => {
                if pass_on(shared, effects, &mut out).is_err() {
                    return;
                }
            }
            Err(fault) => return shared.fail(fault.into()),
        }
        previous.done = clock.since_boot();
    }
}

/// The step before: whom it has just answered may soon ask again.
#[derive(Default)]
struct Previous {
    proposals: usize,
    done: Duration,
}

impl Previous {
    fn linger_left(&self, clock: &dyn Clock) -> Duration {
        (self.done + LINGER_MAX).saturating_sub(clock.since_boot())
    }
}

/// What is taken from the queue for one step.
#[derive(Default)]
struct Gathered {
    proposals: Vec<(GroupId, Ticket, Vec<u8>)>,
    others: Vec<Event>,
    bytes: usize,
    any: bool,
    stop: bool,
}

impl Gathered {
    /// Waits until there is something, and takes that; or for as long as it has patience.
    fn wait(&mut self, queue: &Receiver<Queued>, patience: Option<Duration>) {
        let queued = match patience {
            Some(patience) => queue.recv_timeout(patience),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match queued {
            Ok(queued) => self.add(queued),
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody is left who could stop us, or ask for anything.
            Err(RecvTimeoutError::Disconnected) => self.stop = true,
        }
    }

    /// Takes all that waits, up to what one step may hold.
    fn drain(&mut self, queue: &Receiver<Queued>) {
        while self.has_room() {
            match queue.try_recv() {
                Ok(queued) => self.add(queued),
                Err(_) => return,
            }
        }
    }

    /// Waits a moment for those whom the step before has answered. Askers that go on asking would
    /// otherwise split into two halves, each waiting for the other's sync. One asker alone never
    /// waits, nor does one who comes later.
    fn linger(&mut self, queue: &Receiver<Queued>, expected: usize, left: impl Fn() -> Duration) {
        let enough = expected.min(LINGER_PROPOSALS_MAX);
        while !self.proposals.is_empty() && self.proposals.len() < enough && self.has_room() {
            match queue.recv_timeout(left()) {
                Ok(queued) => self.add(queued),
                Err(_) => return,
            }
        }
    }

    fn has_room(&self) -> bool {
        let count = self.proposals.len() + self.others.len();
        !self.stop && self.bytes < BATCH_BYTES_MAX && count < BATCH_PROPOSALS_MAX
    }

    fn add(&mut self, queued: Queued) {
        self.any = true;
        match queued {
            Queued::Propose { group, ticket, data } => {
                self.bytes += data.len();
                self.proposals.push((group, ticket, data));
            }
            Queued::Ask(event) => self.others.push(event),
            Queued::Look => {}
            Queued::Stop => self.stop = true,
        }
    }

    /// The board is looked at after the queue: who opened a group before proposing to it finds it
    /// open.
    fn into_events(self, shared: &Shared) -> Vec<Event> {
        let mut events = shared.board.lock().take();
        if !self.proposals.is_empty() {
            shared.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            counter!(PROPOSALS_TOTAL).increment(self.proposals.len() as u64);
        }
        events.extend(self.proposals.into_iter().map(|(group, ticket, data)| Event::Propose {
            group,
            ticket,
            data,
        }));
        events.extend(self.others);
        events
    }
}

/// Sends a step's effects to where they are performed; an error says that nobody is there.
fn pass_on(shared: &Shared, effects: Vec<Effect>, out: &mut Out) -> Result<(), ()> {
    let mut todo = Work::default();
    let mut mail: BTreeMap<ApplianceId, Vec<(GroupId, PeerMessage)>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Opened { group, last } => shared.board.lock().reply(group, || Ok(last)),
            Effect::Lost { group, missing } => {
                shared.board.lock().reply(group, || Err(OpenFault::Lost { missing }));
            }
            Effect::Refused { ticket, refusal } => todo.refused.push((ticket, refusal)),
            Effect::Apply { group, entries } => todo.add(group, entries),
            Effect::CheckpointWanted { group } => todo.checkpoints.push(group),
            Effect::Send { group, to, message } => {
                mail.entry(to).or_default().push((group, message));
            }
            Effect::ReadReady { .. }
            | Effect::RoleChanged { .. }
            | Effect::SnapshotWanted { .. }
            | Effect::InstallSnapshot { .. }
            | Effect::LogReset { .. } => todo.news.push(effect),
            // The log's own business.
            Effect::Cut { .. } => {}
        }
    }
    // First, as the state machines may keep us waiting.
    for (to, messages) in mail {
        out.outbox.send(to, messages);
    }
    match todo.is_empty() {
        true => Ok(()),
        false => out.work.send(todo).map_err(|_| ()),
    }
}

/// Lets nobody wait for a thread that has ended.
struct Ended<'a> {
    shared: &'a Shared,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut board = self.shared.board.lock();
        board.ended = true;
        board.openings.clear();
    }
}

#[cfg(test)]
mod tests;
