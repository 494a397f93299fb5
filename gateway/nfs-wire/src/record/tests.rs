use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 200 * 1024;

fn mark(bytes: usize, last: bool) -> [u8; MARK_BYTES] {
    let last = if last { LAST_FRAGMENT } else { 0 };
    (u32::try_from(bytes).unwrap() | last).to_be_bytes()
}

fn fragment(bytes: &[u8], last: bool) -> Vec<u8> {
    [&mark(bytes.len(), last)[..], bytes].concat()
}

fn record(bytes: &[u8]) -> Vec<u8> {
    fragment(bytes, true)
}

/// What one read of a socket does: takes as much of `stream` as there is room, at most `read`.
fn fill(reader: &mut RecordReader, stream: &mut &[u8], read: usize) -> usize {
    let mut spare = reader.spare();
    assert!(spare.has_remaining_mut(), "a read of no bytes would look like the end");
    let length = read.min(stream.len()).min(spare.remaining_mut());
    spare.put_slice(&stream[..length]);
    *stream = &stream[length..];
    length
}

fn drain(reader: &mut RecordReader) -> Vec<Bytes> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn read_all(reader: &mut RecordReader, mut stream: &[u8], reads: &[usize]) -> Vec<Bytes> {
    let mut reads = reads.iter().copied().cycle();
    let mut records = Vec::new();
    while !stream.is_empty() {
        fill(reader, &mut stream, reads.next().unwrap());
        records.extend(drain(reader));
    }
    records
}

fn numbers(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A reader that has just seen a large record.
fn bulk_reader() -> RecordReader {
    let mut reader = RecordReader::new(LIMIT);
    let large = numbers(LARGE_RECORD_BYTES + 1);
    assert_eq!(read_all(&mut reader, &record(&large), &[LIMIT]), [large]);
    reader
}

/// A reader that has just seen a small record.
fn small_reader() -> RecordReader {
    let mut reader = RecordReader::new(LIMIT);
    assert_eq!(read_all(&mut reader, &record(&[1; 8]), &[LIMIT]), [vec![1; 8]]);
    reader
}

#[test]
fn a_connection_that_has_sent_no_record_yet_has_little_memory() {
    let mut reader = RecordReader::new(LIMIT);
    assert_eq!(fill(&mut reader, &mut &record(&numbers(20_000))[..], 4), 4);
    assert_eq!(drain(&mut reader), [""; 0]);
    assert!(reader.inbox.capacity() <= SMALL_READ_BYTES_MIN);
}

#[test]
fn many_calls_arrive_in_one_read() {
    let calls: Vec<_> = (0..100).map(|at| numbers(at * 4)).collect();
    let stream: Vec<_> = calls.iter().flat_map(|call| record(call)).collect();
    let mut reader = small_reader();
    assert_eq!(fill(&mut reader, &mut &stream[..], usize::MAX), stream.len());
    assert_eq!(drain(&mut reader), calls);
    assert!(reader.is_between_records());
}

#[test]
fn a_small_record_is_a_slice_of_what_was_read() {
    let stream = [record(&[1; 40]), record(&[2; 40])].concat();
    let mut reader = RecordReader::new(LIMIT);
    fill(&mut reader, &mut &stream[..], usize::MAX);
    let read_at = reader.inbox.as_ptr().addr();
    let records = drain(&mut reader);
    assert_eq!(records[0].as_ptr().addr(), read_at + 4);
    assert_eq!(records[1].as_ptr().addr(), read_at + 48);
}

#[test]
fn in_bulk_mode_a_record_is_read_into_its_own_memory_and_never_moved() {
    let mut reader = bulk_reader();
    let large = numbers(150_000);
    let stream = [record(&large), record(&large)].concat();
    let stream = &mut &stream[..];

    assert_eq!(fill(&mut reader, stream, usize::MAX), MARK_BYTES, "the mark alone");
    assert_eq!(drain(&mut reader), [""; 0]);
    assert_eq!(reader.pending_bytes(), large.len());

    let read_at = reader.spare().chunk_mut().as_mut_ptr().addr();
    assert_eq!(fill(&mut reader, stream, 100_000), 100_000);
    assert_eq!(drain(&mut reader), [""; 0]);
    assert_eq!(fill(&mut reader, stream, usize::MAX), 50_000, "not a byte of the next record");

    let records = drain(&mut reader);
    assert_eq!(records, [large]);
    assert_eq!(records[0].as_ptr().addr(), read_at);
    let [record] = <[Bytes; 1]>::try_from(records).unwrap();
    let memory = record.try_into_mut().expect("the reader keeps no part of it");
    assert_eq!(memory.capacity(), memory.len());
    assert_eq!(fill(&mut reader, stream, usize::MAX), MARK_BYTES, "and again");
}

#[test]
fn after_a_small_record_reads_are_small_again() {
    let mut reader = bulk_reader();
    let calls = [record(&[1; 8]), record(&[2; 8]), record(&[3; 8])].concat();
    let stream = &mut &calls[..];
    assert_eq!(fill(&mut reader, stream, usize::MAX), MARK_BYTES);
    assert_eq!(drain(&mut reader), [""; 0]);
    assert_eq!(fill(&mut reader, stream, usize::MAX), calls.len() - MARK_BYTES);
    assert_eq!(drain(&mut reader), [vec![1; 8], vec![2; 8], vec![3; 8]]);
    assert_eq!(fill(&mut reader, &mut &calls[..], usize::MAX), calls.len());
}

#[test]
fn a_claimed_length_over_the_limit_is_refused_before_anything_is_allocated() {
    for claimed in [LIMIT + 1, 0x7fff_ffff] {
        let mut reader = RecordReader::new(LIMIT);
        fill(&mut reader, &mut &mark(claimed, true)[..], 4);
        assert_eq!(reader.next(), Err(BadRecord::TooLong { claimed, limit: LIMIT }));
        reader.spare();
        assert!(reader.inbox.capacity() <= INBOX_BYTES && reader.large.is_none());
    }
}

#[test]
fn fragments_that_add_up_to_more_than_the_limit_are_refused() {
    let mut reader = RecordReader::new(10);
    let stream = [fragment(&[0; 6], false), fragment(&[0; 5], true)].concat();
    fill(&mut reader, &mut &stream[..], usize::MAX);
    assert_eq!(reader.next(), Err(BadRecord::TooLong { claimed: 11, limit: 10 }));
}

#[test]
fn a_refusal_is_final() {
    let mut reader = RecordReader::new(10);
    let stream = [mark(11, true).to_vec(), record(&[7; 4])].concat();
    fill(&mut reader, &mut &stream[..], usize::MAX);
    let refused = reader.next();
    assert!(refused.is_err());
    assert_eq!(reader.next(), refused);
}

#[test]
fn a_claimed_length_costs_no_memory_before_it_is_read_on() {
    let mut reader = RecordReader::new(LIMIT);
    fill(&mut reader, &mut &mark(LIMIT, true)[..], 4);
    assert_eq!(reader.next(), Ok(None));
    assert_eq!(reader.pending_bytes(), LIMIT);
    assert!(reader.large.is_none());
}

#[test]
fn a_record_of_one_byte_fragments_is_joined() {
    let bytes = numbers(40_000);
    let mut stream: Vec<_> = bytes.iter().flat_map(|byte| fragment(&[*byte], false)).collect();
    stream.extend(fragment(&[], true));
    let mut reader = RecordReader::new(LIMIT);
    assert_eq!(read_all(&mut reader, &stream, &[usize::MAX]), [bytes]);
}

#[test]
fn empty_fragments_are_bounded_in_each_record() {
    let some = vec![fragment(&[], false); EMPTY_FRAGMENTS_MAX].concat();
    let mut reader = RecordReader::new(LIMIT);
    for _ in 0..3 {
        let stream = [some.clone(), fragment(&[5], true)].concat();
        assert_eq!(read_all(&mut reader, &stream, &[usize::MAX]), [vec![5]]);
    }
    let stream = [some, fragment(&[], false)].concat();
    fill(&mut reader, &mut &stream[..], usize::MAX);
    assert_eq!(reader.next(), Err(BadRecord::TooManyEmptyFragments));
}

#[test]
fn an_empty_record_is_a_record() {
    let mut reader = RecordReader::new(LIMIT);
    assert_eq!(read_all(&mut reader, &record(&[]), &[1]), [""]);
    assert!(reader.is_between_records());
}

#[test]
fn a_stream_may_end_only_between_records() {
    let stream = [record(&[1; 8]), fragment(&[], false), fragment(&[2; 3], true)].concat();
    let mut reader = RecordReader::new(LIMIT);
    for (at, byte) in stream.iter().enumerate() {
        assert_eq!(reader.is_between_records(), at == 0 || at == 12, "after {at} bytes");
        fill(&mut reader, &mut &[*byte][..], 1);
        drain(&mut reader);
    }
    assert!(reader.is_between_records());
}

#[test]
fn an_idle_connection_gives_back_its_memory() {
    let mut reader = RecordReader::new(LIMIT);
    read_all(&mut reader, &record(&[1; 8]), &[usize::MAX]);
    reader.release_idle();
    assert_eq!(reader.inbox.capacity(), 0);
    fill(&mut reader, &mut &record(&[2; 8])[..], 5);
    drain(&mut reader);
    reader.release_idle();
    assert_eq!(read_all(&mut reader, &[2; 7], &[9]), [vec![2; 8]]);
}

#[test]
fn a_reader_that_holds_on_to_no_record_reuses_its_memory() {
    let mut reader = small_reader();
    read_all(&mut reader, &record(&[0; 1000]), &[usize::MAX]);
    let start = reader.inbox.as_ptr().addr();
    for _ in 0..1000 {
        read_all(&mut reader, &record(&[0; 1000]), &[usize::MAX]);
        let at = reader.inbox.as_ptr().addr();
        assert!(at.abs_diff(start) <= INBOX_BYTES, "another buffer");
    }
}

#[derive(Debug, Clone)]
struct Sent {
    bytes: Vec<u8>,
    /// Where to cut it, in permille; two equal cuts make an empty fragment.
    cuts: Vec<usize>,
}

impl Sent {
    fn stream(&self) -> Vec<u8> {
        let mut cuts: Vec<_> =
            self.cuts.iter().map(|permille| self.bytes.len() * permille / 1000).collect();
        cuts.sort_unstable();
        let starts = [0].into_iter().chain(cuts.clone());
        let ends = cuts.iter().copied().chain([self.bytes.len()]);
        let last = self.cuts.len();
        let fragments = starts.zip(ends).enumerate();
        fragments
            .flat_map(|(at, (start, end))| fragment(&self.bytes[start..end], at == last))
            .collect()
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let length = prop_oneof![
        6 => 0..300_usize,
        1 => LARGE_RECORD_BYTES - 2..LARGE_RECORD_BYTES + 3,
        1 => INBOX_BYTES - 6..INBOX_BYTES + 3,
        1 => LIMIT - 1..=LIMIT,
    ];
    let cuts = prop_oneof![3 => Just(vec![]), 1 => vec(0..=1000_usize, 0..EMPTY_FRAGMENTS_MAX)];
    (length, any::<u8>(), cuts).prop_map(|(length, first, cuts)| {
        let bytes = numbers(length).into_iter().map(|byte| byte.wrapping_add(first)).collect();
        Sent { bytes, cuts }
    })
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..200_usize, 1..20), vec(1..100_000_usize, 1..20), Just(vec![usize::MAX]),]
}

proptest! {
    #[test]
    fn records_do_not_depend_on_reads_or_fragments(
        sent in vec(sent(), 0..12),
        reads in reads(),
        keep in any::<bool>(),
    ) {
        let stream: Vec<_> = sent.iter().flat_map(Sent::stream).collect();
        let mut reader = RecordReader::new(LIMIT);
        let (mut left, mut reads) = (&stream[..], reads.into_iter().cycle());
        let (mut expected, mut kept) = (sent.iter(), Vec::new());
        while !left.is_empty() {
            fill(&mut reader, &mut left, reads.next().unwrap());
            while let Some(record) = reader.next().unwrap() {
                prop_assert_eq!(&record, &expected.next().unwrap().bytes);
                if keep {
                    kept.push(record);
                }
            }
            prop_assert!(reader.pending_bytes() <= LIMIT);
        }
        prop_assert!(expected.next().is_none());
        prop_assert!(reader.is_between_records());
        // Memory was never reused under a record that somebody still had.
        prop_assert!(kept.iter().zip(&sent).all(|(record, sent)| *record == sent.bytes));
    }

    #[test]
    fn a_reader_takes_any_bytes(stream in vec(any::<u8>(), 0..4000), reads in reads()) {
        let mut reader = RecordReader::new(1000);
        let (mut left, mut reads) = (&stream[..], reads.into_iter().cycle());
        while !left.is_empty() {
            fill(&mut reader, &mut left, reads.next().unwrap());
            while let Ok(Some(record)) = reader.next() {
                prop_assert!(record.len() <= 1000);
            }
        }
    }

    #[test]
    fn reading_on_without_taking_records_loses_nothing(
        sent in vec(sent(), 1..6),
        reads in reads(),
        takes in vec(any::<bool>(), 1..20),
    ) {
        let stream: Vec<_> = sent.iter().flat_map(Sent::stream).collect();
        let (mut reader, mut left) = (RecordReader::new(LIMIT), &stream[..]);
        let mut turns = reads.into_iter().cycle().zip(takes.into_iter().cycle());
        let mut records = Vec::new();
        while !left.is_empty() {
            let (read, take) = turns.next().unwrap();
            fill(&mut reader, &mut left, read);
            records.extend(take.then(|| reader.next().unwrap()).flatten());
        }
        records.extend(drain(&mut reader));
        prop_assert!(records.iter().zip(&sent).all(|(record, sent)| *record == sent.bytes));
        prop_assert_eq!(records.len(), sent.len());
    }
}
