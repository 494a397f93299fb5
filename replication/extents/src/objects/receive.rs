//! The other end of a stream: making an object here what it is at its owner.
//!
//! Invariant: frames are executed in the order of their marks, each batch in one place of the span
//! queue that covers the whole object; the record says "dirty" before the first byte moves. What
//! was received and finished is like an object that was written here. What an older copy here holds
//! is kept until it is overwritten, so that only what differs must come.
//! Absent on purpose: who may send; and any repair: a batch that fails ends the reception.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use bytes::BytesMut;
use model::{DataFacts, EXTENT_BYTES, Mark, ObjectId, Refusal, Reign, Span};
use parking_lot::Mutex;
use tracing::warn;

use super::{Base, CopyFault, Objects, Shared, blocking, copy::read_runs, lacks_room, refusal_of};
use crate::{
    BackingFile, Open,
    core::BatchEnd,
    extent_set::{extents_of, span_of},
    feed::{FeedEnd, Frame, FrameChange},
    hash::ExtentHash,
    object::{Need, Object, Running},
};

/// An object that is being received. Dropping it leaves what has come so far, dirty.
pub struct Receipt {
    shared: Arc<Shared>,
    object: Arc<Object>,
    has_data: bool,
    /// A batch began and did not end well: what the object holds is not known.
    torn: Arc<AtomicBool>,
    /// Extents of an older copy, from the first on.
    older: Arc<AtomicU64>,
    /// Those of them that can't be read: they are emptied before they are written.
    rotten: Arc<Mutex<BTreeSet<u64>>>,
}

/// A batch of frames that has its place.
pub(super) struct Batch {
    pub(super) running: Running,
    pub(super) file: Arc<dyn BackingFile>,
    pub(super) reign: Reign,
    pub(super) torn: Arc<AtomicBool>,
    pub(super) rotten: Arc<Mutex<BTreeSet<u64>>>,
}

impl Objects {
    /// Begins to receive an object that was `base` when its owner attached the feed; whatever copy
    /// of it is here counts no more, and a fault of it goes with its file. `has_data` as at the
    /// owner. `Fenced` if a newer
    /// reign was seen here; `Busy` if it is being received already; `Stale` while an older copy is
    /// being removed.
    pub async fn receive(
        &self,
        object: ObjectId,
        has_data: bool,
        base: Base,
    ) -> Result<Receipt, Refusal> {
        let object = self.shared.table.get_anew(object)?;
        let shared = &self.shared;
        let begun = shared.when_ready(&object, false, Need::FileMade, |object, state| {
            if state.receiving {
                return Err(Refusal::Busy);
            }
            let broken = state.loaded().fault().is_some();
            let ticket = state.loaded_mut().begin_reception(base)?;
            state.receiving = true;
            state.feeds.end(FeedEnd::Stale);
            // Whether it has durable data is the owner's to say.
            state.announced = true;
            let receipt = Receipt {
                shared: Arc::clone(shared),
                object: Arc::clone(object),
                has_data,
                torn: Arc::new(AtomicBool::new(true)),
                older: Arc::default(),
                rotten: Arc::default(),
            };
            Ok((Running::new(Arc::clone(object), ticket), receipt, broken))
        });
        let (running, receipt, broken) = begun.await?;
        running.turn().await;
        let (shared, torn) = (Arc::clone(shared), Arc::clone(&receipt.torn));
        let older = blocking(move || shared.begin_anew(running, base, broken, &torn)).await??;
        receipt.older.store(older, SeqCst);
        Ok(receipt)
    }
}

impl Receipt {
    /// How many extents, from the first on, an older copy here has: what they hold need not come
    /// again if it is the same.
    pub fn older_extents(&self) -> u64 {
        self.older.load(SeqCst)
    }

    /// What these extents hold now, at most [`COMPARED_AT_ONCE_MAX`] of them; nothing where there
    /// is only hole, or what can't be read. A batch that runs meanwhile is in it, or partly, or
    /// not: that is as good.
    pub async fn compare(&self, extents: Range<u64>) -> Result<Vec<Option<ExtentHash>>, Refusal> {
        if extents.end.saturating_sub(extents.start) > COMPARED_AT_ONCE_MAX {
            return Err(Refusal::Invalid);
        }
        let file = self.object.state().file.clone().ok_or(Refusal::Stale)?;
        let (rotten, object) = (Arc::clone(&self.rotten), self.object.id);
        let compared = blocking(move || {
            let mut bytes = BytesMut::new();
            let hash = |extent: u64| {
                hash_of(&*file, extent, &mut bytes).unwrap_or_else(|error| {
                    warn!(%object, extent, %error, "an older copy can't be read");
                    rotten.lock().insert(extent);
                    None
                })
            };
            extents.map(hash).collect()
        });
        compared.await
    }

    /// Executes frames in order, all or none but for a fault in the middle. `Fenced` and `Invalid`:
    /// the marks are older or do not grow, nothing was done. `NoSpace`, `QuotaExceeded`, `Fault`:
    /// the reception is over.
    pub async fn apply(&self, frames: Vec<Frame>) -> Result<(), Refusal> {
        let Some(last) = frames.last() else { return Ok(()) };
        if self.torn.load(SeqCst) {
            return Err(Refusal::Fault);
        }
        let reign = last.mark.reign;
        let bytes = frames.iter().map(|frame| frame.change.payload_len()).sum();
        self.shared.space.admit(bytes)?;
        let shared = &self.shared;
        let begun = shared.when_ready(&self.object, false, Need::File, |object, state| {
            let file = state.file.clone().ok_or(Refusal::Stale)?;
            let ticket = state.loaded_mut().begin_frames(&frames)?;
            self.torn.store(true, SeqCst);
            let (torn, rotten) = (Arc::clone(&self.torn), Arc::clone(&self.rotten));
            let running = Running::new(Arc::clone(object), ticket);
            Ok(Batch { running, file, reign, torn, rotten })
        });
        let batch = begun.await?;
        batch.running.turn().await;
        let shared = Arc::clone(&self.shared);
        blocking(move || batch.run(&shared, &frames)).await?
    }

    /// Makes all that was applied durable; the mark up to which it is.
    pub async fn sync(&self) -> Result<Mark, Refusal> {
        let target = self.object.state().loaded().target();
        self.shared.commit_to(&self.object, target).await?;
        let (_, durable) = self.object.state().loaded().marks();
        Ok(durable)
    }

    /// The mark of the last frame, once all that was begun is done. `Fault`: it is not known what
    /// the object holds; begin anew.
    pub async fn received(&self) -> Result<Mark, Refusal> {
        let given = self.object.wait_for(|state| {
            let core = state.loaded();
            core.is_settled().then(|| core.marks().0)
        });
        let given = given.await;
        if self.torn.load(SeqCst) { Err(Refusal::Fault) } else { Ok(given) }
    }

    /// Takes over what no frame said, and makes the object durable up to `durable` if it is not: it
    /// is as its owner's is. May be repeated. `Invalid` if it is not; then it must not be used.
    pub async fn finish(&self, end: Base, durable: Mark) -> Result<DataFacts, Refusal> {
        self.received().await?;
        let size = {
            let state = self.object.state();
            let file = state.file.as_ref().ok_or(Refusal::Stale)?;
            file.facts().map_err(|error| refusal_of(&error))?.size
        };
        if size != end.size {
            return Err(Refusal::Invalid);
        }
        self.object.state().loaded_mut().finish_reception(end)?;
        let (_, so_far) = self.object.state().loaded().marks();
        if so_far < durable && self.sync().await? < durable {
            return Err(Refusal::Invalid);
        }
        let mut state = self.object.state();
        state.announced = self.has_data;
        Ok(state.loaded().facts())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.object.state().receiving = false;
    }
}

impl Shared {
    /// A file of the right size, and how many extents of it are an older copy's. Blocks.
    fn begin_anew(
        &self,
        running: Running,
        base: Base,
        broken: bool,
        torn: &AtomicBool,
    ) -> Result<u64, Refusal> {
        let object = Arc::clone(running.object());
        let made = self.file_for(&object, base, broken);
        let end = match made {
            Ok(_) => BatchEnd::Done,
            Err(_) => BatchEnd::Stopped(0),
        };
        running.finish(|core, ticket| core.finish_frames(ticket, end));
        let older = made.map_err(|error| {
            warn!(object = %object.id, %error, "no file can be made to receive into");
            refusal_of(&error)
        })?;
        torn.store(false, SeqCst);
        Ok(older)
    }

    fn file_for(&self, object: &Object, base: Base, broken: bool) -> io::Result<u64> {
        let open = object.state().file.clone().ok_or(io::ErrorKind::NotFound)?;
        let used = open.facts()?.size > 0 || open.record()?.is_some();
        if !used {
            begin_with(object, &*open, base)?;
            return Ok(0);
        }
        if !broken {
            match keep_older(object, &*open, base) {
                Ok(older) => return Ok(older),
                Err(error) => warn!(object = %object.id, %error, "an older copy is of no use"),
            }
        }
        // A new file rather than an emptied one: errors of the old one can't come back.
        self.disk.unlink(&self.path(object.id))?;
        let file = self.disk.open(&self.path(object.id), Open::OrCreate)?;
        object.state().file = Some(Arc::clone(&file));
        begin_with(object, &*file, base)?;
        Ok(0)
    }
}

fn begin_with(object: &Object, file: &dyn BackingFile, base: Base) -> io::Result<()> {
    object.flag(file, base.mark.reign)?;
    file.set_size(base.size)
}

/// Goes on with a file that is there; how many of its extents may be what they should be.
fn keep_older(object: &Object, file: &dyn BackingFile, base: Base) -> io::Result<u64> {
    let size = file.facts()?.size.min(base.size);
    begin_with(object, file, base)?;
    let has_data = file.next_data(0)?.is_some_and(|data| data < size);
    Ok(if has_data { size.div_ceil(EXTENT_BYTES) } else { 0 })
}

/// Nothing of an extent without data: a copy of that is as short.
fn hash_of(
    file: &dyn BackingFile,
    extent: u64,
    bytes: &mut BytesMut,
) -> io::Result<Option<ExtentHash>> {
    let span = span_of(&(extent..extent.saturating_add(1)));
    if file.next_data(span.offset())?.is_none_or(|data| data >= span.end()) {
        return Ok(None);
    }
    let mut runs = Vec::new();
    bytes.clear();
    read_runs(file, span, &mut runs, bytes)?;
    Ok(Some(ExtentHash::of(extent, &runs, bytes)))
}

impl Batch {
    /// A block that can't be read can't be changed in part either: a copy of its extent begins with
    /// nothing there.
    fn empty_rotten(&self, change: &FrameChange) -> Result<(), (io::Error, CopyFault)> {
        let (FrameChange::Copy { span, .. } | FrameChange::Hole(span)) = change else {
            return Ok(());
        };
        let extents = extents_of(*span);
        let mut rotten = self.rotten.lock();
        while let Some(extent) = rotten.range(extents.clone()).next().copied() {
            let whole = span_of(&(extent..extent + 1));
            self.file.punch(whole).map_err(|error| (error, CopyFault::Write))?;
            rotten.remove(&extent);
        }
        Ok(())
    }

    /// Blocks.
    pub(super) fn run(self, shared: &Shared, frames: &[Frame]) -> Result<(), Refusal> {
        let object = Arc::clone(self.running.object());
        let flagged = object.state().loaded().is_flagged(self.reign);
        let result = match flagged {
            true => Ok(()),
            false => {
                object.flag(&*self.file, self.reign).map_err(|error| (error, CopyFault::Record))
            }
        };
        let result = result.and_then(|()| {
            frames.iter().try_for_each(|frame| {
                self.empty_rotten(&frame.change)?;
                perform(&*self.file, &frame.change)
            })
        });
        let facts = self.file.facts();
        let end = match (&result, &facts) {
            (Ok(()), _) => BatchEnd::Done,
            (Err(_), facts) => BatchEnd::Stopped(facts.as_ref().map_or(0, |facts| facts.size)),
        };
        self.running.finish(|core, ticket| {
            core.finish_frames(ticket, end);
            if let Ok(facts) = facts {
                core.set_used(facts.used);
            }
        });
        match result {
            Ok(()) => {
                self.torn.store(false, SeqCst);
                Ok(())
            }
            Err((error, fault)) => {
                warn!(object = %object.id, %error, "a received change can't be executed");
                if lacks_room(&error) {
                    return Err(refusal_of(&error));
                }
                shared.copy_failed(&object, fault);
                Err(Refusal::Fault)
            }
        }
    }
}

pub(super) fn perform(
    file: &dyn BackingFile,
    change: &FrameChange,
) -> Result<(), (io::Error, CopyFault)> {
    let failed_write = |error| (error, CopyFault::Write);
    match change {
        FrameChange::Nothing => Ok(()),
        FrameChange::Write { offset, bytes } => {
            write_all(file, bytes, *offset).map_err(failed_write)
        }
        FrameChange::Later { end } => grow(file, *end).map_err(|error| (error, CopyFault::SetSize)),
        FrameChange::SetSize(size) => {
            file.set_size(*size).map_err(|error| (error, CopyFault::SetSize))
        }
        FrameChange::Copy { span, runs, bytes } => {
            copy_in(file, *span, runs, bytes).map_err(failed_write)
        }
        FrameChange::Hole(span) => clear(file, *span).map_err(failed_write),
    }
}

fn write_all(file: &dyn BackingFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        done += file.write(&bytes[done..], offset + done as u64)?;
    }
    Ok(())
}

fn grow(file: &dyn BackingFile, end: u64) -> io::Result<()> {
    if file.facts()?.size < end { file.set_size(end) } else { Ok(()) }
}

fn copy_in(file: &dyn BackingFile, span: Span, runs: &[Span], mut bytes: &[u8]) -> io::Result<()> {
    let mut at = span.offset();
    for run in runs {
        clear(file, between(at, run.offset())?)?;
        let len = usize::try_from(run.len()).unwrap_or(usize::MAX);
        let (data, rest) = bytes.split_at_checked(len).ok_or(io::ErrorKind::InvalidData)?;
        write_all(file, data, run.offset())?;
        bytes = rest;
        at = run.end();
    }
    clear(file, between(at, span.end())?)
}

/// Makes a hole, where there is not one already: looking costs far less than punching.
fn clear(file: &dyn BackingFile, span: Span) -> io::Result<()> {
    match file.next_data(span.offset())? {
        Some(data) if data < span.end() => file.punch(span),
        Some(_) | None => Ok(()),
    }
}

fn between(from: u64, to: u64) -> io::Result<Span> {
    let span = to.checked_sub(from).and_then(|len| Span::new(from, len));
    span.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Extents that are compared at a time: a quarter of a second of reading on a slow disk.
pub const COMPARED_AT_ONCE_MAX: u64 = 64;
