//! A client and two appliances on one Ethernet, each with a network namespace of its own.
//!
//! Invariant: the namespaces belong to open files of this process, and vanish with it, with all
//! that is in them. No name of theirs is known to the machine.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use addresses::{Addresses, Floating};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A machine, as far as its network goes.
#[derive(Debug)]
pub struct Host(File);

impl Host {
    /// A network that is empty but for a loopback.
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let mut first = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo there && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1) is there");
        let mut said = String::new();
        BufReader::new(first.stdout.take().expect("it is a pipe"))
            .read_line(&mut said)
            .expect("it says something");
        assert_eq!(said, "there\n", "root may make namespaces");
        let namespace = File::open(format!("/proc/{}/ns/net", first.id())).expect("it is there");
        drop(first.stdin.take());
        first.wait().expect("it ends with its input");
        let host = Self(namespace);
        host.ip("link set lo up");
        host
    }

    /// Runs `work` on this machine.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter();
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enter(&self) {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.0.as_fd(), kind).expect("root may");
    }

    /// What `ip` says to these arguments here.
    pub fn ip(&self, args: &str) -> String {
        let output = self.run(|| {
            Command::new("ip").args(args.split_whitespace()).output().expect("ip(8) is there")
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {args}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The addresses of this machine, for any thread.
    pub fn addresses(&self) -> Addresses {
        self.run(Addresses::open).expect("root may")
    }

    /// Whether the address is on this machine, as `ip` sees it.
    pub fn has(&self, address: IpAddr) -> bool {
        let args = format!("-o addr show to {address}");
        self.ip(&args).contains(&format!(" {address}/"))
    }

    /// The Ethernet address of `eth0`.
    pub fn mac(&self) -> String {
        let said = self.ip("-br link show dev eth0");
        said.split_whitespace().nth(2).expect("it has one").to_owned()
    }

    /// Where this machine believes that `address` is: the Ethernet address, if it knows one.
    pub fn neighbour(&self, address: IpAddr) -> Option<String> {
        let said = self.ip(&format!("neigh show {address} dev eth0"));
        let mut words = said.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).map(str::to_owned)
    }

    /// Listens, with IPv4 and IPv6 if `at` is `[::]`.
    pub fn listen(&self, at: &str) -> TcpListener {
        self.run(|| TcpListener::bind(at)).expect("the port is free")
    }

    /// A connection from here, as soon as there can be one. Reads end after [`READ_MAX`].
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        eventually("a connection", || {
            let made = self.run(|| TcpStream::connect_timeout(&to, CONNECT_MAX)).ok()?;
            made.set_read_timeout(Some(READ_MAX)).expect("it is not zero");
            Some(made)
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// The Ethernet, and who is on it. Each has `eth0` with an address of both families that stays.
#[derive(Debug)]
pub struct Lan {
    switch: Host,
    pub client: Host,
    pub ada: Host,
    pub bob: Host,
}

impl Lan {
    pub fn new() -> Self {
        let switch = Host::new();
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        let [client, ada, bob] = HOSTS.map(|(port, number)| {
            let host = Host::new();
            let path = host.path();
            switch.ip(&format!("link add {port} type veth peer name eth0 netns {path}"));
            switch.ip(&format!("link set {port} master br0 up"));
            host.ip(&format!("addr add 10.99.0.{number}/24 dev eth0"));
            host.ip(&format!("addr add fd99::{number}/64 dev eth0 nodad"));
            host.ip("link set eth0 up");
            host
        });
        Self { switch, client, ada, bob }
    }

    /// Pulls the cable of ada's machine; nothing on it notices, and nothing from it arrives.
    pub fn isolate_ada(&self) {
        self.switch.ip("link set ada nomaster");
    }
}

/// A floating address of the Ethernet's subnet, on `eth0`.
pub fn floating(given: &str) -> Floating {
    let eth0 = "eth0".parse().expect("a fine name");
    Floating::parse(given, eth0).expect("a fine address")
}

/// One of each family: what is true of one is to be true of the other.
pub fn both_families() -> [Floating; 2] {
    [floating("10.99.0.9/24"), floating("fd99::9/64")]
}

/// Polls until `probe` gives something, for at most [`WAIT_MAX`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < WAIT_MAX, "after {WAIT_MAX:?} still waiting: {what}");
        std::thread::sleep(POLL);
    }
}

/// The port of the door.
pub const PORT: u16 = 2049;

/// How long a client waits for an answer. Twice as long as any may take.
pub const READ_MAX: Duration = Duration::from_secs(2);

/// How long addresses are held where it does not matter.
pub const LONG: Duration = Duration::from_secs(60);

/// Names of the switch's ports, and the last numbers of addresses.
const HOSTS: [(&str, u8); 3] = [("client", 7), ("ada", 101), ("bob", 102)];

const CONNECT_MAX: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
