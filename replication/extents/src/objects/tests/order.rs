//! Operations that meet: who waits for whom, and what is left when a caller goes away.

use super::*;
use crate::simulated::Operation;

fn spawn_write(
    world: &Arc<World>,
    offset: u64,
    payload: &'static [u8],
) -> tokio::task::JoinHandle<Result<WriteDone, Refusal>> {
    let world = Arc::clone(world);
    tokio::spawn(async move { world.write(A, (offset, payload), Stability::Unstable).await })
}

#[tokio::test]
async fn a_read_waits_for_a_write_of_its_bytes_that_is_under_way() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"old old old").await;
    world.disk.stall(Operation::Write);
    let write = spawn_write(&world, 4, b"new");
    until(|| world.disk.waiting(Operation::Write) == 1).await;
    let read = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.read(A, 0, 100).await }
    });
    // What the write does not touch can be read meanwhile.
    assert_eq!(&world.read(A, 0, 4).await.bytes[..], b"old ");
    assert!(!read.is_finished());
    world.disk.resume(Operation::Write);
    write.await.unwrap().unwrap();
    assert_eq!(&read.await.unwrap().bytes[..], b"old new old");
}

#[tokio::test]
async fn overlapping_writes_land_in_the_order_of_their_marks() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"0").await;
    world.disk.stall(Operation::Write);
    let payloads: [&'static [u8]; 5] = [b"11111", b"22222", b"33333", b"44444", b"55555"];
    let mut writes = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        writes.push(spawn_write(&world, index as u64, payload));
        tokio::task::yield_now().await;
    }
    until(|| world.disk.waiting(Operation::Write) == 1).await;
    world.disk.resume(Operation::Write);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(&world.read(A, 0, 100).await.bytes[..], b"123455555");
}

#[tokio::test]
async fn writes_apart_from_each_other_run_at_once() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"0123456789").await;
    world.disk.stall(Operation::Write);
    let writes = [spawn_write(&world, 0, b"a"), spawn_write(&world, 5, b"b")];
    until(|| world.disk.waiting(Operation::Write) == 2).await;
    world.disk.resume(Operation::Write);
    for write in writes {
        write.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_change_of_size_waits_for_the_writes_it_cuts() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"0123456789").await;
    world.disk.stall(Operation::Write);
    let write = spawn_write(&world, 8, b"xxxx");
    until(|| world.disk.waiting(Operation::Write) == 1).await;
    let stamping = world.stamping();
    let cut = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.objects.set_size(A, false, 9, stamping).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(!cut.is_finished());
    world.disk.resume(Operation::Write);
    write.await.unwrap().unwrap();
    let done = cut.await.unwrap().unwrap();
    assert_eq!((done.before.size, done.after.size), (12, 9));
    assert_eq!(&world.read(A, 0, 100).await.bytes[..], b"01234567x");
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_still_ends_and_lets_others_go_on() {
    let world = Arc::new(World::new());
    world.unstable(A, 0, b"0").await;
    world.disk.stall(Operation::Write);
    let abandoned = spawn_write(&world, 0, b"first");
    until(|| world.disk.waiting(Operation::Write) == 1).await;
    let queued = spawn_write(&world, 0, b"never");
    tokio::task::yield_now().await;
    abandoned.abort();
    queued.abort();
    let last = spawn_write(&world, 4, b"T last");
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The bytes of the first may still be on their way: nobody overtakes them.
    assert_eq!(world.disk.waiting(Operation::Write), 1);
    world.disk.resume(Operation::Write);
    last.await.unwrap().unwrap();
    assert_eq!(&world.read(A, 0, 100).await.bytes[..], b"firsT last");
}

#[tokio::test]
async fn many_first_uses_at_once_open_the_file_once() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    let world = Arc::new(world.restart());
    let opens = world.disk.calls(Operation::Open);
    world.disk.stall(Operation::Open);
    let reads: Vec<_> = (0..10)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.read(A, 0, 1).await })
        })
        .collect();
    until(|| world.disk.waiting(Operation::Open) == 1).await;
    world.disk.resume(Operation::Open);
    for read in reads {
        assert_eq!(&read.await.unwrap().bytes[..], b"a");
    }
    assert_eq!(world.disk.calls(Operation::Open), opens + 1);
}

#[tokio::test]
async fn a_known_object_s_facts_need_no_disk() {
    let world = World::new();
    world.file_sync(A, 0, b"a").await;
    let opens = world.disk.calls(Operation::Open);
    let records = world.disk.calls(Operation::Record);
    world.facts(A).await;
    assert_eq!(world.disk.calls(Operation::Open), opens);
    assert_eq!(world.disk.calls(Operation::Record), records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_writes_reads_and_commits_ends_well() {
    let world = Arc::new(World::with_limits(3, 100));
    let tasks: Vec<_> = (0..40_u64)
        .map(|task| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                for round in 0..50_u64 {
                    let object = ObjectId::new(2 + (task + round) % 2);
                    let offset = (task * 7 + round * 3) % 64;
                    match round % 4 {
                        0 => drop(world.unstable(object, offset, b"unstable").await),
                        1 => drop(world.file_sync(object, offset, b"synced").await),
                        2 => drop(world.read(object, offset, 20).await),
                        _ => drop(world.objects.commit(object, false).await.unwrap()),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    world.objects.settle_all().await.unwrap();
    assert_eq!(world.disk.closed_unsynced(), 0);
}
