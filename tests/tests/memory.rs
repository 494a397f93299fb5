//! An appliance's memory is bounded, whatever goes through it.
//!
//! Invariant: the most memory that the process ever has stays below [`MEMORY_KIB_MAX`], however
//! many bytes are written and read and however many names a directory has. Each test looks at the
//! peak that the kernel keeps, so no moment is missed.
//!
//! Absent on purpose: clients that mean harm; those are another test's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[allow(dead_code, reason = "these tests need a part of what that client can do")]
#[path = "conformance/client.rs"]
mod client;

use std::time::Instant;

use nfs3_client::nfs3_types::nfs3::*;
use tests::{Appliance, LoopBtrfs, Random, Sandbox, sized};

use client::{Call, Client, Credential, place, with_mode, write_args};

const MIB: usize = 1 << 20;

#[test]
fn gigabytes_with_thirty_two_requests_under_way_pass_through_a_quarter_of_one() {
    let sandbox = Sandbox::new();
    let total = sized(2 << 30, 20 << 30);
    let disk = LoopBtrfs::new(&sandbox, "disk", (total >> 20) * 3 / 2 + 2048);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let file = nfs.create(&root, "file");
    let noise = Random::new(41).bytes(MIB).repeat(2);

    let started = Instant::now();
    for first in (0..total / MIB as u64).step_by(REQUESTS) {
        let calls: Vec<Call> = (first..first + REQUESTS as u64)
            .map(|mib| {
                let data = piece(&noise, mib);
                let args = write_args(&file, mib * MIB as u64, data, stable_how::UNSTABLE);
                Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args)
            })
            .collect();
        for answer in nfs.call_all::<WRITE3res>(&calls) {
            assert_eq!(answer.unwrap().count as usize, MIB);
        }
    }
    nfs.commit(&file).unwrap();
    println!("written in {:?}; {} KiB at most", started.elapsed(), appliance.resident_most_kib());

    for first in (0..total / MIB as u64).step_by(REQUESTS) {
        let calls: Vec<Call> = (first..first + REQUESTS as u64)
            .map(|mib| {
                let offset = mib * MIB as u64;
                let args = READ3args { file: file.clone(), offset, count: MIB as u32 };
                Call::new(NFS_PROGRAM::NFSPROC3_READ, &args)
            })
            .collect();
        for (mib, answer) in (first..).zip(nfs.call_all::<READ3res<'static>>(&calls)) {
            assert!(answer.unwrap().data.as_ref() == piece(&noise, mib), "mebibyte {mib}");
        }
    }
    println!("read after {:?}", started.elapsed());
    must_have_stayed_small(&mut appliance);
    appliance.stop();
}

#[test]
fn a_directory_of_a_hundred_thousand_names_is_made_and_listed_in_little_memory() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 16384);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let count = sized(100_000, 1_000_000) as usize;
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let dir = nfs.mkdir(&root, "many");

    let started = Instant::now();
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            let dir = &dir;
            scope.spawn(move || make_names(dir, (maker..count).step_by(MAKERS).collect()));
        }
    });
    println!("made in {:?}; {} KiB at most", started.elapsed(), appliance.resident_most_kib());

    let listed = Instant::now();
    let plain = nfs.names(&dir);
    println!("READDIR took {:?}", listed.elapsed());
    must_be_all(plain, count);
    let listed = Instant::now();
    let plus = by_readdirplus(&mut nfs, &dir);
    println!("READDIRPLUS took {:?}", listed.elapsed());
    must_be_all(plus, count);
    must_have_stayed_small(&mut appliance);
    appliance.stop();
}

fn make_names(dir: &nfs_fh3, numbers: Vec<usize>) {
    let mut nfs = Client::new(Credential::ROOT);
    for numbers in numbers.chunks(REQUESTS * 8) {
        let calls: Vec<Call> = numbers
            .iter()
            .map(|number| {
                let how = createhow3::GUARDED(with_mode(0o644));
                let where_ = place(dir, format!("name.{number}"));
                Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &CREATE3args { where_, how })
            })
            .collect();
        for answer in nfs.call_all::<CREATE3res>(&calls) {
            answer.unwrap();
        }
    }
}

fn by_readdirplus(nfs: &mut Client, dir: &nfs_fh3) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut after = (0, cookieverf3::default());
    loop {
        let page = nfs.readdirplus(dir, after, (MIB as u32, MIB as u32)).unwrap();
        for entry in page.reply.entries.0 {
            after = (entry.cookie, page.cookieverf);
            assert!(matches!(entry.name_attributes, Nfs3Option::Some(_)), "with attributes");
            assert!(matches!(entry.name_handle, Nfs3Option::Some(_)), "with a handle");
            names.push(entry.name.as_ref().to_vec());
        }
        if page.reply.eof {
            names.retain(|name| name != b"." && name != b"..");
            return names;
        }
    }
}

/// Every name once.
fn must_be_all(names: Vec<Vec<u8>>, count: usize) {
    let number = |name: &Vec<u8>| -> usize {
        let text = std::str::from_utf8(name).unwrap();
        text.strip_prefix("name.").unwrap().parse().unwrap()
    };
    let mut seen = vec![false; count];
    assert_eq!(names.len(), count);
    for name in &names {
        assert!(!std::mem::replace(&mut seen[number(name)], true), "{name:?} is there twice");
    }
}

fn must_have_stayed_small(appliance: &mut Appliance) {
    appliance.assert_alive();
    let most = appliance.resident_most_kib();
    println!("{most} KiB at most, {} KiB now", appliance.resident_kib());
    assert!(most < MEMORY_KIB_MAX, "{most} KiB");
}

/// The bytes of one mebibyte of the file; each starts elsewhere in the noise.
fn piece(noise: &[u8], mib: u64) -> &[u8] {
    let from = (mib as usize * 4099) % MIB;
    &noise[from..from + MIB]
}

/// Under way at once on one connection; Linux has as many with `nconnect`.
const REQUESTS: usize = 32;

/// Connections that make names at once.
const MAKERS: usize = 4;

/// A quarter of a GiB.
const MEMORY_KIB_MAX: u64 = 256 << 10;
