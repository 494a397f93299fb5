//! The core: Raft of many groups, events in, effects out.
//!
//! Invariant: one step makes at most one write to the log (besides one for each group removed,
//! reset to a snapshot, or changed in its membership), with one sync if any group needs it, and no
//! effect of a step depends on anything that is not durable when the step returns. A lone voter
//! leads from the moment it is opened, commits with its own sync and never ticks, and a group of
//! several sleeps, so a group that nobody uses costs nothing. Absent on purpose: clocks, threads,
//! logging, chance but for the entropy given; what entries mean.
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

use model::{ApplianceId, Entropy, GroupId, Index, Refusal};
use raft::Ready;

use crate::{
    Durability, Effect, Event, GroupView, LogBatch, LogFault, LogPoint, LogStore, Origin, Ticket,
    event::Applied,
    limits::{LOG_FILE_BYTES, TAIL_ENTRIES, TICK},
    view::Views,
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
    /// Groups of several that are awake: only they cost anything as time passes.
    ticking: BTreeSet<GroupId>,
    views: Arc<Views>,
    now: Duration,
    next_tick: Duration,
    /// Entries that a group of several keeps below a checkpoint.
    tail: u64,
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
            ticking: BTreeSet::new(),
            views: Arc::default(),
            now: Duration::ZERO,
            next_tick: Duration::ZERO,
            tail: TAIL_ENTRIES,
            bytes_since_purge: 0,
            ended: false,
        }
    }

    /// Keeps so many entries below a checkpoint instead of
    /// [`TAIL_ENTRIES`](crate::TAIL_ENTRIES), so that members who were away catch up from the log.
    #[must_use]
    pub fn with_tail(mut self, entries: u64) -> Self {
        self.tail = entries;
        self
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

    /// When the next tick is due; never, while every group is alone or sleeps.
    pub fn next_tick(&self) -> Option<Duration> {
        (!self.ticking.is_empty()).then_some(self.next_tick)
    }

    /// What is known here of a group, for as long as it is held: who leads it, how far it is.
    pub fn watch(&self, group: GroupId) -> Arc<GroupView> {
        self.views.of(group)
    }

    /// Where all views are.
    pub(crate) fn views(&self) -> Arc<Views> {
        Arc::clone(&self.views)
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
        self.now = now;
        for event in events {
            self.take(now, event, &mut round)?;
        }
        let active = std::mem::take(&mut self.active);
        let readys = self.collect(now, &active, &mut round);
        self.write(&mut round)?;
        self.finish(now, readys, &mut round)?;
        self.tell(active, &mut round);
        self.purge(&mut round)?;
        Ok(round.effects)
    }

    fn take(&mut self, now: Duration, event: Event, round: &mut Round) -> Result<(), LogFault> {
        match event {
            Event::Open { group, applied, origin } => {
                self.take_open(group, &applied, origin, round)?;
            }
            Event::Propose { group, ticket, data } => {
                self.ask(group, ticket, round, |open| open.propose(ticket, data));
            }
            Event::Read { group, ticket } => {
                self.ask(group, ticket, round, |open| open.read(ticket));
            }
            Event::ChangeMembership { group, ticket, voters, learners } => {
                self.ask(group, ticket, round, |open| {
                    open.change_membership(ticket, &voters, &learners)
                });
            }
            Event::TransferLeader { group, to } => {
                self.with(group, |open| {
                    open.used();
                    open.transfer_leader(to);
                });
            }
            Event::Wake { group } => self.with(group, Group::used),
            Event::LeaderGone { group, leader } => {
                self.with(group, |open| open.leader_gone(leader));
            }
            Event::SnapshotMade { group, point, membership } => {
                self.with(group, |open| open.snapshot_made(point, &membership));
            }
            Event::SnapshotDropped { group } => self.with(group, Group::snapshot_dropped),
            Event::SnapshotInstalled { group, applied } => {
                self.snapshot_installed(group, &applied, round)?;
            }
            Event::SnapshotFailed { group } => {
                if let Some(open) = self.open.get_mut(&group) {
                    open.snapshot_failed(&mut round.effects)?;
                    self.active.insert(group);
                }
            }
            Event::Applied { group, index } => self.applied(group, index),
            Event::Checkpointed { group, index } => self.checkpointed(group, index, round)?,
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
            Event::Receive { group, from, message } => {
                let entropy = Arc::clone(&self.entropy);
                self.with(group, |open| open.receive(from, message, entropy.as_ref()));
            }
        }
        Ok(())
    }

    /// Does something to a group, if it is open, and sees what comes of it.
    fn with(&mut self, group: GroupId, act: impl FnOnce(&mut Group<L>)) {
        if let Some(open) = self.open.get_mut(&group) {
            open.look(self.now);
            act(open);
            self.active.insert(group);
        }
    }

    fn applied(&mut self, group: GroupId, index: Index) {
        if let Some(open) = self.open.get_mut(&group) {
            open.applied(index);
            // The leader of a group of several may end a change now.
            if !open.is_alone() || open.has_ready() {
                self.active.insert(group);
            }
        }
    }

    fn checkpointed(
        &mut self,
        group: GroupId,
        index: Index,
        round: &mut Round,
    ) -> Result<(), LogFault> {
        if let Some(open) = self.open.get_mut(&group)
            && let Some(point) = open.checkpointed(index, self.tail)?
        {
            round.batch.cut(group, point);
            round.cuts.insert(group, point);
        }
        Ok(())
    }

    fn snapshot_installed(
        &mut self,
        group: GroupId,
        applied: &Applied,
        round: &mut Round,
    ) -> Result<(), LogFault> {
        let Some(open) = self.open.get_mut(&group) else {
            return Ok(());
        };
        if let Some(mut effects) = open.snapshot_installed(applied)? {
            open.settle_timeout(self.entropy.as_ref());
            round.batch.discard(group);
            round.cuts.remove(&group);
            round.effects.append(&mut effects);
            round.effects.push(Effect::LogReset { group, index: applied.index });
            self.active.insert(group);
        }
        Ok(())
    }

    fn take_open(
        &mut self,
        group: GroupId,
        applied: &Applied,
        origin: Origin,
        round: &mut Round,
    ) -> Result<(), LogFault> {
        if let Some(open) = self.open.get(&group) {
            round.effects.push(Effect::Opened { group, last: open.last() });
            return Ok(());
        }
        let (me, store, view) = (self.appliance, Arc::clone(&self.store), self.views.of(group));
        let effect = match Group::open(me, group, store, applied, origin, view)? {
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

    fn ask(
        &mut self,
        group: GroupId,
        ticket: Ticket,
        round: &mut Round,
        ask: impl FnOnce(&mut Group<L>) -> Result<(), Refusal>,
    ) {
        let taken = match self.open.get_mut(&group) {
            Some(open) => {
                // Even if it is refused, the group is awake now and gets ticks.
                self.active.insert(group);
                open.look(self.now);
                open.used();
                ask(open)
            }
            None => Err(Refusal::Busy),
        };
        if let Err(refusal) = taken {
            round.effects.push(Effect::Refused { ticket, refusal });
        }
    }

    fn close(&mut self, group: GroupId, round: &mut Round) {
        self.active.remove(&group);
        self.ticking.remove(&group);
        let Some(open) = self.open.remove(&group) else {
            return;
        };
        let (tickets, view) = open.close();
        self.views.closed(group, view);
        for ticket in tickets {
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
        for group in &self.ticking {
            let open = self.open.get_mut(group).expect("a ticking group is open");
            open.look(now);
            open.tick(self.entropy.as_ref());
            self.active.insert(*group);
        }
    }

    fn collect(
        &mut self,
        now: Duration,
        active: &BTreeSet<GroupId>,
        round: &mut Round,
    ) -> Vec<(GroupId, Ready)> {
        let mut readys = Vec::with_capacity(active.len());
        for &group in active {
            let open = self.open.get_mut(&group).expect("an active group is open");
            let Some(mut ready) = open.ready(now) else {
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

    fn finish(
        &mut self,
        now: Duration,
        readys: Vec<(GroupId, Ready)>,
        round: &mut Round,
    ) -> Result<(), LogFault> {
        for (group, ready) in readys {
            let entries = round.batch.take_entries(group);
            let open = self.open.get_mut(&group).expect("a group with a Ready is open");
            open.written(now, ready, entries, &mut round.effects)?;
            open.settle_timeout(self.entropy.as_ref());
            if open.has_ready() {
                self.active.insert(group);
            }
        }
        Ok(())
    }

    /// What came of the step for the groups that took part in it.
    fn tell(&mut self, active: BTreeSet<GroupId>, round: &mut Round) {
        for group in active {
            let open = self.open.get_mut(&group).expect("an active group is open");
            open.tell(&mut round.effects);
            let listed = open.needs_ticks();
            if listed != open.listed {
                open.listed = listed;
                match listed {
                    true => self.ticking.insert(group),
                    false => self.ticking.remove(&group),
                };
            }
        }
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
