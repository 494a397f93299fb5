//! The catalog's store on sled 0.34.
//!
//! Its flush is `sync_file_range`, which on BTRFS does not make data durable, so a checkpoint is a
//! flush and then an fdatasync of every file and an fsync of every directory. Between checkpoints
//! the Raft log is what makes entries durable. Flushes run in the background, one every
//! [`SledSettings::flush_batches`] batches, and apply waits when too many batches are unflushed: an
//! unbounded backlog was measured to cost 31 s and 254 MiB.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use catalog::{Batch, Scan, Store, StoreFault};

/// How the store is to be run.
#[derive(Clone, Debug)]
pub struct SledSettings {
    /// Its folder; made if it is missing.
    pub dir: PathBuf,
    /// Bytes of page cache.
    pub cache_bytes: u64,
    /// Batches between two background flushes.
    pub flush_batches: u64,
    /// Batches that may be unflushed before apply waits.
    pub unflushed_batches_max: u64,
}

impl SledSettings {
    /// The settings that were measured to serve best, for a store in `dir`.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir, cache_bytes: 48 << 20, flush_batches: 64, unflushed_batches_max: 256 }
    }
}

/// A store on sled.
pub struct SledStore {
    db: ::sled::Db,
    settings: SledSettings,
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
}

/// What the flusher thread and the appliers tell each other.
struct Shared {
    backlog: Mutex<Backlog>,
    changed: Condvar,
}

#[derive(Default)]
struct Backlog {
    applied: u64,
    flushed: u64,
    stopping: bool,
    failed: Option<String>,
}

impl SledStore {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// [`StoreFault`] if sled can't recover it; the message names the folder.
    pub fn open(settings: SledSettings) -> Result<Self, StoreFault> {
        let fault = |reason: String| StoreFault {
            place: settings.dir.display().to_string(),
            action: "open",
            reason,
        };
        let db = ::sled::Config::new()
            .path(&settings.dir)
            .cache_capacity(settings.cache_bytes)
            .flush_every_ms(None)
            .open()
            .map_err(|e| fault(e.to_string()))?;
        let shared = Arc::new(Shared { backlog: Mutex::default(), changed: Condvar::new() });
        let thread = std::thread::Builder::new().name("meta-flush".into());
        let flusher = thread
            .spawn({
                let (db, shared, every) = (db.clone(), shared.clone(), settings.flush_batches);
                move || flush_in_background(&db, &shared, every)
            })
            .map_err(|e| fault(e.to_string()))?;
        Ok(Self { db, settings, shared, flusher: Some(flusher) })
    }

    fn wait_for_room(&self) -> Result<(), StoreFault> {
        let mut backlog = self.shared.backlog.lock();
        while backlog.applied - backlog.flushed >= self.settings.unflushed_batches_max
            && backlog.failed.is_none()
        {
            self.shared.changed.wait(&mut backlog);
        }
        match &backlog.failed {
            Some(reason) => Err(self.fault("flush", reason)),
            None => Ok(()),
        }
    }

    fn fault(&self, action: &'static str, reason: impl ToString) -> StoreFault {
        let place = self.settings.dir.display().to_string();
        StoreFault { place, action, reason: reason.to_string() }
    }
}

impl Store for SledStore {
    type Value = ::sled::IVec;

    fn get(&self, key: &[u8]) -> Result<Option<::sled::IVec>, StoreFault> {
        self.db.get(key).map_err(|e| self.fault("read", e))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        for record in self.db.range(from..to) {
            let (key, value) = record.map_err(|e| self.fault("scan", e))?;
            if visit(&key, &value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        self.wait_for_room()?;
        let mut theirs = ::sled::Batch::default();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => theirs.insert(key, value),
                None => theirs.remove(key),
            }
        }
        self.db.apply_batch(theirs).map_err(|e| self.fault("apply a batch", e))?;
        let mut backlog = self.shared.backlog.lock();
        backlog.applied += 1;
        if backlog.applied - backlog.flushed >= self.settings.flush_batches {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        self.db.flush().map_err(|e| self.fault("flush", e))?;
        sync_tree(&self.settings.dir).map_err(|e| self.fault("sync its files", e))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.backlog.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(flusher) = self.flusher.take() {
            // A flusher that panicked has flushed nothing more; the log still has it all.
            let _ = flusher.join();
        }
    }
}

/// The flusher thread: flushes whenever enough batches have come together.
fn flush_in_background(db: &::sled::Db, shared: &Shared, every: u64) {
    loop {
        let applied = {
            let mut backlog = shared.backlog.lock();
            while backlog.applied - backlog.flushed < every && !backlog.stopping {
                shared.changed.wait(&mut backlog);
            }
            if backlog.stopping {
                return;
            }
            backlog.applied
        };
        let flushed = db.flush();
        let mut backlog = shared.backlog.lock();
        match flushed {
            Ok(_) => backlog.flushed = applied,
            Err(e) => backlog.failed = Some(e.to_string()),
        }
        let failed = backlog.failed.is_some();
        drop(backlog);
        shared.changed.notify_all();
        if failed {
            return;
        }
    }
}

/// fdatasync of every file below `dir`, fsync of every directory.
fn sync_tree(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            match File::open(entry.path()) {
                Ok(file) => file.sync_data()?,
                // sled unlinks blobs it no longer needs while we walk.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    File::open(dir)?.sync_all()
}
