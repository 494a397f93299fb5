//! The catalog's store on fjall 3.
//!
//! A batch is handed to the kernel when it is applied, which outlives a crash of the process; only
//! a checkpoint syncs.

use std::path::{Path, PathBuf};

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserValue};
use catalog::{Batch, Scan, Store, StoreFault};

/// A store on fjall.
pub struct FjallStore {
    db: Database,
    records: Keyspace,
    dir: PathBuf,
}

impl FjallStore {
    /// Opens the store in `dir`, or makes it.
    ///
    /// # Errors
    /// [`StoreFault`] if fjall can't recover it.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, StoreFault> {
        let fault = |e: ::fjall::Error| fault(dir, "open", &e);
        let builder = Database::builder(dir).cache_size(cache_bytes as u64);
        let db = builder.open().map_err(fault)?;
        let records = db.keyspace("records", KeyspaceCreateOptions::default).map_err(fault)?;
        Ok(Self { db, records, dir: dir.to_owned() })
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
        self.db.persist(PersistMode::SyncAll).map_err(|e| fault(&self.dir, "flush", &e))
    }
}

fn fault(dir: &Path, action: &'static str, reason: &::fjall::Error) -> StoreFault {
    StoreFault { place: dir.display().to_string(), action, reason: reason.to_string() }
}
