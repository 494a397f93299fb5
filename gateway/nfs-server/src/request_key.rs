//! The replay cache's key of a call (RFC 1813 section 4.5, and what Linux's server compares).
//!
//! Invariant: a call and its retransmission, on whatever connection and after a restart of
//! either side, have the same key; two calls of one client that differ in transaction id,
//! procedure, arguments or user do not. The AUTH_SYS stamp and machine name stay out of it: older
//! Linux changes the stamp when it sends a call again.

use std::net::IpAddr;

use model::{ClientAddress, RequestKey};
use nfs_wire::nfs3::Procedure;
use nfs_wire::rpc::GIDS_MAX;
use nfs_wire::{Call, Credential};

/// Whether executing a call of this procedure a second time could do harm, or answer otherwise.
pub(crate) fn needs_key(procedure: Procedure) -> bool {
    match procedure {
        Procedure::Setattr
        | Procedure::Write
        | Procedure::Create
        | Procedure::Mkdir
        | Procedure::Symlink
        | Procedure::Mknod
        | Procedure::Remove
        | Procedure::Rmdir
        | Procedure::Rename
        | Procedure::Link => true,
        Procedure::Null
        | Procedure::Getattr
        | Procedure::Lookup
        | Procedure::Access
        | Procedure::Readlink
        | Procedure::Read
        | Procedure::Readdir
        | Procedure::Readdirplus
        | Procedure::Fsstat
        | Procedure::Fsinfo
        | Procedure::Pathconf
        | Procedure::Commit => false,
    }
}

/// The key of `call`, made by the client at `ip`.
pub(crate) fn request_key(ip: IpAddr, call: &Call) -> RequestKey {
    let mut digested = Digested { bytes: [0; DIGESTED_BYTES_MAX], length: 0 };
    digested.word(call.xid.0);
    digested.word(call.version);
    digested.word(call.procedure);
    digested.put(&(call.args.len() as u64).to_be_bytes());
    match &call.credential {
        // No user has this many groups, so the two arms never give the same bytes.
        Credential::None | Credential::Unsupported(_) => digested.word(u32::MAX),
        Credential::Sys(sys) => {
            digested.word(sys.gids.len() as u32);
            digested.word(sys.uid);
            digested.word(sys.gid);
            sys.gids.iter().for_each(|gid| digested.word(*gid));
        }
    }
    digested.put(&call.args[..call.args.len().min(ARGS_BYTES_MAX)]);
    let hash = blake3::hash(&digested.bytes[..digested.length]);
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    RequestKey { client: ClientAddress::from(ip), digest: u128::from_be_bytes(digest) }
}

/// All of it in one piece on the stack: hashing pieces costs a call each.
struct Digested {
    bytes: [u8; DIGESTED_BYTES_MAX],
    length: usize,
}

impl Digested {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn word(&mut self, word: u32) {
        self.put(&word.to_be_bytes());
    }
}

/// How much of the arguments counts: what Linux's server takes, and more than the head of any
/// call. Beyond it are only the later bytes of a WRITE and of two long names.
const ARGS_BYTES_MAX: usize = 256;

const DIGESTED_BYTES_MAX: usize = 3 * 4 + 8 + 3 * 4 + 4 * GIDS_MAX + ARGS_BYTES_MAX;

#[cfg(test)]
mod tests;
