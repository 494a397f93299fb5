//! The hash of one extent's bytes: two copies that have the same one hold the same there.
//!
//! Invariant: holes count as zeros, and so does what is beyond the end of the file, so that neither
//! the layout on a disk nor a size that is told otherwise makes a difference.
//! Absent on purpose: IO, and what follows from a difference.

use model::Span;

use crate::extent_set::span_of;

/// BLAKE3 of an extent's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtentHash(pub [u8; EXTENT_HASH_BYTES]);

/// Length of an [`ExtentHash`].
pub const EXTENT_HASH_BYTES: usize = 32;

impl ExtentHash {
    /// Of the extent of this number, whose `runs` of data hold `bytes` one after the other.
    pub(crate) fn of(extent: u64, runs: &[Span], mut bytes: &[u8]) -> Self {
        let whole = span_of(&(extent..extent + 1));
        let mut hasher = blake3::Hasher::new();
        let mut at = whole.offset();
        for run in runs {
            put_zeros(&mut hasher, run.offset().saturating_sub(at));
            let len = usize::try_from(run.len()).unwrap_or(usize::MAX).min(bytes.len());
            let (data, rest) = bytes.split_at(len);
            hasher.update(data);
            bytes = rest;
            at = run.end();
        }
        put_zeros(&mut hasher, whole.end().saturating_sub(at));
        Self(*hasher.finalize().as_bytes())
    }
}

fn put_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while count > 0 {
        let some = count.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..some as usize]);
        count -= some;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: u64, len: u64) -> Span {
        Span::new(offset, len).unwrap()
    }

    #[test]
    fn a_hole_counts_as_the_zeros_that_it_reads_as() {
        let zeros = [&[1; 100][..], &[0; 200], &[2; 50]].concat();
        let written = ExtentHash::of(0, &[span(0, 350)], &zeros);
        let sparse = [&[1; 100][..], &[2; 50]].concat();
        assert_eq!(ExtentHash::of(0, &[span(0, 100), span(300, 50)], &sparse), written);
        assert_ne!(ExtentHash::of(0, &[span(0, 100), span(301, 50)], &sparse), written);
    }

    #[test]
    fn it_is_that_of_the_whole_extent_wherever_it_is() {
        let mut whole = vec![7; 3];
        whole.resize(1 << 20, 0);
        let plain = ExtentHash(*blake3::hash(&whole).as_bytes());
        assert_eq!(ExtentHash::of(0, &[span(0, 3)], &[7; 3]), plain);
        assert_eq!(ExtentHash::of(5, &[span(5 << 20, 3)], &[7; 3]), plain);
    }
}
