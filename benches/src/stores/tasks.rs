//! What is measured of a store. Each task runs in a process of its own, so that memory, processor
//! time and crashes are the store's alone, and hands its result over as one line of JSON.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalog::{Catalog, Store, StoreFault};
use serde::{Deserialize, Serialize};
use tests::Random;

use super::Task;
use super::commands::{Commands, FOUNDER, Mix, apply};
use crate::sample::count;

/// How fast commands are applied, by size of batch.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// How long each size of batch is measured.
    pub duration: Duration,
}

/// One size of batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rate {
    /// Commands in a batch.
    pub batch: usize,
    /// Commands a second.
    pub commands: f64,
    /// Processor time of the whole process, in microseconds a command.
    pub processor_micros: f64,
    /// Bytes handed to the kernel, a command.
    pub written_bytes: f64,
}

impl Task for Rates {
    type Outcome = Vec<Rate>;

    fn run<S: Store>(self, open: impl Fn() -> Result<S, StoreFault>) -> Vec<Rate> {
        let catalog = opened(&open);
        let mut commands = Commands::begin(&catalog, Mix::CreateAndRemove);
        for _ in 0..WARM_UP_BATCHES {
            apply(&catalog, &commands.batch(32));
        }
        let rate = |batch| {
            let (mut busy, mut applied) = (Duration::ZERO, 0);
            let before = Usage::now();
            while busy < self.duration {
                let entries = commands.batch(batch);
                let started = Instant::now();
                apply(&catalog, &entries);
                busy += started.elapsed();
                applied += batch as u64;
            }
            let (used, applied) = (before.until_now(), count(applied));
            Rate {
                batch,
                commands: applied / busy.as_secs_f64(),
                processor_micros: used.processor.as_secs_f64() * 1e6 / applied,
                written_bytes: count(used.written_bytes) / applied,
            }
        };
        BATCHES.map(rate).into()
    }
}

/// What many names cost.
#[derive(Debug, Clone)]
pub struct Fill {
    /// How many.
    pub names: u64,
    /// Where the store lies.
    pub dir: PathBuf,
    /// How long names are looked up afterwards.
    pub duration: Duration,
    /// How it ends.
    pub end: End,
}

/// How a process leaves its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Closed.
    Closed,
    /// As a crash does, after a checkpoint.
    Crashed,
}

/// What many names cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filled {
    /// How many there are.
    pub names: u64,
    /// Names created a second, in batches of 32.
    pub creates: f64,
    /// Random look-ups a second, each of a name and its inode.
    pub look_ups: f64,
    /// How long a checkpoint took, in milliseconds.
    pub checkpoint_millis: f64,
    /// Memory in use at the end, in bytes.
    pub resident_bytes: u64,
    /// On disk once it is closed, in bytes.
    pub disk_bytes: u64,
}

impl Task for Fill {
    type Outcome = Filled;

    fn run<S: Store>(self, open: impl Fn() -> Result<S, StoreFault>) -> Filled {
        let catalog = opened(&open);
        let mut commands = Commands::begin(&catalog, Mix::Create);
        let started = Instant::now();
        while commands.names() < self.names {
            apply(&catalog, &commands.batch(32));
        }
        let creates = count(commands.names()) / started.elapsed().as_secs_f64();
        let started = Instant::now();
        catalog.checkpoint().unwrap_or_else(|fault| panic!("{fault}"));
        let checkpoint_millis = started.elapsed().as_secs_f64() * 1e3;
        if self.end == End::Crashed {
            std::process::exit(0);
        }
        let look_ups = look_ups(&catalog, &commands, self.duration);
        let resident_bytes = resident_bytes();
        drop(catalog);
        Filled {
            names: commands.names(),
            creates,
            look_ups,
            checkpoint_millis,
            resident_bytes,
            disk_bytes: disk_bytes(&self.dir),
        }
    }
}

fn look_ups<S: Store>(catalog: &Catalog<S>, commands: &Commands, duration: Duration) -> f64 {
    let mut random = Random::new(SEED);
    let names = usize::try_from(commands.names()).expect("a count fits");
    let (started, mut found) = (Instant::now(), 0);
    while started.elapsed() < duration {
        let (dir, name) = commands.place(random.below(names) as u64);
        let answer = catalog.look_up(dir, &name).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(answer.is_some_and(|found| found.target.is_some()), "the name is there");
        found += 1;
    }
    count(found) / started.elapsed().as_secs_f64()
}

/// Applies batches until it is killed, and says after each how far it got.
#[derive(Debug, Clone, Copy)]
pub struct UntilKilled;

impl Task for UntilKilled {
    type Outcome = ();

    fn run<S: Store>(self, open: impl Fn() -> Result<S, StoreFault>) {
        let catalog = opened(&open);
        let mut commands = Commands::begin(&catalog, Mix::CreateAndRemove);
        let mut out = std::io::stdout().lock();
        loop {
            apply(&catalog, &commands.batch(32));
            writeln!(out, "{}", commands.index().get()).expect("whoever kills us listens");
        }
    }
}

/// Opens a store that a crash left behind, checks the catalog in it, and removes a name.
#[derive(Debug, Clone, Copy)]
pub struct Reopen;

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reopened {
    /// How long opening took, in milliseconds.
    pub open_millis: f64,
    /// The last entry that it holds.
    pub applied: u64,
    /// Whether the catalog in it is sound.
    pub sound: bool,
    /// What stood in the way of opening it, or of removing a name.
    pub refused: Option<String>,
}

impl Task for Reopen {
    type Outcome = Reopened;

    fn run<S: Store>(self, open: impl Fn() -> Result<S, StoreFault>) -> Reopened {
        let started = Instant::now();
        let opened = open().and_then(|store| {
            Catalog::open(store, &[FOUNDER]).map_err(|e| StoreFault {
                place: String::new(),
                action: "open its catalog",
                reason: e.to_string(),
            })
        });
        let open_millis = started.elapsed().as_secs_f64() * 1e3;
        match opened {
            Ok(catalog) => {
                let applied = catalog.applied().index.get();
                let sound =
                    catalog.check_at_rest().is_ok_and(|report| report.violations.is_empty());
                let refused = Commands::remove_one(&catalog).and_then(|()| {
                    catalog.checkpoint().map(drop).map_err(|fault| fault.to_string())
                });
                Reopened { open_millis, applied, sound, refused: refused.err() }
            }
            Err(fault) => {
                Reopened { open_millis, applied: 0, sound: false, refused: Some(fault.to_string()) }
            }
        }
    }
}

fn opened<S: Store>(open: &impl Fn() -> Result<S, StoreFault>) -> Catalog<S> {
    let store = open().unwrap_or_else(|fault| panic!("{fault}"));
    Catalog::open(store, &[FOUNDER]).unwrap_or_else(|fault| panic!("{fault}"))
}

/// What this process has used so far.
struct Usage {
    processor: Duration,
    written_bytes: u64,
}

impl Usage {
    fn now() -> Self {
        Self {
            processor: crate::servers::processor_of(std::process::id()).unwrap_or_default(),
            written_bytes: figure("/proc/self/io", "wchar:").unwrap_or_default(),
        }
    }

    fn until_now(&self) -> Self {
        let now = Self::now();
        Self {
            processor: now.processor.saturating_sub(self.processor),
            written_bytes: now.written_bytes.saturating_sub(self.written_bytes),
        }
    }
}

fn resident_bytes() -> u64 {
    figure("/proc/self/status", "VmRSS:").unwrap_or_default() * 1024
}

/// The number behind `key` in a file of /proc.
fn figure(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What the files below `dir` take on disk.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("the store's folder can be read").flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// The sizes of batch that are measured.
pub const BATCHES: [usize; 3] = [1, 8, 32];

/// Twenty thousand names, so that no store is measured empty.
const WARM_UP_BATCHES: usize = 625;

const SEED: u64 = 1;
