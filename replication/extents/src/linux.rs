//! The real disk: files of a Linux file system. BTRFS is what it is made for; any with extended
//! attributes and holes will do.
//!
//! Absent on purpose: policy. What an error means and when to sync is decided by the callers.

use std::{
    ffi::OsStr,
    fs, io,
    num::NonZeroU64,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::BytesMut;
use model::Span;
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SeekFrom, XattrFlags};

use crate::{
    BackingFile, Disk, DiskTotals, FileFacts, Open, Rename, Wait, btrfs,
    record::{RECORD_BYTES, RECORD_XATTR},
    sys,
};

/// The file system that holds one directory.
#[derive(Debug)]
pub struct LinuxDisk {
    /// Where the kernel tells how much data is not placed on the disk yet; BTRFS only.
    allocation: Option<PathBuf>,
}

#[derive(Debug)]
struct LinuxFile(OwnedFd);

impl LinuxDisk {
    /// The file system that holds `root`.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { allocation: btrfs::data_allocation_dir(root)? })
    }
}

impl Disk for LinuxDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn BackingFile>> {
        let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if how == Open::OrCreate {
            flags |= OFlags::CREATE;
        }
        let file = retried(|| rustix::fs::open(path, flags, FILE_MODE))?;
        Ok(Arc::new(LinuxFile(file)))
    }

    fn open_cold(&self, path: &Path) -> io::Result<Arc<dyn BackingFile>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = |flags| retried(|| rustix::fs::open(path, flags, Mode::empty()));
        let file = match open(flags | OFlags::NOATIME) {
            // For those who own the file alone.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(flags)?,
            result => result?,
        };
        rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
        Ok(Arc::new(LinuxFile(file)))
    }

    fn in_background(&self, work: &mut dyn FnMut()) {
        let _last = sys::LastInLine::step_back();
        work();
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, names: Rename<'_>) -> io::Result<()> {
        fs::rename(names.from, names.to)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdir(path, DIR_MODE)?)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            each(&entry?.file_name());
        }
        Ok(())
    }

    fn totals(&self, path: &Path) -> io::Result<DiskTotals> {
        let found = retried(|| rustix::fs::statvfs(path))?;
        let unplaced = match &self.allocation {
            Some(dir) => btrfs::unplaced_bytes(dir)?,
            None => 0,
        };
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskTotals {
            total: bytes(found.f_blocks),
            free: bytes(found.f_bfree).saturating_sub(unplaced),
            available: bytes(found.f_bavail).saturating_sub(unplaced),
        })
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        btrfs::sync_file_system(path)
    }
}

impl BackingFile for LinuxFile {
    fn read(&self, span: Span, into: &mut BytesMut, wait: Wait) -> io::Result<usize> {
        let len = usize::try_from(span.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut done = 0;
        while done < len {
            let offset = span.offset() + done as u64;
            match sys::read_at(&self.0, sys::At { offset, wait }, len - done, into) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if done > 0 && cannot_without_waiting(&error) => break,
                Err(error) => return Err(or_would_block(error, wait)),
            }
        }
        Ok(done)
    }

    fn forget(&self, span: Span) -> io::Result<()> {
        let Some(len) = NonZeroU64::new(span.len()) else { return Ok(()) };
        Ok(rustix::fs::fadvise(&self.0, span.offset(), Some(len), Advice::DontNeed)?)
    }

    fn write(&self, payload: &[u8], offset: u64) -> io::Result<usize> {
        match retried(|| rustix::io::pwrite(&self.0, payload, offset))? {
            0 if !payload.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        retried(|| rustix::fs::ftruncate(&self.0, size))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        // The offset that this moves is used by nobody: all reads and writes name theirs.
        match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(found) => Ok(Some(found)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        Ok(rustix::fs::seek(&self.0, SeekFrom::Hole(offset))?)
    }

    fn punch(&self, span: Span) -> io::Result<()> {
        if span.is_empty() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retried(|| rustix::fs::fallocate(&self.0, flags, span.offset(), span.len()))
    }

    fn sync(&self) -> io::Result<()> {
        // Not retried: the first answer is the only one that counts.
        Ok(rustix::fs::fsync(&self.0)?)
    }

    fn facts(&self) -> io::Result<FileFacts> {
        let found = rustix::fs::fstat(&self.0)?;
        Ok(FileFacts {
            size: found.st_size.cast_unsigned(),
            used: found.st_blocks.cast_unsigned() * STAT_BLOCK_BYTES,
        })
    }

    fn record(&self) -> io::Result<Option<Vec<u8>>> {
        // A byte more than any record has, so that a longer one is seen to be longer.
        let mut bytes = vec![0; RECORD_BYTES + 1];
        match rustix::fs::fgetxattr(&self.0, RECORD_XATTR, bytes.as_mut_slice()) {
            Ok(len) => {
                bytes.truncate(len);
                Ok(Some(bytes))
            }
            Err(rustix::io::Errno::NODATA) => Ok(None),
            // Longer still: whatever it is, no reader takes it for a record.
            Err(rustix::io::Errno::RANGE) => Ok(Some(bytes)),
            Err(error) => Err(error.into()),
        }
    }

    fn set_record(&self, record: &[u8]) -> io::Result<()> {
        retried(|| rustix::fs::fsetxattr(&self.0, RECORD_XATTR, record, XattrFlags::empty()))
    }
}

fn retried<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}

/// What the kernel says where not waiting is not possible, or not supported.
fn cannot_without_waiting(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS))
}

fn or_would_block(error: io::Error, wait: Wait) -> io::Error {
    match wait {
        Wait::Never if cannot_without_waiting(&error) => io::ErrorKind::WouldBlock.into(),
        Wait::Never | Wait::AsNeeded => error,
    }
}

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: Mode = Mode::RWXU;
/// The unit of `st_blocks`, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;
