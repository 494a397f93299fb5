//! REMOVE and RMDIR: changes that take a name away.

use model::{Changed, InodeKind, Refusal};

use super::{Asker, At, OpenDir, Stop, unlink};
use crate::store::Store;
use crate::txn::Txn;

/// REMOVE: anything but a directory.
pub fn name<S: Store>(txn: &mut Txn<'_, S>, asker: Asker<'_>, at: At<'_>) -> Result<Changed, Stop> {
    let mut dir = OpenDir::open(txn, asker, at.dir)?;
    let found = txn.name(at.dir, at.name)?.ok_or(Refusal::NotFound)?;
    let inode = txn.inode(found.object)?.ok_or(Refusal::Stale)?;
    dir.must_yield(asker, &inode)?;
    if inode.is_directory() {
        return Err(Refusal::IsDirectory.into());
    }
    dir.take(txn, at.name, found);
    let (inode, removed) = unlink(txn, found.object, inode, asker.now);
    Ok(Changed {
        object: found.object,
        inode,
        created: false,
        dir: Some(dir.close(txn, asker.now)),
        to_dir: None,
        removed,
    })
}

/// RMDIR: an empty directory.
pub fn directory<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    at: At<'_>,
) -> Result<Changed, Stop> {
    let mut dir = OpenDir::open(txn, asker, at.dir)?;
    let found = txn.name(at.dir, at.name)?.ok_or(Refusal::NotFound)?;
    let inode = txn.inode(found.object)?.ok_or(Refusal::Stale)?;
    dir.must_yield(asker, &inode)?;
    match inode.kind {
        InodeKind::Directory { entries: 0, .. } => {}
        InodeKind::Directory { .. } => return Err(Refusal::NotEmpty.into()),
        _ => return Err(Refusal::NotDirectory.into()),
    }
    dir.take(txn, at.name, found);
    dir.inode.links = dir.inode.links.saturating_sub(1);
    txn.delete_inode(found.object);
    Ok(Changed {
        object: found.object,
        inode: None,
        created: false,
        dir: Some(dir.close(txn, asker.now)),
        to_dir: None,
        removed: None,
    })
}
