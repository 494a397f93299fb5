use std::net::IpAddr;

use model::{LossCount, RootDirectory, Timestamp};

use super::*;

mod addresses;
mod joining;
mod volumes;
mod voters;

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

const BOB: ApplianceId = ApplianceId::new(8);
const CYD: ApplianceId = ApplianceId::new(9);

/// A fleet of as many, numbered from 7, all up.
fn fleet_of(count: u64) -> Fleet {
    let mut fleet = founded();
    fleet.apply(up(true)).unwrap();
    for id in 8..7 + count {
        admit(&mut fleet, ApplianceId::new(id), MemberKind::Full).unwrap();
        start(&mut fleet, ApplianceId::new(id), true);
    }
    fleet
}

fn admit(
    fleet: &mut Fleet,
    appliance: ApplianceId,
    kind: MemberKind,
) -> Result<FleetAnswer, FleetRefusal> {
    let now = Timestamp::from_nanos(1);
    let digest = InvitationDigest([appliance.get() as u8; 32]);
    let expires = Timestamp::from_nanos(10);
    let _ = fleet.apply(FleetCommand::RevokeInvitation { digest });
    fleet.apply(FleetCommand::Invite { digest, expires, kind, now })?;
    fleet.apply(FleetCommand::Admit {
        digest,
        appliance,
        name: format!("a{appliance}"),
        addresses: vec![],
        labels: Labels::default(),
        kind,
        now,
    })
}

fn start(fleet: &mut Fleet, appliance: ApplianceId, clean: bool) -> Incarnation {
    let Member { name, addresses, labels, .. } = fleet.member(appliance).unwrap().clone();
    let command = FleetCommand::UpAt { appliance, name, addresses, labels, clean };
    match fleet.apply(command) {
        Ok(FleetAnswer::Up { incarnation, .. }) => incarnation,
        other => panic!("{other:?}"),
    }
}

fn down(fleet: &mut Fleet, appliance: ApplianceId) {
    let incarnation = fleet.member(appliance).unwrap().incarnation;
    fleet.apply(FleetCommand::Down { appliance, incarnation }).unwrap();
}

fn create_on(fleet: &mut Fleet, name: &str, members: &[ApplianceId]) -> VolumeId {
    let (exports, root) = (vec![], RootDirectory::default());
    let (name, members) = (name.into(), members.to_vec());
    match fleet.apply(FleetCommand::CreateVolumeOn { name, exports, root, members }) {
        Ok(FleetAnswer::Volume(volume)) => volume,
        other => panic!("{other:?}"),
    }
}

fn losses(fleet: &Fleet) -> Vec<u64> {
    fleet.volumes().iter().map(|info| info.loss_count.get()).collect()
}

/// Refused, and not a trace left.
fn refused(fleet: &mut Fleet, command: FleetCommand) -> FleetRefusal {
    let before = fleet.clone();
    let refusal = fleet.apply(command).unwrap_err();
    assert_eq!(*fleet, before, "a refused entry leaves no trace");
    refusal
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

#[test]
fn an_idempotent_command_that_is_entered_again_changes_nothing_and_is_answered_alike() {
    let mut fleet = fleet_of(3);
    let volume = create_on(&mut fleet, "demo", &[ADA, BOB]);
    let offer = AddressOffer {
        address: IpAddr::from([10, 0, 0, 1]),
        prefix: 24,
        interface: "eth0".to_owned(),
    };
    let labels = Labels([("site".to_owned(), "east".to_owned())].into());
    let commands = [
        FleetCommand::SetExports { volume, exports: vec![] },
        FleetCommand::SetPolicy { volume, policy: Policy { replicas: 2, ..Policy::default() } },
        FleetCommand::SetLabels { appliance: CYD, labels },
        FleetCommand::SetVolumeMembers { volume, members: vec![ADA, CYD] },
        FleetCommand::LeftVolume { volume, appliance: BOB },
        FleetCommand::OfferAddresses { appliance: BOB, offers: vec![offer] },
        FleetCommand::SetDraining { appliance: BOB, drain: Drain::Start },
    ];
    for command in commands {
        assert!(command.is_idempotent(), "{command:?}");
        let answer = fleet.apply(command.clone());
        let after = fleet.clone();
        assert_eq!(fleet.apply(command.clone()), answer, "{command:?}");
        assert_eq!(fleet, after, "{command:?}");
    }
    assert!(!create("demo").is_idempotent());
}
