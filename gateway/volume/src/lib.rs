//! What a file system means to a client, whatever door it knocks on: handles, exports and squash,
//! names, access bits, directory listings.
//!
//! Invariant: a request passes [`Service::resolve`] (handle, export, identity) before it reaches
//! a port, and permission is checked again by whoever executes it. Absent on purpose: protocols,
//! IO, knowledge of who owns or leads; the ports hide all of it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod export;
mod handle;
mod ports;
mod service;

pub use caller::{Caller, Groups, GroupsFound, Line, UnixCredential};
pub use export::{Verdict, export_path, verdict};
pub use handle::{BadHandle, HANDLE_BYTES, Handle, HandleKey};
pub use ports::{
    Ask, Attached, Committed, Done, Entry, Found, Listing, LookUpName, Page, Ports, ReadData,
    Refused, SpaceReport, WriteRequest, Wrote,
};
pub use service::{
    AccessBits, Denied, NameUse, Service, Target, access_granted, cookie_verifier, refusal_of_name,
};
