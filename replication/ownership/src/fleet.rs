//! The state of the fleet's own group: who belongs to it and who may join, which view it holds,
//! which volumes there are, who holds and who may mount them, and how often each may have lost
//! unstable data.
//!
//! Invariant: equal entries give equal fleets, and a refused entry leaves no trace; every volume,
//! deleted ones too, has seats; an appliance that was removed is never admitted again. Absent on
//! purpose: Raft, clocks (time comes in entries), objects and their owners.

use std::collections::{BTreeMap, BTreeSet};

use model::{ApplianceId, EXPORT_RULES_MAX, Incarnation, Policy, View, VolumeId, VolumeInfo};
use serde::{Deserialize, Serialize};

mod addresses;
mod appliances;
mod command;
mod joining;
mod member;
mod refusal;
mod stored;
mod volumes;
mod voters;

pub use addresses::{
    AddressCause, AddressHeld, AddressOffer, FLOATING_MAX, FloatingAddress, MoveReason,
};
pub use appliances::{Part, RemoveReport};
pub use command::{Drain, FleetAnswer, FleetCommand, RemoveHow};
pub use member::{
    ADDRESSES_MAX, APPLIANCE_NAME_BYTES_MAX, AUTHORITY_BYTES_MAX, Authority, Invitation,
    InvitationDigest, LABEL_BYTES_MAX, LABELS_MAX, Labels, Member, MemberKind, Secret,
};
pub use refusal::FleetRefusal;
pub use stored::FleetV1;
pub use volumes::{DeletedVolume, Seats};
pub use voters::{FLEET_VOTERS_MAX, Tolerance};

/// The most volumes one fleet can have: each is a Raft group and a metadata store.
pub const VOLUMES_MAX: usize = 4096;
/// The most appliances: each beats, and all take part in the fleet's group.
pub const MEMBERS_MAX: usize = 64;
/// The most invitations that are kept at once.
pub const INVITATIONS_MAX: usize = 64;
/// The most appliances, removed ones included, that a fleet remembers.
pub const APPLIANCES_EVER_MAX: usize = 4096;
/// The most appliances that hold one volume.
pub const VOLUME_MEMBERS_MAX: usize = 3;

/// All that the fleet's group keeps. Stored as format 4; [`FleetV1`] reads format 1. Formats 2 and
/// 3 were the same without the last two fields, and without the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    secret: Option<Secret>,
    authority: Option<Authority>,
    founder: Option<ApplianceId>,
    members: Vec<Member>,
    removed: BTreeSet<ApplianceId>,
    invitations: Vec<Invitation>,
    view: View,
    volumes: Vec<VolumeInfo>,
    deleted: Vec<DeletedVolume>,
    seats: BTreeMap<VolumeId, Seats>,
    last_volume: VolumeId,
    /// Of volumes that are kept otherwise than [`Policy::default`] says.
    policies: BTreeMap<VolumeId, Policy>,
    floating: addresses::Floating,
}

/// What the leases need to know of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Which appliance.
    pub appliance: ApplianceId,
    /// Its current run.
    pub incarnation: Incarnation,
    /// Whether the view takes it for up.
    pub up: bool,
}

impl Fleet {
    /// What seals handles; `None` before the fleet is founded.
    pub fn secret(&self) -> Option<Secret> {
        self.secret
    }

    /// What signs certificates; `None` before it is set.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The current view.
    pub fn view(&self) -> View {
        self.view
    }

    /// All appliances, in the order they joined.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One appliance.
    pub fn member(&self, appliance: ApplianceId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == appliance)
    }

    /// Those who were of this fleet and never will be again.
    pub fn removed(&self) -> &BTreeSet<ApplianceId> {
        &self.removed
    }

    /// All invitations, used and expired ones among them until they are cleared away.
    pub fn invitations(&self) -> &[Invitation] {
        &self.invitations
    }

    /// Who founded it, and so its Raft group; `None` before the fleet is founded.
    pub fn founder(&self) -> Option<ApplianceId> {
        self.founder
    }

    /// The last volume that was made: no other has a greater number.
    pub fn last_volume(&self) -> VolumeId {
        self.last_volume
    }

    /// All volumes, in the order they were made.
    pub fn volumes(&self) -> &[VolumeInfo] {
        &self.volumes
    }

    /// Volumes that were deleted and can be brought back, in the order they were deleted.
    pub fn deleted_volumes(&self) -> &[DeletedVolume] {
        &self.deleted
    }

    /// How a volume's files are kept.
    pub fn policy(&self, volume: VolumeId) -> Policy {
        self.policies.get(&volume).copied().unwrap_or_default()
    }

    /// How many copies each of its files is to have: never more than it has members.
    pub fn copies_wanted(&self, volume: VolumeId) -> usize {
        let members = self.volume_members(volume).len().max(1);
        usize::from(self.policy(volume).replicas).min(members)
    }

    /// Who holds a volume, be it deleted; `None` if there is none of that number.
    pub fn seats(&self, volume: VolumeId) -> Option<&Seats> {
        self.seats.get(&volume)
    }

    /// The membership that a volume's Raft group began with; never changes. Empty if there is none
    /// of that number.
    pub fn founders(&self, volume: VolumeId) -> &[ApplianceId] {
        self.seats(volume).map_or(&[], |seats| &seats.founders)
    }

    /// Who shall hold a volume now, in order of succession. Empty if there is none of that number.
    pub fn volume_members(&self, volume: VolumeId) -> &[ApplianceId] {
        self.seats(volume).map_or(&[], |seats| &seats.members)
    }

    /// Whether the current view takes `appliance` for up.
    pub fn is_up(&self, appliance: ApplianceId) -> bool {
        self.member(appliance).is_some_and(|member| member.up)
    }

    /// What the leases need to know.
    pub fn roll(&self) -> Vec<Present> {
        let present = |member: &Member| Present {
            appliance: member.id,
            incarnation: member.incarnation,
            up: member.up,
        };
        self.members.iter().map(present).collect()
    }

    /// Applies one entry.
    ///
    /// # Errors
    /// [`FleetRefusal`] says why nothing was changed; the operator reads it.
    pub fn apply(&mut self, command: FleetCommand) -> Result<FleetAnswer, FleetRefusal> {
        match command {
            FleetCommand::Found { appliance, name, secret } => {
                self.found(appliance, name, secret)?;
            }
            FleetCommand::Up { appliance, name, clean } => {
                return self.up(appliance, name, None, clean);
            }
            FleetCommand::UpAt { appliance, name, addresses, labels, clean } => {
                return self.up(appliance, name, Some((addresses, labels)), clean);
            }
            FleetCommand::Down { appliance, incarnation } => self.down(appliance, incarnation)?,
            FleetCommand::SetDraining { appliance, drain } => {
                self.member_mut(appliance)?.draining = drain == Drain::Start;
                self.settle_addresses_in_a_new_view();
            }
            FleetCommand::Remove { appliance, how } => self.remove(appliance, how)?,
            FleetCommand::SetLabels { appliance, labels } => {
                labels.check()?;
                self.member_mut(appliance)?.labels = labels;
            }
            FleetCommand::SetAuthority { authority } => self.set_authority(authority)?,
            FleetCommand::Invite { digest, expires, kind, now } => {
                self.invite(Invitation { digest, expires, kind, used_by: None }, now)?;
            }
            FleetCommand::RevokeInvitation { digest } => self.revoke(digest)?,
            FleetCommand::Admit { digest, appliance, name, addresses, labels, kind, now } => {
                let fresh = Member::new(appliance, name);
                self.admit(digest, Member { addresses, labels, kind, ..fresh }, now)?;
            }
            FleetCommand::CreateVolume { name, exports, root } => {
                // An entry of a fleet of one, or of a program that knew no others.
                let founder = self.founder.ok_or(FleetRefusal::BadVolumeMembers)?;
                return self.create_volume(name, exports, root, vec![founder]);
            }
            FleetCommand::CreateVolumeOn { name, exports, root, members } => {
                return self.create_volume(name, exports, root, members);
            }
            FleetCommand::SetExports { volume, exports } => {
                if exports.len() > EXPORT_RULES_MAX {
                    return Err(FleetRefusal::TooManyRules);
                }
                self.volume_mut(volume)?.exports = exports;
            }
            FleetCommand::RaiseLossCount { volume } => self.raise_loss_count(volume)?,
            FleetCommand::SetVolumeMembers { volume, members } => {
                self.set_volume_members(volume, members)?;
            }
            FleetCommand::LeftVolume { volume, appliance } => self.left(volume, appliance)?,
            FleetCommand::DeleteVolume { volume } => {
                self.take_volume(volume)?;
                self.seats.remove(&volume);
                self.policies.remove(&volume);
            }
            FleetCommand::DeleteVolumeAt { volume, now } => {
                let info = self.take_volume(volume)?;
                self.deleted.push(DeletedVolume { info, at: now });
            }
            FleetCommand::UndeleteVolume { volume, name } => self.undelete(volume, name)?,
            FleetCommand::PurgeVolume { volume } => self.purge(volume)?,
            FleetCommand::SetPolicy { volume, policy } => self.set_policy(volume, policy)?,
            FleetCommand::OfferAddresses { appliance, offers } => {
                self.offer_addresses(appliance, offers)?;
            }
            FleetCommand::MoveAddress { address, to, why } => {
                self.move_address(address, to, why)?;
            }
        }
        Ok(FleetAnswer::Done)
    }
}

#[cfg(test)]
mod tests;
