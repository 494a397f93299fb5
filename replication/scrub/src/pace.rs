//! How fast: bytes a second, and never more than half of a disk's time.
//!
//! Invariant: over any time longer than [`DEBT_MAX`] no more is read than the rate allows. A disk
//! that is slow because others use it is left alone for as long as each read took. Absent on
//! purpose: waiting.

use std::time::Duration;

/// When the next read may begin.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_second: u64,
    free_at: Duration,
}

impl Pace {
    /// One of so many bytes a second; 0 is taken for 1.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Duration::ZERO }
    }

    /// How long to wait before the next read.
    pub fn wait(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// So many bytes were read, which took so long.
    pub fn read(&mut self, now: Duration, bytes: u64, took: Duration) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let paid = self.free_at.max(now).saturating_add(cost);
        let rested = now.saturating_add(took.min(REST_MAX));
        // Without a limit, who is asked by many would not come to its own files for long.
        self.free_at = paid.max(rested).min(now.saturating_add(DEBT_MAX));
    }
}

/// A slow disk is left alone no longer than this.
const REST_MAX: Duration = Duration::from_secs(1);
/// The slowest rate, 1 MiB a second, is kept up with extents of 1 MiB.
const DEBT_MAX: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NONE: Duration = Duration::ZERO;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn no_more_is_read_than_the_rate_allows() {
        let mut pace = Pace::new(10 * MIB);
        let (mut now, mut bytes) = (NONE, 0);
        while now < Duration::from_secs(10) {
            now += pace.wait(now);
            pace.read(now, MIB, NONE);
            bytes += MIB;
        }
        assert!((98 * MIB..=102 * MIB).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_slow_disk_gets_as_much_rest_as_each_read_took() {
        let mut pace = Pace::new(1000 * MIB);
        pace.read(ms(300), MIB, ms(200));
        assert_eq!(pace.wait(ms(300)), ms(200));
        pace.read(ms(300), MIB, Duration::from_secs(60));
        assert_eq!(pace.wait(ms(300)), REST_MAX, "but not for ever");
    }

    #[test]
    fn idle_time_is_not_saved_up_and_debts_are_bounded() {
        let mut pace = Pace::new(MIB);
        let hour = Duration::from_secs(3600);
        assert_eq!(pace.wait(hour), NONE);
        pace.read(hour, MIB, NONE);
        assert_eq!(pace.wait(hour), Duration::from_secs(1), "the hour before gives nothing");
        (0..1000).for_each(|_| pace.read(hour, MIB, NONE));
        assert_eq!(pace.wait(hour), DEBT_MAX);
        Pace::new(0).read(hour, u64::MAX, NONE);
    }
}
