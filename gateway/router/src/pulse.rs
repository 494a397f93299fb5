//! Beats and leases: drives the two lease cores of this appliance.
//!
//! Invariant: the lease that others read is never longer than the holder's. Events come one at a
//! time, and what they cause is done outside: nothing here waits for the network or the log. Absent
//! on purpose: every decision; they are in `ownership`'s lease cores.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use mesh::Topic;
use model::{ApplianceId, GroupId, Incarnation, Refusal};
use ownership::lease::{
    Beat, BeatAnswer, HolderEffect, HolderEvent, Holding, KeeperEffect, KeeperEvent, LeaseHolder,
    LeaseKeeper, Round, TICK,
};
use ownership::{FleetCommand, Present};
use tokio::sync::mpsc;

use crate::router::Router;
use crate::wire::{self, Heartbeat};

/// What the pulse is told.
pub(crate) enum PulseEvent {
    /// The fleet's state changed.
    Fleet,
    /// Who leads the fleet's group changed.
    Role,
    /// Something came from another appliance.
    Heard(ApplianceId, Heartbeat),
    /// This appliance's `UpAt` is applied here.
    Up(Incarnation),
    /// A second member is about to be entered.
    Accompanied,
    /// Every client connection of before the lapse is closed.
    Closed,
    /// This appliance stops: it acts for nobody from here on.
    GivenBack,
    /// A read round is over.
    Round(Round, Result<(), ()>),
    /// A `Down` was refused.
    DownRefused(ApplianceId, Incarnation),
}

/// The way to the pulse.
#[derive(Clone)]
pub(crate) struct PulseHandle(mpsc::UnboundedSender<PulseEvent>);

impl PulseHandle {
    /// A way, and where it leads.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<PulseEvent>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Self(tell), told)
    }

    pub(crate) fn tell(&self, event: PulseEvent) {
        // Only a router that has ended no longer listens.
        let _ = self.0.send(event);
    }
}

/// Both cores of one appliance.
pub(crate) struct Pulse<S> {
    router: Weak<Router<S>>,
    holder: LeaseHolder,
    keeper: LeaseKeeper,
    leads: bool,
    term: u64,
}

impl<S: Imaging> Pulse<S> {
    pub(crate) fn new(router: &Arc<Router<S>>) -> Self {
        Self {
            router: Arc::downgrade(router),
            holder: LeaseHolder::new(router.parts.appliance),
            keeper: LeaseKeeper::new(),
            leads: false,
            term: 0,
        }
    }

    /// Runs until the router is gone. A fleet of one has no ticks.
    pub(crate) async fn run(mut self, mut events: mpsc::UnboundedReceiver<PulseEvent>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let alone = self.holder.holding() == Holding::ForEver;
            let event = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => Some(event),
                    None => return,
                },
                _ = ticks.tick(), if !alone => None,
            };
            let Some(router) = self.router.upgrade() else { return };
            self.take(&router, event);
        }
    }

    fn take(&mut self, router: &Arc<Router<S>>, event: Option<PulseEvent>) {
        match event {
            None => {
                self.hold(router, HolderEvent::Tick);
                self.keep(router, KeeperEvent::Tick);
            }
            Some(PulseEvent::Fleet) => self.fleet(router),
            Some(PulseEvent::Role) => self.role(router),
            Some(PulseEvent::Heard(from, Heartbeat::Beat(beat))) => {
                if beat.appliance == from {
                    self.keep(router, KeeperEvent::Beat(beat));
                }
            }
            Some(PulseEvent::Heard(_, Heartbeat::Answer(answer))) => {
                self.hold(router, HolderEvent::Answered(answer));
            }
            Some(PulseEvent::Up(incarnation)) => {
                self.hold(router, HolderEvent::Up(incarnation));
                self.alone_or_not(router);
            }
            Some(PulseEvent::Accompanied) => self.hold(router, HolderEvent::Accompanied),
            Some(PulseEvent::Closed) => self.hold(router, HolderEvent::Closed),
            Some(PulseEvent::GivenBack) => self.hold(router, HolderEvent::GivenBack),
            Some(PulseEvent::Round(round, done)) => {
                // What the round saw is applied: the keeper must know it first.
                self.fleet(router);
                let event = match done {
                    Ok(()) => KeeperEvent::RoundDone(round),
                    Err(()) => KeeperEvent::RoundFailed(round),
                };
                self.keep(router, event);
            }
            Some(PulseEvent::DownRefused(appliance, incarnation)) => {
                self.keep(router, KeeperEvent::DownRefused { appliance, incarnation });
            }
        }
        let before = router.lease.is_for_ever();
        // What was heard counts before the lease that the same answer prolonged.
        let heard = self.holder.heard().get();
        if router.heard_view.swap(heard, std::sync::atomic::Ordering::AcqRel) != heard {
            router.parts.machines.moved();
        }
        router.lease.set(self.holder.holding());
        router
            .accompanied
            .store(self.holder.is_accompanied(), std::sync::atomic::Ordering::Release);
        if before != router.lease.is_for_ever() {
            router.parts.machines.moved();
        }
    }

    fn fleet(&mut self, router: &Arc<Router<S>>) {
        let fleet = router.fleet_now();
        let roll: Vec<Present> = fleet.roll();
        let me = router.parts.appliance;
        let incarnation = self.holder.incarnation();
        let down = roll.iter().any(|p| p.appliance == me && p.incarnation == incarnation && !p.up);
        if down && incarnation > Incarnation::default() {
            self.hold(router, HolderEvent::Down(incarnation));
        }
        self.keep(router, KeeperEvent::Applied { view: fleet.view(), roll });
        let voters = router.parts.machines.fleet.applied().membership.voters;
        self.hold(router, HolderEvent::Voters(voters));
        self.alone_or_not(router);
    }

    /// A fleet that has become one of one again needs no beats.
    fn alone_or_not(&mut self, router: &Arc<Router<S>>) {
        let fleet = router.fleet_now();
        let me = router.parts.appliance;
        let membership = router.parts.machines.fleet.applied().membership;
        let up = fleet.is_up(me) && self.holder.incarnation() > Incarnation::default();
        let companions = router.admitting.load(std::sync::atomic::Ordering::Acquire);
        if up && fleet.members().len() == 1 && membership.is_alone(me) && companions == 0 {
            self.hold(router, HolderEvent::Alone);
        }
    }

    fn role(&mut self, router: &Arc<Router<S>>) {
        let raft = router.fleet_raft();
        let (leads, term) = (raft.leads(), raft.term().get());
        if leads && (!self.leads || term != self.term) {
            self.keep(router, KeeperEvent::Led);
        } else if !leads {
            self.keep(router, KeeperEvent::NotLed { leader: raft.leader() });
        }
        (self.leads, self.term) = (leads, term);
        self.hold(router, HolderEvent::Leader(raft.leader()));
    }

    fn hold(&mut self, router: &Arc<Router<S>>, event: HolderEvent) {
        for effect in self.holder.step(router.parts.clock.since_boot(), event) {
            match effect {
                HolderEffect::Send { to, beat } => self.send_beat(router, to, beat),
                HolderEffect::Lapsed => {
                    router.lease.set(Holding::Nothing);
                    tracing::warn!("the lease has ended: every client connection is closed");
                    let router = Arc::clone(router);
                    tokio::spawn(async move {
                        router.close_clients();
                        router.pulse.tell(PulseEvent::Closed);
                    });
                }
                HolderEffect::Rejoin => {
                    tracing::warn!("the fleet took this appliance for down: registering anew");
                    let router = Arc::clone(router);
                    tokio::spawn(async move { router.register(crate::router::Start::Clean).await });
                }
                // Raft brings it; nothing is executed under an older one: see `Here::heard`.
                HolderEffect::Newer(_) => {}
            }
        }
    }

    fn send_beat(&mut self, router: &Arc<Router<S>>, to: ApplianceId, beat: Beat) {
        if to == router.parts.appliance {
            return router.pulse.tell(PulseEvent::Heard(to, Heartbeat::Beat(beat)));
        }
        tell(router, to, &Heartbeat::Beat(beat));
    }

    fn keep(&mut self, router: &Arc<Router<S>>, event: KeeperEvent) {
        for effect in self.keeper.step(router.parts.clock.since_boot(), event) {
            match effect {
                KeeperEffect::Answer { to, answer } => send_answer(router, to, answer),
                KeeperEffect::StartRound(round) => {
                    let router = Arc::clone(router);
                    tokio::spawn(async move {
                        let read = router.read_round(GroupId::FLEET);
                        let done = match tokio::time::timeout(ROUND_WAIT, read).await {
                            Ok(Ok(())) => Ok(()),
                            Ok(Err(_)) | Err(_) => Err(()),
                        };
                        router.pulse.tell(PulseEvent::Round(round, done));
                    });
                }
                KeeperEffect::ProposeDown { appliance, incarnation } => {
                    tracing::warn!(%appliance, "not heard of for longer than its lease: down");
                    let router = Arc::clone(router);
                    tokio::spawn(async move {
                        let down = FleetCommand::Down { appliance, incarnation };
                        // What may yet be applied is not refused.
                        let entered = router.enter_fleet(down).await;
                        if matches!(entered, Ok(Err(_)) | Err(Refusal::Busy)) {
                            router.pulse.tell(PulseEvent::DownRefused(appliance, incarnation));
                        }
                    });
                }
            }
        }
    }
}

fn send_answer<S: Imaging>(router: &Router<S>, to: ApplianceId, answer: BeatAnswer) {
    if to == router.parts.appliance {
        return router.pulse.tell(PulseEvent::Heard(to, Heartbeat::Answer(answer)));
    }
    tell(router, to, &Heartbeat::Answer(answer));
}

fn tell<S: Imaging>(router: &Router<S>, to: ApplianceId, heartbeat: &Heartbeat) {
    if let Some(mesh) = router.mesh() {
        let bytes: Bytes = wire::encode(heartbeat);
        mesh.tell(to, Topic::BEATS, bytes);
    }
}

/// An unanswered round is over by then; the beats that waited for it come again.
const ROUND_WAIT: Duration = Duration::from_millis(500);
