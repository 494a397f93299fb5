//! The owner's end of a stream: attaching a feed, and copying extents into it.
//!
//! Invariant: a copy takes its mark and its place in the span queue in one step, so that no change
//! of its bytes runs between its read and its frame. Whatever a copy that goes away had in hand is
//! to be copied again.
//! Absent on purpose: the decision when to copy, and how many extents at once.

use std::{io, ops::ControlFlow, sync::Arc};

use bytes::BytesMut;
use model::{EXTENT_BYTES, Mark, ObjectId, Refusal, Reign, Span};
use tracing::warn;

use super::{Base, Objects, Shared, blocking};
use crate::{
    BackingFile, Wait,
    core::Core,
    extent_set::{Extents, span_of},
    feed::{Backlog, FeedEnd, FeedQueue, Frame, FrameChange},
    hash::ExtentHash,
    object::{Need, Object, Running},
};

/// How to attach a feed.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    /// A missing backing file is a fault, and not an empty object.
    pub has_data: bool,
    /// Under which copies take their marks, unless the object has seen a newer one.
    pub reign: Reign,
    /// The most that the queue holds, in bytes; at least two extents, or else no copy fits in.
    pub limit_bytes: u64,
}

/// Everything that happens to one object's bytes from the moment it was attached, and copies of
/// what was there before. Dropping it detaches it.
pub struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) object: Arc<Object>,
    pub(super) queue: Arc<FeedQueue>,
    pub(super) how: Attach,
    pub(super) base: Base,
}

/// What one step of copying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What was looked at.
    pub span: Span,
    /// How much of it was data.
    pub data_bytes: u64,
    /// What its frame is called.
    pub mark: Mark,
    /// Whether the receiver held the same already: then its frame carries nothing.
    pub held: bool,
}

/// A copy that has its mark and its place. If it goes away its extents are to be copied again.
struct Copying {
    running: Option<Running>,
    queue: Arc<FeedQueue>,
    file: Option<Arc<dyn BackingFile>>,
    extents: Extents,
    mark: Mark,
}

impl Objects {
    /// Attaches a feed: from now on every change of the object's bytes takes its place in it, and
    /// all that is there already is to be copied. Changes under way are in it, too. `Busy` if the
    /// object has as many feeds as it may, or is being received; `Fault` if its copy is broken.
    pub async fn attach(&self, object: ObjectId, how: Attach) -> Result<Feed, Refusal> {
        let object = self.shared.table.get(object)?;
        let shared = &self.shared;
        let attached = shared.when_ready(&object, how.has_data, Need::File, |object, state| {
            let core = state.loaded();
            if core.fault().is_some() {
                return Err(Refusal::Fault);
            }
            if state.receiving {
                return Err(Refusal::Busy);
            }
            let base = core.base();
            let queue = Arc::new(FeedQueue::new(how.limit_bytes));
            for mark in core.under_way() {
                queue.enter(mark, base.stamp);
            }
            queue.put_back(0..base.size.div_ceil(EXTENT_BYTES));
            state.feeds.attach(Arc::clone(&queue))?;
            let (shared, object) = (Arc::clone(shared), Arc::clone(object));
            Ok(Feed { shared, object, queue, how, base })
        });
        attached.await
    }
}

impl Feed {
    /// What the object was when the feed was attached: what a receiver must begin with.
    pub fn base(&self) -> Base {
        self.base
    }

    /// The next frame, as soon as its change is done. Cancel-safe. For one caller at a time.
    pub async fn next(&self) -> Result<Frame, FeedEnd> {
        self.queue.next().await
    }

    /// What is still to come.
    pub fn backlog(&self) -> Backlog {
        self.queue.backlog()
    }

    /// The object as it is now, if nothing is under way and the receiver of all frames so far has
    /// all of it.
    pub fn settled(&self) -> Option<Base> {
        let state = self.object.state();
        let core = state.core.as_ref()?;
        let backlog = self.queue.backlog();
        let rest = (backlog.frames, backlog.to_copy) == (0, 0) && self.queue.end().is_none();
        (rest && core.is_settled()).then(|| {
            let (mark, _) = core.marks();
            Base { mark, ..core.base() }
        })
    }

    /// Of no change after this mark anybody was told here that it is durable.
    pub fn promised(&self) -> Mark {
        self.object.state().core.as_ref().map(Core::promised).unwrap_or_default()
    }

    /// Learns what the receiver held of the extents from `first` on, at whatever moment since it
    /// began with [`Self::base`]; nothing where it could not tell.
    pub fn learn(&self, first: u64, held: impl Iterator<Item = Option<ExtentHash>>) {
        self.queue.learn(first, held);
    }

    /// Copies the next extent, or a run of extents without data; its frame follows. `None`: nothing
    /// is to be copied. `Busy`: too much is under way, try again. `Fault`: the bytes can't be read.
    pub async fn copy_next(&self) -> Result<Option<Copied>, Refusal> {
        let begun = self.shared.when_ready(&self.object, self.how.has_data, Need::File, {
            |object, state| {
                match self.queue.end() {
                    None => {}
                    Some(FeedEnd::Stale) => return Err(Refusal::Stale),
                    Some(FeedEnd::Fault(_)) => return Err(Refusal::Fault),
                }
                let facts = state.loaded().facts();
                let Some(extents) = self.queue.take_extents(facts.size) else { return Ok(None) };
                let begun = state.loaded_mut().begin_copy(span_of(&extents), self.how.reign);
                let (ticket, mark) = begun.inspect_err(|_| self.queue.put_back(extents.clone()))?;
                self.queue.enter(mark, facts.stamp);
                Ok(Some(Copying {
                    running: Some(Running::new(Arc::clone(object), ticket)),
                    queue: Arc::clone(&self.queue),
                    file: state.file.clone(),
                    extents,
                    mark,
                }))
            }
        });
        let Some(copying) = begun.await? else { return Ok(None) };
        if let Some(running) = &copying.running {
            running.turn().await;
        }
        let copied = blocking(move || {
            let object = copying.running.as_ref().map(|running| running.object().id);
            let copied = copying.run();
            copied.map_err(|error| {
                warn!(?object, %error, "an extent can't be copied");
                Refusal::Fault
            })
        });
        copied.await?.map(Some)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.object.state().feeds.detach(&self.queue);
    }
}

impl Copying {
    /// Reads what there is and fills the frame with it. Blocks.
    fn run(mut self) -> io::Result<Copied> {
        let whole = span_of(&self.extents);
        let data = match &self.file {
            Some(file) => file.next_data(whole.offset())?,
            None => None,
        };
        if data.is_none_or(|data| data >= whole.end()) {
            let until = data.map_or(u64::MAX, |data| data / EXTENT_BYTES);
            self.queue.note_hole(until);
            self.finish(FrameChange::Hole(whole));
            return Ok(Copied { span: whole, data_bytes: 0, mark: self.mark, held: false });
        }
        // It was not all hole after all: what is beyond the first extent has its turn later.
        let first = self.extents.start..self.extents.start + 1;
        self.queue.put_back(first.end..self.extents.end);
        self.queue.note_hole(0);
        self.extents = first;
        let span = span_of(&self.extents);
        let mut runs = Vec::new();
        let mut bytes = BytesMut::with_capacity(span.len() as usize);
        if let Some(file) = &self.file {
            read_runs(&**file, span, &mut runs, &mut bytes)?;
        }
        let (data_bytes, mark) = (bytes.len() as u64, self.mark);
        let extent = self.extents.start;
        let held = self.queue.take_held(extent);
        let held = held.is_some_and(|held| held == ExtentHash::of(extent, &runs, &bytes));
        self.finish(match held {
            true => FrameChange::Nothing,
            false => FrameChange::Copy { span, runs, bytes: bytes.freeze() },
        });
        Ok(Copied { span, data_bytes, mark, held })
    }

    /// The place is left only after the frame is filled, and the frame before any later change of
    /// these bytes begins.
    fn finish(&mut self, change: FrameChange) {
        self.queue.fill(self.mark, change);
        self.extents = 0..0;
        if let Some(running) = self.running.take() {
            running.finish(|core, ticket| core.finish_read(ticket));
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.queue.put_back(self.extents.clone());
            self.queue.fill(self.mark, FrameChange::Nothing);
        }
    }
}

pub(super) fn read_runs(
    file: &dyn BackingFile,
    span: Span,
    runs: &mut Vec<Span>,
    bytes: &mut BytesMut,
) -> io::Result<()> {
    let mut at = span.offset();
    while let ControlFlow::Continue(run) = next_run(file, span, at, runs.len())? {
        let mut rest = run;
        while !rest.is_empty() {
            let count = file.read(rest, bytes, Wait::AsNeeded)? as u64;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = Span::new(rest.offset() + count, rest.len() - count)
                .expect("no more is read than was asked for");
        }
        runs.push(run);
        at = run.end();
    }
    Ok(())
}

/// The first run of data of `span` at `at` or after it.
fn next_run(
    file: &dyn BackingFile,
    span: Span,
    at: u64,
    found: usize,
) -> io::Result<ControlFlow<(), Span>> {
    if at >= span.end() {
        return Ok(ControlFlow::Break(()));
    }
    let Some(start) = file.next_data(at)?.filter(|start| *start < span.end()) else {
        return Ok(ControlFlow::Break(()));
    };
    let mut end = file.next_hole(start)?;
    if found + 1 >= RUNS_PER_COPY_MAX {
        // The last one that may be told apart: holes after it are sent as zeros.
        end = file.facts()?.size;
    }
    let end = end.min(span.end());
    let run = end.checked_sub(start).and_then(|len| Span::new(start, len));
    let run = run.filter(|run| !run.is_empty());
    Ok(run.map_or(ControlFlow::Break(()), ControlFlow::Continue))
}

/// The most runs of data that one copy tells apart: an extent of pages of 4 KiB, every other one a
/// hole, has 128.
pub const RUNS_PER_COPY_MAX: usize = 128;
