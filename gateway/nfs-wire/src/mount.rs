//! MOUNT version 3 (RFC 1813, appendix I): gives a client the handle of an export's root.
//!
//! Invariant: lists that come in are as long as their bytes, never as long as they claim.
//!
//! Absent on purpose: which exports there are and who may mount them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::Body;
use crate::nfs3::{FileHandle, Name, Path};
use crate::rpc::{AuthFlavor, BadArgs};
use crate::xdr::{Decode, Encode, Malformed, Reader, put_length, wire_enum, wire_struct};

#[cfg(test)]
mod tests;

/// The RPC program number of MOUNT.
pub const PROGRAM: u32 = 100_005;

/// The version of the program spoken here.
pub const VERSION: u32 = 3;

wire_enum! {
    /// The procedures of MOUNT v3.
    pub enum Procedure as "MOUNT v3 procedure" {
        Null = 0, "NULL";
        Mnt = 1, "MNT";
        Dump = 2, "DUMP";
        Umnt = 3, "UMNT";
        Umntall = 4, "UMNTALL";
        Export = 5, "EXPORT";
    }
}

wire_enum! {
    /// Why a MNT failed (`mountstat3`); MNT3_OK is the other arm of the result.
    pub enum Mountstat3 as "mountstat3" {
        Perm = 1, "MNT3ERR_PERM";
        Noent = 2, "MNT3ERR_NOENT";
        Io = 5, "MNT3ERR_IO";
        Acces = 13, "MNT3ERR_ACCES";
        Notdir = 20, "MNT3ERR_NOTDIR";
        Inval = 22, "MNT3ERR_INVAL";
        Nametoolong = 63, "MNT3ERR_NAMETOOLONG";
        Notsupp = 10004, "MNT3ERR_NOTSUPP";
        Serverfault = 10006, "MNT3ERR_SERVERFAULT";
    }
}

/// The arguments of a call, by procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Args {
    /// Nothing.
    Null,
    /// The directory to mount; longer than [`DIRPATH_BYTES_MAX`] is NAMETOOLONG.
    Mnt(Path),
    /// Nothing: who has mounted what.
    Dump,
    /// The directory that this client has unmounted.
    Umnt(Path),
    /// Nothing: this client has unmounted all.
    Umntall,
    /// Nothing: what may be mounted by whom.
    Export,
}

impl Args {
    /// Decodes the arguments of procedure number `procedure`, as a call has them.
    pub fn decode(procedure: u32, args: &Bytes) -> Result<Self, BadArgs> {
        let procedure = Procedure::from_code(procedure).ok_or(BadArgs::UnknownProcedure)?;
        let args = &mut Reader::new(args);
        Ok(match procedure {
            Procedure::Null => Self::Null,
            Procedure::Mnt => Self::Mnt(Decode::take(args)?),
            Procedure::Dump => Self::Dump,
            Procedure::Umnt => Self::Umnt(Decode::take(args)?),
            Procedure::Umntall => Self::Umntall,
            Procedure::Export => Self::Export,
        })
    }

    /// Whose arguments these are.
    pub fn procedure(&self) -> Procedure {
        match self {
            Self::Null => Procedure::Null,
            Self::Mnt(_) => Procedure::Mnt,
            Self::Dump => Procedure::Dump,
            Self::Umnt(_) => Procedure::Umnt,
            Self::Umntall => Procedure::Umntall,
            Self::Export => Procedure::Export,
        }
    }
}

impl Body for Args {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Null | Self::Dump | Self::Umntall | Self::Export => {}
            Self::Mnt(directory) | Self::Umnt(directory) => directory.put(out),
        }
    }
}

/// A MNT that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MntOk {
    /// Of the directory that was asked for.
    pub handle: FileHandle,
    /// What the client may authenticate with, best first; at most [`FLAVORS_MAX`].
    pub flavors: Vec<AuthFlavor>,
}

impl Encode for MntOk {
    fn put(&self, out: &mut BytesMut) {
        self.handle.put(out);
        put_length(out, self.flavors.len());
        self.flavors.iter().for_each(|flavor| flavor.put(out));
    }
}

impl Decode for MntOk {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let handle = FileHandle::take(reader)?;
        let flavors = (0..reader.array_items(FLAVORS_MAX, 4)?)
            .map(|_| AuthFlavor::take(reader))
            .collect::<Result<_, _>>()?;
        Ok(Self { handle, flavors })
    }
}

/// Who has mounted what (`mountbody`): a hint, since clients go without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The client.
    pub hostname: Name,
    /// What it mounted.
    pub directory: Path,
}

wire_struct!(MountEntry { hostname, directory });

/// What may be mounted by whom (`exportnode`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportEntry {
    /// The directory to name in a MNT.
    pub directory: Path,
    /// Hosts or networks; none: everybody.
    pub groups: Vec<Name>,
}

impl Encode for ExportEntry {
    fn put(&self, out: &mut BytesMut) {
        self.directory.put(out);
        put_list(out, &self.groups);
    }
}

impl Decode for ExportEntry {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { directory: Path::take(reader)?, groups: take_list(reader)? })
    }
}

/// The results of a call, by procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Null,
    /// The handle of the directory, or why there is none.
    Mnt(Result<MntOk, Mountstat3>),
    /// Who has mounted what.
    Dump(Vec<MountEntry>),
    /// Nothing.
    Umnt,
    /// Nothing.
    Umntall,
    /// What may be mounted by whom.
    Export(Vec<ExportEntry>),
}

impl Reply {
    /// Decodes the results of `procedure`.
    pub fn decode(procedure: Procedure, results: &Bytes) -> Result<Self, Malformed> {
        let results = &mut Reader::new(results);
        Ok(match procedure {
            Procedure::Null => Self::Null,
            Procedure::Mnt => Self::Mnt(take_mnt(results)?),
            Procedure::Dump => Self::Dump(take_list(results)?),
            Procedure::Umnt => Self::Umnt,
            Procedure::Umntall => Self::Umntall,
            Procedure::Export => Self::Export(take_list(results)?),
        })
    }

    /// Whose results these are.
    pub fn procedure(&self) -> Procedure {
        match self {
            Self::Null => Procedure::Null,
            Self::Mnt(_) => Procedure::Mnt,
            Self::Dump(_) => Procedure::Dump,
            Self::Umnt => Procedure::Umnt,
            Self::Umntall => Procedure::Umntall,
            Self::Export(_) => Procedure::Export,
        }
    }
}

impl Body for Reply {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Null | Self::Umnt | Self::Umntall => {}
            Self::Mnt(Ok(mounted)) => {
                out.put_u32(MNT3_OK);
                mounted.put(out);
            }
            Self::Mnt(Err(status)) => status.put(out),
            Self::Dump(entries) => put_list(out, entries),
            Self::Export(entries) => put_list(out, entries),
        }
    }
}

fn take_mnt(reader: &mut Reader<'_>) -> Result<Result<MntOk, Mountstat3>, Malformed> {
    let status = reader.u32()?;
    if status == MNT3_OK {
        return MntOk::take(reader).map(Ok);
    }
    Mountstat3::from_code(status)
        .map(Err)
        .ok_or(Malformed::NoSuchValue { of: "mountstat3", value: status })
}

/// A linked list of the protocol: a mark in front of each entry, and one that ends it.
pub(crate) fn put_list<T: Encode>(out: &mut BytesMut, entries: &[T]) {
    for entry in entries {
        true.put(out);
        entry.put(out);
    }
    false.put(out);
}

pub(crate) fn take_list<T: Decode>(reader: &mut Reader<'_>) -> Result<Vec<T>, Malformed> {
    // No capacity is reserved: the list tells no length, and grows by bytes that are there.
    let mut entries = Vec::new();
    while reader.boolean()? {
        entries.push(T::take(reader)?);
    }
    Ok(entries)
}

/// The protocol's limit of a directory's path, `MNTPATHLEN`. A longer one decodes, up to
/// [`PATH_DECODE_BYTES_MAX`](crate::nfs3::PATH_DECODE_BYTES_MAX).
pub const DIRPATH_BYTES_MAX: usize = 1024;

/// How many flavors a MNT may answer; there are a dozen in all.
pub const FLAVORS_MAX: usize = 64;

const MNT3_OK: u32 = 0;
