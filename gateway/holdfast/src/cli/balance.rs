//! The commands that even out disks, and those that say before a drain what it will do.

use std::process::ExitCode;
use std::time::Duration;

use admin::{DrainPlanView, RebalanceView};
use clap::Args;

use super::fleet::wait_a_moment;
use super::{Show, escaped};
use crate::client::{Client, Method};
use crate::print;

/// How to rebalance.
#[derive(Args)]
pub struct RebalanceArgs {
    /// Say what would be moved, or how the one under way is going; nothing is changed
    #[arg(long, conflicts_with_all = ["wait", "cancel"])]
    plan: bool,
    /// Wait until the disks are evenly full; of one that is under way, too
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// End the one that is under way; what was moved stays so
    #[arg(long)]
    cancel: bool,
}

pub fn rebalance(client: &Client, show: Show, args: &RebalanceArgs) -> Result<ExitCode, String> {
    if args.plan {
        let view: RebalanceView = client.ask(Method::Get, PATH)?;
        return show.print(&view, print::rebalance);
    }
    if args.cancel {
        let view: RebalanceView = client.ask(Method::Delete, PATH)?;
        return show.print(&view, print::rebalance);
    }
    let view = match args.wait {
        false => client.ask(Method::Post, PATH)?,
        true => wait_until_over(client, show)?,
    };
    let failed = view.run.as_ref().is_some_and(|run| run.ended && !run.succeeded);
    show.print(&view, print::rebalance)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Begins one, unless one is under way, and waits for its end.
fn wait_until_over(client: &Client, show: Show) -> Result<RebalanceView, String> {
    let is_over = |view: &RebalanceView| view.run.as_ref().is_none_or(|run| run.ended);
    let mut view = match client.ask(Method::Post, PATH) {
        Ok(view) => view,
        Err(refused) => {
            let now: RebalanceView = client.ask(Method::Get, PATH)?;
            if is_over(&now) {
                return Err(refused);
            }
            now
        }
    };
    let bar = match show.json {
        true => indicatif::ProgressBar::hidden(),
        false => print::rebalance_progress(),
    };
    let id = |view: &RebalanceView| view.run.as_ref().map(|run| run.id.clone());
    let begun = id(&view);
    let mut unheard = 0;
    while !is_over(&view) {
        if let Some(run) = &view.run {
            print::rebalance_step(&bar, run);
        }
        wait_a_moment(LOOK);
        // Whoever sees it through may be started anew: it goes on then.
        match client.ask(Method::Get, PATH) {
            Ok(now) if id(&now) == begun => (view, unheard) = (now, 0),
            _ if unheard < UNHEARD_MAX => unheard += 1,
            Ok(_) => return Err("nobody knows of the rebalance any more".to_owned()),
            Err(refused) => return Err(refused),
        }
    }
    bar.finish_and_clear();
    Ok(view)
}

pub fn drain_plan(client: &Client, show: Show, name: &str) -> Result<ExitCode, String> {
    let path = format!("/v1/fleet/members/{}/drain/plan", escaped(name));
    let plan: DrainPlanView = client.ask(Method::Get, &path)?;
    show.print(&plan, print::drain_plan)
}

const PATH: &str = "/v1/fleet/rebalance";
const LOOK: Duration = Duration::from_secs(1);
const UNHEARD_MAX: u32 = 30;
