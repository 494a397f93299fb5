//! A scrub finds what is bad before anybody reads it, mends it from a copy that is whole, and says
//! so.
//!
//! Files are written by a client of the protocol and then spoiled under the file system, where
//! BTRFS notices, or through it, where it can't. Invariant: afterwards every backing file holds
//! what was written. Absent on purpose: reads that meet rot, which have a test of their own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nfs3_client::nfs3_types::nfs3::*;
use serde_json::Value;
use tests::{
    Appliance, Connection, Fleet, LoopBtrfs, Random, Sandbox, Setup, Who, connect, drop_caches,
    eventually_within, mount_at,
};

#[test]
fn rot_and_differences_are_found_at_any_copy_mended_and_told() {
    let sandbox = Sandbox::new();
    let fleet = Fleet::form_with(&sandbox, 3, DISK_MIB, "[scrub]\nrate_mib_s = 1000\n");
    fleet.make_volume("demo", &["ada", "bob", "cyd"]);
    fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let mut random = Random::from_environment(83);
    let mut client = mount_at(fleet.client_address(0), "demo", ROOT).unwrap();
    // Larger than what is mended at a stroke, one whose last block is only partly used, and one
    // that is never unreadable: what was just mended may be compared again by itself.
    let files = [("film", 6 << 20), ("note", 70_000), ("song", 2 << 20)].map(|(name, len)| {
        let bytes = random.bytes(len);
        create(&mut client, name, &bytes);
        (name, bytes)
    });
    await_whole(&fleet, &files);
    assert_eq!(sums(&scrub(&fleet, "clean")), Sums::default());

    for (name, bytes) in &files[..2] {
        for victim in [Victim::Owner, Victim::Other] {
            let holder = victim.of(&fleet, name);
            let disk = fleet.disk(holder);
            let wanted = &bytes[bytes.len() - 40..bytes.len() - 8];
            assert_eq!(disk.rot(wanted), 1, "{name} at {victim:?}");
            let found = sums(&scrub(&fleet, "mended"));
            let wanted = Sums { unreadable: 1, mended: 1, ..Sums::default() };
            assert_eq!(found, wanted, "{name} at {victim:?}");
            await_whole(&fleet, &files);
        }
    }
    let (name, bytes) = &files[2];
    for at in [9, (1 << 20) + 9] {
        let backing = backing_file(&fleet, Victim::Other.of(&fleet, name), name);
        let file = OpenOptions::new().write(true).open(&backing).unwrap();
        file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
        file.sync_all().unwrap();
        let found = sums(&scrub(&fleet, "mended"));
        assert_eq!(found, Sums { differing: 1, mended: 1, ..Sums::default() }, "at {at}");
        await_whole(&fleet, &files);
    }
    assert_eq!(sums(&scrub(&fleet, "clean")), Sums::default());
    let events: String = (0..3).map(|number| fleet.nth(number).cli_ok(&["events"])).collect();
    for part in ["differs, though no disk reported", "can't read its copy", "made bad copies anew"]
    {
        assert!(events.contains(part), "{part}: {events}");
    }

    // What changes all the time is never taken for bad.
    create(&mut client, "busy", &random.bytes(3 << 20));
    await_whole(&fleet, &files);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends_with_us = Over(&over);
        scope.spawn(|| {
            let handle = look_up(&mut client, "busy");
            for n in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                write(&mut client, &handle, n % 700 * 4096, &[n as u8; 4096]);
            }
        });
        for _ in 0..3 {
            assert_eq!(sums(&scrub(&fleet, "clean")), Sums::default());
        }
    });
    (0..3).for_each(|number| fleet.nth(number).check("demo"));
}

#[test]
fn a_scrub_goes_on_after_a_kill_and_names_what_only_a_backup_can_mend() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", DISK_MIB);
    let extra = format!("[scrub]\nevery_days = 0\nrate_mib_s = {SLOW_MIB_S}\n");
    let setup = Setup { extra, ..Setup::default() };
    let mut appliance = Appliance::start_with(&sandbox, disk.path(), setup);
    let mut random = Random::from_environment(89);
    let mut client = connect("demo");
    let files: Vec<Vec<u8>> = (0..FILES).map(|_| random.bytes(1 << 20)).collect();
    for (number, bytes) in files.iter().enumerate() {
        create(&mut client, &format!("f{number}"), bytes);
    }
    drop(client);

    appliance.cli_ok(&["scrub", "start"]);
    await_files(&appliance, FILES / 3);
    appliance.cli_ok(&["scrub", "stop"]);
    let stopped = status(&appliance);
    assert_eq!(stopped["state"], "paused");
    appliance.cli_ok(&["scrub", "start"]);
    await_files(&appliance, FILES / 2);
    appliance.kill9();
    appliance.restart();
    let again = status(&appliance);
    assert_eq!(again["state"], "running", "by itself: {again}");
    assert!(again["found"]["files"].as_u64() >= stopped["found"]["files"].as_u64(), "{again}");
    let reply = appliance.cli(&["--json", "scrub", "start", "--wait"]);
    assert_eq!(reply.code, 0, "{reply:?}");
    let whole = status(&appliance);
    assert_eq!(whole["found"]["files"], FILES, "each once: {whole}");
    assert_eq!(whole["last"]["outcome"], "clean");
    let read = metric(&appliance, "holdfast_scrub_bytes_total");
    assert!(read < ((FILES - FILES / 4) << 20), "not all of it again: {read}");

    let (name, bytes) = ("f7", &files[7]);
    assert_eq!(disk.rot(&bytes[500_000..500_032]), 1);
    let reply = appliance.cli(&["scrub", "start", "--wait"]);
    assert_eq!(reply.code, 1, "{reply:?}");
    assert!(reply.stdout.contains("demo/f7"), "{}", reply.stdout);
    let hurt = status(&appliance);
    let last = &hurt["last"];
    assert_eq!((&last["outcome"], &last["found"]["damaged"]), (&"damaged".into(), &1.into()));
    assert_eq!(hurt["damaged"][0]["path"], "demo/f7", "{hurt}");
    let state =
        |appliance: &Appliance| appliance.cli_json(&["volume", "show", "demo"])["state"].clone();
    assert_eq!(state(&appliance), "degraded");
    let events = appliance.cli_ok(&["events"]);
    assert!(events.contains("can't read all of demo/f7"), "{events}");
    // Its other blocks are left alone, and it is known until it is gone.
    appliance.kill9();
    appliance.restart();
    assert_eq!(status(&appliance)["damaged_files"], 1);
    let mut client = connect("demo");
    remove(&mut client, name);
    eventually_within(Duration::from_secs(30), "nothing to be damaged", || {
        let none = status(&appliance)["damaged_files"] == 0;
        (none && state(&appliance) == "in_sync").then_some(())
    });
    appliance.check("demo");
    appliance.stop();
}

/// Ends the writer, even when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whose copy is spoiled.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Owner,
    Other,
}

impl Victim {
    /// The number of an appliance.
    fn of(self, fleet: &Fleet, name: &str) -> usize {
        let found = fleet.whereis(0, &format!("demo/{name}"));
        match self {
            Self::Owner => fleet.number_of(&found.owner),
            Self::Other => {
                let other = found.copies.iter().find(|copy| **copy != found.owner);
                fleet.number_of(other.expect("there are two"))
            }
        }
    }
}

/// What all appliances found together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    unreadable: u64,
    differing: u64,
    mended: u64,
    damaged: u64,
}

/// Scrubs everything and waits; the worst that an appliance says is `outcome`.
fn scrub(fleet: &Fleet, outcome: &str) -> Value {
    let reply = fleet.first().cli(&["--json", "scrub", "start", "--wait"]);
    assert_eq!(reply.code, 0, "{reply:?}");
    let said: Value = serde_json::from_str(&reply.stdout).unwrap();
    let all = said.as_array().unwrap();
    assert_eq!(all.len(), 3, "a line for each appliance");
    let is = |word: &str| all.iter().any(|view| view["last"]["outcome"] == word);
    let worst = ["damaged", "mended", "clean"].into_iter().find(|word| is(word));
    assert_eq!(worst, Some(outcome), "{said:#}");
    said
}

fn sums(said: &Value) -> Sums {
    let sum = |key: &str| {
        let all = said.as_array().unwrap().iter();
        all.map(|view| view["last"]["found"][key].as_u64().unwrap()).sum()
    };
    Sums {
        unreadable: sum("unreadable"),
        differing: sum("differing"),
        mended: sum("mended"),
        damaged: sum("damaged"),
    }
}

/// Waits until each file has two good copies, and looks at their bytes on the disks.
fn await_whole(fleet: &Fleet, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = format!("demo/{name}");
        eventually_within(Duration::from_secs(60), "two good copies", || {
            let volume = fleet.first().cli_json(&["volume", "show", "demo"]);
            (volume["degraded"] == 0 && fleet.whereis(0, &path).copies.len() == 2).then_some(())
        });
        drop_caches();
        for holder in fleet.whereis(0, &path).copies {
            let there = fs::read(backing_file(fleet, fleet.number_of(&holder), name));
            assert!(&there.unwrap() == bytes, "{name} at {holder}");
        }
    }
}

/// Where an appliance keeps a file's bytes.
fn backing_file(fleet: &Fleet, number: usize, name: &str) -> PathBuf {
    let found = fleet.first().cli_json(&["object", "whereis", &format!("demo/{name}")]);
    let volume = fleet.first().cli_json(&["volume", "show", "demo"])["id"].as_u64().unwrap();
    let object = found["object"].as_u64().unwrap();
    let root = fleet.disk(number).path().join(fleet.nth(number).name());
    root.join(format!("volumes/{volume}/data/{:x}/{object:x}", object >> 12))
}

fn status(appliance: &Appliance) -> Value {
    appliance.cli_json(&["scrub", "status"])[0].clone()
}

fn await_files(appliance: &Appliance, files: u64) {
    eventually_within(Duration::from_secs(60), "files to be scrubbed", || {
        (status(appliance)["found"]["files"].as_u64()? >= files).then_some(())
    });
}

fn metric(appliance: &Appliance, name: &str) -> u64 {
    let metrics = appliance.metrics();
    let line = metrics.lines().find(|line| line.starts_with(name)).expect("it is counted");
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn create(client: &mut Connection, name: &str, bytes: &[u8]) {
    let how = createhow3::UNCHECKED(sattr3::default());
    let args = CREATE3args { where_: place(client, name), how };
    let made = client.call(async |nfs| nfs.create(&args).await).unwrap();
    let Nfs3Result::Ok(made) = made else { panic!("CREATE of {name}") };
    let handle = made.obj.unwrap();
    for (n, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        write(client, &handle, (n * PIECE_BYTES) as u64, piece);
    }
}

fn look_up(client: &mut Connection, name: &str) -> nfs_fh3 {
    let args = LOOKUP3args { what: place(client, name) };
    match client.call(async |nfs| nfs.lookup(&args).await).unwrap() {
        Nfs3Result::Ok(found) => found.object,
        Nfs3Result::Err((status, _)) => panic!("LOOKUP of {name}: {status:?}"),
    }
}

fn remove(client: &mut Connection, name: &str) {
    let args = REMOVE3args { object: place(client, name) };
    let done = client.call(async |nfs| nfs.remove(&args).await).unwrap();
    assert!(matches!(done, Nfs3Result::Ok(_)), "REMOVE of {name}");
}

/// Durable everywhere when it is done.
fn write(client: &mut Connection, file: &nfs_fh3, offset: u64, bytes: &[u8]) {
    let args = WRITE3args {
        file: file.clone(),
        offset,
        count: u32::try_from(bytes.len()).unwrap(),
        stable: stable_how::FILE_SYNC,
        data: bytes.to_vec().into(),
    };
    let written = client.call(async |nfs| nfs.write(&args).await).unwrap();
    assert!(matches!(written, Nfs3Result::Ok(_)), "WRITE at {offset}");
}

fn place<'a>(client: &Connection, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: client.root(), name: filename3::from(name.as_bytes()) }
}

const ROOT: Who<'static> = Who { uid: 0, gid: 0, gids: &[] };
const PIECE_BYTES: usize = 1 << 20;
const DISK_MIB: u64 = 1024;
/// Of 1 MiB each.
const FILES: u64 = 48;
/// So that it takes some seconds.
const SLOW_MIB_S: u64 = 8;
