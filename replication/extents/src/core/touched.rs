//! Which extents may differ from other copies' since all of them were last known to be equal.
//!
//! Invariant: it may name too many, never too few; over its limit it knows nothing.

use std::collections::BTreeMap;

use model::{EXTENT_BYTES, Mark, Span};

/// The extents that were changed, each with the last change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched(Option<BTreeMap<u64, Mark>>);

impl Default for Touched {
    fn default() -> Self {
        Self(Some(BTreeMap::new()))
    }
}

impl Touched {
    /// Their numbers, counted in units of [`EXTENT_BYTES`]; `None` if any may have been.
    pub fn extents(&self) -> Option<Vec<u64>> {
        self.0.as_ref().map(|extents| extents.keys().copied().collect())
    }

    /// A change of these bytes.
    pub(super) fn note(&mut self, span: Span, mark: Mark) {
        let Some(extents) = &mut self.0 else { return };
        let numbers = span.offset() / EXTENT_BYTES..span.end().div_ceil(EXTENT_BYTES);
        if numbers.end.saturating_sub(numbers.start) > TOUCHED_MAX {
            return self.lose();
        }
        extents.extend(numbers.map(|number| (number, mark)));
        if extents.len() as u64 > TOUCHED_MAX {
            self.lose();
        }
    }

    /// Any may have been changed.
    pub(super) fn lose(&mut self) {
        self.0 = None;
    }

    /// All copies are equal up to `mark`.
    pub(super) fn settle(&mut self, mark: Mark) {
        if let Some(extents) = &mut self.0 {
            extents.retain(|_, last| *last > mark);
        }
    }

    /// All copies are equal.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Some 50 bytes each: 4 GiB of a file that are written between two commits.
const TOUCHED_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use model::{Reign, Sequence};

    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
    }

    #[test]
    fn what_was_changed_is_named_until_all_copies_have_it() {
        let mut touched = Touched::default();
        touched.note(Span::new(EXTENT_BYTES - 1, 2).unwrap(), mark(1));
        touched.note(Span::new(EXTENT_BYTES, 1).unwrap(), mark(2));
        assert_eq!(touched.extents(), Some(vec![0, 1]));
        touched.settle(mark(1));
        assert_eq!(touched.extents(), Some(vec![1]));
        touched.settle(mark(2));
        assert_eq!(touched.extents(), Some(vec![]));
    }

    #[test]
    fn too_many_are_any() {
        let mut touched = Touched::default();
        touched.note(Span::from_offset(0), mark(1));
        assert_eq!(touched.extents(), None);
        touched.settle(mark(9));
        assert_eq!(touched.extents(), None, "nobody knows what was before");
        touched.forget();
        for number in 0..=TOUCHED_MAX {
            touched.note(Span::new(number * EXTENT_BYTES, 1).unwrap(), mark(number));
        }
        assert_eq!(touched.extents(), None);
    }
}
