//! What is kept of scrubs, as a file: `<root>/scrub`.
//!
//! Invariant: the file is whole, of now or of before; it was fsynced before it got its name. Absent
//! on purpose: what stands in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use router::ScrubKeeper;

/// The file.
pub struct ScrubState {
    path: PathBuf,
}

impl ScrubState {
    /// The file at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > BYTES_MAX {
            true => Err(io::Error::other("it is too long")),
            false => Ok(Some(bytes)),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

impl ScrubKeeper for ScrubState {
    fn load(&self) -> Option<Vec<u8>> {
        self.read().unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "scrubs begin anew");
            None
        })
    }

    fn keep(&self, bytes: &[u8]) {
        if let Err(error) = self.write(bytes) {
            tracing::warn!(path = %self.path.display(), %error, "a restart scrubs from before");
        }
    }
}

/// Far more than all of its lists take.
const BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_last_is_there_and_what_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scrub");
        let state = ScrubState::new(path.clone());
        assert_eq!(state.load(), None);
        state.keep(b"one, which is longer");
        state.keep(b"two");
        assert_eq!(ScrubState::new(path.clone()).load(), Some(b"two".to_vec()));
        File::create(&path).unwrap().set_len(BYTES_MAX + 1).unwrap();
        assert_eq!(state.load(), None);
        ScrubState::new(dir.path().join("none/scrub")).keep(b"that can't be kept");
    }
}
