//! Machines with the real Linux NFS client: User Mode Linux guests on the sandbox's bridge.
//!
//! A guest boots in about two seconds. Its root is the host's root, read-only; it runs the scripts
//! that a test hands to it, one after the other or at once, and what they write comes back through
//! a shared folder (`$JOB` in the guest). Guests outlive the appliance that they mount, so a test
//! can kill and restart it under them.
//!
//! Invariant: a guest never touches a network or a disk outside its sandbox.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use crate::process::{Bound, must, tail};
use crate::wait::eventually_within;
use crate::{APPLIANCE_ADDRESS, Sandbox};

/// A folder of the host that guests see, read-only, at the same path. Only needed for folders
/// below `/tmp`, `/var/tmp`, `/run` and `/mnt`, which guests have of their own.
pub type Share = PathBuf;

/// The guests of one sandbox, numbered from 0.
#[derive(Debug)]
pub struct Guests {
    guests: Vec<Guest>,
    jobs: PathBuf,
}

/// One guest.
#[derive(Debug)]
pub struct Guest {
    number: usize,
    jobs: PathBuf,
    serial: RefCell<ChildStdin>,
    machine: RefCell<Bound>,
    count: Cell<u32>,
}

/// What a script in a guest came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// Its standard output and standard error.
    pub text: String,
}

/// A script that runs in a guest.
#[derive(Debug)]
pub struct Job<'a> {
    guest: &'a Guest,
    name: String,
}

impl Guests {
    /// Boots `count` guests and returns when all take scripts. The volume is not mounted yet.
    #[must_use]
    pub fn boot(sandbox: &Sandbox, count: usize) -> Self {
        Self::boot_with(sandbox, count, &[])
    }

    /// [`Self::boot`] with folders to share.
    #[must_use]
    pub fn boot_with(sandbox: &Sandbox, count: usize, shares: &[Share]) -> Self {
        let jobs = sandbox.path("jobs");
        fs::create_dir_all(&jobs).expect("the sandbox's folder takes a folder");
        write_files(&jobs, count, shares);
        // The guests bind their modules there.
        fs::create_dir_all("/lib/modules").expect("root may make /lib/modules");
        fs::create_dir_all("/run/guests").expect("the sandbox's /run takes a folder");
        let guests: Vec<_> = (0..count).map(|number| Guest::power_on(&jobs, number)).collect();
        for guest in &guests {
            guest.await_file(&format!("ready.{}", guest.number), "boot", BOOT_MAX);
        }
        Self { guests, jobs }
    }

    /// Boots `count` guests and has each mount the volume `demo` at `/mnt/nfs` without options.
    #[must_use]
    pub fn with_demo(sandbox: &Sandbox, count: usize) -> Self {
        let guests = Self::boot(sandbox, count);
        guests.each(|guest| guest.mount("demo"));
        guests
    }

    /// The first guest.
    #[must_use]
    pub fn first(&self) -> &Guest {
        &self.guests[0]
    }

    /// The second guest.
    #[must_use]
    pub fn second(&self) -> &Guest {
        &self.guests[1]
    }

    /// The guest of that number, counted from 0.
    #[must_use]
    pub fn nth(&self, number: usize) -> &Guest {
        &self.guests[number]
    }

    /// Does the same with every guest, one after the other.
    pub fn each(&self, run: impl Fn(&Guest)) {
        self.guests.iter().for_each(run);
    }

    /// Runs one script on all guests at once; each must exit 0. `$GUEST` tells them apart, and
    /// `barrier NAME` lets them wait for one another.
    pub fn all(&self, script: &str) -> Vec<String> {
        let jobs: Vec<_> = self.guests.iter().map(|guest| guest.start(script)).collect();
        jobs.into_iter().map(|job| job.must_within(SCRIPT_MAX)).collect()
    }

    /// The folder that is `$JOB` in every guest.
    #[must_use]
    pub fn shared(&self) -> &Path {
        &self.jobs
    }
}

impl Guest {
    fn power_on(jobs: &Path, number: usize) -> Self {
        must(&format!("ip tuntap add dev tap{number} mode tap"));
        must(&format!("ip link set tap{number} master br0 up"));
        let kernel = fs::File::create(jobs.join(format!("kernel.{number}")))
            .expect("the shared folder takes a file");
        let mut command = Command::new("unshare");
        command
            // Guests are many processes; in a process namespace they die with the first.
            .args(["--pid", "--fork", "--kill-child", "--", "linux.uml"])
            .args([&format!("mem={MEMORY_MIB}M"), "rootfstype=hostfs", "rootflags=/", "ro"])
            .arg(format!("init={}", jobs.join("init").display()))
            .args(["uml_dir=/run/guests", &format!("umid=guest{number}")])
            .args(["con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:0,null"])
            .arg(format!(
                "vec0:transport=tap,ifname=tap{number},depth=128,gro=1,mac=02:aa:99:00:01:{number:02x}"
            ))
            .arg(format!("jobdir={}", jobs.display()))
            .args([&format!("guest={number}"), "quiet", "panic=5"])
            // The guests' memory is a file there, gone with the sandbox.
            .env("TMPDIR", "/run/guests")
            .stdin(std::process::Stdio::piped())
            .stdout(kernel.try_clone().expect("a descriptor can be doubled"))
            .stderr(kernel);
        let mut machine = Bound::spawn(&mut command, &format!("guest {number}"));
        let serial = RefCell::new(machine.stdin());
        let jobs = jobs.to_path_buf();
        Self { number, jobs, serial, machine: RefCell::new(machine), count: Cell::new(0) }
    }

    /// Mounts `volume` of the sandbox's appliance at `/mnt/nfs`, with no options at all.
    pub fn mount(&self, volume: &str) {
        self.mount_from(APPLIANCE_ADDRESS.parse().expect("an address"), volume);
    }

    /// Mounts `volume` of the appliance at `address`, with no options at all. Scripts know that
    /// appliance as `server`.
    pub fn mount_from(&self, address: IpAddr, volume: &str) {
        self.sh(&format!(
            "set -e; cd /; grep -v ' server$' /etc/hosts >/tmp/hosts
             echo {address} server >>/tmp/hosts; cat /tmp/hosts >/etc/hosts
             mount -t nfs server:/{volume} /mnt/nfs"
        ));
    }

    /// Unmounts `/mnt/nfs`.
    pub fn unmount(&self) {
        self.sh("cd /; umount /mnt/nfs");
    }

    /// Runs a bash script in `/mnt/nfs`; it must exit 0. Gives what it wrote.
    pub fn sh(&self, script: &str) -> String {
        self.start(script).must_within(SCRIPT_MAX)
    }

    /// [`Self::sh`] with another limit of time.
    pub fn sh_within(&self, limit: Duration, script: &str) -> String {
        self.start(script).must_within(limit)
    }

    /// Runs a bash script and gives what came of it, good or bad.
    #[must_use]
    pub fn try_sh(&self, script: &str) -> Outcome {
        self.start(script).wait_within(SCRIPT_MAX)
    }

    /// Starts a bash script and returns at once.
    pub fn start(&self, script: &str) -> Job<'_> {
        let count = self.count.get();
        self.count.set(count + 1);
        let name = format!("{}.{count}", self.number);
        let file = self.jobs.join(format!("script.{name}"));
        fs::write(&file, script).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        writeln!(self.serial.borrow_mut(), "{name}").expect("the guest listens");
        Job { guest: self, name }
    }

    /// Pulls the guest's network cable, at the far end: its own device notices nothing.
    pub fn unplug(&self) {
        // A tap that goes down would break the guest's driver for good.
        must(&format!("ip link set tap{} nomaster", self.number));
    }

    /// Puts the cable back.
    pub fn plug_in(&self) {
        must(&format!("ip link set tap{} master br0", self.number));
    }

    /// Cuts the guest's power.
    pub fn power_off(&self) {
        let mut machine = self.machine.borrow_mut();
        // The machine is the child of `unshare`, which ends, having waited for it, when it dies.
        // The other way round it would stay a zombie where nobody waits for orphans.
        let children = format!("/proc/{0}/task/{0}/children", machine.id());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let pid = child.parse().ok().and_then(rustix::process::Pid::from_raw);
            let pid = pid.expect("the kernel lists process ids");
            if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
                machine.wait(POWER_OFF_MAX);
            }
        }
        machine.kill();
    }

    /// Waits for a file in the shared folder and gives its content.
    fn await_file(&self, name: &str, what: &str, limit: Duration) -> String {
        let path = self.jobs.join(name);
        let what = format!("guest {} to {what}", self.number);
        eventually_within(limit, what, || {
            let content = fs::read_to_string(&path).ok();
            let ended = self.machine.borrow_mut().ended();
            match (content, ended) {
                (Some(content), _) if content.ends_with('\n') => Some(content),
                (_, Some(status)) => panic!("guest {} is gone: {status}", self.number),
                _ => None,
            }
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kernel = self.jobs.join(format!("kernel.{}", self.number));
            eprintln!("--- kernel of guest {} ---\n{}", self.number, tail(&kernel, 40));
        }
        self.power_off();
    }
}

impl Job<'_> {
    /// Waits for the end; panics with what it wrote so far after `limit`.
    #[must_use]
    pub fn wait_within(self, limit: Duration) -> Outcome {
        // Where a wait ends in vain, what was written so far says most.
        let shown = ShownOnPanic(self.guest.jobs.join(format!("output.{}", self.name)));
        let code = self.guest.await_file(&format!("code.{}", self.name), "end its script", limit);
        let text = fs::read(&shown.0).unwrap_or_default();
        Outcome {
            code: code.trim().parse().expect("an exit code is a number"),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    /// Waits for the end, which must be exit code 0, and gives what it wrote.
    pub fn must_within(self, limit: Duration) -> String {
        let (guest, name) = (self.guest.number, self.name.clone());
        let script = self.guest.jobs.join(format!("script.{name}"));
        let outcome = self.wait_within(limit);
        assert_eq!(
            outcome.code,
            0,
            "guest {guest} ran:\n{}\nand said:\n{}",
            tail(&script, 60),
            outcome.text
        );
        outcome.text
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.guest.jobs.join(format!("code.{}", self.name)).exists()
    }

    /// What it has written so far.
    #[must_use]
    pub fn so_far(&self) -> String {
        let path = self.guest.jobs.join(format!("output.{}", self.name));
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }
}

/// Prints the end of a file when a panic passes.
struct ShownOnPanic(PathBuf);

impl Drop for ShownOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the script's output so far ---\n{}", tail(&self.0, 60));
        }
    }
}

/// Writes what the guests read while they boot.
fn write_files(jobs: &Path, count: usize, shares: &[Share]) {
    let write = |name: &str, content: &str| {
        fs::write(jobs.join(name), content).unwrap_or_else(|e| panic!("{name}: {e}"));
    };
    write("init", include_str!("guest_init.sh"));
    make_executable(&jobs.join("init"));
    write("guests", &count.to_string());
    let shares: String = shares.iter().map(|share| format!("{}\n", share.display())).collect();
    write("shares", &shares);
    let hosts = format!("127.0.0.1 localhost\n{APPLIANCE_ADDRESS} ada\n");
    let names: String = (0..count).map(|n| format!("10.99.0.{} guest{n}\n", 10 + n)).collect();
    write("etc.hosts", &(hosts + &names));
    write("etc.resolv.conf", "");
    // Two users that own nothing on the host, for tests of permission.
    let users = "tests:x:65533:65533::/:/bin/sh\nother:x:65532:65532::/:/bin/sh\n";
    let groups = "nobody:x:65534:\ntests:x:65533:\nother:x:65532:\n";
    write("etc.passwd", &(fs::read_to_string("/etc/passwd").unwrap_or_default() + users));
    write("etc.group", &(fs::read_to_string("/etc/group").unwrap_or_default() + groups));
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// Memory of a guest. It is only taken as the guest touches it.
const MEMORY_MIB: u32 = 768;

/// Two guests on two busy processors boot in six seconds.
const BOOT_MAX: Duration = Duration::from_secs(60);

/// Killing takes as long as giving back the memory does.
const POWER_OFF_MAX: Duration = Duration::from_secs(20);

/// Long enough for a script without a limit of its own.
const SCRIPT_MAX: Duration = Duration::from_secs(180);
