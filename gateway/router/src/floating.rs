//! Floating addresses, as far as appliances have to talk about them: what this one offers, whether
//! it is to hold an address now, which clients its holder had, whether the one before has let go.
//!
//! Invariant: an address is to be held only under a live lease and by a fleet's state no older than
//! any view that was heard of. Absent on purpose: the decision who holds what, which is the fleet
//! state's, and the kernel, which an adapter with a thread of its own talks to: it asks here and
//! never waits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::{ApplianceId, Timestamp, View};
use ownership::{AddressOffer, Fleet, FleetCommand, FloatingAddress, MoveReason, Present};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::router::Router;
use crate::wire::addresses::{AddressAsk, AddressTold};
use crate::wire::{Reply, Request};

/// What is to be done about an address here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressWish {
    /// Hold it.
    Hold {
        /// Since this view.
        since: View,
        /// Once the holder before has let go of it, or surely lost it.
        release: Release,
    },
    /// It is not known here who holds it: what is held is neither renewed nor given up.
    Unclear,
    /// It is another's, or the lease has ended: give it up at once.
    GiveUp,
}

/// Whether the holder before has let go of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It has, or there was none, or it is down.
    Released,
    /// It may still have it.
    Awaited,
}

/// Whether an address is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPlace {
    /// It is, or may be.
    Here,
    /// It is not.
    Away,
}

/// A client's connection to a floating address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressClient {
    /// The port of the floating address.
    pub port: u16,
    /// The client's end.
    pub client: SocketAddr,
}

/// A floating address, and since when its holder has it as far as was seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatus {
    /// What the fleet knows.
    pub known: FloatingAddress,
    /// When this appliance saw its holder become that; none before it looked.
    pub since: Option<Timestamp>,
}

/// What a router remembers about floating addresses; nothing of it outlives the process.
#[derive(Default)]
pub(crate) struct Floating {
    /// Said by the adapter. An address that it never spoke of may be here.
    places: Mutex<HashMap<IpAddr, AddressPlace>>,
    /// The clients of those that are held here.
    ours: Mutex<HashMap<IpAddr, Vec<AddressClient>>>,
    ours_changed: Notify,
    /// The clients of those that others hold or held, as they said last.
    theirs: Mutex<HashMap<IpAddr, Vec<AddressClient>>>,
    /// In which holding the one before has let go.
    released: Mutex<HashMap<IpAddr, View>>,
    /// Since when holders were seen to be that.
    seen: Mutex<HashMap<IpAddr, (ApplianceId, View, Timestamp)>>,
    /// Nothing is offered any more: the appliance stops.
    withdrawn: AtomicBool,
    spread_after_ms: AtomicU64,
}

impl<S: Imaging> Router<S> {
    /// Offers these addresses to the fleet from now on, and takes part in what follows from that.
    /// If this appliance leads the fleet, addresses are spread when nobody has come or gone for
    /// `spread_after`.
    pub fn begin_floating(self: &Arc<Self>, offers: Vec<AddressOffer>, spread_after: Duration) {
        let spread_ms = u64::try_from(spread_after.as_millis()).unwrap_or(u64::MAX);
        self.floating.spread_after_ms.store(spread_ms, Ordering::Release);
        if !offers.is_empty() {
            tokio::spawn(tell_clients(Arc::downgrade(self)));
            tokio::spawn(ask_for_releases(Arc::downgrade(self)));
        }
        tokio::spawn(keep_offers(Arc::downgrade(self), offers));
    }

    /// What is to be done about an address now. Takes no time and waits for nobody.
    pub fn address_wish(&self, address: IpAddr) -> AddressWish {
        if self.up_view.load(Ordering::Acquire) == 0 {
            return AddressWish::Unclear;
        }
        // Before what was heard: the answer that prolonged it may tell of a newer view.
        if !self.has_lease() {
            return AddressWish::GiveUp;
        }
        let heard = View::new(self.heard_view.load(Ordering::Acquire));
        let fleet = self.fleet_now();
        if fleet.view() < heard {
            return AddressWish::Unclear;
        }
        match fleet.address_held(address) {
            Some(held) if held.by == self.parts.appliance => {
                let said = self.floating.released.lock().get(&address) == Some(&held.since);
                let release = match held.after {
                    Some(_) if !said => Release::Awaited,
                    Some(_) | None => Release::Released,
                };
                AddressWish::Hold { since: held.since, release }
            }
            Some(_) | None => AddressWish::GiveUp,
        }
    }

    /// Says whether an address is on this machine. Who came to one that is not is served elsewhere
    /// from now on: nothing that came from there is begun here any more.
    pub fn note_address(&self, address: IpAddr, place: AddressPlace) {
        if place == AddressPlace::Away {
            self.close_clients_at(address);
        }
        self.floating.places.lock().insert(address, place);
        if place == AddressPlace::Away {
            self.floating.ours.lock().remove(&address);
        }
    }

    /// Says which clients are connected to an address that is held here; others are told if that
    /// has changed. At most [`CLIENTS_MAX`] are.
    pub fn note_clients(&self, address: IpAddr, mut clients: Vec<AddressClient>) {
        clients.sort_unstable();
        clients.truncate(CLIENTS_MAX);
        let mut ours = self.floating.ours.lock();
        if ours.get(&address) != Some(&clients) {
            ours.insert(address, clients);
            self.floating.ours_changed.notify_one();
        }
    }

    /// Which clients an address had when another held it, as far as that one could say.
    pub fn clients_before(&self, address: IpAddr) -> Vec<AddressClient> {
        self.floating.theirs.lock().get(&address).cloned().unwrap_or_default()
    }

    /// All floating addresses of the fleet.
    pub fn address_statuses(&self) -> Vec<AddressStatus> {
        let fleet = self.fleet_now();
        let seen = self.floating.seen.lock();
        let status = |known: FloatingAddress| {
            let seen = seen.get(&known.address).copied();
            let since = known.held.zip(seen).filter(|(held, (by, ..))| held.by == *by);
            AddressStatus { since: since.map(|(_, (.., at))| at), known }
        };
        fleet.floating_addresses().into_iter().map(status).collect()
    }

    /// Offers nothing any more, so that others hold what was held here, and waits a while until it
    /// is off this machine.
    pub async fn withdraw_addresses(&self) {
        self.floating.withdrawn.store(true, Ordering::Release);
        self.parts.machines.moved();
        let is_here =
            || self.floating.places.lock().values().any(|place| *place == AddressPlace::Here);
        if !is_here() {
            return;
        }
        for _ in 0..WITHDRAW_LOOKS {
            // Alone, or without a lease, there is nobody to tell.
            if self.lease.is_for_ever() || !self.has_lease() {
                return;
            }
            if !is_here() {
                // Time to answer that to whoever holds it now.
                return tokio::time::sleep(RELEASE_LOOK * 3).await;
            }
            tokio::time::sleep(WITHDRAW_LOOK).await;
        }
    }

    /// Answers another appliance.
    pub(crate) fn asked_about_address(&self, from: ApplianceId, ask: AddressAsk) -> AddressTold {
        let fleet = self.fleet_now();
        match ask {
            AddressAsk::Connections { address, since, clients } => {
                // Whoever holds an address is in the fleet's state, which bounds what is kept.
                let holds = |held: ownership::AddressHeld| held.by == from && held.since == since;
                if fleet.address_held(address).is_some_and(holds) && clients.len() <= CLIENTS_MAX {
                    let client = |(port, client)| AddressClient { port, client };
                    let clients = clients.into_iter().map(client).collect();
                    self.floating.theirs.lock().insert(address, clients);
                }
                AddressTold::Noted
            }
            AddressAsk::GivenUp { address, since } => {
                let places = self.floating.places.lock();
                match places.get(&address) {
                    Some(AddressPlace::Away) if fleet.view() >= since => AddressTold::GivenUp,
                    Some(AddressPlace::Away | AddressPlace::Here) | None => AddressTold::NotYet,
                }
            }
        }
    }

    async fn ask_about_address(&self, of: ApplianceId, ask: AddressAsk) -> Option<AddressTold> {
        let request = Request::Address(Box::new(ask));
        match self.ask_peer(of, &request, Bytes::new(), ASK_WAIT).await {
            Ok((Reply::Address(told), _)) => Some(told),
            Ok(_) | Err(_) => None,
        }
    }

    /// Notes who holds what since when.
    pub(crate) fn note_holders(&self) {
        let fleet = self.fleet_now();
        let mut seen = self.floating.seen.lock();
        let now = self.parts.clock.wall();
        seen.retain(|address, _| fleet.address_held(*address).is_some());
        for FloatingAddress { address, held, .. } in fleet.floating_addresses() {
            let Some(held) = held else { continue };
            let known = seen.entry(address).or_insert((held.by, held.since, now));
            if (known.0, known.1) != (held.by, held.since) {
                *known = (held.by, held.since, now);
            }
        }
    }

    /// Where this is the fleet's leader: moves an address from who has many to who has few, once
    /// nobody has come or gone for a while.
    pub(crate) async fn spread_addresses(&self, calm: &mut Calm) {
        let fleet = self.fleet_now();
        let now = self.parts.clock.since_boot();
        let after = Duration::from_millis(self.floating.spread_after_ms.load(Ordering::Acquire));
        if calm.since(Roll::of(&fleet), now) < after {
            return;
        }
        let Some((address, to)) = fleet.address_to_spread() else { return };
        let why = MoveReason::Spread;
        match self.enter_fleet(FleetCommand::MoveAddress { address, to, why }).await {
            Ok(Ok(_)) => {
                tracing::info!(%address, %to, "a floating address is moved, to spread them")
            }
            other => tracing::debug!(%address, ?other, "a floating address stays for now"),
        }
    }
}

/// Who has come or gone since when, as the fleet's leader has seen it.
#[derive(Default)]
pub(crate) struct Calm(Option<(Roll, Duration)>);

impl Calm {
    /// Somebody else leads: the clock starts anew when that ends.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// For how long it has been like this.
    fn since(&mut self, roll: Roll, now: Duration) -> Duration {
        match &self.0 {
            Some((before, since)) if *before == roll => now.saturating_sub(*since),
            _ => {
                self.0 = Some((roll, now));
                Duration::ZERO
            }
        }
    }
}

/// Addresses and their clients, in order.
type ClientsOfAll = Vec<(IpAddr, Vec<AddressClient>)>;

/// Who is there and what they could hold.
#[derive(PartialEq)]
struct Roll {
    present: Vec<Present>,
    draining: Vec<ApplianceId>,
    offers: Vec<(IpAddr, Vec<ApplianceId>)>,
}

impl Roll {
    fn of(fleet: &Fleet) -> Self {
        let draining = fleet.members().iter().filter(|member| member.draining);
        let offers = |known: FloatingAddress| {
            (known.address, known.offers.into_iter().map(|(id, _)| id).collect())
        };
        Self {
            present: fleet.roll(),
            draining: draining.map(|member| member.id).collect(),
            offers: fleet.floating_addresses().into_iter().map(offers).collect(),
        }
    }
}

/// Has the fleet know what this appliance offers, in each of its runs.
async fn keep_offers<S: Imaging>(router: Weak<Router<S>>, offers: Vec<AddressOffer>) {
    loop {
        let Some(router) = router.upgrade() else { return };
        let mut motion = router.parts.machines.motion.subscribe();
        let me = router.parts.appliance;
        let is_up = router.up_view.load(Ordering::Acquire) > 0 && router.has_lease();
        let withdrawn = router.floating.withdrawn.load(Ordering::Acquire);
        let wanted: &[AddressOffer] = if withdrawn { &[] } else { &offers };
        let fleet = router.fleet_now();
        let known = fleet.offers_of(me) == wanted;
        if is_up && known && offers.is_empty() {
            return;
        }
        if is_up && !known && fleet.is_up(me) {
            let offer = FleetCommand::OfferAddresses { appliance: me, offers: wanted.to_vec() };
            match router.enter_fleet(offer).await {
                Ok(Ok(_)) => continue,
                Ok(Err(refusal)) => tracing::error!(%refusal, "floating addresses are not offered"),
                Err(refusal) => tracing::info!(%refusal, "floating addresses are offered later"),
            }
            tokio::time::sleep(OFFER_AGAIN_AFTER).await;
        }
        drop(router);
        let _ = tokio::time::timeout(LOOK_EVERY, motion.changed()).await;
    }
}

/// Asks those who held addresses before whether they have let go of them.
async fn ask_for_releases<S: Imaging>(router: Weak<Router<S>>) {
    loop {
        let Some(router) = router.upgrade() else { return };
        let mut motion = router.parts.machines.motion.subscribe();
        let fleet = router.fleet_now();
        let awaited = fleet.floating_addresses().into_iter().filter_map(|known| {
            let held = known.held.filter(|held| held.by == router.parts.appliance)?;
            let said = router.floating.released.lock().get(&known.address) == Some(&held.since);
            held.after.filter(|_| !said).map(|before| (known.address, held.since, before))
        });
        let awaited: Vec<_> = awaited.collect();
        join_all(awaited.iter().map(async |(address, since, before)| {
            let ask = AddressAsk::GivenUp { address: *address, since: *since };
            if router.ask_about_address(*before, ask).await == Some(AddressTold::GivenUp) {
                router.floating.released.lock().insert(*address, *since);
            }
        }))
        .await;
        drop(router);
        match awaited.is_empty() {
            true => drop(tokio::time::timeout(LOOK_EVERY, motion.changed()).await),
            false => tokio::time::sleep(RELEASE_LOOK).await,
        }
    }
}

/// Tells all others the clients of the addresses held here: when these change, when a view is
/// made, which may have brought somebody who knows nothing, and now and then.
async fn tell_clients<S: Imaging>(router: Weak<Router<S>>) {
    let mut told: Option<(ClientsOfAll, View)> = None;
    let mut told_at = Duration::ZERO;
    loop {
        let Some(router) = router.upgrade() else { return };
        let fleet = router.fleet_now();
        let now = router.parts.clock.since_boot();
        let ours = router.floating.ours.lock().clone();
        let mut ours: ClientsOfAll = ours.into_iter().collect();
        ours.sort_unstable();
        let state = Some((ours, fleet.view()));
        if state != told || now.saturating_sub(told_at) >= TELL_ANYWAY {
            if let Some((ours, _)) = &state {
                router.tell_others(&fleet, ours).await;
            }
            (told, told_at) = (state, now);
        }
        let changed = tokio::time::timeout(LOOK_EVERY, router.floating.ours_changed.notified());
        let _ = changed.await;
    }
}

impl<S: Imaging> Router<S> {
    async fn tell_others(&self, fleet: &Fleet, ours: &[(IpAddr, Vec<AddressClient>)]) {
        let me = self.parts.appliance;
        let others = || fleet.members().iter().filter(|member| member.up && member.id != me);
        for (address, clients) in ours {
            let held = fleet.address_held(*address).filter(|held| held.by == me);
            let Some(held) = held else { continue };
            let clients: Vec<_> = clients.iter().map(|c| (c.port, c.client)).collect();
            join_all(others().map(async |member| {
                let (address, since, clients) = (*address, held.since, clients.clone());
                let ask = AddressAsk::Connections { address, since, clients };
                self.ask_about_address(member.id, ask).await
            }))
            .await;
        }
    }
}

/// The most clients of one address that others are told of; the rest notice a move by themselves.
pub const CLIENTS_MAX: usize = 1000;
/// What nobody tells of is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Somebody may have missed it.
const TELL_ANYWAY: Duration = Duration::from_secs(10);
const OFFER_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Clients wait for it.
const RELEASE_LOOK: Duration = Duration::from_millis(50);
const ASK_WAIT: Duration = Duration::from_millis(500);
const WITHDRAW_LOOK: Duration = Duration::from_millis(20);
/// Two seconds: an entry, and the adapter's next look.
const WITHDRAW_LOOKS: usize = 100;

#[cfg(test)]
mod tests;
