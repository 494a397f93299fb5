//! Where files are and how they are sent elsewhere, by path, from any appliance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Command, Imaging};
use model::{ApplianceId, ObjectId, ObjectKind, ObjectRecord, Refusal, VolumeId};
use serde::{Deserialize, Serialize};
use volume::{Ask, LookUpName, Ports};

use crate::operator::OperatorRefusal;
use crate::router::Router;
use crate::wire::{Reply, Request, TransferCause, TransferStatus};

/// A file, found by its path.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// In which volume.
    pub volume: VolumeId,
    /// Which file.
    pub object: ObjectId,
    /// Who owns it and who has copies.
    pub record: ObjectRecord,
    /// Where the operator wants it.
    pub pin: Option<ApplianceId>,
}

/// A transfer, wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobId {
    /// At which appliance.
    pub at: ApplianceId,
    /// Its number there.
    pub number: u64,
}

/// A transfer, at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Which.
    pub id: JobId,
    /// In which volume.
    pub volume: VolumeId,
    /// Which file.
    pub object: ObjectId,
    /// To whom.
    pub to: ApplianceId,
    /// Why.
    pub cause: TransferCause,
    /// How it is going.
    pub status: TransferStatus,
}

impl<S: Imaging> Router<S> {
    /// Finds a file by `VOLUME/PATH`.
    ///
    /// # Errors
    /// If there is no such volume or name, or it is no file.
    pub async fn find_file(&self, path: &str) -> Result<FoundFile, OperatorRefusal> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let name = parts.next().unwrap_or_default();
        let volume = self.info(name)?.id;
        let ask = Ask::own(volume);
        let mut object = ObjectId::ROOT;
        for part in parts {
            let part = model::Name::parse(part.as_bytes()).map_err(|_| Refusal::Invalid)?;
            let found = self.look_up(&ask, object, LookUpName::Name(&part)).await;
            object = found.map_err(|refused| refused.refusal)?.object;
        }
        let attributes = self.attributes(&ask, object).await.map_err(|refused| refused.refusal)?;
        if attributes.kind != ObjectKind::File {
            return Err(OperatorRefusal::NoFile(path.to_owned()));
        }
        let (record, pin) = self.record(volume, object).await?;
        Ok(FoundFile { volume, object, record, pin })
    }

    /// Finds a file by its volume's name and its number.
    ///
    /// # Errors
    /// If there is no such volume or object, or it is no file.
    pub async fn find_object(
        &self,
        name: &str,
        object: ObjectId,
    ) -> Result<FoundFile, OperatorRefusal> {
        let volume = self.info(name)?.id;
        let (record, pin) = self.record(volume, object).await?;
        Ok(FoundFile { volume, object, record, pin })
    }

    /// Begins to move a file to another appliance.
    ///
    /// # Errors
    /// If it can't be held there, or moves elsewhere already, or its owner can't be asked.
    pub async fn transfer(
        self: &Arc<Self>,
        file: &FoundFile,
        to: ApplianceId,
    ) -> Result<JobId, OperatorRefusal> {
        let FoundFile { volume, object, .. } = *file;
        self.must_hold(volume, to)?;
        if let Some(pin) = file.pin.filter(|pin| *pin != to) {
            return Err(OperatorRefusal::Pinned(self.name_of(pin)));
        }
        let mut owner = file.record.owner;
        for _ in 0..OWNER_TRIES {
            if owner == to {
                return Err(OperatorRefusal::ThereAlready);
            }
            let cause = TransferCause::Asked;
            let reply = if owner == self.parts.appliance {
                self.transfer_for(volume, object, to, cause)
            } else {
                let request = Request::Transfer { volume, object, to, cause };
                self.ask_peer(owner, &request, Bytes::new(), ASK_WAIT).await?.0
            };
            match reply {
                Reply::Transfer { transfer } => return Ok(JobId { at: owner, number: transfer }),
                Reply::Moved { to: Some(other), .. } => owner = other,
                Reply::Not(refusal) => return Err(refusal.into()),
                _ => return Err(Refusal::Fault.into()),
            }
        }
        Err(Refusal::Busy.into())
    }

    /// The operator wants a file at `to`, which it moves to by itself, or no longer at any one
    /// appliance.
    ///
    /// # Errors
    /// If `to` can't hold it, too many files are pinned, or its owner can't be asked.
    pub async fn pin(
        self: &Arc<Self>,
        file: &FoundFile,
        to: Option<ApplianceId>,
    ) -> Result<(), OperatorRefusal> {
        let FoundFile { volume, object, .. } = *file;
        to.map_or(Ok(()), |to| self.must_hold(volume, to))?;
        let mut owner = file.record.owner;
        for _ in 0..OWNER_TRIES {
            let reply = if owner == self.parts.appliance {
                self.pin_here(volume, object, to).await
            } else {
                let request = Request::Pin { volume, object, to };
                self.ask_peer(owner, &request, Bytes::new(), ASK_WAIT).await?.0
            };
            match reply {
                Reply::At(_) => return Ok(()),
                Reply::Moved { to: Some(other), .. } => owner = other,
                Reply::Not(Refusal::QuotaExceeded) => return Err(OperatorRefusal::TooManyPins),
                Reply::Not(refusal) => return Err(refusal.into()),
                _ => return Err(Refusal::Fault.into()),
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Only who holds a volume can have its files.
    fn must_hold(&self, volume: VolumeId, appliance: ApplianceId) -> Result<(), OperatorRefusal> {
        match self.fleet_now().volume_members(volume).contains(&appliance) {
            true => Ok(()),
            false => Err(OperatorRefusal::NotHeldThere(self.name_of(appliance))),
        }
    }

    pub(crate) fn name_of(&self, appliance: ApplianceId) -> String {
        let name = self.fleet_now().member(appliance).map(|member| member.name.clone());
        name.unwrap_or_else(|| appliance.to_string())
    }

    pub(crate) async fn pin_here(
        &self,
        volume: VolumeId,
        object: ObjectId,
        to: Option<ApplianceId>,
    ) -> Reply {
        let pinned = async {
            let local = self.local(volume)?;
            if to.is_some_and(|to| !self.fleet_now().volume_members(volume).contains(&to)) {
                return Err(Refusal::Invalid);
            }
            if to.is_some() && local.catalog.pins().len() >= PINS_MAX {
                return Err(Refusal::QuotaExceeded);
            }
            self.enter(&local, Command::Pin { object, to }).await?;
            Ok(local.catalog.applied_index())
        };
        pinned.await.map_or_else(Reply::Not, Reply::At)
    }

    /// How a transfer is going.
    ///
    /// # Errors
    /// If there is none of that number, or its appliance can't be asked.
    pub async fn job(&self, id: JobId) -> Result<TransferStatus, OperatorRefusal> {
        let request = Request::TransferStatus { transfer: id.number };
        self.about_job(id, &request, || self.transfer_status(id.number)).await
    }

    /// Breaks a transfer off.
    ///
    /// # Errors
    /// As [`Self::job`].
    pub async fn cancel_job(&self, id: JobId) -> Result<TransferStatus, OperatorRefusal> {
        let request = Request::CancelTransfer { transfer: id.number };
        self.about_job(id, &request, || self.cancel_transfer(id.number)).await
    }

    /// The transfers that the appliances that are up remember, each one's newest first.
    pub async fn all_jobs(&self) -> Vec<JobReport> {
        let fleet = self.fleet_now();
        let me = self.parts.appliance;
        let others = fleet.members().iter().filter(|member| member.up && member.id != me);
        let asked = others.map(|member| async {
            match self.ask_peer(member.id, &Request::Jobs, Bytes::new(), ASK_WAIT).await {
                Ok((Reply::Jobs(jobs), _)) => jobs,
                // Gone meanwhile, or it knows of no such question.
                _ => Vec::new(),
            }
        });
        let theirs = futures_util::future::join_all(asked).await;
        let mut all = self.jobs_here();
        all.extend(theirs.into_iter().flatten());
        all
    }

    pub(crate) fn jobs_here(&self) -> Vec<JobReport> {
        let report = |job: Arc<crate::transfers::Job>| JobReport {
            id: JobId { at: self.parts.appliance, number: job.number },
            volume: job.volume,
            object: job.object,
            to: job.to,
            cause: job.cause,
            status: job.status(),
        };
        self.transfer_jobs().into_iter().rev().take(JOBS_TOLD_MAX).map(report).collect()
    }

    async fn about_job(
        &self,
        id: JobId,
        request: &Request,
        here: impl FnOnce() -> Reply,
    ) -> Result<TransferStatus, OperatorRefusal> {
        let reply = match id.at == self.parts.appliance {
            true => here(),
            false => self.ask_peer(id.at, request, Bytes::new(), ASK_WAIT).await?.0,
        };
        match reply {
            Reply::TransferStatus(status) => Ok(status),
            Reply::Not(Refusal::NotFound) => Err(OperatorRefusal::NoJob),
            Reply::Not(refusal) => Err(refusal.into()),
            _ => Err(Refusal::Fault.into()),
        }
    }

    async fn record(
        &self,
        volume: VolumeId,
        object: ObjectId,
    ) -> Result<(ObjectRecord, Option<ApplianceId>), OperatorRefusal> {
        if self.local(volume).is_ok() {
            return Ok(self.record_here(volume, object)?);
        }
        let fleet = self.fleet_now();
        let members = fleet.volume_members(volume).iter().copied();
        for member in members.filter(|member| fleet.is_up(*member)) {
            let request = Request::Record { volume, object };
            let asked = self.ask_peer(member, &request, Bytes::new(), ASK_WAIT).await;
            if let Ok((Reply::Record { record, pin }, _)) = asked {
                return Ok((record, pin));
            }
        }
        Err(Refusal::Busy.into())
    }

    pub(crate) fn record_here(
        &self,
        volume: VolumeId,
        object: ObjectId,
    ) -> Result<(ObjectRecord, Option<ApplianceId>), Refusal> {
        let local = self.local(volume)?;
        let inode = local.inode(object)?;
        let record = inode.record().cloned().ok_or(Refusal::Invalid)?;
        Ok((record, local.catalog.pin(object)))
    }
}

const ASK_WAIT: Duration = Duration::from_secs(5);
const OWNER_TRIES: usize = 4;
/// Each takes up to some 150 bytes of a reply's header of 64 KiB.
pub(crate) const JOBS_TOLD_MAX: usize = 256;
/// Files of one volume that may be pinned: all of them are in memory, and looked at each second.
const PINS_MAX: usize = 10_000;
