//! Arbitrary values of every type that an appliance answers.

use bytes::BytesMut;
use nfs_wire::nfs3::{
    AccessBits, AccessOk, CommitOk, Cookieverf3, CreateOk, CreateResult, DirEntry, DirEntryPlus,
    Fail, FileHandle, FsinfoOk, FsstatOk, LinkWcc, ListOk, ListingBuilder, ListingKind, LookupOk,
    Name, Nfsstat3, PageLimits, PathconfOk, Plain, Plus, PostOpAttr, ReadOk, ReaddirOk,
    ReaddirplusOk, ReadlinkOk, RemoveResult, RenameWcc, Reply, StableHow, WccAttr, WccData,
    WriteOk, Writeverf3,
};
use nfs_wire::rpc::{AuthFlavor, AuthStat, Refusal};
use nfs_wire::{mount, rpcbind};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::strategies::{bytes, fattr, handle, mapping, name, path, rpcb, text, time};

pub fn post_op_attr() -> impl Strategy<Value = PostOpAttr> {
    option::of(fattr())
}

pub fn wcc_data() -> impl Strategy<Value = WccData> {
    let before = (any::<u64>(), time(), time()).prop_map(|(size, mtime, ctime)| WccAttr {
        size,
        mtime,
        ctime,
    });
    (option::of(before), post_op_attr()).prop_map(|(before, after)| WccData { before, after })
}

fn result<T: Clone + std::fmt::Debug, A: Clone + std::fmt::Debug>(
    ok: impl Strategy<Value = T>,
    attributes: impl Strategy<Value = A>,
) -> impl Strategy<Value = Result<T, Fail<A>>> {
    let fail = (select(Nfsstat3::ALL), attributes)
        .prop_map(|(status, attributes)| Fail::new(status, attributes));
    prop_oneof![3 => ok.prop_map(Ok), 1 => fail.prop_map(Err)]
}

fn lookup_ok() -> impl Strategy<Value = LookupOk> {
    (handle(), post_op_attr(), post_op_attr()).prop_map(
        |(object, obj_attributes, dir_attributes)| LookupOk {
            object,
            obj_attributes,
            dir_attributes,
        },
    )
}

fn access_ok() -> impl Strategy<Value = AccessOk> {
    (post_op_attr(), any::<u32>())
        .prop_map(|(obj_attributes, bits)| AccessOk { obj_attributes, access: AccessBits(bits) })
}

fn readlink_ok() -> impl Strategy<Value = ReadlinkOk> {
    (post_op_attr(), path())
        .prop_map(|(symlink_attributes, target)| ReadlinkOk { symlink_attributes, data: target.0 })
}

fn read_ok() -> impl Strategy<Value = ReadOk> {
    (post_op_attr(), any::<bool>(), bytes(3000)).prop_map(|(file_attributes, eof, data)| ReadOk {
        file_attributes,
        eof,
        data,
    })
}

fn write_ok() -> impl Strategy<Value = WriteOk> {
    (wcc_data(), any::<u32>(), select(StableHow::ALL), any::<[u8; 8]>()).prop_map(
        |(file_wcc, count, committed, verf)| WriteOk {
            file_wcc,
            count,
            committed,
            verf: Writeverf3(verf),
        },
    )
}

fn create_ok() -> impl Strategy<Value = CreateOk> {
    (option::of(handle()), post_op_attr(), wcc_data())
        .prop_map(|(obj, obj_attributes, dir_wcc)| CreateOk { obj, obj_attributes, dir_wcc })
}

fn create_result() -> impl Strategy<Value = CreateResult> {
    result(create_ok(), wcc_data())
}

fn remove_result() -> impl Strategy<Value = RemoveResult> {
    result(wcc_data(), wcc_data())
}

fn rename_wcc() -> impl Strategy<Value = RenameWcc> {
    (wcc_data(), wcc_data())
        .prop_map(|(fromdir_wcc, todir_wcc)| RenameWcc { fromdir_wcc, todir_wcc })
}

fn link_wcc() -> impl Strategy<Value = LinkWcc> {
    (post_op_attr(), wcc_data())
        .prop_map(|(file_attributes, linkdir_wcc)| LinkWcc { file_attributes, linkdir_wcc })
}

/// What a [`DirEntry`] borrows from.
pub type OwnedEntry = (u64, Name, u64);

pub fn owned_entry() -> impl Strategy<Value = OwnedEntry> {
    (any::<u64>(), name(), any::<u64>())
}

pub fn entry((fileid, name, cookie): &OwnedEntry) -> DirEntry<'_> {
    DirEntry { fileid: *fileid, name, cookie: *cookie }
}

/// What a [`DirEntryPlus`] borrows from.
pub type OwnedEntryPlus = (OwnedEntry, PostOpAttr, Option<FileHandle>);

pub fn owned_entry_plus() -> impl Strategy<Value = OwnedEntryPlus> {
    (owned_entry(), post_op_attr(), option::of(handle()))
}

pub fn entry_plus(owned: &OwnedEntryPlus) -> DirEntryPlus<'_> {
    DirEntryPlus { entry: entry(&owned.0), attributes: owned.1, handle: owned.2 }
}

fn list_ok<K: ListingKind, O>(
    owned: &[O],
    borrow: impl for<'a> Fn(&'a O) -> K::Entry<'a>,
    (dir_attributes, verf, eof): (PostOpAttr, [u8; 8], bool),
) -> ListOk<K> {
    let limits = PageLimits::readdir(u32::MAX, &dir_attributes).unwrap();
    let mut scratch = BytesMut::new();
    let mut page = ListingBuilder::<K>::new(limits, &mut scratch);
    owned.iter().for_each(|owned| page.push(&borrow(owned)).unwrap());
    let listing = if eof { page.finish_at_end() } else { page.finish_with_more() };
    ListOk { dir_attributes, cookieverf: Cookieverf3(verf), listing }
}

fn readdir_ok() -> impl Strategy<Value = ReaddirOk> {
    (vec(owned_entry(), 0..8), (post_op_attr(), any::<[u8; 8]>(), any::<bool>()))
        .prop_map(|(owned, rest)| list_ok::<Plain, _>(&owned, entry, rest))
}

fn readdirplus_ok() -> impl Strategy<Value = ReaddirplusOk> {
    (vec(owned_entry_plus(), 0..8), (post_op_attr(), any::<[u8; 8]>(), any::<bool>()))
        .prop_map(|(owned, rest)| list_ok::<Plus, _>(&owned, entry_plus, rest))
}

fn fsstat_ok() -> impl Strategy<Value = FsstatOk> {
    (post_op_attr(), any::<([u64; 6], u32)>()).prop_map(|(obj_attributes, (sizes, invarsec))| {
        let [tbytes, fbytes, abytes, tfiles, ffiles, afiles] = sizes;
        FsstatOk { obj_attributes, tbytes, fbytes, abytes, tfiles, ffiles, afiles, invarsec }
    })
}

pub fn fsinfo_ok() -> impl Strategy<Value = FsinfoOk> {
    (post_op_attr(), any::<([u32; 8], u64)>(), time()).prop_map(
        |(obj_attributes, (words, maxfilesize), time_delta)| {
            let [rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref, properties] = words;
            FsinfoOk {
                obj_attributes,
                rtmax,
                rtpref,
                rtmult,
                wtmax,
                wtpref,
                wtmult,
                dtpref,
                maxfilesize,
                time_delta,
                properties,
            }
        },
    )
}

fn pathconf_ok() -> impl Strategy<Value = PathconfOk> {
    (post_op_attr(), any::<(u32, u32, [bool; 4])>()).prop_map(
        |(obj_attributes, (linkmax, name_max, flags))| {
            let [no_trunc, chown_restricted, case_insensitive, case_preserving] = flags;
            PathconfOk {
                obj_attributes,
                linkmax,
                name_max,
                no_trunc,
                chown_restricted,
                case_insensitive,
                case_preserving,
            }
        },
    )
}

fn commit_ok() -> impl Strategy<Value = CommitOk> {
    (wcc_data(), any::<[u8; 8]>())
        .prop_map(|(file_wcc, verf)| CommitOk { file_wcc, verf: Writeverf3(verf) })
}

fn object_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        result(fattr(), Just(())).prop_map(Reply::Getattr),
        result(wcc_data(), wcc_data()).prop_map(Reply::Setattr),
        result(access_ok(), post_op_attr()).prop_map(Reply::Access),
        result(readlink_ok(), post_op_attr()).prop_map(Reply::Readlink),
        result(read_ok(), post_op_attr()).prop_map(Reply::Read),
        result(write_ok(), wcc_data()).prop_map(Reply::Write),
        result(readdir_ok(), post_op_attr()).prop_map(Reply::Readdir),
        result(readdirplus_ok(), post_op_attr()).prop_map(Reply::Readdirplus),
        result(fsstat_ok(), post_op_attr()).prop_map(Reply::Fsstat),
        result(fsinfo_ok(), post_op_attr()).prop_map(Reply::Fsinfo),
        result(pathconf_ok(), post_op_attr()).prop_map(Reply::Pathconf),
        result(commit_ok(), wcc_data()).prop_map(Reply::Commit),
    ]
}

fn name_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        result(lookup_ok(), post_op_attr()).prop_map(Reply::Lookup),
        create_result().prop_map(Reply::Create),
        create_result().prop_map(Reply::Mkdir),
        create_result().prop_map(Reply::Symlink),
        create_result().prop_map(Reply::Mknod),
        remove_result().prop_map(Reply::Remove),
        remove_result().prop_map(Reply::Rmdir),
        result(rename_wcc(), rename_wcc()).prop_map(Reply::Rename),
        result(link_wcc(), link_wcc()).prop_map(Reply::Link),
    ]
}

pub fn nfs3_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![1 => Just(Reply::Null), 12 => object_reply(), 9 => name_reply()]
}

pub fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::ProgUnavail),
        any::<(u32, u32)>().prop_map(|(low, high)| Refusal::ProgMismatch { low, high }),
        Just(Refusal::ProcUnavail),
        Just(Refusal::GarbageArgs),
        Just(Refusal::SystemErr),
        any::<(u32, u32)>().prop_map(|(low, high)| Refusal::RpcMismatch { low, high }),
        select(AuthStat::ALL).prop_map(Refusal::AuthError),
    ]
}

pub fn mount_reply() -> impl Strategy<Value = mount::Reply> {
    let flavors = vec(any::<u32>().prop_map(AuthFlavor), 0..8);
    let ok = (handle(), flavors).prop_map(|(handle, flavors)| mount::MntOk { handle, flavors });
    let mnt = prop_oneof![ok.prop_map(Ok), select(mount::Mountstat3::ALL).prop_map(Err)];
    let mounted = (name(), path())
        .prop_map(|(hostname, directory)| mount::MountEntry { hostname, directory });
    let export = (path(), vec(name(), 0..4))
        .prop_map(|(directory, groups)| mount::ExportEntry { directory, groups });
    prop_oneof![
        Just(mount::Reply::Null),
        mnt.prop_map(mount::Reply::Mnt),
        vec(mounted, 0..6).prop_map(mount::Reply::Dump),
        Just(mount::Reply::Umnt),
        Just(mount::Reply::Umntall),
        vec(export, 0..6).prop_map(mount::Reply::Export),
    ]
}

/// With arguments that ask for it.
pub fn rpcbind_reply() -> impl Strategy<Value = (rpcbind::Args, rpcbind::Reply)> {
    use rpcbind::{Args, Reply};
    let entry = (text(), text(), any::<u32>(), text(), text()).prop_map(
        |(address, netid, semantics, family, protocol)| rpcbind::RpcbEntry {
            address,
            netid,
            semantics,
            family,
            protocol,
        },
    );
    prop_oneof![
        Just((Args::Null, Reply::Null)),
        (mapping(), any::<bool>()).prop_map(|(asked, b)| (Args::SetPort(asked), Reply::Done(b))),
        (rpcb(), any::<bool>()).prop_map(|(asked, b)| (Args::Unset(asked), Reply::Done(b))),
        (mapping(), any::<u32>()).prop_map(|(asked, p)| (Args::Getport(asked), Reply::Port(p))),
        vec(mapping(), 0..6).prop_map(|all| (Args::DumpPorts, Reply::Mappings(all))),
        (rpcb(), text()).prop_map(|(asked, a)| (Args::Getversaddr(asked), Reply::Address(a))),
        vec(rpcb(), 0..6).prop_map(|all| (Args::Dump, Reply::Services(all))),
        any::<u32>().prop_map(|seconds| (Args::Gettime, Reply::Time(seconds))),
        (rpcb(), vec(entry, 0..6))
            .prop_map(|(asked, all)| (Args::Getaddrlist(asked), Reply::Addresses(all))),
    ]
}
