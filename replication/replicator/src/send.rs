//! What the owner's end of a transfer decides: which frames may go, how many copies are made at
//! once and how fast, when the receiver is asked to make things durable, what is sent again on a
//! new channel, and when all is done.
//!
//! Invariants: frames go out in the order in which they come in. Each is kept until the receiver
//! has it, so that nothing is lost with a channel, and what is kept is bounded by the window.
//! "Finished" is said only of the very state of the object that the receiver has, and of which it
//! made durable whatever anybody was promised.
//! Absent on purpose: IO, clocks and waiting: time and what is left to do come as arguments.

mod pace;
mod questions;

use std::{collections::VecDeque, time::Duration};

use extents::{Backlog, Base, Copied, ExtentHash, FRAME_BYTES_MAX, FeedEnd, Frame, FrameChange};
use model::{EXTENT_BYTES, Mark, Refusal};
use thiserror::Error;

use self::{pace::Pace, questions::Questions};
use crate::{
    progress::Phase,
    wire::{Attempt, HasData, Message, Round, TransferId},
};

/// What the operator and the router may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSettings {
    /// How fast what is there is copied, in bytes a second; clients' changes are not held up.
    pub rate_bytes_per_second: Option<u64>,
    /// Bytes of frames on their way at most. More than bandwidth times delay helps nothing.
    pub window_bytes: u64,
    /// Bytes of frames that wait to be sent at most; over it they are left out and copied later.
    pub queue_bytes: u64,
    /// Extents copied at a time: their reads overlap.
    pub copies_at_a_time: usize,
    /// After so many bytes the receiver is asked to make them durable.
    pub sync_every_bytes: u64,
    /// With no more than this on its way or waiting, the rest takes a moment. Less is tried for
    /// first: [`CLOSE_BYTES_LEAST`], and twice that every few milliseconds.
    pub close_bytes: u64,
}

/// Settings with which a transfer would not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSettings {
    /// The queue must have room for two extents for each copy.
    #[error("queue_bytes must be at least four extents for each of copies_at_a_time, at least one")]
    Queue,
    /// Nothing would ever be sent, made durable or called close.
    #[error("window_bytes, sync_every_bytes and close_bytes must be at least one extent")]
    Small,
    /// Nothing would be copied.
    #[error("a rate must be at least one extent in a minute")]
    Rate,
}

/// Why a transfer does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferFault {
    /// The channel broke: resume on another one, or give up.
    #[error("the channel broke")]
    Broken,
    /// The receiver will not or can't: it has no room, its disk fails, it has seen a newer reign.
    #[error("the receiver refused: {0}")]
    Refused(Refusal),
    /// The owner's copy broke, or the object is gone.
    #[error("the owner has no more to give: {0:?}")]
    Owner(FeedEnd),
    /// The owner can't read its bytes, or begin to.
    #[error("the owner's bytes can't be read: {0}")]
    Unreadable(Refusal),
    /// The receiver said something that makes no sense.
    #[error("the receiver does not keep to the protocol")]
    Protocol,
}

/// What happened.
#[derive(Debug)]
pub enum SendEvent {
    /// There is a channel.
    Connected,
    /// It broke.
    Broken,
    /// A frame left the feed.
    Frame(Frame),
    /// The feed has no more.
    Ended(FeedEnd),
    /// The receiver said something.
    Answer(Message),
    /// A copy ended.
    Copied(Result<Option<Copied>, Refusal>),
    /// No more changes are made from now on.
    Drain,
    /// Time has passed.
    Woke,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum SendEffect {
    /// Tell the receiver.
    Send(Message),
    /// Begin one copy.
    Copy,
    /// The feed learns what the receiver holds of these extents, from the first on.
    Learn(u64, Vec<Option<ExtentHash>>),
    /// Attach the feed anew and tell [`SendCore::begin_anew`]: the receiver has nothing.
    BeginAnew,
}

/// How things are at the moment of an event.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Time since the transfer began, or any other that only grows.
    pub now: Duration,
    /// What the feed still has to give.
    pub backlog: Backlog,
    /// The object, if the feed has nothing left.
    pub settled: Option<Base>,
    /// Of no change after this mark anybody was told that it is durable.
    pub promised: Mark,
}

/// The owner's decisions.
#[derive(Debug)]
pub struct SendCore {
    settings: SendSettings,
    attempt: Attempt,
    has_data: HasData,
    base: Base,
    link: Link,
    /// No more changes are made; up to where somebody had been promised anything. What becomes
    /// durable later nobody is told of.
    draining: Option<Mark>,
    fault: Option<TransferFault>,
    finished: Option<Base>,
    /// Sent, and not known to be there.
    unreceived: VecDeque<Frame>,
    unreceived_bytes: u64,
    last_sent: Mark,
    /// The last copy among it: what it holds was there before, and may be durable at the owner.
    last_copy: Mark,
    pace: Pace,
    copies: usize,
    copy_again_at: Option<Duration>,
    round: Round,
    round_running: bool,
    /// What the receiver has made durable.
    durable: Mark,
    /// Since when all copies are durable there.
    close_since: Option<Duration>,
    /// Sent since the round before the running one, and since the last one, was asked for.
    bytes_in_round: u64,
    bytes_since_round: u64,
    finish_sent: Option<Base>,
    questions: Questions,
    pub(crate) bytes_copied: u64,
    pub(crate) bytes_held: u64,
    pub(crate) bytes_resent: u64,
}

/// How far the two ends have agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// `Begin` was sent.
    Beginning,
    /// `Resume` was sent.
    Resuming,
    Up,
}

impl SendSettings {
    /// Refuses what would not get on.
    pub fn check(&self) -> Result<(), BadSettings> {
        let copies = self.copies_at_a_time as u64;
        if copies == 0 || self.queue_bytes < copies.saturating_mul(4 * EXTENT_BYTES) {
            return Err(BadSettings::Queue);
        }
        let least = self.window_bytes.min(self.sync_every_bytes).min(self.close_bytes);
        if least < EXTENT_BYTES {
            return Err(BadSettings::Small);
        }
        if self.rate_bytes_per_second.is_some_and(|rate| rate < EXTENT_BYTES / 60) {
            return Err(BadSettings::Rate);
        }
        Ok(())
    }
}

impl Default for SendSettings {
    fn default() -> Self {
        Self {
            rate_bytes_per_second: None,
            window_bytes: 32 << 20,
            queue_bytes: 32 << 20,
            copies_at_a_time: 4,
            sync_every_bytes: 64 << 20,
            close_bytes: 4 << 20,
        }
    }
}

impl SendCore {
    /// A transfer of an object that is `base`; nothing is sent before `Connected`.
    pub fn new(
        settings: SendSettings,
        transfer: TransferId,
        has_data: HasData,
        base: Base,
    ) -> Self {
        Self {
            settings,
            attempt: Attempt { transfer, channel: 0 },
            has_data,
            base,
            link: Link::Down,
            draining: None,
            fault: None,
            finished: None,
            unreceived: VecDeque::new(),
            unreceived_bytes: 0,
            last_sent: base.mark,
            last_copy: base.mark,
            pace: Pace::new(settings.rate_bytes_per_second),
            copies: 0,
            copy_again_at: None,
            round: Round::default(),
            round_running: false,
            durable: Mark::default(),
            close_since: None,
            bytes_in_round: 0,
            bytes_since_round: 0,
            finish_sent: None,
            questions: Questions::default(),
            bytes_copied: 0,
            bytes_held: 0,
            bytes_resent: 0,
        }
    }

    /// What to do about `event`.
    pub fn step(&mut self, look: Look, event: SendEvent) -> Vec<SendEffect> {
        let mut effects = Vec::new();
        match event {
            SendEvent::Connected => effects.push(SendEffect::Send(self.connected())),
            SendEvent::Broken => {
                self.link = Link::Down;
                // What was not answered is not asked again: that is copied.
                self.questions.lost();
                // Changes may be made again until the next drain is asked for.
                self.draining = None;
            }
            SendEvent::Frame(frame) => effects.push(self.send(frame)),
            SendEvent::Ended(end) => self.fail(TransferFault::Owner(end)),
            SendEvent::Answer(answer) => self.answered(look, answer, &mut effects),
            SendEvent::Copied(copied) => self.copied(look.now, copied),
            SendEvent::Drain => self.draining = Some(look.promised),
            SendEvent::Woke => {}
        }
        self.plan(look, &mut effects);
        effects
    }

    /// The receiver has nothing, so the feed was attached anew and began with `base`.
    pub fn begin_anew(&mut self, base: Base) -> Message {
        let attempt = self.attempt;
        *self = Self {
            attempt,
            draining: self.draining,
            bytes_copied: self.bytes_copied,
            bytes_held: self.bytes_held,
            bytes_resent: self.bytes_resent,
            link: Link::Beginning,
            ..Self::new(self.settings, attempt.transfer, self.has_data, base)
        };
        Message::Begin { attempt, has_data: self.has_data, base }
    }

    /// Whether one more frame may leave the feed.
    pub fn wants_frame(&self) -> bool {
        let room = self.unreceived_bytes < self.settings.window_bytes;
        self.link == Link::Up && self.fault.is_none() && room
    }

    /// When to be woken, if nothing else happens.
    pub fn wake_at(&self, look: Look) -> Option<Duration> {
        let copies = self
            .may_copy(look.backlog)
            .then(|| self.copy_again_at.unwrap_or_default().max(self.pace.ready_at(look.now)));
        let grows = self.close_limit(look.now) < self.settings.close_bytes;
        let closer = self.close_since.filter(|_| grows).map(|_| look.now + CLOSE_GROWS_EVERY);
        copies.into_iter().chain(closer).min()
    }

    /// Whether, once no more changes are made, the rest takes but a moment.
    pub fn is_close(&self, look: Look) -> bool {
        let limit = self.close_limit(look.now);
        let waiting = look.backlog.queued_bytes + self.unreceived_bytes;
        // Somebody who commits all the time is always a little ahead.
        let little = limit == self.settings.close_bytes && self.bytes_since_round <= limit;
        let behind = self.durable < look.promised && self.bytes_since_round > 0;
        // A sync that is running would hold up whatever is still to be written there.
        self.link == Link::Up
            && self.all_copied(look)
            && !self.round_running
            && self.durable >= self.last_copy
            && waiting <= limit
            && (!behind || little)
    }

    /// A slow writer is held up for less; a fast one never leaves so little.
    fn close_limit(&self, now: Duration) -> u64 {
        let tried = self.close_since.map(|since| now.saturating_sub(since)).unwrap_or_default();
        let doubled = tried.as_millis() / CLOSE_GROWS_EVERY.as_millis();
        let grown = CLOSE_BYTES_LEAST << doubled.min(CLOSE_DOUBLED_MAX);
        grown.min(self.settings.close_bytes)
    }

    fn all_copied(&self, look: Look) -> bool {
        look.backlog.to_copy == 0 && self.copies == 0
    }

    /// Whether there is a channel.
    pub fn is_up(&self) -> bool {
        self.link != Link::Down
    }

    /// Why it does not go on.
    pub fn fault(&self) -> Option<TransferFault> {
        self.fault
    }

    /// What the receiver has, once that is everything.
    pub fn finished(&self) -> Option<Base> {
        self.finished
    }

    /// What it is doing.
    pub fn phase(&self, backlog: Backlog) -> Phase {
        if self.fault.is_some() {
            Phase::Failed
        } else if self.finished.is_some() {
            Phase::Finished
        } else if self.link != Link::Up {
            Phase::Connecting
        } else if self.draining.is_some() {
            Phase::Draining
        } else if backlog.to_copy > 0 || self.copies > 0 {
            Phase::Copying
        } else {
            Phase::Following
        }
    }

    /// Size of the object, and how much of it needs no copying any more.
    pub fn copied_of(&self, backlog: Backlog) -> (u64, u64) {
        let left = (backlog.to_copy + self.copies as u64).saturating_mul(EXTENT_BYTES);
        (self.base.size, self.base.size.saturating_sub(left))
    }

    /// It ends; the first fault counts.
    pub fn fail(&mut self, fault: TransferFault) {
        self.fault.get_or_insert(fault);
    }

    fn connected(&mut self) -> Message {
        self.finish_sent = None;
        self.attempt.channel += 1;
        let attempt = self.attempt;
        let nothing_said = self.last_sent == self.base.mark && self.durable == Mark::default();
        if self.link == Link::Down && nothing_said {
            self.link = Link::Beginning;
            return Message::Begin { attempt, has_data: self.has_data, base: self.base };
        }
        self.link = Link::Resuming;
        Message::Resume { attempt }
    }

    fn send(&mut self, frame: Frame) -> SendEffect {
        self.last_sent = frame.mark;
        if matches!(frame.change, FrameChange::Copy { .. } | FrameChange::Hole(_)) {
            self.last_copy = frame.mark;
        }
        self.unreceived_bytes += takes(&frame);
        self.bytes_since_round += takes(&frame);
        self.unreceived.push_back(frame.clone());
        SendEffect::Send(Message::Frame(frame))
    }

    fn answered(&mut self, look: Look, answer: Message, effects: &mut Vec<SendEffect>) {
        match (self.link, answer) {
            (_, Message::Refused { refusal }) => self.fail(TransferFault::Refused(refusal)),
            (Link::Beginning, Message::Ready { received: Some(mark), older })
                if mark == self.base.mark =>
            {
                self.link = Link::Up;
                self.questions = Questions::begin(older);
            }
            (Link::Resuming, Message::Ready { received: None, .. }) => {
                effects.push(SendEffect::BeginAnew);
            }
            (Link::Resuming, Message::Ready { received: Some(mark), .. })
                if mark <= self.last_sent =>
            {
                self.resumed(mark, effects);
            }
            (Link::Up, Message::Compared { first, held }) => {
                let answered = first..first.saturating_add(held.len() as u64);
                match self.questions.answered(&answered) {
                    true => effects.push(SendEffect::Learn(first, held)),
                    false => self.fail(TransferFault::Protocol),
                }
            }
            (Link::Up, Message::Received { mark }) if mark <= self.last_sent => {
                self.received(mark);
            }
            (Link::Up, Message::Durable { round, mark })
                if self.round_running && round == self.round && mark <= self.last_sent =>
            {
                self.received(mark);
                self.round_running = false;
                self.durable = mark;
                self.bytes_in_round = 0;
            }
            (Link::Up, Message::Finished { mark }) => match self.finish_sent.take() {
                // Something changed since then after all: `plan` asks again.
                Some(end) if end.mark == mark && look.settled != Some(end) => {}
                Some(end) if end.mark == mark => self.finished = Some(end),
                Some(_) | None => self.fail(TransferFault::Protocol),
            },
            // From before a channel broke, or senseless.
            _ => self.fail(TransferFault::Protocol),
        }
    }

    fn received(&mut self, mark: Mark) {
        while self.unreceived.front().is_some_and(|first| first.mark <= mark) {
            if let Some(frame) = self.unreceived.pop_front() {
                self.unreceived_bytes -= takes(&frame);
            }
        }
    }

    fn resumed(&mut self, mark: Mark, effects: &mut Vec<SendEffect>) {
        self.received(mark);
        self.link = Link::Up;
        for frame in &self.unreceived {
            self.bytes_resent += frame.change.payload_len();
            effects.push(SendEffect::Send(Message::Frame(frame.clone())));
        }
        // Whether the round that was running came to its end is not known.
        self.bytes_since_round += self.bytes_in_round;
        self.bytes_in_round = 0;
        self.round_running = false;
    }

    fn copied(&mut self, now: Duration, copied: Result<Option<Copied>, Refusal>) {
        self.copies = self.copies.saturating_sub(1);
        let data_bytes = match copied {
            Ok(None) => 0,
            Ok(Some(copied)) if copied.held => {
                // It need not be durable there, as what is copied.
                self.last_copy = self.last_copy.max(copied.mark);
                self.bytes_held += copied.data_bytes;
                0
            }
            Ok(Some(copied)) => copied.data_bytes,
            Err(Refusal::Busy) => {
                self.copy_again_at = Some(now + COPY_AGAIN_AFTER);
                0
            }
            // The feed says why.
            Err(Refusal::Stale) => return,
            Err(refusal) => return self.fail(TransferFault::Unreadable(refusal)),
        };
        self.bytes_copied += data_bytes;
        self.pace.took_less(EXTENT_BYTES.saturating_sub(data_bytes));
    }

    fn plan(&mut self, look: Look, effects: &mut Vec<SendEffect>) {
        if self.link != Link::Up || self.fault.is_some() || self.finished.is_some() {
            return;
        }
        self.plan_questions(look, effects);
        self.plan_copies(look, effects);
        let copied = self.all_copied(look) && self.durable >= self.last_copy;
        self.close_since = copied.then(|| self.close_since.unwrap_or(look.now));
        let needed = self.draining.unwrap_or(look.promised).max(self.last_copy);
        let enough = self.bytes_since_round >= self.settings.sync_every_bytes;
        let more = self.durable < self.last_copy || self.bytes_since_round > 0;
        let behind = more && self.all_copied(look) && self.durable < needed && !self.is_close(look);
        // A finish makes durable what must be by itself.
        let wanted = enough || behind && self.draining.is_none();
        let wanted = wanted && self.finish_sent.is_none();
        if wanted && !self.round_running {
            self.round = self.round.next();
            self.round_running = true;
            self.bytes_in_round = self.bytes_since_round;
            self.bytes_since_round = 0;
            effects.push(SendEffect::Send(Message::Sync { round: self.round }));
        }
        if let Some(end) = look.settled
            && self.draining.is_some()
            && self.copies == 0
            && self.finish_sent.is_none()
        {
            self.finish_sent = Some(end);
            // Marks that no frame carries are in it, too.
            self.last_sent = self.last_sent.max(end.mark);
            effects.push(SendEffect::Send(Message::Finish { end, durable: needed }));
        }
    }

    fn plan_questions(&mut self, look: Look, effects: &mut Vec<SendEffect>) {
        let Some(next) = look.backlog.next else { return };
        while let Some(asked) = self.questions.next(next) {
            let count = u32::try_from(asked.end - asked.start).unwrap_or(u32::MAX);
            effects.push(SendEffect::Send(Message::Compare { first: asked.start, count }));
        }
    }

    /// Whether it may soon be known that the next copies need not be sent.
    fn is_asking(&self, backlog: Backlog) -> bool {
        // Those that were begun may not have been taken from the backlog yet.
        let coming = |next: u64| next..next + self.copies as u64 + 1;
        backlog.next.is_some_and(|next| self.questions.are_open(&coming(next)))
    }

    fn plan_copies(&mut self, look: Look, effects: &mut Vec<SendEffect>) {
        if self.copy_again_at.is_some_and(|at| at > look.now) {
            return;
        }
        self.copy_again_at = None;
        let mut left = look.backlog.to_copy;
        while left > 0 && self.may_copy(look.backlog) && self.pace.take(look.now) {
            self.copies += 1;
            left -= 1;
            effects.push(SendEffect::Copy);
        }
    }

    /// A copy that is made too early only waits in memory, in the way of clients' changes.
    fn may_copy(&self, backlog: Backlog) -> bool {
        let coming = (self.copies as u64 + 1) * EXTENT_BYTES;
        self.link == Link::Up
            && backlog.to_copy > 0
            && self.copies < self.settings.copies_at_a_time
            && !self.is_asking(backlog)
            && backlog.queued_bytes + coming <= self.settings.queue_bytes / 2
            && self.unreceived_bytes < self.settings.window_bytes
    }
}

/// What a frame takes of the window.
fn takes(frame: &Frame) -> u64 {
    frame.change.payload_len() + FRAME_OVERHEAD_BYTES
}

/// So that a window has a bounded number of frames, however small they are.
const FRAME_OVERHEAD_BYTES: u64 = 256;

/// What a transfer waits for at first before it asks for the end: a few requests.
pub const CLOSE_BYTES_LEAST: u64 = 128 << 10;
const CLOSE_GROWS_EVERY: Duration = Duration::from_millis(20);
const CLOSE_DOUBLED_MAX: u128 = 16;

/// The span queue is full of clients' requests: they take some milliseconds.
const COPY_AGAIN_AFTER: Duration = Duration::from_millis(5);

const _: () = assert!(FRAME_BYTES_MAX >= EXTENT_BYTES, "a copy of an extent is one frame");

#[cfg(test)]
mod tests;
