//! Where requests about a file's data wait while it changes its owner.
//!
//! Invariant: while a gate is closed nobody is between it and an answer: whoever passed before it
//! was closed is done, whoever comes later waits. Files share gates; a gate is closed for a few
//! milliseconds at a time. Absent on purpose: why a gate is closed.

use model::ObjectId;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The gates of one volume.
#[derive(Debug)]
pub struct Gates(Box<[RwLock<()>]>);

/// Passed: the gate stays open until this is dropped.
pub type Pass<'a> = RwLockReadGuard<'a, ()>;
/// Closed until this is dropped.
pub type Closed<'a> = RwLockWriteGuard<'a, ()>;

impl Default for Gates {
    fn default() -> Self {
        Self((0..GATES).map(|_| RwLock::new(())).collect())
    }
}

impl Gates {
    /// Waits until the file's gate is open, and passes.
    pub async fn pass(&self, object: ObjectId) -> Pass<'_> {
        self.of(object).read().await
    }

    /// Closes the file's gate and waits until everybody who had passed is done.
    pub async fn close(&self, object: ObjectId) -> Closed<'_> {
        self.of(object).write().await
    }

    fn of(&self, object: ObjectId) -> &RwLock<()> {
        &self.0[(object.get() % GATES as u64) as usize]
    }
}

/// So few that a thousand volumes cost little, so many that a hand-over seldom holds up others.
const GATES: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_gate_closes_only_when_all_who_passed_are_done_and_holds_up_who_comes_later() {
        let gates = Gates::default();
        let (file, other) = (ObjectId::new(7), ObjectId::new(8));
        let passed = gates.pass(file).await;
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, gates.close(file)).await.is_err());
        drop(passed);
        let closed = gates.close(file).await;
        assert!(tokio::time::timeout(soon, gates.pass(file)).await.is_err());
        let _other_files_pass = gates.pass(other).await;
        drop(closed);
        let _passes_again = gates.pass(file).await;
    }
}
