//! Frames and requests between the appliances of a fleet.
//!
//! Invariant: nobody is heard who has not shown a certificate of this fleet's own authority, except
//! a newcomer's one request; what arrives is what was sent, or a fault that says whether it may
//! have been executed.
//!
//! Absent on purpose: what requests mean (the router's), who is of the fleet (`Handler::admits`
//! says), retries of requests (the asker knows what may be asked twice). `quic.rs` and its folder
//! alone name quinn.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod authority;
mod bulk;
mod fleet_token;
mod invitation;
pub mod limits;
mod memory;
mod quic;
mod seam;
mod spelling;
mod wire;

pub use authority::{
    AUTHORITY_LIFETIME, BACKDATED, BadAuthority, CREDENTIALS_LIFETIME, Credentials, Fingerprint,
    FleetAuthority,
};
pub use bulk::{BulkReceiver, BulkSender, BulkStream};
pub use fleet_token::FleetToken;
pub use invitation::{Invitation, SECRET_BYTES, digest_of};
pub use memory::{MemoryFleet, MemoryMesh};
pub use quic::{
    BadCredentials, BindFault, Congestion, JoinFault, Parts, PathFacts, QuicMesh, Settings, join,
};
pub use seam::{Chunk, Handler, Mesh, MeshFault, Message, Peer, Topic};
pub use spelling::BadToken;
pub use wire::FrameVersions;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod testing;
