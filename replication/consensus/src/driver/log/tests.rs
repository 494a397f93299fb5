use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use super::Gathered;
use crate::{
    BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX, LINGER_PROPOSALS_MAX, PROPOSAL_BYTES_MAX, Ticket,
    driver::queue::Queued, testing::group,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn proposal(len: usize) -> Queued {
    Queued::Propose { group: group(1), ticket: Ticket::new(1), data: vec![1; len] }
}

fn queue(count: usize, len: usize) -> Receiver<Queued> {
    let (sender, receiver) = mpsc::sync_channel(count);
    (0..count).for_each(|_| sender.send(proposal(len)).unwrap());
    // It stays connected, so that waiting on it would take time.
    std::mem::forget(sender);
    receiver
}

fn gathered(count: usize) -> Gathered {
    let mut gathered = Gathered::default();
    (0..count).for_each(|_| gathered.add(proposal(1)));
    gathered
}

fn never() -> Duration {
    panic!("waits although nobody is expected")
}

#[test]
fn one_asker_alone_is_not_kept_waiting() {
    let mut one = gathered(1);
    one.linger(&queue(0, 0), 1, never);
    assert_eq!(one.proposals.len(), 1);
}

#[test]
fn without_a_proposal_there_is_nothing_to_wait_for() {
    gathered(0).linger(&queue(0, 0), 5, never);
}

#[test]
fn a_well_shared_sync_waits_for_nobody() {
    gathered(LINGER_PROPOSALS_MAX).linger(&queue(0, 0), 1000, never);
}

#[test]
fn askers_that_were_just_answered_are_waited_for() {
    let (sender, receiver) = mpsc::sync_channel(1);
    let asker = thread::spawn(move || {
        sender.send(proposal(1)).unwrap();
        sender
    });
    let mut two = gathered(1);
    two.linger(&receiver, 2, || PATIENCE);
    assert_eq!(two.proposals.len(), 2);
    asker.join().unwrap();
}

#[test]
fn the_wait_for_askers_ends() {
    let mut one = gathered(1);
    one.linger(&queue(0, 0), 2, || Duration::from_micros(1));
    assert_eq!(one.proposals.len(), 1);
}

#[test]
fn a_step_takes_no_more_than_it_may_hold() {
    let mut bytes = Gathered::default();
    bytes.drain(&queue(100, PROPOSAL_BYTES_MAX));
    assert_eq!(bytes.bytes, BATCH_BYTES_MAX);
    let mut count = Gathered::default();
    count.drain(&queue(BATCH_PROPOSALS_MAX + 10, 1));
    assert_eq!(count.proposals.len(), BATCH_PROPOSALS_MAX);
}
