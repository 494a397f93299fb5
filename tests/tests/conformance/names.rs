//! Names and what moves them: LOOKUP, REMOVE, RMDIR, RENAME.

use nfs3_client::nfs3_types::nfs3::*;

use crate::client::{Status, packed};
use crate::world::World;

#[test]
fn any_bytes_but_slash_and_nul_are_a_name_and_come_back_as_they_were() {
    let (_world, mut nfs, dir) = World::folder();
    let mut names: Vec<Vec<u8>> =
        (1..=255_u8).filter(|b| *b != b'/').map(|b| vec![b, b'x']).collect();
    names.extend(["Case", "case", "CASE"].map(|name| name.as_bytes().to_vec()));
    names.extend([vec![0xff; 255], "ü".as_bytes().to_vec(), "u\u{308}".as_bytes().to_vec()]);
    names.extend([b"...".to_vec(), b" ".to_vec(), b"..x".to_vec(), b"-rf".to_vec(), b"*".to_vec()]);
    for name in &names {
        let made = nfs.create(&dir, name);
        let found = nfs.lookup(&dir, name).unwrap();
        assert_eq!(found.object, made, "{name:?}");
    }
    let mut listed = nfs.names(&dir);
    listed.sort_unstable();
    names.sort_unstable();
    assert_eq!(listed, names);
    for name in &names {
        nfs.remove(&dir, name).unwrap();
    }
    assert!(nfs.names(&dir).is_empty());
}

#[test]
fn a_name_of_255_bytes_passes_and_one_of_256_is_too_long_for_every_procedure() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    let sub = nfs.mkdir(&dir, &longest);
    nfs.rmdir(&dir, &longest).unwrap();
    nfs.try_getattr(&sub).must_be(nfsstat3::NFS3ERR_STALE);
    nfs.create(&dir, &longest);
    nfs.rename((&dir, &longest), (&dir, &"m".repeat(255))).unwrap();
    let too_long = nfsstat3::NFS3ERR_NAMETOOLONG;
    let unchecked = createhow3::UNCHECKED(sattr3::default());
    nfs.lookup(&dir, &longer).must_be(too_long);
    nfs.try_create(&dir, &longer, unchecked).must_be(too_long);
    nfs.try_mkdir(&dir, &longer).must_be(too_long);
    nfs.try_symlink(&dir, &longer, b"x").must_be(too_long);
    nfs.mknod(&dir, &longer, mknoddata3::NF3FIFO(sattr3::default())).must_be(too_long);
    nfs.remove(&dir, &longer).must_be(too_long);
    nfs.rmdir(&dir, &longer).must_be(too_long);
    nfs.rename((&dir, "file"), (&dir, &longer)).must_be(too_long);
    nfs.rename((&dir, &longer), (&dir, "x")).must_be(too_long);
    nfs.link(&file, &dir, &longer).must_be(too_long);
    nfs.lookup(&dir, "n".repeat(3000)).must_be(too_long);
}

#[test]
fn what_is_no_name_is_refused_by_every_procedure() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let before = packed(&nfs.getattr(&dir));
    for name in ["", "a/b", "/", "a\0b", "\0"] {
        let refused = [
            nfs.lookup(&dir, name).status(),
            nfs.try_create(&dir, name, createhow3::UNCHECKED(sattr3::default())).status(),
            nfs.try_mkdir(&dir, name).status(),
            nfs.try_symlink(&dir, name, b"x").status(),
            nfs.mknod(&dir, name, mknoddata3::NF3FIFO(sattr3::default())).status(),
            nfs.remove(&dir, name).status(),
            nfs.rmdir(&dir, name).status(),
            nfs.rename((&dir, "file"), (&dir, name)).status(),
            nfs.link(&file, &dir, name).status(),
        ];
        let refusals = [nfsstat3::NFS3ERR_INVAL, nfsstat3::NFS3ERR_ACCES, nfsstat3::NFS3ERR_NOENT];
        for status in refused {
            assert!(refusals.contains(&status), "{name:?}: {status}");
        }
    }
    assert_eq!(packed(&nfs.getattr(&dir)), before);
}

#[test]
fn dot_and_dot_dot_can_be_looked_up_and_never_made_or_taken() {
    let (_world, mut nfs, dir) = World::folder();
    let sub = nfs.mkdir(&dir, "sub");
    let file = nfs.create(&sub, "file");
    assert_eq!(nfs.lookup(&sub, ".").unwrap().object, sub);
    assert_eq!(nfs.lookup(&sub, "..").unwrap().object, dir);
    let root = nfs.root("demo");
    assert_eq!(nfs.lookup(&root, "..").unwrap().object, root);
    for dots in [".", ".."] {
        nfs.lookup(&file, dots).must_be(nfsstat3::NFS3ERR_NOTDIR);
        let unchecked = createhow3::UNCHECKED(sattr3::default());
        nfs.try_create(&sub, dots, unchecked).must_be(nfsstat3::NFS3ERR_EXIST);
        nfs.try_mkdir(&sub, dots).must_be(nfsstat3::NFS3ERR_EXIST);
        nfs.link(&file, &sub, dots).must_be(nfsstat3::NFS3ERR_EXIST);
        nfs.remove(&sub, dots).must_be(nfsstat3::NFS3ERR_ISDIR);
        nfs.rename((&sub, dots), (&dir, "x")).must_be(nfsstat3::NFS3ERR_INVAL);
        nfs.rename((&sub, "file"), (&sub, dots)).must_be(nfsstat3::NFS3ERR_INVAL);
    }
    nfs.rmdir(&sub, ".").must_be(nfsstat3::NFS3ERR_INVAL);
    nfs.rmdir(&sub, "..").must_be(nfsstat3::NFS3ERR_EXIST);
    assert_eq!(nfs.names(&sub), [b"file".to_vec()]);
}

#[test]
fn remove_takes_no_directory_and_rmdir_nothing_else_and_no_full_one() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.create(&dir, "file");
    nfs.try_symlink(&dir, "symlink", b"sub").unwrap();
    let sub = nfs.mkdir(&dir, "sub");
    nfs.create(&sub, "x");
    let refused = nfs.remove(&dir, "sub").status();
    assert!(matches!(refused, nfsstat3::NFS3ERR_ISDIR | nfsstat3::NFS3ERR_PERM), "{refused}");
    nfs.rmdir(&dir, "file").must_be(nfsstat3::NFS3ERR_NOTDIR);
    nfs.rmdir(&dir, "symlink").must_be(nfsstat3::NFS3ERR_NOTDIR);
    nfs.rmdir(&dir, "sub").must_be(nfsstat3::NFS3ERR_NOTEMPTY);
    nfs.rmdir(&dir, "missing").must_be(nfsstat3::NFS3ERR_NOENT);
    nfs.remove(&dir, "missing").must_be(nfsstat3::NFS3ERR_NOENT);
    nfs.remove(&sub, "x").unwrap();
    nfs.rmdir(&dir, "sub").must_be(nfsstat3::NFS3_OK);
    nfs.remove(&dir, "symlink").must_be(nfsstat3::NFS3_OK);
}

#[test]
fn rename_over_a_file_replaces_it_and_over_a_hard_link_of_itself_leaves_both() {
    let (_world, mut nfs, dir) = World::folder();
    let (one, two) = (nfs.create(&dir, "one"), nfs.create(&dir, "two"));
    nfs.link(&two, &dir, "two's link").unwrap();
    nfs.rename((&dir, "one"), (&dir, "two")).unwrap();
    assert_eq!(nfs.lookup(&dir, "two").unwrap().object, one);
    nfs.lookup(&dir, "one").must_be(nfsstat3::NFS3ERR_NOENT);
    assert_eq!(nfs.getattr(&two).nlink, 1, "its other name is left");
    nfs.link(&one, &dir, "link").unwrap();
    nfs.rename((&dir, "two"), (&dir, "link")).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&one).nlink, 2, "POSIX: nothing happens");
    nfs.lookup(&dir, "two").must_be(nfsstat3::NFS3_OK);
    nfs.rename((&dir, "missing"), (&dir, "x")).must_be(nfsstat3::NFS3ERR_NOENT);
    nfs.rename((&dir, "two's link"), (&dir, "link")).unwrap();
    assert_eq!(nfs.getattr(&one).nlink, 1);
    let file = nfs.create(&dir, "file");
    let fifo = nfs.mknod(&dir, "fifo", mknoddata3::NF3FIFO(sattr3::default()));
    nfs.rename((&dir, "fifo"), (&dir, "file")).must_be(nfsstat3::NFS3_OK);
    nfs.try_getattr(&file).must_be(nfsstat3::NFS3ERR_STALE);
    assert_eq!(nfs.lookup(&dir, "file").unwrap().object, fifo.unwrap().obj.unwrap());
}

#[test]
fn rename_of_a_directory_replaces_an_empty_one_only() {
    let (_world, mut nfs, dir) = World::folder();
    let moved = nfs.mkdir(&dir, "moved");
    nfs.create(&moved, "inside");
    let (empty, full) = (nfs.mkdir(&dir, "empty"), nfs.mkdir(&dir, "full"));
    nfs.create(&full, "x");
    nfs.create(&dir, "file");
    nfs.rename((&dir, "moved"), (&dir, "full")).must_be(nfsstat3::NFS3ERR_NOTEMPTY);
    let refused = nfs.rename((&dir, "moved"), (&dir, "file")).status();
    assert!(matches!(refused, nfsstat3::NFS3ERR_NOTDIR | nfsstat3::NFS3ERR_EXIST), "{refused}");
    let refused = nfs.rename((&dir, "file"), (&dir, "moved")).status();
    assert!(matches!(refused, nfsstat3::NFS3ERR_ISDIR | nfsstat3::NFS3ERR_EXIST), "{refused}");
    let links = nfs.getattr(&dir).nlink;
    nfs.rename((&dir, "moved"), (&dir, "empty")).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.lookup(&dir, "empty").unwrap().object, moved);
    nfs.try_getattr(&empty).must_be(nfsstat3::NFS3ERR_STALE);
    assert_eq!(nfs.getattr(&dir).nlink, links - 1);
    assert_eq!(nfs.names(&moved), [b"inside".to_vec()]);
}

#[test]
fn a_directory_never_moves_into_itself() {
    let (_world, mut nfs, dir) = World::folder();
    let top = nfs.mkdir(&dir, "top");
    let middle = nfs.mkdir(&top, "middle");
    let bottom = nfs.mkdir(&middle, "bottom");
    for into in [&top, &middle, &bottom] {
        nfs.rename((&dir, "top"), (into, "x")).must_be(nfsstat3::NFS3ERR_INVAL);
    }
    let refused = nfs.rename((&middle, "bottom"), (&dir, "top")).status();
    assert!(matches!(refused, nfsstat3::NFS3ERR_NOTEMPTY | nfsstat3::NFS3ERR_EXIST), "{refused}");
    nfs.rename((&middle, "bottom"), (&dir, "bottom")).must_be(nfsstat3::NFS3_OK);
    nfs.rename((&dir, "top"), (&bottom, "top")).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.lookup(&top, "..").unwrap().object, bottom);
}

#[test]
fn link_counts_of_directories_are_two_and_their_subdirectories() {
    let (_world, mut nfs, dir) = World::folder();
    let (one, two) = (nfs.mkdir(&dir, "one"), nfs.mkdir(&dir, "two"));
    let counts = |nfs: &mut crate::client::Client| {
        [&dir, &one, &two].map(|object| nfs.getattr(object).nlink)
    };
    assert_eq!(counts(&mut nfs), [4, 2, 2]);
    nfs.create(&one, "file");
    nfs.mkdir(&one, "a");
    nfs.mkdir(&one, "b");
    assert_eq!(counts(&mut nfs), [4, 4, 2]);
    nfs.rename((&one, "a"), (&two, "a")).unwrap();
    assert_eq!(counts(&mut nfs), [4, 3, 3]);
    nfs.rename((&one, "b"), (&two, "a")).unwrap();
    assert_eq!(counts(&mut nfs), [4, 2, 3]);
    nfs.rename((&two, "a"), (&two, "c")).unwrap();
    assert_eq!(counts(&mut nfs), [4, 2, 3]);
    nfs.rmdir(&two, "c").unwrap();
    nfs.rmdir(&dir, "two").unwrap();
    assert_eq!(nfs.getattr(&dir).nlink, 3);
    nfs.try_getattr(&two).must_be(nfsstat3::NFS3ERR_STALE);
}

#[test]
fn a_file_renamed_away_while_it_is_open_can_be_read_until_it_is_removed() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "open");
    nfs.put(&file, 0, b"still here");
    // What a client does with a file that it has open when somebody removes it.
    nfs.rename((&dir, "open"), (&dir, ".nfs0000000000000002")).unwrap();
    let new = nfs.create(&dir, "open");
    nfs.put(&new, 0, b"another");
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.as_ref(), b"still here");
    nfs.put(&file, 10, b", and written");
    nfs.commit(&file).unwrap();
    nfs.remove(&dir, ".nfs0000000000000002").unwrap();
    nfs.read(&file, 0, 1).must_be(nfsstat3::NFS3ERR_STALE);
    assert_eq!(nfs.read(&new, 0, 100).unwrap().data.as_ref(), b"another");
}

#[test]
fn a_number_is_never_given_to_a_second_object() {
    let (_world, mut nfs, dir) = World::folder();
    let mut last = 0;
    for _ in 0..20 {
        let file = nfs.create(&dir, "again and again");
        let fileid = nfs.getattr(&file).fileid;
        assert!(fileid > last);
        last = fileid;
        nfs.remove(&dir, "again and again").unwrap();
    }
}
