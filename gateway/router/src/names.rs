//! Names at the leader: reads from the catalog, changes through the log.

use std::sync::Arc;

use bytes::Bytes;
use catalog::{Answer, Command, Listed, ListedName, LookedUp, Preview, Store};
use model::permission::{self, Access};
use model::{
    Attributes, Change, Changed, CreateHow, DataFacts, DirectoryChange, Identity, Inode, InodeKind,
    ObjectId, Refusal, SetAttributes, SetTime, Wcc, WccBefore,
};
use volume::{Ask, Attached, Done, Entry, Found, Listing, LookUpName, Page, Refused};

use crate::data::CONFLICTS_MAX;
use crate::local::{Local, faulted};
use crate::router::Router;

impl<S: Store> Router<S> {
    /// The attributes of an object that was just looked at, whatever kind it is of.
    pub(crate) async fn attributes_of(
        &self,
        local: &Local<S>,
        object: ObjectId,
        inode: &Inode,
    ) -> Result<Attributes, Refusal> {
        let InodeKind::File { has_data, .. } = inode.kind else {
            return Ok(inode.attributes(object, DataFacts::default()));
        };
        let facts = local.objects.facts(object, has_data).await?;
        // Without a stamp all times are the inode's, and so of its moment.
        if facts.stamp.is_none() {
            return Ok(inode.attributes(object, facts));
        }
        let (inode, facts) = self.file_now(local, object).await?;
        Ok(inode.attributes(object, facts))
    }

    /// A file's inode and the facts of its data, of one moment: a ctime of the one must not hide a
    /// change of the other.
    pub(crate) async fn file_now(
        &self,
        local: &Local<S>,
        object: ObjectId,
    ) -> Result<(Arc<Inode>, DataFacts), Refusal> {
        let mut inode = local.inode(object)?;
        for _ in 0..CONFLICTS_MAX {
            let InodeKind::File { has_data, .. } = inode.kind else { return Err(Refusal::Stale) };
            let facts = local.objects.facts(object, has_data).await?;
            let again = local.inode(object)?;
            if again.change == inode.change {
                return Ok((inode, facts));
            }
            inode = again;
        }
        Err(Refusal::Busy)
    }

    /// LOOKUP.
    pub(crate) async fn look_up_name(
        &self,
        ask: &Ask,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> Result<Found, Refused> {
        let local = self.local(ask.volume)?;
        let (dir_inode, target) = match name {
            LookUpName::Name(name) => {
                let found = local.catalog.look_up(dir, name).map_err(faulted)?;
                let LookedUp { dir, target } = found.ok_or(Refusal::Stale)?;
                (dir, target)
            }
            LookUpName::Dot | LookUpName::DotDot => {
                let inode = local.inode(dir)?;
                let object = match (&inode.kind, name) {
                    (InodeKind::Directory { parent, .. }, LookUpName::DotDot) => *parent,
                    _ => dir,
                };
                let target = local.inode(object)?;
                (inode, Some((object, target)))
            }
        };
        let dir_attributes = dir_inode.attributes(dir, DataFacts::default());
        let refused = |refusal| refused_in(refusal, dir_attributes);
        if !dir_inode.is_directory() {
            return Err(refused(Refusal::NotDirectory));
        }
        if !permission::permits(&*dir_inode, &ask.identity, Access::Execute) {
            return Err(refused(Refusal::Access));
        }
        let Some((object, inode)) = target else { return Err(refused(Refusal::NotFound)) };
        // Attributes are a gift here: a file whose data is broken can still be looked up.
        let attributes = self.attributes_of(&local, object, &inode).await.ok();
        Ok(Found { object, attributes, dir: dir_attributes })
    }

    /// READLINK.
    pub(crate) async fn read_link_of(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> Result<(Bytes, Attributes), Refused> {
        let local = self.local(ask.volume)?;
        let inode = local.inode(object)?;
        if let InodeKind::Symlink { target } = &inode.kind {
            let attributes = inode.attributes(object, DataFacts::default());
            return Ok((Bytes::copy_from_slice(target), attributes));
        }
        let after = self.attributes_of(&local, object, &inode).await.ok();
        let object = Wcc { before: None, after };
        let attached = Attached { object, ..Attached::default() };
        Err(Refused { refusal: Refusal::Invalid, attached })
    }

    /// READDIR and READDIRPLUS.
    pub(crate) async fn list_names(
        &self,
        ask: &Ask,
        dir: ObjectId,
        page: Page,
    ) -> Result<Listing, Refused> {
        let local = self.local(ask.volume)?;
        let Page { after, entries_max, with_attributes } = page;
        let listed = local.catalog.list(dir, after, entries_max, with_attributes);
        let Listed { dir: inode, names, end } = listed.map_err(faulted)?.ok_or(Refusal::Stale)?;
        let attributes = inode.attributes(dir, DataFacts::default());
        if !inode.is_directory() {
            return Err(refused_in(Refusal::NotDirectory, attributes));
        }
        if !permission::permits(&*inode, &ask.identity, Access::Read) {
            return Err(refused_in(Refusal::Access, attributes));
        }
        local.objects.look_ahead(names.iter().filter_map(file_of)).await;
        let mut entries = Vec::with_capacity(names.len());
        for ListedName { object, cookie, name, inode } in names {
            let attributes = match inode {
                Some(inode) => self.attributes_of(&local, object, &inode).await.ok(),
                None => None,
            };
            entries.push(Entry { object, cookie, name: name.into(), attributes });
        }
        Ok(Listing { dir: attributes, entries, end })
    }

    /// CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.
    pub(crate) async fn change_names(
        &self,
        ask: &Ask,
        mut change: Change,
    ) -> Result<Done, Refused> {
        let local = self.local(ask.volume)?;
        if let Change::Create { owner, .. } = &mut change {
            // A new object is owned where its client is.
            *owner = self.parts.appliance;
        }
        let dirs = directories_of(&change);
        let linked = match change {
            Change::Link { object, .. } => Some(object),
            _ => None,
        };
        let size = size_of_created(&change);
        match self.enter_change(ask, &local, change).await {
            Ok(changed) => {
                if changed.removed.is_some() {
                    local.removed.notify_one();
                }
                let sized = match size {
                    Some(set) => self.size_created(ask, &local, &changed, set).await,
                    None => Ok(None),
                };
                match sized {
                    Ok(sized) => self.done(&local, *changed, dirs, sized).await,
                    Err(Refused { refusal, attached }) => {
                        let dir = self.attach(&local, dirs).dir;
                        Err(Refused { refusal, attached: Attached { dir, ..attached } })
                    }
                }
            }
            Err(refusal) => {
                let mut attached = self.attach(&local, dirs);
                if let Some(object) = linked
                    && let Ok(inode) = local.inode(object)
                {
                    let after = self.attributes_of(&local, object, &inode).await.ok();
                    attached.object = Wcc { before: None, after };
                }
                Err(Refused { refusal, attached })
            }
        }
    }

    /// Sets the size that a CREATE asks for at the file's owner, in sequence with its writes. Gives
    /// the attributes if that changed them.
    async fn size_created(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        changed: &Changed,
        set: SetAttributes,
    ) -> Result<Option<Attributes>, Refused> {
        let object = changed.object;
        if !changed.created {
            // Of an old file only the size is set, as knfsd does.
            let set = SetAttributes { mtime: SetTime::Keep, ..set };
            return Ok(self.set_created(ask, local, object, set).await?.after);
        }
        // Whoever comes a second time, after a restart, finds it done.
        let is_new = local.objects.facts(object, false).await?.stamp.is_none();
        if set.size == Some(0) || !is_new {
            return Ok(None);
        }
        // It is part of the making: no question of permission, nor of setuid bits just asked for.
        let maker = Ask { identity: Identity::root(), ..ask.clone() };
        Ok(self.set_created(&maker, local, object, set).await?.after)
    }

    /// Runs a change through replay cache, preview and log.
    pub(crate) async fn enter_change(
        &self,
        ask: &Ask,
        local: &Local<S>,
        change: Change,
    ) -> Result<Box<Changed>, Refusal> {
        let answer = local.name_calls.once(ask.key, self.enter_once(ask, local, change)).await;
        // A change is always answered with what it did.
        answer.and_then(|changed| changed.ok_or(Refusal::Fault))
    }

    async fn enter_once(&self, ask: &Ask, local: &Local<S>, change: Change) -> Answer {
        if let Some(key) = &ask.key
            && let Some(answer) = local.catalog.replayed(key).map_err(faulted)?
        {
            metrics::counter!(crate::duplicates::REPLAYS_SUPPRESSED).increment(1);
            return answer;
        }
        if ask.read_only {
            return Err(Refusal::ReadOnly);
        }
        if takes_space(&change) {
            self.parts.space.admit(METADATA_BYTES)?;
        }
        let asked = change.asked(ask.identity.clone(), ask.key, self.parts.clock.wall());
        match local.catalog.preview(&asked).map_err(faulted)? {
            Preview::Refused(refusal) => Err(refusal),
            Preview::Nothing(changed) => Ok(Some(changed)),
            Preview::Changes(_) => {
                let answer = self.enter(local, Command::Change(asked)).await;
                if let Ok(Some(changed)) = &answer
                    && let Some(inode) = &changed.inode
                {
                    // Data may have changed since the entry got its time: the entry shows all the
                    // same.
                    local.objects.raise_ctime(changed.object, inode.times.ctime);
                }
                answer
            }
        }
    }

    /// The reply to a change that was done.
    async fn done(
        &self,
        local: &Local<S>,
        changed: Changed,
        dirs: Directories,
        sized: Option<Attributes>,
    ) -> Result<Done, Refused> {
        let object = match (sized, &changed.inode) {
            (Some(sized), _) => Some(sized),
            // A new file has no data: its owner need not be asked.
            (None, Some(inode)) if changed.created => {
                Some(inode.attributes(changed.object, DataFacts::default()))
            }
            (None, Some(inode)) => self.attributes_of(local, changed.object, inode).await.ok(),
            (None, None) => None,
        };
        let unchanged = self.attach(local, dirs);
        let dir = changed.dir.map_or(unchanged.dir, wcc);
        let to_dir = match changed.to_dir {
            Some(change) => wcc(change),
            // Both names in one directory: it is the same change, told twice.
            None if dirs.is_one() => dir,
            None => unchanged.to_dir,
        };
        let object = Wcc { before: None, after: object };
        Ok(Done { object: Some(changed.object), attached: Attached { object, dir, to_dir } })
    }

    /// Directories as they stand, for a reply that changed nothing in them.
    fn attach(&self, local: &Local<S>, dirs: Directories) -> Attached {
        let standing = |dir: Option<ObjectId>| {
            let inode = dir.and_then(|dir| Some((dir, local.catalog.inode(dir).ok()??)));
            let after = inode
                .filter(|(_, inode)| inode.is_directory())
                .map(|(dir, inode)| inode.attributes(dir, DataFacts::default()));
            Wcc { before: after.as_ref().map(WccBefore::from), after }
        };
        let (dir, to_dir) = (standing(Some(dirs.first)), standing(dirs.second));
        Attached { object: Wcc::default(), dir, to_dir }
    }
}

/// A listed file, and whether it has data.
fn file_of(listed: &ListedName) -> Option<(ObjectId, bool)> {
    match listed.inode.as_ref()?.kind {
        InodeKind::File { has_data, .. } => Some((listed.object, has_data)),
        _ => None,
    }
}

/// The directories a change is about.
#[derive(Clone, Copy)]
struct Directories {
    first: ObjectId,
    second: Option<ObjectId>,
}

impl Directories {
    fn is_one(self) -> bool {
        self.second.is_none_or(|second| second == self.first)
    }
}

fn directories_of(change: &Change) -> Directories {
    let one = |first: ObjectId| Directories { first, second: None };
    match change {
        Change::Create { dir, .. }
        | Change::MakeDirectory { dir, .. }
        | Change::MakeSymlink { dir, .. }
        | Change::MakeNode { dir, .. }
        | Change::Remove { dir, .. }
        | Change::RemoveDirectory { dir, .. }
        | Change::Link { dir, .. } => one(*dir),
        Change::Rename { from_dir, to_dir, .. } => {
            Directories { first: *from_dir, second: Some(*to_dir) }
        }
        Change::SetAttributes { object, .. } => one(*object),
    }
}

/// The size, and the mtime beside it, that an UNCHECKED or GUARDED create asks for.
fn size_of_created(change: &Change) -> Option<SetAttributes> {
    match change {
        Change::Create { how: CreateHow::Unchecked(set) | CreateHow::Guarded(set), .. } => {
            let SetAttributes { size: size @ Some(_), mtime, .. } = *set else { return None };
            Some(SetAttributes { size, mtime, ..SetAttributes::default() })
        }
        _ => None,
    }
}

/// Whether a change adds to what is stored; a full disk must not keep anybody from removing.
fn takes_space(change: &Change) -> bool {
    match change {
        Change::Create { .. }
        | Change::MakeDirectory { .. }
        | Change::MakeSymlink { .. }
        | Change::MakeNode { .. }
        | Change::Link { .. } => true,
        Change::Remove { .. }
        | Change::RemoveDirectory { .. }
        | Change::Rename { .. }
        | Change::SetAttributes { .. } => false,
    }
}

fn refused_in(refusal: Refusal, dir: Attributes) -> Refused {
    let dir = Wcc { before: None, after: Some(dir) };
    let object = dir;
    Refused { refusal, attached: Attached { object, dir, ..Attached::default() } }
}

fn wcc(change: DirectoryChange) -> Wcc {
    let after = change.after.attributes(change.object, DataFacts::default());
    Wcc { before: Some(change.before), after: Some(after) }
}

/// What one more name is taken to cost on disk, log and catalog together.
const METADATA_BYTES: u64 = 4096;
