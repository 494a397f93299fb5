//! Messages between the two ends of a transfer.
//!
//! A message is a header and a payload. The header is a format byte and then the head in postcard;
//! the payload is the bytes themselves, never copied. Invariant: what is encoded decodes to itself;
//! anything else is refused, never a panic, and nothing is allocated by a length that was claimed.
//! Absent on purpose: what the messages mean for a transfer.

use bytes::Bytes;
use extents::{
    Base, COMPARED_AT_ONCE_MAX, EXTENT_HASH_BYTES, ExtentHash, FRAME_BYTES_MAX, Frame, FrameChange,
    RUNS_PER_COPY_MAX,
};
use model::{EXTENT_BYTES, Epoch, FILE_BYTES_MAX, Mark, Refusal, Span, Stamp, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest header.
pub const HEADER_BYTES_MAX: usize = 4096;

/// The longest payload.
pub const PAYLOAD_BYTES_MAX: u64 = FRAME_BYTES_MAX;

/// One transfer of an object. A later one compares greater: by the epoch in which its sender owned
/// the object, then by a number that grows with each transfer in it, across restarts and owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TransferId {
    epoch: Epoch,
    number: u64,
}

/// One channel of a transfer: what was sent on an older one may arrive after all that came on a
/// newer one, and then must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// Which transfer.
    pub transfer: TransferId,
    /// Which of its channels; counts up.
    pub channel: u32,
}

/// One round of making durable what was received; counts up within a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Round(u64);

/// What the two ends tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the receiver: begin anew, with an object that was `base`.
    Begin {
        /// Which transfer and channel.
        attempt: Attempt,
        /// Whether the object has durable data at its owner.
        has_data: HasData,
        /// What the object was.
        base: Base,
    },
    /// To the receiver, on a new channel: go on.
    Resume {
        /// Which transfer and channel.
        attempt: Attempt,
    },
    /// To the receiver: a change.
    Frame(Frame),
    /// To the receiver: make durable all that came before this.
    Sync {
        /// Which round.
        round: Round,
    },
    /// To the receiver: that was all.
    Finish {
        /// What the object is.
        end: Base,
        /// Everything up to this mark must be durable. What is younger nobody was promised to find
        /// after a crash of either end.
        durable: Mark,
    },
    /// To the receiver: what does an older copy hold of these extents?
    Compare {
        /// The first one.
        first: u64,
        /// How many.
        count: u32,
    },
    /// To the owner: frames after this mark are expected. `None`: nothing is known of the transfer,
    /// begin it anew.
    Ready {
        /// The last one that is there.
        received: Option<Mark>,
        /// How many extents, from the first on, an older copy has that may be right as they are.
        older: u64,
    },
    /// To the owner, to a `Compare`: this.
    Compared {
        /// The first extent.
        first: u64,
        /// Nothing where there is only hole, or what can't be read.
        held: Vec<Option<ExtentHash>>,
    },
    /// To the owner: everything up to this mark is there, though not durable.
    Received {
        /// The last one.
        mark: Mark,
    },
    /// To the owner: the round is over.
    Durable {
        /// Which round.
        round: Round,
        /// Everything up to this one is durable.
        mark: Mark,
    },
    /// To the owner: the object is here as it is there, durable as far as was asked for.
    Finished {
        /// The mark of the `Finish` that this answers.
        mark: Mark,
    },
    /// To the owner: the transfer is over, and why.
    Refused {
        /// The receiver's reason.
        refusal: Refusal,
    },
}

/// Whether an object has durable data at its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HasData {
    /// It has, or may have.
    Yes,
    /// The catalog was not told of any.
    NotYet,
}

/// A message that this version can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// Longer than any header.
    #[error("a header of {0} bytes")]
    Length(usize),
    /// A format of another version.
    #[error("message format {0}")]
    Format(u8),
    /// Not a head.
    #[error("a header that is none")]
    Header,
    /// The payload is not what the header says.
    #[error("header and payload do not fit together")]
    Payload,
}

#[derive(Serialize, Deserialize)]
enum Head {
    Begin { attempt: Attempt, has_data: HasData, base: BaseHead },
    Resume { attempt: Attempt },
    Frame { mark: Mark, stamp: Option<StampHead>, change: ChangeHead },
    Sync { round: Round },
    Finish { base: BaseHead, durable: Mark },
    Ready { received: Option<Mark>, older: u64 },
    Received { mark: Mark },
    Durable { round: Round, mark: Mark },
    Finished { mark: Mark },
    Refused { refusal: Refusal },
    Compare { first: u64, count: u32 },
    Compared { first: u64 },
}

#[derive(Serialize, Deserialize)]
struct BaseHead {
    mark: Mark,
    stamp: Option<StampHead>,
    size: u64,
}

#[derive(Serialize, Deserialize)]
struct StampHead {
    mark: Mark,
    mtime: Timestamp,
    ctime: Timestamp,
}

#[derive(Serialize, Deserialize)]
enum ChangeHead {
    Nothing,
    Write { offset: u64 },
    Later { end: u64 },
    SetSize { size: u64 },
    Copy { span: SpanHead, runs: Vec<SpanHead> },
    Hole { span: SpanHead },
}

#[derive(Serialize, Deserialize)]
struct SpanHead {
    offset: u64,
    len: u64,
}

impl TransferId {
    /// Of these parts.
    pub const fn new(epoch: Epoch, number: u64) -> Self {
        Self { epoch, number }
    }
}

impl Round {
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Message {
    /// Header and payload.
    pub fn encode(self) -> (Bytes, Bytes) {
        let mut payload = Bytes::new();
        let head = match self {
            Self::Begin { attempt, has_data, base } => {
                Head::Begin { attempt, has_data, base: base.into() }
            }
            Self::Resume { attempt } => Head::Resume { attempt },
            Self::Frame(Frame { mark, stamp, change, .. }) => {
                let change = change_head(change, &mut payload);
                Head::Frame { mark, stamp: stamp.map(Into::into), change }
            }
            Self::Sync { round } => Head::Sync { round },
            Self::Finish { end, durable } => Head::Finish { base: end.into(), durable },
            Self::Compare { first, count } => Head::Compare { first, count },
            Self::Ready { received, older } => Head::Ready { received, older },
            Self::Compared { first, held } => {
                payload = hashes_head(&held);
                Head::Compared { first }
            }
            Self::Received { mark } => Head::Received { mark },
            Self::Durable { round, mark } => Head::Durable { round, mark },
            Self::Finished { mark } => Head::Finished { mark },
            Self::Refused { refusal } => Head::Refused { refusal },
        };
        let header = postcard::to_extend(&head, vec![FORMAT]).expect("a vector takes any head");
        debug_assert!(header.len() <= HEADER_BYTES_MAX);
        (header.into(), payload)
    }

    /// The message that came.
    pub fn decode(header: &[u8], payload: Bytes) -> Result<Self, BadMessage> {
        if payload.len() as u64 > PAYLOAD_BYTES_MAX {
            return Err(BadMessage::Payload);
        }
        let (head, payload) = match head(header)? {
            Head::Frame { mark, stamp, change } => {
                let change = change_of(change, payload)?;
                let stamp = stamp.map(Into::into);
                return Ok(Self::Frame(Frame { mark, stamp, key: None, secure: false, change }));
            }
            Head::Compared { first } => {
                let held = hashes_of(&payload)?;
                extent(first, held.len() as u64)?;
                return Ok(Self::Compared { first, held });
            }
            head => (head, payload),
        };
        if !payload.is_empty() {
            return Err(BadMessage::Payload);
        }
        Ok(match head {
            Head::Begin { attempt, has_data, base } => {
                Self::Begin { attempt, has_data, base: base.into() }
            }
            Head::Resume { attempt } => Self::Resume { attempt },
            Head::Frame { .. } | Head::Compared { .. } => return Err(BadMessage::Header),
            Head::Sync { round } => Self::Sync { round },
            Head::Finish { base, durable } => Self::Finish { end: base.into(), durable },
            Head::Compare { first, count } => {
                extent(first, count.into())?;
                Self::Compare { first, count }
            }
            Head::Ready { received, older } => {
                extent(older, 0)?;
                Self::Ready { received, older }
            }
            Head::Received { mark } => Self::Received { mark },
            Head::Durable { round, mark } => Self::Durable { round, mark },
            Head::Finished { mark } => Self::Finished { mark },
            Head::Refused { refusal } => Self::Refused { refusal },
        })
    }
}

fn head(header: &[u8]) -> Result<Head, BadMessage> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(BadMessage::Length(header.len()));
    }
    let Some((format, head)) = header.split_first() else {
        return Err(BadMessage::Header);
    };
    if *format != FORMAT {
        return Err(BadMessage::Format(*format));
    }
    match postcard::take_from_bytes(head) {
        Ok((head, [])) => Ok(head),
        Ok(_) | Err(_) => Err(BadMessage::Header),
    }
}

fn change_head(change: FrameChange, payload: &mut Bytes) -> ChangeHead {
    match change {
        FrameChange::Nothing => ChangeHead::Nothing,
        FrameChange::Write { offset, bytes } => {
            *payload = bytes;
            ChangeHead::Write { offset }
        }
        FrameChange::Later { end } => ChangeHead::Later { end },
        FrameChange::SetSize(size) => ChangeHead::SetSize { size },
        FrameChange::Copy { span, runs, bytes } => {
            *payload = bytes;
            ChangeHead::Copy { span: span.into(), runs: runs.into_iter().map(Into::into).collect() }
        }
        FrameChange::Hole(span) => ChangeHead::Hole { span: span.into() },
    }
}

fn change_of(head: ChangeHead, bytes: Bytes) -> Result<FrameChange, BadMessage> {
    let change = match head {
        ChangeHead::Nothing => FrameChange::Nothing,
        ChangeHead::Write { offset } => {
            let span = SpanHead { offset, len: bytes.len() as u64 };
            span.checked()?;
            return Ok(FrameChange::Write { offset, bytes });
        }
        ChangeHead::Copy { span, runs } => return copy_of(span.checked()?, runs, bytes),
        ChangeHead::Later { end } => FrameChange::Later { end: byte(end)? },
        ChangeHead::SetSize { size } => FrameChange::SetSize(byte(size)?),
        ChangeHead::Hole { span } => FrameChange::Hole(span.checked()?),
    };
    if bytes.is_empty() { Ok(change) } else { Err(BadMessage::Payload) }
}

fn copy_of(span: Span, runs: Vec<SpanHead>, bytes: Bytes) -> Result<FrameChange, BadMessage> {
    if runs.len() > RUNS_PER_COPY_MAX {
        return Err(BadMessage::Payload);
    }
    let mut at = span.offset();
    let mut len = 0;
    let mut checked = Vec::with_capacity(runs.len());
    for run in runs {
        let run = run.checked()?;
        if run.offset() < at || run.end() > span.end() {
            return Err(BadMessage::Payload);
        }
        at = run.end();
        len += run.len();
        checked.push(run);
    }
    if len != bytes.len() as u64 {
        return Err(BadMessage::Payload);
    }
    Ok(FrameChange::Copy { span, runs: checked, bytes })
}

/// One after the other; zeros stand for nothing.
fn hashes_head(held: &[Option<ExtentHash>]) -> Bytes {
    let nothing = [0; EXTENT_HASH_BYTES];
    held.iter().flat_map(|hash| hash.map_or(nothing, |hash| hash.0)).collect()
}

fn hashes_of(payload: &[u8]) -> Result<Vec<Option<ExtentHash>>, BadMessage> {
    let (hashes, rest) = payload.as_chunks::<EXTENT_HASH_BYTES>();
    if !rest.is_empty() || hashes.len() as u64 > COMPARED_AT_ONCE_MAX {
        return Err(BadMessage::Payload);
    }
    let hash = |bytes: &[u8; EXTENT_HASH_BYTES]| {
        let nothing = bytes.iter().all(|byte| *byte == 0);
        (!nothing).then_some(ExtentHash(*bytes))
    };
    Ok(hashes.iter().map(hash).collect())
}

/// Numbers of extents that a file can have, not too many at a time.
fn extent(first: u64, count: u64) -> Result<(), BadMessage> {
    let extents_max = FILE_BYTES_MAX.div_ceil(EXTENT_BYTES);
    let end = first.checked_add(count).filter(|end| *end <= extents_max);
    end.filter(|_| count <= COMPARED_AT_ONCE_MAX).map(drop).ok_or(BadMessage::Payload)
}

/// A number of bytes that a file can have.
fn byte(number: u64) -> Result<u64, BadMessage> {
    SpanHead { offset: number, len: 0 }.checked().map(Span::offset)
}

impl SpanHead {
    fn checked(self) -> Result<Span, BadMessage> {
        Span::new(self.offset, self.len).ok_or(BadMessage::Payload)
    }
}

impl From<Span> for SpanHead {
    fn from(span: Span) -> Self {
        Self { offset: span.offset(), len: span.len() }
    }
}

impl From<Base> for BaseHead {
    fn from(base: Base) -> Self {
        Self { mark: base.mark, stamp: base.stamp.map(Into::into), size: base.size }
    }
}

impl From<BaseHead> for Base {
    fn from(head: BaseHead) -> Self {
        Self { mark: head.mark, stamp: head.stamp.map(Into::into), size: head.size }
    }
}

impl From<Stamp> for StampHead {
    fn from(stamp: Stamp) -> Self {
        Self { mark: stamp.mark, mtime: stamp.mtime, ctime: stamp.ctime }
    }
}

impl From<StampHead> for Stamp {
    fn from(head: StampHead) -> Self {
        Self { mark: head.mark, mtime: head.mtime, ctime: head.ctime }
    }
}

const FORMAT: u8 = 1;

const _: () = assert!(
    RUNS_PER_COPY_MAX * 20 + 256 < HEADER_BYTES_MAX,
    "a head with as many runs as may be must fit: a number takes ten bytes at most"
);

#[cfg(test)]
mod tests;
