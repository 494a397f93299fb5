//! Workloads on data: sequential, random and durable writes and reads.
//!
//! Invariant: all servers get the same calls; what is random follows from a fixed seed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nfs_wire::nfs3::{
    Args, CommitArgs, CreateArgs, CreateHow, DirOp, FileHandle, Name, ReadArgs, RemoveArgs, Reply,
    Sattr3, StableHow, WriteArgs,
};
use tests::Random;

use crate::client::{Connection, Ran, Times, Until, together};
use crate::sample::{Latencies, Sample, count};
use crate::servers::{Server, Speaks};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Files, each with a connection of its own.
    pub files: u32,
    /// Size of each.
    pub file_mib: u64,
    /// How long a workload without an end goes on.
    pub duration: Duration,
}

/// A server's files for the workloads on data, and the connections to them.
#[derive(Debug)]
pub struct Files {
    server: Arc<Server>,
    root: FileHandle,
    extent: Extent,
    lanes: Vec<Lane>,
    /// Payload of WRITEs.
    block: Bytes,
    name: u32,
}

/// A connection and its file.
#[derive(Debug)]
struct Lane {
    connection: Connection,
    file: FileHandle,
    number: u64,
}

impl Files {
    /// None yet.
    #[must_use]
    pub fn new(server: Arc<Server>, root: FileHandle, extent: Extent) -> Self {
        let block = Bytes::from(Random::new(SEED).bytes(BLOCK_BYTES));
        Self { server, root, extent, lanes: Vec::new(), block, name: 0 }
    }

    /// Writes all files anew, 1 MiB a call, unstable, one COMMIT a file at the end. Two samples:
    /// up to the last reply to a WRITE, and up to the last reply to a COMMIT.
    pub async fn write_sequentially(&mut self) -> (Sample, Sample) {
        self.remove().await;
        self.lanes = self.new_lanes(self.extent.files).await;
        let (mib, block) = (self.extent.file_mib, self.block.clone());
        let started = Instant::now();
        let ran = self
            .with_lanes(move |mut lane| {
                let block = block.clone();
                async move {
                    let file = lane.file;
                    let mut source = Times::new(mib, |number| {
                        write(file, number * BLOCK_BYTES as u64, StableHow::Unstable, &block)
                    });
                    let latencies = lane.connection.drive(SEQUENTIAL_DEPTH, &mut source).await;
                    (lane, latencies)
                }
            })
            .await;
        let mut unstable = self.sample(ran, count(mib));
        self.commit().await;
        let durable = Sample { elapsed: started.elapsed(), ..unstable.clone() };
        unstable.processor = None;
        (unstable, durable)
    }

    /// Writes the files, unmeasured, if there are none.
    pub async fn ensure(&mut self) {
        if self.lanes.is_empty() {
            self.write_sequentially().await;
        }
    }

    /// Reads all files once, 1 MiB a call.
    pub async fn read_sequentially(&mut self) -> Sample {
        let mib = self.extent.file_mib;
        let ran = self
            .with_lanes(move |mut lane| async move {
                let file = lane.file;
                let mut source = Times::new(mib, |number| {
                    Args::Read(ReadArgs {
                        file,
                        offset: number * BLOCK_BYTES as u64,
                        count: BLOCK_BYTES as u32,
                    })
                });
                let latencies = lane.connection.drive(SEQUENTIAL_DEPTH, &mut source).await;
                (lane, latencies)
            })
            .await;
        self.sample(ran, count(mib))
    }

    /// Reads 4 KiB at random places, [`RANDOM_DEPTH`] calls at once over all connections.
    pub async fn read_randomly(&mut self) -> Sample {
        let (pages, until) = (self.pages(), Instant::now() + self.extent.duration);
        let depth = RANDOM_DEPTH / self.lanes.len().max(1);
        let ran = self
            .with_lanes(move |mut lane| async move {
                let file = lane.file;
                let mut random = Random::new(SEED ^ lane.number);
                let mut source = Until::new(until, |_| {
                    let offset = page(&mut random, pages);
                    Args::Read(ReadArgs { file, offset, count: PAGE_BYTES as u32 })
                });
                let latencies = lane.connection.drive(depth, &mut source).await;
                (lane, latencies)
            })
            .await;
        operations(ran)
    }

    /// Writes 4 KiB at random places, unstable, [`RANDOM_DEPTH`] calls at once over all
    /// connections. The COMMIT afterwards is not measured.
    pub async fn write_randomly(&mut self) -> Sample {
        let (pages, until) = (self.pages(), Instant::now() + self.extent.duration);
        let depth = RANDOM_DEPTH / self.lanes.len().max(1);
        let block = self.block.slice(..PAGE_BYTES);
        let ran = self
            .with_lanes(move |mut lane| {
                let block = block.clone();
                async move {
                    let file = lane.file;
                    let mut random = Random::new(SEED ^ lane.number);
                    let mut source = Until::new(until, |_| {
                        write(file, page(&mut random, pages), StableHow::Unstable, &block)
                    });
                    let latencies = lane.connection.drive(depth, &mut source).await;
                    (lane, latencies)
                }
            })
            .await;
        let sample = operations(ran);
        self.commit().await;
        sample
    }

    /// Writes 4 KiB, each durable before it is answered, one call at once on each of `clients`
    /// connections, each to a file of its own.
    pub async fn write_durably(&mut self, clients: u32) -> Sample {
        let lanes = self.new_lanes(clients).await;
        let until = Instant::now() + self.extent.duration;
        let block = self.block.slice(..PAGE_BYTES);
        let (lanes, ran) = together(lanes, |mut lane| {
            let block = block.clone();
            async move {
                let file = lane.file;
                let mut source = Until::new(until, |number| {
                    let offset = number % DURABLE_PAGES * PAGE_BYTES as u64;
                    write(file, offset, StableHow::FileSync, &block)
                });
                let latencies = lane.connection.drive(1, &mut source).await;
                (lane, latencies)
            }
        })
        .await;
        let kept = std::mem::replace(&mut self.lanes, lanes);
        self.remove().await;
        self.lanes = kept;
        operations(ran)
    }

    /// Removes the files and closes the connections.
    pub async fn remove(&mut self) {
        for mut lane in std::mem::take(&mut self.lanes) {
            let object = DirOp { dir: self.root, name: file_name(lane.number) };
            lane.connection.ask(Args::Remove(RemoveArgs { object })).await;
        }
    }

    async fn new_lanes(&mut self, lanes: u32) -> Vec<Lane> {
        let mut made = Vec::new();
        for _ in 0..lanes {
            self.name += 1;
            let number = u64::from(self.name);
            let mut connection = Connection::dial(self.server.nfs).await;
            let place = DirOp { dir: self.root, name: file_name(number) };
            let file = create(&mut connection, place).await;
            made.push(Lane { connection, file, number });
        }
        made
    }

    async fn with_lanes<F>(&mut self, run: impl Fn(Lane) -> F) -> Ran
    where
        F: Future<Output = (Lane, Latencies)> + Send + 'static,
    {
        let (lanes, ran) = together(std::mem::take(&mut self.lanes), run).await;
        self.lanes = lanes;
        ran
    }

    async fn commit(&mut self) {
        if self.server.speaks == Speaks::Less {
            return;
        }
        let ran = self.with_lanes(|mut lane| async move {
            let args = CommitArgs { file: lane.file, offset: 0, count: 0 };
            lane.connection.ask(Args::Commit(args)).await;
            (lane, Latencies::default())
        });
        ran.await;
    }

    fn pages(&self) -> usize {
        usize::try_from(self.extent.file_mib << 20).expect("files fit the address space")
            / PAGE_BYTES
    }

    fn sample(&self, ran: Ran, file_mib: f64) -> Sample {
        let work = file_mib * f64::from(self.extent.files);
        Sample { work, ..operations(ran) }
    }
}

/// Creates a file, as `open` with O_CREAT does, and gives its handle.
pub(crate) async fn create(connection: &mut Connection, place: DirOp) -> FileHandle {
    let attributes = Sattr3 { mode: Some(0o644), ..Sattr3::default() };
    let how = CreateHow::Unchecked(attributes);
    match connection.ask(Args::Create(CreateArgs { place, how })).await {
        Reply::Create(Ok(created)) => created.obj.expect("the server gives the new handle"),
        other => panic!("CREATE was answered with {other:?}"),
    }
}

/// A sample that counts calls.
pub(crate) fn operations(ran: Ran) -> Sample {
    let calls = ran.latencies.len();
    let (p50_micros, p99_micros) = ran.latencies.percentiles();
    let (work, elapsed) = (count(calls), ran.elapsed);
    Sample { work, calls, elapsed, p50_micros, p99_micros, processor: None }
}

fn write(file: FileHandle, offset: u64, stable: StableHow, data: &Bytes) -> Args {
    Args::Write(WriteArgs { file, offset, stable, data: data.clone() })
}

fn page(random: &mut Random, pages: usize) -> u64 {
    random.below(pages) as u64 * PAGE_BYTES as u64
}

fn file_name(number: u64) -> Name {
    Name(Bytes::from(format!("data-{number}")))
}

const BLOCK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;

/// Calls on their way on each connection: what hides a round trip, not more.
const SEQUENTIAL_DEPTH: usize = 4;

/// Over all connections together.
const RANDOM_DEPTH: usize = 32;

/// Durable writes go round in the first 16 MiB of their file.
const DURABLE_PAGES: u64 = 4096;

const SEED: u64 = 0x0068_6f6c_6466_6173;
