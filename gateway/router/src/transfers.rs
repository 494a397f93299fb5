//! Hand-over of files to other appliances, as jobs at their owner.
//!
//! Invariant: the target's copy is stale in the catalog until the entry that makes it the owner's;
//! from the moment that entry is proposed until its fate is known nothing of the file is answered;
//! whatever fails on the way, the owner's copy is whole and the outcome is one of two, decided in
//! the log. Absent on purpose: the stream itself (the replicator's), and why something moves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use catalog::{Command, Imaging};
use model::{
    ApplianceId, Durability, Epoch, ObjectId, Refusal, Reign, RequestKey, Stability, VolumeId,
};
use parking_lot::Mutex;
use replicator::{
    Channel, Progress, ProgressNow, Receiving, SendSettings, Sending, SendingParts, TransferFault,
    TransferId,
};
use tokio::sync::Notify;

use crate::happening::{Happening, OfCopy};
use crate::local::Local;
use crate::receiving::BulkChannel;
use crate::router::Router;
use crate::telling::{Knowing, untold};
use crate::wire::{self, Reply, StreamOpening, TransferCause, TransferPhase};

mod job;

use job::Aim;
pub(crate) use job::Job;

/// The jobs of one appliance: those under way, and the last ones that ended.
#[derive(Default)]
pub(crate) struct Transfers {
    next: AtomicU64,
    jobs: Mutex<BTreeMap<u64, Arc<Job>>>,
    sending: Mutex<HashSet<(VolumeId, ObjectId)>>,
    pub(crate) receiving: Mutex<HashMap<(VolumeId, ObjectId), SharedReceiving>>,
}

/// A file that comes here; one stream at a time.
pub(crate) type SharedReceiving = Arc<tokio::sync::Mutex<Receiving>>;

/// Why a transfer came to nothing: the owner keeps the file.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Stream(#[from] TransferFault),
    #[error("the other appliance can't be reached: {0}")]
    Mesh(#[from] mesh::MeshFault),
    #[error("the last bytes took too long: requests would have been held up")]
    TooSlow,
}

impl<S: Imaging> Router<S> {
    /// Begins a transfer that somebody asks for, if the file is owned here; or finds the one that
    /// is under way.
    pub(crate) fn transfer_for(
        self: &Arc<Self>,
        volume: VolumeId,
        object: ObjectId,
        to: ApplianceId,
        cause: TransferCause,
    ) -> Reply {
        match self.begin_transfer(volume, object, to, cause) {
            Ok(job) => Reply::Transfer { transfer: job.number },
            Err(Refusal::Fenced) => {
                let owner = self.local(volume).ok().and_then(|l| l.inode(object).ok());
                let to = owner.and_then(|inode| inode.record().map(|record| record.owner));
                Reply::Moved { to, view: self.fleet_now().view() }
            }
            Err(refusal) => Reply::Not(refusal),
        }
    }

    pub(crate) fn transfer_status(&self, transfer: u64) -> Reply {
        match self.transfers.jobs.lock().get(&transfer) {
            Some(job) => Reply::TransferStatus(job.status()),
            None => Reply::Not(Refusal::NotFound),
        }
    }

    pub(crate) fn cancel_transfer(&self, transfer: u64) -> Reply {
        match self.transfers.jobs.lock().get(&transfer) {
            Some(job) => {
                job.break_off();
                Reply::TransferStatus(job.status())
            }
            None => Reply::Not(Refusal::NotFound),
        }
    }

    /// How many transfers are under way.
    pub(crate) fn transfers_under_way(&self) -> usize {
        self.transfers.jobs.lock().values().filter(|job| !job.has_ended()).count()
    }

    /// All transfers of this appliance, the oldest first.
    pub(crate) fn transfer_jobs(&self) -> Vec<Arc<Job>> {
        self.transfers.jobs.lock().values().cloned().collect()
    }

    /// Begins to move a file that is owned here.
    ///
    /// # Errors
    /// `Fenced` if another appliance owns it, STALE if it is gone, INVAL if it is no file or the
    /// target can't hold it; `Busy` if it moves elsewhere already.
    pub(crate) fn begin_transfer(
        self: &Arc<Self>,
        volume: VolumeId,
        object: ObjectId,
        to: ApplianceId,
        cause: TransferCause,
    ) -> Result<Arc<Job>, Refusal> {
        let local = self.local(volume)?;
        let file = local.file(object)?;
        let record = file.inode.record().ok_or(Refusal::Invalid)?;
        if !self.owns(&local, record) {
            return Err(Refusal::Fenced);
        }
        let fleet = self.fleet_now();
        if to == self.parts.appliance || !fleet.volume_members(volume).contains(&to) {
            return Err(Refusal::Invalid);
        }
        let mut jobs = self.transfers.jobs.lock();
        let under_way = jobs
            .values()
            .find(|job| (job.volume, job.object) == (volume, object) && !job.has_ended());
        if let Some(job) = under_way {
            return if job.to == to { Ok(job.clone()) } else { Err(Refusal::Busy) };
        }
        let ended = jobs.values().filter(|job| job.has_ended()).map(|job| job.number);
        let forgotten: Vec<u64> = ended.collect();
        for number in forgotten.iter().take(forgotten.len().saturating_sub(JOBS_KEPT_MAX)) {
            jobs.remove(number);
        }
        let number = self.transfers.next.fetch_add(1, Ordering::Relaxed) + 1;
        let job = Arc::new(Job {
            number,
            volume,
            object,
            to,
            cause,
            ended: Notify::new(),
            progress: Arc::new(Progress::new(self.parts.clock.wall())),
            phase: Mutex::new(TransferPhase::Waiting),
            outcome: Mutex::new(None),
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            pause_micros: AtomicU64::new(0),
        });
        jobs.insert(number, job.clone());
        drop(jobs);
        let (router, running) = (self.clone(), job.clone());
        tokio::spawn(async move { router.run_transfer(&local, &running).await });
        Ok(job)
    }

    async fn run_transfer(self: &Arc<Self>, local: &Arc<Local<S>>, job: &Job) {
        self.transfers.sending.lock().insert((job.volume, job.object));
        let began = self.parts.clock.since_boot();
        let moved = self.move_file(local, job).await;
        self.transfers.sending.lock().remove(&(job.volume, job.object));
        let (object, to) = (job.object, job.to);
        let ProgressNow { bytes_copied: copied, bytes_held: held, .. } = job.progress.now();
        metrics::counter!(TRANSFERRED_BYTES).increment(copied);
        metrics::counter!(SPARED_BYTES).increment(held);
        match moved {
            Ok(()) => {
                let cause = job.cause;
                tracing::info!(volume = %local.id, %object, %to, ?cause, copied, held, "done");
                self.note_move(local, job);
                let took = self.parts.clock.since_boot().saturating_sub(began);
                self.balancing.note_pace(copied, took);
                let what = match job.cause {
                    TransferCause::Copy | TransferCause::Replace(_) => "copied",
                    _ => "handed over",
                };
                job.end(TransferPhase::Done, what.to_owned());
            }
            Err(kept) => {
                tracing::info!(volume = %local.id, %object, %to, %kept, "not done");
                job.end(TransferPhase::Kept, kept.to_string());
                if job.cause == TransferCause::Asked && !matches!(kept, Kept::Cancelled) {
                    self.tell(Happening::Copy(job.volume, object, OfCopy::NotMoved(to)));
                }
                self.drop_surplus_copies(local, object).await;
            }
        }
        self.parts.machines.moved();
    }

    async fn move_file(self: &Arc<Self>, local: &Arc<Local<S>>, job: &Job) -> Result<(), Kept> {
        let (object, to) = (job.object, job.to);
        let file = self.owned(local, object)?;
        let epoch = file.epoch;
        let counts = file
            .inode
            .record()
            .is_some_and(|record| record.replicas.contains(&to) && !record.stale.contains(&to));
        let follows = counts && self.fleet_now().copies_wanted(local.id) > 1;
        let aim = match job.cause {
            TransferCause::Copy if follows => return Ok(()),
            TransferCause::Replace(old) if follows => {
                let _closed = local.gates.close(object).await;
                return Ok(self.drop_replaced(local, object, old).await?);
            }
            TransferCause::Copy | TransferCause::Replace(_) => Aim::Copy,
            _ if follows => return self.promote(local, job, epoch).await,
            _ => Aim::HandOver,
        };
        self.list_target(local, object, file.reign(), to, job).await?;
        *job.phase.lock() = TransferPhase::Copying;
        let has_data = local.file(object)?.has_data;
        let reign = Reign { epoch, view: local.reign() };
        let transfer = transfer_id(reign, job.number);
        self.is_here_for_good(local, object).await;
        let channel = self.channel(local, job, epoch).await?;
        let parts = SendingParts {
            objects: Clone::clone(&*local.objects),
            object,
            has_data,
            reign,
            transfer,
            settings: SendSettings::default(),
            progress: job.progress.clone(),
        };
        let mut sending = Sending::begin(parts, channel).await?;
        let (mut breaks, mut told) = (0, HashSet::new());
        loop {
            let come_close = async {
                sending.until_close().await?;
                // Most of them go before anybody has to wait for it.
                self.tell_new(local, job, &mut told).await?;
                Ok(sending.until_close().await?)
            };
            let close = tokio::select! {
                close = come_close => close,
                () = job.cancelled() => return Err(Kept::Cancelled),
                () = local.parting.begun() => return Err(Refusal::Fenced.into()),
            };
            let outcome = match close {
                Ok(()) => {
                    let decision = (aim, epoch);
                    self.close_and_hand_over(local, job, decision, &mut sending, &mut told).await
                }
                Err(kept) => Err(kept),
            };
            match outcome {
                // The gate is open: go on copying, and try once more.
                Err(Kept::Stream(TransferFault::Broken)) if breaks < BREAKS_MAX => {
                    breaks += 1;
                    // A new run of the target remembers nothing of what it was told.
                    told.clear();
                    *job.phase.lock() = TransferPhase::Copying;
                    let channel = self.channel_again(local, job, epoch).await?;
                    sending.resume(channel).await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// The target is listed as a copy that is not whole.
    async fn list_target(
        &self,
        local: &Local<S>,
        object: ObjectId,
        reign: Reign,
        to: ApplianceId,
        job: &Job,
    ) -> Result<(), Kept> {
        for _ in 0..LISTED_TRIES {
            if job.cancelled.load(Ordering::Acquire) {
                return Err(Kept::Cancelled);
            }
            // A good copy is overwritten: it must not be taken for one meanwhile.
            let is_good =
                local.file(object)?.inode.record().is_some_and(|record| {
                    record.replicas.contains(&to) && !record.stale.contains(&to)
                });
            if is_good {
                let stale = Command::MarkStale { object, appliance: to };
                self.enter_under(local, reign, stale).await?;
            }
            let add = Command::AddReplica { object, appliance: to };
            match self.enter_under(local, reign, add).await {
                Ok(_) => return Ok(()),
                // Its old file is still being removed there.
                Err(Refusal::Busy) => tokio::time::sleep(LISTED_AGAIN_AFTER).await,
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Parks requests, sends the last bytes, and lets the log decide.
    async fn close_and_hand_over(
        &self,
        local: &Local<S>,
        job: &Job,
        (aim, epoch): (Aim, Epoch),
        sending: &mut Sending,
        told: &mut HashSet<RequestKey>,
    ) -> Result<(), Kept> {
        let began = self.parts.clock.since_boot();
        let since = || self.parts.clock.since_boot().saturating_sub(began);
        let _closed = local.gates.close(job.object).await;
        *job.phase.lock() = TransferPhase::Closing;
        let closed = since();
        let file = self.owned(local, job.object)?;
        if file.epoch != epoch {
            return Err(Refusal::Fenced.into());
        }
        // The copy that stays here counts as a good one until the new owner changes the file or
        // vouches for it.
        let last_bytes = tokio::time::timeout(FINISH_WAIT, sending.finish());
        let last_answers = self.tell_new(local, job, told);
        let (finished, answered) = tokio::join!(last_bytes, last_answers);
        finished.map_err(|_| Kept::TooSlow)??;
        answered?;
        let sent = since();
        local.no_fault_open().await?;
        if job.cancelled.load(Ordering::Acquire) {
            return Err(Kept::Cancelled);
        }
        let mut outcome = self.decide(local, job, aim, file.reign()).await;
        if let (Ok(()), TransferCause::Replace(old)) = (&outcome, job.cause) {
            outcome = self.drop_replaced(local, job.object, old).await.map_err(Kept::from);
        }
        let pause = since();
        tracing::debug!(object = %job.object, ?closed, ?sent, ?pause, "held up");
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        job.pause_micros.store(micros, Ordering::Relaxed);
        outcome
    }

    /// Hands a file over to an appliance whose copy follows: it has everything in a moment.
    async fn promote(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        job: &Job,
        epoch: Epoch,
    ) -> Result<(), Kept> {
        self.join_copies(local, job.object).await?;
        let mut told = HashSet::new();
        let answers = untold(local, job.object, &mut told);
        self.tell_copy(local, job.object, job.to, (&answers, Knowing::Also)).await?;
        let began = self.parts.clock.since_boot();
        let _closed = local.gates.close(job.object).await;
        *job.phase.lock() = TransferPhase::Closing;
        let file = self.owned(local, job.object)?;
        self.copies_are_joined(local, job.object, &file).await?;
        if file.epoch != epoch {
            return Err(Refusal::Fenced.into());
        }
        let facts = local.objects.facts(job.object, file.has_data).await?;
        let mark = facts.stamp.map(|stamp| stamp.mark).unwrap_or_default();
        // With `local` durability nobody else has seen to that.
        let how = match self.fleet_now().policy(local.id).durability {
            Durability::AllInSync => Stability::Unstable,
            Durability::Local => Stability::FileSync,
        };
        let last_changes = self.everybody_has(local, job.object, mark, how);
        let have = tokio::time::timeout(FINISH_WAIT, last_changes);
        have.await.map_err(|_| Kept::TooSlow)??;
        let answers = untold(local, job.object, &mut told);
        self.tell_copy(local, job.object, job.to, (&answers, Knowing::Also)).await?;
        local.no_fault_open().await?;
        if job.cancelled.load(Ordering::Acquire) {
            return Err(Kept::Cancelled);
        }
        let outcome = self.decide(local, job, Aim::Promote, file.reign()).await;
        let pause = self.parts.clock.since_boot().saturating_sub(began);
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        job.pause_micros.store(micros, Ordering::Relaxed);
        outcome
    }

    /// Proposes what the transfer is for and finds out what became of it: the gate stays closed
    /// until the log has said it.
    async fn decide(
        &self,
        local: &Local<S>,
        job: &Job,
        aim: Aim,
        reign: Reign,
    ) -> Result<(), Kept> {
        match self.enter_once_under(local, reign, job.command(aim)).await {
            Ok(_) => return Ok(()),
            // Applied and refused, or certainly never proposed: the epoch goes on.
            Err(refusal) if refusal != Refusal::Unknown && refusal != Refusal::Busy => {
                return Err(refusal.into());
            }
            Err(_) => {}
        }
        loop {
            let keep = Command::Keep { object: job.object };
            match self.enter_under(local, reign, keep).await {
                Ok(_) => return Err(Refusal::Busy.into()),
                Err(Refusal::Stale) => return Err(Refusal::Stale.into()),
                // What the log says is found out with the volume opened anew.
                Err(Refusal::Fenced) if local.parting.has_begun() => {
                    return Err(Refusal::Unknown.into());
                }
                Err(Refusal::Fenced) => {
                    let inode = local.file(job.object)?.inode;
                    let done = inode.record().is_some_and(|record| match aim {
                        Aim::HandOver | Aim::Promote => record.owner == job.to,
                        Aim::Copy => !record.stale.contains(&job.to),
                    });
                    return match done {
                        true => Ok(()),
                        false => Err(Refusal::Fenced.into()),
                    };
                }
                Err(_) => tokio::time::sleep(DECIDE_AGAIN_AFTER).await,
            }
        }
    }

    /// The new owner must know the calls that were answered here; what it knew before was about
    /// another copy.
    async fn tell_new(
        &self,
        local: &Local<S>,
        job: &Job,
        told: &mut HashSet<RequestKey>,
    ) -> Result<(), Kept> {
        let knowing = if told.is_empty() { Knowing::Only } else { Knowing::Also };
        let answers = untold(local, job.object, told);
        Ok(self.tell_target((local.id, job.object), job.to, (&answers, knowing)).await?)
    }

    async fn channel(
        &self,
        local: &Local<S>,
        job: &Job,
        epoch: Epoch,
    ) -> Result<Arc<dyn Channel>, Kept> {
        let mesh = self.mesh().ok_or(mesh::MeshFault::NotSent)?;
        let opening = StreamOpening::HandOver {
            volume: local.id,
            object: job.object,
            epoch,
            index: local.catalog.applied_index(),
        };
        let stream = mesh.open_stream(job.to, wire::encode(&opening)).await?;
        Ok(Arc::new(BulkChannel::new(stream)))
    }

    /// Another channel after one broke, tried for a while.
    async fn channel_again(
        &self,
        local: &Local<S>,
        job: &Job,
        epoch: Epoch,
    ) -> Result<Arc<dyn Channel>, Kept> {
        let began = self.parts.clock.since_boot();
        // One try at an appliance that is gone takes seconds, so tries are not counted.
        while self.parts.clock.since_boot().saturating_sub(began) < CHANNEL_AGAIN_MAX {
            match self.channel(local, job, epoch).await {
                Err(Kept::Mesh(_)) => tokio::time::sleep(CHANNEL_AGAIN_AFTER).await,
                outcome => return outcome,
            }
            if job.cancelled.load(Ordering::Acquire) {
                return Err(Kept::Cancelled);
            }
            if local.parting.has_begun() {
                return Err(Refusal::Fenced.into());
            }
        }
        Err(mesh::MeshFault::NotSent.into())
    }

    /// Whether a transfer of the file from here is under way.
    pub(crate) fn is_sending(&self, volume: VolumeId, object: ObjectId) -> bool {
        self.transfers.sending.lock().contains(&(volume, object))
    }
}

/// Later than that of any earlier transfer of the file: of an earlier run of its owner, and of an
/// earlier owner in the same epoch, whose reign was of an older view.
fn transfer_id(reign: Reign, number: u64) -> TransferId {
    TransferId::new(reign.epoch, reign.view.get() << 32 | number & 0xffff_ffff)
}

/// Bytes of files that were sent to other appliances, and that need not be: they were there.
const TRANSFERRED_BYTES: &str = "holdfast_transferred_bytes_total";
const SPARED_BYTES: &str = "holdfast_transfer_spared_bytes_total";
/// So many that have ended can still be asked about.
const JOBS_KEPT_MAX: usize = 256;
/// So often a stream may break before the owner gives up.
const BREAKS_MAX: u32 = 20;
/// A process that is started anew is back before that; the file is served here all the time.
const CHANNEL_AGAIN_MAX: Duration = Duration::from_secs(15);
const CHANNEL_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A removal is carried out once a second.
const LISTED_TRIES: u32 = 40;
const LISTED_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Requests wait no longer than this for the last bytes.
const FINISH_WAIT: Duration = Duration::from_secs(5);
const DECIDE_AGAIN_AFTER: Duration = Duration::from_millis(50);
