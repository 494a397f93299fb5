//! Evens out how full the appliances' disks are: which bytes of which volume go from where to
//! where.
//!
//! Invariant: a file has as many copies afterwards as before, on members of its volume; nothing
//! goes to who is down, draining or as full as the giver, nor into a taker's reserve; pinned files
//! stay; what a plan leaves behind needs no other plan. Equal facts give equal plans. Absent on
//! purpose: single files and moving them; whoever owns them picks and sends them.

use std::collections::BTreeMap;

use model::{ApplianceId, VolumeId};
use serde::{Deserialize, Serialize};

mod leaving;
mod pace;

pub use leaving::{Departure, Hindrance, Leave, LeavePart, leave};
pub use pace::{ASSUMED, Pace, Speed};

/// How even is even enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceSettings {
    /// Disks whose used shares differ by no more than this are left as they are; in parts of
    /// [`WHOLE`].
    pub tolerance: u64,
    /// What is moved at all is moved until they differ by no more than this: less than the
    /// tolerance, so that the next write does not make another plan.
    pub goal: u64,
}

impl Default for BalanceSettings {
    /// Five points of a hundred, brought down to two.
    fn default() -> Self {
        Self { tolerance: 500, goal: 200 }
    }
}

/// An appliance's disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whose.
    pub appliance: ApplianceId,
    /// All there is; 0 if it could not be asked.
    pub total: u64,
    /// Free, the reserve not counted.
    pub free: u64,
    /// In use by copies that go by themselves: what was moved is removed a while later.
    pub going: u64,
    /// Whether it is up and has answered.
    pub up: bool,
    /// Whether its data is to move away: then that is seen to elsewhere.
    pub draining: bool,
}

/// A volume, as far as it says what may go where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Which.
    pub volume: VolumeId,
    /// Who holds it, in order of succession.
    pub members: Vec<ApplianceId>,
    /// How many copies of each file.
    pub wanted: usize,
}

/// Files of one volume that may be treated alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// Of which volume.
    pub volume: VolumeId,
    /// Who owns them.
    pub owner: ApplianceId,
    /// Who has good copies that count, the owner among them, in order of their numbers.
    pub holders: Vec<ApplianceId>,
    /// Whether the operator wants them where they are.
    pub pinned: bool,
    /// They take at least 2 to the power of one less than this; 0 if they take nothing.
    pub class: u8,
    /// How many there are.
    pub files: u64,
    /// What each copy of all of them takes on a disk.
    pub bytes: u64,
    /// What the smallest of them takes.
    pub smallest: u64,
}

/// All that a plan is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// One for each appliance that may hold data.
    pub disks: Vec<Disk>,
    /// All volumes.
    pub volumes: Vec<Spread>,
    /// What there is, as far as its owners could be asked.
    pub lots: Vec<Lot>,
}

/// Files that one owner sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Who owns them, and sees to it.
    pub by: ApplianceId,
    /// Of which volume.
    pub volume: VolumeId,
    /// Who has a copy and gives it up.
    pub from: ApplianceId,
    /// Who gets one instead.
    pub to: ApplianceId,
    /// How many, about: only bytes count.
    pub files: u64,
    /// How much.
    pub bytes: u64,
}

/// What is to be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most [`FLOWS_MAX`].
    pub flows: Vec<Flow>,
    /// What the facts are once it is done.
    pub after: Facts,
    /// Whether there is more to do than one plan may say: another one goes on.
    pub truncated: bool,
}

impl Disk {
    /// Bytes in use by what stays.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.free).saturating_sub(self.going)
    }

    /// The used share, in parts of [`WHOLE`].
    pub fn share(&self) -> u64 {
        part(self.used(), self.total)
    }

    /// Whether it can be given something.
    pub fn takes(&self) -> bool {
        self.up && !self.draining && self.total > 0
    }

    /// What it can be given without eating into the reserve for what clients write.
    pub fn room(&self) -> u64 {
        self.free.saturating_sub(self.total / TAKER_RESERVE_FRACTION)
    }
}

impl Plan {
    /// All files and bytes.
    pub fn sum(&self) -> (u64, u64) {
        sum(&self.flows)
    }
}

/// The files and bytes of all flows.
pub fn sum(flows: &[Flow]) -> (u64, u64) {
    let add = |(files, bytes): (u64, u64), flow: &Flow| {
        (files.saturating_add(flow.files), bytes.saturating_add(flow.bytes))
    };
    flows.iter().fold((0, 0), add)
}

/// The class of a file that takes so many bytes.
pub fn class_of(bytes: u64) -> u8 {
    u8::try_from(u64::BITS - bytes.leading_zeros()).unwrap_or(u8::MAX)
}

/// What is to be moved so that the disks are evenly full: nothing, if they are.
pub fn plan(facts: &Facts, settings: BalanceSettings) -> Plan {
    let mut scales = Scales::new(facts);
    let quantum = scales.quantum();
    let mut flows: BTreeMap<FlowKey, (u64, u64)> = BTreeMap::new();
    let (mut threshold, mut steps, mut truncated) = (settings.tolerance, 0, false);
    while let Some(step) = scales.best(threshold) {
        threshold = settings.goal;
        let key = step.flow();
        if steps >= STEPS_MAX || flows.len() >= FLOWS_MAX && !flows.contains_key(&key) {
            truncated = true;
            break;
        }
        steps += 1;
        let (files, bytes) = scales.take(&step, quantum);
        let flow = flows.entry(key).or_default();
        *flow = (flow.0 + files, flow.1 + bytes);
    }
    let flow =
        |((by, volume, from, to), (files, bytes))| Flow { by, volume, from, to, files, bytes };
    Plan {
        flows: flows.into_iter().map(flow).collect(),
        after: Facts { volumes: facts.volumes.clone(), ..scales.into_facts() },
        truncated,
    }
}

/// By whom, of which volume, from whom, to whom.
type FlowKey = (ApplianceId, VolumeId, ApplianceId, ApplianceId);
/// Of which volume, whose, at whom.
type GroupKey = (VolumeId, ApplianceId, Vec<ApplianceId>);

/// The facts, as they become step by step.
struct Scales<'a> {
    disks: BTreeMap<ApplianceId, Disk>,
    spreads: BTreeMap<VolumeId, &'a Spread>,
    groups: BTreeMap<GroupKey, BTreeMap<u8, Class>>,
    pinned: Vec<Lot>,
}

/// Files of about one size.
#[derive(Clone, Copy, Default)]
struct Class {
    files: u64,
    bytes: u64,
    smallest: u64,
}

/// Files that are to go next.
struct Step {
    group: GroupKey,
    class: u8,
    from: ApplianceId,
    to: ApplianceId,
    /// No more than this.
    limit: u64,
}

impl Step {
    fn flow(&self) -> FlowKey {
        (self.group.1, self.group.0, self.from, self.to)
    }
}

impl<'a> Scales<'a> {
    fn new(facts: &'a Facts) -> Self {
        let mut groups: BTreeMap<GroupKey, BTreeMap<u8, Class>> = BTreeMap::new();
        let mut pinned = Vec::new();
        for lot in &facts.lots {
            if lot.pinned {
                pinned.push(lot.clone());
                continue;
            }
            let group = groups.entry((lot.volume, lot.owner, lot.holders.clone())).or_default();
            let Lot { files, bytes, smallest, .. } = *lot;
            group.entry(lot.class).or_default().add(Class { files, bytes, smallest });
        }
        Self {
            disks: facts.disks.iter().map(|disk| (disk.appliance, *disk)).collect(),
            spreads: facts.volumes.iter().map(|spread| (spread.volume, spread)).collect(),
            groups,
            pinned,
        }
    }

    fn into_facts(self) -> Facts {
        let mut lots = self.pinned;
        for ((volume, owner, holders), classes) in self.groups {
            lots.extend(classes.into_iter().map(|(class, Class { files, bytes, smallest })| Lot {
                volume,
                owner,
                holders: holders.clone(),
                pinned: false,
                class,
                files,
                bytes,
                smallest,
            }));
        }
        Facts { disks: self.disks.into_values().collect(), volumes: Vec::new(), lots }
    }

    /// A small part of all that is to be moved: what is moved at once from the fullest to the
    /// emptiest, before it is seen anew which those are.
    fn quantum(&self) -> u64 {
        let takers = || self.disks.values().filter(|disk| disk.takes());
        let total: u128 = takers().map(|disk| u128::from(disk.total)).sum();
        let used: u128 = takers().map(|disk| u128::from(disk.used())).sum();
        let surplus = |disk: &Disk| {
            let fair = u128::from(disk.total) * used / total.max(1);
            u128::from(disk.used()).saturating_sub(fair)
        };
        let surplus: u128 = takers().map(surplus).sum();
        u64::try_from(surplus / QUANTA).unwrap_or(u64::MAX).max(QUANTUM_BYTES_MIN)
    }

    /// The files that even out the greatest difference above `threshold`.
    fn best(&self, threshold: u64) -> Option<Step> {
        let mut best: Option<(u64, Step)> = None;
        for (group, classes) in &self.groups {
            let (volume, owner, holders) = group;
            let Some(spread) = self.spreads.get(volume) else { continue };
            if holders.len() < spread.wanted.max(1) || !self.is(*owner, |disk| disk.up) {
                continue;
            }
            for from in holders {
                let others = || holders.iter().filter(|holder| *holder != from);
                let heir = spread.wanted <= 1 || others().any(|other| self.is(*other, Disk::takes));
                if from == owner && !heir || !self.is(*from, Disk::takes) {
                    continue;
                }
                for to in spread.members.iter().filter(|to| !holders.contains(to)) {
                    let Some((difference, limit)) = self.difference(*from, *to) else { continue };
                    let better = best.as_ref().is_none_or(|(best, _)| difference > *best);
                    if difference <= threshold || !better {
                        continue;
                    }
                    let fits = |class: &Class| class.smallest > 0 && class.smallest <= limit;
                    let class = classes.iter().rev().find(|(_, class)| fits(class));
                    if let Some((class, _)) = class {
                        let (group, class, from, to) = (group.clone(), *class, *from, *to);
                        best = Some((difference, Step { group, class, from, to, limit }));
                    }
                }
            }
        }
        best.map(|(_, step)| step)
    }

    fn is(&self, appliance: ApplianceId, what: impl Fn(&Disk) -> bool) -> bool {
        self.disks.get(&appliance).is_some_and(what)
    }

    /// By how much one is fuller than another, and how much may go without its becoming emptier.
    fn difference(&self, from: ApplianceId, to: ApplianceId) -> Option<(u64, u64)> {
        let (from, to) = (self.disks.get(&from)?, self.disks.get(&to)?);
        if !to.takes() {
            return None;
        }
        let difference = from.share().checked_sub(to.share())?;
        let product = |used: u64, total: u64| u128::from(used) * u128::from(total);
        let ahead = product(from.used(), to.total).saturating_sub(product(to.used(), from.total));
        let level = ahead / (u128::from(from.total) + u128::from(to.total));
        Some((difference, u64::try_from(level).unwrap_or(u64::MAX).min(to.room())))
    }

    /// Moves what is to go next; how many files and bytes.
    fn take(&mut self, step: &Step, quantum: u64) -> (u64, u64) {
        let Some(class) = self.groups.get_mut(&step.group).and_then(|g| g.get_mut(&step.class))
        else {
            return (0, 0);
        };
        let moved = class.split(step.limit, quantum);
        if class.files == 0 {
            let group = self.groups.get_mut(&step.group).expect("it was there");
            group.remove(&step.class);
            if group.is_empty() {
                self.groups.remove(&step.group);
            }
        }
        let (volume, owner, holders) = &step.group;
        let mut now: Vec<ApplianceId> =
            holders.iter().copied().filter(|holder| *holder != step.from).collect();
        let heir = now.iter().copied().find(|other| self.is(*other, Disk::takes));
        let owner = match *owner == step.from {
            true => heir.unwrap_or(step.to),
            false => *owner,
        };
        now.push(step.to);
        now.sort_unstable();
        let group = self.groups.entry((*volume, owner, now)).or_default();
        group.entry(step.class).or_default().add(moved);
        for (appliance, gives) in [(step.from, true), (step.to, false)] {
            if let Some(disk) = self.disks.get_mut(&appliance) {
                disk.free = match gives {
                    true => disk.free.saturating_add(moved.bytes).min(disk.total),
                    false => disk.free.saturating_sub(moved.bytes),
                };
            }
        }
        (moved.files, moved.bytes)
    }
}

impl Class {
    fn add(&mut self, more: Self) {
        let smallest =
            if self.files == 0 { more.smallest } else { self.smallest.min(more.smallest) };
        self.files = self.files.saturating_add(more.files);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.smallest = smallest;
    }

    /// Takes files of about `quantum` bytes out, one at least, and no more than `limit` allows.
    fn split(&mut self, limit: u64, quantum: u64) -> Self {
        let each = (self.bytes / self.files.max(1)).max(1);
        let files = (quantum.min(limit) / each).max(u64::from(each <= limit)).min(self.files);
        let moved = match files {
            // Only the smallest of them is known to fit.
            0 => Self { files: 1, bytes: self.smallest, smallest: self.smallest },
            all if all == self.files && self.bytes <= limit => *self,
            files => Self { files, bytes: each * files, smallest: self.smallest.min(each) },
        };
        self.files = self.files.saturating_sub(moved.files);
        self.bytes = self.bytes.saturating_sub(moved.bytes);
        if files == 0 && self.files > 0 {
            self.smallest = self.bytes.div_ceil(self.files);
        }
        moved
    }
}

fn part(of: u64, total: u64) -> u64 {
    let part = u128::from(of) * u128::from(WHOLE) / u128::from(total.max(1));
    u64::try_from(part).unwrap_or(WHOLE).min(WHOLE)
}

/// Shares are told in ten-thousandths.
pub const WHOLE: u64 = 10_000;
/// Some 50 bytes each, so that all of them go into one message.
pub const FLOWS_MAX: usize = 1024;
/// Each looks at all groups of files: some seconds in the largest fleet there can be.
const STEPS_MAX: usize = 2048;
const QUANTA: u128 = 64;
const QUANTUM_BYTES_MIN: u64 = 1 << 20;
/// A twentieth of a disk is not filled up by moving.
const TAKER_RESERVE_FRACTION: u64 = 20;

#[cfg(test)]
mod tests;
