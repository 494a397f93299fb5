//! One `holdfast serve` or `holdfast supervise`, run as an administrator would run it.
//!
//! Invariant: the process dies with the test. Its log is printed when the test fails, and a test
//! during which it panicked can't pass.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::Sandbox;
use crate::process::{Bound, status_kib, tail};
use crate::wait::eventually_within;

/// What differs from test to test in an appliance's configuration.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The appliance's name, and so the names of its socket and log.
    pub name: String,
    /// The volumes it makes, each exported to everybody in the sandbox.
    pub volumes: Vec<String>,
    /// `root`, `all` or `none`.
    pub squash: String,
    /// Lines for the section `[limits]`.
    pub limits: String,
    /// Lines to put at the end.
    pub extra: String,
    /// Where it runs, unless in the sandbox's own network.
    pub place: Option<Place>,
    /// Whether a supervisor starts it again when it dies.
    pub supervised: bool,
}

/// A network of its own for an appliance, inside the sandbox's world.
#[derive(Debug, Clone)]
pub struct Place {
    /// The network namespace, as `ip netns` knows it.
    pub namespace: String,
    /// At which address its clients find it.
    pub clients: IpAddr,
    /// Where other appliances reach it.
    pub mesh: SocketAddr,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: "ada".to_owned(),
            volumes: vec!["demo".to_owned()],
            squash: "none".to_owned(),
            limits: String::new(),
            extra: String::new(),
            place: None,
            supervised: false,
        }
    }
}

impl Setup {
    fn to_toml(&self, root: &Path) -> String {
        let mut toml = format!(
            "root = {root:?}\n\
             name = {name:?}\n\
             [nfs]\n\
             listen = [\"[::]:2049\"]\n\
             rpcbind = \"own\"\n\
             [admin]\n\
             socket = {socket:?}\n\
             metrics_listen = {metrics:?}\n\
             [limits]\n\
             {limits}\n\
             [log]\n\
             level = {level:?}\n",
            name = self.name,
            socket = self.socket(),
            metrics = self.metrics(),
            limits = self.limits,
            level = std::env::var("HOLDFAST_LOG").unwrap_or_else(|_| "info".to_owned()),
        );
        if let Some(place) = &self.place {
            let written = writeln!(toml, "[mesh]\nlisten = \"{}\"", place.mesh);
            written.expect("a string takes what is written to it");
        }
        for volume in &self.volumes {
            let squash = &self.squash;
            let written = write!(
                toml,
                "[[volume]]\n\
                 name = {volume:?}\n\
                 [[volume.export]]\n\
                 clients = [\"10.99.0.0/16\", \"127.0.0.0/8\", \"::1/128\", \"fd99::/16\"]\n\
                 access = \"rw\"\n\
                 squash = {squash:?}\n\
                 insecure = true\n"
            );
            written.expect("a string takes what is written to it");
        }
        toml + &self.extra
    }

    fn socket(&self) -> PathBuf {
        Path::new("/run/holdfast").join(format!("{}.sock", self.name))
    }

    /// Where the metrics are served: on a loopback of its own, or to its clients.
    fn metrics(&self) -> String {
        let at = self.place.as_ref().map_or(IpAddr::from([127, 0, 0, 1]), |place| place.clients);
        SocketAddr::new(at, METRICS_PORT).to_string()
    }

    /// The program, run where this appliance is.
    fn command(&self) -> Command {
        let Some(place) = &self.place else { return Command::new(binary()) };
        let mut command = Command::new("nsenter");
        // It becomes the program, so that a signal to it is a signal to the appliance.
        command.arg(format!("--net=/run/netns/{}", place.namespace)).arg("--").arg(binary());
        command
    }
}

/// What a verb of the command line answered.
#[derive(Debug)]
pub struct Reply {
    /// The exit code: 0 done, 1 refused, 2 not understood.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Reply {
    /// Runs a verb.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the binary can be run");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A running appliance.
#[derive(Debug)]
pub struct Appliance {
    setup: Setup,
    config: PathBuf,
    log: PathBuf,
    process: Option<Bound>,
}

impl Appliance {
    /// Starts an appliance with one volume, `demo`, whose files lie below `disk`.
    #[must_use]
    pub fn start(sandbox: &Sandbox, disk: &Path) -> Self {
        Self::start_with(sandbox, disk, Setup::default())
    }

    /// [`Self::start`] with another configuration.
    #[must_use]
    pub fn start_with(sandbox: &Sandbox, disk: &Path, setup: Setup) -> Self {
        let root = disk.join(&setup.name);
        fs::create_dir_all(&root).expect("the disk takes a folder");
        let config = sandbox.file(&format!("{}.toml", setup.name), setup.to_toml(&root));
        let log = sandbox.file(&format!("{}.log", setup.name), "");
        let mut appliance = Self { setup, config, log, process: None };
        appliance.restart();
        appliance
    }

    /// Starts it again after [`Self::kill9`] or [`Self::stop`]; returns when it is ready.
    pub fn restart(&mut self) {
        self.restart_within(START_MAX);
    }

    /// [`Self::restart`] when a start may take long.
    pub fn restart_within(&mut self, limit: Duration) {
        let before = self.spawn();
        self.await_ready(before, limit);
    }

    /// Starts it again without waiting: one of a fleet may have to wait for the others first.
    /// Gives how much it had logged before, for [`Self::await_ready`].
    pub fn spawn(&mut self) -> usize {
        assert!(self.process.is_none(), "it is still running");
        let log = OpenOptions::new().append(true).open(&self.log).expect("the log can be opened");
        let before = usize::try_from(log.metadata().expect("an open file").len()).expect("small");
        let verb = if self.setup.supervised { "supervise" } else { "serve" };
        let mut command = self.setup.command();
        command
            .args([verb.as_ref(), "--config".as_ref(), self.config.as_os_str()])
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be doubled"))
            .stderr(log);
        self.process = Some(Bound::spawn(&mut command, &self.setup.name));
        before
    }

    /// Waits until it has said, beyond the first `logged` bytes of its log, that it is ready.
    pub fn await_ready(&mut self, logged: usize, limit: Duration) {
        let process = self.process.as_mut().expect("it was started");
        eventually_within(limit, "the appliance to say that it is ready", || {
            if let Some(status) = process.ended() {
                panic!("the appliance ended at its start: {status}\n{}", tail(&self.log, 50));
            }
            let text = fs::read(&self.log).expect("the log can be read");
            let fresh = String::from_utf8_lossy(&text[logged..]);
            let whole = fresh.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().any(|line| line.starts_with("ready: ")).then_some(())
        });
    }

    /// Kills it as a power cut would, without a word of warning.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("it is running");
        let ended = process.ended();
        assert!(ended.is_none(), "it was dead before: {ended:?}\n{}", tail(&self.log, 50));
        process.kill();
    }

    /// Kills the process that serves, and not its supervisor; does not wait until it is back.
    pub fn crash(&self) {
        assert!(self.setup.supervised, "nobody would start it again");
        self.signal(Signal::KILL);
    }

    /// Sends a signal to the process that serves.
    fn signal(&self, signal: Signal) {
        if !self.setup.supervised {
            return self.running().signal(signal);
        }
        let supervisor = self.id();
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let children = fs::read_to_string(&children).expect("a supervisor runs");
        let child = children.trim().parse().expect("it has one child");
        let child = Pid::from_raw(child).expect("a process id is positive");
        rustix::process::kill_process(child, signal).expect("it runs");
    }

    /// Stops it as an administrator would; it must end well.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it is running");
        process.signal(Signal::TERM);
        let status = process.wait(STOP_MAX);
        assert!(status.success(), "the stopped appliance said {status}");
    }

    /// Stops the process in its tracks until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs a verb of the command line against this appliance.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Reply {
        Reply::of(Command::new(binary()).env("HOLDFAST_SOCKET", self.setup.socket()).args(args))
    }

    /// Runs a verb that must be done, and gives what it printed.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let reply = self.cli(args);
        assert_eq!(reply.code, 0, "holdfast {}: {reply:#?}", args.join(" "));
        reply.stdout
    }

    /// Runs a verb that must be done, and gives what it says to programs.
    pub fn cli_json(&self, args: &[&str]) -> serde_json::Value {
        let said = self.cli_ok(&[&["--json"], args].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{}: {e}: {said}", args.join(" ")))
    }

    /// Has the whole catalog of `volume` checked; any violation fails the test.
    pub fn check(&self, volume: &str) {
        self.cli_ok(&["volume", "check", volume]);
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running().id()
    }

    /// Fails the test unless the process is alive.
    pub fn assert_alive(&mut self) {
        let ended = self.process.as_mut().expect("it was started").ended();
        assert!(ended.is_none(), "the appliance is dead: {ended:?}");
    }

    /// Memory in use now, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        status_kib(self.id(), "VmRSS").expect("the appliance is alive")
    }

    /// The most memory it ever used, in KiB.
    #[must_use]
    pub fn resident_most_kib(&self) -> u64 {
        status_kib(self.id(), "VmHWM").expect("the appliance is alive")
    }

    /// The metrics, as Prometheus would read them.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.setup.metrics()).expect("the metrics are served");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("a request can be sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("metrics are text");
        answer
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log can be read")).into_owned()
    }

    /// How much it has logged, for [`Self::await_ready`].
    #[must_use]
    pub fn logged(&self) -> usize {
        usize::try_from(fs::metadata(&self.log).map_or(0, |found| found.len())).expect("small")
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// Where its operator reaches it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.setup.socket()
    }

    /// Where it runs, if that is a network of its own.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.setup.place.as_ref()
    }

    /// Whether it was started and neither killed nor stopped since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// The configuration file that it runs with.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    fn running(&self) -> &Bound {
        self.process.as_ref().expect("it is running")
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.process = None;
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.setup.name, tail(&self.log, 100));
        } else if self.log().contains("panicked at") {
            panic!("the appliance panicked:\n{}", tail(&self.log, 100));
        }
    }
}

/// The binary under test: `HOLDFAST_BIN`, or the release build.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("HOLDFAST_BIN")
        .map_or_else(|| crate::repository().join("target/release/holdfast"), PathBuf::from);
    assert!(
        File::open(&path).is_ok(),
        "{} is missing: `cargo build --release -p holdfast` makes it",
        path.display()
    );
    path
}

/// Where the metrics are served.
const METRICS_PORT: u16 = 9049;

/// A start replays its log, which takes a second or two on two busy processors.
const START_MAX: Duration = Duration::from_secs(60);

/// A clean stop syncs every file with uncommitted data.
const STOP_MAX: Duration = Duration::from_secs(60);
