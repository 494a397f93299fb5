//! Tables about what a person must know.

use admin::{EventView, TrialView};

use super::table;

/// Notices, a line each.
pub fn events(events: &[EventView]) -> String {
    if events.is_empty() {
        return "no events since this appliance started\n".to_owned();
    }
    let rows = events.iter().map(|event| {
        vec![event.time.clone(), status(event), event.subject.clone(), event.message.clone()]
    });
    table(&["TIME", "STATUS", "SUBJECT", "MESSAGE"], rows.collect())
}

/// One notice, in a line: what comes one by one has no widths in common.
pub fn event(event: &EventView) -> String {
    let EventView { time, subject, message, .. } = event;
    format!("{time}  {:<7}  {subject}: {message}", status(event))
}

/// What became of a notice at each target.
pub fn tried(tried: &[TrialView]) -> String {
    if tried.is_empty() {
        return "there is no target: add [[notify.webhook]] or [[notify.mail]] to the \
                configuration\n"
            .to_owned();
    }
    let rows = tried.iter().map(|trial| vec![trial.target.clone(), trial.outcome.clone()]);
    table(&["TARGET", "OUTCOME"], rows.collect())
}

/// Loud if somebody must look.
fn status(event: &EventView) -> String {
    match event.status.as_str() {
        "error" => "ERROR".to_owned(),
        other => other.to_owned(),
    }
}
