//! Copies that follow one another: the owner's end of that, and the others'.
//!
//! Invariant: whether a change may be executed is found out in the step that gives it its place, so
//! nothing comes between. Absent on purpose: who owns the object, who is asked, and when.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};
use model::{DataFacts, EXTENT_BYTES, Mark, ObjectId, Refusal, Reign, Span, Stamp};
use tracing::warn;

use super::copy::read_runs;
use super::receive::{Batch, perform};
use super::{Attach, Feed, Objects, Touched, blocking, refusal_of};
use crate::core::BatchEnd;
use crate::feed::{FeedQueue, Frame, FrameChange};
use crate::follow::{Admission, CopyState, admit};
use crate::hash::ExtentHash;
use crate::object::{Need, Running};

/// What a copy is, for an owner who compares.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What it holds.
    pub state: CopyState,
    /// Size and stamp.
    pub facts: DataFacts,
    /// What may differ from other copies.
    pub touched: Touched,
}

/// What became of an owner's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are executed, now or before: the copy is at this mark.
    At(Mark),
    /// What comes before them has not come yet.
    Early,
    /// The copy is not what the owner takes it for.
    Gap,
}

/// What a copy is to be made equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equal {
    /// The name of it, and its times.
    pub stamp: Stamp,
    /// Its size.
    pub size: u64,
    /// Whether this is the first piece.
    pub first: bool,
    /// Whether this is the last piece.
    pub last: bool,
}

/// One extent of an object: runs of data, with their bytes one after the other, and holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which extent, counted in units of [`EXTENT_BYTES`].
    pub extent: u64,
    /// Within it, in order, apart from each other.
    pub runs: Vec<Span>,
    /// As many as all runs together.
    pub bytes: Bytes,
}

impl Piece {
    /// The same for the same bytes.
    pub fn hash(&self) -> ExtentHash {
        ExtentHash::of(self.extent, &self.runs, &self.bytes)
    }
}

impl Objects {
    /// What the copy here is. `Fault` if it is broken, or a backing file is missing that was there.
    pub async fn followed(&self, object: ObjectId, has_data: bool) -> Result<Followed, Refusal> {
        let object = self.shared.table.get(object)?;
        let look = self.shared.when_ready(&object, has_data, Need::Facts, |_, state| {
            let core = state.loaded();
            if core.fault().is_some() {
                return Err(Refusal::Fault);
            }
            let (facts, touched) = (core.facts(), core.touched().clone());
            Ok(Followed { state: core.state(), facts, touched })
        });
        look.await
    }

    /// Attaches a feed of changes alone, without copies of what is there: for those whose copies
    /// are at the mark that comes with it. What is here in doubt gets a name of its own. `Busy`
    /// while a change is under way.
    pub async fn follow(&self, object: ObjectId, how: Attach) -> Result<(Feed, Mark), Refusal> {
        let object = self.shared.table.get(object)?;
        let shared = &self.shared;
        let now = shared.clock.wall();
        let attached = shared.when_ready(&object, how.has_data, Need::File, |object, state| {
            if state.receiving || !state.loaded().is_settled() {
                return Err(Refusal::Busy);
            }
            let core = state.loaded_mut();
            core.share();
            let tip = match core.state() {
                CopyState::At(mark) => mark,
                CopyState::InDoubt => core.name_anew(how.reign, now)?.mark,
            };
            let base = core.base();
            let queue = Arc::new(FeedQueue::new(how.limit_bytes));
            state.feeds.attach(Arc::clone(&queue))?;
            let (shared, object) = (Arc::clone(shared), Arc::clone(object));
            Ok((Feed { shared, object, queue, how, base }, tip))
        });
        attached.await
    }

    /// Gives what is here a name of its own, which other feeds carry as a change that does nothing.
    /// `Busy` while a change is under way.
    pub async fn name_anew(
        &self,
        object: ObjectId,
        has_data: bool,
        reign: Reign,
    ) -> Result<(Stamp, u64), Refusal> {
        let object = self.shared.table.get(object)?;
        let now = self.shared.clock.wall();
        let named = self.shared.when_ready(&object, has_data, Need::File, |_, state| {
            if !state.loaded().is_settled() {
                return Err(Refusal::Busy);
            }
            let stamp = state.loaded_mut().name_anew(reign, now)?;
            state.feeds.enter(stamp, None, false);
            state.feeds.fill(stamp.mark, || FrameChange::Nothing);
            Ok((stamp, state.loaded().facts().size))
        });
        named.await
    }

    /// All good copies hold the same up to `mark`.
    pub fn settled(&self, object: ObjectId, mark: Mark) {
        let Some(object) = self.shared.table.find(object) else { return };
        let file = {
            let mut state = object.state();
            let Some(core) = &mut state.core else { return };
            core.settled(mark);
            // A file that is not open has no fsync to come: what is lost with it is a comparison.
            core.record_after().and(state.file.clone())
        };
        let Some(file) = file else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = object.record_after(&*file) {
                warn!(object = %object.id, %error, "a record can't be written");
            }
        });
    }

    /// Up to where all good copies are known to hold the same; nothing if the object was not used
    /// lately.
    pub fn settled_to(&self, object: ObjectId) -> Mark {
        let object = self.shared.table.find(object);
        let core = |object: &Arc<crate::object::Object>| {
            object.state().core.as_ref().map(crate::core::Core::settled_to)
        };
        object.as_ref().and_then(core).unwrap_or_default()
    }

    /// Executes an owner's changes, of which the first follows upon `previous`. `Fenced`: a newer
    /// reign was seen here. `NoSpace`, `QuotaExceeded`, `Fault`: this copy can't follow.
    pub async fn take_changes(
        &self,
        object: ObjectId,
        has_data: bool,
        previous: Mark,
        mut frames: Vec<Frame>,
    ) -> Result<Taken, Refusal> {
        let object = self.shared.table.get(object)?;
        let shared = &self.shared;
        let bytes = frames.iter().map(|frame| frame.change.payload_len()).sum();
        shared.space.admit(bytes)?;
        let marks: Vec<Mark> = frames.iter().map(|frame| frame.mark).collect();
        let need = if frames.is_empty() { Need::Facts } else { Need::FileMade };
        let begun = shared.when_ready(&object, has_data, need, |object, state| {
            if state.receiving {
                return Err(Refusal::Fenced);
            }
            let core = state.loaded_mut();
            if core.fault().is_some() {
                return Err(Refusal::Fault);
            }
            core.share();
            match admit(core.state(), previous, &marks) {
                Admission::Early => Ok(Err(Taken::Early)),
                Admission::Gap => Ok(Err(Taken::Gap)),
                Admission::There => match core.state() {
                    CopyState::At(mark) => Ok(Err(Taken::At(mark))),
                    CopyState::InDoubt => Ok(Err(Taken::Gap)),
                },
                Admission::Execute { skip } => {
                    frames.drain(..skip);
                    let ticket = core.begin_frames(&frames)?;
                    let running = Running::new(Arc::clone(object), ticket);
                    let file = state.file.clone().ok_or(Refusal::Stale)?;
                    let reign = frames.last().map(|frame| frame.mark.reign).unwrap_or_default();
                    let torn = Arc::new(AtomicBool::new(true));
                    Ok(Ok(Batch { running, file, reign, torn, rotten: Arc::default() }))
                }
            }
        });
        let batch = match begun.await? {
            Ok(batch) => batch,
            Err(taken) => return Ok(taken),
        };
        batch.running.turn().await;
        let shared = Arc::clone(shared);
        let at = frames.last().map(|frame| frame.mark).unwrap_or(previous);
        let execute = move || batch.run(&shared, &frames);
        let executed = match bytes > HERE_BYTES_MAX {
            true => blocking(execute).await?,
            false => execute(),
        };
        executed.map(|()| Taken::At(at))
    }

    /// One piece of making this copy equal to its owner's: nobody may rely on its name before the
    /// last one. `Fenced`: it has something newer. `Stale`: an older copy is being removed.
    /// `NoSpace`, `Fault` as above.
    pub async fn make_equal(
        &self,
        object: ObjectId,
        equal: Equal,
        pieces: Vec<Piece>,
    ) -> Result<Mark, Refusal> {
        let object = self.shared.table.get_anew(object)?;
        let shared = &self.shared;
        shared.space.admit(pieces.iter().map(|piece| piece.bytes.len() as u64).sum())?;
        let mark = equal.stamp.mark;
        let begun = shared.when_ready(&object, false, Need::FileMade, |object, state| {
            if state.receiving {
                return Err(Refusal::Fenced);
            }
            let ticket = state.loaded_mut().begin_equal(mark, equal.size, equal.first)?;
            state.announced = true;
            let file = state.file.clone().ok_or(Refusal::Stale)?;
            Ok((Running::new(Arc::clone(object), ticket), file))
        });
        let (running, file) = begun.await?;
        running.turn().await;
        let shared = Arc::clone(shared);
        let equalled = blocking(move || {
            let object = Arc::clone(running.object());
            let made = object.flag(&*file, mark.reign).and_then(|()| {
                file.set_size(equal.size)?;
                let copy = |piece: Piece| perform(&*file, &piece.into_change(equal.size));
                pieces.into_iter().try_for_each(copy).map_err(|(error, _)| error)
            });
            let size = file.facts().map_or(0, |facts| facts.size);
            let end = if made.is_ok() { BatchEnd::Done } else { BatchEnd::Stopped(size) };
            running.finish(|core, ticket| {
                core.finish_frames(ticket, end);
                if made.is_ok() && equal.last {
                    core.finish_equal(equal.stamp);
                }
            });
            made.map_err(|error| {
                warn!(object = %object.id, %error, "a copy can't be made equal");
                if !super::lacks_room(&error) {
                    shared.copy_failed(&object, super::CopyFault::Write);
                }
                refusal_of(&error)
            })
        });
        equalled.await?.map(|()| mark)
    }

    /// Reads extents as they are. For a caller who sees to it that nothing changes meanwhile.
    pub async fn pieces(
        &self,
        object: ObjectId,
        has_data: bool,
        extents: Vec<u64>,
    ) -> Result<Vec<Piece>, Refusal> {
        let object = self.shared.table.get(object)?;
        let look = self.shared.when_ready(&object, has_data, Need::File, |_, state| {
            Ok((state.file.clone(), state.loaded().facts().size))
        });
        let (file, size) = look.await?;
        let read = move |extent: u64| {
            let span = extent_of(extent, size);
            let (mut runs, mut bytes) = (Vec::new(), BytesMut::new());
            if let Some(file) = &file {
                read_runs(&**file, span, &mut runs, &mut bytes)?;
            }
            Ok(Piece { extent, runs, bytes: bytes.freeze() })
        };
        let all = blocking(move || extents.into_iter().map(read).collect::<std::io::Result<_>>());
        all.await?.map_err(|error| {
            warn!(object = %object.id, %error, "an extent can't be read");
            Refusal::Fault
        })
    }
}

impl Piece {
    fn into_change(self, size: u64) -> FrameChange {
        let span = extent_of(self.extent, size);
        match self.runs.is_empty() {
            true => FrameChange::Hole(span),
            false => FrameChange::Copy { span, runs: self.runs, bytes: self.bytes },
        }
    }
}

/// What there is of an extent, in an object of that size.
pub(super) fn extent_of(extent: u64, size: u64) -> Span {
    let start = extent.saturating_mul(EXTENT_BYTES).min(size);
    let len = EXTENT_BYTES.min(size - start);
    Span::new(start, len).unwrap_or(Span::from_offset(start))
}

/// Little ones cost less than another thread's turn.
const HERE_BYTES_MAX: u64 = 64 << 10;
