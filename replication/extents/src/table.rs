//! The known objects of one volume, and which of them have their files open.
//!
//! Invariant: at most one [`Object`] lives per id: one is forgotten only while the table holds the
//! only reference, or once it is removed and stale for whoever has one. A file is closed only when
//! nobody works on it and no fsync is owed.
//! Locks: a shard's before an object's, never the other way round.
//! Absent on purpose: IO, but for the closing of files.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use model::{ObjectId, Refusal, Sequence};
use parking_lot::Mutex;

use crate::{BackingFile, object::Object};

pub(crate) struct Table {
    shards: Box<[Mutex<Shard>]>,
    known_per_shard_max: usize,
    open_files_max: usize,
    open_files: AtomicUsize,
    /// Above every sequence of a forgotten object that its record does not show.
    sequence_floor: AtomicU64,
    next_to_close: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    known: HashMap<ObjectId, Arc<Object>>,
    open: Vec<ObjectId>,
    uses: u64,
}

/// The right to have one more file open.
pub(crate) struct OpenSlot<'a> {
    table: &'a Table,
    taken: bool,
}

impl Table {
    pub(crate) fn new(known_objects_max: usize, open_files_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            known_per_shard_max: known_objects_max.div_ceil(SHARDS).max(1),
            open_files_max: open_files_max.max(1),
            open_files: AtomicUsize::new(0),
            sequence_floor: AtomicU64::new(0),
            next_to_close: AtomicUsize::new(0),
        }
    }

    /// The object, known from now on. `Busy` if too many are known that can't be forgotten.
    pub(crate) fn get(&self, id: ObjectId) -> Result<Arc<Object>, Refusal> {
        let mut closed = Vec::new();
        let mut shard = self.shard(id).lock();
        shard.uses += 1;
        let uses = shard.uses;
        if let Some(object) = shard.known.get(&id) {
            object.last_used.store(uses, Relaxed);
            return Ok(Arc::clone(object));
        }
        if shard.known.len() >= self.known_per_shard_max {
            self.forget_some(&mut shard, &mut closed);
        }
        if shard.known.len() >= self.known_per_shard_max * OVERFULL_FACTOR {
            return Err(Refusal::Busy);
        }
        let object = Arc::new(Object::new(id));
        object.last_used.store(uses, Relaxed);
        shard.known.insert(id, Arc::clone(&object));
        drop(shard);
        drop(closed);
        Ok(object)
    }

    /// The object, if it is known.
    pub(crate) fn find(&self, id: ObjectId) -> Option<Arc<Object>> {
        self.shard(id).lock().known.get(&id).cloned()
    }

    /// As [`get`](Self::get), for a copy that comes here: one that was here before and is removed
    /// stays stale for whoever has it in hand, and is another object.
    pub(crate) fn get_anew(&self, id: ObjectId) -> Result<Arc<Object>, Refusal> {
        {
            let mut shard = self.shard(id).lock();
            if shard.known.get(&id).is_some_and(|object| object.state().unlinked) {
                shard.known.remove(&id);
            }
        }
        self.get(id)
    }

    /// All known objects for which `choose` holds; it runs under the locks.
    pub(crate) fn all(&self, choose: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let mut chosen = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let objects = shard.known.values().filter(|object| choose(object));
            chosen.extend(objects.cloned());
        }
        chosen
    }

    /// No object starts at this sequence or below.
    pub(crate) fn sequence_floor(&self) -> Sequence {
        Sequence::new(self.sequence_floor.load(Relaxed))
    }

    /// The right to open one more file, unless as many are open as may be.
    pub(crate) fn open_slot(&self) -> Option<OpenSlot<'_>> {
        let open = self.open_files.fetch_update(Relaxed, Relaxed, |open| {
            (open < self.open_files_max).then_some(open + 1)
        });
        open.ok().map(|_| OpenSlot { table: self, taken: false })
    }

    /// Files open now.
    pub(crate) fn open_files(&self) -> usize {
        self.open_files.load(Relaxed)
    }

    /// The object's file was closed by its user.
    pub(crate) fn closed(&self, id: ObjectId) {
        self.shard(id).lock().open.retain(|open| *open != id);
        self.open_files.fetch_sub(1, Relaxed);
    }

    /// Closes the files of objects that were not used for long, as many as is worth the search;
    /// whether there were any.
    pub(crate) fn close_some(&self) -> bool {
        let start = self.next_to_close.fetch_add(1, Relaxed);
        (0..SHARDS).any(|step| {
            let closed = self.close_some_of(&self.shards[(start + step) % SHARDS]);
            !closed.is_empty()
        })
    }

    /// Objects that nobody works on, with files open that can't be closed before an fsync; a few,
    /// those not used for longest first.
    pub(crate) fn owing_sync(&self) -> Vec<Arc<Object>> {
        let start = self.next_to_close.fetch_add(1, Relaxed);
        for step in 0..SHARDS {
            let shard = self.shards[(start + step) % SHARDS].lock();
            let mut owing: Vec<Arc<Object>> = idle(&shard)
                .filter(|object| {
                    let state = object.state();
                    let core = state.core.as_ref();
                    core.is_some_and(|core| {
                        core.is_quiet() && core.is_uncommitted() && core.fault().is_none()
                    })
                })
                .cloned()
                .collect();
            if !owing.is_empty() {
                owing.sort_unstable_by_key(|object| object.last_used.load(Relaxed));
                owing.truncate(SYNCED_TO_CLOSE);
                return owing;
            }
        }
        Vec::new()
    }

    fn shard(&self, id: ObjectId) -> &Mutex<Shard> {
        &self.shards[(id.get() % SHARDS as u64) as usize]
    }

    fn close_some_of(&self, shard: &Mutex<Shard>) -> Vec<Arc<dyn BackingFile>> {
        let mut shard = shard.lock();
        let mut closable: Vec<(u64, ObjectId)> = idle(&shard)
            .filter(|object| object.state().may_close())
            .map(|object| (object.last_used.load(Relaxed), object.id))
            .collect();
        keep_oldest(&mut closable);
        let mut closed = Vec::with_capacity(closable.len());
        for (_, id) in closable {
            let file = shard.known[&id].state().file.take();
            closed.extend(file);
            shard.open.retain(|open| *open != id);
        }
        self.open_files.fetch_sub(closed.len(), Relaxed);
        closed
    }

    /// Forgets objects not used for long, as many as is worth the search. Their files go to
    /// `closed`, to be closed when the lock is no longer held.
    fn forget_some(&self, shard: &mut Shard, closed: &mut Vec<Arc<dyn BackingFile>>) {
        let mut forgettable: Vec<(u64, ObjectId)> = shard
            .known
            .values()
            .filter(|object| Arc::strong_count(object) == 1 && object.state().may_forget())
            .map(|object| (object.last_used.load(Relaxed), object.id))
            .collect();
        keep_oldest(&mut forgettable);
        for (_, id) in forgettable {
            let Some(object) = shard.known.remove(&id) else {
                continue;
            };
            let mut state = object.state();
            let beyond = state.core.as_ref().and_then(|core| core.sequence_beyond_record());
            if let Some(sequence) = beyond {
                self.sequence_floor.fetch_max(sequence.get(), Relaxed);
            }
            if let Some(file) = state.file.take() {
                shard.open.retain(|open| *open != id);
                self.open_files.fetch_sub(1, Relaxed);
                closed.push(file);
            }
        }
    }
}

impl OpenSlot<'_> {
    /// The object's file is open: it counts until it is closed.
    pub(crate) fn take(mut self, id: ObjectId) {
        self.taken = true;
        self.table.shard(id).lock().open.push(id);
    }
}

impl Drop for OpenSlot<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.table.open_files.fetch_sub(1, Relaxed);
        }
    }
}

/// Objects of a shard with open files that nobody has in hand.
fn idle(shard: &Shard) -> impl Iterator<Item = &Arc<Object>> {
    let open = shard.open.iter().filter_map(|id| shard.known.get(id));
    open.filter(|object| Arc::strong_count(object) == 1)
}

/// Keeps the eighth that was used longest ago, at least one: one search pays for several later
/// opens, and the most recently used stay.
fn keep_oldest(candidates: &mut Vec<(u64, ObjectId)>) {
    candidates.sort_unstable();
    candidates.truncate(candidates.len().div_ceil(8));
}

/// Enough that two threads seldom meet; limits are rounded up to a multiple of it.
const SHARDS: usize = 64;
/// How far the number of known objects may go over its limit while none can be forgotten.
const OVERFULL_FACTOR: usize = 2;
/// Files fsynced in one go when room for one more is needed and all others owe one.
const SYNCED_TO_CLOSE: usize = 8;
