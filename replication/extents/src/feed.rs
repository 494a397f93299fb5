//! The ordered stream of one object's changes to another appliance, as its owner keeps it: a queue
//! of frames, and the set of extents that are still to be copied.
//!
//! Invariants: frames leave strictly in the order of their marks. Applying all that leave, once no
//! extent is left to copy, makes any object that began with the size of the feed's base equal to
//! this one. An extent that the receiver holds already need not be copied, unless a change of it
//! was left out: all changes done once more in their order do no harm. The queue never holds more
//! than its limit: over it a write's payload is left out and its extents are copied later, so a
//! slow receiver costs neither memory nor the clients' time.
//! Absent on purpose: where frames go, and when to copy. Locks: an object's before a feed's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use model::{EXTENT_BYTES, FILE_BYTES_MAX, Mark, Refusal, RequestKey, Span, Stamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    core::CopyFault,
    extent_set::{ExtentSet, Extents, extents_of},
    hash::ExtentHash,
};

/// One change of an object's bytes, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name: greater than that of any frame before.
    pub mark: Mark,
    /// What the object is shown with after it.
    pub stamp: Option<Stamp>,
    /// The client's call that made it: whoever has the change knows the call for done.
    pub key: Option<RequestKey>,
    /// Whether somebody waits until it is durable.
    pub secure: bool,
    /// What it does to the bytes.
    pub change: FrameChange,
}

/// What a frame does to the bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameChange {
    /// Nothing: the change failed. Its mark and times stay given.
    Nothing,
    /// A write.
    Write {
        /// Where.
        offset: u64,
        /// The client's payload itself, as much of it as was written.
        bytes: Bytes,
    },
    /// A write whose bytes come with a later copy.
    Later {
        /// The object is at least this long.
        end: u64,
    },
    /// The object has this many bytes.
    SetSize(u64),
    /// All of `span` is as follows: `runs` of data, with `bytes` one after the other, and holes.
    Copy {
        /// One extent.
        span: Span,
        /// Within `span`, in order, apart from each other.
        runs: Vec<Span>,
        /// As many as all runs together.
        bytes: Bytes,
    },
    /// All of this is hole.
    Hole(Span),
}

/// Why a feed gives no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// The owner's copy is broken.
    Fault(CopyFault),
    /// The object is gone, or somebody else's bytes are being received into it.
    Stale,
}

/// What a feed still has to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Frames, those of changes under way among them.
    pub frames: usize,
    /// What they hold, in bytes of memory.
    pub queued_bytes: u64,
    /// Extents to copy, not counting those being copied.
    pub to_copy: u64,
    /// The number of the one that is copied next.
    pub next: Option<u64>,
}

/// Everybody who is told of one object's changes.
#[derive(Default)]
pub(crate) struct Feeds(Vec<Arc<FeedQueue>>);

/// One feed's queue.
pub(crate) struct FeedQueue {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: u64,
}

/// A change of which nobody knows what it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) mark: Mark,
    /// Where it would have written, unless it is a change of size.
    pub(crate) written: Option<Span>,
}

#[derive(Default)]
struct Queue {
    slots: VecDeque<Slot>,
    queued_bytes: u64,
    to_copy: ExtentSet,
    /// Of these a change was left out: what the receiver held before says nothing.
    left_out: ExtentSet,
    /// What the receiver holds of extents that are still to be copied.
    held: BTreeMap<u64, ExtentHash>,
    /// Where copying goes on.
    cursor: u64,
    /// Up to here was hole when it was last looked at.
    hole_until: u64,
    end: Option<FeedEnd>,
}

struct Slot {
    mark: Mark,
    stamp: Option<Stamp>,
    key: Option<RequestKey>,
    secure: bool,
    /// None while the change is under way.
    change: Option<FrameChange>,
}

impl FrameChange {
    /// The object's size after it, from that before.
    pub(crate) fn size_after(&self, size: u64) -> u64 {
        match self {
            Self::Nothing | Self::Hole(_) => size,
            Self::Write { offset, bytes } => size.max(offset.saturating_add(bytes.len() as u64)),
            Self::Later { end } => size.max(*end),
            Self::SetSize(size) => *size,
            Self::Copy { runs, .. } => runs.last().map_or(size, |run| size.max(run.end())),
        }
    }

    /// Bytes of payload.
    pub fn payload_len(&self) -> u64 {
        match self {
            Self::Nothing | Self::Later { .. } | Self::SetSize(_) | Self::Hole(_) => 0,
            Self::Write { bytes, .. } | Self::Copy { bytes, .. } => bytes.len() as u64,
        }
    }

    fn takes_room(&self) -> u64 {
        SLOT_BYTES + self.payload_len()
    }

    fn is_small(&self) -> bool {
        matches!(self, Self::Nothing | Self::Later { .. } | Self::SetSize(_))
    }
}

impl Feeds {
    /// One more. `Busy` if there are as many as may be.
    pub(crate) fn attach(&mut self, feed: Arc<FeedQueue>) -> Result<(), Refusal> {
        if self.0.len() >= FEEDS_PER_OBJECT_MAX {
            return Err(Refusal::Busy);
        }
        self.0.push(feed);
        Ok(())
    }

    pub(crate) fn detach(&mut self, feed: &Arc<FeedQueue>) {
        self.0.retain(|other| !Arc::ptr_eq(other, feed));
        if self.0.is_empty() {
            // Objects without feeds are many.
            self.0.shrink_to_fit();
        }
    }

    /// A change has got its mark.
    pub(crate) fn enter(&self, stamp: Stamp, key: Option<RequestKey>, secure: bool) {
        for feed in &self.0 {
            feed.enter_wanted(stamp.mark, Some(stamp), key, secure);
        }
    }

    /// The change of this mark is done.
    pub(crate) fn fill(&self, mark: Mark, made: impl FnOnce() -> FrameChange) {
        if self.0.is_empty() {
            return;
        }
        let change = made();
        for feed in &self.0 {
            feed.fill(mark, change.clone());
        }
    }

    /// Nobody knows what became of a change.
    pub(crate) fn lose(&self, lost: Lost) {
        for feed in &self.0 {
            if let Some(written) = lost.written {
                feed.queue.lock().leave_out_all(extents_of(written));
            }
            feed.fill(lost.mark, FrameChange::Nothing);
        }
    }

    /// All feeds end.
    pub(crate) fn end(&mut self, end: FeedEnd) {
        for feed in self.0.drain(..) {
            feed.queue.lock().end.get_or_insert(end);
            feed.changed.notify_one();
        }
    }
}

impl FeedQueue {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { queue: Mutex::default(), changed: Notify::new(), limit_bytes }
    }

    /// Keeps the next place, for a change that has just begun.
    pub(crate) fn enter(&self, mark: Mark, stamp: Option<Stamp>) {
        self.enter_wanted(mark, stamp, None, false);
    }

    fn enter_wanted(
        &self,
        mark: Mark,
        stamp: Option<Stamp>,
        key: Option<RequestKey>,
        secure: bool,
    ) {
        let mut queue = self.queue.lock();
        debug_assert!(queue.slots.back().is_none_or(|last| last.mark < mark));
        queue.slots.push_back(Slot { mark, stamp, key, secure, change: None });
    }

    /// Says what the change of that place did.
    pub(crate) fn fill(&self, mark: Mark, change: FrameChange) {
        let mut queue = self.queue.lock();
        let Ok(place) = queue.slots.binary_search_by_key(&mark, |slot| slot.mark) else {
            return;
        };
        let room = self.limit_bytes.saturating_sub(queue.queued_bytes);
        let fits = change.takes_room() <= room && change.payload_len() <= FRAME_BYTES_MAX;
        let change = if fits { change } else { queue.leave_out(change) };
        queue.queued_bytes += change.takes_room();
        queue.slots[place].change = Some(change);
        let crowded = queue.queued_bytes > self.limit_bytes / 2;
        queue.merge_around(place, crowded.then_some(Crowded));
        drop(queue);
        self.changed.notify_one();
    }

    /// The next frame, in order. Cancel-safe; for one caller at a time.
    pub(crate) async fn next(&self) -> Result<Frame, FeedEnd> {
        loop {
            if let Some(next) = self.pop() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    pub(crate) fn pop(&self) -> Option<Result<Frame, FeedEnd>> {
        let mut queue = self.queue.lock();
        if let Some(end) = queue.end {
            return Some(Err(end));
        }
        queue.slots.front()?.change.as_ref()?;
        let slot = queue.slots.pop_front()?;
        let change = slot.change?;
        queue.queued_bytes -= change.takes_room();
        let Slot { mark, stamp, key, secure, .. } = slot;
        Some(Ok(Frame { mark, stamp, key, secure, change }))
    }

    pub(crate) fn end(&self) -> Option<FeedEnd> {
        self.queue.lock().end
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let queue = self.queue.lock();
        Backlog {
            frames: queue.slots.len(),
            queued_bytes: queue.queued_bytes,
            to_copy: queue.to_copy.count(),
            next: queue.to_copy.first_from(queue.cursor),
        }
    }

    /// Learns what the receiver holds of the extents from `first` on: the same there needs no copy.
    pub(crate) fn learn(&self, first: u64, held: impl Iterator<Item = Option<ExtentHash>>) {
        let mut queue = self.queue.lock();
        let held = (first..).zip(held).filter_map(|(extent, hash)| Some((extent, hash?)));
        queue.held.extend(held);
        while queue.held.len() > HELD_MAX {
            queue.held.pop_last();
        }
    }

    /// What the receiver holds of an extent that is being copied, if that is known.
    pub(crate) fn take_held(&self, extent: u64) -> Option<ExtentHash> {
        let mut queue = self.queue.lock();
        // Those long before it were holes, or cut off; others are being copied beside it.
        queue.held = queue.held.split_off(&extent.saturating_sub(BESIDE_MAX));
        let held = queue.held.remove(&extent);
        held.filter(|_| !queue.left_out.contains(extent))
    }

    /// These are to be copied, once more if they were before.
    pub(crate) fn put_back(&self, extents: Extents) {
        self.queue.lock().to_copy.insert(extents);
    }

    /// The extents to copy next, of an object of `size` bytes: one, or a long run of them that was
    /// hole when it was last looked at.
    pub(crate) fn take_extents(&self, size: u64) -> Option<Extents> {
        let mut queue = self.queue.lock();
        // What is beyond the end was cut off by a frame, at the receiver too.
        queue.to_copy.cut(size.div_ceil(EXTENT_BYTES));
        let cursor = queue.cursor;
        let hole = queue.hole_until.saturating_sub(cursor);
        let taken = queue.to_copy.take_from(cursor, hole.max(1))?;
        let taken = match taken.start >= cursor {
            true => taken,
            // Begun anew at the front: nothing is known of holes there.
            false => {
                let rest = taken.start + 1..taken.end;
                queue.to_copy.insert(rest);
                taken.start..taken.start + 1
            }
        };
        queue.cursor = taken.end;
        Some(taken)
    }

    /// From `extents` on there is no data before the extent of this number.
    pub(crate) fn note_hole(&self, until: u64) {
        self.queue.lock().hole_until = until;
    }
}

/// Permission to copy more than need be, so that the queue gets shorter.
#[derive(Clone, Copy)]
struct Crowded;

impl Queue {
    /// What goes into the queue for a change that finds no room in it.
    fn leave_out(&mut self, change: FrameChange) -> FrameChange {
        match change {
            FrameChange::Write { offset, bytes } => {
                let end = offset.saturating_add(bytes.len() as u64).min(FILE_BYTES_MAX);
                self.leave_out_all(offset / EXTENT_BYTES..end.div_ceil(EXTENT_BYTES));
                FrameChange::Later { end }
            }
            FrameChange::Copy { span, .. } | FrameChange::Hole(span) => {
                self.leave_out_all(extents_of(span));
                FrameChange::Nothing
            }
            FrameChange::Nothing | FrameChange::Later { .. } | FrameChange::SetSize(_) => change,
        }
    }

    /// Of these the receiver is not told everything: they are copied, whatever it holds.
    fn leave_out_all(&mut self, extents: Extents) {
        self.to_copy.insert(extents.clone());
        self.left_out.insert(extents);
    }

    /// Makes one of small neighbours, so that a receiver that is away for hours costs no memory.
    fn merge_around(&mut self, place: usize, crowded: Option<Crowded>) {
        let after = self.merge_into_next(place, crowded);
        if !after && place > 0 {
            self.merge_into_next(place - 1, crowded);
        } else if place > 0 {
            // What was at `place + 1` is at `place` now.
            self.merge_into_next(place - 1, crowded);
        }
    }

    fn merge_into_next(&mut self, place: usize, crowded: Option<Crowded>) -> bool {
        let small = |slot: Option<&Slot>| slot.and_then(|slot| slot.change.clone());
        let (first, second) = (small(self.slots.get(place)), small(self.slots.get(place + 1)));
        let (Some(first), Some(second)) = (first, second) else { return false };
        if !first.is_small() || !second.is_small() {
            return false;
        }
        let Some((both, again)) = both(&first, &second, crowded) else { return false };
        if let Some(again) = again {
            self.leave_out_all(again);
        }
        self.slots[place + 1].change = Some(both);
        self.slots.remove(place);
        self.queued_bytes -= SLOT_BYTES;
        true
    }
}

/// One change that does what two small ones do one after the other, if there is one, and what must
/// be copied for that to be true.
fn both(
    first: &FrameChange,
    second: &FrameChange,
    crowded: Option<Crowded>,
) -> Option<(FrameChange, Option<Extents>)> {
    use FrameChange::{Copy, Hole, Later, Nothing, SetSize, Write};
    let tail = |from: u64| Some(from / EXTENT_BYTES..FILE_BYTES_MAX.div_ceil(EXTENT_BYTES));
    match (first, second) {
        (Nothing, other) | (other, Nothing) => Some((other.clone(), None)),
        (Later { end: a }, Later { end: b }) => Some((Later { end: *a.max(b) }, None)),
        // Whatever was written beyond is cut off again.
        (Later { .. }, SetSize(size)) => Some((SetSize(*size), None)),
        (SetSize(size), Later { end }) if end <= size => Some((SetSize(*size), None)),
        (SetSize(a), SetSize(b)) if a >= b => Some((SetSize(*b), None)),
        // From `size` on there are zeros now, where the merged change leaves what was there.
        (SetSize(size), Later { end: to } | SetSize(to)) if crowded.is_some() => {
            Some((SetSize(*to), tail(*size)))
        }
        (SetSize(_), Later { .. } | SetSize(_)) => None,
        (Write { .. } | Copy { .. } | Hole(_), _) | (_, Write { .. } | Copy { .. } | Hole(_)) => {
            None
        }
    }
}

/// The longest payload of a frame; more than any door lets one write have. A longer write's bytes
/// are copied, extent by extent.
pub const FRAME_BYTES_MAX: u64 = 4 << 20;

/// More receivers of one object than a fleet has replicas.
const FEEDS_PER_OBJECT_MAX: usize = 8;

/// More extents than are ever copied at a time.
const BESIDE_MAX: u64 = 64;

/// Extents of which it is known what the receiver holds: more than are ever asked for ahead.
const HELD_MAX: usize = 4096;

/// What a place in the queue takes, payload aside; with its allocation it is less.
const SLOT_BYTES: u64 = 256;

#[cfg(test)]
mod tests;
