//! What is asked of a receiver that has an older copy: what it holds of the extents that come next.
//!
//! Invariant: of no extent it is asked twice, and of none far ahead of the copies. What is not
//! answered before a channel breaks is not waited for: it is copied.
//! Absent on purpose: the answers' meaning; the feed compares.

use std::ops::Range;

use extents::COMPARED_AT_ONCE_MAX;

/// The questions of one transfer.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Extents of the older copy.
    older: u64,
    /// It was asked about those before this one.
    asked: u64,
    /// It has not answered about these.
    open: Vec<Range<u64>>,
}

impl Questions {
    /// About an older copy of so many extents.
    pub(super) fn begin(older: u64) -> Self {
        Self { older, ..Self::default() }
    }

    /// No answer comes to those that are open.
    pub(super) fn lost(&mut self) {
        self.open.clear();
    }

    /// One was answered; false if it was not asked. They are looked at side by side, so any of them
    /// may be answered first.
    pub(super) fn answered(&mut self, extents: &Range<u64>) -> bool {
        let place = self.open.iter().position(|open| open == extents);
        place.map(|place| self.open.swap_remove(place)).is_some()
    }

    /// What to ask now, a little ahead of the extent that is copied next.
    pub(super) fn next(&mut self, next: u64) -> Option<Range<u64>> {
        // What was passed over is hole.
        self.asked = self.asked.max(next);
        let ahead = next.saturating_add(ASKED_AHEAD_MAX).min(self.older);
        if self.asked >= ahead || self.open.len() >= OPEN_MAX {
            return None;
        }
        let asked = self.asked..ahead.min(self.asked + COMPARED_AT_ONCE_MAX);
        self.asked = asked.end;
        self.open.push(asked.clone());
        Some(asked)
    }

    /// Whether it may soon be known that one of `coming` need not be sent.
    pub(super) fn are_open(&self, coming: &Range<u64>) -> bool {
        let unasked = coming.end > self.asked && coming.end <= self.older;
        let overlaps = |open: &Range<u64>| open.start < coming.end && coming.start < open.end;
        unasked || self.open.iter().any(overlaps)
    }
}

/// Extents of which it is asked before they are copied, and questions on their way.
const ASKED_AHEAD_MAX: u64 = 4 * COMPARED_AT_ONCE_MAX;
const OPEN_MAX: usize = 2;
