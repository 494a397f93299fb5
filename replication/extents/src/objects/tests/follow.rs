//! Copies that follow one another, on two simulated disks.

use model::{ClientAddress, EXTENT_BYTES, RequestKey};

use super::*;
use crate::{Frame, follow::CopyState};

impl World {
    async fn follow(&self) -> (Feed, Mark) {
        let how = Attach { has_data: false, reign: self.reign(), limit_bytes: u64::MAX };
        self.objects.follow(A, how).await.unwrap()
    }

    async fn state(&self) -> CopyState {
        self.objects.followed(A, false).await.unwrap().state
    }

    /// Is told that all copies hold what this one does.
    async fn settle(&self) {
        let CopyState::At(mark) = self.state().await else { panic!("it has a name") };
        self.objects.settled(A, mark);
        let object = self.objects.shared.table.get(A).unwrap();
        while object.state().loaded().record_after().is_some() {
            tokio::task::yield_now().await;
        }
    }

    async fn touched(&self) -> Option<Vec<u64>> {
        self.objects.followed(A, false).await.unwrap().touched.extents()
    }

    async fn take(&self, previous: Mark, frames: Vec<Frame>) -> Taken {
        self.objects.take_changes(A, false, previous, frames).await.unwrap()
    }

    /// Makes the copy at `other` equal, extent by extent, as far as these go.
    async fn equalize(&self, other: &World, extents: &[u64]) -> Mark {
        let (stamp, size) = self.objects.name_anew(A, false, self.reign()).await.unwrap();
        let mut pieces = self.objects.pieces(A, false, extents.to_vec()).await.unwrap();
        let rest = pieces.split_off(pieces.len().min(1));
        let first = Equal { stamp, size, first: true, last: false };
        other.objects.make_equal(A, first, pieces).await.unwrap();
        assert_eq!(other.state().await, CopyState::InDoubt, "it is a mixture");
        let last = Equal { first: false, last: true, ..first };
        other.objects.make_equal(A, last, rest).await.unwrap()
    }
}

async fn frames(feed: &Feed) -> Vec<Frame> {
    let mut frames = Vec::new();
    while feed.backlog().frames > 0 {
        frames.push(feed.next().await.unwrap());
    }
    frames
}

async fn assert_alike(source: &World, target: &World) {
    let (ours, theirs) = (source.facts(A).await, target.facts(A).await);
    assert_eq!((ours.size, ours.stamp), (theirs.size, theirs.stamp));
    let len = ours.size.min(READ_BYTES_MAX);
    assert!(source.read(A, 0, len).await.bytes == target.read(A, 0, len).await.bytes);
    assert_eq!(source.state().await, target.state().await);
}

#[tokio::test]
async fn changes_are_executed_in_their_order_and_carry_the_call_that_made_them() {
    let (source, target) = (World::new(), World::new());
    let (feed, tip) = source.follow().await;
    assert_eq!(
        (source.state().await, target.state().await),
        (CopyState::At(tip), CopyState::At(tip))
    );
    let key = RequestKey { client: ClientAddress::from_bytes([7; 16]), digest: 9 };
    let stamping = Stamping { key: Some(key), ..source.stamping() };
    let payload = Bytes::from_static(b"first");
    source.objects.write(A, false, 0, payload, Stability::Unstable, stamping).await.unwrap();
    source.unstable(A, 3, b"second").await;
    let mut changes = frames(&feed).await;
    assert_eq!(changes[0].key, Some(key));
    let second = changes.split_off(1);
    let between = changes[0].mark;
    assert_eq!(target.take(between, second.clone()).await, Taken::Early);
    assert_eq!(target.take(tip, changes.clone()).await, Taken::At(between));
    assert_eq!(target.take(tip, changes).await, Taken::At(between), "once more: it is there");
    let last = second[0].mark;
    assert_eq!(target.take(between, second).await, Taken::At(last));
    assert_alike(&source, &target).await;
    assert_eq!(target.take(last, vec![]).await, Taken::At(last), "a question");
}

#[tokio::test]
async fn what_was_made_durable_keeps_its_name_and_what_was_not_is_in_doubt() {
    let (source, target) = (World::new(), World::new());
    let (feed, tip) = source.follow().await;
    source.unstable(A, 0, b"kept").await;
    target.take(tip, frames(&feed).await).await;
    target.objects.commit(A, false).await.unwrap();
    let CopyState::At(kept) = target.state().await else { panic!("it has a name") };
    target.settle().await;
    assert_eq!(target.objects.settled_to(A), kept);
    let target = target.restart();
    assert_eq!(target.state().await, CopyState::At(kept));
    source.unstable(A, 0, b"lost").await;
    let changes = frames(&feed).await;
    target.take(kept, changes.clone()).await;
    target.disk.cut_power();
    let target = target.restart();
    assert_eq!(target.state().await, CopyState::InDoubt);
    assert_eq!(target.take(kept, changes).await, Taken::Gap);
    assert_eq!(target.touched().await, None, "any extent may differ");
}

#[tokio::test]
async fn a_copy_that_is_made_equal_after_a_crash_takes_what_follows() {
    let (source, target) = (World::new(), World::new());
    let (feed, tip) = source.follow().await;
    source.unstable(A, 0, b"one").await;
    target.take(tip, frames(&feed).await).await;
    let target = target.restart();
    assert_eq!(target.state().await, CopyState::InDoubt);
    let mark = source.equalize(&target, &[0]).await;
    frames(&feed).await;
    source.unstable(A, 0, b"two").await;
    assert!(matches!(target.take(mark, frames(&feed).await).await, Taken::At(_)));
    assert_alike(&source, &target).await;
    let again = source.equalize(&target, &[0]).await;
    assert_eq!(target.state().await, CopyState::At(again));
}

#[tokio::test]
async fn what_others_may_not_have_is_in_doubt_after_a_crash_though_it_is_durable() {
    let world = World::new();
    let (_feed, _) = world.follow().await;
    world.file_sync(A, 0, b"everywhere").await;
    world.settle().await;
    world.file_sync(A, 0, b"only here").await;
    let world = world.restart();
    assert_eq!(world.state().await, CopyState::InDoubt);
    assert_eq!(world.objects.settled_to(A), Mark::default());
}

#[tokio::test]
async fn the_name_of_a_copy_is_not_believed_if_power_went_during_its_fsync() {
    let world = World::new();
    let (_feed, _) = world.follow().await;
    world.file_sync(A, 0, b"before").await;
    world.unstable(A, 0, &[1; 4096]).await;
    // The record of the fsync is written, the fsync is not over.
    let object = world.objects.shared.table.get(A).unwrap();
    let file = world.file_of(A).unwrap();
    let syncing = {
        let mut state = object.state();
        crate::object::Syncing::begin(&object, &mut state).unwrap()
    };
    object.record_for(&*file, &syncing.batch).unwrap();
    let world = world.restart();
    assert_eq!(world.state().await, CopyState::InDoubt);
    let mtime = world.mtime(A).await;
    let world = world.restart();
    assert_eq!(world.mtime(A).await, mtime, "its times are those of the bytes");
}

#[tokio::test]
async fn a_new_owner_makes_equal_what_differs_and_goes_on() {
    let (first, second, third) = (World::new(), World::new(), World::new());
    let (feed, tip) = first.follow().await;
    first.unstable(A, 0, &[1; 3 << 20]).await;
    let common = frames(&feed).await;
    let upto = common[0].mark;
    second.take(tip, common.clone()).await;
    third.take(tip, common).await;
    for copy in [&first, &second, &third] {
        copy.objects.settled(A, upto);
    }
    // One reaches the second alone, another the third alone.
    first.unstable(A, EXTENT_BYTES + 5, b"only there").await;
    let tail = frames(&feed).await;
    second.take(upto, tail).await;
    let second = World { view: 2, ..second };
    let (feed, tip) = second.follow().await;
    assert_eq!(third.take(tip, vec![]).await, Taken::Early);
    let touched = second.touched().await.unwrap();
    assert_eq!((touched.as_slice(), third.touched().await), (&[1][..], Some(vec![])));
    let named = second.equalize(&third, &touched).await;
    assert_alike(&second, &third).await;
    second.unstable(A, 0, b"goes on").await;
    let mut changes = frames(&feed).await;
    assert_eq!(changes.remove(0).mark, named, "a name is a change that does nothing");
    let last = changes[0].mark;
    assert_eq!(third.take(named, changes).await, Taken::At(last));
    assert_alike(&second, &third).await;
}

#[tokio::test]
async fn a_copy_that_was_removed_is_made_equal_anew() {
    let (source, target) = (World::new(), World::new());
    let (_feed, _) = source.follow().await;
    source.unstable(A, 0, b"here again").await;
    source.equalize(&target, &[0]).await;
    target.objects.remove(&[A]).await.unwrap();
    assert_eq!(target.objects.followed(A, false).await.err(), Some(Refusal::Stale));
    source.equalize(&target, &[0]).await;
    assert_alike(&source, &target).await;
}

#[tokio::test]
async fn being_made_equal_comes_too_late_once_there_is_something_newer() {
    let (old, new, copy) = (World::new(), World::new(), World::new());
    let (_feed, _) = old.follow().await;
    old.unstable(A, 0, b"old").await;
    let (stamp, size) = old.objects.name_anew(A, false, old.reign()).await.unwrap();
    let new = World { view: 2, ..new };
    let (feed, tip) = new.follow().await;
    new.unstable(A, 0, b"new").await;
    copy.take(tip, frames(&feed).await).await;
    let equal = Equal { stamp, size, first: true, last: true };
    let refused = copy.objects.make_equal(A, equal, vec![]).await;
    assert_eq!(refused, Err(Refusal::Fenced));
    assert_alike(&new, &copy).await;
}

#[tokio::test]
async fn pieces_of_two_copies_are_never_mixed() {
    let (source, copy) = (World::new(), World::new());
    let (_feed, _) = source.follow().await;
    let named = async || {
        let (stamp, size) = source.objects.name_anew(A, false, source.reign()).await.unwrap();
        Equal { stamp, size, first: true, last: false }
    };
    let pieces = async || source.objects.pieces(A, false, vec![0]).await.unwrap();
    let make = async |equal, pieces| copy.objects.make_equal(A, equal, pieces).await;
    let rest = |first: Equal| Equal { first: false, last: true, ..first };

    source.unstable(A, 0, b"old").await;
    let (old, old_pieces) = (named().await, pieces().await);
    assert_eq!(
        make(rest(old), old_pieces.clone()).await,
        Err(Refusal::Fenced),
        "nothing begins so"
    );
    make(old, old_pieces.clone()).await.unwrap();
    source.unstable(A, 0, b"new").await;
    let (new, new_pieces) = (named().await, pieces().await);
    make(new, new_pieces).await.unwrap();
    for late in [old, rest(old)] {
        assert_eq!(make(late, old_pieces.clone()).await, Err(Refusal::Fenced), "{late:?}");
    }
    make(rest(new), vec![]).await.unwrap();
    assert_alike(&source, &copy).await;
}

#[tokio::test]
async fn a_copy_whose_disk_is_full_refuses_and_says_so() {
    let (source, target) = (World::new(), World::new());
    let (feed, tip) = source.follow().await;
    source.unstable(A, 0, b"no room").await;
    target.disk.set_capacity(0);
    let taken = target.objects.take_changes(A, false, tip, frames(&feed).await).await;
    assert_eq!(taken, Err(Refusal::NoSpace));
}

#[tokio::test]
async fn a_name_for_what_has_no_file_needs_no_sync() {
    let world = World::new();
    world.objects.name_anew(A, false, world.reign()).await.unwrap();
    let commit = world.objects.commit(A, false);
    tokio::time::timeout(std::time::Duration::from_secs(10), commit).await.unwrap().unwrap();
    world.objects.settle_all().await.unwrap();
}
