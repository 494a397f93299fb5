//! RENAME (RFC 1813 section 3.3.14): moves a name, over whatever has the new one.

use model::permission::{self, Access};
use model::{Changed, Inode, InodeKind, ObjectId, Refusal};

use super::{Asker, At, OpenDir, Stop, touch, unlink};
use crate::fault::CatalogFault;
use crate::records::NameRecord;
use crate::store::Store;
use crate::txn::Txn;

/// Moves `from` to `to`.
pub fn rename<S: Store>(
    txn: &mut Txn<'_, S>,
    asker: Asker<'_>,
    from: At<'_>,
    to: At<'_>,
) -> Result<Changed, Stop> {
    let from_dir = OpenDir::open(txn, asker, from.dir)?;
    let to_dir = if to.dir == from.dir { None } else { Some(OpenDir::open(txn, asker, to.dir)?) };
    let found = txn.name(from.dir, from.name)?.ok_or(Refusal::NotFound)?;
    let moved = txn.inode(found.object)?.ok_or(Refusal::Stale)?;
    let target = match txn.name(to.dir, to.name)? {
        Some(record) => Some((record, txn.inode(record.object)?.ok_or(Refusal::Stale)?)),
        None => None,
    };
    if moved.is_directory() && to_dir.is_some() && is_below(txn, to.dir, found.object)? {
        return Err(Refusal::Invalid.into());
    }
    from_dir.must_yield(asker, &moved)?;
    let target_dir = to_dir.as_ref().unwrap_or(&from_dir);
    match &target {
        // Two names of one object: nothing moves, both stay (POSIX rename).
        Some((record, _)) if record.object == found.object => {
            return Ok(unmoved(found.object, moved));
        }
        Some((_, inode)) => {
            target_dir.must_yield(asker, inode)?;
            must_be_replaceable(&moved, inode)?;
        }
        None => target_dir.must_be_writable(asker)?,
    }
    // A directory that changes its parent has its `..` rewritten.
    if moved.is_directory()
        && to_dir.is_some()
        && !permission::permits(&moved, asker.identity, Access::Write)
    {
        return Err(Refusal::Access.into());
    }
    let step = Move { asker, from, to, found, moved, target };
    Ok(step.carry_out(txn, from_dir, to_dir))
}

/// A rename that was found to be allowed.
struct Move<'a> {
    asker: Asker<'a>,
    from: At<'a>,
    to: At<'a>,
    found: NameRecord,
    moved: Inode,
    target: Option<(NameRecord, Inode)>,
}

impl Move<'_> {
    fn carry_out<S: Store>(
        mut self,
        txn: &mut Txn<'_, S>,
        mut from_dir: OpenDir,
        mut to_dir: Option<OpenDir>,
    ) -> Changed {
        let now = self.asker.now;
        let mut removed = None;
        from_dir.take(txn, self.from.name, self.found);
        {
            let target_dir = to_dir.as_mut().unwrap_or(&mut from_dir);
            if let Some((record, inode)) = self.target.take() {
                target_dir.take(txn, self.to.name, record);
                if inode.is_directory() {
                    target_dir.inode.links = target_dir.inode.links.saturating_sub(1);
                    txn.delete_inode(record.object);
                } else {
                    removed = unlink(txn, record.object, inode, now).1;
                }
            }
            target_dir.add(txn, self.to.name, self.found.object);
        }
        if let (InodeKind::Directory { parent, .. }, Some(to_dir)) =
            (&mut self.moved.kind, to_dir.as_mut())
        {
            *parent = to_dir.object;
            from_dir.inode.links = from_dir.inode.links.saturating_sub(1);
            to_dir.inode.links += 1;
        }
        touch(&mut self.moved, now);
        txn.put_inode(self.found.object, self.moved.clone());
        Changed {
            object: self.found.object,
            inode: Some(self.moved),
            created: false,
            dir: Some(from_dir.close(txn, now)),
            to_dir: to_dir.map(|dir| dir.close(txn, now)),
            removed,
        }
    }
}

fn unmoved(object: ObjectId, inode: Inode) -> Changed {
    let inode = Some(inode);
    Changed { object, inode, created: false, dir: None, to_dir: None, removed: None }
}

/// A directory replaces an empty directory, anything else replaces anything but a directory.
fn must_be_replaceable(moved: &Inode, target: &Inode) -> Result<(), Refusal> {
    match (&target.kind, moved.is_directory()) {
        (InodeKind::Directory { entries: 0, .. }, true) => Ok(()),
        (InodeKind::Directory { .. }, true) => Err(Refusal::NotEmpty),
        (InodeKind::Directory { .. }, false) => Err(Refusal::IsDirectory),
        (_, true) => Err(Refusal::NotDirectory),
        (_, false) => Ok(()),
    }
}

/// Whether `dir` is `top` or lies below it.
fn is_below<S: Store>(txn: &Txn<'_, S>, mut dir: ObjectId, top: ObjectId) -> Result<bool, Stop> {
    for _ in 0..DEPTH_MAX {
        if dir == top {
            return Ok(true);
        }
        if dir == ObjectId::ROOT {
            return Ok(false);
        }
        match txn.inode(dir)?.map(|inode| inode.kind) {
            Some(InodeKind::Directory { parent, .. }) => dir = parent,
            _ => return Err(broken_parents(dir)),
        }
    }
    // Deeper than any path can be: refused rather than walked for ever.
    Err(Refusal::Invalid.into())
}

fn broken_parents(dir: ObjectId) -> Stop {
    let reason = format!("directory {dir} has no parent");
    CatalogFault::Record { what: "directory", reason }.into()
}

/// The deepest tree in which a directory can be moved. A path of single letters that deep is 200
/// times what Linux takes at once (PATH_MAX 4096).
const DEPTH_MAX: usize = 1 << 19;
