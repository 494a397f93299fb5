//! Attributes: what an object is, what a client wants it to be, and what it was before.
//!
//! Invariant: every struct is written and read in the order of its fields, which is RFC 1813's
//! (section 2.5 and 2.6).
//!
//! Absent on purpose: defaults. Who leaves an attribute out says so.

use bytes::{Buf, BufMut, BytesMut};

use crate::xdr::{Decode, Encode, Malformed, Reader, wire_enum, wire_struct};

wire_enum! {
    /// What kind of object (`ftype3`).
    pub enum Ftype3 as "ftype3" {
        Reg = 1, "NF3REG";
        Dir = 2, "NF3DIR";
        Blk = 3, "NF3BLK";
        Chr = 4, "NF3CHR";
        Lnk = 5, "NF3LNK";
        Sock = 6, "NF3SOCK";
        Fifo = 7, "NF3FIFO";
    }
}

wire_enum! {
    /// What is durable once a WRITE is answered (`stable_how`).
    pub enum StableHow as "stable_how" {
        Unstable = 0, "UNSTABLE";
        DataSync = 1, "DATA_SYNC";
        FileSync = 2, "FILE_SYNC";
    }
}

/// Seconds and nanoseconds since 1970 (`nfstime3`), not necessarily below a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nfstime3 {
    /// Whole seconds; wraps in 2106.
    pub seconds: u32,
    /// The rest.
    pub nseconds: u32,
}

wire_struct!(Nfstime3 { seconds, nseconds });

/// The numbers of a device (`specdata3`): major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Specdata3 {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

wire_struct!(Specdata3 { major, minor });

/// All attributes of an object (`fattr3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fattr3 {
    /// `type` of the protocol.
    pub kind: Ftype3,
    /// Permission bits, setuid, setgid and sticky; no type bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// The owner's user.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// Disk space, in bytes.
    pub used: u64,
    /// Of a device; zeros otherwise.
    pub rdev: Specdata3,
    /// Tells volumes apart.
    pub fsid: u64,
    /// Tells objects of a volume apart.
    pub fileid: u64,
    /// Last read.
    pub atime: Nfstime3,
    /// Last change of the data.
    pub mtime: Nfstime3,
    /// Last change of the attributes or the data.
    pub ctime: Nfstime3,
}

/// The size of a [`Fattr3`] on the wire.
pub const FATTR_BYTES: usize = 84;

/// Through one array, as in the other direction: attributes are in nearly every reply, and one
/// check of the length is cheaper than twenty.
impl Encode for Fattr3 {
    fn put(&self, out: &mut BytesMut) {
        let mut wire = [0; FATTR_BYTES];
        let mut left = &mut wire[..];
        for word in [self.kind.code(), self.mode, self.nlink, self.uid, self.gid] {
            left.put_u32(word);
        }
        left.put_u64(self.size);
        left.put_u64(self.used);
        left.put_u32(self.rdev.major);
        left.put_u32(self.rdev.minor);
        left.put_u64(self.fsid);
        left.put_u64(self.fileid);
        for time in [self.atime, self.mtime, self.ctime] {
            left.put_u32(time.seconds);
            left.put_u32(time.nseconds);
        }
        out.put_slice(&wire);
    }
}

impl Decode for Fattr3 {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let wire: [u8; FATTR_BYTES] = reader.array()?;
        let mut left = &wire[..];
        let kind = left.get_u32();
        let kind =
            Ftype3::from_code(kind).ok_or(Malformed::NoSuchValue { of: "ftype3", value: kind })?;
        let time =
            |left: &mut &[u8]| Nfstime3 { seconds: left.get_u32(), nseconds: left.get_u32() };
        Ok(Self {
            kind,
            mode: left.get_u32(),
            nlink: left.get_u32(),
            uid: left.get_u32(),
            gid: left.get_u32(),
            size: left.get_u64(),
            used: left.get_u64(),
            rdev: Specdata3 { major: left.get_u32(), minor: left.get_u32() },
            fsid: left.get_u64(),
            fileid: left.get_u64(),
            atime: time(&mut left),
            mtime: time(&mut left),
            ctime: time(&mut left),
        })
    }
}

/// Attributes after an operation (`post_op_attr`); `None` costs the client a GETATTR.
pub type PostOpAttr = Option<Fattr3>;

/// The size of a [`PostOpAttr`] on the wire.
pub fn post_op_attr_bytes(attributes: &PostOpAttr) -> usize {
    4 + attributes.map_or(0, |_| FATTR_BYTES)
}

/// What tells whether an object changed (`wcc_attr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WccAttr {
    /// In bytes.
    pub size: u64,
    /// Last change of the data.
    pub mtime: Nfstime3,
    /// Last change of the attributes or the data.
    pub ctime: Nfstime3,
}

wire_struct!(WccAttr { size, mtime, ctime });

/// Weak cache consistency (`wcc_data`): the same object before and after one atomic change. If
/// `before` is what the client has cached, its cache is still good, with `after` as attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WccData {
    /// `pre_op_attr` of the protocol.
    pub before: Option<WccAttr>,
    /// `post_op_attr` of the protocol.
    pub after: PostOpAttr,
}

wire_struct!(WccData { before, after });

/// What to do with a time (`set_atime`, `set_mtime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetTime {
    /// DONT_CHANGE.
    #[default]
    DontChange,
    /// SET_TO_SERVER_TIME: to now, by our clock.
    ToServerTime,
    /// SET_TO_CLIENT_TIME: to this.
    ToClientTime(Nfstime3),
}

impl Encode for SetTime {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::DontChange => out.put_u32(0),
            Self::ToServerTime => out.put_u32(1),
            Self::ToClientTime(time) => {
                out.put_u32(2);
                time.put(out);
            }
        }
    }
}

impl Decode for SetTime {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u32()? {
            0 => Ok(Self::DontChange),
            1 => Ok(Self::ToServerTime),
            2 => Nfstime3::take(reader).map(Self::ToClientTime),
            value => Err(Malformed::NoSuchValue { of: "time_how", value }),
        }
    }
}

/// The attributes to set (`sattr3`); `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sattr3 {
    /// Permission bits, setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// The owner's user.
    pub uid: Option<u32>,
    /// The owner's group.
    pub gid: Option<u32>,
    /// In bytes: cuts off or extends.
    pub size: Option<u64>,
    /// Last read.
    pub atime: SetTime,
    /// Last change of the data.
    pub mtime: SetTime,
}

wire_struct!(Sattr3 { mode, uid, gid, size, atime, mtime });

/// Eight bytes that only their maker compares.
macro_rules! verifier {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub [u8; 8]);

        impl Encode for $name {
            fn put(&self, out: &mut BytesMut) {
                out.put_slice(&self.0);
            }
        }

        impl Decode for $name {
            fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                reader.array().map(Self)
            }
        }
    };
}

verifier! {
    /// Names an exclusive CREATE, so that it can be told from another (`createverf3`).
    Createverf3
}

verifier! {
    /// Names a state of a directory in which its cookies are good (`cookieverf3`).
    Cookieverf3
}

verifier! {
    /// Differs if and only if unstable data may have been lost (`writeverf3`).
    Writeverf3
}

/// What a user may do with an object: bits of ACCESS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AccessBits(pub u32);

impl AccessBits {
    /// `ACCESS3_READ`: read data, or a directory.
    pub const READ: Self = Self(0x01);
    /// `ACCESS3_LOOKUP`: look up a name.
    pub const LOOKUP: Self = Self(0x02);
    /// `ACCESS3_MODIFY`: rewrite data, or change entries.
    pub const MODIFY: Self = Self(0x04);
    /// `ACCESS3_EXTEND`: write new data, or add entries.
    pub const EXTEND: Self = Self(0x08);
    /// `ACCESS3_DELETE`: delete an entry.
    pub const DELETE: Self = Self(0x10);
    /// `ACCESS3_EXECUTE`: run a file.
    pub const EXECUTE: Self = Self(0x20);

    /// Whether all bits of `bits` are among these.
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// The bits of either.
    #[must_use]
    pub const fn union(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    /// The bits of both.
    #[must_use]
    pub const fn intersection(self, bits: Self) -> Self {
        Self(self.0 & bits.0)
    }
}

impl Encode for AccessBits {
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }
}

impl Decode for AccessBits {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u32().map(Self)
    }
}
