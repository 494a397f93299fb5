//! The state of the fleet's own group: who belongs to it, which view it holds, which volumes there
//! are, who may mount them, and how often each may have lost unstable data.

use std::fmt;

use model::{
    ApplianceId, EXPORT_RULES_MAX, ExportRule, Incarnation, LossCount, RootDirectory, View,
    VolumeId, VolumeInfo, is_volume_name,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most volumes one fleet can have: each is a Raft group and a metadata store.
pub const VOLUMES_MAX: usize = 4096;

/// The secret that seals file handles; made once, when the fleet is founded.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One appliance of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub id: ApplianceId,
    /// What people call it.
    pub name: String,
    /// Its current run.
    pub incarnation: Incarnation,
    /// Whether the current view takes it for up.
    pub up: bool,
}

/// All that the fleet's group keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    secret: Option<Secret>,
    members: Vec<Member>,
    view: View,
    volumes: Vec<VolumeInfo>,
    last_volume: VolumeId,
}

/// An entry of the fleet's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FleetCommand {
    /// Makes a fleet of one. Refused once there is a fleet.
    Found {
        /// Its first appliance.
        appliance: ApplianceId,
        /// What people call it.
        name: String,
        /// What seals its handles.
        secret: Secret,
    },
    /// An appliance has started.
    Up {
        /// Which.
        appliance: ApplianceId,
        /// What it is called now.
        name: String,
        /// Whether its last run ended with everything durable.
        clean: bool,
    },
    /// Makes a volume.
    CreateVolume {
        /// Its name, unique in the fleet.
        name: String,
        /// Who may mount it.
        exports: Vec<ExportRule>,
        /// What its root directory is born with.
        root: RootDirectory,
    },
    /// Forgets a volume; its data goes with it.
    DeleteVolume {
        /// Which.
        volume: VolumeId,
    },
    /// Sets who may mount a volume.
    SetExports {
        /// Which.
        volume: VolumeId,
        /// The rules, in the order they are tried.
        exports: Vec<ExportRule>,
    },
    /// Unstable data of a volume may have been lost.
    RaiseLossCount {
        /// Of which.
        volume: VolumeId,
    },
}

/// What a fleet command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetAnswer {
    /// It is done.
    Done,
    /// The volume made.
    Volume(VolumeId),
}

/// Why a fleet command did nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FleetRefusal {
    /// There is a fleet already; leave its data alone.
    #[error("this root belongs to a fleet already")]
    Founded,
    /// No such appliance.
    #[error("appliance {0} is not of this fleet")]
    UnknownAppliance(ApplianceId),
    /// No such volume.
    #[error("there is no volume {0}")]
    UnknownVolume(VolumeId),
    /// The name is taken.
    #[error("there is a volume {0:?} already")]
    VolumeExists(String),
    /// Not a name.
    #[error(
        "{0:?} is no volume name: use 1 to 64 letters, digits, '-', '_' or '.', not starting with '.'"
    )]
    BadVolumeName(String),
    /// Too many volumes.
    #[error("there are {VOLUMES_MAX} volumes already, the most a fleet can have")]
    TooManyVolumes,
    /// Too many rules.
    #[error("a volume can have {EXPORT_RULES_MAX} export rules at most")]
    TooManyRules,
}

impl Fleet {
    /// What seals handles; `None` before the fleet is founded.
    pub fn secret(&self) -> Option<Secret> {
        self.secret
    }

    /// The current view.
    pub fn view(&self) -> View {
        self.view
    }

    /// All appliances.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// All volumes, in the order they were made.
    pub fn volumes(&self) -> &[VolumeInfo] {
        &self.volumes
    }

    /// Whether the current view takes `appliance` for up.
    pub fn is_up(&self, appliance: ApplianceId) -> bool {
        self.members.iter().any(|member| member.id == appliance && member.up)
    }

    /// Applies one entry.
    ///
    /// # Errors
    /// [`FleetRefusal`] says why nothing was changed; the operator reads it.
    pub fn apply(&mut self, command: FleetCommand) -> Result<FleetAnswer, FleetRefusal> {
        match command {
            FleetCommand::Found { appliance, name, secret } => {
                if self.secret.is_some() {
                    return Err(FleetRefusal::Founded);
                }
                self.secret = Some(secret);
                let incarnation = Incarnation::default();
                self.members.push(Member { id: appliance, name, incarnation, up: false });
            }
            FleetCommand::Up { appliance, name, clean } => self.up(appliance, name, clean)?,
            FleetCommand::CreateVolume { name, exports, root } => {
                return self.create_volume(name, exports, root).map(FleetAnswer::Volume);
            }
            FleetCommand::DeleteVolume { volume } => {
                self.volume_mut(volume)?;
                self.volumes.retain(|info| info.id != volume);
            }
            FleetCommand::SetExports { volume, exports } => {
                if exports.len() > EXPORT_RULES_MAX {
                    return Err(FleetRefusal::TooManyRules);
                }
                self.volume_mut(volume)?.exports = exports;
            }
            FleetCommand::RaiseLossCount { volume } => {
                let info = self.volume_mut(volume)?;
                info.loss_count = info.loss_count.next();
            }
        }
        Ok(FleetAnswer::Done)
    }

    fn up(
        &mut self,
        appliance: ApplianceId,
        name: String,
        clean: bool,
    ) -> Result<(), FleetRefusal> {
        let member = self
            .members
            .iter_mut()
            .find(|member| member.id == appliance)
            .ok_or(FleetRefusal::UnknownAppliance(appliance))?;
        member.incarnation = member.incarnation.next();
        member.name = name;
        member.up = true;
        self.view = self.view.next();
        if !clean {
            // One entry for both: a verifier asked for under the new view already tells the loss.
            for info in &mut self.volumes {
                info.loss_count = info.loss_count.next();
            }
        }
        Ok(())
    }

    fn create_volume(
        &mut self,
        name: String,
        exports: Vec<ExportRule>,
        root: RootDirectory,
    ) -> Result<VolumeId, FleetRefusal> {
        if !is_volume_name(&name) {
            return Err(FleetRefusal::BadVolumeName(name));
        }
        if self.volumes.iter().any(|info| info.name == name) {
            return Err(FleetRefusal::VolumeExists(name));
        }
        if self.volumes.len() >= VOLUMES_MAX {
            return Err(FleetRefusal::TooManyVolumes);
        }
        if exports.len() > EXPORT_RULES_MAX {
            return Err(FleetRefusal::TooManyRules);
        }
        let id = self.last_volume.next();
        self.last_volume = id;
        self.volumes.push(VolumeInfo { id, name, exports, loss_count: LossCount::default(), root });
        Ok(id)
    }

    fn volume_mut(&mut self, volume: VolumeId) -> Result<&mut VolumeInfo, FleetRefusal> {
        self.volumes
            .iter_mut()
            .find(|info| info.id == volume)
            .ok_or(FleetRefusal::UnknownVolume(volume))
    }
}

#[cfg(test)]
mod tests;
