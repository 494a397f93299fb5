use model::{Epoch, Reign, Sequence, Timestamp, View};

use super::*;

fn stamp(sequence: u64) -> Stamp {
    let reign = Reign { epoch: Epoch::new(1), view: View::new(1) };
    let mark = Mark { reign, sequence: Sequence::new(sequence) };
    let time = Timestamp::from_nanos(sequence);
    Stamp { mark, mtime: time, ctime: time }
}

fn enter(queue: &FeedQueue, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        queue.enter(stamp(sequence).mark, Some(stamp(sequence)));
    }
}

fn write(offset: u64, len: usize) -> FrameChange {
    FrameChange::Write { offset, bytes: Bytes::from(vec![7; len]) }
}

fn fill(queue: &FeedQueue, sequence: u64, change: FrameChange) {
    queue.fill(stamp(sequence).mark, change);
}

fn pop(queue: &FeedQueue) -> Option<(u64, FrameChange)> {
    let frame = queue.pop()?.unwrap();
    Some((frame.mark.sequence.get(), frame.change))
}

#[test]
fn frames_leave_in_the_order_of_their_marks_however_they_are_filled() {
    let queue = FeedQueue::new(1 << 20);
    enter(&queue, 1..=3);
    fill(&queue, 3, write(3, 1));
    fill(&queue, 2, write(2, 1));
    assert_eq!(pop(&queue), None);
    fill(&queue, 1, write(1, 1));
    let all: Vec<u64> = std::iter::from_fn(|| pop(&queue)).map(|(mark, _)| mark).collect();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(queue.backlog(), Backlog::default());
}

#[test]
fn over_the_limit_a_payload_is_left_out_and_copied_later() {
    let queue = FeedQueue::new(10_000);
    enter(&queue, 1..=3);
    fill(&queue, 1, write(0, 9000));
    fill(&queue, 2, write(5 << 20, 9000));
    fill(&queue, 3, FrameChange::SetSize(6 << 20));
    assert!(queue.backlog().queued_bytes <= 10_000);
    assert_eq!(queue.backlog().to_copy, 1);
    assert_eq!(queue.take_extents(6 << 20), Some(5..6));
    assert_eq!(pop(&queue), Some((1, write(0, 9000))));
    // What was left out only made the object longer, and that the third did, too.
    assert_eq!(pop(&queue), Some((3, FrameChange::SetSize(6 << 20))));
}

#[test]
fn a_receiver_that_is_away_for_long_costs_no_memory() {
    let queue = FeedQueue::new(4096);
    for sequence in 1..=100_000 {
        enter(&queue, sequence..=sequence);
        let change = match sequence % 3 {
            0 => FrameChange::SetSize(sequence % 7 * 1000),
            _ => write(sequence % 11 * 1000, 700),
        };
        fill(&queue, sequence, change);
        let backlog = queue.backlog();
        assert!(backlog.frames < 40 && backlog.queued_bytes <= 4096 + 8 * SLOT_BYTES);
    }
}

#[test]
fn an_ended_feed_gives_nothing_but_its_end() {
    let mut feeds = Feeds::default();
    let queue = Arc::new(FeedQueue::new(4096));
    feeds.attach(Arc::clone(&queue)).unwrap();
    feeds.enter(stamp(1), None, false);
    feeds.fill(stamp(1).mark, || write(0, 10));
    feeds.end(FeedEnd::Fault(CopyFault::Fsync));
    assert_eq!(queue.pop(), Some(Err(FeedEnd::Fault(CopyFault::Fsync))));
}

#[test]
fn an_object_has_no_more_feeds_than_it_may() {
    let mut feeds = Feeds::default();
    for _ in 0..FEEDS_PER_OBJECT_MAX {
        feeds.attach(Arc::new(FeedQueue::new(1))).unwrap();
    }
    assert_eq!(feeds.attach(Arc::new(FeedQueue::new(1))), Err(Refusal::Busy));
}

/// Sizes and written bytes of a small file, one byte a MiB, as a plain model.
fn apply(file: &mut Vec<u8>, change: &FrameChange) {
    let at = |byte: u64| (byte / EXTENT_BYTES) as usize;
    match change {
        FrameChange::Nothing => {}
        FrameChange::Later { end } => file.resize(file.len().max(at(*end)), 0),
        FrameChange::SetSize(size) => file.resize(at(*size), 0),
        other => panic!("not a small change: {other:?}"),
    }
}

#[test]
fn a_merged_change_does_what_two_did_but_for_what_is_copied_again() {
    let sizes = [0, 1, 2, 3, 5].map(|size| size * EXTENT_BYTES);
    let later = sizes.map(|end| FrameChange::Later { end });
    let set = sizes.map(FrameChange::SetSize);
    let all: Vec<_> = later.into_iter().chain(set).chain([FrameChange::Nothing]).collect();
    for (first, second) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
        for crowded in [None, Some(Crowded)] {
            let Some((merged, again)) = both(first, second, crowded) else {
                assert!(crowded.is_none(), "{first:?} {second:?}");
                continue;
            };
            for len in 0..5 {
                let (mut one, mut two) = (vec![7; len], vec![7; len]);
                apply(&mut one, &merged);
                apply(&mut two, first);
                apply(&mut two, second);
                assert_eq!(one.len(), two.len(), "{first:?} {second:?} {merged:?}");
                let again = again.clone().unwrap_or_default();
                let differ = (0..one.len()).filter(|at| one[*at] != two[*at]);
                for at in differ {
                    assert!(again.contains(&(at as u64)), "{first:?} {second:?} {merged:?}");
                }
            }
        }
    }
}
