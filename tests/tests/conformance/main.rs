//! What an NFSv3 client relies upon, claim by claim, against a running appliance.
//!
//! The client's types are those of the `nfs3_types` crate and its calls are made here, so it
//! shares no code with the appliance. Tests that need nothing but an appliance share one; those
//! that stop or kill theirs have one of their own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

mod attributes;
mod client;
mod create;
mod data;
mod filesystem;
mod listing;
mod mount;
mod names;
mod permission;
mod replay;
mod sessions;
mod stability;
mod wcc;
mod world;
