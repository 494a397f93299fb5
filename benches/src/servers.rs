//! The servers that are compared, each run as its administrator would run it.
//!
//! Invariant: all serve from the same BTRFS and listen in the sandbox's own network, and all die
//! with this process. Only the one whose turn it is may run: the others are stopped with SIGSTOP,
//! so that nobody's background work is paid for by somebody else.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tests::{Bound, Sandbox, eventually_within};

/// A server that is up, and stopped until its turn.
#[derive(Debug)]
pub struct Server {
    /// As the table calls it.
    pub name: &'static str,
    /// Where it serves NFS.
    pub nfs: SocketAddr,
    /// Where it serves MOUNT.
    pub mount: SocketAddr,
    /// What to mount.
    pub export: String,
    /// How much of the protocol it speaks.
    pub speaks: Speaks,
    process: Bound,
}

/// How much of the protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// All that the workloads need.
    All,
    /// No `stable_how` and no COMMIT: every WRITE is durable. READDIR starts over with every page.
    Less,
}

impl Server {
    /// Lets it run.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Stops it where it stands.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time that it has used so far.
    #[must_use]
    pub fn processor(&self) -> Option<Duration> {
        processor_of(self.process.id())
    }
}

/// Processor time that a process has used so far.
#[must_use]
pub fn processor_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name in brackets and may hold blanks.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_A_SECOND))
}

/// The binary to measure: `HOLDFAST_BIN`, or the release build of this repository.
#[must_use]
pub fn holdfast_binary() -> PathBuf {
    let named = std::env::var_os("HOLDFAST_BIN").map(PathBuf::from);
    let path = named.unwrap_or_else(|| tests::repository().join("target/release/holdfast"));
    assert!(
        path.exists(),
        "{} is missing: `cargo build --release -p holdfast` makes it",
        path.display()
    );
    path
}

/// Starts `holdfast serve` with its root below `disk`.
#[must_use]
pub fn start_holdfast(sandbox: &Sandbox, disk: &Path) -> Server {
    let root = disk.join("holdfast");
    fs::create_dir_all(&root).expect("the disk takes a folder");
    let socket = "/run/holdfast/admin.sock";
    let config = format!(
        "root = {root:?}\n\
         name = \"ada\"\n\
         [nfs]\n\
         listen = [\"0.0.0.0:{HOLDFAST_PORT}\"]\n\
         rpcbind = \"off\"\n\
         [admin]\n\
         socket = {socket:?}\n\
         metrics_listen = \"\"\n\
         [log]\n\
         level = \"warn\"\n\
         [[volume]]\n\
         name = \"demo\"\n\
         [[volume.export]]\n\
         clients = [\"*\"]\n\
         squash = \"none\"\n\
         insecure = true\n"
    );
    let config = sandbox.file("holdfast.toml", config);
    let mut command = Command::new(holdfast_binary());
    command.arg("serve").arg("--config").arg(config);
    let process = start(sandbox, &mut command, "holdfast");
    let nfs = local(HOLDFAST_PORT);
    let export = "/demo".to_owned();
    up(Server { name: "holdfast", nfs, mount: nfs, export, speaks: Speaks::All, process })
}

/// Starts nfs-ganesha with a folder on `disk` as its export, through FSAL VFS. It does not start
/// without an rpcbind, so one is started with it.
#[must_use]
pub fn start_ganesha(sandbox: &Sandbox, disk: &Path) -> (Bound, Server) {
    let folder = disk.join("ganesha");
    fs::create_dir_all(&folder).expect("the disk takes a folder");
    for runtime in ["/run/rpcbind", "/run/ganesha"] {
        fs::create_dir_all(runtime).expect("the sandbox's /run takes a folder");
    }
    let rpcbind = Bound::spawn(Command::new("rpcbind").arg("-f"), "rpcbind");
    eventually_within(START_MAX, "rpcbind to listen", || TcpStream::connect(local(111)).ok());
    let config = format!(
        "NFS_CORE_PARAM {{\n\
           Protocols = 3;\n\
           NFS_Port = {GANESHA_PORT};\n\
           MNT_Port = {GANESHA_MOUNT_PORT};\n\
           Enable_NLM = false;\n\
           Enable_RQUOTA = false;\n\
         }}\n\
         NFSv4 {{ Graceless = true; }}\n\
         EXPORT {{\n\
           Export_Id = 1;\n\
           Path = {folder:?};\n\
           Pseudo = \"/ganesha\";\n\
           Protocols = 3;\n\
           Transports = TCP;\n\
           Access_Type = RW;\n\
           Squash = No_Root_Squash;\n\
           SecType = sys;\n\
           FSAL {{ Name = VFS; }}\n\
         }}\n"
    );
    let config = sandbox.file("ganesha.conf", config);
    let mut command = Command::new("ganesha.nfsd");
    command.arg("-F").arg("-L").arg(sandbox.path("ganesha.events")).arg("-f").arg(config);
    command.args(["-p", "/run/ganesha/pid", "-N", "CRIT"]);
    let process = start(sandbox, &mut command, "ganesha");
    let server = Server {
        name: "ganesha",
        nfs: local(GANESHA_PORT),
        mount: local(GANESHA_MOUNT_PORT),
        export: folder.to_str().expect("our own folder's name is text").to_owned(),
        speaks: Speaks::All,
        process,
    };
    (rpcbind, up(server))
}

/// Starts the listener of the `nfsserve` crate over a volume of ours below `disk`.
#[must_use]
pub fn start_nfsserve(sandbox: &Sandbox, disk: &Path) -> Server {
    let folder = disk.join("nfsserve");
    fs::create_dir_all(&folder).expect("the disk takes a folder");
    let ours = std::env::current_exe().expect("we are a program");
    let mut command = Command::new(ours.with_file_name("nfsserve_door"));
    command.arg(folder).arg(format!("0.0.0.0:{NFSSERVE_PORT}"));
    let process = start(sandbox, &mut command, "nfsserve");
    let nfs = local(NFSSERVE_PORT);
    let export = "/demo".to_owned();
    up(Server { name: "nfsserve", nfs, mount: nfs, export, speaks: Speaks::Less, process })
}

fn start(sandbox: &Sandbox, command: &mut Command, name: &str) -> Bound {
    let log = File::create(sandbox.path(&format!("{name}.log"))).expect("a log can be made");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor can be doubled"));
    Bound::spawn(command.stderr(log), name)
}

/// Waits until it listens, and stops it until its turn.
fn up(mut server: Server) -> Server {
    for address in [server.nfs, server.mount] {
        let what = format!("{} to listen on {address}", server.name);
        eventually_within(START_MAX, what, || {
            if let Some(status) = server.process.ended() {
                panic!("{} ended at once: {status}", server.name);
            }
            TcpStream::connect(address).ok()
        });
    }
    server.freeze();
    server
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The unit of /proc/PID/stat on every Linux of the last decades.
const TICKS_A_SECOND: u64 = 100;

const HOLDFAST_PORT: u16 = 2049;
const NFSSERVE_PORT: u16 = 2051;
const GANESHA_PORT: u16 = 2050;
const GANESHA_MOUNT_PORT: u16 = 20048;

/// Ganesha takes a second to start, and more on busy processors.
const START_MAX: Duration = Duration::from_secs(60);
