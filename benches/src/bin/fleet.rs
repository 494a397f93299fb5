//! What a fleet costs: calls through an appliance that owns nothing, files that move, names of many
//! volumes, and volumes that nobody uses.
//!
//! Three appliances hold the volumes and a fourth holds none; all run on one machine, so a rate is
//! that of all their work together.

#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock")]

use std::time::{Duration, Instant};

use benches::fleet::{self, Calls, File, Idle, Moved, ORDINARY_DATAGRAM};
use benches::mesh::bare;
use benches::sample::Latencies;
use benches::table::{Figure, Figures};
use clap::Parser;
use tests::{Fleet, Sandbox};
use tokio::runtime::{Builder, Runtime};

/// Measures a fleet and prints a table.
#[derive(Debug, Parser)]
struct Options {
    /// Smaller sizes and fewer rounds: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// Only the part with this name: forward, move, names, idle or copies.
    #[arg(long)]
    only: Option<String>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() {
    let options = Options::parse();
    let sandbox = Sandbox::new();
    let fleet = Fleet::form(&sandbox, APPLIANCES, DISK_MIB);
    // One thread: the generator must not take the appliances' processors from them.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows = Figures::default();
    let wanted = |part: &str| options.only.as_ref().is_none_or(|only| only == part);
    if wanted("forward") {
        forward(&options, &fleet, &runtime, &mut rows);
    }
    if wanted("move") {
        move_files(&options, &fleet, &runtime, &mut rows);
    }
    if wanted("names") {
        names(&options, &fleet, &runtime, &mut rows);
    }
    if wanted("idle") {
        idle(&options, &fleet, &mut rows);
    }
    if wanted("copies") {
        copies(&options, &fleet, &runtime, &mut rows);
    }
    rows.print(options.json);
}

/// The same calls at the owner and at an appliance that holds nothing, one after the other.
fn forward(options: &Options, fleet: &Fleet, runtime: &Runtime, rows: &mut Figures) {
    let time = Duration::from_secs(if options.quick { 1 } else { 5 });
    let mib = if options.quick { 64 } else { 512 };
    fleet.make_volume("forward", &fleet_names(1));
    let bare = bare_stream(fleet, [APPLIANCES - 1, 0], time);
    let owner = fleet::address(fleet, 0);
    let other = fleet::address(fleet, APPLIANCES - 1);
    runtime.block_on(async {
        let made = File::make(owner, "/forward", "file", mib).await;
        for calls in [Calls::Getattr, Calls::ReadPage, Calls::ReadMebibyte, Calls::WriteMebibyte] {
            let at = made.at(owner).await.run(calls, time).await;
            let through = made.at(other).await.run(calls, time).await;
            let mut row = |what, figure, unit, beside| {
                let what = format!("{} {what}", calls.name());
                rows.push(Figure { what, figure, unit, beside });
            };
            if calls.is_bulk() {
                row("at the owner, beside a bare QUIC stream", at.mebibytes, "MiB/s", Some(bare));
                let lower = at.mebibytes.min(bare);
                row("forwarded, beside the lower of both", through.mebibytes, "MiB/s", Some(lower));
                // One after the other, as on processors that are busy with both.
                let sum = 1.0 / (1.0 / at.mebibytes + 1.0 / bare);
                row("forwarded, beside both added up", through.mebibytes, "MiB/s", Some(sum));
            } else {
                row("at the owner, p50", at.p50_micros, "µs", None);
                row(
                    "forwarded, p50, beside at the owner",
                    through.p50_micros,
                    "µs",
                    Some(at.p50_micros),
                );
                row(
                    "forwarded, p99, beside at the owner",
                    through.p99_micros,
                    "µs",
                    Some(at.p99_micros),
                );
            }
        }
    });
}

/// The same calls on files of which one, two and three copies are kept.
fn copies(options: &Options, fleet: &Fleet, runtime: &Runtime, rows: &mut Figures) {
    let time = Duration::from_secs(if options.quick { 2 } else { 5 });
    let (mib, rounds) = if options.quick { (64, 5) } else { (512, 15) };
    for replicas in 1..=3 {
        let name = format!("c{replicas}");
        fleet.make_volume(&name, &fleet_names(3));
        fleet.first().cli_ok(&["volume", "policy", &name, "--replicas", &replicas.to_string()]);
    }
    let bare = bare_stream(fleet, [0, 1], time);
    let owner = fleet::address(fleet, 0);
    let lane = |replicas: usize, file: &str| {
        let export = format!("/c{replicas}");
        let lane = runtime.block_on(async {
            let made = File::make(owner, &export, file, mib).await;
            made.at(owner).await
        });
        // What runs before this one left unwritten would slow it down.
        rustix::fs::sync();
        lane
    };
    for calls in [Calls::WriteMebibyte, Calls::ReadMebibyte] {
        let mut one = None;
        for replicas in 1..=3 {
            let mut lane = lane(replicas, &format!("{calls:?}"));
            let figure = runtime.block_on(lane.run(calls, time)).mebibytes;
            let mut row = |what: &str, beside| {
                let what = format!("{}, copies: {replicas}{what}", calls.name());
                rows.push(Figure { what, figure, unit: "MiB/s", beside });
            };
            match one {
                None => row("", None),
                Some(one) => row(", beside 1", Some(one)),
            }
            if let (Some(one), Calls::WriteMebibyte, 2) = (one, calls, replicas) {
                let sum = 1.0 / (1.0 / one + 1.0 / bare);
                row(", beside 1 and a bare QUIC stream added up", Some(sum));
            }
            one = one.or(Some(figure));
        }
    }
    for replicas in 1..=3 {
        let mut lane = lane(replicas, "commit");
        let commits = (0..rounds).map(|_| runtime.block_on(lane.commit_of(COMMIT_MIB)));
        let (commit, _) = percentiles(&commits.collect::<Vec<_>>());
        let beside = Some(slowest_sync(fleet, replicas, COMMIT_MIB << 20, rounds));
        let what = format!("COMMIT of {COMMIT_MIB} MiB, copies: {replicas}, p50, {BESIDE_SYNCS}");
        rows.push(Figure { what, figure: commit, unit: "ms", beside });
    }
    for replicas in 1..=3 {
        let mut lane = lane(replicas, "durable");
        let figure = runtime.block_on(lane.run(Calls::WritePageSync, time)).p50_micros / 1e3;
        let beside = Some(slowest_sync(fleet, replicas, PAGE_BYTES, rounds * 20));
        let what =
            format!("{}, copies: {replicas}, p50, {BESIDE_SYNCS}", Calls::WritePageSync.name());
        rows.push(Figure { what, figure, unit: "ms", beside });
    }
}

/// What syncs alone cost on so many of the appliances' disks at once: the slowest, in ms.
fn slowest_sync(fleet: &Fleet, disks: usize, bytes: u64, rounds: usize) -> f64 {
    let folders: Vec<_> = (0..disks).map(|number| fleet.disk(number).path()).collect();
    let bytes = usize::try_from(bytes).expect("it fits memory");
    let waits = fleet::slowest_sync(&folders, 2 * COMMIT_MIB, bytes, rounds);
    percentiles(&waits.expect("the disks have room")).0
}

/// What QUIC itself does between two of the appliances, in MiB a second, each end on a thread of
/// its own as theirs are.
fn bare_stream(fleet: &Fleet, ends: [usize; 2], time: Duration) -> f64 {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let sockets = ends.map(|number| fleet.mesh_socket(number));
    let streaming = bare::between(sockets, ORDINARY_DATAGRAM, time);
    runtime.expect("a runtime").block_on(streaming) / MIB
}

/// A large file goes round the holders; then a small one that is written to all the time.
fn move_files(options: &Options, fleet: &Fleet, runtime: &Runtime, rows: &mut Figures) {
    let (mib, rounds) = if options.quick { (128, 10) } else { (1024, 100) };
    let time = Duration::from_secs(if options.quick { 1 } else { 5 });
    fleet.make_volume("move", &fleet_names(3));
    let bare = bare_stream(fleet, [0, 1], time);
    let owner = fleet::address(fleet, 0);
    runtime.block_on(File::make(owner, "/move", "large", mib));
    let durable = fleet::durable_write(fleet.disk(1).path(), mib).expect("the disk has room");
    let began = Instant::now();
    let moved = fleet::move_file(fleet, "move/large", "bob");
    let rate = mib as f64 / began.elapsed().as_secs_f64();
    rows.push(Figure {
        what: format!("hand-over of {mib} MiB, beside a bare QUIC stream"),
        figure: rate,
        unit: "MiB/s",
        beside: Some(bare),
    });
    rows.push(Figure {
        what: format!("hand-over of {mib} MiB, beside a durable write to the target's disk"),
        figure: rate,
        unit: "MiB/s",
        beside: Some(durable),
    });
    rows.push(Figure {
        what: "its pause".into(),
        figure: millis(moved.pause),
        unit: "ms",
        beside: None,
    });

    let other = fleet::address(fleet, APPLIANCES - 1);
    let file = runtime.block_on(File::make(owner, "/move", "small", SMALL_MIB));
    let Moved { pauses, refused } = fleet::move_under_load(fleet, &file, other, rounds);
    let (p50, p99) = percentiles(&pauses);
    for (what, figure) in [("p50", p50), ("p99", p99)] {
        let count = pauses.len();
        let what = format!("pause of {count} hand-overs of {SMALL_MIB} MiB under load, {what}");
        rows.push(Figure { what, figure, unit: "ms", beside: Some(GOAL_PAUSE_MS) });
    }
    let what = "hand-overs that did not come about".into();
    rows.push(Figure { what, figure: f64::from(refused), unit: "", beside: None });
}

/// Files made in 1, 2, 4 and 8 volumes at once, their groups spread over three appliances.
fn names(options: &Options, fleet: &Fleet, runtime: &Runtime, rows: &mut Figures) {
    let time = Duration::from_secs(if options.quick { 2 } else { 10 });
    let mut first = None;
    for volumes in [1_usize, 2, 4, 8] {
        let exports: Vec<_> = (0..volumes)
            .map(|number| {
                let name = format!("names-{volumes}-{number}");
                fleet.make_volume(&name, &fleet_names(3));
                (fleet::address(fleet, number % 3), format!("/{name}"))
            })
            .collect();
        let rate = runtime.block_on(fleet::create_rate(exports, time));
        let what = format!("CREATE in {volumes} volumes at once, beside one");
        rows.push(Figure { what, figure: rate, unit: "op/s", beside: first });
        first.get_or_insert(rate);
    }
}

/// Volumes that nobody uses.
fn idle(options: &Options, fleet: &Fleet, rows: &mut Figures) {
    let volumes = if options.quick { 50 } else { 1000 };
    let time = Duration::from_secs(10);
    let before = Idle::measure(fleet.first(), time);
    for number in 0..volumes {
        let name = format!("idle-{number}");
        fleet.first().cli_ok(&["volume", "create", &name, "--on", &fleet_names(3).join(",")]);
    }
    // What their making left behind is written and compacted meanwhile.
    std::thread::sleep(time);
    let after = Idle::measure(fleet.first(), time);
    let mut row = |what: &str, figure, unit, beside| {
        let what = format!("{what} with {volumes} volumes more, beside before");
        rows.push(Figure { what, figure, unit, beside: Some(beside) });
    };
    row("resident memory", after.resident_mib, "MiB", before.resident_mib);
    row("context switches", after.switches, "1/s", before.switches);
    row("processor", after.processor_percent, "%", before.processor_percent);
}

fn percentiles(pauses: &[Duration]) -> (f64, f64) {
    let mut latencies = Latencies::default();
    pauses.iter().for_each(|pause| latencies.push(*pause));
    let (p50, p99) = latencies.percentiles();
    (p50 / 1000.0, p99 / 1000.0)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn fleet_names(count: usize) -> Vec<&'static str> {
    tests::fleet::NAMES[..count].to_vec()
}

/// Three that hold volumes, and one that holds none.
const APPLIANCES: usize = 4;

/// Sparse; room for the large file and its copies.
const DISK_MIB: u64 = 8192;

const SMALL_MIB: u64 = 16;

/// What is written before a COMMIT that is timed.
const COMMIT_MIB: u64 = 64;
const PAGE_BYTES: u64 = 4096;
const BESIDE_SYNCS: &str = "beside the slowest of so many bare syncs at once";

/// What a hand-over may hold requests up for, at the 99th percentile.
const GOAL_PAUSE_MS: f64 = 50.0;

const MIB: f64 = (1 << 20) as f64;
