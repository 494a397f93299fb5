//! One volume's catalog: applies entries, previews changes, answers reads.
//!
//! Readers see the state between two runs of entries, never the middle of one: a lock is held for
//! the store's batch and for each read, for microseconds, and never while anything waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{
    ApplianceId, Asked, Changed, ClientAddress, Cookie, Index, Inode, InodeKind, Membership, Name,
    ObjectId, ObjectRecord, Refusal, RequestKey, Term, Timestamp, View,
};
use ownership::Fence;
use parking_lot::{Mutex, RwLock};

use crate::apply::Run;
use crate::cached::Records;
use crate::command::{Answer, LogEntry, Others};
use crate::fault::CatalogFault;
use crate::keys::{self, Kind};
use crate::plan::{self, Stop};
use crate::records::{CookieRecord, JointRecord, ReplayRecord, State, decode, meaningless, walk};
use crate::replay::{Replay, ReplayClock};
use crate::store::{Batch, Imaging, Scan, Store};
use crate::txn::Txn;

/// The catalog of one volume on one appliance.
pub struct Catalog<S> {
    records: Records<S>,
    /// Held for reading by every read, for writing while a batch becomes visible.
    visible: RwLock<Visible>,
    /// Held by whoever applies: one at a time.
    replay: Mutex<Replay>,
    /// Whether an entry changed who owns something, or who may, since somebody asked.
    owners_moved: AtomicBool,
}

/// Some of the files that an appliance has copies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Them, and their records.
    pub found: Vec<(ObjectId, ObjectRecord)>,
    /// After which object to go on; `None` at the end.
    pub next: Option<ObjectId>,
}

/// What readers see.
struct Visible {
    state: State,
    /// The part of the membership that is there only while it changes.
    joint: JointRecord,
    installed: bool,
    /// Where the operator wants files; there are few of them.
    pins: BTreeMap<ObjectId, ApplianceId>,
}

impl Visible {
    fn applied(&self) -> Applied {
        let Self { state, joint, installed, pins: _ } = self;
        Applied {
            index: state.applied,
            term: state.term,
            membership: joint.with(&state.voters, &state.learners),
            installed: *installed,
        }
    }
}

/// How far the log was applied; Raft starts from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last entry.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Who takes part in the group.
    pub membership: Membership,
    /// The catalog came as an image of another appliance's and the group's log was not yet reset
    /// to it: that is to be finished before anything else.
    pub installed: bool,
}

/// What a change would do now.
#[derive(Debug)]
pub enum Preview {
    /// It would change something: propose it.
    Changes(Box<Changed>),
    /// It would succeed and change nothing: answer it.
    Nothing(Box<Changed>),
    /// It would be refused: answer that.
    Refused(Refusal),
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// The directory, or what should be one.
    pub dir: Arc<Inode>,
    /// Where the name leads, if it is there.
    pub target: Option<(ObjectId, Arc<Inode>)>,
}

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedName {
    /// Where it leads.
    pub object: ObjectId,
    /// Its number in the directory.
    pub cookie: Cookie,
    /// The name; `.` and `..` are among them.
    pub name: Vec<u8>,
    /// Its inode, if asked for.
    pub inode: Option<Arc<Inode>>,
}

/// A run of a directory's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The directory.
    pub dir: Arc<Inode>,
    /// The names.
    pub names: Vec<ListedName>,
    /// Whether nothing follows.
    pub end: bool,
}

impl<S: Store> Catalog<S> {
    /// Opens the catalog in `store`; an empty store becomes the catalog of a new volume whose
    /// group began with the voters `founders`.
    ///
    /// # Errors
    /// [`CatalogFault`] if what is stored does not decode.
    pub fn open(store: S, founders: &[ApplianceId]) -> Result<Self, CatalogFault> {
        let state = match store.get(keys::STATE)? {
            Some(value) => decode("state", value.as_ref())?,
            None => State {
                applied: Index::default(),
                term: Term::default(),
                voters: founders.to_vec(),
                learners: vec![],
                fence: Fence::default(),
                next_object: ObjectId::ROOT,
                objects: 0,
            },
        };
        let joint = match store.get(keys::JOINT)? {
            Some(value) => decode("membership", value.as_ref())?,
            None => JointRecord::default(),
        };
        let installed = store.get(keys::INSTALLED)?.is_some();
        let replay = load_replay(&store)?;
        let pins = load_pins(&store)?;
        let records = Records::new(store);
        let visible = Visible { state, joint, installed, pins };
        Ok(Self {
            records,
            visible: RwLock::new(visible),
            replay: Mutex::new(replay),
            owners_moved: AtomicBool::new(false),
        })
    }

    /// How far the log was applied.
    pub fn applied(&self) -> Applied {
        self.visible.read().applied()
    }

    /// The last entry applied, and no more of it.
    pub fn applied_index(&self) -> Index {
        self.visible.read().state.applied
    }

    /// The group's log is reset to the image that this catalog came as.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn confirm_installed(&self) -> Result<(), CatalogFault> {
        let mut visible = self.visible.write();
        let mut batch = Batch::default();
        batch.delete(keys::INSTALLED.to_vec());
        self.records.store.apply(batch)?;
        visible.installed = false;
        Ok(())
    }

    /// The view of the newest Reign.
    pub fn newest_reign(&self) -> View {
        self.visible.read().state.fence.newest()
    }

    /// Where the operator wants a file.
    pub fn pin(&self, object: ObjectId) -> Option<ApplianceId> {
        self.visible.read().pins.get(&object).copied()
    }

    /// All files that the operator wants somewhere, and where.
    pub fn pins(&self) -> BTreeMap<ObjectId, ApplianceId> {
        self.visible.read().pins.clone()
    }

    /// How many objects there are.
    pub fn objects(&self) -> u64 {
        self.visible.read().state.objects
    }

    /// The store below, for a checkpoint's sake and tests.
    pub fn store(&self) -> &S {
        &self.records.store
    }

    /// Applies committed entries in order and answers each. All of them become visible together.
    ///
    /// # Errors
    /// [`CatalogFault`]: nothing was applied, and nothing more may be.
    pub fn apply(&self, entries: &[LogEntry<'_>]) -> Result<Vec<Answer>, CatalogFault> {
        self.apply_and_tell(entries, |_, _| {})
    }

    /// As [`apply`](Self::apply); `ctime_given` hears of the ctimes that clients' changes gave to
    /// objects, once they are visible. A change that did nothing, or was done before, gives none.
    ///
    /// # Errors
    /// [`CatalogFault`]: nothing was applied, and nothing more may be.
    pub fn apply_and_tell(
        &self,
        entries: &[LogEntry<'_>],
        mut ctime_given: impl FnMut(ObjectId, Timestamp),
    ) -> Result<Vec<Answer>, CatalogFault> {
        let mut replay = self.replay.lock();
        let state = self.visible.read().state.clone();
        let mut run = Run::new(Txn::new(&self.records, state), &mut replay);
        for entry in entries {
            run.take(entry)?;
        }
        let owners_moved = run.owners_moved();
        let (ctimes, pins) = (run.take_ctimes(), run.take_pins());
        let (txn, joint, answers) = run.into_parts();
        let changes = txn.into_changes();
        let state = changes.state.clone();
        let mut visible = self.visible.write();
        self.records.apply(changes)?;
        visible.state = state;
        if let Some(joint) = joint {
            visible.joint = joint;
        }
        for (object, to) in pins {
            match to {
                Some(to) => visible.pins.insert(object, to),
                None => visible.pins.remove(&object),
            };
        }
        drop(visible);
        if owners_moved {
            self.owners_moved.store(true, Ordering::Release);
        }
        for (object, ctime) in ctimes {
            ctime_given(object, ctime);
        }
        Ok(answers)
    }

    /// Whether an entry changed who owns something, or who may, since the last call.
    pub fn take_owners_moved(&self) -> bool {
        self.owners_moved.load(Ordering::Acquire) && self.owners_moved.swap(false, Ordering::AcqRel)
    }

    /// What a change would do if it were applied now.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn preview(&self, asked: &Asked) -> Result<Preview, CatalogFault> {
        let visible = self.visible.read();
        let mut txn = Txn::new(&self.records, visible.state.clone());
        match plan::plan(&mut txn, asked, &Others::default()) {
            Ok(changed) => {
                if txn.is_unchanged() {
                    Ok(Preview::Nothing(Box::new(changed)))
                } else {
                    Ok(Preview::Changes(Box::new(changed)))
                }
            }
            Err(Stop::Refusal(refusal)) => Ok(Preview::Refused(refusal)),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// The answer a call got, if it was answered by an entry.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn replayed(&self, key: &RequestKey) -> Result<Option<Answer>, CatalogFault> {
        let replay = self.replay.lock();
        let Some(slot) = replay.find(key) else { return Ok(None) };
        let value = self.records.store.get(&keys::replay(slot.client, slot.index))?;
        let record = value.map(|v| decode::<ReplayRecord>("answer", v.as_ref())).transpose()?;
        Ok(record.map(|record| record.answer))
    }

    /// An object's inode.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn inode(&self, object: ObjectId) -> Result<Option<Arc<Inode>>, CatalogFault> {
        let _visible = self.visible.read();
        self.records.inode(object)
    }

    /// A directory's inode and where a name in it leads.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn look_up(&self, dir: ObjectId, name: &Name) -> Result<Option<LookedUp>, CatalogFault> {
        let _visible = self.visible.read();
        let Some(inode) = self.records.inode(dir)? else { return Ok(None) };
        let target = match self.records.name(dir, name)? {
            Some(found) => self.records.inode(found.object)?.map(|inode| (found.object, inode)),
            None => None,
        };
        Ok(Some(LookedUp { dir: inode, target }))
    }

    /// At most `names_max` names of a directory after `after`; `None` if there is no such
    /// directory.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn list(
        &self,
        dir: ObjectId,
        after: Cookie,
        names_max: usize,
        with_inodes: bool,
    ) -> Result<Option<Listed>, CatalogFault> {
        let _visible = self.visible.read();
        let Some(inode) = self.records.inode(dir)? else { return Ok(None) };
        let InodeKind::Directory { parent, .. } = inode.kind else {
            return Ok(Some(Listed { dir: inode, names: vec![], end: true }));
        };
        let mut names = Vec::new();
        let mut end = true;
        for (cookie, name, object) in
            [(Cookie::DOT, b".".as_slice(), dir), (Cookie::DOT_DOT, b"..", parent)]
        {
            if cookie > after && names.len() < names_max {
                names.push(ListedName { object, cookie, name: name.into(), inode: None });
            } else if cookie > after {
                end = false;
            }
        }
        let mut broken = None;
        let (from, to) = keys::entries_after(dir, after);
        self.records.store.scan(&from, &to, &mut |key, value| {
            if names.len() >= names_max {
                end = false;
                return Scan::Stop;
            }
            match (keys::parts_of_cookie(key), decode::<CookieRecord>("entry", value)) {
                (Some((_, cookie)), Ok(CookieRecord { object, name })) => {
                    let name = name.as_bytes().into();
                    names.push(ListedName { object, cookie, name, inode: None });
                    Scan::Continue
                }
                (_, decoded) => {
                    broken = decoded.err();
                    Scan::Stop
                }
            }
        })?;
        if let Some(fault) = broken {
            return Err(fault);
        }
        if with_inodes {
            for listed in &mut names {
                listed.inode = self.records.inode(listed.object)?;
            }
        }
        Ok(Some(Listed { dir: inode, names, end }))
    }

    /// At most `objects_max` objects whose backing files `appliance` is to remove.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn removals(
        &self,
        appliance: ApplianceId,
        objects_max: usize,
    ) -> Result<Vec<ObjectId>, CatalogFault> {
        let _visible = self.visible.read();
        let mut objects = Vec::new();
        let (from, to) = keys::removals_of(appliance);
        self.records.store.scan(&from, &to, &mut |key, _| {
            objects.extend(keys::parts_of_removal(key).map(|(_, object)| object));
            if objects.len() < objects_max { Scan::Continue } else { Scan::Stop }
        })?;
        // What was noted before there were several appliances.
        let (from, to) = keys::all(Kind::Removal);
        self.records.store.scan(&from, &to, &mut |key, _| {
            if objects.len() >= objects_max {
                return Scan::Stop;
            }
            objects.extend(keys::object_of(key));
            Scan::Continue
        })?;
        Ok(objects)
    }

    /// Files that `appliance` owns or has a copy of, after `after`, at most `objects_max`.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn copies_of(
        &self,
        appliance: ApplianceId,
        after: ObjectId,
        objects_max: usize,
    ) -> Result<Copies, CatalogFault> {
        let _visible = self.visible.read();
        let (mut found, mut last, mut seen, mut broken) = (Vec::new(), None, 0, None);
        let (from, to) = (keys::inode(after.next()), keys::all(Kind::Inode).1);
        self.records.store.scan(&from, &to, &mut |key, value| {
            if found.len() >= objects_max || seen >= SCANNED_AT_ONCE_MAX {
                return Scan::Stop;
            }
            match decode::<Inode>("inode", value) {
                Ok(inode) => {
                    seen += 1;
                    last = keys::object_of(key);
                    let copied = inode.record().filter(|r| r.replicas.contains(&appliance));
                    found.extend(last.zip(copied.cloned()));
                    Scan::Continue
                }
                Err(fault) => {
                    broken = Some(fault);
                    Scan::Stop
                }
            }
        })?;
        let more = found.len() >= objects_max || seen >= SCANNED_AT_ONCE_MAX;
        let next = last.filter(|_| more);
        broken.map_or(Ok(Copies { found, next }), Err)
    }

    /// At most `objects_max` objects with a stale copy.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn faults(&self, objects_max: usize) -> Result<Vec<ObjectId>, CatalogFault> {
        self.objects_of(Kind::Fault, objects_max)
    }

    /// At most `objects_max` files of which some copy is stale, from the one after `after` on.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn degraded(
        &self,
        after: ObjectId,
        objects_max: usize,
    ) -> Result<Vec<ObjectId>, CatalogFault> {
        let (mut found, mut broken) = (Vec::new(), None);
        let (from, to) = (keys::degraded(after.next()), keys::all(Kind::Degraded).1);
        self.records.store.scan(&from, &to, &mut |key, _| match keys::object_of(key) {
            _ if found.len() >= objects_max => Scan::Stop,
            Some(object) => {
                found.push(object);
                Scan::Continue
            }
            None => {
                broken = Some(meaningless(key));
                Scan::Stop
            }
        })?;
        broken.map_or(Ok(found), Err)
    }

    /// All files that have durable data.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn objects_with_data(&self) -> Result<Vec<ObjectId>, CatalogFault> {
        let _visible = self.visible.read();
        let mut objects = Vec::new();
        let mut broken = None;
        let (from, to) = keys::all(Kind::Inode);
        self.records.store.scan(
            &from,
            &to,
            &mut |key, value| match decode::<Inode>("inode", value) {
                Ok(inode) => {
                    if let InodeKind::File { has_data: true, .. } = inode.kind {
                        objects.extend(keys::object_of(key));
                    }
                    Scan::Continue
                }
                Err(fault) => {
                    broken = Some(fault);
                    Scan::Stop
                }
            },
        )?;
        broken.map_or(Ok(objects), Err)
    }

    /// Makes everything applied so far durable; gives the entry below which the log may be cut.
    ///
    /// # Errors
    /// [`CatalogFault`] if that failed: the log must not be cut.
    pub fn checkpoint(&self) -> Result<Index, CatalogFault> {
        let applied = self.visible.read().state.applied;
        self.records.store.checkpoint()?;
        Ok(applied)
    }

    fn objects_of(&self, kind: Kind, objects_max: usize) -> Result<Vec<ObjectId>, CatalogFault> {
        let _visible = self.visible.read();
        let mut objects = Vec::new();
        let (from, to) = keys::all(kind);
        self.records.store.scan(&from, &to, &mut |key, _| {
            objects.extend(keys::object_of(key));
            if objects.len() < objects_max { Scan::Continue } else { Scan::Stop }
        })?;
        Ok(objects)
    }
}

impl<S: Imaging> Catalog<S> {
    /// The catalog as it stands, to be read piece by piece while it goes on; with how far it was
    /// applied. Entries go on being applied meanwhile and are not in it.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn image(&self) -> Result<(Applied, S::Image), CatalogFault> {
        let visible = self.visible.read();
        Ok((visible.applied(), self.records.store.image()?))
    }
}

fn load_pins<S: Store>(store: &S) -> Result<BTreeMap<ObjectId, ApplianceId>, CatalogFault> {
    let pins = walk(store, Kind::Pin, |key, value| {
        Some((keys::object_of(key)?, decode::<ApplianceId>("pin", value)))
    })?;
    Ok(pins.into_iter().collect())
}

fn load_replay<S: Store>(store: &S) -> Result<Replay, CatalogFault> {
    let stored = walk(store, Kind::Replay, |key, value| {
        Some((keys::parts_of_replay(key)?, decode::<ReplayRecord>("answer", value)))
    })?;
    let record = |((client, index), record): ((ClientAddress, u64), ReplayRecord)| {
        (index, RequestKey { client, digest: record.digest }, record.at)
    };
    let mut records: Vec<_> = stored.into_iter().map(record).collect();
    records.sort_unstable_by_key(|(index, ..)| *index);
    let clock = match store.get(keys::REPLAY_CLOCK)? {
        Some(value) => decode("replay clock", value.as_ref())?,
        // Of before there was one: their stamps are of one wall clock.
        None => records
            .iter()
            .map(|(.., at)| *at)
            .max()
            .map_or_else(ReplayClock::default, ReplayClock::starting_at),
    };
    let mut replay = Replay::default();
    replay.clock = clock;
    for (index, key, at) in records {
        replay.insert(key, index, at);
    }
    Ok(replay)
}

/// A scan holds back the applying of entries: 10 000 records take some 5 ms.
const SCANNED_AT_ONCE_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
