//! What an appliance keeps on its disk: the log, the catalogs, the backing files.
//!
//! Invariant: a process that is killed loses nothing that it wrote; a power cut loses what was not
//! synced, or some of it. Absent on purpose: rot and faults of the medium.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Batch, Imaging, MemoryStore, Scan, Store, StoreFault};
use consensus::MemoryLog;
use extents::{Base, Frame, FrameChange};
use model::{Mark, VolumeId, WriteVerifier};

use crate::chance::Chance;
use crate::words::{CELL_BYTES, CELLS, Key};

/// A store that outlives the process that has it open.
#[derive(Clone, Default)]
pub struct Shared(pub Arc<MemoryStore>);

impl Store for Shared {
    type Value = Vec<u8>;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        self.0.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), StoreFault> {
        self.0.scan(from, to, visit)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreFault> {
        self.0.apply(batch)
    }

    fn checkpoint(&self) -> Result<(), StoreFault> {
        self.0.checkpoint()
    }
}

impl Imaging for Shared {
    type Image = <MemoryStore as Imaging>::Image;

    fn image(&self) -> Result<Self::Image, StoreFault> {
        self.0.image()
    }
}

/// A disk.
#[derive(Clone, Default)]
pub struct Disk {
    pub log: Arc<MemoryLog>,
    pub fleet: Shared,
    pub volumes: BTreeMap<VolumeId, Shared>,
    pub files: BTreeMap<Key, File>,
}

/// What a file holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub mark: Mark,
}

/// One change that is not durable yet.
#[derive(Clone, Debug)]
struct Unsynced {
    number: u64,
    change: FrameChange,
    /// What its WRITE was answered with.
    verifier: Option<WriteVerifier>,
}

/// A backing file.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub now: Content,
    durable: Content,
    unsynced: Vec<Unsynced>,
    /// Counts changes, so that a sync knows what it covers.
    changes: u64,
}

/// A sync under way: what it makes durable.
#[derive(Clone, Debug)]
pub struct Sync {
    content: Content,
    changes: u64,
}

impl File {
    /// A file that is received: whatever was there is forgotten.
    pub fn begin(base: &Base) -> Self {
        let now = Content { bytes: vec![0; base.size as usize], mark: base.mark };
        Self { now, ..Self::default() }
    }

    pub fn base(&self) -> Base {
        Base { mark: self.now.mark, stamp: None, size: self.now.bytes.len() as u64 }
    }

    /// Up to where it would survive a power cut.
    pub fn durable(&self) -> Mark {
        self.durable.mark
    }

    pub fn cells(&self) -> [u32; CELLS] {
        let mut cells = [0; CELLS];
        for (cell, bytes) in cells.iter_mut().zip(self.now.bytes.chunks_exact(CELL_BYTES)) {
            *cell = u32::from_le_bytes(bytes.try_into().expect("a cell has its bytes"));
        }
        cells
    }

    /// Carries a frame out.
    pub fn apply(&mut self, frame: &Frame, verifier: Option<WriteVerifier>) {
        change(&mut self.now.bytes, &frame.change);
        self.now.mark = self.now.mark.max(frame.mark);
        self.changes += 1;
        let number = self.changes;
        self.unsynced.push(Unsynced { number, change: frame.change.clone(), verifier });
    }

    pub fn sync(&self) -> Sync {
        Sync { content: self.now.clone(), changes: self.changes }
    }

    pub fn synced(&mut self, sync: Sync) {
        self.unsynced.retain(|unsynced| unsynced.number > sync.changes);
        if sync.content.mark >= self.durable.mark {
            self.durable = sync.content;
        }
    }

    /// Loses power; says what the lost WRITEs were answered with.
    fn power_cut(&mut self, chance: &Chance, kept_per_mille: u64) -> Vec<WriteVerifier> {
        let mut lost = Vec::new();
        self.now.bytes = self.durable.bytes.clone();
        for unsynced in std::mem::take(&mut self.unsynced) {
            if chance.per_mille(kept_per_mille) {
                change(&mut self.now.bytes, &unsynced.change);
            } else {
                lost.extend(unsynced.verifier);
            }
        }
        // What is there after a power cut is all that will ever be.
        self.durable = self.now.clone();
        lost
    }
}

fn change(file: &mut Vec<u8>, change: &FrameChange) {
    let mut put = |offset: usize, bytes: &[u8]| {
        if file.len() < offset + bytes.len() {
            file.resize(offset + bytes.len(), 0);
        }
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    match change {
        FrameChange::Nothing | FrameChange::Hole(_) => {}
        FrameChange::Write { offset, bytes } => put(*offset as usize, bytes),
        FrameChange::Copy { span, bytes, .. } => put(span.offset() as usize, bytes),
        FrameChange::Later { end } => {
            let len = file.len().max(*end as usize);
            file.resize(len, 0);
        }
        FrameChange::SetSize(size) => file.resize(*size as usize, 0),
    }
}

impl Disk {
    /// Loses power; of what was not synced so much is there all the same. Gives the verifiers of
    /// unstable data that is gone.
    pub fn power_cut(&mut self, chance: &Chance, kept_per_mille: u64) -> Vec<(Key, WriteVerifier)> {
        self.log.power_cut(chance.below(self.log.unsynced() as u64 + 1) as usize);
        self.fleet.0.power_cut();
        self.volumes.values().for_each(|store| store.0.power_cut());
        let mut lost = Vec::new();
        for (key, file) in &mut self.files {
            let gone = file.power_cut(chance, kept_per_mille);
            lost.extend(gone.into_iter().map(|verifier| (*key, verifier)));
        }
        lost
    }
}
