//! Calls that are sent twice: the second waits for the first, or gets the answer the first got.
//!
//! Invariant: a call is run at most once while its answer is kept. For changes of names the
//! catalog keeps the answers and only the running ones stand here; for data the newest
//! [`KEPT_PER_CLIENT_MAX`] of each client are kept in memory, because data never enters the log.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;

use model::{ClientAddress, ObjectId, RequestKey};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How many answers to data requests are kept for one client.
pub const KEPT_PER_CLIENT_MAX: usize = 1024;
/// How many answers are kept in all, some 300 bytes each; over it the client heard of first is
/// forgotten.
pub const KEPT_TOTAL_MAX: usize = 65_536;

/// The calls that run or were run.
pub struct Duplicates<T> {
    kept_per_client: usize,
    keeps: fn(&T) -> bool,
    state: Mutex<State<T>>,
}

struct State<T> {
    calls: HashMap<RequestKey, Call<T>>,
    /// The answers about each object.
    about: HashMap<ObjectId, HashSet<RequestKey>>,
    clients: HashMap<ClientAddress, VecDeque<u128>>,
    /// Clients in the order in which they were first heard of.
    arrivals: VecDeque<ClientAddress>,
}

enum Call<T> {
    Running(Vec<oneshot::Sender<T>>),
    Answered(T, Option<ObjectId>),
}

enum Entered<'a, T: Clone> {
    First(Running<'a, T>),
    Wait(oneshot::Receiver<T>),
    Answered(T),
}

/// The right to run a call; given up with an answer, or without one if the caller went away.
struct Running<'a, T: Clone> {
    duplicates: &'a Duplicates<T>,
    key: RequestKey,
    object: Option<ObjectId>,
    answered: bool,
}

impl<T: Clone> Duplicates<T> {
    /// Keeps no answers, only running calls.
    pub fn running_only() -> Self {
        Self::keeping(0, |_| false)
    }

    /// Keeps those answers that `keeps` takes for final.
    pub fn with_answers(keeps: fn(&T) -> bool) -> Self {
        Self::keeping(KEPT_PER_CLIENT_MAX, keeps)
    }

    fn keeping(kept_per_client: usize, keeps: fn(&T) -> bool) -> Self {
        let state = State {
            calls: HashMap::new(),
            about: HashMap::new(),
            clients: HashMap::new(),
            arrivals: VecDeque::new(),
        };
        Self { kept_per_client, keeps, state: Mutex::new(state) }
    }

    /// Runs `call` unless it runs or was run already; then its answer is that one's. Without a key
    /// it is always run.
    pub async fn once<F: Future<Output = T>>(&self, key: Option<RequestKey>, call: F) -> T {
        self.once_about(None, key, call).await
    }

    /// The same, for a call about `object`: with it the answer goes to another owner.
    pub async fn once_about<F: Future<Output = T>>(
        &self,
        object: Option<ObjectId>,
        key: Option<RequestKey>,
        call: F,
    ) -> T {
        let Some(key) = key else { return call.await };
        loop {
            match self.enter(key, object) {
                Entered::Answered(answer) => {
                    metrics::counter!(REPLAYS_SUPPRESSED).increment(1);
                    return answer;
                }
                // If the first one went away without an answer, this one becomes the first.
                Entered::Wait(first) => {
                    if let Ok(answer) = first.await {
                        metrics::counter!(REPLAYS_SUPPRESSED).increment(1);
                        return answer;
                    }
                }
                Entered::First(running) => {
                    let answer = call.await;
                    running.finish(answer.clone());
                    return answer;
                }
            }
        }
    }

    /// What calls about `object` were answered, as far as that is kept; in the order of their keys.
    pub fn answers_about(&self, object: ObjectId) -> Vec<(RequestKey, T)> {
        let state = self.state.lock();
        let keys = state.about.get(&object).into_iter().flatten();
        let answer = |key: &RequestKey| match state.calls.get(key)? {
            Call::Answered(answer, _) => Some((*key, answer.clone())),
            Call::Running(_) => None,
        };
        let mut about: Vec<_> = keys.filter_map(answer).collect();
        about.sort_unstable_by_key(|(key, _)| (key.client, key.digest));
        about
    }

    /// What calls about `object` did is undone: whoever sends them again has them done.
    pub fn forget_about(&self, object: ObjectId) {
        let mut state = self.state.lock();
        for key in state.about.remove(&object).unwrap_or_default() {
            state.calls.remove(&key);
            if let Some(kept) = state.clients.get_mut(&key.client) {
                kept.retain(|digest| *digest != key.digest);
            }
        }
    }

    /// Takes over what another owner answered.
    pub fn take_over(&self, object: ObjectId, answers: Vec<(RequestKey, T)>) {
        let mut state = self.state.lock();
        for (key, answer) in answers {
            if !state.calls.contains_key(&key) {
                state.keep(key, self.kept_per_client);
                state.answered(key, answer, Some(object));
            }
        }
    }

    fn enter(&self, key: RequestKey, object: Option<ObjectId>) -> Entered<'_, T> {
        let mut state = self.state.lock();
        match state.calls.get_mut(&key) {
            Some(Call::Answered(answer, _)) => Entered::Answered(answer.clone()),
            Some(Call::Running(waiting)) => {
                let (tell, told) = oneshot::channel();
                waiting.push(tell);
                Entered::Wait(told)
            }
            None => {
                state.calls.insert(key, Call::Running(Vec::new()));
                Entered::First(Running { duplicates: self, key, object, answered: false })
            }
        }
    }
}

impl<T: Clone> Running<'_, T> {
    fn finish(mut self, answer: T) {
        self.answered = true;
        let mut state = self.duplicates.state.lock();
        let kept_max = self.duplicates.kept_per_client;
        let before = if !(self.duplicates.keeps)(&answer) {
            state.calls.remove(&self.key)
        } else {
            state.keep(self.key, kept_max);
            state.answered(self.key, answer.clone(), self.object)
        };
        drop(state);
        if let Some(Call::Running(waiting)) = before {
            for tell in waiting {
                // Whoever waited may have gone away; nobody is left to tell then.
                let _ = tell.send(answer.clone());
            }
        }
    }
}

impl<T: Clone> Drop for Running<'_, T> {
    fn drop(&mut self) {
        if !self.answered {
            self.duplicates.state.lock().calls.remove(&self.key);
        }
    }
}

impl<T> State<T> {
    /// Notes that a call of this client is kept, and forgets what is too much.
    fn keep(&mut self, key: RequestKey, kept_max: usize) {
        if !self.clients.contains_key(&key.client) {
            self.arrivals.push_back(key.client);
        }
        if self.calls.len() > KEPT_TOTAL_MAX {
            self.forget_one_client();
        }
        let kept = self.clients.entry(key.client).or_default();
        kept.push_back(key.digest);
        if kept.len() > kept_max
            && let Some(digest) = kept.pop_front()
        {
            self.forget(RequestKey { client: key.client, digest });
        }
    }

    fn answered(
        &mut self,
        key: RequestKey,
        answer: T,
        object: Option<ObjectId>,
    ) -> Option<Call<T>> {
        if let Some(object) = object {
            self.about.entry(object).or_default().insert(key);
        }
        self.calls.insert(key, Call::Answered(answer, object))
    }

    fn forget(&mut self, key: RequestKey) {
        if let Some(Call::Answered(_, Some(object))) = self.calls.remove(&key)
            && let Entry::Occupied(mut about) = self.about.entry(object)
        {
            about.get_mut().remove(&key);
            if about.get().is_empty() {
                about.remove();
            }
        }
    }

    fn forget_one_client(&mut self) {
        let Some(client) = self.arrivals.pop_front() else { return };
        // Running calls are no answers and are not listed here: they stay.
        for digest in self.clients.remove(&client).unwrap_or_default() {
            self.forget(RequestKey { client, digest });
        }
    }
}

/// How many calls were answered without running them again.
pub const REPLAYS_SUPPRESSED: &str = "holdfast_replays_suppressed_total";

#[cfg(test)]
mod tests;
