//! The catalog's store on redb 4.
//!
//! A commit that is not durable costs no sync; every [`UNFLUSHED_BATCHES_MAX`]th is durable, since
//! redb can't reuse a page before that. Readers share one snapshot, renewed with every batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{AccessGuard, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use catalog::{Batch, Scan, Store, StoreFault};
use parking_lot::{Mutex, RwLock};

type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A store on redb.
pub struct RedbStore {
    db: Database,
    path: PathBuf,
    snapshot: RwLock<Arc<Records>>,
    /// Batches since the last durable commit; held by whoever applies.
    unflushed: Mutex<u32>,
}

/// A value, still in redb's page.
pub struct Value(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl RedbStore {
    /// Opens the store in `dir`, or makes it.
    ///
    /// # Errors
    /// [`StoreFault`] if redb can't recover it.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, StoreFault> {
        let path = dir.join("catalog.redb");
        let fault = |e: ::redb::Error| fault(&path, "open", &e);
        std::fs::create_dir_all(dir).map_err(|e| fault(::redb::StorageError::Io(e).into()))?;
        let made = Database::builder().set_cache_size(cache_bytes).create(&path);
        let db = made.map_err(|e| fault(e.into()))?;
        let records = snapshot(&db).or_else(|_| {
            // Made by the first commit; a store that has it opens without writing a byte.
            commit(&db, Durability::Immediate, Batch::default())?;
            snapshot(&db)
        });
        let snapshot = RwLock::new(Arc::new(records.map_err(fault)?));
        Ok(Self { db, path, snapshot, unflushed: Mutex::new(0) })
    }

    fn commit(&self, durability: Durability, batch: Batch) -> Result<(), ::redb::Error> {
        commit(&self.db, durability, batch)?;
        *self.snapshot.write() = Arc::new(snapshot(&self.db)?);
        Ok(())
    }
}

impl Store for RedbStore {
    type Value = Value;

    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreFault> {
        let records = self.snapshot.read().clone();
        let value = records.get(key).map_err(|e| fault(&self.path, "read", &e.into()))?;
        Ok(value.map(Value))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        let fault = |e: ::redb::StorageError| fault(&self.path, "scan", &e.into());
        let records = self.snapshot.read().clone();
        for record in records.range::<&[u8]>(from..to).map_err(fault)? {
            let (key, value) = record.map_err(fault)?;
            if visit(key.value(), value.value()) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        let mut unflushed = self.unflushed.lock();
        *unflushed += 1;
        let durability = if *unflushed < UNFLUSHED_BATCHES_MAX {
            Durability::None
        } else {
            *unflushed = 0;
            Durability::Immediate
        };
        self.commit(durability, batch).map_err(|e| fault(&self.path, "apply a batch", &e))
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        let mut unflushed = self.unflushed.lock();
        *unflushed = 0;
        let flushed = self.commit(Durability::Immediate, Batch::default());
        flushed.map_err(|e| fault(&self.path, "flush", &e))
    }
}

fn commit(db: &Database, durability: Durability, batch: Batch) -> Result<(), ::redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(durability)?;
    {
        let mut records = write.open_table(RECORDS)?;
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => drop(records.insert(&*key, &*value)?),
                None => drop(records.remove(&*key)?),
            }
        }
    }
    Ok(write.commit()?)
}

fn snapshot(db: &Database) -> Result<Records, ::redb::Error> {
    Ok(db.begin_read()?.open_table(RECORDS)?)
}

fn fault(path: &Path, action: &'static str, reason: &::redb::Error) -> StoreFault {
    StoreFault { place: path.display().to_string(), action, reason: reason.to_string() }
}

const RECORDS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("records");

/// The same backlog that the appliance allows to sled.
const UNFLUSHED_BATCHES_MAX: u32 = 256;
