//! What a run of entries has changed so far, on top of the store: later entries of a batch see
//! earlier ones, and all of it becomes one batch of the store.

use std::collections::HashMap;

use model::{Cookie, Inode, Name, ObjectId};

use crate::cached::Records;
use crate::command::Answer;
use crate::fault::CatalogFault;
use crate::keys;
use crate::records::{CookieRecord, NameRecord, ReplayRecord, State, decode, encode};
use crate::store::{Batch, Store};

/// An overlay over a store.
pub struct Txn<'a, S> {
    below: &'a Records<S>,
    /// The catalog's one-of-a-kind facts, as of this entry.
    pub state: State,
    inodes: HashMap<ObjectId, Option<Inode>>,
    names: HashMap<(ObjectId, Name), Option<NameRecord>>,
    /// How many times an inode was set.
    inodes_set: usize,
    /// Records that are never read back in the same batch, or are read elsewhere.
    direct: Batch,
}

impl<'a, S: Store> Txn<'a, S> {
    /// Nothing changed yet.
    pub fn new(below: &'a Records<S>, state: State) -> Self {
        let (inodes, names) = (HashMap::new(), HashMap::new());
        Self { below, state, inodes, names, inodes_set: 0, direct: Batch::default() }
    }

    /// Whether nothing was changed.
    pub fn is_unchanged(&self) -> bool {
        self.inodes.is_empty() && self.names.is_empty() && self.direct.is_empty()
    }

    /// An object's inode.
    pub fn inode(&self, object: ObjectId) -> Result<Option<Inode>, CatalogFault> {
        if let Some(inode) = self.inodes.get(&object) {
            return Ok(inode.clone());
        }
        Ok(self.below.inode(object)?.map(|inode| Inode::clone(&inode)))
    }

    /// Where a name leads.
    pub fn name(&self, dir: ObjectId, name: &Name) -> Result<Option<NameRecord>, CatalogFault> {
        if !self.names.is_empty()
            && let Some(record) = self.names.get(&(dir, name.clone()))
        {
            return Ok(*record);
        }
        self.below.name(dir, name)
    }

    /// An answer given in an earlier batch.
    pub fn stored_answer(&self, key: &[u8]) -> Result<Option<Answer>, CatalogFault> {
        let value = self.below.store.get(key)?;
        let record = value.map(|v| decode::<ReplayRecord>("answer", v.as_ref())).transpose()?;
        Ok(record.map(|record| record.answer))
    }

    /// Sets an inode.
    pub fn put_inode(&mut self, object: ObjectId, inode: Inode) {
        self.inodes.insert(object, Some(inode));
        self.inodes_set += 1;
    }

    /// How many times an inode was set.
    pub fn inodes_set(&self) -> usize {
        self.inodes_set
    }

    /// Forgets an object.
    pub fn delete_inode(&mut self, object: ObjectId) {
        self.inodes.insert(object, None);
        self.state.objects = self.state.objects.saturating_sub(1);
    }

    /// Puts a name into a directory, under its own cookie.
    pub fn put_name(&mut self, dir: ObjectId, name: &Name, object: ObjectId, cookie: Cookie) {
        self.names.insert((dir, name.clone()), Some(NameRecord { object, cookie }));
        let record = CookieRecord { object, name: name.clone() };
        self.direct.put(keys::cookie(dir, cookie), encode(&record));
    }

    /// Takes a name out of a directory.
    pub fn delete_name(&mut self, dir: ObjectId, name: &Name, record: NameRecord) {
        self.names.insert((dir, name.clone()), None);
        self.direct.delete(keys::cookie(dir, record.cookie));
    }

    /// A new object's number.
    pub fn new_object(&mut self) -> ObjectId {
        let object = self.state.next_object;
        self.state.next_object = object.next();
        self.state.objects += 1;
        object
    }

    /// Whether a record of another kind is there.
    pub fn has(&self, key: &[u8]) -> Result<bool, CatalogFault> {
        match self.direct.last_change_of(key) {
            Some(change) => Ok(change.is_some()),
            None => Ok(self.below.store.get(key)?.is_some()),
        }
    }

    /// Sets a record of another kind.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.direct.put(key, value);
    }

    /// Removes a record of another kind.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.direct.delete(key);
    }

    /// Everything: one batch of the store, and the inodes it changes.
    pub fn into_changes(self) -> Changes {
        let mut batch = self.direct;
        for (object, inode) in &self.inodes {
            match inode {
                Some(inode) => batch.put(keys::inode(*object), encode(inode)),
                None => batch.delete(keys::inode(*object)),
            }
        }
        for ((dir, name), record) in self.names {
            match record {
                Some(record) => batch.put(keys::name(dir, &name), encode(&record)),
                None => batch.delete(keys::name(dir, &name)),
            }
        }
        batch.put(keys::STATE.to_vec(), encode(&self.state));
        Changes { batch, state: self.state, inodes: self.inodes }
    }
}

/// What a run of entries comes to.
pub struct Changes {
    /// For the store.
    pub batch: Batch,
    /// The new one-of-a-kind facts.
    pub state: State,
    /// For the cache: what each inode is from now on.
    pub inodes: HashMap<ObjectId, Option<Inode>>,
}
