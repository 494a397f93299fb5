//! An appliance's root folder: its lock, its identity, its clean mark, and what each volume keeps.
//!
//! ```text
//! <root>/lock                        held while an appliance runs
//! <root>/identity                    which appliance this is
//! <root>/clean                       the last run ended with everything durable
//! <root>/admin/                      token and certificate of the admin API over TCP
//! <root>/log/                        Raft log of all groups
//! <root>/fleet/meta/                 state of the fleet's group
//! <root>/fleet/ledger                changes of owners, for people
//! <root>/scrub                       how far scrubs have come, and what they found
//! <root>/fleet/rebalance             that this appliance sees a rebalance through
//! <root>/fleet/joined                which fleet this appliance joined, and as whom
//! <root>/volumes/<id>/meta           a BTRFS subvolume: the catalog
//! <root>/volumes/<id>/data           a BTRFS subvolume: the backing files
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::{FjallSettings, FjallStore};
use extents::{Disk, Objects, Sink, Space};
use model::{ApplianceId, Clock, Entropy, VolumeId};
use router::{Admission, OpenedVolume, StartFault, VolumeFactory};

use crate::small_file::{self, sync_dir};

/// A root folder that this process has locked.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    /// Held open: the lock goes with the process.
    _lock: File,
}

impl Root {
    /// Locks the root, making what is missing.
    ///
    /// # Errors
    /// [`StartFault::Path`]: not on BTRFS, locked by another process, or not to be written.
    pub fn open(path: &Path) -> Result<Self, StartFault> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |fault: io::Error| StartFault::Path { path, reason: fault.to_string() }
        };
        fs::create_dir_all(path).map_err(io(path))?;
        let path = path.canonicalize().map_err(io(path))?;
        if !extents::btrfs::is_btrfs(&path).map_err(io(&path))? {
            let reason = "is not on BTRFS. Mount a BTRFS file system there \
                (mkfs.btrfs DEVICE; mount DEVICE DIRECTORY), or set `root` to a folder on one"
                .to_owned();
            return Err(StartFault::Path { path, reason });
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io(&lock_path))?;
        match rustix::fs::flock(lock.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let reason = "is locked: another appliance runs on it. Stop that one, or give \
                    this one a root of its own"
                    .to_owned();
                return Err(StartFault::Path { path, reason });
            }
            Err(errno) => return Err(io(&lock_path)(errno.into())),
        }
        for dir in ["log", "fleet", "volumes"] {
            let dir = path.join(dir);
            fs::create_dir_all(&dir).map_err(io(&dir))?;
        }
        sync_dir(&path).map_err(io(&path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the fleet group's state is.
    pub fn fleet_dir(&self) -> PathBuf {
        self.path.join("fleet/meta")
    }

    /// Where is kept how far scrubs have come.
    pub fn scrub(&self) -> PathBuf {
        self.path.join("scrub")
    }

    /// Where the changes of owners are kept.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("fleet/ledger")
    }

    /// Where it is kept that a rebalance is under way.
    pub fn rebalance(&self) -> PathBuf {
        self.path.join("fleet/rebalance")
    }

    /// Which appliance this is; made up at the first start, durable before it is used.
    ///
    /// # Errors
    /// [`StartFault::Path`] if the file can't be read or makes no sense.
    pub fn identity(&self, entropy: &dyn Entropy) -> Result<ApplianceId, StartFault> {
        let path = self.path.join("identity");
        let fault = |reason: String| StartFault::Path { path: path.clone(), reason };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let number = text.trim().strip_prefix(IDENTITY_PREFIX);
                let number = number.and_then(|hex| u64::from_str_radix(hex, 16).ok());
                number.filter(|n| *n != 0).map(ApplianceId::new).ok_or_else(|| {
                    fault("is damaged. Restore it; the appliance's number is in it".to_owned())
                })
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let mut raw = [0; 8];
                entropy.fill(&mut raw);
                // Raft has no member 0.
                let number = u64::from_le_bytes(raw) | 1;
                let text = format!("{IDENTITY_PREFIX}{number:016x}\n");
                small_file::replace(&self.path.join("identity"), text.as_bytes())
                    .map_err(|e| fault(e.to_string()))?;
                Ok(ApplianceId::new(number))
            }
            Err(other) => Err(fault(other.to_string())),
        }
    }

    /// Takes the clean mark away, durably; `true` if it was there: the last run ended with
    /// everything durable. A root without a log was never used and counts as clean.
    ///
    /// # Errors
    /// [`StartFault::Path`] if it can't be removed.
    pub fn take_clean_mark(&self) -> Result<bool, StartFault> {
        let path = self.path.join(CLEAN_MARK);
        let fault = |e: io::Error| StartFault::Path { path: path.clone(), reason: e.to_string() };
        let unused = fs::read_dir(self.log_dir()).map_err(fault)?.next().is_none();
        match fs::remove_file(&path) {
            Ok(()) => {
                sync_dir(&self.path).map_err(fault)?;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(unused),
            Err(e) => Err(fault(e)),
        }
    }

    /// Sets the clean mark: everything is durable.
    ///
    /// # Errors
    /// As the file system says; the next start then counts as unclean.
    pub fn set_clean_mark(&self) -> io::Result<()> {
        small_file::replace(&self.path.join(CLEAN_MARK), b"")
    }

    /// Notes that this appliance was admitted to a fleet; the next start joins it.
    ///
    /// # Errors
    /// As the file system says; then nothing is noted.
    pub fn set_joining(&self, admission: &Admission) -> io::Result<()> {
        small_file::replace(&self.path.join(JOINING), &router::encode(admission))
    }

    /// The fleet that this appliance joined, if it did not found its own. When it was just
    /// admitted, `forget` is called first: it forgets the fleet of one that was here.
    ///
    /// # Errors
    /// [`StartFault::Path`] if that can't be read or done.
    pub fn joined(
        &self,
        forget: impl FnOnce() -> Result<(), String>,
    ) -> Result<Option<Admission>, StartFault> {
        let (joining, joined) = (self.path.join(JOINING), self.path.join(JOINED));
        let fault = |path: &Path, reason: String| StartFault::Path { path: path.into(), reason };
        if joining.exists() {
            let meta = self.fleet_dir();
            if meta.exists() {
                fs::remove_dir_all(&meta).map_err(|e| fault(&meta, e.to_string()))?;
            }
            forget().map_err(|reason| fault(&self.log_dir(), reason))?;
            fs::rename(&joining, &joined).map_err(|e| fault(&joining, e.to_string()))?;
            sync_dir(&self.path).map_err(|e| fault(&self.path, e.to_string()))?;
        }
        match fs::read(&joined) {
            Ok(bytes) => {
                let reason = "is damaged: bring it back, or empty the root and join again";
                router::decode(&bytes).map(Some).map_err(|_| fault(&joined, reason.to_owned()))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(&joined, e.to_string())),
        }
    }
}

/// Opens and deletes volumes below a root.
pub struct VolumeFolders {
    /// The root folder.
    pub root: PathBuf,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Its room.
    pub space: Arc<Space>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Backing files kept open, of each volume.
    pub open_files_max: usize,
    /// Metadata cache of each volume.
    pub meta_cache_bytes: u64,
}

impl VolumeFolders {
    fn dir(&self, volume: VolumeId) -> PathBuf {
        self.root.join("volumes").join(volume.to_string())
    }

    /// Makes a volume's folder and its two subvolumes, as far as they are missing.
    fn make(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for name in SUBVOLUMES {
            let path = dir.join(name);
            if !path.exists() {
                extents::btrfs::create_subvolume(&path)?;
            }
        }
        sync_dir(dir)?;
        sync_dir(&self.root.join("volumes"))
    }
}

impl VolumeFactory<FjallStore> for VolumeFolders {
    fn open(
        &self,
        volume: VolumeId,
        sink: Arc<dyn Sink>,
    ) -> Result<OpenedVolume<FjallStore>, StartFault> {
        let dir = self.dir(volume);
        let fault = |e: io::Error| StartFault::Path { path: dir.clone(), reason: e.to_string() };
        self.make(&dir).map_err(fault)?;
        let settings = FjallSettings {
            cache_bytes: self.meta_cache_bytes,
            ..FjallSettings::in_dir(dir.join("meta"))
        };
        let store = FjallStore::open(settings).map_err(catalog::CatalogFault::from)?;
        let settings = extents::Settings {
            dir: dir.join("data"),
            open_files_max: self.open_files_max,
            known_objects_max: KNOWN_OBJECTS_MAX,
        };
        let (disk, space) = (self.disk.clone(), self.space.clone());
        let objects =
            Objects::open(settings, disk, space, sink, self.clock.clone()).map_err(fault)?;
        Ok(OpenedVolume { store, objects })
    }

    fn fresh(&self, volume: VolumeId) -> Result<FjallStore, StartFault> {
        let dir = self.dir(volume);
        let fault = |e: io::Error| StartFault::Path { path: dir.clone(), reason: e.to_string() };
        fs::create_dir_all(&dir).map_err(fault)?;
        let fresh = dir.join(FRESH);
        if fresh.exists() {
            extents::btrfs::delete_subvolume(&fresh).map_err(fault)?;
        }
        extents::btrfs::create_subvolume(&fresh).map_err(fault)?;
        let settings =
            FjallSettings { cache_bytes: self.meta_cache_bytes, ..FjallSettings::in_dir(fresh) };
        Ok(FjallStore::open(settings).map_err(catalog::CatalogFault::from)?)
    }

    fn swap(&self, volume: VolumeId) -> io::Result<()> {
        let dir = self.dir(volume);
        let (meta, fresh, old) = (dir.join("meta"), dir.join(FRESH), dir.join(OLD));
        if old.exists() {
            extents::btrfs::delete_subvolume(&old)?;
        }
        if meta.exists() {
            fs::rename(&meta, &old)?;
        }
        fs::rename(&fresh, &meta)?;
        sync_dir(&dir)?;
        if old.exists() {
            extents::btrfs::delete_subvolume(&old)?;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<VolumeId>> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(self.root.join("volumes"))? {
            let name = entry?.file_name();
            volumes.extend(name.to_str().and_then(|name| name.parse().ok()).map(VolumeId::new));
        }
        Ok(volumes)
    }

    fn delete(&self, volume: VolumeId) -> io::Result<()> {
        let dir = self.dir(volume);
        for name in SUBVOLUMES.into_iter().chain([FRESH, OLD]) {
            let path = dir.join(name);
            if path.exists() {
                extents::btrfs::delete_subvolume(&path)?;
            }
        }
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => sync_dir(&self.root.join("volumes")),
        }
    }
}

const SUBVOLUMES: [&str; 2] = ["meta", "data"];
const CLEAN_MARK: &str = "clean";
const JOINING: &str = "fleet/joining";
const JOINED: &str = "fleet/joined";
/// An image of another appliance's catalog, before it takes the place of ours.
const FRESH: &str = "meta.fresh";
/// Ours, just before it goes.
const OLD: &str = "meta.old";
const IDENTITY_PREFIX: &str = "holdfast-appliance-v1 ";
/// Size and stamp of so many objects are kept in memory, at some 200 bytes each.
const KNOWN_OBJECTS_MAX: usize = 65_536;
