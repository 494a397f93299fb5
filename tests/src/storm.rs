//! Workers in guests change a mounted volume as fast as they can and keep a ledger of what was
//! acknowledged, outside the mount. Another guest, which knows nothing but the ledgers, checks
//! every name and every byte with a fresh mount.
//!
//! The work itself is the program `crash-writer`, what it promises is in [`crate::ledger`].
//! Invariant: an error of any system call of any worker fails the test.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::wait::eventually_within;
use crate::{Guest, Guests, Job, Random};

/// Workers of one guest, each in a folder of its own.
#[derive(Debug)]
pub struct Writers<'a> {
    /// Where they work.
    pub guest: &'a Guest,
    /// Which appliance the guest mounts.
    pub address: IpAddr,
    /// How many.
    pub count: usize,
}

/// All workers, and the guest that checks.
#[derive(Debug)]
pub struct Storm<'a> {
    guests: &'a Guests,
    checker: (&'a Guest, IpAddr),
    jobs: Vec<Job<'a>>,
}

impl<'a> Storm<'a> {
    /// Starts all workers on the volume `demo`; `program` is the `crash-writer`. The `checker`'s
    /// guest is none of the writers' and has nothing mounted; it asks the appliance it is given
    /// with.
    #[must_use]
    pub fn begin(
        guests: &'a Guests,
        program: &Path,
        writers: &[Writers<'a>],
        checker: (&'a Guest, IpAddr),
        random: &mut Random,
    ) -> Self {
        fs::copy(program, guests.shared().join("crash-writer")).expect("the program is there");
        fs::create_dir(guests.shared().join("now")).expect("one storm at a time");
        let mut jobs = Vec::new();
        for writers in writers {
            writers.guest.mount_from(writers.address, "demo");
            for _ in 0..writers.count {
                let (worker, seed) = (jobs.len(), random.draw());
                jobs.push(writers.guest.start(&format!(
                    "mkdir -p w{worker} &&
                     exec $JOB/crash-writer storm w{worker} $JOB/now/{worker} $JOB/pause {seed}"
                )));
            }
        }
        let storm = Self { guests, checker, jobs };
        storm.await_progress(1000);
        storm
    }

    /// Waits until every worker's ledger has grown by `bytes`.
    pub fn await_progress(&self, bytes: u64) {
        let before = self.ledgers();
        eventually_within(LIMIT, "the storm to go on", || {
            self.assert_no_error();
            let now = self.ledgers();
            now.iter().zip(&before).all(|(now, was)| *now > was + bytes).then_some(())
        });
    }

    /// Waits until every worker has gone on; how long that took.
    #[must_use]
    pub fn await_everybody(&self) -> Duration {
        let (began, before) = (Instant::now(), self.ledgers());
        eventually_within(LIMIT, "the workers to go on", || {
            self.assert_no_error();
            let now = self.ledgers();
            now.iter().zip(&before).all(|(now, was)| now > was).then_some(())
        });
        began.elapsed()
    }

    /// Fails the test if a worker has seen an error.
    pub fn assert_no_error(&self) {
        for (worker, job) in self.jobs.iter().enumerate() {
            assert!(!job.ended(), "worker {worker} saw an error: {}", job.so_far());
        }
    }

    /// Tells all workers to pause; they do when they have finished their step.
    pub fn tell(&self, word: &str) {
        let pause = self.guests.shared().join("pause");
        let part = self.guests.shared().join("pause.part");
        fs::write(&part, word).expect("the shared folder takes a file");
        fs::rename(part, pause).expect("it was just written");
    }

    /// Tells them to go on.
    pub fn tell_on(&self) {
        fs::remove_file(self.guests.shared().join("pause")).expect("they were told to pause");
    }

    /// Waits until every worker has finished its step, which it does once it gets an answer.
    pub fn await_paused(&self, word: &str) {
        for (worker, job) in self.jobs.iter().enumerate() {
            let paused = self.guests.shared().join(format!("now/{worker}.paused"));
            eventually_within(LIMIT, format!("worker {worker} to pause"), || {
                assert!(!job.ended(), "worker {worker} saw an error: {}", job.so_far());
                let found = fs::read_to_string(&paused).unwrap_or_default();
                (found == word).then_some(())
            });
        }
    }

    /// How long each ledger is now.
    #[must_use]
    pub fn ledgers(&self) -> Vec<u64> {
        let len = |worker| {
            let path = self.guests.shared().join(format!("now/{worker}"));
            fs::metadata(path).map_or(0, |found| found.len())
        };
        (0..self.jobs.len()).map(len).collect()
    }

    /// Keeps the ledgers as they are now, and gives the name under which they are kept.
    #[must_use]
    pub fn keep_ledgers(&self, number: u64) -> String {
        let kept = format!("kept.{number}");
        let folder = self.guests.shared().join(&kept);
        fs::create_dir(&folder).expect("each number is used once");
        for worker in 0..self.jobs.len() {
            let now = self.guests.shared().join(format!("now/{worker}"));
            fs::copy(now, folder.join(worker.to_string())).expect("each worker has a ledger");
        }
        kept
    }

    /// Has the checker look for all that was settled when the ledgers had these lengths.
    pub fn verify(&self, settled: &[u64]) {
        self.verify_as("now", settled);
    }

    /// The same with ledgers that were kept.
    pub fn verify_as(&self, ledgers: &str, settled: &[u64]) {
        self.verify_at(self.checker.1, ledgers, settled);
    }

    /// The same through another appliance than usual.
    pub fn verify_at(&self, address: IpAddr, ledgers: &str, settled: &[u64]) {
        let guest = self.checker.0;
        guest.mount_from(address, "demo");
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

    /// Pauses the storm, has everything checked through each of the appliances, and lets it go on.
    pub fn check_at(&self, word: &str, addresses: &[IpAddr]) {
        self.tell(word);
        self.await_paused(word);
        let settled = self.ledgers();
        for address in addresses {
            self.verify_at(*address, "now", &settled);
        }
        self.tell_on();
    }

    /// Ends the storm; every worker must end without an error. Gives how many steps it had.
    #[must_use]
    pub fn end(&self) -> usize {
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
            let ledger = ledger.expect("each worker has a ledger");
            ledger.lines().filter(|line| *line == "settled").count()
        };
        (0..self.jobs.len()).map(steps).sum()
    }
}

/// A client that was refused a connection tries again after three seconds, then six; one that lost
/// it unheard does so after one minute, or two.
const LIMIT: Duration = Duration::from_secs(180);
