//! Gets a request to whoever answers it, and back.
//!
//! Invariant: what was executed without a live lease is not answered; a call whose fate is unknown
//! is sent again only because whoever executes it knows it by its key. A request that nobody can
//! answer yet waits, within limits: the Linux client sleeps 5 s when it is told to come back, and
//! then sends another call. So no change is told that: this one may have been sent before. And none
//! is begun late: neither once its client's connection is closed, nor in another view than the one
//! in which the lease was looked at. Its client may have had it done elsewhere and gone on.
//! Absent on purpose: what requests mean.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use mesh::{MeshFault, Message};
use model::{ApplianceId, Refusal, View};
use volume::{Ask, Refused};

use crate::local::Local;
use crate::router::Router;
use crate::standing::{About, Standing};
use crate::wire::{self, Call, Forwarded, Reply, Request, Returned};

/// Where a request is answered.
pub(crate) enum Settled<S> {
    /// Here, as things stand.
    Here(Arc<Local<S>>),
    /// Here, under a read lease that must still run afterwards.
    Led(Arc<Local<S>>),
    /// Here; names were confirmed by a round and need not be looked at again.
    Confirmed(Arc<Local<S>>),
    /// There.
    There(ApplianceId),
}

/// Until when somebody waits.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    until: Duration,
}

/// What became of a forwarded call.
enum Forwarding {
    Returned(Box<Returned>, Bytes),
    Refused(Box<Refused>),
    Moved(Option<ApplianceId>),
    /// It did not get there.
    NotSent,
    /// Whether it was executed is not known.
    Unknown,
}

impl Patience {
    /// For so long.
    pub(crate) fn new(now: Duration, wait: Duration) -> Self {
        Self { until: now + wait }
    }

    /// What is left of it.
    pub(crate) fn left(self, now: Duration) -> Duration {
        self.until.saturating_sub(now)
    }
}

impl<S: Imaging> Router<S> {
    /// Has a request executed by whoever it belongs to: by `here` in a view, or there as `call`.
    pub(crate) async fn routed<T, F: Future<Output = Result<T, Refused>>>(
        &self,
        ask: &Ask,
        about: About,
        here: impl Fn(Arc<Local<S>>, Option<View>) -> F,
        call: impl Fn() -> (Call, Bytes),
        take: impl Fn(Returned, Bytes) -> Option<T>,
    ) -> Result<T, Refused> {
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        let (mut told, mut may_be_done, mut tries) = (None, false, 0);
        // "Come back later" would make it a new call, and the old one may have been executed.
        let given_up = async |refusal: Refusal, may_be_done: bool| {
            if !call().0.changes() || refusal != Refusal::Busy && !may_be_done {
                return Refused::from(refusal);
            }
            // Whoever loses the connection is back at once: no sooner if too many wait here.
            tokio::time::sleep(patience.left(self.parts.clock.since_boot())).await;
            Refused::from(Refusal::Unknown)
        };
        for hop in 0.. {
            if hop >= QUICK_HOPS_MAX {
                // Much is in motion: looking faster would not help.
                let left = patience.left(self.parts.clock.since_boot());
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN.min(left)).await;
            }
            // Before the lease: whoever was taken for down since then is so in a newer view.
            let view = match (ask.view, self.lease.is_for_ever()) {
                (Some(view), _) if view != self.view_now() => {
                    return Err(Refusal::Fenced.into());
                }
                (Some(view), _) => Some(view),
                (None, true) => None,
                (None, false) => Some(self.view_now()),
            };
            let settled = match told.take() {
                Some(to) if self.has_lease() => Settled::There(to),
                _ => match self.settle(ask.volume, about, patience).await {
                    Ok(settled) => settled,
                    Err(refusal) => return Err(given_up(refusal, may_be_done).await),
                },
            };
            // After the lease: nothing that came before one has ended is begun under the next.
            if ask.line.is_closed() {
                return Err(Refusal::Unknown.into());
            }
            let executed = match settled {
                Settled::There(to) => Err(to),
                Settled::Here(local) | Settled::Confirmed(local) => Ok((local, false)),
                Settled::Led(local) => Ok((local, true)),
            };
            let to = match executed {
                Err(to) => to,
                Ok((local, led)) => {
                    let result = here(local.clone(), view).await;
                    let stands = self.has_lease() && (!led || self.leads_by_lease(&local));
                    if stands && !is_over(&result) {
                        return result;
                    }
                    // Also if it was over: a change may have been made before that was seen.
                    may_be_done = true;
                    if let Err(refusal) = self.pause_before(&mut tries, patience).await {
                        return Err(given_up(refusal, may_be_done).await);
                    }
                    continue;
                }
            };
            // It has become a fleet of several, or the wait was long: it is looked again.
            let Some(view) = view.filter(|view| *view == self.view_now()) else { continue };
            let forwarding = self.forward(to, &ask.in_view(Some(view)), call(), patience).await;
            may_be_done |= matches!(forwarding, Forwarding::Unknown);
            match forwarding {
                Forwarding::Returned(returned, payload) => {
                    self.hints.learn(ask.volume, about, to);
                    if let Some(taken) = take(*returned, payload) {
                        return Ok(taken);
                    }
                    tracing::error!(%to, "an appliance answered another question");
                    return Err(Refusal::Fault.into());
                }
                Forwarding::Refused(refused) => return Err(*refused),
                Forwarding::Moved(Some(next)) if next != self.parts.appliance && next != to => {
                    self.hints.learn(ask.volume, about, next);
                    // Our own table may be behind, or ahead: theirs is tried once.
                    told = Some(next);
                }
                Forwarding::Moved(_) | Forwarding::NotSent | Forwarding::Unknown => {
                    self.hints.forget(ask.volume, about);
                    if let Err(refusal) = self.wait_for_motion(patience).await {
                        return Err(given_up(refusal, may_be_done).await);
                    }
                }
            }
        }
        Err(given_up(Refusal::Busy, may_be_done).await)
    }

    /// Finds out who answers, waiting while nobody is known.
    pub(crate) async fn settle(
        &self,
        volume: model::VolumeId,
        about: About,
        patience: Patience,
    ) -> Result<Settled<S>, Refusal> {
        loop {
            match self.standing(volume, about)? {
                Standing::Here(local) => return Ok(Settled::Here(local)),
                Standing::Led(local) => {
                    // What is committed must be applied before it is read.
                    let commit = local.raft.commit();
                    match self.wait_applied(&local, commit, patience).await {
                        // The volume is let go of.
                        Err(Refusal::Fenced) => continue,
                        waited => waited?,
                    }
                    return Ok(Settled::Led(local));
                }
                Standing::There(to) => return Ok(Settled::There(to)),
                Standing::AfterRound(local) => {
                    let round = local.parting.or(self.read_round(local.id.into())).await;
                    match round {
                        Ok(()) => return Ok(Settled::Confirmed(local)),
                        Err(_) => {
                            drop(local);
                            self.wait_for_motion(patience).await?;
                        }
                    }
                }
                Standing::AfterReign(local) => {
                    if self.enter_reign(&local).await.is_err() {
                        drop(local);
                        self.wait_for_motion(patience).await?;
                    }
                }
                Standing::Unsettled => self.wait_for_motion(patience).await?,
            }
        }
    }

    /// Whether this appliance may still acknowledge what it has just done.
    pub fn has_lease(&self) -> bool {
        self.lease.is_for_ever() || self.lease.is_live(self.parts.clock.since_boot())
    }

    /// Whether nobody else can have led the volume's group until now.
    pub(crate) fn leads_by_lease(&self, local: &Local<S>) -> bool {
        local.raft.read_lease_until() > self.parts.clock.since_boot()
    }

    async fn forward(
        &self,
        to: ApplianceId,
        ask: &Ask,
        (call, payload): (Call, Bytes),
        patience: Patience,
    ) -> Forwarding {
        let left = patience.left(self.parts.clock.since_boot());
        let index = self.locals.read().get(&ask.volume).map(|l| l.catalog.applied_index());
        let request = Request::Forward(Box::new(Forwarded {
            volume: ask.volume,
            identity: ask.identity.clone(),
            key: ask.key,
            read_only: ask.read_only,
            view: ask.view.unwrap_or_default(),
            index: index.unwrap_or_default(),
            patience_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            call,
        }));
        self.forwards.fetch_add(1, Ordering::Relaxed);
        match self.ask_peer(to, &request, payload, left + ANSWER_GRACE).await {
            Ok((Reply::Returned(returned), payload)) => Forwarding::Returned(returned, payload),
            Ok((Reply::Refused(refused), _)) => Forwarding::Refused(refused),
            Ok((Reply::Moved { to, .. }, _)) => Forwarding::Moved(to),
            Ok((Reply::Not(refusal), _)) => Forwarding::Refused(Box::new(refusal.into())),
            Ok((Reply::Unknown, _)) | Err(MeshFault::Unknown) => Forwarding::Unknown,
            Ok((other, _)) => {
                tracing::error!(%to, ?other, "an appliance answered what was not asked");
                Forwarding::Unknown
            }
            Err(_) => Forwarding::NotSent,
        }
    }

    /// Asks another appliance, and reads its answer.
    pub(crate) async fn ask_peer(
        &self,
        to: ApplianceId,
        request: &Request,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<(Reply, Bytes), MeshFault> {
        let mesh = self.mesh().ok_or(MeshFault::NotSent)?;
        let over = self.end_of_run(to);
        if !self.fleet_now().is_up(to) && !mesh.is_connected(to) {
            // It dials by itself when it is back.
            return Err(MeshFault::NotSent);
        }
        let message = Message { kind: wire::KIND, header: wire::encode(request), payload };
        let reply = tokio::select! {
            reply = mesh.ask(to, message, deadline) => reply?,
            // Long before the connection's silence is noticed.
            () = over => return Err(MeshFault::Unknown),
        };
        let (header, payload) = wire::split(reply.kind, reply.header, reply.payload);
        match wire::decode(&header) {
            Ok(reply) => Ok((reply, payload)),
            Err(bad) => {
                tracing::error!(%to, %bad, "an answer can't be read");
                Err(MeshFault::Unknown)
            }
        }
    }

    /// Waits until the fleet says that the present run of an appliance is over: it is down, or was
    /// started anew. For ever if that was said before.
    fn end_of_run(&self, of: ApplianceId) -> impl Future<Output = ()> + use<S> {
        let machines = self.parts.machines.clone();
        let mut applied = machines.fleet_applied.subscribe();
        let run_now = move || {
            let fleet = machines.fleet_now.read();
            fleet.member(of).map(|member| member.incarnation).filter(|_| fleet.is_up(of))
        };
        let run = run_now();
        async move {
            while run.is_some() && run_now() == run && applied.changed().await.is_ok() {}
            if run.is_none() || run_now() == run {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Before what was over while it was executed is looked at again: the first time at once.
    ///
    /// # Errors
    /// `Busy` when the patience is over, or too many wait already.
    pub(crate) async fn pause_before(
        &self,
        tries: &mut u32,
        patience: Patience,
    ) -> Result<(), Refusal> {
        *tries += 1;
        if *tries == 1 { Ok(()) } else { self.wait_for_motion(patience).await }
    }

    /// Waits until something about who may do what has changed, or for a moment.
    ///
    /// # Errors
    /// `Busy` when the patience is over, or too many wait already.
    pub(crate) async fn wait_for_motion(&self, patience: Patience) -> Result<(), Refusal> {
        let left = patience.left(self.parts.clock.since_boot());
        if left.is_zero() {
            return Err(Refusal::Busy);
        }
        let _parked = self.parked.enter()?;
        let mut motion = self.parts.machines.motion.subscribe();
        // Whatever changed between the look and here is caught by the short wait.
        let _ = tokio::time::timeout(left.min(LOOK_AGAIN), motion.changed()).await;
        Ok(())
    }
}

/// Whether a result only says that somebody else answers by now.
pub(crate) fn is_over<T>(result: &Result<T, Refused>) -> bool {
    matches!(result, Err(Refused { refusal: Refusal::Fenced, .. }))
}

/// How long a request waits for somebody to answer it.
pub(crate) const PARK_MAX: Duration = Duration::from_secs(10);
/// Appliances that a request is sent to as fast as things move; it waits before each one more.
const QUICK_HOPS_MAX: usize = 64;
/// How often a parked request looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// What an answer may take longer than the asked appliance may wait: an fsync of much data.
const ANSWER_GRACE: Duration = Duration::from_secs(20);
