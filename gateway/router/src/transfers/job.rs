//! One transfer as a job: how it is going, how it ended, and that it is to end.
//!
//! Absent on purpose: what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use catalog::Command;
use model::{ApplianceId, ObjectId, VolumeId};
use parking_lot::Mutex;
use replicator::Progress;
use tokio::sync::Notify;

use crate::wire::{TransferCause, TransferPhase, TransferStatus};

/// One transfer.
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) volume: VolumeId,
    pub(crate) object: ObjectId,
    pub(crate) to: ApplianceId,
    pub(crate) cause: TransferCause,
    /// Says that it has ended.
    pub(super) ended: Notify,
    pub(super) progress: Arc<Progress>,
    pub(super) phase: Mutex<TransferPhase>,
    pub(super) outcome: Mutex<Option<String>>,
    pub(super) cancelled: AtomicBool,
    pub(super) cancel: Notify,
    /// How long requests were held up, in microseconds.
    pub(super) pause_micros: AtomicU64,
}

/// What a transfer is to end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The target owns the file; its copy was made for that.
    HandOver,
    /// The target owns the file; its copy counted before.
    Promote,
    /// The target's copy counts.
    Copy,
}

impl Job {
    /// How it is going.
    pub(crate) fn status(&self) -> TransferStatus {
        let now = self.progress.now();
        TransferStatus {
            phase: *self.phase.lock(),
            bytes_total: now.bytes_total,
            bytes_done: now.bytes_done,
            pause_micros: self.pause_micros.load(Ordering::Relaxed),
            outcome: self.outcome.lock().clone(),
        }
    }

    /// Breaks it off; it ends in a moment.
    pub(crate) fn break_off(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.cancel.notify_waiters();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.lock().is_some()
    }

    pub(super) fn end(&self, phase: TransferPhase, outcome: String) {
        *self.phase.lock() = phase;
        *self.outcome.lock() = Some(outcome);
        self.ended.notify_waiters();
    }

    /// Waits until it has ended; whether it came to what it was for.
    pub(crate) async fn has_succeeded(&self) -> bool {
        loop {
            let ended = self.ended.notified();
            if self.has_ended() {
                return *self.phase.lock() == TransferPhase::Done;
            }
            ended.await;
        }
    }

    /// The entry that it is for.
    pub(super) fn command(&self, aim: Aim) -> Command {
        let (object, to) = (self.object, self.to);
        match aim {
            Aim::HandOver => Command::HandOver { object, to },
            Aim::Promote => Command::Promote { object, to },
            Aim::Copy => Command::Synced { object, appliance: to },
        }
    }

    pub(super) async fn cancelled(&self) {
        loop {
            let told = self.cancel.notified();
            if self.cancelled.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }
}
