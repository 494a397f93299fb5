//! What stands behind the door: a router with one volume, wired as the appliance wires it but for
//! what only an administrator needs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::{FjallSettings, FjallStore, FleetCatalog};
use consensus::{Driver, EngineLog, Groups, NoPeers};
use extents::{Ballast, Disk, LinuxDisk, Objects, Sink, Space};
use model::{ApplianceId, Clock, Entropy, RootDirectory, Timestamp, VolumeId};
use router::{Components, Machines, OpenedVolume, Reach, Router, Start, StartFault, VolumeFactory};
use rustix::time::{ClockId, clock_gettime};
use volume::Ports;

/// A router and its one volume.
pub struct Stack {
    /// Answers what is asked of the volume.
    pub router: Arc<Router<FjallStore>>,
    /// The volume.
    pub volume: VolumeId,
}

impl Stack {
    /// Makes an appliance in the empty folder `root`. Blocks for a moment; call it inside a
    /// runtime.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn start(root: PathBuf) -> Self {
        let opened = tokio::task::spawn_blocking(move || open(&root).expect("an empty root"));
        let router = opened.await.expect("a root can be opened");
        let made = router.create_volume("demo".to_owned(), vec![], RootDirectory::default(), &[]);
        made.await.expect("an empty root takes a volume");
        let volume = router.volumes().first().expect("a volume was made").id;
        Self { router, volume }
    }
}

fn open(root: &Path) -> Result<Arc<Router<FjallStore>>, String> {
    let (meta, log) = (root.join("fleet"), root.join("log"));
    for dir in [&meta, &log] {
        std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    }
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::default());
    let entropy: Arc<dyn Entropy> = Arc::new(MachineEntropy);
    let disk: Arc<dyn Disk> = Arc::new(LinuxDisk::new(root).map_err(|e| e.to_string())?);
    let space = Space::new(root.to_owned(), disk.clone(), clock.clone(), Ballast::Kept);
    let space = Arc::new(space);
    space.tend().map_err(|e| e.to_string())?;
    let log = Arc::new(EngineLog::open(&log).map_err(|e| e.to_string())?);
    let groups = Groups::new(APPLIANCE, log, entropy.clone());
    let store = FjallStore::open(FjallSettings::in_dir(meta)).map_err(|e| e.to_string())?;
    let fleet = FleetCatalog::open(store, APPLIANCE).map_err(|e| e.to_string())?;
    let machines = Machines::new(fleet);
    let on_fatal = Box::new(|fatal: consensus::Fatal| panic!("{fatal}"));
    let log =
        Driver::spawn(groups, machines.for_driver(), Box::new(NoPeers), clock.clone(), on_fatal)
            .map_err(|e| e.to_string())?;
    let (root, name) = (root.to_owned(), "door".to_owned());
    let factory = Folders { root, disk, space: space.clone(), clock: clock.clone() };
    let parts = Components {
        appliance: APPLIANCE,
        name,
        reach: Reach::default(),
        clock,
        entropy,
        log,
        machines,
        space,
        factory: Arc::new(factory),
        rebuild_after: Duration::ZERO,
        herald: Arc::new(router::Unheard),
        scrubs: router::Scrubs::default(),
    };
    Router::start(parts, Start::Unclean).map_err(|e| e.to_string())
}

/// Where the volume's store and backing files lie.
struct Folders {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    space: Arc<Space>,
    clock: Arc<dyn Clock>,
}

impl VolumeFactory<FjallStore> for Folders {
    fn open(
        &self,
        _volume: VolumeId,
        sink: Arc<dyn Sink>,
    ) -> Result<OpenedVolume<FjallStore>, StartFault> {
        let (meta, data) = (self.root.join("meta"), self.root.join("data"));
        let fault =
            |e: io::Error| StartFault::Path { path: self.root.clone(), reason: e.to_string() };
        std::fs::create_dir_all(&data).map_err(fault)?;
        let store = FjallStore::open(FjallSettings::in_dir(meta));
        let store = store.map_err(catalog::CatalogFault::from)?;
        let settings = extents::Settings {
            dir: data,
            open_files_max: OPEN_FILES_MAX,
            known_objects_max: KNOWN_OBJECTS_MAX,
        };
        let (disk, space, clock) = (self.disk.clone(), self.space.clone(), self.clock.clone());
        let objects = Objects::open(settings, disk, space, sink, clock).map_err(fault)?;
        Ok(OpenedVolume { store, objects })
    }

    fn fresh(&self, _volume: VolumeId) -> Result<FjallStore, StartFault> {
        let reason = "a lone appliance installs no image".to_owned();
        Err(StartFault::Path { path: self.root.clone(), reason })
    }

    fn swap(&self, _volume: VolumeId) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self) -> io::Result<Vec<VolumeId>> {
        Ok(Vec::new())
    }

    fn delete(&self, _volume: VolumeId) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The machine's clocks; the wall clock never stands still.
#[derive(Debug, Default)]
struct MachineClock {
    last_nanos: AtomicU64,
}

impl Clock for MachineClock {
    fn wall(&self) -> Timestamp {
        let now = nanos(ClockId::Realtime);
        let last = self.last_nanos.fetch_max(now, Ordering::Relaxed);
        if last < now {
            return Timestamp::from_nanos(now);
        }
        Timestamp::from_nanos(self.last_nanos.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(nanos(ClockId::Boottime))
    }
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// The kernel's random source.
#[derive(Debug)]
struct MachineEntropy;

impl Entropy for MachineEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let flags = rustix::rand::GetRandomFlags::empty();
        let filled = rustix::rand::getrandom(&mut *bytes, flags);
        assert_eq!(filled, Ok(bytes.len()), "the kernel gives small requests in one piece");
    }
}

const APPLIANCE: ApplianceId = ApplianceId::new(1);

/// The appliance's defaults.
const OPEN_FILES_MAX: usize = 4096;
const KNOWN_OBJECTS_MAX: usize = 65_536;
