//! Drains and rebalances before they move anything, as they go out of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How fast files are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaceView {
    /// Bytes of large files in a second.
    pub bytes_per_second: u64,
    /// What each file takes whatever its size, in microseconds.
    pub micros_per_file: u64,
    /// Whether that was measured since the appliance's start; else it is assumed.
    pub measured: bool,
}

/// What the drain of an appliance will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainPlanView {
    /// What people call it.
    pub name: String,
    /// What goes to whom.
    pub parts: Vec<DrainPartView>,
    /// Files that are handed over or copied elsewhere.
    pub files: u64,
    /// Bytes that are sent for that.
    pub bytes: u64,
    /// How long that takes, about.
    pub seconds: u64,
    /// What the time is computed from.
    pub pace: PaceView,
    /// What stands in the way, and what to do; a sentence each.
    pub obstacles: Vec<String>,
}

/// What one appliance gets of a volume when another is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainPartView {
    /// The volume's name.
    pub volume: String,
    /// Who gets it, by name.
    pub to: String,
    /// Files that it will own.
    pub handed_files: u64,
    /// What has to be sent for that.
    pub handed_bytes: u64,
    /// Files of which it gets a copy.
    pub copied_files: u64,
    /// What has to be sent for that.
    pub copied_bytes: u64,
}

/// How evenly the disks are filled, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebalanceView {
    /// The rebalance that is under way, or the last one that is remembered.
    pub run: Option<RebalanceRunView>,
    /// What would be moved now; none while files are being moved.
    pub plan: Option<RebalancePlanView>,
    /// Appliances that could not be asked, by name.
    pub unheard: Vec<String>,
}

/// What would be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebalancePlanView {
    /// Whether there is nothing to move.
    pub balanced: bool,
    /// Disks whose used shares differ by no more are left as they are; in points of a hundred.
    pub tolerance_percent: u64,
    /// The disks.
    pub disks: Vec<BalancedDiskView>,
    /// What goes where.
    pub flows: Vec<FlowView>,
    /// Files in all, about.
    pub files: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// How long that takes, about.
    pub seconds: u64,
    /// What the time is computed from: the slowest who has to send something.
    pub pace: PaceView,
    /// What keeps disks from being more even; a sentence each.
    pub obstacles: Vec<String>,
}

/// A disk, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancedDiskView {
    /// Whose, by name.
    pub appliance: String,
    /// `up`, `down` or `draining`: only those that are up take part.
    pub state: String,
    /// All there is.
    pub total_bytes: u64,
    /// In use; what is about to be removed does not count.
    pub used_bytes: u64,
    /// In use once all is moved.
    pub used_bytes_after: u64,
}

/// Files that go from one appliance to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowView {
    /// The volume's name.
    pub volume: String,
    /// Who gives them up, by name.
    pub from: String,
    /// Who gets them, by name.
    pub to: String,
    /// How many, about.
    pub files: u64,
    /// How much.
    pub bytes: u64,
}

/// A rebalance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebalanceRunView {
    /// Which.
    pub id: String,
    /// Who sees it through, by name.
    pub at: String,
    /// When it began, in UTC (RFC 3339).
    pub began: String,
    /// `moving`, `settling`, `done`, `cancelled` or `stuck`.
    pub phase: String,
    /// Whether it is over.
    pub ended: bool,
    /// Whether the disks are as even as they get.
    pub succeeded: bool,
    /// What is planned now.
    pub flows: Vec<FlowView>,
    /// Files to be moved in all, about.
    pub files_total: u64,
    /// Files that were moved.
    pub files_done: u64,
    /// Files that could not be moved, or not now.
    pub files_kept: u64,
    /// Bytes to be moved in all.
    pub bytes_total: u64,
    /// Bytes that were moved.
    pub bytes_done: u64,
    /// How fast that goes; 0 before it is known.
    pub bytes_per_second: u64,
    /// How long the rest takes, about; none before that is known.
    pub seconds_left: Option<u64>,
    /// How it is going, in a sentence.
    pub outcome: String,
}
