//! What an administrator may choose about this door, and the limits that nobody may.

use std::net::{Ipv6Addr, SocketAddr};

use nfs_wire::nfs3;
use thiserror::Error;

/// Settings of the NFS door. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where NFS and MOUNT listen: TCP, and UDP for MOUNT. `[::]` takes IPv4 too; on a machine
    /// without IPv6 it means `0.0.0.0`. Port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// The most connections; one more is closed at once.
    pub connections_max: usize,
    /// The largest record a client may send; a larger one closes its connection.
    pub record_bytes_max: usize,
    /// The most requests of one connection under way or with a reply that is not yet sent.
    pub requests_per_connection_max: usize,
    /// The most bytes of calls and of replies, as large as they may get, of one connection.
    pub in_flight_bytes_per_connection_max: usize,
    /// The same of all connections together.
    pub in_flight_bytes_max: usize,
    /// Who tells clients our ports.
    pub rpcbind: RpcbindMode,
    /// The port of rpcbind, ours or another's: 111 for all but tests.
    pub rpcbind_port: u16,
}

/// Who answers on the port of rpcbind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcbindMode {
    /// We do; if somebody else does already, we register there.
    Auto,
    /// We do, or the server does not start.
    Own,
    /// Somebody else does, and we register there.
    Register,
    /// Nobody: clients mount with `-o port=2049,mountport=2049`.
    Off,
}

/// Settings that contradict one another.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSettings {
    /// No address to listen on.
    #[error("listen: name at least one address, such as [::]:2049")]
    NothingToListenOn,
    /// A limit is too small for a single request.
    #[error("{key} is {value}: it must be at least {least}")]
    TooSmall {
        /// Which setting.
        key: &'static str,
        /// What it is.
        value: usize,
        /// What it would have to be.
        least: usize,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, nfs3::PORT))],
            connections_max: 4096,
            record_bytes_max: nfs3::call_record_bytes_max(WRITE_BYTES_MAX as usize),
            requests_per_connection_max: 256,
            in_flight_bytes_per_connection_max: 32 << 20,
            in_flight_bytes_max: 256 << 20,
            rpcbind: RpcbindMode::Auto,
            rpcbind_port: nfs_wire::rpcbind::PORT,
        }
    }
}

impl Settings {
    /// Checks that the limits go together.
    ///
    /// # Errors
    /// [`BadSettings`] names the setting and the least value that works.
    pub fn check(&self) -> Result<(), BadSettings> {
        if self.listen.is_empty() {
            return Err(BadSettings::NothingToListenOn);
        }
        let one_request = self.record_bytes_max + REPLY_BYTES_MAX;
        let of_connection = self.in_flight_bytes_per_connection_max;
        let limits = [
            ("connections_max", self.connections_max, 1),
            ("record_bytes_max", self.record_bytes_max, RECORD_BYTES_LEAST),
            ("requests_per_connection_max", self.requests_per_connection_max, 1),
            ("in_flight_bytes_per_connection_max", of_connection, one_request),
            ("in_flight_bytes_max", self.in_flight_bytes_max, of_connection),
        ];
        let small = limits.into_iter().find(|(_, value, least)| value < least);
        match small {
            Some((key, value, least)) => Err(BadSettings::TooSmall { key, value, least }),
            None => Ok(()),
        }
    }
}

/// The largest READ (FSINFO `rtmax`): one extent.
pub(crate) const READ_BYTES_MAX: u32 = 1 << 20;

/// The largest WRITE (FSINFO `wtmax`): one extent.
pub(crate) const WRITE_BYTES_MAX: u32 = 1 << 20;

/// The largest page of READDIR and READDIRPLUS; more is not refused, but not given either.
pub(crate) const LISTING_BYTES_MAX: u32 = 1 << 20;

/// What a reply has around its payload: RPC header, status, attributes of up to three objects, a
/// handle, a verifier.
pub(crate) const REPLY_HEAD_BYTES_MAX: usize = 512;

/// The largest reply of all.
const REPLY_BYTES_MAX: usize = READ_BYTES_MAX as usize + REPLY_HEAD_BYTES_MAX;

/// The record of a full WRITE: FSINFO promises to take it.
const RECORD_BYTES_LEAST: usize = nfs3::call_record_bytes_max(WRITE_BYTES_MAX as usize);

const _: () = assert!(READ_BYTES_MAX as u64 <= model::EXTENT_BYTES, "a READ is at most an extent");
const _: () = assert!(LISTING_BYTES_MAX <= READ_BYTES_MAX, "REPLY_BYTES_MAX is of a READ");

#[cfg(test)]
mod tests;
