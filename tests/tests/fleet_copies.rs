//! Volumes that keep several copies of each file: any one appliance may die, stand still or be cut
//! off, and clients of the others go on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::{Duration, Instant};

use tests::storm::{Storm, Writers};
use tests::{FleetWorld, Random, eventually_within, sized};

/// Four appliances, of which three hold the volume; clients are at the fourth, which holds nothing.
fn world(replicas: &str) -> FleetWorld {
    let world = FleetWorld::new(4, 3, 3);
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", replicas]);
    world
}

/// Waits until every file has as many good copies as it shall.
fn await_whole(world: &tests::Fleet) {
    eventually_within(Duration::from_secs(60), "all copies to be whole", || {
        let whole = (0..3).all(|number| {
            let volume = world.nth(number).cli_json(&["volume", "show", "demo"]);
            volume["degraded"] == 0
        });
        whole.then_some(())
    });
}

/// How long it takes until every worker has gone on.
fn outage(storm: &Storm<'_>) -> Duration {
    let (began, before) = (Instant::now(), storm.ledgers());
    eventually_within(Duration::from_secs(60), "the workers to go on", || {
        storm.assert_no_error();
        let now = storm.ledgers();
        now.iter().zip(&before).all(|(now, was)| now > was).then_some(())
    });
    began.elapsed()
}

#[test]
fn clients_go_on_without_any_one_appliance_and_nothing_is_lost() {
    let mut world = world("2");
    let mut random = Random::from_environment(31);
    let FleetWorld { guests, fleet, .. } = &mut world;
    let door = fleet.client_address(3);
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers = [0, 1].map(|n| Writers { guest: guests.nth(n), address: door, count: 2 });
    let storm = Storm::begin(guests, program, &writers, (guests.nth(2), door), &mut random);
    await_whole(fleet);
    storm.tell("look");
    storm.await_paused("look");
    let file = guests.nth(0).sh("find w0 -type f | head -n 1");
    let copies = fleet.whereis(0, &format!("demo/{}", file.trim())).copies;
    assert_eq!(copies.len(), 2, "{file} is at {copies:?}");
    storm.tell_on();
    for round in 0..sized(6, 60) {
        let number = usize::try_from(round).unwrap() % 3;
        std::thread::sleep(Duration::from_millis(500 + random.draw() % 1000));
        fleet.nth_mut(number).kill9();
        let took = outage(&storm);
        println!("round {round}: {} killed, clients waited {took:?}", fleet.nth(number).name());
        storm.check_at(&format!("dead {round}"), &[door]);
        storm.await_progress(500);
        fleet.nth_mut(number).restart();
        fleet.await_standing(4);
        await_whole(fleet);
        storm.check_at(&format!("back {round}"), &[door]);
        assert!(took < Duration::from_secs(5), "clients waited {took:?}");
    }
    println!("{} steps settled", storm.end());
    drop(storm);
    guests.nth(0).unmount();
    guests.nth(1).unmount();
    world.end_well(3);
}
