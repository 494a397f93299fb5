//! What appliances say to each other about scrubs.

use model::{Mark, ObjectId, Timestamp, VolumeId};
use scrub::{Counts, Damage, Finished, State};
use serde::{Deserialize, Serialize};

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubAsk {
    /// Begin, or go on.
    Start {
        /// One volume, or all.
        volume: Option<VolumeId>,
    },
    /// No more for now.
    Stop,
    /// How does it stand?
    Status,
}

/// How an appliance's scrubs stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Whether a pass is under way.
    pub state: State,
    /// One volume, or all: of the pass under way, or the last one.
    pub scope: Option<VolumeId>,
    /// When it began; none if there never was one.
    pub began: Option<Timestamp>,
    /// What it has seen and done.
    pub counts: Counts,
    /// Files to look at, as they were counted at its beginning.
    pub files_total: u64,
    /// The file that is being looked at.
    pub file: Option<FileProgress>,
    /// Copies that are being made anew.
    pub mending: u64,
    /// The last pass that came to its end.
    pub finished: Option<Finished>,
    /// When the next one begins by itself.
    pub due: Option<Timestamp>,
    /// Bytes a second that may be read from its disk.
    pub rate: u64,
    /// How many files have no whole copy.
    pub damaged_files: u64,
    /// Some of them; at most [`DAMAGED_TOLD_MAX`].
    pub damaged: Vec<Damage>,
}

/// How far a file was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProgress {
    /// In which volume.
    pub volume: VolumeId,
    /// Which.
    pub object: ObjectId,
    /// Up to which byte.
    pub done: u64,
    /// Its size.
    pub size: u64,
}

/// An extent of a copy, read from its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentTold {
    /// The change that the copy held meanwhile; none if nobody can say.
    pub at: Option<Mark>,
    /// The copy's size.
    pub size: u64,
    /// Blake3 of its bytes; none if they can't be read.
    pub digest: Option<[u8; 32]>,
    /// The next extent in which the copy has data; `u64::MAX` if there is none.
    pub next: u64,
}

/// Each takes up to some 420 bytes of a reply's header.
pub const DAMAGED_TOLD_MAX: usize = 50;
