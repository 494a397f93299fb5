//! NFS version 3 (RFC 1813): all 22 procedures, arguments and results, both directions.
//!
//! The words are the protocol's. [`Args::decode`] makes typed arguments of a call; a handler
//! returns `Result<…Ok, Fail<…>>`, where the type of each arm says which attributes RFC 1813
//! wants in it; [`rpc::accept`](crate::rpc::accept) makes a reply of that.
//!
//! Absent on purpose: which names are legal, what a handle means, how much may be read at once.

use crate::rpc::CALL_HEADER_BYTES_MAX;
use crate::xdr::wire_enum;

mod args;
mod attributes;
mod handle;
mod listing;
mod names;
mod reply;
mod results;

pub use args::{
    AccessArgs, Args, CommitArgs, CreateArgs, CreateHow, DirOp, FsinfoArgs, FsstatArgs,
    GetattrArgs, LinkArgs, LookupArgs, MkdirArgs, MknodArgs, MknodData, PathconfArgs, ReadArgs,
    ReaddirArgs, ReaddirplusArgs, ReadlinkArgs, RemoveArgs, RenameArgs, RmdirArgs, SetattrArgs,
    SymlinkArgs, WriteArgs,
};
pub use attributes::{
    AccessBits, Cookieverf3, Createverf3, FATTR_BYTES, Fattr3, Ftype3, Nfstime3, PostOpAttr,
    Sattr3, SetTime, Specdata3, StableHow, WccAttr, WccData, Writeverf3, post_op_attr_bytes,
};
pub use handle::{FHSIZE, FileHandle};
pub use listing::{
    DirEntry, DirEntryPlus, Entries, LISTING_END_BYTES, Listing, ListingBuilder, ListingKind,
    PageFull, PageLimits, Plain, Plus,
};
pub use names::{NAME_DECODE_BYTES_MAX, Name, PATH_DECODE_BYTES_MAX, Path};
pub use reply::Reply;
pub use results::{
    AccessOk, AccessResult, CommitOk, CommitResult, CreateOk, CreateResult, FSF3_CANSETTIME,
    FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK, Fail, FsinfoOk, FsinfoResult, FsstatOk,
    FsstatResult, GetattrResult, LinkResult, LinkWcc, ListOk, LookupOk, LookupResult, Outcome,
    PathconfOk, PathconfResult, ReadOk, ReadResult, ReaddirOk, ReaddirResult, ReaddirplusOk,
    ReaddirplusResult, ReadlinkOk, ReadlinkResult, RemoveResult, RenameResult, RenameWcc,
    SetattrResult, WriteOk, WriteResult,
};

/// The RPC program number of NFS.
pub const PROGRAM: u32 = 100_003;

/// The version of the program spoken here.
pub const VERSION: u32 = 3;

/// The port that clients expect, by convention.
pub const PORT: u16 = 2049;

wire_enum! {
    /// The procedures of NFS v3.
    pub enum Procedure as "NFS v3 procedure" {
        Null = 0, "NULL";
        Getattr = 1, "GETATTR";
        Setattr = 2, "SETATTR";
        Lookup = 3, "LOOKUP";
        Access = 4, "ACCESS";
        Readlink = 5, "READLINK";
        Read = 6, "READ";
        Write = 7, "WRITE";
        Create = 8, "CREATE";
        Mkdir = 9, "MKDIR";
        Symlink = 10, "SYMLINK";
        Mknod = 11, "MKNOD";
        Remove = 12, "REMOVE";
        Rmdir = 13, "RMDIR";
        Rename = 14, "RENAME";
        Link = 15, "LINK";
        Readdir = 16, "READDIR";
        Readdirplus = 17, "READDIRPLUS";
        Fsstat = 18, "FSSTAT";
        Fsinfo = 19, "FSINFO";
        Pathconf = 20, "PATHCONF";
        Commit = 21, "COMMIT";
    }
}

wire_enum! {
    /// Why a procedure failed (`nfsstat3`). NFS3_OK is not among these: it is the other arm of
    /// the result, so a failure can't say that it succeeded.
    pub enum Nfsstat3 as "nfsstat3" {
        Perm = 1, "NFS3ERR_PERM";
        Noent = 2, "NFS3ERR_NOENT";
        Io = 5, "NFS3ERR_IO";
        Nxio = 6, "NFS3ERR_NXIO";
        Acces = 13, "NFS3ERR_ACCES";
        Exist = 17, "NFS3ERR_EXIST";
        Xdev = 18, "NFS3ERR_XDEV";
        Nodev = 19, "NFS3ERR_NODEV";
        Notdir = 20, "NFS3ERR_NOTDIR";
        Isdir = 21, "NFS3ERR_ISDIR";
        Inval = 22, "NFS3ERR_INVAL";
        Fbig = 27, "NFS3ERR_FBIG";
        Nospc = 28, "NFS3ERR_NOSPC";
        Rofs = 30, "NFS3ERR_ROFS";
        Mlink = 31, "NFS3ERR_MLINK";
        Nametoolong = 63, "NFS3ERR_NAMETOOLONG";
        Notempty = 66, "NFS3ERR_NOTEMPTY";
        Dquot = 69, "NFS3ERR_DQUOT";
        Stale = 70, "NFS3ERR_STALE";
        Remote = 71, "NFS3ERR_REMOTE";
        Badhandle = 10001, "NFS3ERR_BADHANDLE";
        NotSync = 10002, "NFS3ERR_NOT_SYNC";
        BadCookie = 10003, "NFS3ERR_BAD_COOKIE";
        Notsupp = 10004, "NFS3ERR_NOTSUPP";
        Toosmall = 10005, "NFS3ERR_TOOSMALL";
        Serverfault = 10006, "NFS3ERR_SERVERFAULT";
        Badtype = 10007, "NFS3ERR_BADTYPE";
        Jukebox = 10008, "NFS3ERR_JUKEBOX";
    }
}

/// The largest record a call may need if one WRITE carries at most `write_bytes_max`: for
/// [`RecordReader::new`](crate::RecordReader::new).
pub const fn call_record_bytes_max(write_bytes_max: usize) -> usize {
    let write = WRITE_ARGS_HEAD_BYTES_MAX + write_bytes_max + 3;
    let args = if write > NAMED_ARGS_BYTES_MAX { write } else { NAMED_ARGS_BYTES_MAX };
    CALL_HEADER_BYTES_MAX + args
}

/// A handle, offset, count, `stable_how` and the length of the data.
const WRITE_ARGS_HEAD_BYTES_MAX: usize = 4 + FHSIZE + 8 + 4 + 4 + 4;

/// More than any arguments without data: two directories with a name (RENAME), or one, a path and
/// all attributes (SYMLINK).
const NAMED_ARGS_BYTES_MAX: usize =
    2 * (4 + FHSIZE) + 2 * (4 + NAME_DECODE_BYTES_MAX) + SATTR_BYTES_MAX;

/// Four words with their discriminants, one of them a size, and two times.
const SATTR_BYTES_MAX: usize = 3 * 8 + 12 + 2 * 12;

const _: () = assert!(PATH_DECODE_BYTES_MAX <= NAME_DECODE_BYTES_MAX, "else SYMLINK is larger");
