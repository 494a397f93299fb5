//! The file system exerciser `fsx` on the mount: random reads, writes, mappings and truncations of
//! one file, each read compared with what the file must hold.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::Duration;

#[path = "kernel/exerciser.rs"]
mod exerciser;

use exerciser::script;
use tests::{Appliance, Guests, LoopBtrfs, Random, Sandbox, sized};

#[test]
fn fsx_finds_no_mismatch_in_thousands_of_operations() {
    let mut world = World::new();
    let job = world.guests.first().start(&script(sized(25_000, 2_000_000), 1));
    println!("{}", job.must_within(LIMIT));
    world.end_well();
}

#[test]
fn fsx_finds_no_mismatch_while_the_appliance_is_killed_again_and_again() {
    let mut world = World::new();
    let mut random = Random::from_environment(2);
    // So many that the kills, and not the operations, end the run.
    let job = world.guests.first().start(&script(sized(30_000, 300_000), 2));
    let mut kills = 0;
    while kills < sized(8, 100) {
        std::thread::sleep(Duration::from_millis(500 + random.draw() % 1500));
        if job.ended() {
            break;
        }
        world.appliance.kill9();
        world.appliance.restart();
        kills += 1;
    }
    println!("{}after {kills} kills", job.must_within(LIMIT));
    assert!(kills >= 3, "the operations were over after {kills} kills");
    world.end_well();
}

struct World {
    guests: Guests,
    appliance: Appliance,
    _disk: LoopBtrfs,
    _sandbox: Sandbox,
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
        let appliance = Appliance::start(&sandbox, disk.path());
        let guests = Guests::with_demo(&sandbox, 1);
        exerciser::put_into(&guests);
        Self { guests, appliance, _disk: disk, _sandbox: sandbox }
    }

    fn end_well(&mut self) {
        self.guests.first().unmount();
        self.appliance.check("demo");
        self.appliance.stop();
    }
}

/// Each run takes a few minutes at worst.
const LIMIT: Duration = Duration::from_secs(1200);
