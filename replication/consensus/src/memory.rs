//! The log's simulated twin: a disk in memory that loses power, fails, stalls or lies on command.
//!
//! Invariant: the same contract as the real log holds as long as no sync lies. Absent on purpose:
//! files, clocks, chance; the test decides everything.

use std::collections::{BTreeMap, VecDeque};

use model::{GroupId, Index, Term};
use parking_lot::Mutex;
use raft::eraftpb::{Entry, HardState};
use thiserror::Error;

use crate::{Durability, GroupState, GroupWrite, LogBatch, LogFault, LogPoint, LogStore};

/// A log in memory.
pub struct MemoryLog {
    disk: Mutex<Disk>,
    on_sync: Box<dyn Fn(u64) -> SyncOutcome + Send + Sync>,
}

/// What becomes of one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    /// It does what it says.
    Durable,
    /// It reports a failure; what it should have made durable may be lost.
    Fails,
    /// It reports success and does nothing: what a broken disk does, to prove that checks notice.
    Lies,
}

impl MemoryLog {
    /// An empty log on a disk that works.
    pub fn new() -> Self {
        Self::with_syncs(|_| SyncOutcome::Durable)
    }

    /// An empty log that asks `on_sync` what becomes of each sync, numbered from 1. It may also
    /// take its time.
    pub fn with_syncs(on_sync: impl Fn(u64) -> SyncOutcome + Send + Sync + 'static) -> Self {
        Self { disk: Mutex::default(), on_sync: Box::new(on_sync) }
    }

    /// Loses power: of the batches not made durable, only the first `survivors` are still there.
    pub fn power_cut(&self, survivors: usize) {
        let mut disk = self.disk.lock();
        let unsynced = std::mem::take(&mut disk.unsynced);
        for batch in unsynced.iter().take(survivors) {
            disk.durable.apply(batch);
        }
        disk.now = disk.durable.clone();
    }

    /// Batches not yet durable.
    pub fn unsynced(&self) -> usize {
        self.disk.lock().unsynced.len()
    }

    /// Syncs asked for so far.
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    fn count_sync(&self) -> u64 {
        let mut disk = self.disk.lock();
        disk.syncs += 1;
        disk.syncs
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl LogStore for MemoryLog {
    fn write(&self, batch: &LogBatch, durability: Durability) -> Result<(), LogFault> {
        // The disk is not held while the sync takes its time.
        let outcome = match durability {
            Durability::Buffered => None,
            Durability::Synced => Some((self.on_sync)(self.count_sync())),
        };
        let mut disk = self.disk.lock();
        disk.now.apply(batch);
        disk.unsynced.push(batch.clone());
        match outcome {
            None | Some(SyncOutcome::Lies) => Ok(()),
            Some(SyncOutcome::Fails) => {
                Err(LogFault::Unwritten { source: Box::new(SimulatedFailure) })
            }
            Some(SyncOutcome::Durable) => {
                for batch in std::mem::take(&mut disk.unsynced) {
                    disk.durable.apply(&batch);
                }
                Ok(())
            }
        }
    }

    fn state(&self, group: GroupId) -> Result<GroupState, LogFault> {
        let disk = self.disk.lock();
        Ok(disk.now.0.get(&group).map_or_else(GroupState::default, GroupLog::state))
    }

    fn entries(
        &self,
        group: GroupId,
        low: Index,
        high: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, LogFault> {
        let disk = self.disk.lock();
        let mut entries = Vec::new();
        let mut index = low;
        while index < high {
            let missing = LogFault::Missing { group, index };
            let log = disk.now.0.get(&group).ok_or(missing)?;
            let missing = LogFault::Missing { group, index };
            entries.push(log.entry(index).ok_or(missing)?.clone());
            index = index.next();
        }
        raft::util::limit_size(&mut entries, Some(bytes_max));
        Ok(entries)
    }

    fn term(&self, group: GroupId, index: Index) -> Result<Term, LogFault> {
        let disk = self.disk.lock();
        let Some(log) = disk.now.0.get(&group) else {
            return match index.get() {
                0 => Ok(Term::default()),
                _ => Err(LogFault::Missing { group, index }),
            };
        };
        if index == log.cut.index {
            return Ok(log.cut.term);
        }
        log.entry(index)
            .map(|entry| Term::new(entry.term))
            .ok_or(LogFault::Missing { group, index })
    }

    fn groups(&self) -> Vec<GroupId> {
        self.disk.lock().now.0.keys().copied().collect()
    }

    fn purge(&self) -> Result<Vec<GroupId>, LogFault> {
        Ok(Vec::new())
    }
}

#[derive(Default)]
struct Disk {
    now: Image,
    durable: Image,
    unsynced: Vec<LogBatch>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct Image(BTreeMap<GroupId, GroupLog>);

impl Image {
    fn apply(&mut self, batch: &LogBatch) {
        for group in batch.removed() {
            self.0.remove(group);
        }
        for (group, write) in batch.writes() {
            self.0.entry(group).or_default().apply(write);
        }
    }
}

#[derive(Clone, Default)]
struct GroupLog {
    hard_state: HardState,
    cut: LogPoint,
    entries: VecDeque<Entry>,
}

impl GroupLog {
    fn state(&self) -> GroupState {
        GroupState { hard_state: self.hard_state.clone(), cut: self.cut, last: self.last() }
    }

    fn last(&self) -> Index {
        Index::new(self.cut.index.get() + self.entries.len() as u64)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        let after_first = index.get().checked_sub(self.cut.index.get() + 1)?;
        self.entries.get(usize::try_from(after_first).ok()?)
    }

    fn apply(&mut self, write: &GroupWrite) {
        if let Some(point) = write.reset {
            self.entries.clear();
            self.cut = point;
        }
        if let Some(first) = write.entries.first() {
            assert!(first.index > self.cut.index.get(), "overwrites what was cut");
            assert!(first.index <= self.last().get() + 1, "leaves a gap");
            let kept = (first.index - self.cut.index.get() - 1) as usize;
            self.entries.truncate(kept);
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(cut) = write.cut {
            let gone = cut.index.get().saturating_sub(self.cut.index.get()) as usize;
            self.entries.drain(..gone.min(self.entries.len()));
            self.cut = cut;
        }
    }
}

#[derive(Debug, Error)]
#[error("the simulated disk failed")]
struct SimulatedFailure;

#[cfg(test)]
mod tests;
