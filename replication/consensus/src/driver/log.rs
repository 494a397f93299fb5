//! The "log" thread: gathers, steps, passes on.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use metrics::counter;
use model::{Clock, GroupId};

use super::{
    LOG_THREAD, OpenFault, PROPOSALS_TOTAL,
    apply::Work,
    queue::{PanicWatch, Queued, Shared},
};
use crate::{
    Effect, Event, Groups, LogStore, Ticket,
    limits::{BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX, LINGER_MAX, LINGER_PROPOSALS_MAX},
};

pub(super) fn run<L: LogStore>(
    shared: &Shared,
    mut groups: Groups<L>,
    clock: &dyn Clock,
    queue: &Receiver<Queued>,
    work: &SyncSender<Work>,
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
            gathered.wait(queue);
            gathered.drain(queue);
        }
        gathered.linger(queue, expected, || previous.linger_left(clock));
        stopping |= gathered.stop;
        previous.proposals = gathered.proposals.len();
        let events = gathered.into_events(shared);
        if shared.has_failed() {
            return;
        }
        match groups.step(clock.since_boot(), events) {
            Ok(effects) => {
                if pass_on(shared, effects, work).is_err() {
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
    bytes: usize,
    any: bool,
    stop: bool,
}

impl Gathered {
    /// Waits until there is something, and takes that.
    fn wait(&mut self, queue: &Receiver<Queued>) {
        match queue.recv() {
            Ok(queued) => self.add(queued),
            // Nobody is left who could stop us, or ask for anything.
            Err(_) => self.stop = true,
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
        !self.stop && self.bytes < BATCH_BYTES_MAX && self.proposals.len() < BATCH_PROPOSALS_MAX
    }

    fn add(&mut self, queued: Queued) {
        self.any = true;
        match queued {
            Queued::Propose { group, ticket, data } => {
                self.bytes += data.len();
                self.proposals.push((group, ticket, data));
            }
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
        events
    }
}

/// Sends a step's effects to where they are performed; an error says that nobody is there.
fn pass_on(shared: &Shared, effects: Vec<Effect>, work: &SyncSender<Work>) -> Result<(), ()> {
    let mut todo = Work::default();
    for effect in effects {
        match effect {
            Effect::Opened { group, last } => shared.board.lock().reply(group, || Ok(last)),
            Effect::Lost { group, missing } => {
                shared.board.lock().reply(group, || Err(OpenFault::Lost { missing }));
            }
            Effect::Refused { ticket, refusal } => todo.refused.push((ticket, refusal)),
            Effect::Apply { group, entries } => todo.add(group, entries),
            Effect::CheckpointWanted { group } => todo.checkpoints.push(group),
            // The log's own business.
            Effect::Cut { .. } => {}
            // Only lone voters are opened, and they have nobody to write to.
            Effect::Send { .. } => {}
        }
    }
    match todo.is_empty() {
        true => Ok(()),
        false => work.send(todo).map_err(|_| ()),
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
