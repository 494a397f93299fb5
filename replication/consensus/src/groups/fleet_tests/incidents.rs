//! What happened to fleets, one incident a test.

use std::time::Duration;

use model::{ApplianceId, Refusal};
use raft::eraftpb::{EntryType, MessageType};

use super::{Fleet, GROUP, ids, last, membership};
use crate::{
    Event, LogStore, MemoryLog, Message, PeerMessage, TICK,
    testing::{entry, group, index},
};

fn followers(leader: u64) -> Vec<u64> {
    (1..=3).filter(|number| *number != leader).collect()
}

fn lease(fleet: &Fleet, number: u64) -> Option<Duration> {
    let until = fleet.members[&number].view.read_lease_until();
    until.checked_sub(fleet.local(number)).filter(|left| !left.is_zero())
}

fn set_pace(fleet: &mut Fleet, number: u64, pace: u32) {
    let member = fleet.members.remove(&number).unwrap();
    fleet.start(number, member.log, member.machine, pace);
}

#[test]
fn a_follower_refuses_what_only_a_leader_can_do() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    let follower = followers(leader)[0];
    let refused =
        [fleet.propose(follower), fleet.read(follower), fleet.change(follower, &[1, 2], &[])];
    let answered = [fleet.propose(leader), fleet.read(leader), fleet.change(leader, &[1, 2], &[])];
    fleet.millis(200);
    assert_eq!(fleet.refused, refused.map(|ticket| (ticket, Refusal::Busy)));
    assert!(fleet.answered.contains(&answered[0]) && fleet.answered.contains(&answered[2]));
    assert_eq!((fleet.reading.len(), fleet.reads_done), (0, 1));
    fleet.check().unwrap();
}

#[test]
fn without_a_quorum_nothing_is_answered() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(200);
    fleet.isolate(leader);
    let (proposed, _) = (fleet.propose(leader), fleet.read(leader));
    fleet.millis(200);
    assert!(!fleet.answered.contains(&proposed));
    assert_eq!((fleet.refused.len(), fleet.reads_done), (0, 0));
    // It steps down, and then the read is refused; the entry may still be committed.
    fleet.millis(1000);
    assert_eq!((fleet.refused.len(), fleet.reads_done), (1, 0));
    fleet.check().unwrap();
}

#[test]
fn a_proposal_whose_place_another_took_is_refused() {
    let mut fleet = Fleet::new(1);
    let old = fleet.elect();
    fleet.millis(200);
    fleet.isolate(old);
    let ticket = fleet.propose(old);
    fleet.millis(2000);
    let new = fleet.elect();
    assert_ne!(new, old);
    fleet.propose(new);
    fleet.check().unwrap();
    assert!(fleet.refused.contains(&(ticket, Refusal::Busy)));
    assert!(!fleet.answered.contains(&ticket));
}

#[test]
fn proposals_that_another_leader_never_got_are_refused_though_nothing_comes_to_their_places() {
    let mut fleet = Fleet::new(1);
    let old = fleet.elect();
    fleet.millis(200);
    fleet.isolate(old);
    let tickets: Vec<_> = (0..4).map(|_| fleet.propose(old)).collect();
    fleet.millis(2000);
    assert_ne!(fleet.elect(), old);
    fleet.heal();
    fleet.millis(2000);
    for ticket in tickets {
        assert!(fleet.refused.contains(&(ticket, Refusal::Busy)));
    }
}

#[test]
fn a_group_of_several_keeps_a_tail_below_a_checkpoint() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    for _ in 0..20 {
        fleet.propose(leader);
    }
    fleet.millis(200);
    fleet.checkpoint(leader);
    let cut = fleet.members[&leader].log.state(group(GROUP)).unwrap().cut;
    assert_eq!(cut.index.get() + 8, last(&fleet, leader).get());
}

#[test]
fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    let away = followers(leader)[0];
    fleet.isolate(away);
    for _ in 0..500 {
        fleet.propose(leader);
    }
    fleet.millis(200);
    assert!(fleet.items(away) < 500);
    fleet.check().unwrap();
    assert_eq!(fleet.installed, 0);
}

#[test]
fn time_never_comes_in_a_burst() {
    let mut fleet = Fleet::new(1);
    let member = fleet.members.get_mut(&1).unwrap();
    assert_eq!(member.groups.next_tick(), Some(Duration::ZERO));
    // An hour's pause is one tick, not an election.
    let hour = Duration::from_secs(3600);
    for _ in 0..100 {
        assert_eq!(member.groups.step(hour, vec![Event::Tick]).unwrap(), []);
    }
    assert_eq!(member.groups.next_tick(), Some(hour + TICK));
}

#[test]
fn a_change_that_begins_in_a_partition_ends_when_it_heals() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(200);
    for absent in [4, 5] {
        fleet.isolate(absent);
    }
    let change = fleet.change(leader, &[leader, 4, 5], &[]);
    fleet.millis(300);
    // The old majority lets it begin; while it runs both majorities are needed.
    assert!(fleet.answered.contains(&change));
    assert!(membership(&fleet.members[&leader].machine.items).is_joint());
    let waiting = fleet.propose(leader);
    fleet.millis(300);
    assert!(!fleet.answered.contains(&waiting));
    let busy = fleet.change(leader, &[1, 2, 3], &[]);
    assert_eq!(fleet.refused.last(), Some(&(busy, Refusal::Busy)));
    fleet.check().unwrap();
    let mut voters = ids(&[leader, 4, 5]);
    voters.sort_unstable();
    assert_eq!(membership(&fleet.history).voters, voters);
}

#[test]
fn an_impossible_membership_is_refused_and_the_present_one_is_answered() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(200);
    let impossible = [fleet.change(leader, &[], &[1]), fleet.change(leader, &[1, 2], &[2])];
    assert_eq!(fleet.refused, impossible.map(|ticket| (ticket, Refusal::Invalid)));
    let same = fleet.change(leader, &[1, 2, 3], &[]);
    fleet.check().unwrap();
    assert!(fleet.answered.contains(&same));
    assert_eq!(membership(&fleet.history), super::founding());
}

#[test]
fn a_group_that_becomes_alone_needs_nobody_and_no_time() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.change(leader, &[leader], &[]);
    fleet.millis(500);
    followers(leader).into_iter().for_each(|other| fleet.isolate(other));
    let ticket = fleet.propose(leader);
    assert!(fleet.answered.contains(&ticket));
    let read = fleet.read(leader);
    assert!(!fleet.reading.contains_key(&read) && fleet.reads_done == 1);
    assert!(fleet.is_asleep(leader), "it gets no ticks");
    assert!(lease(&fleet, leader) > Some(Duration::from_secs(1 << 30)));
    // And when it is joined by others it is one of several again.
    fleet.heal();
    fleet.change(leader, &[1, 2, 3], &[4]);
    fleet.millis(1000);
    assert!(!fleet.is_asleep(leader));
    assert!(lease(&fleet, leader) < Some(Duration::from_secs(1)));
    fleet.check().unwrap();
    assert_eq!(membership(&fleet.history).learners, ids(&[4]));
}

#[test]
fn a_member_that_forgot_it_was_joined_does_not_lead_alone() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.change(leader, &[leader], &[]);
    fleet.millis(500);
    fleet.checkpoint(leader);
    fleet.change(leader, &[1, 2, 3], &[]);
    fleet.millis(100);
    assert!(
        !fleet.members[&leader].machine.applied().membership.is_alone(ApplianceId::new(leader))
    );
    // The others go on without it. It wakes up with what it had made durable, and alone by that.
    fleet.isolate(leader);
    let new = fleet.elect();
    let ticket = fleet.propose(new);
    fleet.millis(200);
    assert!(fleet.answered.contains(&ticket));
    let mut member = fleet.members.remove(&leader).unwrap();
    member.log.power_cut(0);
    member.machine.items.truncate(member.machine.durable);
    assert!(member.machine.applied().membership.is_alone(ApplianceId::new(leader)));
    fleet.start(leader, member.log, member.machine, 1000);
    fleet.isolate(leader);
    fleet.millis(2000);
    assert!(!fleet.members[&leader].role.leads);
    fleet.check().unwrap();
}

#[test]
fn a_leader_that_is_removed_steps_down_for_another() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    let rest = followers(leader);
    fleet.change(leader, &rest, &[]);
    fleet.millis(300);
    assert!(!fleet.members[&leader].role.leads);
    let new = fleet.elect();
    assert!(rest.contains(&new));
    assert_eq!(lease(&fleet, leader), None);
    fleet.check().unwrap();
}

#[test]
fn a_refusal_of_an_older_term_still_tells_what_is_committed() {
    let mut fleet = Fleet::new(1);
    let first = fleet.elect();
    let [candidate, other] = followers(first)[..] else { panic!("there are two") };
    let event = Event::TransferLeader { group: group(GROUP), to: ApplianceId::new(other) };
    fleet.step(first, event);
    fleet.millis(300);
    assert_eq!(fleet.leader(), Some(other));
    // It gets an entry, but no word that it is committed.
    let before = fleet.items(candidate);
    fleet.propose(other);
    while fleet.members[&candidate].view.last().get() == before as u64 {
        let letters = std::mem::take(&mut fleet.mail);
        for letter in letters.into_iter().filter(|letter| letter.to == candidate) {
            let (from, message) = (ApplianceId::new(letter.from), letter.message);
            fleet.step(candidate, Event::Receive { group: group(GROUP), from, message });
        }
    }
    fleet.isolate(candidate);
    fleet.millis(2000);
    assert_eq!((fleet.items(candidate), fleet.items(other)), (before, before + 1));
    let term = fleet.members[&candidate].view.term().get();
    let mut refusal = Message { from: first, to: candidate, ..Message::default() };
    refusal.set_msg_type(MessageType::MsgRequestPreVoteResponse);
    (refusal.term, refusal.reject) = (term - 1, true);
    (refusal.commit, refusal.commit_term) = (before as u64 + 1, term);
    let (from, message) = (ApplianceId::new(first), PeerMessage::Raft(Box::new(refusal)));
    fleet.step(candidate, Event::Receive { group: group(GROUP), from, message });
    assert_eq!(fleet.items(candidate), before + 1);
    fleet.check().unwrap();
}

#[test]
fn a_paused_leaders_lease_ends_before_another_is_elected_though_clocks_run_apart() {
    for seed in 0..40 {
        let mut fleet = Fleet::new(seed);
        let leader = fleet.elect();
        set_pace(&mut fleet, leader, 960);
        followers(leader).into_iter().for_each(|other| set_pace(&mut fleet, other, 1030));
        let leader = fleet.elect();
        fleet.millis(500 + 10 * seed);
        assert!(lease(&fleet, leader).is_some());
        let late = fleet.now + Duration::from_secs(5);
        fleet.members.get_mut(&leader).unwrap().paused_until = late;
        while fleet.leader() == Some(leader) || fleet.leader().is_none() {
            fleet.tick();
            let other = fleet.members.iter().any(|(n, m)| *n != leader && m.role.leads);
            if other {
                break;
            }
        }
        assert_eq!(lease(&fleet, leader), None, "seed {seed}");
    }
}

#[test]
fn a_voter_that_has_just_started_does_not_cut_a_lease_short() {
    for seed in 0..50 {
        let mut fleet = Fleet::new(seed);
        let leader = fleet.elect();
        fleet.millis(450);
        let [witness, away] = followers(leader)[..] else { panic!("there are two") };
        // One has been away for long and wants to be elected; the other restarts.
        fleet.blocked.insert((leader, away));
        for _ in 0..2 {
            fleet.millis(250 + 10 * seed);
            // The group is in use, and yet has nothing that the absent one lacks.
            fleet.read(leader);
            fleet.millis(20);
        }
        assert!(lease(&fleet, leader).is_some());
        fleet.isolate(leader);
        fleet.restart(witness);
        while fleet.leader().is_none() {
            fleet.tick();
        }
        assert_eq!(lease(&fleet, leader), None, "seed {seed}");
    }
}

#[test]
fn a_handed_over_leadership_arrives_and_takes_the_lease_away_first() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(500);
    assert!(lease(&fleet, leader).is_some());
    let to = followers(leader)[1];
    let event = Event::TransferLeader { group: group(GROUP), to: ApplianceId::new(to) };
    fleet.step(leader, event);
    assert_eq!(lease(&fleet, leader), None);
    fleet.millis(200);
    assert_eq!(fleet.elect(), to);
    fleet.check().unwrap();
}

#[test]
fn a_hand_over_that_fails_leaves_a_leader_without_a_lease_that_reads_by_rounds() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(500);
    let to = followers(leader)[1];
    fleet.isolate(to);
    let event = Event::TransferLeader { group: group(GROUP), to: ApplianceId::new(to) };
    fleet.step(leader, event);
    fleet.millis(1000);
    assert_eq!(fleet.elect(), leader);
    assert_eq!(lease(&fleet, leader), None);
    fleet.read(leader);
    fleet.millis(100);
    assert_eq!(fleet.reads_done, 1);
    fleet.check().unwrap();
}

#[test]
fn a_group_that_nobody_uses_sleeps_and_wakes_to_work() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.propose(leader);
    fleet.millis(300);
    while !fleet.is_asleep(leader) {
        assert!(lease(&fleet, leader).is_some());
        fleet.tick();
    }
    assert_eq!(lease(&fleet, leader), None);
    fleet.millis(1000);
    assert!((1..=5).all(|number| fleet.is_asleep(number)));
    let sent = fleet.sent;
    fleet.millis(60_000);
    assert_eq!(fleet.sent, sent, "sleepers don't talk");
    let ticket = fleet.propose(leader);
    let read = fleet.read(leader);
    fleet.millis(200);
    assert!(fleet.answered.contains(&ticket) && !fleet.reading.contains_key(&read));
    assert_eq!(fleet.leader(), Some(leader), "nobody doubted it");
    fleet.check().unwrap();
}

#[test]
fn a_sleeping_group_whose_leader_dies_wakes_up_and_elects() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.propose(leader);
    fleet.millis(3000);
    fleet.members.get_mut(&leader).unwrap().down = true;
    fleet.millis(5000);
    assert_eq!(fleet.leader(), None);
    // The fleet's view says so to one of them, and it to the other.
    fleet.wake(followers(leader)[0]);
    fleet.millis(3000);
    let new = fleet.leader().expect("two of three are enough");
    let ticket = fleet.propose(new);
    fleet.millis(200);
    assert!(fleet.answered.contains(&ticket));
    fleet.check().unwrap();
}

#[test]
fn a_sleeping_group_that_is_told_of_its_leaders_end_elects_at_once() {
    let mut quick = 0;
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed);
        let leader = fleet.elect();
        fleet.propose(leader);
        fleet.millis(5000);
        fleet.members.get_mut(&leader).unwrap().down = true;
        followers(leader).into_iter().for_each(|follower| fleet.bereave(follower));
        let elected = |fleet: &Fleet| fleet.leader().is_some_and(|new| new != leader);
        // Less than a whole timeout, unless two stand at once.
        fleet.millis(350);
        quick += usize::from(elected(&fleet));
        fleet.millis(1500);
        assert!(elected(&fleet), "seed {seed}");
        fleet.check().unwrap();
    }
    assert!(quick >= 12, "{quick} of 20");
}

#[test]
fn who_heard_from_a_leader_lately_does_not_break_its_lease_whatever_it_is_told() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed);
        let leader = fleet.elect();
        fleet.propose(leader);
        fleet.millis(100);
        fleet.isolate(leader);
        followers(leader).into_iter().for_each(|follower| fleet.bereave(follower));
        for _ in 0..100 {
            fleet.millis(10);
            if let Some(new) = fleet.leader().filter(|new| *new != leader) {
                fleet.propose(new);
            }
            fleet.read_by_lease();
        }
        fleet.check().unwrap();
    }
}

#[test]
fn a_woken_follower_waits_a_whole_timeout_before_it_doubts_its_leader() {
    for seed in 0..40 {
        let mut fleet = Fleet::new(seed);
        let leader = fleet.elect();
        fleet.propose(leader);
        fleet.millis(3000);
        let follower = followers(leader)[0];
        assert!(fleet.is_asleep(follower), "seed {seed}");
        fleet.isolate(leader);
        fleet.wake(follower);
        let sent = fleet.sent;
        fleet.millis(330);
        assert_eq!(fleet.sent, sent, "seed {seed}");
        fleet.millis(400);
        assert!(fleet.sent > sent, "seed {seed}");
    }
}

#[test]
fn a_group_with_a_member_behind_stays_awake() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.isolate(followers(leader)[0]);
    fleet.propose(leader);
    fleet.millis(5000);
    assert!(!fleet.is_asleep(leader));
}

#[test]
fn a_member_that_lost_its_log_does_not_vote() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.propose(leader);
    fleet.millis(200);
    let loser = followers(leader)[0];
    let member = fleet.members.remove(&loser).unwrap();
    fleet.start(loser, std::sync::Arc::new(MemoryLog::new()), member.machine, 1000);
    assert_eq!(fleet.broken.take(), Some(format!("{loser} lost 1")));
    fleet.isolate(leader);
    fleet.millis(5000);
    assert_eq!(fleet.leader(), None, "its vote would have been one too many");
}

#[test]
fn messages_that_no_leader_could_have_sent_change_nothing() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(300);
    let follower = followers(leader)[0];
    let state = fleet.members[&follower].log.state(group(GROUP)).unwrap();
    let message = |kind: MessageType| {
        let mut message = Message { from: leader, to: follower, ..Message::default() };
        message.set_msg_type(kind);
        message.term = state.hard_state.term;
        (message.index, message.log_term) = (state.last.get(), state.hard_state.term);
        message
    };
    let mut beat = message(MessageType::MsgHeartbeat);
    beat.commit = state.last.get() + 50;
    let mut rewrite = message(MessageType::MsgAppend);
    (rewrite.index, rewrite.log_term) = (0, 0);
    rewrite.entries = vec![entry(1, state.hard_state.term + 1, "")].into();
    rewrite.term += 1;
    let mut change = message(MessageType::MsgAppend);
    let mut changes = entry(state.last.get() + 1, state.hard_state.term, "no change");
    changes.set_entry_type(EntryType::EntryConfChangeV2);
    change.entries = vec![changes].into();
    let mut astray = message(MessageType::MsgTimeoutNow);
    astray.to = 5;
    let mut disguised = message(MessageType::MsgTimeoutNow);
    disguised.from = 5;
    let mut forwarded = message(MessageType::MsgPropose);
    forwarded.entries = vec![entry(0, 0, "not ours")].into();
    for message in [beat, rewrite, change, astray, disguised, forwarded] {
        let message = PeerMessage::Raft(Box::new(message));
        let from = ApplianceId::new(leader);
        fleet.step(follower, Event::Receive { group: group(GROUP), from, message });
    }
    let after = fleet.members[&follower].log.state(group(GROUP)).unwrap();
    assert_eq!(after, state);
    assert_eq!(after.last, index(fleet.items(follower) as u64));
    fleet.check().unwrap();
}
