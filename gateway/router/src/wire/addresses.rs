//! What appliances say to each other about floating addresses.

use std::net::{IpAddr, SocketAddr};

use model::View;
use serde::{Deserialize, Serialize};

/// One question about a floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressAsk {
    /// These are the connections of clients to it; whoever holds it next provokes them. From its
    /// holder.
    Connections {
        /// Of which address.
        address: IpAddr,
        /// Since which view the teller holds it.
        since: View,
        /// The port here and the client's end; at most
        /// [`CLIENTS_MAX`](crate::floating::CLIENTS_MAX).
        clients: Vec<(u16, SocketAddr)>,
    },
    /// Is it off your machine, now that somebody else holds it? From who does.
    GivenUp {
        /// Which address.
        address: IpAddr,
        /// Since which view the asker holds it.
        since: View,
    },
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressTold {
    /// The connections are noted, or of no use.
    Noted,
    /// The address is off the machine.
    GivenUp,
    /// It may still be there.
    NotYet,
}
