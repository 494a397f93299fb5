//! Drains and rebalances before and while they move files, as the operator sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use admin::{
    BalancedDiskView, DrainPartView, DrainPlanView, FlowView, PaceView, Problem, RebalancePlanView,
    RebalanceRunView, RebalanceView,
};
use model::{ApplianceId, VolumeId};
use ownership::balance::{
    ASSUMED, BalanceSettings, Disk, Facts, Flow, Hindrance, LeavePart, Plan, Speed, WHOLE,
};
use ownership::{Fleet, FleetRefusal};
use router::{OperatorRefusal, RunPhase, RunReport, WeighedFleet};

use super::fleet::number;
use super::{FleetOperator, problem};
use crate::utc;

impl FleetOperator {
    pub(super) async fn drain_plan_view(&self, name: &str) -> Result<DrainPlanView, Problem> {
        let appliance = self.named(name)?;
        let plan = self.router.drain_plan(appliance).await;
        let fleet = self.router.fleet_now();
        let part = |part: &LeavePart| DrainPartView {
            volume: volume_name(&fleet, part.volume),
            to: self.name_of(part.to),
            handed_files: part.handed_files,
            handed_bytes: part.handed_bytes,
            copied_files: part.copied_files,
            copied_bytes: part.copied_bytes,
        };
        let (files, bytes) = plan.leave.sum();
        let mut obstacles: Vec<String> =
            plan.leave.hindrances.iter().map(|h| self.hindrance(&fleet, appliance, h)).collect();
        if fleet.members().len() <= 1 {
            let only = problem(OperatorRefusal::Fleet(FleetRefusal::LastAppliance(appliance)));
            obstacles.insert(0, only.detail);
        }
        let left = fleet.members().iter().filter(|m| m.id != appliance && m.up).count();
        if fleet.members().len() > 1 && 2 * left < fleet.members().len() {
            obstacles.push("too few of the other appliances are up to decide anything".to_owned());
        }
        Ok(DrainPlanView {
            name: self.name_of(appliance),
            parts: plan.leave.parts.iter().map(part).collect(),
            files,
            bytes,
            seconds: seconds(plan.time),
            pace: pace(plan.speed),
            obstacles,
        })
    }

    fn hindrance(&self, fleet: &Fleet, who: ApplianceId, what: &Hindrance) -> String {
        let who = self.name_of(who);
        match *what {
            Hindrance::Down => {
                format!("{who} is down: what it alone has can't be moved before it is back")
            }
            Hindrance::NobodyElse(volume) => {
                let volume = volume_name(fleet, volume);
                format!(
                    "nobody else who is up can hold {volume}: it stays until another can \
                     (`holdfast volume members {volume} --on NAMES`)"
                )
            }
            Hindrance::NoQuorum(volume) => format!(
                "too few of the others who hold {} are up: it can't decide anything then",
                volume_name(fleet, volume)
            ),
            Hindrance::FewerCopies { volume, wanted, left } => format!(
                "files of {} would have {left} copies, and {wanted} are wanted",
                volume_name(fleet, volume)
            ),
            Hindrance::NoRoom { to, needs, has } => {
                let (to, needs, has) = (self.name_of(to), bytes(needs), bytes(has));
                format!("{to} would get {needs}, and can take {has} at most")
            }
            Hindrance::Unheard(other) => {
                let other = self.name_of(other);
                format!("{other} can't be asked what it owns: there may be more to copy")
            }
        }
    }

    pub(super) async fn rebalance_view(&self) -> Result<RebalanceView, Problem> {
        let now = self.router.rebalance_now().await;
        let moving = now.run.as_ref().is_some_and(|run| !run.phase.is_over());
        let plan = match moving {
            true => None,
            false => {
                let (weighed, plan) = self.router.plan_rebalance().await;
                Some(self.plan_view(&weighed, &plan))
            }
        };
        Ok(RebalanceView {
            run: now.run.map(|run| self.run_view(&run)),
            plan,
            unheard: now.unheard.iter().map(|id| self.name_of(*id)).collect(),
        })
    }

    pub(super) async fn start_rebalance(&self) -> Result<RebalanceView, Problem> {
        let run = self.router.begin_rebalance().await.map_err(problem)?;
        Ok(RebalanceView { run: Some(self.run_view(&run)), plan: None, unheard: Vec::new() })
    }

    pub(super) async fn end_rebalance(&self) -> Result<RebalanceView, Problem> {
        let run = self.router.cancel_rebalance().await.map_err(problem)?;
        Ok(RebalanceView { run: Some(self.run_view(&run)), plan: None, unheard: Vec::new() })
    }

    fn plan_view(&self, weighed: &WeighedFleet, plan: &Plan) -> RebalancePlanView {
        let after = |id| plan.after.disks.iter().find(|disk| disk.appliance == id);
        let disk = |disk: &Disk| BalancedDiskView {
            appliance: self.name_of(disk.appliance),
            state: match (disk.up, disk.draining) {
                (false, _) => "down".to_owned(),
                (true, true) => "draining".to_owned(),
                (true, false) => "up".to_owned(),
            },
            total_bytes: disk.total,
            used_bytes: disk.used(),
            used_bytes_after: after(disk.appliance).map_or(disk.used(), Disk::used),
        };
        let (files, bytes) = plan.sum();
        let (time, speed) = time_of(weighed, &plan.flows);
        RebalancePlanView {
            balanced: plan.flows.is_empty(),
            tolerance_percent: BalanceSettings::default().tolerance * 100 / WHOLE,
            disks: weighed.facts.disks.iter().map(disk).collect(),
            flows: plan.flows.iter().map(|flow| self.flow_view(flow)).collect(),
            files,
            bytes,
            seconds: seconds(time),
            pace: pace(speed),
            obstacles: self.uneven(&plan.after),
        }
    }

    /// What keeps disks from being more even.
    fn uneven(&self, facts: &Facts) -> Vec<String> {
        let mut all = Vec::new();
        for disk in facts.disks.iter().filter(|disk| !disk.takes()) {
            let name = self.name_of(disk.appliance);
            all.push(match disk.up {
                true => format!("{name} is draining: it gives by itself, and takes nothing"),
                false => format!("{name} is down: it neither gives nor takes"),
            });
        }
        let takers = || facts.disks.iter().filter(|disk| disk.takes());
        let least = takers().map(Disk::share).min().unwrap_or_default();
        let tolerance = BalanceSettings::default().tolerance;
        for disk in takers().filter(|disk| disk.share() > least + tolerance) {
            all.push(format!(
                "{} stays fuller than others: what it has is pinned, or too large, or its volumes \
                 are not held by those with room, or they have a copy already",
                self.name_of(disk.appliance)
            ));
        }
        all
    }

    fn flow_view(&self, flow: &Flow) -> FlowView {
        FlowView {
            volume: volume_name(&self.router.fleet_now(), flow.volume),
            from: self.name_of(flow.from),
            to: self.name_of(flow.to),
            files: flow.files,
            bytes: flow.bytes,
        }
    }

    fn run_view(&self, run: &RunReport) -> RebalanceRunView {
        let done = run.done;
        let bytes_done = done.bytes.saturating_add(done.under_way);
        let rate = match run.moving_ms {
            0 => 0,
            ms => {
                let rate = u128::from(bytes_done) * 1000 / u128::from(ms);
                u64::try_from(rate).unwrap_or(u64::MAX)
            }
        };
        let left = run.bytes_planned.saturating_sub(bytes_done);
        RebalanceRunView {
            id: format!("{}-{:x}", number(run.id.at), run.id.began.as_nanos()),
            at: self.name_of(run.id.at),
            began: utc::rfc3339(run.id.began),
            phase: phase(run.phase).to_owned(),
            ended: run.phase.is_over(),
            succeeded: run.phase == RunPhase::Done,
            flows: run.flows.iter().map(|flow| self.flow_view(flow)).collect(),
            files_total: run.files_planned.max(done.files),
            files_done: done.files,
            files_kept: done.kept,
            bytes_total: run.bytes_planned.max(done.bytes),
            bytes_done: bytes_done.min(run.bytes_planned.max(done.bytes)),
            bytes_per_second: rate,
            seconds_left: match (run.phase, rate) {
                (RunPhase::Moving, 0) => None,
                (RunPhase::Moving, rate) => Some(left / rate),
                _ => Some(0),
            },
            outcome: outcome(run),
        }
    }
}

/// How long the slowest of those who send something takes, and how fast that one is.
fn time_of(weighed: &WeighedFleet, flows: &[Flow]) -> (Duration, Speed) {
    let mut of: BTreeMap<ApplianceId, (u64, u64)> = BTreeMap::new();
    for flow in flows {
        let sum = of.entry(flow.by).or_default();
        *sum = (sum.0.saturating_add(flow.files), sum.1.saturating_add(flow.bytes));
    }
    let times = of.into_iter().map(|(by, (files, bytes))| {
        let speed = weighed.speed_of(by);
        (speed.time_of(files, bytes), speed)
    });
    times.max_by_key(|(time, _)| *time).unwrap_or((Duration::ZERO, ASSUMED))
}

fn outcome(run: &RunReport) -> String {
    let (files, kept) = (run.done.files, run.done.kept);
    match run.phase {
        RunPhase::Moving => "files are being moved".to_owned(),
        RunPhase::Settling => "all is moved; what it leaves behind is being removed".to_owned(),
        RunPhase::Done if files == 0 => "the disks are evenly full already".to_owned(),
        RunPhase::Done => format!("{files} files were moved: the disks are evenly full"),
        RunPhase::Cancelled => format!("cancelled; {files} files were moved before, and stay so"),
        RunPhase::Stuck => {
            format!("{files} files were moved, and {kept} could not be: see the log, and try again")
        }
    }
}

fn phase(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Moving => "moving",
        RunPhase::Settling => "settling",
        RunPhase::Done => "done",
        RunPhase::Cancelled => "cancelled",
        RunPhase::Stuck => "stuck",
    }
}

fn pace(speed: Speed) -> PaceView {
    let Speed { bytes_per_second, micros_per_file, measured } = speed;
    PaceView { bytes_per_second, micros_per_file, measured }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn bytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn volume_name(fleet: &Fleet, id: VolumeId) -> String {
    let info = fleet.volumes().iter().find(|info| info.id == id);
    info.map_or_else(|| id.to_string(), |info| info.name.clone())
}
