//! Workloads on a fleet, over the wire and by the command line.
//!
//! Invariant: what is compared is the same calls on the same file, at one appliance and at another.
//! Absent on purpose: the forming of the fleet, which the tests' harness does.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nfs_wire::nfs3::{
    Args, CommitArgs, CreateArgs, CreateHow, DirOp, FileHandle, GetattrArgs, Name, ReadArgs,
    Sattr3, StableHow, WriteArgs,
};
use tests::fleet::TransferReport;
use tests::{Appliance, Fleet, Random};

use crate::client::{Connection, Times, Until, together};
use crate::data;
use crate::sample::count;
use crate::servers::processor_of;

/// Where clients reach an appliance.
#[must_use]
pub fn address(fleet: &Fleet, number: usize) -> SocketAddr {
    SocketAddr::new(fleet.client_address(number), NFS_PORT)
}

/// Calls that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One at a time.
    Getattr,
    /// 4 KiB at random places, one at a time.
    ReadPage,
    /// 1 MiB, several on their way.
    ReadMebibyte,
    /// 1 MiB unstable, several on their way.
    WriteMebibyte,
    /// 4 KiB at random places, durable when answered, one at a time.
    WritePageSync,
}

impl Calls {
    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Getattr => "GETATTR",
            Self::ReadPage => "READ of 4 KiB",
            Self::ReadMebibyte => "READ of 1 MiB",
            Self::WriteMebibyte => "WRITE of 1 MiB",
            Self::WritePageSync => "durable WRITE of 4 KiB",
        }
    }

    /// Whether its figure is a rate of bytes; otherwise a latency.
    #[must_use]
    pub fn is_bulk(self) -> bool {
        match self {
            Self::Getattr | Self::ReadPage | Self::WritePageSync => false,
            Self::ReadMebibyte | Self::WriteMebibyte => true,
        }
    }
}

/// What calls gave.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// Of payload, a second; 0 for calls without.
    pub mebibytes: f64,
    /// Half of the calls stayed within.
    pub p50_micros: f64,
    /// 99 of 100 stayed within.
    pub p99_micros: f64,
}

/// A file of a volume.
#[derive(Debug, Clone, Copy)]
pub struct File {
    handle: FileHandle,
    mib: u64,
}

/// A file and a connection to an appliance.
#[derive(Debug)]
pub struct Lane {
    connection: Connection,
    file: File,
}

impl File {
    /// Makes it at an appliance, which then owns it, and fills it durably.
    pub async fn make(at: SocketAddr, export: &str, name: &str, mib: u64) -> Self {
        let mut connection = Connection::dial(at).await;
        let dir = connection.mount(export).await;
        let place = DirOp { dir, name: Name(Bytes::from(name.to_owned())) };
        let handle = data::create(&mut connection, place).await;
        let block = block();
        let mut source = Times::new(mib, |number| write(handle, number, &block));
        connection.drive(DEPTH, &mut source).await;
        connection.ask(Args::Commit(CommitArgs { file: handle, offset: 0, count: 0 })).await;
        Self { handle, mib }
    }

    /// The file as an appliance shows it: handles are good everywhere.
    pub async fn at(&self, at: SocketAddr) -> Lane {
        Lane { connection: Connection::dial(at).await, file: *self }
    }
}

impl Lane {
    /// Makes such calls for a while.
    pub async fn run(&mut self, calls: Calls, time: Duration) -> Ran {
        let File { handle, mib } = self.file;
        let mut random = Random::new(SEED);
        let block = block();
        let (began, until) = (Instant::now(), Instant::now() + time);
        let mut source = Until::new(until, |number| match calls {
            Calls::Getattr => Args::Getattr(GetattrArgs { object: handle }),
            Calls::ReadPage => {
                let pages = usize::try_from(mib << 8).expect("a file fits the address space");
                let offset = random.below(pages) as u64 * PAGE_BYTES;
                Args::Read(ReadArgs { file: handle, offset, count: PAGE_BYTES as u32 })
            }
            Calls::ReadMebibyte => {
                let offset = (number % mib) << 20;
                Args::Read(ReadArgs { file: handle, offset, count: BLOCK_BYTES as u32 })
            }
            Calls::WriteMebibyte => write(handle, number % mib, &block),
            Calls::WritePageSync => {
                let pages = usize::try_from(mib << 8).expect("a file fits the address space");
                let offset = random.below(pages) as u64 * PAGE_BYTES;
                let data = block.slice(..PAGE_BYTES as usize);
                let stable = StableHow::FileSync;
                Args::Write(WriteArgs { file: handle, offset, stable, data })
            }
        });
        let depth = if calls.is_bulk() { DEPTH } else { 1 };
        let latencies = self.connection.drive(depth, &mut source).await;
        let elapsed = began.elapsed();
        if calls == Calls::WriteMebibyte {
            self.commit().await;
        }
        let moved = if calls.is_bulk() { count(latencies.len()) } else { 0.0 };
        let mebibytes = moved / elapsed.as_secs_f64();
        let (p50_micros, p99_micros) = latencies.percentiles();
        Ran { mebibytes, p50_micros, p99_micros }
    }
}

impl Lane {
    /// Writes the first `mib` MiB and then waits until they are durable: how long the COMMIT took.
    pub async fn commit_of(&mut self, mib: u64) -> Duration {
        let (handle, block) = (self.file.handle, block());
        let mut source = Times::new(mib, |number| write(handle, number, &block));
        self.connection.drive(DEPTH, &mut source).await;
        let began = Instant::now();
        self.commit().await;
        began.elapsed()
    }

    async fn commit(&mut self) {
        let commit = CommitArgs { file: self.file.handle, offset: 0, count: 0 };
        self.connection.ask(Args::Commit(commit)).await;
    }

    /// Writes 4 KiB, and waits until they are durable.
    pub async fn write_durably(&mut self) {
        let data = Bytes::from_static(&[7; PAGE_BYTES as usize]);
        let stable = StableHow::FileSync;
        let write = WriteArgs { file: self.file.handle, offset: 0, stable, data };
        self.connection.ask(Args::Write(write)).await;
    }
}

/// Writes and syncs a file of `mib` MiB in `folder`, with nothing else to do, and removes it; the
/// rate in MiB/s.
///
/// # Errors
/// As the file system says.
pub fn durable_write(folder: &Path, mib: u64) -> io::Result<f64> {
    // Not zeros, which a file system may know how to spare.
    let block: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    let path = folder.join("durable-write");
    let began = Instant::now();
    let mut file = fs::File::create(&path)?;
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let rate = mib as f64 / began.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(rate)
}

/// Overwrites `bytes` of a file of `mib` MiB in each of the `folders` at once, at random places,
/// and syncs all of them at once; how long the slowest sync took, for each of the `rounds`.
///
/// # Errors
/// As the file systems say.
pub fn slowest_sync(
    folders: &[&Path],
    mib: u64,
    bytes: usize,
    rounds: usize,
) -> io::Result<Vec<Duration>> {
    let path_in = |folder: &Path| folder.join("slowest-sync");
    let all = Barrier::new(folders.len());
    let one = |folder: &Path| -> io::Result<Vec<Duration>> {
        let (block, data) = (block(), Random::new(SEED).bytes(bytes));
        let mut file = fs::File::create(path_in(folder))?;
        for _ in 0..mib {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        let mut random = Random::new(SEED);
        let places = usize::try_from((mib << 20) / bytes as u64).expect("a file fits memory");
        let mut waits = Vec::new();
        for _ in 0..rounds {
            file.write_all_at(&data, (random.below(places) * bytes) as u64)?;
            all.wait();
            let began = Instant::now();
            file.sync_data()?;
            waits.push(began.elapsed());
        }
        Ok(waits)
    };
    let waits = std::thread::scope(|scope| {
        let threads: Vec<_> = folders.iter().map(|folder| scope.spawn(|| one(folder))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("it ends well"));
        joined.collect::<io::Result<Vec<_>>>()
    })?;
    for folder in folders {
        fs::remove_file(path_in(folder))?;
    }
    Ok((0..rounds).filter_map(|round| waits.iter().map(|of| of[round]).max()).collect())
}

/// Moves a file and waits for it; anything else than success ends the run.
#[must_use]
pub fn move_file(fleet: &Fleet, path: &str, to: &str) -> TransferReport {
    let moved = fleet.transfer(path, to);
    assert!(moved.succeeded, "{path} to {to}: {moved:?}");
    moved
}

/// What became of many hand-overs.
#[derive(Debug, Default)]
pub struct Moved {
    /// How long each held requests up.
    pub pauses: Vec<Duration>,
    /// How many did not come about.
    pub refused: u32,
}

/// Moves the file `move/small` round three appliances, while a client writes to it through
/// `through`.
#[must_use]
pub fn move_under_load(fleet: &Fleet, file: &File, through: SocketAddr, rounds: usize) -> Moved {
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, file) = (stop.clone(), *file);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
            runtime.block_on(async {
                let mut lane = file.at(through).await;
                while !stop.load(Ordering::Relaxed) {
                    lane.run(Calls::WriteMebibyte, LOAD_TURN).await;
                }
            });
        })
    };
    let mut moved = Moved::default();
    for round in 0..rounds {
        let job = fleet.transfer("move/small", tests::fleet::NAMES[(round + 1) % 3]);
        match job.succeeded {
            true => moved.pauses.push(job.pause),
            false => moved.refused += 1,
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.join().expect("the load ends well");
    moved
}

/// Files made a second in all these exports together, by one connection each.
pub async fn create_rate(exports: Vec<(SocketAddr, String)>, time: Duration) -> f64 {
    let mut lanes = Vec::new();
    for (at, export) in exports {
        let mut connection = Connection::dial(at).await;
        let dir = connection.mount(&export).await;
        lanes.push((connection, dir));
    }
    let until = Instant::now() + time;
    let (_, ran) = together(lanes, |(mut connection, dir)| async move {
        let mut source = Until::new(until, |number| {
            let place = DirOp { dir, name: Name(Bytes::from(format!("f{number}"))) };
            let how = CreateHow::Unchecked(Sattr3 { mode: Some(0o644), ..Sattr3::default() });
            Args::Create(CreateArgs { place, how })
        });
        let latencies = connection.drive(CREATES_AT_ONCE, &mut source).await;
        ((), latencies)
    })
    .await;
    count(ran.latencies.len()) / ran.elapsed.as_secs_f64()
}

/// Makes empty files, as many as that.
pub async fn create_names(at: SocketAddr, export: &str, names: u64) {
    let mut connection = Connection::dial(at).await;
    let dir = connection.mount(export).await;
    let mut source = Times::new(names, |number| {
        let place = DirOp { dir, name: Name(Bytes::from(format!("f{number}"))) };
        let how = CreateHow::Unchecked(Sattr3 { mode: Some(0o644), ..Sattr3::default() });
        Args::Create(CreateArgs { place, how })
    });
    connection.drive(CREATES_AT_ONCE, &mut source).await;
}

/// What an appliance costs while nobody asks it anything.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Memory.
    pub resident_mib: f64,
    /// Context switches a second, of all threads.
    pub switches: f64,
    /// Of one processor.
    pub processor_percent: f64,
}

impl Idle {
    /// Looks at it for a while.
    #[must_use]
    pub fn measure(appliance: &Appliance, time: Duration) -> Self {
        let look = || (switches(appliance.id()), processor_of(appliance.id()).unwrap_or_default());
        let before = look();
        std::thread::sleep(time);
        let after = look();
        let seconds = time.as_secs_f64();
        Self {
            resident_mib: count(appliance.resident_kib()) / 1024.0,
            switches: count(after.0.saturating_sub(before.0)) / seconds,
            processor_percent: (after.1.saturating_sub(before.1)).as_secs_f64() / seconds * 100.0,
        }
    }
}

/// Voluntary and forced, of all threads that live now (proc_pid_status(5)).
fn switches(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it is alive");
    let of_thread = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        let figures = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        figures.sum::<u64>()
    };
    threads.flatten().map(|thread| of_thread(thread.path())).sum()
}

fn write(file: FileHandle, block: u64, data: &Bytes) -> Args {
    let (offset, data) = (block << 20, data.clone());
    Args::Write(WriteArgs { file, offset, stable: StableHow::Unstable, data })
}

fn block() -> Bytes {
    Bytes::from(Random::new(SEED).bytes(BLOCK_BYTES))
}

/// What an ordinary network carries, less what IPv6 and UDP need.
pub const ORDINARY_DATAGRAM: u16 = 1452;

const NFS_PORT: u16 = 2049;
const BLOCK_BYTES: usize = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// Hides a round trip, not more.
const DEPTH: usize = 4;
const CREATES_AT_ONCE: usize = 16;

/// Then the load looks whether it is to end.
const LOAD_TURN: Duration = Duration::from_millis(200);

const SEED: u64 = 0x0068_6f6c_6466_6173;
