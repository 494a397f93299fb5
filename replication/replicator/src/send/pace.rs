//! How fast copies may be made: a bucket of bytes that fills with time.
//!
//! Invariant: over any time, no more is taken than what flows in during it and what fits into the
//! bucket. Absent on purpose: a clock.

use std::time::Duration;

use model::EXTENT_BYTES;

#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u64>,
    available: u64,
    at: Duration,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, available: EXTENT_BYTES, at: Duration::ZERO }
    }

    /// Takes an extent, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let Some(rate) = self.rate else { return true };
        let passed = now.saturating_sub(self.at);
        let came = u128::from(rate) * passed.as_nanos() / NANOS_PER_SECOND;
        let came = u64::try_from(came).unwrap_or(u64::MAX);
        if came > 0 {
            self.available = self.available.saturating_add(came).min(BUCKET_BYTES);
            self.at = now;
        }
        let enough = self.available >= EXTENT_BYTES;
        if enough {
            self.available -= EXTENT_BYTES;
        }
        enough
    }

    /// An extent that was taken had fewer bytes of data.
    pub(super) fn took_less(&mut self, bytes: u64) {
        self.available = self.available.saturating_add(bytes).min(BUCKET_BYTES);
    }

    /// When there will be an extent.
    pub(super) fn ready_at(&self, now: Duration) -> Duration {
        let missing = EXTENT_BYTES.saturating_sub(self.available);
        match self.rate {
            Some(rate) if missing > 0 => {
                let nanos = u128::from(missing) * NANOS_PER_SECOND / u128::from(rate.max(1)) + 1;
                self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            Some(_) | None => now,
        }
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What a transfer may catch up with after a delay.
const BUCKET_BYTES: u64 = 8 * EXTENT_BYTES;
