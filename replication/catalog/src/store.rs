//! The seam under the catalog: an ordered map of small records with atomic batches. What it has to
//! promise is written here as a contract; `tests/contract.rs` runs it on every adapter.

use thiserror::Error;

/// A store could not do what it was asked. The appliance stops: the log has everything since the
/// last checkpoint, so nothing is lost by that.
#[derive(Debug, Error)]
#[error("the metadata store at {place} could not {action}: {reason}")]
pub struct StoreFault {
    /// Where: a path.
    pub place: String,
    /// What it was doing.
    pub action: &'static str,
    /// What went wrong, in the words of who noticed.
    pub reason: String,
}

/// Puts and deletes that become visible, and durable, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push((key, Some(value)));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.push((key, None));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The last change of `key`: its value, or nothing if it is removed; `None` if it does not
    /// change.
    pub fn last_change_of(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let change = self.changes.iter().rev().find(|(changed, _)| changed == key)?;
        Some(change.1.as_deref())
    }

    /// The changes, in the order they were made; the last one of a key counts.
    pub fn into_changes(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.changes
    }
}

/// What a scan's visitor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The next record.
    Continue,
    /// No more.
    Stop,
}

/// An ordered map with atomic batches.
///
/// After a crash of the process it holds a prefix of the applied batches, whole batches only;
/// after a power cut at least those before the last checkpoint.
pub trait Store: Send + Sync + 'static {
    /// A value as the store hands it out.
    type Value: AsRef<[u8]>;

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreFault`] if the store can't read; stop.
    fn get(&self, key: &[u8]) -> Result<Option<Self::Value>, StoreFault>;

    /// Visits the records with `from <= key < to`, in order.
    ///
    /// # Errors
    /// [`StoreFault`] if the store can't read; stop.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault>;

    /// Applies a batch, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreFault`] if it can't; stop.
    fn apply(&self, batch: Batch) -> Result<(), StoreFault>;

    /// Makes everything applied before the call durable, in spite of a power cut.
    ///
    /// # Errors
    /// [`StoreFault`] if it can't: the log must not be cut.
    fn checkpoint(&self) -> Result<(), StoreFault>;
}

/// A store that can be copied while it goes on.
pub trait Imaging: Store {
    /// All that a store holds at one moment.
    type Image: Image;

    /// All that it holds now, whatever is applied later.
    ///
    /// # Errors
    /// [`StoreFault`] if the store can't read; stop.
    fn image(&self) -> Result<Self::Image, StoreFault>;
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// What a store held at one moment, read piece by piece. Held no longer than needed: what it holds
/// can't be given up below.
pub trait Image: Send + 'static {
    /// The next records in order of their keys, as many as fit into `bytes_max` (at least one);
    /// empty at the end.
    ///
    /// # Errors
    /// [`StoreFault`] if the store can't read; stop.
    fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, StoreFault>;
}
