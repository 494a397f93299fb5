//! Does what the desk says: takes notices, sends them, and tells the desk how that ended.
//!
//! Invariant: the desk is locked for as long as a step takes and never across a wait; each target
//! has a task of its own, so one that hangs holds up neither who tells nor another target. Absent
//! on purpose: decisions.

mod bounded;
mod files;
mod mail;
mod trial;
mod trust;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::desk::{Chance, Delivery, Desk, Effect, Event, Outcome, Pace, Target};
use crate::endpoint::is_this_machine;
use crate::letter::{ApplianceName, Letter};
use crate::metric::{self, Kind};
use crate::notice::{Notice, Number, Status, Told, tidy};
use crate::settings::{BadSetting, Entry, Settings, Tls};
use crate::when::{Moment, Now, WallTime};
use mail::MailWay;
use webhook::WebhookWay;

pub use trial::{Trial, TrialOutcome};

/// Takes notices from anywhere in the program. Clones are the same notifier.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

/// The tasks that send. Dropped, they end at once; [`Running::stop`] lets them finish.
pub struct Running {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// Targets whose secrets and certificates were read.
#[derive(Default)]
pub struct Targets(Vec<Opened>);

struct Opened {
    named: Named,
    way: Way,
}

#[derive(Clone)]
struct Named {
    name: String,
    kind: Kind,
    least: Status,
}

enum Way {
    Webhook(WebhookWay),
    Mail(MailWay),
}

/// How a delivery ended, and what a person may want to know of it.
struct Ended {
    outcome: Outcome,
    reason: String,
}

/// That a delivery ended.
#[derive(Clone)]
struct End {
    target: Target,
    number: Number,
    outcome: Outcome,
    reason: String,
}

/// A target as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetView {
    /// Which one: `webhook 1 hooks.example.org`. Paths of URLs may be secret and are not told.
    pub name: String,
    /// What is less bad is not sent there.
    pub least: Status,
    /// Notices that wait for it or are under way.
    pub waiting: usize,
    /// Notices that it did not get since the last that it got.
    pub undelivered: u64,
    /// Failures in a row; 0 is well.
    pub failures: u32,
}

struct Shared {
    desk: Mutex<Desk>,
    clock: Clock,
    appliance: ApplianceName,
    targets: Vec<Named>,
    /// To the task of each target; it has one delivery at a time.
    ways: Vec<mpsc::Sender<Delivery>>,
    /// The moment to wake at may be another one.
    stepped: Notify,
    /// A delivery ended.
    ended: Notify,
    /// How each one ended, for whoever tries the targets.
    ends: broadcast::Sender<End>,
    random: SystemRandom,
}

impl Targets {
    /// Checks the settings and reads what files they name.
    ///
    /// # Errors
    /// [`BadSetting`] as [`Settings::check`], or if a file can't be read, may be read by others, or
    /// has nothing sensible in it: nothing is sent anywhere then; correct it and start again.
    pub fn open(settings: &Settings) -> Result<Self, BadSetting> {
        settings.check()?;
        let mut targets = Vec::new();
        for (index, webhook) in settings.webhooks.iter().enumerate() {
            let bad = |fault| Entry::Webhook(index).bad(fault);
            let endpoint = webhook.endpoint().map_err(bad)?;
            let name = format!("webhook {} {}", index + 1, endpoint.host);
            let named = Named { name, kind: Kind::Webhook, least: webhook.least };
            let way = WebhookWay::open(webhook, endpoint).map_err(bad)?;
            targets.push(Opened { named, way: Way::Webhook(way) });
        }
        for (index, mail) in settings.mails.iter().enumerate() {
            let name = format!("mail {} {}", index + 1, mail.relay);
            if mail.tls == Tls::Plain && !is_this_machine(&mail.relay) {
                warn!(
                    to = name,
                    "mail goes to another machine without TLS: use tls = \"starttls\""
                );
            }
            let named = Named { name, kind: Kind::Mail, least: mail.least };
            let way = MailWay::open(mail).map_err(|fault| Entry::Mail(index).bad(fault))?;
            targets.push(Opened { named, way: Way::Mail(way) });
        }
        Ok(Self(targets))
    }
}

impl Notifier {
    /// Starts to send what is told to `targets`, in the name of `appliance`. Must be called within
    /// a runtime of tokio, whose IO and time are enabled.
    pub fn start(targets: Targets, appliance: ApplianceName, pace: Pace) -> (Self, Running) {
        let clock = Clock::start();
        let first = Number::new(clock.now().wall.as_millis());
        let leasts: Vec<Status> = targets.0.iter().map(|target| target.named.least).collect();
        let (mut ways, mut tasks) = (Vec::new(), Vec::new());
        let mut named = Vec::new();
        for target in targets.0 {
            let (way, deliveries) = mpsc::channel(1);
            ways.push(way);
            named.push(target.named);
            tasks.push((target.way, deliveries));
        }
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(first, pace, &leasts)),
            clock,
            appliance,
            targets: named,
            ways,
            stepped: Notify::new(),
            ended: Notify::new(),
            ends: broadcast::Sender::new(ENDS_MAX),
            random: SystemRandom::new(),
        });
        let mut running = Running { shared: shared.clone(), tasks: JoinSet::new() };
        for (way, deliveries) in tasks {
            running.tasks.spawn(deliver_each(shared.clone(), way, deliveries, pace));
        }
        running.tasks.spawn(wake_in_time(shared.clone()));
        (Self { shared }, running)
    }

    /// Takes a notice, cut to its limits. Never waits for a target and never fails; may be called
    /// from any thread, in a runtime or not.
    pub fn tell(&self, notice: Notice) {
        self.shared.step(Event::Told(notice), "");
    }

    /// At most `limit` of the newest [`NEWEST_MAX`](crate::NEWEST_MAX) notices, the older ones
    /// first: those that follow `after`, or the newest.
    pub fn recent(&self, after: Option<Number>, limit: usize) -> Vec<Told> {
        self.shared.desk.lock().recent(after, limit)
    }

    /// How it is with each target.
    pub fn targets(&self) -> Vec<TargetView> {
        let states = self.shared.desk.lock().targets();
        let view = |(named, state): (&Named, crate::desk::TargetState)| TargetView {
            name: named.name.clone(),
            least: named.least,
            waiting: state.waiting,
            undelivered: state.undelivered,
            failures: state.failures,
        };
        self.shared.targets.iter().zip(states).map(view).collect()
    }
}

impl Running {
    /// Tries to deliver what waits, for at most `wait`, and ends. What is told afterwards is listed
    /// and not sent. Gives how many deliveries were left, which the log says, too.
    pub async fn stop(mut self, wait: Duration) -> usize {
        self.shared.step(Event::Closing, "");
        let emptied = async {
            while self.shared.waiting() > 0 {
                self.shared.ended.notified().await;
            }
        };
        // What is left is counted below.
        let _ = tokio::time::timeout(wait, emptied).await;
        self.tasks.shutdown().await;
        let left = self.shared.waiting();
        if left > 0 {
            warn!(left, "notices were not delivered before the end");
        }
        left
    }
}

/// The task of one target.
async fn deliver_each(
    shared: Arc<Shared>,
    way: Way,
    mut deliveries: mpsc::Receiver<Delivery>,
    pace: Pace,
) {
    while let Some(delivery) = deliveries.recv().await {
        let letter = Letter::new(&shared.appliance, &delivery);
        let number = delivery.numbered.number;
        let Ended { outcome, reason } = match &way {
            Way::Webhook(webhook) => webhook.deliver(&letter, pace.webhook_wait).await,
            Way::Mail(mail) => mail.deliver(&letter, pace.mail_wait).await,
        };
        if let Outcome::Failed { .. } = outcome {
            metric::failed(shared.targets[delivery.target.0].kind);
        }
        let chance = shared.chance();
        let reason = tidy(reason, REASON_BYTES_MAX);
        shared.step(Event::Ended { target: delivery.target, outcome, chance }, &reason);
        shared.ended.notify_one();
        // Usually nobody listens.
        let _ = shared.ends.send(End { target: delivery.target, number, outcome, reason });
    }
}

/// The task that waits for the next try.
async fn wake_in_time(shared: Arc<Shared>) {
    loop {
        let wake_at = shared.desk.lock().wake_at();
        let Some(wake_at) = wake_at else {
            shared.stepped.notified().await;
            continue;
        };
        let wait = wake_at.since(shared.clock.now().moment);
        tokio::select! {
            () = tokio::time::sleep(wait) => drop(shared.step(Event::Woke, "")),
            () = shared.stepped.notified() => {}
        }
    }
}

impl Shared {
    /// Gives the number of the notice that was listed by this step, if one was.
    fn step(&self, event: Event, reason: &str) -> Option<Number> {
        let (effects, states) = {
            let mut desk = self.desk.lock();
            // Read under the lock, so that moments never go back.
            let now = self.clock.now();
            (desk.step(now, event), desk.targets())
        };
        let mut listed = None;
        for effect in effects {
            if let Effect::Listed(numbered) = &effect {
                listed = Some(numbered.number);
            }
            self.perform(effect, reason);
        }
        for (named, state) in self.targets.iter().zip(states) {
            metric::waiting(&named.name, state.waiting);
        }
        self.stepped.notify_one();
        listed
    }

    fn perform(&self, effect: Effect, reason: &str) {
        let named = |target: Target| &self.targets[target.0];
        match effect {
            Effect::Listed(numbered) => metric::listed(numbered.notice.status),
            Effect::Suppressed(_) => metric::suppressed(),
            Effect::Deliver(delivery) => {
                // One is under way at a time, so there is room, unless the tasks have ended.
                if self.ways[delivery.target.0].try_send(delivery).is_err() {
                    debug!("a notice is told after the end");
                }
            }
            Effect::Delivered(target, number) => {
                metric::delivered(named(target).kind);
                debug!(to = named(target).name, %number, "a notice was delivered");
            }
            Effect::Lost(target, number, loss) => {
                let Named { name, kind, .. } = named(target);
                metric::lost(*kind, loss);
                let why = loss.word();
                warn!(to = name, %number, why, reason, "a notice will not reach this target");
            }
            Effect::Failing(target) => {
                warn!(to = named(target).name, reason, "a target takes no notices: trying again");
            }
            Effect::Recovered(target) => {
                info!(to = named(target).name, "a target takes notices again");
            }
        }
    }

    fn waiting(&self) -> usize {
        self.desk.lock().targets().iter().map(|state| state.waiting).sum()
    }

    fn chance(&self) -> Chance {
        let mut bytes = [0; 4];
        // Without chance all tries are early, which does no harm.
        let _ = self.random.fill(&mut bytes);
        Chance(u32::from_ne_bytes(bytes))
    }
}

impl Ended {
    fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed { retry_after: None }, reason: reason.into() }
    }
}

/// Both clocks of this machine.
struct Clock {
    began: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the adapter that gives the core its time")]
    fn start() -> Self {
        Self { began: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the adapter that gives the core its time")]
    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since_1970.unwrap_or_default().as_millis();
        Now {
            moment: Moment::new(self.began.elapsed()),
            wall: WallTime::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
        }
    }
}

/// Who tries the targets is late by less; what it misses it reports as not known yet.
const ENDS_MAX: usize = 256;
/// Of what a receiver says, for the log.
const REASON_BYTES_MAX: usize = 300;
