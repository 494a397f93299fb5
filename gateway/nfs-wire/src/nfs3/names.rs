//! Names and paths: any bytes, not necessarily text.
//!
//! Invariant: both decode well beyond what any volume takes, so that a name that is too long gets
//! NAMETOOLONG, as RFC 1813 wants, and not GARBAGE_ARGS; what exceeds even that is no client's
//! mistake.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::xdr::{Decode, Encode, Malformed, Reader, put_opaque};

/// One component of a path (`filename3`), unchecked: may be empty, too long, or hold a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub Bytes);

/// The target of a symlink (`nfspath3`), or the directory of a MNT (`dirpath`), unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(pub Bytes);

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Path {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Encode for Name {
    fn put(&self, out: &mut BytesMut) {
        put_opaque(out, &self.0);
    }
}

impl Decode for Name {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.opaque(NAME_DECODE_BYTES_MAX).map(Self)
    }
}

impl Encode for Path {
    fn put(&self, out: &mut BytesMut) {
        put_opaque(out, &self.0);
    }
}

impl Decode for Path {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.opaque(PATH_DECODE_BYTES_MAX).map(Self)
    }
}

/// A longer name is garbage. Linux sends none over 255 bytes; a volume may refuse far sooner.
pub const NAME_DECODE_BYTES_MAX: usize = 4096;

/// A longer path is garbage. MOUNT's own limit is 1024 bytes, and Linux's PATH_MAX is this.
pub const PATH_DECODE_BYTES_MAX: usize = 4096;
