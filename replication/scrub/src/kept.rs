//! What an appliance keeps of its scrubs over a restart.
//!
//! Invariant: every list has a limit; what was encoded decodes to itself, and any other bytes are
//! refused. Absent on purpose: the file.

use model::{ApplianceId, ObjectId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whether a pass is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// None is.
    #[default]
    Idle,
    /// One is.
    Running,
    /// One was stopped, and can go on.
    Paused,
}

/// Which part of a pass is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// All files that are owned here, in the order of their numbers.
    #[default]
    All,
    /// Once more those whose owner went away meanwhile.
    TakenOver,
    /// Those that were handed over to here behind the cursor.
    Late,
    /// All was looked at; copies are being made whole.
    Mending,
}

/// How far a pass has come: everything before it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// In which volume.
    pub volume: VolumeId,
    /// At which file.
    pub object: ObjectId,
    /// At which of its extents.
    pub extent: u64,
}

/// What a pass has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files that were looked at to their end.
    pub files: u64,
    /// Bytes that were read of this appliance's own copies of them.
    pub bytes: u64,
    /// Copies that can't be read somewhere.
    pub unreadable: u64,
    /// Copies that can be read, and differ from their owner's.
    pub differing: u64,
    /// Bad copies that were made anew.
    pub mended: u64,
    /// Bad copies about which nothing could be done now.
    pub put_off: u64,
    /// Files of which no copy is whole.
    pub damaged: u64,
    /// Files of which something was not compared: it changed all the time, or a copy did not
    /// answer.
    pub skipped: u64,
}

impl Counts {
    /// Bad copies that were found.
    pub fn errors(&self) -> u64 {
        self.unreadable.saturating_add(self.differing)
    }
}

/// A bad copy that is to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mending {
    /// In which volume.
    pub volume: VolumeId,
    /// Of which file.
    pub object: ObjectId,
    /// Whose.
    pub copy: ApplianceId,
}

/// A file of which no copy is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// In which volume.
    pub volume: VolumeId,
    /// Which.
    pub object: ObjectId,
    /// The first byte of the first extent that can't be read.
    pub offset: u64,
    /// What it was called when that was found; at most [`PATH_BYTES_MAX`].
    pub path: String,
}

/// One pass over the files of an appliance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// One volume, or all.
    pub scope: Option<VolumeId>,
    /// When it began.
    pub began: Timestamp,
    /// Which part of it is under way.
    pub stage: Stage,
    /// How far that is.
    pub at: Place,
    /// What it has seen and done.
    pub counts: Counts,
    /// Files to look at, as they were counted at its beginning; none before that.
    pub files_total: Option<u64>,
    /// Files that came behind the cursor; at most [`LATE_MAX`].
    pub late: Vec<(VolumeId, ObjectId)>,
    /// Whether an appliance went away meanwhile.
    pub somebody_left: bool,
    /// What is being made anew; at most [`MENDING_MAX`].
    pub mending: Vec<Mending>,
}

/// A pass that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// When.
    pub at: Timestamp,
    /// One volume, or all.
    pub scope: Option<VolumeId>,
    /// What it has seen and done.
    pub counts: Counts,
}

impl Finished {
    /// What is still bad: copies that could not be made anew, and files without a whole copy.
    pub fn unmended(&self) -> u64 {
        self.counts.put_off.saturating_add(self.counts.damaged)
    }
}

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Whether a pass is under way.
    pub state: State,
    /// Since when: the plan counts from it.
    pub since: Timestamp,
    /// The pass under way, or the last one.
    pub pass: Pass,
    /// The last one that came to its end.
    pub finished: Option<Finished>,
    /// Files of which no copy was whole when they were looked at last; at most [`DAMAGED_MAX`].
    pub damaged: Vec<Damage>,
}

/// Bytes that are nothing that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("what was kept of scrubs can't be read")]
pub struct BadKept;

impl Kept {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(self, vec![FORMAT]);
        bytes.expect("it has no unsizable parts")
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`BadKept`]: rot, or a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadKept> {
        let body = match bytes.split_first() {
            Some((&FORMAT, body)) => body,
            _ => return Err(BadKept),
        };
        let kept: Self = postcard::from_bytes(body).map_err(|_| BadKept)?;
        let pass = &kept.pass;
        let fits = pass.late.len() <= LATE_MAX
            && pass.mending.len() <= MENDING_MAX
            && kept.damaged.len() <= DAMAGED_MAX;
        if fits { Ok(kept) } else { Err(BadKept) }
    }
}

const FORMAT: u8 = 1;
/// Some 40 KiB; beyond it files are counted as skipped.
pub const LATE_MAX: usize = 4096;
/// Some 80 KiB; beyond it what is mended is not counted.
pub const MENDING_MAX: usize = 4096;
/// Whoever has so many needs more than a list.
pub const DAMAGED_MAX: usize = 1000;
/// A longer path is cut short.
pub const PATH_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests;
