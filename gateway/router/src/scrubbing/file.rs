//! One file: its extents are read here and at every other good copy, and compared; then it is
//! decided what becomes of copies that are bad.
//!
//! Invariant: nothing is done about a copy before all of the file was looked at, so that nobody
//! gives up what is the last to be read. Absent on purpose: what a comparison means.

use std::sync::Arc;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::{ApplianceId, EXTENT_BYTES, Mark, ObjectId, Refusal};
use scrub::{Done, Finding, Look, Part, Place, Trial, Verdict, compare, judge, own_part};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::happening::{Happening, OfCopy};
use crate::local::{Local, OwnFile};
use crate::overview::names_of;
use crate::router::Router;
use crate::routing::{Patience, Settled};
use crate::standing::About;
use crate::wire::copies::{CopyAsk, CopyTold, CopyWhat};
use crate::wire::scrub::FileProgress;
use crate::wire::{Reply, Request};

/// What became of a look at a file.
pub(super) enum Looked {
    /// It was stopped, or can't go on now.
    BrokenOff,
    /// It is gone, or another appliance's.
    NotOurs,
    /// It was looked at to its end.
    Done(Done),
}

/// What was found in a file so far.
struct Found {
    own: Finding,
    others: BTreeMap<ApplianceId, Finding>,
    /// Who does not answer is not asked again.
    silent: Vec<ApplianceId>,
    /// Extents that were not compared with some copy.
    not_compared: u64,
}

/// One extent, as it was found in the end.
struct Extent {
    own: Part,
    others: Vec<Part>,
    size: u64,
    next: u64,
    bytes: u64,
}

impl Found {
    fn note(&mut self, offset: u64, extent: &Extent, asked: &[ApplianceId]) {
        self.own.note(offset, extent.own);
        let mut compared = true;
        for (other, part) in asked.iter().zip(&extent.others) {
            if let Some(finding) = self.others.get_mut(other) {
                finding.note(offset, *part);
                compared &= !matches!(part, Part::Readable | Part::Moving | Part::Silent);
            }
            if *part == Part::Silent {
                self.silent.push(*other);
            }
        }
        self.not_compared += u64::from(!compared);
    }

    fn is_clean(&self) -> bool {
        let bad = |finding: &Finding| finding.is_bad() || finding.unproven;
        !bad(&self.own) && !self.others.values().any(bad)
    }

    /// Copies that are still good, and may answer.
    fn to_ask(&self, good: &[ApplianceId]) -> Vec<ApplianceId> {
        let asked = |other: &ApplianceId| good.contains(other) && !self.silent.contains(other);
        self.others.keys().copied().filter(asked).collect()
    }
}

impl<S: Imaging> Router<S> {
    /// Looks at a file from an extent on, in that pass.
    pub(super) async fn scrub_file(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
        (pass, from): (u64, u64),
    ) -> Looked {
        if !self.scrub_turn(local, pass).await {
            return Looked::BrokenOff;
        }
        let patience = Patience::new(self.parts.clock.since_boot(), SETTLE_MAX);
        match local.parting.or(self.settle(local.id, About::Object(object), patience)).await {
            Ok(Settled::Here(_)) => {}
            Ok(_) | Err(Refusal::Stale) => return Looked::NotOurs,
            Err(_) if !self.has_lease() => return Looked::BrokenOff,
            Err(_) => return Looked::Done(Done { skipped: true, ..Done::default() }),
        }
        let Ok(file) = self.owned(local, object) else { return Looked::NotOurs };
        let mut found = self.begin_file(&file);
        let mut extent = from;
        loop {
            if !self.scrub_turn(local, pass).await {
                return Looked::BrokenOff;
            }
            let Ok(file) = self.owned(local, object) else { return Looked::NotOurs };
            if file.stale {
                return Looked::NotOurs;
            }
            let good = file.inode.record().map(|record| self.good_others(record));
            let asked = found.to_ask(&good.unwrap_or_default());
            let looked = self.look_at(local, (object, &file), extent, &asked, &found).await;
            let Ok(looked) = looked else { return Looked::NotOurs };
            let offset = extent.saturating_mul(EXTENT_BYTES);
            found.note(offset, &looked, &asked);
            let (next, size) = (looked.next.max(extent.saturating_add(1)), looked.size);
            let place = Place { volume: local.id, object, extent: next };
            let clean = found.is_clean();
            self.scrub.of_pass(pass, |course| {
                course.read(looked.bytes);
                // What was found is not kept: a restart finds it again.
                if clean {
                    course.reached(place);
                }
            });
            let done = next.saturating_mul(EXTENT_BYTES).min(size);
            let progress = FileProgress { volume: local.id, object, done, size };
            *self.scrub.file.lock() = Some(progress);
            if next >= size.div_ceil(EXTENT_BYTES) {
                return self.act_upon(local, object, found).await;
            }
            extent = next;
        }
    }

    /// Whom to ask about a file: those that are down are known to say nothing.
    fn begin_file(&self, file: &OwnFile) -> Found {
        let fleet = self.fleet_now();
        let good = file.inode.record().map(|record| self.good_others(record));
        let finding = |other: ApplianceId| {
            let mut finding = Finding::default();
            if !fleet.is_up(other) {
                finding.note(0, Part::Silent);
            }
            (other, finding)
        };
        let good = good.unwrap_or_default();
        let silent = good.iter().copied().filter(|other| !fleet.is_up(*other)).collect();
        let others = good.into_iter().map(finding).collect();
        Found { own: Finding::default(), others, silent, not_compared: 0 }
    }

    /// Looks at an extent until it is clear what it is.
    ///
    /// # Errors
    /// If the file is gone.
    async fn look_at(
        &self,
        local: &Local<S>,
        (object, file): (ObjectId, &OwnFile),
        extent: u64,
        asked: &[ApplianceId],
        found: &Found,
    ) -> Result<Extent, Refusal> {
        let mut trial = Trial::new(found.not_compared);
        let mut bytes = 0;
        loop {
            let at = local.objects.holds(object, file.has_data).await.unwrap_or_default();
            let read = self.read_for_scrub(local, object, file.has_data, extent);
            let asks =
                asked.iter().map(|to| self.ask_extent(local, (object, file), *to, extent, at));
            let (read, theirs) = tokio::join!(read, join_all(asks));
            let after = local.objects.holds(object, file.has_data).await.unwrap_or_default();
            let (ours, size, own_next) = match read {
                Ok(cold) => {
                    bytes += cold.piece.bytes.len() as u64;
                    // Alone it is read, and compared with nobody.
                    let digest = if asked.is_empty() { [0; 32] } else { cold.piece.hash().0 };
                    (Look::Read { at: cold.at, size: cold.size, digest }, cold.size, cold.next)
                }
                Err(Refusal::Stale) => return Err(Refusal::Stale),
                Err(refusal) => {
                    let facts = local.objects.facts(object, file.has_data).await;
                    let size = facts.map_or(0, |facts| facts.size);
                    let look = match refusal {
                        Refusal::Fault => Look::Unreadable,
                        _ => Look::Moving,
                    };
                    (look, size, extent.saturating_add(1))
                }
            };
            let compared = |(theirs, _): &(Look, u64)| compare(&ours, after, theirs);
            let parts = theirs.iter().map(compared).collect();
            if let Some((own, others)) = trial.step(own_part(&ours), parts) {
                let next = theirs.iter().map(|(_, next)| *next).fold(own_next, u64::min);
                return Ok(Extent { own, others, size, next, bytes });
            }
            tokio::time::sleep(AGAIN_AFTER * trial.tries() as u32).await;
        }
    }

    /// What a copy holds of an extent, and the next one in which it has data.
    async fn ask_extent(
        &self,
        local: &Local<S>,
        (object, file): (ObjectId, &OwnFile),
        to: ApplianceId,
        extent: u64,
        at: Option<Mark>,
    ) -> (Look, u64) {
        let (view, index) = (self.fleet_now().view(), local.catalog.applied_index());
        let (volume, epoch) = (local.id, file.epoch);
        let what = CopyWhat::Extent { extent, at };
        let ask = CopyAsk { volume, object, view, epoch, index, what };
        let request = Request::Copy(Box::new(ask));
        match self.ask_peer(to, &request, Bytes::new(), ASK_WAIT).await {
            Ok((Reply::Copied(CopyTold::Extent(told)), _)) => {
                let look = match told.digest {
                    Some(digest) => Look::Read { at: told.at, size: told.size, digest },
                    None => Look::Unreadable,
                };
                (look, told.next)
            }
            Ok((Reply::Copied(_), _)) => (Look::Moving, u64::MAX),
            // It is gone, slow, or knows of no scrubs.
            _ => (Look::Silent, u64::MAX),
        }
    }

    /// Does what follows from all that was found in a file.
    async fn act_upon(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
        found: Found,
    ) -> Looked {
        let Ok(file) = self.owned(local, object) else { return Looked::NotOurs };
        let good = file.inode.record().map(|record| self.good_others(record)).unwrap_or_default();
        let others: Vec<(ApplianceId, Finding)> =
            found.others.into_iter().filter(|(other, _)| good.contains(other)).collect();
        let skipped = found.own.unproven || others.iter().any(|(_, found)| found.not_compared);
        let all = || others.iter().map(|(_, finding)| finding).chain([&found.own]);
        let unreadable = all().filter(|finding| finding.unreadable.is_some()).count() as u64;
        let bad = all().filter(|finding| finding.is_bad()).count() as u64;
        let mut done = Done { unreadable, differing: bad - unreadable, skipped, ..Done::default() };
        for (other, finding) in others.iter().filter(|(_, finding)| finding.is_bad()) {
            self.tell_bad_copy(local, object, *other, finding);
        }
        let me = self.parts.appliance;
        match judge(&found.own, &others) {
            Verdict::Clean => {}
            Verdict::MarkStale(bad) => self.mark_bad(local, (object, &file), bad, &mut done).await,
            Verdict::GiveUp(bad) => {
                self.mark_bad(local, (object, &file), bad, &mut done).await;
                match self.give_up_copy(local, object).await {
                    Ok(true) => done.mending.push(me),
                    Ok(false) | Err(_) => done.put_off += 1,
                }
            }
            Verdict::Later => done.put_off += bad,
            Verdict::Damaged => {
                let offset = found.own.unreadable.unwrap_or(0);
                let path = self.path_for_people(local, object).await;
                tracing::error!(volume = %local.id, %object, offset, path, "no copy is whole");
                let volume = local.id;
                self.tell(Happening::Damaged { volume, object, path: path.clone(), offset });
                done.damaged = Some((offset, path));
            }
        }
        Looked::Done(done)
    }

    fn tell_bad_copy(&self, local: &Local<S>, object: ObjectId, at: ApplianceId, found: &Finding) {
        let (volume, Finding { unreadable, differs, .. }) = (local.id, *found);
        tracing::error!(%volume, %object, copy = %at, unreadable, differs, "a copy is bad");
        let what = match unreadable {
            Some(_) => OfCopy::UnreadableThere(at),
            None => OfCopy::Differs(at),
        };
        self.tell(Happening::Copy(volume, object, what));
    }

    /// The owner's bytes are good: these copies are made anew from them.
    async fn mark_bad(
        &self,
        local: &Local<S>,
        (object, file): (ObjectId, &OwnFile),
        bad: Vec<ApplianceId>,
        done: &mut Done,
    ) {
        for copy in bad {
            match self.leave_behind(local, file, object, copy).await {
                Ok(()) => done.mending.push(copy),
                Err(refusal) => {
                    tracing::warn!(%object, %copy, %refusal, "a bad copy stays for now");
                    done.put_off += 1;
                }
            }
        }
    }

    /// What a file is called, with its volume.
    async fn path_for_people(&self, local: &Local<S>, object: ObjectId) -> String {
        let catalog = local.catalog.clone();
        let look = move || names_of(&catalog, &HashSet::from([object]));
        let named = tokio::task::spawn_blocking(look).await;
        let named = named.ok().and_then(Result::ok).and_then(|mut named| named.remove(&object));
        let fleet = self.fleet_now();
        let volume = fleet.volumes().iter().find(|info| info.id == local.id);
        let volume = volume.map_or_else(|| local.id.to_string(), |info| info.name.clone());
        named.map_or_else(|| format!("{volume}: object {object}"), |path| format!("{volume}{path}"))
    }
}

/// A file that came by a view is its owner's only after a Reign.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// A copy reads from a disk that others use.
const ASK_WAIT: Duration = Duration::from_secs(10);
/// Times the number of looks that were not enough.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
