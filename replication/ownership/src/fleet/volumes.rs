//! The directory of volumes: who holds them, and how they come and go.

use model::{
    ApplianceId, EXPORT_RULES_MAX, ExportRule, LossCount, Policy, RootDirectory, Timestamp,
    VolumeId, VolumeInfo, is_volume_name,
};
use serde::{Deserialize, Serialize};

use super::member::MemberKind;
use super::{Fleet, FleetAnswer, FleetRefusal, VOLUME_MEMBERS_MAX, VOLUMES_MAX};

/// Who holds a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    /// The membership that its Raft group began with; never changes.
    pub founders: Vec<ApplianceId>,
    /// Who shall hold it now, in order of succession.
    pub members: Vec<ApplianceId>,
    /// Who was to hold it and may still: unstable data can be lost there too.
    pub leaving: Vec<ApplianceId>,
}

impl Seats {
    /// Whether `appliance` holds the volume, shall hold it, or may still.
    pub fn includes(&self, appliance: ApplianceId) -> bool {
        self.members.contains(&appliance) || self.leaving.contains(&appliance)
    }

    pub(super) fn forget(&mut self, appliance: ApplianceId) {
        self.members.retain(|member| *member != appliance);
        self.leaving.retain(|member| *member != appliance);
    }
}

/// A volume that was deleted; its seats are kept as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedVolume {
    /// What the directory said of it; its name may be another's by now.
    pub info: VolumeInfo,
    /// When.
    pub at: Timestamp,
}

impl Fleet {
    pub(super) fn create_volume(
        &mut self,
        name: String,
        exports: Vec<ExportRule>,
        root: RootDirectory,
        members: Vec<ApplianceId>,
    ) -> Result<FleetAnswer, FleetRefusal> {
        self.check_volume_name(&name)?;
        // A deleted one still is a group and a store, and must find room when it comes back.
        if self.volumes.len() + self.deleted.len() >= VOLUMES_MAX {
            return Err(FleetRefusal::TooManyVolumes);
        }
        if exports.len() > EXPORT_RULES_MAX {
            return Err(FleetRefusal::TooManyRules);
        }
        self.check_holders(&members)?;
        let id = self.last_volume.next();
        self.last_volume = id;
        let founders = members.clone();
        self.seats.insert(id, Seats { founders, members, leaving: Vec::new() });
        self.volumes.push(VolumeInfo { id, name, exports, loss_count: LossCount::default(), root });
        Ok(FleetAnswer::Volume(id))
    }

    pub(super) fn set_volume_members(
        &mut self,
        volume: VolumeId,
        members: Vec<ApplianceId>,
    ) -> Result<(), FleetRefusal> {
        self.volume_mut(volume)?;
        self.check_holders(&members)?;
        let seats = self.seats.get_mut(&volume).expect("every volume has seats");
        if !members.iter().any(|member| seats.members.contains(member)) {
            return Err(FleetRefusal::NobodyStays);
        }
        let before = std::mem::replace(&mut seats.members, members);
        seats.leaving.extend(before);
        let Seats { members, leaving, .. } = seats;
        leaving.retain(|appliance| !members.contains(appliance));
        leaving.sort_unstable();
        leaving.dedup();
        Ok(())
    }

    pub(super) fn set_policy(
        &mut self,
        volume: VolumeId,
        policy: Policy,
    ) -> Result<(), FleetRefusal> {
        self.volume_mut(volume)?;
        if !(1..=VOLUME_MEMBERS_MAX).contains(&usize::from(policy.replicas)) {
            return Err(FleetRefusal::BadPolicy);
        }
        self.policies.insert(volume, policy);
        Ok(())
    }

    pub(super) fn left(
        &mut self,
        volume: VolumeId,
        appliance: ApplianceId,
    ) -> Result<(), FleetRefusal> {
        let seats = self.seats.get_mut(&volume).ok_or(FleetRefusal::UnknownVolume(volume))?;
        if seats.members.contains(&appliance) {
            return Err(FleetRefusal::StillWanted(appliance));
        }
        seats.forget(appliance);
        Ok(())
    }

    /// Takes a volume out of the directory and leaves its seats.
    pub(super) fn take_volume(&mut self, volume: VolumeId) -> Result<VolumeInfo, FleetRefusal> {
        let found = self.volumes.iter().position(|info| info.id == volume);
        Ok(self.volumes.remove(found.ok_or(FleetRefusal::UnknownVolume(volume))?))
    }

    pub(super) fn undelete(&mut self, volume: VolumeId, name: String) -> Result<(), FleetRefusal> {
        let at = self.deleted_at(volume)?;
        self.check_volume_name(&name)?;
        let info = VolumeInfo { name, ..self.deleted.remove(at).info };
        // The directory is in the order in which volumes were made; ids count up.
        let place = self.volumes.partition_point(|other| other.id < info.id);
        self.volumes.insert(place, info);
        Ok(())
    }

    pub(super) fn purge(&mut self, volume: VolumeId) -> Result<(), FleetRefusal> {
        let at = self.deleted_at(volume)?;
        self.deleted.remove(at);
        self.seats.remove(&volume);
        self.policies.remove(&volume);
        Ok(())
    }

    pub(super) fn raise_loss_count(&mut self, volume: VolumeId) -> Result<(), FleetRefusal> {
        let found = self.infos_mut().find(|info| info.id == volume);
        let info = found.ok_or(FleetRefusal::UnknownVolume(volume))?;
        info.loss_count = info.loss_count.next();
        Ok(())
    }

    /// Raises the count of every volume that `appliance` has a part in. Of deleted ones too: a
    /// client may ask for its bytes after the volume came back.
    pub(super) fn raise_loss_counts_of(&mut self, appliance: ApplianceId) {
        let has_part = |seats: &super::Seats| seats.includes(appliance);
        let Self { volumes, deleted, seats, .. } = self;
        let infos = volumes.iter_mut().chain(deleted.iter_mut().map(|deleted| &mut deleted.info));
        for info in infos.filter(|info| seats.get(&info.id).is_some_and(has_part)) {
            info.loss_count = info.loss_count.next();
        }
    }

    pub(super) fn volume_mut(&mut self, volume: VolumeId) -> Result<&mut VolumeInfo, FleetRefusal> {
        let found = self.volumes.iter_mut().find(|info| info.id == volume);
        found.ok_or(FleetRefusal::UnknownVolume(volume))
    }

    fn infos_mut(&mut self) -> impl Iterator<Item = &mut VolumeInfo> {
        let deleted = self.deleted.iter_mut().map(|deleted| &mut deleted.info);
        self.volumes.iter_mut().chain(deleted)
    }

    fn deleted_at(&self, volume: VolumeId) -> Result<usize, FleetRefusal> {
        let found = self.deleted.iter().position(|deleted| deleted.info.id == volume);
        found.ok_or(FleetRefusal::UnknownVolume(volume))
    }

    fn check_volume_name(&self, name: &str) -> Result<(), FleetRefusal> {
        if !is_volume_name(name) {
            return Err(FleetRefusal::BadVolumeName(name.to_owned()));
        }
        if self.volumes.iter().any(|info| info.name == name) {
            return Err(FleetRefusal::VolumeExists(name.to_owned()));
        }
        Ok(())
    }

    fn check_holders(&self, members: &[ApplianceId]) -> Result<(), FleetRefusal> {
        let twice = |at: usize| members[..at].contains(&members[at]);
        let count = members.len();
        if count == 0 || count > VOLUME_MEMBERS_MAX || (0..count).any(twice) {
            return Err(FleetRefusal::BadVolumeMembers);
        }
        for appliance in members {
            let unknown = FleetRefusal::UnknownAppliance(*appliance);
            let member = self.member(*appliance).ok_or(unknown)?;
            if member.kind == MemberKind::Witness {
                return Err(FleetRefusal::WitnessHoldsNothing(member.name.clone()));
            }
        }
        Ok(())
    }
}
