//! What an owner finds out about a file that it changes for the first time since its start.
//!
//! Invariant: before its first change in a run every call is known that is in the bytes, as far as
//! any good copy knows it. Absent on purpose: making copies equal; see `following`.

use std::time::Duration;

use extents::CopyState;
use model::{ApplianceId, Mark, ObjectRecord, RequestKey};

use crate::config::Mistake;
use crate::following::{EQUAL_WAIT, Joined, ToCopy};
use crate::process::{Ctx, Process};
use crate::words::{Answered, Key, Reply};

/// Copies are asked what they hold and which calls they know.
pub struct Recall {
    asks: Vec<(ApplianceId, u64)>,
    until: Duration,
}

impl Process {
    /// The first time in a run: who followed knows the calls, and may know better what the file
    /// holds. Nothing if that is known.
    pub fn recall(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        record: &ObjectRecord,
        follow: &[ApplianceId],
    ) -> Option<Joined> {
        let here = self.disk.files.entry(key).or_default().state();
        let nothing = here == CopyState::At(Mark::default());
        if nothing || ctx.mistake == Mistake::ForgetsCalls {
            self.witnessed.insert(key);
        }
        if self.witnessed.contains(&key) {
            return None;
        }
        if !self.recalls.contains_key(&key) {
            let asks = follow
                .iter()
                .map(|to| (*to, self.ask_copy(ctx, key, record.epoch, *to, ToCopy::State)));
            let asks = asks.collect();
            self.recalls.insert(key, Recall { asks, until: self.now + EQUAL_WAIT });
        }
        let recall = self.recalls.remove(&key).expect("it is there");
        let all = recall.asks.iter().all(|(_, ask)| self.replies.contains_key(ask));
        if !all && self.now < recall.until {
            self.recalls.insert(key, recall);
            return Some(Joined::NotYet);
        }
        let mut held = Vec::new();
        for (_, ask) in recall.asks {
            self.asked.remove(&ask);
            match self.replies.remove(&ask) {
                Some(Reply::Held { state, answers }) => held.push((state, answers)),
                // Asked again.
                Some(_) | None => return Some(Joined::NotYet),
            }
        }
        let alike = held.iter().any(|(state, _)| *state == here && here != CopyState::InDoubt);
        let sure = held.iter().any(|(state, _)| matches!(state, CopyState::At(_)));
        if !alike && sure {
            return Some(Joined::Leave(self.stale_entry(key, record.epoch, self.me)));
        }
        let local = self.volumes.get_mut(&key.0).expect("it is open");
        for other in follow.iter().filter(|_| alike) {
            ctx.history.follows(self.me, *other, key);
        }
        let known = held.into_iter().filter(|(state, _)| *state == here && alike);
        for (request, answered) in known.flat_map(|(_, answers)| answers) {
            local.answered.entry(request).or_insert(answered);
        }
        self.witnessed.insert(key);
        None
    }

    /// The calls about a file that are known here.
    pub fn answers_about(&self, key: Key) -> Vec<(RequestKey, Answered)> {
        let answered = &self.volumes[&key.0].answered;
        let about = answered.iter().filter(|(_, answered)| answered.object == key.1);
        about.map(|(request, answered)| (*request, answered.clone())).collect()
    }

    /// Whether all good copies have what a READ sees now.
    pub fn is_everywhere(&self, ctx: &Ctx<'_>, key: Key, record: &ObjectRecord) -> bool {
        let settled = self.disk.files.get(&key).is_none_or(crate::disk::File::is_settled);
        let careless = [Mistake::LeavesCopiesGood, Mistake::ShowsWhatMayBeLost];
        settled || careless.contains(&ctx.mistake) || self.good_others(record).is_empty()
    }
}
