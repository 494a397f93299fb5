//! What became of whose objects, and why: the changes of ownership that an appliance has seen, kept
//! in memory. `holdfast whereis PATH` shows them.
//!
//! Invariant: at most [`LEDGER_MAX`] changes, the newest ones. Absent on purpose: the decision;
//! this is a record for people.

use std::collections::VecDeque;

use model::{ApplianceId, Epoch, ObjectId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};

/// Why an object's ownership changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The operator asked for it.
    Asked,
    /// It was used mostly from elsewhere.
    Heat,
    /// Its owner is being drained.
    Drain,
    /// To spread the load or the space.
    Rebalance,
    /// Its owner was lost.
    TakeOver,
    /// Its owner started anew.
    Start,
}

/// One change of ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerChange {
    /// In which volume.
    pub volume: VolumeId,
    /// Of which object; none if it is of all that its owner had in the volume.
    pub object: Option<ObjectId>,
    /// Who owned it; none if it is not known.
    pub from: Option<ApplianceId>,
    /// Who owns it.
    pub to: ApplianceId,
    /// Its epoch since then.
    pub epoch: Epoch,
    /// Why.
    pub cause: Cause,
    /// When, by the clock of the appliance that keeps the ledger.
    pub at: Timestamp,
}

/// The newest changes of ownership.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    changes: VecDeque<OwnerChange>,
    forgotten: u64,
}

impl Ledger {
    /// Notes a change; the oldest one is forgotten when there are too many.
    pub fn note(&mut self, change: OwnerChange) {
        if self.changes.len() == LEDGER_MAX {
            self.changes.pop_front();
            self.forgotten += 1;
        }
        self.changes.push_back(change);
    }

    /// What is known of one object, those of its whole volume included; the newest first.
    pub fn of(
        &self,
        volume: VolumeId,
        object: ObjectId,
    ) -> impl Iterator<Item = &OwnerChange> + use<'_> {
        self.newest_first().filter(move |change| {
            change.volume == volume && change.object.is_none_or(|other| other == object)
        })
    }

    /// All that is known, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &OwnerChange> + use<'_> {
        self.changes.iter().rev()
    }

    /// How many changes were forgotten since the start.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// A change is some 80 bytes: a third of a megabyte in all.
pub const LEDGER_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(object: Option<u64>, at: u64) -> OwnerChange {
        OwnerChange {
            volume: VolumeId::new(1),
            object: object.map(ObjectId::new),
            from: None,
            to: ApplianceId::new(2),
            epoch: Epoch::new(at),
            cause: Cause::Heat,
            at: Timestamp::from_nanos(at),
        }
    }

    #[test]
    fn an_objects_history_has_what_happened_to_its_volume_and_the_newest_first() {
        let mut ledger = Ledger::default();
        for (at, object) in [Some(7), Some(8), None, Some(7)].into_iter().enumerate() {
            ledger.note(change(object, at as u64));
        }
        ledger.note(OwnerChange { volume: VolumeId::new(2), ..change(Some(7), 9) });
        let history = ledger.of(VolumeId::new(1), ObjectId::new(7));
        let epochs: Vec<u64> = history.map(|change| change.epoch.get()).collect();
        assert_eq!(epochs, [3, 2, 0]);
    }

    #[test]
    fn a_full_ledger_forgets_its_oldest_and_says_how_many() {
        let mut ledger = Ledger::default();
        for at in 0..LEDGER_MAX as u64 + 3 {
            ledger.note(change(Some(at), at));
        }
        assert_eq!(ledger.newest_first().count(), LEDGER_MAX);
        assert_eq!(ledger.newest_first().last().unwrap().epoch, Epoch::new(3));
        assert_eq!(ledger.forgotten(), 3);
    }
}
