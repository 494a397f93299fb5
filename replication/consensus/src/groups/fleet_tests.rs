//! A fleet of appliances in one thread: a network that loses, delays, doubles and reorders, one-way
//! partitions, power cuts, pauses, clocks that run apart, and state machines beside the logs.
//!
//! Invariant: everything follows from the seed. What must never happen is checked as it happens and
//! kept as the first thing `broken`, so that a test can also expect it. Time is the world's; each
//! member sees it through a clock of its own speed.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use model::{ApplianceId, Index, Membership, Refusal, Term};

use super::Groups;
use crate::{
    Applied, Committed, Effect, Event, GroupView, LogPoint, MemoryLog, Origin, PeerMessage, Role,
    Ticket,
    testing::{Seeded, group, index},
};

mod incidents;
mod random;
mod snapshots;

/// Appliances there are; the first three found the group.
const MEMBERS: u64 = 5;

/// What time moves by.
const STEP: Duration = Duration::from_millis(10);

const GROUP: u64 = 1;

/// One applied entry. A state machine is the list of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    index: Index,
    term: Term,
    data: Vec<u8>,
    membership: Option<Membership>,
}

#[derive(Default)]
struct Machine {
    items: Vec<Item>,
    durable: usize,
    /// It is an installed snapshot and its mark is there.
    marked: bool,
}

impl Machine {
    fn applied(&self) -> Applied {
        let last = self.items.last();
        let (index, term) = last.map(|item| (item.index, item.term)).unwrap_or_default();
        Applied { index, term, membership: membership(&self.items) }
    }
}

fn membership(items: &[Item]) -> Membership {
    let newest = items.iter().rev().find_map(|item| item.membership.clone());
    newest.unwrap_or_else(founding)
}

struct Member {
    log: Arc<MemoryLog>,
    groups: Groups<MemoryLog>,
    view: Arc<GroupView>,
    machine: Machine,
    role: Role,
    /// What others can fetch here.
    image: Option<Vec<Item>>,
    /// To be fetched from whom, and when it has been.
    fetching: Option<(u64, LogPoint, Duration)>,
    /// The member's time is the world's times this many thousandths.
    pace: u32,
    paused_until: Duration,
    /// Neither sends nor receives.
    isolated: bool,
    down: bool,
}

struct Letter {
    due: Duration,
    from: u64,
    to: u64,
    message: PeerMessage,
}

/// A read on its way: what it must see.
struct Reading {
    member: u64,
    floor: usize,
}

struct Fleet {
    chance: Arc<Seeded>,
    lossy: bool,
    now: Duration,
    members: BTreeMap<u64, Member>,
    mail: Vec<Letter>,
    blocked: BTreeSet<(u64, u64)>,
    next_ticket: u64,
    asked: BTreeMap<Ticket, Vec<u8>>,
    reading: BTreeMap<Ticket, Reading>,
    refused: Vec<(Ticket, Refusal)>,
    answered: BTreeSet<Ticket>,
    /// Every entry that was ever applied anywhere.
    history: Vec<Item>,
    /// Entries from the beginning that include all that was acknowledged.
    acknowledged: usize,
    leaders: BTreeMap<Term, u64>,
    reads_done: usize,
    lease_reads: usize,
    installed: usize,
    sent: usize,
    /// Whether snapshots arrive by themselves.
    fetches: bool,
    lease_beyond: Duration,
    /// A deliberate fault: a read is done when it is asked.
    reads_at_once: bool,
    broken: Option<String>,
}

fn ids(numbers: &[u64]) -> Vec<ApplianceId> {
    numbers.iter().copied().map(ApplianceId::new).collect()
}

fn founding() -> Membership {
    Membership::of_voters(ids(&[1, 2, 3]))
}

impl Fleet {
    fn new(seed: u64) -> Self {
        Self::with_logs(seed, |_| MemoryLog::new())
    }

    fn with_logs(seed: u64, log: impl Fn(u64) -> MemoryLog) -> Self {
        let mut fleet = Self {
            chance: Arc::new(Seeded::new(seed)),
            lossy: false,
            now: Duration::ZERO,
            members: BTreeMap::new(),
            mail: Vec::new(),
            blocked: BTreeSet::new(),
            next_ticket: 0,
            asked: BTreeMap::new(),
            reading: BTreeMap::new(),
            refused: Vec::new(),
            answered: BTreeSet::new(),
            history: Vec::new(),
            acknowledged: 0,
            leaders: BTreeMap::new(),
            reads_done: 0,
            lease_reads: 0,
            installed: 0,
            sent: 0,
            fetches: true,
            lease_beyond: Duration::ZERO,
            reads_at_once: false,
            broken: None,
        };
        for number in 1..=MEMBERS {
            let pace = 970 + fleet.chance.below(60) as u32;
            fleet.start(number, Arc::new(log(number)), Machine::default(), pace);
        }
        fleet
    }

    fn start(&mut self, number: u64, log: Arc<MemoryLog>, machine: Machine, pace: u32) {
        let me = ApplianceId::new(number);
        let mut groups = Groups::new(me, Arc::clone(&log), Arc::clone(&self.chance) as _);
        groups.tail = 8;
        let view = groups.watch(group(GROUP));
        let applied = machine.applied();
        let origin = if machine.marked { Origin::Snapshot } else { Origin::Log };
        let member = Member {
            log,
            groups,
            view,
            machine,
            role: Role::default(),
            image: None,
            fetching: None,
            pace,
            paused_until: Duration::ZERO,
            isolated: false,
            down: false,
        };
        self.members.insert(number, member);
        self.step(number, Event::Open { group: group(GROUP), applied, origin });
        let member = self.members.get_mut(&number).unwrap();
        member.machine.marked = false;
        let beyond = self.lease_beyond;
        if let Some(open) = member.groups.open.get_mut(&group(GROUP)) {
            open.prolong_lease(beyond);
        }
    }

    /// A power cut: the machine goes back to somewhere between its checkpoint and where it was, the
    /// log to what was synced.
    fn restart(&mut self, number: u64) {
        let mut member = self.members.remove(&number).unwrap();
        member.log.power_cut(self.chance.below(member.log.unsynced() as u64 + 1) as usize);
        let ahead = (member.machine.items.len() - member.machine.durable) as u64;
        let kept = member.machine.durable + self.chance.below(ahead + 1) as usize;
        member.machine.items.truncate(kept);
        member.machine.durable = kept;
        self.start(number, member.log, member.machine, member.pace);
    }

    fn local(&self, number: u64) -> Duration {
        self.now * self.members[&number].pace / 1000
    }

    fn step(&mut self, number: u64, event: Event) {
        let now = self.local(number);
        let mut events = vec![event];
        loop {
            let member = self.members.get_mut(&number).unwrap();
            if events.is_empty() && !member.groups.has_work() {
                return;
            }
            let effects = match member.groups.step(now, mem::take(&mut events)) {
                Ok(effects) => effects,
                Err(fault) => return self.breaks(format!("{number}: {fault}")),
            };
            for effect in effects {
                events.extend(self.perform(number, effect));
            }
        }
    }

    fn perform(&mut self, number: u64, effect: Effect) -> Option<Event> {
        let group = group(GROUP);
        match effect {
            Effect::Send { to, message, .. } => self.send(number, to.get(), message),
            Effect::Apply { entries, .. } => {
                entries.into_iter().for_each(|entry| self.apply(number, entry));
                let index = self.members[&number].machine.applied().index;
                return Some(Event::Applied { group, index });
            }
            Effect::Refused { ticket, refusal } => {
                self.reading.remove(&ticket);
                self.refused.push((ticket, refusal));
            }
            Effect::ReadReady { ticket, index } => self.read_ready(number, ticket, index),
            Effect::RoleChanged { role, .. } => self.role_changed(number, role),
            Effect::SnapshotWanted { .. } => return Some(self.make_image(number)),
            Effect::InstallSnapshot { from, point, .. } => {
                let due = self.now + STEP * self.chance.below(100) as u32;
                let member = self.members.get_mut(&number).unwrap();
                assert!(member.fetching.is_none(), "told twice");
                member.fetching = Some((from.get(), point, due));
            }
            Effect::LogReset { .. } => {
                self.members.get_mut(&number).unwrap().machine.marked = false;
                self.installed += 1;
            }
            Effect::Lost { missing, .. } => self.breaks(format!("{number} lost {missing}")),
            Effect::Opened { .. } | Effect::Cut { .. } | Effect::CheckpointWanted { .. } => {}
        }
        None
    }

    fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn apply(&mut self, number: u64, entry: Committed) {
        let Committed { index, term, data, membership, ticket } = entry;
        let item = Item { index, term, data: data.to_vec(), membership };
        let items = &mut self.members.get_mut(&number).unwrap().machine.items;
        assert_eq!(index.get(), items.len() as u64 + 1, "{number} applies without gaps");
        items.push(item.clone());
        let at = items.len();
        match self.history.get(at - 1) {
            None => self.history.push(item.clone()),
            Some(held) if *held == item => {}
            Some(held) => self.breaks(format!("{number} applied {item:?}, others {held:?}")),
        }
        if let Some(ticket) = ticket {
            let asked = self.asked.remove(&ticket);
            if asked.is_none_or(|asked| asked != item.data) {
                self.breaks(format!("{ticket:?} was answered for what it never asked"));
            }
            self.answered.insert(ticket);
            self.acknowledged = self.acknowledged.max(at);
        }
    }

    fn role_changed(&mut self, number: u64, role: Role) {
        self.members.get_mut(&number).unwrap().role = role;
        if role.leader == Some(ApplianceId::new(number)) {
            let first = *self.leaders.entry(role.term).or_insert(number);
            if first != number {
                self.breaks(format!("{first} and {number} lead in term {}", role.term));
            }
        }
    }

    fn read_ready(&mut self, number: u64, ticket: Ticket, index: Index) {
        let reading = self.reading.remove(&ticket).expect("it was asked, once");
        assert_eq!(reading.member, number);
        let seen = self.members[&number].machine.items.len();
        assert!(seen as u64 >= index.get(), "ready before it is handed out");
        self.check_read(number, seen, reading.floor);
    }

    fn check_read(&mut self, number: u64, seen: usize, floor: usize) {
        self.reads_done += 1;
        if seen < floor {
            self.breaks(format!("a read at {number} saw {seen} of {floor} acknowledged entries"));
        }
    }

    fn make_image(&mut self, number: u64) -> Event {
        let member = self.members.get_mut(&number).unwrap();
        let applied = member.machine.applied();
        member.image = Some(member.machine.items.clone());
        let point = LogPoint { index: applied.index, term: applied.term };
        Event::SnapshotMade { group: group(GROUP), point, membership: applied.membership }
    }

    /// What was fetched takes the machine's place, with a mark.
    fn put_image(&mut self, number: u64) -> Event {
        let group = group(GROUP);
        let (from, point, _) = self.members.get_mut(&number).unwrap().fetching.take().unwrap();
        let image = self.members.get(&from).and_then(|from| from.image.clone());
        let image = image.filter(|image| image.len() as u64 >= point.index.get());
        let Some(items) = image else {
            return Event::SnapshotFailed { group };
        };
        let machine = &mut self.members.get_mut(&number).unwrap().machine;
        *machine = Machine { durable: items.len(), items, marked: true };
        Event::SnapshotInstalled { group, applied: machine.applied() }
    }

    fn send(&mut self, from: u64, to: u64, message: PeerMessage) {
        self.sent += 1;
        let isolated = |number| self.members.get(&number).is_none_or(|m| m.isolated || m.down);
        if isolated(from) || isolated(to) || self.blocked.contains(&(from, to)) {
            return;
        }
        // Over the wire and back: what can't be decoded would never arrive.
        let message = PeerMessage::decode(&message.encode()).expect("we take what we send");
        let mut post = |delay: u64, message| {
            self.mail.push(Letter { due: self.now + STEP * delay as u32, from, to, message });
        };
        if !self.lossy {
            return post(0, message);
        }
        if self.chance.below(20) != 0 {
            post(self.chance.below(15), message.clone());
        }
        if self.chance.below(30) == 0 {
            post(self.chance.below(100), message);
        }
    }

    /// A moment, and all mail that is due.
    fn tick(&mut self) {
        self.now += STEP;
        for number in 1..=MEMBERS {
            if !self.is_running(number) {
                continue;
            }
            let due = self.members[&number].groups.next_tick();
            if due.is_some_and(|due| due <= self.local(number)) {
                self.step(number, Event::Tick);
            }
            let fetched = self.members[&number].fetching.is_some_and(|(_, _, due)| due <= self.now);
            if self.fetches && fetched {
                let event = self.put_image(number);
                self.step(number, event);
            }
        }
        for _ in 0..20 {
            let now = self.now;
            let (due, later): (Vec<_>, _) = mem::take(&mut self.mail)
                .into_iter()
                .partition(|letter| letter.due <= now && self.is_running(letter.to));
            self.mail = later;
            if due.is_empty() {
                return;
            }
            for Letter { from, to, message, .. } in due {
                let from = ApplianceId::new(from);
                self.step(to, Event::Receive { group: group(GROUP), from, message });
            }
        }
    }

    fn is_running(&self, number: u64) -> bool {
        let member = &self.members[&number];
        !member.down && member.paused_until <= self.now
    }

    fn millis(&mut self, millis: u64) {
        for _ in 0..millis / STEP.as_millis() as u64 {
            self.tick();
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket::new(self.next_ticket)
    }

    fn propose(&mut self, number: u64) -> Ticket {
        let ticket = self.ticket();
        let data = format!("{ticket:?}").into_bytes();
        self.asked.insert(ticket, data.clone());
        self.step(number, Event::Propose { group: group(GROUP), ticket, data });
        ticket
    }

    fn change(&mut self, number: u64, voters: &[u64], learners: &[u64]) -> Ticket {
        let ticket = self.ticket();
        self.asked.insert(ticket, Vec::new());
        let (voters, learners) = (ids(voters), ids(learners));
        let group = group(GROUP);
        self.step(number, Event::ChangeMembership { group, ticket, voters, learners });
        ticket
    }

    fn read(&mut self, number: u64) -> Ticket {
        let ticket = self.ticket();
        let floor = self.acknowledged;
        if self.reads_at_once {
            let seen = self.members[&number].machine.items.len();
            self.check_read(number, seen, floor);
            return ticket;
        }
        self.reading.insert(ticket, Reading { member: number, floor });
        self.step(number, Event::Read { group: group(GROUP), ticket });
        ticket
    }

    /// Reads at once wherever a lease allows it.
    fn read_by_lease(&mut self) {
        for number in 1..=MEMBERS {
            let member = &self.members[&number];
            let seen = member.machine.items.len();
            let leased = self.local(number) < member.view.read_lease_until();
            let current = seen as u64 >= member.view.commit().get();
            if leased && current && !member.down {
                self.lease_reads += 1;
                self.check_read(number, seen, self.acknowledged);
            }
        }
    }

    fn checkpoint(&mut self, number: u64) {
        let machine = &mut self.members.get_mut(&number).unwrap().machine;
        machine.durable = machine.items.len();
        let index = machine.applied().index;
        self.step(number, Event::Checkpointed { group: group(GROUP), index });
    }

    fn wake(&mut self, number: u64) {
        self.step(number, Event::Wake { group: group(GROUP) });
    }

    /// Tells a member that whoever it takes for the leader is gone.
    fn bereave(&mut self, number: u64) {
        if let Some(leader) = self.members[&number].view.leader() {
            self.step(number, Event::LeaderGone { group: group(GROUP), leader });
        }
    }

    fn isolate(&mut self, number: u64) {
        self.members.get_mut(&number).unwrap().isolated = true;
    }

    fn heal(&mut self) {
        self.lossy = false;
        self.blocked.clear();
        for member in self.members.values_mut() {
            (member.isolated, member.down) = (false, false);
            member.paused_until = Duration::ZERO;
        }
    }

    /// Who leads, of those who can be reached.
    fn leader(&self) -> Option<u64> {
        let leads = |(number, member): (&u64, &Member)| {
            let reached = !member.isolated && !member.down;
            (reached && member.role.leads).then_some((member.role.term, *number))
        };
        self.members.iter().filter_map(leads).max().map(|(_, number)| number)
    }

    fn elect(&mut self) -> u64 {
        for _ in 0..1500 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
        }
        panic!("no leader after 15 s: {:?}", self.broken);
    }

    fn is_asleep(&self, number: u64) -> bool {
        self.members[&number].groups.next_tick().is_none()
    }

    fn items(&self, number: u64) -> usize {
        self.members[&number].machine.items.len()
    }

    /// Heals everything, lets it settle, and checks that all agree.
    fn check(&mut self) -> Result<(), String> {
        self.heal();
        (1..=MEMBERS).for_each(|number| self.wake(number));
        self.millis(8000);
        let leader = self.leader();
        let last = leader.map(|leader| self.propose(leader));
        self.millis(4000);
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let last = last.ok_or("a healed fleet elects nobody")?;
        if !self.answered.contains(&last) {
            return Err("a healed fleet does not commit".to_owned());
        }
        let members = membership(&self.history);
        if members.is_joint() {
            return Err("a change of membership never ended".to_owned());
        }
        for number in 1..=MEMBERS {
            let all = self.members[&number].machine.items == self.history;
            if members.includes(ApplianceId::new(number)) && !all {
                let (has, of) = (self.items(number), self.history.len());
                return Err(format!("{number} has {has} of {of} entries"));
            }
        }
        Ok(())
    }
}

/// The place of the last entry that a machine has applied.
fn last(fleet: &Fleet, number: u64) -> Index {
    index(fleet.items(number) as u64)
}
