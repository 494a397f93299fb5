//! Every limit of the traffic between appliances, and how it was chosen.
//!
//! Invariant: what bulk streams can leave unread or unsent never fills a connection, so requests
//! and tells always find room; checked at compile time below.

use std::time::Duration;

/// Of a message, a chunk or an opening: names, attributes and a batch of marks fit.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Of a request or a reply: a WRITE or READ of 1 MiB, and room for two in one.
pub const PAYLOAD_BYTES_MAX: usize = 2 << 20;
/// Of a bulk chunk: an extent and its description.
pub const CHUNK_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Of a tell: a batch of Raft messages.
pub const TELL_BYTES_MAX: usize = 4 << 20;
/// Topics in use; each costs a stream to each peer.
pub const TOPICS_MAX: usize = 8;
/// Tells waiting for one (peer, topic).
pub const TELLS_WAITING_MAX: usize = 4096;
/// Bytes waiting for one (peer, topic), whatever their number.
pub const TELLS_WAITING_BYTES_MAX: usize = 16 << 20;

/// Requests to one peer that wait for a reply, and from one peer that are being answered.
pub const REQUESTS_MAX: usize = 1024;
/// Bytes of those requests, in each direction, and of the replies; small ones don't count.
pub const REQUESTS_BYTES_MAX: usize = 16 << 20;
/// A message below this is small: 1024 of them are 16 MiB.
pub const SMALL_BYTES: usize = 16 << 10;
/// Bulk streams open to one peer, and from one peer.
pub const BULK_STREAMS_MAX: usize = 16;

/// Appliances in a fleet; each pair may have a connection.
pub const PEERS_MAX: usize = 256;
/// Addresses of one peer.
pub const ADDRESSES_MAX: usize = 8;
/// Connections to one peer at once: two that were dialed at the same time, and one that replaces
/// them. What comes beyond is refused.
pub const LINKS_MAX: usize = 4;
/// Handshakes of strangers under way. From half of it on, an address must be proved first
/// (RFC 9000, section 8.1.2).
pub const HANDSHAKES_MAX: usize = 64;
/// From the first packet to the exchanged hello.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// A first packet that nobody answers is sent again after three times this, then twice as long. The
/// third of a second of RFC 9002 (section 6.2.2) is for the whole world: an appliance that was
/// dialed while it started would be back seconds late. On a slower path some packets go twice.
pub const INITIAL_RTT: Duration = Duration::from_millis(50);
/// How long opening a bulk stream waits for a connection.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
/// Between attempts to connect: first, and at most, doubling.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// See [`BACKOFF_MIN`].
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A third of a lease of 1.5 s: what holds a path open when nothing else is said.
pub const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// A connection this long unheard is given up: two leases. Requests have their own deadlines.
pub const IDLE_MAX: Duration = Duration::from_secs(3);
/// A connection that lost against its twin is closed after this, for what is under way on it.
pub const RETIRE_TIME: Duration = Duration::from_secs(5);

/// Newcomers served at once.
pub const JOINS_MAX: usize = 4;
/// Of what a newcomer says.
pub const JOIN_REQUEST_BYTES_MAX: usize = 16 << 10;
/// Of what it is answered.
pub const JOIN_REPLY_BYTES_MAX: usize = 1 << 20;
/// From the accepted connection to the end of the answer.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Of a hello; later versions may add fields.
pub const HELLO_BYTES_MAX: usize = 1024;
/// Of the program's version in a hello.
pub const PROGRAM_BYTES_MAX: usize = 64;

/// Unread bytes of one stream: 20 ms at 1.6 Gbit/s.
pub const STREAM_WINDOW_BYTES: usize = 4 << 20;
/// Unread or unacknowledged bytes of one connection.
pub const CONNECTION_WINDOW_BYTES: usize = 160 << 20;
/// What a stranger may make us keep before its certificate is checked.
pub const STRANGER_WINDOW_BYTES: usize = 64 << 10;

const _: () = assert!(
    BULK_STREAMS_MAX * STREAM_WINDOW_BYTES
        + 2 * (REQUESTS_BYTES_MAX + REQUESTS_MAX * SMALL_BYTES)
        + 2 * TELL_BYTES_MAX
        <= CONNECTION_WINDOW_BYTES,
    "bulk and requests together leave room for tells"
);
const _: () = assert!(JOIN_REQUEST_BYTES_MAX < STRANGER_WINDOW_BYTES);
const _: () = assert!(HELLO_BYTES_MAX < STRANGER_WINDOW_BYTES);
const _: () = assert!(HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX < REQUESTS_BYTES_MAX);
const _: () = assert!(TELL_BYTES_MAX <= TELLS_WAITING_BYTES_MAX);
