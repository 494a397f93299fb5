//! What every task of the door listens to: a beat every few seconds, and the word to stop.
//!
//! Idle connections give back their buffers and unfinished records run out of time by this beat,
//! so that no request costs a timer. Invariant: once `stopping` it stays so.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    pub(crate) stopping: bool,
    /// How many beats there were.
    pub(crate) beats: u32,
}

/// The server stops, or was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopping;

/// Waits for the next beat.
pub(crate) async fn beat(pulse: &mut watch::Receiver<Pulse>) -> Result<(), Stopping> {
    pulse.changed().await.map_err(|_| Stopping)?;
    if pulse.borrow_and_update().stopping { Err(Stopping) } else { Ok(()) }
}

/// Does `work` unless the server stops first. Work that is ready costs no look at the pulse.
pub(crate) async fn unless_stopped<T>(
    pulse: &mut watch::Receiver<Pulse>,
    work: impl Future<Output = T>,
) -> Result<T, Stopping> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            beat = beat(pulse) => beat?,
        }
    }
}

/// The time between two beats.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
