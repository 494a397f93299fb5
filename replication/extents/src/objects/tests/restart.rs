//! What a new process makes of the files that the old one left.

use super::*;
use crate::{Record, RecordState, simulated::Operation};

fn record_of(world: &World, object: ObjectId) -> Record {
    let bytes = world.file_of(object).unwrap().record().unwrap().unwrap();
    Record::decode(&bytes).unwrap()
}

#[tokio::test]
async fn an_unstable_write_after_a_dirty_restart_moves_mtime() {
    let world = World::new();
    world.unstable(A, 0, b"first").await;
    // No new record for these: the file's still speaks of the first.
    world.unstable(A, 0, b"second").await;
    let last = world.unstable(A, 0, b"third").await.after.stamp.unwrap();
    let world = world.restart();
    let found = world.facts(A).await.stamp.unwrap();
    assert!(found.mtime > last.mtime && found.ctime > last.ctime && found.mark > last.mark);
    let written = world.unstable(A, 0, b"fourth").await.after.stamp.unwrap();
    assert!(written.mtime > found.mtime && written.mark > found.mark);
}

#[tokio::test]
async fn times_that_moved_at_a_dirty_restart_do_not_move_at_the_next_once_committed() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    let world = world.restart();
    let moved = world.mtime(A).await;
    world.objects.settle_all().await.unwrap();
    let world = world.restart();
    assert_eq!(world.mtime(A).await, moved);
}

#[tokio::test]
async fn a_clean_restart_leaves_the_times_alone() {
    let world = World::new();
    let written = world.unstable(A, 0, b"a").await;
    world.objects.settle_all().await.unwrap();
    let world = world.restart();
    assert_eq!(world.facts(A).await.stamp, written.after.stamp);
}

#[tokio::test]
async fn the_record_is_dirty_from_the_first_write_until_the_commit() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    assert_eq!(record_of(&world, A).state, RecordState::Dirty);
    world.objects.commit(A, false).await.unwrap();
    assert_eq!(record_of(&world, A).state, RecordState::Clean);
    world.unstable(A, 0, b"b").await;
    assert_eq!(record_of(&world, A).state, RecordState::Dirty);
}

#[tokio::test]
async fn writes_in_a_row_flag_the_record_once() {
    let world = World::new();
    world.unstable(A, 0, b"a").await;
    let records = world.disk.calls(Operation::SetRecord);
    world.unstable(A, 1, b"b").await;
    world.unstable(A, 2, b"c").await;
    assert_eq!(world.disk.calls(Operation::SetRecord), records);
}

#[tokio::test]
async fn an_unreadable_record_is_a_fault() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    world.file_of(A).unwrap().set_record(b"rot").unwrap();
    let world = world.restart();
    assert_eq!(world.objects.facts(A, true).await, Err(Refusal::Fault));
}

#[tokio::test]
async fn a_file_without_a_record_has_bytes_and_no_stamp() {
    let world = World::new();
    world.unstable(B, 0, b"makes the directory").await;
    let path = world.objects.shared.path(B);
    crate::Disk::unlink(&world.disk, &path).unwrap();
    let file = crate::Disk::open(&world.disk, &path, Open::OrCreate).unwrap();
    file.write(b"bytes", 0).unwrap();
    let world = world.restart();
    let facts = world.facts(B).await;
    assert_eq!((facts.size, facts.stamp), (5, None));
}

#[tokio::test]
async fn a_volume_on_the_real_disk_is_found_again() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::LinuxDisk::new(scratch.path()).unwrap());
    let clock = Arc::new(HandClock(Mutex::new(1_000_000)));
    let open = || {
        let root = scratch.path().to_owned();
        let settings = Settings { dir: root.clone(), open_files_max: 10, known_objects_max: 10 };
        let space = Arc::new(Space::new(root, disk.clone(), clock.clone(), Ballast::None));
        Objects::open(settings, disk.clone(), space, Arc::<Told>::default(), clock.clone()).unwrap()
    };
    let stamping = |view| Stamping {
        now: clock.wall(),
        reign: Reign { epoch: Epoch::new(0), view: View::new(view) },
        ctime_floor: Timestamp::default(),
        key: None,
        secure: false,
    };
    let payload = Bytes::from(vec![9; 3 << 20]);
    let objects = open();
    let first = objects.write(A, false, 100, payload.clone(), Stability::Unstable, stamping(1));
    first.await.unwrap();
    let second = objects.write(A, false, 0, payload.clone(), Stability::FileSync, stamping(1));
    let written = second.await.unwrap();
    drop(objects);

    let objects = open();
    let found = objects.facts(A, true).await.unwrap();
    assert_eq!(found.stamp, written.after.stamp);
    let span = Span::new(0, 4 << 20).unwrap();
    let read = objects.read(A, true, span).await.unwrap();
    assert_eq!((read.bytes.len(), read.eof), ((3 << 20) + 100, true));
    assert!(read.bytes.iter().all(|byte| *byte == 9));
    objects.set_size(A, true, 10, stamping(2)).await.unwrap();
    objects.remove(&[A]).await.unwrap();
    objects.sync_file_system().await.unwrap();
    let mut left = 0;
    objects.each_backing_file(|_| left += 1).unwrap();
    assert_eq!(left, 0);
}
