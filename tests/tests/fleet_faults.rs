//! Appliances that die, that can't reach the others, or hardly: clients wait, and nothing that was
//! acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::net::IpAddr;
use std::time::Duration;

use tests::storm::{Storm, Writers};
use tests::{FleetWorld, Random, Weather, sized};

#[test]
fn nothing_acknowledged_is_lost_over_a_lossy_network_and_a_leader_cut_off_for_ten_seconds() {
    let world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(21);
    let addresses = addresses(&world);
    let weather = Weather { delay: Duration::from_millis(10), loss_permille: 10 };
    // Each pair has the weather of both its ends: 20 ms each way, and 2 % lost.
    (0..3).for_each(|number| world.fleet.trouble(number, weather));
    let storm = begin(&world, &mut random);
    storm.await_progress(2000);
    println!("{:?} packets arrived and were lost", world.fleet.packets());
    // A check takes thousands of round trips; here one appliance is enough.
    storm.check_at("a lossy network", &addresses[..1]);

    for round in 0..sized(1, 10) {
        let leader = world.fleet.leader();
        println!("{} leads and is cut off", world.fleet.nth(leader).name());
        world.fleet.partition(leader);
        std::thread::sleep(Duration::from_secs(10));
        storm.assert_no_error();
        (0..3).for_each(|number| world.fleet.heal(number));
        storm.check_at(&format!("a partition {round}"), &addresses);
        storm.await_progress(1000);
        (0..3).for_each(|number| world.fleet.trouble(number, weather));
    }
    (0..3).for_each(|number| world.fleet.heal(number));
    println!("{} steps settled", storm.end());
    world.guests.nth(0).unmount();
    world.guests.nth(1).unmount();
    world.end_well(3);
}

#[test]
fn nothing_acknowledged_is_lost_when_each_appliance_is_killed_in_turn() {
    let mut world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(22);
    let addresses = addresses(&world);
    // The storm borrows the guests, the kills the fleet.
    let FleetWorld { guests, fleet, .. } = &mut world;
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers =
        [0, 1].map(|n| Writers { guest: guests.nth(n), address: addresses[n], count: WORKERS });
    let storm = Storm::begin(guests, program, &writers, (guests.nth(2), addresses[2]), &mut random);
    for round in 0..sized(6, 60) {
        let number = usize::try_from(round).unwrap() % 3;
        std::thread::sleep(Duration::from_millis(500 + random.draw() % 1500));
        fleet.nth_mut(number).kill9();
        // The others find out, and clients have to wait.
        std::thread::sleep(Duration::from_millis(random.draw() % 4000));
        storm.assert_no_error();
        fleet.nth_mut(number).restart();
        storm.check_at(&format!("kill {round}"), &addresses);
        storm.await_progress(500);
        fleet.await_standing(3);
    }
    println!("{} steps settled", storm.end());
    drop(storm);
    guests.nth(0).unmount();
    guests.nth(1).unmount();
    world.end_well(3);
}

#[test]
fn an_appliance_frozen_longer_than_its_lease_serves_nothing_old_when_it_goes_on() {
    let world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(23);
    let addresses = addresses(&world);
    let storm = begin(&world, &mut random);
    for number in [0, 1, 2] {
        world.fleet.nth(number).freeze();
        std::thread::sleep(Duration::from_secs(4));
        storm.assert_no_error();
        world.fleet.nth(number).thaw();
        storm.check_at(&format!("frozen {number}"), &addresses);
        storm.await_progress(500);
    }
    println!("{} steps settled", storm.end());
    world.guests.nth(0).unmount();
    world.guests.nth(1).unmount();
    world.end_well(3);
}

/// Workers on the first two appliances, a checker on the third guest.
fn begin<'a>(world: &'a FleetWorld, random: &mut Random) -> Storm<'a> {
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let guests = &world.guests;
    let at = |n: usize| world.fleet.client_address(n);
    let writers = [0, 1].map(|n| Writers { guest: guests.nth(n), address: at(n), count: WORKERS });
    Storm::begin(guests, program, &writers, (guests.nth(2), at(2)), random)
}

fn addresses(world: &FleetWorld) -> Vec<IpAddr> {
    (0..world.fleet.count()).map(|number| world.fleet.client_address(number)).collect()
}

/// Per guest; the checks after each fault take longer the more there are.
const WORKERS: usize = 2;
