//! What waits for one target.
//!
//! Invariant: one notice is under way at a time, and the rest waits in the order of numbers; a
//! notice that failed is the first again. Absent on purpose: other targets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Chance, Delivery, Effect, Loss, Outcome, Pace, QUEUE_MAX, Target, TargetState};
use crate::notice::{Notice, Number, Numbered, Status};
use crate::when::Moment;

pub(super) struct Queue {
    least: Status,
    waiting: VecDeque<Waiting>,
    under_way: Option<UnderWay>,
    /// Lost since the last that was delivered.
    undelivered: u64,
    /// In a row.
    failures: u32,
    /// Not before; none if nothing failed.
    retry_at: Option<Moment>,
}

pub(super) struct Waiting {
    pub(super) since: Moment,
    pub(super) numbered: Arc<Numbered>,
}

struct UnderWay {
    waiting: Waiting,
    /// What it says of `undelivered`.
    said: u64,
}

impl Queue {
    pub(super) fn new(least: Status) -> Self {
        Self {
            least,
            waiting: VecDeque::new(),
            under_way: None,
            undelivered: 0,
            failures: 0,
            retry_at: None,
        }
    }

    /// Whether a notice is bad enough for it.
    pub(super) fn wants(&self, notice: &Notice) -> bool {
        notice.status >= self.least
    }

    /// Takes a notice; gives the one that it displaced.
    pub(super) fn push(&mut self, new: Waiting) -> Option<Number> {
        let displaced = match self.len() < QUEUE_MAX {
            true => None,
            // The one under way is older, and may have arrived.
            false => self.waiting.pop_front(),
        };
        self.undelivered += u64::from(displaced.is_some());
        self.waiting.push_back(new);
        displaced.map(|oldest| oldest.numbered.number)
    }

    /// The notice to be sent now, if it is time for one; it is under way from now on.
    pub(super) fn next(&mut self, target: Target, now: Moment) -> Option<Delivery> {
        if self.under_way.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let waiting = self.waiting.pop_front()?;
        let numbered = waiting.numbered.clone();
        self.under_way = Some(UnderWay { waiting, said: self.undelivered });
        Some(Delivery { target, numbered, undelivered: self.undelivered })
    }

    /// Takes note of how the one under way ended.
    pub(super) fn ended(
        &mut self,
        target: Target,
        now: Moment,
        (outcome, chance): (Outcome, Chance),
        pace: &Pace,
        effects: &mut Vec<Effect>,
    ) {
        let ended = self.under_way.take();
        let UnderWay { waiting, said } = ended.expect("what ends was under way");
        let number = waiting.numbered.number;
        match outcome {
            Outcome::Delivered => {
                self.undelivered -= said;
                effects.push(Effect::Delivered(target, number));
                self.answered(target, effects);
            }
            Outcome::Refused => {
                self.undelivered += 1;
                effects.push(Effect::Lost(target, number, Loss::Refused));
                self.answered(target, effects);
            }
            Outcome::Failed { retry_after } => {
                self.waiting.push_front(waiting);
                if self.failures == 0 {
                    effects.push(Effect::Failing(target));
                }
                self.failures = self.failures.saturating_add(1);
                let wait = backoff(self.failures, chance, pace);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                self.retry_at = Some(now.plus(wait.max(asked)));
                self.give_up(target, now, pace, effects);
            }
        }
    }

    fn answered(&mut self, target: Target, effects: &mut Vec<Effect>) {
        if self.failures > 0 {
            effects.push(Effect::Recovered(target));
        }
        self.failures = 0;
        self.retry_at = None;
    }

    /// What failed for the first failed for all that are as old.
    fn give_up(&mut self, target: Target, now: Moment, pace: &Pace, effects: &mut Vec<Effect>) {
        let too_old = |oldest: &mut Waiting| now.since(oldest.since) >= pace.give_up_after;
        while let Some(oldest) = self.waiting.pop_front_if(too_old) {
            self.undelivered += 1;
            effects.push(Effect::Lost(target, oldest.numbered.number, Loss::GivenUp));
        }
    }

    pub(super) fn retry_at_once(&mut self) {
        self.retry_at = None;
    }

    /// When the next is due, if something waits and nothing is under way.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let idle = self.under_way.is_some() || self.waiting.is_empty();
        if idle { None } else { self.retry_at }
    }

    pub(super) fn state(&self) -> TargetState {
        TargetState { waiting: self.len(), undelivered: self.undelivered, failures: self.failures }
    }

    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.under_way.is_some())
    }
}

/// The wait after so many failures in a row: doubled each time up to its most, of which the second
/// half is left to chance.
fn backoff(failures: u32, chance: Chance, pace: &Pace) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let whole = pace.retry_least.saturating_mul(1 << doublings).min(pace.retry_most);
    let half = whole / 2;
    let part = (half.as_nanos() * u128::from(chance.0)) >> u32::BITS;
    half + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// From a second, that is 12 days: every sensible most is reached before.
const DOUBLINGS_MAX: u32 = 20;
/// A target that asks for more is tried all the same: it may have been wrong.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
