//! The seam to the log: what [`Groups`](crate::Groups) needs of whatever keeps it.
//!
//! Invariant: a batch is atomic, batches keep their order, and after a synced write that batch and
//! all before it survive a power cut. Unsynced batches may be lost, but only from the newest back.
//! Absent on purpose: threads, terms, votes; what an entry says.

use std::{collections::BTreeMap, error::Error, io, path::PathBuf};

use model::{GroupId, Index, Term};
use raft::eraftpb::{Entry, HardState};
use thiserror::Error;

/// One log for all groups. One contract suite runs on every implementation.
///
/// A fault of any method is final: what is on disk is no longer known, so the caller must stop
/// using the log, and nothing that depends on it may be acknowledged.
pub trait LogStore: Send + Sync + 'static {
    /// Adds `batch` to the log as one atomic write. [`Durability::Synced`] returns only after this
    /// batch and all before it are durable.
    ///
    /// # Panics
    /// If entries would leave a gap, or overwrite what was cut.
    fn write(&self, batch: &LogBatch, durability: Durability) -> Result<(), LogFault>;

    /// The group's hard state and the ends of its log; all zero for a group it does not know.
    fn state(&self, group: GroupId) -> Result<GroupState, LogFault>;

    /// The entries from `low` up to but without `high`, as many as fit in `bytes_max`, but at least
    /// one. [`LogFault::Missing`] unless the log has all of them.
    fn entries(
        &self,
        group: GroupId,
        low: Index,
        high: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, LogFault>;

    /// The term of an entry, or of the last one that was cut.
    fn term(&self, group: GroupId, index: Index) -> Result<Term, LogFault>;

    /// All groups that the log knows, in order.
    fn groups(&self) -> Vec<GroupId>;

    /// Gives up files that only hold entries that were cut. Returns the groups whose old entries
    /// keep it from doing so.
    fn purge(&self) -> Result<Vec<GroupId>, LogFault>;
}

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Durable on return.
    Synced,
    /// Durable with the next synced write.
    Buffered,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPoint {
    /// Which entry.
    pub index: Index,
    /// Its term.
    pub term: Term,
}

/// What a log knows of a group besides its entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupState {
    /// Raft's term, vote and a lower bound of its commit index.
    pub hard_state: HardState,
    /// The last entry that was cut; the first one held comes after it.
    pub cut: LogPoint,
    /// The last entry; that of `cut` if none is held.
    pub last: Index,
}

/// What one write does to one group, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupWrite {
    /// Drop all entries, whatever they are, and go on after this one.
    pub reset: Option<LogPoint>,
    /// Append these, in place of any held with the same or a higher index.
    pub entries: Vec<Entry>,
    /// Replace the hard state.
    pub hard_state: Option<HardState>,
    /// Drop all entries up to and with this one.
    pub cut: Option<LogPoint>,
}

/// One atomic write to any number of groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogBatch {
    writes: BTreeMap<GroupId, GroupWrite>,
    removed: Vec<GroupId>,
}

impl LogBatch {
    /// Appends `entries` to the group's log; at most once a batch.
    pub fn append(&mut self, group: GroupId, entries: Vec<Entry>) {
        let write = self.writes.entry(group).or_default();
        assert!(write.entries.is_empty(), "one Ready a group and batch");
        write.entries = entries;
    }

    /// Replaces the group's hard state.
    pub fn set_hard_state(&mut self, group: GroupId, hard_state: HardState) {
        self.writes.entry(group).or_default().hard_state = Some(hard_state);
    }

    /// Drops the group's entries up to and with `point`.
    pub fn cut(&mut self, group: GroupId, point: LogPoint) {
        self.writes.entry(group).or_default().cut = Some(point);
    }

    /// Drops the whole log of the group and has it begin after `point`, with `hard_state`: the
    /// state machine is a snapshot now. What else the batch had to write to the group is discarded.
    pub fn reset(&mut self, group: GroupId, point: LogPoint, hard_state: HardState) {
        let reset = GroupWrite {
            reset: Some(point),
            hard_state: Some(hard_state),
            ..GroupWrite::default()
        };
        self.writes.insert(group, reset);
    }

    /// Forgets the group; a batch that also writes to it does this first.
    pub fn remove(&mut self, group: GroupId) {
        self.removed.push(group);
    }

    /// Takes back what it was to write to the group.
    pub fn discard(&mut self, group: GroupId) {
        self.writes.remove(&group);
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.removed.is_empty()
    }

    /// Groups to forget.
    pub fn removed(&self) -> &[GroupId] {
        &self.removed
    }

    /// Groups to write to, in order.
    pub fn writes(&self) -> impl Iterator<Item = (GroupId, &GroupWrite)> {
        self.writes.iter().map(|(group, write)| (*group, write))
    }

    /// Entries of all groups together.
    pub fn entry_count(&self) -> usize {
        self.writes.values().map(|write| write.entries.len()).sum()
    }

    /// Takes back the entries of a batch that has been written.
    pub(crate) fn take_entries(&mut self, group: GroupId) -> Vec<Entry> {
        match self.writes.get_mut(&group) {
            Some(write) => std::mem::take(&mut write.entries),
            None => Vec::new(),
        }
    }
}

/// The log is broken or its disk is: the process ends, and its next start reads what is left.
#[derive(Debug, Error)]
pub enum LogFault {
    /// A log file can't be read.
    #[error(
        "log file {} can't be read, so acknowledged entries may be lost: check the disk (kernel \
         log, `btrfs scrub`); then restore this appliance from a snapshot, or, if it is one of \
         several, empty its root and let it join again",
        .path.display()
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The log's folder can't be set up or its files make no sense.
    #[error("the log in {} can't be opened", .path.display())]
    Unopened {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A write or its sync failed.
    #[error("the log can't be written")]
    Unwritten {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A read of a held entry failed.
    #[error("the log of group {group} can't be read")]
    Unread {
        /// Of which group.
        group: GroupId,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The log does not hold that entry.
    #[error("the log of group {group} has no entry {index}")]
    Missing {
        /// Of which group.
        group: GroupId,
        /// Which entry.
        index: Index,
    },
    /// A record of the log is of a format that this release does not know.
    #[error("the log of group {group} has a {record} record of an unknown format")]
    UnknownFormat {
        /// Of which group.
        group: GroupId,
        /// Which record.
        record: &'static str,
    },
    /// A committed entry is of a kind that this release can't apply.
    #[error("entry {index} of group {group} is of a kind that this release can't apply")]
    UnknownEntry {
        /// Of which group.
        group: GroupId,
        /// Which entry.
        index: Index,
    },
    /// An earlier step met a fault.
    #[error("the log ended with an earlier fault")]
    Ended,
}

#[cfg(test)]
pub(crate) mod contract;
