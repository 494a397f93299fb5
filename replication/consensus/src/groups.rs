//! The core: Raft of many groups, events in, effects out.
//!
//! Invariant: one step makes at most one write to the log (besides one for each group removed),
//! with one sync if any group needs it, and no effect of a step depends on anything that is not
//! durable when the step returns. A lone voter leads from the moment it is opened, commits with its
//! own sync and never ticks, so a group that nobody uses costs nothing. Absent on purpose: clocks,
//! threads, logging, chance but for the entropy given; what entries mean.
//!
//! A read of the log that fails inside raft-rs panics, as raft-rs has no other answer; the driver
//! treats the panic as the fault that it is.

mod group;
mod log;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use model::{ApplianceId, Entropy, GroupId, Refusal};
use raft::{Ready, eraftpb::Message};

use crate::{
    Durability, Effect, Event, LogBatch, LogFault, LogPoint, LogStore, Ticket,
    event::Applied,
    limits::{LOG_FILE_BYTES, TICK},
};
use group::{Group, Opened};

/// All groups of one appliance.
pub struct Groups<L: LogStore> {
    appliance: ApplianceId,
    store: Arc<L>,
    entropy: Arc<dyn Entropy>,
    open: BTreeMap<GroupId, Group<L>>,
    /// Groups that may have something to write, send or hand out.
    active: BTreeSet<GroupId>,
    next_tick: Duration,
    bytes_since_purge: u64,
    ended: bool,
}

impl<L: LogStore> Groups<L> {
    /// No group is open. `appliance` is who votes here; raft-rs knows no voter 0.
    pub fn new(appliance: ApplianceId, store: Arc<L>, entropy: Arc<dyn Entropy>) -> Self {
        assert_ne!(appliance.get(), 0, "appliances count from 1");
        Self {
            appliance,
            store,
            entropy,
            open: BTreeMap::new(),
            active: BTreeSet::new(),
            next_tick: Duration::ZERO,
            bytes_since_purge: 0,
            ended: false,
        }
    }

    /// Who votes here.
    pub fn appliance(&self) -> ApplianceId {
        self.appliance
    }

    /// Whether the next step has something to do even without events: a long log is replayed in
    /// pieces, so that it never is in memory as a whole.
    pub fn has_work(&self) -> bool {
        !self.active.is_empty()
    }

    /// When the next tick is due; never, while every group has but one voter.
    pub fn next_tick(&self) -> Option<Duration> {
        self.open.values().any(|group| !group.is_alone()).then_some(self.next_tick)
    }

    /// Takes `events` in order, writes what they need to the log, and says what is to be done.
    ///
    /// After a fault every step faults: what the log holds is no longer known, and nothing of it
    /// may be acknowledged.
    pub fn step(&mut self, now: Duration, events: Vec<Event>) -> Result<Vec<Effect>, LogFault> {
        if self.ended {
            return Err(LogFault::Ended);
        }
        let effects = self.try_step(now, events);
        self.ended = effects.is_err();
        effects
    }

    fn try_step(&mut self, now: Duration, events: Vec<Event>) -> Result<Vec<Effect>, LogFault> {
        let mut round = Round::default();
        for event in events {
            self.take(now, event, &mut round)?;
        }
        let readys = self.collect(&mut round);
        self.write(&mut round)?;
        self.finish(readys, &mut round)?;
        self.purge(&mut round)?;
        Ok(round.effects)
    }

    fn take(&mut self, now: Duration, event: Event, round: &mut Round) -> Result<(), LogFault> {
        match event {
            Event::Open { group, applied } => self.take_open(group, &applied, round)?,
            Event::Propose { group, ticket, data } => self.propose(group, ticket, data, round),
            Event::Applied { group, index } => {
                if let Some(open) = self.open.get_mut(&group) {
                    open.applied(index);
                }
            }
            Event::Checkpointed { group, index } => {
                if let Some(open) = self.open.get_mut(&group)
                    && let Some(point) = open.checkpointed(index)?
                {
                    round.batch.cut(group, point);
                    round.cuts.insert(group, point);
                }
            }
            Event::Close { group } => self.close(group, round),
            Event::Remove { group } => {
                self.close(group, round);
                round.batch.discard(group);
                round.cuts.remove(&group);
                // At once, so that the group may be opened anew in this very step.
                let mut batch = LogBatch::default();
                batch.remove(group);
                self.store.write(&batch, Durability::Synced)?;
            }
            Event::Tick => self.tick(now),
            Event::Receive { group, message } => self.receive(group, message),
        }
        Ok(())
    }

    fn take_open(
        &mut self,
        group: GroupId,
        applied: &Applied,
        round: &mut Round,
    ) -> Result<(), LogFault> {
        if let Some(open) = self.open.get(&group) {
            round.effects.push(Effect::Opened { group, last: open.last() });
            return Ok(());
        }
        let me = self.appliance;
        let effect = match Group::open(me, group, Arc::clone(&self.store), applied)? {
            Opened::Lost { missing } => Effect::Lost { group, missing },
            Opened::Open(mut open) => {
                open.settle_timeout(self.entropy.as_ref());
                let last = open.last();
                self.open.insert(group, *open);
                self.active.insert(group);
                Effect::Opened { group, last }
            }
        };
        round.effects.push(effect);
        Ok(())
    }

    fn propose(&mut self, group: GroupId, ticket: Ticket, data: Vec<u8>, round: &mut Round) {
        let taken = match self.open.get_mut(&group) {
            Some(open) => open.propose(ticket, data),
            None => Err(Refusal::Busy),
        };
        match taken {
            Ok(()) => {
                self.active.insert(group);
            }
            Err(refusal) => round.effects.push(Effect::Refused { ticket, refusal }),
        }
    }

    fn close(&mut self, group: GroupId, round: &mut Round) {
        self.active.remove(&group);
        let Some(open) = self.open.remove(&group) else {
            return;
        };
        for ticket in open.into_tickets() {
            let refusal = Refusal::Busy;
            round.effects.push(Effect::Refused { ticket, refusal });
        }
    }

    /// At most one tick a [`TICK`], however late: a burst of ticks after a pause would only make
    /// elections out of it.
    fn tick(&mut self, now: Duration) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        for (group, open) in &mut self.open {
            if !open.is_alone() {
                open.tick(self.entropy.as_ref());
                self.active.insert(*group);
            }
        }
    }

    fn receive(&mut self, group: GroupId, message: Message) {
        if let Some(open) = self.open.get_mut(&group) {
            open.receive(message, self.entropy.as_ref());
            self.active.insert(group);
        }
    }

    fn collect(&mut self, round: &mut Round) -> Vec<(GroupId, Ready)> {
        let mut readys = Vec::with_capacity(self.active.len());
        for group in std::mem::take(&mut self.active) {
            let open = self.open.get_mut(&group).expect("an active group is open");
            let Some(mut ready) = open.ready() else {
                continue;
            };
            let entries = ready.take_entries();
            if !entries.is_empty() {
                self.bytes_since_purge += entries.iter().map(|e| e.data.len() as u64).sum::<u64>();
                round.batch.append(group, entries);
            }
            if let Some(hard_state) = ready.hs() {
                round.batch.set_hard_state(group, hard_state.clone());
            }
            round.must_sync |= ready.must_sync();
            readys.push((group, ready));
        }
        readys
    }

    fn write(&mut self, round: &mut Round) -> Result<(), LogFault> {
        if round.batch.is_empty() {
            return Ok(());
        }
        let durability = match round.must_sync {
            true => Durability::Synced,
            false => Durability::Buffered,
        };
        self.store.write(&round.batch, durability)?;
        for (&group, &point) in &round.cuts {
            // A group closed in this step was cut all the same.
            if let Some(open) = self.open.get_mut(&group) {
                open.cut_to(point);
            }
            round.effects.push(Effect::Cut { group, index: point.index });
        }
        Ok(())
    }

    fn finish(&mut self, readys: Vec<(GroupId, Ready)>, round: &mut Round) -> Result<(), LogFault> {
        for (group, ready) in readys {
            let entries = round.batch.take_entries(group);
            let open = self.open.get_mut(&group).expect("a group with a Ready is open");
            open.written(ready, entries, &mut round.effects)?;
            open.settle_timeout(self.entropy.as_ref());
            if open.has_ready() {
                self.active.insert(group);
            }
        }
        Ok(())
    }

    fn purge(&mut self, round: &mut Round) -> Result<(), LogFault> {
        if round.cuts.is_empty() && self.bytes_since_purge < LOG_FILE_BYTES {
            return Ok(());
        }
        self.bytes_since_purge = 0;
        for group in self.store.purge()? {
            round.effects.push(Effect::CheckpointWanted { group });
        }
        Ok(())
    }
}

/// What one step has gathered so far.
#[derive(Default)]
struct Round {
    batch: LogBatch,
    must_sync: bool,
    cuts: BTreeMap<GroupId, LogPoint>,
    effects: Vec<Effect>,
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
