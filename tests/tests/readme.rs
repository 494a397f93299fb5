//! The README's promises to a newcomer are carried out.
//!
//! Invariant: what is run here is taken from the README, so a command that changes there is run in
//! its new form, and one that no longer works fails.
//!
//! Absent on purpose: the promises about crashes and locks, which have tests of their own, and what
//! `make run` does before it comes to `scripts/lab.sh`: installing packages and building.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    APPLIANCE_ADDRESS, Appliance, Bound, Fleet, Guests, LoopBtrfs, Sandbox, Setup, binary,
    eventually_within, repository, run,
};

#[test]
fn every_command_of_the_readme_does_what_it_should() {
    let readme = without_section(&readme(), FLEET_SECTION);
    let readme = without_section(&readme, ADDRESS_SECTION);
    // Its commands are for a whole machine: tests/image.rs.
    let readme = without_section(&readme, IMAGE_SECTION);
    let mut commands = holdfast_commands_in_blocks(&readme);
    assert!(commands.len() >= 3, "{commands:?}");
    commands.extend(in_backticks(&readme, "holdfast "));
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 1024);
    let setup = Setup { supervised: true, ..Setup::default() };
    let mut appliance = Appliance::start_with(&sandbox, disk.path(), setup);
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[1..] {
            // It runs already.
            ["supervise" | "serve"] => appliance.assert_alive(),
            ["help"] => {
                assert!(appliance.cli_ok(&["help"]).contains("status"), "help lists the verbs")
            }
            _ => {
                appliance.cli_ok(&words[1..]);
                let json = appliance.cli(&[&["--json"], &words[1..]].concat());
                // What is made cannot be made twice, and that is no JSON.
                let made_before = json.stderr.contains("there is a volume");
                if !made_before {
                    serde_json::from_str::<serde_json::Value>(&json.stdout)
                        .unwrap_or_else(|e| panic!("{command} --json: {e}\n{json:?}"));
                }
            }
        }
    }
    let volumes = appliance.cli_ok(&["export", "list", "media"]);
    assert!(volumes.contains("192.168.1.0/24"), "the README's volume is exported: {volumes}");
    appliance.stop();
}

#[test]
fn the_readme_makes_a_fleet_that_moves_a_file_and_shrinks_again() {
    let section = section(&readme(), FLEET_SECTION);
    let sandbox = Sandbox::new();
    let mut fleet = Fleet::strangers(&sandbox, 3, DISK_MIB);
    let guests = Guests::boot(&sandbox, 1);
    let ada = fleet.first();
    let mut done = 0;
    for command in holdfast_commands_in_blocks(&section) {
        let command = command.replace('\'', "");
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        match words[..] {
            // Each newcomer needs a token of its own.
            ["fleet", "invite"] => {}
            ["join", "TOKEN", "ADDRESS"] => [1, 2].into_iter().for_each(|n| fleet.admit(n)),
            ["object", "whereis", path] => {
                // Written through one that will own it, as clients reach it.
                let (volume, file) = path.split_once('/').unwrap();
                ada.cli_ok(&["export", "set", volume, "*", "--insecure", "--squash", "none"]);
                guests.first().mount_from(fleet.client_address(0), volume);
                guests.first().sh(&format!("set -e; echo frames >{file}; sync {file}"));
                assert!(ada.cli_ok(&words).contains("ada"));
            }
            ["volume", "policy", ..] => {
                ada.cli_ok(&words);
                eventually_within(Duration::from_secs(30), "a second copy of the file", || {
                    let found = fleet.whereis(2, "media/film");
                    (found.copies.len() == 2).then_some(())
                });
            }
            _ => drop(ada.cli_ok(&words)),
        }
        done += 1;
    }
    assert!(done >= 9, "{done} commands");
    assert_eq!(fleet.whereis(2, "media/film").owner, "bob", "it was moved");
    assert_eq!(guests.first().sh("cat film"), "frames\n");
    guests.first().unmount();

    for said in in_backticks(&section, "holdfast ") {
        let command = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let volume = command.starts_with("holdfast volume");
        let command = command.replace("NAME", if volume { "media" } else { "cyd" });
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        match words[..] {
            ["volume", "undelete", _] => {
                fleet.first().cli_ok(&["volume", "delete", "media", "--yes"]);
            }
            ["fleet", "remove", _] => fleet.nth_mut(2).stop(),
            // One that is gone already is not dead.
            ["fleet", "remove", _, "--dead"] => {
                assert_eq!(fleet.first().cli(&words).code, 1);
                continue;
            }
            _ => {}
        }
        fleet.first().cli_ok(&words);
    }
    let ada = fleet.first();
    let members = ada.cli_json(&["fleet", "status"])["members"].as_array().unwrap().len();
    assert_eq!(members, 2, "one was drained and removed");
    let volumes = ada.cli_ok(&["volume", "list"]);
    assert!(volumes.contains("media"), "it was deleted and brought back: {volumes}");
}

#[test]
fn the_readme_makes_an_address_that_outlives_its_appliance() {
    let section = section(&readme(), ADDRESS_SECTION).replace("10.0.0.9", FLOATING);
    let lines = blocks(&section);
    let is_command = |line: &&String| line.starts_with("holdfast ");
    let config: Vec<String> = lines.iter().filter(|line| !is_command(line)).cloned().collect();
    let extra = config.join("\n").replace("eth0", "clients") + "\n";
    let sandbox = Sandbox::new();
    let setup = Setup { extra, ..Setup::default() };
    let mut fleet = Fleet::form_as(&sandbox, 3, DISK_MIB, &setup);
    fleet.make_volume("media", &["ada", "bob", "cyd"]);
    fleet.first().cli_ok(&["volume", "policy", "media", "--replicas", "2"]);
    let address = FLOATING.parse().unwrap();
    let await_holder = |fleet: &Fleet, among: &[usize]| {
        eventually_within(Duration::from_secs(30), "the address to be there", || {
            let holders = fleet.holders_of(address);
            (holders.len() == 1 && among.contains(&holders[0])).then_some(())
        });
    };
    await_holder(&fleet, &[0]);
    let guests = Guests::boot(&sandbox, 1);
    guests.first().mount_from(address, "media");
    let mut said = String::new();
    for command in lines.iter().filter(is_command) {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        said.push_str(&fleet.first().cli_ok(&words));
    }
    assert!(said.contains("ada") && said.contains("asked"), "{said}");
    await_holder(&fleet, &[1]);
    guests.first().sh("set -e; echo frames >film; sync film");
    // Stopped, it gives the address to another before it ends.
    fleet.nth_mut(1).stop();
    await_holder(&fleet, &[0, 2]);
    assert_eq!(guests.first().sh("cat film"), "frames\n");
    guests.first().unmount();
}

#[test]
fn every_make_target_of_the_readme_is_there() {
    let readme = readme();
    let blocks = blocks(&readme).into_iter().filter(|line| line.starts_with("make "));
    let mut targets: Vec<String> = blocks
        .chain(in_backticks(&readme, "make "))
        .map(|command| command.split_whitespace().nth(1).unwrap().to_owned())
        .collect();
    targets.sort();
    targets.dedup();
    for needed in ["run", "test"] {
        assert!(targets.iter().any(|target| target == needed), "{needed} of {targets:?}");
    }
    for target in targets {
        let dir = format!("--directory={}", repository().display());
        run("make", &["--dry-run", &dir, &target]);
    }
}

#[test]
fn every_file_that_a_readme_names_is_there() {
    let root = repository();
    let mut checked = 0;
    for folder in ["", "gateway", "replication", "benches"] {
        let folder = root.join(folder);
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        for (_, after) in readme.match_indices("](").map(|(at, _)| readme.split_at(at + 2)) {
            let link = after.split_once(')').unwrap().0;
            if !link.starts_with("http") && !link.starts_with('#') {
                assert!(folder.join(link).exists(), "{link} in {}", folder.display());
                checked += 1;
            }
        }
        for path in in_backticks(&readme, "").iter().filter(|word| word.ends_with(".rs")) {
            let shelves = [&folder, &root, &root.join("gateway"), &root.join("replication")];
            // A bare file name belongs to the crate that the sentence is about.
            let found = shelves.iter().any(|shelf| shelf.join(path).exists());
            assert!(found || !path.contains('/'), "{path} in {}", folder.display());
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} names");
}

#[test]
fn make_run_prints_a_line_that_mounts_and_a_second_run_finds_the_same_files() {
    let sandbox = Sandbox::new();
    // The script keeps its disk in the tree that it lies in.
    let tree = sandbox.path("tree");
    for file in ["scripts/lab.sh", "configs/lab.toml"] {
        let copy = tree.join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(repository().join(file), copy).unwrap();
    }
    let guests = Guests::boot(&sandbox, 1);
    let guest = guests.first();

    let mut lab = Lab::start(&tree);
    let mount = lab.mount_line();
    guest.sh(&format!("set -e; cd /; {mount}; echo mine >/mnt/file; sync; umount /mnt"));
    lab.press_ctrl_c();

    let mut lab = Lab::start(&tree);
    assert_eq!(lab.mount_line(), mount);
    let found = guest.sh(&format!("set -e; cd /; {mount}; cat /mnt/file; umount /mnt"));
    assert_eq!(found, "mine\n");
    lab.press_ctrl_c();
    let left = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    assert!(!left.contains("/tree/var"), "nothing stays mounted:\n{left}");
}

/// `scripts/lab.sh`, as `make run` starts it.
struct Lab {
    process: Bound,
    output: PathBuf,
}

impl Lab {
    fn start(tree: &Path) -> Self {
        let output = tree.join("output");
        let file = File::create(&output).unwrap();
        let mut command = Command::new("unshare");
        command
            // The appliance has a session of its own; in a process namespace it dies with the rest.
            .args(["--pid", "--fork", "--kill-child", "--"])
            .arg(tree.join("scripts/lab.sh"))
            .env("HOLDFAST_BIN", binary())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Self { process: Bound::spawn(&mut command, "lab.sh"), output }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// The line for machines on the bridge.
    fn mount_line(&mut self) -> String {
        eventually_within(STARTS_WITHIN, "the lab to say how to mount it", || {
            let said = self.said();
            assert!(self.process.ended().is_none(), "it ended:\n{said}");
            let ready = said.contains("Ctrl-C");
            let wanted = |line: &&str| line.contains(APPLIANCE_ADDRESS);
            ready.then(|| said.lines().find(wanted).expect("a line for the bridge").to_owned())
        })
    }

    fn press_ctrl_c(&mut self) {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let script: i32 = children.trim().parse().expect("the script is the only child");
        kill_process(Pid::from_raw(script).unwrap(), Signal::INT).unwrap();
        let status = self.process.wait(STOPS_WITHIN);
        assert!(status.success(), "{status}:\n{}", self.said());
        assert!(self.said().contains("stopped clean=true"), "{}", self.said());
    }
}

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).unwrap()
}

/// What stands under a heading.
fn section(readme: &str, heading: &str) -> String {
    let after = readme.split_once(heading).unwrap_or_else(|| panic!("no {heading}")).1;
    after.split("\n## ").next().unwrap().to_owned()
}

fn without_section(readme: &str, heading: &str) -> String {
    readme.replace(&section(readme, heading), "")
}

/// The lines of all code blocks, without the comments at their ends.
fn blocks(readme: &str) -> Vec<String> {
    let lines = readme.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect()
}

fn holdfast_commands_in_blocks(readme: &str) -> Vec<String> {
    blocks(readme).into_iter().filter(|line| line.starts_with("holdfast ")).collect()
}

/// What stands between backticks and begins with `prefix`.
fn in_backticks(readme: &str, prefix: &str) -> Vec<String> {
    let quoted = readme.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with(prefix)).map(str::to_owned).collect()
}

const FLEET_SECTION: &str = "## Several appliances, one tree";

const ADDRESS_SECTION: &str = "## An address that outlives its appliance";

const IMAGE_SECTION: &str = "## An appliance, and no Linux to look after";

/// On the clients' bridge, and nobody's own.
const FLOATING: &str = "10.99.0.200";

/// Sparse.
const DISK_MIB: u64 = 2048;

/// Making a disk and starting.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A clean stop syncs everything.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
