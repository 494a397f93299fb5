//! What clients see of an object (RFC 1813 `fattr3`, in our words).

use serde::{Deserialize, Serialize};

use crate::{ObjectId, Timestamp};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A regular file: the only kind with data and an owner.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// Major and minor number of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Driver.
    pub major: u32,
    /// Unit.
    pub minor: u32,
}

/// All attributes of one object at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Which object.
    pub object: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Permission, setuid, setgid and sticky bits (0o7777).
    pub mode: u32,
    /// Names that lead to it (for a directory: 2 and its subdirectories).
    pub links: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Bytes from start to end.
    pub size: u64,
    /// Bytes of disk in use.
    pub used: u64,
    /// For devices.
    pub device: Device,
    /// Last access; reads do not move it.
    pub atime: Timestamp,
    /// Last change of data.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
}

/// The attributes of just before a change that weak cache consistency compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WccBefore {
    /// Bytes from start to end.
    pub size: u64,
    /// Last change of data.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
}

/// Before and after of one atomic change (RFC 1813 `wcc_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wcc {
    /// Just before, when known to belong to the same change.
    pub before: Option<WccBefore>,
    /// Just after, or as it stands when nothing was changed.
    pub after: Option<Attributes>,
}

impl From<&Attributes> for WccBefore {
    fn from(attributes: &Attributes) -> Self {
        Self { size: attributes.size, mtime: attributes.mtime, ctime: attributes.ctime }
    }
}
