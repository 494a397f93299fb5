//! Holds the floating addresses that are this appliance's to hold, in a thread of its own: a busy
//! runtime does not stop it from renewing them, and a process that stands still does.
//!
//! Invariant: after each deed it is asked anew whether the address is still ours, so one that was
//! taken during a pause of the process is given up at once. Absent on purpose: every decision; they
//! are the fleet state's and the course's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use addresses::{Addresses, Connection, Ended, Fault, Floating, TICKLES_MAX};
use catalog::FjallStore;
use model::Clock;
use ownership::AddressOffer;
use router::{AddressClient, AddressPlace, CLIENTS_MAX, Router};

use self::course::{Course, Deed, LIFETIME, Outcome};
use crate::config::Config;

mod course;

/// The thread that holds addresses; none if none are configured.
pub struct Holder {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Holder {
    /// Offers the configured addresses to the fleet and begins to hold what it is given.
    ///
    /// # Errors
    /// A sentence for the operator: this process may not, or the configuration is wrong.
    pub fn start(
        config: &Config,
        router: &Arc<Router<FjallStore>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let wanted = config.floating.parsed()?;
        let stop = Arc::new(AtomicBool::new(false));
        let spread_after = Duration::from_secs(config.floating.spread_after_s);
        let thread = match wanted.is_empty() {
            true => None,
            false => {
                let kernel = Addresses::open().map_err(|fault| format!("floating: {fault}"))?;
                let mut ports: Vec<u16> = config.nfs.listen.iter().map(SocketAddr::port).collect();
                ports.sort_unstable();
                ports.dedup();
                let keeper = Keeper {
                    kernel,
                    router: router.clone(),
                    clock: clock.clone(),
                    ports,
                    kept: wanted.iter().cloned().map(Kept::new).collect(),
                };
                let stop = stop.clone();
                let thread = std::thread::Builder::new().name("floating".to_owned());
                let started = thread.spawn(move || keeper.run(&stop));
                Some(started.map_err(|e| format!("can't start threads: {e}"))?)
            }
        };
        router.begin_floating(wanted.iter().map(offer).collect(), spread_after);
        Ok(Self { thread, stop })
    }

    /// Gives everything up, after others were told to hold it, if there are others.
    pub async fn stop(self, router: &Router<FjallStore>) {
        let Some(thread) = self.thread else { return };
        router.withdraw_addresses().await;
        self.stop.store(true, Ordering::Release);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that holds floating addresses was broken off");
        }
    }
}

fn offer(floating: &Floating) -> AddressOffer {
    AddressOffer {
        address: floating.address(),
        prefix: floating.prefix(),
        interface: floating.interface().to_string(),
    }
}

/// All addresses, and what is needed to hold them.
struct Keeper {
    kernel: Addresses,
    router: Arc<Router<FjallStore>>,
    clock: Arc<dyn Clock>,
    /// Where the NFS door listens.
    ports: Vec<u16>,
    kept: Vec<Kept>,
}

/// One address.
struct Kept {
    floating: Floating,
    course: Course,
    /// The clients of the holder before.
    before: Vec<AddressClient>,
    /// Those that were connected here when it was given up.
    left: Left,
    /// What was wrong last; told once.
    fault: Option<String>,
}

impl Kept {
    fn new(floating: Floating) -> Self {
        let (course, before, left) = (Course::new(), Vec::new(), Left::default());
        Self { floating, course, before, left, fault: None }
    }
}

/// Clients that were connected when an address was given up. Whoever came lately is known to no
/// other appliance: while this one was cut off, or stood still with its door open. They are
/// provoked from here, and answer to whoever holds the address by then.
#[derive(Default)]
struct Left {
    connections: Vec<Connection>,
    next: Duration,
    until: Duration,
}

impl Left {
    fn begin(&mut self, now: Duration, connections: Vec<Connection>) {
        *self = Self { connections, next: now, until: now + PROVOKE_FOR };
    }

    /// Whom to provoke now.
    fn due(&mut self, now: Duration) -> &[Connection] {
        if now >= self.until {
            self.connections.clear();
        }
        if now < self.next {
            return &[];
        }
        self.next = now + PROVOKE_EVERY;
        &self.connections
    }
}

impl Keeper {
    fn run(mut self, stop: &AtomicBool) {
        self.prepare();
        let mut looked = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            let Self { kernel, router, clock, ports, kept } = &mut self;
            for kept in kept.iter_mut() {
                tend(kernel, router, clock.as_ref(), kept);
                provoke(kernel, kept.left.due(clock.since_boot()));
            }
            let held = kept.iter().filter(|kept| kept.course.is_held()).count();
            metrics::gauge!(HELD).set(held as f64);
            let now = clock.since_boot();
            if now.saturating_sub(looked) >= CONNECTIONS_EVERY {
                looked = now;
                for kept in kept.iter_mut().filter(|kept| kept.course.is_held()) {
                    tell_clients(kernel, router, ports, kept);
                }
            }
            wait(LOOK_EVERY);
        }
        for _ in 0..LAST_TRIES {
            let left = self.kept.iter_mut().filter(|kept| kept.course.is_held());
            let failed = left.filter_map(|kept| {
                let now = self.clock.since_boot();
                let outcome = perform(&self.kernel, &self.router, (kept, now), Deed::GiveUp);
                kept.course.done(Duration::ZERO, Deed::GiveUp, outcome);
                (outcome == Outcome::Failed).then_some(())
            });
            if failed.count() == 0 {
                return;
            }
            wait(LOOK_EVERY);
        }
    }

    /// Makes the interfaces fit, and tells the operator what is there already.
    fn prepare(&self) {
        let mut interfaces: Vec<_> = self.kept.iter().map(|k| k.floating.interface()).collect();
        interfaces.dedup();
        for interface in interfaces {
            if let Err(fault) = self.kernel.prepare(interface) {
                tracing::warn!(%fault, "floating addresses");
            }
        }
        let all: Vec<IpAddr> = self.kept.iter().map(|kept| kept.floating.address()).collect();
        match self.kernel.held(&all) {
            Ok(held) => {
                for held in held.iter().filter(|held| held.remaining.is_none()) {
                    tracing::warn!(
                        floating = %held.floating,
                        "was added for good by somebody else: from now on it comes and goes"
                    );
                }
            }
            Err(fault) => tracing::warn!(%fault, "floating addresses"),
        }
    }
}

/// Does what there is to do about one address.
fn tend(kernel: &Addresses, router: &Router<FjallStore>, clock: &dyn Clock, kept: &mut Kept) {
    for _ in 0..DEEDS_MAX {
        // Both anew each time: this thread may have stood still meanwhile.
        let wish = router.address_wish(kept.floating.address());
        let Some(deed) = kept.course.next(clock.since_boot(), wish) else { return };
        // The lifetime runs from before the kernel was asked.
        let now = clock.since_boot();
        let outcome = perform(kernel, router, (kept, now), deed);
        kept.course.done(now, deed, outcome);
        if outcome == Outcome::Failed {
            return;
        }
    }
}

fn perform(
    kernel: &Addresses,
    router: &Router<FjallStore>,
    (kept, now): (&mut Kept, Duration),
    deed: Deed,
) -> Outcome {
    let floating = &kept.floating;
    let done = match deed {
        Deed::Take(view) => {
            // Said before it is so: others wait for the opposite.
            router.note_address(floating.address(), AddressPlace::Here);
            let taken = kernel.hold(floating, LIFETIME);
            if taken.is_ok() {
                kept.left = Left::default();
                kept.before = router.clients_before(floating.address());
                let clients = kept.before.len();
                tracing::info!(%floating, %view, clients, "takes a floating address");
                metrics::counter!(TAKEN).increment(1);
            }
            taken
        }
        Deed::Renew => kernel.hold(floating, LIFETIME),
        Deed::Shout => shout(kernel, kept),
        Deed::GiveUp => kernel.give_up(floating).map(|ended| {
            router.note_address(floating.address(), AddressPlace::Away);
            if kept.course.is_held() {
                tracing::info!(%floating, "gives a floating address up");
            }
            let connections = match ended {
                Ended::Destroyed(connections) => connections,
                Ended::Left(left) => {
                    let left_over = left.len();
                    tracing::warn!(%floating, left_over, "this kernel can't end connections (INET_DIAG_DESTROY)");
                    left
                }
            };
            kept.left.begin(now, connections);
        }),
    };
    let fault = done.err().map(|fault: Fault| fault.to_string());
    let outcome = if fault.is_some() { Outcome::Failed } else { Outcome::Done };
    if fault != kept.fault {
        match &fault {
            Some(fault) => tracing::error!(fault, "a floating address is not served"),
            None => tracing::info!(floating = %kept.floating, "is served again"),
        }
        kept.fault = fault;
    }
    outcome
}

/// Tells the neighbours, and provokes the clients of the holder before.
fn shout(kernel: &Addresses, kept: &Kept) -> Result<(), Fault> {
    let announced = kernel.announce(&kept.floating);
    let address = kept.floating.address();
    let connection = |client: &AddressClient| {
        let local = SocketAddr::new(address, client.port);
        Connection::new(local, client.client).ok()
    };
    let connections: Vec<Connection> = kept.before.iter().filter_map(connection).collect();
    provoke(kernel, &connections);
    announced
}

fn provoke(kernel: &Addresses, connections: &[Connection]) {
    let tickled = kernel.tickle(connections);
    metrics::counter!(TICKLED).increment(tickled.sent as u64);
    if let Some(fault) = tickled.fault {
        tracing::debug!(%fault, "a client of a floating address is not provoked");
    }
}

/// Tells the router who is connected to a held address.
fn tell_clients(kernel: &Addresses, router: &Router<FjallStore>, ports: &[u16], kept: &mut Kept) {
    let address = kept.floating.address();
    let mut clients = Vec::new();
    for port in ports {
        match kernel.connections(address, *port) {
            Ok(found) => clients.extend(found.list.iter().map(|connection| AddressClient {
                port: connection.local().port(),
                client: connection.remote(),
            })),
            Err(fault) => {
                tracing::debug!(%fault, "clients of a floating address");
                return;
            }
        }
    }
    if kept.course.shouts() {
        // Those who have not come back yet: if this holder dies, the next one provokes them.
        let missing = kept.before.iter().filter(|before| !clients.contains(before));
        let missing: Vec<AddressClient> = missing.copied().collect();
        clients.extend(missing);
    }
    router.note_clients(address, clients);
}

fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "an adapter, in a thread of its own")]
    std::thread::sleep(time);
}

const _: () = assert!(TICKLES_MAX >= CLIENTS_MAX, "all that are known are provoked at once");

/// Addresses held here; a gauge.
const HELD: &str = "holdfast_floating_addresses_held";
/// How often an address was taken; a counter.
const TAKEN: &str = "holdfast_floating_takeovers_total";
/// Packets that provoked a client of another holder; a counter.
const TICKLED: &str = "holdfast_floating_tickles_total";
/// A lapsed lease, or a new holder, is noticed so much late.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A client answers at most once in half a second, to a holder that may come seconds later.
const PROVOKE_EVERY: Duration = Duration::from_millis(500);
const PROVOKE_FOR: Duration = Duration::from_secs(10);
/// A connection that is younger when its holder dies is not provoked.
const CONNECTIONS_EVERY: Duration = Duration::from_millis(250);
/// Take, shout, and what a change of mind meanwhile asks for.
const DEEDS_MAX: usize = 4;
/// What can't be given up goes by itself.
const LAST_TRIES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_an_address_that_was_given_up_are_provoked_for_a_while() {
        let at = Duration::from_millis;
        let ends = ("10.0.0.9:2049".parse().unwrap(), "10.0.0.7:700".parse().unwrap());
        let connection = Connection::new(ends.0, ends.1).unwrap();
        let mut left = Left::default();
        assert_eq!(left.due(at(0)), [], "nobody was here");
        left.begin(at(1000), vec![connection]);
        let provoked = |left: &mut Left, from: u64, until: u64| {
            (from / 50..until / 50).filter(|tick| left.due(at(tick * 50)).len() == 1).count()
        };
        assert_eq!(provoked(&mut left, 1000, 2000), 2);
        assert_eq!(provoked(&mut left, 2000, 60_000), 18, "until the next holder must have it");
    }
}
