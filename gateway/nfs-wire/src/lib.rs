//! The wire codec of the NFS door: ONC RPC (RFC 5531) with record marking, AUTH_NONE and
//! AUTH_SYS; NFS v3 and MOUNT v3 (RFC 1813); NLM v4 as far as refusing goes; portmap v2 and
//! rpcbind v3 and v4 (RFC 1833).
//!
//! Every protocol is here from both ends: what the appliance decodes a client can encode, and the
//! other way round, so that each type has a round trip and a load generator has a fast client.
//!
//! Invariants: any input bytes give a value or a typed refusal, never a panic. Decoded names,
//! paths and payloads are slices of the record they came in. No allocation follows a claimed
//! length that has not been checked against both a limit and the bytes that are really there.
//!
//! Leniency, chosen once for all decoders: padding must be present but may hold any byte, and
//! bytes after the last argument are ignored; both are what the Linux kernel does. A boolean is
//! 0 or 1, an enumeration one of its values, and everything else is refused.
//!
//! Absent on purpose: IO, clocks, threads, permission, the meaning of a handle or a name.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod message;
pub mod mount;
pub mod nfs3;
pub mod nlm;
pub mod record;
pub mod rpc;
pub mod rpcbind;
pub mod xdr;

pub use message::{Body, Encoded, Framing, Verbatim};
pub use record::{BadRecord, RecordReader};
pub use rpc::{BadArgs, BadCall, Call, Credential, Refusal, Xid};
pub use xdr::{Malformed, Reader};
