//! Copies elsewhere that follow a file of this appliance: one task for each file that changes, as
//! long as it does.
//!
//! Invariant: a change is acknowledged when every copy that the log has for good has it, and a
//! COMMIT when it is durable at all of them. A copy that does not keep up is made equal behind the
//! gate, or the log is told that it is stale. Absent on purpose: what goes to whom when; the
//! replicator's core says that.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::{Command, Imaging};
use extents::{Attach, Feed};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use model::{ApplianceId, Incarnation, Mark, ObjectId, ObjectRecord, Refusal, Reign};
use ownership::{copies, effective_owner};
use parking_lot::Mutex;
use replicator::{Batch, FanOut, FanOutEffect, FanOutEvent, FanOutSettings, LostWhy, Told};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::equalizing::{Known, Unequal, equalize};
use crate::happening::{Happening, OfCopy};
use crate::local::{Local, OwnFile};
use crate::router::Router;
use crate::routing::{PARK_MAX, Patience};
use crate::telling::Knowing;
use crate::wire::copies::{CopyAsk, CopyTold, CopyWhat};
use crate::wire::{Reply, Request};

/// The files of one volume that copies follow.
pub(crate) type Fans = Mutex<HashMap<ObjectId, Arc<Fan>>>;

/// One file that copies follow.
pub(crate) struct Fan {
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) secure: mpsc::UnboundedSender<Mark>,
}

/// How the copies stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) followers: Vec<ApplianceId>,
    joined: bool,
    pub(crate) received: Option<Mark>,
    pub(crate) secured: Option<Mark>,
    /// Nobody looks after them any more: who owns the file is asked anew.
    pub(crate) closed: bool,
}

/// What is asked of a follower, and what it said.
type Asked = (ApplianceId, u64, Option<Told>);

/// The task of one file.
struct Following<S> {
    router: Weak<Router<S>>,
    local: Arc<Local<S>>,
    object: ObjectId,
    feed: Feed,
    core: FanOut,
    began: Instant,
    asks: FuturesUnordered<BoxFuture<'static, Asked>>,
    lost: Vec<(ApplianceId, LostWhy)>,
    leaving: Option<BoxFuture<'static, ()>>,
    settled: Mark,
    status: watch::Sender<Status>,
}

/// What became of making a copy equal.
enum Equalled {
    Yes,
    /// It is to be left behind.
    No,
    /// The copy here is bad.
    NotReadHere,
}

/// Something happened to it.
enum Event {
    Frame(extents::Frame),
    Ended,
    Asked(Asked),
    Secure(Mark),
    Left,
    Moved,
    Woke,
}

impl<S: Imaging> Router<S> {
    /// Copies besides the one here that the log has for good.
    pub(crate) fn good_others(&self, record: &ObjectRecord) -> Vec<ApplianceId> {
        let good = |a: &ApplianceId| *a != self.parts.appliance && !record.stale.contains(a);
        record.replicas.iter().copied().filter(good).collect()
    }

    /// Whether the file is this appliance's, as far as is known here; its lease aside.
    pub(crate) fn is_owner(&self, record: &ObjectRecord) -> bool {
        let fleet = self.fleet_now();
        effective_owner(record, |a| fleet.is_up(a)) == Some(self.parts.appliance)
    }

    /// Makes sure, before a file is changed or committed, that every other good copy is as the one
    /// here, or is known to the log not to be good. Nobody has passed the file's gate for it.
    ///
    /// # Errors
    /// `Fenced` if another appliance owns the file, `Busy` if it takes too long.
    pub(crate) async fn join_copies(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<(), Refusal> {
        // What is no file, and what is gone, is found out by whoever executes the call.
        let Ok(inode) = local.inode(object) else { return Ok(()) };
        if inode.record().is_none_or(|record| record.replicas.len() == 1) {
            return Ok(());
        }
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        loop {
            let file = self.owned(local, object)?;
            let Some(record) = file.inode.record() else { return Ok(()) };
            let stands = self.copies_of(local, record);
            for appliance in stands.leave {
                self.leave_behind(local, &file, object, appliance).await?;
            }
            if stands.follow.is_empty() {
                local.witnessed.learn(object);
                return Ok(());
            }
            let recalled = self.recall(local, object, &file, &stands.follow).await;
            let fan = match recalled {
                Ok(()) => self.fan_of(local, object, &file).await,
                Err(refusal) => Err(refusal),
            };
            let fan = match fan {
                Ok(fan) => fan,
                Err(Refusal::Busy) => {
                    self.wait_for_motion(patience).await?;
                    continue;
                }
                Err(refusal) => return Err(refusal),
            };
            let mut status = fan.status.clone();
            let joined = status.wait_for(|status| status.joined || status.closed);
            let left = patience.left(self.parts.clock.since_boot());
            match timeout(left, joined).await {
                Ok(Ok(status)) if status.joined => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(Refusal::Busy),
            }
        }
    }

    /// What becomes of a file's other copies.
    fn copies_of(&self, local: &Local<S>, record: &ObjectRecord) -> ownership::Copies {
        let fleet = self.fleet_now();
        let wanted = fleet.copies_wanted(local.id);
        copies(record, self.parts.appliance, wanted, |a| fleet.is_up(a))
    }

    /// Whether a change may be made now, as far as the copies go; asked behind the gate.
    ///
    /// # Errors
    /// `Fenced`: they are to be joined first.
    pub(crate) async fn copies_are_joined(
        &self,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<(), Refusal> {
        let Some(record) = file.inode.record().filter(|record| record.replicas.len() > 1) else {
            return Ok(());
        };
        let stands = self.copies_of(local, record);
        if !stands.leave.is_empty() {
            return Err(Refusal::Fenced);
        }
        if stands.follow.is_empty() {
            return Ok(());
        }
        let fans = local.fans.lock();
        let fan = fans.get(&object).ok_or(Refusal::Fenced)?;
        let status = fan.status.borrow();
        let all = stands.follow.iter().all(|appliance| status.followers.contains(appliance));
        if all && status.joined && !status.closed { Ok(()) } else { Err(Refusal::Fenced) }
    }

    /// The log is told that a copy misses what comes.
    pub(crate) async fn leave_behind(
        &self,
        local: &Local<S>,
        file: &OwnFile,
        object: ObjectId,
        appliance: ApplianceId,
    ) -> Result<(), Refusal> {
        let command = Command::MarkStale { object, appliance };
        match self.enter_under(local, file.reign(), command).await {
            // Given up since we looked: it misses nothing any more.
            Ok(_) | Err(Refusal::Invalid) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The copy here can't be read. If another one is good that one answers from here on, and
    /// makes this one anew; whether there is one.
    ///
    /// # Errors
    /// `Busy` while every other good copy is down, `Fenced` if another appliance owns the file
    /// already, and those of the log.
    pub(crate) async fn give_up_copy(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<bool, Refusal> {
        let fleet = self.fleet_now();
        if !self.waits_for_all(local) {
            // What was acknowledged may be here alone.
            self.join_copies(local, object).await?;
        }
        // Nobody is between a change and its answer: whoever is good has all that was acknowledged.
        let _closed = local.gates.close(object).await;
        let file = self.owned(local, object)?;
        let others = file.inode.record().map(|record| self.good_others(record));
        let others = others.unwrap_or_default();
        let only_here = || {
            self.tell(Happening::Copy(local.id, object, OfCopy::OnlyUnreadable));
            Ok(false)
        };
        if others.is_empty() {
            return only_here();
        }
        if !others.iter().any(|other| fleet.is_up(*other)) {
            return Err(Refusal::Busy);
        }
        let give_up = Command::GiveUp { object, appliance: self.parts.appliance };
        match self.enter_under(local, file.reign(), give_up).await {
            Ok(_) => {}
            // The others were left behind meanwhile.
            Err(Refusal::Invalid) => return only_here(),
            Err(refusal) => return Err(refusal),
        }
        tracing::error!(volume = %local.id, %object, "a copy can't be read: another one answers");
        metrics::counter!(COPIES_UNREADABLE).increment(1);
        self.tell_unreadable(local.id, object);
        Ok(true)
    }

    /// Whoever looks after a file's copies, from now on if nobody does.
    async fn fan_of(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<Arc<Fan>, Refusal> {
        let open = || {
            let fans = local.fans.lock();
            fans.get(&object).filter(|fan| !fan.status.borrow().closed).cloned()
        };
        if let Some(fan) = open() {
            return Ok(fan);
        }
        let _turn = local.fan_turns.turn(object).await;
        if let Some(fan) = open() {
            return Ok(fan);
        }
        self.is_here_for_good(local, object).await;
        let reign = Reign { epoch: file.epoch, view: local.reign() };
        let how = Attach { has_data: file.has_data, reign, limit_bytes: u64::MAX };
        let (feed, tip) = local.objects.follow(object, how).await?;
        let (status, seen) = watch::channel(Status::default());
        let (secure, wanted) = mpsc::unbounded_channel();
        let fan = Arc::new(Fan { status: seen, secure });
        let task = Following {
            router: self.me.clone(),
            local: local.clone(),
            object,
            feed,
            core: FanOut::new(FanOutSettings::default(), tip),
            began: Instant::now(),
            asks: FuturesUnordered::new(),
            lost: Vec::new(),
            leaving: None,
            settled: Mark::default(),
            status,
        };
        local.fans.lock().insert(object, fan.clone());
        tokio::spawn(task.run(wanted));
        Ok(fan)
    }

    /// Asks a copy something.
    pub(crate) async fn ask_copy(
        &self,
        local: &Local<S>,
        object: ObjectId,
        to: ApplianceId,
        (what, payload): (CopyWhat, Bytes),
    ) -> Option<CopyTold> {
        let inode = local.inode(object).ok()?;
        let epoch = inode.record()?.epoch;
        let (view, index) = (self.fleet_now().view(), local.catalog.applied_index());
        let ask = CopyAsk { volume: local.id, object, view, epoch, index, what };
        match self.ask_peer(to, &Request::Copy(Box::new(ask)), payload, ASK_WAIT).await {
            Ok((Reply::Copied(told), _)) => Some(told),
            _ => None,
        }
    }
}

impl<S: Imaging> Following<S> {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<Mark>) {
        let mut idle_since = Instant::now();
        loop {
            let Some(router) = self.router.upgrade() else { break };
            let mut motion = router.parts.machines.motion.subscribe();
            let Some(record) = self.record(&router) else { break };
            let runs = self.runs(&router, &record);
            let effects = self.core.follow(self.began.elapsed(), &runs);
            self.carry_out(&router, effects);
            self.lost.retain(|(lost, _)| runs.iter().any(|(appliance, _)| appliance == lost));
            self.lose_who_is_down(&router, &runs);
            self.see_to_lost(&router, &record).await;
            self.publish(&runs);
            drop(router);
            if runs.is_empty() {
                break;
            }
            if self.is_quiet() && idle_since.elapsed() > IDLE_MAX {
                self.tell_settled();
                break;
            }
            let wake = self
                .core
                .wake_at()
                .map_or(IDLE_MAX, |at| at.saturating_sub(self.began.elapsed()).min(IDLE_MAX));
            let event = tokio::select! {
                frame = self.feed.next() => frame.map_or(Event::Ended, Event::Frame),
                Some(asked) = self.asks.next() => Event::Asked(asked),
                Some(mark) = wanted.recv() => Event::Secure(mark),
                () = async { self.leaving.as_mut().expect("it is there").await },
                    if self.leaving.is_some() => Event::Left,
                _ = motion.changed() => Event::Moved,
                () = sleep_until(Instant::now() + wake) => Event::Woke,
            };
            if !matches!(event, Event::Woke | Event::Moved) {
                idle_since = Instant::now();
            }
            let Some(router) = self.router.upgrade() else { break };
            if self.take(&router, event).is_none() {
                break;
            }
        }
        self.close();
    }

    /// The file's record, while it is this appliance's.
    fn record(&self, router: &Router<S>) -> Option<ObjectRecord> {
        let is_open = router
            .locals
            .read()
            .get(&self.local.id)
            .is_some_and(|open| Arc::ptr_eq(open, &self.local));
        let inode = self.local.inode(self.object).ok().filter(|_| is_open)?;
        inode.record().filter(|record| router.is_owner(record)).cloned()
    }

    fn runs(&self, router: &Router<S>, record: &ObjectRecord) -> Vec<(ApplianceId, Incarnation)> {
        let fleet = router.fleet_now();
        let run = |appliance: ApplianceId| {
            let member = fleet.member(appliance);
            (appliance, member.map(|member| member.incarnation).unwrap_or_default())
        };
        router.good_others(record).into_iter().map(run).collect()
    }

    /// What the fleet knows to be down needs no time to prove that it is silent.
    fn lose_who_is_down(&mut self, router: &Router<S>, runs: &[(ApplianceId, Incarnation)]) {
        let fleet = router.fleet_now();
        for (appliance, _) in runs.iter().filter(|(appliance, _)| !fleet.is_up(*appliance)) {
            if self.lost.iter().all(|(lost, _)| lost != appliance) {
                self.lost.push((*appliance, LostWhy::Silent));
            }
        }
    }

    /// `None`: nothing more can come.
    fn take(&mut self, router: &Arc<Router<S>>, event: Event) -> Option<()> {
        let now = self.began.elapsed();
        let effects = match event {
            Event::Frame(frame) => self.core.step(now, FanOutEvent::Frame(frame)),
            Event::Ended => return None,
            Event::Asked((from, batch, Some(told))) => {
                self.core.step(now, FanOutEvent::Told { from, batch, told })
            }
            Event::Asked((to, batch, None)) => {
                self.core.step(now, FanOutEvent::Failed { to, batch })
            }
            Event::Secure(mark) => self.core.step(now, FanOutEvent::Secure(mark)),
            Event::Left => {
                self.leaving = None;
                return Some(());
            }
            Event::Moved | Event::Woke => self.core.step(now, FanOutEvent::Woke),
        };
        self.carry_out(router, effects);
        Some(())
    }

    fn carry_out(&mut self, router: &Arc<Router<S>>, effects: Vec<FanOutEffect>) {
        for effect in effects {
            match effect {
                FanOutEffect::Send { to, batch } => self.send(router, to, batch),
                FanOutEffect::Lost { follower, why } => self.lost.push((follower, why)),
            }
        }
    }

    fn send(&mut self, router: &Arc<Router<S>>, to: ApplianceId, batch: Batch) {
        let (router, local, object) = (router.clone(), self.local.clone(), self.object);
        let (number, settled) = (batch.number, self.settled);
        let ask = async move {
            // Who joins gets to know the calls that made what it has.
            if batch.joins {
                let answers = local.data_calls.answers_about(object);
                let told = router.tell_copy(&local, object, to, (&answers, Knowing::Also)).await;
                if told.is_err() {
                    return (to, number, None);
                }
            }
            let what = CopyWhat::of_batch(batch, settled);
            let told = router.ask_copy(&local, object, to, what).await;
            (to, number, told.map(|told| told.told()))
        };
        // On a task of its own, so that what this one does does not hold it up.
        let ask = tokio::spawn(ask);
        self.asks.push(async move { ask.await.unwrap_or((to, number, None)) }.boxed());
    }

    /// A copy that does not keep up is made equal, if nobody has to wait for that, or left behind.
    async fn see_to_lost(&mut self, router: &Arc<Router<S>>, record: &ObjectRecord) {
        let Some((follower, why)) = self.lost.first().copied() else { return };
        if self.leaving.is_some() {
            return;
        }
        if why == LostWhy::Gap {
            match self.make_equal(router, follower).await {
                Equalled::Yes => return self.lost.retain(|(lost, _)| *lost != follower),
                Equalled::NotReadHere => return self.give_up(router),
                Equalled::No => {}
            }
        }
        let (object, epoch) = (self.object, record.epoch);
        tracing::warn!(volume = %self.local.id, %object, %follower, ?why, "a copy is left behind");
        metrics::counter!(COPIES_LEFT_BEHIND).increment(1);
        router.tell(Happening::Copy(self.local.id, object, OfCopy::LeftBehind(follower)));
        let (router, local) = (router.clone(), self.local.clone());
        let leave = async move {
            let reign = Reign { view: router.fleet_now().view(), epoch };
            let stale = Command::MarkStale { object, appliance: follower };
            if let Err(refusal) = router.enter_under(&local, reign, stale).await {
                tracing::debug!(%object, %refusal, "a copy can't be left behind yet");
                tokio::time::sleep(LEAVE_AGAIN_AFTER).await;
            }
        };
        self.leaving = Some(leave.boxed());
    }

    /// It is not the other copy that is bad: this one goes, if any other is good.
    fn give_up(&mut self, router: &Arc<Router<S>>) {
        let (router, local, object) = (router.clone(), self.local.clone(), self.object);
        let leave = async move {
            match router.give_up_copy(&local, object).await {
                Ok(true) => {}
                // There is nobody to give it to: writers wait, and readers of other bytes go on.
                Ok(false) | Err(_) => tokio::time::sleep(GIVE_UP_AGAIN_AFTER).await,
            }
        };
        self.leaving = Some(leave.boxed());
    }

    /// Makes a copy equal while nobody changes the file, unless that would take too long.
    async fn make_equal(&mut self, router: &Arc<Router<S>>, follower: ApplianceId) -> Equalled {
        let local = self.local.clone();
        let Ok(closed) = timeout(GATE_MAX, local.gates.close(self.object)).await else {
            return Equalled::No;
        };
        let equal = equalize(router, &local, self.object, follower, Known::WasAlike);
        let mark = match timeout(EQUAL_MAX, equal).await {
            Ok(Ok(mark)) => mark,
            Ok(Err(Unequal::NotReadHere)) => return Equalled::NotReadHere,
            Ok(Err(why)) => {
                tracing::info!(object = %self.object, %follower, %why, "not made equal");
                return Equalled::No;
            }
            Err(_) => return Equalled::No,
        };
        // Its name is a change that does nothing, and everybody gets it before the next one.
        while self.core.tip() < mark {
            let Ok(frame) = self.feed.next().await else { return Equalled::No };
            let now = self.began.elapsed();
            let effects = self.core.step(now, FanOutEvent::Frame(frame));
            self.carry_out(router, effects);
        }
        metrics::counter!(COPIES_MADE_EQUAL).increment(1);
        let effects = self.core.made_equal(self.began.elapsed(), follower, mark);
        self.carry_out(router, effects);
        drop(closed);
        Equalled::Yes
    }

    fn publish(&mut self, runs: &[(ApplianceId, Incarnation)]) {
        let status = Status {
            followers: runs.iter().map(|(appliance, _)| *appliance).collect(),
            joined: self.core.is_joined(),
            received: self.core.received(),
            secured: self.core.secured(),
            closed: false,
        };
        let was_joined = self.status.borrow().joined;
        let alike = match status.joined && !was_joined {
            true => status.received,
            false => status.secured,
        };
        if let Some(alike) = alike.filter(|alike| *alike > self.settled) {
            self.settled = alike;
            self.local.objects.settled(self.object, alike);
        }
        self.status.send_if_modified(|before| {
            let changed = before.joined != status.joined
                || before.received != status.received
                || before.secured != status.secured
                || before.followers != status.followers;
            *before = status;
            changed
        });
    }

    fn is_quiet(&self) -> bool {
        self.asks.is_empty() && self.lost.is_empty() && self.feed.backlog().frames == 0
    }

    /// All copies are the same and nobody changes them: each of them is to know it, so that it need
    /// not be compared after a crash.
    fn tell_settled(&mut self) {
        let Some(router) = self.router.upgrade() else { return };
        let (tip, settled) = (self.core.tip(), self.settled);
        if settled < tip {
            return;
        }
        for to in self.core.followers() {
            let (router, local, object) = (router.clone(), self.local.clone(), self.object);
            let changes = Vec::new();
            let (previous, durable, told) = (tip, false, false);
            let what = CopyWhat::Changes { previous, settled, durable, told, changes };
            tokio::spawn(async move {
                router.ask_copy(&local, object, to, (what, Bytes::new())).await;
            });
        }
    }

    /// Whoever waits asks anew who owns the file.
    fn close(self) {
        let mut fans = self.local.fans.lock();
        self.status.send_modify(|status| status.closed = true);
        let ours = |fan: &Arc<Fan>| fan.status.borrow().closed;
        if fans.get(&self.object).is_some_and(ours) {
            fans.remove(&self.object);
        }
    }
}

/// Copies that did not keep up with a file of this appliance; a counter.
const COPIES_LEFT_BEHIND: &str = "holdfast_copies_left_behind_total";
/// Copies that differed and were made equal while their file's requests waited; a counter.
const COPIES_MADE_EQUAL: &str = "holdfast_copies_made_equal_total";
/// Copies of files of this appliance that it could not read, and gave up; a counter.
const COPIES_UNREADABLE: &str = "holdfast_copies_unreadable_total";
/// A question to a copy; an fsync of much data may be part of it.
pub(crate) const ASK_WAIT: Duration = Duration::from_secs(2);
/// A file that nobody changes for so long needs nobody to look after its copies.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Whoever passed the gate may wait for the very copy that is lost: then it is left behind.
const GATE_MAX: Duration = Duration::from_millis(30);
/// Requests wait no longer for a copy to be made equal.
const EQUAL_MAX: Duration = Duration::from_millis(1_000);
const LEAVE_AGAIN_AFTER: Duration = Duration::from_millis(50);
const GIVE_UP_AGAIN_AFTER: Duration = Duration::from_secs(1);
