//! What an appliance keeps on its disk: the log, the catalogs, the backing files.
//!
//! Invariant: a process that is killed loses nothing that it wrote; a power cut loses what was not
//! synced, or some of it. A disk may be full for a while, or fail at syncs; a file whose sync
//! failed is broken for good; one that rots can't be read until other bytes stand there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use catalog::{Batch, Imaging, MemoryStore, Scan, Store, StoreFault};
use consensus::MemoryLog;
use extents::{Base, CopyState, ExtentHash, Frame, FrameChange};
use model::{Mark, Sequence, Stamp, VolumeId, WriteVerifier};

use crate::chance::Chance;
use crate::following::Part;
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
    /// Nothing more fits on it.
    pub full: bool,
    /// Syncs of files fail.
    pub failing: bool,
}

/// What a file holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    /// The last mark given out for it.
    pub mark: Mark,
    /// The last change of its bytes.
    name: Mark,
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
    /// As many there were when all of it was replaced.
    begun: u64,
    /// Its name may not be that of its bytes.
    in_doubt: bool,
    /// Its owner's copy of this name it is to be, and has the first part. Not on the disk.
    becoming: Option<Mark>,
    /// A sync failed: nobody knows what of it is durable.
    pub broken: bool,
    /// It can't be read.
    pub rotten: bool,
    /// Other copies follow it, or it follows another.
    shared: bool,
    /// All good copies are known to hold what this one held at this change. Outlives a process, as
    /// far as its record does.
    settled: Mark,
}

/// A sync under way: what it makes durable.
#[derive(Clone, Debug)]
pub struct Sync {
    content: Content,
    changes: u64,
}

impl File {
    /// A file that is received: nothing counts of what was there, but an older copy's bytes stay
    /// until others come. Whether there are any.
    pub fn begin(&mut self, base: &Base) -> bool {
        let older = std::mem::take(self);
        let (mut bytes, durable) = match older.broken || older.rotten {
            true => Default::default(),
            false => (older.now.bytes, older.durable.bytes),
        };
        let any = !bytes.is_empty() && base.size > 0;
        bytes.resize(base.size as usize, 0);
        let now = Content { bytes, mark: base.mark, name: Mark::default() };
        let durable = Content { bytes: durable, ..Content::default() };
        // A sync that is under way was one of other bytes.
        let (changes, begun) = (older.changes + 1, older.changes + 1);
        *self = Self { now, durable, in_doubt: true, changes, begun, ..Self::default() };
        any
    }

    /// The hash of its one extent; none if that can't be read.
    pub fn hash(&self) -> Option<ExtentHash> {
        if self.rotten {
            return None;
        }
        let end = self.now.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(ExtentHash(*blake3::hash(&self.now.bytes[..end]).as_bytes()))
    }

    /// All of it has been received.
    pub fn received(&mut self, base: &Base) {
        self.now.bytes.resize(base.size as usize, 0);
        self.now.mark = base.mark;
        self.now.name = base.stamp.map(|stamp| stamp.mark).unwrap_or_default();
        self.in_doubt = false;
        // Its record is yet to be made durable.
        self.change_uncounted();
    }

    pub fn base(&self) -> Base {
        let stamp = Some(Stamp { mark: self.now.name, ..Stamp::default() });
        Base { mark: self.now.mark, stamp, size: self.now.bytes.len() as u64 }
    }

    /// The last change of its bytes.
    pub fn name(&self) -> Mark {
        self.now.name
    }

    /// What this copy is known to hold.
    pub fn state(&self) -> CopyState {
        if self.in_doubt { CopyState::InDoubt } else { CopyState::At(self.now.name) }
    }

    /// Whether a part of its owner's copy is of an older one than what is here.
    pub fn is_newer(&self, part: &Part) -> bool {
        let (mark, given) = (part.mark, self.now.mark);
        let begun = self.becoming.is_some_and(|becoming| mark < becoming);
        mark.reign < given.reign || mark < given && !self.in_doubt || begun
    }

    /// Whether the parts before this one are here.
    pub fn goes_on_with(&self, part: &Part) -> bool {
        part.first || self.becoming == Some(part.mark)
    }

    /// Takes a part of its owner's copy.
    pub fn make_equal(&mut self, part: &Part) {
        let mark = part.mark;
        (self.in_doubt, self.becoming) = (true, Some(mark));
        let stamp = part.last.then(|| Stamp { mark, ..Stamp::default() });
        let size = FrameChange::SetSize(part.size as u64);
        let bytes = Bytes::copy_from_slice(&part.bytes);
        for change in [size, FrameChange::Write { offset: part.offset as u64, bytes }] {
            self.apply(&Frame { mark, stamp, key: None, secure: false, change }, None);
        }
        if part.last {
            (self.in_doubt, self.rotten, self.becoming) = (false, false, None);
            self.now.mark = mark;
            self.durable.mark = self.durable.mark.min(mark);
        }
    }

    /// Its owner's change, under a name that is given once.
    pub fn change(&mut self, frame: &Frame, verifier: Option<WriteVerifier>) {
        self.apply(frame, verifier);
        self.in_doubt = false;
    }

    /// A new process takes its name for that of its bytes.
    pub fn trust(&mut self) {
        self.in_doubt = false;
    }

    /// A new process has it: after an unclean stop nobody knows which changes are in it.
    pub fn reopened(&mut self) {
        let unlike = self.shared && self.settled < self.now.name;
        let unsynced = !self.unsynced.is_empty();
        self.in_doubt |= self.broken || unsynced || unlike;
        (self.broken, self.becoming) = (false, None);
        if unsynced {
            // Nobody knows how many marks were given out.
            let sequence = self.now.mark.sequence.get() + (1 << 40);
            self.now.mark.sequence = Sequence::new(sequence);
        }
    }

    /// From here on copies follow one another.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// All good copies hold the same up to `mark`.
    pub fn settle(&mut self, mark: Mark) {
        self.settled = self.settled.max(mark);
    }

    /// Whether all good copies are known to hold what is here.
    pub fn is_settled(&self) -> bool {
        !self.in_doubt && self.settled >= self.now.name
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
        if let Some(stamp) = frame.stamp {
            self.now.name = stamp.mark;
        }
        self.changes += 1;
        let number = self.changes;
        self.unsynced.push(Unsynced { number, change: frame.change.clone(), verifier });
    }

    fn change_uncounted(&mut self) {
        self.changes += 1;
        let (number, change) = (self.changes, FrameChange::Nothing);
        self.unsynced.push(Unsynced { number, change, verifier: None });
    }

    pub fn sync(&self) -> Sync {
        Sync { content: self.now.clone(), changes: self.changes }
    }

    pub fn synced(&mut self, sync: Sync) {
        if sync.changes < self.begun {
            return;
        }
        self.unsynced.retain(|unsynced| unsynced.number > sync.changes);
        if sync.content.mark >= self.durable.mark {
            self.durable = sync.content;
        }
    }

    /// Loses power; says what the lost WRITEs were answered with.
    fn power_cut(&mut self, chance: &Chance, kept_per_mille: u64) -> Vec<WriteVerifier> {
        let mut lost = Vec::new();
        // The record that says so is synced by nobody.
        if self.shared && !chance.per_mille(kept_per_mille) {
            self.settled = Mark::default();
        }
        self.reopened();
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
