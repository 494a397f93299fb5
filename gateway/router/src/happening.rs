//! What happens that a person must know, and whom it is told to.
//!
//! Invariant: telling never waits. Absent on purpose: texts and how bad it is; whoever listens
//! knows both.

use extents::CopyFault;
use model::{ApplianceId, ObjectId, VolumeId};
use ownership::Fleet;

/// Something that a person must know. Of a fleet one appliance tells it: what concerns the fleet
/// its leader, what concerns a volume's files the volume's leader, what concerns a copy, a disk or
/// a connection the appliance that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// To an appliance of the fleet.
    Appliance(ApplianceId, OfAppliance),
    /// To this appliance itself.
    Here(Here),
    /// To a volume.
    Volume(VolumeId, OfVolume),
    /// To a copy of a file.
    Copy(VolumeId, ObjectId, OfCopy),
    /// A scrub found a file of which no copy is whole; here the bytes from `offset` on can't be
    /// read.
    Damaged {
        /// In which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
        /// What it is called.
        path: String,
        /// The first byte of an extent.
        offset: u64,
    },
}

/// What happens to an appliance, as the fleet's leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfAppliance {
    /// It has not been heard for a while.
    Down,
    /// It is back.
    Up,
    /// It was to be emptied, and holds nothing any more.
    Drained,
    /// It is to hold something again.
    InUse,
    /// It was removed from the fleet; the name is the one that it had.
    Left(String),
}

/// What happens to an appliance, as it sees it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// It does not reach enough of the fleet to answer anybody.
    CutOff,
    /// It does again.
    BackInFleet,
    /// Only the reserve of its disk is left: nothing more is written.
    DiskFull,
    /// There is room again.
    DiskHasRoom,
    /// A scrub of its files has come to its end.
    Scrubbed(scrub::Finished),
    /// A rebalance that it saw through is over: the disks are as even as they get.
    Rebalanced,
    /// A rebalance that it saw through has ended though disks are not even.
    RebalanceStuck,
}

/// What happens to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfVolume {
    /// Too few of those who hold it are up to decide anything: nobody can use it.
    Unavailable,
    /// It can be used again.
    Available,
    /// Files have no good copy at an appliance that is up; so many.
    FilesUnavailable(u64),
    /// All of them can be used again.
    FilesAvailable,
    /// Files have fewer good copies than they should; so many, as far as they were counted.
    Degraded(u64),
    /// All of them have as many as they should.
    Whole,
}

/// What happens to a copy of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfCopy {
    /// A write or an fsync of the copy here failed.
    Failed(CopyFault),
    /// The copy here can't be read; another one answers.
    Unreadable,
    /// It was made anew.
    Repaired,
    /// The copy here can't be read, and there is no other good one.
    OnlyUnreadable,
    /// That appliance's copy of a file of this one did not keep up.
    LeftBehind(ApplianceId),
    /// Somebody wanted the file at that appliance, and it stayed here.
    NotMoved(ApplianceId),
    /// That appliance's copy of a file of this one can't be read.
    UnreadableThere(ApplianceId),
    /// That appliance's copy can be read, and is not what this one's is.
    Differs(ApplianceId),
}

/// Whoever is told what happens.
pub trait Herald: Send + Sync {
    /// Takes it, and never waits. The fleet is the one that it happened in: it knows the names.
    fn tell(&self, fleet: &Fleet, happening: Happening);
}

/// Nobody is told.
#[derive(Debug, Default)]
pub struct Unheard;

impl Herald for Unheard {
    fn tell(&self, _: &Fleet, _: Happening) {}
}
