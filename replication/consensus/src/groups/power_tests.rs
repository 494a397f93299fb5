//! A lone appliance under random power cuts: what was answered survives.
//!
//! The world holds a log, the groups over it, and a machine a group whose own durable state lags
//! behind, as the real one does. Everything follows from the seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{ApplianceId, GroupId, Index, Membership, Refusal, Term};

use super::Groups;
use crate::{
    Applied, Committed, Effect, Event, MemoryLog, Origin, SyncOutcome, Ticket,
    testing::{Seeded, group},
};

const ME: ApplianceId = ApplianceId::new(1);
const GROUPS: u64 = 5;
const STEPS: usize = 400;

/// What one group's entries were applied to.
#[derive(Clone, Default)]
struct Machine {
    entries: Vec<(Index, Term, Vec<u8>)>,
    durable: usize,
}

impl Machine {
    fn applied(&self) -> Applied {
        let last = self.entries.last();
        let (index, term) = last.map(|(index, term, _)| (*index, *term)).unwrap_or_default();
        Applied { index, term, membership: Membership::of_voters([ME]) }
    }
}

struct World {
    chance: Arc<Seeded>,
    log: Arc<MemoryLog>,
    groups: Groups<MemoryLog>,
    machines: BTreeMap<GroupId, Machine>,
    /// Tickets still open, with what was proposed.
    asked: BTreeMap<Ticket, (GroupId, Vec<u8>)>,
    /// What was answered with success.
    answered: Vec<(GroupId, Index, Vec<u8>)>,
    next_ticket: u64,
    power_cuts: usize,
    faults: usize,
}

impl World {
    fn new(seed: u64, log: MemoryLog) -> Self {
        let chance = Arc::new(Seeded::new(seed));
        let log = Arc::new(log);
        let groups = Groups::new(ME, Arc::clone(&log), Arc::clone(&chance) as _);
        let machines = (0..GROUPS).map(|n| (group(n), Machine::default())).collect();
        let mut world = Self {
            chance,
            log,
            groups,
            machines,
            asked: BTreeMap::new(),
            answered: Vec::new(),
            next_ticket: 0,
            power_cuts: 0,
            faults: 0,
        };
        world.open_all().unwrap();
        world
    }

    fn run(seed: u64, log: MemoryLog) -> Result<Self, String> {
        let mut world = Self::new(seed, log);
        for _ in 0..STEPS {
            world.act()?;
        }
        world.power_cut()?;
        Ok(world)
    }

    fn act(&mut self) -> Result<(), String> {
        match self.chance.below(20) {
            0 => self.power_cut(),
            1..4 => {
                let checkpoint = self.checkpoint();
                self.step(vec![checkpoint])
            }
            _ => {
                let count = self.chance.below(8);
                let events = (0..count).map(|_| self.propose()).collect();
                self.step(events)
            }
        }
    }

    fn propose(&mut self) -> Event {
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        let group = group(self.chance.below(GROUPS));
        let data = format!("entry {ticket:?}").into_bytes();
        self.asked.insert(ticket, (group, data.clone()));
        Event::Propose { group, ticket, data }
    }

    fn checkpoint(&mut self) -> Event {
        let group = group(self.chance.below(GROUPS));
        let machine = self.machines.get_mut(&group).unwrap();
        machine.durable = machine.entries.len();
        Event::Checkpointed { group, index: machine.applied().index }
    }

    fn step(&mut self, events: Vec<Event>) -> Result<(), String> {
        match self.groups.step(Duration::ZERO, events) {
            Ok(effects) => self.perform(effects),
            Err(_) => {
                // The process ends; the machine it ran on may lose power or not.
                self.faults += 1;
                self.power_cut()
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Apply { group, entries } => {
                    for entry in entries {
                        self.apply(group, entry)?;
                    }
                }
                Effect::Lost { group, missing } => {
                    return Err(format!("group {group} lost entry {missing}"));
                }
                Effect::Refused { ticket, refusal } => {
                    assert_eq!(refusal, Refusal::Busy);
                    self.asked.remove(&ticket);
                }
                Effect::Opened { .. } | Effect::Cut { .. } | Effect::CheckpointWanted { .. } => {}
                Effect::RoleChanged { role, .. } => assert_eq!(role.leader, Some(ME)),
                effect => return Err(format!("a lone voter had {effect:?}")),
            }
        }
        Ok(())
    }

    fn apply(&mut self, group: GroupId, entry: Committed) -> Result<(), String> {
        let machine = self.machines.get_mut(&group).unwrap();
        if entry.index != machine.applied().index.next() {
            return Err(format!("group {group} got entry {} out of order", entry.index));
        }
        let data = entry.data.to_vec();
        if let Some(ticket) = entry.ticket {
            if self.asked.remove(&ticket) != Some((group, data.clone())) {
                return Err(format!("{ticket:?} was answered for what it never asked"));
            }
            self.answered.push((group, entry.index, data.clone()));
        }
        machine.entries.push((entry.index, entry.term, data));
        Ok(())
    }

    /// Everything that is not durable may go; the machines go back to somewhere between their
    /// checkpoint and where they were, but not beyond what the log can have kept.
    fn power_cut(&mut self) -> Result<(), String> {
        self.power_cuts += 1;
        let survivors = self.chance.below(self.log.unsynced() as u64 + 1) as usize;
        self.log.power_cut(survivors);
        for machine in self.machines.values_mut() {
            let ahead = (machine.entries.len() - machine.durable) as u64;
            machine.entries.truncate(machine.durable + self.chance.below(ahead + 1) as usize);
            machine.durable = machine.entries.len();
        }
        self.asked.clear();
        self.groups = Groups::new(ME, Arc::clone(&self.log), Arc::clone(&self.chance) as _);
        self.open_all()?;
        self.check()
    }

    fn open_all(&mut self) -> Result<(), String> {
        let opens = self.machines.iter();
        let opens = opens.map(|(&group, machine)| Event::Open {
            group,
            applied: machine.applied(),
            origin: Origin::Log,
        });
        let mut events: Vec<_> = opens.collect();
        while !events.is_empty() || self.groups.has_work() {
            match self.groups.step(Duration::ZERO, std::mem::take(&mut events)) {
                Ok(effects) => self.perform(effects)?,
                Err(_) => {
                    self.faults += 1;
                    return self.power_cut();
                }
            }
        }
        Ok(())
    }

    /// The checker: every answer is still true.
    fn check(&self) -> Result<(), String> {
        for (group, index, data) in &self.answered {
            let held = self.machines[group].entries.get(index.get() as usize - 1);
            if held.is_none_or(|(at, _, held)| at != index || held != data) {
                return Err(format!("entry {index} of group {group} was answered and is gone"));
            }
        }
        Ok(())
    }

    /// A value that differs when anything that matters did.
    fn digest(&self) -> u64 {
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (group, machine) in &self.machines {
            add(&group.get().to_le_bytes());
            for (index, term, data) in &machine.entries {
                add(&index.get().to_le_bytes());
                add(&term.get().to_le_bytes());
                add(data);
            }
        }
        digest
    }
}

/// One sync in ten fails.
fn failing(seed: u64) -> MemoryLog {
    let chance = Seeded::new(seed ^ 0xfa11);
    MemoryLog::with_syncs(move |_| match chance.below(10) {
        0 => SyncOutcome::Fails,
        _ => SyncOutcome::Durable,
    })
}

#[test]
fn what_was_answered_survives_power_cuts() {
    for seed in 0..50 {
        let world = World::run(seed, MemoryLog::new());
        let world = world.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(world.power_cuts > 1 && world.answered.len() > 500, "seed {seed} did nothing");
    }
}

#[test]
fn what_was_answered_survives_failing_syncs() {
    for seed in 0..50 {
        let world = World::run(seed, failing(seed));
        let world = world.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(world.faults > 1 && world.answered.len() > 100, "seed {seed} did nothing");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let lying = || {
        MemoryLog::with_syncs(|number| match number % 10 {
            0 => SyncOutcome::Durable,
            _ => SyncOutcome::Lies,
        })
    };
    let caught = (0..20).filter(|seed| World::run(*seed, lying()).is_err()).count();
    assert_eq!(caught, 20);
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    for seed in 0..5 {
        let digest = || World::run(seed, failing(seed)).unwrap().digest();
        assert_eq!(digest(), digest(), "seed {seed}");
    }
    let other = |seed| World::run(seed, MemoryLog::new()).unwrap().digest();
    assert_ne!(other(1), other(2));
}
