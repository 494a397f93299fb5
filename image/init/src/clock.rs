//! What time it is.
//!
//! Invariant: everything in this crate that asks for the time asks here. Absent on purpose: what
//! follows from it; the pure parts take it as an argument.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Since the kernel's start, with the time that the machine slept.
pub fn since_boot() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// Since 1970, in UTC, as far as this machine knows.
pub fn wall() -> Duration {
    duration(clock_gettime(ClockId::Realtime))
}

/// Whether the clock was set by anything: without a battery it starts in 1970.
pub fn is_set(wall: Duration) -> bool {
    wall >= YEAR_2025
}

/// Lets `pause` go by. For adapters that ask a device again and again.
pub fn pause(pause: Duration) {
    let nanoseconds = i64::from(pause.subsec_nanos());
    let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    // A signal ends it early, and then it was short.
    _ = rustix::thread::nanosleep(&Timespec { tv_sec: seconds, tv_nsec: nanoseconds });
}

fn duration(at: Timespec) -> Duration {
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Before this the program was not written.
pub const YEAR_2025: Duration = Duration::from_secs(1_735_689_600);
