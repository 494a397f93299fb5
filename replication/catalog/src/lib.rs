//! The replicated metadata of one volume: names, inodes, object records, the removal list, the
//! replay cache. Entries of the volume's Raft group are applied here and nowhere else.
//!
//! Invariant: equal logs give equal catalogs; a refused entry leaves no trace. Absent on purpose:
//! Raft, bytes of files (applying an entry never touches a backing file), clocks: time comes in
//! entries.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod cached;
mod catalog;
mod check;
mod command;
mod fault;
mod fjall;
mod fleet;
mod install;
mod keys;
mod memory;
mod owners;
mod plan;
mod records;
mod replay;
mod store;
mod txn;

pub use self::fjall::{FjallSettings, FjallStore};
pub use catalog::{Applied, Catalog, Copies, Listed, ListedName, LookedUp, Preview};
pub use check::{Report, Violation};
pub use command::{Answer, Command, Envelope, LogEntry, Others};
pub use fault::CatalogFault;
pub use fleet::{FleetCatalog, encode_fleet_command};
pub use install::{InstallFault, Installing, PIECE_BYTES_MAX};
pub use memory::{MemoryImage, MemoryStore};
pub use store::{Batch, Image, Imaging, Record, Scan, Store, StoreFault};
