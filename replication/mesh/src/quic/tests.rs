use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::ApplianceId;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::limits::IDLE_MAX;
use crate::testing::{
    A, B, DAY, NOW, Recorder, Relay, SLEEP, TestEntropy, appliance, authority, message, parts,
    settings, until,
};
use crate::{Chunk, FleetAuthority};

mod join;
mod strangers;

const SOON: Duration = Duration::from_secs(10);

/// A mesh with credentials of its own, and settings.
fn mesh_of(credentials: Credentials, settings: Settings) -> (QuicMesh, Arc<Recorder>) {
    let mesh = QuicMesh::bind(settings, parts(credentials)).unwrap();
    let recorder = Arc::new(Recorder::default());
    mesh.serve(Arc::clone(&recorder));
    (mesh, recorder)
}

fn peer(id: ApplianceId, mesh: &QuicMesh) -> Peer {
    Peer { id, addresses: vec![mesh.address().unwrap()] }
}

async fn echo(mesh: &QuicMesh, to: ApplianceId) -> Result<Message, MeshFault> {
    mesh.ask(to, message(9, Bytes::from_static(b"body")), SOON).await
}

fn links(mesh: &QuicMesh, to: ApplianceId) -> usize {
    mesh.0.peer(to).map_or(0, |peer| peer.link_count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_at_its_address_is_back_within_a_second() {
    let fleet = authority();
    let (a, _) = appliance(&fleet, A);
    let credentials = fleet.issue(B, &TestEntropy, NOW, 30 * DAY);
    let process = tokio::runtime::Runtime::new().unwrap();
    let entered = process.enter();
    let (b, _) = mesh_of(credentials.clone(), settings());
    drop(entered);
    let listen = b.address().unwrap();
    a.set_peers(vec![Peer { id: B, addresses: vec![listen] }]);
    echo(&a, B).await.unwrap();
    // Killed: nothing of it runs any more, so it says no goodbye. Its next run is issued others.
    process.shutdown_background();
    drop(b);
    assert!(a.is_connected(B), "it can't know yet");
    let credentials = fleet.issue(B, &TestEntropy, NOW, 30 * DAY);
    let give_up = Instant::now() + SOON;
    let again = loop {
        // The socket is free once the last of its tasks is gone.
        let made = QuicMesh::bind(Settings { listen, ..settings() }, parts(credentials.clone()));
        match made {
            Ok(made) => break made,
            Err(fault) => assert!(Instant::now() < give_up, "{fault}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    again.serve(Arc::new(Recorder::default()));
    let began = Instant::now();
    while a.ask(B, message(9, Bytes::new()), Duration::from_millis(100)).await.is_err() {
        assert!(began.elapsed() < IDLE_MAX, "the stateless reset told it");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dialing_at_once_end_with_one_connection() {
    for _ in 0..5 {
        let fleet = authority();
        let ((a, _), (b, _)) = (appliance(&fleet, A), appliance(&fleet, B));
        a.set_peers(vec![peer(B, &b)]);
        b.set_peers(vec![peer(A, &a)]);
        let (mut asking, mut asked) = (Vec::new(), 0);
        for _ in 0..20 {
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            asking.push(tokio::spawn(async move { echo(&a, B).await }));
            asking.push(tokio::spawn(async move { echo(&b, A).await }));
        }
        for ask in asking {
            ask.await.unwrap().unwrap();
            asked += 1;
        }
        assert_eq!(asked, 40);
        until(|| links(&a, B) == 1 && links(&b, A) == 1).await;
        let (at_a, at_b) = (a.0.peer(B).unwrap(), b.0.peer(A).unwrap());
        let dialed = (at_a.live().unwrap().dialed_by, at_b.live().unwrap().dialed_by);
        assert_eq!(dialed.0, dialed.1, "both kept the same one");
        echo(&a, B).await.unwrap();
        echo(&b, A).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_both_ends_keep_the_one_of_the_lower_appliance() {
    for lower_dials_first in [true, false] {
        let fleet = authority();
        let ((a, _), (b, _)) = (appliance(&fleet, A), appliance(&fleet, B));
        a.set_peers(vec![peer(B, &b)]);
        b.set_peers(vec![peer(A, &a)]);
        let (to_b, to_a) = (a.0.peer(B).unwrap(), b.0.peer(A).unwrap());
        let (first, second) =
            if lower_dials_first { ((&a, &to_b), (&b, &to_a)) } else { ((&b, &to_a), (&a, &to_b)) };
        first.0.0.register(first.0.0.dial(first.1).await.unwrap());
        until(|| a.is_connected(B) && b.is_connected(A)).await;
        let asker = Arc::clone(&b);
        let slow =
            tokio::spawn(async move { asker.ask(A, message(SLEEP, Bytes::new()), SOON).await });
        second.0.0.register(second.0.0.dial(second.1).await.unwrap());
        assert!(slow.await.unwrap().is_ok(), "what was under way is answered");
        until(|| links(&a, B) == 1 && links(&b, A) == 1).await;
        assert_eq!(to_b.live().unwrap().dialed_by, A);
        assert_eq!(to_a.live().unwrap().dialed_by, A);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_stream_starves_neither_requests_nor_tells_on_a_slow_path() {
    let fleet = authority();
    let (a, _) = appliance(&fleet, A);
    let (b, at_b) = appliance(&fleet, B);
    let relay = Relay::to(b.address().unwrap()).await;
    relay.path.rate.store(4 << 20, Ordering::Relaxed);
    a.set_peers(vec![Peer { id: B, addresses: vec![relay.address] }]);
    echo(&a, B).await.unwrap();
    for _ in 0..4 {
        let BulkStream { mut sender, mut receiver } = a.open_stream(B, Bytes::new()).await.unwrap();
        tokio::spawn(async move {
            let chunk = Chunk { header: Bytes::new(), payload: vec![1; 1 << 20].into() };
            while sender.send(chunk.clone()).await.is_ok() {}
        });
        tokio::spawn(async move { while let Ok(Some(_)) = receiver.receive().await {} });
    }
    // By now 16 MiB wait to be sent: four seconds of this path.
    sleep(Duration::from_secs(1)).await;
    let carried = || relay.path.carried.load(Ordering::Relaxed);
    let (before, began) = (carried(), Instant::now());
    let (mut worst, mut asked) = (Duration::ZERO, 0);
    while began.elapsed() < Duration::from_secs(2) {
        let began = Instant::now();
        a.tell(B, Topic::BEATS, Bytes::from_static(b"beat"));
        echo(&a, B).await.unwrap();
        asked += 1;
        until(|| at_b.told.lock().len() == asked).await;
        worst = worst.max(began.elapsed());
    }
    let full = carried() - before;
    assert!(full > 4 << 20, "the path was full all the time: {full} bytes");
    assert!(worst < Duration::from_millis(700), "{worst:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appliance_one_version_older_is_in_the_fleet() {
    let fleet = authority();
    let of = |id, versions| {
        let credentials = fleet.issue(id, &TestEntropy, NOW, 30 * DAY);
        mesh_of(credentials, Settings { versions, ..settings() })
    };
    let newer = FrameVersions { min: 1, max: 2 };
    let ((a, _), (b, _)) = (of(A, FrameVersions { min: 1, max: 1 }), of(B, newer));
    a.set_peers(vec![peer(B, &b)]);
    assert_eq!((a.frame_version(B), a.path(B)), (None, None));
    echo(&a, B).await.unwrap();
    assert_eq!((a.frame_version(B), b.frame_version(A)), (Some(1), Some(1)));
    let path = a.path(B).unwrap();
    assert!(path.sent > 0 && path.window_bytes > 0 && path.round_trip < SOON, "{path:?}");
    let id = ApplianceId::new(0xc);
    let (c, at_c) = of(id, FrameVersions { min: 3, max: 3 });
    c.set_peers(vec![peer(B, &b)]);
    b.set_peers(vec![peer(id, &c)]);
    let wait = Duration::from_millis(500);
    assert_eq!(c.ask(B, message(9, Bytes::new()), wait).await, Err(MeshFault::NotSent));
    assert_eq!(b.ask(id, message(9, Bytes::new()), wait).await, Err(MeshFault::NotSent));
    assert_eq!(at_c.frames(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_credentials_are_shown_from_the_next_connection_on() {
    let fleet = authority();
    let (a, _) = appliance(&fleet, A);
    let expired = fleet.issue(B, &TestEntropy, model::Timestamp::default(), DAY);
    let (b, _) = mesh_of(expired, settings());
    a.set_peers(vec![peer(B, &b)]);
    let wait = Duration::from_millis(300);
    let asked = a.ask(B, message(9, Bytes::new()), wait).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
    b.set_credentials(&fleet.issue(B, &TestEntropy, NOW, DAY)).unwrap();
    echo(&a, B).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_five_talks_all_to_all() {
    let fleet = authority();
    let all: Vec<_> = (1..=5).map(ApplianceId::new).collect();
    let meshes: Vec<_> = all.iter().map(|id| appliance(&fleet, *id).0).collect();
    let peers: Vec<_> = all.iter().zip(&meshes).map(|(id, mesh)| peer(*id, mesh)).collect();
    for mesh in &meshes {
        mesh.set_peers(peers.clone());
    }
    for (id, mesh) in all.iter().zip(&meshes) {
        for to in all.iter().filter(|to| *to != id) {
            echo(mesh, *to).await.unwrap();
        }
        assert_eq!(echo_soon(mesh, *id).await, Err(MeshFault::NotSent), "not to itself");
    }
}

async fn echo_soon(mesh: &QuicMesh, to: ApplianceId) -> Result<Message, MeshFault> {
    mesh.ask(to, message(9, Bytes::new()), Duration::from_millis(100)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_does_not_answer_does_not_hide_one_that_does() {
    let fleet = authority();
    let ((a, _), (b, _)) = (appliance(&fleet, A), appliance(&fleet, B));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = vec![silent.local_addr().unwrap(), b.address().unwrap()];
    a.set_peers(vec![Peer { id: B, addresses }]);
    let began = Instant::now();
    echo(&a, B).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_tells_are_dropped_and_counted() {
    let fleet = authority();
    let (a, _) = appliance(&fleet, A);
    let (b, at_b) = appliance(&fleet, B);
    let relay = Relay::to(b.address().unwrap()).await;
    relay.path.rate.store(1 << 20, Ordering::Relaxed);
    a.set_peers(vec![Peer { id: B, addresses: vec![relay.address] }]);
    echo(&a, B).await.unwrap();
    let big = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..60 {
        a.tell(B, Topic::RAFT, big.clone());
    }
    let dropped = a.tells_dropped();
    // 16 MiB may wait here and a window of 4 MiB in QUIC.
    assert!((30..60).contains(&dropped), "{dropped}");
    // Another topic has its own queue.
    a.tell(B, Topic::BEATS, Bytes::from_static(b"beat"));
    until(|| !at_b.told.lock().is_empty()).await;
    assert_eq!(at_b.told.lock()[0].1, Topic::BEATS);
}
