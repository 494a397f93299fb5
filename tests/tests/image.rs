//! Appliances that run from the image: firmware, boot loader, kernel and init as on a machine,
//! under QEMU; their clients are real ones.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use nfs3_client::nfs3_types::nfs3::{CREATE3args, createhow3, diropargs3, filename3, sattr3};
use tests::machine::{self, BOOT_MAX, Machine};
use tests::storm::{Storm, Writers};
use tests::{Guests, Random, Sandbox, Who, eventually_within, mount_at, run, sized};

#[test]
fn what_an_appliance_acknowledged_outlives_its_power_cuts() {
    let sandbox = Sandbox::new();
    let _dhcp = Machine::dhcp_server();
    // An address by DHCP, the only disk that is empty: as little as one can say.
    let mut ada = Machine::new(&sandbox, &machine::image(), 0, &format!("[network]\n{DEMO}"));
    ada.power_on();
    let began = Instant::now();
    eventually_within(BOOT_MAX, "the first NFS reply", || {
        mount_at(ada.address(), "demo", ROOT).ok().map(drop)
    });
    let first = began.elapsed();
    print_facts(&ada.await_ready(), first);
    let guests = Guests::boot(&sandbox, 2);
    let mut random = Random::from_environment(5);
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers = Writers { guest: guests.first(), address: ada.address(), count: 4 };
    let checker = (guests.second(), ada.address());
    let storm = Storm::begin(&guests, program, &[writers], checker, &mut random);
    for round in 1..=sized(3, 50) {
        std::thread::sleep(Duration::from_millis(500 + random.draw() % 3000));
        ada.cut_power();
        storm.tell(&format!("pause {round}"));
        ada.power_on();
        println!("cut {round}: {}", ada.await_ready());
        storm.await_paused(&format!("pause {round}"));
        let settled = storm.ledgers();
        storm.verify(&settled);
        storm.tell_on();
    }
    let steps = storm.end();
    println!("{steps} steps settled");
    assert!(steps > 100, "a storm, not a breeze: {steps} steps");
    guests.first().unmount();
    ada.press_power_button();
    ada.await_off(STOP_MAX);
    assert!(ada.said().contains("clean=true"), "it was not stopped cleanly");
}

#[test]
fn an_update_that_is_well_is_kept_and_one_that_is_not_goes_back_by_itself() {
    let sandbox = Sandbox::new();
    let (key, stranger) = (Key::new(&sandbox, "ours"), Key::new(&sandbox, "a stranger's"));
    let config = format!("[image]\npublic_key = \"{}\"\nhealthy_within_s = 90\n", key.public);
    let mut ada = Machine::new(&sandbox, &machine::image(), 0, &config);
    ada.power_on();
    ada.await_ready();
    let good = sandbox.path("good.efi");
    fs::copy(machine::image().with_extension("efi"), &good).unwrap();

    stranger.sign(&good);
    let reply = ada.cli(&["image", "update", good.to_str().unwrap()]);
    assert!(reply.code == 1 && reply.stderr.contains("signature"), "{reply:?}");
    assert_eq!(boot_files(&ada), [("holdfast-00000001.efi".to_owned(), "kept".to_owned(), true)]);

    key.sign(&good);
    println!("{}", ada.cli_ok(&["image", "update", good.to_str().unwrap(), "--wait"]));
    let of = |file: &str, state: &str, running| (file.to_owned(), state.to_owned(), running);
    let (first, second) = ("holdfast-00000001.efi", "holdfast-00000002.efi");
    assert_eq!(boot_files(&ada), [of(second, "kept", true), of(first, "kept", false)]);

    // Its kernel finds nothing to run.
    let broken = sandbox.path("broken.efi");
    let mut bytes = fs::read(&good).unwrap();
    let initrd = bytes.len() - (4 << 20);
    bytes[initrd..].fill(0x5a);
    fs::write(&broken, bytes).unwrap();
    key.sign(&broken);
    let reply = ada.cli(&["image", "update", broken.to_str().unwrap(), "--wait"]);
    assert!(reply.code == 1 && reply.stderr.contains("went back"), "{reply:?}");
    let files = boot_files(&ada);
    assert!(files.contains(&of(second, "kept", true)), "{files:?}");
    assert_eq!(files[0].1, "failed", "{files:?}");

    // It boots, and what it is for ends at once.
    let sick = sandbox.path("sick.efi");
    put_over(&sandbox, &good, &sick, "usr/bin/holdfast", "#!/usr/bin/sh\nexit 1\n");
    key.sign(&sick);
    let reply = ada.cli(&["image", "update", sick.to_str().unwrap(), "--wait"]);
    assert!(reply.code == 1 && reply.stderr.contains("went back"), "{reply:?}");
    let files = boot_files(&ada);
    assert!(files.contains(&of(second, "kept", true)), "{files:?}");

    println!("{}", ada.cli_ok(&["image", "rollback", "--wait"]));
    let files = boot_files(&ada);
    assert!(files[0].2 && files[0].1 == "kept", "{files:?}");
}

#[test]
fn an_appliance_hears_the_time_tells_a_log_server_and_finds_its_configuration_in_the_firmware() {
    let sandbox = Sandbox::new();
    let key = sandbox.path("ssh-key");
    let options = ["-q", "-t", "ed25519", "-N", "", "-f"].map(AsRef::as_ref);
    run("ssh-keygen", &[&options[..], &[key.as_os_str()]].concat());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let config = format!(
        "[time]\nservers = [\"{HOST}\"]\n[syslog]\ntarget = \"udp://{HOST}:5514\"\n\
         [ssh]\nauthorized_keys = [\"{}\"]\n{DEMO}",
        public.trim()
    );
    let mut ada = Machine::new(&sandbox, &machine::image(), 0, &config);
    tell_the_time(UdpSocket::bind((HOST, 123)).unwrap(), AHEAD);
    let log = UdpSocket::bind((HOST, 5514)).unwrap();
    log.set_read_timeout(Some(BOOT_MAX)).unwrap();
    ada.power_on();
    ada.await_ready();

    let mut line = [0; 2048];
    loop {
        let len = log.recv(&mut line).expect("the log server hears of it");
        let line = String::from_utf8_lossy(&line[..len]);
        if line.contains("ready: ada serves") {
            // RFC 5424, section 6: who, and from where.
            assert!(line.starts_with('<') && line.contains(" ada holdfast "), "{line}");
            break;
        }
    }
    let mut client = mount_at(ada.address(), "demo", ROOT).unwrap();
    let (dir, mut number) = (client.root(), 0);
    eventually_within(BOOT_MAX, "the clock to be set", || {
        number += 1;
        let name = format!("file.{number}");
        let where_ = diropargs3 { dir: dir.clone(), name: filename3::from(name.as_bytes()) };
        let args = CREATE3args { where_, how: createhow3::UNCHECKED(sattr3::default()) };
        let made = client.call(async |nfs| nfs.create(&args).await).unwrap().unwrap();
        let made = Duration::from_secs(made.obj_attributes.unwrap().mtime.seconds.into());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (made > now + AHEAD / 2).then_some(())
    });

    // What a person would do to have no disk for the configuration.
    let mut variable = vec![7, 0, 0, 0];
    variable.extend(ada.config_text("eve", DEMO).into_bytes());
    let file = sandbox.path("variable");
    fs::write(&file, variable).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]);
    ssh.arg(&key).arg(format!("root@{}", ada.address()));
    ssh.arg(format!("dd bs=64k of=/sys/firmware/efi/efivars/{CONFIG_VARIABLE}"));
    let done = ssh.stdin(File::open(&file).unwrap()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    ada.press_power_button();
    ada.await_off(STOP_MAX);
    ada.remove_disk("config");
    ada.power_on();
    ada.await_ready();
    assert!(ada.said().contains("ready: eve serves"), "it goes by the variable");
}

#[test]
fn a_disk_with_somebody_elses_files_is_left_alone_and_a_wrong_configuration_is_told() {
    let sandbox = Sandbox::new();
    let mut ada = Machine::new(&sandbox, &machine::image(), 0, DEMO);
    let data = ada.disk("data");
    run("mkfs.ext4", &["-q".as_ref(), "-L".as_ref(), "photographs".as_ref(), data.as_os_str()]);
    let before = hash(&data);
    ada.write_config("name = \"ada\"\n[netwrok]\n");
    ada.power_on();
    ada.await_said("netwrok", BOOT_MAX);

    // Corrected while it runs: it looks again, and now has a disk to complain about.
    ada.configure(DEMO);
    ada.await_said("ext4", BOOT_MAX);
    let told = eventually_within(BOOT_MAX, "the admin port to tell", || {
        let mut stream = TcpStream::connect((ada.address(), 2051)).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ada\r\nConnection: close\r\n\r\n").ok()?;
        let mut told = String::new();
        stream.read_to_string(&mut told).ok()?;
        told.contains("ext4").then_some(told)
    });
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");

    // Named or not, it is left as it is.
    ada.cut_power();
    ada.configure(&format!("[disk]\ndevices = [\"serial:data\"]\n{DEMO}"));
    ada.power_on();
    ada.await_said("ext4", BOOT_MAX);
    std::thread::sleep(Duration::from_secs(10));
    ada.cut_power();
    assert_eq!(hash(&data), before, "it was written to");
}

#[test]
fn three_machines_with_one_token_form_a_fleet_and_outlive_the_loss_of_one() {
    let sandbox = Sandbox::new();
    let token = tests::run(tests::binary().to_str().unwrap(), &["fleet", "token"]);
    let config = |number: usize| {
        let others: Vec<String> = (0..3)
            .filter(|other| *other != number)
            .map(|other| format!("10.99.0.{}:2050", 60 + other))
            .collect();
        let found = number == 0;
        let token = token.trim();
        format!("[appliance.fleet]\ntoken = {token:?}\nfound = {found}\njoin = {others:?}\n")
    };
    let image = machine::image();
    let mut fleet: Vec<Machine> =
        (0..3).map(|n| Machine::new(&sandbox, &image, n as u8, &config(n))).collect();
    fleet.iter_mut().for_each(Machine::power_on);
    for machine in &mut fleet {
        println!("{}", machine.await_ready());
    }
    let members = eventually_within(BOOT_MAX, "the fleet to stand", || {
        let reply = fleet[0].cli(&["fleet", "status", "--json"]);
        let up = reply.stdout.matches("\"up\": true").count();
        (up == 3).then_some(reply.stdout)
    });
    assert!(members.contains("\"cyd\""), "{members}");
    fleet[0].cli_ok(&["volume", "create", "demo", "--root-mode", "0777"]);
    fleet[0].cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    fleet[0].cli_ok(&["export", "set", "demo", "*", "--insecure"]);

    let guests = Guests::boot(&sandbox, 1);
    let guest = guests.first();
    guest.mount_from(fleet[1].address(), "demo");
    guest.sh("dd if=/dev/urandom of=file bs=1M count=8 conv=fsync 2>&1; md5sum file >$JOB/sum");
    // Written through bob, so its owner is bob or was asked by it: either way one copy stays.
    fleet[0].cut_power();
    let sum =
        guest.sh_within(BOOT_MAX, "echo 3 >/proc/sys/vm/drop_caches; md5sum file; cat $JOB/sum");
    let sums: Vec<&str> = sum.lines().collect();
    assert_eq!(sums[0], sums[1]);
    guest.sh_within(BOOT_MAX, "echo more >more; sync more; cat more");
    guest.unmount();
}

#[test]
fn the_same_packages_and_programs_give_the_same_bytes() {
    let sandbox = Sandbox::new();
    let again = sandbox.path("again");
    run(tests::repository().join("image/build.sh").to_str().unwrap(), &[again.as_os_str()]);
    for file in ["holdfast.efi", "holdfast.img"] {
        let built = machine::image().with_file_name(file);
        assert_eq!(hash(&built), hash(&again.join(file)), "{file}");
    }
}

/// A minisign key pair.
struct Key {
    secret: PathBuf,
    public: String,
}

impl Key {
    fn new(sandbox: &Sandbox, name: &str) -> Self {
        let (public, secret) = (sandbox.path(&format!("{name}.pub")), sandbox.path(name));
        let paths = ["-p".as_ref(), public.as_os_str(), "-s".as_ref(), secret.as_os_str()];
        run("minisign", &[&["-G".as_ref(), "-W".as_ref()], &paths[..]].concat());
        let text = fs::read_to_string(public).unwrap();
        Self { secret, public: text.lines().nth(1).unwrap().to_owned() }
    }

    fn sign(&self, file: &Path) {
        let paths = ["-s".as_ref(), self.secret.as_os_str(), "-m".as_ref(), file.as_os_str()];
        run("minisign", &[&["-S".as_ref()], &paths[..]].concat());
    }
}

/// Makes `to` of the boot file `from`, with another file in the place of one of its system's: the
/// kernel unpacks one archive over the other.
fn put_over(sandbox: &Sandbox, from: &Path, to: &Path, file: &str, content: &str) {
    let folder = sandbox.path("put-over");
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (from, to) = (from.display(), to.display());
    let script = format!(
        "cd {}; objcopy --dump-section .initrd=../initrd {from} ../without
         truncate -s %4 ../initrd; echo {file} | cpio --quiet -H newc -o >>../initrd
         at=$(objdump -h {from} | awk '$2 == \".initrd\" {{ print \"0x\" $4 }}')
         objcopy -p --remove-section .initrd {from} ../without
         objcopy -p --add-section .initrd=../initrd --change-section-vma .initrd=$at ../without {to}",
        folder.display()
    );
    run("bash", &["-ec", script.as_str()]);
}

/// Answers whoever asks for the time (RFC 4330, section 6) with one that is `ahead`.
fn tell_the_time(socket: UdpSocket, ahead: Duration) {
    std::thread::spawn(move || {
        let mut asked = [0; 512];
        while let Ok((48.., from)) = socket.recv_from(&mut asked) {
            // Its seconds count from 1900.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + ahead;
            let seconds = u32::try_from(now.as_secs() + 2_208_988_800).unwrap();
            let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
            let stamp = (u64::from(seconds) << 32 | fraction).to_be_bytes();
            // Version 4, a server, of stratum 1, good to a millionth of a second.
            let head = [0x24, 1, 4, 0xec, 0, 0, 0, 0, 0, 0, 0, 0, b'T', b'E', b'S', b'T'];
            let answer = [&head[..], &stamp, &asked[40..48], &stamp, &stamp].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
}

/// Name, state and whether it runs, of each boot file, the newest first.
fn boot_files(machine: &Machine) -> Vec<(String, String, bool)> {
    let view: serde_json::Value =
        serde_json::from_str(&machine.cli_ok(&["image", "status", "--json"])).unwrap();
    let slots = view["slots"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    slots.map(|s| (text(&s["file"]), text(&s["state"]), s["running"] == true)).collect()
}

/// Size, time and memory; the time is for people, since all is emulated.
fn print_facts(ready: &str, first: Duration) {
    let efi = fs::metadata(machine::image().with_extension("efi")).unwrap().len().div_ceil(1 << 20);
    println!("the image has {efi} MiB; {first:.1?} from power-on to the first NFS reply; {ready}");
    assert!(efi < 64, "an image is smaller than 64 MiB");
    let used = ready.split_whitespace().rev().nth(5).unwrap();
    assert!(used.parse::<u64>().unwrap() < 200, "{ready}");
}

fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path).unwrap();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            read => hasher.update(&piece[..read]),
        };
    }
    hasher.finalize()
}

/// A volume for everybody.
const DEMO: &str = "[[appliance.volume]]\n\
     name = \"demo\"\n\
     root_mode = \"0777\"\n\
     [[appliance.volume.export]]\n\
     clients = [\"*\"]\n\
     squash = \"none\"\n\
     insecure = true\n";

const ROOT: Who<'_> = Who { uid: 0, gid: 0, gids: &[] };

const STOP_MAX: Duration = Duration::from_secs(120);

/// This end of the bridge that the machines are on.
const HOST: &str = "10.99.0.1";
/// So wrong the test's clock is, or that of the machine.
const AHEAD: Duration = Duration::from_secs(3600);
const CONFIG_VARIABLE: &str = "HoldfastConfig-6f1c2a54-8c0b-4b9e-9d0e-5f2f3c9a7d11";
