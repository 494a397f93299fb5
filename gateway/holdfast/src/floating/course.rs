//! What is done about one floating address: take it, renew it, shout about it, give it up.
//!
//! Invariant: whoever is told to give an address up does nothing else until that is done; an
//! address is taken from a holder that may still have it only once its lifetime must be over.
//! Absent on purpose: the kernel and clocks; times and outcomes are arguments.

use std::time::Duration;

use model::View;
use router::{AddressWish, Release};

/// One address.
#[derive(Debug)]
pub struct Course {
    state: State,
    /// Nothing is taken or renewed before: the last try failed.
    again_at: Duration,
}

/// How an address stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An earlier run may have left it.
    Unknown,
    /// It is not here.
    Away,
    /// It is ours, and the holder before may still have it.
    Waiting { since: View, until: Duration },
    /// It is here.
    Held { since: View, renewed: Duration, shout_at: Duration, shouts: u32 },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Hold it from now on.
    Take(View),
    /// Hold it for longer.
    Renew,
    /// Tell the neighbours, and provoke the clients of the holder before.
    Shout,
    /// Give it up.
    GiveUp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The kernel refused.
    Failed,
}

impl Course {
    /// At the start of a run.
    pub fn new() -> Self {
        Self { state: State::Unknown, again_at: Duration::ZERO }
    }

    /// Whether it is held here.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. })
    }

    /// Whether clients of the holder before are still to be provoked.
    pub fn shouts(&self) -> bool {
        matches!(self.state, State::Held { shouts: 1.., .. })
    }

    /// What is to be done next, now.
    pub fn next(&mut self, now: Duration, wish: AddressWish) -> Option<Deed> {
        let (since, release) = match wish {
            AddressWish::GiveUp if self.state == State::Away => return None,
            AddressWish::GiveUp => {
                if let State::Waiting { .. } = self.state {
                    self.state = State::Away;
                    return None;
                }
                return Some(Deed::GiveUp);
            }
            AddressWish::Unclear => return None,
            AddressWish::Hold { since, release } => (since, release),
        };
        if now < self.again_at {
            return None;
        }
        match self.state {
            State::Held { since: before, renewed, .. }
                if before != since || now.saturating_sub(renewed) >= LIFETIME =>
            {
                // It was elsewhere meanwhile, or gone: nobody may know that it is here.
                Some(Deed::Take(since))
            }
            State::Held { renewed, .. } if now.saturating_sub(renewed) >= RENEW_EVERY => {
                Some(Deed::Renew)
            }
            State::Held { shout_at, shouts: 1.., .. } if now >= shout_at => Some(Deed::Shout),
            State::Held { .. } => None,
            State::Unknown | State::Away | State::Waiting { .. }
                if release == Release::Released =>
            {
                Some(Deed::Take(since))
            }
            State::Waiting { since: before, until } if before == since => {
                (now >= until).then_some(Deed::Take(since))
            }
            State::Unknown | State::Away | State::Waiting { .. } => {
                self.state = State::Waiting { since, until: now + HAND_OVER_MAX };
                None
            }
        }
    }

    /// Something was done, or tried.
    pub fn done(&mut self, now: Duration, deed: Deed, outcome: Outcome) {
        if outcome == Outcome::Failed {
            self.again_at = now + TRY_AGAIN_AFTER;
            return;
        }
        match (deed, &mut self.state) {
            (Deed::Take(since), state) => {
                *state = State::Held { since, renewed: now, shout_at: now, shouts: SHOUTS };
            }
            (Deed::Renew, State::Held { renewed, .. }) => *renewed = now,
            (Deed::Shout, State::Held { shout_at, shouts, .. }) => {
                *shouts = shouts.saturating_sub(1);
                *shout_at = now + SHOUT_EVERY;
            }
            (Deed::GiveUp, state) => *state = State::Away,
            (Deed::Renew | Deed::Shout, _) => {}
        }
    }
}

/// For so long an address outlives its last renewal: six of them may be missed.
pub const LIFETIME: Duration = Duration::from_secs(2);
const RENEW_EVERY: Duration = Duration::from_millis(300);
/// The kernel may be so late with removing an address, see `addresses::VALID_SECONDS_MIN`.
const REMOVAL_LATE_MAX: Duration = Duration::from_secs(2);
/// By then a holder that does not answer has lost the address.
const HAND_OVER_MAX: Duration = LIFETIME.saturating_add(REMOVAL_LATE_MAX);
/// A packet may be lost, and a client answers at most one in half a second.
const SHOUT_EVERY: Duration = Duration::from_secs(1);
const SHOUTS: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

const _: () = assert!(LIFETIME.as_millis() > 4 * RENEW_EVERY.as_millis(), "some may be late");

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: AddressWish =
        AddressWish::Hold { since: View::new(5), release: Release::Released };
    const LATER: AddressWish = AddressWish::Hold { since: View::new(5), release: Release::Awaited };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Does all there is to do at this time, and says what that was.
    fn does(course: &mut Course, millis: u64, wish: AddressWish) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while let Some(deed) = course.next(at(millis), wish) {
            course.done(at(millis), deed, Outcome::Done);
            deeds.push(deed);
        }
        deeds
    }

    #[test]
    fn a_new_holder_takes_shouts_five_times_and_renews() {
        let mut course = Course::new();
        assert_eq!(does(&mut course, 0, AT_ONCE), [Deed::Take(View::new(5)), Deed::Shout]);
        assert!(course.is_held() && course.shouts());
        let deeds: Vec<Deed> =
            (1..200).flat_map(|tick| does(&mut course, tick * 50, AT_ONCE)).collect();
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Shout).count(), 4);
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Renew).count(), 33);
        assert!(!course.shouts());
    }

    #[test]
    fn what_an_earlier_run_left_is_left_alone_until_it_is_known_whose_it_is() {
        let mut course = Course::new();
        assert_eq!(does(&mut course, 0, AddressWish::Unclear), []);
        assert_eq!(does(&mut course, 50, AddressWish::GiveUp), [Deed::GiveUp]);
        assert_eq!(does(&mut course, 100, AddressWish::GiveUp), []);
    }

    #[test]
    fn a_lapsed_lease_gives_up_at_once_and_until_it_is_done() {
        let mut course = Course::new();
        does(&mut course, 0, AT_ONCE);
        let deed = course.next(at(50), AddressWish::GiveUp);
        assert_eq!(deed, Some(Deed::GiveUp));
        course.done(at(50), Deed::GiveUp, Outcome::Failed);
        assert_eq!(does(&mut course, 100, AddressWish::GiveUp), [Deed::GiveUp]);
        assert!(!course.is_held());
    }

    #[test]
    fn while_it_is_unclear_who_holds_it_nothing_is_renewed_nor_given_up() {
        let mut course = Course::new();
        does(&mut course, 0, AT_ONCE);
        assert_eq!(does(&mut course, 1900, AddressWish::Unclear), []);
        assert!(course.is_held());
    }

    #[test]
    fn a_holder_that_may_still_have_it_is_waited_for_until_its_lifetime_is_over() {
        let mut course = Course::new();
        assert_eq!(does(&mut course, 0, LATER), []);
        assert_eq!(does(&mut course, 3950, LATER), []);
        assert_eq!(does(&mut course, 4000, LATER)[0], Deed::Take(View::new(5)));
        let mut course = Course::new();
        assert_eq!(does(&mut course, 0, LATER), []);
        assert_eq!(does(&mut course, 100, AT_ONCE)[0], Deed::Take(View::new(5)), "it said so");
        let mut course = Course::new();
        assert_eq!(does(&mut course, 0, LATER), []);
        assert_eq!(does(&mut course, 50, AddressWish::GiveUp), [], "it was never here");
        assert_eq!(does(&mut course, 5000, LATER), [], "the wait begins anew");
    }

    #[test]
    fn one_that_slept_over_the_lifetime_takes_it_anew_and_tells_everybody() {
        let mut course = Course::new();
        does(&mut course, 0, AT_ONCE);
        assert_eq!(does(&mut course, 2500, AT_ONCE), [Deed::Take(View::new(5)), Deed::Shout]);
        let again = AddressWish::Hold { since: View::new(9), release: Release::Released };
        assert_eq!(does(&mut course, 2600, again), [Deed::Take(View::new(9)), Deed::Shout]);
    }

    #[test]
    fn what_the_kernel_refuses_is_tried_again_a_moment_later() {
        let mut course = Course::new();
        let deed = course.next(at(0), AT_ONCE).unwrap();
        course.done(at(0), deed, Outcome::Failed);
        assert_eq!(course.next(at(50), AT_ONCE), None);
        assert_eq!(course.next(at(200), AT_ONCE), Some(deed));
    }
}
