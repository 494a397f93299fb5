//! Who waits for which entry: a ticket for each proposal, answered when it was applied or refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::Answer;
use consensus::Ticket;
use model::{Index, Refusal};
use ownership::{FleetAnswer, FleetRefusal};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What became of an entry of the fleet's group, and which it is.
pub type FleetOutcome = Result<(Result<FleetAnswer, FleetRefusal>, Index), Refusal>;
/// What became of an entry of a volume's group, and which it is.
pub type VolumeOutcome = Result<(Answer, Index), Refusal>;
/// Whether all that was acknowledged before is applied now.
pub type ReadOutcome = Result<(), Refusal>;

/// All who wait.
#[derive(Default)]
pub struct Waiters {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

enum Waiter {
    Volume(oneshot::Sender<VolumeOutcome>),
    Fleet(oneshot::Sender<FleetOutcome>),
    Read(oneshot::Sender<ReadOutcome>),
}

impl Waiters {
    /// A ticket for an entry of a volume's group, and where its answer comes.
    pub fn for_volume(&self) -> (Ticket, oneshot::Receiver<VolumeOutcome>) {
        let (tell, told) = oneshot::channel();
        (self.add(Waiter::Volume(tell)), told)
    }

    /// A ticket for an entry of the fleet's group, and where its answer comes.
    pub fn for_fleet(&self) -> (Ticket, oneshot::Receiver<FleetOutcome>) {
        let (tell, told) = oneshot::channel();
        (self.add(Waiter::Fleet(tell)), told)
    }

    /// A ticket for a read round, and where its answer comes.
    pub fn for_read(&self) -> (Ticket, oneshot::Receiver<ReadOutcome>) {
        let (tell, told) = oneshot::channel();
        (self.add(Waiter::Read(tell)), told)
    }

    /// An entry of a volume's group was applied.
    pub fn answer_volume(&self, ticket: Ticket, answer: Answer, index: Index) {
        if let Some(Waiter::Volume(tell)) = self.take(ticket) {
            // Whoever asked may have gone away; the change stands all the same.
            let _ = tell.send(Ok((answer, index)));
        }
    }

    /// A read round is over, and everything that it saw is applied.
    pub fn answer_read(&self, ticket: Ticket) {
        if let Some(Waiter::Read(tell)) = self.take(ticket) {
            let _ = tell.send(Ok(()));
        }
    }

    /// An entry of the fleet's group was applied.
    pub fn answer_fleet(
        &self,
        ticket: Ticket,
        answer: Result<FleetAnswer, FleetRefusal>,
        index: Index,
    ) {
        if let Some(Waiter::Fleet(tell)) = self.take(ticket) {
            let _ = tell.send(Ok((answer, index)));
        }
    }

    /// An entry was not taken into the log.
    pub fn refuse(&self, ticket: Ticket, refusal: Refusal) {
        match self.take(ticket) {
            Some(Waiter::Volume(tell)) => {
                let _ = tell.send(Err(refusal));
            }
            Some(Waiter::Fleet(tell)) => {
                let _ = tell.send(Err(refusal));
            }
            Some(Waiter::Read(tell)) => {
                let _ = tell.send(Err(refusal));
            }
            None => {}
        }
    }

    fn add(&self, waiter: Waiter) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().insert(number, waiter);
        Ticket::new(number)
    }

    fn take(&self, ticket: Ticket) -> Option<Waiter> {
        self.waiting.lock().remove(&ticket.get())
    }
}
