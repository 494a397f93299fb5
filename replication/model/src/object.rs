//! What the catalog keeps of an object, and how data's own times join in.

use serde::{Deserialize, Serialize};

use crate::{
    ApplianceId, Attributes, Cookie, Device, Epoch, Mark, ObjectId, ObjectKind, Timestamp,
};

/// The most names one file may have. Linux file systems allow 32 000 (ext4) to 65 535 (BTRFS).
pub const LINKS_MAX: u32 = 65_000;

/// Who may change a file's data and who has copies of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The recorded owner.
    pub owner: ApplianceId,
    /// How often it was handed over.
    pub epoch: Epoch,
    /// All appliances with a copy, in order of succession, the owner among them.
    pub replicas: Box<[ApplianceId]>,
    /// Those of them known to miss acknowledged data.
    pub stale: Box<[ApplianceId]>,
}

impl ObjectRecord {
    /// A new object's record: `owner` holds the only copy.
    pub fn owned_by(owner: ApplianceId) -> Self {
        Self { owner, epoch: Epoch::default(), replicas: Box::new([owner]), stale: Box::new([]) }
    }
}

/// Times in the catalog and the mark they were set at: a data change with a later mark outdates
/// `mtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Last access, as set.
    pub atime: Timestamp,
    /// Last change of data.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// The newest data change these times know of.
    pub mark: Mark,
}

/// What a data change left beside the data: its mark and the times it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Which change.
    pub mark: Mark,
    /// Its time.
    pub mtime: Timestamp,
    /// Its time, or later.
    pub ctime: Timestamp,
}

/// The kind-specific part of an inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InodeKind {
    /// A regular file; size and data are the owner's backing file's.
    File {
        /// Owner and copies.
        record: ObjectRecord,
        /// Whether a copy without a backing file is a fault (`true`) or an empty file.
        has_data: bool,
        /// The verifier of the EXCLUSIVE create that made it (RFC 1813 section 3.3.8).
        exclusive: Option<[u8; 8]>,
    },
    /// A directory.
    Directory {
        /// Where `..` leads; the root leads to itself.
        parent: ObjectId,
        /// Names in it.
        entries: u64,
        /// The cookie of the next name put into it.
        next_cookie: Cookie,
    },
    /// A symbolic link and where it points.
    Symlink {
        /// Any bytes.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

/// What the catalog knows of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// What it is.
    pub kind: InodeKind,
    /// Permission, setuid, setgid and sticky bits (0o7777).
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Names that lead to it (for a directory: 2 and its subdirectories).
    pub links: u32,
    /// Grows with every change of this inode: what a conditional change compares.
    pub change: u64,
    /// Catalog times.
    pub times: Times,
}

impl Inode {
    /// What it is, as clients see it.
    pub fn object_kind(&self) -> ObjectKind {
        match self.kind {
            InodeKind::File { .. } => ObjectKind::File,
            InodeKind::Directory { .. } => ObjectKind::Directory,
            InodeKind::Symlink { .. } => ObjectKind::Symlink,
            InodeKind::Fifo => ObjectKind::Fifo,
            InodeKind::Socket => ObjectKind::Socket,
            InodeKind::CharacterDevice(_) => ObjectKind::CharacterDevice,
            InodeKind::BlockDevice(_) => ObjectKind::BlockDevice,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, InodeKind::Directory { .. })
    }

    /// The owner's record, of a file.
    pub fn record(&self) -> Option<&ObjectRecord> {
        match &self.kind {
            InodeKind::File { record, .. } => Some(record),
            _ => None,
        }
    }

    /// Its times once the data's own stamp is taken into account: the catalog's hold until a data
    /// change with a later mark; then mtime is the stamp's, and ctime the larger of both.
    pub fn times_with(&self, stamp: Option<Stamp>) -> Times {
        let mut times = self.times;
        if let Some(stamp) = stamp {
            if stamp.mark > times.mark {
                times.mtime = stamp.mtime;
                times.mark = stamp.mark;
            }
            times.ctime = times.ctime.max(stamp.ctime);
        }
        times
    }

    /// All attributes, for an object whose data (if it has any) is `size` bytes long, takes `used`
    /// bytes of disk and was last stamped `stamp`. For other kinds than files the three do not
    /// matter.
    pub fn attributes(&self, object: ObjectId, data: DataFacts) -> Attributes {
        let (size, used) = match &self.kind {
            InodeKind::File { .. } => (data.size, data.used),
            InodeKind::Directory { entries, .. } => {
                let size = (1 + entries / ENTRIES_PER_BLOCK) * DIRECTORY_BLOCK_BYTES;
                (size, size)
            }
            InodeKind::Symlink { target } => (target.len() as u64, target.len() as u64),
            InodeKind::Fifo
            | InodeKind::Socket
            | InodeKind::CharacterDevice(_)
            | InodeKind::BlockDevice(_) => (0, 0),
        };
        let device = match self.kind {
            InodeKind::CharacterDevice(device) | InodeKind::BlockDevice(device) => device,
            _ => Device::default(),
        };
        let times = self.times_with(data.stamp);
        Attributes {
            object,
            kind: self.object_kind(),
            mode: self.mode,
            links: self.links,
            uid: self.uid,
            gid: self.gid,
            size,
            used,
            device,
            atime: times.atime,
            mtime: times.mtime,
            ctime: times.ctime,
        }
    }
}

/// What the owner's backing file says of an object's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// `st_size`.
    pub size: u64,
    /// Bytes of disk in use.
    pub used: u64,
    /// The last data change's mark and times; none before the first.
    pub stamp: Option<Stamp>,
}

/// A directory's size is a matter of taste; whole blocks, growing with its names, as ext4 shows it.
const DIRECTORY_BLOCK_BYTES: u64 = 4096;
const ENTRIES_PER_BLOCK: u64 = 64;
