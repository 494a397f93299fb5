//! Looks every second at how the fleet, its volumes and this disk are, and tells what a person must
//! know.
//!
//! Invariant: nothing depends on it; it changes nothing. Absent on purpose: when a condition is
//! worth telling (`conditions`), and how well a volume is (`health`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::{Catalog, CatalogFault, Imaging};
use model::{ApplianceId, Index, ObjectId, ObjectRecord, VolumeId};
use ownership::Fleet;
use parking_lot::Mutex;

use crate::conditions::{Condition, Conditions, Seen, Speaker, Turn};
use crate::happening::{Happening, Here, OfAppliance, OfCopy, OfVolume};
use crate::health::{Health, Reach, Survey, VolumeFacts, file_health, volume_health};
use crate::local::Local;
use crate::operator::FAULTS_MAX;
use crate::router::Router;

/// What was found out about volumes and copies.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    surveys: Mutex<HashMap<VolumeId, Surveyed>>,
    /// Stale copies and faults of each volume, as they were at an entry of its log: a volume in
    /// which nothing happens is not counted again.
    counted: Mutex<HashMap<VolumeId, (Index, Counted)>>,
    /// Copies here that can't be read and are to be made anew; at most [`UNREADABLE_MAX`].
    unreadable: Mutex<BTreeSet<(VolumeId, ObjectId)>>,
}

/// A look at all files of a volume.
#[derive(Clone, Debug)]
struct Surveyed {
    under: Under,
    found: Survey,
    /// Another look is due then.
    again_at: Duration,
}

/// What the catalog says of a volume's files without a look at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    stale: u64,
    faults: u64,
}

/// What a look was made under; another one is due when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Under {
    wanted: usize,
    holders: Vec<(ApplianceId, bool)>,
}

/// Watches until the router is gone.
pub(crate) async fn watch<S: Imaging>(router: Weak<Router<S>>) {
    let mut conditions = Conditions::default();
    let mut members = BTreeMap::new();
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let Some(router) = router.upgrade() else { return };
        let locals: Vec<_> = router.locals.read().values().cloned().collect();
        for local in &locals {
            router.survey(local).await;
        }
        drop(locals);
        let fleet = router.fleet_now();
        router.tell_who_left(&fleet, &mut members);
        let (all, counts) = router.conditions(&fleet);
        for turn in conditions.step(router.parts.clock.since_boot(), &all) {
            router.tell(happening(turn, &counts));
        }
        router.tell_what_was_repaired();
        router.show_health(&fleet);
    }
}

/// How many files it is about.
type Counts = BTreeMap<Condition, u64>;

impl<S: Imaging> Router<S> {
    /// Tells whoever listens.
    pub(crate) fn tell(&self, happening: Happening) {
        self.parts.herald.tell(&self.fleet_now(), happening);
    }

    /// Tells that the copy here can't be read, and later that it was made anew.
    pub(crate) fn tell_unreadable(&self, volume: VolumeId, object: ObjectId) {
        let mut unreadable = self.watched.unreadable.lock();
        if unreadable.len() < UNREADABLE_MAX {
            unreadable.insert((volume, object));
        }
        drop(unreadable);
        self.tell(Happening::Copy(volume, object, OfCopy::Unreadable));
    }

    /// How well a volume is, as far as can be told here.
    pub(crate) fn health_of(&self, volume: VolumeId) -> Health {
        self.facts_of(&self.fleet_now(), volume).map_or(Health::Unknown, volume_health)
    }

    /// How well a file of a volume is, of which this is the record.
    pub fn file_health(&self, volume: VolumeId, record: &ObjectRecord) -> Health {
        let fleet = self.fleet_now();
        file_health(record, fleet.copies_wanted(volume), |a| fleet.is_up(a))
    }

    /// None if there is no such volume.
    fn facts_of(&self, fleet: &Fleet, volume: VolumeId) -> Option<VolumeFacts> {
        let under = under(fleet, volume)?;
        let local = self.local(volume).ok();
        let reach = match &local {
            _ if !has_quorum(fleet, volume) || !self.has_lease() => Reach::Nobody,
            Some(_) => Reach::Here,
            None => Reach::Elsewhere,
        };
        let counted = local.as_ref().map(|local| self.count(local)).unwrap_or_default();
        let surveys = self.watched.surveys.lock();
        let survey = surveys.get(&volume).filter(|surveyed| surveyed.under == under);
        Some(VolumeFacts {
            reach,
            all_up: under.holders.iter().all(|(_, up)| *up),
            copies_wanted: under.wanted,
            stale: counted.stale,
            faults: counted.faults + self.scrub.damaged_in(volume),
            survey: survey.map(|surveyed| surveyed.found),
        })
    }

    fn count(&self, local: &Local<S>) -> Counted {
        let index = local.catalog.applied_index();
        let known = self.watched.counted.lock().get(&local.id).copied();
        if let Some((_, counted)) = known.filter(|(at, _)| *at == index) {
            return counted;
        }
        let catalog = &local.catalog;
        let stale = catalog.degraded(ObjectId::ROOT, FAULTS_MAX).map_or(0, |found| found.len());
        let faults = catalog.faults(FAULTS_MAX).map_or(0, |found| found.len());
        let counted = Counted { stale: stale as u64, faults: faults as u64 };
        self.watched.counted.lock().insert(local.id, (index, counted));
        counted
    }

    /// Looks at all files of a volume if that may tell something new.
    async fn survey(&self, local: &Arc<Local<S>>) {
        let fleet = self.fleet_now();
        let Some(under) = under(&fleet, local.id) else { return };
        let began = self.parts.clock.since_boot();
        let known = self.watched.surveys.lock().get(&local.id).cloned();
        let due = known.is_none_or(|known| known.under != under || began >= known.again_at);
        if !due {
            return;
        }
        let all_up = under.holders.iter().all(|(_, up)| *up);
        let found = match under.wanted > 1 || !all_up {
            false => Survey::default(),
            true => {
                let (catalog, look) = (local.catalog.clone(), under.clone());
                let looked = tokio::task::spawn_blocking(move || survey(&catalog, &look)).await;
                match looked {
                    Ok(Ok(found)) => found,
                    Ok(Err(fault)) => {
                        tracing::error!(volume = %local.id, %fault, "files can't be looked at");
                        return;
                    }
                    Err(_) => return,
                }
            }
        };
        let now = self.parts.clock.since_boot();
        let rest = match all_up && found.is_clean() {
            true => SURVEY_WELL_AGAIN_AFTER,
            false => SURVEY_AGAIN_AFTER,
        };
        let again_at = now + (now.saturating_sub(began) * SURVEY_SHARE).max(rest);
        let surveyed = Surveyed { under, found, again_at };
        self.watched.surveys.lock().insert(local.id, surveyed);
    }

    /// All conditions as they are seen from here.
    fn conditions(&self, fleet: &Fleet) -> (Vec<Seen>, Counts) {
        let (mut all, mut counts) = (Vec::new(), Counts::new());
        let mut see = |condition, holds, speaker| all.push(Seen { condition, holds, speaker });
        let leader = self.speaker(fleet, self.fleet_raft().leader(), self.fleet_raft().leads());
        for member in fleet.members() {
            see(Condition::Down(member.id), !member.up, leader);
            let empty = member.draining && fleet.explain_remove(member.id).parts.is_empty();
            see(Condition::Drained(member.id), empty, leader);
        }
        see(Condition::CutOff, !self.has_lease(), Speaker::Me);
        if let Ok(disk) = self.parts.space.totals() {
            see(Condition::DiskFull, disk.available == 0, Speaker::Me);
        }
        for volume in fleet.volumes().iter().map(|info| info.id) {
            see(Condition::Unavailable(volume), !has_quorum(fleet, volume), leader);
            let Ok(local) = self.local(volume) else { continue };
            let Some(facts) = self.facts_of(fleet, volume) else { continue };
            let tells = self.speaker(fleet, local.raft.leader(), local.raft.leads());
            let survey = facts.survey.unwrap_or_default();
            let short = facts.stale.max(facts.faults) + survey.short;
            let (lost, degraded) =
                (Condition::FilesUnavailable(volume), Condition::Degraded(volume));
            see(lost, survey.unavailable > 0, tells);
            // With one copy each, files whose owner is down are unavailable, and that is said.
            let several = facts.copies_wanted > 1;
            see(degraded, if several { short > 0 } else { facts.faults > 0 }, tells);
            counts.extend([(lost, survey.unavailable), (degraded, short)]);
        }
        (all, counts)
    }

    /// Who tells what concerns a group: whoever leads it, and is up.
    fn speaker(&self, fleet: &Fleet, leader: Option<ApplianceId>, leads: bool) -> Speaker {
        match leader {
            _ if leads => Speaker::Me,
            Some(leader) if leader != self.parts.appliance && fleet.is_up(leader) => {
                Speaker::Another
            }
            Some(_) | None => Speaker::Nobody,
        }
    }

    /// `members` are those of the last look.
    fn tell_who_left(&self, fleet: &Fleet, members: &mut BTreeMap<ApplianceId, String>) {
        let named = fleet.members().iter().map(|member| (member.id, member.name.clone()));
        let before = std::mem::replace(members, named.collect());
        if self.fleet_raft().leads() {
            for (id, name) in before.into_iter().filter(|(id, _)| !members.contains_key(id)) {
                self.tell(Happening::Appliance(id, OfAppliance::Left(name)));
            }
        }
    }

    fn tell_what_was_repaired(&self) {
        let mut repaired = Vec::new();
        self.watched.unreadable.lock().retain(|(volume, object)| {
            let Ok(file) = self.local(*volume).and_then(|local| local.file(*object)) else {
                // Gone, and what was wrong with it.
                return false;
            };
            // Another copy may have been made elsewhere, in the place of this one.
            let holds = |r: &ObjectRecord| r.replicas.contains(&self.parts.appliance);
            let replaced = !file.inode.record().is_some_and(holds);
            if !file.stale || replaced {
                repaired.push(Happening::Copy(*volume, *object, OfCopy::Repaired));
            }
            file.stale && !replaced
        });
        repaired.into_iter().for_each(|happening| self.tell(happening));
    }

    fn show_health(&self, fleet: &Fleet) {
        for info in fleet.volumes() {
            let health = self.health_of(info.id);
            for state in Health::ALL {
                let labels = [("volume", info.name.clone()), ("state", state.word().to_owned())];
                metrics::gauge!(VOLUME_STATE, &labels).set(f64::from(u8::from(state == health)));
            }
        }
    }
}

/// Nobody can decide anything about a volume without more than half of its members.
fn has_quorum(fleet: &Fleet, volume: VolumeId) -> bool {
    let members = fleet.volume_members(volume);
    // One from before there were several has none listed.
    members.is_empty()
        || 2 * members.iter().filter(|member| fleet.is_up(**member)).count() > members.len()
}

fn under(fleet: &Fleet, volume: VolumeId) -> Option<Under> {
    let seats = fleet.seats(volume)?;
    let holders = seats.members.iter().chain(&seats.leaving);
    let holders = holders.map(|holder| (*holder, fleet.is_up(*holder))).collect();
    Some(Under { wanted: fleet.copies_wanted(volume), holders })
}

/// Walks the catalog once for each holder. Blocks.
fn survey<S: Imaging>(catalog: &Catalog<S>, under: &Under) -> Result<Survey, CatalogFault> {
    let is_up = |appliance| under.holders.contains(&(appliance, true));
    let mut found = Survey::default();
    for (holder, _) in &under.holders {
        let mut after = ObjectId::ROOT;
        loop {
            let copies = catalog.copies_of(*holder, after, FILES_AT_ONCE)?;
            // Each file is counted with the first of its holders.
            let first = |r: &ObjectRecord| {
                let held = |(holder, _): &&(ApplianceId, bool)| r.replicas.contains(holder);
                under.holders.iter().find(held).is_some_and(|(first, _)| first == holder)
            };
            for (_, record) in copies.found.iter().filter(|(_, record)| first(record)) {
                found.add(record, under.wanted, is_up);
            }
            match copies.next {
                Some(next) => after = next,
                None => break,
            }
        }
    }
    Ok(found)
}

fn happening(turn: Turn, counts: &Counts) -> Happening {
    let count = |condition| counts.get(&condition).copied().unwrap_or_default();
    let (condition, began) = match turn {
        Turn::Began(condition) => (condition, true),
        Turn::Ended(condition) => (condition, false),
    };
    let of_appliance = |appliance, what| Happening::Appliance(appliance, what);
    match (condition, began) {
        (Condition::Down(appliance), true) => of_appliance(appliance, OfAppliance::Down),
        (Condition::Down(appliance), false) => of_appliance(appliance, OfAppliance::Up),
        (Condition::Drained(appliance), true) => of_appliance(appliance, OfAppliance::Drained),
        (Condition::Drained(appliance), false) => of_appliance(appliance, OfAppliance::InUse),
        (Condition::CutOff, true) => Happening::Here(Here::CutOff),
        (Condition::CutOff, false) => Happening::Here(Here::BackInFleet),
        (Condition::DiskFull, true) => Happening::Here(Here::DiskFull),
        (Condition::DiskFull, false) => Happening::Here(Here::DiskHasRoom),
        (Condition::Unavailable(volume), true) => Happening::Volume(volume, OfVolume::Unavailable),
        (Condition::Unavailable(volume), false) => Happening::Volume(volume, OfVolume::Available),
        (Condition::FilesUnavailable(volume), true) => {
            Happening::Volume(volume, OfVolume::FilesUnavailable(count(condition)))
        }
        (Condition::FilesUnavailable(volume), false) => {
            Happening::Volume(volume, OfVolume::FilesAvailable)
        }
        (Condition::Degraded(volume), true) => {
            Happening::Volume(volume, OfVolume::Degraded(count(condition)))
        }
        (Condition::Degraded(volume), false) => Happening::Volume(volume, OfVolume::Whole),
    }
}

/// How well a volume is; a gauge for each volume and state, 1 for the one that it is in.
const VOLUME_STATE: &str = "holdfast_volume_state";
const WATCH_EVERY: Duration = Duration::from_secs(1);
const FILES_AT_ONCE: usize = 1000;
/// All files are looked at again and again, in a twentieth of the time at most.
const SURVEY_SHARE: u32 = 20;
const SURVEY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// While all is well, what comes to be amiss is seen otherwise; this is in case it is not.
const SURVEY_WELL_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// More of them are told and not followed.
const UNREADABLE_MAX: usize = 1000;
