use super::*;
use crate::{InodeKind, Times};

fn inode(mode: u32) -> Inode {
    Inode {
        kind: InodeKind::Fifo,
        mode,
        uid: 10,
        gid: 20,
        links: 1,
        change: 0,
        times: Times::default(),
    }
}

fn who(uid: u32, gid: u32, gids: &[u32]) -> Identity {
    Identity { uid, gid, gids: gids.into() }
}

#[test]
fn the_first_matching_class_decides_even_when_a_later_one_allows_more() {
    assert!(!permits(&inode(0o077), &who(10, 20, &[]), Access::Read));
    assert!(!permits(&inode(0o707), &who(11, 20, &[]), Access::Read));
    assert!(!permits(&inode(0o707), &who(11, 1, &[5, 20]), Access::Read));
    assert!(permits(&inode(0o004), &who(11, 1, &[5]), Access::Read));
}

#[test]
fn the_superuser_runs_only_what_somebody_may_run() {
    assert!(!permits(&inode(0o666), &Identity::root(), Access::Execute));
    assert!(permits(&inode(0o001), &Identity::root(), Access::Execute));
}

#[test]
fn the_owner_writes_its_open_file_whatever_the_mode_says_now() {
    assert!(may_write_data(&inode(0o000), &who(10, 1, &[])));
    assert!(!may_write_data(&inode(0o000), &who(11, 1, &[])));
}

#[test]
fn setgid_without_group_execute_is_kept_by_a_write() {
    assert_eq!(mode_without_privileges(0o6755), 0o0755);
    assert_eq!(mode_without_privileges(0o6745), 0o2745);
}
