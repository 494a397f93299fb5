//! The file system exerciser `fsx` on the mount: random reads, writes, mappings and truncations of
//! one file, each read compared with what the file must hold.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::Duration;

use tests::{Appliance, Guests, LoopBtrfs, Random, Sandbox, sized, tool};

#[test]
fn fsx_finds_no_mismatch_in_a_hundred_thousand_operations() {
    let mut world = World::new();
    let job = world.guests.first().start(&script(sized(100_000, 2_000_000), 1));
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
        std::fs::copy(tool("fsx"), guests.shared().join("fsx")).unwrap();
        std::fs::write(guests.shared().join("fsx.toml"), CONFIG).unwrap();
        Self { guests, appliance, _disk: disk, _sandbox: sandbox }
    }

    fn end_well(&mut self) {
        self.guests.first().unmount();
        self.appliance.check("demo");
        self.appliance.stop();
    }
}

/// Operates on one file `count` times, following `seed`.
fn script(count: u64, seed: u64) -> String {
    format!("$JOB/fsx -f $JOB/fsx.toml -P /tmp -N {count} -S {seed} file")
}

/// All that fsx knows but what NFS version 3 lacks: `posix_fallocate` and holes punched on demand.
/// The file crosses the border between two extents of 1 MiB.
const CONFIG: &str = "\
flen = 1500000
nomsyncafterwrite = true

[opsize]
max = 32768

[weights]
close_open = 1.0
invalidate = 1.0
mapread = 4.0
mapwrite = 4.0
read = 10.0
write = 10.0
truncate = 5.0
fsync = 0.5
fdatasync = 0.5
sendfile = 1.0
posix_fadvise = 1.0
copy_file_range = 2.0
";

/// Each run takes a few minutes at worst.
const LIMIT: Duration = Duration::from_secs(1200);
