//! The commands about what a person must know.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use admin::{EventView, TrialView};
use clap::Subcommand;

use super::Show;
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum NotifyVerb {
    /// Send a notice to every target, and say what became of it at each
    Test,
}

/// The newest notices.
pub fn list(client: &Client, show: Show) -> Result<ExitCode, String> {
    let events: Vec<EventView> = client.ask(Method::Get, "/v1/events")?;
    show.print(&events, |events| print::events(events))
}

/// The newest notices and all that come, a line each, until nobody reads any more.
#[expect(clippy::disallowed_methods, reason = "a command that waits for what comes")]
pub fn follow(client: &Client, show: Show) -> Result<ExitCode, String> {
    let mut after = None;
    loop {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let events: Vec<EventView> = client.ask(Method::Get, &format!("/v1/events{query}"))?;
        let mut out = std::io::stdout().lock();
        for event in &events {
            let line = match show.json {
                true => serde_json::to_string(event).map_err(|e| e.to_string())?,
                false => print::event(event),
            };
            if writeln!(out, "{line}").is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            after = Some(event.number);
        }
        if out.flush().is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        drop(out);
        // One that lists nothing yet may number from anywhere on: ask for all of it again.
        std::thread::sleep(FOLLOW_EVERY);
    }
}

/// Succeeds if every target has the notice.
pub fn try_targets(client: &Client, show: Show) -> Result<ExitCode, String> {
    let tried: Vec<TrialView> = client.ask(Method::Post, "/v1/notify/test")?;
    let delivered = tried.iter().all(|target| target.delivered);
    show.print(&tried, |tried| print::tried(tried))?;
    Ok(if delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const FOLLOW_EVERY: Duration = Duration::from_secs(1);
