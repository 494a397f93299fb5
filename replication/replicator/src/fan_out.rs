//! What an owner decides about the copies that follow its own: which changes go to whom, what is
//! sent again, who has received what and made what durable, and who does not keep up.
//!
//! Invariants: changes go to each follower in their order, each with its predecessor's name. What a
//! follower is taken to have it has said itself. A follower that is lost stays one, and everybody
//! waits for it, until the log says that its copy is stale: then it is no follower any more.
//! Absent on purpose: IO, clocks, who follows (the log says that), and making copies equal.

use std::collections::VecDeque;
use std::time::Duration;

use extents::Frame;
use model::{ApplianceId, Incarnation, Mark, Refusal};

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanOutSettings {
    /// How long a follower may owe an answer.
    pub ack_max: Duration,
    /// After how long something is sent again that did not get there.
    pub again_after: Duration,
    /// Bytes of payload in one batch, if that is more than one change.
    pub batch_bytes: u64,
    /// Changes in one batch.
    pub frames_max: usize,
    /// Batches on their way to one follower.
    pub batches_max: usize,
}

impl Default for FanOutSettings {
    fn default() -> Self {
        Self {
            ack_max: Duration::from_secs(2),
            again_after: Duration::from_millis(25),
            batch_bytes: 1 << 20,
            frames_max: 256,
            batches_max: 4,
        }
    }
}

/// Changes for one follower, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Names it in what becomes of it.
    pub number: u64,
    /// The change before the first of them.
    pub previous: Mark,
    /// In order; none if only a question is asked.
    pub frames: Vec<Frame>,
    /// Whether all up to the last is to be durable when it is answered.
    pub durable: bool,
    /// Whether it is the first that this run of the follower is to answer: it knows nothing of what
    /// was before.
    pub joins: bool,
}

/// What a follower says to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has everything up to this mark.
    Has {
        /// The last one.
        mark: Mark,
        /// Whether up to there it is durable.
        durable: bool,
    },
    /// Its copy is not what the owner takes it for.
    Gap,
    /// Not under this view or epoch: both catch up, and it is asked again.
    NotNow,
    /// It can't: no room, a broken disk.
    Refused(Refusal),
}

/// Why a follower is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostWhy {
    /// It did not answer in time.
    Silent,
    /// Its copy differs.
    Gap,
    /// It said that it can't.
    Refused(Refusal),
}

/// What happened.
#[derive(Debug)]
pub enum FanOutEvent {
    /// A change was made; it follows upon the one before.
    Frame(Frame),
    /// Everything up to this mark is to be durable everywhere.
    Secure(Mark),
    /// A follower answered.
    Told {
        /// Who.
        from: ApplianceId,
        /// Which batch.
        batch: u64,
        /// What.
        told: Told,
    },
    /// A batch did not get there, or nobody knows.
    Failed {
        /// To whom.
        to: ApplianceId,
        /// Which.
        batch: u64,
    },
    /// Time has passed.
    Woke,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum FanOutEffect {
    /// Send this.
    Send {
        /// To whom.
        to: ApplianceId,
        /// What.
        batch: Batch,
    },
    /// Make this follower's copy equal, or have the log say that it is stale. Said once.
    Lost {
        /// Who.
        follower: ApplianceId,
        /// Why.
        why: LostWhy,
    },
}

/// The owner's decisions about one object.
#[derive(Debug)]
pub struct FanOut {
    settings: FanOutSettings,
    tip: Mark,
    /// Changes that some follower is not known to have.
    kept: VecDeque<Kept>,
    followers: Vec<Follower>,
    /// What must be durable at each of them.
    wanted: Option<Mark>,
    batches: u64,
}

#[derive(Debug)]
struct Kept {
    previous: Mark,
    frame: Frame,
}

#[derive(Debug)]
struct Follower {
    run: (ApplianceId, Incarnation),
    /// Where it is taken to be before it has said anything.
    begins: Mark,
    received: Option<Mark>,
    durable: Option<Mark>,
    sent: Mark,
    flying: Vec<Flying>,
    rests_until: Option<Duration>,
    owes_since: Option<Duration>,
    is_lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flying {
    number: u64,
    last: Mark,
    durable: bool,
}

impl FanOut {
    /// Of an object whose last change is `tip`.
    pub fn new(settings: FanOutSettings, tip: Mark) -> Self {
        let (kept, followers) = (VecDeque::new(), Vec::new());
        Self { settings, tip, kept, followers, wanted: None, batches: 0 }
    }

    /// The last change.
    pub fn tip(&self) -> Mark {
        self.tip
    }

    /// Who follows from here on, each in which run: what an earlier one said is worth nothing. Who
    /// is new is asked whether its copy is as the owner's is now.
    pub fn follow(
        &mut self,
        now: Duration,
        who: &[(ApplianceId, Incarnation)],
    ) -> Vec<FanOutEffect> {
        self.followers.retain(|follower| who.contains(&follower.run));
        for run in who {
            if !self.followers.iter().any(|follower| follower.run == *run) {
                self.followers.push(Follower::new(*run, self.tip));
            }
        }
        self.step(now, FanOutEvent::Woke)
    }

    /// Who follows.
    pub fn followers(&self) -> impl Iterator<Item = ApplianceId> {
        self.followers.iter().map(|follower| follower.run.0)
    }

    /// A follower's copy was made equal to what the owner's was at `mark`, though not durable.
    pub fn made_equal(
        &mut self,
        now: Duration,
        appliance: ApplianceId,
        mark: Mark,
    ) -> Vec<FanOutEffect> {
        self.with(appliance, |follower| {
            *follower = Follower { received: Some(mark), ..Follower::new(follower.run, mark) };
        });
        self.step(now, FanOutEvent::Woke)
    }

    /// Up to where every follower has all; `None` if some has said nothing yet.
    pub fn received(&self) -> Option<Mark> {
        self.followers.iter().map(|follower| follower.received).min().unwrap_or(Some(self.tip))
    }

    /// Up to where all is durable at every follower.
    pub fn secured(&self) -> Option<Mark> {
        self.followers.iter().map(|follower| follower.durable).min().unwrap_or(Some(self.tip))
    }

    /// Whether every follower has all up to `mark`.
    pub fn has_all(&self, mark: Mark) -> bool {
        self.received() >= Some(mark)
    }

    /// Whether all up to `mark` is durable at every follower.
    pub fn is_secure(&self, mark: Mark) -> bool {
        self.secured() >= Some(mark)
    }

    /// Whether every follower has said that its copy is as the owner's.
    pub fn is_joined(&self) -> bool {
        self.followers.iter().all(|follower| follower.received.is_some() && !follower.is_lost)
    }

    /// When to be woken, if nothing else happens.
    pub fn wake_at(&self) -> Option<Duration> {
        let ack_max = self.settings.ack_max;
        let of = |follower: &Follower| {
            let late = follower.owes_since.map(|since| since + ack_max);
            follower.rests_until.into_iter().chain(late).min()
        };
        self.followers.iter().filter(|follower| !follower.is_lost).filter_map(of).min()
    }

    /// What to do about `event`.
    pub fn step(&mut self, now: Duration, event: FanOutEvent) -> Vec<FanOutEffect> {
        let mut effects = Vec::new();
        match event {
            FanOutEvent::Frame(frame) => {
                let previous = std::mem::replace(&mut self.tip, frame.mark);
                if frame.secure {
                    self.wanted = self.wanted.max(Some(frame.mark));
                }
                self.kept.push_back(Kept { previous, frame });
            }
            FanOutEvent::Secure(mark) => {
                self.wanted = self.wanted.max(Some(mark));
            }
            FanOutEvent::Told { from, batch, told } => {
                self.told(now, from, batch, told, &mut effects);
            }
            FanOutEvent::Failed { to, batch } => {
                let again_at = now + self.settings.again_after;
                self.with(to, |follower| follower.failed(batch, again_at));
            }
            FanOutEvent::Woke => {}
        }
        self.forget();
        for at in 0..self.followers.len() {
            self.plan(now, at, &mut effects);
        }
        effects
    }

    fn with(&mut self, appliance: ApplianceId, act: impl FnOnce(&mut Follower)) {
        if let Some(follower) = self.followers.iter_mut().find(|f| f.run.0 == appliance) {
            act(follower);
        }
    }

    fn told(
        &mut self,
        now: Duration,
        from: ApplianceId,
        batch: u64,
        told: Told,
        effects: &mut Vec<FanOutEffect>,
    ) {
        let (tip, again_at) = (self.tip, now + self.settings.again_after);
        let Some(follower) = self.followers.iter_mut().find(|f| f.run.0 == from) else { return };
        // Whoever was asked may have been another run, and what was asked is asked again.
        let asked = follower.flying.iter().find(|flying| flying.number == batch).copied();
        let Some(asked) = asked else { return };
        match told {
            // Not what was asked, or what was not made yet.
            Told::Has { mark, .. } if mark < asked.last || mark > tip => {
                follower.lose(LostWhy::Gap, effects);
            }
            Told::Has { mark, durable } => {
                follower.received = follower.received.max(Some(mark));
                follower.sent = follower.sent.max(mark);
                if durable {
                    follower.durable = follower.durable.max(Some(mark));
                }
                follower.flying.retain(|flying| flying.number != batch);
                follower.owes_since = Some(now).filter(|_| !follower.flying.is_empty());
            }
            Told::Gap => follower.lose(LostWhy::Gap, effects),
            Told::NotNow => follower.failed(batch, again_at),
            Told::Refused(refusal) => follower.lose(LostWhy::Refused(refusal), effects),
        }
    }

    /// Forgets what everybody has.
    fn forget(&mut self) {
        let least = self.followers.iter().map(|f| f.received.unwrap_or(f.begins)).min();
        let least = least.unwrap_or(self.tip);
        while self.kept.front().is_some_and(|kept| kept.frame.mark <= least) {
            self.kept.pop_front();
        }
    }

    fn plan(&mut self, now: Duration, at: usize, effects: &mut Vec<FanOutEffect>) {
        let follower = &mut self.followers[at];
        if follower.is_lost {
            return;
        }
        if follower.owes_since.is_some_and(|since| now >= since + self.settings.ack_max) {
            return follower.lose(LostWhy::Silent, effects);
        }
        if follower.rests_until.is_some_and(|until| now < until) {
            return;
        }
        follower.rests_until = None;
        while follower.flying.len() < self.settings.batches_max {
            let previous = follower.sent;
            let first = self.kept.partition_point(|kept| kept.frame.mark <= previous);
            let mut bytes = 0;
            let frames: Vec<Frame> = self
                .kept
                .range(first..)
                .take_while(|kept| {
                    let fits = bytes == 0 || bytes + cost(&kept.frame) <= self.settings.batch_bytes;
                    bytes += cost(&kept.frame);
                    fits
                })
                .take(self.settings.frames_max)
                .map(|kept| kept.frame.clone())
                .collect();
            debug_assert!(self.kept.get(first).is_none_or(|kept| kept.previous == previous));
            let last = frames.last().map_or(previous, |frame| frame.mark);
            let is_owed = |wanted: &Mark| {
                let asked = |f: &Flying| f.durable && f.last >= *wanted;
                follower.durable < Some(*wanted) && !follower.flying.iter().any(asked)
            };
            let durable = self.wanted.is_some_and(|wanted| last >= wanted && is_owed(&wanted));
            let asks = follower.received.is_none() && follower.flying.is_empty();
            if frames.is_empty() && !durable && !asks {
                return;
            }
            self.batches += 1;
            let number = self.batches;
            follower.sent = last;
            follower.owes_since.get_or_insert(now);
            follower.flying.push(Flying { number, last, durable });
            let joins = follower.received.is_none();
            let batch = Batch { number, previous, frames, durable, joins };
            effects.push(FanOutEffect::Send { to: follower.run.0, batch });
        }
    }
}

impl Follower {
    fn new(run: (ApplianceId, Incarnation), begins: Mark) -> Self {
        Self {
            run,
            begins,
            received: None,
            durable: None,
            sent: begins,
            flying: Vec::new(),
            rests_until: None,
            owes_since: None,
            is_lost: false,
        }
    }

    /// All that is on its way is sent again: what came after the failed one may wait for it there.
    fn failed(&mut self, batch: u64, again_at: Duration) {
        if self.flying.iter().any(|flying| flying.number == batch) {
            self.flying.clear();
            self.sent = self.received.unwrap_or(self.begins);
            self.rests_until = Some(again_at);
        }
    }

    fn lose(&mut self, why: LostWhy, effects: &mut Vec<FanOutEffect>) {
        if !self.is_lost {
            self.is_lost = true;
            self.flying.clear();
            effects.push(FanOutEffect::Lost { follower: self.run.0, why });
        }
    }
}

/// What a change takes in a batch.
fn cost(frame: &Frame) -> u64 {
    FRAME_BYTES + frame.change.payload_len()
}

/// A change without its payload, roughly.
const FRAME_BYTES: u64 = 128;

#[cfg(test)]
mod tests;
