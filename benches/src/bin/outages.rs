//! What a client notices when an appliance dies: the time from its death until a call that was made
//! after it succeeds, through another appliance.
//!
//! Three appliances keep two copies of each file and a fourth, which holds nothing, is mounted; all
//! run on one machine.

#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::fleet::{self, File, create_names};
use benches::table::{Figure, Figures};
use clap::Parser;
use tests::{Fleet, Sandbox, eventually_within};
use tokio::runtime::{Builder, Runtime};

/// Kills appliances and prints what clients noticed.
#[derive(Debug, Parser)]
struct Options {
    /// Fewer rounds and fewer objects: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// Only the part with this name: kill, restart, objects or resync.
    #[arg(long)]
    only: Option<String>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How an appliance dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// With its supervisor: another one takes its files over.
    Whole,
    /// Its supervisor starts it again.
    Process,
}

fn main() {
    let options = Options::parse();
    let sandbox = Sandbox::new();
    let mut fleet = Fleet::form_supervised(&sandbox, APPLIANCES, DISK_MIB);
    let mut figures = Figures::default();
    let wanted = |part: &str| options.only.as_ref().is_none_or(|only| only == part);
    let rounds = if options.quick { 5 } else { 50 };
    if wanted("kill") || wanted("restart") {
        let file = make_file(&fleet, "outage");
        for (part, death, name) in [
            ("kill", Death::Whole, "an owner is killed for good"),
            ("restart", Death::Process, "an owner's process is killed"),
        ] {
            if wanted(part) {
                let waits = (0..rounds).map(|_| outage(&mut fleet, "outage", file, death));
                report(&mut figures, &format!("{name}, {rounds} times"), waits.collect());
            }
        }
    }
    if wanted("objects") {
        let counts: &[u64] =
            if options.quick { &[1_000, 10_000] } else { &[1_000, 100_000, 1_000_000] };
        for count in counts {
            let volume = format!("objects-{count}");
            let file = make_file(&fleet, &volume);
            let owner = fleet::address(&fleet, 0);
            runtime().block_on(create_names(owner, &format!("/{volume}"), *count));
            let waits = (0..3).map(|_| outage(&mut fleet, &volume, file, Death::Whole));
            let what = format!("an owner of {count} objects is killed for good, 3 times");
            report(&mut figures, &what, waits.collect());
        }
    }
    if wanted("resync") {
        resync(&options, &mut fleet, &mut figures);
    }
    figures.print(options.json);
}

/// A volume of two copies, and a file in it that the first appliance owns.
fn make_file(fleet: &Fleet, volume: &str) -> File {
    fleet.make_volume(volume, &tests::fleet::NAMES[..3]);
    fleet.first().cli_ok(&["volume", "policy", volume, "--replicas", "2"]);
    let (at, export) = (fleet::address(fleet, 0), format!("/{volume}"));
    let file = runtime().block_on(File::make(at, &export, "file", 1));
    await_whole(fleet, volume);
    file
}

/// Kills the file's owner while a client writes to the file, durably and without a pause; how long
/// the client had no success.
fn outage(fleet: &mut Fleet, volume: &str, file: File, death: Death) -> Duration {
    let owner = fleet.number_of(&fleet.whereis(APPLIANCES - 1, &format!("{volume}/file")).owner);
    let door = fleet::address(fleet, APPLIANCES - 1);
    let (began, killed, waited) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = runtime();
            let mut lane = runtime.block_on(file.at(door));
            loop {
                let dead = killed.load(Ordering::Acquire);
                runtime.block_on(lane.write_durably());
                if dead != 0 {
                    waited.store(nanos(began) - dead, Ordering::Release);
                    return;
                }
            }
        });
        std::thread::sleep(WARM);
        match death {
            Death::Whole => fleet.nth_mut(owner).kill9(),
            Death::Process => fleet.nth(owner).crash(),
        }
        killed.store(nanos(began), Ordering::Release);
        eventually_within(OUTAGE_MAX, "a call to succeed", || {
            (waited.load(Ordering::Acquire) > 0).then_some(())
        });
    });
    if death == Death::Whole {
        fleet.nth_mut(owner).restart();
    }
    fleet.await_standing(APPLIANCES);
    await_whole(fleet, volume);
    Duration::from_nanos(waited.load(Ordering::Acquire))
}

/// A copy misses a whole file, comes back, and is made whole.
fn resync(options: &Options, fleet: &mut Fleet, figures: &mut Figures) {
    let mib = if options.quick { 64 } else { 1024 };
    fleet.make_volume("resync", &tests::fleet::NAMES[..3]);
    fleet.first().cli_ok(&["volume", "policy", "resync", "--replicas", "3"]);
    let at = fleet::address(fleet, 0);
    runtime().block_on(File::make(at, "/resync", "small", 1));
    await_whole(fleet, "resync");
    fleet.nth_mut(2).kill9();
    runtime().block_on(File::make(at, "/resync", "large", mib));
    fleet.nth_mut(2).restart();
    let began = Instant::now();
    await_whole(fleet, "resync");
    let rate = mib as f64 / began.elapsed().as_secs_f64();
    let what = format!("a copy of {mib} MiB that an appliance missed is made whole");
    figures.push(Figure { what, figure: rate, unit: "MiB/s", beside: None });
}

fn await_whole(fleet: &Fleet, volume: &str) {
    eventually_within(WHOLE_MAX, "all copies to be whole", || {
        let whole = (0..3).all(|number| {
            let shown = fleet.nth(number).cli_json(&["volume", "show", volume]);
            shown["degraded"] == 0
        });
        whole.then_some(())
    });
}

fn report(figures: &mut Figures, what: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    for (which, wait) in [("median", waits[waits.len() / 2]), ("maximum", waits[waits.len() - 1])] {
        let figure = wait.as_secs_f64() * 1000.0;
        let what = format!("{what}: first success after, {which}, beside the goal");
        figures.push(Figure { what, figure, unit: "ms", beside: Some(GOAL_MS) });
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).expect("less than centuries")
}

/// Three that hold volumes, and one that holds none.
const APPLIANCES: usize = 4;
/// Sparse; room for the large file and its copies.
const DISK_MIB: u64 = 8192;
/// Calls go before the kill.
const WARM: Duration = Duration::from_millis(300);
/// What a killed process may cost a client.
const GOAL_MS: f64 = 2_000.0;
const OUTAGE_MAX: Duration = Duration::from_secs(60);
const WHOLE_MAX: Duration = Duration::from_secs(300);
