//! MOUNT and the export's word on who may do what.

use std::net::SocketAddr;

use nfs3_client::nfs3_types::mount::{export_node, mountbody};
use nfs3_client::nfs3_types::nfs3::*;
use nfs3_client::nfs3_types::xdr_codec::List;
use tests::rpc::Xdr;

use crate::client::{Client, Credential, Status, unpacked};
use crate::world::World;

const NOENT: u32 = 2;
const ACCES: u32 = 13;
const NOTDIR: u32 = 20;
const NAMETOOLONG: u32 = 63;

#[test]
fn mnt_answers_the_status_that_says_what_is_wrong() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.create(&dir, "file");
    let folder = folder_name(&mut nfs, &dir);
    let below = |rest: &str| format!("/demo/{folder}{rest}").into_bytes();
    assert_eq!(nfs.mnt(b"/nowhere"), Err(NOENT));
    assert_eq!(nfs.mnt(b"/"), Err(NOENT));
    assert_eq!(nfs.mnt(b""), Err(NOENT));
    assert_eq!(nfs.mnt(&below("/missing")), Err(NOENT));
    assert_eq!(nfs.mnt(&below("/file")), Err(NOTDIR));
    assert_eq!(nfs.mnt(b"/closed"), Err(ACCES), "no rule lets us in");
    assert_eq!(nfs.mnt(b"/privileged"), Err(ACCES), "not from a port like ours");
    assert_eq!(nfs.mnt(&[b'/'; 1025]), Err(NAMETOOLONG));
    assert_eq!(nfs.mnt(&below(&format!("/{}", "n".repeat(256)))), Err(NAMETOOLONG));
}

#[test]
fn a_path_below_the_export_mounts_with_or_without_slashes_at_its_end() {
    let (_world, mut nfs, dir) = World::folder();
    let folder = folder_name(&mut nfs, &dir);
    let sub = nfs.mkdir(&dir, "sub");
    let deep = nfs.mkdir(&sub, "deep");
    for path in ["", "/", "//"] {
        let path = format!("/demo/{folder}/sub/deep{path}");
        assert_eq!(nfs.mnt(path.as_bytes()), Ok(deep.clone()), "{path}");
    }
    assert_eq!(nfs.mnt(b"/demo/"), Ok(nfs.root("demo")));
}

#[test]
fn an_independent_client_mounts_and_reads_the_root() {
    let _world = World::join();
    let mut connection = tests::connect("demo");
    let args = GETATTR3args { object: connection.root() };
    let shown = connection.call(async |nfs| nfs.getattr(&args).await).unwrap();
    assert_eq!(shown.unwrap().obj_attributes.type_, ftype3::NF3DIR);
}

#[test]
fn exports_and_mounts_are_listed_and_forgotten() {
    let (_world, mut nfs, _dir) = World::folder();
    let exports: List<export_node<'static, 'static>> =
        unpacked(&nfs.mount_call(5, &Xdr::default()));
    let groups = |path: &[u8]| {
        let found = exports.0.iter().find(|export| export.ex_dir.0.as_ref() == path);
        found.map(|export| export.ex_groups.0.len())
    };
    assert_eq!(groups(b"/demo"), Some(4));
    assert_eq!(groups(b"/closed"), Some(1));

    let mut elsewhere =
        Client::from_address(Credential::ROOT, SocketAddr::from(([127, 0, 0, 77], 0)));
    let mounts = |nfs: &mut Client| -> Vec<Vec<u8>> {
        let listed: List<mountbody<'static, 'static>> =
            unpacked(&nfs.mount_call(2, &Xdr::default()));
        let ours = listed.0.into_iter().filter(|m| m.ml_hostname.0.as_ref() == b"127.0.0.77");
        ours.map(|mounted| mounted.ml_directory.0.to_vec()).collect()
    };
    let path = |path: &[u8]| Xdr::default().opaque(path);
    elsewhere.mnt(b"/demo").unwrap();
    elsewhere.mnt(b"/read-only").unwrap();
    assert_eq!(mounts(&mut nfs).len(), 2);
    assert!(elsewhere.mount_call(3, &path(b"/demo")).is_empty(), "UMNT answers nothing");
    assert_eq!(mounts(&mut nfs), [b"/read-only".to_vec()]);
    assert!(elsewhere.mount_call(3, &path(b"/demo")).is_empty(), "not even a second time");
    assert!(elsewhere.mount_call(4, &Xdr::default()).is_empty(), "nor does UMNTALL");
    assert!(mounts(&mut nfs).is_empty());
}

#[test]
fn an_unmounted_clients_handles_go_on_working() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.mount_call(4, &Xdr::default());
    nfs.create(&dir, "file");
}

#[test]
fn a_privileged_port_is_let_in_where_one_is_asked_for() {
    let _world = World::join();
    let from = SocketAddr::from(([127, 0, 0, 1], 711));
    let mut nfs = Client::from_address(Credential::ROOT, from);
    let root = nfs.root("privileged");
    nfs.create(&root, "file");
    let mut unprivileged = Client::new(Credential::ROOT);
    unprivileged.try_getattr(&root).must_be(nfsstat3::NFS3ERR_ACCES);
}

#[test]
fn a_read_only_export_is_read_and_never_changed() {
    let _world = World::join();
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("read-only");
    nfs.names(&root);
    let unchecked = createhow3::UNCHECKED(sattr3::default());
    nfs.try_create(&root, "file", unchecked).must_be(nfsstat3::NFS3ERR_ROFS);
    nfs.try_mkdir(&root, "dir").must_be(nfsstat3::NFS3ERR_ROFS);
    nfs.setattr(&root, sattr3::default()).must_be(nfsstat3::NFS3ERR_ROFS);
    nfs.remove(&root, "file").must_be(nfsstat3::NFS3ERR_ROFS);
    nfs.rename((&root, "a"), (&root, "b")).must_be(nfsstat3::NFS3ERR_ROFS);
    let write = ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE;
    assert_eq!(nfs.access(&root, ACCESS3_READ | write), ACCESS3_READ);
}

#[test]
fn a_squashed_superuser_is_nobody_in_particular() {
    let _world = World::join();
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("squashed");
    let unchecked = || createhow3::UNCHECKED(sattr3::default());
    let refused = nfs.try_create(&root, "file", unchecked());
    let owner = nfs.getattr(&root);
    if owner.uid == 0 && owner.mode & 0o002 == 0 {
        refused.must_be(nfsstat3::NFS3ERR_ACCES);
    } else {
        let made = refused.unwrap().obj_attributes.unwrap();
        assert_eq!((made.uid, made.gid), (65_534, 65_534));
    }
    nfs.setattr(&root, sattr3 { uid: Nfs3Option::Some(0), ..sattr3::default() })
        .must_be(nfsstat3::NFS3ERR_PERM);
}

/// The name of the test's folder in the root of `demo`.
fn folder_name(nfs: &mut Client, dir: &nfs_fh3) -> String {
    let root = nfs.root("demo");
    let names = nfs.names(&root);
    let ours = names.into_iter().find(|name| nfs.lookup(&root, name).unwrap().object == *dir);
    String::from_utf8(ours.unwrap()).unwrap()
}
