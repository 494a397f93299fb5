//! The simulated twin of a store: an ordered map in memory, which forgets on a power cut what no
//! checkpoint covered.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::store::{Batch, Image, Imaging, Record, Scan, Store, StoreFault};

/// An ordered map in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    now: BTreeMap<Vec<u8>, Vec<u8>>,
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    /// Forgets everything since the last checkpoint.
    pub fn power_cut(&self) {
        let mut state = self.state.write();
        state.now = state.durable.clone();
    }
}

/// The records of a moment that are still to be read, the last one first.
#[derive(Debug)]
pub struct MemoryImage(Vec<Record>);

impl Image for MemoryImage {
    fn next(&mut self, bytes_max: usize) -> Result<Vec<Record>, StoreFault> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = self.0.last() {
            bytes += key.len() + value.len();
            if bytes > bytes_max && !piece.is_empty() {
                break;
            }
            piece.extend(self.0.pop());
        }
        Ok(piece)
    }
}

impl Imaging for MemoryStore {
    type Image = MemoryImage;

    fn image(&self) -> Result<MemoryImage, StoreFault> {
        let state = self.state.read();
        let records = state.now.iter().rev().map(|(key, value)| (key.clone(), value.clone()));
        Ok(MemoryImage(records.collect()))
    }
}

impl Store for MemoryStore {
    type Value = Vec<u8>;
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        Ok(self.state.read().now.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        for (key, value) in self.state.read().now.range(from.to_vec()..to.to_vec()) {
            if visit(key, value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        let mut state = self.state.write();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => state.now.insert(key, value),
                None => state.now.remove(&key),
            };
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        let mut state = self.state.write();
        state.durable = state.now.clone();
        Ok(())
    }
}
