//! What whoever leads the fleet's group sees to: deleted volumes are purged when their time is
//! over, and volumes get other members in the place of those that are drained.
//!
//! Invariant: each wish is one entry that apply judges, so two who both believe that they lead do
//! no harm; a drained appliance's seat is given up only if another holds the volume. Absent on
//! purpose: moving files; whoever is no member any more sends them away itself.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::{ApplianceId, Timestamp, VolumeId, VolumeInfo};
use ownership::placement::{Candidate, Placement, Wanted, place};
use ownership::{DeletedVolume, Fleet, FleetCommand, Member, MemberKind, VOLUME_MEMBERS_MAX};

use crate::floating::Calm;
use crate::router::Router;
use crate::wire::{Reply, Request};

/// Deleted volumes whose time was over, and since when this appliance has seen it so.
type Expired = HashMap<VolumeId, Duration>;

/// Sees to it again and again, until the router is gone.
pub(crate) async fn keep<S: Imaging>(router: Weak<Router<S>>) {
    let (mut expired, mut calm) = (Expired::new(), Calm::default());
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let Some(router) = router.upgrade() else { return };
        router.note_holders();
        if !router.fleet_raft().leads() || !router.has_lease() {
            expired.clear();
            calm.forget();
            continue;
        }
        router.purge_expired(&mut expired).await;
        router.replace_draining().await;
        router.spread_addresses(&mut calm).await;
    }
}

/// Until when a deleted volume can be brought back.
pub fn kept_until(deleted: &DeletedVolume) -> Timestamp {
    let life = u64::try_from(DELETED_KEPT.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_nanos(deleted.at.as_nanos().saturating_add(life))
}

impl<S: Imaging> Router<S> {
    async fn purge_expired(&self, expired: &mut Expired) {
        let fleet = self.fleet_now();
        let (wall, now) = (self.parts.clock.wall(), self.parts.clock.since_boot());
        for volume in due(fleet.deleted_volumes(), wall, now, expired) {
            match self.enter_fleet(FleetCommand::PurgeVolume { volume }).await {
                Ok(Ok(_)) => tracing::info!(%volume, "a deleted volume's time is over: purged"),
                Ok(Err(refusal)) => tracing::debug!(%volume, %refusal, "not purged"),
                Err(refusal) => tracing::debug!(%volume, %refusal, "not purged"),
            }
        }
    }

    /// Gives volumes of drained appliances other members.
    async fn replace_draining(self: &Arc<Self>) {
        let fleet = self.fleet_now();
        let drains = |id: &ApplianceId| fleet.member(*id).is_some_and(|member| member.draining);
        for info in fleet.volumes() {
            if !fleet.volume_members(info.id).iter().any(drains) {
                continue;
            }
            let placement = self.place_anew(&fleet, info.id).await;
            for members in steps(fleet.volume_members(info.id), &placement.members) {
                let volume = info.id;
                let entered = self
                    .enter_fleet(FleetCommand::SetVolumeMembers {
                        volume,
                        members: members.clone(),
                    })
                    .await;
                match entered {
                    Ok(Ok(_)) => tracing::info!(%volume, ?members, "other members: a drain"),
                    other => {
                        tracing::debug!(%volume, ?other, "members stay as they are for now");
                        break;
                    }
                }
            }
        }
    }

    /// Who should hold a volume, given who does.
    pub(crate) async fn place_anew(&self, fleet: &Fleet, volume: VolumeId) -> Placement {
        place_among(&self.candidates(fleet).await, fleet.volume_members(volume))
    }

    /// The fleet's appliances, as placement weighs them: each says what room it has.
    pub(crate) async fn candidates(&self, fleet: &Fleet) -> Vec<Candidate> {
        let held = |id: ApplianceId| {
            let holds = |info: &&VolumeInfo| fleet.volume_members(info.id).contains(&id);
            fleet.volumes().iter().filter(holds).count()
        };
        let candidate = async |member: &Member| Candidate {
            id: member.id,
            labels: member.labels.clone(),
            kind: member.kind,
            free_bytes: if member.up { self.room_of(member.id).await } else { 0 },
            volumes: held(member.id),
            up: member.up,
            draining: member.draining,
        };
        join_all(fleet.members().iter().map(candidate)).await
    }

    /// Free bytes there; none if it can't be asked.
    pub(crate) async fn room_of(&self, appliance: ApplianceId) -> u64 {
        if appliance == self.parts.appliance {
            return self.parts.space.totals().map_or(0, |disk| disk.available);
        }
        match self.ask_peer(appliance, &Request::Room, Bytes::new(), ROOM_WAIT).await {
            Ok((Reply::Room(free_bytes), _)) => free_bytes,
            _ => 0,
        }
    }
}

/// Who will hold what those of `present` hold once `leaving` is drained; it is still among them if
/// nobody can take its place.
pub(crate) fn place_without(
    candidates: &[Candidate],
    present: &[ApplianceId],
    leaving: ApplianceId,
) -> Vec<ApplianceId> {
    let mut candidates = candidates.to_vec();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.id == leaving) {
        candidate.draining = true;
    }
    place_among(&candidates, present).members
}

/// Who should hold what those of `present` hold: as many of them, or, in a fleet that has fewer who
/// may, those. A drain that waited for an appliance nobody has would never end.
fn place_among(candidates: &[Candidate], present: &[ApplianceId]) -> Placement {
    let may = |c: &&Candidate| {
        let there = present.contains(&c.id);
        c.kind == MemberKind::Full && !c.draining && (there || c.up)
    };
    let copies = candidates.iter().filter(may).count().min(present.len());
    place(candidates, present, Wanted { copies, bytes: 0 })
}

/// The deleted volumes to purge now. A clock that jumped a week ahead must not cost a volume at
/// once, so each is looked at for a while.
fn due(
    deleted: &[DeletedVolume],
    wall: Timestamp,
    now: Duration,
    expired: &mut Expired,
) -> Vec<VolumeId> {
    let over = |volume: &&DeletedVolume| kept_until(volume) <= wall;
    let over: Vec<VolumeId> = deleted.iter().filter(over).map(|volume| volume.info.id).collect();
    expired.retain(|volume, _| over.contains(volume));
    let seen_long = |volume: &VolumeId| {
        let since = *expired.entry(*volume).or_insert(now);
        now.saturating_sub(since) >= PURGE_AFTER
    };
    over.into_iter().filter(seen_long).collect()
}

/// The entries that lead from `present` to `wanted`: none if they are the same, and two if nobody
/// stays, as those who come copy from those who are there.
fn steps(present: &[ApplianceId], wanted: &[ApplianceId]) -> Vec<Vec<ApplianceId>> {
    let same = present.len() == wanted.len() && wanted.iter().all(|id| present.contains(id));
    if same || wanted.is_empty() {
        return Vec::new();
    }
    if wanted.iter().any(|id| present.contains(id)) {
        return vec![wanted.to_vec()];
    }
    let come = wanted.iter().take(VOLUME_MEMBERS_MAX - 1);
    let both = present.iter().take(1).chain(come).copied().collect();
    vec![both, wanted.to_vec()]
}

/// A week: whoever deleted the wrong volume on a Friday finds out on Monday.
pub const DELETED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Time to put right a clock that jumped ahead.
const PURGE_AFTER: Duration = Duration::from_secs(600);
const KEEP_EVERY: Duration = Duration::from_secs(1);
const ROOM_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
