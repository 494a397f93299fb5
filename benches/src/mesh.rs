//! Two appliances in one process, with what the mesh between them is compared to.

pub mod bare;
pub mod path;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mesh::{
    BulkStream, Chunk, Congestion, FleetAuthority, FrameVersions, Handler, Mesh, MeshFault,
    Message, Parts, Peer, QuicMesh, Settings, Topic,
};
use model::{ApplianceId, Clock, Entropy, Timestamp};

/// The two.
pub const HERE: ApplianceId = ApplianceId::new(1);
/// Who is asked.
pub const THERE: ApplianceId = ApplianceId::new(2);

struct Real;

impl Clock for Real {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp::from_nanos(since.expect("after 1970").as_nanos() as u64)
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

impl Entropy for Real {
    fn fill(&self, bytes: &mut [u8]) {
        rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty()).expect("entropy");
    }
}

/// Answers a request with as many bytes as its header says, and reads streams to their end.
pub struct Sink;

impl Handler for Sink {
    fn admits(&self, _: ApplianceId) -> bool {
        true
    }

    async fn asked(&self, _: ApplianceId, request: Message) -> Message {
        let wanted = request.header.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len));
        let payload = Bytes::from_static(&ZEROS).slice(..wanted as usize);
        Message { kind: request.kind, header: Bytes::new(), payload }
    }

    fn told(&self, _: ApplianceId, _: Topic, _: Bytes) {}

    async fn streamed(&self, _: ApplianceId, _: Bytes, mut stream: BulkStream) {
        while let Ok(Some(_)) = stream.receiver.receive().await {}
        stream.sender.finish().await.expect("the opener waits for the end");
    }

    async fn join(&self, _: SocketAddr, _: Bytes) -> Bytes {
        Bytes::new()
    }
}

/// Both ends, connected.
pub struct Pair {
    /// Asks.
    pub here: Arc<QuicMesh>,
    _there: QuicMesh,
}

impl Pair {
    /// Over loopback, or the given path.
    pub async fn connect(congestion: Congestion, path: Option<path::Quality>) -> Self {
        let fleet = FleetAuthority::found(&Real, Real.wall());
        let bind = |id| {
            let settings = Settings {
                listen: "127.0.0.1:0".parse().expect("an address"),
                program: "bench".to_owned(),
                versions: FrameVersions::OURS,
                congestion,
            };
            let credentials = fleet.issue(id, &Real, Real.wall(), Duration::from_secs(3600));
            let parts = Parts { credentials, clock: Arc::new(Real), entropy: Arc::new(Real) };
            let mesh = QuicMesh::bind(settings, parts).expect("a free port");
            mesh.serve(Arc::new(Sink));
            mesh
        };
        let (here, there) = (Arc::new(bind(HERE)), bind(THERE));
        let mut address = there.address().expect("bound");
        if let Some(quality) = path {
            address = path::to(address, quality).await;
        }
        here.set_peers(vec![Peer { id: THERE, addresses: vec![address] }]);
        let pair = Self { here, _there: there };
        pair.ask(0, 0).await.expect("connected");
        pair
    }

    /// One request with a payload of so many bytes, and a reply with so many.
    pub async fn ask(&self, sent: usize, wanted: usize) -> Result<Message, MeshFault> {
        let header = Bytes::copy_from_slice(&(wanted as u32).to_be_bytes());
        let payload = Bytes::from_static(&ZEROS).slice(..sent);
        let request = Message { kind: 1, header, payload };
        self.here.ask(THERE, request, Duration::from_secs(30)).await
    }

    /// Requests a second by so many askers.
    pub async fn asks(self: &Arc<Self>, askers: usize, size: Asked, time: Duration) -> f64 {
        let began = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..askers {
            let pair = Arc::clone(self);
            all.spawn(async move {
                let mut count = 0_u64;
                while began.elapsed() < time {
                    pair.ask(size.sent, size.wanted).await.expect("answered");
                    count += 1;
                }
                count
            });
        }
        let count: u64 = all.join_all().await.into_iter().sum();
        count as f64 / began.elapsed().as_secs_f64()
    }

    /// Bytes a second of a bulk stream, up to the other end's having read them.
    pub async fn bulk(&self, time: Duration) -> f64 {
        let mut stream = self.here.open_stream(THERE, Bytes::new()).await.expect("opened");
        let began = Instant::now();
        let mut bytes = 0_u64;
        while began.elapsed() < time {
            let payload = Bytes::from_static(&ZEROS);
            let header = Bytes::from_static(b"an extent");
            stream.sender.send(Chunk { header, payload }).await.expect("sent");
            bytes += ZEROS.len() as u64;
        }
        stream.sender.finish().await.expect("finished");
        assert_eq!(stream.receiver.receive().await, Ok(None));
        bytes as f64 / began.elapsed().as_secs_f64()
    }
}

/// Bytes of payload there and back.
#[derive(Clone, Copy)]
pub struct Asked {
    /// In the request.
    pub sent: usize,
    /// In the reply.
    pub wanted: usize,
}

/// An extent.
pub static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
