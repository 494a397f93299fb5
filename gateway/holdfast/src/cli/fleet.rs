//! The commands about the fleet, about where files are, and about jobs.

use std::process::ExitCode;
use std::time::Duration;

use admin::{
    AddressMove, AddressView, DrainView, FleetView, InvitationView, Invite, JobView, Join,
    LabelsView, OpenInvitationView, RemovalView, StatusView, Transfer, WhereView,
};
use clap::Subcommand;

use super::balance::{self, RebalanceArgs};
use super::{Show, escaped};
use crate::adapters::SystemEntropy;
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum FleetVerb {
    /// Make this appliance ready to be joined by others
    Init,
    /// Print a one-time token for another appliance
    Invite {
        /// It will vote and hold no data
        #[arg(long)]
        witness: bool,
    },
    /// Make a token that appliances' configurations share, so that they find together unattended
    Token,
    /// Show the fleet's appliances and what it can lose
    Status,
    /// List the invitations that are remembered
    Invitations,
    /// Take an invitation back
    Revoke {
        /// What `fleet invitations` calls it
        id: String,
    },
    /// Have an appliance's data moved away from it, and say how far that is
    Drain {
        /// The appliance
        name: String,
        /// Say what will be moved, how long that takes and what is in the way; nothing is changed
        #[arg(long, conflicts_with_all = ["stop", "wait"])]
        plan: bool,
        /// Let its data stay, after all
        #[arg(long, visible_alias = "cancel", conflicts_with = "wait")]
        stop: bool,
        /// Wait until it holds nothing any more
        #[arg(long)]
        wait: bool,
    },
    /// Move files until the appliances' disks are evenly full
    Rebalance(RebalanceArgs),
    /// Remove an appliance for ever; one that is well is drained and stopped first
    Remove {
        /// The appliance
        name: String,
        /// It will never come back: what it alone has is lost
        #[arg(long)]
        dead: bool,
        /// Yes, what it alone has may be lost
        #[arg(long, requires = "dead")]
        yes: bool,
    },
    /// Set what an appliance says of itself, until its next start; its configuration says it then
    Labels {
        /// The appliance
        name: String,
        /// All its labels: site=attic rack=1
        #[arg(value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// List the floating addresses and who holds them
    Addresses,
    /// Have another appliance hold a floating address, as long as it can
    MoveAddress {
        /// The address
        address: String,
        /// The appliance
        to: String,
    },
}

#[derive(Subcommand)]
pub enum JobVerb {
    /// List the jobs of this appliance
    List,
    /// Show one
    Show {
        /// Its number
        id: String,
    },
    /// Wait until one has ended
    Wait {
        /// Its number
        id: String,
    },
    /// Break one off
    Cancel {
        /// Its number
        id: String,
    },
}

pub fn fleet(client: &Client, show: Show, verb: FleetVerb) -> Result<ExitCode, String> {
    match verb {
        FleetVerb::Init => {
            let fleet: FleetView = client.ask(Method::Post, "/v1/fleet/init")?;
            show.print(&fleet, print::fleet)
        }
        FleetVerb::Token => {
            let token = mesh::FleetToken::new(&SystemEntropy).to_string();
            show.print(&token, |token| format!("{token}\n"))
        }
        FleetVerb::Status => {
            let fleet: FleetView = client.ask(Method::Get, "/v1/fleet")?;
            show.print(&fleet, print::fleet)
        }
        FleetVerb::Invite { witness } => {
            let made: InvitationView =
                client.send_json("/v1/fleet/invitations", &Invite { witness })?;
            show.print(&made, print::invitation)
        }
        FleetVerb::Invitations => {
            let all: Vec<OpenInvitationView> = client.ask(Method::Get, "/v1/fleet/invitations")?;
            show.print(&all, |all| print::invitations(all))
        }
        FleetVerb::Revoke { id } => {
            client.tell(Method::Delete, &format!("/v1/fleet/invitations/{}", escaped(&id)))?;
            let revoked = serde_json::json!({ "revoked": id });
            show.print(&revoked, |_| format!("nobody can join with {id} any more\n"))
        }
        FleetVerb::Rebalance(args) => balance::rebalance(client, show, &args),
        FleetVerb::Drain { name, plan: true, .. } => balance::drain_plan(client, show, &name),
        FleetVerb::Drain { name, plan: false, stop, wait } => {
            drain(client, show, &name, Draining::of(stop, wait))
        }
        FleetVerb::Remove { name, dead, yes } => {
            remove(client, show, &name, Removing::of(dead, yes))
        }
        FleetVerb::Labels { name, labels } => {
            let path = format!("/v1/fleet/members/{}/labels", escaped(&name));
            let labels = LabelsView { labels: labels.into_iter().collect() };
            let fleet: FleetView = client.send_json(&path, &labels)?;
            show.print(&fleet, print::fleet)
        }
        FleetVerb::Addresses => {
            let all: Vec<AddressView> = client.ask(Method::Get, "/v1/addresses")?;
            show.print(&all, |all| print::addresses(all))
        }
        FleetVerb::MoveAddress { address, to } => {
            let path = format!("/v1/addresses/{}/move", escaped(&address));
            let moved: AddressView = client.send_json(&path, &AddressMove { to })?;
            show.print(&moved, |moved| print::addresses(std::slice::from_ref(moved)))
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let pair = pair.ok_or_else(|| format!("{text:?} is not of the form KEY=VALUE"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// What is to be done about a drain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draining {
    Stop,
    Start(Wait),
}

impl Draining {
    fn of(stop: bool, wait: bool) -> Self {
        match (stop, wait) {
            (true, _) => Self::Stop,
            (false, true) => Self::Start(Wait::Until),
            (false, false) => Self::Start(Wait::No),
        }
    }
}

fn drain(client: &Client, show: Show, name: &str, what: Draining) -> Result<ExitCode, String> {
    let path = format!("/v1/fleet/members/{}/drain", escaped(name));
    let mut view: DrainView = match what {
        Draining::Stop => client.ask(Method::Delete, &path)?,
        Draining::Start(_) => client.ask(Method::Post, &path)?,
    };
    if what == Draining::Start(Wait::Until) {
        let bar = match show.json {
            true => indicatif::ProgressBar::hidden(),
            false => print::drain_progress(),
        };
        while !view.done {
            print::drain_step(&bar, &view);
            wait_a_moment(DRAIN_LOOK);
            view = client.ask(Method::Get, &path)?;
            if !view.draining {
                bar.finish_and_clear();
                return Err(format!("the drain of {name} was stopped"));
            }
        }
        bar.finish_and_clear();
    }
    show.print(&view, print::drain)
}

/// How an appliance is to leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removing {
    Planned,
    Dead(Sure),
}

/// Whether what it alone has may be lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    Yes,
    No,
}

impl Removing {
    fn of(dead: bool, yes: bool) -> Self {
        match (dead, yes) {
            (false, _) => Self::Planned,
            (true, true) => Self::Dead(Sure::Yes),
            (true, false) => Self::Dead(Sure::No),
        }
    }
}

fn remove(client: &Client, show: Show, name: &str, how: Removing) -> Result<ExitCode, String> {
    let member = format!("/v1/fleet/members/{}", escaped(name));
    let path = match how {
        Removing::Planned => member,
        Removing::Dead(sure) => {
            let means: RemovalView = client.ask(Method::Get, &format!("{member}/removal"))?;
            let loses = means.files_alone > 0 || !means.unknown.is_empty();
            if sure == Sure::No && loses {
                show.print(&means, print::removal)?;
                return Err(format!(
                    "{name} was not removed: say --yes if that may be lost, or bring it back"
                ));
            }
            format!("{member}?how=dead")
        }
    };
    let removed: RemovalView = client.ask(Method::Delete, &path)?;
    show.print(&removed, |removed| {
        format!("{}{name} is removed, for ever\n", print::removal(removed))
    })
}

pub fn wait_a_moment(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a person waits at the terminal")]
    std::thread::sleep(time);
}

/// Joins, and waits until the appliance has come back as one of the fleet.
pub fn join(client: &Client, show: Show, wanted: &Join) -> Result<ExitCode, String> {
    let before: StatusView = client.ask(Method::Get, "/v1/status")?;
    client.tell_json("/v1/fleet/join", wanted)?;
    let mut waited = Duration::ZERO;
    loop {
        wait_a_moment(JOIN_LOOK);
        waited += JOIN_LOOK;
        // It starts anew meanwhile: nobody answers, or one that has not heard of the others yet.
        let fleet: Result<FleetView, String> = client.ask(Method::Get, "/v1/fleet");
        match fleet {
            Ok(fleet) if is_of(&fleet, &before.appliance) => {
                return show.print(&fleet, |fleet| {
                    format!("this appliance is of the fleet now\n\n{}", print::fleet(fleet))
                });
            }
            last if waited >= JOIN_WAIT => {
                let why = last.err().unwrap_or_else(|| "it has not heard of the others".to_owned());
                return Err(format!(
                    "admitted, but this appliance has not come back as one of the fleet: {why}. \
                     Look at its log, and at `holdfast fleet status` on the others"
                ));
            }
            _ => {}
        }
    }
}

/// Whether the appliance is up in a fleet of several.
fn is_of(fleet: &FleetView, appliance: &str) -> bool {
    let up = fleet.members.iter().any(|member| member.appliance == appliance && member.up);
    up && fleet.members.len() > 1
}

pub fn job(client: &Client, show: Show, verb: JobVerb) -> Result<ExitCode, String> {
    match verb {
        JobVerb::List => {
            let jobs: Vec<JobView> = client.ask(Method::Get, "/v1/jobs")?;
            show.print(&jobs, |jobs| print::jobs(jobs))
        }
        JobVerb::Show { id } => {
            let job: JobView = client.ask(Method::Get, &job_path(&id))?;
            show.print(&job, |job| print::jobs(std::slice::from_ref(job)))
        }
        JobVerb::Wait { id } => {
            let job: JobView = client.ask(Method::Get, &job_path(&id))?;
            wait_for(client, show, job)
        }
        JobVerb::Cancel { id } => {
            let job: JobView = client.ask(Method::Delete, &job_path(&id))?;
            show.print(&job, |job| print::jobs(std::slice::from_ref(job)))
        }
    }
}

/// Whether to wait for what was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Until,
    No,
}

pub fn transfer(
    client: &Client,
    show: Show,
    wanted: &Transfer,
    wait: Wait,
) -> Result<ExitCode, String> {
    let job: JobView = client.send_json("/v1/objects/transfer", wanted)?;
    match wait {
        Wait::Until => wait_for(client, show, job),
        Wait::No => show.print(&job, |job| print::jobs(std::slice::from_ref(job))),
    }
}

pub fn whereis(client: &Client, show: Show, path: &str) -> Result<ExitCode, String> {
    let path = format!("/v1/objects/whereis?path={}", escaped(path));
    let found: WhereView = client.ask(Method::Get, &path)?;
    show.print(&found, print::whereis)
}

fn job_path(id: &str) -> String {
    format!("/v1/jobs/{}", escaped(id))
}

/// Waits until a job has ended, with a progress bar for people.
fn wait_for(client: &Client, show: Show, mut job: JobView) -> Result<ExitCode, String> {
    let bar = match show.json {
        true => indicatif::ProgressBar::hidden(),
        false => print::progress(&job),
    };
    let path = job_path(&job.id);
    while !job.ended {
        wait_a_moment(JOB_LOOK);
        let subject = job.subject;
        job = client.ask(Method::Get, &path)?;
        job.subject = subject;
        bar.set_length(job.bytes_total);
        bar.set_position(job.bytes_done);
    }
    bar.finish_and_clear();
    let succeeded = job.succeeded;
    show.print(&job, |job| print::jobs(std::slice::from_ref(job)))?;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How often a job is looked at.
const JOB_LOOK: Duration = Duration::from_millis(100);
const JOIN_LOOK: Duration = Duration::from_millis(200);
/// An appliance starts within seconds; its volumes' catalogs come afterwards.
const JOIN_WAIT: Duration = Duration::from_secs(60);
/// Each look counts what is left.
const DRAIN_LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
