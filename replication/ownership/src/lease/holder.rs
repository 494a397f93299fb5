//! The side that acts under a lease.

use std::collections::VecDeque;
use std::time::Duration;

use model::{ApplianceId, Incarnation, View};

use super::{BEAT, Beat, BeatAnswer, LEASE, Verdict};

/// What an appliance may do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Acknowledge: it is a fleet of one.
    ForEver,
    /// Acknowledge while the clock is below this.
    Until(Duration),
    /// Acknowledge nothing.
    Nothing,
}

impl Holding {
    /// Whether something may be acknowledged at `now`.
    pub fn is_live(self, now: Duration) -> bool {
        match self {
            Self::ForEver => true,
            Self::Until(end) => now < end,
            Self::Nothing => false,
        }
    }
}

/// What happened at an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderEvent {
    /// Time passed.
    Tick,
    /// The fleet's state and its group have this appliance alone in them: no beats, a lease for
    /// ever.
    Alone,
    /// A second member is about to be entered: the lease has an end from here on. The entry is
    /// proposed only once a beat was answered ([`LeaseHolder::is_accompanied`]).
    Accompanied,
    /// This appliance's `UpAt` is applied here: a new run.
    Up(Incarnation),
    /// A `Down` of this run is applied here.
    Down(Incarnation),
    /// Who votes in the fleet's group.
    Voters(Vec<ApplianceId>),
    /// Who leads it, as the group here has heard; a hint.
    Leader(Option<ApplianceId>),
    /// An answer has arrived.
    Answered(BeatAnswer),
    /// Every client connection of before the lapse is closed.
    Closed,
    /// The appliance stops: from here on nothing is live, whatever comes.
    GivenBack,
}

/// What an appliance does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderEffect {
    /// Send a beat; it may be itself.
    Send {
        /// To whom.
        to: ApplianceId,
        /// What.
        beat: Beat,
    },
    /// The lease has ended: close every client connection, unread requests and all, then say
    /// [`HolderEvent::Closed`]. Nothing is live before. Once a lapse.
    Lapsed,
    /// This run was called down: enter a new `UpAt`, until it is applied. Once a run.
    Rejoin,
    /// There is a view at least as new as this: catch up.
    Newer(View),
}

/// The side that acts under a lease: one on every appliance.
#[derive(Clone, Debug)]
pub struct LeaseHolder {
    appliance: ApplianceId,
    stage: Stage,
    alone: bool,
    incarnation: Incarnation,
    /// The number of the last beat of this run.
    number: u64,
    /// Beats that may yet be answered, and when they were sent; the oldest first.
    pub(super) sent: VecDeque<(u64, Duration)>,
    next_beat: Duration,
    /// Until when the last granted lease runs; none before the first of a run and after a lapse.
    lease: Option<Duration>,
    closing: bool,
    voters: Vec<ApplianceId>,
    leader: Option<ApplianceId>,
    /// Which voter is asked if no leader is known.
    turn: usize,
    /// Beats since somebody answered.
    unanswered: u32,
    /// Whether a beat of this run, as one of several, was granted a lease.
    granted: bool,
    view: View,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the first `Up`.
    Starting,
    Running,
    /// Called down; waits for its next `Up`.
    Out,
    /// Given back.
    Over,
}

impl LeaseHolder {
    /// An appliance that has just started and holds nothing.
    pub fn new(appliance: ApplianceId) -> Self {
        Self {
            appliance,
            stage: Stage::Starting,
            alone: false,
            incarnation: Incarnation::default(),
            number: 0,
            sent: VecDeque::new(),
            next_beat: Duration::ZERO,
            lease: None,
            closing: false,
            voters: Vec::new(),
            leader: None,
            turn: 0,
            unanswered: 0,
            granted: false,
            view: View::default(),
        }
    }

    /// What may be done, for whoever asks often: it changes in [`LeaseHolder::step`] alone.
    pub fn holding(&self) -> Holding {
        match self.lease {
            _ if self.closing || self.stage != Stage::Running => Holding::Nothing,
            _ if self.alone => Holding::ForEver,
            Some(end) => Holding::Until(end),
            None => Holding::Nothing,
        }
    }

    /// Whether something may be acknowledged at `now`.
    pub fn is_live(&self, now: Duration) -> bool {
        self.holding().is_live(now)
    }

    /// Whether a beat of this run was answered, and so the lease is no longer one for ever: from
    /// here on a second member may be entered.
    pub fn is_accompanied(&self) -> bool {
        !self.alone && self.granted
    }

    /// The newest view that an answer has told of. The lease it granted says nothing about acting
    /// under an older one: whoever acts has applied this one first.
    pub fn heard(&self) -> View {
        self.view
    }

    /// The run that beats.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Takes an event; wants a [`HolderEvent::Tick`] every [`super::TICK`] at least.
    pub fn step(&mut self, now: Duration, event: HolderEvent) -> Vec<HolderEffect> {
        let mut effects = Vec::new();
        // First of all: what comes now must not cover up that the lease had ended.
        if self.lease.is_some_and(|end| now >= end) {
            self.lapse(&mut effects);
        }
        match event {
            HolderEvent::Tick => {}
            HolderEvent::Closed => self.closing = false,
            HolderEvent::GivenBack => self.stage = Stage::Over,
            HolderEvent::Alone => {
                self.alone = true;
                self.lease = None;
                self.sent.clear();
            }
            HolderEvent::Accompanied => self.accompany(now),
            HolderEvent::Up(incarnation) => self.up(now, incarnation, &mut effects),
            HolderEvent::Down(incarnation) => {
                if incarnation == self.incarnation {
                    self.out(&mut effects);
                }
            }
            HolderEvent::Voters(voters) => self.voters = voters,
            HolderEvent::Leader(leader) => self.follow(now, leader),
            HolderEvent::Answered(answer) => self.answered(now, answer, &mut effects),
        }
        self.beat(now, &mut effects);
        effects
    }

    fn accompany(&mut self, now: Duration) {
        if !self.alone {
            return;
        }
        self.alone = false;
        self.granted = false;
        self.next_beat = now;
        if self.stage == Stage::Running {
            self.lease = Some(now + LEASE);
        }
    }

    fn up(&mut self, now: Duration, incarnation: Incarnation, effects: &mut Vec<HolderEffect>) {
        if incarnation <= self.incarnation || self.stage == Stage::Over {
            return;
        }
        if self.lease.is_some() {
            // An `UpAt` that was entered twice: what was granted to one run is not the next one's.
            self.lapse(effects);
        }
        self.stage = Stage::Running;
        self.incarnation = incarnation;
        self.number = 0;
        self.sent.clear();
        self.unanswered = 0;
        self.granted = false;
        self.next_beat = now;
    }

    /// Beats to a new leader soon, but no faster than this if two voters name each other.
    fn follow(&mut self, now: Duration, leader: Option<ApplianceId>) {
        if leader.is_some() && leader != self.leader {
            self.next_beat = self.next_beat.min(now + BEAT / 3);
        }
        self.leader = leader;
    }

    fn answered(&mut self, now: Duration, answer: BeatAnswer, effects: &mut Vec<HolderEffect>) {
        let beating = self.stage == Stage::Running && !self.alone;
        if !beating || answer.incarnation != self.incarnation {
            return;
        }
        let Some(at) = self.sent.iter().position(|(number, _)| *number == answer.number) else {
            // Answered before, or too long ago to matter.
            return;
        };
        self.unanswered = 0;
        match answer.verdict {
            Verdict::Granted { view } => {
                // Older beats can't grant more than this one.
                let sent = self.sent[at].1;
                self.sent.drain(..=at);
                let end = sent + LEASE;
                if now < end {
                    self.lease = self.lease.max(Some(end));
                    self.granted = true;
                }
                self.newer(view, effects);
            }
            Verdict::CalledDown { view } => {
                self.newer(view, effects);
                self.out(effects);
            }
            Verdict::AskLeader(leader) => {
                if leader.is_none() {
                    self.turn += 1;
                }
                self.follow(now, leader);
            }
        }
    }

    fn newer(&mut self, view: View, effects: &mut Vec<HolderEffect>) {
        if view > self.view {
            self.view = view;
            effects.push(HolderEffect::Newer(view));
        }
    }

    fn lapse(&mut self, effects: &mut Vec<HolderEffect>) {
        self.lease = None;
        self.closing = true;
        effects.push(HolderEffect::Lapsed);
    }

    fn out(&mut self, effects: &mut Vec<HolderEffect>) {
        if self.stage != Stage::Running || self.alone {
            return;
        }
        if self.lease.is_some() {
            self.lapse(effects);
        }
        self.stage = Stage::Out;
        self.sent.clear();
        effects.push(HolderEffect::Rejoin);
    }

    fn beat(&mut self, now: Duration, effects: &mut Vec<HolderEffect>) {
        if self.stage != Stage::Running || self.alone || now < self.next_beat {
            return;
        }
        self.next_beat = now + BEAT;
        // A leader that says nothing for so long may be gone: ask the voters one after another.
        if self.unanswered >= SILENT_BEATS_MAX {
            self.leader = None;
            self.turn += 1;
        }
        let in_turn = || self.voters.get(self.turn % self.voters.len().max(1)).copied();
        let Some(to) = self.leader.or_else(in_turn) else { return };
        self.unanswered += 1;
        self.number += 1;
        self.sent.push_back((self.number, now));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_front();
        }
        let beat =
            Beat { appliance: self.appliance, incarnation: self.incarnation, number: self.number };
        effects.push(HolderEffect::Send { to, beat });
    }
}

/// Beats without any answer before another voter is asked.
const SILENT_BEATS_MAX: u32 = 3;
/// As many as can be sent in a lease, asking around included; an older one grants nothing.
const SENT_MAX: usize = 32;
const _: () = assert!(SENT_MAX as u128 * BEAT.as_millis() > 3 * LEASE.as_millis());
