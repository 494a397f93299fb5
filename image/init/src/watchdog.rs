//! The machine's watchdog: hardware that starts it again if this program stands still.
//!
//! Invariant: it is fed by the main loop alone, so it lives as long as that does. Absent on
//! purpose: its timeout, which is its driver's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// A watchdog that was woken; from now on it wants to be fed.
pub struct Watchdog {
    device: File,
    fed: Duration,
}

impl Watchdog {
    /// Wakes it; none if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(dev: &Path, now: Duration) -> io::Result<Option<Self>> {
        match OpenOptions::new().write(true).open(dev.join("watchdog")) {
            Ok(device) => Ok(Some(Self { device, fed: now })),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Feeds it if it is time.
    pub fn feed(&mut self, now: Duration) {
        if now.saturating_sub(self.fed) >= FEED_EVERY {
            self.fed = now;
            // If it can't be fed it bites, which is what it is for.
            _ = self.device.write_all(b"\0");
        }
    }

    /// Lets it sleep: the machine is being stopped.
    pub fn close(mut self) {
        // If it does not sleep it starts the machine again: it was to be stopped anyway.
        _ = self.device.write_all(b"V");
    }
}

/// The shortest timeouts are some ten seconds.
const FEED_EVERY: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_now_and_then_and_told_when_the_machine_stops() {
        let dev = tempfile::tempdir().unwrap();
        let s = Duration::from_secs;
        assert!(Watchdog::open(dev.path(), s(0)).unwrap().is_none());
        let path = dev.path().join("watchdog");
        File::create(&path).unwrap();
        let mut watchdog = Watchdog::open(dev.path(), s(0)).unwrap().unwrap();
        for second in 0..9 {
            watchdog.feed(s(second));
        }
        watchdog.close();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0V");
    }
}
