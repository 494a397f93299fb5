use model::{Durability, ExportRule, Incarnation, Policy, RootDirectory, Timestamp, VolumeId};
use ownership::{
    AddressOffer, Authority, Drain, InvitationDigest, Labels, MemberKind, MoveReason, RemoveHow,
    Secret,
};

use super::*;
use crate::memory::MemoryStore;

const ADA: ApplianceId = ApplianceId::new(9);
const BOB: ApplianceId = ApplianceId::new(10);
const CYD: ApplianceId = ApplianceId::new(11);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.trim().len()).step_by(2).map(digits).collect()
}

fn open(stored: Option<&[u8]>) -> FleetCatalog<MemoryStore> {
    let store = MemoryStore::default();
    if let Some(stored) = stored {
        let mut batch = Batch::default();
        batch.put(KEY.to_vec(), stored.to_vec());
        store.apply(batch).unwrap();
    }
    FleetCatalog::open(store, ADA).unwrap()
}

fn apply(catalog: &FleetCatalog<MemoryStore>, data: &[u8]) -> Result<FleetAnswer, FleetRefusal> {
    let index = catalog.applied().index.next();
    let entry = LogEntry { index, term: Term::new(3), data, membership: None };
    catalog.apply(&[entry]).unwrap().remove(0).unwrap()
}

/// What `fleet_state_1.hex` is made of, entry by entry, as the program of format 1 wrote them.
fn old_entries() -> Vec<Vec<u8>> {
    include_str!("../records/fleet_entries_1.hex").lines().map(bytes).collect()
}

/// One entry of each kind that came after format 1, in an order in which each is done.
fn new_commands() -> Vec<FleetCommand> {
    let at = Timestamp::from_nanos;
    let (volume, digest, kind) = (VolumeId::new(4), InvitationDigest([5; 32]), MemberKind::Full);
    let (spare, witness) = (InvitationDigest([6; 32]), MemberKind::Witness);
    let labels = || Labels([("site".to_owned(), "attic".to_owned())].into());
    let addresses = || vec!["10.0.0.2:2050".parse().unwrap(), "[fd00::2]:2050".parse().unwrap()];
    let name = || "bob".to_owned();
    vec![
        FleetCommand::SetAuthority { authority: Authority(vec![1, 2, 3]) },
        FleetCommand::Invite { digest, expires: at(1000), kind, now: at(1) },
        FleetCommand::Invite { digest: spare, expires: at(1000), kind: witness, now: at(1) },
        FleetCommand::RevokeInvitation { digest: spare },
        FleetCommand::Admit {
            digest,
            appliance: BOB,
            name: name(),
            addresses: addresses(),
            labels: labels(),
            kind,
            now: at(2),
        },
        FleetCommand::UpAt {
            appliance: BOB,
            name: name(),
            addresses: addresses(),
            labels: labels(),
            clean: true,
        },
        FleetCommand::SetLabels { appliance: BOB, labels: labels() },
        FleetCommand::CreateVolumeOn {
            name: "both".into(),
            exports: vec![],
            root: RootDirectory::default(),
            members: vec![ADA, BOB],
        },
        FleetCommand::SetVolumeMembers { volume, members: vec![ADA] },
        FleetCommand::Down { appliance: BOB, incarnation: Incarnation::new(1) },
        FleetCommand::SetDraining { appliance: BOB, drain: Drain::Start },
        FleetCommand::DeleteVolumeAt { volume: VolumeId::new(2), now: at(3) },
        FleetCommand::UndeleteVolume { volume: VolumeId::new(2), name: "back".into() },
        FleetCommand::DeleteVolumeAt { volume: VolumeId::new(3), now: at(4) },
    ]
}

fn last_commands() -> Vec<FleetCommand> {
    vec![
        FleetCommand::PurgeVolume { volume: VolumeId::new(3) },
        FleetCommand::LeftVolume { volume: VolumeId::new(4), appliance: BOB },
        FleetCommand::Remove { appliance: BOB, how: RemoveHow::Planned },
    ]
}

#[test]
fn state_of_format_1_is_read_with_its_one_member_as_the_founder_of_all() {
    let catalog = open(Some(&bytes(include_str!("../records/fleet_state_1.hex"))));
    let fleet = catalog.fleet();
    assert_eq!(catalog.applied().index, Index::new(9));
    assert_eq!(catalog.membership(), Membership::of_voters([ADA]));
    assert_eq!(fleet.secret(), Some(Secret([7; 32])));
    let ada = fleet.member(ADA).unwrap();
    assert_eq!((ada.name.as_str(), ada.up, ada.incarnation), ("ada2", true, Incarnation::new(2)));
    let names: Vec<_> = fleet.volumes().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["media", "demo"]);
    for info in fleet.volumes() {
        assert_eq!(fleet.founders(info.id), [ADA]);
        assert_eq!(fleet.volume_members(info.id), [ADA]);
    }
}

#[test]
fn entries_of_format_1_lead_where_they_led() {
    let replayed = open(None);
    for entry in old_entries() {
        apply(&replayed, &entry).unwrap();
    }
    let stored = open(Some(&bytes(include_str!("../records/fleet_state_1.hex"))));
    assert_eq!(replayed.fleet(), stored.fleet());
}

#[test]
fn every_entry_keeps_its_bytes() {
    let commands = [new_commands(), last_commands()].concat();
    let lines: Vec<String> = commands.iter().map(|c| hex(&encode_fleet_command(c))).collect();
    let golden: Vec<&str> = include_str!("../records/fleet_entries_2.hex").lines().collect();
    assert_eq!(lines, golden);
    let catalog = open(Some(&bytes(include_str!("../records/fleet_state_1.hex"))));
    for line in golden {
        apply(&catalog, &bytes(line)).unwrap();
    }
}

#[test]
fn state_of_format_2_is_read_with_one_copy_of_everything() {
    let catalog = open(Some(&bytes(include_str!("../records/fleet_state_1.hex"))));
    for command in new_commands() {
        apply(&catalog, &encode_fleet_command(&command)).unwrap();
    }
    let old = open(Some(&bytes(include_str!("../records/fleet_state_2.hex"))));
    assert_eq!(old.fleet(), catalog.fleet());
    assert_eq!(old.fleet().policy(VolumeId::new(1)), Policy::default());
}

#[test]
fn state_of_format_3_is_read_without_floating_addresses() {
    let catalog = open(Some(&bytes(include_str!("../records/fleet_state_2.hex"))));
    let policy = Policy { replicas: 2, durability: Durability::Local };
    let command =
        encode_fleet_command(&FleetCommand::SetPolicy { volume: VolumeId::new(4), policy });
    assert_eq!(hex(&command), include_str!("../records/fleet_entries_3.hex").trim());
    apply(&catalog, &command).unwrap();
    let old = open(Some(&bytes(include_str!("../records/fleet_state_3.hex"))));
    assert_eq!(old.fleet(), catalog.fleet());
    assert_eq!(old.fleet().policy(VolumeId::new(4)), policy);
    assert_eq!(old.fleet().floating_addresses(), []);
}

/// One entry of each kind that came with format 4, in an order in which each is done.
fn commands_of_addresses() -> Vec<FleetCommand> {
    let offer = |address: &str, interface: &str| AddressOffer {
        address: address.parse().unwrap(),
        prefix: 24,
        interface: interface.to_owned(),
    };
    let both = || vec![offer("10.0.0.9", "eth0"), offer("fd00::9", "eth1")];
    let (name, labels) = ("bob".to_owned(), Labels::default());
    vec![
        FleetCommand::UpAt { appliance: BOB, name, addresses: vec![], labels, clean: true },
        FleetCommand::SetDraining { appliance: BOB, drain: Drain::Stop },
        FleetCommand::OfferAddresses { appliance: ADA, offers: both() },
        FleetCommand::OfferAddresses { appliance: BOB, offers: both() },
        FleetCommand::MoveAddress {
            address: "10.0.0.9".parse().unwrap(),
            to: BOB,
            why: MoveReason::Asked,
        },
    ]
}

#[test]
fn state_of_format_4_keeps_its_bytes() {
    let catalog = open(Some(&bytes(include_str!("../records/fleet_state_3.hex"))));
    let commands = commands_of_addresses();
    let lines: Vec<String> = commands.iter().map(|c| hex(&encode_fleet_command(c))).collect();
    let golden: Vec<&str> = include_str!("../records/fleet_entries_4.hex").lines().collect();
    assert_eq!(lines, golden);
    for line in golden {
        apply(&catalog, &bytes(line)).unwrap();
    }
    assert_eq!(hex(&catalog.image()), include_str!("../records/fleet_state_4.hex").trim());
    let again = open(Some(&catalog.image()));
    assert_eq!(again.fleet(), catalog.fleet());
    assert_eq!(again.fleet().address_held("10.0.0.9".parse().unwrap()).unwrap().by, BOB);
}

#[test]
fn a_change_of_membership_is_stored_with_its_entry_and_a_gap_is_a_fault() {
    let catalog = open(None);
    let joint = Membership {
        voters: vec![ADA, BOB, CYD],
        outgoing: vec![ADA],
        auto_leave: true,
        ..Membership::default()
    };
    let membership = Some(&joint);
    let entry = LogEntry { index: Index::new(1), term: Term::new(2), data: &[], membership };
    catalog.apply(std::slice::from_ref(&entry)).unwrap();
    assert!(catalog.apply(&[entry]).is_err());
    let again = open(Some(&catalog.image()));
    assert_eq!((again.membership(), again.applied().index), (joint, Index::new(1)));
}

#[test]
fn an_image_takes_the_place_of_what_was_here_unless_it_is_broken() {
    let (ahead, behind) = (open(None), open(None));
    for entry in old_entries() {
        apply(&ahead, &entry).unwrap();
    }
    let image = ahead.image();
    for broken in [&image[..image.len() - 1], &[], &[9, 1, 2]] {
        assert!(behind.install(broken).is_err());
        assert_eq!(behind.applied().index, Index::default());
    }
    behind.install(&image).unwrap();
    behind.store.power_cut();
    let behind = FleetCatalog::open(behind.store, ADA).unwrap();
    assert!(behind.applied().installed, "the log is still to be reset");
    behind.confirm_installed().unwrap();
    assert!(!behind.applied().installed);
    assert_eq!(behind.fleet(), ahead.fleet());
    assert_eq!(behind.applied().index, Index::new(9));
    // And it goes on from there.
    let (name, root) = ("new".into(), RootDirectory::default());
    let exports: Vec<ExportRule> = vec![];
    let create = FleetCommand::CreateVolume { name, exports, root };
    assert_eq!(
        apply(&behind, &encode_fleet_command(&create)),
        Ok(FleetAnswer::Volume(VolumeId::new(4)))
    );
}

#[test]
fn any_bytes_are_state_or_a_fault_and_never_a_panic() {
    let image = bytes(include_str!("../records/fleet_state_4.hex"));
    for at in 0..image.len() {
        for flip in [1, 0x80, 0xff] {
            let mut broken = image.clone();
            broken[at] ^= flip;
            let _ = FleetState::decode(&broken);
            let _ = FleetState::decode(&broken[..at]);
        }
    }
}
