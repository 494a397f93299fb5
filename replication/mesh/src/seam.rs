//! The seam: what the rest of an appliance sees of the others.
//!
//! Invariant: whoever is behind an [`ApplianceId`] here has shown a certificate of this fleet, and
//! [`Handler::admits`] said yes. A fault says whether what was asked may have been done.
//!
//! Absent on purpose: what messages mean. `kind`, `header` and topics are the callers'.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::ApplianceId;

use crate::bulk::BulkStream;
use crate::limits::TOPICS_MAX;

/// A request or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is, to the two callers. An unknown one is delivered as well: the handler answers.
    pub kind: u16,
    /// At most [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX).
    pub header: Bytes,
    /// At most [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX); as it came, never parsed.
    pub payload: Bytes,
}

/// One piece of a bulk stream; the pieces arrive as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// At most [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX).
    pub header: Bytes,
    /// At most [`CHUNK_BYTES_MAX`](crate::limits::CHUNK_BYTES_MAX).
    pub payload: Bytes,
}

/// A kind of one-way traffic with a stream of its own to each peer. A lower number goes first when
/// the path is full; all go before requests, and those before bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(u8);

impl Topic {
    /// Beats and their answers, which leases depend on: before everything else.
    pub const BEATS: Self = Self(0);
    /// Raft of all groups.
    pub const RAFT: Self = Self(1);

    /// None at [`TOPICS_MAX`] and above.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < TOPICS_MAX { Some(Self(number)) } else { None }
    }

    /// The number, below [`TOPICS_MAX`].
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Another appliance of the fleet, and where it may be found. Without an address we never dial it,
/// and talk to it when it has dialed us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who must answer there, by its certificate.
    pub id: ApplianceId,
    /// Tried in order, at most [`ADDRESSES_MAX`](crate::limits::ADDRESSES_MAX) of them.
    pub addresses: Vec<SocketAddr>,
}

/// Why there is no reply, by what the asker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshFault {
    /// The request was not executed and will not be: ask again, or somebody else.
    #[error("not sent")]
    NotSent,
    /// The request may have been executed, or may still be: ask only what can be asked twice.
    #[error("sent, and the outcome is unknown")]
    Unknown,
    /// Over a limit of this crate; never sent. The asker's mistake.
    #[error("over the size limit")]
    TooLarge,
    /// The other end has too much to do; not executed: ask again later.
    #[error("refused")]
    Refused,
}

/// Who answers here; the router is one. Called from many tasks at once.
pub trait Handler: Send + Sync + 'static {
    /// Whether an appliance with a good certificate may talk to us: it is of the fleet and not
    /// removed. Asked at each connection, and of each connected peer after
    /// [`Mesh::recheck`]. Must not block.
    fn admits(&self, peer: ApplianceId) -> bool;

    /// Answers a request. Once called it runs to its end, even if the asker has gone away or the
    /// connection is lost: what was begun is never torn in the middle; the reply is thrown away.
    /// A reply over the limits is a mistake of the handler's: the asker gets
    /// [`MeshFault::Unknown`].
    fn asked(&self, from: ApplianceId, request: Message) -> impl Future<Output = Message> + Send;

    /// Takes a one-way message. Must not block: what follows on the topic waits for it.
    fn told(&self, from: ApplianceId, topic: Topic, bytes: Bytes);

    /// Serves a bulk stream that `from` opened; the stream ends when its two halves are dropped.
    fn streamed(
        &self,
        from: ApplianceId,
        opening: Bytes,
        stream: BulkStream,
    ) -> impl Future<Output = ()> + Send;

    /// Answers one request of somebody without a certificate, who knows nothing but the fleet's
    /// fingerprint yet: everything in `request` is a stranger's. Given up (dropped) after
    /// [`JOIN_TIME_MAX`](crate::limits::JOIN_TIME_MAX).
    fn join(&self, from: SocketAddr, request: Bytes) -> impl Future<Output = Bytes> + Send;
}

/// The way to the other appliances. `QuicMesh` is the real one, `MemoryMesh` its twin in one
/// process; the same contract suite runs on both.
#[async_trait]
pub trait Mesh: Send + Sync + 'static {
    /// Sends `request` and waits for the reply, `deadline` at most, which includes making a
    /// connection. To an appliance that is neither a peer nor connected: `NotSent` at once.
    /// Dropping the future withdraws a request that is not yet fully sent, and nothing else.
    async fn ask(
        &self,
        to: ApplianceId,
        request: Message,
        deadline: Duration,
    ) -> Result<Message, MeshFault>;

    /// Sends `bytes` one way. While a connection lives they arrive in order within (peer, topic).
    /// Dropped, and counted, when there is no connection (one is then made), when more than
    /// [`TELLS_WAITING_MAX`](crate::limits::TELLS_WAITING_MAX) wait, or when over
    /// [`TELL_BYTES_MAX`](crate::limits::TELL_BYTES_MAX).
    fn tell(&self, to: ApplianceId, topic: Topic, bytes: Bytes);

    /// Opens an ordered stream with a way back, which gives way to requests and tells. `opening`
    /// is at most [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX). `Refused` if
    /// [`BULK_STREAMS_MAX`](crate::limits::BULK_STREAMS_MAX) are open to that peer; waits for a
    /// connection as long as [`CONNECT_WAIT_MAX`](crate::limits::CONNECT_WAIT_MAX).
    async fn open_stream(&self, to: ApplianceId, opening: Bytes) -> Result<BulkStream, MeshFault>;

    /// Replaces the list of peers, then does as [`Self::recheck`]. At most
    /// [`PEERS_MAX`](crate::limits::PEERS_MAX); those beyond are left out, and logged.
    fn set_peers(&self, peers: Vec<Peer>);

    /// Asks [`Handler::admits`] again of every connected peer, and closes what it denies. The
    /// caller says so when membership has changed.
    fn recheck(&self);

    /// The smoothed time of a round trip to a connected peer.
    fn round_trip(&self, to: ApplianceId) -> Option<Duration>;

    /// Whether a connection to the peer lives, as far as is known: a peer that vanished is noticed
    /// after [`IDLE_MAX`](crate::limits::IDLE_MAX), or at once if it restarts.
    fn is_connected(&self, to: ApplianceId) -> bool;

    /// How many tells were dropped since the start.
    fn tells_dropped(&self) -> u64;

    /// Closes every connection and answers nothing any more. For good.
    async fn close(&self);
}

/// A [`Handler`] of any type, behind a pointer.
#[async_trait]
pub(crate) trait AnyHandler: Send + Sync + 'static {
    fn admits(&self, peer: ApplianceId) -> bool;
    async fn asked(&self, from: ApplianceId, request: Message) -> Message;
    fn told(&self, from: ApplianceId, topic: Topic, bytes: Bytes);
    async fn streamed(&self, from: ApplianceId, opening: Bytes, stream: BulkStream);
    async fn join(&self, from: SocketAddr, request: Bytes) -> Bytes;
}

#[async_trait]
impl<H: Handler> AnyHandler for H {
    fn admits(&self, peer: ApplianceId) -> bool {
        Handler::admits(self, peer)
    }

    async fn asked(&self, from: ApplianceId, request: Message) -> Message {
        Handler::asked(self, from, request).await
    }

    fn told(&self, from: ApplianceId, topic: Topic, bytes: Bytes) {
        Handler::told(self, from, topic, bytes);
    }

    async fn streamed(&self, from: ApplianceId, opening: Bytes, stream: BulkStream) {
        Handler::streamed(self, from, opening, stream).await;
    }

    async fn join(&self, from: SocketAddr, request: Bytes) -> Bytes {
        Handler::join(self, from, request).await
    }
}

/// The handler as both meshes keep it.
pub(crate) type SharedHandler = Arc<dyn AnyHandler>;

impl Message {
    /// Bytes of header and payload.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}
