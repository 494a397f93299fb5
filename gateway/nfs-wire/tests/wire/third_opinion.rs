//! The shared types once more, by `nfsserve`: it reads ours to the last byte, and writes what it
//! read just as we did. Which field is which the second opinion tells.

use bytes::Bytes;
use nfs_wire::Body;
use nfs_wire::nfs3::Fattr3;
use nfsserve::nfs as theirs;
use nfsserve::xdr::XDR;
use proptest::prelude::*;

use crate::reply_strategies::{fsinfo_ok, post_op_attr, wcc_data};
use crate::strategies::{dir_op, fattr, handle, path, sattr, time};

fn reads_and_writes_the_same<T: XDR + Default>(wire: &Bytes) -> T {
    let (mut value, mut left) = (T::default(), &wire[..]);
    value.deserialize(&mut left).unwrap();
    assert!(left.is_empty(), "{} bytes were not read", left.len());
    let mut again = Vec::new();
    value.serialize(&mut again).unwrap();
    assert_eq!(wire, &again);
    value
}

proptest! {
    #[test]
    fn nfsserve_reads_our_attributes(ours in fattr()) {
        let read: theirs::fattr3 = reads_and_writes_the_same(&ours.to_bytes());
        let Fattr3 { mode, nlink, uid, gid, size, used, fsid, fileid, .. } = ours;
        prop_assert_eq!([read.mode, read.nlink, read.uid, read.gid], [mode, nlink, uid, gid]);
        prop_assert_eq!(
            [read.size, read.used, read.fsid, read.fileid],
            [size, used, fsid, fileid]
        );
    }

    #[test]
    fn nfsserve_reads_our_shared_types(
        handle in handle(),
        time in time(),
        (post_op, wcc) in (post_op_attr(), wcc_data()),
        sattr in sattr(),
        place in dir_op(),
        target in path(),
    ) {
        reads_and_writes_the_same::<theirs::nfs_fh3>(&handle.to_bytes());
        reads_and_writes_the_same::<theirs::nfstime3>(&time.to_bytes());
        reads_and_writes_the_same::<theirs::post_op_attr>(&post_op.to_bytes());
        reads_and_writes_the_same::<theirs::wcc_data>(&wcc.to_bytes());
        reads_and_writes_the_same::<theirs::sattr3>(&sattr.to_bytes());
        let read: theirs::diropargs3 = reads_and_writes_the_same(&place.to_bytes());
        prop_assert_eq!(&read.dir.data, place.dir.as_bytes());
        prop_assert_eq!(&read.name.0, &place.name.0);

        let symlink = Bytes::from([sattr.to_bytes(), target.to_bytes()].concat());
        reads_and_writes_the_same::<theirs::symlinkdata3>(&symlink);
    }

    #[test]
    fn nfsserve_reads_our_fsinfo(ok in fsinfo_ok()) {
        let wire = ok.to_bytes();
        reads_and_writes_the_same::<theirs::fsinfo3>(&wire);
    }
}
