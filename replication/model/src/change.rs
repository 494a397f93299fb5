//! Changes of names and attributes: what a door asks, what an entry of a volume's group carries,
//! and what the asker gets back. Decided in apply, against the state the entry meets.

use serde::{Deserialize, Serialize};

use crate::{
    ApplianceId, Device, Identity, Inode, Mark, Name, ObjectId, RequestKey, Timestamp, WccBefore,
};

/// A time to set (RFC 1813 `set_atime`, `set_mtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// To the time of the change; who may write may do it.
    ToServerTime,
    /// To this; only the owner may do it.
    To(Timestamp),
}

/// Attributes to set; what is absent stays (RFC 1813 `sattr3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAttributes {
    /// Bits below 0o10000.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size; a data operation, never part of an entry.
    pub size: Option<u64>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
}

/// How CREATE treats a name that is taken (RFC 1813 section 3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateHow {
    /// Takes what is there.
    Unchecked(SetAttributes),
    /// Refuses.
    Guarded(SetAttributes),
    /// Takes it if this very verifier made it, refuses otherwise.
    Exclusive([u8; 8]),
}

/// What MKNOD makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

/// One change of names or attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Make a regular file, owned by `owner`.
    Create {
        /// Where.
        dir: ObjectId,
        /// Under which name.
        name: Name,
        /// What if the name is taken.
        how: CreateHow,
        /// The appliance that will own it.
        owner: ApplianceId,
    },
    /// Make a directory.
    MakeDirectory {
        /// Where.
        dir: ObjectId,
        /// Under which name.
        name: Name,
        /// With these.
        set: SetAttributes,
    },
    /// Make a symbolic link.
    MakeSymlink {
        /// Where.
        dir: ObjectId,
        /// Under which name.
        name: Name,
        /// Pointing there; at most [`crate::SYMLINK_BYTES_MAX`] bytes.
        target: Box<[u8]>,
        /// With these.
        set: SetAttributes,
    },
    /// Make a special file.
    MakeNode {
        /// Where.
        dir: ObjectId,
        /// Under which name.
        name: Name,
        /// Which.
        node: NodeKind,
        /// With these.
        set: SetAttributes,
    },
    /// Take a name from anything but a directory.
    Remove {
        /// Where.
        dir: ObjectId,
        /// Which.
        name: Name,
    },
    /// Remove an empty directory.
    RemoveDirectory {
        /// Where.
        dir: ObjectId,
        /// Which.
        name: Name,
    },
    /// Move a name, over whatever has the new one.
    Rename {
        /// From this directory.
        from_dir: ObjectId,
        /// This name.
        from: Name,
        /// To this directory.
        to_dir: ObjectId,
        /// As this name.
        to: Name,
    },
    /// Give an object one more name.
    Link {
        /// Which object; no directory.
        object: ObjectId,
        /// Where.
        dir: ObjectId,
        /// As this name.
        name: Name,
    },
    /// Set attributes other than size.
    SetAttributes {
        /// Of which object.
        object: ObjectId,
        /// To what; `size` is not looked at.
        set: SetAttributes,
        /// Refuse (NOT_SYNC) unless the ctime is this (RFC 1813 `sattrguard3`).
        guard: Option<Timestamp>,
        /// Refuse (`Refusal::Conflict`) unless the inode's change count is this.
        expected_change: Option<u64>,
        /// The mark of the last data change, for a file's times.
        mark: Mark,
        /// The last ctime the owner gave out: the new one is later.
        ctime_floor: Timestamp,
    },
}

impl Change {
    /// The same change asked for by `identity` in the call `key`, at `now`.
    pub fn asked(self, identity: Identity, key: Option<RequestKey>, now: Timestamp) -> Asked {
        Asked { change: self, identity, key, now }
    }
}

/// A change with who asks, in which call, at what time: all that apply may look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What to change.
    pub change: Change,
    /// For whom.
    pub identity: Identity,
    /// In which call: the replay cache's key.
    pub key: Option<RequestKey>,
    /// The proposer's wall clock.
    pub now: Timestamp,
}

/// Before and after of one directory that a change touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryChange {
    /// Which.
    pub object: ObjectId,
    /// Just before.
    pub before: WccBefore,
    /// Just after.
    pub after: Inode,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The object made, taken, renamed, linked, changed or unlinked; with its inode if it lives on.
    pub object: ObjectId,
    /// Its inode after the change; `None` once its last name is gone.
    pub inode: Option<Inode>,
    /// Whether this change made it (CREATE of a name that was taken: `false`).
    pub created: bool,
    /// The first (or only) directory.
    pub dir: Option<DirectoryChange>,
    /// RENAME's target directory, if it is another one.
    pub to_dir: Option<DirectoryChange>,
    /// A file whose last name this change took: its data goes.
    pub removed: Option<ObjectId>,
}
