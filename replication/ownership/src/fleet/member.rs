//! Who belongs to a fleet, and what lets somebody join it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use model::{ApplianceId, Incarnation, Timestamp};
use serde::{Deserialize, Serialize};

use super::FleetRefusal;

/// The secret that seals file handles; made once, when the fleet is founded.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What signs the certificates of the fleet's appliances; opaque here, at most
/// [`AUTHORITY_BYTES_MAX`] bytes. Set once. It holds a private key: never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority(pub Vec<u8>);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// What an appliance says of itself, as `site = "attic"`; at most [`LABELS_MAX`], each name and
/// value at most [`LABEL_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Where the building burns down as one: the label `site`. Those without one share one.
    pub fn site(&self) -> &str {
        self.0.get("site").map_or("", String::as_str)
    }

    /// Where a switch or a plug fails as one: the label `rack`, which means nothing without its
    /// site.
    pub fn rack(&self) -> (&str, &str) {
        (self.site(), self.0.get("rack").map_or("", String::as_str))
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// [`FleetRefusal::BadLabels`].
    pub fn check(&self) -> Result<(), FleetRefusal> {
        let fits = |text: &String| text.len() <= LABEL_BYTES_MAX;
        let all = self.0.iter().all(|(name, value)| !name.is_empty() && fits(name) && fits(value));
        if all && self.0.len() <= LABELS_MAX { Ok(()) } else { Err(FleetRefusal::BadLabels) }
    }
}

/// What an appliance is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberKind {
    /// Holds data, serves clients, may vote.
    #[default]
    Full,
    /// Votes and holds no data: the third in a fleet of two.
    Witness,
}

/// One appliance of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub id: ApplianceId,
    /// What people call it; unique among those admitted since there is more than one.
    pub name: String,
    /// Where the others reach it; at most [`ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// What it says of itself.
    pub labels: Labels,
    /// What it is there for.
    pub kind: MemberKind,
    /// Its current run; 0 before its first.
    pub incarnation: Incarnation,
    /// Whether the current view takes it for up.
    pub up: bool,
    /// Whether its data is to move away from it.
    pub draining: bool,
}

impl Member {
    /// A member that was never up.
    pub(super) fn new(id: ApplianceId, name: String) -> Self {
        Self {
            id,
            name,
            addresses: Vec::new(),
            labels: Labels::default(),
            kind: MemberKind::Full,
            incarnation: Incarnation::default(),
            up: false,
            draining: false,
        }
    }
}

/// The digest of an invitation's secret; who shows the secret may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InvitationDigest(pub [u8; 32]);

/// The permission for one appliance to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Of its secret.
    pub digest: InvitationDigest,
    /// From when on it is worth nothing.
    pub expires: Timestamp,
    /// What may join with it.
    pub kind: MemberKind,
    /// Who has joined with it. Kept until it expires, to tell "used" from "never was".
    pub used_by: Option<ApplianceId>,
}

/// An appliance's addresses fit into one beat's reach of being tried one after another.
pub const ADDRESSES_MAX: usize = 8;
/// As many as a person sets by hand.
pub const LABELS_MAX: usize = 16;
/// The longest name or value of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// The longest name of an appliance, in bytes: a label of a host name (RFC 1035 section 2.3.4).
pub const APPLIANCE_NAME_BYTES_MAX: usize = 63;
/// Room for a key and a certificate, several times over.
pub const AUTHORITY_BYTES_MAX: usize = 16 * 1024;
