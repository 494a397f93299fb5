//! The ledger of owners as a file: `<root>/fleet/ledger`, a change a line, in JSON.
//!
//! Invariant: at most twice [`LEDGER_MAX`] lines; a line that can't be read costs only itself.
//! Absent on purpose: fsync. The ledger is for people; who owns what is in the volume's log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use ownership::{LEDGER_MAX, OwnerChange};
use parking_lot::Mutex;
use router::LedgerKeeper;

/// The file, and how many lines it has.
pub struct LedgerFile {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    lines: usize,
}

impl LedgerFile {
    /// The ledger at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: Mutex::new(None) }
    }

    fn read(&self) -> io::Result<Vec<OwnerChange>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut changes: Vec<OwnerChange> =
            lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        drop(changes.drain(..changes.len().saturating_sub(LEDGER_MAX)));
        Ok(changes)
    }

    fn append(&self, open: &mut Option<Open>, change: &OwnerChange) -> io::Result<()> {
        if open.as_ref().is_none_or(|open| open.lines >= 2 * LEDGER_MAX) {
            *open = Some(self.rewrite()?);
        }
        if let Some(open) = open {
            let mut line = serde_json::to_vec(change)?;
            line.push(b'\n');
            open.file.write_all(&line)?;
            open.lines += 1;
        }
        Ok(())
    }

    /// Leaves the newest changes alone in the file, and opens it for more.
    fn rewrite(&self) -> io::Result<Open> {
        let changes = self.read()?;
        let new = self.path.with_extension("new");
        let mut text = Vec::new();
        for change in &changes {
            serde_json::to_writer(&mut text, change)?;
            text.push(b'\n');
        }
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)?;
        let file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(Open { file, lines: changes.len() })
    }
}

impl LedgerKeeper for LedgerFile {
    fn load(&self) -> Vec<OwnerChange> {
        self.read().unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "the ledger can't be read");
            Vec::new()
        })
    }

    fn keep(&self, change: &OwnerChange) {
        let mut open = self.open.lock();
        if let Err(error) = self.append(&mut open, change) {
            tracing::warn!(path = %self.path.display(), %error, "a change is not in the ledger");
            *open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{ApplianceId, Epoch, ObjectId, Timestamp, VolumeId};
    use ownership::Cause;

    use super::*;

    fn change(at: u64) -> OwnerChange {
        OwnerChange {
            volume: VolumeId::new(1),
            object: Some(ObjectId::new(u64::MAX - at)),
            from: Some(ApplianceId::new(2)),
            to: ApplianceId::new(3),
            epoch: Epoch::new(at),
            cause: Cause::Heat,
            at: Timestamp::from_nanos(at),
        }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        assert_eq!(LedgerFile::new(path.clone()).load(), []);
        let ledger = LedgerFile::new(path.clone());
        ledger.keep(&change(1));
        ledger.keep(&change(2));
        let mut text = fs::read(&path).unwrap();
        text.truncate(text.len() - 5);
        fs::write(&path, text).unwrap();
        let ledger = LedgerFile::new(path.clone());
        assert_eq!(ledger.load(), [change(1)]);
        ledger.keep(&change(3));
        assert_eq!(LedgerFile::new(path).load(), [change(1), change(3)]);
    }

    #[test]
    fn the_file_stays_small_and_has_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = LedgerFile::new(path.clone());
        let count = 2 * LEDGER_MAX as u64 + 10;
        (0..count).for_each(|at| ledger.keep(&change(at)));
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, LEDGER_MAX + 10);
        let changes = ledger.load();
        assert_eq!((changes.len(), changes.last()), (LEDGER_MAX, Some(&change(count - 1))));
    }
}
