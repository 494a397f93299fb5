//! A TCP connection, as its four numbers.
//!
//! Invariant: both ends are of one family, and neither is IPv4 written as IPv6.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// A client's connection to an address of this machine, or one that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(Ends);

/// Both ends, as packets name them: local, then remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ends {
    V4(SocketAddrV4, SocketAddrV4),
    V6(SocketAddrV6, SocketAddrV6),
}

impl Connection {
    /// A connection between `local`, the end of the floating address, and `remote`, the client's.
    /// IPv4 written as IPv6 (`::ffff:10.0.0.9`), as a socket on `[::]` has it, becomes IPv4.
    ///
    /// # Errors
    /// The ends are not of one family: there is no such connection, whoever told of it.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Result<Self, BadConnection> {
        match (canonical(local), canonical(remote)) {
            (SocketAddr::V4(local), SocketAddr::V4(remote)) => Ok(Self(Ends::V4(local, remote))),
            (SocketAddr::V6(local), SocketAddr::V6(remote)) => Ok(Self(Ends::V6(local, remote))),
            (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
                Err(BadConnection::Families { local, remote })
            }
        }
    }

    /// The end of the floating address.
    pub fn local(&self) -> SocketAddr {
        match self.0 {
            Ends::V4(local, _) => local.into(),
            Ends::V6(local, _) => local.into(),
        }
    }

    /// The client's end.
    pub fn remote(&self) -> SocketAddr {
        match self.0 {
            Ends::V4(_, remote) => remote.into(),
            Ends::V6(_, remote) => remote.into(),
        }
    }

    pub(crate) fn ends(&self) -> Ends {
        self.0
    }
}

/// Why two ends are not a [`Connection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadConnection {
    /// One is of IPv4, one of IPv6.
    #[error("no connection goes from {local} to {remote}: one is of IPv4, one of IPv6")]
    Families {
        /// The end of the floating address.
        local: SocketAddr,
        /// The other.
        remote: SocketAddr,
    },
}

/// What [`Addresses::connections`](crate::Addresses::connections) found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// In no order, [`CONNECTIONS_MAX`] at most.
    pub list: Vec<Connection>,
    /// Whether there were more. Clients whose connections are not listed notice a move of the
    /// address by themselves, within a minute; the caller logs it.
    pub cut: bool,
}

fn canonical(end: SocketAddr) -> SocketAddr {
    match end.ip().to_canonical() {
        // Keeps what only an IPv6 end has, its scope.
        ip if ip == end.ip() => end,
        ip => SocketAddr::new(ip, end.port()),
    }
}

/// How many connections of one address are listed: as many as one client has ports.
pub const CONNECTIONS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_written_as_ipv6_is_ipv4() {
        let connection = Connection::new(
            "[::ffff:10.0.0.9]:2049".parse().unwrap(),
            "[::ffff:10.0.0.7]:700".parse().unwrap(),
        )
        .unwrap();
        assert_eq!(connection.local(), "10.0.0.9:2049".parse().unwrap());
        assert_eq!(connection.remote(), "10.0.0.7:700".parse().unwrap());
    }

    #[test]
    fn ends_of_two_families_are_no_connection() {
        let v4 = "10.0.0.9:2049".parse().unwrap();
        let v6 = "[fd00::7]:700".parse().unwrap();
        let said = Connection::new(v4, v6).unwrap_err().to_string();
        assert!(said.starts_with("no connection goes from 10.0.0.9:2049 to [fd00::7]:700"));
        assert!(Connection::new(v6, v4).is_err());
        assert!(Connection::new(v6, v6).is_ok());
    }
}
