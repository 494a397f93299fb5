//! Measures the appliance beside its peers, and the catalog's store beside its rivals.
//!
//! Everything here prints tables for people; nothing is a test, and no number decides whether a
//! build passes. Invariant: what is compared runs on the same machine, on the same disk, in the
//! same run, in turns, so that whatever disturbs the machine disturbs all of them.
//!
//! A set-up that fails ends the run, so this package panics where a library would return.
//!
//! Absent on purpose: knowledge of how a server works. Every peer is asked over the wire.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement looks at the clock and waits between two turns"
)]

pub mod client;
pub mod data;
pub mod disk;
pub mod door;
pub mod fleet;
pub mod kernel;
pub mod mesh;
pub mod names;
pub mod sample;
pub mod servers;
pub mod stores;
pub mod table;
