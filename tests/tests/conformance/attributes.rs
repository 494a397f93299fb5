//! SETATTR and GETATTR: guards, sizes, times, and attributes on every refusal.

use nfs3_client::nfs3_types::nfs3::*;

use crate::client::{
    Client, Credential, Status, failure, nanos, packed, place, with_mode, with_size,
};
use crate::world::World;

const LONG_AGO: nfstime3 = nfstime3 { seconds: 1_000_000_000, nseconds: 123_456_789 };

fn mtime_to_server() -> sattr3 {
    sattr3 { mtime: set_mtime::SET_TO_SERVER_TIME, ..sattr3::default() }
}

fn mtime_to(time: nfstime3) -> sattr3 {
    sattr3 { mtime: set_mtime::SET_TO_CLIENT_TIME(time), ..sattr3::default() }
}

#[test]
fn a_guard_that_does_not_match_refuses_all_parts_of_a_setattr() {
    let (_world, mut nfs, dir) = World::folder();
    for object in [nfs.create(&dir, "file"), nfs.mkdir(&dir, "dir")] {
        let shown = nfs.getattr(&object);
        let off = nfstime3 { nseconds: shown.ctime.nseconds ^ 1, ..shown.ctime };
        for wrong in [off, nfstime3::default(), nfstime3 { seconds: u32::MAX, nseconds: 0 }] {
            let set = sattr3 { uid: Nfs3Option::Some(5), ..with_mode(0o600) };
            let refused = nfs.setattr_guarded(&object, set, Nfs3Option::Some(wrong));
            refused.must_be(nfsstat3::NFS3ERR_NOT_SYNC);
            assert_eq!(packed(&nfs.getattr(&object)), packed(&shown), "nothing was set");
        }
        let guard = Nfs3Option::Some(shown.ctime);
        nfs.setattr_guarded(&object, with_mode(0o600), guard).must_be(nfsstat3::NFS3_OK);
        // The very change that it let through has moved the ctime.
        nfs.setattr_guarded(&object, with_mode(0o601), guard).must_be(nfsstat3::NFS3ERR_NOT_SYNC);
        assert_eq!(nfs.getattr(&object).mode, 0o600);
    }
}

#[test]
fn a_guard_is_checked_against_the_ctime_of_writes_and_truncations_too() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let born = nfs.getattr(&file).ctime;
    nfs.put(&file, 0, b"0123456789");
    let refused = nfs.setattr_guarded(&file, with_size(3), Nfs3Option::Some(born));
    refused.must_be(nfsstat3::NFS3ERR_NOT_SYNC);
    assert_eq!(nfs.getattr(&file).size, 10);
    let now = nfs.getattr(&file).ctime;
    nfs.setattr_guarded(&file, with_size(3), Nfs3Option::Some(now)).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).size, 3);
}

#[test]
fn of_many_setattrs_with_one_guard_only_one_is_done() {
    let (_world, mut nfs, dir) = World::folder();
    for object in [nfs.create(&dir, "file"), nfs.mkdir(&dir, "dir")] {
        for _ in 0..20 {
            let guard = nfs.getattr(&object).ctime;
            let done = std::thread::scope(|scope| {
                let racers = [0o700_u32, 0o701, 0o702, 0o703].map(|mode| {
                    let object = &object;
                    scope.spawn(move || {
                        let mut client = Client::new(Credential::ROOT);
                        let guard = Nfs3Option::Some(guard);
                        client.setattr_guarded(object, with_mode(mode), guard).status()
                    })
                });
                racers.map(|racer| racer.join().unwrap())
            });
            let ok = done.iter().filter(|status| **status == nfsstat3::NFS3_OK).count();
            assert_eq!(ok, 1, "{done:?}");
        }
    }
}

#[test]
fn truncate_then_write_works_on_a_file_that_nobody_looked_at_before() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, &[b'x'; 5000]);
    let mut other = Client::new(Credential::ROOT);
    other.setattr(&file, with_size(100)).unwrap();
    other.put(&file, 50, b"written");
    assert_eq!(nfs.getattr(&file).size, 100);
    other.setattr(&file, with_size(0)).unwrap();
    other.put(&file, 4, b"again");
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.as_ref(), b"\0\0\0\0again");
}

#[test]
fn a_write_after_a_read_never_meets_a_stale_handle() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    for round in 0..50_u64 {
        nfs.read(&file, round, 1).unwrap();
        Client::new(Credential::ROOT).put(&file, round, b"x");
    }
    nfs.rename((&dir, "file"), (&dir, "renamed")).unwrap();
    nfs.put(&file, 0, b"by its handle, whatever its name");
}

#[test]
fn growing_by_setattr_shows_zeros_and_a_truncated_end_does_not_come_back() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"0123456789");
    nfs.setattr(&file, with_size(4)).unwrap();
    nfs.setattr(&file, with_size(8)).unwrap();
    let read = nfs.read(&file, 0, 100).unwrap();
    assert_eq!(read.data.as_ref(), b"0123\0\0\0\0");
    assert!(read.eof);
}

#[test]
fn sizes_reach_the_largest_offset_and_are_too_big_beyond() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let largest = nfs.fsinfo(&file).maxfilesize;
    assert_eq!(largest, i64::MAX as u64);
    for size in [largest + 1, u64::MAX] {
        nfs.setattr(&file, with_size(size)).must_be(nfsstat3::NFS3ERR_FBIG);
    }
    nfs.setattr(&file, with_size(largest)).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).size, largest);
    nfs.setattr(&file, with_size(0)).must_be(nfsstat3::NFS3_OK);
    nfs.setattr(&dir, with_size(0)).must_be(nfsstat3::NFS3ERR_ISDIR);
    let fifo = nfs.mknod(&dir, "fifo", mknoddata3::NF3FIFO(sattr3::default()));
    let fifo = fifo.unwrap().obj.unwrap();
    nfs.setattr(&fifo, with_size(0)).must_be(nfsstat3::NFS3ERR_INVAL);
}

#[test]
fn who_may_write_sets_the_servers_time_and_only_the_owner_another() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 1000);
    nfs.chmod(&file, 0o646);
    let mut writer = Client::new(Credential::user(2000));
    writer.setattr(&file, mtime_to_server()).must_be(nfsstat3::NFS3_OK);
    writer.setattr(&file, mtime_to(LONG_AGO)).must_be(nfsstat3::NFS3ERR_PERM);
    nfs.chmod(&file, 0o644);
    writer.setattr(&file, mtime_to_server()).must_be(nfsstat3::NFS3ERR_ACCES);
    let mut owner = Client::new(Credential::user(1000));
    nfs.chmod(&file, 0o444);
    owner.setattr(&file, mtime_to_server()).must_be(nfsstat3::NFS3_OK);
    owner.setattr(&file, mtime_to(LONG_AGO)).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).mtime, LONG_AGO);
}

#[test]
fn times_that_were_set_hold_until_the_next_change_of_data() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"before");
    let set = sattr3 { atime: set_atime::SET_TO_CLIENT_TIME(LONG_AGO), ..mtime_to(LONG_AGO) };
    nfs.setattr(&file, set).unwrap();
    let shown = nfs.getattr(&file);
    assert_eq!((shown.atime, shown.mtime), (LONG_AGO, LONG_AGO));
    nfs.chmod(&file, 0o600);
    nfs.commit(&file).unwrap();
    nfs.read(&file, 0, 6).unwrap();
    let shown = nfs.getattr(&file);
    assert_eq!((shown.atime, shown.mtime), (LONG_AGO, LONG_AGO));
    nfs.put(&file, 0, b"after");
    let written = nfs.getattr(&file);
    assert!(nanos(written.mtime) > nanos(shown.ctime));
    assert_eq!(written.mtime, written.ctime);
    assert_eq!(written.atime, LONG_AGO);

    nfs.setattr(&file, sattr3 { size: Nfs3Option::Some(2), ..mtime_to(LONG_AGO) }).unwrap();
    let shown = nfs.getattr(&file);
    assert_eq!((shown.size, shown.mtime), (2, LONG_AGO), "asked together, the time is set last");
}

#[test]
fn handles_of_what_is_gone_are_stale_and_made_up_ones_are_bad() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"data");
    let sub = nfs.mkdir(&dir, "sub");
    nfs.remove(&dir, "file").unwrap();
    nfs.rmdir(&dir, "sub").unwrap();
    for gone in [&file, &sub] {
        nfs.try_getattr(gone).must_be(nfsstat3::NFS3ERR_STALE);
        nfs.setattr(gone, with_mode(0)).must_be(nfsstat3::NFS3ERR_STALE);
        nfs.lookup(gone, "x").must_be(nfsstat3::NFS3ERR_STALE);
    }
    nfs.read(&file, 0, 1).must_be(nfsstat3::NFS3ERR_STALE);
    nfs.write(&file, 0, b"x", stable_how::UNSTABLE).must_be(nfsstat3::NFS3ERR_STALE);
    nfs.commit(&file).must_be(nfsstat3::NFS3ERR_STALE);
    nfs.try_create(&sub, "x", createhow3::UNCHECKED(sattr3::default()))
        .must_be(nfsstat3::NFS3ERR_STALE);

    let good = dir.data.as_ref().to_vec();
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        nfs.try_getattr(&nfs_fh3 { data: forged.into() }).must_be(nfsstat3::NFS3ERR_BADHANDLE);
    }
    for made_up in [vec![], vec![0; 4], good[..good.len() - 1].to_vec(), vec![0xff; 64]] {
        nfs.try_getattr(&nfs_fh3 { data: made_up.into() }).must_be(nfsstat3::NFS3ERR_BADHANDLE);
    }
}

#[test]
fn every_refusal_shows_the_attributes_that_its_result_has_room_for() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let sub = nfs.mkdir(&dir, "sub");
    nfs.create(&sub, "x");
    let shows_dir = |wcc: wcc_data, what: &str| {
        let shown = wcc.after;
        assert!(shown.is_some(), "{what}: no attributes");
        assert_eq!(shown.unwrap().type_, ftype3::NF3DIR, "{what}");
    };
    let unchecked = || createhow3::UNCHECKED(sattr3::default());
    for name in ["sub", "", "a/b", &"n".repeat(256)] {
        shows_dir(failure(nfs.try_create(&dir, name, unchecked())).dir_wcc, "CREATE");
        shows_dir(failure(nfs.try_mkdir(&dir, name)).dir_wcc, "MKDIR");
        shows_dir(failure(nfs.try_symlink(&dir, name, b"x")).dir_wcc, "SYMLINK");
        let fifo = mknoddata3::NF3FIFO(sattr3::default());
        shows_dir(failure(nfs.mknod(&dir, name, fifo)).dir_wcc, "MKNOD");
        shows_dir(failure(nfs.remove(&dir, name)).dir_wcc, "REMOVE");
        shows_dir(failure(nfs.rmdir(&dir, name)).dir_wcc, "RMDIR");
        let refused = failure(nfs.link(&file, &dir, name));
        shows_dir(refused.linkdir_wcc, "LINK");
        assert!(refused.file_attributes.is_some(), "LINK: no attributes of the file");
        let refused = failure(nfs.rename((&dir, "missing"), (&sub, name)));
        shows_dir(refused.fromdir_wcc, "RENAME from");
        shows_dir(refused.todir_wcc, "RENAME to");
        if name != "sub" {
            assert!(failure(nfs.lookup(&dir, name)).dir_attributes.is_some(), "LOOKUP");
        }
    }
    assert!(failure(nfs.lookup(&dir, "missing")).dir_attributes.is_some());
    assert!(failure(nfs.lookup(&file, "x")).dir_attributes.is_some());
    assert!(
        failure(nfs.readdir(&file, (0, cookieverf3::default()), 4096)).dir_attributes.is_some()
    );
    assert!(failure(nfs.read(&dir, 0, 1)).file_attributes.is_some(), "READ of a directory");
    let write = failure(nfs.write(&dir, 0, b"x", stable_how::UNSTABLE));
    assert!(write.file_wcc.after.is_some(), "WRITE to a directory");
    assert!(failure(nfs.commit(&dir)).file_wcc.after.is_some(), "COMMIT of a directory");
    assert!(failure(nfs.setattr(&dir, with_size(0))).obj_wcc.after.is_some(), "SETATTR");
    let too_far = failure(nfs.write(&file, u64::MAX - 10, b"x", stable_how::UNSTABLE));
    assert!(too_far.file_wcc.after.is_some(), "WRITE beyond the largest file");

    let mut other = Client::new(Credential::user(1000));
    assert!(failure(other.setattr(&file, with_mode(0))).obj_wcc.after.is_some());
    nfs.chmod(&file, 0);
    nfs.chmod(&sub, 0);
    assert!(failure(other.read(&file, 0, 1)).file_attributes.is_some());
    let denied = failure(other.write(&file, 0, b"x", stable_how::UNSTABLE));
    assert!(denied.file_wcc.after.is_some());
    assert!(failure(other.lookup(&sub, "x")).dir_attributes.is_some());
    shows_dir(failure(other.remove(&sub, "x")).dir_wcc, "REMOVE without permission");
}

#[test]
fn what_may_be_asked_of_access_is_answered_by_kind_and_mode() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let all = ACCESS3_READ
        | ACCESS3_LOOKUP
        | ACCESS3_MODIFY
        | ACCESS3_EXTEND
        | ACCESS3_DELETE
        | ACCESS3_EXECUTE;
    let write = ACCESS3_MODIFY | ACCESS3_EXTEND;
    let mut user = Client::new(Credential::user(1000));
    nfs.chown(&file, 1000, 1000);
    for (mode, granted) in
        [(0o400, ACCESS3_READ), (0o200, write), (0o100, ACCESS3_EXECUTE), (0o077, 0)]
    {
        nfs.chmod(&file, mode);
        assert_eq!(user.access(&file, all), granted, "{mode:o}");
        assert_eq!(user.access(&file, ACCESS3_READ), granted & ACCESS3_READ, "{mode:o}");
    }
    nfs.chmod(&file, 0);
    assert_eq!(nfs.access(&file, all), ACCESS3_READ | write, "nobody may run it, not even root");
    let sub = nfs.mkdir(&dir, "sub");
    nfs.chmod(&sub, 0o753);
    assert_eq!(user.access(&sub, all), write | ACCESS3_DELETE | ACCESS3_LOOKUP);
    nfs.chmod(&sub, 0o755);
    assert_eq!(user.access(&sub, all), ACCESS3_READ | ACCESS3_LOOKUP);
    assert_eq!(user.access(&sub, 0), 0);
}

#[test]
fn what_lookup_shows_is_what_getattr_shows() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"data");
    let found = nfs.lookup(&dir, "file").unwrap();
    assert_eq!(packed(&found.obj_attributes.unwrap()), packed(&nfs.getattr(&file)));
    assert_eq!(packed(&found.dir_attributes.unwrap()), packed(&nfs.getattr(&dir)));
    let args = LOOKUP3args { what: place(&dir, "..") };
    let up: LOOKUP3res = nfs.call(NFS_PROGRAM::NFSPROC3_LOOKUP, &args);
    assert_eq!(up.unwrap().object, nfs.root("demo"));
}
