//! Record marking (RFC 5531 section 11): cuts a TCP stream into records, without doing the reads.
//!
//! The session reads into [`spare`](RecordReader::spare) and then takes records with
//! [`next`](RecordReader::next) until there is none. Two ways of reading:
//!
//! - *small*: whatever the socket has, up to 64 KiB, so that many calls arrive per system call;
//! - *bulk*, after a large record: the mark alone, then exactly the record into a buffer of its
//!   own. In a stream of WRITEs the payload is contiguous and never moved, and the buffer ends
//!   where the record does, so nothing else keeps it alive.
//!
//! Invariants: records come out in the order of the stream and independent of how it was split
//! into reads or fragments; memory is bounded by the limit, whatever a mark claims; a record is a
//! slice of what was read, and copied only if it came in several fragments.
//!
//! Absent on purpose: sockets, timeouts, the meaning of a record.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// The stream is broken or not ours: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The record would be larger than this reader takes.
    #[error("a record of at least {claimed} bytes is over the limit of {limit}")]
    TooLong {
        /// What the marks so far add up to.
        claimed: usize,
        /// What the reader was made with.
        limit: usize,
    },
    /// Fragments without a byte, over and over: no progress is being made.
    #[error("more than {EMPTY_FRAGMENTS_MAX} empty fragments in one record")]
    TooManyEmptyFragments,
}

/// Cuts one direction of one connection into records.
#[derive(Debug)]
pub struct RecordReader {
    record_bytes_max: usize,
    /// What was read and not yet taken. While `large` is unfinished nothing comes in here.
    inbox: BytesMut,
    /// The large record under way, of which `inbox` has nothing (any more).
    large: Option<BytesMut>,
    /// The fragments before the current one of the record under way, and how much of the current
    /// one there is already.
    joined: BytesMut,
    fragment: Option<Fragment>,
    empty_fragments: usize,
    mode: Mode,
    broken: Option<BadRecord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// No record yet, or none for long: whoever holds many connections open gets little memory.
    First,
    Small,
    Bulk,
}

/// A fragment of which the mark has been read.
#[derive(Debug, Clone, Copy)]
struct Fragment {
    /// What is still to be taken.
    bytes_left: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The record is this fragment: it can be sliced out of what was read.
    Whole,
    /// There are other fragments; `last` tells whether they are all before it.
    Part { last: bool },
}

impl RecordReader {
    /// For records of up to `record_bytes_max` bytes. Allocates nothing yet.
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            record_bytes_max,
            inbox: BytesMut::new(),
            large: None,
            joined: BytesMut::new(),
            fragment: None,
            empty_fragments: 0,
            mode: Mode::First,
            broken: None,
        }
    }

    /// Where the next bytes of the stream belong; there is always room for at least one.
    ///
    /// Made for tokio's `try_read_buf(&mut reader.spare())`. Call [`next`](Self::next) until it
    /// gives nothing before the next call, or the way of reading can't adapt. This is where the
    /// memory of a large record is taken: compare [`pending_bytes`](Self::pending_bytes) with
    /// what may be admitted first.
    pub fn spare(&mut self) -> Limit<&mut BytesMut> {
        match self.large_bytes() {
            Some(record_bytes) => self.spare_of_large(record_bytes),
            None if self.wants_a_mark_alone() => {
                let missing = MARK_BYTES - self.inbox.len();
                self.make_room(missing);
                (&mut self.inbox).limit(missing)
            }
            None => {
                self.make_room(self.small_bytes_missing().max(SMALL_READ_BYTES_MIN));
                let room = self.inbox.capacity() - self.inbox.len();
                (&mut self.inbox).limit(room)
            }
        }
    }

    /// The next record, or `None` if it has not arrived as a whole. An empty record is a record.
    ///
    /// A refusal is final: the stream has no boundary to carry on from.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: `None` is not the end")]
    pub fn next(&mut self) -> Result<Option<Bytes>, BadRecord> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let taken = self.take();
        match &taken {
            Ok(Some(record)) if record.len() > LARGE_RECORD_BYTES => self.mode = Mode::Bulk,
            Ok(Some(_)) => self.mode = Mode::Small,
            Ok(None) => {}
            Err(broken) => self.broken = Some(*broken),
        }
        taken
    }

    /// The size of the record under way as far as its marks tell, 0 between records: what it
    /// will cost to read on. At most the limit.
    pub fn pending_bytes(&self) -> usize {
        self.joined.len() + self.fragment.map_or(0, |fragment| fragment.bytes_left)
    }

    /// True if every byte that came in belongs to a record that was taken: the stream may end
    /// here. Otherwise its end cuts a record short.
    pub fn is_between_records(&self) -> bool {
        self.fragment.is_none()
            && self.inbox.is_empty()
            && self.joined.is_empty()
            && self.empty_fragments == 0
    }

    /// Gives back the buffer of a connection that has fallen idle. The next
    /// [`spare`](Self::spare) takes a new one; if a record is under way nothing happens.
    pub fn release_idle(&mut self) {
        if self.is_between_records() {
            self.inbox = BytesMut::new();
            self.mode = Mode::First;
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, BadRecord> {
        loop {
            let Some(fragment) = self.fragment else {
                if self.inbox.len() < MARK_BYTES {
                    return Ok(None);
                }
                let mark = self.inbox.get_u32();
                self.fragment = Some(self.open_fragment(mark)?);
                continue;
            };
            match fragment.place {
                Place::Whole => return Ok(self.take_whole(fragment.bytes_left)),
                Place::Part { last } => {
                    if !self.join(fragment) {
                        return Ok(None);
                    }
                    if last {
                        self.empty_fragments = 0;
                        return Ok(Some(std::mem::take(&mut self.joined).freeze()));
                    }
                }
            }
        }
    }

    fn open_fragment(&mut self, mark: u32) -> Result<Fragment, BadRecord> {
        let last = mark & LAST_FRAGMENT != 0;
        let bytes_left = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
        let claimed = self.joined.len().saturating_add(bytes_left);
        if claimed > self.record_bytes_max {
            return Err(BadRecord::TooLong { claimed, limit: self.record_bytes_max });
        }
        let first = self.joined.is_empty() && self.empty_fragments == 0;
        if bytes_left == 0 && !last {
            self.empty_fragments += 1;
            if self.empty_fragments > EMPTY_FRAGMENTS_MAX {
                return Err(BadRecord::TooManyEmptyFragments);
            }
        }
        let place = if first && last { Place::Whole } else { Place::Part { last } };
        Ok(Fragment { bytes_left, place })
    }

    fn take_whole(&mut self, record_bytes: usize) -> Option<Bytes> {
        let record = if let Some(large) = self.large.take_if(|large| large.len() == record_bytes) {
            large
        } else if self.large.is_none() && self.inbox.len() >= record_bytes {
            self.inbox.split_to(record_bytes)
        } else {
            return None;
        };
        self.fragment = None;
        Some(record.freeze())
    }

    /// Moves what has arrived of this fragment to `joined`; true if that was all of it.
    fn join(&mut self, fragment: Fragment) -> bool {
        let arrived = fragment.bytes_left.min(self.inbox.len());
        self.joined.extend_from_slice(&self.inbox[..arrived]);
        self.inbox.advance(arrived);
        let bytes_left = fragment.bytes_left - arrived;
        self.fragment = (bytes_left > 0).then_some(Fragment { bytes_left, ..fragment });
        bytes_left == 0
    }

    /// The size of the record under way, if it is one that gets a buffer of its own and is not
    /// in the inbox, whole, already.
    fn large_bytes(&self) -> Option<usize> {
        let fragment = self.fragment.filter(|fragment| fragment.place == Place::Whole)?;
        let record_bytes = fragment.bytes_left;
        let arrived = self.large.as_ref().unwrap_or(&self.inbox).len();
        (record_bytes > LARGE_RECORD_BYTES && arrived < record_bytes).then_some(record_bytes)
    }

    fn spare_of_large(&mut self, record_bytes: usize) -> Limit<&mut BytesMut> {
        let inbox = &mut self.inbox;
        let large = self.large.get_or_insert_with(|| {
            // Its beginning, if it followed a small record; in bulk mode there is none.
            let mut large = BytesMut::with_capacity(record_bytes);
            large.extend_from_slice(inbox);
            inbox.clear();
            large
        });
        let missing = record_bytes - large.len();
        large.limit(missing)
    }

    fn wants_a_mark_alone(&self) -> bool {
        self.mode == Mode::Bulk && self.fragment.is_none() && self.inbox.len() < MARK_BYTES
    }

    /// What the inbox lacks of the small record under way.
    fn small_bytes_missing(&self) -> usize {
        let bytes = self.fragment.map_or(0, |fragment| match fragment.place {
            Place::Whole => fragment.bytes_left,
            Place::Part { .. } => 0,
        });
        bytes.saturating_sub(self.inbox.len())
    }

    /// Makes room for `bytes` more in the inbox, in its own memory if no record still uses it.
    fn make_room(&mut self, bytes: usize) {
        let has_room = |inbox: &BytesMut| inbox.capacity() - inbox.len() >= bytes;
        if has_room(&self.inbox) {
            return;
        }
        let inbox_bytes = match self.mode {
            Mode::First => 0,
            Mode::Small | Mode::Bulk => INBOX_BYTES,
        };
        let refill = inbox_bytes.saturating_sub(self.inbox.len()).max(bytes);
        if self.inbox.try_reclaim(refill) {
            return;
        }
        let mut fresh = BytesMut::with_capacity(self.inbox.len() + refill);
        fresh.extend_from_slice(&self.inbox);
        self.inbox = fresh;
    }
}

/// The size of a record mark.
pub const MARK_BYTES: usize = 4;

/// The bit of a mark that says: with this fragment the record is complete.
pub const LAST_FRAGMENT: u32 = 1 << 31;

/// How many empty fragments one record may have. A sender has no reason for a single one.
pub const EMPTY_FRAGMENTS_MAX: usize = 16;

/// A larger record gets a buffer of its own and starts bulk mode: half of the inbox, so that a
/// smaller one always fits into it, and well above any call that is not a WRITE.
pub const LARGE_RECORD_BYTES: usize = 32 * 1024;

/// One read in small mode takes at most this much.
const INBOX_BYTES: usize = 64 * 1024;

/// Below this much room the inbox is refilled: reads shrink towards its end, and this bounds how
/// small they get.
const SMALL_READ_BYTES_MIN: usize = 8 * 1024;

const _: () = assert!(LARGE_RECORD_BYTES * 2 <= INBOX_BYTES, "a small record must fit the inbox");
