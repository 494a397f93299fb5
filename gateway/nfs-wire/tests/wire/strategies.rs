//! Arbitrary values of every type that a client sends.

use bytes::Bytes;
use nfs_wire::nfs3::{
    AccessArgs, AccessBits, Args, CommitArgs, Cookieverf3, CreateArgs, CreateHow, Createverf3,
    DirOp, FHSIZE, Fattr3, FileHandle, FsinfoArgs, FsstatArgs, Ftype3, GetattrArgs, LinkArgs,
    LookupArgs, MkdirArgs, MknodArgs, MknodData, NAME_DECODE_BYTES_MAX, Name, Nfstime3,
    PATH_DECODE_BYTES_MAX, Path, PathconfArgs, ReadArgs, ReaddirArgs, ReaddirplusArgs,
    ReadlinkArgs, RemoveArgs, RenameArgs, RmdirArgs, Sattr3, SetTime, SetattrArgs, Specdata3,
    StableHow, SymlinkArgs, WriteArgs,
};
use nfs_wire::rpc::{AuthFlavor, AuthSys, Credential, GIDS_MAX, Gids, MACHINE_BYTES_MAX};
use nfs_wire::{mount, rpcbind};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

pub fn handle() -> impl Strategy<Value = FileHandle> {
    vec(any::<u8>(), 0..=FHSIZE).prop_map(|bytes| FileHandle::new(&bytes).unwrap())
}

pub fn name() -> impl Strategy<Value = Name> {
    prop_oneof![9 => bytes(40), 1 => bytes(NAME_DECODE_BYTES_MAX)].prop_map(Name)
}

pub fn path() -> impl Strategy<Value = Path> {
    prop_oneof![9 => bytes(90), 1 => bytes(PATH_DECODE_BYTES_MAX)].prop_map(Path)
}

pub fn dir_op() -> impl Strategy<Value = DirOp> {
    (handle(), name()).prop_map(|(dir, name)| DirOp { dir, name })
}

pub fn time() -> impl Strategy<Value = Nfstime3> {
    any::<(u32, u32)>().prop_map(|(seconds, nseconds)| Nfstime3 { seconds, nseconds })
}

pub fn device() -> impl Strategy<Value = Specdata3> {
    any::<(u32, u32)>().prop_map(|(major, minor)| Specdata3 { major, minor })
}

fn set_time() -> impl Strategy<Value = SetTime> {
    prop_oneof![
        Just(SetTime::DontChange),
        Just(SetTime::ToServerTime),
        time().prop_map(SetTime::ToClientTime),
    ]
}

pub fn sattr() -> impl Strategy<Value = Sattr3> {
    let words = any::<(Option<u32>, Option<u32>, Option<u32>, Option<u64>)>();
    (words, set_time(), set_time()).prop_map(|((mode, uid, gid, size), atime, mtime)| Sattr3 {
        mode,
        uid,
        gid,
        size,
        atime,
        mtime,
    })
}

pub fn fattr() -> impl Strategy<Value = Fattr3> {
    let words = any::<(u32, u32, u32, u32, u64, u64, u64, u64)>();
    let times = (time(), time(), time());
    (select(Ftype3::ALL), words, device(), times).prop_map(|(kind, words, rdev, times)| {
        let (mode, nlink, uid, gid, size, used, fsid, fileid) = words;
        let (atime, mtime, ctime) = times;
        Fattr3 { kind, mode, nlink, uid, gid, size, used, rdev, fsid, fileid, atime, mtime, ctime }
    })
}

fn stable_how() -> impl Strategy<Value = StableHow> {
    select(StableHow::ALL)
}

fn create_how() -> impl Strategy<Value = CreateHow> {
    prop_oneof![
        sattr().prop_map(CreateHow::Unchecked),
        sattr().prop_map(CreateHow::Guarded),
        any::<[u8; 8]>().prop_map(|bytes| CreateHow::Exclusive(Createverf3(bytes))),
    ]
}

fn mknod_data() -> impl Strategy<Value = MknodData> {
    prop_oneof![
        (sattr(), device()).prop_map(|(attributes, device)| MknodData::Chr(attributes, device)),
        (sattr(), device()).prop_map(|(attributes, device)| MknodData::Blk(attributes, device)),
        sattr().prop_map(MknodData::Sock),
        sattr().prop_map(MknodData::Fifo),
        Just(MknodData::Reg),
        Just(MknodData::Dir),
        Just(MknodData::Lnk),
    ]
}

fn write_args() -> impl Strategy<Value = WriteArgs> {
    (handle(), any::<u64>(), stable_how(), bytes(3000))
        .prop_map(|(file, offset, stable, data)| WriteArgs { file, offset, stable, data })
}

fn readdir_args() -> impl Strategy<Value = ReaddirArgs> {
    (handle(), any::<(u64, [u8; 8], u32)>()).prop_map(|(dir, (cookie, verf, count))| ReaddirArgs {
        dir,
        cookie,
        cookieverf: Cookieverf3(verf),
        count,
    })
}

fn readdirplus_args() -> impl Strategy<Value = ReaddirplusArgs> {
    (handle(), any::<(u64, [u8; 8], u32, u32)>()).prop_map(
        |(dir, (cookie, verf, dircount, maxcount))| ReaddirplusArgs {
            dir,
            cookie,
            cookieverf: Cookieverf3(verf),
            dircount,
            maxcount,
        },
    )
}

fn object_args() -> impl Strategy<Value = Args> {
    prop_oneof![
        handle().prop_map(|object| Args::Getattr(GetattrArgs { object })),
        (handle(), sattr(), option::of(time())).prop_map(|(object, new_attributes, guard)| {
            Args::Setattr(SetattrArgs { object, new_attributes, guard })
        }),
        (handle(), any::<u32>()).prop_map(|(object, bits)| Args::Access(AccessArgs {
            object,
            access: AccessBits(bits)
        })),
        handle().prop_map(|symlink| Args::Readlink(ReadlinkArgs { symlink })),
        (handle(), any::<(u64, u32)>()).prop_map(|(file, (offset, count))| Args::Read(ReadArgs {
            file,
            offset,
            count
        })),
        write_args().prop_map(Args::Write),
        readdir_args().prop_map(Args::Readdir),
        readdirplus_args().prop_map(Args::Readdirplus),
        handle().prop_map(|fsroot| Args::Fsstat(FsstatArgs { fsroot })),
        handle().prop_map(|fsroot| Args::Fsinfo(FsinfoArgs { fsroot })),
        handle().prop_map(|object| Args::Pathconf(PathconfArgs { object })),
        (handle(), any::<(u64, u32)>())
            .prop_map(|(file, (offset, count))| Args::Commit(CommitArgs { file, offset, count })),
    ]
}

fn name_args() -> impl Strategy<Value = Args> {
    prop_oneof![
        dir_op().prop_map(|what| Args::Lookup(LookupArgs { what })),
        (dir_op(), create_how()).prop_map(|(place, how)| Args::Create(CreateArgs { place, how })),
        (dir_op(), sattr())
            .prop_map(|(place, attributes)| Args::Mkdir(MkdirArgs { place, attributes })),
        (dir_op(), sattr(), path()).prop_map(|(place, attributes, target)| {
            Args::Symlink(SymlinkArgs { place, attributes, target })
        }),
        (dir_op(), mknod_data()).prop_map(|(place, what)| Args::Mknod(MknodArgs { place, what })),
        dir_op().prop_map(|object| Args::Remove(RemoveArgs { object })),
        dir_op().prop_map(|object| Args::Rmdir(RmdirArgs { object })),
        (dir_op(), dir_op()).prop_map(|(from, to)| Args::Rename(RenameArgs { from, to })),
        (handle(), dir_op()).prop_map(|(file, link)| Args::Link(LinkArgs { file, link })),
    ]
}

pub fn nfs3_args() -> impl Strategy<Value = Args> {
    prop_oneof![1 => Just(Args::Null), 12 => object_args(), 9 => name_args()]
}

pub fn auth_sys() -> impl Strategy<Value = AuthSys> {
    let gids = vec(any::<u32>(), 0..=GIDS_MAX);
    (any::<(u32, u32, u32)>(), bytes(MACHINE_BYTES_MAX), gids).prop_map(
        |((stamp, uid, gid), machine, gids)| AuthSys {
            stamp,
            machine,
            uid,
            gid,
            gids: Gids::new(&gids).unwrap(),
        },
    )
}

pub fn credential() -> impl Strategy<Value = Credential> {
    prop_oneof![
        1 => Just(Credential::None),
        4 => auth_sys().prop_map(Credential::Sys),
        1 => (2u32..).prop_map(|flavor| Credential::Unsupported(AuthFlavor(flavor))),
    ]
}

pub fn mount_args() -> impl Strategy<Value = mount::Args> {
    prop_oneof![
        Just(mount::Args::Null),
        path().prop_map(mount::Args::Mnt),
        Just(mount::Args::Dump),
        path().prop_map(mount::Args::Umnt),
        Just(mount::Args::Umntall),
        Just(mount::Args::Export),
    ]
}

pub fn mapping() -> impl Strategy<Value = rpcbind::Mapping> {
    any::<(u32, u32, u32, u32)>().prop_map(|(program, version, protocol, port)| rpcbind::Mapping {
        program,
        version,
        protocol,
        port,
    })
}

pub fn text() -> impl Strategy<Value = rpcbind::Text> {
    prop_oneof![9 => bytes(30), 1 => bytes(rpcbind::TEXT_BYTES_MAX)].prop_map(rpcbind::Text)
}

pub fn rpcb() -> impl Strategy<Value = rpcbind::Rpcb> {
    (any::<(u32, u32)>(), text(), text(), text()).prop_map(
        |((program, version), netid, address, owner)| rpcbind::Rpcb {
            program,
            version,
            netid,
            address,
            owner,
        },
    )
}

/// With a version that has it.
pub fn rpcbind_args() -> impl Strategy<Value = (rpcbind::Version, rpcbind::Args)> {
    use rpcbind::{Args, Version};
    let v2 = prop_oneof![
        Just(Args::Null),
        mapping().prop_map(Args::SetPort),
        mapping().prop_map(Args::UnsetPort),
        mapping().prop_map(Args::Getport),
        Just(Args::DumpPorts),
    ];
    let v3 = prop_oneof![
        Just(Args::Null),
        rpcb().prop_map(Args::Set),
        rpcb().prop_map(Args::Unset),
        rpcb().prop_map(Args::Getaddr),
        Just(Args::Dump),
        Just(Args::Gettime),
    ];
    let v4 = prop_oneof![
        rpcb().prop_map(Args::Getversaddr),
        rpcb().prop_map(Args::Getaddrlist),
        rpcb().prop_map(Args::Set),
    ];
    prop_oneof![
        v2.prop_map(|args| (Version::V2, args)),
        v3.prop_map(|args| (Version::V3, args)),
        v4.prop_map(|args| (Version::V4, args)),
    ]
}
