//! Room on the disk: who may still have some, and what FSSTAT says.
//!
//! Invariant: file data is refused while log, catalog, removal and truncation still find room: the
//! reserve is theirs, and when even that is used a ballast file goes. The disk is asked every
//! 200 ms at most; between, what was let in is counted as used.
//! Absent on purpose: quotas, and any knowledge of objects.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::{Clock, Refusal};
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{Disk, DiskTotals, Open};

/// The room on one disk.
pub struct Space {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    ballast_bytes: u64,
    known: Mutex<Known>,
}

/// How much of the disk is given up to be able to act on a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    /// A file of 32 MiB.
    Kept,
    /// None: for disks so small that it would be a large part of them.
    None,
}

#[derive(Debug, Default)]
struct Known {
    asked_at: Option<Duration>,
    totals: DiskTotals,
    let_in: u64,
}

impl Space {
    /// The room on the disk that holds `root`, an existing directory of the appliance's own.
    pub fn new(
        root: PathBuf,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        ballast: Ballast,
    ) -> Self {
        let ballast_bytes = match ballast {
            Ballast::Kept => BALLAST_BYTES,
            Ballast::None => 0,
        };
        Self { root, disk, clock, ballast_bytes, known: Mutex::default() }
    }

    /// Lets `bytes` of file data in: `NoSpace` if they would eat into the reserve.
    pub fn admit(&self, bytes: u64) -> Result<(), Refusal> {
        let mut known = self.known.lock();
        self.refresh(&mut known)?;
        let left = known
            .totals
            .available
            .saturating_sub(known.let_in)
            .saturating_sub(reserve_bytes(known.totals.total));
        if left < bytes {
            return Err(Refusal::NoSpace);
        }
        known.let_in += bytes;
        Ok(())
    }

    /// Room as clients may see it: the reserve is not free.
    pub fn totals(&self) -> Result<DiskTotals, Refusal> {
        let mut known = self.known.lock();
        self.refresh(&mut known)?;
        let kept = reserve_bytes(known.totals.total).saturating_add(known.let_in);
        Ok(DiskTotals {
            total: known.totals.total,
            free: known.totals.free.saturating_sub(kept),
            available: known.totals.available.saturating_sub(kept),
        })
    }

    /// Gives the ballast up when the disk is all but full, and makes it again when there is plenty.
    /// Blocks; to be called at start and every second or so.
    pub fn tend(&self) -> io::Result<()> {
        if self.ballast_bytes == 0 {
            return Ok(());
        }
        let DiskTotals { total, available, .. } = self.disk.totals(&self.root)?;
        let ballast = self.root.join(BALLAST_NAME);
        if available < BALLAST_GIVEN_UP_BELOW_BYTES {
            match self.disk.unlink(&ballast) {
                Ok(()) => {
                    warn!(available, "the disk is full: the ballast file is given up");
                    self.disk.sync_dir(&self.root)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        let plenty = reserve_bytes(total).saturating_add(BALLAST_MADE_ABOVE_BYTES);
        if available >= plenty && !self.has_ballast(&ballast)? {
            self.make_ballast(&ballast)?;
            info!(bytes = self.ballast_bytes, "the ballast file is in place");
        }
        Ok(())
    }

    fn refresh(&self, known: &mut Known) -> Result<(), Refusal> {
        let now = self.clock.since_boot();
        let fresh =
            known.asked_at.is_some_and(|asked_at| now.saturating_sub(asked_at) < REFRESH_INTERVAL);
        if fresh {
            return Ok(());
        }
        known.totals = self.disk.totals(&self.root).map_err(|error| {
            warn!(%error, "the disk does not say how much room it has");
            Refusal::Fault
        })?;
        known.asked_at = Some(now);
        known.let_in = 0;
        Ok(())
    }

    fn has_ballast(&self, ballast: &Path) -> io::Result<bool> {
        match self.disk.open(ballast, Open::Existing) {
            Ok(file) => Ok(file.facts()?.size == self.ballast_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Written out rather than preallocated, with bytes that no compression shrinks: what is given
    /// up must really have been taken.
    fn make_ballast(&self, ballast: &Path) -> io::Result<()> {
        let file = self.disk.open(ballast, Open::OrCreate)?;
        let mut noise = NOISE_SEED;
        let mut piece = vec![0; BALLAST_PIECE_BYTES];
        let mut offset = 0;
        while offset < self.ballast_bytes {
            for word in piece.chunks_exact_mut(8) {
                // Xorshift: not random, but nothing a compressor finds a pattern in.
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                word.copy_from_slice(&noise.to_le_bytes());
            }
            let len = (self.ballast_bytes - offset).min(piece.len() as u64) as usize;
            offset += file.write(&piece[..len], offset)? as u64;
        }
        file.sync()
    }
}

/// What of a disk of `total` bytes is kept for log, catalog and removal.
pub fn reserve_bytes(total: u64) -> u64 {
    (total / RESERVE_FRACTION).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

/// One part in 50 is 2 %: little to miss, and far more than log and catalog take in a day.
const RESERVE_FRACTION: u64 = 50;
const RESERVE_BYTES_MIN: u64 = 64 << 20;
const RESERVE_BYTES_MAX: u64 = 2 << 30;
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);

const BALLAST_NAME: &str = "ballast";
const BALLAST_BYTES: u64 = 32 << 20;
const BALLAST_PIECE_BYTES: usize = 1 << 20;
const BALLAST_GIVEN_UP_BELOW_BYTES: u64 = 16 << 20;
/// Above the reserve; far enough from the other end that it is not made and given up in turns.
const BALLAST_MADE_ABOVE_BYTES: u64 = 128 << 20;
const NOISE_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

const _: () = assert!(
    BALLAST_MADE_ABOVE_BYTES > BALLAST_GIVEN_UP_BELOW_BYTES + BALLAST_BYTES,
    "making the ballast must not be a reason to give it up"
);

#[cfg(test)]
mod tests;
