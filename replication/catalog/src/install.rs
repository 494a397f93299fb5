//! Fills an empty store with another appliance's catalog, piece by piece.
//!
//! Invariant: a store that is only half filled is never taken for a catalog: the state record,
//! which makes it one, comes last, with a mark that the group's log must be reset to it first.

use model::Index;
use thiserror::Error;

use crate::keys;
use crate::records::{State, decode};
use crate::store::{Batch, Record, Store, StoreFault};

/// The most bytes of records in one piece of an image; one record alone may be larger.
pub const PIECE_BYTES_MAX: usize = 512 << 10;

/// A store that is being filled.
pub struct Installing<S> {
    store: S,
    state: Option<Vec<u8>>,
}

/// Why an image can't be installed; the next try starts with an empty store.
#[derive(Debug, Error)]
pub enum InstallFault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The image ended and was no catalog.
    #[error("the image is no whole catalog: {0}")]
    Incomplete(String),
}

impl<S: Store> Installing<S> {
    /// Begins with an empty store.
    pub fn new(store: S) -> Self {
        Self { store, state: None }
    }

    /// Takes the next records.
    ///
    /// # Errors
    /// [`InstallFault::Store`] if the store can't take them.
    pub fn take(&mut self, piece: Vec<Record>) -> Result<(), InstallFault> {
        let mut batch = Batch::default();
        for (key, value) in piece {
            match key.as_slice() {
                keys::STATE => self.state = Some(value),
                // The mark of the appliance that the image is of means nothing here.
                keys::INSTALLED => {}
                _ => batch.put(key, value),
            }
        }
        Ok(self.store.apply(batch)?)
    }

    /// Makes it a catalog, durably; gives the entry it stands at.
    ///
    /// # Errors
    /// [`InstallFault::Incomplete`] if there was no state record that can be read.
    pub fn finish(self) -> Result<Index, InstallFault> {
        self.finish_into().map(|(_, applied)| applied)
    }

    fn finish_into(self) -> Result<(S, Index), InstallFault> {
        let incomplete = |reason: String| InstallFault::Incomplete(reason);
        let bytes = self.state.ok_or_else(|| incomplete("it has no state record".into()))?;
        let state: State = decode("state", &bytes).map_err(|e| incomplete(e.to_string()))?;
        self.store.checkpoint()?;
        let mut batch = Batch::default();
        batch.put(keys::INSTALLED.to_vec(), Vec::new());
        batch.put(keys::STATE.to_vec(), bytes);
        self.store.apply(batch)?;
        self.store.checkpoint()?;
        Ok((self.store, state.applied))
    }
}

#[cfg(test)]
mod tests;
