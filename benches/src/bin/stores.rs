//! The catalog on fjall beside redb and sled, through the same seam, on BTRFS, as a table.

#![allow(clippy::disallowed_methods, reason = "a measurement waits")]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use benches::disk::fresh_disk;
use benches::sample::{count, median};
use benches::stores::Kind;
use benches::stores::tasks::{
    BATCHES, End, Fill, Filled, Rate, Rates, Reopen, Reopened, UntilKilled,
};
use benches::table::align;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tests::{LoopBtrfs, Sandbox, outcome_of};

/// As in the appliance.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the catalog on three stores and prints a table.
#[derive(Debug, Parser)]
struct Options {
    /// A tenth of the names and of the time: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    task: Option<OneTask>,
}

/// A single task in this process: what this program starts itself as.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum OneTask {
    Rates { kind: Kind, dir: PathBuf, millis: u64 },
    Fill { kind: Kind, dir: PathBuf, millis: u64, names: u64 },
    FillAndCrash { kind: Kind, dir: PathBuf, names: u64 },
    UntilKilled { kind: Kind, dir: PathBuf },
    Reopen { kind: Kind, dir: PathBuf },
}

fn main() {
    let options = Options::parse();
    match options.task {
        Some(task) => run_one(task),
        None => compare(&options),
    }
}

fn run_one(task: OneTask) {
    let millis = Duration::from_millis;
    match task {
        OneTask::Rates { kind, dir, millis: duration } => {
            report(&kind.run(&dir, Rates { duration: millis(duration) }));
        }
        OneTask::Fill { kind, dir, millis: duration, names } => {
            let fill =
                Fill { names, dir: dir.clone(), duration: millis(duration), end: End::Closed };
            report(&kind.run(&dir, fill));
        }
        OneTask::FillAndCrash { kind, dir, names } => {
            let duration = Duration::ZERO;
            kind.run(&dir, Fill { names, dir: dir.clone(), duration, end: End::Crashed });
        }
        OneTask::UntilKilled { kind, dir } => kind.run(&dir, UntilKilled),
        OneTask::Reopen { kind, dir } => report(&kind.run(&dir, Reopen)),
    }
}

fn report(outcome: &impl Serialize) {
    println!("{}", serde_json::to_string(outcome).expect("outcomes are plain data"));
}

/// All that was measured of one store.
#[derive(Debug, Serialize)]
struct Measured {
    store: &'static str,
    rates: Vec<Rate>,
    filled: Option<Filled>,
    crash: Option<Crash>,
    full: Option<Reopened>,
}

/// A store after kill -9.
#[derive(Debug, Serialize)]
struct Crash {
    /// The last entry that was applied.
    applied_before: u64,
    reopened: Reopened,
}

fn compare(options: &Options) {
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let sandbox = Sandbox::new();
    let disk = fresh_disk(&sandbox, "stores", DISK_MIB);
    let steps = Kind::ALL.len() as u64 * (u64::from(plan.rounds) + 3);
    let bar = ProgressBar::new(steps).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")
            .expect("the template is well-formed"),
    );
    let mut all: Vec<Measured> = Kind::ALL
        .map(|kind| Measured {
            store: kind.name(),
            rates: vec![],
            filled: None,
            crash: None,
            full: None,
        })
        .into();
    let each = |what: &str, all: &mut Vec<Measured>, run: &dyn Fn(Kind, &mut Measured)| {
        for (kind, measured) in Kind::ALL.into_iter().zip(all) {
            bar.set_message(format!("{}: {what}", kind.name()));
            run(kind, measured);
            bar.inc(1);
        }
    };
    for round in 0..plan.rounds {
        each("commands", &mut all, &|kind, measured| {
            let dir = disk.path().join(format!("rates-{round}-{}", kind.name()));
            let rates: Vec<Rate> = child("rates", kind, &dir, &[plan.millis]);
            measured.rates.extend(rates);
            remove(&dir);
        });
    }
    each("a million names", &mut all, &|kind, measured| {
        let dir = disk.path().join(format!("fill-{}", kind.name()));
        measured.filled = Some(child("fill", kind, &dir, &[plan.millis, plan.names]));
        remove(&dir);
    });
    each("kill -9", &mut all, &|kind, measured| {
        measured.crash = Some(crash(kind, &disk.path().join(format!("crash-{}", kind.name()))));
    });
    each("full disk", &mut all, &|kind, measured| {
        measured.full = Some(full(&sandbox, kind));
    });
    bar.finish_and_clear();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all).expect("outcomes are plain data"));
    } else {
        print!("{}", render(&all));
    }
}

fn command(task: &str, kind: Kind, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("we are a program"));
    command.arg(task).arg(kind.name()).arg(dir).stdin(Stdio::null());
    command
}

/// Runs one task in a process of its own.
fn child<T: DeserializeOwned>(task: &str, kind: Kind, dir: &Path, args: &[u64]) -> T {
    let args = args.iter().map(u64::to_string);
    let mut words = vec![task.to_owned(), kind.name().to_owned()];
    words.push(dir.to_str().expect("our own folder's name is text").to_owned());
    words.extend(args);
    let program = std::env::current_exe().expect("we are a program");
    let output = outcome_of(program.to_str().expect("our own name is text"), &words);
    assert!(
        output.status.success(),
        "{}: {}\n{}",
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("a child reports in JSON")
}

/// Kills a store under load and opens it again.
fn crash(kind: Kind, dir: &Path) -> Crash {
    let mut writer = command("until-killed", kind, dir);
    writer.stdout(Stdio::piped());
    // Killed here, or with this process: its pipe breaks then.
    let mut writer = writer.spawn().expect("this program can be started");
    let lines = BufReader::new(writer.stdout.take().expect("it was piped")).lines();
    let mut applied_before = 0;
    for line in lines.map_while(Result::ok) {
        applied_before = line.parse().expect("an index is a number");
        if applied_before > CRASH_INDEX {
            writer.kill().expect("our own child can be killed");
        }
    }
    writer.wait().expect("our own child can be waited for");
    let crash = Crash { applied_before, reopened: child("reopen", kind, dir, &[]) };
    remove(dir);
    crash
}

/// Fills the disk under a store that was left without closing it, and opens it.
fn full(sandbox: &Sandbox, kind: Kind) -> Reopened {
    let disk = LoopBtrfs::new(sandbox, &format!("full-{}", kind.name()), SMALL_DISK_MIB);
    let dir = disk.path().join("store");
    let status = command("fill-and-crash", kind, &dir)
        .arg(FULL_DISK_NAMES.to_string())
        .status()
        .expect("this program can be started");
    assert!(status.success(), "{}: the store could not be filled: {status}", kind.name());
    fill_up(&disk);
    let reopened = child("reopen", kind, &dir, &[]);
    disk.unmount();
    reopened
}

/// Writes until nothing more fits, in ever smaller pieces.
fn fill_up(disk: &LoopBtrfs) {
    let mut file =
        std::fs::File::create(disk.path().join("filler")).expect("the disk takes a file");
    let mut piece = vec![0xa5; 1 << 20];
    while piece.len() >= 4096 {
        match file.write_all(&piece).and_then(|()| file.sync_data()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(28) => {
                let half = piece.len() / 2;
                piece.truncate(half);
            }
            Err(e) => panic!("the disk can't be filled: {e}"),
        }
    }
}

fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
}

/// One line of the table.
struct Line {
    what: String,
    better: &'static str,
    /// By store, in the order of the columns.
    figures: Vec<Option<f64>>,
    decimals: usize,
}

fn render(all: &[Measured]) -> String {
    let mut head = vec!["on BTRFS, through catalog::Store".to_owned(), "better".to_owned()];
    head.extend(all.iter().map(|measured| measured.store.to_owned()));
    head.extend(all.iter().skip(1).map(|measured| format!("{}/fjall", measured.store)));
    let mut cells = vec![head];
    cells.extend(lines(all).iter().map(cells_of));
    let mut text = align(&cells);
    for measured in all {
        for (place, reopened) in [
            ("after kill -9", measured.crash.as_ref().map(|crash| &crash.reopened)),
            ("on a full disk", measured.full.as_ref()),
        ] {
            let Some(reopened) = reopened else { continue };
            let verdict = match &reopened.refused {
                Some(refused) => format!("REFUSES: {refused}"),
                None if reopened.sound => "opens, is sound, takes a REMOVE".to_owned(),
                None => "opens, but its catalog is NOT SOUND".to_owned(),
            };
            text += &format!("{} {place}: {verdict}\n", measured.store);
        }
    }
    text
}

fn lines(all: &[Measured]) -> Vec<Line> {
    let line = |what: &str, better, decimals, figure: &dyn Fn(&Measured) -> Option<f64>| Line {
        what: what.to_owned(),
        better,
        figures: all.iter().map(figure).collect(),
        decimals,
    };
    let mut lines = Vec::new();
    for batch in BATCHES {
        let of = |figure: fn(&Rate) -> f64| {
            move |measured: &Measured| {
                let rates = measured.rates.iter().filter(|rate| rate.batch == batch);
                median(&rates.map(figure).collect::<Vec<_>>())
            }
        };
        let what = |what: &str| format!("{what}, batches of {batch}");
        lines.push(line(&what("commands a second"), "more", 0, &of(|rate| rate.commands)));
        lines.push(line(&what("processor µs a command"), "less", 1, &of(|r| r.processor_micros)));
        lines.push(line(&what("bytes written a command"), "less", 0, &of(|r| r.written_bytes)));
    }
    let filled = |figure: fn(&Filled) -> f64| {
        move |measured: &Measured| measured.filled.as_ref().map(figure)
    };
    let a_million = |figure: u64, names: u64| count(figure) * 1e6 / count(names) / MIB;
    lines.push(line("creates a second, from none", "more", 0, &filled(|f| f.creates)));
    lines.push(line("look-ups a second", "more", 0, &filled(|f| f.look_ups)));
    lines.push(line("checkpoint, ms", "less", 0, &filled(|f| f.checkpoint_millis)));
    lines.push(line("MiB on disk, a million names", "less", 0, &move |measured| {
        measured.filled.as_ref().map(|f| a_million(f.disk_bytes, f.names))
    }));
    lines.push(line("MiB resident, a million names", "less", 0, &move |measured| {
        measured.filled.as_ref().map(|f| a_million(f.resident_bytes, f.names))
    }));
    lines.push(line("reopen after kill -9, ms", "less", 1, &|measured| {
        measured.crash.as_ref().map(|crash| crash.reopened.open_millis)
    }));
    lines.push(line("entries to replay after kill -9", "less", 0, &|measured| {
        let crash = measured.crash.as_ref()?;
        Some(count(crash.applied_before.saturating_sub(crash.reopened.applied)))
    }));
    lines
}

fn cells_of(line: &Line) -> Vec<String> {
    let decimals = line.decimals;
    let shown = |figure: Option<f64>, decimals: usize| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
    };
    let mut cells = vec![line.what.clone(), line.better.to_owned()];
    cells.extend(line.figures.iter().map(|figure| shown(*figure, decimals)));
    let fjall = line.figures.first().copied().flatten();
    cells.extend(
        line.figures
            .iter()
            .skip(1)
            .map(|figure| shown(figure.zip(fjall).map(|(figure, fjall)| figure / fjall), 2)),
    );
    cells
}

/// Sizes and durations.
struct Plan {
    rounds: u32,
    /// How long each size of batch is measured.
    millis: u64,
    names: u64,
}

impl Plan {
    const FULL: Self = Self { rounds: 3, millis: 1500, names: 1_000_000 };
    const QUICK: Self = Self { rounds: 1, millis: 500, names: 100_000 };
}

const MIB: f64 = 1024.0 * 1024.0;

/// Room for a million names in any store, sparse.
const DISK_MIB: u64 = 16 << 10;

/// Small enough to be filled in a second.
const SMALL_DISK_MIB: u64 = 512;

const FULL_DISK_NAMES: u64 = 20_000;

/// The store is killed after this entry.
const CRASH_INDEX: u64 = 50_000;
