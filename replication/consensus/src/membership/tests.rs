use model::{ApplianceId, Membership};
use raft::eraftpb::{ConfChangeTransition, ConfChangeType, Entry, EntryType};

use super::{can_be_wanted, change, from_conf_state, is_sound, parse_change, to_conf_state};
use crate::limits::MEMBERS_MAX;

fn ids(numbers: &[u64]) -> Vec<ApplianceId> {
    numbers.iter().copied().map(ApplianceId::new).collect()
}

fn joint() -> Membership {
    Membership {
        voters: ids(&[1, 2, 3]),
        learners: ids(&[5]),
        outgoing: ids(&[1, 2, 4, 6]),
        learners_next: ids(&[4]),
        auto_leave: true,
    }
}

#[test]
fn a_joint_membership_comes_back_from_raft_as_it_went() {
    assert!(is_sound(&joint()));
    assert_eq!(from_conf_state(&to_conf_state(&joint())), joint());
}

#[test]
fn the_order_of_a_set_is_always_ours() {
    let mut state = to_conf_state(&joint());
    state.set_voters(vec![3, 1, 2]);
    assert_eq!(from_conf_state(&state), joint());
}

#[test]
fn what_raft_would_choke_on_is_not_sound() {
    let broken: &[&dyn Fn(&mut Membership)] = &[
        &|m| m.voters.clear(),
        &|m| m.voters = ids(&[1, 1]),
        &|m| m.voters = ids(&[0]),
        &|m| m.learners = ids(&[3]),
        &|m| m.learners = ids(&[6]),
        &|m| m.learners_next = ids(&[1]),
        &|m| m.learners_next = ids(&[7]),
        &|m| m.outgoing.clear(),
        &|m| m.voters = ids(&(1..=MEMBERS_MAX as u64 + 1).collect::<Vec<_>>()),
    ];
    for (number, breaks) in broken.iter().enumerate() {
        let mut membership = joint();
        breaks(&mut membership);
        assert!(!is_sound(&membership), "{number}: {membership:?}");
    }
    assert!(can_be_wanted(&ids(&[1]), &[]) && !can_be_wanted(&[], &ids(&[1])));
}

#[test]
fn a_change_holds_just_what_differs_and_is_joint() {
    let now = Membership { learners: ids(&[4]), ..Membership::of_voters(ids(&[1, 2, 3])) };
    let change = change(&now, &ids(&[2, 3, 4]), &ids(&[1, 5]));
    let singles = change.get_changes().iter();
    let singles: Vec<_> = singles.map(|one| (one.node_id, one.get_change_type())).collect();
    let expected = [
        (4, ConfChangeType::AddNode),
        (1, ConfChangeType::AddLearnerNode),
        (5, ConfChangeType::AddLearnerNode),
    ];
    assert_eq!(singles, expected);
    assert_eq!(change.get_transition(), ConfChangeTransition::Implicit);
}

#[test]
fn no_change_at_all_is_still_one_that_can_be_answered() {
    let now = Membership::of_voters(ids(&[1, 2]));
    assert_eq!(change(&now, &now.voters, &[]).get_changes().len(), 1);
}

#[test]
fn bytes_that_are_no_change_are_not_taken_for_one() {
    let mut entry = Entry { data: vec![0xff; 9].into(), ..Entry::default() };
    assert_eq!(parse_change(&entry), None);
    for kind in [EntryType::EntryConfChange, EntryType::EntryConfChangeV2] {
        entry.set_entry_type(kind);
        assert_eq!(parse_change(&entry), None);
    }
}
