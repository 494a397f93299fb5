//! A bounded amount of something, taken by whoever starts a request and given back when its reply
//! is on the wire.
//!
//! Invariant: what is taken never exceeds the limit, and who waits is served before who comes
//! later, so that a large request is not starved by small ones. Taking and giving back without
//! waiting is one atomic operation each: every call does both, and a semaphore's lock would be
//! shared by all cores.
//!
//! Absent on purpose: knowing who has taken what; that is `connection::Charge`.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::{Mutex, Notify};

pub(crate) struct Budget {
    limit: usize,
    free: AtomicUsize,
    /// How many wait; while there are any nobody else may take.
    waiting: AtomicUsize,
    /// Held by the one whose turn it is to wait for `freed`; tokio's mutex is fair.
    turn: Mutex<()>,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            free: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            freed: Notify::new(),
        }
    }

    /// What is taken now.
    pub(crate) fn used(&self) -> usize {
        self.limit - self.free.load(SeqCst)
    }

    /// Whether somebody waits for more.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Takes `amount` if that is possible at once and nobody waits.
    pub(crate) fn try_take(&self, amount: usize) -> bool {
        self.waiting.load(SeqCst) == 0 && self.take_if_free(amount)
    }

    /// Takes `amount` as soon as it is there. Dropped before it is ready it has taken nothing.
    ///
    /// # Panics
    /// If `amount` is above the limit, and so would never be there. `Settings::check` rules that
    /// out for every request.
    pub(crate) async fn take(&self, amount: usize) {
        assert!(amount <= self.limit, "one request fits in every budget");
        if self.try_take(amount) {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            // Whoever gives back after this line and sees us waiting leaves a permit in `freed`.
            let freed = self.freed.notified();
            if self.take_if_free(amount) {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn give_back(&self, amount: usize) {
        self.free.fetch_add(amount, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    fn take_if_free(&self, amount: usize) -> bool {
        self.free.fetch_update(SeqCst, SeqCst, |free| free.checked_sub(amount)).is_ok()
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
