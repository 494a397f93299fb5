//! One volume's catalog: applies entries, previews changes, answers reads.
//!
//! Readers see the state between two runs of entries, never the middle of one: a lock is held for
//! the store's batch and for each read, for microseconds, and never while anything waits.

use std::sync::Arc;

use model::{
    ApplianceId, Asked, Changed, Cookie, Epoch, Index, Inode, InodeKind, Mark, Name, ObjectId,
    ObjectRecord, Refusal, RequestKey, Term, Times, View,
};
use ownership::Fence;
use parking_lot::{Mutex, RwLock};

use crate::cached::Records;
use crate::command::{Answer, Command, Envelope, LogEntry};
use crate::fault::CatalogFault;
use crate::keys::{self, Kind};
use crate::plan::{self, Stop};
use crate::records::{CookieRecord, ReplayRecord, State, decode, encode};
use crate::replay::Replay;
use crate::store::{Scan, Store};
use crate::txn::Txn;

/// The catalog of one volume on one appliance.
pub struct Catalog<S> {
    records: Records<S>,
    /// Held for reading by every read, for writing while a batch becomes visible.
    visible: RwLock<State>,
    /// Held by whoever applies: one at a time.
    replay: Mutex<Replay>,
}

/// How far the log was applied; Raft starts from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last entry.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Who votes.
    pub voters: Vec<ApplianceId>,
    /// Who learns.
    pub learners: Vec<ApplianceId>,
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
    /// group has the one voter `founder`.
    ///
    /// # Errors
    /// [`CatalogFault`] if what is stored does not decode.
    pub fn open(store: S, founder: ApplianceId) -> Result<Self, CatalogFault> {
        let state = match store.get(keys::STATE)? {
            Some(value) => decode("state", value.as_ref())?,
            None => State {
                applied: Index::default(),
                term: Term::default(),
                voters: vec![founder],
                learners: vec![],
                fence: Fence::default(),
                next_object: ObjectId::ROOT,
                objects: 0,
            },
        };
        let replay = load_replay(&store)?;
        let records = Records::new(store);
        Ok(Self { records, visible: RwLock::new(state), replay: Mutex::new(replay) })
    }

    /// How far the log was applied.
    pub fn applied(&self) -> Applied {
        let state = self.visible.read();
        Applied {
            index: state.applied,
            term: state.term,
            voters: state.voters.clone(),
            learners: state.learners.clone(),
        }
    }

    /// The view of the newest Reign.
    pub fn newest_reign(&self) -> View {
        self.visible.read().fence.newest()
    }

    /// How many objects there are.
    pub fn objects(&self) -> u64 {
        self.visible.read().objects
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
        let mut replay = self.replay.lock();
        let state = self.visible.read().clone();
        let mut run =
            Run { txn: Txn::new(&self.records, state), replay: &mut replay, answers: vec![] };
        for entry in entries {
            let answer = run.entry(entry)?;
            run.answers.push((entry.index, answer));
        }
        let Run { txn, answers, .. } = run;
        let changes = txn.into_changes();
        let state = changes.state.clone();
        let mut visible = self.visible.write();
        self.records.apply(changes)?;
        *visible = state;
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// What a change would do if it were applied now.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn preview(&self, asked: &Asked) -> Result<Preview, CatalogFault> {
        let state = self.visible.read();
        let mut txn = Txn::new(&self.records, state.clone());
        match plan::plan(&mut txn, asked) {
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

    /// At most `objects_max` objects whose backing files are to be removed.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn removals(&self, objects_max: usize) -> Result<Vec<ObjectId>, CatalogFault> {
        self.objects_of(Kind::Removal, objects_max)
    }

    /// At most `objects_max` objects with a stale copy.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn faults(&self, objects_max: usize) -> Result<Vec<ObjectId>, CatalogFault> {
        self.objects_of(Kind::Fault, objects_max)
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
        let applied = self.visible.read().applied;
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

/// A run of entries that become one batch.
struct Run<'a, S> {
    txn: Txn<'a, S>,
    replay: &'a mut Replay,
    answers: Vec<(Index, Answer)>,
}

impl<S: Store> Run<'_, S> {
    fn entry(&mut self, entry: &LogEntry<'_>) -> Result<Answer, CatalogFault> {
        let applied = self.txn.state.applied;
        if entry.index != applied.next() {
            return Err(CatalogFault::Gap { applied, got: entry.index });
        }
        self.txn.state.applied = entry.index;
        self.txn.state.term = entry.term;
        if entry.data.is_empty() {
            return Ok(Ok(None));
        }
        let Envelope { reign, command } = Envelope::decode(entry)?;
        let outcome = match command {
            Command::Reign { appliance: _, view } => {
                self.txn.state.fence.reign(view).map(|()| None).map_err(Stop::from)
            }
            command => {
                let epoch = self.epoch_at_stake(&command)?;
                match self.txn.state.fence.admits(reign, epoch) {
                    Ok(()) => self.command(entry, command),
                    Err(refusal) => Err(refusal.into()),
                }
            }
        };
        match outcome {
            Ok(changed) => Ok(Ok(changed)),
            Err(Stop::Refusal(refusal)) => Ok(Err(refusal)),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// The epoch of the object's record, for a command that only its owner may give.
    fn epoch_at_stake(&self, command: &Command) -> Result<Option<Epoch>, CatalogFault> {
        let object = match command {
            Command::Change(Asked {
                change: model::Change::SetAttributes { object, .. }, ..
            })
            | Command::DropPrivileges { object, .. }
            | Command::MarkStale { object, .. } => *object,
            Command::Change(_)
            | Command::Reign { .. }
            | Command::MakeRoot { .. }
            | Command::HasData(_)
            | Command::ClearStale { .. }
            | Command::Removed(_) => return Ok(None),
        };
        let inode = self.txn.inode(object)?;
        Ok(inode.as_ref().and_then(Inode::record).map(|record| record.epoch))
    }

    fn command(
        &mut self,
        entry: &LogEntry<'_>,
        command: Command,
    ) -> Result<Option<Box<Changed>>, Stop> {
        match command {
            Command::Change(asked) => return self.change(entry.index, &asked),
            Command::Reign { .. } => {}
            Command::MakeRoot { root, now } => {
                if self.txn.inode(ObjectId::ROOT)?.is_some() {
                    return Err(Refusal::Exists.into());
                }
                let object = self.txn.new_object();
                let kind = InodeKind::Directory {
                    parent: object,
                    entries: 0,
                    next_cookie: Cookie::FIRST_NAME,
                };
                let times = Times { atime: now, mtime: now, ctime: now, mark: Mark::default() };
                let (mode, uid, gid) = (root.mode, root.uid, root.gid);
                let inode = Inode { kind, mode, uid, gid, links: 2, change: 1, times };
                self.txn.put_inode(object, inode);
            }
            Command::HasData(objects) => {
                for object in objects {
                    self.edit_file(object, |kind| {
                        if let InodeKind::File { has_data, .. } = kind {
                            *has_data = true;
                        }
                    })?;
                }
            }
            Command::DropPrivileges { object, now } => {
                plan::drop_privileges(&mut self.txn, object, now)?;
            }
            Command::MarkStale { object, appliance } => self.stale(object, appliance, true)?,
            Command::ClearStale { object, appliance } => self.stale(object, appliance, false)?,
            Command::Removed(objects) => {
                for object in objects {
                    self.txn.delete(keys::removal(object));
                }
            }
        }
        Ok(None)
    }

    /// A client's change, once: a call that was answered before gets its answer again.
    fn change(&mut self, index: Index, asked: &Asked) -> Result<Option<Box<Changed>>, Stop> {
        if let Some(key) = &asked.key
            && let Some(answer) = self.answered(key)?
        {
            return answer.map_err(Stop::from);
        }
        let answer: Answer = match plan::plan(&mut self.txn, asked) {
            Ok(changed) => Ok(Some(Box::new(changed))),
            // Its proposer looks again and proposes again: not the call's answer.
            Err(Stop::Refusal(refusal @ Refusal::Conflict)) => return Err(refusal.into()),
            Err(Stop::Refusal(refusal)) => Err(refusal),
            Err(stop @ Stop::Fault(_)) => return Err(stop),
        };
        if let Some(key) = asked.key {
            let record = ReplayRecord { digest: key.digest, at: asked.now, answer: answer.clone() };
            self.txn.put(keys::replay(key.client, index.get()), encode(&record));
            for slot in self.replay.insert(key, index.get(), asked.now) {
                self.txn.delete(keys::replay(slot.client, slot.index));
            }
        }
        answer.map_err(Stop::from)
    }

    fn answered(&self, key: &RequestKey) -> Result<Option<Answer>, CatalogFault> {
        let Some(slot) = self.replay.find(key) else { return Ok(None) };
        if let Some((_, answer)) = self.answers.iter().find(|(i, _)| i.get() == slot.index) {
            return Ok(Some(answer.clone()));
        }
        self.txn.stored_answer(&keys::replay(slot.client, slot.index))
    }

    fn edit_file(
        &mut self,
        object: ObjectId,
        edit: impl FnOnce(&mut InodeKind),
    ) -> Result<(), CatalogFault> {
        // Gone meanwhile: there is nothing left to note.
        if let Some(mut inode) = self.txn.inode(object)? {
            edit(&mut inode.kind);
            self.txn.put_inode(object, inode);
        }
        Ok(())
    }

    fn stale(
        &mut self,
        object: ObjectId,
        appliance: ApplianceId,
        is_stale: bool,
    ) -> Result<(), Stop> {
        let mut inode = self.txn.inode(object)?.ok_or(Refusal::Stale)?;
        let InodeKind::File { record, .. } = &mut inode.kind else {
            return Err(Refusal::Invalid.into());
        };
        if !record.replicas.contains(&appliance) {
            return Err(Refusal::Invalid.into());
        }
        let others = record.stale.iter().copied().filter(|other| *other != appliance);
        record.stale = others.chain(is_stale.then_some(appliance)).collect();
        self.note_fault(object, record.clone());
        self.txn.put_inode(object, inode);
        Ok(())
    }

    fn note_fault(&mut self, object: ObjectId, record: ObjectRecord) {
        if record.stale.is_empty() {
            self.txn.delete(keys::fault(object));
        } else {
            self.txn.put(keys::fault(object), encode(&record.stale));
        }
    }
}

fn load_replay<S: Store>(store: &S) -> Result<Replay, CatalogFault> {
    let mut records = Vec::new();
    let mut broken = None;
    let (from, to) = keys::all(Kind::Replay);
    store.scan(&from, &to, &mut |key, value| match (
        keys::parts_of_replay(key),
        decode::<ReplayRecord>("answer", value),
    ) {
        (Some((client, index)), Ok(record)) => {
            let key = RequestKey { client, digest: record.digest };
            records.push((index, key, record.at));
            Scan::Continue
        }
        (_, decoded) => {
            broken = decoded.err();
            Scan::Stop
        }
    })?;
    if let Some(fault) = broken {
        return Err(fault);
    }
    records.sort_unstable_by_key(|(index, ..)| *index);
    let mut replay = Replay::default();
    for (index, key, at) in records {
        replay.insert(key, index, at);
    }
    Ok(replay)
}

#[cfg(test)]
mod tests;
