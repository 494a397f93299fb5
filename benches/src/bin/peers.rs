//! The appliance beside other NFS servers: the same calls, the same disk, in turns, as a table.

#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use benches::client::Connection;
use benches::disk::fresh_disk;
use benches::kernel::{self, Job};
use benches::names::{Listing, Tree};
use benches::sample::{Sample, Summary, Unit};
use benches::servers::{self, Server, Speaks};
use benches::table::{self, Measured, Row};
use benches::{data, names};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tests::{Guests, Sandbox};

/// Measures holdfast beside nfs-ganesha and prints a table.
#[derive(Debug, Parser)]
struct Options {
    /// Smaller sizes and fewer rounds: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// How often every workload has its turn on every server.
    #[arg(long)]
    rounds: Option<u32>,
    /// Only workloads with one of these in their name.
    #[arg(long)]
    only: Vec<String>,
    /// Without fio on a mount, which needs User Mode Linux.
    #[arg(long)]
    without_fio: bool,
    /// Only these servers.
    #[arg(long)]
    server: Vec<String>,
    /// How long a turn without an end takes, in seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() {
    let options = Options::parse();
    let sandbox = Sandbox::new();
    let disk = fresh_disk(&sandbox, "disk", DISK_MIB);
    let holdfast = servers::start_holdfast(&sandbox, disk.path());
    let (_rpcbind, ganesha) = servers::start_ganesha(&sandbox, disk.path());
    let wanted = |server: &Server| {
        options.server.is_empty() || options.server.iter().any(|name| name == server.name)
    };
    let nfsserve = servers::start_nfsserve(&sandbox, disk.path());
    let servers: Vec<_> = [holdfast, ganesha, nfsserve].into_iter().filter(wanted).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    // One thread: the generator must not take the servers' processors from them.
    let rows = runtime.block_on(measure(&options, &sandbox, servers, disk.path()));
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("rows are plain data"));
    } else {
        print!("{}", table::render(&rows));
    }
}

/// Everything that one server has in this run.
struct Contestant {
    server: Arc<Server>,
    files: data::Files,
    one: Tree,
    many: Tree,
    samples: BTreeMap<Workload, Vec<Sample>>,
}

impl Contestant {
    async fn new(server: Server, plan: &Plan) -> Self {
        server.thaw();
        let root = Connection::dial(server.mount).await.mount(&server.export).await;
        server.freeze();
        let server = Arc::new(server);
        Self {
            files: data::Files::new(server.clone(), root, plan.data),
            one: Tree::new(server.clone(), root, plan.one),
            many: Tree::new(server.clone(), root, plan.many),
            server,
            samples: BTreeMap::new(),
        }
    }

    fn tree(&mut self, crowd: Crowd) -> &mut Tree {
        match crowd {
            Crowd::One => &mut self.one,
            Crowd::Many => &mut self.many,
        }
    }

    /// Makes what a workload needs, unmeasured.
    async fn prepare(&mut self, workload: Workload) {
        match workload {
            Workload::ReadSequentially | Workload::ReadRandomly | Workload::WriteRandomly => {
                self.files.ensure().await;
            }
            Workload::Names(step, crowd) if step != Step::Create => {
                self.tree(crowd).ensure().await;
            }
            Workload::Names(..)
            | Workload::WriteSequentially
            | Workload::WriteAndCommit
            | Workload::WriteDurably(_)
            | Workload::Kernel(_) => {}
        }
    }

    /// One turn of one workload.
    async fn turn(&mut self, workload: Workload, plan: &Plan, guests: Option<&Guests>) {
        self.server.thaw();
        self.prepare(workload).await;
        let before = self.server.processor();
        let mut sample = match workload {
            Workload::Kernel(job) => {
                let guests = guests.expect("a guest is booted before the kernel's turn");
                kernel::turn(guests.first(), &self.server, job, plan.kernel)
            }
            Workload::WriteSequentially => {
                let (unstable, durable) = self.files.write_sequentially().await;
                self.samples.entry(Workload::WriteAndCommit).or_default().push(durable);
                unstable
            }
            Workload::WriteAndCommit => unreachable!("measured with the former"),
            Workload::ReadSequentially => self.files.read_sequentially().await,
            Workload::ReadRandomly => self.files.read_randomly().await,
            Workload::WriteRandomly => self.files.write_randomly().await,
            Workload::WriteDurably(clients) => self.files.write_durably(clients).await,
            Workload::Names(step, crowd) => {
                let tree = self.tree(crowd);
                match step {
                    Step::Create => tree.create().await,
                    Step::LookUp => tree.look_up().await,
                    Step::Stat => tree.stat().await,
                    Step::ListPlus => tree.list(Listing::Attributes).await,
                    Step::List => tree.list(Listing::Names).await,
                    Step::Remove => tree.remove().await,
                }
            }
        };
        let after = self.server.processor();
        self.server.freeze();
        sample.processor = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        self.samples.entry(workload).or_default().push(sample);
    }
}

async fn measure(
    options: &Options,
    sandbox: &Sandbox,
    servers: Vec<Server>,
    disk: &Path,
) -> Vec<Row> {
    let plan = Plan::new(options);
    let mut contestants = Vec::new();
    for server in servers {
        contestants.push(Contestant::new(server, &plan).await);
    }
    let workloads = Workload::wanted(options);
    let (in_guest, ours): (Vec<_>, Vec<_>) =
        workloads.into_iter().partition(|workload| matches!(workload, Workload::Kernel(_)));
    let workloads = (in_guest.len() + ours.len()) as u64;
    let bar = ProgressBar::new(u64::from(plan.rounds) * workloads * contestants.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")
            .expect("the template is well-formed"),
    );
    let mut run = Run { plan, disk, bar, contestants };
    run.rounds(&ours, None).await;
    if !in_guest.is_empty() {
        run.bar.set_message("a guest boots");
        // Not before it is needed: even an idle machine takes some processor time.
        let guests = Guests::boot(sandbox, 1);
        run.rounds(&in_guest, Some(&guests)).await;
    }
    run.bar.finish_and_clear();
    rows(&run.contestants)
}

/// All turns of all contestants.
struct Run<'a> {
    plan: Plan,
    disk: &'a Path,
    bar: ProgressBar,
    contestants: Vec<Contestant>,
}

impl Run<'_> {
    async fn rounds(&mut self, workloads: &[Workload], guests: Option<&Guests>) {
        for round in 0..self.plan.rounds {
            for workload in workloads {
                for turn in 0..self.contestants.len() {
                    // Whoever was first in this round is last in the next.
                    let last = self.contestants.len() - 1;
                    let at = if round % 2 == 0 { turn } else { last - turn };
                    let contestant = &mut self.contestants[at];
                    if !workload.is_possible(contestant.server.speaks) {
                        self.bar.inc(1);
                        continue;
                    }
                    let message = format!("{}: {}", contestant.server.name, workload.name());
                    self.bar.set_message(message);
                    settle(self.disk);
                    contestant.turn(*workload, &self.plan, guests).await;
                    self.bar.inc(1);
                }
            }
        }
    }
}

/// Writes back what the last turn left dirty, so that the next does not pay for it.
fn settle(disk: &Path) {
    let folder = std::fs::File::open(disk).expect("the disk is mounted");
    rustix::fs::syncfs(folder).expect("the disk takes what was written");
}

fn rows(contestants: &[Contestant]) -> Vec<Row> {
    let of = |contestant: &Contestant, workload| Measured {
        server: contestant.server.name.to_owned(),
        summary: contestant.samples.get(&workload).and_then(|samples| Summary::of(samples)),
    };
    let mut rows = Vec::new();
    for workload in Workload::all() {
        let servers: Vec<_> = contestants.iter().map(|each| of(each, workload)).collect();
        if servers.iter().any(|measured| measured.summary.is_some()) {
            rows.push(Row::new(&workload.name(), workload.unit(), workload.goal(), servers));
        }
    }
    rows
}

/// Sizes and durations.
struct Plan {
    rounds: u32,
    data: data::Extent,
    one: names::Extent,
    many: names::Extent,
    kernel: kernel::Extent,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let (rounds, millis, file_mib, one, many) =
            if options.quick { (1, 700, 64, 400, 50) } else { (4, 1500, 256, 1500, 300) };
        let duration = options.seconds.map_or(Duration::from_millis(millis), Duration::from_secs);
        Self {
            rounds: options.rounds.unwrap_or(rounds),
            data: data::Extent { files: 4, file_mib, duration },
            one: names::Extent { clients: 1, files_each: one, duration },
            many: names::Extent { clients: 32, files_each: many, duration },
            kernel: kernel::Extent { file_mib: file_mib / 2, duration },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Workload {
    WriteSequentially,
    WriteAndCommit,
    ReadSequentially,
    ReadRandomly,
    WriteRandomly,
    WriteDurably(u32),
    Names(Step, Crowd),
    Kernel(Job),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Create,
    LookUp,
    Stat,
    ListPlus,
    List,
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crowd {
    One,
    Many,
}

impl Workload {
    /// In the order in which they run.
    fn all() -> Vec<Self> {
        let mut all = vec![
            Self::WriteSequentially,
            Self::WriteAndCommit,
            Self::ReadSequentially,
            Self::ReadRandomly,
            Self::WriteRandomly,
            Self::WriteDurably(1),
            Self::WriteDurably(16),
        ];
        for crowd in [Crowd::One, Crowd::Many] {
            let steps =
                [Step::Create, Step::LookUp, Step::Stat, Step::ListPlus, Step::List, Step::Remove];
            all.extend(steps.map(|step| Self::Names(step, crowd)));
        }
        all.extend(Job::ALL.map(Self::Kernel));
        all
    }

    fn wanted(options: &Options) -> Vec<Self> {
        let wanted = |workload: &Self| match workload {
            // Measured together with the one before it.
            Self::WriteAndCommit => false,
            Self::Kernel(_) if options.without_fio => false,
            _ => {
                let name = workload.name();
                options.only.is_empty() || options.only.iter().any(|part| name.contains(part))
            }
        };
        Self::all().into_iter().filter(wanted).collect()
    }

    /// Whether a server can do it at all.
    fn is_possible(self, speaks: Speaks) -> bool {
        match (speaks, self) {
            // Its pages would be the first one, for ever.
            (Speaks::Less, Self::Names(Step::List, _)) => false,
            (Speaks::All | Speaks::Less, _) => true,
        }
    }

    fn name(self) -> String {
        match self {
            Self::WriteSequentially => "write 1 MiB sequentially".to_owned(),
            Self::WriteAndCommit => "write 1 MiB sequentially, with COMMIT".to_owned(),
            Self::ReadSequentially => "read 1 MiB sequentially".to_owned(),
            Self::ReadRandomly => "read 4 KiB randomly, depth 32".to_owned(),
            Self::WriteRandomly => "write 4 KiB randomly, depth 32".to_owned(),
            Self::WriteDurably(clients) => format!("write 4 KiB FILE_SYNC, clients: {clients}"),
            Self::Kernel(job) => job.name().to_owned(),
            Self::Names(step, crowd) => {
                let clients = match crowd {
                    Crowd::One => 1,
                    Crowd::Many => 32,
                };
                let step = match step {
                    Step::Create => "create",
                    Step::LookUp => "stat by name (LOOKUP)",
                    Step::Stat => "stat (GETATTR)",
                    Step::ListPlus => "readdir (READDIRPLUS)",
                    Step::List => "readdir (READDIR)",
                    Step::Remove => "unlink",
                };
                format!("{step}, clients: {clients}")
            }
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::WriteSequentially | Self::WriteAndCommit | Self::ReadSequentially => {
                Unit::Mebibytes
            }
            Self::Kernel(job) if !job.is_random() => Unit::Mebibytes,
            Self::Kernel(_) => Unit::Operations,
            Self::Names(Step::ListPlus | Step::List, _) => Unit::Entries,
            Self::ReadRandomly | Self::WriteRandomly | Self::WriteDurably(_) | Self::Names(..) => {
                Unit::Operations
            }
        }
    }

    /// What the ratio should be at least.
    fn goal(self) -> Option<f64> {
        match self {
            Self::WriteSequentially | Self::WriteAndCommit | Self::ReadSequentially => Some(1.3),
            Self::ReadRandomly | Self::WriteRandomly => Some(1.5),
            Self::Names(_, Crowd::Many) => Some(1.0),
            Self::WriteDurably(_) | Self::Names(_, Crowd::One) | Self::Kernel(_) => None,
        }
    }
}

/// Room for both servers' data, sparse.
const DISK_MIB: u64 = 16 << 10;
