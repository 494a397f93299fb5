//! Decides what is listed, what is sent where and when, and what is given up.
//!
//! Invariant: at most [`NEWEST_MAX`] notices are listed and [`QUEUE_MAX`] wait for a target, of
//! which one is under way; a target's notices go out in the order of their numbers, and what one
//! target does changes nothing for another. Absent on purpose: IO, clocks and chance, which come as
//! arguments, and who the targets are.

mod queue;
mod same;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::notice::{Notice, Number, Numbered, SUPPRESSED, Status, Told};
use crate::when::{Moment, Now};
use queue::{Queue, Waiting};
use same::{Same, Verdict};

/// All that is known of notices and of what waits for targets.
pub struct Desk {
    pace: Pace,
    next: Number,
    newest: VecDeque<Listed>,
    same: Same,
    queues: Vec<Queue>,
}

struct Listed {
    numbered: Arc<Numbered>,
    repeated: u64,
}

/// How long things take at most, and how often they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The same notice is counted and not sent again until so long after it was sent.
    pub quiet: Duration,
    /// From a first failure to the next try; doubled with each further one.
    pub retry_least: Duration,
    /// Between two tries, unless the target asks for more.
    pub retry_most: Duration,
    /// A notice so old that then fails is given up.
    pub give_up_after: Duration,
    /// For one request to a webhook, from the look-up of its name to its whole answer.
    pub webhook_wait: Duration,
    /// For one conversation with a mail relay.
    pub mail_wait: Duration,
}

/// To which targets a notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whither {
    /// Those that take what is as bad.
    WhereWanted,
    ToAll,
}

/// Which target, counted from 0 in the order of the settings, webhooks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(pub(crate) usize);

/// 32 bits of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(pub u32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody tells.
    Told(Notice),
    /// Somebody tries the targets: it goes to each, however little it is, and repeats nothing.
    Tried(Notice),
    /// The delivery that was under way ended.
    Ended {
        /// Where it went.
        target: Target,
        /// How it ended.
        outcome: Outcome,
        /// Spreads the next try, so that appliances that failed together don't try together.
        chance: Chance,
    },
    /// The moment of [`Desk::wake_at`] is here.
    Woke,
    /// It will end soon: whatever waits is tried once more at once.
    Closing,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Delivered,
    /// The target will never take it: don't try it again.
    Refused,
    /// Try it again, not before the target asked for if it did.
    Failed {
        /// As it asked (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A notice is on the list.
    Listed(Arc<Numbered>),
    /// A notice was only counted: it repeats this one.
    Suppressed(Number),
    /// Deliver it, and say with [`Event::Ended`] how that ended.
    Deliver(Delivery),
    /// The target has it.
    Delivered(Target, Number),
    /// The target will not get it.
    Lost(Target, Number, Loss),
    /// The target failed, after it had not.
    Failing(Target),
    /// The target takes notices again.
    Recovered(Target),
}

/// A notice on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where to.
    pub target: Target,
    /// What.
    pub numbered: Arc<Numbered>,
    /// How many notices the target did not get since the last that it got.
    pub undelivered: u64,
}

/// Why a target will not get a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Too many waited, and it was the oldest.
    Dropped,
    /// The target failed until the notice was too old.
    GivenUp,
    /// The target will never take it.
    Refused,
}

/// How it is with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// Notices that wait for it or are under way, at most [`QUEUE_MAX`].
    pub waiting: usize,
    /// Notices that it did not get since the last that it got.
    pub undelivered: u64,
    /// Failures in a row.
    pub failures: u32,
}

impl Desk {
    /// An empty desk that numbers from `first` on and sends to a target for each of `leasts`, what
    /// is at least as bad.
    pub fn new(first: Number, pace: Pace, leasts: &[Status]) -> Self {
        Self {
            pace,
            next: first,
            newest: VecDeque::new(),
            same: Same::default(),
            queues: leasts.iter().map(|least| Queue::new(*least)).collect(),
        }
    }

    /// What follows from `event`, in the order in which it is to be done. The moments of `now`
    /// never go back.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Told(notice) => self.told(now, notice.bounded(), &mut effects),
            Event::Tried(notice) => {
                self.list(now, notice.bounded(), Whither::ToAll, &mut effects);
            }
            Event::Ended { target, outcome, chance } => {
                let queue = &mut self.queues[target.0];
                queue.ended(target, now.moment, (outcome, chance), &self.pace, &mut effects);
            }
            Event::Woke => {}
            Event::Closing => self.queues.iter_mut().for_each(Queue::retry_at_once),
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            effects.extend(queue.next(Target(index), now.moment).map(Effect::Deliver));
        }
        effects
    }

    fn told(&mut self, now: Now, mut notice: Notice, effects: &mut Vec<Effect>) {
        match self.same.judge(now.moment, self.pace.quiet, &notice, self.next) {
            Verdict::Repeats(number) => {
                if let Some(listed) = self.listed_mut(number) {
                    listed.repeated += 1;
                }
                effects.push(Effect::Suppressed(number));
                return;
            }
            Verdict::New { suppressed: 0 } => {}
            Verdict::New { suppressed } => {
                notice.details.insert(SUPPRESSED.to_owned(), suppressed.to_string());
            }
        }
        self.list(now, notice, Whither::WhereWanted, effects);
    }

    fn list(&mut self, now: Now, notice: Notice, whither: Whither, effects: &mut Vec<Effect>) {
        let numbered = Arc::new(Numbered { number: self.next, time: now.wall, notice });
        self.next = self.next.next();
        if self.newest.len() == NEWEST_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(Listed { numbered: numbered.clone(), repeated: 0 });
        effects.push(Effect::Listed(numbered.clone()));
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if whither == Whither::WhereWanted && !queue.wants(&numbered.notice) {
                continue;
            }
            let dropped = queue.push(Waiting { since: now.moment, numbered: numbered.clone() });
            effects
                .extend(dropped.map(|number| Effect::Lost(Target(index), number, Loss::Dropped)));
        }
    }

    fn listed_mut(&mut self, number: Number) -> Option<&mut Listed> {
        // Numbers grow by one.
        let first = self.newest.front()?.numbered.number;
        let index = usize::try_from(number.get().checked_sub(first.get())?).ok()?;
        self.newest.get_mut(index)
    }

    /// When [`Event::Woke`] is due; not at all if nothing waits for its time.
    pub fn wake_at(&self) -> Option<Moment> {
        self.queues.iter().filter_map(Queue::wake_at).min()
    }

    /// At most `limit` notices of the list, the older ones first: those that follow `after`, or the
    /// newest.
    pub fn recent(&self, after: Option<Number>, limit: usize) -> Vec<Told> {
        let skipped = match after {
            Some(after) => self.newest.partition_point(|listed| listed.numbered.number <= after),
            None => self.newest.len().saturating_sub(limit),
        };
        let told = |listed: &Listed| Told {
            number: listed.numbered.number,
            time: listed.numbered.time,
            repeated: listed.repeated,
            notice: listed.numbered.notice.clone(),
        };
        self.newest.iter().skip(skipped).take(limit).map(told).collect()
    }

    /// How it is with each target, in their order.
    pub fn targets(&self) -> Vec<TargetState> {
        self.queues.iter().map(Queue::state).collect()
    }
}

impl Loss {
    /// The word in logs and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::GivenUp => "given_up",
            Self::Refused => "refused",
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(600),
            retry_least: Duration::from_secs(1),
            retry_most: Duration::from_secs(300),
            give_up_after: Duration::from_secs(24 * 3600),
            webhook_wait: Duration::from_secs(10),
            // Relays that slow strangers down take half of it for their greeting.
            mail_wait: Duration::from_secs(60),
        }
    }
}

/// Days of a healthy fleet; a few hundred KiB.
pub const NEWEST_MAX: usize = 1000;
/// What a person may find in the morning, of a target that was down at night.
pub const QUEUE_MAX: usize = 256;

const _: () = assert!(QUEUE_MAX >= 2, "one is under way and is not dropped");

#[cfg(test)]
mod tests;
