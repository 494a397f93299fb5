//! That this appliance sees a rebalance through, as a file: `<root>/fleet/rebalance`, in JSON.
//!
//! Invariant: the file is there from the beginning of a rebalance to its end, so that one goes on
//! after a restart; what can't be read costs only that. Absent on purpose: the plan, which is made
//! anew.

use std::fs;
use std::io;
use std::path::PathBuf;

use router::{RunId, RunKeeper};

use crate::small_file;

/// The file.
pub struct RunFile(PathBuf);

impl RunFile {
    /// The file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn warn(&self, error: &io::Error, what: &str) {
        tracing::warn!(path = %self.0.display(), %error, "{what}");
    }
}

impl RunKeeper for RunFile {
    fn load(&self) -> Option<RunId> {
        let kept = small_file::read(&self.0, BYTES_MAX).and_then(|bytes| {
            bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from)).transpose()
        });
        kept.unwrap_or_else(|error| {
            self.warn(&error, "a rebalance does not go on");
            None
        })
    }

    fn keep(&self, run: &RunId) {
        let json = serde_json::to_vec(run).map_err(io::Error::from);
        if let Err(error) = json.and_then(|json| small_file::replace(&self.0, &json)) {
            self.warn(&error, "a rebalance will not go on after a restart");
        }
    }

    fn forget(&self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.warn(&error, "a rebalance that is over will go on after a restart");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Far more than it takes.
const BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use model::{ApplianceId, Timestamp};

    use super::*;

    #[test]
    fn a_rebalance_is_remembered_until_it_is_over_and_bytes_that_make_no_sense_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rebalance");
        let file = || RunFile::new(path.clone());
        assert_eq!(file().load(), None);
        let run = RunId { at: ApplianceId::new(u64::MAX), began: Timestamp::from_nanos(7) };
        file().keep(&run);
        assert_eq!(file().load(), Some(run));
        fs::write(&path, "{\"at\":").unwrap();
        assert_eq!(file().load(), None);
        file().forget();
        file().forget();
        assert!(!path.exists());
    }
}
