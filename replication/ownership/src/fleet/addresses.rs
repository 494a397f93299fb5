//! Floating addresses: which appliances can hold which, and who holds each.
//!
//! Invariant: an address has one holder at most, who is up and offers it; whoever is draining holds
//! only what nobody else can. A holder changes only because it went down, is drained, offers the
//! address no longer, or by a move that was entered; each change is made in a new view, so that a
//! call which the old holder sent on is refused once the new one may have sent it too. Absent on
//! purpose: interfaces, announcements, time; how long to wait for an old holder is the new one's
//! to decide.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{ApplianceId, View};
use serde::{Deserialize, Serialize};

use super::{Fleet, FleetRefusal};

/// A floating address, as one appliance can hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressOffer {
    /// The address.
    pub address: IpAddr,
    /// How many leading bits of it name its subnet.
    pub prefix: u8,
    /// The interface on which that appliance would hold it; for people.
    pub interface: String,
}

/// Who holds a floating address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressHeld {
    /// Who.
    pub by: ApplianceId,
    /// The first view in which it does.
    pub since: View,
    /// Who held it before and was up when it changed: it has to give the address up first. None
    /// once that one is down.
    pub after: Option<ApplianceId>,
    /// Why it is the holder.
    pub cause: AddressCause,
}

/// Why an appliance holds a floating address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressCause {
    /// It offered the address when nobody held it.
    Offered,
    /// The holder before it went down.
    TakeOver,
    /// The holder before it is drained, or offers the address no longer.
    GivenUp,
    /// So that no appliance holds many more than another.
    Spread,
    /// The operator asked for it: it stays there as long as it can.
    Asked,
}

/// Why somebody wants a floating address moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveReason {
    /// To spread addresses; refused if that would not.
    Spread,
    /// The operator asked for it.
    Asked,
}

/// One floating address and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatingAddress {
    /// The address.
    pub address: IpAddr,
    /// Who holds it, if anybody can.
    pub held: Option<AddressHeld>,
    /// Who can hold it, in the order of their numbers, and how.
    pub offers: Vec<(ApplianceId, AddressOffer)>,
}

/// What the fleet keeps of floating addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floating {
    offers: BTreeMap<ApplianceId, Vec<AddressOffer>>,
    held: BTreeMap<IpAddr, AddressHeld>,
}

/// How fit an appliance is to hold an address; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// It is down or does not offer it.
    Unfit,
    /// It offers it and is to be emptied.
    Draining,
    /// Nothing is against it.
    Fit,
}

impl Fleet {
    /// What an appliance offers.
    pub fn offers_of(&self, appliance: ApplianceId) -> &[AddressOffer] {
        self.floating.offers.get(&appliance).map_or(&[], Vec::as_slice)
    }

    /// Who holds an address; none if nobody does, or there is no such address.
    pub fn address_held(&self, address: IpAddr) -> Option<AddressHeld> {
        self.floating.held.get(&address).copied()
    }

    /// All floating addresses that are offered, in order.
    pub fn floating_addresses(&self) -> Vec<FloatingAddress> {
        let known = |address: IpAddr| FloatingAddress {
            address,
            held: self.address_held(address),
            offers: self.offers_for(address).map(|(id, offer)| (id, offer.clone())).collect(),
        };
        self.addresses_offered().into_iter().map(known).collect()
    }

    /// The move that makes the greatest difference between two appliances' addresses smaller, if
    /// that is more than one; none if there is none. What the operator moved stays.
    pub fn address_to_spread(&self) -> Option<(IpAddr, ApplianceId)> {
        let free = self.floating.held.iter().filter(|(_, held)| held.cause != AddressCause::Asked);
        let moves = free.flat_map(|(address, held)| {
            let fit = self.members.iter().map(|member| member.id);
            fit.map(move |to| (*address, held.by, to))
        });
        let gain = |address: IpAddr, from, to| match self.fitness(to, address) {
            Fitness::Fit => self.addresses_held_by(from).saturating_sub(self.addresses_held_by(to)),
            Fitness::Draining | Fitness::Unfit => 0,
        };
        let gains = moves.map(|(address, from, to)| (gain(address, from, to), address, to));
        let worth = gains.filter(|(gain, ..)| *gain > 1);
        worth
            .min_by_key(|(gain, address, to)| (Reverse(*gain), *address, *to))
            .map(|(_, address, to)| (address, to))
    }

    /// How many addresses an appliance holds.
    pub fn addresses_held_by(&self, appliance: ApplianceId) -> usize {
        self.floating.held.values().filter(|held| held.by == appliance).count()
    }

    pub(super) fn offer_addresses(
        &mut self,
        appliance: ApplianceId,
        offers: Vec<AddressOffer>,
    ) -> Result<(), FleetRefusal> {
        self.member_mut(appliance)?;
        let distinct: BTreeSet<IpAddr> = offers.iter().map(|offer| offer.address).collect();
        let named = |offer: &AddressOffer| {
            (1..=INTERFACE_BYTES_MAX).contains(&offer.interface.len())
                && u32::from(offer.prefix) <= u128::BITS
        };
        let all_named = offers.iter().all(named);
        if offers.len() > FLOATING_MAX || distinct.len() != offers.len() || !all_named {
            return Err(FleetRefusal::BadOffers);
        }
        match offers.is_empty() {
            true => self.floating.offers.remove(&appliance),
            false => self.floating.offers.insert(appliance, offers),
        };
        self.settle_addresses_in_a_new_view();
        Ok(())
    }

    pub(super) fn move_address(
        &mut self,
        address: IpAddr,
        to: ApplianceId,
        why: MoveReason,
    ) -> Result<(), FleetRefusal> {
        let name = self.member_mut(to)?.name.clone();
        let held = self.address_held(address).ok_or(FleetRefusal::UnknownAddress(address))?;
        if self.fitness(to, address) != Fitness::Fit {
            return Err(FleetRefusal::CantHold { address, name });
        }
        let spreads = self.addresses_held_by(held.by) > self.addresses_held_by(to) + 1;
        let cause = match why {
            MoveReason::Asked if held.by == to => {
                return Err(FleetRefusal::HeldAlready { address, name });
            }
            MoveReason::Spread if !spreads || held.cause == AddressCause::Asked => {
                return Err(FleetRefusal::SpreadAlready);
            }
            MoveReason::Asked => AddressCause::Asked,
            MoveReason::Spread => AddressCause::Spread,
        };
        self.view = self.view.next();
        self.give(address, to, cause);
        Ok(())
    }

    /// Forgets an appliance that was removed.
    pub(super) fn forget_offers(&mut self, appliance: ApplianceId) {
        self.floating.offers.remove(&appliance);
    }

    /// Gives every address to somebody fit to hold it; one whose holder is fit stays where it is.
    /// The present view is a new one.
    pub(super) fn settle_addresses(&mut self) {
        let up: BTreeSet<ApplianceId> =
            self.members.iter().filter(|m| m.up).map(|m| m.id).collect();
        for held in self.floating.held.values_mut() {
            // Who is down has let go of it: its lease ended before.
            held.after = held.after.filter(|before| up.contains(before));
        }
        let mut addresses = self.addresses_offered();
        addresses.extend(self.floating.held.keys());
        for address in addresses {
            let fitness = |id: ApplianceId| self.fitness(id, address);
            let ids = || self.members.iter().map(|member| member.id);
            let best = ids().map(fitness).max().unwrap_or(Fitness::Unfit);
            if best == Fitness::Unfit {
                self.floating.held.remove(&address);
                continue;
            }
            let holder = self.address_held(address).map(|held| held.by);
            if holder.is_some_and(|holder| fitness(holder) == best) {
                continue;
            }
            let cause = match holder {
                None => AddressCause::Offered,
                Some(holder) if self.is_up(holder) => AddressCause::GivenUp,
                Some(_) => AddressCause::TakeOver,
            };
            let fit = ids().filter(|id| fitness(*id) == best);
            if let Some(to) = fit.min_by_key(|id| (self.addresses_held_by(*id), *id)) {
                self.give(address, to, cause);
            }
        }
    }

    /// The same after an entry that makes a new view only if an address moves.
    pub(super) fn settle_addresses_in_a_new_view(&mut self) {
        let (before, view) = (self.floating.held.clone(), self.view);
        self.view = view.next();
        self.settle_addresses();
        if self.floating.held == before {
            self.view = view;
        }
    }

    fn give(&mut self, address: IpAddr, to: ApplianceId, cause: AddressCause) {
        let before = self.address_held(address).map(|held| held.by);
        let after = before.filter(|before| self.is_up(*before) && *before != to);
        let held = AddressHeld { by: to, since: self.view, after, cause };
        self.floating.held.insert(address, held);
    }

    fn fitness(&self, appliance: ApplianceId, address: IpAddr) -> Fitness {
        let offers = self.offers_of(appliance).iter().any(|offer| offer.address == address);
        match self.member(appliance) {
            Some(member) if member.up && offers && member.draining => Fitness::Draining,
            Some(member) if member.up && offers => Fitness::Fit,
            Some(_) | None => Fitness::Unfit,
        }
    }

    fn addresses_offered(&self) -> BTreeSet<IpAddr> {
        self.floating.offers.values().flatten().map(|offer| offer.address).collect()
    }

    fn offers_for(&self, address: IpAddr) -> impl Iterator<Item = (ApplianceId, &AddressOffer)> {
        let offers = self.floating.offers.iter();
        let all = offers.flat_map(|(id, offers)| offers.iter().map(|offer| (*id, offer)));
        all.filter(move |(_, offer)| offer.address == address)
    }
}

/// The most floating addresses that one appliance offers: each is renewed several times a second.
pub const FLOATING_MAX: usize = 64;
/// The longest name of an interface, in bytes: `IFNAMSIZ` of Linux less the closing NUL.
const INTERFACE_BYTES_MAX: usize = 15;
