//! The one table from refusals to the statuses of NFS and of MOUNT.

use model::Refusal;
use nfs_wire::mount::Mountstat3;
use nfs_wire::nfs3::Nfsstat3;

/// What an NFS client is told (RFC 1813 section 2.6).
pub(crate) fn nfs_status(refusal: Refusal) -> Nfsstat3 {
    match refusal {
        Refusal::NotPermitted => Nfsstat3::Perm,
        Refusal::NotFound => Nfsstat3::Noent,
        Refusal::Access => Nfsstat3::Acces,
        Refusal::Exists => Nfsstat3::Exist,
        Refusal::NotDirectory => Nfsstat3::Notdir,
        Refusal::IsDirectory => Nfsstat3::Isdir,
        Refusal::Invalid => Nfsstat3::Inval,
        Refusal::FileTooBig => Nfsstat3::Fbig,
        Refusal::NoSpace => Nfsstat3::Nospc,
        Refusal::QuotaExceeded => Nfsstat3::Dquot,
        Refusal::ReadOnly => Nfsstat3::Rofs,
        Refusal::TooManyLinks => Nfsstat3::Mlink,
        Refusal::NameTooLong => Nfsstat3::Nametoolong,
        Refusal::NotEmpty => Nfsstat3::Notempty,
        Refusal::CrossVolume => Nfsstat3::Xdev,
        Refusal::Stale => Nfsstat3::Stale,
        Refusal::BadHandle => Nfsstat3::Badhandle,
        Refusal::NotSync => Nfsstat3::NotSync,
        Refusal::BadCookie => Nfsstat3::BadCookie,
        Refusal::NotSupported => Nfsstat3::Notsupp,
        Refusal::TooSmall => Nfsstat3::Toosmall,
        Refusal::BadType => Nfsstat3::Badtype,
        // The ports try again themselves; what still comes through may be sent again.
        Refusal::Busy | Refusal::Conflict | Refusal::Fenced => Nfsstat3::Jukebox,
        Refusal::Fault | Refusal::Unknown => Nfsstat3::Io,
    }
}

/// What the client of a MNT is told (RFC 1813 appendix I); there are fewer words for it.
pub(crate) fn mount_status(refusal: Refusal) -> Mountstat3 {
    match refusal {
        Refusal::NotPermitted => Mountstat3::Perm,
        Refusal::NotFound | Refusal::Stale => Mountstat3::Noent,
        Refusal::Access => Mountstat3::Acces,
        Refusal::NotDirectory => Mountstat3::Notdir,
        Refusal::Invalid => Mountstat3::Inval,
        Refusal::NameTooLong => Mountstat3::Nametoolong,
        Refusal::NotSupported => Mountstat3::Notsupp,
        Refusal::Fault => Mountstat3::Io,
        Refusal::Exists
        | Refusal::IsDirectory
        | Refusal::FileTooBig
        | Refusal::NoSpace
        | Refusal::QuotaExceeded
        | Refusal::ReadOnly
        | Refusal::TooManyLinks
        | Refusal::NotEmpty
        | Refusal::CrossVolume
        | Refusal::BadHandle
        | Refusal::NotSync
        | Refusal::BadCookie
        | Refusal::TooSmall
        | Refusal::BadType
        | Refusal::Busy
        | Refusal::Conflict
        | Refusal::Fenced
        | Refusal::Unknown => Mountstat3::Serverfault,
    }
}
