//! What the tests of several modules share.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use model::{Clock, Entropy, GroupId, Index, Term, Timestamp};
use raft::eraftpb::Entry;

/// Numbers that depend on the seed alone (splitmix64).
pub(crate) struct Seeded(AtomicU64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to but without `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A clock that stands still.
pub(crate) struct Still;

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

pub(crate) fn group(number: u64) -> GroupId {
    GroupId::new(number)
}

pub(crate) fn index(number: u64) -> Index {
    Index::new(number)
}

pub(crate) fn term(number: u64) -> Term {
    Term::new(number)
}

pub(crate) fn entry(at: u64, in_term: u64, data: &str) -> Entry {
    let data = data.as_bytes().to_vec().into();
    Entry { index: at, term: in_term, data, ..Entry::default() }
}
