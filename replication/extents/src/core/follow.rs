//! The part of a core that copies which follow one another need: the name of what is here, changes
//! that come from the owner, and being made equal.
//!
//! Invariant: a copy that says it is at a mark holds exactly what its owner held after the change
//! of that mark.

use model::{Mark, Refusal, Reign, Span, Stamp, Timestamp};

use super::{Core, Ticket, Touched, between};
use crate::feed::{Frame, FrameChange};
use crate::follow::CopyState;

impl Core {
    /// What is here, with all changes that were begun.
    pub(crate) fn state(&self) -> CopyState {
        match self.in_doubt {
            true => CopyState::InDoubt,
            false => CopyState::At(self.stamp.map(|stamp| stamp.mark).unwrap_or_default()),
        }
    }

    /// Which extents may differ from other copies'.
    pub(crate) fn touched(&self) -> &Touched {
        &self.touched
    }

    /// From here on copies follow one another: its record says more.
    pub(crate) fn share(&mut self) {
        self.shared = true;
    }

    /// All copies hold the same up to `mark`.
    pub(crate) fn settled(&mut self, mark: Mark) {
        self.settled = self.settled.max(mark);
        match self.state() == CopyState::At(mark) {
            true => self.touched.forget(),
            false => self.touched.settle(mark),
        }
    }

    /// Up to where every good copy is known to hold the same.
    pub(crate) fn settled_to(&self) -> Mark {
        self.settled
    }

    /// Gives what is here a name of its own: what follows upon it follows upon these very bytes.
    pub(crate) fn name_anew(&mut self, reign: Reign, now: Timestamp) -> Result<Stamp, Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        let mark = self.give_mark(reign)?;
        let times = self.stamp.unwrap_or(Stamp { mark, mtime: now, ctime: now });
        let stamp = Stamp { mark, ..times };
        self.stamp = Some(stamp);
        self.in_doubt = false;
        // The record must say so.
        self.flagged = None;
        self.done.0 += 1;
        Ok(stamp)
    }

    /// Begins with a piece of its owner's copy, which has this name and size.
    ///
    /// A piece that comes late must not be mixed with those of a newer copy, nor be taken for the
    /// last one where the first ones may be lost.
    pub(crate) fn begin_equal(
        &mut self,
        mark: Mark,
        size: u64,
        first: bool,
    ) -> Result<Ticket, Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        let is_old = mark.reign < self.given.reign || mark < self.given && !self.in_doubt;
        let fits = match first {
            true => self.becoming.is_none_or(|becoming| becoming <= mark),
            false => self.becoming == Some(mark),
        };
        if is_old || !fits {
            return Err(Refusal::Fenced);
        }
        self.admit_span()?;
        let previous = self.given;
        self.given = self.given.max(mark);
        (self.in_doubt, self.becoming) = (true, Some(mark));
        self.shared = true;
        Ok(self.enter_whole(size, previous))
    }

    /// All of it has come.
    pub(crate) fn finish_equal(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
        // After an unclean stop it was a guess, far beyond what its owner had given out: changes
        // that follow upon this one are new.
        self.given = stamp.mark;
        self.durable = self.durable.min(stamp.mark);
        self.promised = self.promised.min(stamp.mark);
        (self.in_doubt, self.becoming) = (false, None);
        self.flagged = None;
        self.done.0 += 1;
        self.touched.forget();
    }

    /// Notes where the owner's changes fall.
    pub(super) fn note_frames(&mut self, frames: &[Frame]) {
        let mut size = self.size;
        for frame in frames {
            let span = match &frame.change {
                FrameChange::Write { offset, bytes } => Span::new(*offset, bytes.len() as u64),
                FrameChange::SetSize(to) => Some(between(*to, size)),
                FrameChange::Copy { span, .. } | FrameChange::Hole(span) => Some(*span),
                FrameChange::Later { end } => Some(between(*end, size)),
                FrameChange::Nothing => None,
            };
            size = frame.change.size_after(size);
            if let Some(span) = span {
                self.touched.note(span, frame.mark);
            }
        }
    }
}
