//! One connection to one appliance: the hello, and what arrives on its streams.
//!
//! Invariant: nothing but a hello is read before the peer is known, admitted, and speaks a common
//! version. A frame that is none closes the connection, with a reason that is logged once. What a
//! peer may have under way here is bounded per peer, not per connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use model::ApplianceId;
use quinn::VarInt;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::bulk::{self, Held};
use super::frames::{FrameReader, ReadFault, Writer, code};
use super::peer::PeerState;
use super::tells::TopicQueue;
use super::{Shared, priority};
use crate::limits::{
    BULK_STREAMS_MAX, CONNECTION_WINDOW_BYTES, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX,
    PAYLOAD_BYTES_MAX, REQUESTS_MAX, SMALL_BYTES, TOPICS_MAX,
};
use crate::wire::{FrameVersions, Hello, Malformed, Tag, frame};
use crate::{Message, Topic};

/// Why a connection was closed, on the wire.
pub mod close {
    /// The appliance stops.
    pub const BYE: u32 = 0;
    /// A frame was none.
    pub const MALFORMED: u32 = 1;
    /// Not of the fleet, or no more.
    pub const NOT_ADMITTED: u32 = 2;
    /// No common frame version.
    pub const VERSION: u32 = 3;
    /// Another connection has taken over.
    pub const REPLACED: u32 = 4;
    /// No certificate of an appliance.
    pub const STRANGER: u32 = 5;
    /// Too many connections.
    pub const BUSY: u32 = 6;
    /// The hello took too long, or was of another fleet.
    pub const HELLO: u32 = 7;
}

/// A connection that is up.
pub struct Link {
    pub connection: quinn::Connection,
    pub peer: Arc<PeerState>,
    pub run: [u8; 16],
    pub dialed_by: ApplianceId,
    pub version: u16,
    pub since: Instant,
    pub topics: [TopicQueue; TOPICS_MAX],
    /// Requests and bulk streams under way, either way.
    busy: Arc<AtomicUsize>,
}

/// Something under way on a link, which must not be closed under it.
pub struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection never became a link.
#[derive(Debug, thiserror::Error)]
pub enum GreetFault {
    #[error("{0}")]
    Lost(#[from] quinn::ConnectionError),
    #[error("no hello in time")]
    Slow,
    #[error("bad hello: {0}")]
    Bad(ReadFault),
    #[error("no common frame version: ours {}-{}, theirs {}-{} ({program})",
        ours.min, ours.max, theirs.min, theirs.max)]
    Version { ours: FrameVersions, theirs: FrameVersions, program: String },
    #[error("of another fleet")]
    Fleet,
    #[error("not admitted")]
    NotAdmitted,
}

impl Link {
    /// Exchanges hellos on a connection whose other end has proved to be `peer`.
    pub async fn greet(
        shared: &Shared,
        connection: quinn::Connection,
        peer: Arc<PeerState>,
        dialed_by: ApplianceId,
    ) -> Result<Arc<Self>, GreetFault> {
        let close = |code: u32, why: &[u8]| connection.close(VarInt::from_u32(code), why);
        if !shared.admits(peer.id) {
            close(close::NOT_ADMITTED, b"not admitted");
            return Err(GreetFault::NotAdmitted);
        }
        let ours = &shared.hello;
        let theirs = match timeout(HANDSHAKE_TIME_MAX, exchange(&connection, ours)).await {
            Ok(Ok(theirs)) => theirs,
            Ok(Err(fault)) => {
                close(close::HELLO, b"bad hello");
                return Err(fault);
            }
            Err(_) => {
                close(close::HELLO, b"no hello in time");
                return Err(GreetFault::Slow);
            }
        };
        if theirs.fleet != ours.fleet {
            close(close::HELLO, b"of another fleet");
            return Err(GreetFault::Fleet);
        }
        let Some(version) = ours.versions.common(theirs.versions) else {
            close(close::VERSION, b"no common frame version");
            return Err(GreetFault::Version {
                ours: ours.versions,
                theirs: theirs.versions,
                program: theirs.program,
            });
        };
        connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES as u32));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(1 + TOPICS_MAX as u32));
        let both_ways = REQUESTS_MAX + BULK_STREAMS_MAX + SPARE_STREAMS;
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(both_ways as u32));
        info!(peer = %peer.id, address = %connection.remote_address(), version,
            program = theirs.program, "connected");
        Ok(Arc::new(Self {
            connection,
            peer,
            run: theirs.run,
            dialed_by,
            version,
            since: Instant::now(),
            topics: Default::default(),
            busy: Arc::default(),
        }))
    }

    /// Takes note that something is under way.
    pub fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.busy))
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// Whether it may still be used.
    pub fn is_live(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Closes the connection with one of [`close`].
    pub fn close(&self, code: u32, why: &str) {
        self.connection.close(VarInt::from_u32(code), why.as_bytes());
    }

    /// Closes the connection if `fault` is the peer's breach of the protocol.
    pub fn blame(&self, fault: &ReadFault) {
        if let ReadFault::Malformed(what) = fault
            && self.is_live()
        {
            let address = self.connection.remote_address();
            warn!(peer = %self.peer.id, %address, %what, "closed a connection");
            self.close(close::MALFORMED, &what.to_string());
        }
    }

    /// Serves what the peer opens, until the connection is lost.
    pub async fn serve(self: Arc<Self>, shared: Arc<Shared>) {
        let one_way = async {
            while let Ok(stream) = self.connection.accept_uni().await {
                let (link, shared) = (Arc::clone(&self), Arc::clone(&shared));
                tokio::spawn(async move { link.listen(&shared, FrameReader::new(stream)).await });
            }
        };
        let both_ways = async {
            while let Ok((send, receive)) = self.connection.accept_bi().await {
                let (link, shared) = (Arc::clone(&self), Arc::clone(&shared));
                let writer = Writer::new(send, priority::REQUESTS);
                let reader = FrameReader::new(receive);
                tokio::spawn(async move { link.answer(&shared, writer, reader).await });
            }
        };
        tokio::join!(one_way, both_ways);
    }

    /// One stream of tells.
    async fn listen(&self, shared: &Shared, mut reader: FrameReader) {
        let mut first = None;
        loop {
            match reader.frame(&[Tag::Tell]).await {
                Ok(Some(tell)) if *first.get_or_insert(tell.kind) == tell.kind => {
                    let topic = u8::try_from(tell.kind).ok().and_then(Topic::new);
                    let topic = topic.expect("the prefix was checked");
                    shared.handler().told(self.peer.id, topic, tell.payload);
                }
                Ok(Some(_)) => return self.blame(&ReadFault::Malformed(Malformed::Field)),
                Ok(None) => return,
                Err(fault) => return self.blame(&fault),
            }
        }
    }

    /// One stream with a request or a bulk stream.
    async fn answer(self: Arc<Self>, shared: &Shared, writer: Writer, mut reader: FrameReader) {
        match reader.prefix(&[Tag::Request, Tag::Open]).await {
            Ok(Some(prefix)) if prefix.tag == Tag::Open => {
                self.stream(shared, writer, reader).await;
            }
            Ok(Some(prefix)) => self.request(shared, prefix.body(), writer, reader).await,
            Ok(None) => {}
            Err(fault) => self.blame(&fault),
        }
    }

    async fn request(
        &self,
        shared: &Shared,
        body: usize,
        mut writer: Writer,
        mut reader: FrameReader,
    ) {
        let limits = &self.peer.serving;
        let bytes = if body > SMALL_BYTES { body as u32 } else { 0 };
        let (Ok(_place), Ok(_room)) =
            (limits.requests.try_acquire(), limits.bytes.try_acquire_many(bytes))
        else {
            writer.reset(code::BUSY);
            return reader.stop(code::BUSY);
        };
        let _busy = self.busy();
        let asked = match reader.frame(&[Tag::Request]).await {
            Ok(Some(asked)) => asked,
            // Withdrawn before it was complete.
            Ok(None) => return,
            Err(fault) => return self.blame(&fault),
        };
        let message = Message { kind: asked.kind, header: asked.header, payload: asked.payload };
        let reply = shared.handler().asked(self.peer.id, message).await;
        reader.notice_end();
        if reply.header.len() > HEADER_BYTES_MAX || reply.payload.len() > PAYLOAD_BYTES_MAX {
            let (header, payload) = (reply.header.len(), reply.payload.len());
            tracing::error!(kind = reply.kind, header, payload, "a reply is over the limits");
            return writer.reset(code::BROKEN);
        }
        let len = reply.len();
        let mut pieces = frame(Tag::Reply, reply.kind, reply.header, reply.payload);
        if len <= SMALL_BYTES {
            // A fault means that the asker is gone.
            if writer.write(&mut pieces).await.is_ok() {
                let _ = writer.finish();
            }
            return;
        }
        // Waits while much is being answered; a lost connection ends the writes of the others.
        let room = self.peer.replying.acquire_many(len as u32).await;
        let _room = room.expect("it is never closed");
        if writer.write(&mut pieces).await.is_ok() && writer.finish().is_ok() {
            writer.delivered().await;
        }
    }

    async fn stream(self: Arc<Self>, shared: &Shared, writer: Writer, mut reader: FrameReader) {
        let Ok(place) = Arc::clone(&self.peer.streams_served).try_acquire_owned() else {
            writer.reset(code::BUSY);
            return reader.stop(code::BUSY);
        };
        let opening: Bytes = match reader.frame(&[Tag::Open]).await {
            Ok(Some(opened)) => opened.header,
            Ok(None) => return,
            Err(fault) => return self.blame(&fault),
        };
        writer.set_priority(priority::BULK);
        let held = Held { _busy: self.busy(), link: Arc::clone(&self), _place: place };
        let stream = bulk::stream(writer, reader, held);
        shared.handler().streamed(self.peer.id, opening, stream).await;
    }
}

async fn exchange(connection: &quinn::Connection, ours: &Hello) -> Result<Hello, GreetFault> {
    let say = async {
        let mut writer = Writer::new(connection.open_uni().await?, priority::TELLS);
        let mut pieces = frame(Tag::Hello, 0, Bytes::new(), ours.to_bytes());
        let lost = |_| GreetFault::Bad(ReadFault::Lost);
        writer.write(&mut pieces).await.map_err(lost)?;
        writer.finish().map_err(|_| GreetFault::Bad(ReadFault::Lost))
    };
    let hear = async {
        let mut reader = FrameReader::new(connection.accept_uni().await?);
        let said = reader.frame(&[Tag::Hello]).await.map_err(GreetFault::Bad)?;
        let said = said.ok_or(GreetFault::Bad(ReadFault::Cut(None)))?;
        Hello::parse(&said.payload).map_err(|fault| GreetFault::Bad(fault.into()))
    };
    let ((), theirs) = tokio::try_join!(say, hear)?;
    Ok(theirs)
}

/// Streams that are over here and not yet there.
const SPARE_STREAMS: usize = 64;
