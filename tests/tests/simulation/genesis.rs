//! The fleet as every run finds it: founded, everybody a member and a voter, volumes with a few
//! names and empty files. It comes as images, so that no time is spent on joining.

use catalog::{Catalog, Command, Envelope, FleetCatalog, Image, Installing, LogEntry, Others};
use model::{
    ApplianceId, Change, CreateHow, Identity, Index, Membership, ObjectId, Reign, RootDirectory,
    SetAttributes, Term, Timestamp, VolumeId,
};
use ownership::{FleetCommand, InvitationDigest, Labels, MemberKind, Secret};

use crate::checks::tree::{GENESIS_FILES, name};
use crate::config::Config;
use crate::disk::{Disk, Shared};
use crate::words::Key;

/// Everybody's disk.
pub fn disks(config: &Config) -> Vec<Disk> {
    let fleet = fleet_image(config);
    let mut disks = Vec::new();
    for at in 1..=config.appliances {
        let disk = Disk::default();
        let catalog = FleetCatalog::open(disk.fleet.clone(), ApplianceId::new(at));
        let catalog = catalog.expect("an empty store can be opened");
        catalog.install(&fleet).expect("our own image can be read");
        disks.push(disk);
    }
    for volume in 1..=config.volumes {
        let (volume, members) = (VolumeId::new(volume), members(config, volume));
        let image = volume_image(&members, config.replicas as usize);
        for member in members {
            let store = Shared::default();
            let mut installing = Installing::new(store.clone());
            installing.take(image.clone()).expect("memory does not fail");
            installing.finish().expect("our own image is whole");
            disks[member.get() as usize - 1].volumes.insert(volume, store);
        }
    }
    disks
}

/// The files that are there.
pub fn files(config: &Config) -> Vec<Key> {
    let first = ObjectId::ROOT.get() + 2;
    let of = |volume| {
        (first..first + GENESIS_FILES).map(move |o| (VolumeId::new(volume), ObjectId::new(o)))
    };
    (1..=config.volumes).flat_map(of).collect()
}

/// Who holds a volume: three at most, beginning with another one for each.
pub fn members(config: &Config, volume: u64) -> Vec<ApplianceId> {
    let full = config.appliances - u64::from(config.witness);
    (0..full.min(3)).map(|step| ApplianceId::new((volume - 1 + step) % full + 1)).collect()
}

fn fleet_image(config: &Config) -> Vec<u8> {
    let first = ApplianceId::new(1);
    let catalog = FleetCatalog::open(Shared::default(), first).expect("it is empty");
    let (secret, labels) = (Secret([7; 32]), Labels::default());
    let mut commands = vec![FleetCommand::Found { appliance: first, name: "1".into(), secret }];
    for at in 2..=config.appliances {
        let digest = InvitationDigest([at as u8; 32]);
        let witness = config.witness && at == config.appliances;
        let kind = if witness { MemberKind::Witness } else { MemberKind::Full };
        let (now, expires) = (Timestamp::from_nanos(1), Timestamp::from_nanos(2));
        commands.push(FleetCommand::Invite { digest, expires, kind, now });
        commands.push(FleetCommand::Admit {
            digest,
            appliance: ApplianceId::new(at),
            name: at.to_string(),
            addresses: vec![],
            labels: labels.clone(),
            kind,
            now,
        });
    }
    for volume in 1..=config.volumes {
        let (name, root) = (format!("v{volume}"), RootDirectory::default());
        let members = members(config, volume);
        commands.push(FleetCommand::CreateVolumeOn { name, exports: vec![], root, members });
    }
    let voters = Membership::of_voters((1..=config.appliances).map(ApplianceId::new));
    for (at, command) in commands.iter().enumerate() {
        let data = catalog::encode_fleet_command(command);
        let entry = entry(at, &data, Some(&voters));
        let answers = catalog.apply(&[entry]).expect("entries can be applied");
        assert!(matches!(answers[0], Some(Ok(_))), "{command:?}: {answers:?}");
    }
    catalog.image()
}

fn volume_image(members: &[ApplianceId], replicas: usize) -> Vec<catalog::Record> {
    let catalog = Catalog::open(Shared::default(), members).expect("it is empty");
    let (root, now) = (RootDirectory::default(), Timestamp::from_nanos(1));
    let ask = |change: Change| Command::Change(change.asked(Identity::root(), None, now));
    let set = SetAttributes::default();
    let dir = ObjectId::ROOT;
    let mut commands = vec![
        Command::MakeRoot { root, now },
        ask(Change::MakeDirectory { dir, name: name("d"), set }),
    ];
    for file in 0..GENESIS_FILES {
        let (name, how) = (name(&format!("f{file}")), CreateHow::Guarded(set));
        let owner = members[file as usize % members.len()];
        let asked = Change::Create { dir, name, how, owner }.asked(Identity::root(), None, now);
        let others = members.iter().copied().filter(|member| *member != owner);
        let replicas = others.take(replicas - 1).collect();
        let others = Others { replicas, stale: Box::new([]) };
        commands.push(Command::Create { asked, others });
    }
    for (at, command) in commands.into_iter().enumerate() {
        let data = Envelope { reign: Reign::default(), command }.encode();
        let answers = catalog.apply(&[entry(at, &data, None)]).expect("entries can be applied");
        assert!(answers[0].is_ok(), "{answers:?}");
    }
    let (_, mut image) = catalog.image().expect("memory does not fail");
    image.next(usize::MAX).expect("memory does not fail")
}

fn entry<'a>(at: usize, data: &'a [u8], membership: Option<&'a Membership>) -> LogEntry<'a> {
    LogEntry { index: Index::new(at as u64 + 1), term: Term::new(1), data, membership }
}
