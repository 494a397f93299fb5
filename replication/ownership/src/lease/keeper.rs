//! The side that grants leases, beside the leader of the fleet's group.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ApplianceId, Incarnation, View};

use super::{BEAT, Beat, BeatAnswer, ELECTION_MAX, NEW_LEADER_WAIT, SILENCE_MAX, TICK, Verdict};
use crate::fleet::Present;

/// The number of a read round asked for here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(pub u64);

/// What happened at an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// Time passed.
    Tick,
    /// This appliance leads the fleet's group, in a new term.
    Led,
    /// It does not, or no longer.
    NotLed {
        /// Who does, if that is known.
        leader: Option<ApplianceId>,
    },
    /// An entry of the fleet's group was applied here.
    Applied {
        /// The view it left.
        view: View,
        /// All members.
        roll: Vec<Present>,
    },
    /// A beat has arrived; its sender is proven.
    Beat(Beat),
    /// A quorum answered the round, and all that was committed when it began is applied and told.
    RoundDone(Round),
    /// The round will never be answered.
    RoundFailed(Round),
    /// A `Down` asked for here is not in the log and never will be, or apply refused it.
    DownRefused {
        /// Of whom.
        appliance: ApplianceId,
        /// Of which run.
        incarnation: Incarnation,
    },
}

/// What an appliance does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperEffect {
    /// Answer a beat.
    Answer {
        /// Whose.
        to: ApplianceId,
        /// With what.
        answer: BeatAnswer,
    },
    /// Begin a read round of the fleet's group.
    StartRound(Round),
    /// Propose the `Down` of this run; its lease has ended.
    ProposeDown {
        /// Whose.
        appliance: ApplianceId,
        /// Which.
        incarnation: Incarnation,
    },
}

/// The side that grants leases: one on every appliance, idle where the group is not led.
#[derive(Clone, Debug, Default)]
pub struct LeaseKeeper {
    leading: bool,
    leader: Option<ApplianceId>,
    view: View,
    pub(super) watched: BTreeMap<ApplianceId, Watched>,
    /// The round under way and when it began.
    round: Option<(Round, Duration)>,
    last_round: Round,
    /// After a round that failed: at once it would fail again.
    rest_until: Duration,
    last_step: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    present: Present,
    /// Not before this is it called down: the last beat that it may get an answer to, and then
    /// longer than its lease can run.
    pub(super) due: Duration,
    /// The newest beat seen of this run.
    newest: u64,
    /// A beat that arrived after the round under way began.
    waiting: Option<Beat>,
    /// A beat that the round under way answers.
    in_round: Option<Beat>,
    /// Its `Down` is proposed and its fate unknown: nothing is answered.
    accused: bool,
}

impl LeaseKeeper {
    /// A keeper that leads nothing and knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event; wants a [`KeeperEvent::Tick`] every [`TICK`] at least.
    pub fn step(&mut self, now: Duration, event: KeeperEvent) -> Vec<KeeperEffect> {
        let mut effects = Vec::new();
        let gap = now.saturating_sub(self.last_step);
        self.last_step = now;
        if gap > PAUSE_MIN {
            // We were paused, and beats may lie unread before us: nobody was silent meanwhile.
            for watched in self.watched.values_mut() {
                watched.due += gap;
            }
        }
        match event {
            KeeperEvent::Tick => self.call_down(now, &mut effects),
            KeeperEvent::Led => self.led(now),
            KeeperEvent::NotLed { leader } => self.not_led(leader, &mut effects),
            KeeperEvent::Applied { view, roll } => self.applied(now, view, &roll),
            KeeperEvent::Beat(beat) => self.beat(now, beat, &mut effects),
            KeeperEvent::RoundDone(round) => {
                if self.ends(round) {
                    self.answer_round(&mut effects);
                }
            }
            KeeperEvent::RoundFailed(round) => {
                if self.ends(round) {
                    self.watched.values_mut().for_each(Watched::wait_again);
                    self.rest_until = now + TICK;
                }
            }
            KeeperEvent::DownRefused { appliance, incarnation } => {
                let watched = self.watched.get_mut(&appliance);
                if let Some(watched) = watched.filter(|w| w.present.incarnation == incarnation) {
                    watched.accused = false;
                    // Its beats went unheard meanwhile: one may come before it is accused again.
                    watched.due = watched.due.max(now + 2 * BEAT);
                }
            }
        }
        self.start_round(now, &mut effects);
        effects
    }

    fn led(&mut self, now: Duration) {
        self.leading = true;
        self.leader = None;
        self.round = None;
        for watched in self.watched.values_mut() {
            // What the leader before granted is not known here, but how late it can be.
            *watched = Watched::new(watched.present, now + NEW_LEADER_WAIT);
        }
    }

    fn not_led(&mut self, leader: Option<ApplianceId>, effects: &mut Vec<KeeperEffect>) {
        self.leading = false;
        self.leader = leader;
        self.round = None;
        for (appliance, watched) in &mut self.watched {
            let beats = [watched.in_round.take(), watched.waiting.take()];
            for beat in beats.into_iter().flatten() {
                let verdict = Verdict::AskLeader(leader);
                effects.push(answer(*appliance, beat, verdict));
            }
        }
    }

    fn applied(&mut self, now: Duration, view: View, roll: &[Present]) {
        self.view = view;
        let due = now + SILENCE_MAX;
        // A second member: what the first held for ever ends within a lease from here.
        let grows = self.watched.len() == 1 && roll.len() > 1;
        let before = std::mem::take(&mut self.watched);
        for present in roll {
            let known = before.get(&present.appliance);
            let watched = match known {
                Some(known) if known.present == *present => {
                    let due = if grows { known.due.max(due) } else { known.due };
                    Watched { due, ..*known }
                }
                // Its first beat comes after this entry, and is waited for as long as any other.
                Some(known) => {
                    let fresh = Watched::new(*present, known.due.max(due));
                    Watched { waiting: known.waiting, in_round: known.in_round, ..fresh }
                }
                None => Watched::new(*present, due),
            };
            self.watched.insert(present.appliance, watched);
        }
    }

    fn beat(&mut self, now: Duration, beat: Beat, effects: &mut Vec<KeeperEffect>) {
        if !self.leading {
            let verdict = Verdict::AskLeader(self.leader);
            effects.push(answer(beat.appliance, beat, verdict));
            return;
        }
        // One that we do not know yet beats again; one that was removed may do so for ever.
        let Some(watched) = self.watched.get_mut(&beat.appliance) else { return };
        if beat.incarnation == watched.present.incarnation {
            if beat.number <= watched.newest {
                // Late or doubled: it tells nothing of now.
                return;
            }
            watched.newest = beat.number;
            if watched.accused {
                return;
            }
            watched.due = watched.due.max(now + SILENCE_MAX);
        }
        let newer =
            |other: Beat| (beat.incarnation, beat.number) > (other.incarnation, other.number);
        if watched.waiting.is_none_or(newer) {
            watched.waiting = Some(beat);
        }
    }

    /// Whether that was the round under way.
    fn ends(&mut self, round: Round) -> bool {
        let ours = self.round.is_some_and(|(under_way, _)| under_way == round);
        if ours {
            self.round = None;
        }
        ours
    }

    fn answer_round(&mut self, effects: &mut Vec<KeeperEffect>) {
        for (appliance, watched) in &mut self.watched {
            let Some(beat) = watched.in_round.take() else { continue };
            let Present { incarnation, up, .. } = watched.present;
            if beat.incarnation > incarnation || watched.accused {
                continue;
            }
            let verdict = if up && beat.incarnation == incarnation {
                Verdict::Granted { view: self.view }
            } else {
                Verdict::CalledDown { view: self.view }
            };
            effects.push(answer(*appliance, beat, verdict));
        }
    }

    /// One round for all that wait; one that takes too long is given up and its beats join.
    fn start_round(&mut self, now: Duration, effects: &mut Vec<KeeperEffect>) {
        let busy = self.round.is_some_and(|(_, began)| now < began + ROUND_MAX);
        if !self.leading || busy || now < self.rest_until {
            return;
        }
        self.watched.values_mut().for_each(Watched::wait_again);
        self.round = None;
        if self.watched.values().all(|watched| watched.waiting.is_none()) {
            return;
        }
        for watched in self.watched.values_mut() {
            watched.in_round = watched.waiting.take();
        }
        self.last_round = Round(self.last_round.0 + 1);
        self.round = Some((self.last_round, now));
        effects.push(KeeperEffect::StartRound(self.last_round));
    }

    fn call_down(&mut self, now: Duration, effects: &mut Vec<KeeperEffect>) {
        // A fleet of one has nobody who could act in its place.
        if !self.leading || self.watched.len() < 2 {
            return;
        }
        for (appliance, watched) in &mut self.watched {
            if !watched.present.up || watched.accused || now < watched.due {
                continue;
            }
            watched.accused = true;
            watched.waiting = None;
            watched.in_round = None;
            let incarnation = watched.present.incarnation;
            effects.push(KeeperEffect::ProposeDown { appliance: *appliance, incarnation });
        }
    }
}

impl Watched {
    fn new(present: Present, due: Duration) -> Self {
        Self { present, due, newest: 0, waiting: None, in_round: None, accused: false }
    }

    /// A beat whose round came to nothing waits for the next one, unless a newer one does.
    fn wait_again(&mut self) {
        let in_round = self.in_round.take();
        self.waiting = self.waiting.or(in_round);
    }
}

fn answer(to: ApplianceId, beat: Beat, verdict: Verdict) -> KeeperEffect {
    let answer = BeatAnswer { incarnation: beat.incarnation, number: beat.number, verdict };
    KeeperEffect::Answer { to, answer }
}

/// No round takes so long while its leader still leads.
const ROUND_MAX: Duration = ELECTION_MAX;
/// Between two steps of a keeper that is not paused lie a few ticks at most.
const PAUSE_MIN: Duration = Duration::from_millis(4 * TICK.as_millis() as u64);
