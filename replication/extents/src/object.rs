//! One known object: its core, its open file, and the guards that keep both honest when a caller
//! goes away in the middle.
//!
//! Invariant: an entry of the span queue and an fsync under way are held by a guard that travels
//! with the work, into the blocking pool too; whoever drops it, at whatever moment, leaves the core
//! consistent. Nothing here is locked across an await.
//! Absent on purpose: paths and opening; see `load`.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
};

use model::{ObjectId, Refusal, Reign, Span};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{
    BackingFile,
    core::{Batch, Begun, Core, Ticket},
    feed::{Feeds, FrameChange, Lost},
};

pub(crate) struct Object {
    pub(crate) id: ObjectId,
    /// When it was last asked for; counted by its shard.
    pub(crate) last_used: AtomicU64,
    /// Held while a record is chosen and written, so that the newest choice is the one that stays.
    /// Taken in the blocking pool only, before `state`.
    record_order: Mutex<()>,
    state: Mutex<State>,
    /// Something was opened, finished or synced: whoever waits looks again.
    changed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    /// None until the backing file was looked at.
    pub(crate) core: Option<Core>,
    /// Whether there is a backing file; only meaningful once there is a core.
    pub(crate) exists: bool,
    pub(crate) file: Option<Arc<dyn BackingFile>>,
    pub(crate) opening: bool,
    /// Removed: every later use is stale.
    pub(crate) gone: bool,
    /// Removed, and nobody will touch its backing file's name any more.
    pub(crate) unlinked: bool,
    /// The catalog knows, or was told, that there is durable data.
    pub(crate) announced: bool,
    /// Who is told of every change of the bytes.
    pub(crate) feeds: Feeds,
    /// Another appliance's bytes are being received.
    pub(crate) receiving: bool,
}

/// What an operation needs before it can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The core.
    Facts,
    /// The file open, if there is one.
    File,
    /// The file open, and made if there is none.
    FileMade,
}

/// Whether an operation can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The file must be looked at, opened or made first.
    NotOpen,
}

impl Object {
    pub(crate) fn new(id: ObjectId) -> Self {
        Self {
            id,
            last_used: AtomicU64::new(0),
            record_order: Mutex::new(()),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn wake_all(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `look` finds what it looks for. It is called under the lock.
    pub(crate) async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        if let Some(found) = look(&mut self.state()) {
            return found;
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed, so look once more before waiting.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }

    /// Makes sure that the file's record says "dirty" under `reign`. Blocks.
    pub(crate) fn flag(&self, file: &dyn BackingFile, reign: Reign) -> std::io::Result<()> {
        let _order = self.record_order.lock();
        let record = {
            let state = self.state();
            let core = state.loaded();
            match core.is_flagged(reign) {
                true => None,
                false => core.dirty_record(),
            }
        };
        if let Some(record) = record {
            file.set_record(&record.encode())?;
            self.state().loaded_mut().set_flagged(reign);
        }
        Ok(())
    }

    /// Writes the record that goes with the fsync of `batch`. Blocks.
    pub(crate) fn record_for(&self, file: &dyn BackingFile, batch: &Batch) -> std::io::Result<()> {
        let _order = self.record_order.lock();
        let record = self.state().loaded().record_for(batch);
        match record {
            Some(record) => file.set_record(&record.encode()),
            None => Ok(()),
        }
    }

    /// Says after an fsync what only holds once it is over, and every good copy holds the same.
    /// Blocks.
    pub(crate) fn record_after(&self, file: &dyn BackingFile) -> std::io::Result<()> {
        let _order = self.record_order.lock();
        let Some(record) = self.state().loaded().record_after() else { return Ok(()) };
        file.set_record(&record.encode())?;
        self.state().loaded_mut().set_settled_recorded(&record);
        Ok(())
    }

    /// Says "dirty" again after an fsync that failed: its record may not be believed. Blocks.
    pub(crate) fn distrust(&self, file: &dyn BackingFile) -> std::io::Result<()> {
        let _order = self.record_order.lock();
        let record = self.state().loaded().dirty_record();
        match record {
            Some(record) => file.set_record(&record.encode()),
            None => Ok(()),
        }
    }
}

impl State {
    /// Whether `need` is met. `has_data` says that a missing file is a fault.
    pub(crate) fn readiness(&self, has_data: bool, need: Need) -> Result<Readiness, Refusal> {
        if self.gone {
            return Err(Refusal::Stale);
        }
        if self.core.is_none() {
            return Ok(Readiness::NotOpen);
        }
        if !self.exists && has_data {
            return Err(Refusal::Fault);
        }
        let met = match (need, self.exists) {
            (Need::Facts, _) | (Need::File, false) => true,
            (Need::File | Need::FileMade, true) => self.file.is_some(),
            (Need::FileMade, false) => false,
        };
        Ok(if met { Readiness::Ready } else { Readiness::NotOpen })
    }

    pub(crate) fn loaded(&self) -> &Core {
        self.core.as_ref().expect(LOADED)
    }

    pub(crate) fn loaded_mut(&mut self) -> &mut Core {
        self.core.as_mut().expect(LOADED)
    }

    /// Whether its file may be closed: nobody works on it and no fsync is owed.
    pub(crate) fn may_close(&self) -> bool {
        let owes = |core: &Core| core.is_uncommitted() && !self.gone;
        let core = self.core.as_ref();
        !self.opening && core.is_none_or(|core| core.is_quiet() && !owes(core))
    }

    /// Whether it may be forgotten.
    pub(crate) fn may_forget(&self) -> bool {
        let broken = |core: &Core| core.fault().is_some() && !self.gone;
        self.may_close() && !self.core.as_ref().is_some_and(broken)
    }
}

/// A place in the span queue.
pub(crate) struct Running {
    object: Arc<Object>,
    ticket: Ticket,
    /// What feeds must be told of; nothing if no bytes change.
    fed: Option<Lost>,
    left: bool,
}

impl Running {
    /// Takes charge of `ticket`, which `object`'s core has just given.
    pub(crate) fn new(object: Arc<Object>, ticket: Ticket) -> Self {
        Self { object, ticket, fed: None, left: false }
    }

    /// Takes charge of the change `begun`, which the core of `object` has just begun, and takes its
    /// place in the feeds. `written` is where it writes, if it does.
    pub(crate) fn change(
        object: &Arc<Object>,
        state: &mut State,
        begun: &Begun,
        written: Option<Span>,
    ) -> Self {
        let fed = begun.after.stamp.map(|stamp| {
            state.feeds.enter(stamp, begun.key, begun.secure);
            Lost { mark: stamp.mark, written }
        });
        Self { object: Arc::clone(object), ticket: begun.ticket, fed, left: false }
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Waits until everything in the way is done.
    pub(crate) async fn turn(&self) {
        let ticket = self.ticket;
        self.object.wait_for(|state| state.loaded().may_run(ticket).then_some(())).await;
    }

    /// Leaves the queue; `act` tells the core how it went.
    pub(crate) fn finish<T>(mut self, act: impl FnOnce(&mut Core, Ticket) -> T) -> T {
        let result = act(self.object.state().loaded_mut(), self.ticket);
        self.left = true;
        self.object.wake_all();
        result
    }

    /// Leaves the queue as a change that did `made` to the bytes.
    pub(crate) fn finish_change<T>(
        mut self,
        made: impl FnOnce() -> FrameChange,
        act: impl FnOnce(&mut Core, Ticket) -> T,
    ) -> T {
        let mut state = self.object.state();
        let result = act(state.loaded_mut(), self.ticket);
        if let Some(fed) = self.fed.take() {
            state.feeds.fill(fed.mark, made);
        }
        drop(state);
        self.left = true;
        self.object.wake_all();
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.left {
            let mut state = self.object.state();
            state.loaded_mut().abandon(self.ticket);
            if let Some(lost) = self.fed.take() {
                state.feeds.lose(lost);
            }
            drop(state);
            self.object.wake_all();
        }
    }
}

/// An fsync that the core has been told of.
pub(crate) struct Syncing {
    pub(crate) object: Arc<Object>,
    pub(crate) file: Arc<dyn BackingFile>,
    pub(crate) batch: Batch,
    ended: bool,
}

impl Syncing {
    /// Begins an fsync of everything done by now; `None` if the file is not open.
    pub(crate) fn begin(object: &Arc<Object>, state: &mut State) -> Option<Self> {
        let file = Arc::clone(state.file.as_ref()?);
        Some(Self {
            object: Arc::clone(object),
            file,
            batch: state.loaded_mut().begin_sync(),
            ended: false,
        })
    }

    /// It succeeded. Whether the object had no durable data before.
    pub(crate) fn succeeded(mut self) -> bool {
        let mut state = self.object.state();
        state.loaded_mut().finish_sync(self.batch);
        let first = !state.announced;
        state.announced = true;
        drop(state);
        self.ended = true;
        self.object.wake_all();
        first
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        if !self.ended {
            self.object.state().loaded_mut().abandon_sync();
            self.object.wake_all();
        }
    }
}

const LOADED: &str = "an object's core stays once it is loaded, for as long as anybody holds it";
