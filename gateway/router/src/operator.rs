//! What the operator can see and do: volumes, exports, faults, checks.

use std::sync::Arc;

use catalog::{Command, Report, Store};
use model::{ApplianceId, ExportRule, ObjectId, Refusal, RootDirectory, VolumeId, VolumeInfo};
use ownership::{Fleet, FleetAnswer, FleetCommand, FleetRefusal};
use thiserror::Error;

use crate::local::Local;
use crate::router::{Router, StartFault};

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
    /// How many objects have a stale copy; at most [`FAULTS_MAX`] are counted.
    pub faults: usize,
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

impl<S: Store> Router<S> {
    /// The fleet as of now.
    pub fn fleet(&self) -> Fleet {
        self.parts.machines.fleet.fleet()
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
        let fleet = self.fleet();
        fleet.volumes().iter().map(|info| self.status_of(info)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn volume_status(&self, name: &str) -> Result<VolumeStatus, OperatorRefusal> {
        Ok(self.status_of(&self.info(name)?))
    }

    /// Makes a volume and opens it.
    ///
    /// # Errors
    /// [`OperatorRefusal`]: a bad or taken name, or a disk that does not play along.
    pub async fn create_volume(
        self: &Arc<Self>,
        name: String,
        exports: Vec<ExportRule>,
        root: RootDirectory,
    ) -> Result<VolumeId, OperatorRefusal> {
        let create = FleetCommand::CreateVolume { name: name.clone(), exports, root };
        let volume = match self.enter_fleet(create).await?? {
            FleetAnswer::Volume(volume) => volume,
            FleetAnswer::Done => return Err(Refusal::Fault.into()),
        };
        let info = self.info(&name)?;
        let router = self.clone();
        let opened = tokio::task::spawn_blocking(move || router.open_volume(&info)).await;
        opened.map_err(|_| Refusal::Fault)??;
        Ok(volume)
    }

    /// Forgets a volume and deletes its data. Not to be undone.
    ///
    /// # Errors
    /// If there is none of that name, or its files can't be deleted.
    pub async fn delete_volume(self: &Arc<Self>, name: &str) -> Result<(), OperatorRefusal> {
        let volume = self.info(name)?.id;
        self.enter_fleet(FleetCommand::DeleteVolume { volume }).await??;
        let local = self.locals.write().remove(&volume);
        self.parts.log.remove_group(volume.into());
        self.parts.machines.volumes.write().remove(&volume);
        let router = self.clone();
        let deleted = tokio::task::spawn_blocking(move || {
            // Requests under way still hold the volume; its files go when the last one is done.
            wait_for_last(local);
            router.parts.factory.delete(volume)
        });
        Ok(deleted.await.map_err(|_| Refusal::Fault)??)
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

    fn info(&self, name: &str) -> Result<VolumeInfo, OperatorRefusal> {
        let fleet = self.fleet();
        let info = fleet.volumes().iter().find(|info| info.name == name);
        info.cloned().ok_or_else(|| OperatorRefusal::NoVolume(name.to_owned()))
    }

    fn status_of(&self, info: &VolumeInfo) -> VolumeStatus {
        let local = self.local(info.id).ok();
        let objects = local.as_ref().map_or(0, |local| local.catalog.objects());
        let faults =
            local.and_then(|local| local.catalog.faults(FAULTS_MAX).ok()).map_or(0, |f| f.len());
        VolumeStatus { info: info.clone(), objects, faults }
    }
}

fn check<S: Store>(local: &Local<S>, appliance: ApplianceId) -> Result<CheckReport, Refusal> {
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
    let with_data = local.catalog.objects_with_data().map_err(crate::local::faulted)?;
    let missing = with_data.into_iter().filter(|object| !on_disk.contains(object)).collect();
    Ok(CheckReport { catalog, orphans, missing })
}

/// Waits until nobody else holds the volume.
fn wait_for_last<S>(local: Option<Arc<Local<S>>>) {
    let Some(mut local) = local else { return };
    while let Err(still_held) = Arc::try_unwrap(local).map(drop) {
        local = still_held;
        #[expect(clippy::disallowed_methods, reason = "an adapter, waiting for requests to end")]
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
