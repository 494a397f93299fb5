use super::*;
use model::Membership;

/// Numbers of appliances, from 7 on.
fn ids(numbers: &[u64]) -> Vec<ApplianceId> {
    numbers.iter().map(|n| ApplianceId::new(*n)).collect()
}

fn voting(numbers: &[u64]) -> Membership {
    Membership::of_voters(ids(numbers))
}

fn label(fleet: &mut Fleet, appliance: u64, site: &str, rack: &str) {
    let labels = [("site", site), ("rack", rack)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let (appliance, labels) = (ApplianceId::new(appliance), Labels(labels.into()));
    fleet.apply(FleetCommand::SetLabels { appliance, labels }).unwrap();
}

fn wanted(fleet: &Fleet, now: &[u64], long_down: &[u64]) -> Vec<u64> {
    let wanted = fleet.wanted_fleet_membership(&voting(now), &ids(long_down));
    let mut all = [wanted.voters.clone(), wanted.learners].concat();
    all.sort_unstable();
    if wanted.voters != ids(now) {
        let members: Vec<_> = fleet.members().iter().map(|member| member.id).collect();
        assert_eq!(all, members, "everybody takes part");
    }
    wanted.voters.iter().map(|id| id.get()).collect()
}

#[test]
fn an_odd_number_votes_and_both_of_two() {
    let expected = [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (64, 5)];
    for (members, voters) in expected {
        assert_eq!(wanted(&fleet_of(members), &[7], &[]).len(), voters, "of {members}");
    }
}

#[test]
fn one_that_was_never_up_learns_and_does_not_vote() {
    let mut fleet = fleet_of(2);
    admit(&mut fleet, CYD, MemberKind::Witness).unwrap();
    assert_eq!(wanted(&fleet, &[7, 8], &[]), [7, 8]);
    start(&mut fleet, CYD, true);
    assert_eq!(wanted(&fleet, &[7, 8], &[]), [7, 8, 9], "a witness votes like any other");
}

#[test]
fn voters_are_spread_over_sites_and_then_over_racks() {
    let mut fleet = fleet_of(7);
    let places =
        [("a", "1"), ("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "1"), ("c", "1")];
    for (n, (site, rack)) in places.into_iter().enumerate() {
        label(&mut fleet, 7 + n as u64, site, rack);
    }
    assert_eq!(wanted(&fleet, &[7], &[]), [7, 10, 11, 12, 13]);
}

#[test]
fn a_voter_keeps_its_vote_without_a_reason() {
    let mut fleet = fleet_of(6);
    down(&mut fleet, BOB);
    assert_eq!(wanted(&fleet, &[7, 8, 9, 10, 12], &[]), [7, 8, 9, 10, 12], "it may be back soon");
    assert_eq!(wanted(&fleet, &[7, 8, 9, 10, 12], &[8]), [7, 9, 10, 11, 12], "it was long away");
}

#[test]
fn what_is_wanted_is_still_wanted_once_it_is_there() {
    for members in 1..=9 {
        let mut fleet = fleet_of(members);
        for n in 0..members {
            label(&mut fleet, 7 + n, ["a", "a", "b", "a", "c"][n as usize % 5], "1");
        }
        let first = wanted(&fleet, &[7], &[]);
        assert_eq!(wanted(&fleet, &first, &[]), first, "of {members}");
    }
}

#[test]
fn without_another_to_vote_in_its_place_a_draining_or_lost_voter_stays() {
    let mut fleet = fleet_of(3);
    fleet.apply(FleetCommand::SetDraining { appliance: BOB, drain: Drain::Start }).unwrap();
    assert_eq!(wanted(&fleet, &[7, 8, 9], &[9]), [7, 8, 9]);
    let mut fleet = fleet_of(4);
    fleet.apply(FleetCommand::SetDraining { appliance: BOB, drain: Drain::Start }).unwrap();
    assert_eq!(wanted(&fleet, &[7, 8, 9], &[]), [7, 9, 10]);
}

#[test]
fn without_a_majority_nothing_is_moved() {
    let mut fleet = fleet_of(5);
    down(&mut fleet, BOB);
    down(&mut fleet, CYD);
    assert_eq!(wanted(&fleet, &[7, 8, 9], &[8, 9]), [7, 8, 9], "no change could be entered");
    let mut joint = voting(&[7, 10, 11]);
    joint.outgoing = ids(&[7]);
    assert_eq!(fleet.wanted_fleet_membership(&joint, &[]), joint, "one change at a time");
}

#[test]
fn a_removed_voter_is_replaced_and_the_rest_made_odd() {
    let mut fleet = fleet_of(5);
    down(&mut fleet, BOB);
    let remove = FleetCommand::Remove { appliance: BOB, how: RemoveHow::Dead };
    fleet.apply(remove).unwrap();
    assert_eq!(wanted(&fleet, &[7, 8, 9, 10, 11], &[]).len(), 3);
    assert_eq!(wanted(&fleet, &[7, 8, 9], &[]), [7, 9, 10]);
    down(&mut fleet, CYD);
    let left = wanted(&fleet, &[7, 8, 9, 10, 11], &[]);
    assert_eq!(left, [7, 10, 11], "the one that is down is missed the least");
}

#[test]
fn a_site_with_a_majority_it_need_not_have_gives_votes_away() {
    let mut fleet = fleet_of(4);
    for (n, site) in ["a", "a", "b", "c"].into_iter().enumerate() {
        label(&mut fleet, 7 + n as u64, site, "1");
    }
    assert_eq!(wanted(&fleet, &[7, 8, 9], &[]), [7, 9, 10]);
    let tolerance = fleet.tolerates_loss(&voting(&[7, 8, 9]));
    assert_eq!(tolerance.any_site, Some(false));
    assert_eq!(fleet.tolerates_loss(&voting(&[7, 9, 10])).any_site, Some(true));
}

#[test]
fn a_fleet_of_two_says_loudly_that_it_tolerates_no_loss() {
    let two = fleet_of(2).tolerates_loss(&voting(&[7, 8]));
    assert_eq!(two.losses, 0);
    assert!(two.to_string().contains("tolerates NO loss"), "{two}");
    let mut fleet = fleet_of(3);
    let three = fleet.tolerates_loss(&voting(&[7, 8, 9]));
    assert_eq!((three.losses, three.any_site), (1, None));
    assert!(three.to_string().contains("the loss of one"), "{three}");
    down(&mut fleet, BOB);
    let less = fleet.tolerates_loss(&voting(&[7, 8, 9]));
    assert_eq!(less.losses, 0);
    assert!(less.to_string().starts_with("WARNING"), "{less}");
    let five = fleet_of(5).tolerates_loss(&voting(&[7, 8, 9, 10, 11]));
    assert_eq!(five.losses, 2);
}
