//! The part of a core that the ordered stream of its changes needs: where a stream starts, copies
//! on the owner's side, and frames on the receiver's.
//!
//! Invariant: a copy changes neither times nor size; a frame gives exactly the mark, times and size
//! that it had where it was made, so that a received object is like one written here.

use model::{DataFacts, Mark, Refusal, Reign, Span, Stamp};

use super::{Core, Marks, Ticket, Work};
use crate::feed::Frame;

/// What an object is between two changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The last change.
    pub mark: Mark,
    /// Mark and times that it is shown with; `None` if nobody ever changed it.
    pub stamp: Option<Stamp>,
    /// In bytes.
    pub size: u64,
}

/// What became of a batch of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchEnd {
    /// All of it is done.
    Done,
    /// It stopped, and this is the size the file has now.
    Stopped(u64),
}

impl Core {
    /// The object with all changes that are done, and none that is under way: a stream that begins
    /// here carries those.
    pub(crate) fn base(&self) -> Base {
        let first = self.spans.changes().next();
        let mark = first.map_or(self.given, |entry| entry.marks.previous);
        Base { mark, stamp: self.stamp, size: self.size_done }
    }

    /// Marks of the changes under way, in order.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = Mark> {
        self.spans.changes().map(|entry| entry.marks.own)
    }

    /// Whether no change is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.spans.changes().next().is_none()
    }

    /// Gives a copy of `span` a mark and a place, behind all changes of those bytes so far and
    /// before all later ones.
    pub(crate) fn begin_copy(
        &mut self,
        span: Span,
        reign: Reign,
    ) -> Result<(Ticket, Mark), Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        self.admit_span()?;
        let previous = self.given;
        // The name of a copy orders it among changes; who may change the bytes is none of its
        // business.
        let own = self.give_mark(reign.max(previous.reign))?;
        let marks = Marks { previous, own };
        Ok((self.spans.enter(span, Work::Read, marks), own))
    }

    /// Forgets what the object was: from now on it is `base`, as soon as the place has been left.
    /// A fault goes with the file that had it.
    pub(crate) fn begin_reception(&mut self, base: Base) -> Result<Ticket, Refusal> {
        if base.mark.reign < self.given.reign {
            return Err(Refusal::Fenced);
        }
        self.fault = None;
        self.durable = Mark::default();
        self.promised = Mark::default();
        self.doubt();
        self.becoming = None;
        self.flagged = None;
        self.given = base.mark;
        self.stamp = base.stamp;
        Ok(self.enter_whole(base.size, Mark::default()))
    }

    /// Takes mark, times and size from `frames`, which are executed in this one place.
    pub(crate) fn begin_frames(&mut self, frames: &[Frame]) -> Result<Ticket, Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        let (previous, mut last, mut size) = (self.given, self.given, self.size);
        for frame in frames {
            if frame.mark.reign < last.reign {
                return Err(Refusal::Fenced);
            }
            if frame.mark <= last {
                return Err(Refusal::Invalid);
            }
            last = frame.mark;
            size = frame.change.size_after(size);
        }
        self.admit_span()?;
        self.note_frames(frames);
        self.given = last;
        self.stamp = frames.iter().fold(self.stamp, |stamp, frame| stamp.max_by_mark(frame.stamp));
        Ok(self.enter_whole(size, previous))
    }

    /// The frames of one place are over.
    pub(crate) fn finish_frames(&mut self, ticket: Ticket, end: BatchEnd) {
        let entry = self.spans.leave(ticket);
        match (entry.work, end) {
            (Work::SetSize(size), BatchEnd::Done) | (_, BatchEnd::Stopped(size)) => {
                self.size_done = size;
            }
            (Work::Read | Work::Write { .. }, BatchEnd::Done) => {}
        }
        self.change_done();
    }

    /// Takes over what no frame said. `Invalid` if the object is not what `end` says it is.
    pub(crate) fn finish_reception(&mut self, end: Base) -> Result<DataFacts, Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        let behind = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.mark) < self.mark_shown();
        if end.size != self.size || end.mark < self.given || behind(end.stamp) {
            return Err(Refusal::Invalid);
        }
        self.given = end.mark;
        self.stamp = end.stamp;
        self.in_doubt = false;
        self.touched.forget();
        // The record must say so, whatever was synced before.
        self.done.0 += 1;
        Ok(self.facts())
    }

    fn mark_shown(&self) -> Option<Mark> {
        self.stamp.map(|stamp| stamp.mark)
    }

    pub(super) fn enter_whole(&mut self, size: u64, previous: Mark) -> Ticket {
        self.size = size;
        let marks = Marks { previous, own: self.given };
        self.spans.enter(Span::from_offset(0), Work::SetSize(size), marks)
    }
}

/// The newer of two stamps.
trait MaxByMark {
    fn max_by_mark(self, other: Self) -> Self;
}

impl MaxByMark for Option<Stamp> {
    fn max_by_mark(self, other: Self) -> Self {
        let mark = |stamp: Self| stamp.map(|stamp| (stamp.mark, stamp.ctime));
        if mark(other) >= mark(self) { other } else { self }
    }
}
