//! The mesh over QUIC: one UDP socket for both directions, TLS on every connection.
//!
//! Invariant: who is at the other end of a connection is what its certificate says, and the handler
//! admits it. Connections are made when somebody is asked or told something, and kept from then
//! on. Timers here are QUIC's and those of dialing; nothing that is decided about data depends on
//! them.
//!
//! Absent on purpose: what frames mean. This file and its folder alone name quinn.

mod bulk;
mod config;
mod frames;
mod join;
mod link;
mod peer;
mod tells;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use model::{ApplianceId, Clock, Entropy};
use parking_lot::Mutex;
use quinn::{ClientConfig, Endpoint, Incoming, TokioRuntime, VarInt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use self::bulk::{Held, stream};
pub use self::bulk::{QuicReceiver, QuicSender};
use self::config::{configs, endpoint_config, widen};
use self::frames::{FrameReader, Writer, unanswered, unsent};
pub use self::join::{JoinFault, join};
use self::link::{Link, close};
use self::peer::{DialFault, PeerState};
pub use self::tls::BadCredentials;
use crate::limits::{
    ADDRESSES_MAX, CONNECT_WAIT_MAX, HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, HEADER_BYTES_MAX,
    JOINS_MAX, PAYLOAD_BYTES_MAX, PEERS_MAX, SMALL_BYTES,
};
use crate::seam::SharedHandler;
use crate::wire::{FrameVersions, Hello, Tag, frame};
use crate::{BulkStream, Credentials, Handler, Mesh, MeshFault, Message, Peer, Topic};

/// What may differ between two appliances.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The UDP address for both directions; port 0 takes any.
    pub listen: SocketAddr,
    /// The release, as peers log it.
    pub program: String,
    /// The frames that this release speaks; [`FrameVersions::OURS`] but in tests.
    pub versions: FrameVersions,
    /// How sending adapts to the path.
    pub congestion: Congestion,
}

/// How fast a connection sends into a path of unknown width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 9438: fair to others. Measured: 0.5 MiB/s on a path of 20 ms that loses 2 %.
    Cubic,
    /// By measured bandwidth. On the same path 60 MiB/s; without loss as fast as CUBIC.
    #[default]
    Bbr,
}

/// What a mesh is made of besides its settings.
pub struct Parts {
    /// Who we are, and whom we trust.
    pub credentials: Credentials,
    /// For the lifetimes of certificates.
    pub clock: Arc<dyn Clock>,
    /// For the name of this run.
    pub entropy: Arc<dyn Entropy>,
}

/// Why there is no mesh.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// The address can't be bound.
    #[error("can't listen for other appliances: {0}")]
    Socket(#[from] io::Error),
    /// Join anew, or renew them.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
}

/// How the path to a peer does, for whom it is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// Smoothed.
    pub round_trip: Duration,
    /// Bytes that may be under way unacknowledged.
    pub window_bytes: u64,
    /// Of one datagram, as the path was found to take.
    pub datagram_bytes: u16,
    /// Datagrams sent on this connection.
    pub sent: u64,
    /// Of them, those taken for lost.
    pub lost: u64,
}

/// The mesh over QUIC. Dropping it closes every connection.
pub struct QuicMesh(Arc<Shared>);

/// What the tasks of a mesh share.
pub(crate) struct Shared {
    id: ApplianceId,
    endpoint: Endpoint,
    runtime: Handle,
    settings: Settings,
    hello: Hello,
    clock: Arc<dyn Clock>,
    handler: OnceLock<SharedHandler>,
    client: Mutex<ClientConfig>,
    peers: Mutex<HashMap<ApplianceId, Known>>,
    handshakes: Arc<Semaphore>,
    joins: Semaphore,
    closed: watch::Sender<bool>,
    dropped: AtomicU64,
    stranger: Mutex<String>,
}

struct Known {
    state: Arc<PeerState>,
    /// In the list that `set_peers` gave.
    listed: bool,
}

impl QuicMesh {
    /// Binds the socket. Nobody is answered or dialed before [`Self::serve`]. Must be called in a
    /// tokio runtime, which runs the mesh's tasks.
    pub fn bind(settings: Settings, parts: Parts) -> Result<Self, BindFault> {
        let Parts { credentials, clock, entropy } = parts;
        let (server, client) = configs(&credentials, &clock, settings.congestion)?;
        let socket = UdpSocket::bind(settings.listen)?;
        widen(&socket);
        let (mut run, mut id_key) = ([0; 16], [0; 32]);
        entropy.fill(&mut run);
        entropy.fill(&mut id_key);
        let config = endpoint_config(&credentials, id_key);
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))?;
        let hello = Hello {
            versions: settings.versions,
            fleet: credentials.fleet(),
            run,
            program: settings.program.clone(),
        };
        Ok(Self(Arc::new(Shared {
            id: credentials.appliance(),
            endpoint,
            runtime: Handle::current(),
            settings,
            hello,
            clock,
            handler: OnceLock::new(),
            client: Mutex::new(client),
            peers: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            joins: Semaphore::new(JOINS_MAX),
            closed: watch::Sender::new(false),
            dropped: AtomicU64::new(0),
            stranger: Mutex::default(),
        })))
    }

    /// Starts to answer and to dial. Once only.
    pub fn serve<H: Handler>(&self, handler: Arc<H>) {
        let set = self.0.handler.set(handler);
        assert!(set.is_ok(), "a mesh is served once");
        let shared = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            while let Some(incoming) = shared.endpoint.accept().await {
                shared.admit(incoming);
            }
        });
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.endpoint.local_addr()
    }

    /// Shows other credentials from the next connection on: a renewed certificate of the same
    /// appliance and fleet. Connections that are up stay.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), BadCredentials> {
        assert_eq!(credentials.appliance(), self.0.id, "an appliance keeps its identity");
        let shared = &self.0;
        let (server, client) = configs(credentials, &shared.clock, shared.settings.congestion)?;
        shared.endpoint.set_server_config(Some(server));
        *shared.client.lock() = client;
        Ok(())
    }

    /// How the path to a connected peer does.
    pub fn path(&self, peer: ApplianceId) -> Option<PathFacts> {
        let path = self.0.peer(peer)?.live()?.connection.stats().path;
        Some(PathFacts {
            round_trip: path.rtt,
            window_bytes: path.cwnd,
            datagram_bytes: path.current_mtu,
            sent: path.sent_packets,
            lost: path.lost_packets,
        })
    }

    /// The frame version spoken with a connected peer.
    pub fn frame_version(&self, peer: ApplianceId) -> Option<u16> {
        Some(self.0.peer(peer)?.live()?.version)
    }
}

#[async_trait]
impl Mesh for QuicMesh {
    async fn ask(
        &self,
        to: ApplianceId,
        request: Message,
        deadline: Duration,
    ) -> Result<Message, MeshFault> {
        if request.header.len() > HEADER_BYTES_MAX || request.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(MeshFault::TooLarge);
        }
        let peer = self.0.peer(to).ok_or(MeshFault::NotSent)?;
        let mut sent = false;
        match timeout(deadline, self.0.ask(&peer, request, &mut sent)).await {
            Ok(answered) => answered,
            Err(_) if sent => Err(MeshFault::Unknown),
            Err(_) => Err(MeshFault::NotSent),
        }
    }

    fn tell(&self, to: ApplianceId, topic: Topic, bytes: Bytes) {
        if !self.0.tell(to, topic, bytes) {
            self.0.dropped(1);
        }
    }

    async fn open_stream(&self, to: ApplianceId, opening: Bytes) -> Result<BulkStream, MeshFault> {
        if opening.len() > HEADER_BYTES_MAX {
            return Err(MeshFault::TooLarge);
        }
        let peer = self.0.peer(to).ok_or(MeshFault::NotSent)?;
        let place = Arc::clone(&peer.streams_opened).try_acquire_owned();
        let place = place.map_err(|_| MeshFault::Refused)?;
        let opened = timeout(CONNECT_WAIT_MAX, self.0.open(&peer, opening, place)).await;
        opened.unwrap_or(Err(MeshFault::NotSent))
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        self.0.set_peers(peers);
        self.recheck();
    }

    fn recheck(&self) {
        let known: Vec<_> =
            self.0.peers.lock().values().map(|known| Arc::clone(&known.state)).collect();
        for peer in known.iter().filter(|peer| peer.has_links() && !self.0.admits(peer.id)) {
            peer.close(close::NOT_ADMITTED, "no longer admitted");
        }
    }

    fn round_trip(&self, to: ApplianceId) -> Option<Duration> {
        Some(self.0.peer(to)?.live()?.connection.rtt())
    }

    fn is_connected(&self, to: ApplianceId) -> bool {
        self.0.peer(to).is_some_and(|peer| peer.live().is_some())
    }

    fn tells_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.0.shut();
        // What does not say goodbye in time times out at the other end.
        let _ = timeout(GOODBYE_MAX, self.0.endpoint.wait_idle()).await;
    }
}

impl Drop for QuicMesh {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl Shared {
    /// Only called once connections are made, which is after `serve`.
    fn handler(&self) -> &SharedHandler {
        self.handler.get().expect("nobody is dialed or accepted before a mesh is served")
    }

    fn admits(&self, peer: ApplianceId) -> bool {
        peer != self.id && self.handler.get().is_some_and(|handler| handler.admits(peer))
    }

    fn peer(&self, id: ApplianceId) -> Option<Arc<PeerState>> {
        self.peers.lock().get(&id).map(|known| Arc::clone(&known.state))
    }

    fn shut(&self) {
        self.closed.send_replace(true);
        self.endpoint.close(VarInt::from_u32(close::BYE), b"the appliance stops");
        // Links and peers point at each other.
        for known in self.peers.lock().values() {
            known.state.forget_links();
        }
    }

    fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        counter!(TELLS_DROPPED).increment(count);
    }

    fn set_peers(&self, mut peers: Vec<Peer>) {
        if peers.len() > PEERS_MAX {
            warn!(given = peers.len(), max = PEERS_MAX, "too many peers: the last are left out");
            peers.truncate(PEERS_MAX);
        }
        let mut known = self.peers.lock();
        for held in known.values_mut() {
            held.listed = false;
        }
        for Peer { id, mut addresses } in peers {
            addresses.truncate(ADDRESSES_MAX);
            let held = known
                .entry(id)
                .or_insert_with(|| Known { state: PeerState::new(id), listed: true });
            held.listed = true;
            held.state.set_addresses(addresses);
        }
        for held in known.values().filter(|held| !held.listed) {
            held.state.set_addresses(Vec::new());
        }
        drop(known);
        self.prune();
    }

    /// Forgets who is neither listed nor connected.
    fn prune(&self) {
        self.peers.lock().retain(|_, known| known.listed || known.state.has_links());
    }

    async fn ask(
        self: &Arc<Self>,
        peer: &Arc<PeerState>,
        request: Message,
        sent: &mut bool,
    ) -> Result<Message, MeshFault> {
        if self.handler.get().is_none() {
            return Err(MeshFault::NotSent);
        }
        let closed = |_| MeshFault::NotSent;
        let _place = peer.asking.requests.acquire().await.map_err(closed)?;
        let bytes = if request.len() > SMALL_BYTES { request.len() as u32 } else { 0 };
        let _room = peer.asking.bytes.acquire_many(bytes).await.map_err(closed)?;
        let (link, send, receive) = loop {
            let link = self.link(peer).await;
            if let Ok((send, receive)) = link.connection.open_bi().await {
                break (link, send, receive);
            }
        };
        let _busy = link.busy();
        let mut writer = Writer::new(send, priority::REQUESTS);
        let mut reader = FrameReader::new(receive);
        let mut pieces = frame(Tag::Request, request.kind, request.header, request.payload);
        writer.write(&mut pieces).await.map_err(|fault| unsent(&fault))?;
        *sent = true;
        writer.finish().map_err(|_| MeshFault::Unknown)?;
        match reader.frame(&[Tag::Reply]).await {
            Ok(Some(reply)) => {
                reader.notice_end();
                let (header, payload) = (reply.header, reply.payload);
                Ok(Message { kind: reply.kind, header, payload })
            }
            Ok(None) => Err(MeshFault::Unknown),
            Err(fault) => {
                link.blame(&fault);
                Err(unanswered(&fault))
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        peer: &Arc<PeerState>,
        opening: Bytes,
        place: OwnedSemaphorePermit,
    ) -> Result<BulkStream, MeshFault> {
        if self.handler.get().is_none() {
            return Err(MeshFault::NotSent);
        }
        let (link, send, receive) = loop {
            let link = self.link(peer).await;
            if let Ok((send, receive)) = link.connection.open_bi().await {
                break (link, send, receive);
            }
        };
        let mut writer = Writer::new(send, priority::BULK);
        let mut pieces = frame(Tag::Open, 0, opening, Bytes::new());
        writer.write(&mut pieces).await.map_err(|fault| unsent(&fault))?;
        let held = Held { _busy: link.busy(), link, _place: place };
        Ok(stream(writer, FrameReader::new(receive), held))
    }

    /// False if the tell is dropped.
    fn tell(self: &Arc<Self>, to: ApplianceId, topic: Topic, bytes: Bytes) -> bool {
        let Some(peer) = self.peer(to) else { return false };
        let Some(link) = peer.live() else {
            if self.handler.get().is_some() {
                self.want(&peer);
            }
            return false;
        };
        let queue = &link.topics[usize::from(topic.get())];
        let queued = queue.push(bytes);
        if queue.start() {
            let shared = Arc::clone(self);
            let link = Arc::clone(&link);
            self.runtime.spawn(async move {
                let queue = &link.topics[usize::from(topic.get())];
                let unsent = queue.write(topic, &link.connection).await;
                shared.dropped(unsent);
            });
        }
        queued
    }

    /// Takes or refuses a stranger's first packet.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let Ok(place) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            return incoming.refuse();
        };
        let crowded = self.handshakes.available_permits() < HANDSHAKES_MAX / 2;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            // It fails only if it may not be retried.
            let _ = incoming.retry();
            return;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let address = incoming.remote_address();
            if let Err(fault) = shared.accept(incoming, place).await {
                let text = format!("{}: {fault}", address.ip());
                let mut said = shared.stranger.lock();
                if *said == text {
                    debug!(%address, %fault, "refused a connection");
                } else {
                    warn!(%address, %fault, "refused a connection");
                    *said = text;
                }
            }
        });
    }

    async fn accept(
        self: &Arc<Self>,
        incoming: Incoming,
        place: OwnedSemaphorePermit,
    ) -> Result<(), DialFault> {
        let connecting = incoming.accept()?;
        let connection =
            timeout(HANDSHAKE_TIME_MAX, connecting).await.map_err(|_| DialFault::Slow)??;
        if tls::protocol(&connection).as_deref() == Some(tls::JOIN) {
            drop(place);
            self.serve_join(connection).await;
            return Ok(());
        }
        let Some(id) = tls::identity(&connection).filter(|id| self.admits(*id)) else {
            let (code, why) = match tls::identity(&connection) {
                Some(_) => (close::NOT_ADMITTED, "not admitted"),
                None => (close::STRANGER, "no certificate of an appliance"),
            };
            connection.close(VarInt::from_u32(code), why.as_bytes());
            counter!(CONNECTIONS_REFUSED).increment(1);
            return Err(DialFault::WrongName);
        };
        let peer = {
            let mut peers = self.peers.lock();
            let known = peers.entry(id);
            let known = known.or_insert_with(|| Known { state: PeerState::new(id), listed: false });
            Arc::clone(&known.state)
        };
        let greeted = Link::greet(self, connection, Arc::clone(&peer), id).await;
        drop(place);
        match greeted {
            Ok(link) => self.register(link),
            Err(fault) => {
                peer.report(&fault.into());
                self.prune();
            }
        }
        Ok(())
    }
}

/// Which streams go first when the path is full.
pub(crate) mod priority {
    /// Less the number of the topic.
    pub const TELLS: i32 = 100;
    /// Requests and replies.
    pub const REQUESTS: i32 = 10;
    /// Bulk.
    pub const BULK: i32 = -10;
}

/// How long `close` waits for goodbyes to be sent.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Tells that were dropped.
const TELLS_DROPPED: &str = "holdfast_mesh_tells_dropped_total";
/// Connections of strangers that got through TLS and no further.
const CONNECTIONS_REFUSED: &str = "holdfast_mesh_connections_refused_total";

#[cfg(test)]
mod tests;
