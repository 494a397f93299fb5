//! Object data on BTRFS: each object's bytes in a sparse backing file, the mark and times of its
//! last change beside them.
//!
//! Invariant: what is called durable was fsynced, what is called written is in the file, and marks,
//! times and sizes are given out in the order in which the bytes change. A broken copy says so and
//! is not used for writing any more.
//! Absent on purpose: names, permission and owners (the catalog's), other appliances (the
//! replicator's), any protocol.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod btrfs;
mod core;
mod disk;
mod extent_set;
mod feed;
mod follow;
mod hash;
mod linux;
mod object;
mod objects;
mod record;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod space;
mod sys;
mod table;

pub use disk::{BackingFile, Disk, DiskTotals, FileFacts, Open, Rename, Wait};
pub use feed::{Backlog, FRAME_BYTES_MAX, FeedEnd, Frame, FrameChange};
pub use follow::{Admission, CopyState, admit};
pub use hash::{EXTENT_HASH_BYTES, ExtentHash};
pub use linux::LinuxDisk;
pub use objects::{
    Attach, Base, COMPARED_AT_ONCE_MAX, Cold, Copied, CopyFault, Equal, Feed, Followed,
    METRIC_FSYNC_SECONDS, METRIC_READS, Objects, Piece, READ_BYTES_MAX, RUNS_PER_COPY_MAX,
    ReadDone, Receipt, Settings, Sink, SizeDone, Stamping, Taken, Touched, WriteDone,
};
pub use record::{BadRecord, RECORD_XATTR, Record, RecordState};
pub use space::{Ballast, Space, reserve_bytes};
