//! The contract of [`Mesh`], run on the mesh over QUIC and on its twin in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::ApplianceId;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{
    BULK_STREAMS_MAX, CHUNK_BYTES_MAX, HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, TELL_BYTES_MAX,
    TELLS_WAITING_MAX,
};
use crate::testing::{A, B, HUGE, Recorder, Relay, SLEEP, appliance, authority, message, until};
use crate::{Chunk, MemoryFleet, Mesh, MeshFault, Peer, Topic};

/// Two appliances; `a` can dial `b`.
struct Pair {
    a: Arc<dyn Mesh>,
    b: Arc<dyn Mesh>,
    at_a: Arc<Recorder>,
    at_b: Arc<Recorder>,
    cut: Box<dyn Fn(bool) + Send + Sync>,
}

async fn quic() -> Pair {
    let fleet = authority();
    let (a, at_a) = appliance(&fleet, A);
    let (b, at_b) = appliance(&fleet, B);
    let relay = Relay::to(b.address().unwrap()).await;
    a.set_peers(vec![Peer { id: B, addresses: vec![relay.address] }]);
    b.set_peers(vec![Peer { id: A, addresses: Vec::new() }]);
    let path = relay.path;
    Pair { a, b, at_a, at_b, cut: Box::new(move |cut| path.cut.store(cut, Ordering::SeqCst)) }
}

async fn memory() -> Pair {
    let fleet = MemoryFleet::default();
    let (a, b) = (fleet.attach(A), fleet.attach(B));
    let (at_a, at_b) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
    a.serve(Arc::clone(&at_a));
    b.serve(Arc::clone(&at_b));
    a.set_peers(vec![Peer { id: B, addresses: Vec::new() }]);
    b.set_peers(vec![Peer { id: A, addresses: Vec::new() }]);
    let cut = move |cut: bool| if cut { fleet.cut(A, B) } else { fleet.mend(A, B) };
    Pair { a: Arc::new(a), b: Arc::new(b), at_a, at_b, cut: Box::new(cut) }
}

/// Each claim of the contract as a test on both.
macro_rules! contract {
    ($($claim:ident),* $(,)?) => {
        mod over_quic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() { super::$claim(super::quic().await).await })*
        }
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() { super::$claim(super::memory().await).await })*
        }
    };
}

contract!(
    a_request_of_any_size_and_kind_is_answered,
    both_ends_may_ask,
    many_requests_at_once_are_each_answered_with_their_own,
    what_is_over_a_limit_is_not_sent,
    a_reply_over_the_limit_is_unknown_and_the_next_is_answered,
    nobody_but_a_peer_is_asked,
    a_request_to_an_unreachable_peer_is_not_sent,
    a_request_whose_peer_is_lost_is_unknown,
    a_request_goes_on_when_its_asker_is_gone,
    tells_keep_their_order,
    tells_without_a_connection_are_dropped_and_counted,
    a_stream_carries_chunks_both_ways_and_then_ends,
    a_sender_that_vanishes_is_no_end,
    a_lost_peer_ends_a_stream_with_a_fault,
    a_peer_has_a_limited_number_of_streams,
    an_unread_stream_stops_its_sender_and_nobody_else,
    a_removed_peer_is_cut_off_at_the_next_recheck,
    a_closed_mesh_answers_nothing,
);

const SOON: Duration = Duration::from_secs(5);

async fn a_request_of_any_size_and_kind_is_answered(pair: Pair) {
    for size in [0, 1, 1000, 1025, 16 << 10, 1 << 20, PAYLOAD_BYTES_MAX] {
        let payload: Bytes = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        let mut asked = message(0xffff, payload);
        asked.header = vec![3; size.min(HEADER_BYTES_MAX)].into();
        let reply = pair.a.ask(B, asked.clone(), SOON).await.unwrap();
        assert!(reply == asked, "{size} bytes");
    }
}

async fn both_ends_may_ask(pair: Pair) {
    pair.a.ask(B, message(9, Bytes::new()), SOON).await.unwrap();
    until(|| pair.b.is_connected(A)).await;
    pair.b.ask(A, message(9, Bytes::new()), SOON).await.unwrap();
    assert_eq!(pair.at_a.asked.load(Ordering::SeqCst), 1);
    assert!(pair.a.round_trip(B).is_some() && pair.b.round_trip(A).is_some());
}

async fn many_requests_at_once_are_each_answered_with_their_own(pair: Pair) {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..3000_u32 {
        let a = Arc::clone(&pair.a);
        asking.spawn(async move {
            let asked = message(9, Bytes::copy_from_slice(&number.to_be_bytes()));
            assert_eq!(a.ask(B, asked.clone(), Duration::from_secs(30)).await, Ok(asked));
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
}

async fn what_is_over_a_limit_is_not_sent(pair: Pair) {
    let large = message(9, vec![0; PAYLOAD_BYTES_MAX + 1].into());
    assert_eq!(pair.a.ask(B, large, SOON).await, Err(MeshFault::TooLarge));
    let mut wordy = message(9, Bytes::new());
    wordy.header = vec![0; HEADER_BYTES_MAX + 1].into();
    assert_eq!(pair.a.ask(B, wordy, SOON).await, Err(MeshFault::TooLarge));
    let opening = vec![0; HEADER_BYTES_MAX + 1].into();
    assert_eq!(pair.a.open_stream(B, opening).await.err(), Some(MeshFault::TooLarge));
    let mut stream = pair.a.open_stream(B, Bytes::new()).await.unwrap();
    let payload = Bytes::from(vec![0; CHUNK_BYTES_MAX + 1]);
    let large = Chunk { header: Bytes::new(), payload };
    assert_eq!(stream.sender.send(large).await, Err(MeshFault::TooLarge));
    stream.sender.send(Chunk::header_only(Bytes::new())).await.unwrap();
    assert_eq!(pair.at_b.asked.load(Ordering::SeqCst), 0);
    pair.a.tell(B, Topic::RAFT, vec![0; TELL_BYTES_MAX + 1].into());
    assert_eq!(pair.a.tells_dropped(), 1);
}

async fn a_reply_over_the_limit_is_unknown_and_the_next_is_answered(pair: Pair) {
    assert_eq!(pair.a.ask(B, message(HUGE, Bytes::new()), SOON).await, Err(MeshFault::Unknown));
    assert!(pair.a.ask(B, message(9, Bytes::new()), SOON).await.is_ok());
}

async fn nobody_but_a_peer_is_asked(pair: Pair) {
    let nobody = ApplianceId::new(77);
    let began = Instant::now();
    assert_eq!(pair.a.ask(nobody, message(9, Bytes::new()), SOON).await, Err(MeshFault::NotSent));
    assert_eq!(pair.a.open_stream(nobody, Bytes::new()).await.err(), Some(MeshFault::NotSent));
    pair.a.tell(nobody, Topic::RAFT, Bytes::new());
    assert_eq!(pair.a.tells_dropped(), 1);
    assert!(began.elapsed() < SOON / 2, "at once");
}

async fn a_request_to_an_unreachable_peer_is_not_sent(pair: Pair) {
    (pair.cut)(true);
    let began = Instant::now();
    let wait = Duration::from_millis(300);
    let asked = pair.a.ask(B, message(9, Bytes::new()), wait).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
    assert!(began.elapsed() >= wait);
    (pair.cut)(false);
    assert!(pair.a.ask(B, message(9, Bytes::new()), SOON).await.is_ok(), "and then it is");
}

async fn a_request_whose_peer_is_lost_is_unknown(pair: Pair) {
    pair.a.ask(B, message(9, Bytes::new()), SOON).await.unwrap();
    let a = Arc::clone(&pair.a);
    let asking = tokio::spawn(async move {
        a.ask(B, message(SLEEP, Bytes::new()), Duration::from_secs(1)).await
    });
    until(|| pair.at_b.asked.load(Ordering::SeqCst) == 2).await;
    (pair.cut)(true);
    assert_eq!(asking.await.unwrap(), Err(MeshFault::Unknown));
}

async fn a_request_goes_on_when_its_asker_is_gone(pair: Pair) {
    let asking = pair.a.ask(B, message(SLEEP, Bytes::new()), Duration::from_secs(60));
    assert!(timeout(Duration::from_millis(400), asking).await.is_err());
    assert_eq!(pair.at_b.asked.load(Ordering::SeqCst), 1);
    until(|| pair.at_b.finished.load(Ordering::SeqCst) == 1).await;
}

async fn tells_keep_their_order(pair: Pair) {
    pair.a.ask(B, message(9, Bytes::new()), SOON).await.unwrap();
    let count = TELLS_WAITING_MAX as u32;
    for number in 0..count {
        let topic = if number % 2 == 0 { Topic::BEATS } else { Topic::RAFT };
        pair.a.tell(B, topic, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    until(|| pair.at_b.told.lock().len() == count as usize).await;
    for topic in [Topic::BEATS, Topic::RAFT] {
        let told = pair.at_b.told.lock();
        let of_topic = told.iter().filter(|(from, of, _)| *of == topic && *from == A);
        let numbers: Vec<_> = of_topic.map(|(_, _, bytes)| bytes.clone()).collect();
        assert_eq!(numbers.len(), count as usize / 2);
        assert!(numbers.is_sorted());
    }
    assert_eq!(pair.a.tells_dropped(), 0);
}

async fn tells_without_a_connection_are_dropped_and_counted(pair: Pair) {
    (pair.cut)(true);
    pair.a.tell(B, Topic::BEATS, Bytes::from_static(b"lost"));
    assert_eq!(pair.a.tells_dropped(), 1);
    (pair.cut)(false);
    // It was dialed for the lost one.
    until(|| pair.a.is_connected(B)).await;
    pair.a.tell(B, Topic::BEATS, Bytes::from_static(b"heard"));
    until(|| !pair.at_b.told.lock().is_empty()).await;
    assert_eq!(pair.at_b.told.lock()[0], (A, Topic::BEATS, Bytes::from_static(b"heard")));
}

async fn a_stream_carries_chunks_both_ways_and_then_ends(pair: Pair) {
    let stream = pair.a.open_stream(B, Bytes::from_static(b"opening")).await.unwrap();
    let (mut sender, mut receiver) = (stream.sender, stream.receiver);
    let sending = tokio::spawn(async move {
        for number in 0..40_u32 {
            let payload = vec![number as u8; (number as usize * 40_000).min(CHUNK_BYTES_MAX)];
            let header = Bytes::copy_from_slice(&number.to_be_bytes());
            sender.send(Chunk { header, payload: payload.into() }).await.unwrap();
        }
        sender.finish().await.unwrap();
        assert!(sender.send(Chunk::header_only(Bytes::new())).await.is_err());
        sender
    });
    for number in 0..40_u32 {
        let ack = receiver.receive().await.unwrap().unwrap();
        assert_eq!(ack.header.as_ref(), number.to_be_bytes());
    }
    assert_eq!(receiver.receive().await, Ok(None));
    assert_eq!(receiver.receive().await, Ok(None), "and stays at its end");
    sending.await.unwrap();
    until(|| pair.at_b.endings.lock().len() == 1).await;
    assert_eq!(pair.at_b.endings.lock()[0], Ok(()));
}

async fn a_sender_that_vanishes_is_no_end(pair: Pair) {
    let mut stream = pair.a.open_stream(B, Bytes::new()).await.unwrap();
    stream.sender.send(Chunk::header_only(Bytes::from_static(b"one"))).await.unwrap();
    stream.receiver.receive().await.unwrap().unwrap();
    drop(stream.sender);
    until(|| pair.at_b.endings.lock().len() == 1).await;
    assert_eq!(pair.at_b.endings.lock()[0], Err(MeshFault::Unknown));
    assert_eq!(stream.receiver.receive().await, Err(MeshFault::Unknown));
}

async fn a_lost_peer_ends_a_stream_with_a_fault(pair: Pair) {
    let mut stream = pair.a.open_stream(B, Bytes::new()).await.unwrap();
    stream.sender.send(Chunk::header_only(Bytes::from_static(b"one"))).await.unwrap();
    stream.receiver.receive().await.unwrap().unwrap();
    (pair.cut)(true);
    let ended = timeout(SOON, stream.receiver.receive()).await.expect("noticed in time");
    assert_eq!(ended, Err(MeshFault::Unknown));
    assert!(stream.sender.send(Chunk::header_only(Bytes::new())).await.is_err());
}

async fn a_peer_has_a_limited_number_of_streams(pair: Pair) {
    let mut open = Vec::new();
    for _ in 0..BULK_STREAMS_MAX {
        open.push(pair.a.open_stream(B, Bytes::new()).await.unwrap());
    }
    assert_eq!(pair.a.open_stream(B, Bytes::new()).await.err(), Some(MeshFault::Refused));
    open.pop();
    // The other end may hold its half of the dropped one a little longer.
    let give_up = Instant::now() + SOON;
    while let Err(fault) = pair.a.open_stream(B, Bytes::new()).await {
        assert_eq!(fault, MeshFault::Refused);
        assert!(Instant::now() < give_up, "a place is free again");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn an_unread_stream_stops_its_sender_and_nobody_else(pair: Pair) {
    pair.at_b.hoard.store(true, Ordering::SeqCst);
    let mut open = Vec::new();
    for _ in 0..BULK_STREAMS_MAX {
        let mut stream = pair.a.open_stream(B, Bytes::new()).await.unwrap();
        let chunk = Chunk { header: Bytes::new(), payload: vec![1; 1 << 20].into() };
        let mut sent = 0;
        let wait = Duration::from_millis(200);
        while let Ok(done) = timeout(wait, stream.sender.send(chunk.clone())).await {
            done.unwrap();
            sent += 1;
            assert!(sent < 64, "somebody keeps all of it");
        }
        open.push(stream);
    }
    for size in [0, PAYLOAD_BYTES_MAX] {
        let asked = message(9, vec![2; size].into());
        assert!(pair.a.ask(B, asked, SOON).await.is_ok(), "{size} bytes");
    }
    pair.a.tell(B, Topic::RAFT, vec![3; TELL_BYTES_MAX].into());
    until(|| !pair.at_b.told.lock().is_empty()).await;
}

async fn a_removed_peer_is_cut_off_at_the_next_recheck(pair: Pair) {
    pair.a.ask(B, message(9, Bytes::new()), SOON).await.unwrap();
    pair.at_b.removed.lock().push(A);
    pair.b.recheck();
    until(|| !pair.a.is_connected(B)).await;
    let wait = Duration::from_millis(300);
    let asked = pair.a.ask(B, message(9, Bytes::new()), wait).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
    assert_eq!(pair.at_b.asked.load(Ordering::SeqCst), 1);
}

async fn a_closed_mesh_answers_nothing(pair: Pair) {
    pair.a.ask(B, message(9, Bytes::new()), SOON).await.unwrap();
    pair.b.close().await;
    until(|| !pair.a.is_connected(B)).await;
    let wait = Duration::from_millis(300);
    let asked = pair.a.ask(B, message(9, Bytes::new()), wait).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
}
