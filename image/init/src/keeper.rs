//! When a program that is to run on is started, and started again.
//!
//! Invariant: between two starts lies a pause, which doubles as long as the program does not last.
//! Absent on purpose: processes and clocks; time comes as an argument.

use std::time::Duration;

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeper {
    state: State,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is to be started then.
    Due(Duration),
    /// It runs since then.
    Running(Duration),
    /// It is not to run any more.
    Done,
}

impl Keeper {
    /// It is to run from now on.
    pub fn new(now: Duration) -> Self {
        Self { state: State::Due(now), pause: PAUSE_MIN }
    }

    /// Whether it is to be started now.
    pub fn is_due(&self, now: Duration) -> bool {
        matches!(self.state, State::Due(at) if at <= now)
    }

    /// It was started.
    pub fn started(&mut self, now: Duration) {
        self.state = State::Running(now);
    }

    /// It ended, or could not be started. Gives back after which pause it is started again; none if
    /// it is not.
    pub fn ended(&mut self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Done => return None,
            State::Running(since) if now.saturating_sub(since) >= WELL => self.pause = PAUSE_MIN,
            State::Running(_) | State::Due(_) => {}
        }
        let pause = self.pause;
        self.state = State::Due(now + pause);
        self.pause = (pause * 2).min(PAUSE_MAX);
        Some(pause)
    }

    /// It is not to be started again.
    pub fn stop(&mut self) {
        self.state = State::Done;
    }
}

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What ran for so long had started well.
const WELL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_program_that_keeps_dying_is_started_ever_more_rarely() {
        let mut keeper = Keeper::new(s(5));
        assert!(!keeper.is_due(s(4)) && keeper.is_due(s(5)));
        let mut now = s(5);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            keeper.started(now);
            assert!(!keeper.is_due(now + s(1000)), "it runs");
            let pause = keeper.ended(now).unwrap();
            assert!(!keeper.is_due(now + pause - s(1)) && keeper.is_due(now + pause));
            now += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        keeper.started(now);
        assert_eq!(keeper.ended(now + s(59)), Some(s(30)), "59 s were not well yet");
        keeper.started(now);
        assert_eq!(keeper.ended(now + s(60)), Some(s(1)), "it had run well");
    }

    #[test]
    fn one_that_can_not_be_started_is_tried_again_with_the_same_pauses() {
        let mut keeper = Keeper::new(s(0));
        assert_eq!(keeper.ended(s(0)), Some(s(1)));
        assert_eq!(keeper.ended(s(1)), Some(s(2)));
    }

    #[test]
    fn one_that_was_told_to_stop_is_not_started_again() {
        let mut keeper = Keeper::new(s(0));
        keeper.started(s(0));
        keeper.stop();
        assert_eq!(keeper.ended(s(1)), None);
        assert!(!keeper.is_due(s(1000)));
    }
}
