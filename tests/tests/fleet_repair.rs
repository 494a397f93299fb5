//! What rots on one appliance's disk is served from another copy, and made anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::fs;
use std::time::Duration;

use tests::{FleetWorld, Random, drop_caches, eventually_within};

#[test]
fn a_byte_that_rots_under_a_file_is_never_served_and_its_copy_is_made_anew() {
    let mut world = FleetWorld::new(3, 3, 2);
    let FleetWorld { guests, fleet, .. } = &mut world;
    fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let door = fleet.client_address(2);
    let mut random = Random::from_environment(71);
    // Larger than what is sent at a stroke, and one whose last block is only partly used.
    for (name, len) in [("large", 6 << 20), ("little", 70_000)] {
        let bytes = random.bytes(len);
        fs::write(guests.shared().join(name), &bytes).unwrap();
        guests.nth(0).mount_from(door, "demo");
        guests.nth(0).sh(&format!("cp $JOB/{name} {name}; sync {name}"));
        guests.nth(0).unmount();
        let path = format!("demo/{name}");
        for at in [len / 2, len - 40] {
            await_whole(fleet, &path);
            let owner = fleet.number_of(&fleet.whereis(2, &path).owner);
            let disk = fleet.disk(owner);
            assert_eq!(disk.rot(&bytes[at..at + 32]), 1, "{name} at {at}");
            drop_caches();
            // Whoever reads gets what was written, though its owner can't read it any more.
            guests.nth(1).mount_from(door, "demo");
            guests.nth(1).sh(&format!("cmp $JOB/{name} {name}"));
            guests.nth(1).unmount();
            let log = fleet.nth(owner).log();
            assert!(log.contains("a copy can't be read"), "its owner noticed\n{log}");
            // And soon there are two good copies again, of which each can be read alone.
            await_whole(fleet, &path);
            for holder in fleet.whereis(2, &path).copies {
                let number = fleet.number_of(&holder);
                drop_caches();
                // What is moved by itself meanwhile makes a transfer end in "busy".
                eventually_within(Duration::from_secs(30), "it to move", || {
                    if fleet.whereis(2, &path).owner != holder {
                        let _ = fleet.nth(0).cli(&["object", "transfer", &path, &holder, "--wait"]);
                    }
                    (fleet.whereis(2, &path).owner == holder).then_some(())
                });
                guests.nth(1).mount_from(fleet.client_address(number), "demo");
                guests.nth(1).sh(&format!("cmp $JOB/{name} {name}"));
                guests.nth(1).unmount();
            }
        }
    }
    world.end_well(3);
}

#[test]
fn of_a_large_file_that_changed_a_little_only_that_is_sent_again() {
    let mut world = FleetWorld::new(3, 3, 1);
    let FleetWorld { guests, fleet, .. } = &mut world;
    fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "3"]);
    let guest = guests.nth(0);
    guest.mount_from(fleet.client_address(0), "demo");
    guest.sh(&format!("head -c {LARGE} /dev/urandom >file; sync file; cp file $JOB/file"));
    await_copies(fleet, "demo/file", 3);
    let owner = fleet.number_of(&fleet.whereis(0, "demo/file").owner);
    // The guest talks to the first one.
    let away = (1..3).find(|number| *number != owner).unwrap();
    fleet.nth_mut(away).kill9();
    let change = |at: u64| {
        let write = format!("bs=1 seek={at} conv=notrunc");
        format!("for to in file $JOB/file; do printf changed | dd of=$to {write}; done; sync file")
    };
    guest.sh(&change(5));
    guest.sh(&change(LARGE - 7));
    fleet.nth_mut(away).restart();
    fleet.await_standing(3);
    await_copies(fleet, "demo/file", 3);
    // Changes go on: a copy that is whole takes them.
    guest.sh(&change(LARGE / 2));
    assert_eq!(fleet.first().cli_json(&["volume", "show", "demo"])["degraded"], 0);
    guest.sh("cmp file $JOB/file");
    guest.unmount();

    let owner = fleet.number_of(&fleet.whereis(0, "demo/file").owner);
    let log = fleet.nth(owner).log();
    let copied = log.lines().rfind(|line| line.contains("cause=Copy")).expect("it was copied");
    let number = |name: &str| -> u64 {
        let (_, rest) = copied.split_once(name).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (sent, held) = (number(" copied="), number(" held="));
    println!("{sent} bytes were sent, {held} were there");
    assert_eq!((sent, sent + held), (2 << 20, LARGE));
    // It holds what the others do.
    let name = fleet.nth(away).name().to_owned();
    fleet.nth(0).cli_ok(&["object", "transfer", "demo/file", &name, "--wait"]);
    guest.mount_from(fleet.client_address(away), "demo");
    guest.sh("cmp file $JOB/file");
    guest.unmount();
    world.end_well(3);
}

/// Waits until the file has two good copies.
fn await_whole(fleet: &tests::Fleet, path: &str) {
    await_copies(fleet, path, 2);
}

fn await_copies(fleet: &tests::Fleet, path: &str, count: usize) {
    eventually_within(Duration::from_secs(60), format!("{count} good copies"), || {
        let volume = fleet.first().cli_json(&["volume", "show", "demo"]);
        let copies = fleet.whereis(0, path).copies.len();
        (volume["degraded"] == 0 && copies == count).then_some(())
    });
}

const LARGE: u64 = 48 << 20;
