//! Entries of the fleet's group, as they stand in the log: variants are appended, never changed.

use std::net::{IpAddr, SocketAddr};

use model::{
    ApplianceId, ExportRule, Incarnation, Policy, RootDirectory, Timestamp, View, VolumeId,
};
use serde::{Deserialize, Serialize};

use super::addresses::{AddressOffer, MoveReason};
use super::member::{Authority, InvitationDigest, Labels, MemberKind, Secret};

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
    /// An appliance has started, with the addresses and labels that it had.
    Up {
        /// Which.
        appliance: ApplianceId,
        /// What it is called now.
        name: String,
        /// Whether its last run ended with everything durable.
        clean: bool,
    },
    /// Makes a volume on the fleet's founder alone.
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
        /// Of which; a deleted one can come back, so it counts too.
        volume: VolumeId,
    },
    /// Sets what signs the certificates; once.
    SetAuthority {
        /// Opaque.
        authority: Authority,
    },
    /// Lets one appliance join.
    Invite {
        /// Of the invitation's secret.
        digest: InvitationDigest,
        /// From when on it is worth nothing.
        expires: Timestamp,
        /// What may join with it.
        kind: MemberKind,
        /// The inviting appliance's clock: expired invitations make room.
        now: Timestamp,
    },
    /// Takes an invitation back.
    RevokeInvitation {
        /// Which.
        digest: InvitationDigest,
    },
    /// An appliance joins; the invitation is used up. It is not up before its first `UpAt`.
    Admit {
        /// Of the secret it showed.
        digest: InvitationDigest,
        /// Which appliance.
        appliance: ApplianceId,
        /// What people call it.
        name: String,
        /// Where the others reach it.
        addresses: Vec<SocketAddr>,
        /// What it says of itself.
        labels: Labels,
        /// What it is there for.
        kind: MemberKind,
        /// The admitting appliance's clock.
        now: Timestamp,
    },
    /// An appliance has started: a new incarnation, a new view.
    UpAt {
        /// Which.
        appliance: ApplianceId,
        /// What it is called now.
        name: String,
        /// Where the others reach it now.
        addresses: Vec<SocketAddr>,
        /// What it says of itself now.
        labels: Labels,
        /// Whether its last run ended with everything durable.
        clean: bool,
    },
    /// An appliance was not heard of for longer than its lease can run: a new view.
    Down {
        /// Which.
        appliance: ApplianceId,
        /// Which run of it; refused if it has started anew meanwhile.
        incarnation: Incarnation,
    },
    /// Has an appliance's data moved away from it, or no longer.
    SetDraining {
        /// Which.
        appliance: ApplianceId,
        /// Whether.
        drain: Drain,
    },
    /// An appliance leaves for ever: a new view, and its id is never admitted again.
    Remove {
        /// Which.
        appliance: ApplianceId,
        /// How.
        how: RemoveHow,
    },
    /// Sets what an appliance says of itself, until its next start says otherwise.
    SetLabels {
        /// Which.
        appliance: ApplianceId,
        /// All of them.
        labels: Labels,
    },
    /// Makes a volume.
    CreateVolumeOn {
        /// Its name, unique in the fleet.
        name: String,
        /// Who may mount it.
        exports: Vec<ExportRule>,
        /// What its root directory is born with.
        root: RootDirectory,
        /// Who founds its group; one to [`super::VOLUME_MEMBERS_MAX`] that hold data.
        members: Vec<ApplianceId>,
    },
    /// Says who shall hold a volume from now on; its group follows.
    SetVolumeMembers {
        /// Which.
        volume: VolumeId,
        /// One to [`super::VOLUME_MEMBERS_MAX`] that hold data, one of the present ones among them.
        members: Vec<ApplianceId>,
    },
    /// An appliance that is no longer wanted has left the volume's group and holds none of it.
    LeftVolume {
        /// Which.
        volume: VolumeId,
        /// Who.
        appliance: ApplianceId,
    },
    /// Takes a volume out of the directory; all of it is kept.
    DeleteVolumeAt {
        /// Which.
        volume: VolumeId,
        /// The asked appliance's clock.
        now: Timestamp,
    },
    /// Brings a deleted volume back.
    UndeleteVolume {
        /// Which.
        volume: VolumeId,
        /// Its name from now on.
        name: String,
    },
    /// Forgets a deleted volume; its data goes with it.
    PurgeVolume {
        /// Which.
        volume: VolumeId,
    },
    /// Says how a volume's files are kept from now on.
    SetPolicy {
        /// Which.
        volume: VolumeId,
        /// How.
        policy: Policy,
    },
    /// Says which floating addresses an appliance can hold from now on; kept over its restarts.
    OfferAddresses {
        /// Which appliance.
        appliance: ApplianceId,
        /// All of them, [`super::FLOATING_MAX`] at most, each once.
        offers: Vec<AddressOffer>,
    },
    /// Has another appliance hold a floating address: a new view.
    MoveAddress {
        /// Which address.
        address: IpAddr,
        /// Who: it is up, not draining, and offers the address.
        to: ApplianceId,
        /// Why.
        why: MoveReason,
    },
}

impl FleetCommand {
    /// Whether it may be entered again when nobody knows what became of it: a second time it
    /// leaves the fleet as the first did, and is answered alike.
    pub const fn is_idempotent(&self) -> bool {
        matches!(
            self,
            Self::SetExports { .. }
                | Self::SetPolicy { .. }
                | Self::SetLabels { .. }
                | Self::SetDraining { .. }
                | Self::SetVolumeMembers { .. }
                | Self::LeftVolume { .. }
                | Self::OfferAddresses { .. }
        )
    }
}

/// Whether data is to move away from an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drain {
    /// It is, and nothing new is placed there.
    Start,
    /// It may stay.
    Stop,
}

/// How an appliance leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoveHow {
    /// Drained, then stopped: refused while it is up or has a part in a volume.
    Planned,
    /// It will not come back: what only it had is lost. Refused while it is up.
    Dead,
}

/// What a fleet command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FleetAnswer {
    /// It is done.
    Done,
    /// The volume made.
    Volume(VolumeId),
    /// The appliance is up.
    Up {
        /// Its run.
        incarnation: Incarnation,
        /// The first view in which it is up.
        view: View,
    },
}
