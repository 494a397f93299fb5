//! What goes on in the background: entering faults and first data, removing backing files, taking
//! checkpoints and cutting the log.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::{Command, Imaging};
use model::{ApplianceId, GroupId, Index, ObjectId, Refusal, Reign, VolumeId};
use ownership::FleetCommand;

use crate::happening::{Happening, OfCopy};
use crate::local::{Faults, Local};
use crate::router::Router;
use crate::scrubbing::scrub;
use crate::watching::watch;

impl<S: Imaging> Router<S> {
    /// Starts the tasks of one volume; they end when the volume is closed.
    pub(crate) fn tend_volume(self: &Arc<Self>, local: &Arc<Local<S>>, faults: Faults) {
        let volume = (local.id, Arc::downgrade(local));
        tokio::spawn(enter_faults(Arc::downgrade(self), volume, faults));
        tokio::spawn(tend(Arc::downgrade(self), Arc::downgrade(local)));
        tokio::spawn(quarantine_unknown(Arc::downgrade(self), Arc::downgrade(local)));
    }

    /// Starts the tasks that take checkpoints, keep the reserve, and tell what happens.
    pub(crate) fn spawn_housekeeping(self: &Arc<Self>) {
        let router = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut cut = HashMap::new();
            loop {
                let Some(machines) = router.upgrade().map(|r| r.parts.machines.clone()) else {
                    return;
                };
                // Whichever comes first; both mean the same.
                let wanted = machines.checkpoint_wanted.notified();
                let _ = tokio::time::timeout(CHECKPOINT_EVERY, wanted).await;
                let Some(router) = router.upgrade() else { return };
                router.checkpoint_all(&mut cut).await;
            }
        });
        tokio::spawn(tend_space(Arc::downgrade(self)));
        tokio::spawn(watch(Arc::downgrade(self)));
        tokio::spawn(scrub(Arc::downgrade(self)));
    }

    /// Checkpoints every group that has applied something since its last one.
    async fn checkpoint_all(self: &Arc<Self>, cut: &mut HashMap<GroupId, Index>) {
        let machines = self.parts.machines.clone();
        let log = self.parts.log.clone();
        let done = std::mem::take(cut);
        let checkpoints = tokio::task::spawn_blocking(move || {
            let mut points = done;
            let mut note = |group: GroupId, applied: Index, take: &dyn Fn() -> Option<Index>| {
                if points.get(&group) != Some(&applied)
                    && let Some(index) = take()
                {
                    log.checkpointed(group, index);
                    points.insert(group, index);
                }
            };
            let fleet = &machines.fleet;
            note(GroupId::FLEET, fleet.applied().index, &|| logged(fleet.checkpoint()));
            let catalogs: Vec<_> =
                machines.volumes.read().iter().map(|(id, m)| (*id, m.catalog.clone())).collect();
            for (volume, catalog) in catalogs {
                note(volume.into(), catalog.applied().index, &|| logged(catalog.checkpoint()));
            }
            points
        });
        match checkpoints.await {
            Ok(points) => *cut = points,
            Err(fault) => tracing::error!(%fault, "a checkpoint was broken off"),
        }
    }

    /// Removes backing files of objects that are gone, and strikes them off the list once the file
    /// system has committed that.
    async fn remove_backing_files(&self, local: &Local<S>) -> Result<usize, Refusal> {
        let appliance = self.parts.appliance;
        let list = local.catalog.removals(appliance, REMOVALS_PER_ENTRY_MAX);
        let objects = list.map_err(crate::local::faulted)?;
        if objects.is_empty() {
            return Ok(0);
        }
        local.objects.remove(&objects).await.map_err(not_removed)?;
        local.objects.sync_file_system().await.map_err(not_removed)?;
        let removed = objects.len();
        self.enter(local, Command::RemovedBy { appliance, objects }).await?;
        Ok(removed)
    }
}

/// Enters each fault of a copy: the loss count of the volume goes up, then the copy is stale, and
/// only then are WRITE and COMMIT answered again.
async fn enter_faults<S: Imaging>(
    router: Weak<Router<S>>,
    (volume, local): (VolumeId, Weak<Local<S>>),
    mut faults: Faults,
) {
    while let Some((object, fault)) = faults.recv().await {
        let Some(router) = router.upgrade() else { return };
        router.tell(Happening::Copy(volume, object, OfCopy::Failed(fault)));
        enter_fault(&router, (volume, &local), object).await;
        if let Some(local) = local.upgrade() {
            local.news.fault_entered();
        }
    }
}

async fn enter_fault<S: Imaging>(
    router: &Router<S>,
    (volume, was): (VolumeId, &Weak<Local<S>>),
    object: ObjectId,
) {
    loop {
        let raised = router.enter_fleet(FleetCommand::RaiseLossCount { volume }).await;
        match raised {
            Ok(_) => break,
            // Nothing may be answered before this is in the log: keep at it.
            Err(refusal) => tracing::error!(%volume, %refusal, "can't enter a loss; trying again"),
        }
        tokio::time::sleep(ENTER_AGAIN_AFTER).await;
    }
    while router.holds(volume) {
        // The volume may have been let go of, and opened anew: nothing is known of the copy then.
        if let Ok(local) = router.local(volume) {
            let same = std::ptr::eq(Arc::as_ptr(&local), was.as_ptr());
            if same && !local.objects.is_broken(object) {
                tracing::info!(%volume, %object, "the copy that failed was made anew meanwhile");
                return;
            }
            if mark_stale_here(router, &local, object).await {
                break;
            }
        }
        tokio::time::sleep(ENTER_AGAIN_AFTER).await;
    }
    tracing::error!(%volume, %object, "this appliance's copy is stale; writes to it answer IO");
}

/// Whether there is nothing more to do.
async fn mark_stale_here<S: Imaging>(
    router: &Router<S>,
    local: &Local<S>,
    object: ObjectId,
) -> bool {
    let Ok(file) = local.file(object) else { return true };
    let appliance = router.parts.appliance;
    // It is a fact about our copy, whoever owns the file by now.
    let reign = Reign { view: router.fleet_now().view(), epoch: file.epoch };
    match router.enter_under(local, reign, Command::MarkStale { object, appliance }).await {
        Ok(_) | Err(Refusal::Stale | Refusal::Invalid) => true,
        Err(refusal) => {
            tracing::error!(volume = %local.id, %object, %refusal, "can't mark a copy; trying again");
            false
        }
    }
}

/// The reserve of the disk: gives the ballast file up when even the reserve is used.
async fn tend_space<S: Imaging>(router: Weak<Router<S>>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let Some(space) = router.upgrade().map(|router| router.parts.space.clone()) else { return };
        let tended = tokio::task::spawn_blocking(move || space.tend()).await;
        if let Ok(Err(fault)) = tended {
            tracing::warn!(%fault, "could not tend the reserve of the disk");
        }
    }
}

/// The removal list and first data of one volume, at most one entry of each a second.
async fn tend<S: Imaging>(router: Weak<Router<S>>, local: Weak<Local<S>>) {
    loop {
        {
            let (Some(router), Some(local)) = (router.upgrade(), local.upgrade()) else { return };
            if router.locals.read().get(&local.id).is_none_or(|open| !Arc::ptr_eq(open, &local)) {
                // Not yet listed, or deleted: nothing to tend.
            } else {
                let mut have_data = local.news.take_first_data();
                // Of a file with several copies it is said when all of them have it.
                have_data.retain(|object| is_alone(&local, *object));
                have_data.extend(local.news.take_secured());
                have_data.sort_unstable();
                have_data.dedup();
                for objects in have_data.chunks(HAS_DATA_PER_ENTRY_MAX) {
                    router.enter_unawaited(&local, Command::HasData(objects.to_vec()));
                }
                match router.remove_backing_files(&local).await {
                    Ok(REMOVALS_PER_ENTRY_MAX..) => continue_soon().await,
                    Ok(_) => {}
                    Err(refusal) => {
                        tracing::warn!(volume = %local.id, %refusal, "removal will be tried again");
                    }
                }
            }
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// Whether a file has one copy.
fn is_alone<S: Imaging>(local: &Local<S>, object: ObjectId) -> bool {
    let inode = local.inode(object).ok();
    let record = inode.as_ref().and_then(|inode| inode.record());
    record.is_some_and(|record| record.replicas.len() == 1)
}

/// Puts backing files that neither the catalog nor its removal list knows into quarantine, once a
/// start; those that were there for long go. Nothing is deleted because something does not know it.
///
/// A catalog that is behind does not know files that came here lately: it catches up first.
async fn quarantine_unknown<S: Imaging>(router: Weak<Router<S>>, local: Weak<Local<S>>) {
    let (local, appliance) = loop {
        tokio::time::sleep(QUARANTINE_AFTER).await;
        let (Some(router), Some(local)) = (router.upgrade(), local.upgrade()) else { return };
        if router.lease.is_for_ever() || router.enter_reign(&local).await.is_ok() {
            break (local, router.parts.appliance);
        }
    };
    let looked = tokio::task::spawn_blocking(move || {
        let unknown = unknown_files(&local, appliance)?;
        for object in &unknown {
            local.objects.quarantine(*object).map_err(not_quarantined)?;
        }
        local.objects.discard_quarantined(QUARANTINED_FOR).map_err(not_quarantined)
    });
    if let Err(fault) = looked.await {
        tracing::error!(%fault, "the look for unknown backing files was broken off");
    }
}

/// Backing files that are no copy `appliance` is to have, and not on its removal list. Blocks.
pub(crate) fn unknown_files<S: Imaging>(
    local: &Local<S>,
    appliance: ApplianceId,
) -> Result<Vec<ObjectId>, Refusal> {
    let mut on_disk = Vec::new();
    let listed = local.objects.each_backing_file(|object| on_disk.push(object));
    listed.map_err(not_quarantined)?;
    let mut unknown = Vec::new();
    for object in on_disk {
        let known = local.catalog.inode(object).map_err(crate::local::faulted)?;
        let record = known.as_ref().and_then(|inode| inode.record());
        if record.is_none_or(|record| !record.replicas.contains(&appliance)) {
            unknown.push(object);
        }
    }
    // Looked at last: what was removed meanwhile is on it, or its file is gone.
    let to_go = local.catalog.removals(appliance, usize::MAX).map_err(crate::local::faulted)?;
    let to_go: HashSet<ObjectId> = to_go.into_iter().collect();
    unknown.retain(|object| !to_go.contains(object) && local.objects.has_backing_file(*object));
    Ok(unknown)
}

async fn continue_soon() {
    tokio::task::yield_now().await;
}

fn not_removed(fault: std::io::Error) -> Refusal {
    tracing::warn!(%fault, "backing files could not be removed");
    Refusal::Fault
}

fn not_quarantined(fault: std::io::Error) -> Refusal {
    tracing::warn!(%fault, "unknown backing files could not be put into quarantine");
    Refusal::Fault
}

fn logged(checkpoint: Result<Index, catalog::CatalogFault>) -> Option<Index> {
    checkpoint
        .inspect_err(|fault| tracing::error!(%fault, "a checkpoint failed; the log is kept"))
        .ok()
}

/// Log bytes since the last checkpoint are replayed at a start; 5 s of full load are some 100 000
/// entries, which take about a second.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// One entry a second at most.
const TEND_EVERY: Duration = Duration::from_secs(1);
const ENTER_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A start has more urgent things to do first.
const QUARANTINE_AFTER: Duration = Duration::from_secs(5);
/// Time enough for somebody to miss what was in them.
const QUARANTINED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many numbers fit into one entry with room to spare.
const REMOVALS_PER_ENTRY_MAX: usize = 4096;
const HAS_DATA_PER_ENTRY_MAX: usize = 4096;
const _: () = assert!(REMOVALS_PER_ENTRY_MAX * 10 < consensus::PROPOSAL_BYTES_MAX);
