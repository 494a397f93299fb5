//! What only BTRFS can do: subvolumes, and telling how much data is not placed on the disk yet.
//! No other module names btrfsutil.
//!
//! Absent on purpose: qgroups, and `btrfsutil::sync`, which starts a commit and writes no dirty
//! pages.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use btrfsutil::{error::LibError, subvolume::Subvolume};

use crate::sys;

/// Whether `path` is on a BTRFS file system.
pub fn is_btrfs(path: &Path) -> io::Result<bool> {
    let found = rustix::fs::statfs(path)?;
    // The width of the field differs between architectures; the magic number has 32 bits.
    Ok(found.f_type as u32 == BTRFS_MAGIC)
}

/// Makes an empty subvolume; its parent directory is there. Durable after [`sync_file_system`].
pub fn create_subvolume(path: &Path) -> io::Result<()> {
    Subvolume::create(path, None).map(drop).map_err(into_io)
}

/// Deletes a subvolume and everything in it. The room comes back in the background.
pub fn delete_subvolume(path: &Path) -> io::Result<()> {
    Subvolume::get(path).and_then(|subvolume| subvolume.delete(None)).map_err(into_io)
}

/// Whether `path` is the root of a subvolume.
pub fn is_subvolume(path: &Path) -> io::Result<bool> {
    match Subvolume::is_subvolume(path) {
        Ok(()) => Ok(true),
        Err(LibError::NotBtrfs | LibError::NotSubvolume) => Ok(false),
        Err(error) => Err(into_io(error)),
    }
}

/// Writes everything dirty on the file system that holds `path` to the disk and waits for it
/// (`syncfs`, any file system).
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Where the kernel shows the data allocation of the BTRFS file system that holds `path`; `None` on
/// other file systems, or where there is no such place.
pub(crate) fn data_allocation_dir(path: &Path) -> io::Result<Option<PathBuf>> {
    if !is_btrfs(path)? {
        return Ok(None);
    }
    let uuid = sys::btrfs_uuid(&OwnedFd::from(File::open(path)?))?;
    let mut name = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        name.push_str(&format!("{byte:02x}"));
    }
    let dir = Path::new("/sys/fs/btrfs").join(name).join("allocation/data");
    Ok(dir.is_dir().then_some(dir))
}

/// Bytes that were written, or are being placed, but that `statvfs` still calls free: it learns of
/// them only when the pages are written out (measured: 300 MiB written, none of it missing).
pub(crate) fn unplaced_bytes(allocation: &Path) -> io::Result<u64> {
    let number = |name: &str| -> io::Result<u64> {
        let text = fs::read_to_string(allocation.join(name))?;
        text.trim_end().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    Ok(number("bytes_may_use")?.saturating_add(number("bytes_reserved")?))
}

/// The library tells what failed, and leaves why in `errno`.
fn into_io(error: LibError) -> io::Error {
    match error {
        LibError::NotBtrfs | LibError::NotSubvolume => io::ErrorKind::InvalidInput.into(),
        _ => {
            let cause = io::Error::last_os_error();
            io::Error::new(cause.kind(), format!("{error:?}: {cause}"))
        }
    }
}

const BTRFS_MAGIC: u32 = 0x9123_683e;
