//! Volumes that keep several copies of each file: any one appliance may die, stand still or be cut
//! off, and clients of the others go on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/exerciser.rs"]
mod exerciser;

use std::time::{Duration, Instant};

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

/// To whom it happens.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// Who owns a file that is being written.
    Owner,
    /// Who leads the volume's group.
    Leader,
    /// Any of those that hold the volume.
    Any,
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
fn a_file_that_came_to_an_appliance_without_a_copy_is_changed_there_at_once() {
    let world = FleetWorld::new(3, 3, 1);
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    world.mount(0, 0);
    let guest = world.guests.first();
    guest.sh("set -e; echo before >file; sync file");
    world.fleet.await_whole("demo");
    let copies = world.fleet.whereis(0, "demo/file").copies;
    let without = ["ada", "bob", "cyd"].into_iter().find(|name| !copies.contains(&(*name).into()));
    assert!(world.fleet.transfer("demo/file", without.unwrap()).succeeded);
    let began = Instant::now();
    guest.sh("set -e; echo after >>file; sync file");
    let took = began.elapsed();
    println!("{took:?} after it came");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(guest.sh("cat file"), "before\nafter\n");
    world.fleet.await_whole("demo");
    guest.unmount();
    world.end_well(3);
}

#[test]
fn a_copy_that_was_given_up_is_made_again_at_the_same_appliance() {
    let world = FleetWorld::new(3, 2, 1);
    world.mount(0, 0);
    let guest = world.guests.first();
    guest.sh("set -e; echo kept >file; sync file");
    for copies in [2, 1, 2] {
        let wanted = copies.to_string();
        world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", &wanted]);
        eventually_within(COPIES_WITHIN, "as many copies as are wanted", || {
            (world.fleet.whereis(0, "demo/file").copies.len() == copies).then_some(())
        });
        world.fleet.await_whole("demo");
    }
    assert_eq!(guest.sh("cat file"), "kept\n");
    guest.unmount();
    world.end_well(2);
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
    let fsx = exerciser::Endless::begin(guests, 1, random.draw());
    fleet.await_whole("demo");
    let mut outages = Vec::new();
    for round in 0..sized(EVENTS.len() as u64, 80) {
        let (role, fault) = EVENTS[usize::try_from(round).unwrap() % EVENTS.len()];
        let number = match role {
            Role::Owner => owner_of_a_file(&storm, guests, fleet, round),
            Role::Leader => fleet.volume_leader("demo"),
            Role::Any => random.below(3),
        };
        storm.await_progress(300);
        fault.strike(fleet, number);
        let took = storm.await_everybody();
        let name = fleet.nth(number).name().to_owned();
        println!("round {round}: {role:?} {name} is {fault:?}: clients waited {took:.1?}");
        outages.push((role, fault, took));
        storm.check_at(&format!("without {round}"), &[door]);
        storm.await_progress(300);
        fault.end(fleet, number);
        fleet.await_standing(4);
        fleet.await_whole("demo");
        storm.check_at(&format!("back {round}"), &[door]);
    }
    for (role, fault, took) in outages {
        assert!(took < WAITED_MAX, "{role:?} {fault:?}: clients waited {took:?}");
    }
    println!("{} operations of fsx", fsx.end());
    println!("{} steps settled", storm.end());
    drop(storm);
    guests.nth(0).unmount();
    guests.nth(1).unmount();
    world.end_well(3);
}

const COPIES_WITHIN: Duration = Duration::from_secs(60);
const EVENTS: [(Role, Fault); 7] = [
    (Role::Owner, Fault::Killed),
    (Role::Leader, Fault::Killed),
    (Role::Owner, Fault::Frozen),
    (Role::Leader, Fault::Frozen),
    (Role::Owner, Fault::CutOff),
    (Role::Leader, Fault::CutOff),
    (Role::Any, Fault::Crashed),
];

/// A lease runs out, a view is made, its owner enters its reign; and a step of a worker.
const WAITED_MAX: Duration = Duration::from_secs(6);
