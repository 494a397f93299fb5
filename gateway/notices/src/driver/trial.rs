//! Tries all targets with one notice, for an operator who wants to see whether it arrives.
//!
//! Invariant: every target is reported once, in their order, after the wait at the latest. Absent
//! on purpose: anything that a notice does not go through otherwise; it waits its turn.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::{End, Notifier};
use crate::desk::{Event, Outcome, Target};
use crate::notice::{Notice, Number};

/// What became of a notice at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which target, as [`TargetView::name`](crate::TargetView::name).
    pub target: String,
    /// What became of it.
    pub outcome: TrialOutcome,
}

/// What became of a notice that tries a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// The target has it.
    Delivered,
    /// The target will never take it; what it said.
    Refused(String),
    /// It could not be delivered, and is tried again; what was in the way.
    Failed(String),
    /// It still waits, behind so many others or for its answer.
    Waiting(usize),
}

impl Notifier {
    /// Tells `notice` to every target, whatever it takes otherwise, and waits for at most `wait`
    /// until each has answered or failed once.
    pub async fn try_targets(&self, notice: Notice, wait: Duration) -> Vec<Trial> {
        let mut ends = self.shared.ends.subscribe();
        let names: Vec<String> =
            self.shared.targets.iter().map(|named| named.name.clone()).collect();
        let mut found: Vec<Option<TrialOutcome>> = vec![None; names.len()];
        if let Some(number) = self.shared.step(Event::Tried(notice), "") {
            let until = Instant::now() + wait;
            while found.contains(&None) {
                match timeout_at(until, ends.recv()).await {
                    Ok(Ok(end)) => note(&mut found, number, end),
                    // What was missed is not known: it is reported as waiting.
                    Ok(Err(RecvError::Lagged(_))) => {}
                    Ok(Err(RecvError::Closed)) | Err(_) => break,
                }
            }
        }
        let states = self.targets();
        let trial = |((target, outcome), state): ((String, _), crate::TargetView)| Trial {
            target,
            outcome: Option::unwrap_or(outcome, TrialOutcome::Waiting(state.waiting)),
        };
        names.into_iter().zip(found).zip(states).map(trial).collect()
    }
}

fn note(found: &mut [Option<TrialOutcome>], number: Number, end: End) {
    let End { target: Target(index), number: ended, outcome, reason } = end;
    if ended != number {
        return;
    }
    found[index] = Some(match outcome {
        Outcome::Delivered => TrialOutcome::Delivered,
        Outcome::Refused => TrialOutcome::Refused(reason),
        Outcome::Failed { .. } => TrialOutcome::Failed(reason),
    });
}
