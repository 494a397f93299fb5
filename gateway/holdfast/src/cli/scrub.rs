//! The commands about scrubs.

use std::process::ExitCode;
use std::time::Duration;

use admin::{ScrubView, ScrubWanted};
use clap::Subcommand;

use super::Show;
use super::fleet::wait_a_moment;
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum ScrubVerb {
    /// Read and compare all copies of all files, at every appliance; goes on where it was stopped
    Start {
        /// Only this volume
        volume: Option<String>,
        /// Wait until it has come to its end; fails if something is still bad then
        #[arg(long)]
        wait: bool,
    },
    /// Show how it stands at every appliance
    Status,
    /// Stop it at every appliance; `scrub start` goes on
    Stop,
}

pub fn scrub(client: &Client, show: Show, verb: ScrubVerb) -> Result<ExitCode, String> {
    let (views, wait) = match verb {
        ScrubVerb::Start { volume, wait } => {
            let views: Vec<ScrubView> = client.send_json(PATH, &ScrubWanted { volume })?;
            (views, wait)
        }
        ScrubVerb::Status => (client.ask(Method::Get, PATH)?, false),
        ScrubVerb::Stop => (client.ask(Method::Delete, PATH)?, false),
    };
    match wait {
        true => wait_for(client, show, views),
        false => show.print(&views, |views| print::scrubs(views)),
    }
}

/// Waits until nobody scrubs any more, with a progress bar for people.
fn wait_for(client: &Client, show: Show, mut views: Vec<ScrubView>) -> Result<ExitCode, String> {
    let bar = match show.json {
        true => indicatif::ProgressBar::hidden(),
        false => print::scrub_progress(),
    };
    while views.iter().any(|view| view.state == "running") {
        print::scrub_step(&bar, &views);
        wait_a_moment(LOOK);
        views = client.ask(Method::Get, PATH)?;
    }
    bar.finish_and_clear();
    show.print(&views, |views| print::scrubs(views))?;
    Ok(if views.iter().all(ended_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether an appliance came to the end and nothing is bad there. Who does not answer did not; who
/// never began has nothing to scrub.
fn ended_well(view: &ScrubView) -> bool {
    let outcome = view.last.as_ref().map(|last| last.outcome.as_str());
    view.state == "idle" && outcome != Some("damaged")
}

const PATH: &str = "/v1/scrub";
const LOOK: Duration = Duration::from_millis(200);
