//! Members that are too far behind for the log, and what goes wrong on their way back.

use super::{Fleet, GROUP, Item, ids, membership};
use crate::{Event, LogStore, testing::group};

/// A fleet that has cut its log while one follower was away; that one, and the leader.
fn left_behind(seed: u64) -> (Fleet, u64, u64) {
    let mut fleet = Fleet::new(seed);
    let leader = fleet.elect();
    fleet.millis(300);
    let away = if leader == 1 { 2 } else { 1 };
    fleet.isolate(away);
    for _ in 0..50 {
        fleet.propose(leader);
    }
    fleet.millis(300);
    (1..=3).filter(|number| *number != away).for_each(|number| fleet.checkpoint(number));
    (fleet, away, leader)
}

/// Until the one who was away has been told to fetch a snapshot, which it does only when told.
fn told_to_fetch(seed: u64) -> (Fleet, u64, Vec<Item>) {
    let (mut fleet, away, _) = left_behind(seed);
    let old = fleet.members[&away].machine.items.clone();
    fleet.fetches = false;
    fleet.heal();
    fleet.millis(3000);
    assert!(fleet.members[&away].fetching.is_some());
    assert_eq!(fleet.members[&away].machine.items, old, "nothing is handed out meanwhile");
    (fleet, away, old)
}

fn power_cut(fleet: &mut Fleet, number: u64) {
    let member = fleet.members.remove(&number).unwrap();
    member.log.power_cut(0);
    fleet.start(number, member.log, member.machine, member.pace);
    fleet.fetches = true;
}

#[test]
fn a_follower_whose_entries_were_cut_installs_a_snapshot() {
    let (mut fleet, away, _) = left_behind(1);
    fleet.check().unwrap();
    assert_eq!(fleet.installed, 1);
    let cut = fleet.members[&away].log.state(group(GROUP)).unwrap().cut;
    assert!(cut.index.get() > 40);
}

#[test]
fn a_word_of_a_snapshot_that_was_lost_is_sent_again() {
    let (mut fleet, away, leader) = left_behind(1);
    // It hears the leader's first word of a snapshot, or so the leader thinks.
    fleet.heal();
    while fleet.members[&leader].image.is_none() {
        fleet.tick();
    }
    fleet.blocked.insert((leader, away));
    fleet.millis(300);
    fleet.check().unwrap();
    assert_eq!(fleet.installed, 1);
}

#[test]
fn a_snapshot_that_could_not_be_fetched_is_offered_again() {
    let (mut fleet, away, old) = told_to_fetch(1);
    fleet.members.get_mut(&away).unwrap().fetching = None;
    fleet.step(away, Event::SnapshotFailed { group: group(GROUP) });
    fleet.millis(1000);
    assert!(fleet.members[&away].fetching.is_some(), "told again, soon");
    assert_eq!(fleet.members[&away].machine.items, old);
    fleet.fetches = true;
    fleet.check().unwrap();
}

#[test]
fn power_lost_before_the_snapshot_is_in_place_leaves_the_old_state() {
    let (mut fleet, away, _) = told_to_fetch(1);
    power_cut(&mut fleet, away);
    fleet.check().unwrap();
    assert_eq!(fleet.installed, 1);
}

#[test]
fn power_lost_between_the_snapshot_and_the_log_finishes_at_the_next_start() {
    let (mut fleet, away, _) = told_to_fetch(1);
    let reported = fleet.put_image(away);
    assert!(matches!(reported, Event::SnapshotInstalled { .. }));
    let stands = fleet.items(away) as u64;
    power_cut(&mut fleet, away);
    let state = fleet.members[&away].log.state(group(GROUP)).unwrap();
    assert_eq!((state.cut.index.get(), state.last.get()), (stands, stands));
    fleet.check().unwrap();
    assert_eq!(fleet.installed, 0, "there was nothing left to install");
}

#[test]
fn power_lost_after_the_log_followed_and_before_the_mark_went_changes_nothing() {
    let (mut fleet, away, _) = told_to_fetch(1);
    let reported = fleet.put_image(away);
    fleet.step(away, reported);
    fleet.millis(500);
    fleet.members.get_mut(&away).unwrap().machine.marked = true;
    let before = fleet.members[&away].log.state(group(GROUP)).unwrap();
    power_cut(&mut fleet, away);
    let after = fleet.members[&away].log.state(group(GROUP)).unwrap();
    assert_eq!((after.cut, after.last), (before.cut, before.last));
    fleet.check().unwrap();
}

#[test]
fn without_its_mark_a_state_beyond_the_log_is_lost() {
    let (mut fleet, away, _) = told_to_fetch(1);
    let last = fleet.members[&away].log.state(group(GROUP)).unwrap().last;
    fleet.put_image(away);
    fleet.members.get_mut(&away).unwrap().machine.marked = false;
    power_cut(&mut fleet, away);
    assert_eq!(fleet.broken, Some(format!("{away} lost {}", last.next())));
}

#[test]
fn what_is_sent_while_a_snapshot_is_installed_is_not_appended() {
    let mut fleet = Fleet::new(1);
    let leader = fleet.elect();
    fleet.millis(300);
    let [away, whole] = if leader == 1 { [2, 3] } else { [1, 5 - leader] };
    fleet.isolate(away);
    for _ in 0..50 {
        fleet.propose(leader);
    }
    fleet.millis(300);
    fleet.checkpoint(leader);
    fleet.fetches = false;
    fleet.heal();
    fleet.millis(1000);
    assert!(fleet.members[&away].fetching.is_some());
    // Another leads, whose log is whole. What it would append now, the reset would drop again,
    // though it had been acknowledged to the leader.
    let last = |fleet: &Fleet| fleet.members[&away].log.state(group(GROUP)).unwrap().last;
    let before = last(&fleet);
    fleet.step(leader, Event::TransferLeader { group: group(GROUP), to: ids(&[whole])[0] });
    fleet.millis(2000);
    assert_eq!(fleet.leader(), Some(whole));
    assert_eq!(last(&fleet), before);
    fleet.fetches = true;
    fleet.check().unwrap();
}

#[test]
fn a_vote_given_before_a_snapshot_is_kept_by_the_log_that_follows_it() {
    let (mut fleet, away, _) = told_to_fetch(1);
    let before = fleet.members[&away].log.state(group(GROUP)).unwrap().hard_state;
    let reported = fleet.put_image(away);
    fleet.step(away, reported);
    let after = fleet.members[&away].log.state(group(GROUP)).unwrap().hard_state;
    assert_eq!((after.term, after.vote), (before.term, before.vote));
    assert!(after.commit > before.commit);
}

#[test]
fn a_new_member_starts_from_a_snapshot_that_does_not_know_it() {
    let (mut fleet, _, leader) = left_behind(1);
    fleet.heal();
    fleet.change(leader, &[1, 2, 3, 4], &[5]);
    fleet.check().unwrap();
    assert_eq!(membership(&fleet.history).voters, ids(&[1, 2, 3, 4]));
    assert_eq!(fleet.installed, 3);
}

#[test]
fn a_snapshot_at_hand_keeps_the_log_from_being_cut_above_it() {
    let (mut fleet, _, leader) = left_behind(1);
    let event = fleet.make_image(leader);
    fleet.step(leader, event);
    let stands = fleet.items(leader) as u64;
    for _ in 0..50 {
        fleet.propose(leader);
    }
    fleet.millis(300);
    let cut = |fleet: &Fleet| fleet.members[&leader].log.state(group(GROUP)).unwrap().cut.index;
    fleet.checkpoint(leader);
    assert_eq!(cut(&fleet).get(), stands);
    fleet.step(leader, Event::SnapshotDropped { group: group(GROUP) });
    fleet.checkpoint(leader);
    assert!(cut(&fleet).get() > stands + 30);
}
