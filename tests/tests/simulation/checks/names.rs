//! Names are linearizable and changed exactly once. The order is the log's: every change that was
//! answered stands in it once, between its call and its answer, and did what a simple tree does;
//! every read saw the tree as it was after some entry, none older than what was answered before it
//! began.
//!
//! Reads are placed as early as they can be, in the order of their answers: if any order exists,
//! that one does, since places only push later ones on.

use std::collections::BTreeMap;

use catalog::Command;
use model::{Change, Index, ObjectId, Refusal, RequestKey, VolumeId};

use super::tree::Tree;
use crate::history::{History, Logged, Op};
use crate::words::{Call, Outcome};

/// The tree after an entry.
struct Version {
    index: Index,
    /// When it was first applied anywhere.
    at: u64,
    tree: Tree,
}

/// A volume's log, as a simple tree understands it.
struct Story {
    versions: Vec<Version>,
    /// What each call did, and where.
    done: BTreeMap<RequestKey, (Index, u64, Result<model::ObjectId, Refusal>)>,
}

pub fn check(history: &History) -> Result<(), String> {
    let volumes: Vec<VolumeId> = history.ops.iter().map(|op| op.request.volume).collect();
    let nothing = BTreeMap::new();
    for volume in std::collections::BTreeSet::from_iter(volumes) {
        let log = history.logs.get(&volume).unwrap_or(&nothing);
        let story = Story::of(log).map_err(|what| format!("volume {volume}: {what}"))?;
        let ops = history.ops.iter().filter(|op| op.request.volume == volume);
        story.check(ops).map_err(|what| format!("volume {volume}: {what}"))?;
    }
    Ok(())
}

impl Story {
    fn of(log: &BTreeMap<Index, Logged>) -> Result<Self, String> {
        let mut tree = Tree::genesis();
        let first = Version { index: Index::default(), at: 0, tree: tree.clone() };
        let mut story = Self { versions: vec![first], done: BTreeMap::new() };
        for (index, logged) in log {
            let Some(Command::Change(asked) | Command::Create { asked, .. }) = &logged.command
            else {
                continue;
            };
            if logged.answer == Err(Refusal::Fenced) {
                continue;
            }
            let said = match &logged.answer {
                Ok(Some(changed)) => Ok(changed.object),
                Ok(None) => return Err(format!("entry {index} did nothing")),
                Err(refusal) => Err(*refusal),
            };
            let key = asked.key;
            let known = key.and_then(|key| story.done.get(&key)).map(|(_, _, did)| *did);
            let did = known.unwrap_or_else(|| tree.apply(&asked.change));
            if did != said {
                return Err(format!(
                    "entry {index} ({:?}) did {said:?}, not {did:?}",
                    asked.change
                ));
            }
            if let (Some(key), None) = (key, known) {
                story.done.insert(key, (*index, logged.at, did));
            }
            story.versions.push(Version { index: *index, at: logged.at, tree: tree.clone() });
        }
        Ok(story)
    }

    fn check<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> Result<(), String> {
        let mut ops: Vec<&Op> = ops.filter(|op| op.answered.is_some()).collect();
        ops.sort_by_key(|op| op.answered.as_ref().map(|(at, _)| *at));
        // When an op about names was answered, and the newest version that any so far saw; and
        // where the changes came. A file's owner knows of what befell the file when that is
        // answered, not when somebody reads of it, and nothing of other files.
        let mut all: Vec<(u64, usize)> = vec![(0, 0)];
        let mut changes: Vec<(u64, usize)> = Vec::new();
        for op in ops {
            let Some((answered, outcome)) = &op.answered else { continue };
            let is_change = matches!(op.request.call, Call::Change(_));
            let object = op.request.call.object();
            let floor = match object {
                Some(object) => {
                    let before = changes.iter().take_while(|(at, _)| *at < op.invoked);
                    let about = before.filter(|(_, place)| self.befell(object, *place));
                    about.map(|(_, place)| *place).max().unwrap_or(0)
                }
                None => all[all.partition_point(|(at, _)| *at < op.invoked) - 1].1,
            };
            let Some(place) = self.place(op, *answered, outcome, floor)? else { continue };
            if object.is_none() {
                let newest = all.last().map_or(0, |last| last.1).max(place);
                all.push((*answered, newest));
            }
            if is_change {
                changes.push((*answered, place));
            }
        }
        Ok(())
    }

    /// The version that an op made or saw, by position; none if it says nothing about names.
    fn place(
        &self,
        op: &Op,
        answered: u64,
        outcome: &Outcome,
        floor: usize,
    ) -> Result<Option<usize>, String> {
        let told = || format!("{:?} ({} to {answered} µs) got {outcome:?}", op.request, op.invoked);
        match &op.request.call {
            Call::Change(change) => self.place_change(op, change, answered, outcome, floor, &told),
            Call::LookUp { .. } | Call::List { .. } if *outcome == Outcome::Busy => Ok(None),
            Call::LookUp { dir, name } => self
                .find(floor, answered, |tree| *outcome == Outcome::Found(tree.find(*dir, name)))
                .map(Some)
                .ok_or_else(|| format!("{}, which was never so meanwhile", told())),
            Call::List { dir, after, max } => {
                let same = |tree: &Tree| {
                    let (names, end) = tree.list(*dir, *after, *max);
                    *outcome == Outcome::Listed { names, end }
                };
                self.find(floor, answered, same)
                    .map(Some)
                    .ok_or_else(|| format!("{}, which was never so meanwhile", told()))
            }
            Call::Read { object } | Call::Write { object, .. } | Call::Commit { object } => {
                let wanted = match outcome {
                    Outcome::Busy => return Ok(None),
                    outcome if History::is_stale(outcome) => false,
                    _ => true,
                };
                self.find(floor, answered, |tree| tree.has(*object) == wanted)
                    .map(Some)
                    .ok_or_else(|| format!("{}, but the object was not so", told()))
            }
        }
    }

    fn place_change(
        &self,
        op: &Op,
        change: &Change,
        answered: u64,
        outcome: &Outcome,
        floor: usize,
        told: &dyn Fn() -> String,
    ) -> Result<Option<usize>, String> {
        let said = match outcome {
            Outcome::Changed(object) => Ok(*object),
            Outcome::Refused(refusal) => Err(*refusal),
            Outcome::Busy => {
                return match self.done.get(&op.request.key) {
                    Some((index, ..)) => Err(format!("{}, and entry {index} did it", told())),
                    None => Ok(None),
                };
            }
            _ => return Err(format!("{}, the answer to another question", told())),
        };
        let Some((index, at, did)) = self.done.get(&op.request.key) else {
            let refused = |tree: &Tree| said.is_err() && tree.clone().apply(change) == said;
            return self
                .find(floor, answered, refused)
                .map(Some)
                .ok_or_else(|| format!("{}, and no entry did it", told()));
        };
        if *at > answered {
            return Err(format!("{}, and entry {index} did it at {at} µs", told()));
        }
        if *did != said {
            return Err(format!("{}, but entry {index} did {did:?}", told()));
        }
        let place = self.versions.partition_point(|version| version.index < *index);
        if *at < op.invoked || place < floor {
            return Err(format!("{}, out of order: entry {index} at {at} µs", told()));
        }
        Ok(Some(place))
    }

    /// Whether the object came or went with that version.
    fn befell(&self, object: ObjectId, place: usize) -> bool {
        let has = |place: usize| self.versions[place].tree.has(object);
        place > 0 && has(place) != has(place - 1)
    }

    fn find(&self, floor: usize, until: u64, is: impl Fn(&Tree) -> bool) -> Option<usize> {
        let versions = self.versions.iter().enumerate().skip(floor);
        let found =
            versions.take_while(|(at, v)| *at == floor || v.at <= until).find(|(_, v)| is(&v.tree));
        found.map(|(at, _)| at)
    }
}
