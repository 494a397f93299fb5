use std::time::Duration;

use model::{ApplianceId, Membership};

use super::Reads;
use crate::{
    Ticket,
    limits::{READ_LEASE, READS_MAX, ROUNDS_MAX},
    testing::index,
};

const ME: ApplianceId = ApplianceId::new(1);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ids(numbers: &[u64]) -> Vec<ApplianceId> {
    numbers.iter().copied().map(ApplianceId::new).collect()
}

fn answer(reads: &mut Reads, from: u64, context: &[u8], members: &Membership) {
    reads.answer(ApplianceId::new(from), context);
    reads.settle(ME, members);
}

#[test]
fn the_lease_runs_from_the_sending_of_what_a_quorum_answered() {
    let five = Membership::of_voters(ids(&[1, 2, 3, 4, 5]));
    let mut reads = Reads::default();
    let (first, second) = (reads.stamp(at(100)), reads.stamp(at(200)));
    answer(&mut reads, 2, &second, &five);
    assert_eq!(reads.lease_until(), Duration::ZERO);
    answer(&mut reads, 3, &first, &five);
    assert_eq!(reads.lease_until(), at(100) + READ_LEASE);
    answer(&mut reads, 4, &second, &five);
    assert_eq!(reads.lease_until(), at(200) + READ_LEASE);
    // A late answer takes nothing back.
    answer(&mut reads, 4, &first, &five);
    assert_eq!(reads.lease_until(), at(200) + READ_LEASE);
}

#[test]
fn a_joint_group_gives_a_lease_only_by_both_majorities() {
    let joint = Membership { outgoing: ids(&[1, 2, 3]), ..Membership::of_voters(ids(&[1, 4, 5])) };
    let mut reads = Reads::default();
    let round = reads.stamp(at(100));
    answer(&mut reads, 2, &round, &joint);
    assert_eq!(reads.lease_until(), Duration::ZERO);
    answer(&mut reads, 5, &round, &joint);
    assert_eq!(reads.lease_until(), at(100) + READ_LEASE);
}

#[test]
fn a_learner_gives_no_lease_and_a_lone_voter_needs_none() {
    let mut reads = Reads::default();
    let pair = Membership { learners: ids(&[3]), ..Membership::of_voters(ids(&[1, 2])) };
    let round = reads.stamp(at(100));
    answer(&mut reads, 3, &round, &pair);
    assert_eq!(reads.lease_until(), Duration::ZERO);
    reads.settle(ME, &Membership::of_voters([ME]));
    assert_eq!(reads.lease_until(), Duration::MAX);
}

#[test]
fn answers_to_rounds_that_are_forgotten_or_never_were_count_for_nothing() {
    let pair = Membership::of_voters(ids(&[1, 2]));
    let mut reads = Reads::default();
    let old = reads.stamp(at(1));
    for millis in 2..=ROUNDS_MAX as u64 + 1 {
        reads.stamp(at(millis));
    }
    for context in [&old[..], &u64::MAX.to_le_bytes(), b"short", b""] {
        answer(&mut reads, 2, context, &pair);
        assert_eq!(reads.lease_until(), Duration::ZERO);
    }
}

#[test]
fn reads_wait_for_their_round_and_then_for_the_entry() {
    let mut reads = Reads::default();
    assert_eq!(reads.begin(at(1)), None);
    assert!(reads.ask(Ticket::new(1)) && reads.ask(Ticket::new(2)));
    let first = reads.begin(at(1)).unwrap();
    assert!(reads.ask(Ticket::new(3)));
    let second = reads.begin(at(1)).unwrap();
    assert_ne!(first, second);
    reads.confirm(&first, index(7));
    assert_eq!(reads.take_ready(index(6)), []);
    let ready = reads.take_ready(index(7));
    assert_eq!(ready, [(index(7), vec![Ticket::new(1), Ticket::new(2)])]);
    assert_eq!(reads.end(), [Ticket::new(3)]);
    assert!(!reads.are_waiting());
}

#[test]
fn no_more_reads_wait_than_may() {
    let mut reads = Reads::default();
    assert!((0..READS_MAX as u64).all(|ticket| reads.ask(Ticket::new(ticket))));
    assert!(!reads.ask(Ticket::new(0)));
    reads.begin(at(1));
    assert!(!reads.ask(Ticket::new(0)));
}
