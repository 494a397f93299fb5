//! A second opinion on the results of every procedure of NFS v3.

use bytes::Bytes;
use nfs_wire::Body;
use nfs_wire::nfs3::{self as ours, Fail, Reply};
use nfs3_types::nfs3 as theirs;
use nfs3_types::xdr_codec::{List, Pack, Unpack, Void};
use proptest::prelude::*;

use crate::reply_strategies::nfs3_reply;
use crate::second_opinion::{
    agree, fattr, handle, name, opaque, option, path, post_op, stable, time, wcc,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn both_implementations_agree_on_nfs3_replies(reply in nfs3_reply()) {
        let wire = reply.to_bytes();
        match &reply {
            Reply::Null => assert!(wire.is_empty()),
            Reply::Getattr(_)
            | Reply::Setattr(_)
            | Reply::Access(_)
            | Reply::Lookup(_)
            | Reply::Readlink(_) => agree_on_attributes(&wire, &reply),
            Reply::Read(_) | Reply::Write(_) | Reply::Commit(_) => agree_on_data(&wire, &reply),
            Reply::Create(_) | Reply::Mkdir(_) | Reply::Symlink(_) | Reply::Mknod(_) => {
                agree_on_creation(&wire, &reply);
            }
            Reply::Remove(_) | Reply::Rmdir(_) | Reply::Rename(_) | Reply::Link(_) => {
                agree_on_names(&wire, &reply);
            }
            Reply::Readdir(_) | Reply::Readdirplus(_) => agree_on_listings(&wire, &reply),
            Reply::Fsstat(_) | Reply::Fsinfo(_) | Reply::Pathconf(_) => {
                agree_on_volumes(&wire, &reply);
            }
        }
    }
}

fn agree_on_result<T, A, Ok: Pack + Unpack, Err: Pack + Unpack>(
    wire: &Bytes,
    result: &Result<T, Fail<A>>,
    ok: impl FnOnce(&T) -> Ok,
    fail: impl FnOnce(&A) -> Err,
) {
    let their_value = match result {
        Ok(value) => theirs::Nfs3Result::Ok(ok(value)),
        Err(failed) => {
            let (status, _) = theirs::nfsstat3::unpack(&mut &wire[..]).unwrap();
            assert_eq!(status.to_string(), failed.status.word());
            theirs::Nfs3Result::Err((status, fail(&failed.attributes)))
        }
    };
    agree(wire, &their_value);
}

fn agree_on_attributes(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Getattr(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::GETATTR3resok { obj_attributes: fattr(ok) },
            |()| Void,
        ),
        Reply::Setattr(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::SETATTR3resok { obj_wcc: wcc(ok) },
            |attributes| theirs::SETATTR3resfail { obj_wcc: wcc(attributes) },
        ),
        Reply::Access(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::ACCESS3resok {
                obj_attributes: post_op(&ok.obj_attributes),
                access: ok.access.0,
            },
            |attributes| theirs::ACCESS3resfail { obj_attributes: post_op(attributes) },
        ),
        Reply::Lookup(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::LOOKUP3resok {
                object: handle(&ok.object),
                obj_attributes: post_op(&ok.obj_attributes),
                dir_attributes: post_op(&ok.dir_attributes),
            },
            |attributes| theirs::LOOKUP3resfail { dir_attributes: post_op(attributes) },
        ),
        Reply::Readlink(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::READLINK3resok {
                symlink_attributes: post_op(&ok.symlink_attributes),
                data: path(&ok.data),
            },
            |attributes| theirs::READLINK3resfail { symlink_attributes: post_op(attributes) },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_data(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Read(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::READ3resok {
                file_attributes: post_op(&ok.file_attributes),
                count: u32::try_from(ok.data.len()).unwrap(),
                eof: ok.eof,
                data: opaque(&ok.data),
            },
            |attributes| theirs::READ3resfail { file_attributes: post_op(attributes) },
        ),
        Reply::Write(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::WRITE3resok {
                file_wcc: wcc(&ok.file_wcc),
                count: ok.count,
                committed: stable(ok.committed),
                verf: theirs::writeverf3(ok.verf.0),
            },
            |attributes| theirs::WRITE3resfail { file_wcc: wcc(attributes) },
        ),
        Reply::Commit(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::COMMIT3resok {
                file_wcc: wcc(&ok.file_wcc),
                verf: theirs::writeverf3(ok.verf.0),
            },
            |attributes| theirs::COMMIT3resfail { file_wcc: wcc(attributes) },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_creation(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Create(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::CREATE3resok {
                obj: option(ok.obj.as_ref().map(handle)),
                obj_attributes: post_op(&ok.obj_attributes),
                dir_wcc: wcc(&ok.dir_wcc),
            },
            |attributes| theirs::CREATE3resfail { dir_wcc: wcc(attributes) },
        ),
        Reply::Mkdir(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::MKDIR3resok {
                obj: option(ok.obj.as_ref().map(handle)),
                obj_attributes: post_op(&ok.obj_attributes),
                dir_wcc: wcc(&ok.dir_wcc),
            },
            |attributes| theirs::MKDIR3resfail { dir_wcc: wcc(attributes) },
        ),
        Reply::Symlink(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::SYMLINK3resok {
                obj: option(ok.obj.as_ref().map(handle)),
                obj_attributes: post_op(&ok.obj_attributes),
                dir_wcc: wcc(&ok.dir_wcc),
            },
            |attributes| theirs::SYMLINK3resfail { dir_wcc: wcc(attributes) },
        ),
        Reply::Mknod(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::MKNOD3resok {
                obj: option(ok.obj.as_ref().map(handle)),
                obj_attributes: post_op(&ok.obj_attributes),
                dir_wcc: wcc(&ok.dir_wcc),
            },
            |attributes| theirs::MKNOD3resfail { dir_wcc: wcc(attributes) },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_names(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Remove(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::REMOVE3resok { dir_wcc: wcc(ok) },
            |attributes| theirs::REMOVE3resfail { dir_wcc: wcc(attributes) },
        ),
        Reply::Rmdir(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::RMDIR3resok { dir_wcc: wcc(ok) },
            |attributes| theirs::RMDIR3resfail { dir_wcc: wcc(attributes) },
        ),
        Reply::Rename(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::RENAME3resok {
                fromdir_wcc: wcc(&ok.fromdir_wcc),
                todir_wcc: wcc(&ok.todir_wcc),
            },
            |attributes| theirs::RENAME3resfail {
                fromdir_wcc: wcc(&attributes.fromdir_wcc),
                todir_wcc: wcc(&attributes.todir_wcc),
            },
        ),
        Reply::Link(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::LINK3resok {
                file_attributes: post_op(&ok.file_attributes),
                linkdir_wcc: wcc(&ok.linkdir_wcc),
            },
            |attributes| theirs::LINK3resfail {
                file_attributes: post_op(&attributes.file_attributes),
                linkdir_wcc: wcc(&attributes.linkdir_wcc),
            },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_listings(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Readdir(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::READDIR3resok {
                dir_attributes: post_op(&ok.dir_attributes),
                cookieverf: theirs::cookieverf3(ok.cookieverf.0),
                reply: theirs::dirlist3 {
                    entries: List(ok.listing.entries().map(entry).collect()),
                    eof: ok.listing.eof(),
                },
            },
            |attributes| theirs::READDIR3resfail { dir_attributes: post_op(attributes) },
        ),
        Reply::Readdirplus(result) => agree_on_result(
            wire,
            result,
            |ok| theirs::READDIRPLUS3resok {
                dir_attributes: post_op(&ok.dir_attributes),
                cookieverf: theirs::cookieverf3(ok.cookieverf.0),
                reply: theirs::dirlistplus3 {
                    entries: List(ok.listing.entries().map(entry_plus).collect()),
                    eof: ok.listing.eof(),
                },
            },
            |attributes| theirs::READDIRPLUS3resfail { dir_attributes: post_op(attributes) },
        ),
        other => panic!("{other:?}"),
    }
}

fn entry(entry: ours::DirEntry<'_>) -> theirs::entry3<'static> {
    theirs::entry3 { fileid: entry.fileid, name: name(entry.name), cookie: entry.cookie }
}

fn entry_plus(entry: ours::DirEntryPlus<'_>) -> theirs::entryplus3<'static> {
    theirs::entryplus3 {
        fileid: entry.entry.fileid,
        name: name(entry.entry.name),
        cookie: entry.entry.cookie,
        name_attributes: post_op(&entry.attributes),
        name_handle: option(entry.handle.as_ref().map(handle)),
    }
}

fn agree_on_volumes(wire: &Bytes, reply: &Reply) {
    match reply {
        Reply::Fsstat(result) => agree_on_result(wire, result, fsstat, |attributes| {
            theirs::FSSTAT3resfail { obj_attributes: post_op(attributes) }
        }),
        Reply::Fsinfo(result) => agree_on_result(wire, result, fsinfo, |attributes| {
            theirs::FSINFO3resfail { obj_attributes: post_op(attributes) }
        }),
        Reply::Pathconf(result) => agree_on_result(wire, result, pathconf, |attributes| {
            theirs::PATHCONF3resfail { obj_attributes: post_op(attributes) }
        }),
        other => panic!("{other:?}"),
    }
}

fn fsstat(ok: &ours::FsstatOk) -> theirs::FSSTAT3resok {
    theirs::FSSTAT3resok {
        obj_attributes: post_op(&ok.obj_attributes),
        tbytes: ok.tbytes,
        fbytes: ok.fbytes,
        abytes: ok.abytes,
        tfiles: ok.tfiles,
        ffiles: ok.ffiles,
        afiles: ok.afiles,
        invarsec: ok.invarsec,
    }
}

fn fsinfo(ok: &ours::FsinfoOk) -> theirs::FSINFO3resok {
    theirs::FSINFO3resok {
        obj_attributes: post_op(&ok.obj_attributes),
        rtmax: ok.rtmax,
        rtpref: ok.rtpref,
        rtmult: ok.rtmult,
        wtmax: ok.wtmax,
        wtpref: ok.wtpref,
        wtmult: ok.wtmult,
        dtpref: ok.dtpref,
        maxfilesize: ok.maxfilesize,
        time_delta: time(ok.time_delta),
        properties: ok.properties,
    }
}

fn pathconf(ok: &ours::PathconfOk) -> theirs::PATHCONF3resok {
    theirs::PATHCONF3resok {
        obj_attributes: post_op(&ok.obj_attributes),
        linkmax: ok.linkmax,
        name_max: ok.name_max,
        no_trunc: ok.no_trunc,
        chown_restricted: ok.chown_restricted,
        case_insensitive: ok.case_insensitive,
        case_preserving: ok.case_preserving,
    }
}
