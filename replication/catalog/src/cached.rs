//! The store with the inodes used last, decoded: nearly every request looks at one or two, and
//! finding and decoding one in the store costs more than all the rest of a small request.
//!
//! Invariant: the cache holds what the store holds. Whoever reads fills it, the one who applies
//! changes it, and the catalog's lock keeps readers away while that happens.

use std::sync::Arc;

use model::{Inode, Name, ObjectId};
use quick_cache::sync::Cache;

use crate::fault::CatalogFault;
use crate::keys;
use crate::records::{NameRecord, decode};
use crate::store::Store;
use crate::txn::Changes;

/// A store and its cache.
pub struct Records<S> {
    /// The store itself.
    pub store: S,
    inodes: Cache<ObjectId, Arc<Inode>>,
}

impl<S: Store> Records<S> {
    /// Nothing cached yet.
    pub fn new(store: S) -> Self {
        Self { store, inodes: Cache::new(INODES_CACHED_MAX) }
    }

    /// An object's inode.
    pub fn inode(&self, object: ObjectId) -> Result<Option<Arc<Inode>>, CatalogFault> {
        if let Some(inode) = self.inodes.get(&object) {
            return Ok(Some(inode));
        }
        let Some(value) = self.store.get(&keys::inode(object))? else { return Ok(None) };
        let inode: Arc<Inode> = Arc::new(decode("inode", value.as_ref())?);
        self.inodes.insert(object, inode.clone());
        Ok(Some(inode))
    }

    /// Where a name leads.
    pub fn name(&self, dir: ObjectId, name: &Name) -> Result<Option<NameRecord>, CatalogFault> {
        let value = self.store.get(&keys::name(dir, name))?;
        value.map(|value| decode("name", value.as_ref())).transpose()
    }

    /// Applies a run of entries' changes to both.
    pub fn apply(&self, changes: Changes) -> Result<(), CatalogFault> {
        self.store.apply(changes.batch)?;
        for (object, inode) in changes.inodes {
            match inode {
                Some(inode) => self.inodes.insert(object, Arc::new(inode)),
                None => {
                    self.inodes.remove(&object);
                }
            }
        }
        Ok(())
    }
}

/// Some 200 bytes each: 13 MiB a volume when full.
const INODES_CACHED_MAX: usize = 65_536;
