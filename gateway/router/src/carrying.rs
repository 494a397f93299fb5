//! What an appliance does for a rebalance: it sends files that it owns where the plan says.
//!
//! Invariant: a file has at no moment fewer good copies than before; a copy is given up only by the
//! file's owner, once another one is good. What is asked for by others goes first, and a few files
//! at a time. Absent on purpose: deciding what goes where, and remembering it over a restart;
//! whoever sees the rebalance through makes another plan.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use catalog::{Command, Imaging};
use futures_util::stream::{self, StreamExt};
use model::{ApplianceId, ObjectId, Refusal, VolumeId};
use ownership::balance::{FLOWS_MAX, Flow};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::local::Local;
use crate::router::Router;
use crate::transfers::Job;
use crate::weighing::holders;
use crate::wire::balance::{BalanceTold, PartReport, RunId, Tally};
use crate::wire::{Reply, Request, TransferCause, TransferPhase};

/// What this appliance does for one plan.
pub(crate) struct Part {
    run: RunId,
    flows: Vec<Flow>,
    done: Mutex<Tally>,
    under_way: Mutex<Vec<Arc<Job>>>,
    /// When somebody asked about it last, since boot: it is part of something that goes on.
    heard_at: Mutex<Duration>,
    cancelled: AtomicBool,
    cancel: Notify,
    ended: AtomicBool,
}

/// Which files are looked for in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// About as large as was planned, and not in use.
    Fitting,
    /// Not in use.
    Cold,
    /// All.
    Any,
}

/// Files to be sent next, with what they take.
struct Picked {
    files: Vec<(ObjectId, u64)>,
    next: Option<ObjectId>,
}

impl Part {
    fn new(run: RunId, flows: Vec<Flow>, now: Duration) -> Self {
        Self {
            run,
            flows,
            done: Mutex::default(),
            under_way: Mutex::default(),
            heard_at: Mutex::new(now),
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn report(&self) -> PartReport {
        let under_way = self
            .under_way
            .lock()
            .iter()
            .fold(0_u64, |sum, job| sum.saturating_add(job.status().bytes_done));
        let done = Tally { under_way, ..*self.done.lock() };
        PartReport { run: self.run, done, ended: self.ended.load(Ordering::Acquire) }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.cancel.notify_waiters();
    }

    pub(crate) fn heard(&self, now: Duration) {
        *self.heard_at.lock() = now;
    }

    /// Whether the plan takes something away from there, and goes on.
    pub(crate) fn takes_from(&self, now: Duration, appliance: ApplianceId) -> bool {
        let goes_on = now.saturating_sub(*self.heard_at.lock()) < HEARD_WITHIN;
        goes_on && self.flows.iter().any(|flow| flow.from == appliance)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    async fn cancelled(&self) {
        loop {
            let told = self.cancel.notified();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }
}

impl<S: Imaging> Router<S> {
    /// Begins to see to the flows of a plan that are this appliance's.
    pub(crate) fn carry(self: &Arc<Self>, run: RunId, flows: Vec<Flow>) -> BalanceTold {
        if flows.len() > FLOWS_MAX {
            return BalanceTold::Fault;
        }
        let mut present = self.balancing.part.lock();
        if let Some(part) = present.as_ref().filter(|part| !part.ended.load(Ordering::Acquire)) {
            if part.run != run {
                return BalanceTold::Busy(part.run);
            }
            if part.flows == flows {
                return BalanceTold::Done;
            }
            // Another plan of the same run takes its place.
            part.cancel();
        }
        let part = Arc::new(Part::new(run, flows, self.parts.clock.since_boot()));
        *present = Some(part.clone());
        drop(present);
        let router = self.clone();
        tokio::spawn(async move {
            let mine = part.flows.iter().filter(|flow| flow.by == router.parts.appliance);
            for flow in mine {
                router.carry_flow(&part, flow).await;
            }
            part.ended.store(true, Ordering::Release);
        });
        BalanceTold::Done
    }

    async fn carry_flow(self: &Arc<Self>, part: &Arc<Part>, flow: &Flow) {
        let (mut left, mut tried) = (flow.bytes, HashSet::new());
        for pass in [Pass::Fitting, Pass::Cold, Pass::Any] {
            let mut after = ObjectId::ROOT;
            loop {
                if part.is_cancelled() || left == 0 || !self.may_go(flow) {
                    return;
                }
                let Some(picked) = self.pick(flow, (pass, after, left), &tried).await else {
                    return;
                };
                let bytes = picked.files.iter().map(|(_, bytes)| bytes).sum::<u64>();
                if bytes > 0 && self.room_of(flow.to).await <= bytes {
                    tracing::info!(to = %flow.to, "no room there: a rebalance goes on elsewhere");
                    return;
                }
                tried.extend(picked.files.iter().map(|(object, _)| *object));
                let sent = stream::iter(picked.files)
                    .map(|(object, bytes)| self.carry_file(part, flow, (object, bytes)))
                    .buffer_unordered(AT_ONCE);
                let sent = sent.fold(0_u64, async |sum, sent| sum.saturating_add(sent)).await;
                left = left.saturating_sub(sent);
                match picked.next {
                    Some(next) if tried.len() < TRIED_MAX => after = next,
                    Some(_) | None => break,
                }
            }
        }
    }

    /// Whether files may still go that way.
    fn may_go(&self, flow: &Flow) -> bool {
        let fleet = self.fleet_now();
        let stays = |a| fleet.member(a).is_some_and(|member| member.up && !member.draining);
        let members = fleet.volume_members(flow.volume);
        self.has_lease() && stays(flow.from) && stays(flow.to) && members.contains(&flow.to)
    }

    /// The next files that are to go that way. None if they can't be looked for.
    async fn pick(
        self: &Arc<Self>,
        flow: &Flow,
        (pass, after, left): (Pass, ObjectId, u64),
        tried: &HashSet<ObjectId>,
    ) -> Option<Picked> {
        let (router, local, flow) = (self.clone(), self.local(flow.volume).ok()?, *flow);
        let look = tokio::task::spawn_blocking(move || {
            let wanted = router.fleet_now().copies_wanted(local.id);
            let copies = local.catalog.copies_of(flow.from, after, LOOKED_AT_ONCE)?;
            let mut files = Vec::new();
            for (object, record) in copies.found {
                let (holders, _) = holders(&record, router.parts.appliance, wanted);
                let lies_so = holders.contains(&flow.from) && !holders.contains(&flow.to);
                let in_use = pass != Pass::Any && router.uses_of(local.id, object) > 0;
                if router.is_owner(&record)
                    && lies_so
                    && holders.len() >= wanted
                    && local.catalog.pin(object).is_none()
                    && !in_use
                    && !router.is_sending(local.id, object)
                {
                    files.push((object, local.objects.stored_bytes(object)));
                }
            }
            Ok::<_, catalog::CatalogFault>(Picked { files, next: copies.next })
        });
        let looked = look.await.ok()?.inspect_err(|fault| {
            tracing::error!(volume = %flow.volume, %fault, "files to move can't be looked for");
        });
        let mut picked = looked.ok()?;
        let least = match pass {
            Pass::Fitting => flow.bytes / flow.files.max(1) / FITTING_PART,
            Pass::Cold | Pass::Any => 0,
        };
        let mut left = left;
        picked.files.retain(|(object, bytes)| {
            let goes = *bytes > 0 && *bytes >= least && *bytes <= left && !tried.contains(object);
            left -= if goes { *bytes } else { 0 };
            goes
        });
        Some(picked)
    }

    /// Sends one file; how many bytes went.
    async fn carry_file(
        self: &Arc<Self>,
        part: &Arc<Part>,
        flow: &Flow,
        (object, bytes): (ObjectId, u64),
    ) -> u64 {
        // Whatever else is moved goes first.
        while self.transfers_under_way() > OTHERS_MAX && !part.is_cancelled() {
            tokio::time::sleep(OTHERS_LOOK).await;
        }
        if part.is_cancelled() {
            return 0;
        }
        let went = self.send_where_planned(part, flow, object).await;
        let mut done = part.done.lock();
        match went {
            Ok(()) => {
                done.files += 1;
                done.bytes = done.bytes.saturating_add(bytes);
                metrics::counter!(REBALANCED_FILES).increment(1);
                metrics::counter!(REBALANCED_BYTES).increment(bytes);
                bytes
            }
            Err(refusal) => {
                tracing::debug!(volume = %flow.volume, %object, %refusal, "not moved");
                done.kept += 1;
                0
            }
        }
    }

    async fn send_where_planned(
        self: &Arc<Self>,
        part: &Arc<Part>,
        flow: &Flow,
        object: ObjectId,
    ) -> Result<(), Refusal> {
        let Flow { volume, from, to, .. } = *flow;
        let me = self.parts.appliance;
        if self.fleet_now().copies_wanted(volume) <= 1 {
            let job = self.begin_transfer(volume, object, to, TransferCause::Rebalance)?;
            return follow_job(part, job).await;
        }
        if from != me {
            let job = self.begin_transfer(volume, object, to, TransferCause::Replace(from))?;
            return follow_job(part, job).await;
        }
        // An owner can't give up its own copy: one that has another owns the file first, which
        // costs a moment, and then has the copy made.
        let fleet = self.fleet_now();
        let inode = self.local(volume)?.inode(object)?;
        let others = inode.record().map(|record| self.good_others(record)).unwrap_or_default();
        let fit = |a: &ApplianceId| fleet.member(*a).is_some_and(|m| m.up && !m.draining);
        let heir = others.into_iter().find(fit).ok_or(Refusal::Busy)?;
        let job = self.begin_transfer(volume, object, heir, TransferCause::Rebalance)?;
        follow_job(part, job).await?;
        self.replace_from(part, heir, (volume, object), to).await
    }

    /// Has a file's new owner make a copy at `to` in the place of the one here.
    async fn replace_from(
        &self,
        part: &Part,
        owner: ApplianceId,
        (volume, object): (VolumeId, ObjectId),
        to: ApplianceId,
    ) -> Result<(), Refusal> {
        let cause = TransferCause::Replace(self.parts.appliance);
        let request = Request::Transfer { volume, object, to, cause };
        let mut tries = 0;
        let transfer = loop {
            match self.ask_peer(owner, &request, Bytes::new(), ASK_WAIT).await {
                Ok((Reply::Transfer { transfer }, _)) => break transfer,
                // It does not know yet that the file is its own.
                Ok((Reply::Moved { .. } | Reply::Not(Refusal::Busy), _)) if tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Ok((Reply::Not(refusal), _)) => return Err(refusal),
                Ok(_) | Err(_) => return Err(Refusal::Busy),
            }
        };
        let mut unheard = 0;
        loop {
            let request = match part.is_cancelled() {
                true => Request::CancelTransfer { transfer },
                false => Request::TransferStatus { transfer },
            };
            match self.ask_peer(owner, &request, Bytes::new(), ASK_WAIT).await {
                Ok((Reply::TransferStatus(status), _)) if status.outcome.is_some() => {
                    let done = status.phase == TransferPhase::Done;
                    return if done { Ok(()) } else { Err(Refusal::Busy) };
                }
                Ok((Reply::TransferStatus(_), _)) => unheard = 0,
                Ok(_) => return Err(Refusal::Busy),
                Err(_) if unheard < TRIES_MAX => unheard += 1,
                Err(_) => return Err(Refusal::Busy),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Gives up the copy at `old`, in whose place another was made. The file's gate is closed: its
    /// next change finds as many good copies as are wanted, the new one among them, and would else
    /// leave behind whichever is one too many.
    ///
    /// # Errors
    /// `Busy` if the file would have too few good copies then; those of the log.
    pub(crate) async fn drop_replaced(
        &self,
        local: &Local<S>,
        object: ObjectId,
        old: ApplianceId,
    ) -> Result<(), Refusal> {
        let file = self.owned(local, object)?;
        let record = file.inode.record().ok_or(Refusal::Invalid)?;
        if !record.replicas.contains(&old) {
            return Ok(());
        }
        let fleet = self.fleet_now();
        let good = |a: &&ApplianceId| **a != old && !record.stale.contains(a) && fleet.is_up(**a);
        let enough = record.replicas.iter().filter(good).count() >= fleet.copies_wanted(local.id);
        if !enough || old == self.parts.appliance || old == record.owner {
            return Err(Refusal::Busy);
        }
        let drop = Command::DropReplica { object, appliance: old };
        self.enter_under(local, file.reign(), drop).await.map(|_| ())
    }
}

/// Waits until a transfer has ended, and breaks it off if the rebalance is.
async fn follow_job(part: &Part, job: Arc<Job>) -> Result<(), Refusal> {
    part.under_way.lock().push(job.clone());
    let succeeded = tokio::select! {
        succeeded = job.has_succeeded() => succeeded,
        () = part.cancelled() => {
            job.break_off();
            job.has_succeeded().await
        }
    };
    part.under_way.lock().retain(|other| !Arc::ptr_eq(other, &job));
    if succeeded { Ok(()) } else { Err(Refusal::Busy) }
}

/// Files that this appliance has moved for rebalances; a counter.
const REBALANCED_FILES: &str = "holdfast_rebalanced_files_total";
/// What they take; a counter.
const REBALANCED_BYTES: &str = "holdfast_rebalanced_bytes_total";
/// Clients and everything else are to notice little of it.
const AT_ONCE: usize = 2;
const OTHERS_MAX: usize = 4;
const OTHERS_LOOK: Duration = Duration::from_millis(250);
const LOOKED_AT_ONCE: usize = 256;
/// One part in so many of a planned file is about as large.
const FITTING_PART: u64 = 8;
/// Files of one flow that are remembered; the next plan goes on.
const TRIED_MAX: usize = 100_000;
const ASK_WAIT: Duration = Duration::from_secs(5);
const TRIES_MAX: u32 = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Whoever sees a rebalance through asks every second.
const HEARD_WITHIN: Duration = Duration::from_secs(15);
