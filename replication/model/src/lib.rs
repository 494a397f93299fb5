//! The words of Holdfast as types: every noun that crosses a crate boundary is named here once.
//!
//! Invariant: a value of one of these types is valid; raw bytes and bare integers are checked where
//! they become one. Absent on purpose: IO, clocks, randomness, protocols, storage formats.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
mod change;
mod export;
mod identity;
mod ids;
mod mark;
mod membership;
mod name;
mod object;
pub mod permission;
mod policy;
mod refusal;
mod seams;
mod span;
mod stability;
mod time;

pub use attributes::{Attributes, Device, ObjectKind, Wcc, WccBefore};
pub use change::{
    Asked, Change, Changed, CreateHow, DirectoryChange, NodeKind, SetAttributes, SetTime,
};
pub use export::{
    ANONYMOUS_ID, BadClientPattern, ClientPattern, EXPORT_RULES_MAX, ExportAccess, ExportRule,
    RootDirectory, Squash, VOLUME_NAME_BYTES_MAX, VolumeInfo, is_volume_name,
};
pub use identity::{ClientAddress, Identity, RequestKey};
pub use ids::{
    ApplianceId, Cookie, Epoch, GroupId, Incarnation, Index, LossCount, ObjectId, Sequence, Term,
    View, VolumeId,
};
pub use mark::{Mark, Reign};
pub use membership::Membership;
pub use name::{BadName, NAME_BYTES_MAX, Name, SYMLINK_BYTES_MAX};
pub use object::{DataFacts, Inode, InodeKind, LINKS_MAX, ObjectRecord, Stamp, Times};
pub use policy::{Durability, Policy};
pub use refusal::Refusal;
pub use seams::{Clock, Entropy};
pub use span::{EXTENT_BYTES, FILE_BYTES_MAX, Span};
pub use stability::{Stability, WriteVerifier, Written};
pub use time::Timestamp;
