use model::{LossCount, RootDirectory};
use ownership::Labels;

use super::*;

fn ids(list: &[u64]) -> Vec<ApplianceId> {
    list.iter().copied().map(ApplianceId::new).collect()
}

fn deleted(volume: u64, at: Duration) -> DeletedVolume {
    let info = VolumeInfo {
        id: VolumeId::new(volume),
        name: format!("v{volume}"),
        exports: Vec::new(),
        loss_count: LossCount::default(),
        root: RootDirectory::default(),
    };
    DeletedVolume { info, at: wall(at) }
}

fn wall(at: Duration) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(at.as_nanos()).unwrap())
}

#[test]
fn a_deleted_volume_is_purged_after_a_week_and_a_second_look() {
    let (young, old) = (deleted(1, DELETED_KEPT), deleted(2, Duration::ZERO));
    let (both, mut expired) = ([young, old], Expired::new());
    let second = Duration::from_secs(1);
    assert_eq!(due(&both, wall(DELETED_KEPT - second), second, &mut expired), []);
    assert_eq!(due(&both, wall(DELETED_KEPT), second, &mut expired), [], "just over");
    let later = second + PURGE_AFTER;
    assert_eq!(due(&both, wall(DELETED_KEPT), later, &mut expired), [VolumeId::new(2)]);
}

#[test]
fn a_clock_that_jumped_ahead_and_was_put_right_purges_nothing() {
    let (all, mut expired) = ([deleted(1, Duration::ZERO)], Expired::new());
    assert_eq!(due(&all, wall(DELETED_KEPT), Duration::ZERO, &mut expired), []);
    assert_eq!(due(&all, wall(Duration::ZERO), PURGE_AFTER / 2, &mut expired), []);
    assert_eq!(due(&all, wall(DELETED_KEPT), PURGE_AFTER, &mut expired), [], "seen anew");
}

#[test]
fn members_are_replaced_in_one_entry_if_one_stays_and_else_in_two() {
    assert!(steps(&ids(&[1, 2]), &ids(&[2, 1])).is_empty(), "the same");
    assert!(steps(&ids(&[1]), &[]).is_empty(), "never nobody");
    assert_eq!(steps(&ids(&[1, 2]), &ids(&[2, 3])), [ids(&[2, 3])]);
    assert_eq!(steps(&ids(&[1]), &ids(&[2])), [ids(&[1, 2]), ids(&[2])]);
    let full = steps(&ids(&[1, 2, 3]), &ids(&[4, 5, 6]));
    assert_eq!(full, [ids(&[1, 4, 5]), ids(&[4, 5, 6])]);
}

fn candidate(id: u64) -> Candidate {
    Candidate {
        id: ApplianceId::new(id),
        labels: Labels::default(),
        kind: MemberKind::Full,
        free_bytes: 1 << 40,
        volumes: 0,
        up: true,
        draining: false,
    }
}

#[test]
fn a_drained_appliance_is_replaced_if_there_is_another_and_else_leaves_the_volume_to_the_rest() {
    let drained = Candidate { draining: true, ..candidate(3) };
    let three = [candidate(1), candidate(2), drained.clone()];
    assert_eq!(place_among(&three, &ids(&[3, 1, 2])).members, ids(&[1, 2]));
    let four = [candidate(1), candidate(2), drained.clone(), candidate(4)];
    assert_eq!(place_among(&four, &ids(&[3, 1, 2])).members, ids(&[1, 2, 4]));
    let witness = Candidate { kind: MemberKind::Witness, ..candidate(1) };
    let nobody = [witness, drained.clone()];
    assert_eq!(place_among(&nobody, &ids(&[3])).members, ids(&[3]), "never to nobody");
    let down = [Candidate { up: false, ..candidate(1) }, drained];
    assert_eq!(place_among(&down, &ids(&[3])).members, ids(&[3]), "who is down takes nothing");
}
