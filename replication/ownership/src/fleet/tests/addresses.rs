use std::net::Ipv4Addr;

use super::*;

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn offer_all(addresses: &[u8], appliance: ApplianceId) -> FleetCommand {
    let offer =
        |last: &u8| AddressOffer { address: at(*last), prefix: 24, interface: "eth0".to_owned() };
    FleetCommand::OfferAddresses { appliance, offers: addresses.iter().map(offer).collect() }
}

/// A fleet of as many that all offer these, in the order of their numbers.
fn offering(count: u64, addresses: &[u8]) -> Fleet {
    let mut fleet = fleet_of(count);
    for id in 7..7 + count {
        fleet.apply(offer_all(addresses, ApplianceId::new(id))).unwrap();
    }
    fleet
}

fn holder(fleet: &Fleet, last: u8) -> Option<ApplianceId> {
    fleet.address_held(at(last)).map(|held| held.by)
}

fn moved(last: u8, to: ApplianceId, why: MoveReason) -> FleetCommand {
    FleetCommand::MoveAddress { address: at(last), to, why }
}

/// Enters moves as the fleet's leader does, until it wants none.
fn spread(fleet: &mut Fleet) -> usize {
    let mut moves = 0;
    while let Some((address, to)) = fleet.address_to_spread() {
        let why = MoveReason::Spread;
        fleet.apply(FleetCommand::MoveAddress { address, to, why }).unwrap();
        moves += 1;
    }
    moves
}

#[test]
fn whoever_offers_an_address_that_nobody_holds_gets_it_and_others_do_not_take_it() {
    let fleet = offering(2, &[1]);
    let held = fleet.address_held(at(1)).unwrap();
    assert_eq!((held.by, held.after, held.cause), (ADA, None, AddressCause::Offered));
    let offered: Vec<_> = fleet.floating_addresses()[0].offers.iter().map(|(id, _)| *id).collect();
    assert_eq!(offered, [ADA, BOB]);
}

#[test]
fn the_addresses_of_one_that_went_down_go_to_who_has_fewest_in_the_same_entry() {
    let mut fleet = offering(3, &[1, 2, 3, 4]);
    spread(&mut fleet);
    let counts = |fleet: &Fleet| [ADA, BOB, CYD].map(|id| fleet.addresses_held_by(id));
    assert_eq!(counts(&fleet), [2, 1, 1]);
    let view = fleet.view();
    down(&mut fleet, ADA);
    assert_eq!(counts(&fleet), [0, 2, 2]);
    let held = fleet.address_held(at(3)).unwrap();
    assert_eq!((held.cause, held.since), (AddressCause::TakeOver, view.next()));
    assert_eq!(held.after, None, "nobody is waited for: its lease has ended");
    down(&mut fleet, BOB);
    assert_eq!(counts(&fleet), [0, 0, 4]);
}

#[test]
fn an_address_whose_holders_are_all_down_goes_to_the_first_that_comes_up_and_offers_it() {
    let mut fleet = fleet_of(3);
    fleet.apply(offer_all(&[1], BOB)).unwrap();
    down(&mut fleet, BOB);
    assert_eq!(holder(&fleet, 1), None);
    start(&mut fleet, ADA, true);
    assert_eq!(holder(&fleet, 1), None, "it does not offer it");
    start(&mut fleet, BOB, true);
    assert_eq!(holder(&fleet, 1), Some(BOB), "it is still known what it offers");
}

#[test]
fn a_restart_that_nobody_noticed_keeps_its_addresses() {
    let mut fleet = offering(2, &[1]);
    let held = fleet.address_held(at(1));
    start(&mut fleet, ADA, false);
    assert_eq!(fleet.address_held(at(1)), held);
}

#[test]
fn addresses_are_spread_by_moves_and_one_alone_is_not_moved_back() {
    let mut fleet = offering(2, &[1, 2, 3]);
    assert_eq!(fleet.addresses_held_by(ADA), 3, "nothing moves by an offer");
    assert_eq!(spread(&mut fleet), 1);
    let held = fleet.address_held(at(1)).unwrap();
    assert_eq!((held.by, held.after, held.cause), (BOB, Some(ADA), AddressCause::Spread));
    let mut one = offering(2, &[1]);
    down(&mut one, ADA);
    start(&mut one, ADA, true);
    assert_eq!((holder(&one, 1), one.address_to_spread()), (Some(BOB), None));
}

#[test]
fn a_second_leaders_move_that_came_too_late_is_refused() {
    let mut fleet = offering(2, &[1, 2]);
    fleet.apply(moved(1, BOB, MoveReason::Spread)).unwrap();
    assert_eq!(refused(&mut fleet, moved(2, BOB, MoveReason::Spread)), FleetRefusal::SpreadAlready);
}

#[test]
fn where_the_operator_moved_an_address_it_stays_until_its_holder_is_gone() {
    let mut fleet = offering(2, &[1, 2]);
    fleet.apply(moved(1, BOB, MoveReason::Asked)).unwrap();
    fleet.apply(moved(2, BOB, MoveReason::Asked)).unwrap();
    assert_eq!(fleet.address_to_spread(), None);
    down(&mut fleet, BOB);
    start(&mut fleet, BOB, true);
    assert_eq!(spread(&mut fleet), 1, "it is not remembered beyond that");
}

#[test]
fn who_takes_an_address_over_waits_for_nobody_once_the_old_holder_is_down() {
    let mut fleet = offering(2, &[1]);
    fleet.apply(moved(1, BOB, MoveReason::Asked)).unwrap();
    assert_eq!(fleet.address_held(at(1)).unwrap().after, Some(ADA));
    down(&mut fleet, ADA);
    let held = fleet.address_held(at(1)).unwrap();
    assert_eq!((held.by, held.after), (BOB, None));
}

#[test]
fn a_draining_appliance_gives_its_addresses_up_unless_nobody_else_can_hold_them() {
    let mut fleet = offering(2, &[1]);
    let view = fleet.view();
    fleet.apply(FleetCommand::SetDraining { appliance: ADA, drain: Drain::Start }).unwrap();
    let held = fleet.address_held(at(1)).unwrap();
    assert_eq!((held.by, held.after, held.cause), (BOB, Some(ADA), AddressCause::GivenUp));
    assert_eq!((held.since, fleet.view()), (view.next(), view.next()), "calls of before are old");
    down(&mut fleet, BOB);
    assert_eq!(holder(&fleet, 1), Some(ADA), "better than nobody");
    start(&mut fleet, BOB, true);
    assert_eq!(holder(&fleet, 1), Some(BOB), "as soon as there is somebody");
}

#[test]
fn an_address_offered_no_longer_goes_elsewhere_and_one_nobody_offers_is_forgotten() {
    let mut fleet = offering(2, &[1, 2]);
    fleet.apply(offer_all(&[2], ADA)).unwrap();
    assert_eq!((holder(&fleet, 1), holder(&fleet, 2)), (Some(BOB), Some(ADA)));
    fleet.apply(offer_all(&[], BOB)).unwrap();
    assert_eq!(holder(&fleet, 1), None);
    let known: Vec<_> = fleet.floating_addresses().into_iter().map(|known| known.address).collect();
    assert_eq!(known, [at(2)]);
}

#[test]
fn a_removed_appliance_offers_nothing() {
    let mut fleet = offering(3, &[1]);
    down(&mut fleet, ADA);
    fleet.apply(FleetCommand::Remove { appliance: ADA, how: RemoveHow::Dead }).unwrap();
    assert_eq!(fleet.offers_of(ADA), []);
    assert_eq!(holder(&fleet, 1), Some(BOB));
}

#[test]
fn the_same_offer_again_makes_no_new_view() {
    let mut fleet = offering(2, &[1]);
    let before = fleet.clone();
    fleet.apply(offer_all(&[1], ADA)).unwrap();
    fleet.apply(offer_all(&[1], BOB)).unwrap();
    assert_eq!(fleet, before);
}

#[test]
fn what_can_not_be_held_is_refused_with_the_reason() {
    let mut fleet = offering(3, &[1]);
    fleet.apply(offer_all(&[], CYD)).unwrap();
    let cant = |name: &str| FleetRefusal::CantHold { address: at(1), name: name.to_owned() };
    assert_eq!(refused(&mut fleet, moved(1, CYD, MoveReason::Asked)), cant("a9"));
    let here = FleetRefusal::HeldAlready { address: at(1), name: "ada".to_owned() };
    assert_eq!(refused(&mut fleet, moved(1, ADA, MoveReason::Asked)), here);
    down(&mut fleet, BOB);
    assert_eq!(refused(&mut fleet, moved(1, BOB, MoveReason::Asked)), cant("a8"));
    let unknown = FleetRefusal::UnknownAddress(at(9));
    assert_eq!(refused(&mut fleet, moved(9, ADA, MoveReason::Asked)), unknown);
    let many: Vec<u8> = (0..=FLOATING_MAX as u8).collect();
    for bad in [&many[..], &[1, 1]] {
        assert_eq!(refused(&mut fleet, offer_all(bad, ADA)), FleetRefusal::BadOffers);
    }
}

/// Numbers from a seed (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// What may happen next to a fleet of those numbered from 7 to 10.
    fn command(&mut self, fleet: &Fleet) -> FleetCommand {
        let appliance = ApplianceId::new(7 + self.below(4));
        let member = fleet.member(appliance).unwrap();
        let Member { name, addresses, labels, incarnation, .. } = member.clone();
        match self.below(10) {
            0..3 => FleetCommand::Down { appliance, incarnation },
            3..6 => FleetCommand::UpAt { appliance, name, addresses, labels, clean: true },
            6 => {
                let some: Vec<u8> = (1..=6).filter(|_| self.below(3) > 0).collect();
                offer_all(&some, appliance)
            }
            7 => {
                let drain = if self.below(2) == 0 { Drain::Start } else { Drain::Stop };
                FleetCommand::SetDraining { appliance, drain }
            }
            8 => moved(1 + self.below(6) as u8, appliance, MoveReason::Asked),
            _ => moved(1 + self.below(6) as u8, appliance, MoveReason::Spread),
        }
    }
}

/// Everything that must hold after any entry.
fn check(before: &Fleet, command: &FleetCommand, fleet: &Fleet, repro: &str) {
    let is_fit = |fleet: &Fleet, id: ApplianceId, address| {
        let offers = fleet.offers_of(id).iter().any(|offer| offer.address == address);
        offers && fleet.is_up(id)
    };
    for known in fleet.floating_addresses() {
        let address = known.address;
        let anybody = fleet.members().iter().any(|member| is_fit(fleet, member.id, address));
        assert_eq!(known.held.is_some(), anybody, "{repro}: {address} has a holder if it can");
        let Some(held) = known.held else { continue };
        assert!(is_fit(fleet, held.by, address), "{repro}: {address} at {}", held.by);
        assert!(held.after != Some(held.by), "{repro}: nobody waits for itself");
        assert!(held.after.is_none_or(|id| fleet.is_up(id)), "{repro}: {held:?} waits in vain");
        let Some(was) = before.address_held(address).filter(|was| was.by != held.by) else {
            continue;
        };
        assert!(fleet.view() > before.view(), "{repro}: {address} moved within a view");
        assert_eq!(held.since, fleet.view(), "{repro}: {address}");
        let asked =
            matches!(command, FleetCommand::MoveAddress { address: a, .. } if *a == address);
        let drains = fleet.member(was.by).is_some_and(|member| member.draining);
        let unfit = !is_fit(fleet, was.by, address);
        assert!(asked || drains || unfit, "{repro}: {address} moved without a reason");
    }
}

fn run(seed: u64) -> Fleet {
    let mut chance = Chance(seed);
    let mut fleet = offering(4, &[1, 2, 3, 4, 5, 6]);
    for step in 0..200 {
        let command = chance.command(&fleet);
        let repro = format!("seed {seed} step {step} {command:?}");
        let before = fleet.clone();
        match fleet.apply(command.clone()) {
            Ok(_) => check(&before, &command, &fleet, &repro),
            Err(_) => assert_eq!(fleet, before, "{repro}: a refused entry leaves no trace"),
        }
        if step % 20 == 19 {
            assert!(spread(&mut fleet) <= 12, "{repro}: it comes to an end");
        }
    }
    fleet
}

#[test]
fn whatever_happens_each_address_has_one_fit_holder_and_nothing_moves_without_a_reason() {
    for seed in 1..=500 {
        assert_eq!(run(seed), run(seed), "seed {seed}: the same entries, the same fleet");
    }
}

#[test]
fn once_spread_nobody_holds_two_more_than_another_who_could_hold_them() {
    for seed in 1..=200 {
        let mut fleet = run(seed);
        for id in 7..=10 {
            let appliance = ApplianceId::new(id);
            let _ = fleet.apply(FleetCommand::SetDraining { appliance, drain: Drain::Stop });
            fleet.apply(offer_all(&[], appliance)).unwrap();
        }
        for id in 7..=10 {
            fleet.apply(offer_all(&[1, 2, 3, 4, 5, 6], ApplianceId::new(id))).unwrap();
        }
        spread(&mut fleet);
        let up = fleet.members().iter().filter(|member| member.up);
        let counts: Vec<usize> = up.map(|member| fleet.addresses_held_by(member.id)).collect();
        let (most, least) = (counts.iter().max(), counts.iter().min());
        if let (Some(most), Some(least)) = (most, least) {
            assert!(most - least <= 1, "seed {seed}: {counts:?}");
        }
    }
}
