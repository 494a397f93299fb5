//! Whether an image that has not proved itself is kept.
//!
//! Invariant: it is judged once. It is kept after it was well without a break for a while; if its
//! time is over before, the machine starts again, and then with another image: the boot loader has
//! counted.
//!
//! Absent on purpose: boot files, processes and clocks.

use std::time::Duration;

/// What was seen of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it answered.
    pub answers: bool,
    /// What it said of its fleet; none if it did not say.
    pub fleet: Option<Fleet>,
}

/// What was seen of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// How many appliances it has.
    pub members: usize,
    /// Whether one of them leads.
    pub has_leader: bool,
}

impl Seen {
    /// What is wrong; none if it is well.
    fn complaint(self) -> Option<&'static str> {
        match self {
            Self { answers: false, .. } => Some("the appliance does not answer"),
            Self { fleet: None, .. } => Some("the appliance says nothing of its fleet"),
            Self { fleet: Some(Fleet { members, has_leader: false }), .. } if members > 1 => {
                Some("the fleet has no leader")
            }
            Self { fleet: Some(_), .. } => None,
        }
    }
}

/// What is to be done about the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it.
    Keep,
    /// Go back to another one; a sentence says why.
    GiveUp(String),
}

/// An image under judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judge {
    within: Duration,
    well_since: Option<Duration>,
    complaint: &'static str,
    judged: bool,
}

impl Judge {
    /// It has until `within` after the kernel's start.
    pub fn new(within: Duration) -> Self {
        Self { within, well_since: None, complaint: "the appliance was not started", judged: false }
    }

    /// It has so long after the kernel's start, after all.
    pub fn allow(&mut self, within: Duration) {
        self.within = within;
    }

    /// Whether it is still to be judged.
    pub fn is_open(&self) -> bool {
        !self.judged
    }

    /// `now` is since the kernel's start; `seen` is what was seen just now, if anything was looked
    /// at.
    pub fn step(&mut self, now: Duration, seen: Option<Seen>) -> Option<Verdict> {
        if self.judged {
            return None;
        }
        match seen.map(Seen::complaint) {
            None => {}
            Some(None) => self.well_since = self.well_since.or(Some(now)),
            Some(Some(complaint)) => {
                self.well_since = None;
                self.complaint = complaint;
            }
        }
        let well_for = self.well_since.map(|since| now.saturating_sub(since));
        // Only a look that finds it well ends the wait: between two looks it may have gone.
        let verdict = if seen.is_some() && well_for.is_some_and(|well| well >= WELL) {
            Verdict::Keep
        } else if now >= self.within {
            let complaint = match well_for {
                Some(_) => "the appliance was not well for long enough",
                None => self.complaint,
            };
            let seconds = self.within.as_secs();
            Verdict::GiveUp(format!("this image was not healthy within {seconds} s: {complaint}"))
        } else {
            return None;
        };
        self.judged = true;
        Some(verdict)
    }
}

/// What lasts so long is no accident.
const WELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn judge() -> Judge {
        Judge::new(s(180))
    }

    const ALONE: Option<Fleet> = Some(Fleet { members: 1, has_leader: false });
    const WELL_ALONE: Option<Seen> = Some(Seen { answers: true, fleet: ALONE });
    const SILENT: Option<Seen> = Some(Seen { answers: false, fleet: None });

    #[test]
    fn an_image_that_is_well_for_ten_seconds_is_kept_and_judged_once() {
        let mut judge = judge();
        assert_eq!(judge.step(s(20), WELL_ALONE), None);
        assert_eq!(judge.step(s(29), WELL_ALONE), None);
        assert_eq!(judge.step(s(31), None), None, "nobody looked");
        assert_eq!(judge.step(s(31), WELL_ALONE), Some(Verdict::Keep));
        assert!(!judge.is_open());
        assert_eq!(judge.step(s(400), SILENT), None, "what comes later is another matter");
    }

    #[test]
    fn a_break_begins_the_ten_seconds_anew() {
        let mut judge = judge();
        judge.step(s(20), WELL_ALONE);
        judge.step(s(25), SILENT);
        judge.step(s(28), WELL_ALONE);
        assert_eq!(judge.step(s(35), WELL_ALONE), None);
        assert_eq!(judge.step(s(38), WELL_ALONE), Some(Verdict::Keep));
    }

    #[test]
    fn an_image_that_never_answers_is_given_up_with_the_reason() {
        let why = |seen: Option<Seen>| {
            let mut judge = judge();
            assert_eq!(judge.step(s(179), seen), None);
            match judge.step(s(180), None) {
                Some(Verdict::GiveUp(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let said = why(None);
        assert_eq!(said, "this image was not healthy within 180 s: the appliance was not started");
        assert!(why(SILENT).ends_with("does not answer"));
        assert!(why(Some(Seen { answers: true, fleet: None })).ends_with("nothing of its fleet"));
        let leaderless = Some(Fleet { members: 3, has_leader: false });
        assert!(why(Some(Seen { answers: true, fleet: leaderless })).ends_with("no leader"));
        assert!(why(WELL_ALONE).ends_with("long enough"));
    }

    #[test]
    fn in_a_fleet_of_several_somebody_must_lead() {
        let fleet = |has_leader| {
            Some(Seen { answers: true, fleet: Some(Fleet { members: 3, has_leader }) })
        };
        let mut judge = judge();
        judge.step(s(20), fleet(false));
        assert_eq!(judge.step(s(31), fleet(false)), None);
        judge.step(s(40), fleet(true));
        assert_eq!(judge.step(s(50), fleet(true)), Some(Verdict::Keep));
    }

    #[test]
    fn the_configuration_may_give_it_another_time() {
        let mut judge = judge();
        judge.allow(s(300));
        assert_eq!(judge.step(s(299), None), None);
        assert!(judge.step(s(300), None).is_some());
    }
}
