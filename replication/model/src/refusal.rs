//! Why something was not done, named by what the asker does next.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An answer other than success. Each door translates them in one exhaustive table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// Only the owner (or the superuser) may do that.
    #[error("not permitted")]
    NotPermitted,
    /// No such name.
    #[error("no such name")]
    NotFound,
    /// The mode bits do not allow it, or the export does not.
    #[error("access denied")]
    Access,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// A name was looked for in what is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// That can't be done to a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The arguments make no sense together.
    #[error("invalid argument")]
    Invalid,
    /// Beyond the largest file size.
    #[error("file too large")]
    FileTooBig,
    /// The disk is full, down to the reserve.
    #[error("no space left")]
    NoSpace,
    /// The quota is used up.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// The export is read-only.
    #[error("read-only export")]
    ReadOnly,
    /// The file has as many names as it can have.
    #[error("too many links")]
    TooManyLinks,
    /// Longer than a name may be.
    #[error("name too long")]
    NameTooLong,
    /// The directory has names in it.
    #[error("directory not empty")]
    NotEmpty,
    /// Both names must be in one volume.
    #[error("cross-volume rename or link")]
    CrossVolume,
    /// The object is gone: do not ask again.
    #[error("stale: the object is gone")]
    Stale,
    /// The handle is not one of ours.
    #[error("bad handle")]
    BadHandle,
    /// The guard's ctime is not the object's.
    #[error("not in sync: the guard does not match")]
    NotSync,
    /// The cookie's verifier is not this directory's: list from the start.
    #[error("bad cookie")]
    BadCookie,
    /// Not something we do.
    #[error("not supported")]
    NotSupported,
    /// Not one entry fits into what the asker can take.
    #[error("buffer too small")]
    TooSmall,
    /// No object can be of that type.
    #[error("bad type")]
    BadType,
    /// Ask again later: ownership or leadership is in motion.
    #[error("busy, ask again")]
    Busy,
    /// The inode changed since it was looked at: look and propose again.
    #[error("the object changed meanwhile")]
    Conflict,
    /// Proposed under a view or epoch that is over: look it up and propose again.
    #[error("proposed under an older reign")]
    Fenced,
    /// The medium failed, or the appliance is stopping: what was asked is not done.
    #[error("input/output fault")]
    Fault,
    /// Whether it was done, or still will be, is not known: only the same call under the same key
    /// may be sent again, so the client's connection is closed instead of an answer.
    #[error("whether it was done is not known")]
    Unknown,
}
