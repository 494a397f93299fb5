use model::{ANONYMOUS_ID, ClientPattern, LossCount, RootDirectory, VolumeId};

use super::*;
use crate::{Line, UnixCredential};

fn rule(client: &str) -> ExportRule {
    ExportRule::for_client(client.parse::<ClientPattern>().unwrap())
}

fn volume(exports: Vec<ExportRule>) -> VolumeInfo {
    let (id, loss_count) = (VolumeId::new(1), LossCount::default());
    VolumeInfo { id, name: "demo".into(), exports, loss_count, root: RootDirectory::default() }
}

fn caller(client: &str, uid: u32, gid: u32) -> Caller {
    Caller {
        client: client.parse().unwrap(),
        privileged_port: true,
        credential: Some(UnixCredential { uid, gid, gids: Box::new([0, 7]) }),
        key: None,
        line: Line::default(),
    }
}

#[test]
fn an_empty_export_list_denies_everybody() {
    assert_eq!(verdict(&volume(vec![]), &caller("127.0.0.1", 0, 0)), None);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let mut closed = rule("10.0.0.5");
    closed.access = ExportAccess::ReadOnly;
    let volume = volume(vec![closed, rule("10.0.0.0/8")]);
    assert!(verdict(&volume, &caller("10.0.0.5", 1, 1)).unwrap().read_only);
    assert!(!verdict(&volume, &caller("10.0.0.6", 1, 1)).unwrap().read_only);
    assert_eq!(verdict(&volume, &caller("11.0.0.6", 1, 1)), None);
}

#[test]
fn an_unprivileged_port_is_refused_unless_the_rule_says_insecure() {
    let mut asking = caller("10.0.0.5", 1, 1);
    asking.privileged_port = false;
    let mut open = rule("*");
    assert_eq!(verdict(&volume(vec![open.clone()]), &asking), None);
    open.insecure = true;
    assert!(verdict(&volume(vec![open]), &asking).is_some());
}

#[test]
fn root_squash_takes_user_and_group_zero_and_leaves_others() {
    let squashed_root = squashed(&rule("*"), &caller("::1", 0, 0)).unwrap();
    assert_eq!((squashed_root.uid, squashed_root.gid), (ANONYMOUS_ID, ANONYMOUS_ID));
    assert!(squashed_root.gids.is_empty());
    let user = squashed(&rule("*"), &caller("::1", 5, 6)).unwrap();
    assert_eq!((user.uid, user.gid, &*user.gids), (5, 6, &[ANONYMOUS_ID, 7][..]));
}

#[test]
fn a_caller_without_a_name_passes_only_where_everybody_is_anonymous() {
    let mut asking = caller("::1", 0, 0);
    asking.credential = None;
    let mut open = rule("*");
    assert_eq!(squashed(&open, &asking), None);
    open.squash = Squash::All;
    assert_eq!(squashed(&open, &asking).unwrap().uid, ANONYMOUS_ID);
}
