//! Decides when a condition is worth telling: it must last, and one appliance tells it.
//!
//! Invariant: what is told of a condition alternates, and ends up as it is; one that comes and goes
//! is told more and more rarely. Absent on purpose: IO and clocks, which come as arguments, and how
//! a condition is found out.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ApplianceId, VolumeId};

/// Something bad, or at least remarkable, that holds or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Down(ApplianceId),
    Drained(ApplianceId),
    CutOff,
    Unavailable(VolumeId),
    FilesUnavailable(VolumeId),
    Degraded(VolumeId),
    DiskFull,
}

/// Who is to tell of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    Me,
    Another,
    /// That is not known now: whoever it turns out to be.
    Nobody,
}

/// A condition, as it is seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) condition: Condition,
    pub(crate) holds: bool,
    pub(crate) speaker: Speaker,
}

/// What of a condition is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Began(Condition),
    Ended(Condition),
}

/// All conditions, and what was told of them here or elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Conditions(BTreeMap<Condition, Told>);

#[derive(Debug)]
struct Told {
    holds: bool,
    /// Since when it has been otherwise.
    otherwise_since: Option<Duration>,
    /// So long it must be otherwise before that is told.
    lasts: Duration,
    told_at: Duration,
}

impl Conditions {
    /// What is to be told now. `all` is every condition that there is; others are forgotten.
    pub(crate) fn step(&mut self, now: Duration, all: &[Seen]) -> Vec<Turn> {
        self.0.retain(|condition, _| all.iter().any(|seen| seen.condition == *condition));
        all.iter().filter_map(|seen| self.see(now, *seen)).collect()
    }

    fn see(&mut self, now: Duration, seen: Seen) -> Option<Turn> {
        let Seen { condition, holds, speaker } = seen;
        let told = self.0.entry(condition).or_insert_with(|| Told {
            // What others are to tell was told before this appliance looked.
            holds: holds && speaker != Speaker::Me,
            otherwise_since: None,
            lasts: condition.lasts(),
            told_at: now,
        });
        if told.holds == holds {
            told.otherwise_since = None;
            return None;
        }
        let since = *told.otherwise_since.get_or_insert(now);
        if now.saturating_sub(told.told_at) > FORGIVEN_AFTER {
            told.lasts = condition.lasts();
        }
        if now.saturating_sub(since) < told.lasts || speaker == Speaker::Nobody {
            return None;
        }
        told.holds = holds;
        told.otherwise_since = None;
        told.told_at = now;
        if !holds {
            told.lasts = told.lasts.saturating_mul(2).min(LASTS_MAX);
        }
        match (speaker, holds) {
            (Speaker::Me, true) => Some(Turn::Began(condition)),
            (Speaker::Me, false) => Some(Turn::Ended(condition)),
            (Speaker::Another | Speaker::Nobody, _) => None,
        }
    }
}

impl Condition {
    /// How long it must last to be told at first.
    fn lasts(self) -> Duration {
        match self {
            // The others start, too, after a power cut.
            Self::CutOff => CUT_OFF_LASTS,
            Self::Down(_)
            | Self::Drained(_)
            | Self::Unavailable(_)
            | Self::FilesUnavailable(_)
            | Self::Degraded(_)
            | Self::DiskFull => LASTS,
        }
    }
}

/// The restart of an appliance takes less.
const LASTS: Duration = Duration::from_secs(5);
const CUT_OFF_LASTS: Duration = Duration::from_secs(15);
/// Ten minutes of coming and going are some four tellings.
const LASTS_MAX: Duration = Duration::from_secs(300);
/// What has been quiet for so long is told early again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    const BOB_IS_DOWN: Condition = Condition::Down(ApplianceId::new(2));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn seen(holds: bool, speaker: Speaker) -> [Seen; 1] {
        [Seen { condition: BOB_IS_DOWN, holds, speaker }]
    }

    #[test]
    fn a_restart_is_not_told_and_an_absence_is_told_once() {
        let mut conditions = Conditions::default();
        let mut step = |second, holds| conditions.step(at(second), &seen(holds, Speaker::Me));
        assert_eq!(step(0, false), []);
        assert_eq!((step(1, true), step(4, true), step(5, false)), (vec![], vec![], vec![]));
        assert_eq!((step(6, true), step(10, true)), (vec![], vec![]), "it begins anew");
        assert_eq!(step(11, true), [Turn::Began(BOB_IS_DOWN)]);
        assert_eq!((step(12, true), step(500, true), step(501, false)), (vec![], vec![], vec![]));
        assert_eq!(step(506, false), [Turn::Ended(BOB_IS_DOWN)]);
    }

    #[test]
    fn one_appliance_tells_and_the_next_leader_does_not_tell_it_again() {
        let mut follower = Conditions::default();
        follower.step(at(0), &seen(false, Speaker::Another));
        for second in 1..20 {
            assert_eq!(follower.step(at(second), &seen(true, Speaker::Another)), []);
        }
        assert_eq!(follower.step(at(20), &seen(true, Speaker::Me)), []);
        follower.step(at(21), &seen(false, Speaker::Me));
        let ended = follower.step(at(26), &seen(false, Speaker::Me));
        assert_eq!(ended, [Turn::Ended(BOB_IS_DOWN)], "it is the leader now");
    }

    #[test]
    fn what_nobody_can_tell_now_is_told_by_the_next_leader() {
        let mut conditions = Conditions::default();
        conditions.step(at(0), &seen(false, Speaker::Another));
        for second in 1..20 {
            assert_eq!(conditions.step(at(second), &seen(true, Speaker::Nobody)), []);
        }
        let told = conditions.step(at(20), &seen(true, Speaker::Me));
        assert_eq!(told, [Turn::Began(BOB_IS_DOWN)]);
    }

    #[test]
    fn who_starts_into_something_bad_leaves_it_to_others_unless_it_has_to_tell() {
        let (mut one, mut other) = (Conditions::default(), Conditions::default());
        for second in 0..20 {
            assert_eq!(one.step(at(second), &seen(true, Speaker::Another)), []);
        }
        assert_eq!(one.step(at(20), &seen(true, Speaker::Me)), []);
        other.step(at(0), &seen(true, Speaker::Me));
        assert_eq!(other.step(at(5), &seen(true, Speaker::Me)), [Turn::Began(BOB_IS_DOWN)]);
    }

    #[test]
    fn what_comes_and_goes_is_told_more_and_more_rarely() {
        let mut conditions = Conditions::default();
        let mut told = 0;
        for second in 0..3600 {
            let holds = second / 6 % 2 == 0;
            told += conditions.step(at(second), &seen(holds, Speaker::Me)).len();
        }
        assert!(told <= 6, "{told} times in an hour");
    }
}
