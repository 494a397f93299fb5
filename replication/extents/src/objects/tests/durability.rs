//! What was promised is there after a power cut, and what failed is never called done.

use super::*;
use crate::simulated::{Failing, Operation};

#[tokio::test]
async fn a_synchronous_write_survives_a_power_cut() {
    let world = World::new();
    let done = world.file_sync(A, 0, b"kept").await;
    world.disk.cut_power();
    let world = world.restart();
    assert_eq!(&world.read(A, 0, 10).await.bytes[..], b"kept");
    assert_eq!(world.facts(A).await.stamp, done.after.stamp);
}

#[tokio::test]
async fn a_data_sync_write_is_done_as_file_sync() {
    let world = World::new();
    let done = world.write(A, (0, b"kept"), Stability::DataSync).await;
    assert_eq!(done.unwrap().committed, Stability::FileSync);
}

#[tokio::test]
async fn a_committed_write_survives_a_power_cut_and_an_uncommitted_one_may_not() {
    let world = World::new();
    world.unstable(A, 0, b"kept").await;
    world.objects.commit(A, false).await.unwrap();
    world.unstable(A, 0, b"lost").await;
    world.disk.cut_power();
    let world = world.restart();
    assert_eq!(&world.read(A, 0, 10).await.bytes[..], b"kept");
}

#[tokio::test]
async fn a_new_size_survives_a_power_cut() {
    let world = World::new();
    world.file_sync(A, 0, b"0123456789").await;
    let stamping = world.stamping();
    world.objects.set_size(A, true, 3, stamping).await.unwrap();
    world.disk.cut_power();
    let world = world.restart();
    assert_eq!(world.facts(A).await.size, 3);
}

#[tokio::test]
async fn a_commit_with_nothing_to_do_touches_no_disk() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    let syncs = world.disk.calls(Operation::Sync);
    world.objects.commit(A, false).await.unwrap();
    world.objects.commit(B, false).await.unwrap();
    assert_eq!(world.disk.calls(Operation::Sync), syncs);
}

#[tokio::test]
async fn concurrent_commits_share_one_fsync() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"a").await;
    world.disk.stall(Operation::Sync);
    let commit = || {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.objects.commit(A, false).await })
    };
    let mut commits = vec![commit()];
    until(|| world.disk.waiting(Operation::Sync) == 1).await;
    // The one under way covers these, too: nothing was written since it began.
    commits.extend((0..20).map(|_| commit()));
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.disk.resume(Operation::Sync);
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(world.disk.calls(Operation::Sync), 1);
}

#[tokio::test]
async fn a_commit_is_not_covered_by_an_fsync_that_began_before_its_write() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"a").await;
    world.disk.stall(Operation::Sync);
    let first = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.objects.commit(A, false).await }
    });
    until(|| world.disk.waiting(Operation::Sync) == 1).await;
    world.unstable(A, 1, b"b").await;
    let second = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.objects.commit(A, false).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!second.is_finished());
    world.disk.resume(Operation::Sync);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(world.disk.calls(Operation::Sync), 2);
}

#[tokio::test]
async fn the_first_durable_data_is_told_once() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    assert_eq!(world.told(), []);
    world.objects.commit(A, false).await.unwrap();
    world.file_sync(A, 0, b"b").await;
    assert_eq!(world.told(), [(A, None)]);
}

#[tokio::test]
async fn durable_data_that_the_catalog_did_not_hear_of_is_told_again_after_a_restart() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    let world = world.restart();
    world.facts(A).await;
    assert_eq!(world.told(), [(A, None), (A, None)]);
}

#[tokio::test]
async fn a_failed_fsync_refuses_writes_until_it_is_cleared() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    world.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    let committed = world.objects.commit(A, false).await;
    assert_eq!(committed, Err(Refusal::Fault));
    // The disk would succeed now; that must not turn the failure into a success.
    assert_eq!(world.objects.commit(A, false).await, Err(Refusal::Fault));
    let written = world.write(A, (0, b"b"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Fault));
    assert_eq!(world.objects.faults(), [(A, CopyFault::Fsync)]);
    assert_eq!(world.told(), [(A, Some(CopyFault::Fsync))]);
    assert_eq!(&world.read(A, 0, 10).await.bytes[..], b"a");

    assert_eq!(world.objects.clear_fault(A), Some(CopyFault::Fsync));
    world.file_sync(A, 0, b"c").await;
    assert_eq!(world.objects.faults(), []);
}

#[tokio::test]
async fn a_failed_fsync_leaves_a_record_that_is_not_believed() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    let before = world.mtime(A).await;
    world.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    world.objects.commit(A, false).await.unwrap_err();
    let world = world.restart();
    assert!(world.mtime(A).await > before);
}

#[tokio::test]
async fn a_synchronous_write_whose_fsync_fails_is_refused() {
    let world = World::new();
    world.disk.fail(Operation::Sync, libc::ENOSPC, Failing::Once);
    let written = world.write(A, (0, b"a"), Stability::FileSync).await;
    assert_eq!(written, Err(Refusal::Fault));
}

#[tokio::test]
async fn a_full_disk_refuses_a_write_and_breaks_nothing() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    for (errno, refusal) in [
        (libc::ENOSPC, Refusal::NoSpace),
        (libc::EDQUOT, Refusal::QuotaExceeded),
        (libc::EFBIG, Refusal::FileTooBig),
    ] {
        world.disk.fail(Operation::Write, errno, Failing::Once);
        let written = world.write(A, (5, b"more"), Stability::Unstable).await;
        assert_eq!(written, Err(refusal));
    }
    assert_eq!(world.facts(A).await.size, 1);
    assert_eq!(world.objects.faults(), []);
    world.file_sync(A, 1, b"b").await;
}

#[tokio::test]
async fn a_disk_that_gets_full_takes_the_first_part_of_a_write() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    world.disk.set_capacity(2 * 4096);
    let payload = Bytes::from(vec![7; 3 * 4096]);
    let stamping = world.stamping();
    let done =
        world.objects.write(A, false, 0, payload, Stability::FileSync, stamping).await.unwrap();
    assert_eq!((done.count, done.after.size), (8192, 8192));
    assert_eq!(world.facts(A).await.size, 8192);
}

#[tokio::test]
async fn no_room_for_the_record_refuses_the_write() {
    let world = World::new();
    world.disk.fail(Operation::SetRecord, libc::ENOSPC, Failing::Once);
    let written = world.write(A, (0, b"a"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::NoSpace));
    assert_eq!(world.facts(A).await.size, 0);
    assert_eq!(world.objects.faults(), []);
}

#[tokio::test]
async fn an_object_is_cut_short_though_there_is_no_room_for_the_record() {
    let world = World::new();
    world.file_sync(A, 0, b"0123456789").await;
    world.disk.fail(Operation::SetRecord, libc::ENOSPC, Failing::Always);
    let stamping = world.stamping();
    let done = world.objects.set_size(A, true, 1, stamping).await.unwrap();
    assert_eq!(done.after.size, 1);
}

#[tokio::test]
async fn a_failed_write_breaks_the_copy() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    world.disk.fail(Operation::Write, libc::EIO, Failing::Once);
    let written = world.write(A, (5, b"more"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Fault));
    assert_eq!(world.facts(A).await.size, 1);
    let written = world.write(A, (5, b"more"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Fault));
    assert_eq!(world.told(), [(A, None), (A, Some(CopyFault::Write))]);
}

#[tokio::test]
async fn a_failed_change_of_size_breaks_the_copy() {
    let world = World::new();
    world.file_sync(A, 0, b"0123456789").await;
    world.disk.fail(Operation::SetSize, libc::EIO, Failing::Once);
    let stamping = world.stamping();
    let cut = world.objects.set_size(A, true, 1, stamping).await;
    assert_eq!(cut, Err(Refusal::Fault));
    assert_eq!(world.objects.faults(), [(A, CopyFault::SetSize)]);
    assert_eq!(world.facts(A).await.size, 10);
}

#[tokio::test]
async fn a_failed_read_is_a_fault_and_does_not_poison_writes() {
    let world = World::new();
    world.file_sync(A, 0, b"bad sector").await;
    world.disk.fail(Operation::Read, libc::EIO, Failing::Once);
    let span = Span::new(0, 10).unwrap();
    let read = world.objects.read(A, true, span).await;
    assert_eq!(read.unwrap_err(), Refusal::Fault);
    world.file_sync(A, 0, b"rewritten!").await;
    assert_eq!(&world.read(A, 0, 10).await.bytes[..], b"rewritten!");
}
