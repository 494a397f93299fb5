//! File handles as the wire has them: up to 64 bytes that only their maker understands.
//!
//! Invariant: a handle is inline, so it pins no record and costs no reference count. One of no
//! bytes decodes too: it is for the maker to answer BADHANDLE.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::BytesMut;

use crate::xdr::{Decode, Encode, Malformed, Reader, put_opaque};

/// A file handle (`nfs_fh3`, and `fhandle3` of MOUNT), not yet looked at.
#[derive(Clone, Copy)]
pub struct FileHandle {
    length: u8,
    bytes: [u8; FHSIZE],
}

impl FileHandle {
    /// `None` if there are more than [`FHSIZE`] bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut all = [0; FHSIZE];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { length: u8::try_from(bytes.len()).ok()?, bytes: all })
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for FileHandle {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for FileHandle {}

impl Hash for FileHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FileHandle(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        out.write_str(")")
    }
}

impl Encode for FileHandle {
    fn put(&self, out: &mut BytesMut) {
        put_opaque(out, self.as_bytes());
    }
}

impl Decode for FileHandle {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = reader.opaque_slice(FHSIZE)?;
        Ok(Self::new(bytes).expect("the reader kept the limit"))
    }
}

/// The protocol's limit of a handle, `NFS3_FHSIZE`, in bytes.
pub const FHSIZE: usize = 64;
