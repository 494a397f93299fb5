//! The mesh within one process: the twin of `quic.rs` for tests of what stands on it.
//!
//! Invariant: it keeps the contract of [`Mesh`], delivers at once, and loses only what a test cuts.
//! Absent on purpose: certificates, newcomers, sizes of windows. It has no clock but the deadlines
//! of what is asked, which are tokio's, so a test may pause them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::ApplianceId;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::bulk::{ReceiverKind, SenderKind};
use crate::limits::{
    BULK_STREAMS_MAX, CONNECT_WAIT_MAX, HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, REQUESTS_MAX,
    TELL_BYTES_MAX, TELLS_WAITING_MAX,
};
use crate::seam::SharedHandler;
use crate::{
    BulkReceiver, BulkSender, BulkStream, Chunk, Handler, Mesh, MeshFault, Message, Peer, Topic,
};

/// The network that the meshes of one process share.
#[derive(Clone, Default)]
pub struct MemoryFleet(Arc<Network>);

#[derive(Default)]
struct Network {
    state: Mutex<State>,
    /// Grows with every change, to wake who waits for a connection.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    appliances: HashMap<ApplianceId, Weak<Member>>,
    cut: HashSet<(ApplianceId, ApplianceId)>,
}

/// One appliance's mesh. Dropping it is like closing it.
pub struct MemoryMesh(Arc<Member>);

struct Member {
    id: ApplianceId,
    network: Arc<Network>,
    runtime: Handle,
    handler: OnceLock<SharedHandler>,
    peers: Mutex<HashSet<ApplianceId>>,
    ways: Mutex<HashMap<ApplianceId, Arc<Way>>>,
    dropped: AtomicU64,
    closed: watch::Sender<bool>,
}

/// From one appliance to another.
struct Way {
    requests: Semaphore,
    streams: Arc<Semaphore>,
    tells: Mutex<HashMap<Topic, mpsc::Sender<Bytes>>>,
}

impl MemoryFleet {
    /// A mesh for `id`, which nobody else may be at the same time. Must be called in a tokio
    /// runtime.
    pub fn attach(&self, id: ApplianceId) -> MemoryMesh {
        let member = Arc::new(Member {
            id,
            network: Arc::clone(&self.0),
            runtime: Handle::current(),
            handler: OnceLock::new(),
            peers: Mutex::default(),
            ways: Mutex::default(),
            dropped: AtomicU64::new(0),
            closed: watch::Sender::new(false),
        });
        let earlier = self.0.state.lock().appliances.insert(id, Arc::downgrade(&member));
        assert!(earlier.and_then(|weak| weak.upgrade()).is_none(), "{id} is attached already");
        self.0.wake();
        MemoryMesh(member)
    }

    /// Cuts the connection between two appliances: what is under way on it is lost.
    pub fn cut(&self, one: ApplianceId, other: ApplianceId) {
        self.0.state.lock().cut.insert((one.min(other), one.max(other)));
        self.0.wake();
    }

    /// Lets them connect again.
    pub fn mend(&self, one: ApplianceId, other: ApplianceId) {
        self.0.state.lock().cut.remove(&(one.min(other), one.max(other)));
        self.0.wake();
    }
}

impl MemoryMesh {
    /// Starts to answer. Once only.
    pub fn serve<H: Handler>(&self, handler: Arc<H>) {
        assert!(self.0.handler.set(handler).is_ok(), "a mesh is served once");
        self.0.network.wake();
    }
}

impl Drop for MemoryMesh {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl Network {
    fn wake(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn member(&self, id: ApplianceId) -> Option<Arc<Member>> {
        self.state.lock().appliances.get(&id)?.upgrade()
    }
}

impl Member {
    fn shut(&self) {
        self.closed.send_replace(true);
        self.network.wake();
    }

    fn lists(&self, other: ApplianceId) -> bool {
        self.peers.lock().contains(&other)
    }

    fn admits(&self, other: ApplianceId) -> bool {
        !*self.closed.borrow() && self.handler.get().is_some_and(|handler| handler.admits(other))
    }

    /// Whether the peer is one that could be connected at all.
    fn knows(&self, to: ApplianceId) -> bool {
        self.lists(to) || self.network.member(to).is_some_and(|other| other.lists(self.id))
    }

    /// The other end, if there is a connection.
    fn connected(&self, to: ApplianceId) -> Option<Arc<Member>> {
        let pair = (self.id.min(to), self.id.max(to));
        if to == self.id || self.network.state.lock().cut.contains(&pair) {
            return None;
        }
        let other = self.network.member(to)?;
        let dialed = self.lists(to) || other.lists(self.id);
        (dialed && self.admits(to) && other.admits(self.id)).then_some(other)
    }

    /// Waits for a connection, and gives its end.
    async fn connect(&self, to: ApplianceId) -> Arc<Member> {
        let mut changed = self.network.changed.subscribe();
        loop {
            if let Some(other) = self.connected(to) {
                return other;
            }
            // The sender is in `network`, which we hold.
            let _ = changed.changed().await;
        }
    }

    fn way(&self, to: ApplianceId) -> Arc<Way> {
        let mut ways = self.ways.lock();
        let way = ways.entry(to).or_insert_with(|| {
            Arc::new(Way {
                requests: Semaphore::new(REQUESTS_MAX),
                streams: Arc::new(Semaphore::new(BULK_STREAMS_MAX)),
                tells: Mutex::default(),
            })
        });
        Arc::clone(way)
    }

    async fn ask(
        &self,
        to: ApplianceId,
        request: Message,
        sent: &mut bool,
    ) -> Result<Message, MeshFault> {
        let way = self.way(to);
        let _place = way.requests.acquire().await.map_err(|_| MeshFault::NotSent)?;
        let other = self.connect(to).await;
        *sent = true;
        let from = self.id;
        let answering = Arc::clone(&other);
        let answered = other.runtime.spawn(async move {
            let handler = answering.handler.get().expect("it admits, so it is served");
            handler.asked(from, request).await
        });
        let reply = answered.await.map_err(|_| MeshFault::Unknown)?;
        if self.connected(to).is_none() {
            return Err(MeshFault::Unknown);
        }
        if reply.header.len() > HEADER_BYTES_MAX || reply.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(MeshFault::Unknown);
        }
        Ok(reply)
    }

    /// False if it is dropped.
    fn tell(&self, to: ApplianceId, topic: Topic, bytes: Bytes) -> bool {
        if bytes.len() > TELL_BYTES_MAX {
            return false;
        }
        let Some(other) = self.connected(to) else { return false };
        let way = self.way(to);
        let mut tells = way.tells.lock();
        let queue = tells.entry(topic).or_insert_with(|| {
            let (queue, mut waiting) = mpsc::channel::<Bytes>(TELLS_WAITING_MAX);
            let (network, from) = (Arc::clone(&self.network), self.id);
            other.runtime.spawn(async move {
                while let Some(bytes) = waiting.recv().await {
                    // A restarted appliance is another member: looked up each time.
                    let Some(other) = network.member(to) else { continue };
                    if other.connected(from).is_some()
                        && let Some(handler) = other.handler.get()
                    {
                        handler.told(from, topic, bytes);
                    }
                }
            });
            queue
        });
        queue.try_send(bytes).is_ok()
    }

    /// A stream's one direction.
    fn channel(&self, to: ApplianceId, place: &Arc<dyn Send + Sync>) -> (BulkSender, BulkReceiver) {
        let (send, receive) = mpsc::channel(PIECES_WAITING);
        let line = || Line {
            ends: (self.id, to),
            network: Arc::clone(&self.network),
            changed: self.network.changed.subscribe(),
            _place: Arc::clone(place),
        };
        let sender = MemorySender { line: line(), send: Some(send) };
        let receiver = MemoryReceiver { line: line(), receive: Some(receive) };
        (BulkSender(SenderKind::Memory(sender)), BulkReceiver(ReceiverKind::Memory(receiver)))
    }
}

#[async_trait]
impl Mesh for MemoryMesh {
    async fn ask(
        &self,
        to: ApplianceId,
        request: Message,
        deadline: Duration,
    ) -> Result<Message, MeshFault> {
        if request.header.len() > HEADER_BYTES_MAX || request.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(MeshFault::TooLarge);
        }
        if !self.0.knows(to) {
            return Err(MeshFault::NotSent);
        }
        let mut sent = false;
        match timeout(deadline, self.0.ask(to, request, &mut sent)).await {
            Ok(answered) => answered,
            Err(_) if sent => Err(MeshFault::Unknown),
            Err(_) => Err(MeshFault::NotSent),
        }
    }

    fn tell(&self, to: ApplianceId, topic: Topic, bytes: Bytes) {
        if !self.0.tell(to, topic, bytes) {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn open_stream(&self, to: ApplianceId, opening: Bytes) -> Result<BulkStream, MeshFault> {
        if opening.len() > HEADER_BYTES_MAX {
            return Err(MeshFault::TooLarge);
        }
        if !self.0.knows(to) {
            return Err(MeshFault::NotSent);
        }
        let place = Arc::clone(&self.0.way(to).streams).try_acquire_owned();
        let place: Arc<dyn Send + Sync> = Arc::new(place.map_err(|_| MeshFault::Refused)?);
        let other = timeout(CONNECT_WAIT_MAX, self.0.connect(to)).await;
        let other = other.map_err(|_| MeshFault::NotSent)?;
        let (sender, their_receiver) = self.0.channel(to, &place);
        let (their_sender, receiver) = self.0.channel(to, &place);
        let theirs = BulkStream { sender: their_sender, receiver: their_receiver };
        let from = self.0.id;
        let serving = Arc::clone(&other);
        other.runtime.spawn(async move {
            let handler = serving.handler.get().expect("it admits, so it is served");
            handler.streamed(from, opening, theirs).await;
        });
        Ok(BulkStream { sender, receiver })
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        *self.0.peers.lock() = peers.into_iter().map(|peer| peer.id).collect();
        self.0.network.wake();
    }

    fn recheck(&self) {
        self.0.network.wake();
    }

    fn round_trip(&self, to: ApplianceId) -> Option<Duration> {
        self.0.connected(to).map(|_| Duration::from_micros(1))
    }

    fn is_connected(&self, to: ApplianceId) -> bool {
        self.0.connected(to).is_some()
    }

    fn tells_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.0.shut();
    }
}

/// The half of a stream that sends.
pub struct MemorySender {
    line: Line,
    /// None once the end is declared.
    send: Option<mpsc::Sender<Piece>>,
}

/// The half that receives.
pub struct MemoryReceiver {
    line: Line,
    /// None once the end was seen.
    receive: Option<mpsc::Receiver<Piece>>,
}

enum Piece {
    Chunk(Chunk),
    End,
}

/// What a half knows of the connection under it.
struct Line {
    ends: (ApplianceId, ApplianceId),
    network: Arc<Network>,
    changed: watch::Receiver<u64>,
    _place: Arc<dyn Send + Sync>,
}

impl Line {
    /// Returns when the connection is cut.
    async fn cut(&mut self) {
        loop {
            let end = self.network.member(self.ends.0);
            if end.is_none_or(|end| end.connected(self.ends.1).is_none()) {
                return;
            }
            // The sender is in `network`, which we hold.
            let _ = self.changed.changed().await;
        }
    }
}

impl MemorySender {
    pub(crate) async fn send(&mut self, chunk: Chunk) -> Result<(), MeshFault> {
        let send = self.send.as_ref().ok_or(MeshFault::NotSent)?;
        tokio::select! {
            biased;
            () = self.line.cut() => Err(MeshFault::Unknown),
            sent = send.send(Piece::Chunk(chunk)) => sent.map_err(|_| MeshFault::Unknown),
        }
    }

    pub(crate) async fn finish(&mut self) -> Result<(), MeshFault> {
        let send = self.send.take().ok_or(MeshFault::NotSent)?;
        tokio::select! {
            biased;
            () = self.line.cut() => Err(MeshFault::Unknown),
            sent = send.send(Piece::End) => sent.map_err(|_| MeshFault::Unknown),
        }
    }
}

impl MemoryReceiver {
    pub(crate) async fn receive(&mut self) -> Result<Option<Chunk>, MeshFault> {
        let Some(open) = &mut self.receive else { return Ok(None) };
        let piece = tokio::select! {
            biased;
            () = self.line.cut() => None,
            piece = open.recv() => piece,
        };
        match piece {
            Some(Piece::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Piece::End) => {
                self.receive = None;
                Ok(None)
            }
            None => Err(MeshFault::Unknown),
        }
    }
}

/// Chunks on their way in one direction of a stream.
const PIECES_WAITING: usize = 4;
