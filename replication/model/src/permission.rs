//! POSIX permission: mode bits, the sticky bit, who may change what. Pure functions of an inode and
//! an identity, so that a check means the same before an entry is proposed and when it is applied.

use crate::{Attributes, Identity, Inode, ObjectKind};

/// The part of an object that decides about permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whether it is a directory.
    pub directory: bool,
    /// Mode bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl From<&Inode> for Subject {
    fn from(inode: &Inode) -> Self {
        let directory = inode.is_directory();
        Self { directory, mode: inode.mode, uid: inode.uid, gid: inode.gid }
    }
}

impl From<&Attributes> for Subject {
    fn from(attributes: &Attributes) -> Self {
        let directory = attributes.kind == ObjectKind::Directory;
        Self { directory, mode: attributes.mode, uid: attributes.uid, gid: attributes.gid }
    }
}

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read data, list a directory.
    Read,
    /// Write data, change a directory's names.
    Write,
    /// Run a file, look names up in a directory.
    Execute,
}

/// Setuid bit.
pub const SETUID: u32 = 0o4000;
/// Setgid bit.
pub const SETGID: u32 = 0o2000;
/// Sticky bit.
pub const STICKY: u32 = 0o1000;
/// All bits a mode can have.
pub const MODE_BITS: u32 = 0o7777;

/// Whether the mode bits let `who` do `what`. The superuser may do all, but run only what somebody
/// may run.
pub fn permits(subject: impl Into<Subject>, who: &Identity, what: Access) -> bool {
    let subject = subject.into();
    let bit = match what {
        Access::Read => 0o4,
        Access::Write => 0o2,
        Access::Execute => 0o1,
    };
    if who.is_root() {
        return what != Access::Execute || subject.directory || subject.mode & 0o111 != 0;
    }
    let shift = if who.uid == subject.uid {
        6
    } else if who.is_in(subject.gid) {
        3
    } else {
        0
    };
    (subject.mode >> shift) & bit != 0
}

/// Whether `who` may read a file's data. NFS has no open, so the owner always may (it opened the
/// file when the mode still let it), and who may run a file may read it.
pub fn may_read_data(subject: impl Into<Subject>, who: &Identity) -> bool {
    let subject = subject.into();
    owns(subject, who)
        || permits(subject, who, Access::Read)
        || permits(subject, who, Access::Execute)
}

/// Whether `who` may write a file's data; the owner always may, see [`may_read_data`].
pub fn may_write_data(subject: impl Into<Subject>, who: &Identity) -> bool {
    let subject = subject.into();
    owns(subject, who) || permits(subject, who, Access::Write)
}

/// Whether `who` is the owning user or the superuser.
pub fn owns(subject: impl Into<Subject>, who: &Identity) -> bool {
    who.is_root() || who.uid == subject.into().uid
}

/// Whether the sticky bit of `dir` keeps `who` from taking the name of `victim` out of it.
pub fn sticky_forbids(dir: &Inode, victim: &Inode, who: &Identity) -> bool {
    dir.mode & STICKY != 0 && !owns(dir, who) && !owns(victim, who)
}

/// The mode left after somebody wrote to a file or changed its owner: setuid goes, and setgid where
/// it means more than mandatory locking. The superuser's own writes keep both, as Linux does with
/// `CAP_FSETID`.
pub fn mode_without_privileges(mode: u32) -> u32 {
    let mode = mode & !SETUID;
    if mode & 0o010 != 0 { mode & !SETGID } else { mode }
}

#[cfg(test)]
mod tests;
