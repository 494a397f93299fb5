//! How far a transfer has come, for whoever wants to show it.
//!
//! Invariant: written by one transfer, read by anybody at any time; each number is true by itself,
//! but they may be of slightly different moments.

use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use model::Timestamp;

/// A transfer's counters.
#[derive(Debug)]
pub struct Progress {
    started: Timestamp,
    phase: AtomicU8,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_copied: AtomicU64,
    bytes_held: AtomicU64,
    bytes_resent: AtomicU64,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The receiver has not agreed yet, or the channel broke.
    Connecting,
    /// What was there is being copied, with all changes.
    Copying,
    /// Everything was copied; changes follow as they are made.
    Following,
    /// No more changes are made; the last ones are on their way.
    Draining,
    /// The receiver has everything.
    Finished,
    /// It ended with a fault.
    Failed,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressNow {
    /// When it began.
    pub started: Timestamp,
    /// What it is doing.
    pub phase: Phase,
    /// Size of the object, holes included.
    pub bytes_total: u64,
    /// How much of that the receiver has been sent; goes back when parts must be copied again.
    pub bytes_done: u64,
    /// Data that was copied.
    pub bytes_copied: u64,
    /// Data that was read, and that the receiver held already.
    pub bytes_held: u64,
    /// Bytes that were sent once more after a channel broke.
    pub bytes_resent: u64,
}

impl Progress {
    /// Of a transfer that begins at `started`.
    pub fn new(started: Timestamp) -> Self {
        Self {
            started,
            phase: AtomicU8::new(0),
            bytes_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_copied: AtomicU64::new(0),
            bytes_held: AtomicU64::new(0),
            bytes_resent: AtomicU64::new(0),
        }
    }

    /// The counters now.
    pub fn now(&self) -> ProgressNow {
        let bytes_total = self.bytes_total.load(Relaxed);
        ProgressNow {
            started: self.started,
            phase: match self.phase.load(SeqCst) {
                0 => Phase::Connecting,
                1 => Phase::Copying,
                2 => Phase::Following,
                3 => Phase::Draining,
                4 => Phase::Finished,
                _ => Phase::Failed,
            },
            bytes_total,
            bytes_done: self.bytes_done.load(Relaxed).min(bytes_total),
            bytes_copied: self.bytes_copied.load(Relaxed),
            bytes_held: self.bytes_held.load(Relaxed),
            bytes_resent: self.bytes_resent.load(Relaxed),
        }
    }

    pub(crate) fn set(&self, now: ProgressNow) {
        self.bytes_total.store(now.bytes_total, Relaxed);
        self.bytes_done.store(now.bytes_done, Relaxed);
        self.bytes_copied.store(now.bytes_copied, Relaxed);
        self.bytes_held.store(now.bytes_held, Relaxed);
        self.bytes_resent.store(now.bytes_resent, Relaxed);
        self.set_phase(now.phase);
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, SeqCst);
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }
}
