//! CREATE in its three modes, MKNOD, LINK and SYMLINK.

use nfs3_client::nfs3_types::nfs3::*;
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use tests::rpc::exchange;
use tests::{Appliance, LoopBtrfs, Sandbox};

use crate::client::{
    Call, Client, Credential, Status, failure, packed, place, unpacked, with_mode, with_size,
};
use crate::world::World;

const VERIFIER: createverf3 = createverf3([0xff, 1, 2, 3, 4, 5, 6, 0xfe]);

/// Verifiers that differ from [`VERIFIER`] in one byte each.
fn other_verifiers() -> Vec<createverf3> {
    let flipped = |at: usize| {
        let mut bytes = VERIFIER.0;
        bytes[at] ^= 0x80;
        createverf3(bytes)
    };
    (0..8).map(flipped).collect()
}

#[test]
fn an_exclusive_create_keeps_all_eight_bytes_through_setattr_write_and_a_kill() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let exclusive = || createhow3::EXCLUSIVE(VERIFIER);
    let made = nfs.try_create(&root, "file", exclusive()).unwrap().obj.unwrap();
    let again = nfs.try_create(&root, "file", exclusive()).unwrap().obj.unwrap();
    assert_eq!(again, made, "a retry finds the same file");
    // What Linux sends next. It must not be what the verifier was kept in.
    let times = sattr3 {
        atime: set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 5, nseconds: 6 }),
        mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 7, nseconds: 8 }),
        ..with_mode(0o644)
    };
    nfs.setattr(&made, times).unwrap();
    nfs.put(&made, 0, b"data");

    appliance.kill9();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    let again = nfs.try_create(&root, "file", exclusive()).unwrap();
    assert_eq!(again.obj.unwrap(), made);
    assert_eq!(again.obj_attributes.unwrap().size, 4, "and takes nothing from it");
    for other in other_verifiers() {
        nfs.try_create(&root, "file", createhow3::EXCLUSIVE(other))
            .must_be(nfsstat3::NFS3ERR_EXIST);
    }
    appliance.stop();
}

#[test]
fn an_exclusive_create_never_takes_what_was_made_otherwise() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.create(&dir, "file");
    nfs.mkdir(&dir, "dir");
    for name in ["file", "dir"] {
        for verifier in [VERIFIER, createverf3([0; 8])] {
            nfs.try_create(&dir, name, createhow3::EXCLUSIVE(verifier))
                .must_be(nfsstat3::NFS3ERR_EXIST);
        }
    }
}

#[test]
fn a_guarded_create_refuses_a_taken_name_and_an_unchecked_one_takes_a_file() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"0123456789");
    let guarded = || createhow3::GUARDED(with_size(0));
    nfs.try_create(&dir, "file", guarded()).must_be(nfsstat3::NFS3ERR_EXIST);
    assert_eq!(nfs.getattr(&file).size, 10);

    let taken = nfs.try_create(&dir, "file", createhow3::UNCHECKED(with_mode(0o600))).unwrap();
    assert_eq!(taken.obj.unwrap(), file);
    let attributes = taken.obj_attributes.unwrap();
    assert_eq!((attributes.size, attributes.mode), (10, 0o644), "only its size is ever set");
    let taken = nfs.try_create(&dir, "file", createhow3::UNCHECKED(with_size(0))).unwrap();
    assert_eq!(taken.obj.unwrap(), file);
    assert_eq!(taken.obj_attributes.unwrap().size, 0, "O_TRUNC");

    nfs.mkdir(&dir, "dir");
    nfs.try_create(&dir, "dir", createhow3::UNCHECKED(sattr3::default()))
        .must_be(nfsstat3::NFS3ERR_EXIST);
}

#[test]
fn an_unchecked_create_sets_all_that_it_names() {
    let (_world, mut nfs, dir) = World::folder();
    let asked = sattr3 {
        mode: Nfs3Option::Some(0o4751),
        uid: Nfs3Option::Some(17),
        gid: Nfs3Option::Some(18),
        size: Nfs3Option::Some(100_000),
        atime: set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 1, nseconds: 2 }),
        mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 3, nseconds: 4 }),
    };
    let made = nfs.try_create(&dir, "file", createhow3::UNCHECKED(asked)).unwrap();
    let shown = made.obj_attributes.unwrap();
    assert_eq!((shown.mode, shown.uid, shown.gid, shown.size), (0o4751, 17, 18, 100_000));
    assert_eq!(shown.atime, nfstime3 { seconds: 1, nseconds: 2 });
    assert_eq!(shown.mtime, nfstime3 { seconds: 3, nseconds: 4 });
    let kept = nfs.getattr(&made.obj.unwrap());
    assert_eq!(kept.mtime, shown.mtime);
    assert_eq!(kept.size, 100_000);
}

#[test]
fn every_kind_of_node_is_made_as_asked() {
    let (_world, mut nfs, dir) = World::folder();
    let spec = || specdata3 { specdata1: 259, specdata2: 70_000 };
    let device = || devicedata3 { dev_attributes: with_mode(0o640), spec: spec() };
    let kinds = [
        ("chr", mknoddata3::NF3CHR(device()), ftype3::NF3CHR, spec()),
        ("blk", mknoddata3::NF3BLK(device()), ftype3::NF3BLK, spec()),
        ("sock", mknoddata3::NF3SOCK(with_mode(0o640)), ftype3::NF3SOCK, specdata3::default()),
        ("fifo", mknoddata3::NF3FIFO(with_mode(0o640)), ftype3::NF3FIFO, specdata3::default()),
    ];
    for (name, what, kind, numbers) in kinds {
        let made = nfs.mknod(&dir, name, what).unwrap();
        let object = made.obj.unwrap();
        for shown in [made.obj_attributes.unwrap(), nfs.getattr(&object)] {
            assert_eq!((shown.type_, shown.mode, shown.nlink), (kind, 0o640, 1), "{name}");
            assert_eq!(shown.rdev, numbers, "{name}");
        }
        nfs.read(&object, 0, 1).must_be(nfsstat3::NFS3ERR_INVAL);
        nfs.mknod(&dir, name, mknoddata3::NF3FIFO(sattr3::default()))
            .must_be(nfsstat3::NFS3ERR_EXIST);
        nfs.remove(&dir, name).unwrap();
        nfs.try_getattr(&object).must_be(nfsstat3::NFS3ERR_STALE);
    }
}

#[test]
fn mknod_makes_devices_for_the_superuser_only_and_nothing_that_has_a_procedure_of_its_own() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.become_user(Credential::user(1000));
    let device = || devicedata3 { dev_attributes: sattr3::default(), spec: specdata3::default() };
    nfs.mknod(&dir, "chr", mknoddata3::NF3CHR(device())).must_be(nfsstat3::NFS3ERR_PERM);
    nfs.mknod(&dir, "blk", mknoddata3::NF3BLK(device())).must_be(nfsstat3::NFS3ERR_PERM);
    nfs.mknod(&dir, "fifo", mknoddata3::NF3FIFO(sattr3::default())).must_be(nfsstat3::NFS3_OK);
    for kind in [ftype3::NF3REG, ftype3::NF3DIR, ftype3::NF3LNK] {
        let mut call = Call::new(NFS_PROGRAM::NFSPROC3_MKNOD, &place(&dir, "x"));
        call.args.extend_from_slice(&(kind as u32).to_be_bytes());
        let answer: Nfs3Result<MKNOD3resok, MKNOD3resfail> = unpacked(&nfs.send(&call));
        answer.must_be(nfsstat3::NFS3ERR_BADTYPE);
    }
}

#[test]
fn a_link_goes_across_directories_and_never_to_a_directory() {
    let (_world, mut nfs, dir) = World::folder();
    let (one, two) = (nfs.mkdir(&dir, "one"), nfs.mkdir(&dir, "two"));
    let file = nfs.create(&one, "file");
    nfs.put(&file, 0, b"shared");
    let linked = nfs.link(&file, &two, "link").unwrap();
    assert_eq!(linked.file_attributes.unwrap().nlink, 2);
    let found = nfs.lookup(&two, "link").unwrap();
    assert_eq!(found.object, file);
    nfs.remove(&one, "file").unwrap();
    let left = nfs.getattr(&file);
    assert_eq!((left.nlink, left.size), (1, 6));
    assert_eq!(nfs.read(&file, 0, 10).unwrap().data.as_ref(), b"shared");

    let refused = nfs.link(&one, &two, "dir").status();
    assert!(matches!(refused, nfsstat3::NFS3ERR_PERM | nfsstat3::NFS3ERR_ISDIR), "{refused}");
    nfs.link(&file, &two, "link").must_be(nfsstat3::NFS3ERR_EXIST);
    let fifo = nfs.mknod(&dir, "fifo", mknoddata3::NF3FIFO(sattr3::default()));
    let fifo = fifo.unwrap().obj.unwrap();
    nfs.link(&fifo, &two, "fifo").must_be(nfsstat3::NFS3_OK);
    let symlink = nfs.try_symlink(&dir, "symlink", b"x").unwrap().obj.unwrap();
    nfs.link(&symlink, &two, "symlink").must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&symlink).nlink, 2);
}

#[test]
fn a_file_has_as_many_names_as_pathconf_says_and_not_one_more() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let linkmax = nfs.pathconf(&file).linkmax;
    let links: Vec<Call> = (1..linkmax)
        .map(|number| {
            let args = LINK3args { file: file.clone(), link: place(&dir, number.to_string()) };
            Call::new(NFS_PROGRAM::NFSPROC3_LINK, &args)
        })
        .collect();
    for linked in nfs.call_all::<LINK3res>(&links) {
        linked.must_be(nfsstat3::NFS3_OK);
    }
    assert_eq!(nfs.getattr(&file).nlink, linkmax);
    let over = nfs.link(&file, &dir, "one more");
    over.must_be(nfsstat3::NFS3ERR_MLINK);
    assert_eq!(failure(over).file_attributes.unwrap().nlink, linkmax);
    nfs.remove(&dir, "1").unwrap();
    nfs.link(&file, &dir, "one more").must_be(nfsstat3::NFS3_OK);
}

#[test]
fn a_symlink_keeps_its_target_whatever_bytes_it_has_up_to_the_limit() {
    let (_world, mut nfs, dir) = World::folder();
    let odd: Vec<u8> = (1..=255).collect();
    for (name, target) in [("odd", odd), ("1024", vec![b'a'; 1024]), ("4095", vec![b'a'; 4095])] {
        let made = nfs.try_symlink(&dir, name, &target).unwrap();
        let shown = made.obj_attributes.unwrap();
        assert_eq!((shown.type_, shown.size), (ftype3::NF3LNK, target.len() as u64));
        let read = nfs.readlink(&made.obj.unwrap()).unwrap();
        assert_eq!(read.data.as_ref(), target);
    }
    nfs.try_symlink(&dir, "too long", &[b'a'; 4096]).must_be(nfsstat3::NFS3ERR_NAMETOOLONG);
    nfs.try_symlink(&dir, "empty", b"").must_be(nfsstat3::NFS3ERR_INVAL);
    let mut absurd = Call::new(NFS_PROGRAM::NFSPROC3_SYMLINK, &place(&dir, "absurd"));
    absurd.args.extend(packed(&sattr3::default()));
    absurd.args.extend(packed(&Opaque::owned(vec![b'a'; 65_536])));
    let reply = exchange(&mut nfs.stream, &absurd.message(nfs.who)).unwrap();
    assert_eq!(reply[20..24], [0, 0, 0, 4], "GARBAGE_ARGS: no server takes a path like that");
    assert_eq!(nfs.names(&dir).len(), 3);
}

#[test]
fn readlink_of_what_is_no_symlink_is_invalid_and_shows_what_it_is() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    for object in [&file, &dir] {
        let refused = nfs.readlink(object);
        refused.must_be(nfsstat3::NFS3ERR_INVAL);
        assert!(failure(refused).symlink_attributes.is_some());
    }
}
