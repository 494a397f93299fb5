//! The seam to the file system: what a backing file and its directories can do.
//!
//! Every implementation passes one contract suite. Calls block, except those told not to wait.
//! Errors are the operating system's, by number: what they mean is decided above.
//! Promises: after `sync` of a file returned, its bytes, size, record and name survive a power cut;
//! a new directory does so after `sync_dir` of its parent. What was not synced may survive or not.

use std::{ffi::OsStr, io, path::Path, sync::Arc};

use bytes::BytesMut;
use model::Span;

/// One disk's file system.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn BackingFile>>;
    /// Opens a file that is there for reading alone, so that reads bring nothing beyond their span
    /// into memory.
    fn open_cold(&self, path: &Path) -> io::Result<Arc<dyn BackingFile>>;
    /// Does `work` on this thread, after whoever else waits for the disk as far as the system can
    /// tell them apart.
    fn in_background(&self, work: &mut dyn FnMut());
    /// Takes a file's name; its bytes go when it is closed.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, over whatever had it.
    fn rename(&self, names: Rename<'_>) -> io::Result<()>;
    /// Makes a directory; `AlreadyExists` if there is one.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Shows every name in a directory but `.` and `..`, in any order.
    fn list(&self, path: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()>;
    /// Room on the file system that holds `path`.
    fn totals(&self, path: &Path) -> io::Result<DiskTotals>;
    /// Makes everything on the file system that holds `path` durable.
    fn sync_file_system(&self, path: &Path) -> io::Result<()>;
}

/// One open backing file. Closed when the last reference goes.
pub trait BackingFile: Send + Sync {
    /// Appends bytes of `span` to `into` until the span or the file ends, or, if told not to wait,
    /// the bytes in memory do; how many. None of them in memory: `WouldBlock`.
    fn read(&self, span: Span, into: &mut BytesMut, wait: Wait) -> io::Result<usize>;
    /// Drops what is in memory of `span`, so that the next read comes from the disk. Bytes that are
    /// not on the disk yet stay.
    fn forget(&self, span: Span) -> io::Result<()>;
    /// Writes a run of `payload`, from its start; how many bytes. At least one if it is not empty.
    fn write(&self, payload: &[u8], offset: u64) -> io::Result<usize>;
    /// Changes the file's length; new bytes are zero and take no room.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// The first byte at `offset` or after it that is data and not hole; `None` if only hole
    /// follows.
    /// A file system may call a hole data, never the other way round.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;
    /// The first byte at `offset`, which is before the end, or after it that is hole; at the latest
    /// the end.
    fn next_hole(&self, offset: u64) -> io::Result<u64>;
    /// Makes what there is of `span` a hole: its bytes read as zeros, the file keeps its length.
    fn punch(&self, span: Span) -> io::Result<()>;
    /// Makes bytes, size and record durable. An error that came up since the last one through this
    /// very file is reported once.
    fn sync(&self) -> io::Result<()>;
    /// Length and disk use. Never waits for the disk.
    fn facts(&self) -> io::Result<FileFacts>;
    /// The record beside the bytes, if there is one.
    fn record(&self) -> io::Result<Option<Vec<u8>>>;
    /// Replaces the record.
    fn set_record(&self, record: &[u8]) -> io::Result<()>;
}

/// Which files may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// One that is there: `NotFound` otherwise.
    Existing,
    /// One that is there, or else a new one.
    OrCreate,
}

/// Whether a call may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It may not.
    Never,
    /// It may.
    AsNeeded,
}

/// Two names of one file.
#[derive(Clone, Copy, Debug)]
pub struct Rename<'a> {
    /// The one it has.
    pub from: &'a Path,
    /// The one it gets.
    pub to: &'a Path,
}

/// Size of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Length in bytes.
    pub size: u64,
    /// Bytes of disk in use.
    pub used: u64,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTotals {
    /// All there is.
    pub total: u64,
    /// Not in use; bytes written but not yet placed on the disk count as in use.
    pub free: u64,
    /// Of the free ones, those that file data can get.
    pub available: u64,
}

#[cfg(test)]
mod tests;
