//! One appliance in memory: log, stores and disk are simulated and outlive the router over them.
//!
//! Invariant: nothing of an earlier life touches log, stores or disk once it has ended, and nothing
//! survives its end but what the simulated media say survives.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use catalog::{Batch, FleetCatalog, Imaging, MemoryImage, MemoryStore, Scan, Store, StoreFault};
use consensus::{
    Driver, Durability, Entry, GroupState, Groups, Handle, LogBatch, LogFault, LogStore, MemoryLog,
    NoPeers,
};
use extents::simulated::SimulatedDisk;
use extents::{Ballast, Disk, Objects, Settings, Sink, Space};
use model::{
    ApplianceId, Clock, Entropy, GroupId, Index, RootDirectory, Term, Timestamp, VolumeId,
};
use router::{Components, Machines, OpenedVolume, Reach, Router, Start, StartFault, VolumeFactory};
use tokio::runtime::Runtime;

use crate::draw::Random;

/// The router that is under test.
pub type Subject = Arc<Router<KeptStore>>;

/// How a life of the appliance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As an administrator would end it.
    Clean,
    /// The process is gone; what it had written to files is there.
    Kill,
    /// What was not synced is gone.
    PowerCut,
}

/// How much goes on in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Timers go off after as long as they say.
    Real,
    /// Whenever the appliance waits for its log, seconds pass: checkpoints, removals and first data
    /// come between any two steps.
    Hurried,
}

/// The media, and the appliance that lives on them.
pub struct World {
    pub disk: SimulatedDisk,
    log: Arc<MemoryLog>,
    fleet: KeptStore,
    meta: KeptStore,
    pub clock: Arc<Ticking>,
    life: Option<Life>,
}

struct Life {
    router: Subject,
    runtime: Runtime,
    log: Handle,
    dead: Arc<AtomicBool>,
}

impl World {
    /// An appliance that has one volume, with a root directory of mode 0777.
    pub fn new(pace: Pace) -> Self {
        Self::on_log(MemoryLog::new(), pace)
    }

    /// The same on a log that may not do what it says.
    pub fn on_log(log: MemoryLog, pace: Pace) -> Self {
        let disk = SimulatedDisk::new(DISK_BYTES);
        disk.make_dir(DATA.as_ref()).expect("the disk is empty");
        disk.sync_dir("/".as_ref()).expect("the root is there");
        let mut world = Self {
            disk,
            log: Arc::new(log),
            fleet: KeptStore::default(),
            meta: KeptStore::default(),
            clock: Arc::new(Ticking::new()),
            life: None,
        };
        world.start(true, pace).expect("nothing was lost yet");
        let root = RootDirectory { uid: 0, gid: 0, mode: 0o777 };
        let router = world.router().clone();
        let made = world.run(router.create_volume("demo".to_owned(), vec![], root, &[]));
        assert_eq!(made.expect("the name is free"), VOLUME);
        world
    }

    /// Starts the appliance over what is there.
    ///
    /// # Errors
    /// What the operator would be told.
    pub fn start(&mut self, clean: bool, pace: Pace) -> Result<(), StartFault> {
        assert!(self.life.is_none(), "it is running");
        let dead = Arc::new(AtomicBool::new(false));
        let log = MortalLog { log: Arc::clone(&self.log), dead: Arc::clone(&dead) };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let entropy: Arc<dyn Entropy> = Arc::new(Drawn(AtomicU64::new(1)));
        let groups = Groups::new(APPLIANCE, Arc::new(log), entropy.clone());
        let machines = Machines::new(FleetCatalog::open(self.fleet.clone(), APPLIANCE)?);
        let apply = machines.for_driver();
        let ended = Arc::clone(&dead);
        let on_fatal = Box::new(move |fatal| {
            assert!(ended.load(Ordering::SeqCst), "the driver ended by itself: {fatal:?}");
        });
        let log = Driver::spawn(groups, apply, Box::new(NoPeers), clock.clone(), on_fatal)
            .expect("threads start");
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let space = Arc::new(Space::new("/".into(), disk.clone(), clock.clone(), Ballast::None));
        let factory = Arc::new(Factory {
            meta: self.meta.clone(),
            disk,
            space: Arc::clone(&space),
            clock: clock.clone(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(pace == Pace::Hurried)
            .build()
            .expect("a runtime can be built");
        let name = "ada".to_owned();
        let parts = Components {
            appliance: APPLIANCE,
            name,
            reach: Reach::default(),
            clock,
            entropy,
            log: log.clone(),
            machines,
            space,
            factory,
            rebuild_after: Duration::ZERO,
            herald: Arc::new(router::Unheard),
            scrubs: router::Scrubs::default(),
        };
        let started = {
            let _inside = runtime.enter();
            Router::start(parts, if clean { Start::Clean } else { Start::Unclean })
        };
        match started {
            Ok(router) => {
                self.life = Some(Life { router, runtime, log, dead });
                Ok(())
            }
            Err(fault) => {
                dead.store(true, Ordering::SeqCst);
                log.stop();
                Err(fault)
            }
        }
    }

    /// Ends this life, whatever is under way. A clean end must succeed.
    pub fn end(&mut self, end: End, random: &mut Random) {
        let Life { router, runtime, log, dead } = self.life.take().expect("it is running");
        if end == End::Clean {
            let how = runtime.block_on(router.stop());
            assert_eq!(how, Start::Clean, "nothing is wrong with the media");
        } else {
            dead.store(true, Ordering::SeqCst);
        }
        drop(router);
        // Waits for what runs where it may block.
        drop(runtime);
        log.stop();
        if end == End::PowerCut {
            self.log.power_cut(random.below(3));
            self.fleet.0.power_cut();
            self.meta.0.power_cut();
            self.disk.cut_power();
        }
    }

    pub fn router(&self) -> &Subject {
        &self.life.as_ref().expect("it is running").router
    }

    /// Runs a request to its end.
    pub fn run<T>(&self, request: impl Future<Output = T>) -> T {
        self.life.as_ref().expect("it is running").runtime.block_on(request)
    }

    /// Begins a request and lets it come as far as it comes in a few turns.
    pub fn begin(&self, request: impl Future<Output = ()> + Send + 'static, turns: usize) {
        let runtime = &self.life.as_ref().expect("it is running").runtime;
        runtime.spawn(request);
        runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.life.is_some() {
            self.end(End::Kill, &mut Random::new(0));
        }
    }
}

/// Opens the one volume on the media that outlive the router.
struct Factory {
    meta: KeptStore,
    disk: Arc<dyn Disk>,
    space: Arc<Space>,
    clock: Arc<dyn Clock>,
}

impl VolumeFactory<KeptStore> for Factory {
    fn open(
        &self,
        volume: VolumeId,
        sink: Arc<dyn Sink>,
    ) -> Result<OpenedVolume<KeptStore>, StartFault> {
        assert_eq!(volume, VOLUME, "there is one volume");
        // So few that files are closed and forgotten all the time.
        let settings = Settings { dir: DATA.into(), open_files_max: 4, known_objects_max: 8 };
        let (disk, space) = (self.disk.clone(), self.space.clone());
        let objects = Objects::open(settings, disk, space, sink, self.clock.clone());
        let objects = objects
            .map_err(|fault| StartFault::Path { path: DATA.into(), reason: fault.to_string() })?;
        Ok(OpenedVolume { store: self.meta.clone(), objects })
    }

    fn fresh(&self, _: VolumeId) -> Result<KeptStore, StartFault> {
        unreachable!("a lone appliance installs no image")
    }

    fn swap(&self, _: VolumeId) -> std::io::Result<()> {
        unreachable!("a lone appliance installs no image")
    }

    fn list(&self) -> std::io::Result<Vec<VolumeId>> {
        Ok(vec![VOLUME])
    }

    fn delete(&self, _: VolumeId) -> std::io::Result<()> {
        Ok(())
    }
}

/// A store that is there again after a restart.
#[derive(Clone, Default)]
pub struct KeptStore(Arc<MemoryStore>);

impl Imaging for KeptStore {
    type Image = MemoryImage;

    fn image(&self) -> Result<MemoryImage, StoreFault> {
        self.0.image()
    }
}

impl Store for KeptStore {
    type Value = Vec<u8>;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        self.0.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        self.0.scan(from, to, visit)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        self.0.apply(batch)
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        self.0.checkpoint()
    }
}

/// A log that takes nothing more from a life that has ended.
struct MortalLog {
    log: Arc<MemoryLog>,
    dead: Arc<AtomicBool>,
}

impl LogStore for MortalLog {
    fn write(&self, batch: &LogBatch, durability: Durability) -> Result<(), LogFault> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(LogFault::Unwritten { source: "this life has ended".into() });
        }
        self.log.write(batch, durability)
    }

    fn state(&self, group: GroupId) -> Result<GroupState, LogFault> {
        self.log.state(group)
    }

    fn entries(
        &self,
        group: GroupId,
        low: Index,
        high: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, LogFault> {
        self.log.entries(group, low, high, bytes_max)
    }

    fn term(&self, group: GroupId, index: Index) -> Result<Term, LogFault> {
        self.log.term(group, index)
    }

    fn groups(&self) -> Vec<GroupId> {
        self.log.groups()
    }

    fn purge(&self) -> Result<Vec<GroupId>, LogFault> {
        self.log.purge()
    }
}

/// A clock that moves on by a microsecond whenever somebody looks at it.
pub struct Ticking {
    wall_nanos: AtomicU64,
    looks: AtomicU64,
}

impl Ticking {
    fn new() -> Self {
        Self { wall_nanos: AtomicU64::new(1_700_000_000 * 1_000_000_000), looks: AtomicU64::new(0) }
    }
}

impl Clock for Ticking {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.wall_nanos.fetch_add(1000, Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_micros(self.looks.fetch_add(1, Ordering::SeqCst))
    }
}

struct Drawn(AtomicU64);

impl Entropy for Drawn {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = Random::new(self.0.fetch_add(1, Ordering::SeqCst)).draw() as u8;
        }
    }
}

/// Where a backing file is.
pub fn backing_file(object: model::ObjectId) -> PathBuf {
    let object = object.get();
    PathBuf::from(format!("{DATA}/{:x}/{object:x}", object >> 12))
}

/// The one volume.
pub const VOLUME: VolumeId = VolumeId::new(1);
const APPLIANCE: ApplianceId = ApplianceId::new(9);
const DATA: &str = "/data";
const DISK_BYTES: u64 = 64 << 30;
