//! A client notices nothing of mounting an appliance that owns nothing of what it uses: one that
//! holds the volume, or one that does not even hold it.
//!
//! The sittings are those that a lone appliance must pass (`kernel_client.rs`, `fsx.rs`).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/exerciser.rs"]
mod exerciser;
#[path = "kernel/sittings.rs"]
mod sittings;

use std::time::Duration;

use tests::{FleetWorld, Guests, sized};

#[test]
fn names_links_and_attributes_are_right_through_an_appliance_without_the_volume() {
    elsewhere(1, |guests| {
        sittings::tidily(
            guests,
            sittings::links_fifos_devices_and_sparse_files_are_what_they_should_be,
        );
        sittings::tidily(guests, sittings::a_name_of_255_bytes_passes_and_one_of_256_does_not);
        sittings::tidily(guests, sittings::times_move_as_posix_says_and_can_be_set);
        sittings::tidily(
            guests,
            sittings::a_file_renamed_over_or_removed_while_open_can_still_be_read,
        );
        sittings::tidily(guests, sittings::a_folder_below_an_export_mounts_too);
        sittings::tidily(guests, sittings::permissions_hold_for_users_groups_and_setgid_folders);
    });
}

#[test]
fn programs_work_through_an_appliance_without_the_volume() {
    elsewhere(1, |guests| {
        sittings::tidily(guests, sittings::git_works_on_the_mount);
        sittings::tidily(guests, sittings::rsync_and_archives_with_attributes_round_trip);
        sittings::tidily(guests, sittings::a_c_program_is_unpacked_and_built_and_runs_on_the_mount);
    });
}

#[test]
fn a_rust_crate_builds_through_an_appliance_without_the_volume() {
    elsewhere(1, sittings::a_rust_crate_builds_offline_on_the_mount);
}

#[test]
fn thousands_of_files_arrive_through_an_appliance_without_the_volume() {
    elsewhere(1, |guests| sittings::real_files_arrive_as_they_are(guests, sized(400, 20_000)));
}

#[test]
fn two_clients_of_two_appliances_see_each_others_changes_when_they_open() {
    let world = FleetWorld::new(3, 2, 2);
    world.mount(0, 0);
    world.mount(1, 1);
    sittings::two_clients_see_each_others_changes_when_they_open(&world.guests);
    world.end_well(2);
}

#[test]
fn fsx_finds_no_mismatch_through_an_appliance_without_the_volume() {
    elsewhere(1, |guests| {
        exerciser::put_into(guests);
        let job = guests.first().start(&exerciser::script(sized(8_000, 500_000), 5));
        println!("{}", job.must_within(FSX_MAX));
    });
}

#[test]
fn fsx_finds_no_mismatch_through_a_holder_that_owned_nothing_at_first() {
    let world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.mount(1, 1);
    exerciser::put_into(&world.guests);
    world.guests.first().sh(": >file; sync file");
    assert_eq!(world.fleet.whereis(1, "demo/file").owner, "ada");
    let job = world.guests.second().start(&exerciser::script(sized(8_000, 500_000), 6));
    println!("{}", job.must_within(FSX_MAX));
    // Who uses it most should own it by now, which shows that it was moved meanwhile.
    println!("owned by {:?}", world.fleet.whereis(0, "demo/file"));
    world.end_well(3);
}

/// A sitting of `count` guests on the last of four appliances, which does not hold the volume.
fn elsewhere(count: usize, sitting: impl Fn(&Guests)) {
    let world = FleetWorld::new(4, 3, count);
    (0..count).for_each(|guest| world.mount(guest, 3));
    sitting(&world.guests);
    world.end_well(3);
}

const FSX_MAX: Duration = Duration::from_secs(900);
