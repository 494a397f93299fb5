//! Limits, removal, quarantine and the clean stop.

use super::*;
use crate::simulated::{Failing, Operation};

#[tokio::test]
async fn a_file_with_uncommitted_data_is_synced_before_its_descriptor_is_closed() {
    let world = World::with_limits(2, 1000);
    for number in 0..50 {
        world.unstable(ObjectId::new(number), 0, b"uncommitted").await;
        assert!(world.objects.open_files() <= 2);
    }
    assert_eq!(world.disk.closed_unsynced(), 0);
    assert_eq!(world.disk.calls(Operation::Sync), 48);
    assert_eq!(&world.read(ObjectId::new(3), 0, 20).await.bytes[..], b"uncommitted");
}

#[tokio::test]
async fn a_file_that_cannot_be_synced_is_not_closed() {
    let world = World::with_limits(1, 1000);
    world.unstable(A, 0, b"uncommitted").await;
    world.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    let written = world.write(B, (0, b"b"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Busy));
    assert_eq!(world.objects.faults(), [(A, CopyFault::Fsync)]);
    assert_eq!(world.disk.closed_unsynced(), 0);
}

#[tokio::test]
async fn known_objects_are_bounded_and_forgotten_ones_come_back() {
    let world = World::with_limits(1000, 64);
    for number in 0..500 {
        world.file_sync(ObjectId::new(number), 0, b"a").await;
    }
    let known = world.objects.shared.table.all(|_| true).len();
    assert!(known <= 128, "{known} are known");
    assert!(world.objects.open_files() <= known);
    assert_eq!(world.facts(ObjectId::new(0)).await.size, 1);
    assert_eq!(world.disk.closed_unsynced(), 0);
}

#[tokio::test]
async fn marks_go_on_after_an_object_was_forgotten() {
    let world = World::with_limits(1000, 64);
    let first = ObjectId::new(0);
    world.file_sync(first, 0, b"a").await;
    let taken = world.objects.take_mark(first, true, world.reign()).await;
    let (mark, _) = taken.unwrap();
    for number in 1..5 {
        world.file_sync(ObjectId::new(number * 64), 0, b"a").await;
    }
    assert!(world.objects.shared.table.find(first).is_none());
    let written = world.file_sync(first, 0, b"b").await;
    assert!(written.after.stamp.unwrap().mark > mark);
}

#[tokio::test]
async fn a_removed_object_is_stale_and_its_file_is_gone() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    world.objects.remove(&[A, B]).await.unwrap();
    world.objects.remove(&[A]).await.unwrap();
    assert!(world.file_of(A).is_none());
    assert_eq!(world.objects.facts(A, true).await, Err(Refusal::Stale));
    let written = world.write(B, (0, b"b"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Stale));
    assert_eq!(world.objects.open_files(), 0);
}

#[tokio::test]
async fn removal_waits_for_what_is_under_way() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"a").await;
    world.disk.stall(Operation::Write);
    let write = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.write(A, (0, b"b"), Stability::Unstable).await }
    });
    until(|| world.disk.waiting(Operation::Write) == 1).await;
    let removal = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.objects.remove(&[A]).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(!removal.is_finished() && world.file_of(A).is_some());
    world.disk.resume(Operation::Write);
    write.await.unwrap().unwrap();
    removal.await.unwrap().unwrap();
    assert!(world.file_of(A).is_none());
}

#[tokio::test]
async fn removed_objects_are_forgotten_in_time() {
    let world = World::with_limits(1000, 64);
    for number in 0..500 {
        let object = ObjectId::new(number);
        world.unstable(object, 0, b"never committed").await;
        world.objects.remove(&[object]).await.unwrap();
    }
    assert!(world.objects.shared.table.all(|_| true).len() <= 128);
}

#[tokio::test]
async fn every_backing_file_is_shown_but_no_other() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    world.unstable(B, 0, b"b").await;
    let disk = &world.disk;
    for name in ["/data/1/stranger", "/data/1/5678", "/data/1/0001234", "/data/x"] {
        crate::Disk::open(disk, Path::new(name), Open::OrCreate).unwrap();
    }
    let mut shown = Vec::new();
    world.objects.each_backing_file(|object| shown.push(object)).unwrap();
    shown.sort();
    assert_eq!(shown, [A, B]);
}

#[tokio::test]
async fn a_quarantined_file_is_out_of_the_way() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    let world = world.restart();
    world.objects.quarantine(A).unwrap();
    assert!(world.file_of(A).is_none());
    let path = Path::new("/data/quarantine/1234.0");
    assert!(crate::Disk::open(&world.disk, path, Open::Existing).is_ok());
    let mut shown = 0;
    world.objects.each_backing_file(|_| shown += 1).unwrap();
    assert_eq!(shown, 0);
}

#[tokio::test]
async fn quarantine_ends_after_its_time() {
    let world = World::new();
    let kept = Duration::from_secs(60);
    assert_eq!(world.objects.discard_quarantined(kept).unwrap(), 0);
    for object in [A, B] {
        world.file_sync(object, 0, b"unknown").await;
        *world.clock.0.lock() += 50 * 1_000_000_000;
        world.objects.quarantine(object).unwrap();
    }
    assert_eq!(world.objects.discard_quarantined(kept).unwrap(), 0);
    *world.clock.0.lock() += 20 * 1_000_000_000;
    assert_eq!(world.objects.discard_quarantined(kept).unwrap(), 1);
    *world.clock.0.lock() += 50 * 1_000_000_000;
    assert_eq!(world.objects.discard_quarantined(kept).unwrap(), 1);
    assert_eq!(world.objects.discard_quarantined(kept).unwrap(), 0);
}

#[tokio::test]
async fn a_clean_stop_makes_everything_durable() {
    let world = World::new();
    for number in 0..100 {
        world.unstable(ObjectId::new(number), 0, b"kept").await;
    }
    world.objects.settle_all().await.unwrap();
    world.disk.cut_power();
    let world = world.restart();
    for number in 0..100 {
        assert_eq!(world.facts(ObjectId::new(number)).await.size, 4);
    }
}

#[tokio::test]
async fn a_stop_with_a_broken_copy_is_not_clean() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    world.unstable(B, 0, b"b").await;
    world.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    assert_eq!(world.objects.settle_all().await, Err(Refusal::Fault));
    assert_eq!(world.objects.settle_all().await, Err(Refusal::Fault));
    assert_eq!(world.objects.faults().len(), 1);
}

#[tokio::test]
async fn a_volume_without_its_directory_does_not_open() {
    let world = World::new();
    let shared = &world.objects.shared;
    let settings = Settings { dir: PathBuf::from("/elsewhere"), ..shared.settings.clone() };
    let opened = Objects::open(
        settings,
        Arc::clone(&shared.disk),
        Arc::clone(&shared.space),
        Arc::clone(&shared.sink),
        Arc::clone(&shared.clock),
    );
    assert_eq!(opened.err().unwrap().kind(), io::ErrorKind::NotFound);
}
