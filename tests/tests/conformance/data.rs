//! READ and WRITE: the bytes, where they are, and where they end.

use nfs3_client::nfs3_types::nfs3::*;
use tests::Random;

use crate::client::{Call, Client, Credential, Status, unpacked, with_size, write_args};
use crate::world::World;

const MIB: usize = 1 << 20;

#[test]
fn reads_and_writes_of_a_mebibyte_anywhere_give_back_the_bytes() {
    let (_world, mut nfs, dir) = World::folder();
    let mut random = Random::from_environment(11);
    let file = nfs.create(&dir, "file");
    let mut expected = vec![0; 5 * MIB];
    for _ in 0..40 {
        let at = random.below(expected.len() - MIB);
        let len = 1 + random.below(MIB);
        let data = random.bytes(len);
        expected[at..at + len].copy_from_slice(&data);
        nfs.put(&file, at as u64, &data);
    }
    let end = nfs.getattr(&file).size as usize;
    expected.truncate(end);
    for _ in 0..100 {
        let at = random.below(expected.len());
        let len = 1 + random.below(MIB);
        let read = nfs.read(&file, at as u64, len as u32).unwrap();
        let wanted = &expected[at..end.min(at + len)];
        assert!(read.data.as_ref() == wanted, "{len} bytes at {at}");
        assert_eq!(read.count as usize, wanted.len());
        assert_eq!(read.eof, at + len >= end, "{len} bytes at {at} of {end}");
    }
}

#[test]
fn the_end_is_said_exactly_where_it_is() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let eof = |nfs: &mut Client, offset: u64, count: u32| {
        let read = nfs.read(&file, offset, count).unwrap();
        (read.count, read.eof)
    };
    assert_eq!(eof(&mut nfs, 0, 10), (0, true), "an empty file is at its end");
    assert_eq!(eof(&mut nfs, 5, 10), (0, true));
    nfs.put(&file, 0, b"0123456789");
    assert_eq!(eof(&mut nfs, 0, 9), (9, false));
    assert_eq!(eof(&mut nfs, 0, 10), (10, true));
    assert_eq!(eof(&mut nfs, 0, 11), (10, true));
    assert_eq!(eof(&mut nfs, 9, 1), (1, true));
    assert_eq!(eof(&mut nfs, 10, 1), (0, true));
    assert_eq!(eof(&mut nfs, 11, 1), (0, true));
    assert_eq!(eof(&mut nfs, i64::MAX as u64, 1), (0, true));
    assert_eq!(eof(&mut nfs, u64::MAX, u32::MAX), (0, true));
    nfs.setattr(&file, with_size(2 * MIB as u64)).unwrap();
    assert_eq!(eof(&mut nfs, 0, MIB as u32), (MIB as u32, false));
    assert_eq!(eof(&mut nfs, MIB as u64, MIB as u32), (MIB as u32, true));
}

#[test]
fn nothing_can_be_read_and_written_anywhere() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"data");
    for offset in [0, 2, 4, 1 << 40, i64::MAX as u64] {
        let read = nfs.read(&file, offset, 0).unwrap();
        assert!(read.data.is_empty());
        assert_eq!(read.eof, offset >= 4, "at {offset}");
        for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
            let written = nfs.write(&file, offset, b"", stable).unwrap();
            assert_eq!(written.count, 0);
        }
    }
    assert_eq!(nfs.getattr(&file).size, 4, "a write of nothing does not make a file longer");
}

#[test]
fn offsets_reach_the_largest_file_and_are_too_big_beyond() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let largest = i64::MAX as u64;
    for (offset, len) in [(largest, 1), (largest - 9, 10 + 1), (u64::MAX, 1), (u64::MAX - 4, 10)] {
        let answer = nfs.write(&file, offset, &vec![b'x'; len], stable_how::UNSTABLE);
        answer.must_be(nfsstat3::NFS3ERR_FBIG);
    }
    assert_eq!(nfs.getattr(&file).size, 0);
    for end in [1 << 31, 1 << 32, 1 << 42, 1 << 53, 1 << 62] {
        let at = end - 5;
        assert_eq!(nfs.put(&file, at, b"around").count, 6);
        let read = nfs.read(&file, at - 5, 100).unwrap();
        assert_eq!(read.data.as_ref(), b"\0\0\0\0\0around");
        assert!(read.eof);
        assert_eq!(nfs.getattr(&file).size, at + 6);
    }
    assert!(nfs.getattr(&file).used < 1 << 20, "holes take no room");
}

#[test]
fn the_last_bytes_of_the_largest_file_can_be_written_and_read() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let largest = i64::MAX as u64;
    nfs.put(&file, largest - 4, b"last");
    assert_eq!(nfs.getattr(&file).size, largest);
    let read = nfs.read(&file, largest - 6, 100).unwrap();
    assert_eq!(read.data.as_ref(), b"\0\0last");
    assert!(read.eof);
    nfs.commit(&file).unwrap();
    nfs.setattr(&file, with_size(0)).unwrap();
}

#[test]
fn holes_read_as_zeros_and_take_no_room() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let far = 3 * MIB as u64 + 17;
    nfs.put(&file, far, b"x");
    nfs.commit(&file).unwrap();
    let shown = nfs.getattr(&file);
    assert_eq!(shown.size, far + 1);
    assert!(shown.used < MIB as u64, "{} bytes used", shown.used);
    let read = nfs.read(&file, MIB as u64 / 2, MIB as u32).unwrap();
    assert!(read.data.iter().all(|byte| *byte == 0) && read.data.len() == MIB && !read.eof);
}

#[test]
fn a_write_over_the_limit_is_short_and_the_rest_can_be_sent() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let data = Random::new(5).bytes(MIB + 100);
    let written = nfs.write(&file, 0, &data, stable_how::UNSTABLE).unwrap();
    let count = written.count as usize;
    assert!(count > 0 && count <= data.len());
    nfs.put(&file, count as u64, &data[count..]);
    let read = nfs.read(&file, 0, u32::MAX).unwrap();
    assert_eq!(read.data.len(), MIB, "a READ over the limit is short too");
    assert!(!read.eof);
    assert!(read.data.as_ref() == &data[..MIB]);
}

#[test]
fn a_write_whose_lengths_differ_is_invalid() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    for count in [0, 3, 5, u32::MAX] {
        let args = WRITE3args { count, ..write_args(&file, 0, b"1234", stable_how::UNSTABLE) };
        let call = Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args);
        unpacked::<WRITE3res>(&nfs.send(&call)).must_be(nfsstat3::NFS3ERR_INVAL);
    }
    assert_eq!(nfs.getattr(&file).size, 0);
}

#[test]
fn only_regular_files_have_bytes() {
    let (_world, mut nfs, dir) = World::folder();
    nfs.read(&dir, 0, 1).must_be(nfsstat3::NFS3ERR_ISDIR);
    nfs.write(&dir, 0, b"x", stable_how::UNSTABLE).must_be(nfsstat3::NFS3ERR_ISDIR);
    let symlink = nfs.try_symlink(&dir, "symlink", b"x").unwrap().obj.unwrap();
    nfs.read(&symlink, 0, 1).must_be(nfsstat3::NFS3ERR_INVAL);
    nfs.write(&symlink, 0, b"x", stable_how::UNSTABLE).must_be(nfsstat3::NFS3ERR_INVAL);
}

#[test]
fn writes_that_overlap_leave_the_bytes_of_one_of_them() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    const LEN: usize = 300_000;
    std::thread::scope(|scope| {
        for letter in b'a'..=b'd' {
            let file = &file;
            scope.spawn(move || {
                let mut nfs = Client::new(Credential::ROOT);
                for _ in 0..10 {
                    nfs.put(file, 0, &vec![letter; LEN]);
                }
            });
        }
        for _ in 0..40 {
            let read = nfs.read(&file, 0, LEN as u32).unwrap();
            let first = read.data.first().copied();
            assert!(read.data.iter().all(|byte| Some(*byte) == first), "a mixture was read");
        }
    });
}
