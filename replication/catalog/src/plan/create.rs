//! CREATE, MKDIR, SYMLINK, MKNOD, LINK: changes that give a name to something.

use model::permission::{MODE_BITS, SETGID};
use model::{
    ApplianceId, Changed, Cookie, CreateHow, Device, Inode, InodeKind, LINKS_MAX, NodeKind,
    ObjectId, ObjectRecord, Refusal, SYMLINK_BYTES_MAX, SetAttributes, SetTime, Times,
};

use super::{Asker, At, OpenDir, Stop, touch};
use crate::command::Others;
use crate::owners::{COPIES_MAX, note_degraded};
use crate::store::Store;
use crate::txn::Txn;

/// CREATE (RFC 1813 section 3.3.8).
pub fn file<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    at: At<'_>,
    how: &CreateHow,
    record: ObjectRecord,
) -> Result<Changed, Stop> {
    let dir = OpenDir::open(txn, asker, at.dir)?;
    if let Some(found) = txn.name(at.dir, at.name)? {
        let inode = txn.inode(found.object)?.ok_or(Refusal::Stale)?;
        return taken(how, found.object, inode);
    }
    let (set, exclusive) = match how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (*set, None),
        CreateHow::Exclusive(verifier) => (SetAttributes::default(), Some(*verifier)),
    };
    let kind = InodeKind::File { record: record.clone(), has_data: false, exclusive };
    let made = make(txn, asker, dir, at, New { kind, set: &set, default_mode: 0o600 })?;
    note_degraded(txn, made.object, &record);
    Ok(made)
}

/// Who has copies of a new file.
///
/// # Errors
/// INVAL if somebody is named twice, or there are too many.
pub fn record(owner: ApplianceId, others: &Others) -> Result<ObjectRecord, Refusal> {
    let Others { replicas, stale } = others;
    let twice = |at: usize| replicas[at] == owner || replicas[..at].contains(&replicas[at]);
    let strange = |appliance: &ApplianceId| !replicas.contains(appliance);
    if replicas.len() >= COPIES_MAX || (0..replicas.len()).any(twice) || stale.iter().any(strange) {
        return Err(Refusal::Invalid);
    }
    let replicas = std::iter::once(owner).chain(replicas.iter().copied()).collect();
    Ok(ObjectRecord { replicas, stale: stale.clone(), ..ObjectRecord::owned_by(owner) })
}

/// CREATE of a name that is taken: what is there, if the asker takes it.
fn taken(how: &CreateHow, object: ObjectId, inode: Inode) -> Result<Changed, Stop> {
    let same_verifier = |verifier: &[u8; 8]| {
        matches!(&inode.kind,
        InodeKind::File { exclusive: Some(made_by), .. } if made_by == verifier)
    };
    let takes = match how {
        CreateHow::Unchecked(_) => matches!(inode.kind, InodeKind::File { .. }),
        CreateHow::Guarded(_) => false,
        CreateHow::Exclusive(verifier) => same_verifier(verifier),
    };
    if !takes {
        return Err(Refusal::Exists.into());
    }
    let inode = Some(inode);
    Ok(Changed { object, inode, created: false, dir: None, to_dir: None, removed: None })
}

/// MKDIR.
pub fn directory<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    at: At<'_>,
    set: &SetAttributes,
) -> Result<Changed, Stop> {
    let dir = open_free(txn, asker, at)?;
    let kind = InodeKind::Directory { parent: at.dir, entries: 0, next_cookie: Cookie::FIRST_NAME };
    make(txn, asker, dir, at, New { kind, set, default_mode: 0o700 })
}

/// SYMLINK.
pub fn symlink<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    at: At<'_>,
    target: &[u8],
    set: &SetAttributes,
) -> Result<Changed, Stop> {
    if target.is_empty() || target.contains(&0) {
        return Err(Refusal::Invalid.into());
    }
    if target.len() > SYMLINK_BYTES_MAX {
        return Err(Refusal::NameTooLong.into());
    }
    let dir = open_free(txn, asker, at)?;
    let kind = InodeKind::Symlink { target: target.into() };
    // Nothing ever looks at a symlink's mode; Linux shows 0777 whatever was asked.
    let set = SetAttributes { mode: Some(0o777), ..*set };
    make(txn, asker, dir, at, New { kind, set: &set, default_mode: 0o777 })
}

/// MKNOD. Only the superuser makes devices.
pub fn node<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    at: At<'_>,
    node: NodeKind,
    set: &SetAttributes,
) -> Result<Changed, Stop> {
    let dir = open_free(txn, asker, at)?;
    let device = |device: Device, kind: fn(Device) -> InodeKind| {
        if asker.identity.is_root() { Ok(kind(device)) } else { Err(Refusal::NotPermitted) }
    };
    let kind = match node {
        NodeKind::Fifo => InodeKind::Fifo,
        NodeKind::Socket => InodeKind::Socket,
        NodeKind::CharacterDevice(number) => device(number, InodeKind::CharacterDevice)?,
        NodeKind::BlockDevice(number) => device(number, InodeKind::BlockDevice)?,
    };
    make(txn, asker, dir, at, New { kind, set, default_mode: 0o600 })
}

/// LINK.
pub fn link<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    object: ObjectId,
    at: At<'_>,
) -> Result<Changed, Stop> {
    let mut inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
    let mut dir = open_free(txn, asker, at)?;
    if inode.is_directory() {
        return Err(Refusal::NotPermitted.into());
    }
    if inode.links >= LINKS_MAX {
        return Err(Refusal::TooManyLinks.into());
    }
    inode.links += 1;
    touch(&mut inode, asker.now);
    txn.put_inode(object, inode.clone());
    dir.add(txn, at.name, object);
    Ok(Changed {
        object,
        inode: Some(inode),
        created: false,
        dir: Some(dir.close(txn, asker.now)),
        to_dir: None,
        removed: None,
    })
}

/// A directory that the asker may put a new name into.
fn open_free<S: Store>(txn: &Txn<'_, S>, asker: Asker<'_>, at: At<'_>) -> Result<OpenDir, Stop> {
    let dir = OpenDir::open(txn, asker, at.dir)?;
    if txn.name(at.dir, at.name)?.is_some() {
        return Err(Refusal::Exists.into());
    }
    dir.must_be_writable(asker)?;
    Ok(dir)
}

/// What is to be made.
struct New<'a> {
    kind: InodeKind,
    set: &'a SetAttributes,
    default_mode: u32,
}

fn make<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    mut dir: OpenDir,
    at: At<'_>,
    new: New<'_>,
) -> Result<Changed, Stop> {
    dir.must_be_writable(asker)?;
    let is_directory = matches!(new.kind, InodeKind::Directory { .. });
    let inherits_group = dir.inode.mode & SETGID != 0;
    // Only the superuser gives things away at birth; what others ask of that is passed over, as
    // knfsd does.
    let chosen = |id: Option<u32>| id.filter(|_| asker.identity.is_root());
    let own_group = if inherits_group { dir.inode.gid } else { asker.identity.gid };
    let gid = chosen(new.set.gid).unwrap_or(own_group);
    let mut mode = new.set.mode.unwrap_or(new.default_mode) & MODE_BITS;
    if is_directory && inherits_group {
        mode |= SETGID;
    } else if !is_directory
        && mode & SETGID != 0
        && mode & 0o010 != 0
        && !asker.identity.is_root()
        && !asker.identity.is_in(gid)
    {
        mode &= !SETGID;
    }
    let time = |set: SetTime| match set {
        SetTime::Keep | SetTime::ToServerTime => asker.now,
        SetTime::To(time) => time,
    };
    let inode = Inode {
        kind: new.kind,
        mode,
        uid: chosen(new.set.uid).unwrap_or(asker.identity.uid),
        gid,
        links: if is_directory { 2 } else { 1 },
        change: 1,
        times: Times {
            atime: time(new.set.atime),
            mtime: time(new.set.mtime),
            ctime: asker.now,
            ..Times::default()
        },
    };
    let object = txn.new_object();
    if is_directory {
        dir.inode.links += 1;
    }
    dir.add(txn, at.name, object);
    txn.put_inode(object, inode.clone());
    Ok(Changed {
        object,
        inode: Some(inode),
        created: true,
        dir: Some(dir.close(txn, asker.now)),
        to_dir: None,
        removed: None,
    })
}
