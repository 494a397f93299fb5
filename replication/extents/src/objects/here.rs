//! Which thread writes.
//!
//! A small write into the page cache takes 4 microseconds, and the way to the blocking pool and
//! back 20 more; so it is done by the thread that asks. When the disk holds up its writers, that
//! is noticed by the first one, and the next ones go to the pool for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use model::{Clock, Stability};
use tokio::runtime::{Handle, RuntimeFlavor};

#[cfg(test)]
mod tests;

/// Whether writes may be done by the thread that asks.
pub struct WritesHere {
    clock: Arc<dyn Clock>,
    /// Nanoseconds since boot.
    paused_until: AtomicU64,
}

/// Where a write is done.
pub enum Place<'a> {
    /// On this thread, as any other work of a task.
    Here(Watch<'a>),
    /// On this thread, whose other tasks are taken over by others meanwhile.
    Relieved,
    /// In the blocking pool.
    Pool,
}

/// Looks how long a write takes.
pub struct Watch<'a> {
    over: &'a WritesHere,
    began: Duration,
}

impl WritesHere {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, paused_until: AtomicU64::new(0) }
    }

    /// Where to do a write of `len` bytes.
    pub fn place(&self, stability: Stability, len: u64) -> Place<'_> {
        // With a single thread nobody could take over its tasks.
        let alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        if stability != Stability::Unstable || alone {
            return Place::Pool;
        }
        if len > HERE_BYTES_MAX {
            return Place::Relieved;
        }
        let began = self.clock.since_boot();
        if nanos(began) < self.paused_until.load(Relaxed) {
            return Place::Pool;
        }
        Place::Here(Watch { over: self, began })
    }
}

impl Watch<'_> {
    /// The write is done.
    pub fn end(self) {
        let now = self.over.clock.since_boot();
        if now.saturating_sub(self.began) > HELD_UP {
            self.over.paused_until.store(nanos(now + PAUSE), Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Larger ones are worth telling other threads to take over.
const HERE_BYTES_MAX: u64 = 64 << 10;

/// A write that took longer was held up by the disk; less can be another thread's turn on the
/// processor.
const HELD_UP: Duration = Duration::from_millis(10);

/// How long the pool takes all writes after that: about as long as Linux holds up a writer of too
/// many dirty pages.
const PAUSE: Duration = Duration::from_millis(200);
