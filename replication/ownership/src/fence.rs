//! Who owns an object under a view, and which entries come from a reign that is over.

use model::{ApplianceId, Epoch, ObjectRecord, Refusal, Reign, View};
use serde::{Deserialize, Serialize};

/// The owner of an object: the recorded one if it is up and not stale, else the first replica that
/// is. `None` if no copy qualifies: then nobody may act, and nothing is invented.
pub fn effective_owner(
    record: &ObjectRecord,
    is_up: impl Fn(ApplianceId) -> bool,
) -> Option<ApplianceId> {
    let qualifies =
        |appliance: &ApplianceId| is_up(*appliance) && !record.stale.contains(appliance);
    std::iter::once(&record.owner).chain(&record.replicas).copied().find(|a| qualifies(a))
}

/// What a volume's group remembers of reigns: entries from before its newest Reign are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    newest: View,
}

impl Fence {
    /// The view of the newest Reign entry.
    pub fn newest(&self) -> View {
        self.newest
    }

    /// Applies a Reign entry.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] if a newer one was applied before: its proposer takes its newer view.
    pub fn reign(&mut self, view: View) -> Result<(), Refusal> {
        if view < self.newest {
            return Err(Refusal::Fenced);
        }
        self.newest = view;
        Ok(())
    }

    /// Checks an entry's proposer against the newest Reign and, for an entry about one object,
    /// against the epoch of its record.
    ///
    /// # Errors
    /// [`Refusal::Fenced`]: the proposer looks up owner and view and proposes again.
    pub fn admits(&self, proposed: Reign, record: Option<Epoch>) -> Result<(), Refusal> {
        let current = record.is_none_or(|epoch| proposed.epoch >= epoch);
        if proposed.view >= self.newest && current { Ok(()) } else { Err(Refusal::Fenced) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: ApplianceId = ApplianceId::new(1);
    const BOB: ApplianceId = ApplianceId::new(2);
    const CYD: ApplianceId = ApplianceId::new(3);

    fn record(stale: &[ApplianceId]) -> ObjectRecord {
        ObjectRecord {
            owner: BOB,
            epoch: Epoch::new(3),
            replicas: Box::new([ADA, BOB, CYD]),
            stale: stale.into(),
        }
    }

    #[test]
    fn the_recorded_owner_rules_while_it_is_up_and_not_stale() {
        assert_eq!(effective_owner(&record(&[]), |_| true), Some(BOB));
        assert_eq!(effective_owner(&record(&[]), |a| a != BOB), Some(ADA));
        assert_eq!(effective_owner(&record(&[BOB, ADA]), |_| true), Some(CYD));
    }

    #[test]
    fn a_stale_replica_never_serves_even_if_it_is_the_only_one_up() {
        assert_eq!(effective_owner(&record(&[ADA]), |a| a == ADA), None);
    }

    #[test]
    fn an_entry_from_an_older_view_or_epoch_is_refused() {
        let mut fence = Fence::default();
        fence.reign(View::new(5)).unwrap();
        let from = |view, epoch| Reign { view: View::new(view), epoch: Epoch::new(epoch) };
        assert_eq!(fence.admits(from(4, 9), None), Err(Refusal::Fenced));
        assert_eq!(fence.admits(from(5, 2), Some(Epoch::new(3))), Err(Refusal::Fenced));
        assert_eq!(fence.admits(from(5, 3), Some(Epoch::new(3))), Ok(()));
        assert_eq!(fence.reign(View::new(4)), Err(Refusal::Fenced));
        assert_eq!(fence.newest(), View::new(5));
    }
}
