//! Follows what the groups decide: opens and closes volumes, keeps the groups' members as the fleet
//! wants them, gives a new volume its root.
//!
//! Invariant: nothing here is needed for safety; everything is tried again until it is so. News are
//! passed on at once, and what takes time is done beside. Files are deleted only where the fleet's
//! log says that a volume was purged or left.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::Imaging;
use consensus::Wanted;
use model::{ApplianceId, GroupId, Incarnation, Membership, ObjectId, VolumeId};
use ownership::{Fleet, FleetCommand};
use tokio::sync::{Notify, mpsc};

use crate::local::Local;
use crate::machines::News;
use crate::pulse::PulseEvent;
use crate::router::Router;

/// Passes news on until the router is gone.
pub(crate) async fn follow<S: Imaging>(
    router: Weak<Router<S>>,
    mut news: mpsc::UnboundedReceiver<News>,
) {
    let again = Arc::new(Notify::new());
    tokio::spawn(reconcile(router.clone(), again.clone()));
    tokio::spawn(crate::keeping::keep(router.clone()));
    let mut runs = Runs::new();
    while let Some(item) = news.recv().await {
        let Some(router) = router.upgrade() else { return };
        match item {
            News::Fleet => {
                router.pulse.tell(PulseEvent::Fleet);
                router.set_peers();
                router.elect_where_leaders_are_gone(&mut runs);
            }
            News::Role(GroupId::FLEET) => router.pulse.tell(PulseEvent::Role),
            News::Membership(GroupId::FLEET) => router.pulse.tell(PulseEvent::Fleet),
            News::Role(_) | News::Membership(_) => {}
            News::LogReset(group) => router.log_was_reset(group),
            News::SnapshotWanted(group) => {
                tokio::spawn(async move { router.make_snapshot(group).await });
            }
            News::InstallSnapshot { group, from, point } => {
                tokio::spawn(async move { router.install_snapshot(group, from, point).await });
            }
        }
        again.notify_one();
    }
}

/// Brings things to where the fleet wants them, whenever something changed and every second.
async fn reconcile<S: Imaging>(router: Weak<Router<S>>, again: Arc<Notify>) {
    loop {
        let _ = tokio::time::timeout(RECONCILE_EVERY, again.notified()).await;
        let Some(router) = router.upgrade() else { return };
        if router.lease.is_for_ever() && router.fleet_now().members().len() <= 1 {
            router.discard_purged().await;
            continue;
        }
        router.hold_volumes().await;
        router.make_roots();
        router.keep_fleet_membership();
        router.keep_volume_memberships().await;
        router.discard_purged().await;
        // A burst of news is one look.
        tokio::time::sleep(RECONCILE_PAUSE).await;
    }
}

impl<S: Imaging> Router<S> {
    /// Opens the volumes that this appliance is to hold and does not.
    pub(crate) async fn hold_volumes(self: &Arc<Self>) {
        // One at a time: a volume's store is opened once.
        let _one = self.holding.lock().await;
        let fleet = self.fleet_now();
        for info in fleet.volumes() {
            let is_open = self.locals.read().contains_key(&info.id);
            if is_open || !self.holds(info.id) || self.is_installing(info.id) {
                continue;
            }
            let (router, volume) = (self.clone(), info.id);
            let opened = tokio::task::spawn_blocking(move || router.open_volume(volume)).await;
            if let Ok(Err(fault)) = opened {
                tracing::error!(%volume, %fault, "a volume can't be opened");
            }
        }
        let open: Vec<VolumeId> = self.locals.read().keys().copied().collect();
        for volume in open {
            let listed = fleet.volumes().iter().any(|info| info.id == volume);
            if !listed || !self.holds(volume) {
                self.close_volume(volume).await;
            }
        }
    }

    /// Whether the fleet wants this appliance to hold the volume.
    pub(crate) fn holds(&self, volume: VolumeId) -> bool {
        let fleet = self.fleet_now();
        fleet.seats(volume).is_some_and(|seats| seats.includes(self.parts.appliance))
    }

    /// Closes a volume that is open; its files stay.
    pub(crate) async fn close_volume(self: &Arc<Self>, volume: VolumeId) {
        let Some(local) = self.locals.write().remove(&volume) else { return };
        self.parts.machines.moved();
        self.parts.log.close_group(volume.into());
        self.let_go_of(volume, local).await;
    }

    /// Takes a volume's catalog out of use and leaves its group as it is.
    pub(crate) async fn let_go(self: &Arc<Self>, volume: VolumeId) {
        let local = self.locals.write().remove(&volume);
        self.parts.machines.moved();
        if let Some(local) = local {
            self.let_go_of(volume, local).await;
        }
    }

    async fn let_go_of(&self, volume: VolumeId, local: Arc<Local<S>>) {
        self.parts.machines.volumes.write().remove(&volume);
        local.parting.begin();
        // What writes into its files: begun anew with the volume.
        self.transfers.receiving.lock().retain(|(of, _), _| *of != volume);
        // Requests under way still hold the volume; it is closed when the last one is done.
        let closed = tokio::task::spawn_blocking(move || wait_for_last(local));
        if closed.await.is_err() {
            tracing::error!(%volume, "the closing of a volume was broken off");
        }
    }

    /// Deletes the files of volumes that were purged, or left.
    pub(crate) async fn discard_purged(self: &Arc<Self>) {
        let fleet = self.fleet_now();
        let me = self.parts.appliance;
        if fleet.member(me).is_none() {
            return;
        }
        let router = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            for volume in router.parts.factory.list()? {
                let kept = fleet.seats(volume).is_some_and(|seats| seats.includes(me));
                let known = volume <= fleet.last_volume();
                if kept || !known || router.locals.read().contains_key(&volume) {
                    continue;
                }
                tracing::info!(%volume, "the fleet purged this volume, or took it from here");
                router.parts.log.remove_group(volume.into());
                router.parts.factory.delete(volume)?;
            }
            Ok::<_, std::io::Error>(())
        });
        if let Ok(Err(fault)) = done.await {
            tracing::warn!(%fault, "files of a purged volume could not be deleted");
        }
    }
}

impl<S: Imaging> Router<S> {
    /// A group sleeps without looking whether its leader lives, and one that is awake waits for its
    /// silence; the fleet's view tells both. `runs` are those that were up at the last look.
    fn elect_where_leaders_are_gone(&self, runs: &mut Runs) {
        let fleet = self.fleet_now();
        let up = fleet.members().iter().filter(|member| fleet.is_up(member.id));
        let now: Runs = up.map(|member| (member.id, member.incarnation)).collect();
        let before = std::mem::replace(runs, now);
        let over = before.iter().filter(|(id, run)| runs.get(id) != Some(run));
        let over: Vec<ApplianceId> = over.map(|(id, _)| *id).collect();
        for local in self.locals.read().values() {
            match local.raft.leader() {
                Some(leader) if over.contains(&leader) => {
                    self.parts.log.leader_gone(local.id.into(), leader);
                }
                Some(leader) if fleet.is_up(leader) => {}
                Some(_) | None => self.parts.log.wake(local.id.into()),
            }
        }
    }

    /// Gives new volumes whose groups are led from here their root directories.
    fn make_roots(self: &Arc<Self>) {
        for local in self.locals.read().values().filter(|local| local.raft.leads()) {
            if local.catalog.inode(ObjectId::ROOT).is_ok_and(|root| root.is_none()) {
                let (router, local) = (self.clone(), local.clone());
                tokio::spawn(async move {
                    let root = router.root_of(local.id);
                    // Refused if another was first, which is as well.
                    let _ = router.enter(&local, root).await;
                });
            }
        }
    }

    /// Brings the fleet's group to the members that the fleet wants, if it is led from here.
    fn keep_fleet_membership(&self) {
        if !self.fleet_raft().leads() {
            return;
        }
        let now = self.parts.machines.fleet.applied().membership;
        let wanted = self.fleet_now().wanted_fleet_membership(&now, &[]);
        self.change_membership(GroupId::FLEET, &now, wanted);
    }

    /// The same for the groups of volumes.
    async fn keep_volume_memberships(&self) {
        let fleet = self.fleet_now();
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        for local in locals.into_iter().filter(|local| local.raft.leads()) {
            let now = local.catalog.applied().membership;
            let mut voters = fleet.volume_members(local.id).to_vec();
            for leaving in self.leaving(&fleet, &local) {
                match local.catalog.copies_of(leaving, ObjectId::ROOT, 1) {
                    // It has copies still: it stays until they are elsewhere.
                    Ok(copies) if !copies.found.is_empty() || copies.next.is_some() => {
                        voters.push(leaving);
                    }
                    Ok(_) if !now.includes(leaving) => {
                        let left =
                            FleetCommand::LeftVolume { volume: local.id, appliance: leaving };
                        let _ = self.enter_fleet(left).await;
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            self.change_membership(local.id.into(), &now, Membership::of_voters(voters));
        }
    }

    fn leaving(&self, fleet: &Fleet, local: &Local<S>) -> Vec<ApplianceId> {
        fleet.seats(local.id).map(|seats| seats.leaving.clone()).unwrap_or_default()
    }

    fn change_membership(&self, group: GroupId, now: &Membership, wanted: Membership) {
        let sorted = |list: &[ApplianceId]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        let same = sorted(&now.voters) == sorted(&wanted.voters)
            && sorted(&now.learners) == sorted(&wanted.learners);
        if now.is_joint() || same || wanted.voters.is_empty() {
            return;
        }
        tracing::info!(%group, voters = ?wanted.voters, learners = ?wanted.learners, "changing members");
        let (ticket, _) = self.parts.machines.waiters.for_volume();
        let log = &self.parts.log;
        if let Err(refusal) = log.change_membership(
            group,
            ticket,
            Wanted { voters: wanted.voters, learners: wanted.learners },
        ) {
            self.parts.machines.waiters.refuse(ticket, refusal);
        }
    }
}

/// Who is up, each in which run.
type Runs = HashMap<ApplianceId, Incarnation>;

/// Waits until nobody else holds the volume.
fn wait_for_last<S>(mut local: Arc<Local<S>>) {
    let mut looks = 0;
    while let Err(still_held) = Arc::try_unwrap(local).map(drop) {
        local = still_held;
        looks += 1;
        if looks % LOOKS_TO_WARN == 0 {
            let (volume, held) = (local.id, Arc::strong_count(&local) - 1);
            tracing::warn!(%volume, held, "a volume is waited for, to be closed or opened anew");
        }
        #[expect(clippy::disallowed_methods, reason = "an adapter, waiting for requests to end")]
        std::thread::sleep(LAST_LOOK);
    }
}

const RECONCILE_EVERY: Duration = Duration::from_secs(1);
const RECONCILE_PAUSE: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(10);
/// Five seconds of them: whoever has the volume in hand should have let go of it long ago.
const LOOKS_TO_WARN: u32 = 500;
