//! The record beside an object's bytes: which change came last, at what time, and whether bytes may
//! have been written since that no fsync has covered.
//!
//! Invariant: what is encoded decodes to itself; any other bytes are refused, never a panic.
//! Absent on purpose: IO; where the record is kept is the disk adapter's business.

use model::{Epoch, Mark, Reign, Sequence, Stamp, Timestamp, View};
use thiserror::Error;

/// The extended attribute of a backing file that holds its [`Record`].
pub const RECORD_XATTR: &str = "user.holdfast.mark";

/// Length of an encoded record.
pub const RECORD_BYTES: usize = 2 + 5 * 8;

/// What is kept beside an object's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether bytes may be in the file that are newer than `stamp` says.
    pub state: RecordState,
    /// The last change that the record knows of.
    pub stamp: Stamp,
}

/// Whether a record can be believed after an unclean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// The stamp belongs to the bytes.
    Clean,
    /// Changes were under way: after an unclean stop the bytes may be newer than the stamp.
    Dirty,
    /// The stamp's times are those of the bytes, but they may not be what other copies of that mark
    /// hold: an fsync was under way, or nobody knew.
    InDoubt,
}

/// A record that this version can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadRecord {
    /// Not the length of any record we write.
    #[error("a record of {0} bytes")]
    Length(usize),
    /// A format of another version.
    #[error("record format {0}")]
    Format(u8),
    /// Flags that mean nothing to us.
    #[error("record flags {0:#04x}")]
    Flags(u8),
}

impl Record {
    /// The bytes to store: format, flags, then epoch, view, sequence, mtime and ctime, each 64
    /// bits, little-endian; times in nanoseconds since 1970.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[0] = FORMAT;
        bytes[1] = match self.state {
            RecordState::Clean => 0,
            RecordState::Dirty => FLAG_DIRTY,
            RecordState::InDoubt => FLAG_IN_DOUBT,
        };
        let numbers = [
            self.stamp.mark.reign.epoch.get(),
            self.stamp.mark.reign.view.get(),
            self.stamp.mark.sequence.get(),
            self.stamp.mtime.as_nanos(),
            self.stamp.ctime.as_nanos(),
        ];
        for (field, number) in bytes[2..].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The record that `bytes` hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let bytes: &[u8; RECORD_BYTES] =
            bytes.try_into().map_err(|_| BadRecord::Length(bytes.len()))?;
        if bytes[0] != FORMAT {
            return Err(BadRecord::Format(bytes[0]));
        }
        let state = match bytes[1] {
            0 => RecordState::Clean,
            FLAG_DIRTY => RecordState::Dirty,
            FLAG_IN_DOUBT => RecordState::InDoubt,
            flags => return Err(BadRecord::Flags(flags)),
        };
        let number = |index: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[2 + index * 8..][..8]);
            u64::from_le_bytes(field)
        };
        let reign = Reign { epoch: Epoch::new(number(0)), view: View::new(number(1)) };
        Ok(Self {
            state,
            stamp: Stamp {
                mark: Mark { reign, sequence: Sequence::new(number(2)) },
                mtime: Timestamp::from_nanos(number(3)),
                ctime: Timestamp::from_nanos(number(4)),
            },
        })
    }
}

const FORMAT: u8 = 1;
const FLAG_DIRTY: u8 = 1;
const FLAG_IN_DOUBT: u8 = 2;

#[cfg(test)]
mod tests;
