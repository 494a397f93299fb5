//! Runs from random seeds, and proofs that each checker can find something.

use std::ops::Range;
use std::panic::catch_unwind;

use crate::checks::Invariant;
use crate::config::{Config, Mistake};
use crate::world::World;

/// Runs a seed; a violation ends the test with the line that repeats it.
fn run(seed: u64) -> World {
    let (world, verdict) = World::run(Config::random(seed, Mistake::Nothing));
    if let Err(what) = verdict {
        panic!(
            "{what}\nHOLDFAST_SEED={seed} cargo nextest run -p tests --test simulation -- \
             a_seed_from_the_environment"
        );
    }
    world
}

/// One part of all seeds: 5 000 in CI, 500 000 in the long runs.
fn run_part(part: u64) {
    let seeds = tests::sized(5_000, 500_000) / PARTS;
    let range: Range<u64> = part * seeds..(part + 1) * seeds;
    let (mut ops, mut moved, mut images) = (0, 0, 0);
    for seed in range {
        let world = run(seed);
        ops += world.history.ops.len();
        moved += world.history.handed_over;
        images += world.history.images;
        if tests::soaking() && seed % 500 == 0 {
            println!("part {part}: seed {seed}, {ops} calls, {moved} hand-overs, {images} images");
        }
    }
    // Without these the checkers would have had nothing to look at.
    assert!(ops as u64 > 60 * seeds && moved > seeds, "{ops} calls, {moved} hand-overs");
}

#[test]
fn a_fleet_keeps_its_word_1() {
    run_part(0);
}

#[test]
fn a_fleet_keeps_its_word_2() {
    run_part(1);
}

#[test]
fn a_fleet_keeps_its_word_3() {
    run_part(2);
}

#[test]
fn a_fleet_keeps_its_word_4() {
    run_part(3);
}

#[test]
fn a_seed_from_the_environment() {
    let seed = std::env::var("HOLDFAST_SEED").map_or(1, |seed| seed.parse().unwrap());
    run(seed);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digest = |seed| {
        let world = run(seed);
        (world.history.digest, world.events, format!("{:?}", world.history.ops))
    };
    for seed in 0..5 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(1).0, digest(2).0);
}

/// The mistake is found within so many seeds, and by the checker of that promise.
#[track_caller]
fn is_found(mistake: Mistake, by: Invariant, seeds: u64) {
    is_found_in((0..seeds).map(|seed| Config::random(seed, mistake)), by);
}

fn is_found_in(worlds: impl Iterator<Item = Config>, by: Invariant) {
    let mut tried = 0;
    let found = worlds.inspect(|_| tried += 1).any(|config| {
        // Some mistakes end in an assertion of the cores rather than in a checker.
        let run = catch_unwind(|| World::run(config).1.err());
        run.ok().flatten().is_some_and(|found| found.of == by)
    });
    assert!(found, "it is not found in {tried} seeds by {by:?}");
}

#[test]
fn two_that_act_for_one_object_are_found() {
    is_found(Mistake::TakesCopiesForOwners, Invariant::OneAcknowledges, 200);
}

#[test]
fn a_commit_without_a_sync_is_found() {
    is_found(Mistake::CommitsWithoutSync, Invariant::NothingLost, 200);
}

#[test]
fn a_good_copy_that_misses_a_change_is_found() {
    is_found(Mistake::LeavesCopiesGood, Invariant::NothingLost, 3_000);
}

#[test]
fn a_change_of_names_done_twice_is_found() {
    is_found(Mistake::ForgetsNames, Invariant::Names, 20);
}

#[test]
fn a_refusal_that_the_log_does_not_know_is_found() {
    is_found(Mistake::RefusesFromALook, Invariant::Names, 6_000);
}

#[test]
fn a_stale_read_of_names_is_found() {
    is_found(Mistake::ReadsWithoutRound, Invariant::Names, 800);
}

#[test]
fn a_removal_that_the_owner_does_not_know_is_found() {
    is_found(Mistake::OwnersMayNotKnow, Invariant::Names, 800);
}

#[test]
fn a_verifier_that_hides_a_loss_is_found() {
    is_found(Mistake::CallsItselfClean, Invariant::Verifier, 200);
}

#[test]
fn a_lease_that_outlives_its_down_is_found() {
    is_found(Mistake::WildClocks, Invariant::Leases, 300);
}

#[test]
fn catalogs_that_differ_are_found() {
    is_found(Mistake::SkipsAnEntry, Invariant::Catalogs, 20);
}

#[test]
fn a_call_that_is_sent_on_for_a_client_that_has_gone_is_found() {
    is_found(Mistake::ForwardsForTheGone, Invariant::Once, 1_500);
}

#[test]
fn a_write_that_a_copy_misses_is_found() {
    is_found(Mistake::AnswersBeforeCopies, Invariant::NothingLost, 2_000);
}

#[test]
fn changes_executed_as_they_come_are_found() {
    is_found(Mistake::TakesChangesAsTheyCome, Invariant::Alike, 200);
}

#[test]
fn a_copy_that_believes_its_record_after_an_unclean_stop_is_found() {
    is_found(Mistake::TrustsRecords, Invariant::Alike, 200);
}

#[test]
fn tails_that_differ_and_are_taken_for_equal_are_found() {
    is_found(Mistake::TakesTailsForEqual, Invariant::Alike, 200);
}

#[test]
fn zeros_for_what_can_not_be_read_are_found() {
    is_found(Mistake::TakesRotForZeros, Invariant::NothingLost, 500);
}

#[test]
fn a_copy_that_is_given_up_amid_changes_is_found() {
    // Where nothing rots, and where there is one copy, none is given up.
    let world = |seed| Config {
        rots: true,
        replicas: 2 + seed % 2,
        bad_disk: None,
        ..Config::random(seed, Mistake::GivesUpAmidChanges)
    };
    is_found_in((0..5_000).map(world), Invariant::Once);
}

const PARTS: u64 = 4;
