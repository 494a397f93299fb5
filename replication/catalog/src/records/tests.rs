use model::{
    ApplianceId, Asked, Change, ClientAddress, CreateHow, Epoch, ExportRule, Identity, Inode,
    InodeKind, Mark, ObjectRecord, Reign, RequestKey, SetAttributes, Times, View,
};
use ownership::FleetCommand;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use super::*;
use crate::command::{Command, Envelope};

/// The record must encode to the golden bytes, and they must decode to the record. A format is
/// changed by a new format byte and a new golden file, never by editing one.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T, golden: &str) {
    let hex: String = encode(record).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, golden.trim());
    assert_eq!(&decode::<T>("record", &encode(record)).unwrap(), record);
}

fn name() -> Name {
    Name::parse(b"caf\xe9").unwrap()
}

fn inode(kind: InodeKind) -> Inode {
    let at = Timestamp::from_nanos;
    let reign = Reign { epoch: Epoch::new(1), view: View::new(2) };
    let mark = Mark { reign, sequence: model::Sequence::new(3) };
    let times = Times { atime: at(10), mtime: at(20), ctime: at(30), mark };
    Inode { kind, mode: 0o644, uid: 1000, gid: 100, links: 1, change: 5, times }
}

#[test]
fn inodes_keep_their_bytes() {
    let record = ObjectRecord::owned_by(ApplianceId::new(9));
    let kind = InodeKind::File { record, has_data: true, exclusive: Some([1; 8]) };
    golden(&inode(kind), include_str!("inode_file.hex"));
    let (parent, next_cookie) = (ObjectId::ROOT, Cookie::FIRST_NAME);
    let kind = InodeKind::Directory { parent, entries: 0, next_cookie };
    golden(&inode(kind), include_str!("inode_directory.hex"));
}

#[test]
fn names_entries_state_and_answers_keep_their_bytes() {
    let (object, cookie) = (ObjectId::new(300), Cookie::new(3));
    golden(&NameRecord { object, cookie }, include_str!("name.hex"));
    golden(&CookieRecord { object, name: name() }, include_str!("entry.hex"));
    let state = State {
        applied: Index::new(7),
        term: Term::new(2),
        voters: vec![ApplianceId::new(9)],
        learners: vec![],
        fence: Fence::default(),
        next_object: ObjectId::new(8),
        objects: 4,
    };
    golden(&state, include_str!("state.hex"));
    let answer = Err(model::Refusal::NotEmpty);
    let record = ReplayRecord { digest: 1 << 100, at: Timestamp::from_nanos(5), answer };
    golden(&record, include_str!("answer.hex"));
}

#[test]
fn log_entries_keep_their_bytes() {
    let set = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    let (dir, owner) = (ObjectId::ROOT, ApplianceId::new(9));
    let change = Change::Create { dir, name: name(), how: CreateHow::Guarded(set), owner };
    let client = ClientAddress::from_bytes([7; 16]);
    let key = Some(RequestKey { client, digest: 5 });
    let asked: Asked = change.asked(Identity::root(), key, Timestamp::from_nanos(1));
    let reign = Reign { epoch: Epoch::new(0), view: View::new(4) };
    let envelope = Envelope { reign, command: Command::Change(asked) };
    golden(&envelope, include_str!("entry_create.hex"));
    let exports = vec![ExportRule::for_client("10.0.0.0/8".parse().unwrap())];
    let root = model::RootDirectory::default();
    let command = FleetCommand::CreateVolume { name: "demo".into(), exports, root };
    golden(&command, include_str!("entry_create_volume.hex"));
}

#[test]
fn a_record_of_another_format_is_refused_with_both_numbers() {
    let fault = decode::<NameRecord>("name", &[9, 1, 2]).unwrap_err();
    assert!(fault.to_string().contains("format 9, this program knows 1"), "{fault}");
    assert!(decode::<NameRecord>("name", &[]).is_err());
}
