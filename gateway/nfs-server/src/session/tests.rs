use std::time::Duration;

use bytes::Bytes;
use nfs_wire::nfs3::{self, Args, FileHandle, Reply};
use nfs_wire::{Refusal, Xid};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::Settings;
use crate::testing::{Client, DEMO, World, place, settings};

fn getattr(object: FileHandle) -> Args {
    Args::Getattr(nfs3::GetattrArgs { object })
}

fn read(file: FileHandle, count: u32) -> Args {
    Args::Read(nfs3::ReadArgs { file, offset: 0, count })
}

async fn mounted() -> (World, Client, FileHandle) {
    let world = World::start().await;
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    (world, client, root)
}

async fn look_up(client: &mut Client, root: FileHandle, name: &str) -> FileHandle {
    let lookup = Args::Lookup(nfs3::LookupArgs { what: place(root, name) });
    match client.nfs(lookup).await {
        Reply::Lookup(Ok(found)) => found.object,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_may_be_cut_at_any_byte() {
    let (_world, mut client, root) = mounted().await;
    let length = client.encode_nfs(&getattr(root)).1.len();
    for cut in 1..length {
        let (xid, bytes) = client.encode_nfs(&getattr(root));
        client.send(&bytes[..cut]).await;
        if cut % 8 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        client.send(&bytes[cut..]).await;
        assert_eq!(client.receive().await.unwrap().xid, xid);
    }
}

#[tokio::test]
async fn a_call_in_many_fragments_is_one_call() {
    let (_world, mut client, root) = mounted().await;
    let file = client.create(root, "a").await;
    let (offset, stable) = (0, nfs3::StableHow::Unstable);
    let data = Bytes::from(vec![5; 300_000]);
    let write = Args::Write(nfs3::WriteArgs { file, offset, stable, data: data.clone() });
    let (xid, bytes) = client.encode_nfs(&write);
    let pieces: Vec<_> = bytes[4..].chunks(70_001).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let last = if at + 1 == pieces.len() { 1 << 31 } else { 0 };
        client.send(&(last | piece.len() as u32).to_be_bytes()).await;
        client.send(piece).await;
    }
    assert_eq!(client.receive().await.unwrap().xid, xid);
    assert_eq!(client.read(file, 0, 300_000).await.data, data);
}

#[tokio::test]
async fn many_calls_in_one_segment_are_all_answered() {
    let (_world, mut client, root) = mounted().await;
    let calls: Vec<_> = (0..500).map(|_| client.encode_nfs(&getattr(root))).collect();
    let together: Vec<u8> = calls.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    client.send(&together).await;
    for (xid, _) in calls {
        assert_eq!(client.receive().await.unwrap().xid, xid);
    }
}

#[tokio::test]
async fn large_writes_back_to_back_arrive_whole() {
    let (_world, mut client, root) = mounted().await;
    let file = client.create(root, "a").await;
    let stable = nfs3::StableHow::Unstable;
    let mut together = Vec::new();
    for number in 0..8 {
        let (offset, data) = (u64::from(number) << 20, Bytes::from(vec![number; 1 << 20]));
        let write = Args::Write(nfs3::WriteArgs { file, offset, stable, data });
        together.extend_from_slice(&client.encode_nfs(&write).1);
    }
    client.send(&together).await;
    for _ in 0..8 {
        client.receive().await.unwrap().outcome.unwrap();
    }
    for number in 0..8 {
        let read = client.read(file, u64::from(number) << 20, 1 << 20).await;
        assert!(read.data.iter().all(|byte| *byte == number) && read.data.len() == 1 << 20);
    }
}

#[tokio::test]
async fn a_call_that_waits_does_not_hold_up_those_after_it() {
    let (world, mut client, root) = mounted().await;
    let held = world.tree.plant(DEMO, "slow");
    let slow = look_up(&mut client, root, "slow").await;
    world.tree.hold_data(Some(held));
    let (first, bytes) = client.encode_nfs(&read(slow, 10));
    client.send(&bytes).await;
    let (second, bytes) = client.encode_nfs(&getattr(root));
    client.send(&bytes).await;
    assert_eq!(client.receive().await.unwrap().xid, second);
    world.tree.hold_data(None);
    assert_eq!(client.receive().await.unwrap().xid, first);
}

#[tokio::test]
async fn a_record_over_the_limit_closes_the_connection() {
    let (_world, mut client, _) = mounted().await;
    client.send(&((1_u32 << 31) | (64 << 20)).to_be_bytes()).await;
    assert!(client.receive().await.is_none());
}

#[tokio::test]
async fn a_record_that_is_no_call_is_dropped_and_the_next_one_is_answered() {
    let (_world, mut client, root) = mounted().await;
    client.send(&[0x80, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]).await;
    assert_eq!(client.nfs(getattr(root)).await.failure(), None);
}

#[tokio::test]
async fn a_client_that_dies_within_a_record_leaves_the_others_alone() {
    let (world, mut client, root) = mounted().await;
    let mut dying = world.client().await;
    dying.send(&((1_u32 << 31) | (1 << 20)).to_be_bytes()).await;
    dying.send(&[0; 1000]).await;
    drop(dying);
    assert_eq!(client.nfs(getattr(root)).await.failure(), None);
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_still_gets_its_replies() {
    let (world, mut client, root) = mounted().await;
    let held = world.tree.plant(DEMO, "slow");
    let slow = look_up(&mut client, root, "slow").await;
    world.tree.hold_data(Some(held));
    let (xid, bytes) = client.encode_nfs(&read(slow, 10));
    client.send(&bytes).await;
    client.stream.shutdown().await.unwrap();
    sleep(Duration::from_millis(20)).await;
    world.tree.hold_data(None);
    assert_eq!(client.receive().await.unwrap().xid, xid);
    assert!(client.receive().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_its_replies_stalls_only_itself() {
    let world = World::start_with(Settings {
        in_flight_bytes_per_connection_max: 4 << 20,
        in_flight_bytes_max: 16 << 20,
        ..settings()
    })
    .await;
    let mut greedy = world.client().await;
    let root = greedy.mnt("/demo").await.unwrap();
    let file = greedy.create(root, "a").await;
    greedy.write(file, 0, Bytes::from(vec![1; 1 << 20])).await;
    let calls: Vec<u8> = (0..200).flat_map(|_| greedy.encode_nfs(&read(file, 1 << 20)).1).collect();
    let mut sent = greedy.stream.into_split();
    sent.1.write_all(&calls).await.unwrap();

    let mut other = world.client().await;
    for _ in 0..20 {
        let answered = timeout(Duration::from_secs(5), other.read(file, 0, 1 << 20)).await;
        assert_eq!(answered.unwrap().data.len(), 1 << 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_their_replies_are_closed_once_others_wait_for_the_room() {
    let world = World::start_with(Settings {
        in_flight_bytes_per_connection_max: 4 << 20,
        in_flight_bytes_max: 8 << 20,
        ..settings()
    })
    .await;
    let mut first = world.client().await;
    let root = first.mnt("/demo").await.unwrap();
    let file = first.create(root, "a").await;
    first.write(file, 0, Bytes::from(vec![1; 1 << 20])).await;
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut client = world.client().await;
        let calls: Vec<u8> =
            (0..50).flat_map(|_| client.encode_nfs(&read(file, 1 << 20)).1).collect();
        client.send(&calls).await;
        deaf.push(client);
    }
    sleep(Duration::from_millis(200)).await;
    let answered = timeout(Duration::from_secs(10), first.read(file, 0, 1 << 20)).await;
    assert_eq!(answered.unwrap().data.len(), 1 << 20);
}

#[tokio::test]
async fn all_replies_of_a_slow_reader_arrive_in_the_end() {
    let world = World::start_with(Settings {
        in_flight_bytes_per_connection_max: 4 << 20,
        requests_per_connection_max: 3,
        ..settings()
    })
    .await;
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    let file = client.create(root, "a").await;
    client.write(file, 0, Bytes::from(vec![1; 1 << 20])).await;
    let calls: Vec<u8> = (0..50).flat_map(|_| client.encode_nfs(&read(file, 1 << 20)).1).collect();
    client.send(&calls).await;
    sleep(Duration::from_millis(200)).await;
    for _ in 0..50 {
        client.receive().await.unwrap().outcome.unwrap();
    }
    assert_eq!(client.nfs(getattr(root)).await.failure(), None);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_its_place_is_free_again_later() {
    let world = World::start_with(Settings { connections_max: 1, ..settings() }).await;
    let mut first = world.client().await;
    first.mnt("/demo").await.unwrap();
    let mut second = world.client().await;
    assert!(second.receive().await.is_none());
    drop(first);
    let mut served = false;
    while !served {
        let mut third = world.client().await;
        let (_, bytes) = third.encode((nfs3::PROGRAM, 3, 0), &());
        // The server may close it between the two.
        if third.stream.write_all(&bytes).await.is_ok() {
            served = third.receive().await.is_some();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_idle_connections_do_not_disturb_one_that_works() {
    let (world, mut client, root) = mounted().await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(world.client().await);
    }
    for _ in 0..100 {
        assert_eq!(client.nfs(getattr(root)).await.failure(), None);
    }
    assert_eq!(idle[299].null(nfs3::PROGRAM, 3).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn a_refused_call_is_answered_in_its_place() {
    let (_world, mut client, root) = mounted().await;
    let (first, mut together) = {
        let (xid, bytes) = client.encode((nfs3::PROGRAM, 4, 0), &());
        (xid, Vec::from(&bytes[..]))
    };
    let (second, bytes) = client.encode_nfs(&getattr(root));
    together.extend_from_slice(&bytes);
    client.send(&together).await;
    let refused = client.receive().await.unwrap();
    assert_eq!(refused.xid, first);
    assert_eq!(refused.outcome, Err(Refusal::ProgMismatch { low: 3, high: 3 }));
    assert_eq!(client.receive().await.unwrap().xid, Xid(second.0));
}
