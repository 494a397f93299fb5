//! What the receiver's end of a transfer decides: which frames are accepted, which of them are
//! executed together, when something is made durable, and what the owner is told.
//!
//! Invariants: marks grow and reigns never go back; nothing is done that comes on a channel older
//! than one that was heard; nothing is called received before it was executed, durable before a
//! sync that began after that, finished before all is there, durable as far as the owner asks.
//! Absent on purpose: IO, clocks, and the object itself.

use std::collections::VecDeque;
use std::ops::Range;

use extents::{Base, ExtentHash, Frame};
use model::{Mark, Refusal};

use crate::wire::{Attempt, HasData, Message, Round, TransferId};

/// What happened.
#[derive(Debug)]
pub enum ReceiveEvent {
    /// The owner said something.
    Message(Message),
    /// The object is what `Begin` said, and may hold this many extents of an older copy.
    Begun(u64),
    /// For a `Resume`: everything up to this mark is there, or nothing is known.
    Recalled(Option<Mark>),
    /// A batch was executed.
    Applied,
    /// What these extents hold.
    Compared(u64, Vec<Option<ExtentHash>>),
    /// What was there when the round began is durable, up to this mark.
    Synced(Round, Mark),
    /// The object is as the owner's is, durable as far as was asked for.
    Ended,
    /// Something could not be done.
    Failed(Refusal),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum ReceiveEffect {
    /// Forget what there is, and make the object this.
    Begin(HasData, Base),
    /// Say what is there.
    Recall,
    /// Execute these, in order.
    Apply(Vec<Frame>),
    /// Make durable what was executed.
    Sync(Round),
    /// Look what these extents hold.
    Compare(Range<u64>),
    /// Take over the rest, and make it durable up to this mark, if it is not.
    Finish(Base, Mark),
    /// Tell the owner.
    Answer(Message),
    /// It is over: tell the owner, then go.
    Refuse(Refusal),
    /// It is done: tell the owner, then go.
    Done(Base),
}

/// The receiver's decisions.
#[derive(Debug, Default)]
pub struct ReceiveCore {
    transfer: Option<TransferId>,
    /// The newest channel that said anything, and whether the present one has yet.
    newest: Option<Attempt>,
    spoke: bool,
    /// The last frame accepted, and the last one executed.
    accepted: Mark,
    applied: Mark,
    /// The end of the last sync.
    durable: Mark,
    /// Extents of an older copy.
    older: u64,
    /// Questions about them that are not answered.
    comparing: usize,
    waiting: VecDeque<Step>,
    waiting_bytes: u64,
    /// The last mark of the batch being executed.
    applying: Option<Mark>,
    starting: bool,
    syncing: bool,
    finishing: Option<Base>,
    over: bool,
}

#[derive(Debug)]
enum Step {
    Frame(Frame),
    Sync(Round),
    Finish(Base, Mark),
}

impl ReceiveCore {
    /// A channel is there; what was in the air with the last one is gone.
    pub fn opened(&mut self) {
        *self = Self {
            transfer: self.transfer,
            newest: self.newest,
            accepted: self.applied,
            applied: self.applied,
            durable: self.durable,
            older: self.older,
            ..Self::default()
        };
    }

    /// The newest channel that was heard.
    pub fn newest(&self) -> Option<Attempt> {
        self.newest
    }

    /// What there is will not be gone on with: the transfer begins anew if it is resumed.
    pub fn forget(&mut self) {
        self.transfer = None;
    }

    /// Whether more may be taken from the channel.
    pub fn wants_more(&self) -> bool {
        !self.over && !self.starting && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// What to do about `event`.
    pub fn step(&mut self, event: ReceiveEvent) -> Vec<ReceiveEffect> {
        let mut effects = Vec::new();
        if self.over {
            return effects;
        }
        let refused = match event {
            ReceiveEvent::Message(message) => self.message(message, &mut effects),
            ReceiveEvent::Begun(older) => {
                self.starting = false;
                self.older = older;
                self.ready(Some(self.applied), &mut effects);
                Ok(())
            }
            ReceiveEvent::Recalled(mark) => {
                self.starting = false;
                self.applied = mark.unwrap_or_default();
                self.accepted = self.applied;
                if mark.is_none() {
                    self.transfer = None;
                }
                self.ready(mark, &mut effects);
                Ok(())
            }
            ReceiveEvent::Applied => {
                if let Some(mark) = self.applying.take() {
                    self.applied = mark;
                    effects.push(ReceiveEffect::Answer(Message::Received { mark }));
                }
                Ok(())
            }
            ReceiveEvent::Compared(first, held) => {
                self.comparing = self.comparing.saturating_sub(1);
                effects.push(ReceiveEffect::Answer(Message::Compared { first, held }));
                Ok(())
            }
            ReceiveEvent::Synced(round, mark) => {
                self.syncing = false;
                self.durable = mark;
                effects.push(ReceiveEffect::Answer(Message::Durable { round, mark }));
                Ok(())
            }
            ReceiveEvent::Ended => {
                self.ended(&mut effects);
                Ok(())
            }
            ReceiveEvent::Failed(refusal) => Err(refusal),
        };
        match refused {
            Ok(()) => self.plan(&mut effects),
            Err(refusal) => {
                self.over = true;
                effects.push(ReceiveEffect::Refuse(refusal));
            }
        }
        effects
    }

    fn message(
        &mut self,
        message: Message,
        effects: &mut Vec<ReceiveEffect>,
    ) -> Result<(), Refusal> {
        match message {
            Message::Begin { attempt, has_data, base } if self.is_quiet() => {
                self.admit(attempt)?;
                self.transfer = Some(attempt.transfer);
                self.accepted = base.mark;
                self.applied = base.mark;
                self.durable = Mark::default();
                self.starting = true;
                effects.push(ReceiveEffect::Begin(has_data, base));
            }
            Message::Resume { attempt } if self.is_quiet() => {
                self.admit(attempt)?;
                if self.transfer == Some(attempt.transfer) {
                    self.starting = true;
                    effects.push(ReceiveEffect::Recall);
                } else {
                    self.ready(None, effects);
                }
            }
            Message::Frame(frame) if self.may_go_on() => {
                if frame.mark.reign < self.accepted.reign {
                    return Err(Refusal::Fenced);
                }
                if frame.mark <= self.accepted {
                    return Err(Refusal::Invalid);
                }
                self.accepted = frame.mark;
                self.enqueue(Step::Frame(frame))?;
            }
            Message::Sync { round } if self.may_go_on() => self.enqueue(Step::Sync(round))?,
            Message::Finish { end, durable }
                if self.may_go_on() && end.mark >= self.accepted && end.mark >= durable =>
            {
                self.accepted = end.mark;
                self.enqueue(Step::Finish(end, durable))?;
            }
            Message::Compare { first, count }
                if self.may_go_on() && self.comparing < QUESTIONS_MAX =>
            {
                self.comparing += 1;
                effects.push(ReceiveEffect::Compare(first..first.saturating_add(count.into())));
            }
            Message::Begin { .. }
            | Message::Resume { .. }
            | Message::Frame(_)
            | Message::Sync { .. }
            | Message::Compare { .. }
            | Message::Compared { .. }
            | Message::Finish { .. }
            | Message::Ready { .. }
            | Message::Received { .. }
            | Message::Durable { .. }
            | Message::Finished { .. }
            | Message::Refused { .. } => return Err(Refusal::Invalid),
        }
        Ok(())
    }

    /// A channel that was given up may be heard after a newer one: that would undo everything.
    fn admit(&mut self, attempt: Attempt) -> Result<(), Refusal> {
        let is_newer = self.newest.is_none_or(|newest| attempt > newest);
        let goes_on = self.spoke && self.newest == Some(attempt);
        if !is_newer && !goes_on {
            return Err(Refusal::Fenced);
        }
        self.newest = Some(attempt);
        self.spoke = true;
        Ok(())
    }

    fn ended(&mut self, effects: &mut Vec<ReceiveEffect>) {
        let Some(end) = self.finishing.take() else { return };
        self.applied = end.mark;
        if !self.waiting.iter().any(|step| matches!(step, Step::Frame(_) | Step::Finish(..))) {
            self.over = true;
            effects.push(ReceiveEffect::Done(end));
        } else {
            // A change came after all: the owner will say finish once more.
            effects.push(ReceiveEffect::Answer(Message::Finished { mark: end.mark }));
        }
    }

    fn ready(&mut self, received: Option<Mark>, effects: &mut Vec<ReceiveEffect>) {
        let older = self.older;
        effects.push(ReceiveEffect::Answer(Message::Ready { received, older }));
    }

    fn is_quiet(&self) -> bool {
        !self.starting
            && !self.syncing
            && self.comparing == 0
            && self.applying.is_none()
            && self.finishing.is_none()
            && self.waiting.is_empty()
    }

    fn may_go_on(&self) -> bool {
        self.transfer.is_some() && !self.starting
    }

    fn enqueue(&mut self, step: Step) -> Result<(), Refusal> {
        self.waiting_bytes += takes(&step);
        self.waiting.push_back(step);
        // The driver stops reading long before.
        if self.waiting_bytes > 2 * WAITING_BYTES_MAX { Err(Refusal::Invalid) } else { Ok(()) }
    }

    fn plan(&mut self, effects: &mut Vec<ReceiveEffect>) {
        while self.applying.is_none() && self.finishing.is_none() {
            match self.waiting.front() {
                None => return,
                Some(Step::Frame(_)) => {
                    let frames = self.take_batch();
                    self.applying = frames.last().map(|frame| frame.mark);
                    effects.push(ReceiveEffect::Apply(frames));
                }
                Some(Step::Sync(_)) if self.syncing => return,
                // What is durable already need not wait for more.
                Some(Step::Finish(_, durable)) if self.syncing && *durable > self.durable => return,
                Some(Step::Sync(round)) => {
                    let round = *round;
                    self.syncing = true;
                    self.pop();
                    effects.push(ReceiveEffect::Sync(round));
                }
                Some(Step::Finish(end, durable)) => {
                    let (end, durable) = (*end, *durable);
                    self.finishing = Some(end);
                    self.pop();
                    effects.push(ReceiveEffect::Finish(end, durable));
                }
            }
        }
    }

    fn take_batch(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && matches!(self.waiting.front(), Some(Step::Frame(_))) {
            if let Some(Step::Frame(frame)) = self.pop() {
                bytes += frame.change.payload_len() + STEP_BYTES;
                frames.push(frame);
            }
        }
        frames
    }

    fn pop(&mut self) -> Option<Step> {
        let step = self.waiting.pop_front()?;
        self.waiting_bytes -= takes(&step);
        Some(step)
    }
}

fn takes(step: &Step) -> u64 {
    match step {
        Step::Frame(frame) => frame.change.payload_len() + STEP_BYTES,
        Step::Sync(_) | Step::Finish(..) => STEP_BYTES,
    }
}

/// What a step takes in memory, payload aside.
const STEP_BYTES: u64 = 256;

/// Questions that may be open at a time; the owner asks two.
const QUESTIONS_MAX: usize = 4;

/// Executed in one go: long enough to be worth a change of thread, short enough that the next batch
/// comes in meanwhile.
const BATCH_BYTES: u64 = 4 << 20;

/// Taken from the channel and not yet begun. Over it reading stops, and with it the owner.
const WAITING_BYTES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests;
