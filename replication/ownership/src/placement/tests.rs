use super::*;

const GIB: u64 = 1 << 30;
const THREE: Wanted = Wanted { copies: 3, bytes: 0 };

fn at(id: u64, site: &str, rack: &str) -> Candidate {
    let labels = [("site", site), ("rack", rack)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Candidate {
        id: ApplianceId::new(id),
        labels: Labels(labels.into()),
        kind: MemberKind::Full,
        free_bytes: 100 * GIB,
        volumes: 0,
        up: true,
        draining: false,
    }
}

fn ids(numbers: &[u64]) -> Vec<ApplianceId> {
    numbers.iter().map(|id| ApplianceId::new(*id)).collect()
}

fn why(placement: &Placement, id: u64) -> &Why {
    let of = |reason: &&Reason| reason.appliance == ApplianceId::new(id);
    &placement.reasons.iter().find(of).unwrap().why
}

#[test]
fn copies_go_to_different_sites_and_then_to_different_racks() {
    let candidates = [at(1, "a", "1"), at(2, "a", "1"), at(3, "a", "2"), at(4, "b", "1")];
    let placement = place(&candidates, &[], THREE);
    assert_eq!(placement.members, ids(&[1, 4, 3]));
    assert!(matches!(why(&placement, 4), Why::Taken { adds: Adds::Site, .. }));
    assert!(matches!(why(&placement, 3), Why::Taken { adds: Adds::Rack, .. }));
    assert_eq!(placement.missing, 0);
}

#[test]
fn among_equals_the_one_with_the_most_room_for_each_volume_is_taken() {
    let mut roomy = at(1, "a", "1");
    (roomy.free_bytes, roomy.volumes) = (200 * GIB, 9);
    let candidates = [roomy, at(2, "a", "1"), at(3, "a", "1")];
    let placement = place(&candidates, &[], Wanted { copies: 1, bytes: 0 });
    assert_eq!(placement.members, ids(&[2]));
}

#[test]
fn the_order_of_the_candidates_does_not_matter() {
    let mut candidates: Vec<_> = (1..=6)
        .map(|n| at(n, ["a", "b"][n as usize % 2], ["1", "2", "3"][n as usize % 3]))
        .collect();
    let forth = place(&candidates, &[], THREE);
    candidates.reverse();
    assert_eq!(place(&candidates, &[], THREE), forth);
}

#[test]
fn a_witness_a_full_a_draining_and_a_down_appliance_get_nothing_new() {
    let mut candidates = [at(1, "a", "1"), at(2, "b", "1"), at(3, "c", "1"), at(4, "d", "1")];
    candidates[0].kind = MemberKind::Witness;
    candidates[1].free_bytes = FREE_BYTES_MIN - 1;
    candidates[2].draining = true;
    candidates[3].up = false;
    let placement = place(&candidates, &[], THREE);
    assert_eq!((placement.members.len(), placement.missing), (0, 3));
    let expected = [Obstacle::Witness, Obstacle::Full, Obstacle::Draining, Obstacle::Down];
    for (id, obstacle) in (1..).zip(expected) {
        assert_eq!(why(&placement, id), &Why::Passed(obstacle));
    }
    let large = Wanted { copies: 1, bytes: 200 * GIB };
    assert_eq!(place(&[at(1, "a", "1")], &[], large).missing, 1);
}

#[test]
fn a_drained_or_removed_member_is_replaced_and_the_others_stay() {
    let mut candidates = [at(1, "a", "1"), at(2, "b", "1"), at(3, "c", "1"), at(4, "d", "1")];
    candidates[1].draining = true;
    let drained = place(&candidates, &ids(&[1, 2, 3]), THREE);
    assert_eq!(drained.members, ids(&[1, 3, 4]));
    assert_eq!(why(&drained, 2), &Why::Leaves);
    let removed = place(&candidates[..3], &ids(&[1, 9, 3]), Wanted { copies: 2, bytes: 0 });
    assert_eq!(removed.members, ids(&[1, 3]));
}

#[test]
fn a_member_that_is_down_stays_and_one_that_drains_stays_while_nobody_can_take_its_copy() {
    let mut candidates = [at(1, "a", "1"), at(2, "b", "1"), at(3, "c", "1")];
    candidates[1].up = false;
    candidates[2].draining = true;
    let placement = place(&candidates, &ids(&[2, 3, 1]), THREE);
    assert_eq!(placement.members, ids(&[2, 1, 3]), "and the draining one succeeds last");
    assert_eq!(why(&placement, 3), &Why::StaysForWantOfAnother);
    assert_eq!(why(&placement, 2), &Why::Stays);
}

#[test]
fn a_fourth_copy_is_not_made_and_one_wanted_too_few_takes_none_away() {
    let candidates: Vec<_> = (1..=5).map(|n| at(n, "a", "1")).collect();
    assert_eq!(place(&candidates, &[], Wanted { copies: 9, bytes: 0 }).members.len(), 3);
    let fewer = place(&candidates, &ids(&[1, 2]), Wanted { copies: 1, bytes: 0 });
    assert_eq!(fewer.members, ids(&[1, 2]), "giving a good copy up is the operator's decision");
}

#[test]
fn every_reason_is_a_sentence() {
    let mut candidates = [at(1, "a", "1"), at(2, "b", "1"), at(3, "b", "1")];
    candidates[2].draining = true;
    let placement = place(&candidates, &ids(&[1]), THREE);
    let told: Vec<String> = placement.reasons.iter().map(|reason| reason.why.to_string()).collect();
    assert_eq!(
        told,
        [
            "holds it and stays",
            "taken: a site of its own (site \"b\"), 102400 MiB free for each volume",
            "passed over: it is being drained",
        ]
    );
}
