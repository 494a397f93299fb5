//! Why the fleet's group did nothing: sentences for the operator.

use std::net::IpAddr;

use model::{ApplianceId, EXPORT_RULES_MAX, Incarnation, VolumeId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::member::{
    ADDRESSES_MAX, APPLIANCE_NAME_BYTES_MAX, AUTHORITY_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX,
};
use super::{
    APPLIANCES_EVER_MAX, FLOATING_MAX, INVITATIONS_MAX, MEMBERS_MAX, VOLUME_MEMBERS_MAX,
    VOLUMES_MAX,
};

/// Why a fleet command did nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
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
    #[error(
        "there are {VOLUMES_MAX} volumes already, deleted ones included, the most a fleet can have"
    )]
    TooManyVolumes,
    /// Too many rules.
    #[error("a volume can have {EXPORT_RULES_MAX} export rules at most")]
    TooManyRules,
    /// Certificates were signed with the one there is.
    #[error("the fleet has its authority already")]
    AuthoritySet,
    /// Too long.
    #[error("an authority has 1 to {AUTHORITY_BYTES_MAX} bytes")]
    BadAuthority,
    /// Too many of them wait to be used: revoke one, or wait until one expires.
    #[error("{INVITATIONS_MAX} invitations are open already; revoke one")]
    TooManyInvitations,
    /// There is one of that digest: make a new secret.
    #[error("there is such an invitation already")]
    InvitationExists,
    /// It would be worth nothing.
    #[error("the invitation would have expired already: is a clock wrong?")]
    InvitationInThePast,
    /// Mistyped, revoked, or forgotten after it expired: ask for a new one.
    #[error("there is no such invitation; ask for a new one")]
    UnknownInvitation,
    /// Ask for a new one.
    #[error("the invitation has expired; ask for a new one")]
    InvitationExpired,
    /// Whoever sees this unexpectedly had its invitation stolen.
    #[error("the invitation was used by appliance {0}; it is good for one appliance alone")]
    InvitationUsed(ApplianceId),
    /// It was made for the other kind.
    #[error("the invitation is for the other kind: one for a witness admits a witness alone")]
    InvitationKind,
    /// If the asker is that appliance, its first try went through.
    #[error("appliance {0} is of this fleet already")]
    AlreadyMember(ApplianceId),
    /// For ever: others have gone on without it.
    #[error("appliance {0} was removed from this fleet for ever; start it with an empty root")]
    Removed(ApplianceId),
    /// Too many.
    #[error("a fleet can have {MEMBERS_MAX} appliances at most")]
    TooManyMembers,
    /// The list of those removed is full.
    #[error("{APPLIANCES_EVER_MAX} appliances were of this fleet, the most it can remember")]
    TooManyEver,
    /// Not a name, or another's.
    #[error(
        "{0:?} can't be this appliance's name: use 1 to {APPLIANCE_NAME_BYTES_MAX} bytes that no \
         other appliance of the fleet uses"
    )]
    BadApplianceName(String),
    /// Too many.
    #[error("an appliance can have {ADDRESSES_MAX} addresses at most")]
    TooManyAddresses,
    /// Too many, too long, or one without a name.
    #[error(
        "an appliance can have {LABELS_MAX} labels at most, of {LABEL_BYTES_MAX} bytes each at most"
    )]
    BadLabels,
    /// It has started anew, or is down already: nothing to do.
    #[error("run {incarnation} of appliance {appliance} is over")]
    RunOver {
        /// Which.
        appliance: ApplianceId,
        /// The run that the entry was about.
        incarnation: Incarnation,
    },
    /// There is nobody to take over.
    #[error("appliance {0} is the only one of the fleet")]
    LastAppliance(ApplianceId),
    /// It is running.
    #[error("appliance {0:?} is up; stop it first")]
    StillUp(String),
    /// Its data must move first.
    #[error("appliance {name:?} has a part in {volumes} volumes; drain it first")]
    StillMember {
        /// Its name.
        name: String,
        /// In how many.
        volumes: usize,
    },
    /// Without it the volume would be nowhere.
    #[error("nobody but appliance {name:?} holds volume {volume:?}; delete and purge that first")]
    OnlyHolder {
        /// The appliance's name.
        name: String,
        /// The volume's name.
        volume: String,
    },
    /// Not one to three, or one twice.
    #[error("a volume is held by 1 to {VOLUME_MEMBERS_MAX} appliances, each named once")]
    BadVolumeMembers,
    /// A witness.
    #[error("appliance {0:?} is a witness and holds no data")]
    WitnessHoldsNothing(String),
    /// Nobody who has the data would be left to copy it from.
    #[error("one of the present members must stay: change the others first, then this one")]
    NobodyStays,
    /// It is still wanted there.
    #[error("appliance {0} is still to hold the volume")]
    StillWanted(ApplianceId),
    /// So many copies can't be.
    #[error("a volume keeps 1 to {VOLUME_MEMBERS_MAX} copies of each file")]
    BadPolicy,
    /// Too many, one twice, or one without an interface.
    #[error("an appliance offers {FLOATING_MAX} floating addresses at most, each once")]
    BadOffers,
    /// No such floating address, or nobody can hold it now.
    #[error("nobody holds {0}; `holdfast fleet addresses` lists the floating addresses")]
    UnknownAddress(IpAddr),
    /// It is down, draining, or does not offer it.
    #[error("appliance {name:?} can't hold {address}: it is down, draining, or does not offer it")]
    CantHold {
        /// Which address.
        address: IpAddr,
        /// The appliance's name.
        name: String,
    },
    /// Nothing to do.
    #[error("appliance {name:?} holds {address} already")]
    HeldAlready {
        /// Which address.
        address: IpAddr,
        /// The appliance's name.
        name: String,
    },
    /// Somebody else was first, or the operator wants it where it is.
    #[error("that move would not spread the floating addresses")]
    SpreadAlready,
}
