//! A set of extents, as runs of their numbers.
//!
//! Invariant: runs neither touch nor overlap, and there are at most [`RUNS_MAX`]; rather than
//! exceed that, the set takes in extents nobody asked for. So it may name too many, never too few.
//! Absent on purpose: any meaning of being in it.

use std::{collections::BTreeMap, ops::Range};

use model::{EXTENT_BYTES, FILE_BYTES_MAX, Span};

/// Numbers of extents: extent `n` begins at byte `n` MiB.
pub(crate) type Extents = Range<u64>;

#[derive(Debug, Default)]
pub(crate) struct ExtentSet {
    /// First number of each run, and the number after its last.
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl ExtentSet {
    /// How many extents are in it.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether this one is in it.
    pub(crate) fn contains(&self, extent: u64) -> bool {
        self.runs.range(..=extent).next_back().is_some_and(|(_, end)| *end > extent)
    }

    /// The one that [`Self::take_from`] would take first.
    pub(crate) fn first_from(&self, from: u64) -> Option<u64> {
        match self.contains(from) {
            true => Some(from),
            false => {
                self.runs.range(from..).next().or(self.runs.first_key_value()).map(|(n, _)| *n)
            }
        }
    }

    pub(crate) fn insert(&mut self, extents: Extents) {
        self.join(extents);
        while self.runs.len() > RUNS_MAX {
            let Some(gap) = self.narrowest_gap() else { return };
            self.join(gap);
        }
    }

    /// Takes out everything from `end` on.
    pub(crate) fn cut(&mut self, end: u64) {
        while let Some((&start, &stop)) = self.runs.last_key_value() {
            if stop <= end {
                return;
            }
            self.runs.pop_last();
            self.count -= stop - start;
            if start < end {
                self.runs.insert(start, end);
                self.count += end - start;
            }
        }
    }

    /// Takes out the first run of at most `most` extents at `from` or after it, or else the first
    /// of all.
    pub(crate) fn take_from(&mut self, from: u64, most: u64) -> Option<Extents> {
        let at = self.runs.range(..=from).next_back().filter(|(_, end)| **end > from);
        let (start, end, from) = match at.or_else(|| self.runs.range(from..).next()) {
            Some((&start, &end)) => (start, end, from.max(start)),
            None => {
                let (&start, &end) = self.runs.first_key_value()?;
                (start, end, start)
            }
        };
        let until = end.min(from.saturating_add(most));
        self.runs.remove(&start);
        self.count -= until - from;
        if start < from {
            self.runs.insert(start, from);
        }
        if until < end {
            self.runs.insert(until, end);
        }
        Some(from..until)
    }

    fn join(&mut self, extents: Extents) {
        let Range { mut start, mut end } = extents;
        if start >= end {
            return;
        }
        let near = self.runs.range(..=end).rev().take_while(|(_, stop)| **stop >= start);
        let near: Vec<(u64, u64)> = near.map(|(from, to)| (*from, *to)).collect();
        for (from, to) in near {
            self.runs.remove(&from);
            self.count -= to - from;
            start = start.min(from);
            end = end.max(to);
        }
        self.runs.insert(start, end);
        self.count += end - start;
    }

    fn narrowest_gap(&self) -> Option<Extents> {
        let starts = self.runs.keys().skip(1);
        let gaps = self.runs.values().zip(starts).map(|(end, start)| *end..*start);
        gaps.min_by_key(|gap| gap.end - gap.start)
    }
}

/// The extents that `span` touches.
pub(crate) fn extents_of(span: Span) -> Extents {
    span.offset() / EXTENT_BYTES..span.end().div_ceil(EXTENT_BYTES)
}

/// The bytes of `extents`.
pub(crate) fn span_of(extents: &Extents) -> Span {
    let offset = extents.start.saturating_mul(EXTENT_BYTES).min(FILE_BYTES_MAX);
    let end = extents.end.saturating_mul(EXTENT_BYTES).min(FILE_BYTES_MAX);
    Span::new(offset, end.saturating_sub(offset))
        .expect("it ends at the greatest size at the latest")
}

/// Runs kept: some 50 bytes each. Real writers leave a few dozen.
const RUNS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
