//! Getting an object ready: looking at its backing file, opening it, making it.
//!
//! Invariant: one task opens an object at a time and all others wait for it; no more files are open
//! than may be, and those that owe an fsync get it before they are closed.

use std::{io, path::PathBuf, sync::Arc};

use model::{ObjectId, Refusal};
use tracing::{error, warn};

use super::{Shared, blocking, refusal_of};
use crate::{
    BackingFile, Open,
    core::Core,
    object::{Need, Object, Readiness, State, Syncing},
    record::{Record, RecordState},
    table::OpenSlot,
};

enum Look<T> {
    Done(Result<T, Refusal>),
    Open,
}

impl Shared {
    /// Runs `act` under the object's lock as soon as `need` is met, opening its file if necessary.
    pub(super) async fn when_ready<T>(
        self: &Arc<Self>,
        object: &Arc<Object>,
        has_data: bool,
        need: Need,
        act: impl FnOnce(&Arc<Object>, &mut State) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut act = Some(act);
        loop {
            let look = object.wait_for(|state| match state.readiness(has_data, need) {
                Err(refusal) => Some(Look::Done(Err(refusal))),
                Ok(Readiness::Ready) => {
                    state.announced |= has_data;
                    let act = act.take().expect("it runs once: its result ends the loop");
                    Some(Look::Done(act(object, state)))
                }
                Ok(Readiness::NotOpen) if state.opening => None,
                Ok(Readiness::NotOpen) => {
                    state.opening = true;
                    state.announced |= has_data;
                    Some(Look::Open)
                }
            });
            match look.await {
                Look::Done(result) => return result,
                Look::Open => {
                    let opening = Opening(Arc::clone(object));
                    let shared = Arc::clone(self);
                    blocking(move || shared.open_file(&opening, need)).await??;
                }
            }
        }
    }

    /// Gets the facts of objects that nobody is opening already.
    pub(super) fn look_ahead(&self, objects: &[(ObjectId, bool)]) {
        for (object, has_data) in objects {
            let Ok(object) = self.table.get(*object) else { return };
            let opening = {
                let mut state = object.state();
                let readiness = state.readiness(*has_data, Need::Facts);
                if state.opening || readiness != Ok(Readiness::NotOpen) {
                    continue;
                }
                state.opening = true;
                state.announced |= *has_data;
                Opening(Arc::clone(&object))
            };
            // Whoever asks for this one meets the refusal again.
            let _ = self.open_file(&opening, Need::Facts);
        }
    }

    /// Where an object's backing file is.
    pub(super) fn path(&self, object: ObjectId) -> PathBuf {
        let mut path = self.settings.dir.join(group_name(object));
        path.push(file_name(object));
        path
    }

    fn open_file(&self, opening: &Opening, need: Need) -> Result<(), Refusal> {
        let object = &opening.0;
        let slot = self.slot()?;
        let path = self.path(object.id);
        match self.disk.open(&path, Open::Existing) {
            Ok(file) => self.take_file(object, file, slot),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(object = %object.id, %error, "a backing file can't be opened");
                Err(refusal_of(&error))
            }
            Err(_) if object.state().exists => {
                error!(object = %object.id, "a backing file is gone that was there");
                Err(Refusal::Fault)
            }
            Err(_) if need == Need::FileMade => {
                let file = self.make_file(object.id).map_err(|error| {
                    warn!(object = %object.id, %error, "a backing file can't be made");
                    refusal_of(&error)
                })?;
                self.take_file(object, file, slot)
            }
            Err(_) => {
                let floor = self.table.sequence_floor();
                object.state().core.get_or_insert(Core::empty(floor));
                Ok(())
            }
        }
    }

    /// Makes the file, and its directory if it is the first there. The directory's own name is made
    /// durable at once, the file's by its first fsync.
    fn make_file(&self, object: ObjectId) -> io::Result<Arc<dyn BackingFile>> {
        let path = self.path(object);
        match self.disk.open(&path, Open::OrCreate) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let group = self.settings.dir.join(group_name(object));
        match self.disk.make_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Whoever made it may not have synced it yet.
            Ok(()) | Err(_) => self.disk.sync_dir(&self.settings.dir)?,
        }
        self.disk.open(&path, Open::OrCreate)
    }

    fn take_file(
        &self,
        object: &Arc<Object>,
        file: Arc<dyn BackingFile>,
        slot: OpenSlot<'_>,
    ) -> Result<(), Refusal> {
        let is_loaded = {
            let state = object.state();
            state.core.is_some() && state.exists
        };
        let loaded = match is_loaded {
            true => None,
            false => Some(self.load(object.id, &*file)?),
        };
        slot.take(object.id);
        let mut state = object.state();
        let mut announce = false;
        if let Some((core, record)) = loaded {
            // A core that is there already is that of an object whose file was missing until now:
            // marks it gave out stay given.
            if state.core.is_none() {
                state.core = Some(core);
            }
            announce = record == Some(RecordState::Clean) && !state.announced;
        }
        state.exists = true;
        state.announced |= announce;
        state.file = Some(file);
        drop(state);
        if announce {
            self.sink.first_durable_data(object.id);
        }
        Ok(())
    }

    fn load(
        &self,
        object: ObjectId,
        file: &dyn BackingFile,
    ) -> Result<(Core, Option<RecordState>), Refusal> {
        let unreadable = |error: io::Error| {
            warn!(%object, %error, "a backing file can't be looked at");
            refusal_of(&error)
        };
        let facts = file.facts().map_err(unreadable)?;
        let record = match file.record().map_err(unreadable)? {
            None => {
                if facts.size > 0 {
                    warn!(%object, size = facts.size, "a backing file has bytes and no record");
                }
                None
            }
            Some(bytes) => Some(Record::decode(&bytes).map_err(|bad| {
                error!(%object, %bad, "a backing file's record is unreadable");
                Refusal::Fault
            })?),
        };
        let floor = self.table.sequence_floor();
        let mut core = Core::loaded(facts.size, record, self.clock.wall(), floor);
        core.set_used(facts.used);
        Ok((core, record.map(|record| record.state)))
    }

    /// The right to open one more file, if need be after closing others. `Busy` if all files that
    /// are open are in use.
    fn slot(&self) -> Result<OpenSlot<'_>, Refusal> {
        for _ in 0..SLOT_TRIES {
            if let Some(slot) = self.table.open_slot() {
                return Ok(slot);
            }
            if !self.table.close_some() {
                self.sync_some();
            }
        }
        self.table.open_slot().ok_or(Refusal::Busy)
    }

    /// Fsyncs a few idle files so that they can be closed.
    fn sync_some(&self) {
        for object in self.table.owing_sync() {
            let syncing = {
                let mut state = object.state();
                let may = state.core.as_ref().is_some_and(|core| core.is_quiet());
                may.then(|| Syncing::begin(&object, &mut state)).flatten()
            };
            if let Some(syncing) = syncing {
                // Its outcome is kept in the object: a failure is told to whoever uses it next.
                let _ = self.run_sync(syncing);
            }
        }
    }
}

/// Says that an object's file is being opened, until it is dropped.
struct Opening(Arc<Object>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.state().opening = false;
        self.0.wake_all();
    }
}

/// The directory of 4 096 objects: few enough for a directory, and few directories.
pub(super) fn group_name(object: ObjectId) -> String {
    format!("{:x}", object.get() >> 12)
}

/// The file within it.
pub(super) fn file_name(object: ObjectId) -> String {
    format!("{:x}", object.get())
}

/// Rounds of closing before an open is refused; others may take what was closed.
const SLOT_TRIES: usize = 4;
