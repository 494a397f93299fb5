//! Small files that are replaced as a whole.
//!
//! Invariant: whoever reads such a file sees all of the old one or all of the new one. Absent on
//! purpose: what stands in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Root alone.
    Root,
    /// Everybody.
    All,
}

/// Puts `bytes` in the place of whatever is at `path`; its folder is made, for root alone, if it is
/// not there.
///
/// # Errors
/// The system's.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mode = match readers {
        Readers::Root => 0o600,
        Readers::All => 0o644,
    };
    // One that is left of before may have another mode.
    _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// What stands in a file; at most `bytes_max` of it.
///
/// # Errors
/// The system's.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whoever_could_read_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/secret");
        replace(&path, b"old", Readers::All).unwrap();
        fs::write(folder.path().join("run/secret.new"), "left by a crash").unwrap();
        replace(&path, b"new", Readers::Root).unwrap();
        assert_eq!(read(&path, 99).unwrap(), b"new");
        assert_eq!(read(&path, 2).unwrap(), b"ne");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
