//! Arguments of the 22 procedures.
//!
//! Invariant: a value of [`Args`] is complete: every bit of the call that RFC 1813 defines is in
//! it, and `count` of a WRITE, which must equal the length of its data, is the length of its data.
//!
//! Absent on purpose: anything that needs to know the object: permission, types, legal names.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    AccessBits, Cookieverf3, Createverf3, FileHandle, Ftype3, Name, Nfstime3, Path, Procedure,
    Sattr3, Specdata3, StableHow,
};
use crate::message::Body;
use crate::rpc::BadArgs;
use crate::xdr::{Decode, Encode, Malformed, Reader, put_length, wire_struct};

#[cfg(test)]
mod tests;

/// A name in a directory (`diropargs3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirOp {
    /// The directory.
    pub dir: FileHandle,
    /// The name in it.
    pub name: Name,
}

wire_struct!(DirOp { dir, name });

/// Arguments of GETATTR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetattrArgs {
    /// Whose attributes.
    pub object: FileHandle,
}

wire_struct!(GetattrArgs { object });

/// Arguments of SETATTR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetattrArgs {
    /// Whose attributes.
    pub object: FileHandle,
    /// What to set.
    pub new_attributes: Sattr3,
    /// Do it only if this is the object's ctime; NOT_SYNC otherwise.
    pub guard: Option<Nfstime3>,
}

wire_struct!(SetattrArgs { object, new_attributes, guard });

/// Arguments of LOOKUP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupArgs {
    /// What to find.
    pub what: DirOp,
}

wire_struct!(LookupArgs { what });

/// Arguments of ACCESS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessArgs {
    /// What is to be accessed.
    pub object: FileHandle,
    /// How: only these bits are asked for.
    pub access: AccessBits,
}

wire_struct!(AccessArgs { object, access });

/// Arguments of READLINK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadlinkArgs {
    /// The symlink.
    pub symlink: FileHandle,
}

wire_struct!(ReadlinkArgs { symlink });

/// Arguments of READ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadArgs {
    /// What to read.
    pub file: FileHandle,
    /// Where to start, in bytes.
    pub offset: u64,
    /// How much at most, in bytes.
    pub count: u32,
}

wire_struct!(ReadArgs { file, offset, count });

/// Arguments of WRITE. `count` of the protocol is the length of `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteArgs {
    /// What to write to.
    pub file: FileHandle,
    /// Where to start, in bytes.
    pub offset: u64,
    /// What must be durable before the answer.
    pub stable: StableHow,
    /// The bytes, shared with the record they came in.
    pub data: Bytes,
}

impl Body for WriteArgs {
    fn put_head(&self, out: &mut BytesMut) {
        self.file.put(out);
        self.offset.put(out);
        put_length(out, self.data.len());
        self.stable.put(out);
        put_length(out, self.data.len());
    }

    fn payload(&self) -> Bytes {
        self.data.clone()
    }
}

impl Decode for WriteArgs {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let file = FileHandle::take(reader)?;
        let offset = reader.u64()?;
        let count = reader.u32()?;
        let stable = StableHow::take(reader)?;
        let data = take_counted(reader, count)?;
        Ok(Self { file, offset, stable, data })
    }
}

/// Data of which the length has been told before, as READ and WRITE do.
pub(super) fn take_counted(reader: &mut Reader<'_>, count: u32) -> Result<Bytes, Malformed> {
    let data = reader.opaque(usize::MAX)?;
    let length = u32::try_from(data.len()).expect("its length was a word");
    if count != length {
        return Err(Malformed::CountDiffers { count, data: length });
    }
    Ok(data)
}

/// How to create a file (`createhow3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateHow {
    /// UNCHECKED: an existing file will do.
    Unchecked(Sattr3),
    /// GUARDED: an existing file is EXIST.
    Guarded(Sattr3),
    /// EXCLUSIVE: an existing file is EXIST, unless this verifier created it.
    Exclusive(Createverf3),
}

impl Encode for CreateHow {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Unchecked(attributes) => {
                out.put_u32(0);
                attributes.put(out);
            }
            Self::Guarded(attributes) => {
                out.put_u32(1);
                attributes.put(out);
            }
            Self::Exclusive(verifier) => {
                out.put_u32(2);
                verifier.put(out);
            }
        }
    }
}

impl Decode for CreateHow {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u32()? {
            0 => Sattr3::take(reader).map(Self::Unchecked),
            1 => Sattr3::take(reader).map(Self::Guarded),
            2 => Createverf3::take(reader).map(Self::Exclusive),
            value => Err(Malformed::NoSuchValue { of: "createmode3", value }),
        }
    }
}

/// Arguments of CREATE. `where` of the protocol is `place`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateArgs {
    /// The name to create.
    pub place: DirOp,
    /// What if it exists, and which attributes if not.
    pub how: CreateHow,
}

wire_struct!(CreateArgs { place, how });

/// Arguments of MKDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MkdirArgs {
    /// The name to create.
    pub place: DirOp,
    /// Of the new directory.
    pub attributes: Sattr3,
}

wire_struct!(MkdirArgs { place, attributes });

/// Arguments of SYMLINK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymlinkArgs {
    /// The name to create.
    pub place: DirOp,
    /// Of the new symlink.
    pub attributes: Sattr3,
    /// Where it points.
    pub target: Path,
}

wire_struct!(SymlinkArgs { place, attributes, target });

/// What kind of special file to create (`mknoddata3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MknodData {
    /// A character device.
    Chr(Sattr3, Specdata3),
    /// A block device.
    Blk(Sattr3, Specdata3),
    /// A socket.
    Sock(Sattr3),
    /// A FIFO.
    Fifo(Sattr3),
    /// A file: not for MKNOD to create, BADTYPE.
    Reg,
    /// A directory: not for MKNOD to create, BADTYPE.
    Dir,
    /// A symlink: not for MKNOD to create, BADTYPE.
    Lnk,
}

impl MknodData {
    /// The discriminant.
    pub fn kind(&self) -> Ftype3 {
        match self {
            Self::Chr(..) => Ftype3::Chr,
            Self::Blk(..) => Ftype3::Blk,
            Self::Sock(_) => Ftype3::Sock,
            Self::Fifo(_) => Ftype3::Fifo,
            Self::Reg => Ftype3::Reg,
            Self::Dir => Ftype3::Dir,
            Self::Lnk => Ftype3::Lnk,
        }
    }
}

impl Encode for MknodData {
    fn put(&self, out: &mut BytesMut) {
        self.kind().put(out);
        match self {
            Self::Chr(attributes, device) | Self::Blk(attributes, device) => {
                attributes.put(out);
                device.put(out);
            }
            Self::Sock(attributes) | Self::Fifo(attributes) => attributes.put(out),
            Self::Reg | Self::Dir | Self::Lnk => {}
        }
    }
}

impl Decode for MknodData {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match Ftype3::take(reader)? {
            Ftype3::Chr => Self::Chr(Sattr3::take(reader)?, Specdata3::take(reader)?),
            Ftype3::Blk => Self::Blk(Sattr3::take(reader)?, Specdata3::take(reader)?),
            Ftype3::Sock => Self::Sock(Sattr3::take(reader)?),
            Ftype3::Fifo => Self::Fifo(Sattr3::take(reader)?),
            Ftype3::Reg => Self::Reg,
            Ftype3::Dir => Self::Dir,
            Ftype3::Lnk => Self::Lnk,
        })
    }
}

/// Arguments of MKNOD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MknodArgs {
    /// The name to create.
    pub place: DirOp,
    /// As what.
    pub what: MknodData,
}

wire_struct!(MknodArgs { place, what });

/// Arguments of REMOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveArgs {
    /// The name to remove.
    pub object: DirOp,
}

wire_struct!(RemoveArgs { object });

/// Arguments of RMDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RmdirArgs {
    /// The name to remove.
    pub object: DirOp,
}

wire_struct!(RmdirArgs { object });

/// Arguments of RENAME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenameArgs {
    /// The name that goes.
    pub from: DirOp,
    /// The name that comes, replacing what has it.
    pub to: DirOp,
}

wire_struct!(RenameArgs { from, to });

/// Arguments of LINK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkArgs {
    /// What gets another name.
    pub file: FileHandle,
    /// The other name.
    pub link: DirOp,
}

wire_struct!(LinkArgs { file, link });

/// Arguments of READDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaddirArgs {
    /// What to list.
    pub dir: FileHandle,
    /// After which entry to start; 0: with the first.
    pub cookie: u64,
    /// Came with the cookie; zeros with cookie 0.
    pub cookieverf: Cookieverf3,
    /// The limit of the reply: [`PageLimits::readdir`](super::PageLimits::readdir).
    pub count: u32,
}

wire_struct!(ReaddirArgs { dir, cookie, cookieverf, count });

/// Arguments of READDIRPLUS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaddirplusArgs {
    /// What to list.
    pub dir: FileHandle,
    /// After which entry to start; 0: with the first.
    pub cookie: u64,
    /// Came with the cookie; zeros with cookie 0.
    pub cookieverf: Cookieverf3,
    /// The limit without attributes and handles, see
    /// [`PageLimits::readdirplus`](super::PageLimits::readdirplus).
    pub dircount: u32,
    /// The limit of the reply.
    pub maxcount: u32,
}

wire_struct!(ReaddirplusArgs { dir, cookie, cookieverf, dircount, maxcount });

/// Arguments of FSSTAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsstatArgs {
    /// Any object of the volume.
    pub fsroot: FileHandle,
}

wire_struct!(FsstatArgs { fsroot });

/// Arguments of FSINFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsinfoArgs {
    /// Any object of the volume.
    pub fsroot: FileHandle,
}

wire_struct!(FsinfoArgs { fsroot });

/// Arguments of PATHCONF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathconfArgs {
    /// Any object of the volume.
    pub object: FileHandle,
}

wire_struct!(PathconfArgs { object });

/// Arguments of COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitArgs {
    /// What is to become durable.
    pub file: FileHandle,
    /// From where, in bytes.
    pub offset: u64,
    /// How much, in bytes; 0: to the end.
    pub count: u32,
}

wire_struct!(CommitArgs { file, offset, count });

/// The arguments of a call, by procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the procedure of its name")]
pub enum Args {
    Null,
    Getattr(GetattrArgs),
    Setattr(SetattrArgs),
    Lookup(LookupArgs),
    Access(AccessArgs),
    Readlink(ReadlinkArgs),
    Read(ReadArgs),
    Write(WriteArgs),
    Create(CreateArgs),
    Mkdir(MkdirArgs),
    Symlink(SymlinkArgs),
    Mknod(MknodArgs),
    Remove(RemoveArgs),
    Rmdir(RmdirArgs),
    Rename(RenameArgs),
    Link(LinkArgs),
    Readdir(ReaddirArgs),
    Readdirplus(ReaddirplusArgs),
    Fsstat(FsstatArgs),
    Fsinfo(FsinfoArgs),
    Pathconf(PathconfArgs),
    Commit(CommitArgs),
}

impl Args {
    /// Decodes the arguments of procedure number `procedure`, as a call has them.
    pub fn decode(procedure: u32, args: &Bytes) -> Result<Self, BadArgs> {
        let procedure = Procedure::from_code(procedure).ok_or(BadArgs::UnknownProcedure)?;
        Ok(Self::take(procedure, &mut Reader::new(args))?)
    }

    fn take(procedure: Procedure, args: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match procedure {
            Procedure::Null => Self::Null,
            Procedure::Getattr => Self::Getattr(Decode::take(args)?),
            Procedure::Setattr => Self::Setattr(Decode::take(args)?),
            Procedure::Lookup => Self::Lookup(Decode::take(args)?),
            Procedure::Access => Self::Access(Decode::take(args)?),
            Procedure::Readlink => Self::Readlink(Decode::take(args)?),
            Procedure::Read => Self::Read(Decode::take(args)?),
            Procedure::Write => Self::Write(Decode::take(args)?),
            Procedure::Create => Self::Create(Decode::take(args)?),
            Procedure::Mkdir => Self::Mkdir(Decode::take(args)?),
            Procedure::Symlink => Self::Symlink(Decode::take(args)?),
            Procedure::Mknod => Self::Mknod(Decode::take(args)?),
            Procedure::Remove => Self::Remove(Decode::take(args)?),
            Procedure::Rmdir => Self::Rmdir(Decode::take(args)?),
            Procedure::Rename => Self::Rename(Decode::take(args)?),
            Procedure::Link => Self::Link(Decode::take(args)?),
            Procedure::Readdir => Self::Readdir(Decode::take(args)?),
            Procedure::Readdirplus => Self::Readdirplus(Decode::take(args)?),
            Procedure::Fsstat => Self::Fsstat(Decode::take(args)?),
            Procedure::Fsinfo => Self::Fsinfo(Decode::take(args)?),
            Procedure::Pathconf => Self::Pathconf(Decode::take(args)?),
            Procedure::Commit => Self::Commit(Decode::take(args)?),
        })
    }

    /// Whose arguments these are.
    pub fn procedure(&self) -> Procedure {
        match self {
            Self::Null => Procedure::Null,
            Self::Getattr(_) => Procedure::Getattr,
            Self::Setattr(_) => Procedure::Setattr,
            Self::Lookup(_) => Procedure::Lookup,
            Self::Access(_) => Procedure::Access,
            Self::Readlink(_) => Procedure::Readlink,
            Self::Read(_) => Procedure::Read,
            Self::Write(_) => Procedure::Write,
            Self::Create(_) => Procedure::Create,
            Self::Mkdir(_) => Procedure::Mkdir,
            Self::Symlink(_) => Procedure::Symlink,
            Self::Mknod(_) => Procedure::Mknod,
            Self::Remove(_) => Procedure::Remove,
            Self::Rmdir(_) => Procedure::Rmdir,
            Self::Rename(_) => Procedure::Rename,
            Self::Link(_) => Procedure::Link,
            Self::Readdir(_) => Procedure::Readdir,
            Self::Readdirplus(_) => Procedure::Readdirplus,
            Self::Fsstat(_) => Procedure::Fsstat,
            Self::Fsinfo(_) => Procedure::Fsinfo,
            Self::Pathconf(_) => Procedure::Pathconf,
            Self::Commit(_) => Procedure::Commit,
        }
    }
}

impl Body for Args {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Null => {}
            Self::Getattr(args) => args.put(out),
            Self::Setattr(args) => args.put(out),
            Self::Lookup(args) => args.put(out),
            Self::Access(args) => args.put(out),
            Self::Readlink(args) => args.put(out),
            Self::Read(args) => args.put(out),
            Self::Write(args) => args.put_head(out),
            Self::Create(args) => args.put(out),
            Self::Mkdir(args) => args.put(out),
            Self::Symlink(args) => args.put(out),
            Self::Mknod(args) => args.put(out),
            Self::Remove(args) => args.put(out),
            Self::Rmdir(args) => args.put(out),
            Self::Rename(args) => args.put(out),
            Self::Link(args) => args.put(out),
            Self::Readdir(args) => args.put(out),
            Self::Readdirplus(args) => args.put(out),
            Self::Fsstat(args) => args.put(out),
            Self::Fsinfo(args) => args.put(out),
            Self::Pathconf(args) => args.put(out),
            Self::Commit(args) => args.put(out),
        }
    }

    fn payload(&self) -> Bytes {
        if let Self::Write(args) = self { args.payload() } else { Bytes::new() }
    }
}
