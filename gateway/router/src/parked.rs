//! How many requests wait for somebody to answer them. They have a limit of their own: over it a
//! client is told to come back at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::Refusal;

/// The requests that wait.
#[derive(Debug, Default)]
pub struct Parked(AtomicUsize);

/// One that waits, until it is dropped.
#[derive(Debug)]
pub struct Parking<'a>(&'a Parked);

impl Parked {
    /// One more waits.
    ///
    /// # Errors
    /// `Busy` if too many do.
    pub fn enter(&self) -> Result<Parking<'_>, Refusal> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= PARKED_MAX {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Busy);
        }
        Ok(Parking(self))
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What 64 clients with 64 requests under way each may have waiting.
const PARKED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_wait_and_who_leaves_makes_room() {
        let parked = Parked::default();
        let mut waiting: Vec<_> = (0..PARKED_MAX).map(|_| parked.enter().unwrap()).collect();
        assert_eq!(parked.enter().unwrap_err(), Refusal::Busy);
        waiting.pop();
        let _enters = parked.enter().unwrap();
        assert_eq!(parked.len(), PARKED_MAX);
    }
}
