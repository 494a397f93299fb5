//! What clients do with a lone appliance (`kernel_client.rs`), while every file that they touch is
//! sent to another owner every second. They notice nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/sittings.rs"]
#[allow(dead_code, reason = "these tests need a part of the sittings")]
mod sittings;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Bound, FleetWorld, Guests, Job, binary, sized};

#[test]
fn programs_work_while_their_files_move_every_second() {
    tormented(|guests| {
        sittings::tidily(guests, sittings::git_works_on_the_mount);
        sittings::tidily(guests, sittings::rsync_and_archives_with_attributes_round_trip);
        sittings::tidily(guests, sittings::a_c_program_is_unpacked_and_built_and_runs_on_the_mount);
    });
}

#[test]
fn names_links_and_attributes_are_right_while_files_move_every_second() {
    tormented(|guests| {
        for _ in 0..sized(3, 30) {
            sittings::tidily(
                guests,
                sittings::links_fifos_devices_and_sparse_files_are_what_they_should_be,
            );
            sittings::tidily(guests, sittings::times_move_as_posix_says_and_can_be_set);
            sittings::tidily(
                guests,
                sittings::a_file_renamed_over_or_removed_while_open_can_still_be_read,
            );
            sittings::tidily(
                guests,
                sittings::permissions_hold_for_users_groups_and_setgid_folders,
            );
        }
        sittings::tidily(guests, |guests| {
            sittings::real_files_arrive_as_they_are(guests, sized(600, 20_000))
        });
    });
}

/// A sitting of the first guest, at the first of three appliances, while its files move.
fn tormented(sitting: impl Fn(&Guests)) {
    let world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.mount(1, 2);
    let shared = world.guests.shared();
    let watch = watch(&world);
    let mut tormentor = torment(&world.fleet.first().socket(), shared);
    sitting(&world.guests);
    fs::write(shared.join("stop"), "").unwrap();
    assert!(tormentor.wait(Duration::from_secs(60)).success());
    let _ = watch.must_within(Duration::from_secs(60));
    let moved = fs::read(shared.join("moved")).unwrap().len();
    println!("{moved} hand-overs were begun");
    assert!(moved > 50, "a storm of moves, not a breeze: {moved}");
    world.end_well(3);
}

/// The second guest lists all files, again and again.
fn watch(world: &FleetWorld) -> Job<'_> {
    world.guests.second().start(
        "until [ -e $JOB/stop ]; do
           find . -type f -printf '%P\\n' >$JOB/list.new 2>/dev/null; mv $JOB/list.new $JOB/list
           sleep 0.5
         done",
    )
}

/// Has the files of the list moved to one appliance or another, each second.
fn torment(socket: &Path, shared: &Path) -> Bound {
    const SCRIPT: &str = r#"
        cd "$SHARED"; : >moved
        until [ -e stop ]; do
            sleep 1
            [ -e list ] || continue
            shuf -n 100 list | while IFS= read -r path; do
                to=$(shuf -n 1 -e ada bob cyd)
                # Refused: it is there already, on its way, or gone.
                "$HOLDFAST" object transfer "demo/$path" "$to" >/dev/null 2>&1 && printf . >>moved
            done
        done
        exit 0"#;
    let mut command = Command::new("bash");
    command.args(["-c", SCRIPT]).env("SHARED", shared).env("HOLDFAST", binary());
    command.env("HOLDFAST_SOCKET", socket).stdin(Stdio::null());
    Bound::spawn(&mut command, "the tormentor")
}
