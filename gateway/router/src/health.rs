//! How well a volume and its files are: in sync, resyncing, degraded or unavailable.
//!
//! Invariant: what is not known is never taken for well; the worst that holds is what is said.
//! Absent on purpose: IO, clocks, and finding the facts out.

use model::{ApplianceId, ObjectRecord};
use serde::{Deserialize, Serialize};

/// How well a volume or a file is; a worse one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Health {
    /// Every file has as many good copies as it should, at appliances that are up.
    InSync,
    /// All appliances are up, and copies that missed something or are new are being made whole.
    Resyncing,
    /// Copies are missing until somebody comes back, or are made elsewhere.
    Degraded,
    /// It can't be used, or some of its files can't.
    Unavailable,
    /// Nobody here can tell: this appliance does not hold the volume, or has not looked yet.
    Unknown,
}

/// What is known of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VolumeFacts {
    pub(crate) reach: Reach,
    /// Whether all who hold it are up.
    pub(crate) all_up: bool,
    pub(crate) copies_wanted: usize,
    /// Files with a copy that missed something.
    pub(crate) stale: u64,
    /// Files whose owner's copy failed, and has no other good one.
    pub(crate) faults: u64,
    /// The rest, if somebody has looked.
    pub(crate) survey: Option<Survey>,
}

/// Whether a volume can be used from an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This appliance may act and holds the volume.
    Here,
    /// It may act, and others hold the volume.
    Elsewhere,
    /// Too few of the holders are up, or this appliance may not act.
    Nobody,
}

/// What a look at all files of a volume found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Files without stale copies that have fewer good ones, at appliances that are up, than
    /// wanted.
    pub(crate) short: u64,
    /// Files without any good copy at an appliance that is up.
    pub(crate) unavailable: u64,
}

impl Survey {
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// Counts a file.
    pub(crate) fn add(
        &mut self,
        record: &ObjectRecord,
        wanted: usize,
        is_up: impl Fn(ApplianceId) -> bool,
    ) {
        let good = good_copies(record, is_up);
        self.unavailable += u64::from(good == 0);
        self.short += u64::from(record.stale.is_empty() && good < wanted);
    }
}

/// How well a volume is.
pub(crate) fn volume_health(facts: VolumeFacts) -> Health {
    let VolumeFacts { reach, all_up, copies_wanted, stale, faults, survey } = facts;
    match reach {
        Reach::Nobody => return Health::Unavailable,
        Reach::Elsewhere => return Health::Unknown,
        Reach::Here => {}
    }
    let missing = survey.unwrap_or_default();
    let several = copies_wanted > 1;
    if missing.unavailable > 0 {
        return Health::Unavailable;
    }
    if survey.is_none() && (several || !all_up) {
        return Health::Unknown;
    }
    match stale > 0 || missing.short > 0 {
        // Whoever has the only copy does not get it back by waiting.
        _ if faults > 0 && !several => Health::Degraded,
        true if all_up => Health::Resyncing,
        true => Health::Degraded,
        false if faults > 0 => Health::Degraded,
        false => Health::InSync,
    }
}

/// How well a file is, of which `wanted` copies are to be kept.
pub(crate) fn file_health(
    record: &ObjectRecord,
    wanted: usize,
    is_up: impl Fn(ApplianceId) -> bool,
) -> Health {
    let all_up = record.replicas.iter().all(|a| is_up(*a));
    match good_copies(record, is_up) {
        0 => Health::Unavailable,
        good if good < wanted && all_up => Health::Resyncing,
        good if good < wanted => Health::Degraded,
        _ => Health::InSync,
    }
}

/// Copies that miss nothing, at appliances that are up.
fn good_copies(record: &ObjectRecord, is_up: impl Fn(ApplianceId) -> bool) -> usize {
    record.replicas.iter().filter(|a| !record.stale.contains(a) && is_up(**a)).count()
}

impl Health {
    /// All, from good to bad; what nobody can tell is last.
    pub const ALL: [Self; 5] =
        [Self::InSync, Self::Resyncing, Self::Degraded, Self::Unavailable, Self::Unknown];

    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Resyncing => "resyncing",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Epoch;

    use super::*;

    const ADA: ApplianceId = ApplianceId::new(1);
    const BOB: ApplianceId = ApplianceId::new(2);

    fn of(replicas: &[ApplianceId], stale: &[ApplianceId]) -> ObjectRecord {
        let (owner, epoch) = (ADA, Epoch::default());
        ObjectRecord { owner, epoch, replicas: replicas.into(), stale: stale.into() }
    }

    const WELL: VolumeFacts = VolumeFacts {
        reach: Reach::Here,
        all_up: true,
        copies_wanted: 2,
        stale: 0,
        faults: 0,
        survey: Some(Survey { short: 0, unavailable: 0 }),
    };

    #[test]
    fn a_volume_is_as_well_as_its_worst_file() {
        let short = Some(Survey { short: 1, unavailable: 0 });
        let lost = Some(Survey { short: 1, unavailable: 1 });
        for (facts, health) in [
            (WELL, Health::InSync),
            (VolumeFacts { all_up: false, ..WELL }, Health::InSync),
            (VolumeFacts { stale: 1, ..WELL }, Health::Resyncing),
            (VolumeFacts { survey: short, ..WELL }, Health::Resyncing),
            (VolumeFacts { stale: 1, all_up: false, ..WELL }, Health::Degraded),
            (VolumeFacts { survey: short, all_up: false, ..WELL }, Health::Degraded),
            (VolumeFacts { survey: lost, all_up: false, ..WELL }, Health::Unavailable),
            (VolumeFacts { reach: Reach::Nobody, ..WELL }, Health::Unavailable),
        ] {
            assert_eq!(volume_health(facts), health, "{facts:?}");
        }
    }

    #[test]
    fn a_failed_copy_without_another_is_no_resync() {
        let alone = VolumeFacts { copies_wanted: 1, faults: 1, stale: 1, ..WELL };
        assert_eq!(volume_health(alone), Health::Degraded);
        assert_eq!(volume_health(VolumeFacts { survey: None, ..alone }), Health::Degraded);
        let several = VolumeFacts { faults: 1, stale: 1, ..WELL };
        assert_eq!(volume_health(several), Health::Resyncing, "another copy makes it anew");
    }

    #[test]
    fn what_nobody_has_looked_at_is_not_taken_for_well() {
        let unseen = VolumeFacts { survey: None, ..WELL };
        assert_eq!(volume_health(unseen), Health::Unknown);
        assert_eq!(volume_health(VolumeFacts { reach: Reach::Elsewhere, ..WELL }), Health::Unknown);
        let single = VolumeFacts { copies_wanted: 1, ..unseen };
        assert_eq!(volume_health(single), Health::InSync, "there is nothing to look for");
        assert_eq!(volume_health(VolumeFacts { all_up: false, ..single }), Health::Unknown);
    }

    #[test]
    fn a_file_is_well_if_enough_good_copies_are_up() {
        let (all, ada) = (|_| true, |a| a == ADA);
        assert_eq!(file_health(&of(&[ADA, BOB], &[]), 2, all), Health::InSync);
        assert_eq!(file_health(&of(&[ADA, BOB], &[BOB]), 2, all), Health::Resyncing);
        assert_eq!(file_health(&of(&[ADA], &[]), 2, all), Health::Resyncing, "it is to be made");
        assert_eq!(file_health(&of(&[ADA, BOB], &[]), 2, ada), Health::Degraded);
        assert_eq!(file_health(&of(&[BOB], &[]), 1, ada), Health::Unavailable);
        assert_eq!(file_health(&of(&[ADA, BOB], &[ADA]), 2, ada), Health::Unavailable);
    }

    #[test]
    fn a_survey_counts_files_that_are_short_of_copies_once() {
        let mut survey = Survey::default();
        survey.add(&of(&[ADA, BOB], &[]), 2, |a| a == ADA);
        survey.add(&of(&[ADA, BOB], &[BOB]), 2, |a| a == ADA);
        survey.add(&of(&[BOB], &[]), 2, |a| a == ADA);
        assert_eq!(survey, Survey { short: 2, unavailable: 1 }, "stale ones are counted elsewhere");
    }
}
