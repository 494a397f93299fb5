//! Who takes part in a Raft group.

use serde::{Deserialize, Serialize};

use crate::ApplianceId;

/// Who takes part in a Raft group: Raft's `ConfState` (Ongaro's dissertation, section 4.3). While a
/// change is under way the group is joint: it decides with majorities of `voters` and `outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Who votes.
    pub voters: Vec<ApplianceId>,
    /// Who gets the log and does not vote.
    pub learners: Vec<ApplianceId>,
    /// Who voted before the change that is under way; empty if none is.
    pub outgoing: Vec<ApplianceId>,
    /// Those of `outgoing` who will be learners when the change is done.
    pub learners_next: Vec<ApplianceId>,
    /// Whether the leader ends the change by itself.
    pub auto_leave: bool,
}

impl Membership {
    /// These voters and nobody else.
    pub fn of_voters(voters: impl IntoIterator<Item = ApplianceId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether `appliance` votes and nobody else does or did.
    pub fn is_alone(&self, appliance: ApplianceId) -> bool {
        self.voters == [appliance] && self.outgoing.is_empty() && self.learners.is_empty()
    }

    /// Whether `appliance` takes part in any way.
    pub fn includes(&self, appliance: ApplianceId) -> bool {
        let all = [&self.voters, &self.learners, &self.outgoing, &self.learners_next];
        all.into_iter().any(|some| some.contains(&appliance))
    }

    /// Whether a change is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }
}
