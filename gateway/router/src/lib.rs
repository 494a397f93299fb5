//! Answers what doors ask of volumes: here if this appliance leads or owns, which a lone one always
//! does. Names go through the volume's Raft group, data to the owner's backing files.
//!
//! Invariant: nothing is acknowledged that a crash of this process could take back, unless the
//! asker chose UNSTABLE; and nothing is done twice. Absent on purpose: protocols and their errors,
//! how stores, logs and disks work.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answering;
mod attributes;
mod balancing;
mod carrying;
mod conditions;
mod copies;
mod data;
mod duplicates;
mod entering;
mod equalizing;
mod floating;
mod followed;
mod following;
mod gates;
mod happening;
mod health;
mod heat;
mod housekeeping;
mod installing;
mod joining;
mod keeping;
mod local;
mod machines;
mod moving;
mod names;
mod operator;
mod outbox;
mod overview;
mod parked;
mod ports;
mod pulse;
mod recalling;
mod receiving;
mod registering;
mod router;
mod routing;
mod scrubbing;
mod securing;
mod serving;
mod standing;
mod stopping;
mod telling;
mod tending;
mod transfers;
mod waiters;
mod watching;
mod weighing;
mod wire;

pub use answering::Answering;
pub use balancing::{RebalanceNow, RunKeeper};
pub use floating::{AddressClient, AddressPlace, AddressStatus, AddressWish, CLIENTS_MAX, Release};
pub use happening::{Happening, Herald, Here, OfAppliance, OfCopy, OfVolume, Unheard};
pub use health::Health;
pub use heat::LedgerKeeper;
pub use joining::{Admission, Certifier, JoinReply, JoinRequest};
pub use keeping::{DELETED_KEPT, kept_until};
pub use machines::Machines;
pub use moving::{FoundFile, JobId, JobReport};
pub use operator::{CheckReport, FaultyObject, OperatorRefusal, VolumeStatus};
pub use outbox::{MeshOutbox, MeshSlot};
pub use overview::{CopiesReport, Held, HeldAs, LedgerQuestion, WholeLedger};
pub use router::{
    Clients, Components, OpenedVolume, Reach, Router, Start, StartFault, VolumeFactory,
};
pub use scrubbing::{ScrubKeeper, Scrubs};
pub use weighing::{DrainPlan, WeighedFleet};
pub use wire::balance::{PartReport, RunId, RunPhase, RunReport, Tally};
pub use wire::scrub::{FileProgress, ScrubAsk, ScrubReport};
pub use wire::{BadMessage, TransferCause, TransferPhase, TransferStatus, decode, encode};
