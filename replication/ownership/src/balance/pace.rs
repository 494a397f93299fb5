//! How fast files were moved lately, and how long others will take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What moving takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speed {
    /// Bytes of large files in a second; never 0.
    pub bytes_per_second: u64,
    /// What each file takes whatever its size, in microseconds.
    pub micros_per_file: u64,
    /// Whether it was measured; else it is assumed.
    pub measured: bool,
}

impl Speed {
    /// How long so many files of so many bytes take.
    pub fn time_of(&self, files: u64, bytes: u64) -> Duration {
        let of_files = Duration::from_micros(files.saturating_mul(self.micros_per_file));
        let seconds = bytes / self.bytes_per_second.max(1);
        of_files.saturating_add(Duration::from_secs(seconds))
    }
}

/// What the last moves took, the newer ones counting more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    small: Moved,
    large: Moved,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    files: u64,
    bytes: u64,
    micros: u64,
}

impl Pace {
    /// A file of so many bytes was moved in so much time.
    pub fn note(&mut self, bytes: u64, took: Duration) {
        let kind = if bytes < LARGE_BYTES { &mut self.small } else { &mut self.large };
        if kind.files >= REMEMBERED {
            *kind = Moved { files: kind.files / 2, bytes: kind.bytes / 2, micros: kind.micros / 2 };
        }
        kind.files += 1;
        kind.bytes = kind.bytes.saturating_add(bytes);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        kind.micros = kind.micros.saturating_add(micros);
    }

    /// What moving takes, as far as it was measured.
    pub fn speed(&self) -> Speed {
        let micros_per_file = match self.small.files {
            0 => ASSUMED.micros_per_file,
            files => self.small.micros / files,
        };
        let bytes_per_second = match self.large.files {
            0 => ASSUMED.bytes_per_second,
            _ => {
                let bytes = u128::from(self.large.bytes) * 1_000_000;
                let rate = bytes / u128::from(self.large.micros.max(1));
                u64::try_from(rate).unwrap_or(u64::MAX).max(1)
            }
        };
        let measured = self.small.files + self.large.files > 0;
        Speed { bytes_per_second, micros_per_file, measured }
    }
}

/// A network of a gigabit that has other things to do, and two syncs of a disk.
pub const ASSUMED: Speed =
    Speed { bytes_per_second: 50 << 20, micros_per_file: 20_000, measured: false };
const LARGE_BYTES: u64 = 1 << 20;
const REMEMBERED: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_used_and_what_was_not_is_assumed() {
        let mut pace = Pace::default();
        assert_eq!(pace.speed(), ASSUMED);
        pace.note(10 << 20, Duration::from_secs(1));
        let speed = pace.speed();
        assert_eq!((speed.bytes_per_second, speed.measured), (10 << 20, true));
        assert_eq!(speed.micros_per_file, ASSUMED.micros_per_file);
        pace.note(100, Duration::from_millis(5));
        let time = pace.speed().time_of(1000, 100 << 20);
        assert_eq!(time, Duration::from_secs(5 + 10));
    }

    #[test]
    fn the_newest_moves_count_most_and_nothing_overflows() {
        let mut pace = Pace::default();
        (0..200).for_each(|_| pace.note(1 << 20, Duration::from_secs(1)));
        (0..200).for_each(|_| pace.note(1 << 30, Duration::from_secs(1)));
        assert!(pace.speed().bytes_per_second > 900 << 20, "{pace:?}");
        pace.note(u64::MAX, Duration::MAX);
        assert!(pace.speed().bytes_per_second > 0);
        assert!(pace.speed().time_of(u64::MAX, u64::MAX) > Duration::ZERO);
    }
}
