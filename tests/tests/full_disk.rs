//! A disk that is full to the last byte loses nothing and can be emptied again.
//!
//! One client fills a small disk with names and bytes until every request for room is refused.
//! Invariant: whatever was acknowledged reads back, files can be removed while the disk is full,
//! and that gives room for new ones; a kill at the worst moment changes none of this.
//!
//! Absent on purpose: quotas, and what the reserve is made of.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[allow(dead_code, reason = "this test needs a part of what that client can do")]
#[path = "conformance/client.rs"]
mod client;

use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::*;
use tests::{Appliance, LoopBtrfs, Random, Sandbox, eventually_within};

use client::{Call, Client, Credential, Status, place, with_mode, with_size};

const MIB: usize = 1 << 20;

#[test]
fn a_full_disk_keeps_what_was_acknowledged_and_takes_more_once_files_are_removed() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", DISK_MIB);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut world = World::new();

    world.fill();
    appliance.assert_alive();
    world.verify();
    world.refuses_all_that_needs_room();

    world.empty_half();
    world.takes_data_again();
    world.verify();
    world.fill();
    appliance.assert_alive();
    world.verify();
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn an_appliance_killed_on_a_full_disk_comes_back_and_can_be_emptied() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", DISK_MIB);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut world = World::new();

    world.fill();
    for _ in 0..3 {
        appliance.kill9();
        appliance.restart();
        world.reconnect();
        world.verify();
        // A start may give a little room back, or take some.
        world.fill();
    }
    appliance.check("demo");

    world.empty_half();
    world.takes_data_again();
    appliance.kill9();
    appliance.restart();
    world.reconnect();
    world.verify();
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn a_clean_stop_and_start_of_a_full_disk_works_too() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", DISK_MIB);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut world = World::new();
    world.fill();
    appliance.stop();
    disk.unmount();
    disk.mount();
    appliance.restart();
    world.reconnect();
    world.verify();
    world.empty_half();
    world.takes_data_again();
    appliance.check("demo");
    appliance.stop();
}

/// What the client was promised, and how it asks.
struct World {
    nfs: Client,
    root: nfs_fh3,
    noise: Vec<u8>,
    files: Vec<Kept>,
    /// Files without bytes; where they are is all there is to them.
    names: Vec<String>,
    made: usize,
}

/// A file, and how many of its bytes were acknowledged.
struct Kept {
    name: String,
    handle: nfs_fh3,
    seed: usize,
    len: usize,
}

impl World {
    fn new() -> Self {
        let mut nfs = Client::new(Credential::ROOT);
        let root = nfs.root("demo");
        let noise = Random::new(8).bytes(MIB).repeat(2);
        Self { nfs, root, noise, files: Vec::new(), names: Vec::new(), made: 0 }
    }

    fn reconnect(&mut self) {
        self.nfs = Client::new(Credential::ROOT);
    }

    /// Takes all room there is: first most of it by large writes, then by names, then the rest by
    /// ever smaller writes.
    fn fill(&mut self) {
        while self.free() > ROOM_FOR_NAMES && self.append(MIB) {}
        self.fill_with_names();
        // The room that the disk tells of moves a little as it settles.
        let started = Instant::now();
        let mut full_since = Instant::now();
        while full_since.elapsed() < FULL_AFTER {
            for len in [MIB, 64 << 10, 4096] {
                while self.append(len) {
                    full_since = Instant::now();
                }
            }
            assert!(started.elapsed() < SETTLING_MAX, "the disk does not stay full");
            std::thread::sleep(Duration::from_millis(250));
        }
        while self.append(1) {}
        let bytes: usize = self.files.iter().map(|file| file.len).sum();
        let names = self.names.len();
        println!("full: {} files of {bytes} bytes, {names} names", self.files.len());
    }

    /// Makes empty files until one is refused.
    fn fill_with_names(&mut self) {
        loop {
            let fresh: Vec<String> =
                (0..NAMES_AT_ONCE).map(|n| format!("name.{}", self.made + n)).collect();
            self.made += NAMES_AT_ONCE;
            let calls: Vec<Call> = fresh.iter().map(|name| self.creation(name)).collect();
            let answers: Vec<CREATE3res> = self.nfs.call_all(&calls);
            let mut refused = false;
            for (name, answer) in fresh.into_iter().zip(answers) {
                match answer.status() {
                    nfsstat3::NFS3_OK => self.names.push(name),
                    nfsstat3::NFS3ERR_NOSPC => refused = true,
                    other => panic!("CREATE of {name}: {other:?}"),
                }
            }
            if refused {
                return;
            }
        }
    }

    fn creation(&self, name: &str) -> Call {
        let how = createhow3::GUARDED(with_mode(0o644));
        Call::new(
            NFS_PROGRAM::NFSPROC3_CREATE,
            &CREATE3args { where_: place(&self.root, name), how },
        )
    }

    /// Writes `len` bytes more, durably, into the newest file that takes some; false when there is
    /// no room.
    fn append(&mut self, len: usize) -> bool {
        let full = self.files.last().is_none_or(|file| file.len >= FILE_BYTES_MAX);
        if full && !self.make_file() {
            return false;
        }
        let file = self.files.last_mut().unwrap();
        let data = piece(&self.noise, file.seed, file.len, len);
        let stable = stable_how::FILE_SYNC;
        match self.nfs.write(&file.handle, file.len as u64, data, stable) {
            Nfs3Result::Ok(written) => {
                assert_eq!(written.committed, stable_how::FILE_SYNC);
                assert!(written.count > 0, "a write that took nothing is none");
                file.len += written.count as usize;
                true
            }
            Nfs3Result::Err((nfsstat3::NFS3ERR_NOSPC, _)) => false,
            Nfs3Result::Err((status, _)) => panic!("WRITE to {}: {status:?}", file.name),
        }
    }

    fn make_file(&mut self) -> bool {
        let seed = self.made;
        self.made += 1;
        let name = format!("file.{seed}");
        let how = createhow3::GUARDED(with_mode(0o644));
        match self.nfs.try_create(&self.root, &name, how) {
            Nfs3Result::Ok(made) => {
                self.files.push(Kept { name, handle: made.obj.unwrap(), seed, len: 0 });
                true
            }
            Nfs3Result::Err((nfsstat3::NFS3ERR_NOSPC, _)) => false,
            Nfs3Result::Err((status, _)) => panic!("CREATE of {name}: {status:?}"),
        }
    }

    /// Every acknowledged name and byte is there, and nothing else.
    fn verify(&mut self) {
        for file in &self.files {
            assert_eq!(self.nfs.getattr(&file.handle).size as usize, file.len, "{}", file.name);
            for at in (0..file.len).step_by(MIB) {
                let len = MIB.min(file.len - at);
                let read = self.nfs.read(&file.handle, at as u64, len as u32).unwrap();
                let wanted = piece(&self.noise, file.seed, at, len);
                assert!(read.data.as_ref() == wanted, "{len} bytes at {at} of {}", file.name);
            }
        }
        let mut found = self.nfs.names(&self.root);
        let names = self.files.iter().map(|file| &file.name).chain(&self.names);
        let mut wanted: Vec<Vec<u8>> = names.map(|name| name.clone().into_bytes()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert!(found == wanted, "{} names and not {}", found.len(), wanted.len());
    }

    /// A log that is cut gives a little room back at any moment, so what is not refused is undone
    /// and the disk filled again.
    fn refuses_all_that_needs_room(&mut self) {
        eventually_within(SETTLING_MAX, "all that needs room to be refused", || {
            self.fill();
            let df_says_so = self.free() < MIB as u64;
            let (nfs, root) = (&mut self.nfs, &self.root);
            let made = nfs.try_mkdir(root, "folder").status();
            let linked = nfs.try_symlink(root, "symlink", b"target").status();
            for (name, status) in [("folder", made), ("symlink", linked)] {
                match (name, status) {
                    (_, nfsstat3::NFS3ERR_NOSPC) => {}
                    ("folder", nfsstat3::NFS3_OK) => drop(nfs.rmdir(root, name).unwrap()),
                    ("symlink", nfsstat3::NFS3_OK) => drop(nfs.remove(root, name).unwrap()),
                    (name, other) => panic!("{name}: {other:?}"),
                }
            }
            let wrote = self.append(4096);
            let refused = [made, linked].iter().all(|status| *status != nfsstat3::NFS3_OK);
            (refused && !wrote && df_says_so).then_some(())
        });
    }

    /// Removes every other file and name, and cuts the first file that stays in half: all of it
    /// must be done at once.
    fn empty_half(&mut self) {
        let mut number = 0;
        let mut goes = || {
            number += 1;
            number % 2 == 0
        };
        let removed: Vec<Kept> = self.files.extract_if(.., |_| goes()).collect();
        let names: Vec<String> = self.names.extract_if(.., |_| goes()).collect();
        assert!(removed.len() > 5 && names.len() > 100, "enough to tell the difference");
        for name in removed.iter().map(|file| &file.name).chain(&names) {
            self.nfs.remove(&self.root, name).unwrap();
        }
        let first = &mut self.files[0];
        first.len /= 2;
        self.nfs.setattr(&first.handle, with_size(first.len as u64)).unwrap();
        let bytes: usize = removed.iter().map(|file| file.len).sum();
        eventually_within(FREED_WITHIN, "the room of removed files to be free", || {
            (self.free() > bytes as u64 / 2).then_some(())
        });
    }

    fn takes_data_again(&mut self) {
        for len in [MIB, 64 << 10, 4096, 1] {
            for _ in 0..10 {
                assert!(self.append(len), "there is room for {len} bytes");
            }
        }
        let name = format!("again.{}", self.made);
        let made: CREATE3res = client::unpacked(&self.nfs.send(&self.creation(&name)));
        made.unwrap();
        self.names.push(name);
    }

    fn free(&mut self) -> u64 {
        self.nfs.fsstat(&self.root).abytes
    }
}

/// The bytes that belong at `at` of the file `seed`.
fn piece(noise: &[u8], seed: usize, at: usize, len: usize) -> &[u8] {
    // A file's bytes repeat every mebibyte, and start elsewhere in every file.
    let from = (seed * 4099 + at) % MIB;
    assert!(len <= MIB, "a write is a mebibyte at most");
    &noise[from..from + len]
}

/// Small, so that it is soon full; large enough for a log, a reserve and a ballast.
const DISK_MIB: u64 = 1024;

/// Large writes leave this much to the names.
const ROOM_FOR_NAMES: u64 = 12 << 20;

const NAMES_AT_ONCE: usize = 512;

/// Some dozens of files on a disk.
const FILE_BYTES_MAX: usize = 16 * MIB;

/// Full means that for so long no block was taken.
const FULL_AFTER: Duration = Duration::from_secs(2);

/// No room appears for ever.
const SETTLING_MAX: Duration = Duration::from_secs(90);

/// A removal is done within seconds, and BTRFS accounts for it when it commits, every half minute.
const FREED_WITHIN: Duration = Duration::from_secs(60);
