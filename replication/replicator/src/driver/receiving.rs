//! The receiver's end: frames from a channel into an object.
//!
//! Invariant: while one batch is written and one sync runs, the next frames are read from the
//! channel; batches are written one after the other. What is dropped in the middle is forgotten or
//! known to be torn, never taken for whole.

use std::sync::Arc;

use extents::{Base, ExtentHash, Objects, Receipt};
use model::{Mark, ObjectId, Refusal};
use thiserror::Error;
use tokio::task::JoinSet;

use super::link::{Incoming, Link};
use crate::{
    BadMessage, Channel,
    receive::{ReceiveCore, ReceiveEffect, ReceiveEvent},
    wire::{Attempt, HasData, Message, Round},
};

/// Why receiving stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReceivingEnd {
    /// The channel broke: the owner may go on with another one.
    #[error("the channel broke")]
    Broken,
    /// It was refused, and the owner was told so.
    #[error("refused: {0}")]
    Refused(Refusal),
}

/// A transfer, at the receiver. Keep it until the hand-over is decided, whatever [`Self::run`] ends
/// with: the owner may not have heard, and what it said on an older channel may still come, which
/// would undo everything if it were not known to be old.
pub struct Receiving {
    objects: Objects,
    object: ObjectId,
    core: ReceiveCore,
    receipt: Option<Arc<Receipt>>,
}

/// What came of work that runs beside the reading.
enum Work {
    Applied(Result<(), Refusal>),
    Compared(u64, Result<Vec<Option<ExtentHash>>, Refusal>),
    Synced(Round, Result<Mark, Refusal>),
    Finished(Result<(), Refusal>),
}

enum Event {
    Incoming(Incoming),
    Work(Work),
}

impl Receiving {
    /// To receive `object`.
    pub fn new(objects: Objects, object: ObjectId) -> Self {
        Self { objects, object, core: ReceiveCore::default(), receipt: None }
    }

    /// Receives what comes on `channel`, whose first message was `first`, until the owner said
    /// finish and what it promised is durable here; what the object is then. If it is dropped in
    /// between, the next run goes on or begins anew, as is right.
    pub async fn run(
        &mut self,
        first: &[u8],
        channel: Arc<dyn Channel>,
    ) -> Result<Base, ReceivingEnd> {
        self.core.opened();
        let mut link = Link::new(channel);
        let mut work = JoinSet::new();
        let mut event = Some(match Message::decode(first, bytes::Bytes::new()) {
            Ok(message) => ReceiveEvent::Message(message),
            Err(bad) => senseless(bad),
        });
        loop {
            let next = match event.take() {
                Some(event) => event,
                None => match next_event(&mut link, &mut work, self.core.wants_more()).await {
                    Event::Incoming(Incoming::Message(message)) => ReceiveEvent::Message(message),
                    Event::Incoming(Incoming::Senseless) => ReceiveEvent::Failed(Refusal::Invalid),
                    Event::Incoming(Incoming::Broken) => {
                        // What was begun counts for the next channel.
                        while work.join_next().await.is_some() {}
                        return Err(ReceivingEnd::Broken);
                    }
                    Event::Work(work) => work.into(),
                },
            };
            for effect in self.core.step(next) {
                match effect {
                    ReceiveEffect::Begin(has_data, base) => {
                        event = Some(self.begin(has_data, base).await);
                    }
                    ReceiveEffect::Recall => event = Some(self.recall().await),
                    ReceiveEffect::Answer(answer) => link.send(answer),
                    ReceiveEffect::Refuse(refusal) => {
                        link.send(Message::Refused { refusal });
                        link.close().await;
                        return Err(ReceivingEnd::Refused(refusal));
                    }
                    ReceiveEffect::Done(end) => {
                        link.send(Message::Finished { mark: end.mark });
                        link.close().await;
                        return Ok(end);
                    }
                    ReceiveEffect::Apply(frames) => self.spawn(&mut work, async |receipt| {
                        Work::Applied(receipt.apply(frames).await)
                    }),
                    ReceiveEffect::Compare(extents) => {
                        self.spawn(&mut work, async move |receipt| {
                            let first = extents.start;
                            Work::Compared(first, receipt.compare(extents).await)
                        });
                    }
                    ReceiveEffect::Sync(round) => self.spawn(&mut work, async move |receipt| {
                        Work::Synced(round, receipt.sync().await)
                    }),
                    ReceiveEffect::Finish(end, durable) => {
                        self.spawn(&mut work, async move |receipt| {
                            Work::Finished(receipt.finish(end, durable).await.map(drop))
                        });
                    }
                }
            }
        }
    }

    /// The newest channel that was heard.
    pub fn newest(&self) -> Option<Attempt> {
        self.core.newest()
    }

    /// Closes what is open; a transfer that is resumed all the same begins anew.
    pub fn rest(&mut self) {
        self.receipt = None;
        self.core.forget();
    }

    async fn begin(&mut self, has_data: HasData, base: Base) -> ReceiveEvent {
        // One at a time: the last one ends before the next begins.
        self.receipt = None;
        let has_data = has_data == HasData::Yes;
        match self.objects.receive(self.object, has_data, base).await {
            Ok(receipt) => {
                let older = receipt.older_extents();
                self.receipt = Some(Arc::new(receipt));
                ReceiveEvent::Begun(older)
            }
            Err(refusal) => ReceiveEvent::Failed(refusal),
        }
    }

    async fn recall(&self) -> ReceiveEvent {
        let received = match &self.receipt {
            Some(receipt) => receipt.received().await.ok(),
            None => None,
        };
        ReceiveEvent::Recalled(received)
    }

    fn spawn<F>(&self, work: &mut JoinSet<Work>, act: impl FnOnce(Arc<Receipt>) -> F)
    where
        F: Future<Output = Work> + Send + 'static,
    {
        let receipt = self.receipt.as_ref().expect("nothing is executed before it was begun");
        work.spawn(act(Arc::clone(receipt)));
    }
}

impl From<Work> for ReceiveEvent {
    fn from(work: Work) -> Self {
        match work {
            Work::Applied(Ok(())) => Self::Applied,
            Work::Compared(first, Ok(held)) => Self::Compared(first, held),
            Work::Synced(round, Ok(mark)) => Self::Synced(round, mark),
            Work::Finished(Ok(())) => Self::Ended,
            Work::Applied(Err(refusal))
            | Work::Compared(_, Err(refusal))
            | Work::Synced(_, Err(refusal))
            | Work::Finished(Err(refusal)) => Self::Failed(refusal),
        }
    }
}

async fn next_event(link: &mut Link, work: &mut JoinSet<Work>, wants_more: bool) -> Event {
    tokio::select! {
        incoming = link.receive(), if wants_more => Event::Incoming(incoming),
        Some(done) = work.join_next(), if !work.is_empty() => {
            // Work neither panics nor is it aborted while anybody waits for it.
            Event::Work(done.unwrap_or(Work::Applied(Err(Refusal::Fault))))
        }
    }
}

fn senseless(bad: BadMessage) -> ReceiveEvent {
    tracing::warn!(%bad, "the first message of a transfer is unreadable");
    ReceiveEvent::Failed(Refusal::Invalid)
}
