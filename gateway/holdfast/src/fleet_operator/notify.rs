//! What a person must know, as the operator sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use admin::{EventView, Problem, TrialView};
use notices::{Notice, Number, Status, Told, Trial, TrialOutcome};

use super::FleetOperator;

impl FleetOperator {
    pub(super) fn told(&self, after: Option<u64>, limit: usize) -> Vec<EventView> {
        let told = self.notifier.recent(after.map(Number::new), limit);
        told.into_iter().map(event_view).collect()
    }

    pub(super) async fn try_targets(&self) -> Result<Vec<TrialView>, Problem> {
        let message = format!(
            "This is a test from {}: somebody said `holdfast notify test`. There is nothing to do.",
            self.config.name
        );
        let notice = Notice {
            subject: format!("appliance {}", self.config.name),
            job: "test".to_owned(),
            status: Status::Info,
            message,
            details: BTreeMap::new(),
        };
        let tried = self.notifier.try_targets(notice, TEST_WAIT).await;
        Ok(tried.into_iter().map(trial_view).collect())
    }
}

fn event_view(told: Told) -> EventView {
    let Told { number, time, repeated, notice } = told;
    EventView {
        number: number.get(),
        time: time.to_string(),
        status: notice.status.word().to_owned(),
        subject: notice.subject,
        job: notice.job,
        message: notice.message,
        details: notice.details,
        repeated,
    }
}

fn trial_view(trial: Trial) -> TrialView {
    let Trial { target, outcome } = trial;
    let delivered = outcome == TrialOutcome::Delivered;
    let outcome = match outcome {
        TrialOutcome::Delivered => "delivered".to_owned(),
        TrialOutcome::Refused(why) => format!("REFUSED: {why}"),
        TrialOutcome::Failed(why) => format!("FAILED, and is tried again: {why}"),
        TrialOutcome::Waiting(waiting) => {
            format!("NOT YET: {waiting} notices wait for it or are under way")
        }
    };
    TrialView { target, delivered, outcome }
}

/// A relay that is slow to greet answers within it, and nobody waits longer at a terminal.
const TEST_WAIT: Duration = Duration::from_secs(15);
