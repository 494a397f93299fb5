//! Sees to it that the files owned here have as many good copies as their volume wants, and that
//! all of them are alike.
//!
//! Invariant: nothing is given up before as many others are good. Absent on purpose: how a copy is
//! made; this only asks for it, again and again, until it is so.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::{Command, Imaging};
use extents::CopyState;
use futures_util::stream::{self, StreamExt};
use model::{ApplianceId, LossCount, Mark, ObjectId, ObjectRecord, Refusal, Reign, VolumeId};

use crate::equalizing::{Known, Unequal, equalize, refused_there};
use crate::local::Local;
use crate::operator::FAULTS_MAX;
use crate::router::Router;
use crate::routing::{Patience, Settled};
use crate::standing::About;
use crate::wire::TransferCause;
use crate::wire::copies::{CopyTold, CopyWhat};

/// What a look at all files was made under; another one is due when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Looked {
    wanted: usize,
    members: Vec<(ApplianceId, Presence)>,
    /// It grows whenever copies may have come to differ.
    losses: LossCount,
}

/// What is to be expected of an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Up,
    /// It is down, and may come back soon: what it holds need not be made elsewhere.
    Away,
    /// It is not of the volume, or is to be emptied, or has been down for long.
    Gone,
}

/// What is to be done about one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    Nothing,
    /// That appliance's copy is to be made whole, or made.
    Copy(ApplianceId),
    /// There are more copies than are wanted.
    Drop(ApplianceId),
    /// Its owner is gone, and as many copies as are wanted are good without it.
    TakeOver,
}

/// Looks after the copies of one volume's files until it is closed.
pub(crate) async fn tend_copies<S: Imaging>(router: Weak<Router<S>>, local: Weak<Local<S>>) {
    let (mut looked, mut seen, mut again_at) = (None, None, Duration::ZERO);
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let (Some(router), Some(local)) = (router.upgrade(), local.upgrade()) else { return };
        if !router.has_lease() || router.lease.is_for_ever() {
            continue;
        }
        let now = router.looked_under(&local);
        let applied = local.catalog.applied_index();
        let settled = looked.as_ref() == Some(&now) && seen == Some(applied);
        if settled && router.parts.clock.since_boot() < again_at {
            continue;
        }
        let time = router.parts.clock.since_boot();
        if looked.as_ref().is_none_or(|looked| *looked != now) || time >= again_at {
            let all = router.tend_all(&local, now.wanted).await;
            again_at = if all { Duration::MAX } else { time + TEND_ALL_AGAIN_AFTER };
            looked = Some(now);
        } else {
            router.tend_degraded(&local).await;
        }
        let degraded =
            local.catalog.degraded(ObjectId::ROOT, FAULTS_MAX).map_or(0, |all| all.len());
        metrics::gauge!(DEGRADED_FILES, "volume" => local.id.to_string()).set(degraded as f64);
        // Whatever is not as it should be is looked at again, though nothing happens.
        seen = Some(applied).filter(|_| degraded == 0);
    }
}

impl<S: Imaging> Router<S> {
    fn looked_under(&self, local: &Local<S>) -> Looked {
        let fleet = self.fleet_now();
        let info = fleet.volumes().iter().find(|info| info.id == local.id);
        let members = fleet.volume_members(local.id);
        Looked {
            wanted: fleet.copies_wanted(local.id),
            members: members.iter().map(|a| (*a, self.presence(local.id, *a))).collect(),
            losses: info.map(|info| info.loss_count).unwrap_or_default(),
        }
    }

    fn presence(&self, volume: VolumeId, appliance: ApplianceId) -> Presence {
        let fleet = self.fleet_now();
        let drains = fleet.member(appliance).is_none_or(|member| member.draining);
        let mut absences = self.absences.lock();
        if fleet.is_up(appliance) {
            absences.remove(&appliance);
        } else {
            let now = self.parts.clock.since_boot();
            let since = *absences.entry(appliance).or_insert(now);
            if now.saturating_sub(since) > self.parts.rebuild_after {
                return Presence::Gone;
            }
        }
        match fleet.is_up(appliance) {
            _ if drains || !fleet.volume_members(volume).contains(&appliance) => Presence::Gone,
            true => Presence::Up,
            false => Presence::Away,
        }
    }

    /// Looks at every file; whether all of them are as they should be.
    async fn tend_all(self: &Arc<Self>, local: &Arc<Local<S>>, wanted: usize) -> bool {
        let (mut after, mut all) = (ObjectId::ROOT, true);
        loop {
            let look = local.catalog.copies_of(self.parts.appliance, after, FILES_AT_ONCE);
            let Ok(copies) = look.inspect_err(|fault| {
                tracing::error!(volume = %local.id, %fault, "copies can't be looked for");
            }) else {
                return false;
            };
            let several = copies.found.into_iter().filter(|(_, record)| {
                self.is_owner(record) && (record.replicas.len() > 1 || wanted > 1)
            });
            all &= self.tend_files(local, several.collect(), true).await;
            match copies.next {
                Some(next) if self.has_lease() && !local.parting.has_begun() => after = next,
                Some(_) => return false,
                None => return all,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at the files of which some copy is stale.
    async fn tend_degraded(self: &Arc<Self>, local: &Arc<Local<S>>) {
        let mut after = ObjectId::ROOT;
        while let Ok(found) = local.catalog.degraded(after, FILES_AT_ONCE) {
            let Some(last) = found.last().copied() else { return };
            let record = |object: ObjectId| {
                let inode = local.inode(object).ok()?;
                let record = inode.record().filter(|record| self.is_owner(record))?;
                Some((object, record.clone()))
            };
            self.tend_files(local, found.into_iter().filter_map(record).collect(), false).await;
            if local.parting.has_begun() {
                return;
            }
            after = last;
        }
    }

    /// Whether all of them are as they should be now.
    async fn tend_files(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        files: Vec<(ObjectId, ObjectRecord)>,
        compare: bool,
    ) -> bool {
        let tend = |(object, record): (ObjectId, ObjectRecord)| async move {
            let tended = self.tend_file(local, object, compare.then_some(&record)).await;
            tended.inspect_err(|refusal| {
                tracing::debug!(%object, %refusal, "its copies stay as they are for now");
            })
        };
        let tended = stream::iter(files).map(tend).buffer_unordered(AT_ONCE);
        tended.fold(true, async |all, tended| all & tended.is_ok()).await
    }

    async fn tend_file(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
        compare: Option<&ObjectRecord>,
    ) -> Result<(), Refusal> {
        let patience = Patience::new(self.parts.clock.since_boot(), SETTLE_MAX);
        // A file that it gained by a view is its own only after its Reign.
        match local.parting.or(self.settle(local.id, About::Object(object), patience)).await? {
            Settled::Here(_) => {}
            // It is another's, or no file any more.
            Settled::Led(_) | Settled::Confirmed(_) | Settled::There(_) => return Ok(()),
        }
        if let Some(record) = compare {
            self.compare_copies(local, object, record).await?;
        }
        for _ in 0..STEPS_MAX {
            if self.care_for(local, object).await? == Care::Nothing {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes good copies equal that say they are not.
    async fn compare_copies(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
        record: &ObjectRecord,
    ) -> Result<(), Refusal> {
        let has_data = local.file(object)?.has_data;
        let here = local.objects.followed(object, has_data).await?.state;
        let fleet = self.fleet_now();
        for other in self.good_others(record).into_iter().filter(|other| fleet.is_up(*other)) {
            let ask = (CopyWhat::State { hashes: false }, Bytes::new());
            let told = self.ask_copy(local, object, other, ask).await;
            let same = match (here, told) {
                (CopyState::At(here), Some(CopyTold::State { at, .. })) => at == Some(here),
                _ => false,
            };
            if !same {
                return self.join_copies(local, object).await;
            }
        }
        Ok(())
    }

    /// Takes one step towards what the volume wants of a file's copies.
    async fn care_for(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<Care, Refusal> {
        let file = self.owned(local, object)?;
        let Some(record) = file.inode.record() else { return Ok(Care::Nothing) };
        if self.is_sending(local.id, object) {
            return Ok(Care::Nothing);
        }
        let care = self.care(local.id, record);
        let command = match care {
            Care::Nothing => return Ok(care),
            Care::Copy(to) => {
                let made = match local.objects.facts(object, file.has_data).await {
                    Ok(facts) if facts.size <= AT_A_STROKE_MAX => {
                        self.make_whole(local, object, to).await
                    }
                    Ok(_) => Err(Unequal::TooMuch),
                    Err(Refusal::Fault) => Err(Unequal::NotReadHere),
                    Err(refusal) => Err(refusal.into()),
                };
                match made {
                    Ok(()) => {}
                    Err(Unequal::TooMuch | Unequal::BrokenThere) => {
                        self.copy_to(local.id, object, to).await?;
                    }
                    // Whatever is there may be the only bytes that can be read.
                    Err(Unequal::NotReadHere) => {
                        self.give_up_copy(local, object).await?;
                        return Err(Refusal::Fault);
                    }
                    Err(Unequal::Refused(refusal)) => return Err(refusal),
                }
                metrics::counter!(COPIES_MADE_WHOLE).increment(1);
                return Ok(care);
            }
            Care::Drop(appliance) => Command::DropReplica { object, appliance },
            Care::TakeOver => {
                self.scrub.came(local.id, object);
                Command::Promote { object, to: self.parts.appliance }
            }
        };
        self.enter_under(local, file.reign(), command).await?;
        Ok(care)
    }

    fn care(&self, volume: VolumeId, record: &ObjectRecord) -> Care {
        let fleet = self.fleet_now();
        let members = fleet.volume_members(volume);
        let wanted = fleet.copies_wanted(volume);
        care(record, self.parts.appliance, members, wanted, |a| self.presence(volume, *a))
    }

    /// Gives up copies of a file beyond those that are wanted.
    pub(crate) async fn drop_surplus_copies(&self, local: &Local<S>, object: ObjectId) {
        loop {
            let Ok(file) = self.owned(local, object) else { return };
            let Some(record) = file.inode.record() else { return };
            if self.is_sending(local.id, object) {
                return;
            }
            let Care::Drop(appliance) = self.care(local.id, record) else { return };
            let drop = Command::DropReplica { object, appliance };
            if let Err(refusal) = self.enter_under(local, file.reign(), drop).await {
                tracing::debug!(%object, %refusal, "an old copy stays for now");
                return;
            }
        }
    }

    /// Makes a copy of a large file whole, beside its writers.
    async fn copy_to(
        self: &Arc<Self>,
        volume: VolumeId,
        object: ObjectId,
        to: ApplianceId,
    ) -> Result<(), Refusal> {
        let job = self.begin_transfer(volume, object, to, TransferCause::Copy)?;
        if job.has_succeeded().await { Ok(()) } else { Err(Refusal::Busy) }
    }

    /// Makes a copy of a little file whole while its writers wait.
    async fn make_whole(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
        to: ApplianceId,
    ) -> Result<(), Unequal> {
        let file = self.owned(local, object)?;
        let add = Command::AddReplica { object, appliance: to };
        self.enter_under(local, file.reign(), add).await?;
        let closed = local.gates.close(object).await;
        let file = self.owned(local, object)?;
        let mark = equalize(self, local, object, to, Known::Nothing).await?;
        self.make_durable(local, object, to, mark).await?;
        let reign = Reign { epoch: file.epoch, ..file.reign() };
        let synced = Command::Synced { object, appliance: to };
        match self.enter_once_under(local, reign, synced).await {
            Ok(_) => {
                drop(closed);
                // That all are alike is to be known to all.
                Ok(self.join_copies(local, object).await?)
            }
            // It may still be applied: nobody changes the file before that is known.
            Err(Refusal::Unknown | Refusal::Busy) => {
                let keep = Command::Keep { object };
                loop {
                    match self.enter_under(local, reign, keep.clone()).await {
                        Err(Refusal::Unknown | Refusal::Busy) => {
                            tokio::time::sleep(DECIDE_AGAIN_AFTER).await;
                        }
                        _ => return Err(Refusal::Busy.into()),
                    }
                }
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn make_durable(
        &self,
        local: &Local<S>,
        object: ObjectId,
        to: ApplianceId,
        mark: Mark,
    ) -> Result<(), Unequal> {
        let (changes, durable) = (Vec::new(), true);
        let (settled, told) = (Mark::default(), false);
        let what = CopyWhat::Changes { previous: mark, settled, durable, told, changes };
        match self.ask_copy(local, object, to, (what, Bytes::new())).await {
            Some(CopyTold::Has { mark: has, durable: true }) if has == mark => Ok(()),
            Some(CopyTold::Refused(refusal)) => Err(refused_there(refusal)),
            _ => Err(Refusal::Busy.into()),
        }
    }
}

/// What is to be done about a file of `me`, of which `wanted` copies are to be kept by `members`.
fn care(
    record: &ObjectRecord,
    me: ApplianceId,
    members: &[ApplianceId],
    wanted: usize,
    presence: impl Fn(&ApplianceId) -> Presence,
) -> Care {
    let is_stale = |a: &&ApplianceId| record.stale.contains(a);
    let is_gone = |a: &&ApplianceId| presence(a) == Presence::Gone;
    let may_go = |a: &&ApplianceId| **a != me && **a != record.owner;
    let replicas = || record.replicas.iter();
    let is_up = |a: &&ApplianceId| presence(a) == Presence::Up;
    // What is away may never come back: it is not what others are given up for.
    let good = replicas().filter(|a| !is_stale(a) && is_up(a)).count();
    if record.replicas.len() > wanted && good >= wanted {
        let not_good = replicas().filter(may_go).find(|a| is_stale(a) || !is_up(a));
        let last = replicas().rev().find(may_go).filter(|_| good > wanted);
        if let Some(surplus) = not_good.or(last) {
            return Care::Drop(*surplus);
        }
        if record.owner != me && (is_stale(&&record.owner) || is_gone(&&record.owner)) {
            return Care::TakeOver;
        }
    }
    if wanted <= 1 {
        // What a hand-over left behind is not made whole again.
        let left = replicas().find(may_go);
        return left.map_or(Care::Nothing, |left| Care::Drop(*left));
    }
    let stale = record.stale.iter().find(is_up);
    let new = members.iter().find(|a| is_up(a) && !record.replicas.contains(a));
    // What is away and missed nothing is taken to come back.
    let held = replicas().filter(|a| is_up(a) || !is_stale(a) && !is_gone(a)).count();
    match stale.or(new.filter(|_| held < wanted)) {
        Some(to) if *to != me => Care::Copy(*to),
        _ => Care::Nothing,
    }
}

/// Files of which some copy is not whole; a gauge for each volume, as far as [`FAULTS_MAX`].
const DEGRADED_FILES: &str = "holdfast_degraded_files";
/// Stale or missing copies that were made whole from here; a counter.
const COPIES_MADE_WHOLE: &str = "holdfast_copies_made_whole_total";
/// What a look every second costs is nothing while nothing is degraded.
const TEND_EVERY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
const FILES_AT_ONCE: usize = 256;
/// Copies that are made at a time, for each volume.
const AT_ONCE: usize = 8;
const STEPS_MAX: usize = 8;
/// All files are looked at once more if something could not be done.
const TEND_ALL_AGAIN_AFTER: Duration = Duration::from_secs(30);
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// So little is sent while its writers wait: some ten milliseconds.
const AT_A_STROKE_MAX: u64 = 4 << 20;
const DECIDE_AGAIN_AFTER: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use model::Epoch;

    use super::*;

    const ADA: ApplianceId = ApplianceId::new(1);
    const BOB: ApplianceId = ApplianceId::new(2);
    const CYD: ApplianceId = ApplianceId::new(3);

    fn of(replicas: &[ApplianceId], stale: &[ApplianceId]) -> ObjectRecord {
        let (owner, epoch) = (ADA, Epoch::default());
        ObjectRecord { owner, epoch, replicas: replicas.into(), stale: stale.into() }
    }

    fn cares(record: &ObjectRecord, me: ApplianceId, wanted: usize, down: &[ApplianceId]) -> Care {
        let presence = |a: &_| if down.contains(a) { Presence::Away } else { Presence::Up };
        care(record, me, &[ADA, BOB, CYD], wanted, presence)
    }

    #[test]
    fn stale_copies_are_made_whole_and_missing_ones_made_elsewhere() {
        let stale = of(&[ADA, BOB], &[BOB]);
        assert_eq!(cares(&stale, ADA, 2, &[]), Care::Copy(BOB));
        assert_eq!(cares(&stale, ADA, 2, &[BOB]), Care::Copy(CYD), "it is down");
        assert_eq!(cares(&of(&[ADA], &[]), ADA, 2, &[]), Care::Copy(BOB));
        assert_eq!(cares(&of(&[ADA, BOB], &[]), ADA, 2, &[]), Care::Nothing);
        assert_eq!(cares(&of(&[ADA, BOB], &[BOB]), ADA, 2, &[BOB, CYD]), Care::Nothing);
    }

    #[test]
    fn nothing_is_given_up_before_as_many_others_are_good() {
        let rebuilt = of(&[ADA, BOB, CYD], &[BOB]);
        assert_eq!(cares(&rebuilt, ADA, 2, &[BOB]), Care::Drop(BOB));
        let on_its_way = of(&[ADA, BOB, CYD], &[BOB, CYD]);
        assert_eq!(cares(&on_its_way, ADA, 2, &[BOB]), Care::Copy(CYD));
        assert_eq!(cares(&of(&[ADA, BOB, CYD], &[]), ADA, 2, &[]), Care::Drop(CYD));
        assert_eq!(cares(&of(&[ADA, BOB], &[BOB]), ADA, 1, &[]), Care::Drop(BOB));
    }

    #[test]
    fn who_stands_in_for_good_becomes_the_owner() {
        let lost = of(&[ADA, BOB, CYD], &[ADA]);
        assert_eq!(cares(&lost, BOB, 2, &[ADA]), Care::TakeOver);
        assert_eq!(cares(&of(&[ADA, BOB], &[ADA]), BOB, 2, &[ADA]), Care::Copy(CYD));
        assert_eq!(cares(&of(&[ADA, BOB], &[ADA]), BOB, 2, &[]), Care::Copy(ADA), "it is back");
    }

    #[test]
    fn what_is_away_is_waited_for_unless_it_missed_something_and_what_is_gone_is_replaced() {
        let cares = |record: &ObjectRecord, me, gone: &[_], away: &[_]| {
            let presence = |a: &ApplianceId| match gone.contains(a) {
                true => Presence::Gone,
                false if away.contains(a) => Presence::Away,
                false => Presence::Up,
            };
            care(record, me, &[ADA, BOB, CYD], 2, presence)
        };
        let both = of(&[ADA, BOB], &[]);
        assert_eq!(cares(&both, ADA, &[], &[BOB]), Care::Nothing);
        assert_eq!(cares(&of(&[ADA, BOB], &[BOB]), ADA, &[], &[BOB]), Care::Copy(CYD));
        assert_eq!(cares(&both, ADA, &[BOB], &[]), Care::Copy(CYD));
        let replaced = of(&[ADA, BOB, CYD], &[]);
        assert_eq!(cares(&replaced, ADA, &[BOB], &[]), Care::Drop(BOB), "not the new one");
        assert_eq!(cares(&replaced, BOB, &[ADA], &[]), Care::TakeOver, "then the owner may go");
        assert_eq!(cares(&replaced, ADA, &[], &[BOB]), Care::Drop(BOB), "it may not come back");
        assert_eq!(cares(&replaced, ADA, &[], &[]), Care::Drop(CYD), "all of them are good");
        assert_eq!(
            cares(&replaced, ADA, &[], &[BOB, CYD]),
            Care::Nothing,
            "one of them may be lost"
        );
    }
}
