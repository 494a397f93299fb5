//! A whole fleet in one thread: the leases' cores, a small Raft, clocks that drift, a network that
//! delays, loses, doubles and reorders, processes that pause and die. All of it from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use model::{ApplianceId, Incarnation};

use super::raft::{ELECTION_TICKS, Raft, RaftMessage, Sends};
use super::*;
use crate::fleet::{Fleet, FleetAnswer, FleetCommand, Labels};

/// What is done wrong on purpose, for the checker to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    Nothing,
    /// A lease counts from when its answer arrived.
    FromArrival,
    /// A new leader trusts its own ignorance.
    HastyLeader,
    /// Some clocks run a third slower than others.
    WildClocks,
    /// A started voter votes at once.
    Forgetful,
    /// Beats are answered without asking a quorum.
    NoRound,
}

/// How bad it gets, in thousandths where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub doubles: u64,
    /// Of messages that are late by seconds.
    pub late: u64,
    /// Of partitions, pauses and kills, each a tick and appliance.
    pub trouble: u64,
}

#[derive(Clone, Debug)]
enum Message {
    Raft(RaftMessage),
    Beat(Beat),
    Answer(BeatAnswer),
    Start(FleetCommand, u64),
}

#[derive(Clone, Debug)]
enum Event {
    Tick,
    Message { from: ApplianceId, message: Message },
    Closed,
    Boot,
}

struct Appliance {
    /// Parts in a million that its clock is fast.
    rate: i64,
    offset: Duration,
    running: bool,
    paused_until: u64,
    raft: Raft,
    fleet: Fleet,
    applied: usize,
    holder: LeaseHolder,
    keeper: LeaseKeeper,
    led: Option<u64>,
    leader: Option<ApplianceId>,
    rounds: Vec<(Round, u64)>,
    /// The number of the `UpAt` that it waits for, and when it asked last.
    starting: Option<(u64, u64)>,
}

pub struct World {
    pub now: u64,
    pub weather: Weather,
    mistake: Mistake,
    chance: u64,
    queue: BTreeMap<(u64, u64), (ApplianceId, Event)>,
    posted: u64,
    nonce: u64,
    ids: Vec<ApplianceId>,
    appliances: BTreeMap<ApplianceId, Appliance>,
    cut: BTreeMap<(ApplianceId, ApplianceId), u64>,
    downed: BTreeSet<(ApplianceId, Incarnation)>,
    /// Every Down that was applied, and every lapse, for those who count them.
    pub lapses: u64,
    pub violation: Option<String>,
    pub digest: u64,
}

impl World {
    pub fn new(seed: u64, members: u64, mistake: Mistake) -> Self {
        let ids: Vec<ApplianceId> = (1..=members).map(ApplianceId::new).collect();
        let voters = ids[..ids.len().min(5).next_multiple_of(2) - 1].to_vec();
        let weather = Weather { loss: 0, doubles: 0, late: 0, trouble: 0 };
        let mut world = Self {
            now: 0,
            weather,
            mistake,
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            queue: BTreeMap::new(),
            posted: 0,
            nonce: 0,
            ids: ids.clone(),
            appliances: BTreeMap::new(),
            cut: BTreeMap::new(),
            downed: BTreeSet::new(),
            lapses: 0,
            violation: None,
            digest: 0,
        };
        let fleet = super::fleet_of(&ids);
        // Half of what two clocks may differ by, to either side.
        let spread = if mistake == Mistake::WildClocks { 200_000 } else { 5_000 };
        for id in &ids {
            let rate = world.draw(2 * spread + 1) as i64 - spread as i64;
            let offset = Duration::from_millis(10_000 + world.draw(1_000_000));
            let appliance = Appliance {
                rate,
                offset,
                running: false,
                paused_until: 0,
                raft: Raft::new(*id, voters.clone()),
                fleet: fleet.clone(),
                applied: 0,
                holder: LeaseHolder::new(*id),
                keeper: LeaseKeeper::new(),
                led: None,
                leader: None,
                rounds: Vec::new(),
                starting: None,
            };
            world.appliances.insert(*id, appliance);
            world.post(*id, 1, Event::Boot);
        }
        world
    }

    /// Runs for so many milliseconds, or until the checker has found something.
    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis * 1000;
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry() else { break };
            if entry.key().0 > end {
                break;
            }
            let ((at, _), (id, event)) = entry.remove_entry();
            self.now = at;
            self.happen(id, event);
        }
        self.now = end;
    }

    /// Good weather from here on, everybody there.
    pub fn heal(&mut self) {
        self.weather = Weather { loss: 0, doubles: 0, late: 0, trouble: 0 };
        self.cut.clear();
    }

    pub fn kill(&mut self, id: ApplianceId, back_after_millis: u64) {
        let appliance = self.appliances.get_mut(&id).unwrap();
        appliance.running = false;
        appliance.holder = LeaseHolder::new(id);
        self.queue.retain(|_, (to, event)| *to != id || matches!(event, Event::Message { .. }));
        self.post(id, back_after_millis * 1000, Event::Boot);
    }

    /// Nothing passes between these two, either way.
    pub fn cut(&mut self, one: ApplianceId, other: ApplianceId, millis: u64) {
        let until = self.now + millis * 1000;
        self.cut.insert((one, other), until);
        self.cut.insert((other, one), until);
    }

    pub fn leader(&self) -> Option<ApplianceId> {
        let leads = |id: &&ApplianceId| {
            let appliance = &self.appliances[id];
            appliance.running && appliance.raft.leads() && appliance.raft.is_settled()
        };
        self.ids.iter().find(leads).copied()
    }

    /// Who may not acknowledge now, or is down as the leader sees it.
    pub fn not_serving(&self) -> Vec<ApplianceId> {
        let Some(leader) = self.leader() else { return self.ids.clone() };
        let fleet = &self.appliances[&leader].fleet;
        let serves = |id: &ApplianceId| {
            let appliance = &self.appliances[id];
            appliance.holder.is_live(self.clock(*id)) && fleet.is_up(*id)
        };
        self.ids.iter().copied().filter(|id| !serves(id)).collect()
    }

    /// How many runs were called down.
    pub fn downs(&self) -> usize {
        self.downed.len()
    }

    fn clock(&self, id: ApplianceId) -> Duration {
        let appliance = &self.appliances[&id];
        let micros = self.now as i64 + self.now as i64 * appliance.rate / 1_000_000;
        appliance.offset + Duration::from_micros(micros as u64)
    }

    /// xorshift64*.
    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    fn post(&mut self, to: ApplianceId, after: u64, event: Event) {
        self.posted += 1;
        self.queue.insert((self.now + after, self.posted), (to, event));
    }

    fn send(&mut self, from: ApplianceId, to: ApplianceId, message: Message) {
        if from == to {
            return self.post(to, 1, Event::Message { from, message });
        }
        let cut = self.cut.get(&(from, to)).is_some_and(|until| self.now < *until);
        if cut || self.draw(1000) < self.weather.loss {
            return;
        }
        let copies = if self.draw(1000) < self.weather.doubles { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.draw(1000) < self.weather.late;
            let delay = if late { self.draw(3_000_000) } else { 200 + self.draw(10_000) };
            let message = message.clone();
            self.post(to, delay, Event::Message { from, message });
        }
    }

    fn happen(&mut self, id: ApplianceId, event: Event) {
        let appliance = self.appliances.get_mut(&id).unwrap();
        if appliance.paused_until > self.now {
            let wait = appliance.paused_until - self.now;
            return self.post(id, wait, event);
        }
        match event {
            Event::Boot => self.boot(id),
            _ if !appliance.running => {}
            Event::Tick => self.tick(id),
            Event::Closed => self.hold(id, HolderEvent::Closed),
            Event::Message { from, message } => self.receive(id, from, message),
        }
        self.check(id);
        let seen = (self.now ^ id.get() << 48).wrapping_add(self.posted);
        self.digest = (self.digest ^ seen).wrapping_mul(0x100_0000_01b3);
    }

    fn boot(&mut self, id: ApplianceId) {
        let quiet = if self.mistake == Mistake::Forgetful { ELECTION_TICKS } else { 0 };
        self.nonce += 1;
        let nonce = self.nonce;
        let appliance = self.appliances.get_mut(&id).unwrap();
        appliance.running = true;
        appliance.raft.restart(quiet);
        appliance.holder = LeaseHolder::new(id);
        appliance.keeper = LeaseKeeper::new();
        appliance.led = None;
        appliance.leader = None;
        appliance.rounds.clear();
        appliance.starting = Some((nonce, 0));
        let (view, roll) = (appliance.fleet.view(), appliance.fleet.roll());
        self.keep(id, KeeperEvent::Applied { view, roll });
        self.hold(id, HolderEvent::Voters(self.ids[..self.ids.len().min(3)].to_vec()));
        self.post(id, 0, Event::Tick);
    }

    fn tick(&mut self, id: ApplianceId) {
        let jitter = self.draw(5_000);
        self.post(id, 48_000 + jitter, Event::Tick);
        if self.draw(10_000) < self.weather.trouble {
            self.trouble(id);
        }
        let chance = self.draw(1 << 20);
        let ids = self.ids.clone();
        let mut sends = Sends::new();
        let appliance = self.appliances.get_mut(&id).unwrap();
        appliance.raft.tick(chance, &mut sends, &ids);
        self.after_raft(id, sends);
        self.hold(id, HolderEvent::Tick);
        self.keep(id, KeeperEvent::Tick);
        self.ask_to_start(id);
    }

    fn trouble(&mut self, id: ApplianceId) {
        match self.draw(3) {
            0 => {
                let until = self.now + self.draw(4_000_000);
                self.appliances.get_mut(&id).unwrap().paused_until = until;
            }
            1 => {
                let after = if self.draw(2) == 0 { 1 } else { self.draw(3_000) };
                self.kill(id, after);
            }
            _ => {
                let until = self.now + self.draw(4_000_000);
                for other in self.ids.clone() {
                    if self.draw(2) == 0 {
                        self.cut.insert((id, other), until);
                    }
                    if self.draw(2) == 0 {
                        self.cut.insert((other, id), until);
                    }
                }
            }
        }
    }

    fn ask_to_start(&mut self, id: ApplianceId) {
        let now = self.now;
        let appliance = self.appliances.get_mut(&id).unwrap();
        let Some((nonce, asked)) = &mut appliance.starting else { return };
        let Some(leader) = appliance.leader else { return };
        if *asked != 0 && now < *asked + 500_000 {
            return;
        }
        *asked = now;
        let (name, nonce) = (id.to_string(), *nonce);
        let (addresses, labels) = (vec![], Labels::default());
        let up = FleetCommand::UpAt { appliance: id, name, addresses, labels, clean: true };
        self.send(id, leader, Message::Start(up, nonce));
    }

    fn receive(&mut self, id: ApplianceId, from: ApplianceId, message: Message) {
        match message {
            Message::Raft(message) => {
                let chance = self.draw(1 << 20);
                let ids = self.ids.clone();
                let mut sends = Sends::new();
                let appliance = self.appliances.get_mut(&id).unwrap();
                appliance.raft.receive(from, message, chance, &mut sends, &ids);
                self.after_raft(id, sends);
            }
            Message::Beat(beat) => self.keep(id, KeeperEvent::Beat(beat)),
            Message::Answer(answer) => {
                if self.mistake == Mistake::FromArrival {
                    let now = self.clock(id);
                    let holder = &mut self.appliances.get_mut(&id).unwrap().holder;
                    let sent = holder.sent.iter_mut().filter(|(n, _)| *n == answer.number);
                    sent.for_each(|(_, at)| *at = now);
                }
                self.hold(id, HolderEvent::Answered(answer));
            }
            Message::Start(command, nonce) => self.propose(id, command, nonce),
        }
    }

    fn propose(&mut self, id: ApplianceId, command: FleetCommand, nonce: u64) {
        let ids = self.ids.clone();
        let mut sends = Sends::new();
        let appliance = self.appliances.get_mut(&id).unwrap();
        if appliance.raft.leads() {
            let entry = Entry { term: 0, command: Some(command), nonce };
            appliance.raft.propose(entry, &mut sends, &ids);
        }
        self.after_raft(id, sends);
    }

    /// Sends, applies, and tells the cores of roles and rounds, in this order.
    fn after_raft(&mut self, id: ApplianceId, sends: Sends) {
        for (to, message) in sends {
            self.send(id, to, Message::Raft(message));
        }
        self.apply(id);
        let appliance = self.appliances.get_mut(&id).unwrap();
        let led = appliance.raft.leads().then(|| appliance.raft.term());
        let leader = appliance.raft.leader;
        if (led, leader) != (appliance.led, appliance.leader) {
            let new_term = led.is_some() && led != appliance.led;
            (appliance.led, appliance.leader) = (led, leader);
            if new_term {
                appliance.rounds.clear();
                self.keep(id, KeeperEvent::Led);
                if self.mistake == Mistake::HastyLeader {
                    let now = self.clock(id);
                    let keeper = &mut self.appliances.get_mut(&id).unwrap().keeper;
                    keeper.watched.values_mut().for_each(|watched| watched.due = now);
                }
            } else if led.is_none() {
                self.keep(id, KeeperEvent::NotLed { leader });
            }
            self.hold(id, HolderEvent::Leader(leader));
        }
        let appliance = self.appliances.get_mut(&id).unwrap();
        let raft = &appliance.raft;
        let (done, open): (Vec<_>, Vec<_>) =
            appliance.rounds.iter().partition(|(_, sent)| raft.is_answered(*sent));
        appliance.rounds = open;
        for (round, _) in done {
            self.keep(id, KeeperEvent::RoundDone(round));
        }
    }

    fn apply(&mut self, id: ApplianceId) {
        loop {
            let appliance = self.appliances.get_mut(&id).unwrap();
            if appliance.applied >= appliance.raft.commit.min(appliance.raft.log.len()) {
                return;
            }
            let log = Rc::clone(&appliance.raft.log);
            let entry = &log[appliance.applied];
            appliance.applied += 1;
            let Some(command) = entry.command.clone() else { continue };
            let answer = appliance.fleet.apply(command.clone());
            let (view, roll) = (appliance.fleet.view(), appliance.fleet.roll());
            let starting = appliance.starting;
            self.keep(id, KeeperEvent::Applied { view, roll });
            match (command, answer) {
                (FleetCommand::Down { appliance, incarnation }, Ok(_)) => {
                    self.downed.insert((appliance, incarnation));
                    self.check(appliance);
                    if appliance == id {
                        self.hold(id, HolderEvent::Down(incarnation));
                    }
                }
                (FleetCommand::Down { appliance, incarnation }, Err(_)) => {
                    self.keep(id, KeeperEvent::DownRefused { appliance, incarnation });
                }
                (FleetCommand::UpAt { appliance, .. }, Ok(FleetAnswer::Up { incarnation, .. }))
                    if appliance == id && starting.is_some_and(|(n, _)| n == entry.nonce) =>
                {
                    self.appliances.get_mut(&id).unwrap().starting = None;
                    self.hold(id, HolderEvent::Up(incarnation));
                }
                _ => {}
            }
        }
    }

    fn hold(&mut self, id: ApplianceId, event: HolderEvent) {
        let now = self.clock(id);
        let effects = self.appliances.get_mut(&id).unwrap().holder.step(now, event);
        for effect in effects {
            match effect {
                HolderEffect::Send { to, beat } => self.send(id, to, Message::Beat(beat)),
                HolderEffect::Lapsed => {
                    self.lapses += 1;
                    let after = self.draw(50_000);
                    self.post(id, after, Event::Closed);
                }
                HolderEffect::Rejoin => {
                    self.nonce += 1;
                    let nonce = self.nonce;
                    self.appliances.get_mut(&id).unwrap().starting = Some((nonce, 0));
                }
                HolderEffect::Newer(_) => {}
            }
        }
    }

    fn keep(&mut self, id: ApplianceId, event: KeeperEvent) {
        let now = self.clock(id);
        let effects = self.appliances.get_mut(&id).unwrap().keeper.step(now, event);
        for effect in effects {
            match effect {
                KeeperEffect::Answer { to, answer } => self.send(id, to, Message::Answer(answer)),
                KeeperEffect::StartRound(round) => self.start_round(id, round),
                KeeperEffect::ProposeDown { appliance, incarnation } => {
                    self.propose(id, FleetCommand::Down { appliance, incarnation }, 0);
                }
            }
        }
    }

    fn start_round(&mut self, id: ApplianceId, round: Round) {
        if self.mistake == Mistake::NoRound {
            return self.keep(id, KeeperEvent::RoundDone(round));
        }
        let ids = self.ids.clone();
        let mut sends = Sends::new();
        let appliance = self.appliances.get_mut(&id).unwrap();
        if !appliance.raft.is_settled() {
            // Raft reads nothing before it knows what is committed.
            return self.keep(id, KeeperEvent::RoundFailed(round));
        }
        let sent = appliance.raft.begin_round(&mut sends, &ids);
        appliance.rounds.push((round, sent));
        self.after_raft(id, sends);
    }

    /// Never is a lease live whose run was called down anywhere.
    fn check(&mut self, id: ApplianceId) {
        let holder = &self.appliances[&id].holder;
        let run = (id, holder.incarnation());
        if self.downed.contains(&run) && holder.is_live(self.clock(id)) {
            self.violation = Some(format!("run {} of {id} lives at {} µs", run.1, self.now));
        }
    }
}
