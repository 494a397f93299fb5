//! The replay cache: which calls were answered by an entry, so that a call sent twice is done once.
//!
//! Kept per client for [`REPLAY_AGE_NANOS_MAX`] or [`REPLAY_PER_CLIENT_MAX`] answers, evicted in
//! apply, so that it is equal on every appliance. In memory stand only digests; the answers are in
//! the store, under the index of their entry.
//!
//! Invariant: no wall clock, however wrong, makes answers be forgotten at once: their age is
//! measured by [`ReplayClock`].

use std::collections::{BTreeSet, HashMap, VecDeque};

use model::{ClientAddress, RequestKey, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an answer is kept: 10 minutes, far longer than a client keeps sending again.
pub const REPLAY_AGE_NANOS_MAX: u64 = 600 * 1_000_000_000;
/// How many answers are kept for one client: Linux has at most 65 536 calls in flight in theory,
/// 64 to 256 in practice.
pub const REPLAY_PER_CLIENT_MAX: usize = 1024;
/// How many answers are kept in all.
pub const REPLAY_TOTAL_MAX: usize = 65_536;

/// How far one entry moves the clock at most; so a clock that is far ahead does it once.
const STEP_NANOS_MAX: u64 = 10 * 1_000_000_000;

/// The time that answers grow old by: that of the entries, as far as it goes on by little steps.
/// Each entry is stamped by its proposer's wall clock, and these may be hours apart; time during
/// which nothing was entered hardly counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayClock {
    /// The newest stamp of an entry.
    newest: Timestamp,
    now: Timestamp,
}

impl ReplayClock {
    /// Starts where an answer of that age would be new.
    pub fn starting_at(at: Timestamp) -> Self {
        Self { newest: at, now: at }
    }

    /// The time of an entry with that stamp.
    pub fn pass(&mut self, stamp: Timestamp) -> Timestamp {
        let step = stamp.as_nanos().saturating_sub(self.newest.as_nanos()).min(STEP_NANOS_MAX);
        self.newest = self.newest.max(stamp);
        self.now = Timestamp::from_nanos(self.now.as_nanos().saturating_add(step));
        self.now
    }
}

/// An answer's place in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Whose call.
    pub client: ClientAddress,
    /// The index of the entry that answered it.
    pub index: u64,
}

/// Which calls were answered.
#[derive(Debug, Default)]
pub struct Replay {
    answered: HashMap<RequestKey, u64>,
    clients: HashMap<ClientAddress, VecDeque<Kept>>,
    /// Each client's oldest answer, the oldest of all first.
    oldest: BTreeSet<(u64, ClientAddress)>,
    /// By which they grow old.
    pub clock: ReplayClock,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    index: u64,
    digest: u128,
    at: Timestamp,
}

impl Replay {
    /// Where the answer to a call is, if it was given.
    pub fn find(&self, key: &RequestKey) -> Option<Slot> {
        let index = *self.answered.get(key)?;
        Some(Slot { client: key.client, index })
    }

    /// Remembers that `index` answered a call at `at` by the clock; indexes only grow. Gives back
    /// what is to be forgotten in the store.
    pub fn insert(&mut self, key: RequestKey, index: u64, at: Timestamp) -> Vec<Slot> {
        self.answered.insert(key, index);
        let kept = self.clients.entry(key.client).or_default();
        kept.push_back(Kept { index, digest: key.digest, at });
        if kept.len() == 1 {
            self.oldest.insert((index, key.client));
        }
        let mut evicted = Vec::new();
        if kept.len() > REPLAY_PER_CLIENT_MAX {
            evicted.extend(self.evict(key.client));
        }
        let expired = Timestamp::from_nanos(at.as_nanos().saturating_sub(REPLAY_AGE_NANOS_MAX));
        while let Some(&(_, client)) = self.oldest.first() {
            let front = self.clients.get(&client).and_then(|kept| kept.front());
            let too_old = front.is_some_and(|kept| kept.at < expired);
            if !too_old && self.answered.len() <= REPLAY_TOTAL_MAX {
                break;
            }
            evicted.extend(self.evict(client));
        }
        evicted
    }

    /// How many answers are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.answered.len()
    }

    /// Forgets a client's oldest answer.
    fn evict(&mut self, client: ClientAddress) -> Option<Slot> {
        let kept = self.clients.get_mut(&client)?;
        let gone = kept.pop_front()?;
        self.oldest.remove(&(gone.index, client));
        match kept.front() {
            Some(next) => {
                self.oldest.insert((next.index, client));
            }
            None => {
                self.clients.remove(&client);
            }
        }
        let key = RequestKey { client, digest: gone.digest };
        // The same call may have been answered anew after its first answer was forgotten.
        if self.answered.get(&key) == Some(&gone.index) {
            self.answered.remove(&key);
        }
        Some(Slot { client, index: gone.index })
    }
}

#[cfg(test)]
mod tests;
