//! SETATTR of everything but size, and what a write takes from a mode.

use model::permission::{self, Access, MODE_BITS, SETGID, SETUID};
use model::{Changed, Inode, Mark, ObjectId, Refusal, SetAttributes, SetTime, Timestamp};

use super::{Asker, Stop, touch};
use crate::store::Store;
use crate::txn::Txn;

/// What is to be set, and under which conditions.
pub struct Wanted<'a> {
    /// What.
    pub set: &'a SetAttributes,
    /// The ctime the asker believes in.
    pub guard: Option<Timestamp>,
    /// The change count the owner believes in.
    pub expected_change: Option<u64>,
    /// The mark of the last data change: times set here outdate it.
    pub mark: Mark,
    /// The last ctime the owner gave out.
    pub ctime_floor: Timestamp,
}

/// SETATTR (RFC 1813 section 3.3.2).
pub fn set<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    object: ObjectId,
    wanted: Wanted<'_>,
) -> Result<Changed, Stop> {
    let mut inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
    if wanted.expected_change.is_some_and(|change| change != inode.change) {
        return Err(Refusal::Conflict.into());
    }
    let shown_ctime = inode.times.ctime.max(wanted.ctime_floor);
    if wanted.guard.is_some_and(|ctime| ctime != shown_ctime) {
        return Err(Refusal::NotSync.into());
    }
    may_set(&inode, asker, wanted.set)?;
    apply_ids_and_mode(&mut inode, asker, wanted.set);
    inode.times.ctime = inode.times.ctime.max(wanted.ctime_floor);
    touch(&mut inode, asker.now);
    let ctime = inode.times.ctime;
    let time = |set: SetTime, old: Timestamp| match set {
        SetTime::Keep => old,
        SetTime::ToServerTime => ctime,
        SetTime::To(time) => time,
    };
    inode.times.atime = time(wanted.set.atime, inode.times.atime);
    if wanted.set.mtime != SetTime::Keep {
        inode.times.mtime = time(wanted.set.mtime, inode.times.mtime);
        inode.times.mark = inode.times.mark.max(wanted.mark);
    }
    txn.put_inode(object, inode.clone());
    let inode = Some(inode);
    Ok(Changed { object, inode, created: false, dir: None, to_dir: None, removed: None })
}

/// Takes setuid and setgid from a file that somebody else than the superuser wrote to.
pub fn drop_privileges<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    now: Timestamp,
) -> Result<(), Stop> {
    let mut inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
    inode.mode = permission::mode_without_privileges(inode.mode);
    touch(&mut inode, now);
    txn.put_inode(object, inode);
    Ok(())
}

/// Checks every part before any is done (POSIX chmod, chown, utimensat).
pub fn may_set(inode: &Inode, asker: Asker<'_>, set: &SetAttributes) -> Result<(), Refusal> {
    let who = asker.identity;
    let owns = permission::owns(inode, who);
    if set.mode.is_some() && !owns {
        return Err(Refusal::NotPermitted);
    }
    if set.uid.is_some_and(|uid| !(who.is_root() || owns && uid == inode.uid)) {
        return Err(Refusal::NotPermitted);
    }
    let own_group = |gid: u32| owns && (gid == inode.gid || who.is_in(gid));
    if set.gid.is_some_and(|gid| !who.is_root() && !own_group(gid)) {
        return Err(Refusal::NotPermitted);
    }
    for time in [set.atime, set.mtime] {
        match time {
            SetTime::Keep => {}
            SetTime::ToServerTime if owns || permission::permits(inode, who, Access::Write) => {}
            SetTime::ToServerTime => return Err(Refusal::Access),
            SetTime::To(_) if owns => {}
            SetTime::To(_) => return Err(Refusal::NotPermitted),
        }
    }
    Ok(())
}

fn apply_ids_and_mode(inode: &mut Inode, asker: Asker<'_>, set: &SetAttributes) {
    let is_directory = inode.is_directory();
    let chown = (set.uid.is_some() || set.gid.is_some()) && !is_directory;
    inode.uid = set.uid.unwrap_or(inode.uid);
    inode.gid = set.gid.unwrap_or(inode.gid);
    if chown {
        inode.mode = permission::mode_without_privileges(inode.mode);
    }
    if let Some(mode) = set.mode {
        let mut mode = mode & MODE_BITS;
        if !asker.identity.is_root() && !asker.identity.is_in(inode.gid) {
            mode &= !SETGID;
        }
        // Sent together, as `chown` by some clients is: the bits go all the same (knfsd).
        if chown {
            mode &= !SETUID;
            if mode & 0o010 != 0 {
                mode &= !SETGID;
            }
        }
        inode.mode = mode;
    }
}
