//! Results of the 22 procedures: what each has when it succeeds, and when it fails.
//!
//! Invariant: the `Ok` and the `Err` arm of a result carry exactly the attributes that RFC 1813
//! gives them; an attribute that could not be had is `None`, not left out.

use bytes::{BufMut, Bytes, BytesMut};

use super::args::take_counted;
use super::{
    AccessBits, Cookieverf3, Fattr3, FileHandle, Listing, ListingKind, Nfsstat3, Nfstime3,
    PATH_DECODE_BYTES_MAX, Plain, Plus, PostOpAttr, StableHow, WccData, Writeverf3,
};
use crate::message::Body;
use crate::xdr::{Decode, Encode, Malformed, Reader, put_length, wire_struct};

/// The result of a procedure that failed: why, and the attributes it still has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fail<A> {
    /// Why.
    pub status: Nfsstat3,
    /// Of the objects that RFC 1813 names for this procedure.
    pub attributes: A,
}

impl<A> Fail<A> {
    /// With attributes.
    pub fn new(status: Nfsstat3, attributes: A) -> Self {
        Self { status, attributes }
    }
}

/// With no attributes at all: before any object was found.
impl<A: Default> From<Nfsstat3> for Fail<A> {
    fn from(status: Nfsstat3) -> Self {
        Self { status, attributes: A::default() }
    }
}

impl<T: Body, A: Encode> Body for Result<T, Fail<A>> {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Ok(result) => {
                out.put_u32(NFS3_OK);
                result.put_head(out);
            }
            Err(fail) => {
                fail.status.put(out);
                fail.attributes.put(out);
            }
        }
    }

    fn payload(&self) -> Bytes {
        self.as_ref().map_or_else(|_| Bytes::new(), Body::payload)
    }
}

/// What the results of all procedures have in common.
pub trait Outcome: Body {
    /// Why the procedure failed; `None` if it did not.
    fn failure(&self) -> Option<Nfsstat3>;
}

impl<T: Body, A: Encode> Outcome for Result<T, Fail<A>> {
    fn failure(&self) -> Option<Nfsstat3> {
        self.as_ref().err().map(|fail| fail.status)
    }
}

impl<T: Decode, A: Decode> Decode for Result<T, Fail<A>> {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let status = reader.u32()?;
        if status == NFS3_OK {
            return T::take(reader).map(Ok);
        }
        let status = Nfsstat3::from_code(status)
            .ok_or(Malformed::NoSuchValue { of: "nfsstat3", value: status })?;
        Ok(Err(Fail { status, attributes: A::take(reader)? }))
    }
}

/// Result of GETATTR.
pub type GetattrResult = Result<Fattr3, Fail<()>>;

/// Result of SETATTR.
pub type SetattrResult = Result<WccData, Fail<WccData>>;

/// A LOOKUP that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupOk {
    /// What was found.
    pub object: FileHandle,
    /// Of what was found.
    pub obj_attributes: PostOpAttr,
    /// Of the directory.
    pub dir_attributes: PostOpAttr,
}

wire_struct!(LookupOk { object, obj_attributes, dir_attributes });

/// Result of LOOKUP; a failure has the attributes of the directory.
pub type LookupResult = Result<LookupOk, Fail<PostOpAttr>>;

/// An ACCESS that succeeded, whatever it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessOk {
    /// Of the object.
    pub obj_attributes: PostOpAttr,
    /// Those of the bits asked for that are granted.
    pub access: AccessBits,
}

wire_struct!(AccessOk { obj_attributes, access });

/// Result of ACCESS.
pub type AccessResult = Result<AccessOk, Fail<PostOpAttr>>;

/// A READLINK that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadlinkOk {
    /// Of the symlink.
    pub symlink_attributes: PostOpAttr,
    /// Where it points.
    pub data: Bytes,
}

impl Body for ReadlinkOk {
    fn put_head(&self, out: &mut BytesMut) {
        self.symlink_attributes.put(out);
        put_length(out, self.data.len());
    }

    fn payload(&self) -> Bytes {
        self.data.clone()
    }
}

impl Decode for ReadlinkOk {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let symlink_attributes = Decode::take(reader)?;
        let data = reader.opaque(PATH_DECODE_BYTES_MAX)?;
        Ok(Self { symlink_attributes, data })
    }
}

/// Result of READLINK.
pub type ReadlinkResult = Result<ReadlinkOk, Fail<PostOpAttr>>;

/// A READ that succeeded. `count` of the protocol is the length of `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOk {
    /// Of the file.
    pub file_attributes: PostOpAttr,
    /// Whether the file ends with the data.
    pub eof: bool,
    /// The bytes; goes out without being copied.
    pub data: Bytes,
}

impl Body for ReadOk {
    fn put_head(&self, out: &mut BytesMut) {
        self.file_attributes.put(out);
        put_length(out, self.data.len());
        self.eof.put(out);
        put_length(out, self.data.len());
    }

    fn payload(&self) -> Bytes {
        self.data.clone()
    }
}

impl Decode for ReadOk {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let file_attributes = Decode::take(reader)?;
        let count = reader.u32()?;
        let eof = reader.boolean()?;
        let data = take_counted(reader, count)?;
        Ok(Self { file_attributes, eof, data })
    }
}

/// Result of READ.
pub type ReadResult = Result<ReadOk, Fail<PostOpAttr>>;

/// A WRITE that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOk {
    /// Of the file.
    pub file_wcc: WccData,
    /// How much was written, in bytes.
    pub count: u32,
    /// What is durable now.
    pub committed: StableHow,
    /// Differs from that of a later COMMIT if this data may have been lost meanwhile.
    pub verf: Writeverf3,
}

wire_struct!(WriteOk { file_wcc, count, committed, verf });

/// Result of WRITE.
pub type WriteResult = Result<WriteOk, Fail<WccData>>;

/// A CREATE, MKDIR, SYMLINK or MKNOD that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOk {
    /// What was created.
    pub obj: Option<FileHandle>,
    /// Of what was created.
    pub obj_attributes: PostOpAttr,
    /// Of the directory.
    pub dir_wcc: WccData,
}

wire_struct!(CreateOk { obj, obj_attributes, dir_wcc });

/// Result of CREATE, MKDIR, SYMLINK and MKNOD; a failure has the attributes of the directory.
pub type CreateResult = Result<CreateOk, Fail<WccData>>;

/// Result of REMOVE and RMDIR: the attributes of the directory.
pub type RemoveResult = Result<WccData, Fail<WccData>>;

/// What a RENAME has in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RenameWcc {
    /// Of the directory that the name goes from.
    pub fromdir_wcc: WccData,
    /// Of the directory that it comes to.
    pub todir_wcc: WccData,
}

wire_struct!(RenameWcc { fromdir_wcc, todir_wcc });

/// Result of RENAME.
pub type RenameResult = Result<RenameWcc, Fail<RenameWcc>>;

/// What a LINK has in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkWcc {
    /// Of the file that gets another name.
    pub file_attributes: PostOpAttr,
    /// Of the directory of the other name.
    pub linkdir_wcc: WccData,
}

wire_struct!(LinkWcc { file_attributes, linkdir_wcc });

/// Result of LINK.
pub type LinkResult = Result<LinkWcc, Fail<LinkWcc>>;

/// A READDIR or a READDIRPLUS that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOk<K: ListingKind> {
    /// Of the directory.
    pub dir_attributes: PostOpAttr,
    /// Goes with the cookies of the entries.
    pub cookieverf: Cookieverf3,
    /// The entries.
    pub listing: Listing<K>,
}

impl<K: ListingKind> Body for ListOk<K> {
    fn put_head(&self, out: &mut BytesMut) {
        self.dir_attributes.put(out);
        self.cookieverf.put(out);
    }

    fn payload(&self) -> Bytes {
        self.listing.as_bytes().clone()
    }
}

impl<K: ListingKind> Decode for ListOk<K> {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            dir_attributes: Decode::take(reader)?,
            cookieverf: Cookieverf3::take(reader)?,
            listing: Listing::take(reader)?,
        })
    }
}

/// A READDIR that succeeded.
pub type ReaddirOk = ListOk<Plain>;

/// A READDIRPLUS that succeeded.
pub type ReaddirplusOk = ListOk<Plus>;

/// Result of READDIR.
pub type ReaddirResult = Result<ReaddirOk, Fail<PostOpAttr>>;

/// Result of READDIRPLUS.
pub type ReaddirplusResult = Result<ReaddirplusOk, Fail<PostOpAttr>>;

/// An FSSTAT that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsstatOk {
    /// Of the object asked about.
    pub obj_attributes: PostOpAttr,
    /// The size of the volume, in bytes.
    pub tbytes: u64,
    /// What is free, in bytes.
    pub fbytes: u64,
    /// What is free for this user, in bytes.
    pub abytes: u64,
    /// How many objects the volume may have.
    pub tfiles: u64,
    /// How many more it may have.
    pub ffiles: u64,
    /// How many more this user may have.
    pub afiles: u64,
    /// For how many seconds all this will hold; 0: not even one.
    pub invarsec: u32,
}

wire_struct!(FsstatOk { obj_attributes, tbytes, fbytes, abytes, tfiles, ffiles, afiles, invarsec });

/// Result of FSSTAT.
pub type FsstatResult = Result<FsstatOk, Fail<PostOpAttr>>;

/// An FSINFO that succeeded. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsinfoOk {
    /// Of the object asked about.
    pub obj_attributes: PostOpAttr,
    /// The largest READ.
    pub rtmax: u32,
    /// The best size of a READ.
    pub rtpref: u32,
    /// READ sizes should be multiples of this.
    pub rtmult: u32,
    /// The largest WRITE.
    pub wtmax: u32,
    /// The best size of a WRITE.
    pub wtpref: u32,
    /// WRITE sizes should be multiples of this.
    pub wtmult: u32,
    /// The best size of a READDIR.
    pub dtpref: u32,
    /// The largest file.
    pub maxfilesize: u64,
    /// How fine times are.
    pub time_delta: Nfstime3,
    /// `FSF3_` bits: [`FSF3_LINK`] and so on.
    pub properties: u32,
}

wire_struct!(FsinfoOk {
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
    properties
});

/// Hard links are possible.
pub const FSF3_LINK: u32 = 0x01;
/// Symlinks are possible.
pub const FSF3_SYMLINK: u32 = 0x02;
/// PATHCONF says the same of every object.
pub const FSF3_HOMOGENEOUS: u32 = 0x08;
/// Times can be set by SETATTR.
pub const FSF3_CANSETTIME: u32 = 0x10;

/// Result of FSINFO.
pub type FsinfoResult = Result<FsinfoOk, Fail<PostOpAttr>>;

/// A PATHCONF that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathconfOk {
    /// Of the object asked about.
    pub obj_attributes: PostOpAttr,
    /// How many hard links an object may have.
    pub linkmax: u32,
    /// How long a name may be, in bytes.
    pub name_max: u32,
    /// Longer names are refused, not cut off.
    pub no_trunc: bool,
    /// Only root may give an object away.
    pub chown_restricted: bool,
    /// Case does not matter in names.
    pub case_insensitive: bool,
    /// Case is kept in names.
    pub case_preserving: bool,
}

wire_struct!(PathconfOk {
    obj_attributes,
    linkmax,
    name_max,
    no_trunc,
    chown_restricted,
    case_insensitive,
    case_preserving
});

/// Result of PATHCONF.
pub type PathconfResult = Result<PathconfOk, Fail<PostOpAttr>>;

/// A COMMIT that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOk {
    /// Of the file.
    pub file_wcc: WccData,
    /// If it differs from that of a WRITE, the data of that WRITE must be sent again.
    pub verf: Writeverf3,
}

wire_struct!(CommitOk { file_wcc, verf });

/// Result of COMMIT.
pub type CommitResult = Result<CommitOk, Fail<WccData>>;

/// The discriminant of the other arm than [`Nfsstat3`].
const NFS3_OK: u32 = 0;
