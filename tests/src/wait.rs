//! Waiting for something that another process does.
//!
//! Invariant: every wait has an end, and a wait that ends in vain says what it waited for.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Polls until `probe` gives something, for at most `limit`; panics with `what` after that.
pub fn eventually_within<T>(
    limit: Duration,
    what: impl Display,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(started.elapsed() < limit, "after {limit:?} still waiting: {what}");
        std::thread::sleep(POLL);
    }
}

/// [`eventually_within`] half a minute.
pub fn eventually<T>(what: impl Display, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(30), what, probe)
}

/// Short beside the time that a guest or an appliance needs for anything.
const POLL: Duration = Duration::from_millis(5);
