//! Volumes that keep several copies of each file: any one appliance may die, stand still or be cut
//! off, and clients of the others go on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::Duration;

use tests::storm::{Storm, Writers};
use tests::{Fleet, FleetWorld, Guests, Random, eventually_within, sized};

/// What happens to an appliance.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
    CutOff,
    /// Its supervisor starts it again.
    Crashed,
}

impl Fault {
    fn strike(self, fleet: &mut Fleet, number: usize) {
        match self {
            Self::Killed => fleet.nth_mut(number).kill9(),
            Self::Frozen => fleet.nth(number).freeze(),
            Self::CutOff => fleet.partition(number),
            Self::Crashed => fleet.nth(number).crash(),
        }
    }

    fn end(self, fleet: &mut Fleet, number: usize) {
        match self {
            Self::Killed => fleet.nth_mut(number).restart(),
            Self::Frozen => fleet.nth(number).thaw(),
            Self::CutOff => fleet.heal(number),
            Self::Crashed => {}
        }
    }
}

/// Waits until every file has as many good copies as it shall.
fn await_whole(fleet: &Fleet) {
    eventually_within(Duration::from_secs(60), "all copies to be whole", || {
        let whole = (0..3).all(|number| {
            let volume = fleet.nth(number).cli_json(&["volume", "show", "demo"]);
            volume["degraded"] == 0
        });
        whole.then_some(())
    });
}

/// Who owns the first worker's first file; it has as many copies as it shall.
fn owner_of_a_file(storm: &Storm<'_>, guests: &Guests, fleet: &Fleet, round: u64) -> usize {
    let word = format!("look {round}");
    storm.tell(&word);
    storm.await_paused(&word);
    let file = guests.nth(0).sh("find w0 -type f | head -n 1");
    let found = fleet.whereis(0, &format!("demo/{}", file.trim()));
    storm.tell_on();
    assert_eq!(found.copies.len(), 2, "{file} is at {:?}", found.copies);
    fleet.number_of(&found.owner)
}

#[test]
fn clients_go_on_without_any_one_appliance_and_nothing_is_lost() {
    // Four appliances, of which three hold the volume; clients are at the fourth.
    let mut world = FleetWorld::supervised(4, 3, 3);
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let mut random = Random::from_environment(31);
    let FleetWorld { guests, fleet, .. } = &mut world;
    let door = fleet.client_address(3);
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers = [0, 1].map(|n| Writers { guest: guests.nth(n), address: door, count: 2 });
    let storm = Storm::begin(guests, program, &writers, (guests.nth(2), door), &mut random);
    await_whole(fleet);
    let faults = [Fault::Killed, Fault::Frozen, Fault::CutOff, Fault::Crashed];
    for round in 0..sized(8, 80) {
        let owner = owner_of_a_file(&storm, guests, fleet, round);
        let fault = faults[usize::try_from(round).unwrap() % 4];
        // Whoever has the files first, then anybody.
        let number = if round < 4 { owner } else { usize::try_from(random.draw() % 3).unwrap() };
        storm.await_progress(300);
        fault.strike(fleet, number);
        let took = storm.await_everybody();
        let name = fleet.nth(number).name().to_owned();
        println!("round {round}: {name} is {fault:?}, clients waited {took:?}");
        assert!(took < WAITED_MAX, "clients waited {took:?}");
        storm.check_at(&format!("without {round}"), &[door]);
        storm.await_progress(300);
        fault.end(fleet, number);
        fleet.await_standing(4);
        await_whole(fleet);
        storm.check_at(&format!("back {round}"), &[door]);
    }
    println!("{} steps settled", storm.end());
    drop(storm);
    guests.nth(0).unmount();
    guests.nth(1).unmount();
    world.end_well(3);
}

/// A lease runs out, a view is made, its owner enters its reign; and a step of a worker.
const WAITED_MAX: Duration = Duration::from_secs(6);
