//! Which disks the data is kept on: the decision, from what was seen.
//!
//! Invariant: a file system is made only on a disk on which nothing was seen at all, and only while
//! no disk has Holdfast's data. Whatever is unclear is refused, with a sentence that lists every
//! disk and why it was not taken; a refused disk is not written to.
//!
//! Absent on purpose: IO (in [`observe`] and [`prepare`]), and any way to erase a disk.

mod content;
pub mod observe;
pub mod prepare;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::block::Disk;
use crate::config::{DiskName, Disks, Profile};

/// A disk, and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The disk.
    pub disk: Disk,
    /// What is on it.
    pub content: Content,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// No partitions, nothing that `blkid` knows, and zeros wherever it was read.
    Empty,
    /// Holdfast's data, or a part of it.
    Ours(Member),
    /// Something else, in a few words. It is nobody's to touch.
    Foreign(String),
    /// It can't hold data, whatever is on it; why.
    Unfit(String),
}

/// A disk's part in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which file system.
    pub filesystem: String,
    /// Which part of it.
    pub part: String,
    /// How many parts it has.
    pub parts: u64,
    /// How often it was written as a whole, as this part knows.
    pub generation: u64,
}

/// What to do about the disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Mount the file system on these.
    Mount {
        /// Their paths.
        devices: Vec<String>,
        /// All there are, or all but one.
        complete: Complete,
        /// What an operator must know about it; sentences.
        notes: Vec<String>,
    },
    /// Look again soon: a part of the file system may still come. A sentence says which.
    Wait(String),
    /// Make a file system over these, which are empty.
    Make(Vec<String>),
    /// Touch nothing; a sentence says why.
    Refuse(String),
}

/// Whether all parts of a file system are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// All.
    Whole,
    /// One is missing.
    Degraded,
}

/// Decides. `waited` is since when a part has been missing.
pub fn decide(seen: &[Seen], wanted: &Disks, waited: Duration) -> Decision {
    let chosen = match wanted.devices.as_slice() {
        [] => choose(seen, wanted.profile),
        names => choose_named(seen, names),
    };
    let decided = match chosen {
        Ok(Choice::Make(disks)) => Ok(Decision::Make(paths(&disks))),
        Ok(Choice::Take(set)) => take(&set, wanted.profile, waited),
        Err(why) => Err(why),
    };
    decided.unwrap_or_else(|why| Decision::Refuse(format!("{why}. {}", list(seen))))
}

/// The parts of one file system that were seen.
type Set<'a> = Vec<(&'a Seen, &'a Member)>;

enum Choice<'a> {
    Take(Set<'a>),
    Make(Vec<&'a Seen>),
}

fn choose(seen: &[Seen], profile: Profile) -> Result<Choice<'_>, String> {
    let mut sets = sets(seen);
    if let Some((_, set)) = sets.pop_first() {
        return match sets.pop_first() {
            None => Ok(Choice::Take(set)),
            Some((_, other)) => {
                let (one, other) = (join(paths_of(&set)), join(paths_of(&other)));
                Err(format!(
                    "there is data of two appliances: on {one}, and on {other}: name one of them \
                     in `disk.devices`, or take the other away"
                ))
            }
        };
    }
    let empty: Vec<&Seen> = seen.iter().filter(|seen| seen.content == Content::Empty).collect();
    let wanted = profile.disks();
    match empty.len() {
        count if count == wanted => Ok(Choice::Make(empty)),
        count if count < wanted => Err(format!(
            "no disk has Holdfast's data, and {count} of the {wanted} empty ones that are needed \
             are there: attach an empty disk"
        )),
        count => Err(format!(
            "no disk has Holdfast's data, and {count} are empty where {wanted} would do: name \
             what to use in `disk.devices`"
        )),
    }
}

fn choose_named<'a>(seen: &'a [Seen], names: &[DiskName]) -> Result<Choice<'a>, String> {
    let (mut named, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        let matching: Vec<&Seen> = seen.iter().filter(|seen| is_called(&seen.disk, name)).collect();
        match matching.as_slice() {
            [] => missing.push(shown(name)),
            [one] if named.contains(one) => {
                return Err(format!("`disk.devices` names {} twice: name two", one.disk.path));
            }
            [one] => named.push(*one),
            many => {
                let paths = join(many.iter().map(|seen| seen.disk.path.as_str()));
                return Err(format!("{} have one serial: name the disk by its path", paths));
            }
        }
    }
    for Seen { disk, content } in &named {
        if let Content::Foreign(what) | Content::Unfit(what) = content {
            return Err(format!(
                "{} is named in `disk.devices` and can't be taken ({what}): it was left as it is; \
                 name another, or empty it elsewhere",
                disk.path
            ));
        }
    }
    let mut sets = sets(seen);
    let has_named = |set: &Set<'_>| set.iter().any(|(part, _)| named.contains(part));
    let others = join(sets.values().flat_map(|set| paths_of(set)));
    sets.retain(|_, set| has_named(set));
    match (sets.pop_first(), sets.pop_first()) {
        (Some((_, set)), None) => Ok(Choice::Take(set)),
        (Some(_), Some(_)) => {
            Err("the disks in `disk.devices` have data of two appliances: name those of one"
                .to_owned())
        }
        (None, _) if !others.is_empty() => Err(format!(
            "Holdfast's data is on {others}, and `disk.devices` does not name that: name it, or \
             take it away"
        )),
        (None, _) if !missing.is_empty() => Err(format!(
            "{} is named in `disk.devices` and not there: attach it, or name another",
            join(missing.iter().map(String::as_str))
        )),
        (None, _) => Ok(Choice::Make(named)),
    }
}

/// What to do about the file system of which `set` was seen.
fn take(set: &Set<'_>, profile: Profile, waited: Duration) -> Result<Decision, String> {
    let mut parts: Vec<&str> = set.iter().map(|(_, member)| member.part.as_str()).collect();
    parts.sort_unstable();
    parts.dedup();
    let devices = join(paths_of(set));
    // The kernel would take either for the other.
    if parts.len() < set.len() {
        return Err(format!("{devices} are copies of one another: take all but one away"));
    }
    let Some((_, newest)) = set.iter().max_by_key(|(_, member)| member.generation) else {
        return Err("a file system has no disk".to_owned());
    };
    let present = set.len() as u64;
    let mut notes = Vec::new();
    let complete = match newest.parts.checked_sub(present) {
        Some(0) => Complete::Whole,
        Some(1) if present > 0 && newest.parts > 1 => {
            if waited < SECOND_DISK_PATIENCE {
                let seconds = SECOND_DISK_PATIENCE.as_secs();
                return Ok(Decision::Wait(format!(
                    "{devices} is a part of Holdfast's data, and another disk of it is missing: \
                     waiting up to {seconds} s for it"
                )));
            }
            notes.push(format!(
                "DEGRADED: a disk of Holdfast's data is missing, only {devices} is there. There is \
                 one copy of everything until it is back or replaced; never start the missing disk \
                 alone"
            ));
            Complete::Degraded
        }
        Some(missing) => {
            return Err(format!(
                "{missing} of the {} disks of Holdfast's data are missing: attach them",
                newest.parts
            ));
        }
        None => {
            return Err(format!(
                "{devices} are more than the {} disks of Holdfast's data: one of them was \
                 replaced and must be taken away",
                newest.parts
            ));
        }
    };
    let behind = |member: &Member| newest.generation.abs_diff(member.generation) > CRASH_LAG;
    for (seen, _) in set.iter().filter(|(_, member)| behind(member)) {
        notes.push(format!(
            "{} missed changes while it was away: they are not there twice until `btrfs scrub \
             start` has run on the data disk",
            seen.disk.path
        ));
    }
    if newest.parts == 1 && profile == Profile::Raid1 {
        notes.push(format!(
            "Holdfast's data is on {devices} alone: `disk.profile = \"raid1\"` counts when a file \
             system is made, and changes nothing on this one"
        ));
    }
    Ok(Decision::Mount { devices: paths_of(set).map(str::to_owned).collect(), complete, notes })
}

/// The file systems of Holdfast's, by their names.
fn sets(seen: &[Seen]) -> BTreeMap<&str, Set<'_>> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for seen in seen {
        if let Content::Ours(member) = &seen.content {
            sets.entry(&member.filesystem).or_default().push((seen, member));
        }
    }
    sets
}

fn is_called(disk: &Disk, name: &DiskName) -> bool {
    match name {
        DiskName::Path(path) => disk.path == *path,
        DiskName::Serial(serial) => disk.serial.as_ref() == Some(serial),
    }
}

fn shown(name: &DiskName) -> String {
    match name {
        DiskName::Path(path) => path.clone(),
        DiskName::Serial(serial) => format!("the disk with serial {serial}"),
    }
}

/// Every disk, and what is on it.
fn list(seen: &[Seen]) -> String {
    if seen.is_empty() {
        return "There is no disk at all".to_owned();
    }
    let one = |Seen { disk, content }: &Seen| {
        let what = match content {
            Content::Empty => "empty",
            Content::Ours(_) => "Holdfast's data",
            Content::Foreign(what) | Content::Unfit(what) => what,
        };
        let serial = disk.serial.iter().map(|serial| format!(", serial {serial}"));
        let size = size(disk.size_bytes);
        format!("{} ({size}{}): {what}", disk.path, serial.collect::<String>())
    };
    let all: Vec<String> = seen.iter().map(one).collect();
    format!("The disks: {}", all.join("; "))
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in units {
        unit = next;
        if scaled < 1024.0 || next == "TiB" {
            break;
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} {unit}")
}

fn paths(seen: &[&Seen]) -> Vec<String> {
    seen.iter().map(|seen| seen.disk.path.clone()).collect()
}

fn paths_of<'a>(set: &Set<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    set.iter().map(|(seen, _)| seen.disk.path.as_str()).collect::<Vec<_>>().into_iter()
}

fn join<'a>(paths: impl IntoIterator<Item = &'a str>) -> String {
    paths.into_iter().collect::<Vec<_>>().join(" and ")
}

/// The label of the file systems that are Holdfast's.
pub const LABEL: &str = "HOLDFAST-DATA";
/// A second disk may spin up later than the first.
pub const SECOND_DISK_PATIENCE: Duration = Duration::from_secs(20);
/// A power cut between two disks' writes leaves one of them so far behind.
const CRASH_LAG: u64 = 1;
