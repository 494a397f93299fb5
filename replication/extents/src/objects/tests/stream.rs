//! One object's stream from its owner into another appliance's disk, step by step.

use model::EXTENT_BYTES;

use super::*;
use crate::{
    Backlog, FeedEnd, Frame, FrameChange,
    simulated::{Failing, Operation},
};

const LIMIT: u64 = 32 << 20;

impl World {
    async fn attach(&self) -> Feed {
        self.attach_with(LIMIT).await
    }

    async fn attach_with(&self, limit_bytes: u64) -> Feed {
        let how = Attach { has_data: false, reign: self.reign(), limit_bytes };
        self.objects.attach(A, how).await.unwrap()
    }

    async fn receive(&self, base: Base) -> Receipt {
        self.objects.receive(A, false, base).await.unwrap()
    }

    async fn set_size(&self, size: u64) {
        let stamping = self.stamping();
        self.objects.set_size(A, false, size, stamping).await.unwrap();
    }
}

async fn copy_all(feed: &Feed) -> u64 {
    let mut data_bytes = 0;
    while let Some(copied) = feed.copy_next().await.unwrap() {
        data_bytes += copied.data_bytes;
    }
    data_bytes
}

async fn frames(feed: &Feed) -> Vec<Frame> {
    let mut frames = Vec::new();
    while feed.backlog().frames > 0 {
        frames.push(feed.next().await.unwrap());
    }
    frames
}

/// Sends everything there is, and finishes.
async fn hand_over(feed: &Feed, receipt: &Receipt) {
    copy_all(feed).await;
    receipt.apply(frames(feed).await).await.unwrap();
    let end = feed.settled().expect("nothing is under way");
    receipt.finish(end, end.mark).await.unwrap();
}

/// What clients see of the object, `used` aside, and what of it survives a power cut.
async fn assert_equal(source: &World, target: &World) {
    let (ours, theirs) = (source.facts(A).await, target.facts(A).await);
    assert_eq!((ours.size, ours.stamp), (theirs.size, theirs.stamp));
    let len = ours.size.min(READ_BYTES_MAX);
    assert!(source.read(A, 0, len).await.bytes == target.read(A, 0, len).await.bytes);
}

#[tokio::test]
async fn a_broken_copy_gets_a_new_file_and_its_fault_goes_with_the_old_one() {
    let (source, target) = (World::new(), World::new());
    target.unstable(A, 0, b"doubtful").await;
    target.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    assert_eq!(target.objects.commit(A, false).await, Err(Refusal::Fault));
    assert!(target.objects.is_broken(A));
    source.unstable(A, 0, b"whole").await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
    assert!(target.objects.faults().is_empty() && !target.objects.is_broken(A));
    drop(receipt);
    target.objects.commit(A, false).await.unwrap();
}

#[tokio::test]
async fn what_was_there_and_what_comes_meanwhile_arrives() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, &[1; 3 << 20]).await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    source.unstable(A, (1 << 20) - 3, b"changed").await;
    copy_all(&feed).await;
    source.set_size(5 << 19).await;
    source.unstable(A, 7, b"again").await;
    hand_over(&feed, &receipt).await;
    target.disk.cut_power();
    drop(receipt);
    assert_equal(&source, &target.restart()).await;
}

#[tokio::test]
async fn a_change_under_way_when_the_feed_is_attached_is_in_it() {
    let (source, target) = (Arc::new(World::new()), World::new());
    source.unstable(A, 0, b"old old old").await;
    source.disk.stall(Operation::Write);
    let write = order_spawn(&source, 4, b"new and longer");
    until(|| source.disk.waiting(Operation::Write) == 1).await;
    let feed = source.attach().await;
    assert_eq!((feed.base().size, feed.backlog().frames), (11, 1));
    assert_eq!(feed.settled(), None);
    source.disk.resume(Operation::Write);
    write.await.unwrap();
    let receipt = target.receive(feed.base()).await;
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn a_copy_waits_for_writes_before_it_and_writes_after_it_wait_for_the_copy() {
    let source = Arc::new(World::new());
    source.unstable(A, 0, b"0000").await;
    source.disk.stall(Operation::Write);
    let first = order_spawn(&source, 0, b"1");
    until(|| source.disk.waiting(Operation::Write) == 1).await;
    let feed = Arc::new(source.attach().await);
    let copy = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move { feed.copy_next().await }
    });
    until(|| feed.backlog().frames == 2).await;
    let second = order_spawn(&source, 0, b"2");
    until(|| feed.backlog().frames == 3).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(source.disk.waiting(Operation::Write), 1);
    source.disk.resume(Operation::Write);
    copy.await.unwrap().unwrap();
    first.await.unwrap();
    second.await.unwrap();
    let changes: Vec<_> = frames(&feed).await.into_iter().map(|frame| frame.change).collect();
    let write = |bytes| FrameChange::Write { offset: 0, bytes: Bytes::from_static(bytes) };
    let run = Span::new(0, 4).unwrap();
    let span = Span::new(0, EXTENT_BYTES).unwrap();
    let copy = FrameChange::Copy { span, runs: vec![run], bytes: Bytes::from_static(b"1000") };
    assert_eq!(changes, [write(b"1"), copy, write(b"2")]);
}

#[tokio::test]
async fn holes_stay_holes() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, &[1; 4096]).await;
    source.unstable(A, 64 << 10, &[2; 4096]).await;
    source.unstable(A, 900 << 20, &[3; 4096]).await;
    source.set_size(1 << 40).await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    assert_eq!(copy_all(&feed).await, 3 * 4096);
    // A long hole takes a few frames, not one an extent.
    assert!(feed.backlog().frames < 10, "{:?}", feed.backlog());
    hand_over(&feed, &receipt).await;
    assert_eq!(target.facts(A).await.used, 3 * 4096);
    assert_equal(&source, &target).await;
    assert_eq!(target.read(A, 900 << 20, 1).await.bytes[..], [3]);
}

#[tokio::test]
async fn data_that_became_hole_is_punched_out_at_the_receiver() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, &[1; 3 << 20]).await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    copy_all(&feed).await;
    receipt.apply(frames(&feed).await).await.unwrap();
    let file = source.file_of(A).unwrap();
    file.punch(Span::new(4096, 2 << 20).unwrap()).unwrap();
    feed.queue.put_back(0..3);
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
    assert_eq!(target.facts(A).await.used, source.facts(A).await.used);
}

#[tokio::test]
async fn an_old_copy_leaves_neither_bytes_nor_record_behind() {
    let (mut source, target) = (World::new(), World::new());
    target.file_sync(A, 0, &[9; 2 << 20]).await;
    let feed = source.attach().await;
    let refused = target.objects.receive(A, false, feed.base()).await;
    assert_eq!(refused.err(), Some(Refusal::Fenced), "an older reign than the copy has seen");
    drop(feed);
    source.view = 2;
    source.unstable(A, 1 << 20, b"new").await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
    assert_eq!(target.facts(A).await.used, 4096);
}

#[tokio::test]
async fn a_received_object_goes_on_like_one_that_was_written_here() {
    let (source, mut target) = (World::new(), World::new());
    source.unstable(A, 0, b"theirs").await;
    let late = source.facts(A).await.stamp.unwrap().ctime;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    source.objects.raise_ctime(A, late);
    hand_over(&feed, &receipt).await;
    drop(receipt);
    assert_equal(&source, &target).await;
    let before = target.facts(A).await;
    assert!(before.stamp.unwrap().ctime > late);
    target.view = 2;
    let done = target.file_sync(A, 6, b" and ours").await;
    assert_eq!((done.before, done.after.size), (before, 15));
    assert!(done.after.stamp.unwrap().ctime > before.stamp.unwrap().ctime);
    assert!(done.after.stamp.unwrap().mark > before.stamp.unwrap().mark);
    assert_eq!(target.told(), [(A, None)], "its first own fsync tells of the data");
}

#[tokio::test]
async fn frames_of_an_older_reign_or_mark_are_refused_and_do_nothing() {
    let (mut source, target) = (World::new(), World::new());
    source.view = 5;
    source.unstable(A, 0, b"a").await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    source.unstable(A, 0, b"b").await;
    let sent = frames(&feed).await;
    receipt.apply(sent.clone()).await.unwrap();
    assert_eq!(receipt.apply(sent.clone()).await, Err(Refusal::Invalid));
    let mut older = sent[0].clone();
    older.mark.reign.view = View::new(4);
    assert_eq!(receipt.apply(vec![older]).await, Err(Refusal::Fenced));
    assert_eq!(receipt.received().await, Ok(sent[0].mark));
}

#[tokio::test]
async fn an_object_of_another_size_is_not_finished() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, b"abc").await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    copy_all(&feed).await;
    receipt.apply(frames(&feed).await).await.unwrap();
    let mut end = feed.settled().unwrap();
    end.size = 4;
    assert_eq!(receipt.finish(end, end.mark).await, Err(Refusal::Invalid));
    end.size = 3;
    receipt.finish(end, end.mark).await.unwrap();
    receipt.finish(end, end.mark).await.unwrap();
}

#[tokio::test]
async fn a_full_receiver_refuses_and_a_failing_one_is_broken() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, b"abc").await;
    let feed = source.attach().await;
    for (errno, refusal) in
        [(libc::ENOSPC, Refusal::NoSpace), (libc::EDQUOT, Refusal::QuotaExceeded)]
    {
        let receipt = target.receive(feed.base()).await;
        source.unstable(A, 0, b"x").await;
        target.disk.fail(Operation::Write, errno, Failing::Once);
        assert_eq!(receipt.apply(frames(&feed).await).await, Err(refusal));
        // What it holds now is not known, so it is not gone on with.
        source.unstable(A, 0, b"y").await;
        assert_eq!(receipt.apply(frames(&feed).await).await, Err(Refusal::Fault));
        assert_eq!(receipt.received().await, Err(Refusal::Fault));
        assert_eq!(target.objects.faults(), []);
    }
    let receipt = target.receive(feed.base()).await;
    source.unstable(A, 0, b"z").await;
    target.disk.fail(Operation::Write, libc::EIO, Failing::Once);
    assert_eq!(receipt.apply(frames(&feed).await).await, Err(Refusal::Fault));
    assert_eq!(target.objects.faults(), [(A, CopyFault::Write)]);
    assert_eq!(source.objects.faults(), []);
}

#[tokio::test]
async fn the_reserve_is_not_for_what_is_received() {
    let (source, target) = (World::new(), World::new());
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    source.unstable(A, 0, b"x").await;
    target.disk.set_capacity(64 << 20);
    *target.clock.0.lock() += 1_000_000_000;
    assert_eq!(receipt.apply(frames(&feed).await).await, Err(Refusal::NoSpace));
}

#[tokio::test]
async fn a_feed_ends_with_its_owners_copy_and_with_the_object() {
    let source = World::new();
    source.unstable(A, 0, b"a").await;
    let feed = source.attach().await;
    source.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    source.objects.commit(A, false).await.unwrap_err();
    assert_eq!(feed.next().await, Err(FeedEnd::Fault(CopyFault::Fsync)));
    assert_eq!(feed.copy_next().await, Err(Refusal::Fault));
    source.objects.clear_fault(A);
    let feed = source.attach().await;
    source.objects.remove(&[A]).await.unwrap();
    assert_eq!(feed.next().await, Err(FeedEnd::Stale));
    assert_eq!(feed.settled(), None);
}

#[tokio::test]
async fn writes_that_fail_or_are_given_up_hold_nothing_up() {
    let (source, target) = (Arc::new(World::new()), World::new());
    source.unstable(A, 0, b"old").await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    source.disk.fail(Operation::Write, libc::ENOSPC, Failing::Once);
    source.write(A, (0, b"never"), Stability::Unstable).await.unwrap_err();
    source.disk.stall(Operation::Write);
    let running = order_spawn(&source, 0, b"given up");
    until(|| source.disk.waiting(Operation::Write) == 1).await;
    let queued = order_spawn(&source, 0, b"never begun");
    until(|| feed.backlog().frames >= 3).await;
    running.abort();
    queued.abort();
    source.disk.resume(Operation::Write);
    hand_over(&feed, &receipt).await;
    assert_eq!(&target.read(A, 0, 100).await.bytes[..], b"given up");
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn a_queue_that_is_full_makes_nobody_wait_and_loses_nothing() {
    let (source, target) = (World::new(), World::new());
    let feed = source.attach_with(64 << 10).await;
    let receipt = target.receive(feed.base()).await;
    for round in 0..200 {
        let payload: &'static [u8] = if round % 3 == 0 { &[1; 40_000] } else { &[2; 30_000] };
        source.unstable(A, round * 50_000 % (3 << 20), payload).await;
        if round == 150 {
            source.set_size(100).await;
        }
        assert!(feed.backlog().queued_bytes <= 80 << 10);
    }
    assert!(feed.backlog().to_copy > 0);
    // A copy does not fit in beside what waits, so the frames go first.
    receipt.apply(frames(&feed).await).await.unwrap();
    drop(feed);
    let feed = source.attach().await;
    let receipt = {
        drop(receipt);
        target.receive(feed.base()).await
    };
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn a_copy_that_is_given_up_is_made_again() {
    let source = Arc::new(World::new());
    source.unstable(A, 0, &[1; 100]).await;
    source.disk.stall(Operation::Write);
    let write = order_spawn(&source, 0, b"x");
    until(|| source.disk.waiting(Operation::Write) == 1).await;
    let feed = Arc::new(source.attach().await);
    let copy = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move { feed.copy_next().await }
    });
    until(|| feed.backlog().frames == 2).await;
    copy.abort();
    until(|| feed.backlog().to_copy == 1).await;
    source.disk.resume(Operation::Write);
    write.await.unwrap();
    assert_eq!(frames(&feed).await.len(), 2);
    assert_eq!(copy_all(&feed).await, 100);
}

#[tokio::test]
async fn a_copy_that_can_not_be_read_is_a_fault_and_leaves_the_owner_well() {
    let source = World::new();
    source.unstable(A, 0, b"a").await;
    let feed = source.attach().await;
    source.disk.fail(Operation::Read, libc::EIO, Failing::Once);
    assert_eq!(feed.copy_next().await, Err(Refusal::Fault));
    let backlog = Backlog { frames: 1, queued_bytes: 256, to_copy: 1, next: Some(0) };
    assert_eq!(feed.backlog(), backlog);
    assert_eq!(source.objects.faults(), []);
}

#[tokio::test]
async fn local_use_of_an_object_that_is_received_ends_the_reception_and_no_more() {
    let (source, target) = (World::new(), World::new());
    source.unstable(A, 0, &[1; 100]).await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    let again = target.objects.receive(A, false, feed.base()).await;
    assert_eq!(again.err(), Some(Refusal::Busy));
    let how = Attach { has_data: false, reign: target.reign(), limit_bytes: LIMIT };
    assert_eq!(target.objects.attach(A, how).await.err(), Some(Refusal::Busy));
    for _ in 0..3 {
        target.unstable(A, 5, b"local").await;
    }
    target.set_size(7).await;
    copy_all(&feed).await;
    let applied = receipt.apply(frames(&feed).await).await;
    assert_eq!(applied, Err(Refusal::Invalid), "its marks are taken");
    target.objects.commit(A, false).await.unwrap();
    target.objects.remove(&[A]).await.unwrap();
    assert!(receipt.sync().await.is_err());
}

#[tokio::test]
async fn a_stream_between_real_files_keeps_bytes_and_holes() {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock(Mutex::new(1_000_000)));
    let open = |name: &str| {
        let dir = scratch.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(crate::LinuxDisk::new(&dir).unwrap());
        let space = Space::new(dir.clone(), disk.clone(), clock.clone(), Ballast::None);
        let settings = Settings { dir, open_files_max: 10, known_objects_max: 10 };
        let told = Arc::new(Told::default());
        Objects::open(settings, disk, Arc::new(space), told, clock.clone()).unwrap()
    };
    let (source, target) = (open("source"), open("target"));
    let reign = Reign { epoch: Epoch::new(0), view: View::new(1) };
    let stamping = || Stamping {
        now: clock.wall(),
        reign,
        ctime_floor: Timestamp::default(),
        key: None,
        secure: false,
    };
    let write = async |offset: u64, payload: Vec<u8>| {
        let payload = Bytes::from(payload);
        let stability = Stability::Unstable;
        source.write(A, false, offset, payload, stability, stamping()).await.unwrap();
    };
    write(0, vec![1; 1 << 20]).await;
    write(5 << 20, (0..3 << 20).map(|at| (at % 251) as u8).collect()).await;
    source.set_size(A, false, 1 << 30, stamping()).await.unwrap();
    let how = Attach { has_data: false, reign, limit_bytes: LIMIT };
    let feed = source.attach(A, how).await.unwrap();
    let receipt = target.receive(A, false, feed.base()).await.unwrap();
    copy_all(&feed).await;
    write(100, vec![2; 10]).await;
    hand_over(&feed, &receipt).await;
    for offset in [0, 4 << 20, 8 << 20] {
        let span = Span::new(offset, READ_BYTES_MAX).unwrap();
        let ours = source.read(A, false, span).await.unwrap();
        assert!(ours.bytes == target.read(A, false, span).await.unwrap().bytes);
    }
    let facts = target.facts(A, false).await.unwrap();
    assert!(facts.used <= 5 << 20, "{facts:?}");
    assert_eq!(facts.size, 1 << 30);
}

fn order_spawn(
    world: &Arc<World>,
    offset: u64,
    payload: &'static [u8],
) -> tokio::task::JoinHandle<()> {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        world.unstable(A, offset, payload).await;
    })
}

/// Both hold the same three extents; then the receiver's third one becomes another.
async fn older_copy() -> (World, World) {
    let (source, target) = (World::new(), World::new());
    for extent in 0..3u8 {
        let bytes = vec![extent + 1; EXTENT_BYTES as usize].leak();
        source.unstable(A, u64::from(extent) * EXTENT_BYTES, bytes).await;
        target.unstable(A, u64::from(extent) * EXTENT_BYTES, bytes).await;
    }
    target.unstable(A, 2 * EXTENT_BYTES + 7, b"other").await;
    (source, target)
}

async fn learn(feed: &Feed, receipt: &Receipt, extents: std::ops::Range<u64>) {
    feed.learn(extents.start, receipt.compare(extents).await.unwrap().into_iter());
}

fn payload_of(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| frame.change.payload_len()).sum()
}

#[tokio::test]
async fn of_an_older_copy_only_what_differs_comes() {
    let (source, target) = older_copy().await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    assert_eq!(receipt.older_extents(), 3);
    learn(&feed, &receipt, 0..3).await;
    copy_all(&feed).await;
    let sent = frames(&feed).await;
    assert_eq!(payload_of(&sent), EXTENT_BYTES);
    receipt.apply(sent).await.unwrap();
    hand_over(&feed, &receipt).await;
    target.disk.cut_power();
    drop(receipt);
    assert_equal(&source, &target.restart()).await;
}

#[tokio::test]
async fn an_older_copy_that_is_longer_is_cut_and_its_holes_are_not_asked_about() {
    let (source, target) = older_copy().await;
    source.set_size(EXTENT_BYTES + 5).await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    assert_eq!(receipt.older_extents(), 2);
    learn(&feed, &receipt, 0..2).await;
    copy_all(&feed).await;
    let sent = frames(&feed).await;
    assert_eq!(payload_of(&sent), 0, "both are zeros beyond the end");
    receipt.apply(sent).await.unwrap();
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
    let empty = World::new();
    assert_eq!(empty.receive(feed.base()).await.older_extents(), 0);
}

#[tokio::test]
async fn what_changes_after_the_comparison_is_right_though_it_is_not_copied() {
    let (source, target) = older_copy().await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    learn(&feed, &receipt, 0..3).await;
    source.unstable(A, 3, b"first").await;
    // Back to what the receiver held when it looked.
    source.unstable(A, 3, &[1; 5]).await;
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn an_extent_of_which_a_change_was_left_out_is_copied_whatever_was_held() {
    let (source, target) = older_copy().await;
    let how = Attach { has_data: false, reign: source.reign(), limit_bytes: 2048 };
    let feed = source.objects.attach(A, how).await.unwrap();
    let receipt = target.receive(feed.base()).await;
    learn(&feed, &receipt, 0..3).await;
    source.unstable(A, 3, b"first").await;
    // Too much for the queue: the receiver is not told that it is as it was.
    source.unstable(A, 0, &[1; 8192]).await;
    assert_eq!(feed.queue.take_held(0), None);
    // With room for copies the rest is as always.
    drop(feed);
    let feed = source.attach().await;
    let receipt_again = {
        drop(receipt);
        target.receive(feed.base()).await
    };
    hand_over(&feed, &receipt_again).await;
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn an_older_copy_that_can_not_be_read_is_written_anew() {
    let (source, target) = older_copy().await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    target.disk.fail(Operation::Read, libc::EIO, Failing::Once);
    assert_eq!(receipt.compare(0..1).await, Ok(vec![None]));
    learn(&feed, &receipt, 1..3).await;
    target.disk.fail(Operation::Punch, libc::EIO, Failing::Once);
    copy_all(&feed).await;
    let sent = frames(&feed).await;
    assert_eq!(payload_of(&sent), 2 * EXTENT_BYTES);
    // It begins with making nothing of what is there.
    assert_eq!(receipt.apply(sent).await, Err(Refusal::Fault));
    drop(receipt);
    // A broken one gets a new file.
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    assert_eq!(receipt.older_extents(), 0);
    hand_over(&feed, &receipt).await;
    assert_equal(&source, &target).await;
}

#[tokio::test]
async fn so_many_extents_are_compared_at_a_time_and_no_more() {
    let (source, target) = older_copy().await;
    let receipt = target.receive(source.attach().await.base()).await;
    let compared = receipt.compare(0..COMPARED_AT_ONCE_MAX).await.unwrap();
    assert_eq!(compared.iter().filter(|hash| hash.is_some()).count(), 3);
    assert_eq!(receipt.compare(0..COMPARED_AT_ONCE_MAX + 1).await, Err(Refusal::Invalid));
}

#[tokio::test]
async fn extents_that_are_copied_side_by_side_are_each_compared() {
    let (source, target) = older_copy().await;
    let feed = source.attach().await;
    let receipt = target.receive(feed.base()).await;
    learn(&feed, &receipt, 0..3).await;
    assert!(feed.queue.take_held(1).is_some());
    assert!(feed.queue.take_held(0).is_some(), "though a later one was copied first");
    assert_eq!(feed.queue.take_held(0), None);
}
