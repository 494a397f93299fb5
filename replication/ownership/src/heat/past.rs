//! Where objects were moved, so that none goes to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ApplianceId;

use super::{HeatSettings, ObjectKey};

/// The moves that this appliance had a part in; at most [`PASTS_MAX`] objects.
#[derive(Clone, Debug, Default)]
pub struct Pasts {
    objects: BTreeMap<ObjectKey, Past>,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    /// When it was last moved.
    at: Duration,
    /// To whom this appliance handed it last.
    left_to: Option<ApplianceId>,
    /// How often in a row it came back from there.
    moved_back: u32,
}

impl Pasts {
    pub fn left(&mut self, now: Duration, object: ObjectKey, to: ApplianceId) {
        let past = self.past(now, object);
        (past.at, past.left_to) = (now, Some(to));
    }

    pub fn came(
        &mut self,
        now: Duration,
        object: ObjectKey,
        from: ApplianceId,
        settings: &HeatSettings,
    ) {
        let past = self.past(now, object);
        // One that stayed away for as long as it can rest did not go to and fro.
        let soon = now.saturating_sub(past.at) <= settings.cool_down_max;
        let back = past.left_to == Some(from) && soon;
        past.moved_back = if back { past.moved_back.saturating_add(1) } else { 0 };
        past.at = now;
    }

    pub fn forget(&mut self, object: ObjectKey) {
        self.objects.remove(&object);
    }

    pub fn moved_back(&self, object: ObjectKey) -> u32 {
        self.objects.get(&object).map_or(0, |past| past.moved_back)
    }

    /// How long the object still rests.
    pub fn rests_for(&self, now: Duration, object: ObjectKey, of: &HeatSettings) -> Duration {
        let Some(past) = self.objects.get(&object) else { return Duration::ZERO };
        let doubled = 1_u32.checked_shl(past.moved_back).unwrap_or(u32::MAX);
        let rest = of.cool_down.saturating_mul(doubled).min(of.cool_down_max.max(of.cool_down));
        (past.at + rest).saturating_sub(now)
    }

    fn past(&mut self, now: Duration, object: ObjectKey) -> &mut Past {
        if self.objects.len() >= PASTS_MAX && !self.objects.contains_key(&object) {
            let mut by_age: Vec<(Duration, ObjectKey)> =
                self.objects.iter().map(|(object, past)| (past.at, *object)).collect();
            by_age.sort_unstable();
            for (_, object) in &by_age[..PASTS_MAX / 4] {
                self.objects.remove(object);
            }
        }
        let new = Past { at: now, left_to: None, moved_back: 0 };
        self.objects.entry(object).or_insert(new)
    }
}

/// Moves are rare; one that is forgotten may move again a little too soon.
pub(super) const PASTS_MAX: usize = 4096;
