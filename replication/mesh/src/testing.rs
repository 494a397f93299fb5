//! What the tests of this crate share: a clock, entropy, a handler that records, and a path between
//! two UDP sockets that can be slow, lossy or cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{ApplianceId, Clock, Entropy, Timestamp};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    BulkStream, Chunk, Congestion, Credentials, FleetAuthority, FrameVersions, Handler, Message,
    Parts, QuicMesh, Settings, Topic,
};

pub const A: ApplianceId = ApplianceId::new(0xa);
pub const B: ApplianceId = ApplianceId::new(0xb);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// 2026-01-01.
pub const NOW: Timestamp = Timestamp::from_parts(1_767_225_600, 0);

/// A clock that tests set.
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.as_nanos())))
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Different bytes each time in a process, and the same in each process.
pub struct TestEntropy;

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&drawn.to_be_bytes()).finalize_xof().fill(bytes);
    }
}

/// Kinds that [`Recorder`] understands; it echoes all others.
pub const SLEEP: u16 = 1;
pub const HUGE: u16 = 2;

/// A handler that echoes requests and chunks, and keeps what it was told.
#[derive(Default)]
pub struct Recorder {
    pub asked: AtomicUsize,
    pub finished: AtomicUsize,
    pub told: Mutex<Vec<(ApplianceId, Topic, Bytes)>>,
    pub heard: Notify,
    pub streams: AtomicUsize,
    pub joined: AtomicUsize,
    pub removed: Mutex<Vec<ApplianceId>>,
    /// Streams are kept open and unread.
    pub hoard: AtomicBool,
    pub hoarded: Mutex<Vec<BulkStream>>,
    pub endings: Mutex<Vec<Result<(), crate::MeshFault>>>,
}

impl Recorder {
    /// How many frames of any sort have come here.
    pub fn frames(&self) -> usize {
        let told = self.told.lock().len();
        let asked = self.asked.load(Ordering::SeqCst);
        told + asked + self.streams.load(Ordering::SeqCst) + self.joined.load(Ordering::SeqCst)
    }
}

impl Handler for Recorder {
    fn admits(&self, peer: ApplianceId) -> bool {
        !self.removed.lock().contains(&peer)
    }

    async fn asked(&self, _from: ApplianceId, request: Message) -> Message {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match request.kind {
            SLEEP => sleep(Duration::from_millis(500)).await,
            HUGE => {
                let payload = Bytes::from(vec![0; crate::limits::PAYLOAD_BYTES_MAX + 1]);
                return Message { payload, ..request };
            }
            _ => {}
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        request
    }

    fn told(&self, from: ApplianceId, topic: Topic, bytes: Bytes) {
        self.told.lock().push((from, topic, bytes));
        self.heard.notify_one();
    }

    async fn streamed(&self, _from: ApplianceId, _opening: Bytes, mut stream: BulkStream) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        if self.hoard.load(Ordering::SeqCst) {
            return self.hoarded.lock().push(stream);
        }
        let ending = loop {
            match stream.receiver.receive().await {
                Ok(Some(chunk)) => {
                    let ack = Chunk::header_only(chunk.header);
                    if let Err(fault) = stream.sender.send(ack).await {
                        break Err(fault);
                    }
                }
                Ok(None) => break stream.sender.finish().await,
                Err(fault) => break Err(fault),
            }
        };
        self.endings.lock().push(ending);
    }

    async fn join(&self, _from: SocketAddr, request: Bytes) -> Bytes {
        self.joined.fetch_add(1, Ordering::SeqCst);
        if request.starts_with(b"slow") {
            sleep(Duration::from_secs(1)).await;
        }
        Bytes::from([b"welcome, ", request.as_ref()].concat())
    }
}

pub fn authority() -> FleetAuthority {
    FleetAuthority::found(&TestEntropy, NOW)
}

pub fn settings() -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        program: "test".to_owned(),
        versions: FrameVersions::OURS,
        congestion: Congestion::Cubic,
    }
}

pub fn parts(credentials: Credentials) -> Parts {
    Parts { credentials, clock: TestClock::at(NOW), entropy: Arc::new(TestEntropy) }
}

/// A mesh of `id` in the fleet, with a handler that records.
pub fn appliance(fleet: &FleetAuthority, id: ApplianceId) -> (Arc<QuicMesh>, Arc<Recorder>) {
    let credentials = fleet.issue(id, &TestEntropy, NOW, 30 * DAY);
    let mesh = QuicMesh::bind(settings(), parts(credentials)).unwrap();
    let recorder = Arc::new(Recorder::default());
    mesh.serve(Arc::clone(&recorder));
    (Arc::new(mesh), recorder)
}

pub fn message(kind: u16, payload: Bytes) -> Message {
    Message { kind, header: Bytes::from_static(b"header"), payload }
}

/// Waits until `holds`, and fails after 10 s.
#[track_caller]
pub fn until(holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let give_up = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < give_up, "waited in vain: {caller}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A path to one UDP address: dial [`Relay::address`] instead.
pub struct Relay {
    pub address: SocketAddr,
    pub path: Arc<Path>,
}

/// How the path is.
#[derive(Default)]
pub struct Path {
    pub cut: AtomicBool,
    /// Bytes a second each way; 0 is no limit.
    pub rate: AtomicU64,
    /// Bytes that got through, both ways.
    pub carried: AtomicU64,
}

impl Relay {
    pub async fn to(target: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let path = Arc::new(Path::default());
        let client = Arc::new(Mutex::new(target));
        let there = Arc::new(Mutex::new(target));
        let ends = (Arc::clone(&front), Arc::clone(&back));
        tokio::spawn(carry(ends.0, Some(Arc::clone(&client)), ends.1, there, Arc::clone(&path)));
        tokio::spawn(carry(back, None, front, client, Arc::clone(&path)));
        Self { address, path }
    }
}

/// Carries datagrams from one socket out of another; `sender` is who sent the last.
async fn carry(
    from: Arc<UdpSocket>,
    sender: Option<Arc<Mutex<SocketAddr>>>,
    out_of: Arc<UdpSocket>,
    to: Arc<Mutex<SocketAddr>>,
    path: Arc<Path>,
) {
    let (queue, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((when, datagram)) = waiting.recv().await {
            sleep_until(when).await;
            let address = *to.lock();
            let _ = out_of.send_to(&datagram, address).await;
        }
    });
    let mut free = Instant::now();
    let mut buffer = vec![0; 65536];
    while let Ok((len, source)) = from.recv_from(&mut buffer).await {
        if let Some(sender) = &sender {
            *sender.lock() = source;
        }
        let rate = path.rate.load(Ordering::Relaxed);
        let now = Instant::now();
        free = free.max(now);
        // A router with a queue of 100 ms.
        let full = free > now + Duration::from_millis(100);
        if path.cut.load(Ordering::Relaxed) || full {
            continue;
        }
        if rate > 0 {
            free += Duration::from_secs_f64(len as f64 / rate as f64);
        }
        path.carried.fetch_add(len as u64, Ordering::Relaxed);
        let _ = queue.send((free, buffer[..len].to_vec()));
    }
}
