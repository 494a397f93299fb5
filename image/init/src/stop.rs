//! How the machine is stopped: whom to ask, how long to wait, when to insist.
//!
//! Invariant: it ends, whoever does not; the appliance is asked first and alone, so that it has its
//! disk, network and clock until it has gone. What writes to a disk of its own is waited for.
//!
//! Absent on purpose: processes and clocks.

use std::time::Duration;

/// What comes after the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The power goes off.
    PowerOff,
    /// The machine starts again.
    Reboot,
}

/// Who is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The appliance.
    pub appliance: bool,
    /// What must not be interrupted, such as the making of a file system.
    pub job: Option<&'static str>,
    /// The other programs.
    pub others: Vec<&'static str>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the appliance to end.
    AskAppliance,
    /// End it.
    KillAppliance,
    /// Ask all other programs to end.
    AskOthers,
    /// End every process, write everything, and do what comes after.
    Finish,
    /// Tell this.
    Say(String),
}

/// A stop that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    within: Duration,
    phase: Phase,
    since: Duration,
    said: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    Appliance,
    KilledAppliance,
    Others,
    Done,
}

impl Stop {
    /// The appliance has `within` to end by itself.
    pub fn new(now: Duration, within: Duration) -> Self {
        Self { within, phase: Phase::Begin, since: now, said: now }
    }

    /// What to do now, with these still there.
    pub fn step(&mut self, now: Duration, alive: &Alive) -> Vec<Effect> {
        let mut effects = Vec::new();
        let waited = now.saturating_sub(self.since);
        let waits_for = alive.appliance || alive.job.is_some();
        match self.phase {
            Phase::Begin => {
                self.enter(Phase::Appliance, now);
                effects.push(Effect::AskAppliance);
            }
            Phase::Appliance if !waits_for => self.ask_others(now, &mut effects),
            Phase::Appliance if waited >= self.within => {
                let seconds = self.within.as_secs();
                let who = awaited(alive).join(" and ");
                effects.push(Effect::Say(format!("{who} did not end within {seconds} s")));
                effects.push(Effect::KillAppliance);
                self.enter(Phase::KilledAppliance, now);
            }
            // One that waits for a dead disk can't even be killed.
            Phase::KilledAppliance if !alive.appliance || waited >= KILL_PATIENCE => {
                self.ask_others(now, &mut effects);
            }
            Phase::Others if alive.others.is_empty() || waited >= OTHERS_PATIENCE => {
                self.enter(Phase::Done, now);
                effects.push(Effect::Finish);
            }
            Phase::Appliance | Phase::KilledAppliance | Phase::Others => {
                self.say_awaited(now, alive, &mut effects);
            }
            Phase::Done => {}
        }
        effects
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        (self.phase, self.since, self.said) = (phase, now, now);
    }

    fn ask_others(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.enter(Phase::Others, now);
        effects.push(Effect::AskOthers);
    }

    fn say_awaited(&mut self, now: Duration, alive: &Alive, effects: &mut Vec<Effect>) {
        if now.saturating_sub(self.said) >= SAY_EVERY {
            self.said = now;
            let who = match self.phase {
                Phase::Others => alive.others.clone(),
                _ => awaited(alive),
            };
            let seconds = now.saturating_sub(self.since).as_secs();
            let who = who.join(" and ");
            effects.push(Effect::Say(format!("waiting for {who} to end, for {seconds} s now")));
        }
    }
}

fn awaited(alive: &Alive) -> Vec<&'static str> {
    alive.appliance.then_some("the appliance").into_iter().chain(alive.job).collect()
}

const SAY_EVERY: Duration = Duration::from_secs(5);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const OTHERS_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn alive(appliance: bool, others: &[&'static str]) -> Alive {
        Alive { appliance, job: None, others: others.to_vec() }
    }

    fn stop() -> Stop {
        let mut stop = Stop::new(s(100), s(60));
        assert_eq!(stop.step(s(100), &alive(true, &["chronyd"])), [Effect::AskAppliance]);
        stop
    }

    #[test]
    fn the_appliance_goes_first_and_then_the_others() {
        let mut stop = stop();
        assert_eq!(stop.step(s(101), &alive(true, &["chronyd"])), []);
        assert_eq!(stop.step(s(102), &alive(false, &["chronyd"])), [Effect::AskOthers]);
        assert_eq!(stop.step(s(103), &alive(false, &["chronyd"])), []);
        assert_eq!(stop.step(s(104), &alive(false, &[])), [Effect::Finish]);
        assert_eq!(stop.step(s(200), &alive(false, &[])), [], "once");
    }

    #[test]
    fn who_does_not_end_is_told_and_then_killed() {
        let mut stop = stop();
        let there = alive(true, &[]);
        assert_eq!(stop.step(s(104), &there), []);
        let said = stop.step(s(105), &there);
        assert_eq!(said, [Effect::Say("waiting for the appliance to end, for 5 s now".to_owned())]);
        assert_eq!(stop.step(s(106), &there), []);
        let end = stop.step(s(160), &there);
        assert!(matches!(&end[..], [Effect::Say(_), Effect::KillAppliance]), "{end:?}");
        assert_eq!(stop.step(s(161), &there), []);
        assert_eq!(stop.step(s(162), &alive(false, &[])), [Effect::AskOthers]);
    }

    #[test]
    fn it_ends_even_if_nothing_else_does() {
        let mut stop = stop();
        let stuck = alive(true, &["dropbear"]);
        let mut effects = Vec::new();
        for second in 101..200 {
            effects.extend(stop.step(s(second), &stuck));
        }
        effects.retain(|effect| !matches!(effect, Effect::Say(_)));
        assert_eq!(effects, [Effect::KillAppliance, Effect::AskOthers, Effect::Finish]);
    }

    #[test]
    fn a_file_system_that_is_being_made_is_waited_for() {
        let mut stop = stop();
        let making = Alive { job: Some("the data disk"), ..Alive::default() };
        assert_eq!(stop.step(s(104), &making), []);
        let said = stop.step(s(105), &making);
        assert!(matches!(&said[..], [Effect::Say(text)] if text.contains("the data disk")));
        assert_eq!(stop.step(s(106), &Alive::default()), [Effect::AskOthers]);
    }
}
