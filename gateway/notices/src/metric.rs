//! What is counted. Nothing here is frequent, so names are looked up each time; a recorder may be
//! installed at any time before.

use metrics::{counter, gauge};

use crate::desk::Loss;
use crate::notice::Status;

/// Names of all metrics of notices; each ends in its unit.
pub mod names {
    /// Counter: notices that were told and listed, by `status`.
    pub const NOTICES: &str = "holdfast_notices_total";
    /// Counter: notices that were only counted, because they repeated one within the quiet time.
    pub const SUPPRESSED: &str = "holdfast_notices_suppressed_total";
    /// Counter: by `kind` (`webhook`, `mail`) and `outcome`: `delivered`; `failed`, a try that is
    /// followed by others; `refused`, `given_up` and `dropped`, a notice that will not arrive.
    pub const DELIVERIES: &str = "holdfast_notice_deliveries_total";
    /// Gauge: notices that wait for a target or are under way to it, by `target`.
    pub const WAITING: &str = "holdfast_notices_waiting";
}

/// By which way a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Webhook,
    Mail,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }
}

pub(crate) fn listed(status: Status) {
    counter!(names::NOTICES, "status" => status.word()).increment(1);
}

pub(crate) fn suppressed() {
    counter!(names::SUPPRESSED).increment(1);
}

pub(crate) fn delivered(kind: Kind) {
    count(kind, "delivered");
}

pub(crate) fn failed(kind: Kind) {
    count(kind, "failed");
}

pub(crate) fn lost(kind: Kind, loss: Loss) {
    count(kind, loss.word());
}

pub(crate) fn waiting(target: &str, waiting: usize) {
    // Exact up to 2^53.
    gauge!(names::WAITING, "target" => target.to_owned()).set(waiting as f64);
}

fn count(kind: Kind, outcome: &'static str) {
    counter!(names::DELIVERIES, "kind" => kind.word(), "outcome" => outcome).increment(1);
}
