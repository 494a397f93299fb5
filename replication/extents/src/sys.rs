//! The system calls that no safe wrapper offers; the only home of `unsafe` in this crate.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use bytes::{BufMut, BytesMut};

use crate::Wait;

/// Where a read starts, and whether it may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) offset: u64,
    pub(crate) wait: Wait,
}

/// One `preadv2` of at most `len` bytes straight into the spare room of `into`, which is never
/// zeroed first; how many were appended.
pub(crate) fn read_at(
    file: &OwnedFd,
    at: At,
    len: usize,
    into: &mut BytesMut,
) -> io::Result<usize> {
    into.reserve(len);
    let offset = libc::off64_t::try_from(at.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = match at.wait {
        Wait::Never => libc::RWF_NOWAIT,
        Wait::AsNeeded => 0,
    };
    let spare = &mut into.spare_capacity_mut()[..len];
    let run = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    // SAFETY: `run` names `len` bytes of memory that `spare` borrows for writing during the call;
    // the kernel only writes to them. The descriptor is open as long as `file` is borrowed.
    let count = unsafe { libc::preadv64v2(file.as_raw_fd(), &run, 1, offset, flags) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the first `count` bytes of the spare room, at most `len`.
    unsafe { into.advance_mut(count) };
    Ok(count)
}

/// While it lives, what this thread reads and writes comes after what others do, for those
/// schedulers of the kernel that know priorities; the others treat all alike. Not the idle class:
/// whoever waits for a page that is being read would wait for as long as anybody is busy.
pub(crate) struct LastInLine {
    before: libc::c_int,
}

impl LastInLine {
    pub(crate) fn step_back() -> Self {
        // SAFETY: the call has no pointers; 0 is the calling thread.
        let before = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
        let before = libc::c_int::try_from(before).ok().filter(|before| *before >= 0);
        set_priority(BEST_EFFORT_LAST);
        Self { before: before.unwrap_or(0) }
    }
}

impl Drop for LastInLine {
    fn drop(&mut self) {
        set_priority(self.before);
    }
}

/// Where that is refused, nothing is lost but manners.
fn set_priority(priority: libc::c_int) {
    // SAFETY: the call has no pointers; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) };
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// Class 2, best effort, and the last of its eight levels.
const BEST_EFFORT_LAST: libc::c_int = (2 << 13) | 7;

/// The UUID of the BTRFS file system that `file` is on (`BTRFS_IOC_FS_INFO`).
pub(crate) fn btrfs_uuid(file: &OwnedFd) -> io::Result<[u8; 16]> {
    let mut info = [0_u64; FS_INFO_BYTES / 8];
    // SAFETY: the kernel writes a `struct btrfs_ioctl_fs_info_args` of `FS_INFO_BYTES` bytes, which
    // is what `info` has room and alignment for; any bytes are valid in it.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), BTRFS_IOC_FS_INFO as _, info.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // After max_id and num_devices, 64 bits each, come the 16 bytes of the UUID.
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&info[2].to_ne_bytes());
    uuid[8..].copy_from_slice(&info[3].to_ne_bytes());
    Ok(uuid)
}

const FS_INFO_BYTES: usize = 1024;
/// `_IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)`.
const BTRFS_IOC_FS_INFO: u32 = (2 << 30) | ((FS_INFO_BYTES as u32) << 16) | (0x94 << 8) | 31;
