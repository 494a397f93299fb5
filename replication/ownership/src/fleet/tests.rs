use super::*;

const ADA: ApplianceId = ApplianceId::new(7);

fn founded() -> Fleet {
    let mut fleet = Fleet::default();
    let secret = Secret([1; 32]);
    fleet.apply(FleetCommand::Found { appliance: ADA, name: "ada".into(), secret }).unwrap();
    fleet
}

fn up(clean: bool) -> FleetCommand {
    FleetCommand::Up { appliance: ADA, name: "ada".into(), clean }
}

fn create(name: &str) -> FleetCommand {
    FleetCommand::CreateVolume {
        name: name.into(),
        exports: vec![],
        root: RootDirectory::default(),
    }
}

#[test]
fn a_founded_fleet_never_changes_its_secret() {
    let mut fleet = founded();
    let again = FleetCommand::Found { appliance: ADA, name: "eve".into(), secret: Secret([2; 32]) };
    assert_eq!(fleet.apply(again), Err(FleetRefusal::Founded));
    assert_eq!(fleet.secret(), Some(Secret([1; 32])));
}

#[test]
fn every_start_is_a_new_view_and_a_new_incarnation() {
    let mut fleet = founded();
    fleet.apply(up(true)).unwrap();
    let (view, incarnation) = (fleet.view(), fleet.members()[0].incarnation);
    fleet.apply(up(true)).unwrap();
    assert!(fleet.view() > view);
    assert!(fleet.members()[0].incarnation > incarnation);
    assert!(fleet.is_up(ADA));
}

#[test]
fn only_an_unclean_start_raises_the_loss_counts() {
    let mut fleet = founded();
    fleet.apply(create("demo")).unwrap();
    fleet.apply(up(true)).unwrap();
    assert_eq!(fleet.volumes()[0].loss_count, LossCount::new(0));
    fleet.apply(up(false)).unwrap();
    assert_eq!(fleet.volumes()[0].loss_count, LossCount::new(1));
}

#[test]
fn a_volume_number_is_never_reused() {
    let mut fleet = founded();
    fleet.apply(create("a")).unwrap();
    fleet.apply(FleetCommand::DeleteVolume { volume: VolumeId::new(1) }).unwrap();
    assert_eq!(fleet.apply(create("a")), Ok(FleetAnswer::Volume(VolumeId::new(2))));
}

#[test]
fn a_bad_or_taken_volume_name_is_refused_with_the_reason() {
    let mut fleet = founded();
    fleet.apply(create("demo")).unwrap();
    assert_eq!(fleet.apply(create("demo")), Err(FleetRefusal::VolumeExists("demo".into())));
    for name in ["", "a/b", ".hidden", "..", "a b", &"x".repeat(65)] {
        assert_eq!(fleet.apply(create(name)), Err(FleetRefusal::BadVolumeName(name.into())));
    }
}
