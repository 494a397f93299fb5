//! The volume against a reference: random operations by several users on the appliance and on a
//! simple tree in memory, with restarts, kills and power cuts between them.
//!
//! A failure prints the seed that repeats it; `HOLDFAST_SEEDS=1000` tries that many seeds.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod check;
mod draw;
mod judge;
mod perform;
mod run;
mod tree;
mod world;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use consensus::{MemoryLog, SyncOutcome};
use extents::simulated::{Failing, Operation as DiskOperation};
use extents::{Disk, Open};
use model::{Change, CreateHow, Name, ObjectId, Refusal, SetAttributes, Span, Stability};
use volume::Ports;

use crate::draw::Random;
use crate::run::{Run, as_root, write_request};
use crate::tree::Lie;
use crate::world::{End, Pace, World, backing_file};

#[test]
fn the_volume_does_what_a_simple_tree_does_and_loses_nothing_acknowledged() {
    let seeds: Vec<u64> = match std::env::var("HOLDFAST_SEED") {
        Ok(seed) => vec![seed.parse().expect("HOLDFAST_SEED is a number")],
        Err(_) => (1..=number("HOLDFAST_SEEDS", SEEDS)).collect(),
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in &seeds {
        let mut run = Run::new(*seed, Lie::None);
        if let Err(what) = run.go(LIVES, OPERATIONS) {
            panic!(
                "repeat with: HOLDFAST_SEED={seed} cargo test -p router --test reference\n{what}\n{}",
                run.tree
            );
        }
        for (what, count) in run.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:#?}");
    if seeds.len() > 1 {
        every_operation_was_done_and_refused(&counts);
    }
}

/// A test that meets only one outcome of something tests nothing of it.
fn every_operation_was_done_and_refused(counts: &BTreeMap<String, u64>) {
    let kinds = [
        "Create",
        "MakeDirectory",
        "Symlink",
        "Node",
        "Link",
        "Remove",
        "RemoveDirectory",
        "Rename",
        "Set",
        "Write",
        "Commit",
        "Read",
        "ReadLink",
        "LookUp",
        "LookUpParent",
        "List",
    ];
    for kind in kinds {
        for outcome in ["done", "refused"] {
            let count = counts.get(&format!("{kind} {outcome}")).copied().unwrap_or(0);
            assert!(count >= 5, "{kind} was {outcome} {count} times");
        }
    }
    for end in ["Clean", "Kill", "PowerCut"] {
        assert!(counts.contains_key(end), "no life ended by {end}");
    }
}

#[test]
fn a_tree_that_gets_one_rule_wrong_is_found_out() {
    let lies = [
        Lie::StickyBitsMeanNothing,
        Lie::LinksAreNotCounted,
        Lie::OthersAreTheGroup,
        Lie::RenameKeepsItsTarget,
        Lie::TruncationGoesOneTooFar,
        Lie::UnlinkMovesNoTime,
        Lie::SetuidStays,
        Lie::UnstableIsDurable,
    ];
    for lie in lies {
        let differs = |seed: &u64| Run::new(*seed, lie).go(LIVES, OPERATIONS).is_err();
        let found = (1..=100).find(differs).unwrap_or_else(|| panic!("{lie:?} is not found out"));
        println!("{lie:?}: found out by seed {found}");
        let truth = Run::new(found, Lie::None).go(LIVES, OPERATIONS);
        assert_eq!(truth, Ok(()), "it was the lie that was found out");
    }
}

#[test]
fn a_log_that_only_says_that_it_syncs_is_found_out() {
    let found = (1..=20).find(|seed| {
        let log = MemoryLog::with_syncs(|sync| match sync {
            // The volume is made, and then the disk begins to lie.
            0..40 => SyncOutcome::Durable,
            _ => SyncOutcome::Lies,
        });
        let mut run = Run::new(*seed, Lie::None);
        run.world = World::on_log(log, Pace::Real);
        run.take_times();
        run.go(LIVES, OPERATIONS).is_err()
    });
    assert!(found.is_some());
}

/// A fresh volume with one empty file.
fn one_file(pace: Pace) -> (World, ObjectId) {
    let world = World::new(pace);
    let how = CreateHow::Guarded(SetAttributes { mode: Some(0o644), ..SetAttributes::default() });
    let (dir, name) = (ObjectId::ROOT, Name::parse(b"file").unwrap());
    let create = Change::Create { dir, name, how, owner: Default::default() };
    let made = world.run(world.router().change(&as_root(), create)).unwrap();
    (world, made.object.unwrap())
}

/// Ten seconds of the world's time, in steps: what other threads do takes time of ours.
fn wait(world: &World) {
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        world.run(async { tokio::time::sleep(Duration::from_millis(500)).await });
    }
}

fn write(world: &World, file: ObjectId, stability: Stability) {
    let request = write_request(file, b"data", stability);
    world.run(world.router().write(&as_root(), request)).unwrap();
}

fn read(world: &World, file: ObjectId) -> Result<Vec<u8>, Refusal> {
    let span = Span::new(0, 100).unwrap();
    let read = world.run(world.router().read(&as_root(), file, span));
    read.map(|read| read.bytes.to_vec()).map_err(|refused| refused.refusal)
}

#[test]
fn a_backing_file_that_is_gone_is_an_empty_file_before_its_first_durable_data_and_a_fault_after() {
    for (stability, wanted) in
        [(Stability::Unstable, Ok(vec![])), (Stability::FileSync, Err(Refusal::Fault))]
    {
        let (mut world, file) = one_file(Pace::Hurried);
        write(&world, file, stability);
        wait(&world);
        world.end(End::Kill, &mut Random::new(1));
        world.disk.unlink(&backing_file(file)).unwrap();
        world.start(false, Pace::Hurried).unwrap();
        assert_eq!(read(&world, file), wanted, "{stability:?}");
        let report = world.run(world.router().check_volume("demo")).unwrap();
        assert_eq!(report.missing.contains(&file), stability == Stability::FileSync);
    }
}

#[test]
fn a_removed_files_backing_file_goes_and_stays_away() {
    let (mut world, file) = one_file(Pace::Hurried);
    write(&world, file, Stability::FileSync);
    let on_disk = |world: &World| world.disk.open(&backing_file(file), Open::Existing).is_ok();
    assert!(on_disk(&world));
    let (dir, name) = (ObjectId::ROOT, Name::parse(b"file").unwrap());
    world.run(world.router().change(&as_root(), Change::Remove { dir, name })).unwrap();
    assert_eq!(read(&world, file), Err(Refusal::Stale));
    wait(&world);
    assert!(!on_disk(&world));
    world.end(End::PowerCut, &mut Random::new(1));
    let gone = world.disk.open(&backing_file(file), Open::Existing).map(drop);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    world.start(false, Pace::Hurried).unwrap();
    assert_eq!(read(&world, file), Err(Refusal::Stale));
    let report = world.run(world.router().check_volume("demo")).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_removal_that_a_power_cut_undid_on_disk_is_done_again() {
    let (mut world, file) = one_file(Pace::Real);
    write(&world, file, Stability::FileSync);
    let (dir, name) = (ObjectId::ROOT, Name::parse(b"file").unwrap());
    world.run(world.router().change(&as_root(), Change::Remove { dir, name })).unwrap();
    world.end(End::PowerCut, &mut Random::new(1));
    assert!(world.disk.open(&backing_file(file), Open::Existing).is_ok(), "not yet removed");
    world.start(false, Pace::Hurried).unwrap();
    wait(&world);
    let gone = world.disk.open(&backing_file(file), Open::Existing).map(drop);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_failed_fsync_is_the_commits_answer_and_changes_the_verifier_until_it_is_cleared() {
    let (world, file) = one_file(Pace::Hurried);
    let router = world.router();
    let unstable = write_request(file, b"may be lost", Stability::Unstable);
    let before = world.run(router.write(&as_root(), unstable.clone())).unwrap();
    world.disk.fail(DiskOperation::Sync, EIO, Failing::Once);
    let commit = || {
        let committed = world.run(router.commit(&as_root(), file));
        committed.map(|committed| committed.verifier).map_err(|refused| refused.refusal)
    };
    assert_eq!(commit(), Err(Refusal::Fault));
    assert_eq!(commit(), Err(Refusal::Fault), "never tried again into a success");
    let refused = world.run(router.write(&as_root(), unstable.clone())).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Fault);
    assert_eq!(router.faulty_objects(None).unwrap().len(), 1);

    world.run(router.clear_fault("demo", file)).unwrap();
    let after = world.run(router.write(&as_root(), unstable)).unwrap();
    assert_ne!(after.written.verifier, before.written.verifier);
    assert_eq!(commit(), Ok(after.written.verifier));
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// EIO of Linux.
const EIO: i32 = 5;
/// Enough for every operation to be done and refused many times, in half a minute.
const SEEDS: u64 = 60;
const LIVES: usize = 5;
const OPERATIONS: usize = 100;
