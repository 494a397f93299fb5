//! Where a volume's copies go: on appliances that do not fail together, and where there is room.
//!
//! Invariant: equal candidates in any order give equal choices; a copy is never given up before
//! another is to take its place. Absent on purpose: moving anything, and when to look.

use std::cmp::Reverse;
use std::fmt;

use model::ApplianceId;

use crate::fleet::{Labels, MemberKind, VOLUME_MEMBERS_MAX};

/// An appliance that could hold a volume, as its owner last heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: ApplianceId,
    /// What it says of itself.
    pub labels: Labels,
    /// What it is there for; witnesses hold nothing.
    pub kind: MemberKind,
    /// Free bytes, the reserve not counted.
    pub free_bytes: u64,
    /// How many volumes it holds.
    pub volumes: usize,
    /// Whether the view takes it for up.
    pub up: bool,
    /// Whether its data is to move away.
    pub draining: bool,
}

/// What a volume asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many copies, 1 to [`VOLUME_MEMBERS_MAX`]; more is taken for that.
    pub copies: usize,
    /// What each copy needs now; a new volume needs [`FREE_BYTES_MIN`] at least.
    pub bytes: u64,
}

/// Where a volume's copies go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Who shall hold it, in order of succession.
    pub members: Vec<ApplianceId>,
    /// One line for each decision, for the operator.
    pub reasons: Vec<Reason>,
    /// How many copies are missing because nobody can take them.
    pub missing: usize,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// About whom.
    pub appliance: ApplianceId,
    /// What was decided.
    pub why: Why,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It holds the volume and goes on doing so.
    Stays,
    /// It is to leave but nobody can take its copy.
    StaysForWantOfAnother,
    /// It takes a copy.
    Taken {
        /// Where it stands.
        site: String,
        /// What it adds.
        adds: Adds,
        /// Its free bytes for each volume it would hold.
        share: u64,
    },
    /// It gives its copy up: it is drained, or no longer of the fleet.
    Leaves,
    /// It can't take a copy.
    Passed(Obstacle),
}

/// What a copy there adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adds {
    /// A copy beside another in the same rack.
    Copy,
    /// A rack of a site that has a copy.
    Rack,
    /// A site.
    Site,
}

/// Why one can't take a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is a witness.
    Witness,
    /// It is down.
    Down,
    /// It is drained.
    Draining,
    /// It has too little room.
    Full,
}

/// Chooses who holds a volume: those of `present` who may stay, in their order, and the best of
/// the others.
///
/// One that is down stays: it may be back soon, and who is removed is no candidate any more. One
/// that is draining or no candidate leaves, if another can take its copy.
pub fn place(candidates: &[Candidate], present: &[ApplianceId], wanted: Wanted) -> Placement {
    let copies = wanted.copies.clamp(1, VOLUME_MEMBERS_MAX);
    let known = |id: &ApplianceId| candidates.iter().find(|candidate| candidate.id == *id);
    let may_stay = |id: &&ApplianceId| known(id).is_some_and(|candidate| !candidate.draining);
    let mut placement = Placement::default();
    let (staying, leaving): (Vec<&ApplianceId>, Vec<_>) = present.iter().partition(may_stay);
    let mut chosen: Vec<&Candidate> = staying.into_iter().filter_map(known).collect();
    placement.reasons.extend(chosen.iter().map(|c| c.because(Why::Stays)));
    let mut free: Vec<&Candidate> = Vec::new();
    for candidate in candidates.iter().filter(|c| !present.contains(&c.id)) {
        match candidate.obstacle(wanted) {
            None => free.push(candidate),
            Some(obstacle) => placement.reasons.push(candidate.because(Why::Passed(obstacle))),
        }
    }
    while chosen.len() < copies {
        let best = free.iter().copied().max_by_key(|candidate| candidate.rank(&chosen));
        let Some(best) = best else { break };
        free.retain(|candidate| candidate.id != best.id);
        placement.reasons.push(best.because(best.taken(&chosen)));
        chosen.push(best);
    }
    placement.members = chosen.iter().map(|candidate| candidate.id).collect();
    for id in leaving {
        // Still there and still good: better than a copy too few.
        let needed = known(id).is_some() && placement.members.len() < copies;
        let why = if needed { Why::StaysForWantOfAnother } else { Why::Leaves };
        if needed {
            placement.members.push(*id);
        }
        placement.reasons.push(Reason { appliance: *id, why });
    }
    placement.reasons.sort_by_key(|reason| (reason.why.order(), reason.appliance));
    placement.missing = copies.saturating_sub(placement.members.len());
    placement
}

impl Candidate {
    fn because(&self, why: Why) -> Reason {
        Reason { appliance: self.id, why }
    }

    fn obstacle(&self, wanted: Wanted) -> Option<Obstacle> {
        if self.kind == MemberKind::Witness {
            Some(Obstacle::Witness)
        } else if !self.up {
            Some(Obstacle::Down)
        } else if self.draining {
            Some(Obstacle::Draining)
        } else if self.free_bytes < wanted.bytes.max(FREE_BYTES_MIN) {
            Some(Obstacle::Full)
        } else {
            None
        }
    }

    fn adds(&self, chosen: &[&Candidate]) -> Adds {
        let site = chosen.iter().any(|other| other.labels.site() == self.labels.site());
        let rack = chosen.iter().any(|other| other.labels.rack() == self.labels.rack());
        match (site, rack) {
            (false, _) => Adds::Site,
            (true, false) => Adds::Rack,
            (true, true) => Adds::Copy,
        }
    }

    /// Free bytes for each volume it would hold: one with much room and many volumes is not better
    /// than one with some room and none.
    fn share(&self) -> u64 {
        self.free_bytes / (self.volumes as u64 + 1)
    }

    fn rank(&self, chosen: &[&Candidate]) -> (Adds, u64, Reverse<ApplianceId>) {
        (self.adds(chosen), self.share(), Reverse(self.id))
    }

    fn taken(&self, chosen: &[&Candidate]) -> Why {
        let site = self.labels.site().to_owned();
        Why::Taken { site, adds: self.adds(chosen), share: self.share() }
    }
}

impl Why {
    /// The order in which reasons are told.
    fn order(&self) -> u8 {
        match self {
            Self::Stays => 0,
            Self::StaysForWantOfAnother => 1,
            Self::Taken { .. } => 2,
            Self::Leaves => 3,
            Self::Passed(_) => 4,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stays => f.write_str("holds it and stays"),
            Self::StaysForWantOfAnother => {
                f.write_str("should leave, but nobody else can take its copy")
            }
            Self::Taken { site, adds, share } => {
                let what = match adds {
                    Adds::Site => "a site of its own",
                    Adds::Rack => "another rack of a site that has a copy",
                    Adds::Copy => "the best that is left, beside another copy",
                };
                write!(f, "taken: {what}")?;
                if !site.is_empty() {
                    write!(f, " (site {site:?})")?;
                }
                write!(f, ", {} MiB free for each volume", share >> 20)
            }
            Self::Leaves => f.write_str("gives its copy up: draining, or no longer of the fleet"),
            Self::Passed(obstacle) => write!(f, "passed over: {obstacle}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Witness => "a witness holds no data",
            Self::Down => "it is down",
            Self::Draining => "it is being drained",
            Self::Full => "it has too little room",
        })
    }
}

/// A new volume is not put where the next upload would fill the disk.
pub const FREE_BYTES_MIN: u64 = 1 << 30;

#[cfg(test)]
mod tests;
