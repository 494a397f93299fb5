//! Entries: proposed where the group is led, and known here once they are applied here.
//!
//! Invariant: whoever entered something finds it in its own catalog afterwards. An entry whose fate
//! is unknown is proposed again only by those for whom twice is as good as once. Absent on purpose:
//! what entries mean.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Answer, Command, Envelope, Imaging, encode_fleet_command};
use model::{ApplianceId, GroupId, Index, Refusal, Reign, View};
use ownership::{FleetAnswer, FleetCommand, FleetRefusal};

use crate::local::Local;
use crate::router::Router;
use crate::routing::{PARK_MAX, Patience};
use crate::wire::{Reply, Request};

/// What became of a proposal that was sent to the leader.
enum Proposed<T> {
    /// It was applied.
    Applied(T, Index),
    /// It was not taken, and never will be: propose again.
    NotTaken,
    /// Nobody can say; it may still be applied.
    Unknown,
}

impl<S: Imaging> Router<S> {
    /// Enters a command that nobody decided upon as an owner, and waits until it is applied here:
    /// under whatever view is the newest, as often as that changes meanwhile.
    ///
    /// # Errors
    /// What apply refused it with; `Busy` if no leader took it in time, `Unknown` if one may have.
    pub(crate) async fn enter(&self, local: &Local<S>, command: Command) -> Answer {
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        loop {
            let view = self.fleet_now().view();
            let reign = Reign { view, ..Reign::default() };
            let answer =
                self.enter_within(local, (reign, command.clone()), patience, || true).await;
            let newest = local.catalog.newest_reign();
            if answer != Err(Refusal::Fenced) || newest <= view {
                return answer;
            }
            self.wait_for_view(newest, patience).await?;
        }
    }

    /// The same in one view alone, if there is one: a client may have had it done elsewhere in the
    /// next, and gone on.
    ///
    /// # Errors
    /// As [`Self::enter`]; `Fenced` if the view is over. It may have been entered all the same.
    pub(crate) async fn enter_in(
        &self,
        local: &Local<S>,
        view: Option<View>,
        command: Command,
    ) -> Answer {
        let Some(view) = view else { return self.enter(local, command).await };
        let what = (Reign { view, ..Reign::default() }, command);
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        // A lease that has ended, or one that comes with a newer view, says so before the view
        // itself is known here.
        let may_be_proposed = || self.has_lease() && self.heard() <= view;
        tokio::select! {
            biased;
            () = self.end_of_view(view) => Err(Refusal::Fenced),
            answer = self.enter_within(local, what, patience, may_be_proposed) => answer,
        }
    }

    /// Enters what was decided under `reign`, and waits until it is applied here. If its fate stays
    /// unknown it is entered again: whatever comes here must bear that.
    ///
    /// # Errors
    /// What apply refused it with: `Fenced` if another may have decided since, or the volume is let
    /// go of here; `Busy` if no leader took it in time, `Unknown` if one may have.
    pub(crate) async fn enter_under(
        &self,
        local: &Local<S>,
        reign: Reign,
        command: Command,
    ) -> Answer {
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        self.enter_within(local, (reign, command), patience, || true).await
    }

    async fn enter_within(
        &self,
        local: &Local<S>,
        what: (Reign, Command),
        patience: Patience,
        may_be_proposed: impl Fn() -> bool,
    ) -> Answer {
        // Broken off it may still be applied, and whoever comes here bears that it is twice.
        local.parting.or(self.enter_patiently(local, what, patience, may_be_proposed)).await
    }

    async fn enter_patiently(
        &self,
        local: &Local<S>,
        (reign, command): (Reign, Command),
        patience: Patience,
        may_be_proposed: impl Fn() -> bool,
    ) -> Answer {
        let data = Envelope { reign, command }.encode();
        let mut may_be_done = false;
        loop {
            if !may_be_proposed() {
                return Err(Refusal::Fenced);
            }
            match self.propose_volume(local, data.clone()).await? {
                Proposed::Applied(answer, index) => {
                    let applied = self.wait_applied(local, index, patience).await;
                    let not_here = |refusal| match refusal {
                        Refusal::Fenced => Refusal::Fenced,
                        _ => Refusal::Unknown,
                    };
                    return applied.map_err(not_here).and(answer);
                }
                Proposed::NotTaken => {}
                Proposed::Unknown => may_be_done = true,
            }
            self.wait_for_motion(patience).await.map_err(|refusal| match may_be_done {
                true => Refusal::Unknown,
                false => refusal,
            })?;
        }
    }

    /// Enters what was decided under `reign` exactly once or not at all, as far as that can be
    /// known.
    ///
    /// # Errors
    /// As [`Self::enter_under`].
    pub(crate) async fn enter_once_under(
        &self,
        local: &Local<S>,
        reign: Reign,
        command: Command,
    ) -> Answer {
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        let data = Envelope { reign, command }.encode();
        // The inner fault is the log's; the outer one says that this was broken off.
        let proposed = async { Ok::<_, Refusal>(self.propose_volume(local, data).await) };
        match local.parting.or(proposed).await.map_err(|_| Refusal::Unknown)?? {
            Proposed::Applied(answer, index) => {
                let applied = self.wait_applied(local, index, patience).await;
                applied.map_err(|_| Refusal::Unknown).and(answer)
            }
            Proposed::NotTaken => Err(Refusal::Busy),
            Proposed::Unknown => Err(Refusal::Unknown),
        }
    }

    /// Proposes a command that nobody waits for, where the group is led from here.
    pub(crate) fn enter_unawaited(&self, local: &Local<S>, command: Command) {
        let reign = Reign { view: self.fleet_now().view(), ..Reign::default() };
        let data = Envelope { reign, command }.encode();
        let (ticket, _) = self.parts.machines.waiters.for_volume();
        if let Err(refusal) = self.parts.log.propose(local.id.into(), ticket, data) {
            self.parts.machines.waiters.refuse(ticket, refusal);
            tracing::debug!(volume = %local.id, %refusal, "an unawaited entry was not taken");
        }
    }

    /// Enters this appliance's Reign under the current view, unless it is there already.
    ///
    /// # Errors
    /// `Busy` if no leader took it in time.
    pub(crate) async fn enter_reign(&self, local: &Local<S>) -> Result<(), Refusal> {
        let _one = local.reigning.lock().await;
        let view = self.fleet_now().view();
        if local.reign() >= view {
            return Ok(());
        }
        let command = Command::Reign { appliance: self.parts.appliance, view };
        self.enter(local, command).await?;
        local.reign.store(view.get(), Ordering::Release);
        Ok(())
    }

    /// Enters a command into the fleet's group and waits until it is applied here. If its fate
    /// stays unknown, an idempotent one is entered again.
    ///
    /// # Errors
    /// The outer one is the log's: `Busy` if no leader took it in time, `Unknown` if one may have.
    /// The inner one is the fleet's.
    pub(crate) async fn enter_fleet(
        &self,
        command: FleetCommand,
    ) -> Result<Result<FleetAnswer, FleetRefusal>, Refusal> {
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        let data = encode_fleet_command(&command);
        let mut otherwise = Refusal::Busy;
        loop {
            match self.propose_fleet(data.clone()).await? {
                Proposed::Applied(answer, index) => {
                    self.wait_fleet_applied(index, patience).await?;
                    return Ok(answer);
                }
                Proposed::NotTaken => {}
                Proposed::Unknown if command.is_idempotent() => otherwise = Refusal::Unknown,
                Proposed::Unknown => return Err(Refusal::Unknown),
            }
            self.wait_for_motion(patience).await.map_err(|_| otherwise)?;
        }
    }

    async fn propose_volume(
        &self,
        local: &Local<S>,
        data: Vec<u8>,
    ) -> Result<Proposed<Answer>, Refusal> {
        let group = GroupId::from(local.id);
        if local.raft.leads() {
            return self.propose_volume_here(group, data).await;
        }
        match self.propose_there(local.raft.leader(), group, data).await {
            Some(Ok(Reply::Entered { answer, index })) => Ok(Proposed::Applied(answer, index)),
            Some(Ok(Reply::Not(refusal))) => Err(refusal),
            Some(Ok(Reply::NotLeader(_))) | None => Ok(Proposed::NotTaken),
            Some(Ok(_) | Err(())) => Ok(Proposed::Unknown),
        }
    }

    async fn propose_fleet(
        &self,
        data: Vec<u8>,
    ) -> Result<Proposed<Result<FleetAnswer, FleetRefusal>>, Refusal> {
        let raft = self.fleet_raft();
        if raft.leads() {
            return self.propose_fleet_here(data).await;
        }
        match self.propose_there(raft.leader(), GroupId::FLEET, data).await {
            Some(Ok(Reply::FleetEntered { answer, index })) => Ok(Proposed::Applied(answer, index)),
            Some(Ok(Reply::Not(refusal))) => Err(refusal),
            Some(Ok(Reply::NotLeader(_))) | None => Ok(Proposed::NotTaken),
            Some(Ok(_) | Err(())) => Ok(Proposed::Unknown),
        }
    }

    /// Sends a proposal to the leader: nothing if it certainly did not get there.
    async fn propose_there(
        &self,
        leader: Option<ApplianceId>,
        group: GroupId,
        data: Vec<u8>,
    ) -> Option<Result<Reply, ()>> {
        let leader = leader.filter(|leader| *leader != self.parts.appliance)?;
        let request = Request::Propose { group, data };
        match self.ask_peer(leader, &request, Bytes::new(), PROPOSAL_WAIT).await {
            Ok((reply, _)) => Some(Ok(reply)),
            Err(mesh::MeshFault::Unknown) => Some(Err(())),
            Err(_) => None,
        }
    }

    async fn propose_volume_here(
        &self,
        group: GroupId,
        data: Vec<u8>,
    ) -> Result<Proposed<Answer>, Refusal> {
        let waiters = &self.parts.machines.waiters;
        let (ticket, answer) = waiters.for_volume();
        if let Err(refusal) = self.parts.log.propose(group, ticket, data) {
            waiters.refuse(ticket, refusal);
        }
        match answer.await {
            Ok(Ok((answer, index))) => Ok(Proposed::Applied(answer, index)),
            // The log says `Busy` also of what it may yet commit.
            Ok(Err(Refusal::Busy)) => Ok(Proposed::Unknown),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Fault),
        }
    }

    async fn propose_fleet_here(
        &self,
        data: Vec<u8>,
    ) -> Result<Proposed<Result<FleetAnswer, FleetRefusal>>, Refusal> {
        let waiters = &self.parts.machines.waiters;
        let (ticket, answer) = waiters.for_fleet();
        if let Err(refusal) = self.parts.log.propose(GroupId::FLEET, ticket, data) {
            waiters.refuse(ticket, refusal);
        }
        match answer.await {
            Ok(Ok((answer, index))) => Ok(Proposed::Applied(answer, index)),
            Ok(Err(Refusal::Busy)) => Ok(Proposed::Unknown),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Fault),
        }
    }

    /// Answers another appliance's proposal, if this one leads.
    pub(crate) async fn propose_for(&self, group: GroupId, data: Vec<u8>) -> Reply {
        if group == GroupId::FLEET {
            let raft = self.fleet_raft();
            if !raft.leads() {
                return Reply::NotLeader(raft.leader());
            }
            return match self.propose_fleet_here(data).await {
                Ok(Proposed::Applied(answer, index)) => Reply::FleetEntered { answer, index },
                Ok(Proposed::NotTaken) => Reply::NotLeader(None),
                Ok(Proposed::Unknown) => Reply::Unknown,
                Err(refusal) => Reply::Not(refusal),
            };
        }
        let raft = self.parts.log.watch(group);
        if !raft.leads() {
            return Reply::NotLeader(raft.leader());
        }
        match self.propose_volume_here(group, data).await {
            Ok(Proposed::Applied(answer, index)) => Reply::Entered { answer, index },
            Ok(Proposed::NotTaken) => Reply::NotLeader(None),
            Ok(Proposed::Unknown) => Reply::Unknown,
            Err(refusal) => Reply::Not(refusal),
        }
    }

    /// Makes sure that this appliance leads the group and has applied all that was acknowledged
    /// before the call.
    ///
    /// # Errors
    /// `Busy` if it does not lead.
    pub(crate) async fn read_round(&self, group: GroupId) -> Result<(), Refusal> {
        let waiters = &self.parts.machines.waiters;
        let (ticket, answer) = waiters.for_read();
        if let Err(refusal) = self.parts.log.read(group, ticket) {
            waiters.refuse(ticket, refusal);
        }
        answer.await.unwrap_or(Err(Refusal::Fault))
    }

    /// Waits until this appliance has applied the volume's log up to `index`.
    ///
    /// # Errors
    /// `Busy` when the patience is over; `Fenced` if the volume is let go of.
    pub(crate) async fn wait_applied(
        &self,
        local: &Local<S>,
        index: Index,
        patience: Patience,
    ) -> Result<(), Refusal> {
        if local.catalog.applied_index() >= index {
            return Ok(());
        }
        let mut applied = local.machine.applied.subscribe();
        let left = patience.left(self.parts.clock.since_boot());
        let wait = async {
            let wait = applied.wait_for(|applied| *applied >= index);
            match tokio::time::timeout(left, wait).await {
                // Its sender is in `local`.
                Ok(_) => Ok(()),
                Err(_) => Err(Refusal::Busy),
            }
        };
        local.parting.or(wait).await
    }

    pub(crate) async fn wait_fleet_applied(
        &self,
        index: Index,
        patience: Patience,
    ) -> Result<(), Refusal> {
        let mut applied = self.parts.machines.fleet_applied.subscribe();
        let wait = applied.wait_for(|applied| *applied >= index);
        let left = patience.left(self.parts.clock.since_boot());
        match tokio::time::timeout(left, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }

    /// Waits until another view than this is the newest here.
    async fn end_of_view(&self, view: View) {
        let mut applied = self.parts.machines.fleet_applied.subscribe();
        while self.view_now() == view {
            if applied.changed().await.is_err() {
                // Its sender is in `self`.
                return std::future::pending().await;
            }
        }
    }

    /// Waits until this appliance knows that view or a newer one.
    ///
    /// # Errors
    /// `Busy` when the patience is over.
    pub(crate) async fn wait_for_view(
        &self,
        view: View,
        patience: Patience,
    ) -> Result<(), Refusal> {
        while self.fleet_now().view() < view {
            self.wait_for_motion(patience).await?;
        }
        Ok(())
    }
}

/// Longer than an election takes; the proposal's fate is unknown after it.
const PROPOSAL_WAIT: Duration = Duration::from_secs(5);
