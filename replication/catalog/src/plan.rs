//! Decides what a change does, against the state its entry meets. The same functions answer before
//! an entry is proposed (and then what they did is thrown away) and when it is applied.
//!
//! Invariant: every check comes before the first change to the transaction, so a refusal leaves no
//! trace. Checks come in the order in which Linux makes them, because programs look at errno.

mod attributes;
mod create;
mod remove;
mod rename;

use model::permission::{self, Access};
use model::{
    Asked, Change, Changed, Cookie, DirectoryChange, Identity, Inode, InodeKind, Name, ObjectId,
    Refusal, Timestamp, WccBefore,
};

use crate::command::Others;
use crate::fault::CatalogFault;
use crate::records::NameRecord;
use crate::store::Store;
use crate::txn::Txn;

pub use attributes::drop_privileges;

/// Why a plan ends early.
#[derive(Debug)]
pub enum Stop {
    /// The asker gets this.
    Refusal(Refusal),
    /// The appliance stops.
    Fault(CatalogFault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<CatalogFault> for Stop {
    fn from(fault: CatalogFault) -> Self {
        Self::Fault(fault)
    }
}

/// Does what is asked to the transaction.
///
/// # Errors
/// [`Stop::Refusal`] if it may or can not be done: then the transaction is as it was.
pub fn plan<S: Store>(
    txn: &mut Txn<'_, S>,
    asked: &Asked,
    others: &Others,
) -> Result<Changed, Stop> {
    let Asked { change, identity, now, .. } = asked;
    let asker = Asker { identity, now: *now };
    match change {
        Change::Create { dir, name, how, owner } => {
            let record = create::record(*owner, others)?;
            create::file(txn, asker, At { dir: *dir, name }, how, record)
        }
        Change::MakeDirectory { dir, name, set } => {
            create::directory(txn, asker, At { dir: *dir, name }, set)
        }
        Change::MakeSymlink { dir, name, target, set } => {
            create::symlink(txn, asker, At { dir: *dir, name }, target, set)
        }
        Change::MakeNode { dir, name, node, set } => {
            create::node(txn, asker, At { dir: *dir, name }, *node, set)
        }
        Change::Remove { dir, name } => remove::name(txn, asker, At { dir: *dir, name }),
        Change::RemoveDirectory { dir, name } => {
            remove::directory(txn, asker, At { dir: *dir, name })
        }
        Change::Rename { from_dir, from, to_dir, to } => {
            let from = At { dir: *from_dir, name: from };
            rename::rename(txn, asker, from, At { dir: *to_dir, name: to })
        }
        Change::Link { object, dir, name } => {
            create::link(txn, asker, *object, At { dir: *dir, name })
        }
        Change::SetAttributes { object, set, guard, expected_change, mark, ctime_floor } => {
            let wanted = attributes::Wanted {
                set,
                guard: *guard,
                expected_change: *expected_change,
                mark: *mark,
                ctime_floor: *ctime_floor,
            };
            attributes::set(txn, asker, *object, wanted)
        }
    }
}

/// Who asks, and when.
#[derive(Clone, Copy)]
struct Asker<'a> {
    identity: &'a Identity,
    now: Timestamp,
}

/// A name in a directory.
#[derive(Clone, Copy)]
struct At<'a> {
    dir: ObjectId,
    name: &'a Name,
}

/// A directory that is about to change.
struct OpenDir {
    object: ObjectId,
    inode: Inode,
    before: WccBefore,
}

impl OpenDir {
    /// Looks a directory up: it must be there, be a directory, and let the asker look names up.
    fn open<S: Store>(txn: &Txn<'_, S>, asker: Asker<'_>, object: ObjectId) -> Result<Self, Stop> {
        let inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
        if !inode.is_directory() {
            return Err(Refusal::NotDirectory.into());
        }
        if !permission::permits(&inode, asker.identity, Access::Execute) {
            return Err(Refusal::Access.into());
        }
        let before = before(object, &inode);
        Ok(Self { object, inode, before })
    }

    /// The asker must be allowed to change names in it.
    fn must_be_writable(&self, asker: Asker<'_>) -> Result<(), Stop> {
        if permission::permits(&self.inode, asker.identity, Access::Write) {
            Ok(())
        } else {
            Err(Refusal::Access.into())
        }
    }

    /// The asker must be allowed to take `victim`'s name out of it.
    fn must_yield(&self, asker: Asker<'_>, victim: &Inode) -> Result<(), Stop> {
        self.must_be_writable(asker)?;
        if permission::sticky_forbids(&self.inode, victim, asker.identity) {
            return Err(Refusal::NotPermitted.into());
        }
        Ok(())
    }

    /// Puts a name into it.
    fn add<S: Store>(&mut self, txn: &mut Txn<'_, S>, name: &Name, object: ObjectId) {
        let cookie = self.take_cookie();
        txn.put_name(self.object, name, object, cookie);
    }

    /// Takes a name out of it.
    fn take<S: Store>(&mut self, txn: &mut Txn<'_, S>, name: &Name, record: NameRecord) {
        txn.delete_name(self.object, name, record);
        if let InodeKind::Directory { entries, .. } = &mut self.inode.kind {
            *entries = entries.saturating_sub(1);
        }
    }

    fn take_cookie(&mut self) -> Cookie {
        match &mut self.inode.kind {
            InodeKind::Directory { entries, next_cookie, .. } => {
                *entries += 1;
                let cookie = *next_cookie;
                *next_cookie = cookie.next();
                cookie
            }
            _ => unreachable!("open() lets only directories in"),
        }
    }

    /// Stamps it and puts it back.
    fn close<S: Store>(mut self, txn: &mut Txn<'_, S>, now: Timestamp) -> DirectoryChange {
        touch(&mut self.inode, now);
        self.inode.times.mtime = self.inode.times.ctime;
        txn.put_inode(self.object, self.inode.clone());
        DirectoryChange { object: self.object, before: self.before, after: self.inode }
    }
}

/// The attributes of now, for a directory's weak cache consistency.
fn before(object: ObjectId, inode: &Inode) -> WccBefore {
    WccBefore::from(&inode.attributes(object, Default::default()))
}

/// Counts a change of an inode and moves its ctime on.
fn touch(inode: &mut Inode, now: Timestamp) {
    inode.change += 1;
    inode.times.ctime = inode.times.ctime.advanced_to(now);
}

/// Takes one name off a non-directory; the object goes with its last one. Gives back the inode if
/// the object lives on, and the object if a file's data is to be removed.
fn unlink<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    mut inode: Inode,
    now: Timestamp,
) -> (Option<Inode>, Option<ObjectId>) {
    inode.links = inode.links.saturating_sub(1);
    if inode.links > 0 {
        touch(&mut inode, now);
        txn.put_inode(object, inode.clone());
        return (Some(inode), None);
    }
    txn.delete_inode(object);
    if let InodeKind::File { record, .. } = &inode.kind {
        crate::owners::note_removal(txn, object, &record.replicas);
        if !record.stale.is_empty() {
            txn.delete(crate::keys::fault(object));
            txn.delete(crate::keys::degraded(object));
        }
        txn.delete(crate::keys::pin(object));
        return (None, Some(object));
    }
    (None, None)
}
