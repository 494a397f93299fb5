//! The log on disk, kept by raft-engine; nothing else in the project names that crate.
//!
//! Invariant: no entry that was durable is dropped silently. raft-engine recovers from a broken
//! batch in its last file by cutting there with a mere warning, which is right for a torn write and
//! wrong for a medium that lost data; so all files are read through with plain reads first, where
//! the file system's checksums tell the two apart. A failed sync panics inside raft-engine.
//!
//! raft-engine's read cache belongs to the thread and does not tell engines apart: a thread must
//! not read from two of them. Absent on purpose: Raft, threads, retries.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use metrics::histogram;
use model::{GroupId, Index, Term};
use raft::eraftpb::{Entry, HardState};
use raft_engine::{Command, Config, Engine, MessageExt, ReadableSize, RecoveryMode};

use crate::{
    Durability, GroupState, GroupWrite, LogBatch, LogFault, LogPoint, LogStore,
    limits::{LOG_FILE_BYTES, LOG_PURGE_BYTES},
};

/// Name of the histogram of seconds that a synced write of the log took.
pub const SYNC_SECONDS: &str = "holdfast_raft_sync_seconds";

/// Name of the histogram of entries in a synced write of the log.
pub const BATCH_ENTRIES: &str = "holdfast_raft_batch_entries";

/// The log under one folder.
pub struct EngineLog {
    engine: Engine,
}

impl EngineLog {
    /// Opens the log in `folder`, or makes a new one. Refuses if any byte of it can't be read.
    pub fn open(folder: &Path) -> Result<Self, LogFault> {
        make_durable_folder(folder).map_err(|source| unopened(folder, source))?;
        read_through(folder)?;
        let engine = Engine::open(config(folder)?).map_err(|source| unopened(folder, source))?;
        let log = Self { engine };
        log.cut_again()?;
        Ok(log)
    }

    /// Bytes of log files, garbage included.
    pub fn disk_bytes(&self) -> u64 {
        self.engine.get_used_size() as u64
    }

    /// Entries that raft-engine moved to other files come back after a restart even if they were
    /// cut since. Our own record of the cut decides; without this, the next append to a log that
    /// was cut whole would seem to leave a gap.
    fn cut_again(&self) -> Result<(), LogFault> {
        let mut batch = raft_engine::LogBatch::default();
        for group in self.groups() {
            let cut = self.cut_point(group)?;
            let first = self.engine.first_index(group.get());
            if first.is_some_and(|first| first <= cut.index.get()) {
                let index = cut.index.next().get();
                batch.add_command(group.get(), Command::Compact { index });
            }
        }
        self.engine.write(&mut batch, false).map_err(unwritten)?;
        Ok(())
    }

    fn cut_point(&self, group: GroupId) -> Result<LogPoint, LogFault> {
        match self.engine.get(group.get(), CUT_KEY) {
            Some(record) => {
                decode_cut(&record).ok_or(LogFault::UnknownFormat { group, record: "cut" })
            }
            None => Ok(LogPoint::default()),
        }
    }

    fn hard_state(&self, group: GroupId) -> Result<HardState, LogFault> {
        match self.engine.get(group.get(), HARD_STATE_KEY) {
            Some(record) => decode_hard_state(&record)
                .ok_or(LogFault::UnknownFormat { group, record: "hard state" }),
            None => Ok(HardState::default()),
        }
    }
}

impl LogStore for EngineLog {
    #[expect(
        clippy::disallowed_methods,
        reason = "an adapter; the time goes to a metric and decides nothing"
    )]
    fn write(&self, batch: &LogBatch, durability: Durability) -> Result<(), LogFault> {
        let mut raw = raft_engine::LogBatch::default();
        for group in batch.removed() {
            raw.add_command(group.get(), Command::Clean);
        }
        for (group, write) in batch.writes() {
            encode(&mut raw, group, write).map_err(unwritten)?;
        }
        match durability {
            Durability::Buffered => self.engine.write(&mut raw, false).map_err(unwritten)?,
            Durability::Synced => {
                let start = Instant::now();
                let written = self.engine.write(&mut raw, true).map_err(unwritten)?;
                histogram!(SYNC_SECONDS).record(start.elapsed().as_secs_f64());
                histogram!(BATCH_ENTRIES).record(batch.entry_count() as f64);
                written
            }
        };
        Ok(())
    }

    fn state(&self, group: GroupId) -> Result<GroupState, LogFault> {
        let cut = self.cut_point(group)?;
        let last = self.engine.last_index(group.get()).map_or(cut.index, Index::new);
        Ok(GroupState { hard_state: self.hard_state(group)?, cut, last: last.max(cut.index) })
    }

    fn entries(
        &self,
        group: GroupId,
        low: Index,
        high: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, LogFault> {
        let mut entries = Vec::new();
        if low >= high {
            return Ok(entries);
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let raw = group.get();
        self.engine
            .fetch_entries_to::<EntryIndex>(
                raw,
                low.get(),
                high.get(),
                Some(bytes_max),
                &mut entries,
            )
            .map_err(|fault| unread(group, low, fault))?;
        if entries.is_empty() {
            return Err(LogFault::Missing { group, index: low });
        }
        Ok(entries)
    }

    fn term(&self, group: GroupId, index: Index) -> Result<Term, LogFault> {
        let cut = self.cut_point(group)?;
        if index == cut.index {
            return Ok(cut.term);
        }
        let entry = self
            .engine
            .get_entry::<EntryIndex>(group.get(), index.get())
            .map_err(|fault| unread(group, index, fault))?;
        match entry {
            Some(entry) => Ok(Term::new(entry.term)),
            None => Err(LogFault::Missing { group, index }),
        }
    }

    fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<_> = self.engine.raft_groups().into_iter().map(GroupId::new).collect();
        groups.sort_unstable();
        groups
    }

    fn purge(&self) -> Result<Vec<GroupId>, LogFault> {
        let mut wanted: Vec<_> = self
            .engine
            .purge_expired_files()
            .map_err(unwritten)?
            .into_iter()
            .map(GroupId::new)
            .collect();
        wanted.sort_unstable();
        Ok(wanted)
    }
}

/// Tells raft-engine where an entry says its index.
#[derive(Clone)]
struct EntryIndex;

impl MessageExt for EntryIndex {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

fn config(folder: &Path) -> Result<Config, LogFault> {
    let dir = folder.to_str().ok_or_else(|| {
        unopened(folder, io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8"))
    })?;
    Ok(Config {
        dir: dir.to_owned(),
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        batch_compression_threshold: ReadableSize(COMPRESSED_BYTES_MIN),
        target_file_size: ReadableSize(LOG_FILE_BYTES),
        purge_threshold: ReadableSize(LOG_PURGE_BYTES),
        // Recycling saves allocations on file systems that overwrite in place. BTRFS never does,
        // and a recycled file's old batches would have to be told from a torn tail.
        enable_log_recycle: false,
        prefill_for_recycle: false,
        ..Config::default()
    })
}

fn encode(
    raw: &mut raft_engine::LogBatch,
    group: GroupId,
    write: &GroupWrite,
) -> raft_engine::Result<()> {
    let region = group.get();
    if let Some(point) = write.reset {
        // Cleaned rather than compacted: after a restart compacted entries that were moved to
        // other files come back, and here they may be beyond the cut. What follows in the batch is
        // done after the cleaning, now and at each recovery.
        raw.add_command(region, Command::Clean);
        raw.put(region, CUT_KEY.to_vec(), encode_cut(point))?;
    }
    raw.add_entries::<EntryIndex>(region, &write.entries)?;
    if let Some(hard_state) = &write.hard_state {
        raw.put(region, HARD_STATE_KEY.to_vec(), encode_hard_state(hard_state))?;
    }
    if let Some(cut) = write.cut {
        raw.put(region, CUT_KEY.to_vec(), encode_cut(cut))?;
        let index = cut.index.next().get();
        raw.add_command(region, Command::Compact { index });
    }
    Ok(())
}

/// Makes the folder, and its name durable.
fn make_durable_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Reads every file once, so that the file system checks its checksums.
fn read_through(folder: &Path) -> Result<(), LogFault> {
    let unreadable = |path: &Path, source| LogFault::Unreadable { path: path.to_owned(), source };
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|source| unreadable(folder, source))?;
    let paths: &mut Vec<PathBuf> = &mut paths;
    paths.sort_unstable();
    let mut buffer = vec![0; READ_BYTES];
    for path in paths {
        read_file(path, &mut buffer).map_err(|source| unreadable(path, source))?;
    }
    Ok(())
}

fn read_file(path: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let mut file = File::open(path)?;
    while file.read(buffer)? != 0 {}
    Ok(())
}

fn encode_hard_state(state: &HardState) -> Vec<u8> {
    encode_record(&[state.term, state.vote, state.commit])
}

fn decode_hard_state(record: &[u8]) -> Option<HardState> {
    let [term, vote, commit] = decode_record(record)?;
    Some(HardState { term, vote, commit, ..HardState::default() })
}

fn encode_cut(cut: LogPoint) -> Vec<u8> {
    encode_record(&[cut.index.get(), cut.term.get()])
}

fn decode_cut(record: &[u8]) -> Option<LogPoint> {
    let [index, term] = decode_record(record)?;
    Some(LogPoint { index: Index::new(index), term: Term::new(term) })
}

/// The format byte, then each number in 8 bytes, little end first.
fn encode_record(numbers: &[u64]) -> Vec<u8> {
    let mut record = vec![RECORD_FORMAT];
    for number in numbers {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record
}

fn decode_record<const N: usize>(record: &[u8]) -> Option<[u64; N]> {
    let (&format, body) = record.split_first()?;
    let (numbers, rest) = body.as_chunks::<8>();
    if format != RECORD_FORMAT || !rest.is_empty() {
        return None;
    }
    let numbers: &[[u8; 8]; N] = numbers.try_into().ok()?;
    Some(numbers.map(u64::from_le_bytes))
}

fn unopened<E: std::error::Error + Send + Sync + 'static>(folder: &Path, source: E) -> LogFault {
    LogFault::Unopened { path: folder.to_owned(), source: Box::new(source) }
}

fn unwritten(source: raft_engine::Error) -> LogFault {
    LogFault::Unwritten { source: Box::new(source) }
}

fn unread(group: GroupId, index: Index, fault: raft_engine::Error) -> LogFault {
    match fault {
        raft_engine::Error::EntryCompacted | raft_engine::Error::EntryNotFound => {
            LogFault::Missing { group, index }
        }
        source => LogFault::Unread { group, source: Box::new(source) },
    }
}

const RECORD_FORMAT: u8 = 1;
const HARD_STATE_KEY: &[u8] = b"hard";
const CUT_KEY: &[u8] = b"cut";

/// A batch of a few metadata entries is smaller than what a sync costs; only bulk is compressed.
const COMPRESSED_BYTES_MIN: u64 = 64 << 10;

const READ_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
