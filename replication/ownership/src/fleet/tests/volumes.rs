use super::*;

fn set_members(volume: VolumeId, members: &[ApplianceId]) -> FleetCommand {
    FleetCommand::SetVolumeMembers { volume, members: members.to_vec() }
}

#[test]
fn a_volume_of_the_old_entry_lies_on_the_founder_alone() {
    let mut fleet = fleet_of(3);
    fleet.apply(create("demo")).unwrap();
    assert_eq!(fleet.founders(VolumeId::new(1)), [ADA]);
    assert_eq!(fleet.volume_members(VolumeId::new(1)), [ADA]);
}

#[test]
fn a_loss_raises_the_count_of_the_volumes_that_the_appliance_has_a_part_in() {
    let mut fleet = fleet_of(3);
    create_on(&mut fleet, "both", &[ADA, BOB]);
    create_on(&mut fleet, "bobs", &[BOB]);
    create_on(&mut fleet, "cyds", &[CYD]);
    down(&mut fleet, BOB);
    assert_eq!(losses(&fleet), [1, 1, 0]);
    start(&mut fleet, BOB, false);
    assert_eq!(losses(&fleet), [2, 2, 0]);
    start(&mut fleet, BOB, true);
    assert_eq!(losses(&fleet), [2, 2, 0]);
    fleet.apply(FleetCommand::Up { appliance: CYD, name: "c".into(), clean: false }).unwrap();
    assert_eq!(losses(&fleet), [2, 2, 1]);
}

#[test]
fn one_that_is_to_leave_a_volume_still_counts_until_it_has_left() {
    let mut fleet = fleet_of(3);
    let volume = create_on(&mut fleet, "v", &[ADA, BOB]);
    fleet.apply(set_members(volume, &[ADA, CYD])).unwrap();
    assert_eq!(fleet.volume_members(volume), [ADA, CYD]);
    assert_eq!(fleet.founders(volume), [ADA, BOB], "what the group began with never changes");
    down(&mut fleet, BOB);
    assert_eq!(losses(&fleet), [1], "it may have held bytes that nobody else has");
    let remove = FleetCommand::Remove { appliance: BOB, how: RemoveHow::Planned };
    let member = FleetRefusal::StillMember { name: "a8".into(), volumes: 1 };
    assert_eq!(refused(&mut fleet, remove.clone()), member);
    fleet.apply(FleetCommand::LeftVolume { volume, appliance: BOB }).unwrap();
    fleet.apply(remove).unwrap();
    let left = FleetCommand::LeftVolume { volume, appliance: ADA };
    assert_eq!(refused(&mut fleet, left), FleetRefusal::StillWanted(ADA));
}

#[test]
fn one_that_comes_back_before_it_left_is_no_longer_leaving() {
    let mut fleet = fleet_of(3);
    let volume = create_on(&mut fleet, "v", &[ADA, BOB]);
    fleet.apply(set_members(volume, &[ADA, CYD])).unwrap();
    fleet.apply(set_members(volume, &[ADA, BOB])).unwrap();
    assert_eq!(fleet.seats(volume).unwrap().leaving, [CYD]);
}

#[test]
fn a_volume_has_one_to_three_holders_of_data() {
    let mut fleet = fleet_of(4);
    let witness = ApplianceId::new(20);
    admit(&mut fleet, witness, MemberKind::Witness).unwrap();
    let volume = create_on(&mut fleet, "v", &[ADA, BOB, CYD]);
    for wrong in [&[][..], &[ADA, ADA], &[ADA, BOB, CYD, ApplianceId::new(10)]] {
        let refusal = refused(&mut fleet, set_members(volume, wrong));
        assert_eq!(refusal, FleetRefusal::BadVolumeMembers);
    }
    let witnessed = refused(&mut fleet, set_members(volume, &[ADA, witness]));
    assert_eq!(witnessed, FleetRefusal::WitnessHoldsNothing("a20".into()));
    let unknown = ApplianceId::new(99);
    let refusal = refused(&mut fleet, set_members(volume, &[ADA, unknown]));
    assert_eq!(refusal, FleetRefusal::UnknownAppliance(unknown));
    let refusal = refused(&mut fleet, set_members(VolumeId::new(9), &[ADA]));
    assert_eq!(refusal, FleetRefusal::UnknownVolume(VolumeId::new(9)));
    let all_new = refused(&mut fleet, set_members(volume, &[ApplianceId::new(10)]));
    assert_eq!(all_new, FleetRefusal::NobodyStays);
}

#[test]
fn a_deleted_volume_comes_back_as_it_was_under_any_free_name() {
    let mut fleet = fleet_of(2);
    let volume = create_on(&mut fleet, "media", &[ADA, BOB]);
    create_on(&mut fleet, "other", &[ADA]);
    let before = fleet.volumes()[0].clone();
    let now = Timestamp::from_nanos(77);
    fleet.apply(FleetCommand::DeleteVolumeAt { volume, now }).unwrap();
    assert_eq!(fleet.volumes().len(), 1);
    assert_eq!(fleet.deleted_volumes(), [DeletedVolume { info: before.clone(), at: now }]);
    create_on(&mut fleet, "media", &[BOB]);
    let undelete = |name: &str| FleetCommand::UndeleteVolume { volume, name: name.into() };
    let taken = refused(&mut fleet, undelete("media"));
    assert_eq!(taken, FleetRefusal::VolumeExists("media".into()));
    let bad = refused(&mut fleet, undelete("a/b"));
    assert_eq!(bad, FleetRefusal::BadVolumeName("a/b".into()));
    fleet.apply(undelete("old")).unwrap();
    assert_eq!(fleet.volumes()[0], VolumeInfo { name: "old".into(), ..before });
    assert_eq!(fleet.volume_members(volume), [ADA, BOB]);
    assert_eq!(refused(&mut fleet, undelete("more")), FleetRefusal::UnknownVolume(volume));
}

#[test]
fn losses_while_a_volume_was_deleted_are_told_when_it_is_back() {
    let mut fleet = fleet_of(2);
    let volume = create_on(&mut fleet, "media", &[BOB]);
    let now = Timestamp::default();
    fleet.apply(FleetCommand::DeleteVolumeAt { volume, now }).unwrap();
    start(&mut fleet, BOB, false);
    fleet.apply(FleetCommand::RaiseLossCount { volume }).unwrap();
    fleet.apply(FleetCommand::UndeleteVolume { volume, name: "media".into() }).unwrap();
    assert_eq!(losses(&fleet), [2]);
}

#[test]
fn only_a_deleted_volume_is_purged_and_its_number_stays_used() {
    let mut fleet = fleet_of(1);
    let volume = create_on(&mut fleet, "v", &[ADA]);
    let purge = FleetCommand::PurgeVolume { volume };
    assert_eq!(refused(&mut fleet, purge.clone()), FleetRefusal::UnknownVolume(volume));
    let now = Timestamp::default();
    fleet.apply(FleetCommand::DeleteVolumeAt { volume, now }).unwrap();
    fleet.apply(purge).unwrap();
    assert!(fleet.deleted_volumes().is_empty() && fleet.seats(volume).is_none());
    assert_eq!(create_on(&mut fleet, "v", &[ADA]), VolumeId::new(2));
}

#[test]
fn a_deleted_volume_takes_a_place_until_it_is_purged() {
    let mut fleet = fleet_of(1);
    for n in 0..VOLUMES_MAX {
        create_on(&mut fleet, &format!("v{n}"), &[ADA]);
    }
    let (volume, now) = (VolumeId::new(1), Timestamp::default());
    fleet.apply(FleetCommand::DeleteVolumeAt { volume, now }).unwrap();
    assert_eq!(refused(&mut fleet, create("more")), FleetRefusal::TooManyVolumes);
    fleet.apply(FleetCommand::PurgeVolume { volume }).unwrap();
    fleet.apply(create("more")).unwrap();
}

#[test]
fn a_dead_appliance_leaves_its_volumes_but_never_takes_the_only_copy_with_it() {
    let mut fleet = fleet_of(3);
    let shared = create_on(&mut fleet, "shared", &[ADA, BOB]);
    let lone = create_on(&mut fleet, "lone", &[BOB]);
    let report = fleet.explain_remove(BOB);
    assert!(report.up);
    let others: Vec<_> = report.parts.iter().map(|part| part.others.clone()).collect();
    assert_eq!(others, [vec![ADA], vec![]]);
    let remove = FleetCommand::Remove { appliance: BOB, how: RemoveHow::Dead };
    assert_eq!(refused(&mut fleet, remove.clone()), FleetRefusal::StillUp("a8".into()));
    down(&mut fleet, BOB);
    let only = FleetRefusal::OnlyHolder { name: "a8".into(), volume: "lone".into() };
    assert_eq!(refused(&mut fleet, remove.clone()), only);
    let now = Timestamp::default();
    fleet.apply(FleetCommand::DeleteVolumeAt { volume: lone, now }).unwrap();
    assert_eq!(refused(&mut fleet, remove.clone()), only, "it could still be brought back");
    fleet.apply(FleetCommand::PurgeVolume { volume: lone }).unwrap();
    fleet.apply(remove).unwrap();
    assert_eq!(fleet.volume_members(shared), [ADA]);
    assert_eq!(fleet.founders(shared), [ADA, BOB]);
}
