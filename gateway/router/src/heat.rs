//! Which files are used from where, so that they move to where they are used; and what moved.
//!
//! Invariant: counting costs a short lock on requests that came from elsewhere, and nothing in a
//! fleet of one. Absent on purpose: the arithmetic; it is in `ownership`'s heat.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::Imaging;
use model::{ApplianceId, ObjectId, VolumeId};
use ownership::heat::{Explained, Heat, HeatSettings, Pin, Room};
use ownership::{Cause, Ledger, OwnerChange};
use parking_lot::Mutex;

use crate::local::Local;
use crate::router::Router;
use crate::transfers::Job;
use crate::wire::TransferCause;

/// What is counted, and what has moved.
pub(crate) struct Uses {
    heat: Mutex<Heat>,
    ledger: Mutex<Ledger>,
    keeper: Arc<dyn LedgerKeeper>,
}

/// Keeps the ledger of owners over restarts.
pub trait LedgerKeeper: Send + Sync {
    /// What was kept, the oldest first. What can't be read is missing, and the log says so.
    fn load(&self) -> Vec<OwnerChange>;

    /// Keeps one more, at once but for a power cut. What can't be kept is not, and the log says so.
    fn keep(&self, change: &OwnerChange);
}

/// Keeps nothing, as a lone appliance never needs to.
pub(crate) struct Forgetful;

impl LedgerKeeper for Forgetful {
    fn load(&self) -> Vec<OwnerChange> {
        Vec::new()
    }

    fn keep(&self, _: &OwnerChange) {}
}

impl Uses {
    pub(crate) fn new(here: ApplianceId, keeper: Arc<dyn LedgerKeeper>) -> Self {
        let mut ledger = Ledger::default();
        keeper.load().into_iter().for_each(|change| ledger.note(change));
        let heat = Mutex::new(Heat::new(here, HeatSettings::default()));
        Self { heat, ledger: Mutex::new(ledger), keeper }
    }
}

impl<S: Imaging> Router<S> {
    /// `from` used the file, which is owned here.
    pub(crate) fn used(&self, local: &Local<S>, object: ObjectId, from: ApplianceId) {
        if self.lease.is_for_ever() {
            return;
        }
        let now = self.parts.clock.since_boot();
        let key = (local.id, object);
        let mut heat = self.uses.heat.lock();
        match from == self.parts.appliance {
            true => heat.used_here(now, key),
            false => heat.forwarded(now, key, from),
        }
    }

    /// How often the file was used lately.
    pub(crate) fn uses_of(&self, volume: VolumeId, object: ObjectId) -> u32 {
        let now = self.parts.clock.since_boot();
        self.uses.heat.lock().uses_of(now, (volume, object))
    }

    /// The file came here.
    pub(crate) fn gained(&self, local: &Local<S>, object: ObjectId) {
        self.scrub.came(local.id, object);
        let from = local.file(object).ok().and_then(|f| f.inode.record().map(|r| r.owner));
        if let Some(from) = from {
            let key = (local.id, object);
            self.uses.heat.lock().gained(self.parts.clock.since_boot(), key, from);
        }
    }

    /// The file went elsewhere: the ledger says so, and why.
    pub(crate) fn note_move(&self, local: &Local<S>, job: &Job) {
        let key = (local.id, job.object);
        self.uses.heat.lock().handed_over(self.parts.clock.since_boot(), key, job.to);
        let epoch = local.file(job.object).map(|file| file.epoch).unwrap_or_default();
        let cause = match job.cause {
            TransferCause::Asked => Cause::Asked,
            TransferCause::Heat => Cause::Heat,
            TransferCause::Drain => Cause::Drain,
            TransferCause::Rebalance => Cause::Rebalance,
            // It did not move.
            TransferCause::Copy | TransferCause::Replace(_) => return,
        };
        let change = OwnerChange {
            volume: local.id,
            object: Some(job.object),
            from: Some(self.parts.appliance),
            to: job.to,
            epoch,
            cause,
            at: self.parts.clock.wall(),
        };
        self.uses.keeper.keep(&change);
        self.uses.ledger.lock().note(change);
    }

    /// Changes of owners that began here, the newest first.
    pub fn ledger(&self) -> Vec<OwnerChange> {
        self.uses.ledger.lock().newest_first().copied().collect()
    }

    /// Why a file stays or moves, if it is owned here.
    pub fn explain(&self, volume: VolumeId, object: ObjectId) -> Explained {
        let now = self.parts.clock.since_boot();
        let key = (volume, object);
        let pin = self.pin_of(key);
        let heat = self.uses.heat.lock();
        heat.explain(now, key, pin, |to| self.room_at(volume, to))
    }

    fn pin_of(&self, (volume, object): (VolumeId, ObjectId)) -> Pin {
        let pin = self.local(volume).ok().and_then(|local| local.catalog.pin(object));
        pin.map_or(Pin::Free, Pin::To)
    }

    fn room_at(&self, volume: VolumeId, to: ApplianceId) -> Room {
        let fleet = self.fleet_now();
        let fit = fleet.member(to).is_some_and(|member| member.up && !member.draining);
        // What a rebalance takes away from there does not go back by being used meanwhile.
        let fit = fit && !self.balancing.takes_from(self.parts.clock.since_boot(), to);
        match fit && fleet.volume_members(volume).contains(&to) {
            true => Room::Enough,
            false => Room::None,
        }
    }

    /// Sends files to where they are used, or where the operator wants them, one look.
    fn move_warm_files(self: &Arc<Self>) {
        let now = self.parts.clock.since_boot();
        let pinned_elsewhere = self.pinned_elsewhere();
        let moves: Vec<((VolumeId, ObjectId), ApplianceId)> = {
            let heat = self.uses.heat.lock();
            let decide = |key: (VolumeId, ObjectId)| {
                let room = |to| self.room_at(key.0, to);
                Some((key, heat.decide(now, key, self.pin_of(key), room)?.to))
            };
            let warm = heat.warm(now).chain(pinned_elsewhere);
            warm.filter_map(decide).take(MOVES_AT_ONCE_MAX).collect()
        };
        for ((volume, object), to) in moves {
            // Refused if it is gone, or moved already.
            let _ = self.begin_transfer(volume, object, to, TransferCause::Heat);
        }
    }

    /// Files that are owned here and wanted elsewhere.
    fn pinned_elsewhere(&self) -> Vec<(VolumeId, ObjectId)> {
        let me = self.parts.appliance;
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        let mut all = Vec::new();
        for local in locals {
            for (object, to) in local.catalog.pins() {
                let owner =
                    local.inode(object).ok().and_then(|inode| inode.record().map(|r| r.owner));
                if to != me && owner == Some(me) {
                    all.push((local.id, object));
                }
            }
        }
        all
    }

    /// Sends away what this appliance owns of volumes that it is to leave, one look. Whether there
    /// is more.
    fn empty_left_volumes(self: &Arc<Self>, looked: &mut HashMap<VolumeId, ObjectId>) -> bool {
        let fleet = self.fleet_now();
        let me = self.parts.appliance;
        let mut room = DRAINED_AT_ONCE_MAX.saturating_sub(self.transfers_under_way());
        let mut more = false;
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        for local in locals {
            let members = fleet.volume_members(local.id);
            if members.contains(&me) {
                looked.remove(&local.id);
                continue;
            }
            let Some(&to) = members.iter().find(|member| fleet.is_up(**member)) else { continue };
            if room == 0 {
                more = true;
                continue;
            }
            // From the beginning again after the end: files may have come here meanwhile.
            let after = looked.get(&local.id).copied().unwrap_or(ObjectId::ROOT);
            let look = local.catalog.copies_of(me, after, room);
            let Ok(copies) = look.inspect_err(|fault| {
                tracing::error!(volume = %local.id, %fault, "files to move can't be looked for");
            }) else {
                continue;
            };
            for (object, record) in copies.found {
                if record.owner == me {
                    let _ = self.begin_transfer(local.id, object, to, TransferCause::Drain);
                    room = room.saturating_sub(1);
                }
            }
            more |= copies.next.is_some();
            match copies.next {
                Some(next) => looked.insert(local.id, next),
                None => looked.remove(&local.id),
            };
        }
        more
    }
}

/// Looks at what is used from where, again and again.
pub(crate) async fn follow_heat<S: Imaging>(router: std::sync::Weak<Router<S>>) {
    let mut looked = HashMap::new();
    let mut more = false;
    let mut since_heat = LOOK_EVERY;
    loop {
        let pause = if more { LOOK_AGAIN_AFTER } else { LOOK_EVERY };
        tokio::time::sleep(pause).await;
        let Some(router) = router.upgrade() else { return };
        if router.lease.is_for_ever() {
            continue;
        }
        since_heat += pause;
        if since_heat >= LOOK_EVERY {
            since_heat = Duration::ZERO;
            router.move_warm_files();
        }
        more = router.empty_left_volumes(&mut looked);
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a volume is left, whose files are small as a rule.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
const MOVES_AT_ONCE_MAX: usize = 16;
/// Transfers under way while a volume is left.
const DRAINED_AT_ONCE_MAX: usize = 32;
