//! Names at the leader: reads from the catalog, changes through the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Answer, Command, Imaging, Listed, ListedName, LookedUp, Others, Preview};
use model::permission::{self, Access};
use model::{
    ApplianceId, Asked, Attributes, Change, Changed, CreateHow, DataFacts, DirectoryChange,
    Identity, InodeKind, ObjectId, Refusal, Reign, SetAttributes, SetTime, VolumeId, Wcc,
    WccBefore,
};
use volume::{Ask, Attached, Done, Entry, Found, Listing, LookUpName, Page, Refused};

use crate::attributes::Elsewhere;
use crate::local::{Local, faulted};
use crate::router::Router;
use crate::serving::NOBODY;
use crate::wire::{Call, Made, Reply, Request};

impl<S: Imaging> Router<S> {
    /// LOOKUP.
    pub(crate) async fn look_up_name(
        &self,
        ask: &Ask,
        local: &Local<S>,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> Result<Found, Refused> {
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
        let attributes = self.attributes_of_any(local, object, &inode).await;
        Ok(Found { object, attributes, dir: dir_attributes })
    }

    /// READLINK.
    pub(crate) async fn read_link_of(
        &self,
        local: &Local<S>,
        object: ObjectId,
    ) -> Result<(Bytes, Attributes), Refused> {
        let inode = local.inode(object)?;
        if let InodeKind::Symlink { target } = &inode.kind {
            let attributes = inode.attributes(object, DataFacts::default());
            return Ok((Bytes::copy_from_slice(target), attributes));
        }
        let after = self.attributes_of(local, object, &inode).await.ok();
        let object = Wcc { before: None, after };
        let attached = Attached { object, ..Attached::default() };
        Err(Refused { refusal: Refusal::Invalid, attached })
    }

    /// READDIR and READDIRPLUS.
    pub(crate) async fn list_names(
        &self,
        ask: &Ask,
        local: &Local<S>,
        dir: ObjectId,
        page: Page,
    ) -> Result<Listing, Refused> {
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
        let ours = names.iter().filter_map(|listed| self.own_file_listed(local, listed));
        local.objects.look_ahead(ours).await;
        let mut elsewhere = Elsewhere::default();
        let mut entries = Vec::with_capacity(names.len());
        for ListedName { object, cookie, name, inode } in names {
            let attributes = match inode {
                Some(inode) => match self.attributes_of(local, object, &inode).await {
                    Ok(attributes) => Some(attributes),
                    Err(_) => {
                        elsewhere.wants(entries.len(), object, &inode);
                        None
                    }
                },
                None => None,
            };
            entries.push(Entry { object, cookie, name: name.into(), attributes });
        }
        for (index, attributes) in self.fetch(local, elsewhere).await {
            entries[index].attributes = Some(attributes);
        }
        Ok(Listing { dir: attributes, entries, end })
    }

    /// A listed file that is owned here, and whether it has data.
    fn own_file_listed(&self, local: &Local<S>, listed: &ListedName) -> Option<(ObjectId, bool)> {
        match &listed.inode.as_ref()?.kind {
            InodeKind::File { has_data, record, .. } if self.owns(local, record) => {
                Some((listed.object, *has_data))
            }
            _ => None,
        }
    }

    /// CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.
    pub(crate) async fn change_names(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        mut change: Change,
    ) -> Result<Done, Refused> {
        if let Change::Create { owner, .. } = &mut change
            && *owner == NOBODY
        {
            *owner = self.parts.appliance;
        }
        let dirs = directories_of(&change);
        let linked = match change {
            Change::Link { object, .. } => Some(object),
            _ => None,
        };
        let size = size_of_created(&change);
        match self.enter_change(ask, local, None, change).await {
            Ok(changed) => {
                if changed.removed.is_some() {
                    local.removed.notify_one();
                }
                let sized = match size {
                    Some(set) => self.size_created(ask, local, &changed, set).await,
                    None => Ok(None),
                };
                match sized {
                    Ok(sized) => self.done(local, *changed, dirs, sized).await,
                    Err(Refused { refusal, attached }) => {
                        let dir = self.attach(local, dirs).dir;
                        Err(Refused { refusal, attached: Attached { dir, ..attached } })
                    }
                }
            }
            Err(refusal) => {
                let mut attached = self.attach(local, dirs);
                if let Some(object) = linked
                    && let Ok(inode) = local.inode(object)
                {
                    let after = self.attributes_of(local, object, &inode).await.ok();
                    attached.object = Wcc { before: None, after };
                }
                Err(Refused { refusal, attached })
            }
        }
    }

    /// Sets the size that a CREATE asks for, at the file's owner.
    async fn size_created(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        changed: &Changed,
        set: SetAttributes,
    ) -> Result<Option<Attributes>, Refused> {
        let made = if changed.created { Made::Now } else { Made::Before };
        if made == Made::Now && set.size == Some(0) {
            return Ok(None);
        }
        let object = changed.object;
        let owned_here =
            changed.inode.as_ref().and_then(|i| i.record()).is_some_and(|r| self.owns(local, r));
        if owned_here {
            self.join_copies(local, object).await?;
            let _pass = local.gates.pass(object).await;
            return Ok(self.size_here(ask, local, object, set, made).await?.after);
        }
        let call = || Call::SizeCreated { object, set, made };
        Ok(local.parting.or(self.set_elsewhere(ask, object, call)).await?.after)
    }

    /// The part of a CREATE that is done to the file's data, at its owner, in sequence with its
    /// writes.
    pub(crate) async fn size_here(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        made: Made,
    ) -> Result<Wcc, Refused> {
        if made == Made::Before {
            // Of an old file only the size is set, as knfsd does.
            let set = SetAttributes { mtime: SetTime::Keep, ..set };
            return self.set_created(ask, local, object, set).await;
        }
        // Whoever comes a second time, after a restart, finds it done.
        let facts = local.objects.facts(object, false).await?;
        if facts.stamp.is_some() {
            return Ok(Wcc::default());
        }
        // It is part of the making: no question of permission, nor of setuid bits just asked for.
        let maker = Ask { identity: Identity::root(), ..ask.clone() };
        self.set_created(&maker, local, object, set).await
    }

    /// Runs a change through replay cache and log; one of a file as its owner decided upon it under
    /// `reign`.
    pub(crate) async fn enter_change(
        &self,
        ask: &Ask,
        local: &Local<S>,
        reign: Option<Reign>,
        change: Change,
    ) -> Result<Box<Changed>, Refusal> {
        let entered = self.enter_once(ask, local, reign, change);
        let answer = local.name_calls.once(ask.key, entered).await;
        // A change is always answered with what it did.
        answer.and_then(|changed| changed.ok_or(Refusal::Fault))
    }

    async fn enter_once(
        &self,
        ask: &Ask,
        local: &Local<S>,
        reign: Option<Reign>,
        change: Change,
    ) -> Answer {
        if let Some(key) = &ask.key
            && let Some(answer) = local.catalog.replayed(key).map_err(faulted)?
        {
            metrics::counter!(crate::duplicates::REPLAYS_SUPPRESSED).increment(1);
            // Whoever entered it may not have come to that.
            local.parting.or(self.owners_know(local, self.other_members(local.id))).await?;
            return answer;
        }
        if ask.read_only {
            return Err(Refusal::ReadOnly);
        }
        if takes_space(&change) {
            self.parts.space.admit(METADATA_BYTES)?;
        }
        let asked = change.asked(ask.identity.clone(), ask.key, self.parts.clock.wall());
        // What changes nothing is an answer too: a late copy of the call must not find that the
        // change has become possible. So whatever has a key is decided by the log.
        let owners = match (local.catalog.preview(&asked).map_err(faulted)?, &ask.key) {
            (Preview::Refused(refusal @ Refusal::Conflict), _) => return Err(refusal),
            (Preview::Refused(refusal), None) => return Err(refusal),
            (Preview::Nothing(changed), None) => return Ok(Some(changed)),
            (Preview::Refused(_) | Preview::Nothing(_), Some(_)) => Vec::new(),
            (Preview::Changes(expected), _) => self.owners_elsewhere(local, &expected),
        };
        let change = self.with_copies(local.id, asked);
        let answer = match reign {
            Some(reign) => self.enter_under(local, reign, change).await,
            None => self.enter_in(local, ask.view, change).await,
        };
        local.parting.or(self.owners_know(local, owners)).await?;
        answer
    }

    /// A change as it is entered: a new file gets its copies at its birth.
    fn with_copies(&self, volume: VolumeId, asked: Asked) -> Command {
        let fleet = self.fleet_now();
        let others = fleet.copies_wanted(volume).saturating_sub(1);
        let Change::Create { owner, .. } = &asked.change else { return Command::Change(asked) };
        if others == 0 {
            return Command::Change(asked);
        }
        let is_down = |appliance: &ApplianceId| !fleet.is_up(*appliance);
        let may = |appliance: &ApplianceId| {
            let drains = fleet.member(*appliance).is_some_and(|member| member.draining);
            appliance != owner && !drains
        };
        let members = fleet.volume_members(volume).iter().copied();
        let mut replicas: Vec<ApplianceId> = members.filter(may).collect();
        replicas.sort_by_key(is_down);
        replicas.truncate(others);
        let stale = replicas.iter().copied().filter(is_down).collect();
        Command::Create { asked, others: Others { replicas: replicas.into(), stale } }
    }

    /// Other appliances that may own files of the volume.
    fn other_members(&self, volume: model::VolumeId) -> Vec<ApplianceId> {
        if self.lease.is_for_ever() {
            return Vec::new();
        }
        let mut members = self.fleet_now().volume_members(volume).to_vec();
        members.retain(|appliance| *appliance != self.parts.appliance);
        members
    }

    /// Other appliances that may act as the owner of a file whose inode a change will touch.
    fn owners_elsewhere(&self, local: &Local<S>, expected: &Changed) -> Vec<ApplianceId> {
        if self.lease.is_for_ever() {
            return Vec::new();
        }
        let touched = [Some(expected.object), expected.removed];
        let files = touched.into_iter().flatten().filter_map(|object| local.file(object).ok());
        let mut owners = Vec::new();
        for record in files.filter_map(|file| file.inode.record().cloned()) {
            let may_act = |a: &ApplianceId| *a != self.parts.appliance && !record.stale.contains(a);
            owners.extend(record.replicas.iter().copied().filter(may_act));
        }
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Waits until these have applied what is applied here, or are known to be down: their view of
    /// their files' inodes is fresh without asking anybody.
    async fn owners_know(&self, local: &Local<S>, owners: Vec<ApplianceId>) -> Result<(), Refusal> {
        let index = local.catalog.applied_index();
        let request = Request::AppliedUpTo { group: local.id.into(), index };
        for owner in owners {
            while self.fleet_now().is_up(owner) && self.has_lease() {
                match self.ask_peer(owner, &request, Bytes::new(), OWNER_WAIT).await {
                    Ok((Reply::At(_), _)) => break,
                    Ok(_) | Err(_) => tokio::time::sleep(OWNER_AGAIN_AFTER).await,
                }
            }
        }
        Ok(())
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

/// After it the fleet knows more: whoever is silent for so long is called down.
const OWNER_WAIT: Duration = Duration::from_secs(1);
const OWNER_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// What one more name is taken to cost on disk, log and catalog together.
const METADATA_BYTES: u64 = 4096;
