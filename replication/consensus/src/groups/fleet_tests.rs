//! Three voters over a network that loses, delays and reorders, with partitions and restarts.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use model::{ApplianceId, Refusal};
use raft::eraftpb::{EntryType, MessageType};

use super::Groups;
use crate::{
    Applied, Committed, Effect, Event, LogStore, MemoryLog, Message, TAIL_ENTRIES, TICK, Ticket,
    testing::{Seeded, entry, group, index, term},
};

const MEMBERS: u64 = 3;

struct Member {
    log: Arc<MemoryLog>,
    groups: Groups<MemoryLog>,
    machine: Vec<Committed>,
    isolated: bool,
}

struct Fleet {
    chance: Arc<Seeded>,
    lossy: bool,
    now: Duration,
    members: BTreeMap<u64, Member>,
    mail: Vec<(Duration, Message)>,
    next_ticket: u64,
    answered: Vec<Committed>,
    refused: Vec<(Ticket, Refusal)>,
}

fn voters() -> Vec<ApplianceId> {
    (1..=MEMBERS).map(ApplianceId::new).collect()
}

fn data(ticket: Ticket) -> Vec<u8> {
    format!("{ticket:?}").into_bytes()
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let chance = Arc::new(Seeded::new(seed));
        let mut fleet = Self {
            chance,
            lossy: false,
            now: Duration::ZERO,
            members: BTreeMap::new(),
            mail: Vec::new(),
            next_ticket: 0,
            answered: Vec::new(),
            refused: Vec::new(),
        };
        for number in 1..=MEMBERS {
            fleet.start(number, Arc::new(MemoryLog::new()), Vec::new());
        }
        fleet
    }

    fn start(&mut self, number: u64, log: Arc<MemoryLog>, machine: Vec<Committed>) {
        let me = ApplianceId::new(number);
        let groups = Groups::new(me, Arc::clone(&log), Arc::clone(&self.chance) as _);
        let at = machine.last().map(|entry| (entry.index, entry.term)).unwrap_or_default();
        let applied = Applied { index: at.0, term: at.1, voters: voters() };
        self.members.insert(number, Member { log, groups, machine, isolated: false });
        self.step(number, Event::Open { group: group(1), applied });
    }

    /// A power cut: the machine keeps what it had applied, the log only what was synced.
    fn restart(&mut self, number: u64) {
        let member = self.members.remove(&number).unwrap();
        member.log.power_cut(self.chance.below(member.log.unsynced() as u64 + 1) as usize);
        self.start(number, member.log, member.machine);
    }

    fn step(&mut self, number: u64, event: Event) {
        let member = self.members.get_mut(&number).unwrap();
        let mut effects = member.groups.step(self.now, vec![event]).unwrap();
        while member.groups.has_work() {
            effects.extend(member.groups.step(self.now, Vec::new()).unwrap());
        }
        for effect in effects {
            match effect {
                Effect::Send { message, .. } => self.send(message),
                Effect::Apply { entries, .. } => self.apply(number, entries),
                Effect::Refused { ticket, refusal } => self.refused.push((ticket, refusal)),
                Effect::Lost { missing, .. } => panic!("{number} lost {missing}"),
                Effect::Opened { .. } | Effect::Cut { .. } | Effect::CheckpointWanted { .. } => {}
            }
        }
    }

    fn send(&mut self, message: Message) {
        let isolated = |number| self.members.get(number).is_some_and(|m| m.isolated);
        if isolated(&message.from) || isolated(&message.to) {
            return;
        }
        if !self.lossy {
            return self.mail.push((self.now, message));
        }
        if self.chance.below(20) != 0 {
            let due = self.now + TICK * self.chance.below(4) as u32;
            self.mail.push((due, message));
        }
    }

    fn apply(&mut self, number: u64, entries: Vec<Committed>) {
        let machine = &mut self.members.get_mut(&number).unwrap().machine;
        for entry in entries {
            assert_eq!(entry.index.get(), machine.len() as u64 + 1);
            if let Some(ticket) = entry.ticket {
                assert_eq!(entry.data, data(ticket), "answered for what it never asked");
                self.answered.push(entry.clone());
            }
            machine.push(entry);
        }
    }

    /// One tick of time, and all mail that is due.
    fn tick(&mut self) {
        self.now += TICK;
        for number in 1..=MEMBERS {
            self.step(number, Event::Tick);
        }
        loop {
            let now = self.now;
            let (due, later) = mem::take(&mut self.mail).into_iter().partition(|m| m.0 <= now);
            self.mail = later;
            if Vec::is_empty(&due) {
                return;
            }
            for (_, message) in due {
                let to = message.to;
                self.step(to, Event::Receive { group: group(1), message });
            }
        }
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick();
        }
    }

    fn propose(&mut self, number: u64) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        self.step(number, Event::Propose { group: group(1), ticket, data: data(ticket) });
        ticket
    }

    fn leader(&self) -> Option<u64> {
        let leads = |member: &Member| member.groups.open[&group(1)].leads();
        let leaders = self.members.iter().filter(|(_, member)| !member.isolated && leads(member));
        leaders.map(|(number, _)| *number).next_back()
    }

    fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
        }
        panic!("no leader after 10 s");
    }

    fn is_answered(&self, ticket: Ticket) -> bool {
        self.answered.iter().any(|entry| entry.ticket == Some(ticket))
    }

    /// Heals everything, lets it settle, and checks that all agree and nothing answered is gone.
    fn check(&mut self) -> Result<(), String> {
        self.lossy = false;
        self.members.values_mut().for_each(|member| member.isolated = false);
        self.ticks(40);
        let leader = self.elect();
        let last = self.propose(leader);
        self.ticks(20);
        if !self.is_answered(last) {
            return Err("a healed fleet does not commit".to_owned());
        }
        let plain = |machine: &[Committed]| -> Vec<_> {
            machine.iter().map(|e| (e.index, e.term, e.data.clone())).collect()
        };
        let first = plain(&self.members[&1].machine);
        if self.members.values().any(|member| plain(&member.machine) != first) {
            return Err("machines differ".to_owned());
        }
        for entry in &self.answered {
            let count = first.iter().filter(|held| held.2 == entry.data).count();
            if count != 1 {
                return Err(format!("answered {entry:?} is there {count} times"));
            }
        }
        Ok(())
    }

    /// Random faults; what happened, as a value to compare.
    fn run(seed: u64) -> Result<Vec<Committed>, String> {
        let mut fleet = Self::new(seed);
        fleet.lossy = true;
        for _ in 0..600 {
            let number = 1 + fleet.chance.below(MEMBERS);
            match fleet.chance.below(100) {
                0 | 1 => fleet.restart(number),
                2 | 3 => {
                    let member = fleet.members.get_mut(&number).unwrap();
                    member.isolated = !member.isolated;
                }
                4..50 => {
                    fleet.propose(number);
                }
                _ => {}
            }
            fleet.tick();
        }
        fleet.check()?;
        let mut history = fleet.members[&1].machine.clone();
        history.append(&mut fleet.answered);
        Ok(history)
    }
}

#[test]
fn three_voters_agree_whatever_happens_between_them() {
    let mut answers = 0;
    for seed in 0..30 {
        let history = Fleet::run(seed);
        let history = history.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        answers += history.iter().filter(|entry| entry.ticket.is_some()).count();
    }
    assert!(answers > 1000, "{answers}");
}

#[test]
fn elections_follow_our_seed_and_nothing_else() {
    for seed in 0..5 {
        assert_eq!(Fleet::run(seed), Fleet::run(seed), "seed {seed}");
    }
    assert_ne!(Fleet::run(1), Fleet::run(2));
}

#[test]
fn a_follower_refuses_proposals_and_the_leader_answers() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    let follower = if leader == 1 { 2 } else { 1 };
    let refused = fleet.propose(follower);
    let answered = fleet.propose(leader);
    fleet.ticks(3);
    assert_eq!(fleet.refused, [(refused, Refusal::Busy)]);
    assert!(fleet.is_answered(answered));
}

#[test]
fn a_proposal_is_not_answered_without_a_quorum() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.ticks(3);
    fleet.members.values_mut().for_each(|member| member.isolated = true);
    let ticket = fleet.propose(leader);
    fleet.ticks(3);
    assert!(!fleet.is_answered(ticket));
    assert_eq!(fleet.refused, []);
}

#[test]
fn a_proposal_whose_place_another_took_is_refused() {
    let mut fleet = Fleet::new(1);
    let old = fleet.elect();
    fleet.ticks(3);
    fleet.members.get_mut(&old).unwrap().isolated = true;
    let ticket = fleet.propose(old);
    fleet.ticks(40);
    let new = fleet.elect();
    assert_ne!(new, old);
    fleet.propose(new);
    fleet.check().unwrap();
    assert!(fleet.refused.contains(&(ticket, Refusal::Busy)));
    assert!(!fleet.is_answered(ticket));
}

#[test]
fn several_voters_keep_a_tail_below_a_checkpoint() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    for _ in 0..TAIL_ENTRIES {
        fleet.propose(leader);
    }
    fleet.ticks(5);
    let at = fleet.members[&leader].machine.len() as u64;
    fleet.step(leader, Event::Checkpointed { group: group(1), index: index(at) });
    let state = fleet.members[&leader].log.state(group(1)).unwrap();
    assert!(at > TAIL_ENTRIES);
    assert_eq!(state.cut.index, index(at - TAIL_ENTRIES));
}

#[test]
fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    let away = if leader == 1 { 2 } else { 1 };
    fleet.members.get_mut(&away).unwrap().isolated = true;
    for _ in 0..500 {
        fleet.propose(leader);
    }
    fleet.ticks(5);
    assert!(fleet.members[&away].machine.len() < 500);
    fleet.check().unwrap();
}

#[test]
fn messages_that_need_what_is_absent_are_dropped() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.ticks(3);
    let follower = if leader == 1 { 2 } else { 1 };
    let state = fleet.members[&follower].log.state(group(1)).unwrap();
    let message = |kind: MessageType| {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.from = leader;
        message.to = follower;
        message.term = state.hard_state.term;
        message.index = state.last.get();
        message.log_term = state.hard_state.term;
        message
    };
    let mut snapshot = message(MessageType::MsgSnapshot);
    snapshot.mut_snapshot().mut_metadata().index = 99;
    let mut beat = message(MessageType::MsgHeartbeat);
    beat.commit = state.last.get() + 50;
    let mut change = message(MessageType::MsgAppend);
    let mut changes = entry(state.last.get() + 1, state.hard_state.term, "");
    changes.set_entry_type(EntryType::EntryConfChange);
    change.entries = vec![changes].into();
    let mut forwarded = message(MessageType::MsgPropose);
    forwarded.term = 0;
    forwarded.entries = vec![entry(0, 0, "not ours")].into();
    for message in [snapshot, beat, change, forwarded] {
        fleet.step(follower, Event::Receive { group: group(1), message });
    }
    let after = fleet.members[&follower].log.state(group(1)).unwrap();
    assert_eq!(after.last, state.last);
    assert_eq!(after.hard_state.term, state.hard_state.term);
    assert_ne!(after.hard_state.term, term(0).get());
    fleet.check().unwrap();
}

#[test]
fn groups_of_several_voters_tick_but_never_in_a_burst() {
    let mut fleet = Fleet::new(1);
    let member = fleet.members.get_mut(&1).unwrap();
    assert_eq!(member.groups.next_tick(), Some(Duration::ZERO));
    // An hour's pause is one tick, not an election.
    let hour = Duration::from_secs(3600);
    for _ in 0..100 {
        assert_eq!(member.groups.step(hour, vec![Event::Tick]).unwrap(), []);
    }
    assert_eq!(member.groups.next_tick(), Some(hour + TICK));
}
