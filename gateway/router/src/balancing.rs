//! Sees a rebalance through: makes a plan, has the owners carry it out, and makes another one until
//! there is nothing more to do.
//!
//! Invariant: a plan is kept in memory alone; what is kept over a restart is that a rebalance is
//! under way, and then another plan is made. One rebalance at a time: whoever carries one refuses
//! another. Absent on purpose: moving files, and the arithmetic of plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::ApplianceId;
use ownership::MemberKind;
use ownership::balance::{BalanceSettings, Flow, Pace, Plan, Speed, plan, sum};
use parking_lot::Mutex;

use crate::carrying::Part;
use crate::happening::{Happening, Here};
use crate::operator::OperatorRefusal;
use crate::router::Router;
use crate::weighing::WeighedFleet;
use crate::wire::balance::{
    BalanceAsk, BalanceTold, PartReport, RunId, RunPhase, RunReport, Tally,
};
use crate::wire::{Reply, Request};

/// What this appliance knows of rebalances.
#[derive(Default)]
pub(crate) struct Balancing {
    /// Held while catalogs are walked.
    pub(crate) weighing: tokio::sync::Mutex<()>,
    /// What it does for one, or did for the last one.
    pub(crate) part: Mutex<Option<Arc<Part>>>,
    /// The one that it sees through, or the last one.
    run: Mutex<Option<Arc<Run>>>,
    /// Held while one is begun.
    beginning: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

/// Remembers over restarts that this appliance sees a rebalance through.
pub trait RunKeeper: Send + Sync {
    /// What was kept. What can't be read is not there, and the log says so.
    fn load(&self) -> Option<RunId>;

    /// Keeps it. What can't be kept is not, and the log says so.
    fn keep(&self, run: &RunId);

    /// It is over.
    fn forget(&self);
}

/// Remembers nothing, as a lone appliance never needs to.
pub(crate) struct Forgotten;

impl RunKeeper for Forgotten {
    fn load(&self) -> Option<RunId> {
        None
    }

    fn keep(&self, _: &RunId) {}

    fn forget(&self) {}
}

/// A rebalance that this appliance sees through.
struct Run {
    report: Mutex<RunReport>,
    cancelled: AtomicBool,
}

/// What the fleet says of a rebalance.
#[derive(Clone, Debug, Default)]
pub struct RebalanceNow {
    /// The one that is under way, or the last one that is remembered.
    pub run: Option<RunReport>,
    /// Appliances that did not answer.
    pub unheard: Vec<ApplianceId>,
}

impl Balancing {
    pub(crate) fn note_pace(&self, bytes: u64, took: Duration) {
        // What was promoted moved nothing.
        if bytes > 0 {
            self.pace.lock().note(bytes, took);
        }
    }

    pub(crate) fn speed(&self) -> Speed {
        self.pace.lock().speed()
    }

    /// Whether a rebalance is under way that takes files from there.
    pub(crate) fn takes_from(&self, now: Duration, appliance: ApplianceId) -> bool {
        let part = self.part.lock();
        part.as_ref().is_some_and(|part| part.takes_from(now, appliance))
    }
}

impl Run {
    fn new(id: RunId) -> Self {
        let report = RunReport {
            id,
            phase: RunPhase::Moving,
            flows: Vec::new(),
            files_planned: 0,
            bytes_planned: 0,
            done: Tally::default(),
            moving_ms: 0,
        };
        Self { report: Mutex::new(report), cancelled: AtomicBool::new(false) }
    }

    fn report(&self) -> RunReport {
        self.report.lock().clone()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// More is planned, beyond what is done.
    fn plan(&self, flows: &[Flow]) {
        let (files, bytes) = sum(flows);
        let mut report = self.report.lock();
        report.flows = flows.to_vec();
        report.files_planned = report.done.files.saturating_add(files);
        report.bytes_planned = report.done.bytes.saturating_add(bytes);
    }
}

impl<S: Imaging> Router<S> {
    /// What would be moved now. Changes nothing.
    pub async fn plan_rebalance(self: &Arc<Self>) -> (WeighedFleet, Plan) {
        let weighed = self.weigh_fleet().await;
        let planned = tokio::task::spawn_blocking(move || {
            let plan = plan(&weighed.facts, BalanceSettings::default());
            (weighed, plan)
        });
        planned.await.unwrap_or_default()
    }

    /// Begins a rebalance; with nothing to do it is over at once.
    ///
    /// # Errors
    /// If one is under way.
    pub async fn begin_rebalance(self: &Arc<Self>) -> Result<RunReport, OperatorRefusal> {
        let _one = self.balancing.beginning.lock().await;
        if let Some(run) = self.rebalance_now().await.run.filter(|run| !run.phase.is_over()) {
            return Err(OperatorRefusal::Rebalancing(self.name_of(run.id.at)));
        }
        let (_, plan) = self.plan_rebalance().await;
        let id = RunId { at: self.parts.appliance, began: self.parts.clock.wall() };
        let run = Arc::new(Run::new(id));
        run.plan(&plan.flows);
        if plan.flows.is_empty() {
            run.report.lock().phase = RunPhase::Done;
        }
        let report = run.report();
        *self.balancing.run.lock() = Some(run.clone());
        if !plan.flows.is_empty() {
            self.parts.reach.runs.keep(&id);
            tokio::spawn(see_through(Arc::downgrade(self), run, plan.flows));
        }
        Ok(report)
    }

    /// How a rebalance is going, wherever it was begun.
    pub async fn rebalance_now(self: &Arc<Self>) -> RebalanceNow {
        let told = self.ask_everybody(&BalanceAsk::State).await;
        let (mut runs, mut parts, mut unheard) = (Vec::new(), Vec::new(), Vec::new());
        for (appliance, told) in told {
            match told {
                Some(BalanceTold::State { run, part }) => {
                    runs.extend(run);
                    parts.extend(part);
                }
                Some(_) | None => unheard.push(appliance),
            }
        }
        RebalanceNow { run: newest(runs, &parts), unheard }
    }

    /// Ends the rebalance that is under way, and waits a moment until it has.
    ///
    /// # Errors
    /// If there is none.
    pub async fn cancel_rebalance(self: &Arc<Self>) -> Result<RunReport, OperatorRefusal> {
        let now = self.rebalance_now().await.run.filter(|run| !run.phase.is_over());
        let mut last = now.ok_or(OperatorRefusal::NoRebalance)?;
        self.ask_everybody(&BalanceAsk::Cancel).await;
        for _ in 0..CANCEL_LOOKS {
            match self.rebalance_now().await.run {
                Some(run) if run.phase.is_over() => return Ok(run),
                Some(run) => last = run,
                // Those who carried it have ended.
                None => return Ok(RunReport { phase: RunPhase::Cancelled, ..last }),
            }
            tokio::time::sleep(CANCEL_LOOK).await;
        }
        Ok(last)
    }

    pub(crate) async fn asked_about_balance(self: &Arc<Self>, ask: BalanceAsk) -> BalanceTold {
        match ask {
            BalanceAsk::Weigh => {
                self.weigh_here().await.map_or(BalanceTold::Fault, BalanceTold::Weighed)
            }
            BalanceAsk::Carry { run, flows } => self.carry(run, flows),
            BalanceAsk::State => {
                let run = self.balancing.run.lock().as_ref().map(|run| run.report());
                let part = self.balancing.part.lock().as_ref().map(|part| {
                    part.heard(self.parts.clock.since_boot());
                    part.report()
                });
                BalanceTold::State { run, part }
            }
            BalanceAsk::Cancel => {
                if let Some(run) = self.balancing.run.lock().as_ref() {
                    run.cancelled.store(true, Ordering::Release);
                }
                if let Some(part) = self.balancing.part.lock().as_ref() {
                    part.cancel();
                }
                BalanceTold::Done
            }
        }
    }

    /// Asks each appliance that is up and holds data.
    async fn ask_everybody(
        self: &Arc<Self>,
        ask: &BalanceAsk,
    ) -> Vec<(ApplianceId, Option<BalanceTold>)> {
        let (fleet, me) = (self.fleet_now(), self.parts.appliance);
        let full = fleet.members().iter().filter(|member| member.kind == MemberKind::Full);
        let asked = full.filter(|member| member.up || member.id == me);
        let ask_one = async |appliance| (appliance, self.ask_one(appliance, ask, ASK_WAIT).await);
        join_all(asked.map(|member| ask_one(member.id))).await
    }

    /// Asks an appliance, which may be this one; none if it did not answer in time.
    pub(crate) async fn ask_one(
        self: &Arc<Self>,
        appliance: ApplianceId,
        ask: &BalanceAsk,
        wait: Duration,
    ) -> Option<BalanceTold> {
        if appliance == self.parts.appliance {
            return Some(self.asked_about_balance(ask.clone()).await);
        }
        let request = Request::Balance(Box::new(ask.clone()));
        match self.ask_peer(appliance, &request, Bytes::new(), wait).await {
            Ok((Reply::Balance(told), _)) => Some(*told),
            _ => None,
        }
    }

    /// Has the owners carry out one plan, and waits until they have; what was moved.
    async fn run_round(self: &Arc<Self>, run: &Run, flows: &[Flow]) -> Tally {
        let RunReport { id, done: before, moving_ms: moved_for, .. } = run.report();
        let carry = BalanceAsk::Carry { run: id, flows: flows.to_vec() };
        let took = self.ask_everybody(&carry).await;
        let carries = |a: &ApplianceId| flows.iter().any(|flow| flow.by == *a);
        let took = took.into_iter().filter(|(_, told)| *told == Some(BalanceTold::Done));
        let mut open: BTreeSet<ApplianceId> = took.map(|(a, _)| a).filter(carries).collect();
        let mut tallies: BTreeMap<ApplianceId, Tally> = BTreeMap::new();
        let mut unheard: BTreeMap<ApplianceId, Duration> = BTreeMap::new();
        let began = self.parts.clock.since_boot();
        let mut cancelled_at = None;
        while !open.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.parts.clock.since_boot();
            if run.is_cancelled() {
                self.ask_everybody(&BalanceAsk::Cancel).await;
                if now.saturating_sub(*cancelled_at.get_or_insert(now)) > CANCELLED_WITHIN {
                    break;
                }
            }
            let mut heard = BTreeSet::new();
            for (appliance, told) in self.ask_everybody(&BalanceAsk::State).await {
                let Some(told) = told else { continue };
                heard.insert(appliance);
                let part = match told {
                    BalanceTold::State { part, .. } => part.filter(|part| part.run == id),
                    _ => None,
                };
                match part {
                    Some(part) if open.contains(&appliance) => {
                        tallies.insert(appliance, part.done);
                        if part.ended {
                            open.remove(&appliance);
                        }
                    }
                    Some(_) => {}
                    // It was started anew, and remembers nothing: the next plan goes on.
                    None => drop(open.remove(&appliance)),
                }
            }
            unheard.retain(|appliance, _| !heard.contains(appliance));
            open.retain(|appliance| {
                let since = match heard.contains(appliance) {
                    true => now,
                    false => *unheard.entry(*appliance).or_insert(now),
                };
                now.saturating_sub(since) <= LOST_AFTER
            });
            let sum = add_all(Tally::default(), tallies.values());
            let mut report = run.report.lock();
            report.done = add_all(before, [&sum]);
            let ms = now.saturating_sub(began).as_millis();
            report.moving_ms = moved_for.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX));
        }
        let mut report = run.report.lock();
        report.done.under_way = 0;
        add_all(Tally::default(), tallies.values())
    }

    /// Waits until what was moved away is removed, so that the disks show it.
    async fn settle_disks(self: &Arc<Self>, run: &Run) {
        run.report.lock().phase = RunPhase::Settling;
        let began = self.parts.clock.since_boot();
        let since = || self.parts.clock.since_boot().saturating_sub(began);
        while since() < SETTLED_WITHIN && !run.is_cancelled() {
            let before = since();
            let going = self.weigh_fleet().await.facts.disks.iter().any(|disk| disk.going > 0);
            if !going {
                return;
            }
            // A look may take long in itself.
            let looked = since().saturating_sub(before);
            tokio::time::sleep(SETTLE_LOOK.max(looked * 4)).await;
        }
    }

    fn end_rebalance(self: &Arc<Self>, run: &Run, phase: RunPhase) {
        let report = {
            let mut report = run.report.lock();
            report.phase = phase;
            report.clone()
        };
        self.parts.reach.runs.forget();
        let Tally { files, bytes, kept, .. } = report.done;
        tracing::info!(?phase, files, bytes, kept, "a rebalance is over");
        match phase {
            RunPhase::Done if files > 0 => self.tell(Happening::Here(Here::Rebalanced)),
            RunPhase::Stuck => self.tell(Happening::Here(Here::RebalanceStuck)),
            RunPhase::Done | RunPhase::Cancelled | RunPhase::Moving | RunPhase::Settling => {}
        }
    }
}

/// Carries out plans until nothing is left to be done, or nothing can be done.
async fn see_through<S: Imaging>(router: Weak<Router<S>>, run: Arc<Run>, flows: Vec<Flow>) {
    let Some(router) = router.upgrade() else { return };
    let mut flows = flows;
    let mut rounds = 0;
    let phase = loop {
        if flows.is_empty() {
            router.settle_disks(&run).await;
            break if run.is_cancelled() { RunPhase::Cancelled } else { RunPhase::Done };
        }
        if rounds >= ROUNDS_MAX {
            break RunPhase::Stuck;
        }
        rounds += 1;
        let moved = router.run_round(&run, &flows).await;
        if run.is_cancelled() {
            break RunPhase::Cancelled;
        }
        let (_, plan) = router.plan_rebalance().await;
        if moved.files == 0 && !plan.flows.is_empty() {
            break RunPhase::Stuck;
        }
        run.plan(&plan.flows);
        if !plan.flows.is_empty() {
            tracing::info!(flows = plan.flows.len(), "a rebalance goes on with another plan");
        }
        flows = plan.flows;
    };
    // Nothing is to be held back any more.
    let id = run.report().id;
    router.ask_everybody(&BalanceAsk::Carry { run: id, flows: Vec::new() }).await;
    router.end_rebalance(&run, phase);
}

/// Goes on with the rebalance that this appliance saw through before it was started anew.
pub(crate) async fn resume_rebalance<S: Imaging>(router: Weak<Router<S>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(router) = router.upgrade() else { return };
        let known = router.fleet_now().member(router.parts.appliance).is_some_and(|m| m.up);
        if !known || !router.has_lease() {
            continue;
        }
        let Some(id) = router.parts.reach.runs.load() else { return };
        let _one = router.balancing.beginning.lock().await;
        let mine = id.at == router.parts.appliance && !router.lease.is_for_ever();
        if !mine || router.balancing.run.lock().is_some() {
            return router.parts.reach.runs.forget();
        }
        tracing::info!("a rebalance was under way: it goes on with a new plan");
        let run = Arc::new(Run::new(id));
        *router.balancing.run.lock() = Some(run.clone());
        let (_, plan) = router.plan_rebalance().await;
        run.plan(&plan.flows);
        tokio::spawn(see_through(Arc::downgrade(&router), run, plan.flows));
        return;
    }
}

/// The rebalance that is under way, or else the last one. One whose beginner does not answer is
/// known by those who carry it.
fn newest(runs: Vec<RunReport>, parts: &[PartReport]) -> Option<RunReport> {
    let orphan =
        parts.iter().find(|part| !part.ended && !runs.iter().any(|run| run.id == part.run));
    let of_parts = orphan.map(|orphan| {
        let of = parts.iter().filter(|part| part.run == orphan.run).map(|part| &part.done);
        RunReport { done: add_all(Tally::default(), of), ..Run::new(orphan.run).report() }
    });
    let under_way = |run: &RunReport| !run.phase.is_over();
    let all = runs.into_iter().chain(of_parts);
    all.max_by_key(|run| (under_way(run), run.id.began, run.id.at))
}

fn add_all<'a>(to: Tally, all: impl IntoIterator<Item = &'a Tally>) -> Tally {
    let add = |sum: Tally, more: &Tally| Tally {
        files: sum.files.saturating_add(more.files),
        bytes: sum.bytes.saturating_add(more.bytes),
        kept: sum.kept.saturating_add(more.kept),
        under_way: sum.under_way.saturating_add(more.under_way),
    };
    all.into_iter().fold(Tally { under_way: 0, ..to }, add)
}

/// Of files that are written all the time there is always another plan.
const ROUNDS_MAX: u32 = 16;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ASK_WAIT: Duration = Duration::from_secs(3);
/// An appliance that is gone for longer does what it did no more.
const LOST_AFTER: Duration = Duration::from_secs(20);
const CANCELLED_WITHIN: Duration = Duration::from_secs(20);
const CANCEL_LOOKS: u32 = 40;
const CANCEL_LOOK: Duration = Duration::from_millis(250);
/// An old copy is dropped half a minute after its file went, and removed a moment later.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
const SETTLE_LOOK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn report(began: u64, phase: RunPhase) -> RunReport {
        let at = ApplianceId::new(1);
        let id = RunId { at, began: Timestamp::from_nanos(began) };
        RunReport { phase, ..Run::new(id).report() }
    }

    #[test]
    fn what_is_under_way_is_told_before_what_was_later_and_is_over() {
        let told = newest(vec![report(1, RunPhase::Moving), report(2, RunPhase::Done)], &[]);
        assert_eq!(told.map(|run| run.phase), Some(RunPhase::Moving));
        let told = newest(vec![report(1, RunPhase::Stuck), report(2, RunPhase::Done)], &[]);
        assert_eq!(told.map(|run| run.phase), Some(RunPhase::Done));
        assert_eq!(newest(vec![], &[]), None);
    }

    #[test]
    fn one_whose_beginner_is_gone_is_known_by_those_who_carry_it() {
        let run = report(1, RunPhase::Moving).id;
        let done = Tally { files: 2, bytes: 10, ..Tally::default() };
        let parts = [false, true].map(|ended| PartReport { run, done, ended });
        let told = newest(vec![], &parts).unwrap();
        assert_eq!((told.id, told.done.files, told.done.bytes), (run, 4, 20));
        assert_eq!(newest(vec![], &parts[1..]), None, "it is over");
    }
}
