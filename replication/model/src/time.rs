//! Wall-clock instants as clients see them.

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01 00:00 UTC. NFS v3 carries 32 bits of seconds (until 2106), all of
/// which fit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From an NFS time: any number of nanoseconds is taken, as RFC 1813 does not bound it.
    pub const fn from_parts(seconds: u32, nanoseconds: u32) -> Self {
        Self(seconds as u64 * NANOS_PER_SECOND + nanoseconds as u64)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds (capped at 2^32-1, year 2106) and the nanoseconds beyond them.
    pub const fn to_parts(self) -> (u32, u32) {
        let seconds = self.0 / NANOS_PER_SECOND;
        let seconds = if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 };
        (seconds, (self.0 % NANOS_PER_SECOND) as u32)
    }

    /// The stamp of a change made at `now` to something last changed at `self`: later than both
    /// by at least a nanosecond, so that every change can be seen.
    #[must_use]
    pub fn advanced_to(self, now: Self) -> Self {
        now.max(Self(self.0.saturating_add(1)))
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
