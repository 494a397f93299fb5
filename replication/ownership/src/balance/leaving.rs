//! What the drain of an appliance will move, to whom, and what stands in the way.
//!
//! Invariant: nothing is left out: each file of which it has a copy that counts is handed over,
//! copied elsewhere, or has copies enough without it; or a hindrance says why not.

use std::collections::{BTreeMap, BTreeSet};

use model::{ApplianceId, VolumeId};
use serde::{Deserialize, Serialize};

use super::{Facts, Lot};

/// What becomes of a volume that an appliance leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Which.
    pub volume: VolumeId,
    /// Who holds it then, in order of succession; if the leaving one is among them nobody can take
    /// its place.
    pub members: Vec<ApplianceId>,
    /// How many copies its policy asks for.
    pub replicas: usize,
}

/// What goes to one appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavePart {
    /// Of which volume.
    pub volume: VolumeId,
    /// To whom.
    pub to: ApplianceId,
    /// Files that it will own.
    pub handed_files: u64,
    /// What has to be sent for that: nothing for those of which it has a copy already.
    pub handed_bytes: u64,
    /// Files of which it gets a copy in the place of the leaving one's.
    pub copied_files: u64,
    /// What has to be sent for that.
    pub copied_bytes: u64,
}

/// What stands in the way of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// The appliance is down: what it alone has can't be moved before it is back.
    Down,
    /// Nobody else can hold the volume, or is up.
    NobodyElse(VolumeId),
    /// Too few of those who hold the volume are up to decide anything.
    NoQuorum(VolumeId),
    /// Fewer copies are left than the policy asks for.
    FewerCopies {
        /// Of which volume.
        volume: VolumeId,
        /// What the policy asks for.
        wanted: usize,
        /// What there can be.
        left: usize,
    },
    /// It gets more than it has room for.
    NoRoom {
        /// Who.
        to: ApplianceId,
        /// Bytes that it gets.
        needs: u64,
        /// Bytes that it can take.
        has: u64,
    },
    /// It could not be asked what it owns: there may be more to move than is said.
    Unheard(ApplianceId),
}

/// What a drain does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// One for each volume and taker.
    pub parts: Vec<LeavePart>,
    /// What stands in its way.
    pub hindrances: Vec<Hindrance>,
}

impl Leave {
    /// All files and bytes that are sent, handed over or copied.
    pub fn sum(&self) -> (u64, u64) {
        let add = |(files, bytes): (u64, u64), part: &LeavePart| {
            let more = part.handed_bytes.saturating_add(part.copied_bytes);
            (files + part.handed_files + part.copied_files, bytes.saturating_add(more))
        };
        self.parts.iter().fold((0, 0), add)
    }
}

/// What the drain of `who` does.
pub fn leave(facts: &Facts, who: ApplianceId, volumes: &[Departure]) -> Leave {
    let is_up = |a: &ApplianceId| facts.disks.iter().any(|disk| disk.appliance == *a && disk.up);
    let mut all = Leave::default();
    let mut parts = Parts::new();
    if !is_up(&who) {
        all.hindrances.push(Hindrance::Down);
    }
    let mut involved = BTreeSet::new();
    for departure in volumes {
        let volume = departure.volume;
        let staying: Vec<ApplianceId> =
            departure.members.iter().copied().filter(|member| *member != who).collect();
        let up = staying.iter().filter(|member| is_up(member)).count();
        if up == 0 {
            all.hindrances.push(Hindrance::NobodyElse(volume));
            continue;
        }
        if 2 * up <= staying.len() {
            all.hindrances.push(Hindrance::NoQuorum(volume));
        }
        let wanted = departure.replicas.min(staying.len()).max(1);
        if wanted < departure.replicas {
            let (wanted, left) = (departure.replicas, wanted);
            all.hindrances.push(Hindrance::FewerCopies { volume, wanted, left });
        }
        involved.extend(staying.iter().copied());
        let lots = facts.lots.iter().filter(|lot| lot.volume == volume);
        for lot in lots.filter(|lot| lot.holders.contains(&who)) {
            add_part_of(lot, who, (&staying, wanted), is_up, &mut parts);
        }
    }
    all.parts = parts.into_values().collect();
    for disk in &facts.disks {
        let of = all.parts.iter().filter(|part| part.to == disk.appliance);
        let needs = of.fold(0_u64, |needs, part| {
            needs.saturating_add(part.handed_bytes).saturating_add(part.copied_bytes)
        });
        let (to, has) = (disk.appliance, disk.room());
        if needs > has {
            all.hindrances.push(Hindrance::NoRoom { to, needs, has });
        }
        if !disk.up && involved.contains(&to) {
            all.hindrances.push(Hindrance::Unheard(to));
        }
    }
    all
}

type Parts = BTreeMap<(VolumeId, ApplianceId), LeavePart>;

/// Adds what becomes of some files to the parts of those who get them.
fn add_part_of(
    lot: &Lot,
    who: ApplianceId,
    (staying, wanted): (&[ApplianceId], usize),
    is_up: impl Fn(&ApplianceId) -> bool,
    parts: &mut Parts,
) {
    let volume = lot.volume;
    let nothing = |to| LeavePart {
        volume,
        to,
        handed_files: 0,
        handed_bytes: 0,
        copied_files: 0,
        copied_bytes: 0,
    };
    let mut holders: Vec<ApplianceId> =
        lot.holders.iter().copied().filter(|holder| *holder != who).collect();
    if lot.owner == who {
        let Some(heir) = staying.iter().copied().find(|heir| is_up(heir)) else { return };
        let part = parts.entry((volume, heir)).or_insert(nothing(heir));
        part.handed_files += lot.files;
        if !holders.contains(&heir) {
            part.handed_bytes = part.handed_bytes.saturating_add(lot.bytes);
            holders.push(heir);
        }
    }
    while holders.len() < wanted {
        let new = staying.iter().copied().find(|new| is_up(new) && !holders.contains(new));
        let Some(new) = new else { return };
        let part = parts.entry((volume, new)).or_insert(nothing(new));
        part.copied_files += lot.files;
        part.copied_bytes = part.copied_bytes.saturating_add(lot.bytes);
        holders.push(new);
    }
}
