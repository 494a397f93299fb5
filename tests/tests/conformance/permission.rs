//! Permission as POSIX has it, for users who come with AUTH_SYS, with nothing, or with too much.

use nfs3_client::nfs3_types::nfs3::*;
use tests::rpc::{NFS, exchange};

use crate::client::{Client, Credential, Status, fresh_xid, message, packed, with_mode};
use crate::world::World;

fn user(id: u32) -> Client {
    Client::new(Credential::user(id))
}

#[test]
fn the_class_that_fits_decides_even_if_another_would_allow_more() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 2000);
    let mut member = Client::new(Credential::Sys { stamp: 0, uid: 7, gid: 8, gids: &[9, 2000] });
    let mut other = user(3000);
    for (mode, members, others) in
        [(0o604, false, true), (0o640, true, false), (0o600, false, false)]
    {
        nfs.chmod(&file, mode);
        let read = |client: &mut Client| client.read(&file, 0, 1).status() == nfsstat3::NFS3_OK;
        assert_eq!((read(&mut member), read(&mut other)), (members, others), "{mode:o}");
    }
    nfs.chmod(&file, 0o662);
    let write = |client: &mut Client| client.write(&file, 0, b"x", stable_how::UNSTABLE).status();
    assert_eq!(write(&mut member), nfsstat3::NFS3_OK);
    nfs.chmod(&file, 0o602);
    assert_eq!(write(&mut member), nfsstat3::NFS3ERR_ACCES);
    assert_eq!(write(&mut other), nfsstat3::NFS3_OK);
}

#[test]
fn the_owner_reads_and_writes_whatever_the_mode_and_who_may_run_may_read() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 1000);
    nfs.chmod(&file, 0o001);
    let mut owner = user(1000);
    owner.put(&file, 0, b"opened before chmod");
    owner.read(&file, 0, 1).must_be(nfsstat3::NFS3_OK);
    owner.commit(&file).must_be(nfsstat3::NFS3_OK);
    user(2000).read(&file, 0, 1).must_be(nfsstat3::NFS3_OK);
    user(2000).write(&file, 0, b"x", stable_how::UNSTABLE).must_be(nfsstat3::NFS3ERR_ACCES);
    nfs.chmod(&file, 0o010);
    user(2000).read(&file, 0, 1).must_be(nfsstat3::NFS3ERR_ACCES);
    let truncate = crate::client::with_size(0);
    user(2000).setattr(&file, truncate).must_be(nfsstat3::NFS3ERR_ACCES);
}

#[test]
fn a_directory_wants_search_for_names_read_for_lists_and_write_for_changes() {
    let (_world, mut nfs, dir) = World::folder();
    let sub = nfs.mkdir(&dir, "sub");
    nfs.create(&sub, "file");
    let mut other = user(1000);
    let denied = nfsstat3::NFS3ERR_ACCES;
    let start = (0, cookieverf3::default());
    nfs.chmod(&sub, 0o774);
    other.readdir(&sub, start, 4096).must_be(nfsstat3::NFS3_OK);
    other.lookup(&sub, "file").must_be(denied);
    other.remove(&sub, "file").must_be(denied);
    nfs.chmod(&sub, 0o771);
    other.readdir(&sub, start, 4096).must_be(denied);
    other.readdirplus(&sub, start, (4096, 4096)).must_be(denied);
    other.lookup(&sub, "file").must_be(nfsstat3::NFS3_OK);
    other.try_mkdir(&sub, "x").must_be(denied);
    nfs.chmod(&sub, 0o772);
    other.try_mkdir(&sub, "x").must_be(denied);
    nfs.chmod(&sub, 0o773);
    other.try_mkdir(&sub, "x").must_be(nfsstat3::NFS3_OK);
    other.remove(&sub, "file").must_be(nfsstat3::NFS3_OK);
}

#[test]
fn in_a_sticky_directory_only_owners_take_names_away() {
    let (_world, mut nfs, dir) = World::folder();
    let sub = nfs.mkdir(&dir, "sub");
    nfs.chmod(&sub, 0o1777);
    let (mut owner, mut other) = (user(1000), user(2000));
    owner.create(&sub, "file");
    owner.create(&sub, "second");
    owner.mkdir(&sub, "dir");
    let denied = nfsstat3::NFS3ERR_PERM;
    let must_be_denied = |status: nfsstat3| {
        assert!(status == denied || status == nfsstat3::NFS3ERR_ACCES, "{status}");
    };
    must_be_denied(other.remove(&sub, "file").status());
    must_be_denied(other.rmdir(&sub, "dir").status());
    must_be_denied(other.rename((&sub, "file"), (&sub, "mine")).status());
    other.create(&sub, "mine");
    must_be_denied(other.rename((&sub, "mine"), (&sub, "file")).status());
    owner.rename((&sub, "file"), (&sub, "renamed")).must_be(nfsstat3::NFS3_OK);
    owner.remove(&sub, "renamed").must_be(nfsstat3::NFS3_OK);
    nfs.chown(&sub, 2000, 2000);
    nfs.chmod(&sub, 0o1777);
    other.remove(&sub, "second").must_be(nfsstat3::NFS3_OK);
}

#[test]
fn what_is_made_in_a_setgid_directory_gets_its_group() {
    let (_world, mut nfs, dir) = World::folder();
    let sub = nfs.mkdir(&dir, "sub");
    nfs.chown(&sub, 0, 500);
    nfs.chmod(&sub, 0o2777);
    let mut other = user(1000);
    let file = other.create(&sub, "file");
    let made = other.mkdir(&sub, "dir");
    let (file, made) = (nfs.getattr(&file), nfs.getattr(&made));
    assert_eq!((file.uid, file.gid, file.mode), (1000, 500, 0o644));
    assert_eq!((made.uid, made.gid, made.mode), (1000, 500, 0o2755), "and directories the bit");
    nfs.chmod(&sub, 0o777);
    let plain = other.create(&sub, "plain");
    assert_eq!(nfs.getattr(&plain).gid, 1000);
}

#[test]
fn a_write_or_chown_takes_setuid_and_setgid() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 1000);
    let mut owner = user(1000);
    let mode = |nfs: &mut Client| nfs.getattr(&file).mode;
    nfs.chmod(&file, 0o6777);
    owner.put(&file, 0, b"x");
    assert_eq!(mode(&mut nfs), 0o777);
    nfs.chmod(&file, 0o6777);
    owner.setattr(&file, crate::client::with_size(0)).unwrap();
    assert_eq!(mode(&mut nfs), 0o777, "truncation is a write");
    nfs.chmod(&file, 0o2767);
    owner.put(&file, 0, b"x");
    assert_eq!(mode(&mut nfs), 0o2767, "without group execute it is no setgid");
    nfs.chmod(&file, 0o6777);
    nfs.put(&file, 0, b"x");
    assert_eq!(mode(&mut nfs), 0o6777, "the superuser knows what it does");
    nfs.chown(&file, 1000, 1001);
    assert_eq!(mode(&mut nfs), 0o777, "chown takes them whoever does it");
    nfs.chmod(&dir, 0o2777);
    nfs.chown(&dir, 5, 5);
    assert_eq!(nfs.getattr(&dir).mode, 0o2777, "a directory's setgid is no privilege");
}

#[test]
fn only_the_superuser_gives_files_away_and_groups_go_to_members() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 1000);
    let owner = Credential::Sys { stamp: 0, uid: 1000, gid: 1000, gids: &[1001, 1002] };
    let mut owner = Client::new(owner);
    let uid = |uid: u32| sattr3 { uid: Nfs3Option::Some(uid), ..sattr3::default() };
    let gid = |gid: u32| sattr3 { gid: Nfs3Option::Some(gid), ..sattr3::default() };
    let denied = nfsstat3::NFS3ERR_PERM;
    owner.setattr(&file, uid(2000)).must_be(denied);
    owner.setattr(&file, uid(1000)).must_be(nfsstat3::NFS3_OK);
    owner.setattr(&file, gid(3000)).must_be(denied);
    owner.setattr(&file, gid(1002)).must_be(nfsstat3::NFS3_OK);
    owner.setattr(&file, gid(1002)).must_be(nfsstat3::NFS3_OK);
    let mut other = user(1002);
    other.setattr(&file, with_mode(0o777)).must_be(denied);
    other.setattr(&file, gid(1002)).must_be(denied);
    let before = packed(&nfs.getattr(&file));
    let mixed = sattr3 { uid: Nfs3Option::Some(2000), ..with_mode(0o777) };
    owner.setattr(&file, mixed).must_be(denied);
    assert_eq!(packed(&nfs.getattr(&file)), before, "all or nothing");
    nfs.setattr(&file, uid(2000)).must_be(nfsstat3::NFS3_OK);
}

#[test]
fn chmod_by_who_is_not_in_the_group_keeps_no_setgid() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 1000, 4000);
    let mut owner = user(1000);
    owner.setattr(&file, with_mode(0o2755)).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).mode, 0o755);
    owner.setattr(&file, with_mode(0o4755)).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).mode, 0o4755, "setuid is the owner's own");
}

#[test]
fn the_sixteenth_group_counts_and_a_seventeenth_is_a_broken_credential() {
    const GIDS: [u32; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chown(&file, 0, 16);
    nfs.chmod(&file, 0o040);
    let sixteen = Credential::Sys { stamp: 0, uid: 1000, gid: 1000, gids: &GIDS[..16] };
    Client::new(sixteen).read(&file, 0, 1).must_be(nfsstat3::NFS3_OK);
    let fifteen = Credential::Sys { stamp: 0, uid: 1000, gid: 1000, gids: &GIDS[..15] };
    Client::new(fifteen).read(&file, 0, 1).must_be(nfsstat3::NFS3ERR_ACCES);
    let seventeen = Credential::Sys { stamp: 0, uid: 1000, gid: 1000, gids: &GIDS };
    assert_eq!(denied_with(seventeen, &dir), Some(1), "AUTH_BADCRED");
}

#[test]
fn auth_none_is_somebody_where_all_are_squashed_and_too_weak_elsewhere() {
    let (_world, mut nfs, dir) = World::folder();
    assert_eq!(denied_with(Credential::Nobody, &dir), Some(5), "AUTH_TOOWEAK");
    let anonymous = nfs.root("anonymous");
    assert_eq!(denied_with(Credential::Nobody, &anonymous), None);
    Client::new(Credential::Nobody).getattr(&anonymous);
}

#[test]
fn flavors_that_are_not_ours_are_refused_and_the_connection_goes_on() {
    let (_world, mut nfs, dir) = World::folder();
    for flavor in [2, 3, 6, 390_003, u32::MAX] {
        let stat = denied_with(Credential::Flavor(flavor), &dir);
        assert!(stat.is_some_and(|stat| (1..=14).contains(&stat)), "{flavor}: {stat:?}");
    }
    nfs.getattr(&dir);
}

/// The `auth_stat` that a GETATTR with this credential is denied with, if it is; the connection
/// must live on.
fn denied_with(who: Credential<'_>, object: &nfs_fh3) -> Option<u32> {
    let mut nfs = Client::new(Credential::ROOT);
    let args = packed(&GETATTR3args { object: object.clone() });
    let reply = exchange(&mut nfs.stream, &message(fresh_xid(), NFS, 1, who, &args)).unwrap();
    let words: Vec<u32> =
        reply.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    nfs.getattr(object);
    match words[1..3] {
        [1, 0] => None,
        [1, 1] => {
            assert_eq!(words[3], 1, "AUTH_ERROR");
            Some(words[4])
        }
        _ => panic!("no reply: {words:?}"),
    }
}
