//! The hash of one extent's bytes: two copies that have the same one hold the same there.
//!
//! Invariant: holes count as zeros, and zeros at the end as nothing, so that neither the layout on
//! a disk nor a size, which is told otherwise, makes a difference.
//! Absent on purpose: IO, and what follows from a difference.

use model::{EXTENT_BYTES, Span};

/// BLAKE3 of an extent's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtentHash(pub [u8; EXTENT_HASH_BYTES]);

/// Length of an [`ExtentHash`].
pub const EXTENT_HASH_BYTES: usize = 32;

impl ExtentHash {
    /// Of the extent of this number, whose `runs` of data hold `bytes` one after the other.
    pub(crate) fn of(extent: u64, runs: &[Span], bytes: &[u8]) -> Self {
        let last = bytes.iter().rposition(|byte| *byte != 0);
        let mut bytes = &bytes[..last.map_or(0, |last| last + 1)];
        let mut hasher = blake3::Hasher::new();
        let mut at = extent.saturating_mul(EXTENT_BYTES);
        for run in runs {
            if bytes.is_empty() {
                break;
            }
            put_zeros(&mut hasher, run.offset().saturating_sub(at));
            let len = usize::try_from(run.len()).unwrap_or(usize::MAX).min(bytes.len());
            let (data, rest) = bytes.split_at(len);
            hasher.update(data);
            bytes = rest;
            at = run.end();
        }
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
    fn zeros_at_the_end_are_nothing_wherever_it_is() {
        let plain = ExtentHash(*blake3::hash(&[7; 3]).as_bytes());
        assert_eq!(ExtentHash::of(0, &[span(0, 3)], &[7; 3]), plain);
        assert_eq!(ExtentHash::of(5, &[span(5 << 20, 5)], &[7, 7, 7, 0, 0]), plain);
        let zeros = [7, 7, 7, 0, 0];
        assert_eq!(ExtentHash::of(0, &[span(0, 3), span(8, 2)], &zeros), plain);
        assert_ne!(ExtentHash::of(0, &[span(1, 3)], &[7; 3]), plain);
        assert_eq!(ExtentHash::of(0, &[], &[]), ExtentHash::of(0, &[span(9, 1)], &[0]));
    }
}
