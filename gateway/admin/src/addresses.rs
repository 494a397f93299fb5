//! Floating addresses, as they go out of the API and come in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An address that moves between appliances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    /// The address with its subnet, such as `10.0.0.9/24`.
    pub address: String,
    /// The interface on which its holder has it, or would have it if nobody does.
    pub interface: String,
    /// Who holds it, by name; none if nobody can.
    pub holder: Option<String>,
    /// The first view in which that one does.
    pub since_view: Option<u64>,
    /// When the asked appliance saw that, in UTC (RFC 3339); at its own start at the earliest.
    pub since: Option<String>,
    /// `offered`, `take-over`, `given-up`, `spread` or `asked`.
    pub cause: Option<String>,
    /// Who can hold it, by name.
    pub offered_by: Vec<String>,
}

/// Where a floating address is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressMove {
    /// At which appliance: its name, or its number in hex.
    pub to: String,
}
