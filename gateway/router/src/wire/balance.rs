//! What appliances ask of one another about evening out their disks.

use model::{ApplianceId, Timestamp};
use ownership::balance::{Flow, Lot, Speed};
use serde::{Deserialize, Serialize};

/// A rebalance, from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunId {
    /// Who plans it and sees it through.
    pub at: ApplianceId,
    /// When it began, by that one's clock: so it is another one than any before.
    pub began: Timestamp,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalanceAsk {
    /// How full are you, and what do you own?
    Weigh,
    /// See to those of these flows that are yours, and know of the others.
    Carry {
        /// As part of which rebalance.
        run: RunId,
        /// All flows of the plan.
        flows: Vec<Flow>,
    },
    /// How is what you know of going?
    State,
    /// End what you do for a rebalance, whichever it is.
    Cancel,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalanceTold {
    /// What is there.
    Weighed(Weighed),
    /// It is done, or will be.
    Done,
    /// Another rebalance is under way there.
    Busy(RunId),
    /// How it is going.
    State {
        /// Of the rebalance that the asked sees through, or the last one.
        run: Option<RunReport>,
        /// Of what it does for one.
        part: Option<PartReport>,
    },
    /// The asked can't look.
    Fault,
}

/// What an appliance holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// All there is on its disk.
    pub total: u64,
    /// Free bytes, the reserve not counted.
    pub free: u64,
    /// In use by copies that it is about to remove.
    pub going: u64,
    /// In use at others by copies of its files that count no more, and will be removed there.
    pub surplus: Vec<(ApplianceId, u64)>,
    /// What it owns; at most [`LOTS_MAX`].
    pub lots: Vec<Lot>,
    /// How fast it moves files.
    pub speed: Speed,
}

/// What is done of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Files that were moved.
    pub files: u64,
    /// What they take.
    pub bytes: u64,
    /// Files that could not be moved, or not now.
    pub kept: u64,
    /// What has come of files that are being moved.
    pub under_way: u64,
}

/// What one appliance does for a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// For which.
    pub run: RunId,
    /// Of its flows.
    pub done: Tally,
    /// Whether nothing of it is left to do.
    pub ended: bool,
}

/// What a rebalance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunPhase {
    /// Files are moved.
    Moving,
    /// All are; what they leave behind is being removed.
    Settling,
    /// The disks are as even as they get.
    Done,
    /// Somebody ended it.
    Cancelled,
    /// Files that should be moved can't be.
    Stuck,
}

/// How a rebalance is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Which.
    pub id: RunId,
    /// What it is doing.
    pub phase: RunPhase,
    /// What is planned now; of one that is over, what was planned last.
    pub flows: Vec<Flow>,
    /// Files to be moved in all, about.
    pub files_planned: u64,
    /// Bytes to be moved in all.
    pub bytes_planned: u64,
    /// What is done of that.
    pub done: Tally,
    /// For how long files have been moved, in milliseconds.
    pub moving_ms: u64,
}

impl RunPhase {
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        match self {
            Self::Moving | Self::Settling => false,
            Self::Done | Self::Cancelled | Self::Stuck => true,
        }
    }
}

/// Some 100 bytes each; there are as many as volumes times sizes times places.
pub const LOTS_MAX: usize = 20_000;
