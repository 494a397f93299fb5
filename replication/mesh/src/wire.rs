//! The frames on a stream, and the hello.
//!
//! A frame is 12 bytes, then a header, then a payload:
//! tag (1), zero (1), kind (2), length of the header (4), length of the payload (4), big-endian.
//! Invariant: a prefix that parses is within the limits of its tag, so that nobody ever waits for
//! or makes room for more. Total: any bytes give a frame or a refusal, never a panic.
//!
//! Absent on purpose: streams, and what kinds and headers mean.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Fingerprint;
use crate::limits::{
    CHUNK_BYTES_MAX, HEADER_BYTES_MAX, HELLO_BYTES_MAX, JOIN_REPLY_BYTES_MAX,
    JOIN_REQUEST_BYTES_MAX, PAYLOAD_BYTES_MAX, PROGRAM_BYTES_MAX, TELL_BYTES_MAX, TOPICS_MAX,
};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The first frame of a connection, both ways.
    Hello,
    /// Opens a stream that carries one request one way and one reply back.
    Request,
    /// The answer.
    Reply,
    /// Opens a bulk stream; its header is the opening.
    Open,
    /// A piece of a bulk stream.
    Chunk,
    /// A one-way message; its kind is the topic, the same in all frames of a stream.
    Tell,
    /// The one request of a newcomer.
    Join,
    /// The answer to it.
    Joined,
}

/// The 12 bytes before a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// What follows.
    pub tag: Tag,
    /// The caller's, in requests and replies; the topic, in tells; else 0.
    pub kind: u16,
    /// Bytes of the header.
    pub header: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

/// Why bytes are no frame: the connection they came on is closed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A tag of no version that we speak, or of the wrong place.
    #[error("unexpected frame with tag {0}")]
    Tag(u8),
    /// A byte that must be 0, a kind where none belongs, or no such topic.
    #[error("frame prefix with a bad field")]
    Field,
    /// Longer than the tag allows.
    #[error("frame of {0} + {1} bytes")]
    Size(u32, u32),
    /// Not a hello.
    #[error("bad hello")]
    Hello,
}

impl Prefix {
    /// Reads the prefix of a frame, which must be one of `wanted`.
    pub fn parse(bytes: [u8; PREFIX_BYTES], wanted: &[Tag]) -> Result<Self, Malformed> {
        let [tag, zero, k0, k1, h0, h1, h2, h3, p0, p1, p2, p3] = bytes;
        let found = TAGS.iter().find(|(_, number)| *number == tag).map(|(tag, _)| *tag);
        let known = found.filter(|known| wanted.contains(known)).ok_or(Malformed::Tag(tag))?;
        let kind = u16::from_be_bytes([k0, k1]);
        let kind_is_good = match known {
            Tag::Request | Tag::Reply => true,
            Tag::Tell => usize::from(kind) < TOPICS_MAX,
            Tag::Hello | Tag::Open | Tag::Chunk | Tag::Join | Tag::Joined => kind == 0,
        };
        if zero != 0 || !kind_is_good {
            return Err(Malformed::Field);
        }
        let header = u32::from_be_bytes([h0, h1, h2, h3]);
        let payload = u32::from_be_bytes([p0, p1, p2, p3]);
        let (header_max, payload_max) = known.limits();
        if header as usize > header_max || payload as usize > payload_max {
            return Err(Malformed::Size(header, payload));
        }
        Ok(Self { tag: known, kind, header: header as usize, payload: payload as usize })
    }

    /// The prefix of a frame with these parts. Panics over the limits: callers check first.
    pub fn bytes(self) -> [u8; PREFIX_BYTES] {
        let (header_max, payload_max) = self.tag.limits();
        assert!(self.header <= header_max && self.payload <= payload_max, "checked by the caller");
        let (_, tag) = TAGS.iter().find(|(tag, _)| *tag == self.tag).expect("all are listed");
        let [k0, k1] = self.kind.to_be_bytes();
        let [h0, h1, h2, h3] = (self.header as u32).to_be_bytes();
        let [p0, p1, p2, p3] = (self.payload as u32).to_be_bytes();
        [*tag, 0, k0, k1, h0, h1, h2, h3, p0, p1, p2, p3]
    }

    /// Bytes after the prefix.
    pub fn body(self) -> usize {
        self.header + self.payload
    }
}

impl Tag {
    /// The most bytes of header and of payload.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Hello => (0, HELLO_BYTES_MAX),
            Self::Request | Self::Reply => (HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX),
            Self::Open => (HEADER_BYTES_MAX, 0),
            Self::Chunk => (HEADER_BYTES_MAX, CHUNK_BYTES_MAX),
            Self::Tell => (0, TELL_BYTES_MAX),
            Self::Join => (0, JOIN_REQUEST_BYTES_MAX),
            Self::Joined => (0, JOIN_REPLY_BYTES_MAX),
        }
    }
}

/// A frame as pieces to be written: the prefix with the header if that is small, then what is
/// large, uncopied.
pub fn frame(tag: Tag, kind: u16, header: Bytes, payload: Bytes) -> [Bytes; 3] {
    let prefix = Prefix { tag, kind, header: header.len(), payload: payload.len() };
    let copied = [&header, &payload].iter().take_while(|b| b.len() <= COPIED_BYTES_MAX).count();
    let mut head = BytesMut::with_capacity(PREFIX_BYTES + copied * COPIED_BYTES_MAX);
    head.put_slice(&prefix.bytes());
    if copied == 0 {
        return [head.freeze(), header, payload];
    }
    head.put_slice(&header);
    if copied == 1 {
        return [head.freeze(), payload, Bytes::new()];
    }
    head.put_slice(&payload);
    [head.freeze(), Bytes::new(), Bytes::new()]
}

/// The range of frame versions that an appliance speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameVersions {
    /// The oldest: that of the release before this one, so that a fleet is updated one by one.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl FrameVersions {
    /// What this program speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The newest that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// What both sides of a connection say first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which frames the sender understands.
    pub versions: FrameVersions,
    /// The sender's fleet, which its certificate has proved already.
    pub fleet: Fingerprint,
    /// Drawn anew at each start: tells a restarted appliance from one that dials again.
    pub run: [u8; 16],
    /// The sender's release, for the log; at most [`PROGRAM_BYTES_MAX`] bytes.
    pub program: String,
}

impl Hello {
    /// Magic, versions, fleet, run, program behind its length. A later release may append.
    pub fn to_bytes(&self) -> Bytes {
        let program = self.program.as_bytes();
        let program = &program[..program.len().min(PROGRAM_BYTES_MAX)];
        let mut bytes = BytesMut::with_capacity(HELLO_BYTES_MAX);
        bytes.put_slice(HELLO_MAGIC);
        bytes.put_u16(self.versions.min);
        bytes.put_u16(self.versions.max);
        bytes.put_slice(self.fleet.as_bytes());
        bytes.put_slice(&self.run);
        bytes.put_u8(program.len() as u8);
        bytes.put_slice(program);
        bytes.freeze()
    }

    /// What [`Self::to_bytes`] gave, here or in a newer release.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes).ok_or(Malformed::Hello)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(HELLO_MAGIC)?;
        let (min, rest) = rest.split_first_chunk::<2>()?;
        let (max, rest) = rest.split_first_chunk::<2>()?;
        let versions =
            FrameVersions { min: u16::from_be_bytes(*min), max: u16::from_be_bytes(*max) };
        let (fleet, rest) = rest.split_first_chunk::<32>()?;
        let (run, rest) = rest.split_first_chunk::<16>()?;
        let (&len, rest) = rest.split_first()?;
        let (program, _added_later) = rest.split_at_checked(usize::from(len))?;
        if program.len() > PROGRAM_BYTES_MAX || versions.min > versions.max {
            return None;
        }
        // It goes into logs: nothing but what can be read there.
        let program =
            program.iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '?' }).collect();
        Some(Self { versions, fleet: Fingerprint::new(*fleet), run: *run, program })
    }
}

/// Of every frame.
pub const PREFIX_BYTES: usize = 12;

/// A part this small is copied behind the prefix: cheaper than one more segment to keep.
const COPIED_BYTES_MAX: usize = 1024;

const HELLO_MAGIC: &[u8; 4] = b"HFM\x01";

const TAGS: [(Tag, u8); 8] = [
    (Tag::Hello, 1),
    (Tag::Request, 2),
    (Tag::Reply, 3),
    (Tag::Open, 4),
    (Tag::Chunk, 5),
    (Tag::Tell, 6),
    (Tag::Join, 7),
    (Tag::Joined, 8),
];

#[cfg(test)]
mod tests;
