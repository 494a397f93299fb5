//! What the bytes of a disk say: whether they are all zeros where it matters, and what BTRFS wrote.
//!
//! Invariant: a disk that can't be read is not empty. Absent on purpose: writing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    offset: u64,
    len: usize,
}

/// Where the first byte is that is not zero, of all that are looked at: the beginning, the end, and
/// samples all over.
///
/// # Errors
/// A place that can't be read.
pub fn first_byte(disk: &File, size_bytes: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; EDGE_BYTES];
    for Span { offset, len } in spans(size_bytes) {
        let Some(part) = buffer.get_mut(..len) else { continue };
        disk.read_exact_at(part, offset)?;
        if let Some(at) = part.iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

/// What BTRFS says in its first superblock: how many devices there are, and the generation.
///
/// # Errors
/// It can't be read, or is none.
pub fn superblock(disk: &File) -> io::Result<(u64, u64)> {
    let mut block = [0; 4096];
    disk.read_exact_at(&mut block, SUPERBLOCK)?;
    let number = |at: usize| {
        let bytes = block.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let found = match (block.get(MAGIC_AT..MAGIC_AT + 8), number(DEVICES_AT), number(GENERATION_AT))
    {
        (Some(magic), Some(devices), Some(generation)) if magic == MAGIC && devices > 0 => {
            Some((devices, generation))
        }
        _ => None,
    };
    found.ok_or_else(|| io::Error::other("its BTRFS superblock can't be understood"))
}

/// The places to look at. Partition tables, superblocks and their copies are in the first and last
/// MiB; the samples find what has neither.
fn spans(size_bytes: u64) -> Vec<Span> {
    let edge = EDGE_BYTES as u64;
    if size_bytes <= 4 * edge {
        let starts = (0..size_bytes).step_by(EDGE_BYTES);
        let len = |offset: u64| usize::try_from((size_bytes - offset).min(edge)).unwrap_or(0);
        return starts.map(|offset| Span { offset, len: len(offset) }).collect();
    }
    let step = (size_bytes - 2 * edge) / SAMPLES;
    let sample = |index: u64| {
        // In the middle of its part, so that the last is not at the end's edge.
        let offset = (edge + index * step + step / 2) & !(SAMPLE_BYTES as u64 - 1);
        Span { offset, len: SAMPLE_BYTES }
    };
    let edges = [0, size_bytes - edge].map(|offset| Span { offset, len: EDGE_BYTES });
    edges.into_iter().chain((0..SAMPLES).map(sample)).collect()
}

const EDGE_BYTES: usize = 1 << 20;
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: usize = 4096;
/// BTRFS, "On-disk format": the superblock and what is where in it.
const SUPERBLOCK: u64 = 64 << 10;
const MAGIC_AT: usize = 0x40;
const MAGIC: &[u8] = b"_BHRfS_M";
const GENERATION_AT: usize = 0x48;
const DEVICES_AT: usize = 0x88;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(size_bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size_bytes).unwrap();
        file
    }

    #[test]
    fn zeros_are_empty_and_a_byte_at_either_end_or_in_a_sample_is_found() {
        let size = 700 * MIB + 512;
        assert_eq!(first_byte(&disk(size), size).unwrap(), None);
        let samples = spans(size);
        assert_eq!(samples.len(), 66);
        let middle = samples[40].offset + 4095;
        for at in [0, 511, 65_600, MIB - 1, size - MIB, size - 1, middle] {
            let disk = disk(size);
            disk.write_all_at(&[1], at).unwrap();
            assert_eq!(first_byte(&disk, size).unwrap(), Some(at));
        }
    }

    #[test]
    fn samples_are_spread_over_all_of_a_disk_and_stay_on_it() {
        for size in [5 * MIB, 700 * MIB + 512, 20_000_000_000_000] {
            let spans = spans(size);
            assert!(spans.iter().all(|span| span.offset + span.len as u64 <= size), "{size}");
            let mut offsets: Vec<u64> = spans[2..].iter().map(|span| span.offset).collect();
            offsets.dedup();
            assert_eq!(offsets.len(), 64);
            let widest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(widest <= size / 60, "{size}: {widest}");
        }
    }

    #[test]
    fn a_small_disk_is_read_as_a_whole() {
        for size in [1, 512, MIB, 2 * MIB + 512, 4 * MIB] {
            let disk = disk(size);
            assert_eq!(first_byte(&disk, size).unwrap(), None);
            disk.write_all_at(&[1], size - 1).unwrap();
            assert_eq!(first_byte(&disk, size).unwrap(), Some(size - 1));
        }
        assert_eq!(first_byte(&disk(0), 0).unwrap(), None);
    }

    #[test]
    fn a_disk_that_ends_early_is_a_fault_and_not_empty() {
        assert!(first_byte(&disk(5 * MIB), 6 * MIB).is_err());
    }

    #[test]
    fn a_superblock_says_how_many_disks_there_are() {
        let disk = disk(MIB);
        assert!(superblock(&disk).is_err());
        disk.write_all_at(MAGIC, SUPERBLOCK + 0x40).unwrap();
        assert!(superblock(&disk).is_err(), "of no device at all");
        disk.write_all_at(&2_u64.to_le_bytes(), SUPERBLOCK + 0x88).unwrap();
        disk.write_all_at(&77_u64.to_le_bytes(), SUPERBLOCK + 0x48).unwrap();
        assert_eq!(superblock(&disk).unwrap(), (2, 77));
        assert!(superblock(&tempfile::tempfile().unwrap()).is_err());
    }
}
