//! That this appliance sees a rebalance through, as a file: `<root>/fleet/rebalance`, in JSON.
//!
//! Invariant: the file is there from the beginning of a rebalance to its end, so that one goes on
//! after a restart; what can't be read costs only that. Absent on purpose: the plan, which is made
//! anew, and fsync.

use std::fs;
use std::io;
use std::path::PathBuf;

use router::{RunId, RunKeeper};

/// The file.
pub struct RunFile(PathBuf);

impl RunFile {
    /// The file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn write(&self, run: &RunId) -> io::Result<()> {
        let new = self.0.with_extension("new");
        fs::write(&new, serde_json::to_vec(run)?)?;
        fs::rename(&new, &self.0)
    }

    fn warn(&self, error: &io::Error, what: &str) {
        tracing::warn!(path = %self.0.display(), %error, "{what}");
    }
}

impl RunKeeper for RunFile {
    fn load(&self) -> Option<RunId> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.warn(&error, "a rebalance does not go on");
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| {
                self.warn(&io::Error::other(error.to_string()), "a rebalance does not go on");
            })
            .ok()
    }

    fn keep(&self, run: &RunId) {
        if let Err(error) = self.write(run) {
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
