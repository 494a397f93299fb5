//! Whatever was acknowledged is there after a crash, and no client notices one but by waiting.
//!
//! Workers in a guest change a mounted volume as fast as they can and keep a ledger of what was
//! acknowledged, outside the mount. A second guest, which knows nothing but the ledgers, checks
//! every name and every byte after each crash.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tests::{Appliance, Guests, Job, LoopBtrfs, Random, Sandbox, eventually_within, run, sized};

#[test]
fn nothing_acknowledged_is_lost_in_fifty_kills_and_no_client_sees_an_error() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::boot(&sandbox, 2);
    let mut random = Random::from_environment(3);
    let storm = Storm::begin(&guests, &mut random);

    for round in 1..=sized(50, 1000) {
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
    assert!(steps > 1000, "a storm, not a breeze: {steps} steps");
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
    let storm = Storm::begin(&guests, &mut random);

    let mut copies = Vec::new();
    for number in 0..sized(12, 100) {
        std::thread::sleep(Duration::from_millis(200 + random.draw() % 1500));
        let image = outer.path().join(format!("copy.{number}.image"));
        let settled = storm.ledgers();
        let reflink = ["--reflink=always".as_ref(), disk.image().as_os_str(), image.as_os_str()];
        run("cp", &reflink);
        copies.push(Copy { image, settled, ledgers_then: storm.keep_ledgers(number) });
    }
    storm.end();
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

/// Workers in the first guest, each in a folder of its own; the second guest checks.
struct Storm<'a> {
    guests: &'a Guests,
    jobs: Vec<Job<'a>>,
}

impl<'a> Storm<'a> {
    fn begin(guests: &'a Guests, random: &mut Random) -> Self {
        let program = env!("CARGO_BIN_EXE_crash-writer");
        fs::copy(program, guests.shared().join("crash-writer")).unwrap();
        fs::create_dir(guests.shared().join("now")).unwrap();
        guests.first().mount("demo");
        let mut jobs = Vec::new();
        for worker in 0..WORKERS {
            let seed = random.draw();
            jobs.push(guests.first().start(&format!(
                "mkdir -p w{worker} &&
                 exec $JOB/crash-writer storm w{worker} $JOB/now/{worker} $JOB/pause {seed}"
            )));
        }
        let storm = Self { guests, jobs };
        eventually_within(LIMIT, "the storm to rise", || {
            let lens = storm.ledgers();
            lens.iter().all(|len| *len > 1000).then_some(())
        });
        storm
    }

    fn tell(&self, word: &str) {
        let pause = self.guests.shared().join("pause");
        let part = self.guests.shared().join("pause.part");
        fs::write(&part, word).unwrap();
        fs::rename(part, pause).unwrap();
    }

    fn tell_on(&self) {
        fs::remove_file(self.guests.shared().join("pause")).unwrap();
    }

    /// Waits until every worker has finished its step, which it does once the appliance is back.
    fn await_paused(&self, word: &str) {
        for worker in 0..WORKERS {
            let paused = self.guests.shared().join(format!("now/{worker}.paused"));
            eventually_within(LIMIT, format!("worker {worker} to pause"), || {
                let job = &self.jobs[worker];
                assert!(!job.ended(), "worker {worker} saw an error: {}", job.so_far());
                let found = fs::read_to_string(&paused).unwrap_or_default();
                (found == word).then_some(())
            });
        }
    }

    /// How long each ledger is now.
    fn ledgers(&self) -> Vec<u64> {
        let len = |worker| {
            let path = self.guests.shared().join(format!("now/{worker}"));
            fs::metadata(path).map_or(0, |found| found.len())
        };
        (0..WORKERS).map(len).collect()
    }

    /// Keeps the ledgers as they are now.
    fn keep_ledgers(&self, number: u64) -> String {
        let kept = format!("kept.{number}");
        fs::create_dir(self.guests.shared().join(&kept)).unwrap();
        for worker in 0..WORKERS {
            let now = self.guests.shared().join(format!("now/{worker}"));
            fs::copy(now, self.guests.shared().join(&kept).join(worker.to_string())).unwrap();
        }
        kept
    }

    fn verify(&self, settled: &[u64]) {
        self.verify_as("now", settled);
    }

    /// Has the second guest, with a fresh mount, check all that `ledgers` promise.
    fn verify_as(&self, ledgers: &str, settled: &[u64]) {
        let guest = self.guests.second();
        guest.mount("demo");
        let lens: Vec<String> = settled.iter().map(u64::to_string).collect();
        guest.sh(&format!(
            "worker=0; bad=0
             for len in {}; do
               $JOB/crash-writer verify w$worker $JOB/{ledgers}/$worker $len || bad=1
               worker=$((worker + 1))
             done
             exit $bad",
            lens.join(" ")
        ));
        guest.unmount();
    }

    /// Ends the storm; every worker must end without an error. Gives how many steps it had.
    fn end(&self) -> usize {
        self.tell("stop");
        for (worker, job) in self.jobs.iter().enumerate() {
            eventually_within(LIMIT, format!("worker {worker} to stop"), || {
                job.ended().then_some(())
            });
            let said = job.so_far();
            assert!(said.is_empty(), "worker {worker} saw an error: {said}");
        }
        let steps = |worker: usize| {
            let ledger = fs::read_to_string(self.guests.shared().join(format!("now/{worker}")));
            ledger.unwrap().lines().filter(|line| *line == "settled").count()
        };
        (0..WORKERS).map(steps).sum()
    }
}

/// Enough to keep the appliance busy from a guest with one processor.
const WORKERS: usize = 4;

/// A client that was refused a connection tries again after three seconds, then six; one that lost
/// it unheard does so after one minute, or two.
const LIMIT: Duration = Duration::from_secs(180);
