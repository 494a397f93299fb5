use model::{Device, Timestamp, VolumeId};

use super::*;

fn attributes(kind: ObjectKind, mode: u32) -> Attributes {
    Attributes {
        object: ObjectId::new(5),
        kind,
        mode,
        links: 1,
        uid: 10,
        gid: 20,
        size: 0,
        used: 0,
        device: Device::default(),
        atime: Timestamp::default(),
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
    }
}

fn ask(uid: u32, read_only: bool) -> Ask {
    let identity = Identity { uid, gid: uid, gids: Box::new([]) };
    Ask { identity, read_only, ..Ask::own(VolumeId::new(1)) }
}

const EVERYTHING: AccessBits = AccessBits(0x3f);

#[test]
fn access_of_a_directory_never_grants_execute_and_of_a_file_never_lookup_or_delete() {
    let dir =
        access_granted(&ask(10, false), &attributes(ObjectKind::Directory, 0o700), EVERYTHING);
    assert_eq!(dir.0, 0x1f);
    let file = access_granted(&ask(10, false), &attributes(ObjectKind::File, 0o700), EVERYTHING);
    assert_eq!(
        file.0,
        AccessBits::READ | AccessBits::MODIFY | AccessBits::EXTEND | AccessBits::EXECUTE
    );
}

#[test]
fn access_through_a_read_only_export_grants_no_change_of_ours_but_pipes_still_work() {
    let file = access_granted(&ask(0, true), &attributes(ObjectKind::File, 0o666), EVERYTHING);
    assert_eq!(file.0, AccessBits::READ);
    let fifo = access_granted(&ask(0, true), &attributes(ObjectKind::Fifo, 0o666), EVERYTHING);
    assert_eq!(fifo.0, AccessBits::READ | AccessBits::MODIFY | AccessBits::EXTEND);
}

#[test]
fn access_grants_only_what_was_asked() {
    let asked = AccessBits(AccessBits::READ);
    let granted = access_granted(&ask(0, false), &attributes(ObjectKind::File, 0o777), asked);
    assert_eq!(granted, asked);
}

#[test]
fn a_cookie_verifier_is_never_zero_and_differs_between_directories() {
    assert_ne!(cookie_verifier(ObjectId::ROOT), [0; 8]);
    assert_ne!(cookie_verifier(ObjectId::ROOT), cookie_verifier(ObjectId::new(2)));
}

#[test]
fn dot_names_are_refused_as_each_procedure_says() {
    assert_eq!(refusal_of_name(BadName::Dot, NameUse::Create), Refusal::Exists);
    assert_eq!(refusal_of_name(BadName::Dot, NameUse::RemoveDirectory), Refusal::Invalid);
    assert_eq!(refusal_of_name(BadName::DotDot, NameUse::RemoveDirectory), Refusal::Exists);
    assert_eq!(refusal_of_name(BadName::DotDot, NameUse::Rename), Refusal::Invalid);
    assert_eq!(refusal_of_name(BadName::TooLong, NameUse::Rename), Refusal::NameTooLong);
}
