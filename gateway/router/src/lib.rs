//! Answers what doors ask of volumes: here if this appliance leads or owns, which a lone one always
//! does. Names go through the volume's Raft group, data to the owner's backing files.
//!
//! Invariant: nothing is acknowledged that a crash of this process could take back, unless the
//! asker chose UNSTABLE; and nothing is done twice. Absent on purpose: protocols and their errors,
//! how stores, logs and disks work.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod data;
mod duplicates;
mod housekeeping;
mod local;
mod machines;
mod names;
mod operator;
mod ports;
mod router;
mod waiters;

pub use machines::Machines;
pub use operator::{CheckReport, FaultyObject, OperatorRefusal, VolumeStatus};
pub use router::{Components, OpenedVolume, Router, StartFault, VolumeFactory};
