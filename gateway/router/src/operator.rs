//! What the operator can see and do: volumes, exports, faults, checks.

use std::sync::Arc;

use catalog::{Command, Imaging, Report};
use model::{
    ApplianceId, ExportRule, Membership, ObjectId, ObjectRecord, Policy, Refusal, RootDirectory,
    VolumeId, VolumeInfo,
};
use ownership::placement::{Wanted, place};
use ownership::{DeletedVolume, FleetAnswer, FleetCommand, FleetRefusal, VOLUME_MEMBERS_MAX};
use thiserror::Error;
use volume::{Ask, Ports};

use crate::health::Health;
use crate::local::Local;
use crate::router::{Router, StartFault};
use crate::routing::{PARK_MAX, Patience};

/// Why the operator's wish was not carried out.
#[derive(Debug, Error)]
pub enum OperatorRefusal {
    /// No volume of that name.
    #[error("there is no volume {0:?}; `holdfast volume list` shows those there are")]
    NoVolume(String),
    /// The fleet's state refuses it.
    #[error(transparent)]
    Fleet(#[from] FleetRefusal),
    /// It is in the log, but the volume can't be opened.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// The log or catalog refuses it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Only files move.
    #[error("{0:?} is no file: only files have an owner that can change")]
    NoFile(String),
    /// Only members of the volume can have its files.
    #[error("{0:?} does not hold that volume; `holdfast volume members` says who shall")]
    NotHeldThere(String),
    /// The operator has said that it stays there.
    #[error("it is pinned to {0:?}: `holdfast object unpin` it first")]
    Pinned(String),
    /// So many files need no names of their own to be kept where they are.
    #[error("too many files of this volume are pinned")]
    TooManyPins,
    /// Nothing to do.
    #[error("it is owned there already")]
    ThereAlready,
    /// No such job.
    #[error("there is no such job; those that ended long ago are forgotten")]
    NoJob,
    /// One at a time.
    #[error(
        "a rebalance is under way, begun at {0:?}: `holdfast fleet rebalance --cancel` ends it"
    )]
    Rebalancing(String),
    /// Nothing to end.
    #[error("no rebalance is under way")]
    NoRebalance,
    /// Another appliance did not answer.
    #[error("another appliance did not answer: {0}")]
    Mesh(#[from] mesh::MeshFault),
    /// Nobody can hold a new volume.
    #[error("no appliance can hold a new volume: each is down, draining, full or a witness")]
    NoPlace,
    /// What a volume keeps on disk can't be deleted.
    #[error("the volume is gone but its files could not be deleted: {0}")]
    Delete(#[from] std::io::Error),
}

/// A volume as the operator sees it.
#[derive(Clone, Debug)]
pub struct VolumeStatus {
    /// Its entry in the fleet's directory.
    pub info: VolumeInfo,
    /// How many objects it has.
    pub objects: u64,
    /// How many objects have no good copy at their owner; at most [`FAULTS_MAX`] are counted.
    pub faults: usize,
    /// How many files have a copy that is not whole; at most [`FAULTS_MAX`] are counted.
    pub degraded: usize,
    /// How well it is, as far as can be told here.
    pub health: Health,
    /// Who leads its group; none if nobody does, or if this appliance has no part in it.
    pub leader: Option<ApplianceId>,
}

/// An object with a stale copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultyObject {
    /// In which volume.
    pub volume: VolumeId,
    /// Which object.
    pub object: ObjectId,
}

/// What a check found: in the catalog, and between catalog and disk.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The catalog's own.
    pub catalog: Report,
    /// Backing files of objects that the catalog does not know.
    pub orphans: Vec<ObjectId>,
    /// Objects that should have a backing file and have none.
    pub missing: Vec<ObjectId>,
}

impl CheckReport {
    /// Whether everything fits together.
    pub fn is_clean(&self) -> bool {
        self.catalog.violations.is_empty() && self.orphans.is_empty() && self.missing.is_empty()
    }
}

/// How many objects with faults are listed at once.
pub const FAULTS_MAX: usize = 10_000;

impl<S: Imaging> Router<S> {
    /// Enters a command of the operator's into the fleet's group.
    ///
    /// # Errors
    /// What the fleet's state refuses it with.
    pub async fn command(&self, command: FleetCommand) -> Result<FleetAnswer, OperatorRefusal> {
        Ok(self.enter_fleet(command).await??)
    }

    /// Who takes part in the fleet's group, and who leads it as far as is known here.
    pub fn fleet_group(&self) -> (Membership, Option<ApplianceId>) {
        (self.parts.machines.fleet.applied().membership, self.fleet_raft().leader())
    }

    /// Disk space: total and free bytes, the reserve not counted.
    ///
    /// # Errors
    /// If the disk can't be asked.
    pub fn disk(&self) -> Result<extents::DiskTotals, OperatorRefusal> {
        Ok(self.parts.space.totals()?)
    }

    /// All volumes.
    pub fn volume_statuses(&self) -> Vec<VolumeStatus> {
        let fleet = self.fleet_now();
        fleet.volumes().iter().map(|info| self.status_of(info)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn volume_status(&self, name: &str) -> Result<VolumeStatus, OperatorRefusal> {
        Ok(self.status_of(&self.info(name)?))
    }

    /// Makes a volume on the appliances `wanted`, or, if that is empty, where placement finds best.
    ///
    /// # Errors
    /// [`OperatorRefusal`]: a bad or taken name, or a disk that does not play along.
    pub async fn create_volume(
        self: &Arc<Self>,
        name: String,
        exports: Vec<ExportRule>,
        root: RootDirectory,
        wanted: &[ApplianceId],
    ) -> Result<VolumeId, OperatorRefusal> {
        let members = self.placed(wanted).await?;
        let volume = self.enter_volume(name, exports, root, members).await?;
        self.open_held(volume).await?;
        if !self.lease.is_for_ever() {
            self.wait_for_root(volume).await?;
        }
        Ok(volume)
    }

    /// Enters a new volume. If what became of that is unknown it is entered again, and a volume
    /// that is there by then, just as it was to be made, is the one.
    async fn enter_volume(
        &self,
        name: String,
        exports: Vec<ExportRule>,
        root: RootDirectory,
        members: Vec<ApplianceId>,
    ) -> Result<VolumeId, OperatorRefusal> {
        let create = FleetCommand::CreateVolumeOn {
            name: name.clone(),
            exports: exports.clone(),
            root,
            members: members.clone(),
        };
        let entered = match self.enter_fleet(create.clone()).await {
            Err(Refusal::Unknown) => match self.enter_fleet(create).await? {
                Err(FleetRefusal::VolumeExists(_)) => {
                    let there = self.info(&name)?;
                    let seats = self.fleet_now().volume_members(there.id).to_vec();
                    match there.exports == exports && there.root == root && seats == members {
                        true => Ok(FleetAnswer::Volume(there.id)),
                        false => Err(FleetRefusal::VolumeExists(name)),
                    }
                }
                entered => entered,
            },
            entered => entered?,
        };
        match entered? {
            FleetAnswer::Volume(volume) => Ok(volume),
            FleetAnswer::Done | FleetAnswer::Up { .. } => Err(Refusal::Fault.into()),
        }
    }

    /// Who shall hold a new volume: those that were named, or whom placement finds.
    async fn placed(&self, wanted: &[ApplianceId]) -> Result<Vec<ApplianceId>, OperatorRefusal> {
        if !wanted.is_empty() {
            return Ok(wanted.to_vec());
        }
        if self.lease.is_for_ever() {
            return Ok(vec![self.parts.appliance]);
        }
        let fleet = self.fleet_now();
        let candidates = self.candidates(&fleet).await;
        let wanted = Wanted { copies: VOLUME_MEMBERS_MAX, bytes: 0 };
        let placement = place(&candidates, &[], wanted);
        match placement.members.is_empty() {
            true => Err(OperatorRefusal::NoPlace),
            false => Ok(placement.members),
        }
    }

    /// Waits until somebody has made the new volume's root directory.
    async fn wait_for_root(&self, volume: VolumeId) -> Result<(), OperatorRefusal> {
        let ask = Ask::own(volume);
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        while self.attributes(&ask, ObjectId::ROOT).await.is_err() {
            self.wait_for_motion(patience).await?;
        }
        Ok(())
    }

    /// Says how a volume's files are kept from now on; copies are made or given up by and by.
    ///
    /// # Errors
    /// If there is no such volume, or so many copies can't be.
    pub async fn set_policy(
        &self,
        volume: VolumeId,
        policy: Policy,
    ) -> Result<(), OperatorRefusal> {
        self.enter_fleet(FleetCommand::SetPolicy { volume, policy }).await??;
        Ok(())
    }

    /// Says who shall hold a volume from now on; its files follow. Of the present members one must
    /// stay: the others copy from it.
    ///
    /// # Errors
    /// If there is none of that name, or these can't hold it.
    pub async fn set_volume_members(
        &self,
        name: &str,
        members: Vec<ApplianceId>,
    ) -> Result<(), OperatorRefusal> {
        let volume = self.info(name)?.id;
        self.enter_fleet(FleetCommand::SetVolumeMembers { volume, members }).await??;
        Ok(())
    }

    /// Takes a volume out of the directory; its data is kept until it is purged, which happens of
    /// itself after [`crate::DELETED_KEPT`].
    ///
    /// # Errors
    /// If there is none of that name.
    pub async fn delete_volume(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<DeletedVolume, OperatorRefusal> {
        let info = self.info(name)?;
        let (volume, at) = (info.id, self.parts.clock.wall());
        self.enter_fleet(FleetCommand::DeleteVolumeAt { volume, now: at }).await??;
        self.close_volume(volume).await;
        Ok(DeletedVolume { info, at })
    }

    /// Brings a deleted volume back, under a name of its own.
    ///
    /// # Errors
    /// If none of that number was deleted, or the name is taken.
    pub async fn undelete_volume(
        self: &Arc<Self>,
        volume: VolumeId,
        name: String,
    ) -> Result<(), OperatorRefusal> {
        self.enter_fleet(FleetCommand::UndeleteVolume { volume, name }).await??;
        self.open_held(volume).await
    }

    /// Deletes the data of a deleted volume, for good.
    ///
    /// # Errors
    /// If none of that number was deleted.
    pub async fn purge_volume(self: &Arc<Self>, volume: VolumeId) -> Result<(), OperatorRefusal> {
        self.enter_fleet(FleetCommand::PurgeVolume { volume }).await??;
        self.discard_purged().await;
        Ok(())
    }

    async fn open_held(self: &Arc<Self>, volume: VolumeId) -> Result<(), OperatorRefusal> {
        if !self.lease.is_for_ever() {
            self.hold_volumes().await;
            return Ok(());
        }
        let router = self.clone();
        let opened = tokio::task::spawn_blocking(move || router.open_volume(volume)).await;
        Ok(opened.map_err(|_| Refusal::Fault)??)
    }

    /// Sets who may mount a volume.
    ///
    /// # Errors
    /// If there is none of that name, or there are too many rules.
    pub async fn set_exports(
        &self,
        name: &str,
        exports: Vec<ExportRule>,
    ) -> Result<(), OperatorRefusal> {
        let volume = self.info(name)?.id;
        self.enter_fleet(FleetCommand::SetExports { volume, exports }).await??;
        Ok(())
    }

    /// Objects whose only copy is stale.
    ///
    /// # Errors
    /// If the catalog can't be read.
    pub fn faulty_objects(&self, name: Option<&str>) -> Result<Vec<FaultyObject>, OperatorRefusal> {
        let locals: Vec<_> = match name {
            Some(name) => vec![self.local(self.info(name)?.id)?],
            None => self.locals.read().values().cloned().collect(),
        };
        let mut faulty = Vec::new();
        for local in locals {
            let objects = local.catalog.faults(FAULTS_MAX).map_err(crate::local::faulted)?;
            let volume = local.id;
            faulty.extend(objects.into_iter().map(|object| FaultyObject { volume, object }));
        }
        Ok(faulty)
    }

    /// Takes an object's copy for good again: the operator has looked at it.
    ///
    /// # Errors
    /// If there is no such volume or object.
    pub async fn clear_fault(&self, name: &str, object: ObjectId) -> Result<(), OperatorRefusal> {
        let local = self.local(self.info(name)?.id)?;
        let appliance = self.parts.appliance;
        self.enter(&local, Command::ClearStale { object, appliance }).await?;
        local.objects.clear_fault(object);
        Ok(())
    }

    /// Walks a volume's catalog and backing files.
    ///
    /// # Errors
    /// If there is no such volume, or it can't be read.
    pub async fn check_volume(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<CheckReport, OperatorRefusal> {
        let local = self.local(self.info(name)?.id)?;
        let appliance = self.parts.appliance;
        let checked = tokio::task::spawn_blocking(move || check(&local, appliance)).await;
        Ok(checked.map_err(|_| Refusal::Fault)??)
    }

    pub(crate) fn info(&self, name: &str) -> Result<VolumeInfo, OperatorRefusal> {
        let fleet = self.fleet_now();
        let info = fleet.volumes().iter().find(|info| info.name == name);
        info.cloned().ok_or_else(|| OperatorRefusal::NoVolume(name.to_owned()))
    }

    fn status_of(&self, info: &VolumeInfo) -> VolumeStatus {
        let local = self.local(info.id).ok();
        let local = local.as_deref();
        let objects = local.map_or(0, |local| local.catalog.objects());
        let faults = local.and_then(|local| local.catalog.faults(FAULTS_MAX).ok());
        let degraded =
            local.and_then(|local| local.catalog.degraded(ObjectId::ROOT, FAULTS_MAX).ok());
        let (faults, degraded) =
            (faults.map_or(0, |found| found.len()), degraded.map_or(0, |found| found.len()));
        let leader = local.and_then(|local| local.raft.leader());
        let health = self.health_of(info.id);
        VolumeStatus { info: info.clone(), objects, faults, degraded, health, leader }
    }
}

fn check<S: Imaging>(local: &Local<S>, appliance: ApplianceId) -> Result<CheckReport, Refusal> {
    let catalog = local.catalog.check().map_err(crate::local::faulted)?;
    let mut on_disk = std::collections::HashSet::new();
    let listed = local.objects.each_backing_file(&mut |object| {
        on_disk.insert(object);
    });
    listed.map_err(|fault| {
        tracing::error!(%fault, "backing files can't be listed");
        Refusal::Fault
    })?;
    let orphans = crate::housekeeping::unknown_files(local, appliance)?;
    let mut missing = Vec::new();
    for object in local.catalog.objects_with_data().map_err(crate::local::faulted)? {
        // What came here since the list was made has its file by now.
        if !on_disk.contains(&object) && !local.objects.has_backing_file(object) {
            let inode = local.catalog.inode(object).map_err(crate::local::faulted)?;
            let record = inode.as_ref().and_then(|inode| inode.record());
            let ours = |record: &ObjectRecord| {
                record.replicas.contains(&appliance) && !record.stale.contains(&appliance)
            };
            missing.extend(record.is_some_and(ours).then_some(object));
        }
    }
    Ok(CheckReport { catalog, orphans, missing })
}
