//! Reads that verify: what they find, and that nobody waits for them.

use model::EXTENT_BYTES;

use super::*;
use crate::simulated::{Failing, Operation};

fn mark_of(done: &WriteDone) -> Mark {
    done.after.stamp.unwrap().mark
}

#[tokio::test]
async fn an_extent_is_read_with_the_mark_that_it_holds() {
    let world = World::new();
    let beyond = 3 * EXTENT_BYTES;
    world.unstable(A, 0, b"first").await;
    let last = world.unstable(A, beyond, b"far").await;
    let cold = world.objects.read_cold(A, true, 0).await.unwrap();
    assert_eq!((cold.at, cold.size, cold.next), (Some(mark_of(&last)), beyond + 3, 3));
    assert_eq!(&cold.piece.bytes[..5], b"first");
    let hole = world.objects.read_cold(A, true, 1).await.unwrap();
    assert!(hole.piece.runs.is_empty() && hole.next == 3);
    let end = world.objects.read_cold(A, true, 3).await.unwrap();
    assert_eq!((end.next, &end.piece.bytes[..]), (u64::MAX, &b"far"[..]));
    let after = world.objects.read_cold(A, true, 9).await.unwrap();
    assert!(after.piece.runs.is_empty(), "it was longer a moment ago");
    let none = world.objects.read_cold(B, false, 0).await.unwrap();
    assert_eq!((none.at, none.size), (Some(Mark::default()), 0), "nothing was ever written");
}

#[tokio::test]
async fn what_can_not_be_read_or_is_missing_is_a_fault_and_costs_the_object_nothing() {
    let world = World::new();
    world.unstable(A, 0, b"first").await;
    world.disk.fail(Operation::Read, libc::EIO, Failing::Always);
    assert_eq!(world.objects.read_cold(A, true, 0).await, Err(Refusal::Fault));
    world.disk.mend();
    assert!(world.objects.read_cold(A, true, 0).await.is_ok());
    assert_eq!(
        world.objects.read_cold(B, true, 0).await,
        Err(Refusal::Fault),
        "it should be there"
    );
    world.unstable(A, 0, b"again").await;
    assert!(world.told.0.lock().iter().all(|(_, fault)| fault.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_the_read_does_not_wait_for_it_and_takes_its_mark_away() {
    let world = World::new();
    world.unstable(A, 0, b"first").await;
    world.disk.stall(Operation::Read);
    let objects = world.objects.clone();
    let reading = tokio::spawn(async move { objects.read_cold(A, true, 0).await });
    while world.disk.waiting(Operation::Read) == 0 {
        tokio::task::yield_now().await;
    }
    let last = world.unstable(A, 0, b"other").await;
    world.disk.resume(Operation::Read);
    assert_eq!(reading.await.unwrap().unwrap().at, None);
    let at = world.objects.holds(A, true).await.unwrap();
    assert_eq!(at, Some(mark_of(&last)));
    let steady = world.objects.read_cold(A, true, 0).await.unwrap();
    assert_eq!((steady.at, &steady.piece.bytes[..]), (at, &b"other"[..]));
}
