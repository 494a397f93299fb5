//! FSSTAT, FSINFO and PATHCONF.

use std::time::Duration;

use nfs3_client::nfs3_types::nfs3::*;
use tests::{Random, eventually_within};

use crate::client::{Client, Credential, Status};
use crate::world::World;

#[test]
fn file_system_questions_may_be_asked_of_any_object() {
    let (_world, mut nfs, dir) = World::folder();
    let symlink = nfs.try_symlink(&dir, "symlink", b"x").unwrap().obj.unwrap();
    let fifo = nfs.mknod(&dir, "fifo", mknoddata3::NF3FIFO(sattr3::default()));
    let objects = [
        nfs.root("demo"),
        dir.clone(),
        nfs.create(&dir, "file"),
        symlink,
        fifo.unwrap().obj.unwrap(),
    ];
    for object in &objects {
        let fileid = nfs.getattr(object).fileid;
        let id = |shown: post_op_attr| shown.unwrap().fileid;
        assert_eq!(id(nfs.fsstat(object).obj_attributes), fileid);
        assert_eq!(id(nfs.fsinfo(object).obj_attributes), fileid);
        assert_eq!(id(nfs.pathconf(object).obj_attributes), fileid);
    }
    let mut user = Client::new(Credential::user(1000));
    user.fsinfo(&dir);
    let gone = nfs.create(&dir, "gone");
    nfs.remove(&dir, "gone").unwrap();
    let args = FSSTAT3args { fsroot: gone };
    let answer: FSSTAT3res = nfs.call(NFS_PROGRAM::NFSPROC3_FSSTAT, &args);
    answer.must_be(nfsstat3::NFS3ERR_STALE);
}

#[test]
fn fsinfo_promises_what_the_mount_options_of_linux_ask_for() {
    let (_world, mut nfs, dir) = World::folder();
    let info = nfs.fsinfo(&dir);
    assert_eq!((info.rtmax, info.wtmax), (1 << 20, 1 << 20));
    assert!(info.rtpref <= info.rtmax && info.wtpref <= info.wtmax);
    assert!(info.rtmult > 0 && info.wtmult > 0 && info.dtpref >= 4096);
    assert_eq!(info.maxfilesize, i64::MAX as u64);
    assert_eq!(info.time_delta, nfstime3 { seconds: 0, nseconds: 1 });
    let all = FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME;
    assert_eq!(info.properties, all);
}

#[test]
fn pathconf_says_what_names_and_links_are() {
    let (_world, mut nfs, dir) = World::folder();
    let conf = nfs.pathconf(&dir);
    assert_eq!(conf.name_max, 255);
    assert!(conf.linkmax >= 32_000);
    assert!(conf.no_trunc && conf.chown_restricted && conf.case_preserving);
    assert!(!conf.case_insensitive);
}

#[test]
fn fsstat_shows_a_disk_that_fills_and_empties() {
    let (_world, mut nfs, dir) = World::folder();
    let before = nfs.fsstat(&dir);
    assert!(before.tbytes >= before.fbytes && before.fbytes >= before.abytes);
    assert!(before.tfiles >= before.ffiles && before.ffiles >= before.afiles);
    assert!(before.tbytes > 1 << 30, "a disk of 4 GiB: {}", before.tbytes);
    assert!(before.abytes > 0 && before.afiles > 0);
    let file = nfs.create(&dir, "file");
    const MIB: usize = 48;
    let noise = Random::new(1).bytes(1 << 20);
    for mib in 0..MIB {
        nfs.put(&file, (mib << 20) as u64, &noise);
    }
    nfs.commit(&file).unwrap();
    assert!(nfs.getattr(&file).used >= (MIB as u64) << 20);
    // BTRFS accounts for a file's room when it commits, every half minute; others write meanwhile.
    eventually_within(Duration::from_secs(60), "df to show the file", || {
        let full = nfs.fsstat(&dir);
        (full.abytes + ((MIB as u64 / 2) << 20) < before.abytes).then_some(())
    });
}

#[test]
fn fsid_is_never_0_is_one_for_a_volume_and_another_for_the_next() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let demo = nfs.getattr(&dir).fsid;
    assert_ne!(demo, 0);
    assert_eq!(nfs.getattr(&file).fsid, demo);
    let read_only = nfs.root("read-only");
    let other = nfs.getattr(&read_only).fsid;
    assert_ne!(other, 0);
    assert_ne!(other, demo);
}

#[test]
fn nothing_moves_or_links_from_one_volume_to_another() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let other = nfs.root("squashed");
    nfs.rename((&dir, "file"), (&other, "file")).must_be(nfsstat3::NFS3ERR_XDEV);
    nfs.link(&file, &other, "link").must_be(nfsstat3::NFS3ERR_XDEV);
    assert_eq!(nfs.getattr(&file).nlink, 1);
}
