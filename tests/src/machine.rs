//! Machines that run the appliance image: QEMU on the sandbox's bridge, with disks of their own.
//!
//! Firmware, boot loader, kernel and init are the real ones, emulated. A machine has a boot disk
//! with the image on it, a data disk that is empty at first, and a small disk with its
//! configuration. Its power can be cut, and its power button pressed; what it says on its serial
//! port is kept.
//!
//! Invariant: a machine touches no disk and no network outside its sandbox.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Bound, must, run, tail};
use crate::wait::eventually_within;
use crate::{Reply, Sandbox, binary};

/// A machine.
#[derive(Debug)]
pub struct Machine {
    name: String,
    number: u8,
    folder: PathBuf,
    process: Option<Bound>,
    /// Bytes of the serial port's log from before the last start.
    before: usize,
}

impl Machine {
    /// A machine that is off, with the image `boot` on its boot disk and an empty data disk. Its
    /// configuration is `config` and what makes it reachable: name, address, admin token.
    #[must_use]
    pub fn new(sandbox: &Sandbox, boot: &Path, number: u8, config: &str) -> Self {
        let name = crate::fleet::NAMES[usize::from(number)].to_owned();
        let folder = sandbox.path(&format!("machine.{name}"));
        fs::create_dir_all(&folder).expect("the sandbox's folder takes a folder");
        let machine = Self { name, number, folder, process: None, before: 0 };
        run(
            "cp",
            &["--sparse=always".as_ref(), boot.as_os_str(), machine.disk("boot").as_os_str()],
        );
        machine.make_disk("data", DATA_MIB);
        let vars = machine.folder.join("firmware.vars");
        fs::copy(format!("{FIRMWARE}/OVMF_VARS_4M.fd"), vars).expect("ovmf is installed");
        File::create(machine.serial()).expect("the folder takes a file");
        must(&format!("ip tuntap add dev q{number} mode tap"));
        must(&format!("ip link set q{number} master br0 up"));
        machine.configure(config);
        machine
    }

    /// Gives it another configuration; it reads it at its next start, or when it looks again. Its
    /// address stands in it, unless that has a `[network]` of its own.
    pub fn configure(&self, config: &str) {
        let Self { name, folder, .. } = self;
        self.write_config(&self.config_text(name, config));
        fs::write(folder.join("token"), TOKEN).expect("the folder takes a file");
    }

    /// A whole configuration of this machine, under a name; `config` may have tables `[network]`
    /// and `[time]` of its own.
    #[must_use]
    pub fn config_text(&self, name: &str, config: &str) -> String {
        let network = format!("[network]\naddress = \"{}/24\"\n", self.address());
        let tables = [network.as_str(), "[time]\nservers = []\n"];
        let absent = |table: &&&str| !config.contains(table.lines().next().unwrap_or_default());
        let tables: String = tables.iter().filter(absent).copied().collect();
        format!("name = \"{name}\"\n{config}\n{tables}[appliance.admin]\ntoken = \"{TOKEN}\"\n")
    }

    /// Gives it a configuration as it stands.
    pub fn write_config(&self, text: &str) {
        let (file, disk) = (self.folder.join("holdfast.toml"), self.disk("config"));
        fs::write(&file, text).expect("the folder takes a file");
        self.make_disk("config", CONFIG_MIB);
        run("mkfs.vfat", &["-n".as_ref(), "HOLDFASTCFG".as_ref(), disk.as_os_str()]);
        run("mcopy", &["-i".as_ref(), disk.as_os_str(), file.as_os_str(), "::/".as_ref()]);
    }

    fn make_disk(&self, name: &str, mib: u64) {
        let disk = File::create(self.disk(name)).expect("the folder takes a file");
        disk.set_len(mib << 20).expect("a sparse file takes any size");
    }

    /// Takes one of its disks out for good, while it is off.
    pub fn remove_disk(&self, name: &str) {
        fs::remove_file(self.disk(name)).expect("it was there");
    }

    /// The image of one of its disks: `boot`, `data` or `config`.
    #[must_use]
    pub fn disk(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.disk"))
    }

    /// A DHCP server on the sandbox's bridge, which gives each machine its address while it lives.
    #[must_use]
    pub fn dhcp_server() -> Bound {
        let mut command = Command::new("dnsmasq");
        command.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=br0"]);
        command.args(["--bind-interfaces", "--leasefile-ro", "--dhcp-range=10.99.0.0,static"]);
        for number in 0..MACHINES_MAX {
            let address = address_of(number);
            command.arg(format!("--dhcp-host=02:aa:99:00:02:{number:02x},{address},1h"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Bound::spawn(&mut command, "the DHCP server")
    }

    /// At which address it is reached.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address_of(self.number).into()
    }

    /// Switches it on.
    pub fn power_on(&mut self) {
        assert!(self.process.is_none(), "{} is on", self.name);
        self.before = self.all_said().len();
        let folder = self.folder.display();
        let number = self.number;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-nodefaults"]);
        command.args(["-display", "none", "-m", MEMORY_MIB]);
        let drive = |options: String| ["-drive".to_owned(), options];
        command.args(drive(format!(
            "if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd"
        )));
        command.args(drive(format!("if=pflash,format=raw,unit=1,file={folder}/firmware.vars")));
        for (at, name) in ["boot", "data", "config"].iter().enumerate() {
            let disk = self.disk(name);
            if !disk.exists() {
                continue;
            }
            let disk = disk.display();
            command.args(drive(format!("if=none,format=raw,id={name},file={disk}")));
            let index = at + 1;
            command.args([
                "-device",
                &format!("virtio-blk-pci,drive={name},serial={name},bootindex={index}"),
            ]);
        }
        command.args(["-netdev", &format!("tap,id=net,ifname=q{number},script=no,downscript=no")]);
        command.args([
            "-device",
            &format!("virtio-net-pci,netdev=net,mac=02:aa:99:00:02:{number:02x}"),
        ]);
        command.args(["-device", "virtio-rng-pci"]);
        command.args([
            "-chardev",
            &format!("file,id=serial,append=on,path={}", self.serial().display()),
        ]);
        command.args(["-serial", "chardev:serial"]);
        command.args(["-qmp", &format!("unix:{folder}/qmp,server=on,wait=off")]);
        let log = File::create(self.folder.join("qemu.log")).expect("the folder takes a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor can be doubled"));
        self.process = Some(Bound::spawn(command.stderr(log), &self.name));
    }

    /// Cuts its power: QEMU is killed with -9.
    pub fn cut_power(&mut self) {
        self.process.take().expect("it is on").kill();
    }

    /// Presses its power button.
    pub fn press_power_button(&self) {
        self.monitor("system_powerdown");
    }

    /// Waits until it has switched itself off, or wants to restart, which ends QEMU as well.
    pub fn await_off(&mut self, limit: Duration) {
        let what = format!("{} to switch itself off", self.name);
        let process = self.process.as_mut().expect("it is on");
        eventually_within(limit, what, || process.ended());
        self.process = None;
    }

    /// What it has said since it was switched on.
    #[must_use]
    pub fn said(&self) -> String {
        self.all_said()[self.before..].to_owned()
    }

    /// Waits until it has said so on its serial port since it was switched on.
    pub fn await_said(&mut self, text: &str, limit: Duration) {
        let what = format!("{} to say {text:?}", self.name);
        let path = self.serial();
        eventually_within(limit, what, || {
            let ended = self.process.as_mut().expect("it is on").ended();
            if let Some(status) = ended {
                panic!("{} is off: {status}\n{}", self.name, tail(&path, 60));
            }
            self.said().contains(text).then_some(())
        });
    }

    /// Waits until it serves; gives what it says of that.
    pub fn await_ready(&mut self) -> String {
        self.await_said(READY, BOOT_MAX);
        let said = self.said();
        let line = said.lines().find(|line| line.contains(READY)).unwrap_or_default();
        line.trim().to_owned()
    }

    /// Runs a verb of the command line against it, as an operator on another machine; panics if it
    /// does not end.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Reply {
        let said = self.said();
        let fingerprint = said.rsplit("fingerprint ").next().unwrap_or_default();
        let fingerprint: String = fingerprint.chars().take_while(char::is_ascii_hexdigit).collect();
        let mut command = Command::new("timeout");
        command
            .args(["--signal=KILL", VERB_SECONDS_MAX])
            .arg(binary())
            .args(["--url", &format!("https://{}:2051", self.address())])
            .args(["--token-file".as_ref(), self.folder.join("token").as_os_str()])
            .args(["--fingerprint", &fingerprint])
            .args(args);
        let reply = Reply::of(&mut command);
        // `timeout` kills itself with the same signal.
        assert!(reply.code >= 0, "after {VERB_SECONDS_MAX} s still waiting: {args:?}");
        reply
    }

    /// [`Self::cli`], which must succeed.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let reply = self.cli(args);
        assert_eq!(reply.code, 0, "{args:?} of {}: {}{}", self.name, reply.stdout, reply.stderr);
        reply.stdout
    }

    fn monitor(&self, order: &str) {
        let mut stream = UnixStream::connect(self.folder.join("qmp")).expect("QEMU listens");
        let answers = BufReader::new(stream.try_clone().expect("a descriptor can be doubled"));
        let mut answers = answers.lines().map(|line| line.expect("QEMU answers"));
        for order in ["qmp_capabilities", order] {
            writeln!(stream, "{{\"execute\": \"{order}\"}}").expect("QEMU reads");
            // It greets, and tells of events in between.
            assert!(answers.any(|line| line.contains("\"return\"")), "{order} is done");
        }
    }

    fn serial(&self) -> PathBuf {
        self.folder.join("serial.log")
    }

    fn all_said(&self) -> String {
        let bytes = fs::read(self.serial()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said ---\n{}", self.name, tail(&self.serial(), 80));
        }
    }
}

fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, FIRST_BYTE + number)
}

/// The image under test: `HOLDFAST_IMAGE`, or what `make image` has built.
#[must_use]
pub fn image() -> PathBuf {
    let path = std::env::var_os("HOLDFAST_IMAGE")
        .map_or_else(|| crate::repository().join("target/image/holdfast.img"), PathBuf::from);
    assert!(path.exists(), "{} is missing: `make image` makes it", path.display());
    path
}

/// How long a machine may take from power-on until clients are served: everything is emulated.
pub const BOOT_MAX: Duration = Duration::from_secs(180);

/// Of a verb that waits until a machine has stopped and started, twice if it goes back.
const VERB_SECONDS_MAX: &str = "500";
/// What init says once an appliance answers, and how long that took.
const READY: &str = " of memory are used";
const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const FIRMWARE: &str = "/usr/share/OVMF";
const MEMORY_MIB: &str = "1024M";
const DATA_MIB: u64 = 4096;
/// What FAT takes, and QEMU.
const CONFIG_MIB: u64 = 4;
const FIRST_BYTE: u8 = 60;
const MACHINES_MAX: u8 = 4;
