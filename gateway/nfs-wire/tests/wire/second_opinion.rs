//! The same message by another implementation, `nfs3_types`: how its values are made of ours, and
//! what it means that the two agree.

use std::borrow::Cow;

use bytes::Bytes;
use nfs_wire::nfs3 as ours;
use nfs3_types::nfs3 as theirs;
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

/// Ours and theirs encode alike, and each decodes what the other encoded.
pub fn agree<T: Pack + Unpack>(our_wire: &Bytes, their_value: &T) {
    let mut their_wire = Vec::new();
    their_value.pack(&mut their_wire).unwrap();
    assert_eq!(our_wire, &their_wire);

    let (decoded, length) = T::unpack(&mut &our_wire[..]).unwrap();
    assert_eq!(length, our_wire.len());
    let mut again = Vec::new();
    decoded.pack(&mut again).unwrap();
    assert_eq!(again, their_wire);
}

pub fn opaque(bytes: &[u8]) -> Opaque<'static> {
    Opaque(Cow::Owned(bytes.to_vec()))
}

pub fn option<T: Pack + Unpack>(value: Option<T>) -> theirs::Nfs3Option<T> {
    value.map_or(theirs::Nfs3Option::None, theirs::Nfs3Option::Some)
}

pub fn handle(handle: &ours::FileHandle) -> theirs::nfs_fh3 {
    theirs::nfs_fh3 { data: opaque(handle.as_bytes()) }
}

pub fn name(name: &[u8]) -> theirs::filename3<'static> {
    theirs::filename3(opaque(name))
}

pub fn path(path: &[u8]) -> theirs::nfspath3<'static> {
    theirs::nfspath3(opaque(path))
}

pub fn time(time: ours::Nfstime3) -> theirs::nfstime3 {
    theirs::nfstime3 { seconds: time.seconds, nseconds: time.nseconds }
}

pub fn device(device: ours::Specdata3) -> theirs::specdata3 {
    theirs::specdata3 { specdata1: device.major, specdata2: device.minor }
}

pub fn kind(kind: ours::Ftype3) -> theirs::ftype3 {
    match kind {
        ours::Ftype3::Reg => theirs::ftype3::NF3REG,
        ours::Ftype3::Dir => theirs::ftype3::NF3DIR,
        ours::Ftype3::Blk => theirs::ftype3::NF3BLK,
        ours::Ftype3::Chr => theirs::ftype3::NF3CHR,
        ours::Ftype3::Lnk => theirs::ftype3::NF3LNK,
        ours::Ftype3::Sock => theirs::ftype3::NF3SOCK,
        ours::Ftype3::Fifo => theirs::ftype3::NF3FIFO,
    }
}

pub fn stable(stable: ours::StableHow) -> theirs::stable_how {
    match stable {
        ours::StableHow::Unstable => theirs::stable_how::UNSTABLE,
        ours::StableHow::DataSync => theirs::stable_how::DATA_SYNC,
        ours::StableHow::FileSync => theirs::stable_how::FILE_SYNC,
    }
}

pub fn sattr(attributes: &ours::Sattr3) -> theirs::sattr3 {
    use theirs::{set_atime, set_mtime};
    theirs::sattr3 {
        mode: option(attributes.mode),
        uid: option(attributes.uid),
        gid: option(attributes.gid),
        size: option(attributes.size),
        atime: match attributes.atime {
            ours::SetTime::DontChange => set_atime::DONT_CHANGE,
            ours::SetTime::ToServerTime => set_atime::SET_TO_SERVER_TIME,
            ours::SetTime::ToClientTime(to) => set_atime::SET_TO_CLIENT_TIME(time(to)),
        },
        mtime: match attributes.mtime {
            ours::SetTime::DontChange => set_mtime::DONT_CHANGE,
            ours::SetTime::ToServerTime => set_mtime::SET_TO_SERVER_TIME,
            ours::SetTime::ToClientTime(to) => set_mtime::SET_TO_CLIENT_TIME(time(to)),
        },
    }
}

pub fn fattr(attributes: &ours::Fattr3) -> theirs::fattr3 {
    theirs::fattr3 {
        type_: kind(attributes.kind),
        mode: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: attributes.used,
        rdev: device(attributes.rdev),
        fsid: attributes.fsid,
        fileid: attributes.fileid,
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
    }
}

pub fn post_op(attributes: &ours::PostOpAttr) -> theirs::post_op_attr {
    option(attributes.as_ref().map(fattr))
}

pub fn wcc(wcc: &ours::WccData) -> theirs::wcc_data {
    let before = wcc.before.map(|before| theirs::wcc_attr {
        size: before.size,
        mtime: time(before.mtime),
        ctime: time(before.ctime),
    });
    theirs::wcc_data { before: option(before), after: post_op(&wcc.after) }
}

pub fn dir_op(place: &ours::DirOp) -> theirs::diropargs3<'static> {
    theirs::diropargs3 { dir: handle(&place.dir), name: name(&place.name) }
}
