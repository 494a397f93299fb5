//! One group's log as raft-rs wants to see it.
//!
//! Invariant: entries that were written but not yet handed out are kept here, so that a lone voter
//! never reads from the disk what it has just written. Absent on purpose: writing; what is in a
//! snapshot, of which raft-rs only learns where it stands.

use std::{cell::Cell, collections::VecDeque, sync::Arc};

use model::{GroupId, Index, Membership, Term};
use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
};

use crate::{Applied, GroupState, LogFault, LogPoint, LogStore, membership::to_conf_state};

pub(super) struct GroupLog<L> {
    store: Arc<L>,
    group: GroupId,
    hard_state: HardState,
    conf_state: ConfState,
    /// What members that are too far behind are told to fetch.
    snapshot: Option<Snapshot>,
    /// raft-rs has asked for a snapshot that is not there.
    snapshot_missed: Cell<bool>,
    cut: LogPoint,
    last: LogPoint,
    /// The newest entries, up to and with `last`; those that are handed out are dropped.
    recent: VecDeque<Entry>,
}

impl<L: LogStore> GroupLog<L> {
    /// The log of `group` as `state` says, from the view of a state machine that stands at
    /// `applied`, which must lie within it.
    pub(super) fn open(
        store: Arc<L>,
        group: GroupId,
        state: GroupState,
        applied: &Applied,
    ) -> std::result::Result<Self, LogFault> {
        let mut hard_state = state.hard_state;
        // The commit index is not written for its own sake. What was applied had been committed.
        hard_state.commit = hard_state.commit.max(applied.index.get());
        let term = store.term(group, state.last)?;
        Ok(Self {
            store,
            group,
            hard_state,
            conf_state: to_conf_state(&applied.membership),
            snapshot: None,
            snapshot_missed: Cell::new(false),
            cut: state.cut,
            last: LogPoint { index: state.last, term },
            recent: VecDeque::new(),
        })
    }

    pub(super) fn cut_point(&self) -> LogPoint {
        self.cut
    }

    /// The log was cut up to and with `point`.
    pub(super) fn set_cut(&mut self, point: LogPoint) {
        self.cut = point;
    }

    /// The store behind it.
    pub(super) fn store(&self) -> &Arc<L> {
        &self.store
    }

    /// A snapshot is at hand.
    pub(super) fn set_snapshot(&mut self, point: LogPoint, membership: &Membership) {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = point.index.get();
        metadata.term = point.term.get();
        metadata.set_conf_state(to_conf_state(membership));
        self.snapshot = Some(snapshot);
    }

    /// No snapshot is at hand.
    pub(super) fn drop_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// The last entry in the snapshot at hand.
    pub(super) fn snapshot_index(&self) -> Option<Index> {
        Some(Index::new(self.snapshot.as_ref()?.get_metadata().index))
    }

    /// Whether a snapshot was missed since this was asked last.
    pub(super) fn take_missed(&self) -> bool {
        self.snapshot_missed.take()
    }

    /// `entries` have been written.
    pub(super) fn appended(&mut self, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        self.last = LogPoint { index: Index::new(last.index), term: Term::new(last.term) };
        while self.recent.back().is_some_and(|entry| entry.index >= first.index) {
            self.recent.pop_back();
        }
        self.recent.extend(entries);
    }

    /// Entries up to and with `index` won't be asked for soon.
    pub(super) fn handed_out(&mut self, index: Index) {
        while self.recent.front().is_some_and(|entry| entry.index <= index.get()) {
            self.recent.pop_front();
        }
    }

    /// Where in `recent` that entry is.
    fn position(&self, index: u64) -> Option<usize> {
        let position = index.checked_sub(self.recent.front()?.index)? as usize;
        (position < self.recent.len()).then_some(position)
    }

    pub(super) fn term_of(&self, index: Index) -> std::result::Result<Term, LogFault> {
        if index == self.last.index {
            return Ok(self.last.term);
        }
        if index == self.cut.index {
            return Ok(self.cut.term);
        }
        match self.position(index.get()) {
            Some(position) => Ok(Term::new(self.recent[position].term)),
            None => self.store.term(self.group, index),
        }
    }
}

impl<L: LogStore> Storage for GroupLog<L> {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.cut.index.get() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last.index.get() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let max_size = max_size.into();
        if let Some(position) = self.position(low) {
            let count = (high - low) as usize;
            let mut entries = self.recent.range(position..position + count).cloned().collect();
            raft::util::limit_size(&mut entries, max_size);
            return Ok(entries);
        }
        self.store
            .entries(self.group, Index::new(low), Index::new(high), max_size.unwrap_or(u64::MAX))
            .map_err(storage_error)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index < self.cut.index.get() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if index > self.last.index.get() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        self.term_of(Index::new(index)).map(Term::get).map_err(storage_error)
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.cut.index.next().get())
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last.index.get())
    }

    /// Where a snapshot stands that the log goes on from. Its bytes go another way.
    fn snapshot(&self, _: u64, _: u64) -> Result<Snapshot> {
        match &self.snapshot {
            Some(snapshot) if snapshot.get_metadata().index >= self.cut.index.get() => {
                Ok(snapshot.clone())
            }
            _ => {
                self.snapshot_missed.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

fn storage_error(fault: LogFault) -> Error {
    Error::Store(StorageError::Other(Box::new(fault)))
}
