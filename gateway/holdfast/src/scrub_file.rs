//! What is kept of scrubs, as a file: `<root>/scrub`.
//!
//! Absent on purpose: what stands in it.

use std::path::PathBuf;

use router::ScrubKeeper;

use crate::small_file;

/// The file.
pub struct ScrubState {
    path: PathBuf,
}

impl ScrubState {
    /// The file at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl ScrubKeeper for ScrubState {
    fn load(&self) -> Option<Vec<u8>> {
        small_file::read(&self.path, BYTES_MAX).unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "scrubs begin anew");
            None
        })
    }

    fn keep(&self, bytes: &[u8]) {
        if let Err(error) = small_file::replace(&self.path, bytes) {
            tracing::warn!(path = %self.path.display(), %error, "a restart scrubs from before");
        }
    }
}

/// Far more than all of its lists take.
const BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::fs::File;

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
