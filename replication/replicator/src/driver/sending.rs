//! The owner's end: a feed's frames and copies into a channel.
//!
//! Invariant: nothing happens but while one of its futures is awaited, and all of it stops when it
//! is dropped; the owner's clients are held up by none of it.

use std::{future, sync::Arc};

use extents::{Attach, Base, Copied, Feed, FeedEnd, Frame, Objects};
use model::{ObjectId, Refusal, Reign};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};
use tracing::{debug, warn};

use super::link::{Incoming, Link};
use crate::{
    Channel, Phase, Progress, ProgressNow, SendSettings, TransferFault, TransferId,
    send::{Look, SendCore, SendEffect, SendEvent},
    wire::HasData,
};

/// What a transfer is made of.
pub struct SendingParts {
    /// The data of the object's volume.
    pub objects: Objects,
    /// Which object.
    pub object: ObjectId,
    /// A missing backing file is a fault.
    pub has_data: bool,
    /// Of the owner; copies take their marks under it.
    pub reign: Reign,
    /// A number that this appliance never gave to a transfer before.
    pub transfer: TransferId,
    /// Checked at the beginning.
    pub settings: SendSettings,
    /// Where to show how far it has come.
    pub progress: Arc<Progress>,
}

/// A transfer, at the owner. Dropping it ends it: the owner's copy is as if it had never been.
pub struct Sending {
    parts: SendingParts,
    feed: Arc<Feed>,
    core: SendCore,
    link: Option<Link>,
    copies: JoinSet<Result<Option<Copied>, Refusal>>,
    began: Instant,
}

/// What one look at the world brought.
enum Event {
    Frame(Result<Frame, FeedEnd>),
    Incoming(Incoming),
    Copied(Result<Option<Copied>, Refusal>),
    Woke,
}

/// Whether to go on.
enum Until {
    /// The rest takes but a moment.
    Close,
    /// The receiver has everything, durably.
    Finished,
}

impl Sending {
    /// Attaches to the object: from here on all its changes are part of the transfer. Refused as
    /// [`Objects::attach`] does; `Invalid` if the settings are not good.
    pub async fn begin(parts: SendingParts, channel: Arc<dyn Channel>) -> Result<Self, Refusal> {
        parts.settings.check().map_err(|bad| {
            warn!(%bad, "settings of a transfer");
            Refusal::Invalid
        })?;
        let feed = Arc::new(attach(&parts).await?);
        let has_data = if parts.has_data { HasData::Yes } else { HasData::NotYet };
        let core = SendCore::new(parts.settings, parts.transfer, has_data, feed.base());
        let began = Instant::now();
        let mut sending = Self { parts, feed, core, link: None, copies: JoinSet::new(), began };
        sending.connect(channel).await?;
        Ok(sending)
    }

    /// Returns when the rest would take but a few milliseconds, so that new changes may be parked.
    /// After `Broken` it goes on where it stopped once [`Self::resume`] was called; any other fault
    /// is the end. With a writer faster than the channel it may take for ever. Cancel-safe.
    pub async fn until_close(&mut self) -> Result<(), TransferFault> {
        self.drive(&Until::Close).await.map(drop)
    }

    /// With new changes parked: sends the rest, and returns when the receiver has everything, and
    /// has made durable whatever was promised here; what that is. Faults as with
    /// [`Self::until_close`]; after `Broken` and a resume call it again. Cancel-safe.
    pub async fn finish(&mut self) -> Result<Base, TransferFault> {
        self.step(SendEvent::Drain).await?;
        let finished = self.drive(&Until::Finished).await?;
        Ok(finished.expect("it is driven until there is one"))
    }

    /// Goes on with another channel after the last one broke.
    pub async fn resume(&mut self, channel: Arc<dyn Channel>) -> Result<(), TransferFault> {
        self.link = None;
        self.step(SendEvent::Broken).await?;
        self.connect(channel).await.map_err(TransferFault::Unreadable)
    }

    /// How far it has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.parts.progress
    }

    async fn connect(&mut self, channel: Arc<dyn Channel>) -> Result<(), Refusal> {
        self.link = Some(Link::new(channel));
        // What goes wrong now is met again by whoever drives it.
        let _ = self.step(SendEvent::Connected).await;
        Ok(())
    }

    async fn drive(&mut self, until: &Until) -> Result<Option<Base>, TransferFault> {
        let outcome = loop {
            if let Some(fault) = self.core.fault() {
                break Err(fault);
            }
            if !self.core.is_up() {
                break Err(TransferFault::Broken);
            }
            let reached = match until {
                Until::Close => self.core.is_close(self.look()),
                Until::Finished => self.core.finished().is_some(),
            };
            if reached {
                break Ok(self.core.finished());
            }
            let event = match self.next_event().await {
                Event::Frame(Ok(frame)) => SendEvent::Frame(frame),
                Event::Frame(Err(end)) => SendEvent::Ended(end),
                Event::Incoming(Incoming::Message(message)) => SendEvent::Answer(message),
                Event::Incoming(Incoming::Senseless) => {
                    self.core.fail(TransferFault::Protocol);
                    continue;
                }
                Event::Incoming(Incoming::Broken) => {
                    self.link = None;
                    SendEvent::Broken
                }
                Event::Copied(copied) => SendEvent::Copied(copied),
                Event::Woke => SendEvent::Woke,
            };
            self.step(event).await?;
        };
        self.show();
        outcome
    }

    async fn next_event(&mut self) -> Event {
        let look = self.look();
        let wake_at = self.core.wake_at(look).map(|at| self.began + at);
        let wants_frame = self.core.wants_frame();
        let Self { feed, link, copies, .. } = self;
        tokio::select! {
            frame = feed.next(), if wants_frame => Event::Frame(frame),
            incoming = async {
                match link {
                    Some(link) => link.receive().await,
                    None => Incoming::Broken,
                }
            } => Event::Incoming(incoming),
            Some(copied) = copies.join_next(), if !copies.is_empty() => {
                // A copy neither panics nor is it aborted while anybody waits for it.
                Event::Copied(copied.unwrap_or(Err(Refusal::Fault)))
            }
            () = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => future::pending().await,
                }
            } => Event::Woke,
        }
    }

    async fn step(&mut self, event: SendEvent) -> Result<(), TransferFault> {
        let look = self.look();
        for effect in self.core.step(look, event) {
            match effect {
                SendEffect::Send(message) => {
                    if let Some(link) = &self.link {
                        link.send(message);
                    }
                }
                SendEffect::Copy => {
                    let feed = Arc::clone(&self.feed);
                    self.copies.spawn(async move { feed.copy_next().await });
                }
                SendEffect::Learn(first, held) => self.feed.learn(first, held.into_iter()),
                SendEffect::BeginAnew => self.begin_anew().await?,
            }
        }
        self.show();
        Ok(())
    }

    /// The receiver does not know the transfer any more.
    async fn begin_anew(&mut self) -> Result<(), TransferFault> {
        debug!(object = %self.parts.object, "a transfer begins anew");
        self.copies.shutdown().await;
        let attached = attach(&self.parts).await;
        self.feed = Arc::new(attached.map_err(TransferFault::Unreadable)?);
        let message = self.core.begin_anew(self.feed.base());
        if let Some(link) = &self.link {
            link.send(message);
        }
        Ok(())
    }

    fn look(&self) -> Look {
        let now: Duration = self.began.elapsed();
        let (backlog, settled) = (self.feed.backlog(), self.feed.settled());
        Look { now, backlog, settled, promised: self.feed.promised() }
    }

    fn show(&self) {
        let backlog = self.feed.backlog();
        debug_assert!(backlog.queued_bytes <= self.parts.settings.queue_bytes + SMALL_BYTES);
        let (bytes_total, bytes_done) = self.core.copied_of(backlog);
        self.parts.progress.set(ProgressNow {
            started: self.parts.progress.started(),
            phase: self.core.phase(backlog),
            bytes_total,
            bytes_done,
            bytes_copied: self.core.bytes_copied,
            bytes_held: self.core.bytes_held,
            bytes_resent: self.core.bytes_resent,
        });
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.core.finished().is_none() {
            self.parts.progress.set_phase(Phase::Failed);
        }
    }
}

/// What small frames between changes under way may take beyond the limit.
const SMALL_BYTES: u64 = 1 << 20;

async fn attach(parts: &SendingParts) -> Result<Feed, Refusal> {
    let how = Attach {
        has_data: parts.has_data,
        reign: parts.reign,
        limit_bytes: parts.settings.queue_bytes,
    };
    parts.objects.attach(parts.object, how).await
}
