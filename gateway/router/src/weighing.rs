//! How full the appliances' disks are and what lies on them: what plans are made from.
//!
//! Invariant: each file is counted by its owner alone, with what its copy takes there; who could
//! not be asked is said to be so. Absent on purpose: deciding what goes where, which `ownership`
//! does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::Imaging;
use futures_util::future::join_all;
use model::{ApplianceId, ObjectId, ObjectRecord, Refusal, VolumeId};
use ownership::balance::{
    ASSUMED, Departure, Disk, Facts, Leave, Lot, Speed, Spread, class_of, leave,
};
use ownership::{Fleet, MemberKind, effective_owner};

use crate::keeping::place_without;
use crate::local::Local;
use crate::router::Router;
use crate::wire::balance::{BalanceAsk, BalanceTold, LOTS_MAX, Weighed};

/// What all appliances said.
#[derive(Clone, Debug, Default)]
pub struct WeighedFleet {
    /// What is there.
    pub facts: Facts,
    /// How fast each of them moves files.
    pub speeds: BTreeMap<ApplianceId, Speed>,
}

/// What the drain of an appliance will do.
#[derive(Clone, Debug)]
pub struct DrainPlan {
    /// What goes where, and what stands in the way.
    pub leave: Leave,
    /// How fast files are moved from it.
    pub speed: Speed,
    /// How long it takes, about.
    pub time: Duration,
}

impl WeighedFleet {
    /// How fast an appliance moves files.
    pub fn speed_of(&self, appliance: ApplianceId) -> Speed {
        self.speeds.get(&appliance).copied().unwrap_or(ASSUMED)
    }
}

/// Lots, by all that tells them apart.
type Lots = BTreeMap<(VolumeId, Vec<ApplianceId>, bool, u8), (u64, u64, u64)>;

/// What was counted of some volumes here.
#[derive(Default)]
struct Counted {
    lots: Lots,
    surplus: BTreeMap<ApplianceId, u64>,
    going: u64,
}

impl<S: Imaging> Router<S> {
    /// Asks all appliances how full they are and what they own.
    pub async fn weigh_fleet(self: &Arc<Self>) -> WeighedFleet {
        // Each look walks all catalogs.
        let _alone = self.balancing.weighing.lock().await;
        let fleet = self.fleet_now();
        let full = fleet.members().iter().filter(|member| member.kind == MemberKind::Full);
        let asked = full.map(|member| async move {
            let reachable = member.up || member.id == self.parts.appliance;
            let told = match reachable {
                true => self.ask_one(member.id, &BalanceAsk::Weigh, WEIGH_WAIT).await,
                false => None,
            };
            match told {
                Some(BalanceTold::Weighed(weighed)) => (member, Some(weighed)),
                Some(_) | None => (member, None),
            }
        });
        let mut all = WeighedFleet::default();
        let mut surplus: BTreeMap<ApplianceId, u64> = BTreeMap::new();
        for (member, weighed) in join_all(asked).await {
            let (appliance, draining) = (member.id, member.draining);
            let nothing = Disk { appliance, total: 0, free: 0, going: 0, up: false, draining };
            let Some(weighed) = weighed else {
                all.facts.disks.push(nothing);
                continue;
            };
            let Weighed { total, free, going, .. } = weighed;
            all.facts.disks.push(Disk { total, free, going, up: true, ..nothing });
            for (at, bytes) in weighed.surplus {
                let sum = surplus.entry(at).or_default();
                *sum = sum.saturating_add(bytes);
            }
            // Nobody tells of what is another's.
            let own = weighed.lots.into_iter().filter(|lot| lot.owner == appliance);
            all.facts.lots.extend(own.take(LOTS_MAX));
            all.speeds.insert(appliance, weighed.speed);
        }
        for disk in &mut all.facts.disks {
            let going = surplus.get(&disk.appliance).copied().unwrap_or_default();
            disk.going = disk.going.saturating_add(going);
        }
        all.facts.volumes = spreads(&fleet);
        all
    }

    /// How full this appliance is and what it owns.
    ///
    /// # Errors
    /// `Fault` if the disk or a catalog can't be read.
    pub(crate) async fn weigh_here(self: &Arc<Self>) -> Result<Weighed, Refusal> {
        let router = self.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let locals: Vec<_> = router.locals.read().values().cloned().collect();
            let (fleet, me) = (router.fleet_now(), router.parts.appliance);
            let mut counted = Counted::default();
            for local in locals {
                count(&mut counted, &local, &fleet, me).map_err(crate::local::faulted)?;
            }
            Ok::<_, Refusal>(counted)
        });
        let counted = counted.await.map_err(|_| Refusal::Fault)??;
        let disk = self.parts.space.totals()?;
        let owner = self.parts.appliance;
        let lot = |(key, (files, bytes, smallest))| {
            let (volume, holders, pinned, class) = key;
            Lot { volume, owner, holders, pinned, class, files, bytes, smallest }
        };
        let mut lots: Vec<Lot> = counted.lots.into_iter().map(lot).collect();
        if lots.len() > LOTS_MAX {
            tracing::warn!(lots = lots.len(), "too many kinds of files to tell of all of them");
            lots.sort_by_key(|lot| std::cmp::Reverse(lot.bytes));
            lots.truncate(LOTS_MAX);
        }
        Ok(Weighed {
            total: disk.total,
            free: disk.available,
            going: counted.going,
            surplus: counted.surplus.into_iter().collect(),
            lots,
            speed: self.balancing.speed(),
        })
    }

    /// What the drain of an appliance will do. Changes nothing.
    pub async fn drain_plan(self: &Arc<Self>, who: ApplianceId) -> DrainPlan {
        let weighed = self.weigh_fleet().await;
        let fleet = self.fleet_now();
        let candidates = self.candidates(&fleet).await;
        let mut departures = Vec::new();
        for info in fleet.volumes() {
            let seats = fleet.seats(info.id).cloned().unwrap_or_default();
            let members = match seats.members.contains(&who) {
                true => place_without(&candidates, &seats.members, who),
                false if seats.leaving.contains(&who) => seats.members,
                false => continue,
            };
            let replicas = usize::from(fleet.policy(info.id).replicas);
            departures.push(Departure { volume: info.id, members, replicas });
        }
        let leave = leave(&weighed.facts, who, &departures);
        let speed = weighed.speed_of(who);
        let (files, bytes) = leave.sum();
        DrainPlan { leave, speed, time: speed.time_of(files, bytes) }
    }
}

/// The volumes, as far as that says what may go where.
fn spreads(fleet: &Fleet) -> Vec<Spread> {
    let spread = |volume: VolumeId| Spread {
        volume,
        members: fleet.volume_members(volume).to_vec(),
        wanted: fleet.copies_wanted(volume),
    };
    fleet.volumes().iter().map(|info| spread(info.id)).collect()
}

/// Counts what `me` owns of a volume, and what it is about to remove. Walks the catalog, and looks
/// at each file's size.
fn count<S: Imaging>(
    counted: &mut Counted,
    local: &Local<S>,
    fleet: &Fleet,
    me: ApplianceId,
) -> Result<(), catalog::CatalogFault> {
    let wanted = fleet.copies_wanted(local.id);
    let mut after = ObjectId::ROOT;
    loop {
        let copies = local.catalog.copies_of(me, after, FILES_AT_ONCE)?;
        for (object, record) in &copies.found {
            if effective_owner(record, |a| fleet.is_up(a)) != Some(me) {
                continue;
            }
            let bytes = local.objects.stored_bytes(*object);
            let (holders, surplus) = holders(record, me, wanted);
            for appliance in surplus {
                let sum = counted.surplus.entry(appliance).or_default();
                *sum = sum.saturating_add(bytes);
            }
            let pinned = local.catalog.pin(*object).is_some();
            let key = (local.id, holders, pinned, class_of(bytes));
            let lot = counted.lots.entry(key).or_insert((0, 0, u64::MAX));
            *lot = (lot.0 + 1, lot.1.saturating_add(bytes), lot.2.min(bytes));
        }
        match copies.next {
            Some(next) => after = next,
            None => break,
        }
    }
    for object in local.catalog.removals(me, REMOVALS_COUNTED_MAX)? {
        counted.going = counted.going.saturating_add(local.objects.stored_bytes(object));
    }
    Ok(())
}

/// Who has a good copy that counts, in order of their numbers, and who has one that will be
/// dropped.
pub(crate) fn holders(
    record: &ObjectRecord,
    owner: ApplianceId,
    wanted: usize,
) -> (Vec<ApplianceId>, Vec<ApplianceId>) {
    let others = record.replicas.iter().copied().filter(|a| *a != owner);
    let mut good: Vec<ApplianceId> =
        std::iter::once(owner).chain(others.filter(|a| !record.stale.contains(a))).collect();
    let surplus = good.split_off(good.len().min(wanted.max(1)));
    good.sort_unstable();
    (good, surplus)
}

const FILES_AT_ONCE: usize = 1000;
/// What is removed is so within seconds.
const REMOVALS_COUNTED_MAX: usize = 10_000;
/// Catalogs of millions of files are walked, and each file is looked at.
const WEIGH_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use model::Epoch;

    use super::*;

    #[test]
    fn copies_beyond_those_wanted_are_on_their_way_out_and_stale_ones_count_for_nothing() {
        let ids = |list: &[u64]| -> Vec<ApplianceId> {
            list.iter().map(|id| ApplianceId::new(*id)).collect()
        };
        let of = |replicas: &[u64], stale: &[u64], wanted| {
            let record = ObjectRecord {
                owner: ApplianceId::new(2),
                epoch: Epoch::default(),
                replicas: ids(replicas).into(),
                stale: ids(stale).into(),
            };
            holders(&record, ApplianceId::new(2), wanted)
        };
        assert_eq!(of(&[1, 2], &[], 1), (ids(&[2]), ids(&[1])), "what a hand-over left behind");
        assert_eq!(of(&[2, 1], &[], 2), (ids(&[1, 2]), ids(&[])));
        assert_eq!(of(&[3, 2, 1], &[3], 2), (ids(&[1, 2]), ids(&[])));
        assert_eq!(of(&[2], &[], 3), (ids(&[2]), ids(&[])));
    }
}
