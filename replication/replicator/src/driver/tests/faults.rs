//! One thing goes wrong at a time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use extents::{
    CopyFault, FeedEnd,
    simulated::{Failing, Operation},
};
use model::Refusal;

use super::*;
use crate::{
    Phase, Receiving, ReceivingEnd, SendSettings, Sending, TransferFault,
    driver::simulated::channel,
};

async fn nothing() {}

#[tokio::test]
async fn an_object_arrives_with_its_holes_and_survives_a_power_cut() {
    let (source, mut target) = (Appliance::new(), Appliance::new());
    source.fill(7, 10 << 20).await;
    source.write(300 << 20, Bytes::from_static(b"far")).await.unwrap();
    source.set_size(1 << 30).await.unwrap();
    let settings = SendSettings::default();
    let (sending, end) = transfer(&source, &target, settings, vec![], nothing()).await.unwrap();
    assert_eq!(Some(end.size), Some(1 << 30));
    drop(sending);
    target.cut_power();
    assert_eq!(difference(&source, &target).await, None);
    assert_eq!(target.facts().await.used, source.facts().await.used);
}

#[tokio::test]
async fn an_object_that_was_never_written_arrives() {
    let (source, mut target) = (Appliance::new(), Appliance::new());
    let settings = SendSettings::default();
    let (_, end) = transfer(&source, &target, settings, vec![], nothing()).await.unwrap();
    target.cut_power();
    assert_eq!((end.size, end.stamp), (0, None));
    assert_eq!(difference(&source, &target).await, None);
}

#[tokio::test]
async fn after_a_break_only_what_was_on_its_way_is_sent_again() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 32 << 20).await;
    let (sending, _) = transfer(&source, &target, tight(), vec![9, 20], nothing()).await.unwrap();
    let now = progress(&sending);
    assert_eq!(now.phase, Phase::Finished);
    assert_eq!((now.bytes_total, now.bytes_done), (32 << 20, 32 << 20));
    assert_eq!(now.bytes_copied, 32 << 20, "nothing was copied twice");
    assert!(now.bytes_resent <= 2 * (tight().window_bytes + (1 << 20)), "{now:?}");
    assert_eq!(difference(&source, &target).await, None);
}

#[tokio::test]
async fn a_receiver_that_lost_its_memory_is_sent_everything_anew() {
    let (source, mut target) = (Appliance::new(), Appliance::new());
    source.fill(7, 4 << 20).await;
    let (ours, theirs, cut) = channel();
    let serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
    sending.until_close().await.unwrap();
    cut.now();
    let (receiving, outcome) = serving.outcome.await.unwrap();
    assert_eq!(outcome, Err(ReceivingEnd::Broken));
    drop(receiving);
    target.cut_power();
    source.write(5, Bytes::from_static(b"meanwhile")).await.unwrap();
    assert_eq!(sending.finish().await.err(), Some(TransferFault::Broken));
    let (ours, theirs, _cut) = channel();
    let serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    sending.resume(ours).await.unwrap();
    let end = sending.finish().await.unwrap();
    assert_eq!(serving.outcome.await.unwrap().1, Ok(end));
    drop(sending);
    // Nobody was promised anything: its bytes are durable, its name may not be.
    target.objects.commit(A, false).await.unwrap();
    target.cut_power();
    assert_eq!(difference(&source, &target).await, None);
}

#[tokio::test]
async fn a_receiver_whose_last_word_was_lost_says_it_again() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 1 << 20).await;
    // However many messages come through, the transfer ends well on the next channel.
    for after in 1..12 {
        let (_, end) = transfer(&source, &target, tight(), vec![after], nothing()).await.unwrap();
        assert_eq!(end.size, 1 << 20);
        assert_eq!(difference(&source, &target).await, None);
    }
}

#[tokio::test]
async fn a_full_receiver_refuses_and_the_owner_goes_on() {
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EIO] {
        let (source, target) = (Appliance::new(), Appliance::new());
        source.fill(7, 4 << 20).await;
        target.disk.fail(Operation::Write, errno, Failing::Once);
        let outcome = transfer(&source, &target, tight(), vec![], nothing()).await;
        let refusal = match errno {
            libc::ENOSPC => Refusal::NoSpace,
            libc::EDQUOT => Refusal::QuotaExceeded,
            _ => Refusal::Fault,
        };
        assert_eq!(outcome.err(), Some(TransferFault::Refused(refusal)));
        assert_eq!(source.objects.faults(), []);
        source.write(0, Bytes::from_static(b"goes on")).await.unwrap();
        source.objects.commit(A, false).await.unwrap();
    }
}

#[tokio::test]
async fn a_receiver_that_can_not_sync_never_says_finished() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 4 << 20).await;
    target.disk.fail(Operation::Sync, libc::EIO, Failing::Always);
    let outcome = transfer(&source, &target, SendSettings::default(), vec![], nothing()).await;
    assert_eq!(outcome.err(), Some(TransferFault::Refused(Refusal::Fault)));
}

#[tokio::test]
async fn the_owners_fault_ends_the_transfer() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 4 << 20).await;
    source.disk.fail(Operation::Read, libc::EIO, Failing::Always);
    let outcome = transfer(&source, &target, tight(), vec![], nothing()).await;
    assert_eq!(outcome.err(), Some(TransferFault::Unreadable(Refusal::Fault)));
    source.disk.mend();
    let target = Appliance::new();
    source.disk.fail(Operation::Sync, libc::EIO, Failing::Once);
    let (ours, theirs, _cut) = channel();
    let _serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
    source.objects.commit(A, false).await.unwrap_err();
    let ended = TransferFault::Owner(FeedEnd::Fault(CopyFault::Fsync));
    let outcome = sending.until_close().await;
    assert!(
        [Err(ended), Err(TransferFault::Unreadable(Refusal::Fault))].contains(&outcome),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_removed_object_ends_the_transfer() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 1 << 20).await;
    let (ours, theirs, _cut) = channel();
    let _serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
    sending.until_close().await.unwrap();
    source.objects.remove(&[A]).await.unwrap();
    assert_eq!(sending.finish().await.err(), Some(TransferFault::Owner(FeedEnd::Stale)));
}

#[tokio::test]
async fn a_receiver_that_has_seen_a_newer_reign_refuses() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 1 << 20).await;
    let mut stamping = target.stamping();
    stamping.reign.epoch = model::Epoch::new(1);
    let payload = Bytes::from_static(b"newer");
    let stability = model::Stability::FileSync;
    target.objects.write(A, false, 0, payload, stability, stamping).await.unwrap();
    let outcome = transfer(&source, &target, tight(), vec![], nothing()).await;
    assert_eq!(outcome.err(), Some(TransferFault::Refused(Refusal::Fenced)));
    assert_eq!(&target.read(0, 100).await[..], b"newer");
}

#[tokio::test]
async fn a_change_after_the_gate_was_closed_is_not_forgotten() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 1 << 20).await;
    target.disk.stall(Operation::Sync);
    let (ours, theirs, _cut) = channel();
    let serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
    let finishing = tokio::spawn(async move { (sending.finish().await, sending) });
    while target.disk.waiting(Operation::Sync) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    source.write(0, Bytes::from_static(b"late")).await.unwrap();
    target.disk.resume(Operation::Sync);
    let (end, _sending) = finishing.await.unwrap();
    // It came after the receiver was told that this was all: no word of success for the first end.
    match end {
        Ok(end) => {
            assert_eq!(serving.outcome.await.unwrap().1, Ok(end));
            assert_eq!(difference(&source, &target).await, None);
        }
        Err(fault) => assert_eq!(fault, TransferFault::Broken),
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 16 << 20).await;
    let settings =
        SendSettings { rate_bytes_per_second: Some(32 << 20), ..SendSettings::default() };
    let began = tokio::time::Instant::now();
    transfer(&source, &target, settings, vec![], nothing()).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    // The first extent is free, and what comes after is not faster than the rate.
    assert!(took >= 15.0 / 32.0, "{took}");
    assert_eq!(difference(&source, &target).await, None);
}

#[tokio::test]
async fn a_sending_that_is_dropped_leaves_the_owner_as_it_was() {
    let (source, target) = (Appliance::new(), Appliance::new());
    source.fill(7, 8 << 20).await;
    for _ in 0..20 {
        let (ours, theirs, _cut) = channel();
        let serving = serve(Receiving::new(target.objects.clone(), A), theirs);
        let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(3), sending.until_close()).await;
        drop(sending);
        assert_eq!(serving.outcome.await.unwrap().1, Err(ReceivingEnd::Broken));
    }
    // More feeds than may be attached at a time: each one went.
    source.write(0, Bytes::from_static(b"still here")).await.unwrap();
    transfer(&source, &target, tight(), vec![], nothing()).await.unwrap();
    assert_eq!(difference(&source, &target).await, None);
}

#[tokio::test]
async fn senseless_messages_end_it_at_either_end() {
    let (source, target) = (Appliance::new(), Appliance::new());
    let (ours, theirs, _cut) = channel();
    let serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    crate::Channel::send(&*ours, Bytes::from_static(b"\x01\xff"), Bytes::new()).await.unwrap();
    let (_, outcome) = serving.outcome.await.unwrap();
    assert_eq!(outcome, Err(ReceivingEnd::Refused(Refusal::Invalid)));
    let (ours, theirs, _cut) = channel();
    let mut sending = Sending::begin(parts(&source, tight()), ours).await.unwrap();
    crate::Channel::send(&*theirs, Bytes::from_static(b"\x02"), Bytes::new()).await.unwrap();
    assert_eq!(sending.until_close().await, Err(TransferFault::Protocol));
}

fn progress(sending: &Sending) -> crate::ProgressNow {
    Arc::clone(sending.progress()).now()
}
