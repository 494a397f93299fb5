//! The catalog's store on fjall 3, a log-structured merge tree; the only file that names fjall.
//!
//! A batch goes to fjall's journal, which the kernel has when [`Store::apply`] returns: that
//! outlives a crash of the process. Only a checkpoint syncs the journal; between checkpoints the
//! Raft log is what makes entries durable. Tables that leave memory are synced by fjall before the
//! journal that held their records goes.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use ::fjall::{
    Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, UserKey, UserValue,
};

use crate::store::{Batch, Image, Imaging, Record, Scan, Store, StoreFault};

/// How the store is to be run.
#[derive(Clone, Debug)]
pub struct FjallSettings {
    /// Its folder; made if it is missing.
    pub dir: PathBuf,
    /// Bytes of cached blocks.
    pub cache_bytes: u64,
    /// Bytes of records that are kept in memory before they become a table.
    pub memtable_bytes_max: u64,
}

impl FjallSettings {
    /// The settings that were measured to serve best, for a store in `dir`.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir, cache_bytes: 48 << 20, memtable_bytes_max: 16 << 20 }
    }
}

/// A store on fjall.
pub struct FjallStore {
    db: Database,
    records: Keyspace,
    dir: PathBuf,
}

impl FjallStore {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// [`StoreFault`] if fjall can't recover it; the message names the folder.
    pub fn open(settings: FjallSettings) -> Result<Self, StoreFault> {
        let fault = |e: ::fjall::Error| fault(&settings.dir, "open", &e);
        let db = Database::builder(&settings.dir)
            .cache_size(settings.cache_bytes)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(fault)?;
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(settings.memtable_bytes_max);
        let records = db.keyspace(RECORDS, options).map_err(fault)?;
        Ok(Self { db, records, dir: settings.dir })
    }
}

/// A read view of the database, and how far it was read.
pub struct FjallImage {
    snapshot: Snapshot,
    records: Keyspace,
    dir: PathBuf,
    after: Option<UserKey>,
}

impl Image for FjallImage {
    fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, StoreFault> {
        let from = match &self.after {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Unbounded,
        };
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for record in self.snapshot.range(&self.records, (from, Bound::Unbounded)) {
            let (key, value) = record.into_inner().map_err(|e| fault(&self.dir, "scan", &e))?;
            bytes += key.len() + value.len();
            if bytes > bytes_max && !piece.is_empty() {
                break;
            }
            piece.push((key.to_vec(), value.to_vec()));
            self.after = Some(key);
        }
        Ok(piece)
    }
}

impl Imaging for FjallStore {
    type Image = FjallImage;

    fn image(&self) -> Result<FjallImage, StoreFault> {
        let (snapshot, records) = (self.db.snapshot(), self.records.clone());
        Ok(FjallImage { snapshot, records, dir: self.dir.clone(), after: None })
    }
}

impl Store for FjallStore {
    type Value = UserValue;
    fn get(&self, key: &[u8]) -> Result<Option<UserValue>, StoreFault> {
        self.records.get(key).map_err(|e| fault(&self.dir, "read", &e))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        for record in self.records.range(from..to) {
            let (key, value) = record.into_inner().map_err(|e| fault(&self.dir, "scan", &e))?;
            if visit(&key, &value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        let mut theirs = self.db.batch();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => theirs.insert(&self.records, key, value),
                None => theirs.remove(&self.records, key),
            }
        }
        theirs.commit().map_err(|e| fault(&self.dir, "apply a batch", &e))
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        self.db.persist(PersistMode::SyncAll).map_err(|e| fault(&self.dir, "sync its journal", &e))
    }
}

fn fault(dir: &Path, action: &'static str, reason: &::fjall::Error) -> StoreFault {
    StoreFault { place: dir.display().to_string(), action, reason: reason.to_string() }
}

/// The one keyspace: keys tell kinds of records apart.
const RECORDS: &str = "records";

/// The least that fjall takes.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;

/// Threads that write tables and merge them.
const WORKERS: usize = 1;
