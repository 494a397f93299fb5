//! Whatever was acknowledged is there after a crash, and no client notices one but by waiting.
//!
//! Workers in a guest change a mounted volume as fast as they can and keep a ledger of what was
//! acknowledged, outside the mount. A second guest, which knows nothing but the ledgers, checks
//! every name and every byte after each crash.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::path::PathBuf;
use std::time::Duration;

use tests::storm::{Storm, Writers};
use tests::{APPLIANCE_ADDRESS, Appliance, Guests, LoopBtrfs, Random, Sandbox, run, sized};

#[test]
fn nothing_acknowledged_is_lost_in_any_kill_and_no_client_sees_an_error() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::boot(&sandbox, 2);
    let mut random = Random::from_environment(3);
    let storm = begin(&guests, &mut random);

    for round in 1..=sized(20, 1000) {
        std::thread::sleep(Duration::from_millis(100 + random.draw() % 500));
        // Every other time no client hears that the connection is gone, as in a power cut.
        let silently = round % 2 == 0;
        if silently {
            guests.each(tests::Guest::unplug);
        }
        appliance.kill9();
        storm.tell(&format!("pause {round}"));
        appliance.restart();
        if silently {
            guests.each(tests::Guest::plug_in);
        }
        storm.await_paused(&format!("pause {round}"));
        let settled = storm.ledgers();
        storm.verify(&settled);
        appliance.check("demo");
        storm.tell_on();
    }
    let steps = storm.end();
    println!("{steps} steps settled");
    assert!(steps > 400, "a storm, not a breeze: {steps} steps");
    guests.first().unmount();
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn every_copy_of_the_disk_taken_under_load_starts_and_holds_what_was_acknowledged() {
    let sandbox = Sandbox::new();
    // A reflink of the image is the disk as it is at one moment, like after a power cut: what the
    // appliance's file system had not yet sent to its disk is missing.
    let outer = LoopBtrfs::new(&sandbox, "outer", 16384);
    let disk = LoopBtrfs::with_image(&sandbox, "disk", &outer.path().join("disk.image"), 3072);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::boot(&sandbox, 2);
    let mut random = Random::from_environment(4);
    let storm = begin(&guests, &mut random);

    let mut copies = Vec::new();
    for number in 0..sized(12, 100) {
        std::thread::sleep(Duration::from_millis(200 + random.draw() % 1500));
        let image = outer.path().join(format!("copy.{number}.image"));
        let settled = storm.ledgers();
        let reflink = ["--reflink=always".as_ref(), disk.image().as_os_str(), image.as_os_str()];
        run("cp", &reflink);
        copies.push(Copy { image, settled, ledgers_then: storm.keep_ledgers(number) });
    }
    println!("{} steps settled", storm.end());
    guests.first().unmount();
    appliance.stop();
    disk.unmount();

    for copy in copies {
        println!("{}", copy.image.display());
        let disk = LoopBtrfs::open(&sandbox, "copy", &copy.image);
        let mut appliance = Appliance::start(&sandbox, disk.path());
        storm.verify_as(&copy.ledgers_then, &copy.settled);
        appliance.check("demo");
        appliance.stop();
        disk.unmount();
    }
}

/// The disk as it was at one moment.
struct Copy {
    image: PathBuf,
    /// How long each ledger was just before.
    settled: Vec<u64>,
    /// Where the ledgers as they were just after are kept, in the guests' shared folder.
    ledgers_then: String,
}

/// A storm in the first guest; the second one checks.
fn begin<'a>(guests: &'a Guests, random: &mut Random) -> Storm<'a> {
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let address = APPLIANCE_ADDRESS.parse().unwrap();
    let writers = Writers { guest: guests.first(), address, count: WORKERS };
    Storm::begin(guests, program, &[writers], (guests.second(), address), random)
}

/// Enough to keep the appliance busy from a guest with one processor.
const WORKERS: usize = 4;
