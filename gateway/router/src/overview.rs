//! What an operator asks of the whole fleet: who moved what, why a file stays where it is, and what
//! an appliance holds that would go with it.
//!
//! Invariant: what could not be asked is said to be unknown, never taken for nothing. Absent on
//! purpose: changing anything; what is counted here may be another number a moment later.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Catalog, CatalogFault, Imaging};
use model::{ApplianceId, Cookie, InodeKind, ObjectId, ObjectRecord, Refusal, VolumeId};
use ownership::heat::Explained;
use ownership::{LEDGER_MAX, OwnerChange, Part};
use serde::{Deserialize, Serialize};

use crate::moving::FoundFile;
use crate::operator::OperatorRefusal;
use crate::router::Router;
use crate::wire::{Reply, Request};

/// What an appliance holds of one volume, as the volume's catalog says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesReport {
    /// Files that it owns or has a copy of.
    pub files: u64,
    /// Those of them of which nobody else has a good copy.
    pub alone: u64,
    /// Paths of some of those, from the volume's root; at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// An appliance's part in one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which volume.
    pub volume: VolumeId,
    /// Its name; of a deleted one the name it had.
    pub name: String,
    /// As what.
    pub held: HeldAs,
    /// Who else shall hold it.
    pub others: Vec<ApplianceId>,
    /// How many of all who hold it are up, the appliance itself included.
    pub up: usize,
    /// What it holds of it; none if nobody who knows could be asked.
    pub copies: Option<CopiesReport>,
}

/// As what an appliance holds a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldAs {
    /// It shall hold it.
    Member,
    /// It shall not any more, and may still have files of it.
    Leaving,
    /// The volume is deleted, and not yet purged.
    Deleted,
}

/// Changes of owners, as far as they are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeLedger {
    /// The changes, the newest first; at most [`LEDGER_MAX`].
    pub changes: Vec<OwnerChange>,
    /// Appliances that did not answer: what they remember is missing.
    pub unheard: Vec<ApplianceId>,
}

/// What a ledger is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerQuestion {
    /// One volume, or all.
    pub volume: Option<VolumeId>,
    /// One file of that volume, or all.
    pub object: Option<ObjectId>,
}

impl LedgerQuestion {
    /// Whether a change is asked for; one of a whole volume is about each of its files.
    pub fn includes(&self, change: &OwnerChange) -> bool {
        let of_object = |asked| change.object.is_none_or(|object| object == asked);
        self.volume.is_none_or(|volume| volume == change.volume)
            && self.object.is_none_or(of_object)
    }
}

impl<S: Imaging> Router<S> {
    /// The changes of owners that the appliances that are up remember, the newest first by their
    /// clocks.
    pub async fn whole_ledger(self: &Arc<Self>, question: LedgerQuestion) -> WholeLedger {
        let fleet = self.fleet_now();
        let me = self.parts.appliance;
        let mut asked = tokio::task::JoinSet::new();
        for member in fleet.members().iter().filter(|member| member.up && member.id != me) {
            let (router, id) = (self.clone(), member.id);
            asked.spawn(async move {
                let request = Request::Ledger(question);
                let reply = router.ask_peer(id, &request, Bytes::new(), LOOK_WAIT).await;
                (id, reply)
            });
        }
        let down = fleet.members().iter().filter(|member| !member.up && member.id != me);
        let mut whole = WholeLedger {
            changes: self.ledger_here(question),
            unheard: down.map(|member| member.id).collect(),
        };
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((_, Ok((Reply::Ledger(changes), _)))) => whole.changes.extend(changes),
                Ok((id, _)) => whole.unheard.push(id),
                Err(_) => {}
            }
        }
        whole.changes.sort_by_key(|change| std::cmp::Reverse((change.at, change.epoch)));
        whole.changes.truncate(LEDGER_MAX);
        whole.unheard.sort_unstable();
        whole
    }

    pub(crate) fn ledger_here(&self, question: LedgerQuestion) -> Vec<OwnerChange> {
        self.ledger().into_iter().filter(|change| question.includes(change)).collect()
    }

    /// Why a file stays or moves: the arithmetic of its owner, and who that is.
    ///
    /// # Errors
    /// If the owner can't be asked, or changes all the time.
    pub async fn explain_file(
        self: &Arc<Self>,
        file: &FoundFile,
    ) -> Result<(ApplianceId, Explained), OperatorRefusal> {
        let FoundFile { volume, object, .. } = *file;
        let mut owner = file.record.owner;
        for _ in 0..OWNER_TRIES {
            let reply = if owner == self.parts.appliance {
                self.explain_here(volume, object)
            } else {
                let request = Request::Explain { volume, object };
                self.ask_peer(owner, &request, Bytes::new(), LOOK_WAIT).await?.0
            };
            match reply {
                Reply::Explained(explained) => return Ok((owner, *explained)),
                Reply::Moved { to: Some(other), .. } if other != owner => owner = other,
                Reply::Moved { .. } => return Err(Refusal::Busy.into()),
                Reply::Not(refusal) => return Err(refusal.into()),
                _ => return Err(Refusal::Fault.into()),
            }
        }
        Err(Refusal::Busy.into())
    }

    pub(crate) fn explain_here(&self, volume: VolumeId, object: ObjectId) -> Reply {
        let owned = self.local(volume).and_then(|local| {
            let inode = local.inode(object)?;
            let record = inode.record().ok_or(Refusal::Invalid)?;
            Ok((self.owns(&local, record), record.owner))
        });
        match owned {
            Ok((true, _)) => Reply::Explained(Box::new(self.explain(volume, object))),
            Ok((false, owner)) => Reply::Moved { to: Some(owner), view: self.fleet_now().view() },
            Err(refusal) => Reply::Not(refusal),
        }
    }

    /// What an appliance holds, volume by volume.
    pub async fn held_by(self: &Arc<Self>, appliance: ApplianceId) -> Vec<Held> {
        let fleet = self.fleet_now();
        let mut all = Vec::new();
        for Part { volume, name, others } in fleet.explain_remove(appliance).parts {
            let listed = fleet.volumes().iter().any(|info| info.id == volume);
            let held = match (listed, fleet.volume_members(volume).contains(&appliance)) {
                (false, _) => HeldAs::Deleted,
                (true, true) => HeldAs::Member,
                (true, false) => HeldAs::Leaving,
            };
            let copies = match held {
                HeldAs::Deleted => None,
                HeldAs::Member | HeldAs::Leaving => self.copies_at(volume, appliance).await,
            };
            let holders = others.iter().chain([&appliance]);
            let up = holders.filter(|holder| fleet.is_up(**holder)).count();
            all.push(Held { volume, name, held, others, up, copies });
        }
        all
    }

    /// Asks whoever has the volume's catalog what `appliance` holds of it.
    async fn copies_at(
        self: &Arc<Self>,
        volume: VolumeId,
        appliance: ApplianceId,
    ) -> Option<CopiesReport> {
        if let Reply::Copies(report) = self.copies_here(volume, appliance).await {
            return Some(report);
        }
        let fleet = self.fleet_now();
        let seats = fleet.seats(volume)?;
        let holders = seats.members.iter().chain(&seats.leaving).copied();
        for holder in holders.filter(|id| fleet.is_up(*id) && *id != self.parts.appliance) {
            let request = Request::Copies { volume, appliance };
            let asked = self.ask_peer(holder, &request, Bytes::new(), COUNT_WAIT).await;
            if let Ok((Reply::Copies(report), _)) = asked {
                return Some(report);
            }
        }
        None
    }

    pub(crate) async fn copies_here(&self, volume: VolumeId, appliance: ApplianceId) -> Reply {
        let local = match self.local(volume) {
            Ok(local) => local,
            Err(refusal) => return Reply::Not(refusal),
        };
        let counted =
            tokio::task::spawn_blocking(move || copies_in(&local.catalog, appliance)).await;
        match counted {
            Ok(Ok(report)) => Reply::Copies(report),
            Ok(Err(fault)) => {
                tracing::error!(%volume, %fault, "copies can't be counted");
                Reply::Not(Refusal::Fault)
            }
            Err(_) => Reply::Not(Refusal::Fault),
        }
    }
}

/// What `appliance` holds of the volume with this catalog. Walks the catalog.
fn copies_in<S: Imaging>(
    catalog: &Catalog<S>,
    appliance: ApplianceId,
) -> Result<CopiesReport, CatalogFault> {
    let mut report = CopiesReport::default();
    let mut examples = HashSet::new();
    let mut after = ObjectId::ROOT;
    loop {
        let copies = catalog.copies_of(appliance, after, COPIES_AT_ONCE)?;
        for (object, record) in &copies.found {
            report.files += 1;
            if is_alone(record, appliance) {
                report.alone += 1;
                if examples.len() < EXAMPLES_MAX {
                    examples.insert(*object);
                }
            }
        }
        match copies.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let named = names_of(catalog, &examples)?;
    let mut examples: Vec<ObjectId> = examples.into_iter().collect();
    examples.sort_unstable();
    let name = |object: ObjectId| {
        named.get(&object).cloned().unwrap_or_else(|| format!("object {object}"))
    };
    report.examples = examples.into_iter().map(name).collect();
    Ok(report)
}

/// Whether nobody else has a good copy.
fn is_alone(record: &ObjectRecord, appliance: ApplianceId) -> bool {
    let good = |other: &&ApplianceId| **other != appliance && !record.stale.contains(other);
    !record.replicas.iter().any(|other| good(&other))
}

/// One path of each object, from the volume's root; of some none, if there are very many names.
pub(crate) fn names_of<S: Imaging>(
    catalog: &Catalog<S>,
    wanted: &HashSet<ObjectId>,
) -> Result<HashMap<ObjectId, String>, CatalogFault> {
    let mut named = HashMap::new();
    let mut walked = 0;
    let mut dirs = vec![(ObjectId::ROOT, String::new())];
    while let Some((dir, path)) = dirs.pop() {
        let mut after = Cookie::DOT_DOT;
        loop {
            if named.len() >= wanted.len() || walked >= NAMES_WALKED_MAX {
                return Ok(named);
            }
            let Some(listed) = catalog.list(dir, after, NAMES_AT_ONCE, true)? else { break };
            for entry in &listed.names {
                walked += 1;
                after = after.max(entry.cookie);
                let path = format!("{path}/{}", String::from_utf8_lossy(&entry.name));
                let kind = entry.inode.as_ref().map(|inode| &inode.kind);
                if matches!(kind, Some(InodeKind::Directory { .. })) {
                    dirs.push((entry.object, path));
                } else if wanted.contains(&entry.object) {
                    named.insert(entry.object, path);
                }
            }
            if listed.end {
                break;
            }
        }
    }
    Ok(named)
}

/// Enough to know what kind of files they are.
pub const EXAMPLES_MAX: usize = 10;
const COPIES_AT_ONCE: usize = 1000;
const NAMES_AT_ONCE: usize = 1000;
/// Some seconds of walking, for a few examples.
const NAMES_WALKED_MAX: usize = 1_000_000;
const LOOK_WAIT: Duration = Duration::from_secs(3);
/// A catalog of millions of files is walked.
const COUNT_WAIT: Duration = Duration::from_secs(30);
const OWNER_TRIES: usize = 4;

#[cfg(test)]
mod tests;
