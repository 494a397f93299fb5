use super::*;

fn disk(path: &str, content: Content) -> Seen {
    let disk = Disk {
        path: path.to_owned(),
        serial: Some(format!("S-{}", path.trim_start_matches("/dev/"))),
        size_bytes: 10 << 30,
        partitions: Vec::new(),
        unfit: None,
    };
    Seen { disk, content }
}

fn empty(path: &str) -> Seen {
    disk(path, Content::Empty)
}

fn foreign(path: &str) -> Seen {
    disk(path, Content::Foreign("ext4, labelled \"backup\"".to_owned()))
}

/// A part of Holdfast's data `filesystem`, which has `parts` of them.
fn ours(path: &str, filesystem: &str, parts: u64) -> Seen {
    let (filesystem, part) = (filesystem.to_owned(), format!("{filesystem} {path}"));
    disk(path, Content::Ours(Member { filesystem, part, parts, generation: 10 }))
}

fn wanted(names: &[&str], profile: Profile) -> Disks {
    let name = |name: &&str| match name.strip_prefix("serial:") {
        Some(serial) => DiskName::Serial(serial.to_owned()),
        None => DiskName::Path((*name).to_owned()),
    };
    Disks { devices: names.iter().map(name).collect(), profile }
}

const ANY: &[&str] = &[];
const LONG: Duration = SECOND_DISK_PATIENCE;

fn decided(seen: &[Seen], names: &[&str], profile: Profile) -> Decision {
    decide(seen, &wanted(names, profile), Duration::ZERO)
}

/// Why nothing was done; every disk is in it.
#[track_caller]
fn refused(seen: &[Seen], names: &[&str], profile: Profile) -> String {
    match decide(seen, &wanted(names, profile), LONG) {
        Decision::Refuse(why) => {
            assert!(seen.iter().all(|seen| why.contains(&seen.disk.path)), "{why}");
            why
        }
        other => panic!("{other:?}"),
    }
}

fn make(paths: &[&str]) -> Decision {
    Decision::Make(paths.iter().map(|path| (*path).to_owned()).collect())
}

/// What is mounted: the paths, and what is said about it.
#[track_caller]
fn mounted(
    seen: &[Seen],
    names: &[&str],
    profile: Profile,
    waited: Duration,
) -> (Vec<String>, Complete, Vec<String>) {
    match decide(seen, &wanted(names, profile), waited) {
        Decision::Mount { devices, complete, notes } => (devices, complete, notes),
        other => panic!("{other:?}"),
    }
}

use Profile::{Raid1, Single};

#[test]
fn a_new_machine_with_one_empty_disk_gets_its_file_system_there() {
    assert_eq!(decided(&[empty("/dev/vda")], ANY, Single), make(&["/dev/vda"]));
    // Whatever else is attached stays as it is.
    let beside = [foreign("/dev/sda"), empty("/dev/vda"), foreign("/dev/vdb")];
    assert_eq!(decided(&beside, ANY, Single), make(&["/dev/vda"]));
}

#[test]
fn several_empty_disks_are_a_question_and_not_an_answer() {
    let two = [empty("/dev/vda"), empty("/dev/vdb")];
    let why = refused(&two, ANY, Single);
    assert!(
        why.contains("2 are empty where 1 would do") && why.contains("`disk.devices`"),
        "{why}"
    );
    assert_eq!(decided(&two, &["/dev/vdb"], Single), make(&["/dev/vdb"]));
    assert_eq!(decided(&two, &["serial:S-vda"], Single), make(&["/dev/vda"]));
    let three = [empty("/dev/vda"), empty("/dev/vdb"), empty("/dev/vdc")];
    assert!(refused(&three, ANY, Raid1).contains("3 are empty where 2 would do"));
}

#[test]
fn two_copies_want_two_disks() {
    let two = [empty("/dev/vda"), empty("/dev/vdb")];
    assert_eq!(decided(&two, ANY, Raid1), make(&["/dev/vda", "/dev/vdb"]));
    assert_eq!(
        decided(&two, &["/dev/vdb", "/dev/vda"], Raid1),
        make(&["/dev/vdb", "/dev/vda"]),
        "in the order in which they are named"
    );
    assert!(refused(&two[..1], ANY, Raid1).contains("1 of the 2"));
    let why = refused(&two[..1], &["/dev/vda", "/dev/vdb"], Raid1);
    assert!(why.contains("/dev/vdb is named in `disk.devices` and not there"), "{why}");
}

#[test]
fn a_disk_with_somebodys_data_is_never_taken() {
    let why = refused(&[foreign("/dev/vda")], ANY, Single);
    assert!(why.contains("/dev/vda (10.0 GiB, serial S-vda): ext4, labelled \"backup\""), "{why}");
    let why = refused(&[foreign("/dev/vda")], &["/dev/vda"], Single);
    assert!(why.contains("was left as it is"), "{why}");
    let why = refused(&[foreign("/dev/vda"), empty("/dev/vdb")], &["/dev/vda", "/dev/vdb"], Raid1);
    assert!(why.starts_with("/dev/vda is named"), "{why}");
    // Not even where the rest of what is named has our data.
    let half = [ours("/dev/vda", "a", 2), foreign("/dev/vdb")];
    assert!(refused(&half, &["/dev/vda", "/dev/vdb"], Raid1).starts_with("/dev/vdb is named"));
    let unfit = disk("/dev/vda", Content::Unfit("it is read-only".to_owned()));
    assert!(refused(&[unfit], &["/dev/vda"], Single).contains("it is read-only"));
    assert!(refused(&[], ANY, Single).contains("There is no disk at all"));
}

#[test]
fn our_data_is_mounted_and_nothing_is_made_beside_it() {
    let seen = [empty("/dev/vda"), ours("/dev/vdb", "a", 1), foreign("/dev/vdc")];
    let whole = (vec!["/dev/vdb".to_owned()], Complete::Whole, Vec::new());
    assert_eq!(mounted(&seen, ANY, Single, Duration::ZERO), whole);
    assert_eq!(mounted(&seen, &["serial:S-vdb"], Single, Duration::ZERO), whole);
}

#[test]
fn a_name_that_went_to_another_disk_makes_nothing_new() {
    // Yesterday's /dev/vda is today's /dev/vdb, and /dev/vda is empty.
    let seen = [empty("/dev/vda"), ours("/dev/vdb", "a", 1)];
    let why = refused(&seen, &["/dev/vda"], Single);
    assert!(why.starts_with("Holdfast's data is on /dev/vdb"), "{why}");
    assert!(refused(&seen[1..], &["/dev/vda"], Single).starts_with("Holdfast's data is on"));
}

#[test]
fn of_two_appliances_data_only_the_named_one_is_taken() {
    let seen = [ours("/dev/vda", "a", 1), ours("/dev/vdb", "b", 1)];
    let why = refused(&seen, ANY, Single);
    assert!(why.contains("on /dev/vda, and on /dev/vdb"), "{why}");
    let (devices, ..) = mounted(&seen, &["/dev/vdb"], Single, Duration::ZERO);
    assert_eq!(devices, ["/dev/vdb"]);
    assert!(refused(&seen, &["/dev/vda", "/dev/vdb"], Raid1).contains("of two appliances"));
}

#[test]
fn both_disks_of_a_pair_are_mounted_as_one_whichever_is_named() {
    let seen = [ours("/dev/vda", "a", 2), ours("/dev/vdb", "a", 2)];
    for names in [ANY, &["/dev/vdb"], &["/dev/vdb", "/dev/vda"]] {
        let (devices, complete, notes) = mounted(&seen, names, Raid1, Duration::ZERO);
        assert_eq!(devices, ["/dev/vda", "/dev/vdb"]);
        assert_eq!((complete, notes), (Complete::Whole, Vec::new()));
    }
}

#[test]
fn a_pair_waits_for_its_second_disk_and_then_goes_on_loudly() {
    let half = [ours("/dev/vda", "a", 2)];
    let waiting = decided(&half, ANY, Raid1);
    assert!(matches!(&waiting, Decision::Wait(why) if why.contains("/dev/vda")), "{waiting:?}");
    let almost = LONG - Duration::from_millis(1);
    assert!(matches!(decide(&half, &wanted(ANY, Raid1), almost), Decision::Wait(_)));
    let (devices, complete, notes) = mounted(&half, ANY, Raid1, LONG);
    assert_eq!((devices.len(), complete), (1, Complete::Degraded));
    assert!(notes[0].starts_with("DEGRADED"), "{notes:?}");
    // A new empty disk in the place of the lost one is no reason to begin anew.
    let replaced = [ours("/dev/vda", "a", 2), empty("/dev/vdb")];
    let (devices, complete, _) = mounted(&replaced, &["/dev/vda", "/dev/vdb"], Raid1, LONG);
    assert_eq!((devices.len(), complete), (1, Complete::Degraded));
    assert!(refused(&[ours("/dev/vda", "a", 3)], ANY, Raid1).contains("2 of the 3"));
}

#[test]
fn disks_that_are_copies_of_one_another_are_not_mounted() {
    let mut copy = ours("/dev/vda", "a", 1);
    copy.disk.path = "/dev/vdb".to_owned();
    let why = refused(&[ours("/dev/vda", "a", 1), copy], ANY, Single);
    assert!(why.contains("/dev/vda and /dev/vdb are copies of one another"), "{why}");
    let replaced = [ours("/dev/vda", "a", 1), ours("/dev/vdb", "a", 1)];
    assert!(refused(&replaced, ANY, Single).contains("more than the 1 disks"));
}

#[test]
fn a_disk_that_was_away_for_a_while_is_told() {
    let mut late = ours("/dev/vdb", "a", 2);
    let set = |seen: &mut Seen, to| {
        let Content::Ours(member) = &mut seen.content else { panic!() };
        member.generation = to;
    };
    set(&mut late, 9);
    let notes = |late: &Seen| {
        mounted(&[ours("/dev/vda", "a", 2), late.clone()], ANY, Raid1, Duration::ZERO).2
    };
    assert!(notes(&late).is_empty(), "as after a power cut");
    set(&mut late, 8);
    assert!(notes(&late)[0].starts_with("/dev/vdb missed changes"));
    set(&mut late, 12);
    assert!(notes(&late)[0].starts_with("/dev/vda missed changes"));
}

#[test]
fn a_profile_that_the_disk_does_not_have_is_told() {
    let (_, _, notes) = mounted(&[ours("/dev/vda", "a", 1)], ANY, Raid1, Duration::ZERO);
    assert!(notes[0].contains("changes nothing"), "{notes:?}");
}

#[test]
fn one_serial_on_two_disks_names_neither() {
    let mut twin = empty("/dev/vdb");
    twin.disk.serial = Some("S-vda".to_owned());
    let seen = [empty("/dev/vda"), twin];
    assert!(refused(&seen, &["serial:S-vda"], Single).contains("have one serial"));
    let twice = &["/dev/vda", "serial:S-vda"];
    assert!(refused(&seen[..1], twice, Raid1).contains("names /dev/vda twice"));
}

#[test]
fn sizes_are_for_people() {
    for (bytes, text) in [(512, "0.5 KiB"), (256 << 20, "256.0 MiB"), (3 << 40, "3.0 TiB")] {
        assert_eq!(size(bytes), text);
    }
    assert_eq!(size(u64::MAX), "16777216.0 TiB");
}
