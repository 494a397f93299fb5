//! The results of any procedure in one type: what a client decodes, and a replay cache keeps.
//!
//! A handler need not go through it: each typed result is a [`Body`] of its own.

use bytes::{Bytes, BytesMut};

use super::{
    AccessResult, CommitResult, CreateResult, FsinfoResult, FsstatResult, GetattrResult,
    LinkResult, LookupResult, Nfsstat3, Outcome, PathconfResult, Procedure, ReadResult,
    ReaddirResult, ReaddirplusResult, ReadlinkResult, RemoveResult, RenameResult, SetattrResult,
    WriteResult,
};
use crate::message::Body;
use crate::xdr::{Decode, Malformed, Reader};

/// The results of a call, by procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the procedure of its name")]
pub enum Reply {
    Null,
    Getattr(GetattrResult),
    Setattr(SetattrResult),
    Lookup(LookupResult),
    Access(AccessResult),
    Readlink(ReadlinkResult),
    Read(ReadResult),
    Write(WriteResult),
    Create(CreateResult),
    Mkdir(CreateResult),
    Symlink(CreateResult),
    Mknod(CreateResult),
    Remove(RemoveResult),
    Rmdir(RemoveResult),
    Rename(RenameResult),
    Link(LinkResult),
    Readdir(ReaddirResult),
    Readdirplus(ReaddirplusResult),
    Fsstat(FsstatResult),
    Fsinfo(FsinfoResult),
    Pathconf(PathconfResult),
    Commit(CommitResult),
}

impl Reply {
    /// Decodes the results of `procedure`.
    pub fn decode(procedure: Procedure, results: &Bytes) -> Result<Self, Malformed> {
        let results = &mut Reader::new(results);
        Ok(match procedure {
            Procedure::Null => Self::Null,
            Procedure::Getattr => Self::Getattr(Decode::take(results)?),
            Procedure::Setattr => Self::Setattr(Decode::take(results)?),
            Procedure::Lookup => Self::Lookup(Decode::take(results)?),
            Procedure::Access => Self::Access(Decode::take(results)?),
            Procedure::Readlink => Self::Readlink(Decode::take(results)?),
            Procedure::Read => Self::Read(Decode::take(results)?),
            Procedure::Write => Self::Write(Decode::take(results)?),
            Procedure::Create => Self::Create(Decode::take(results)?),
            Procedure::Mkdir => Self::Mkdir(Decode::take(results)?),
            Procedure::Symlink => Self::Symlink(Decode::take(results)?),
            Procedure::Mknod => Self::Mknod(Decode::take(results)?),
            Procedure::Remove => Self::Remove(Decode::take(results)?),
            Procedure::Rmdir => Self::Rmdir(Decode::take(results)?),
            Procedure::Rename => Self::Rename(Decode::take(results)?),
            Procedure::Link => Self::Link(Decode::take(results)?),
            Procedure::Readdir => Self::Readdir(Decode::take(results)?),
            Procedure::Readdirplus => Self::Readdirplus(Decode::take(results)?),
            Procedure::Fsstat => Self::Fsstat(Decode::take(results)?),
            Procedure::Fsinfo => Self::Fsinfo(Decode::take(results)?),
            Procedure::Pathconf => Self::Pathconf(Decode::take(results)?),
            Procedure::Commit => Self::Commit(Decode::take(results)?),
        })
    }

    /// Whose results these are.
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

    /// Why the procedure failed; `None` if it did not.
    pub fn failure(&self) -> Option<Nfsstat3> {
        self.as_outcome().and_then(Outcome::failure)
    }

    /// What all results have in common; NULL has none.
    fn as_outcome(&self) -> Option<&dyn Outcome> {
        Some(match self {
            Self::Null => return None,
            Self::Getattr(result) => result,
            Self::Setattr(result) => result,
            Self::Lookup(result) => result,
            Self::Access(result) => result,
            Self::Readlink(result) => result,
            Self::Read(result) => result,
            Self::Write(result) => result,
            Self::Create(result)
            | Self::Mkdir(result)
            | Self::Symlink(result)
            | Self::Mknod(result) => result,
            Self::Remove(result) | Self::Rmdir(result) => result,
            Self::Rename(result) => result,
            Self::Link(result) => result,
            Self::Readdir(result) => result,
            Self::Readdirplus(result) => result,
            Self::Fsstat(result) => result,
            Self::Fsinfo(result) => result,
            Self::Pathconf(result) => result,
            Self::Commit(result) => result,
        })
    }
}

impl Body for Reply {
    fn put_head(&self, out: &mut BytesMut) {
        if let Some(outcome) = self.as_outcome() {
            outcome.put_head(out);
        }
    }

    fn payload(&self) -> Bytes {
        self.as_outcome().map_or_else(Bytes::new, |outcome| outcome.payload())
    }
}
