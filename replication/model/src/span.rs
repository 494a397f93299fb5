//! Byte ranges of objects.

/// Extents are runs of this many bytes, aligned to it: the unit of transfer, hash and repair.
pub const EXTENT_BYTES: u64 = 1 << 20;

/// The largest size of a file: what `off_t` can hold. A write that would end beyond it is FBIG.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// A run of bytes of an object. Its end never overflows: that is checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    offset: u64,
    len: u64,
}

impl Span {
    /// The span of `len` bytes from `offset`; `None` if it would end beyond [`FILE_BYTES_MAX`].
    pub fn new(offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= FILE_BYTES_MAX).then_some(Self { offset, len })
    }

    /// Everything from `offset` on: what a change of size touches.
    pub fn from_offset(offset: u64) -> Self {
        let offset = offset.min(FILE_BYTES_MAX);
        Self { offset, len: FILE_BYTES_MAX - offset }
    }

    /// First byte.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.len
    }

    /// Whether it covers no byte at all.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The byte after the last.
    pub fn end(self) -> u64 {
        self.offset + self.len
    }

    /// Whether both cover at least one byte in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}
