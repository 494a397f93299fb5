//! The real Linux NFS client, mounting with no options, can do what it can do on any disk.
//!
//! Each test is one sitting of one or two guests; most of them are in `kernel/sittings.rs`, since a
//! fleet must pass them too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/sittings.rs"]
#[allow(dead_code, reason = "these tests need a part of the sittings")]
mod sittings;

use tests::{Appliance, Guests, LoopBtrfs, Sandbox, sized};

#[test]
fn a_plain_mount_is_version_3_and_shows_in_df_showmount_and_rpcinfo() {
    let (_sandbox, _disk, _appliance, guests) = world(1);
    let guest = guests.first();
    let mounts = guest.sh("grep /mnt/nfs /proc/mounts");
    assert!(mounts.contains("vers=3") && mounts.contains("proto=tcp"), "{mounts}");
    assert!(mounts.contains("rsize=1048576,wsize=1048576"), "{mounts}");
    guest.sh("set -e
         set -- $(df -B1 --output=size,used,avail /mnt/nfs | tail -1)
         [ $1 -gt $((1 << 30)) ] && [ $3 -gt $((1 << 29)) ] && [ $1 -ge $(($2 + $3)) ]
         [ $(df --output=iavail /mnt/nfs | tail -1) -gt 100000 ]");
    let exports = guest.sh("showmount -e ada");
    assert!(exports.lines().any(|line| line.starts_with("/demo ")), "{exports}");
    let programs = guest.sh("rpcinfo -p ada");
    for line in ["100003 3 tcp 2049", "100005 3 tcp", "100005 3 udp", "100000 2 tcp 111"] {
        let wanted: Vec<&str> = line.split(' ').collect();
        let found = programs.lines().any(|shown| {
            let words: Vec<&str> = shown.split_whitespace().collect();
            words.starts_with(&wanted)
        });
        assert!(found, "{line} is missing:\n{programs}");
    }
    assert!(guest.sh("showmount -a ada").contains("10.99.0.10"), "the mount is on record");
}

#[test]
fn a_mount_over_ipv6_works_too() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let _appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::boot(&sandbox, 1);
    guests.first().sh("set -e; cd /
         mount -t nfs '[fd99::1]:/demo' /mnt/nfs
         cd /mnt/nfs; echo six >file; [ $(cat file) = six ]
         cd /; umount /mnt/nfs");
}

#[test]
fn a_folder_below_an_export_mounts_too() {
    sit(1, sittings::a_folder_below_an_export_mounts_too);
}

#[test]
fn links_fifos_devices_and_sparse_files_are_what_they_should_be() {
    sit(1, sittings::links_fifos_devices_and_sparse_files_are_what_they_should_be);
}

#[test]
fn a_name_of_255_bytes_passes_and_one_of_256_does_not() {
    sit(1, sittings::a_name_of_255_bytes_passes_and_one_of_256_does_not);
}

#[test]
fn a_file_renamed_over_or_removed_while_open_can_still_be_read() {
    sit(1, sittings::a_file_renamed_over_or_removed_while_open_can_still_be_read);
}

#[test]
fn permissions_hold_for_users_groups_and_setgid_folders() {
    sit(1, sittings::permissions_hold_for_users_groups_and_setgid_folders);
}

#[test]
fn times_move_as_posix_says_and_can_be_set() {
    sit(1, sittings::times_move_as_posix_says_and_can_be_set);
}

#[test]
fn thousands_of_real_files_arrive_as_they_are() {
    sit(1, |guests| sittings::real_files_arrive_as_they_are(guests, sized(5_000, 20_000)));
}

#[test]
fn a_c_program_is_unpacked_and_built_and_runs_on_the_mount() {
    sit(1, sittings::a_c_program_is_unpacked_and_built_and_runs_on_the_mount);
}

#[test]
fn a_rust_crate_builds_offline_on_the_mount() {
    sit(1, sittings::a_rust_crate_builds_offline_on_the_mount);
}

#[test]
fn a_lock_is_refused_at_once_and_hangs_nobody() {
    let (_sandbox, _disk, _appliance, guests) = world(1);
    guests.first().sh("set -x; SECONDS=0
         ! flock -x file true 2>said; grep -q 'No locks available' said
         ! flock -n file true 2>said; grep -q 'No locks available' said
         [ $SECONDS -lt 5 ]; echo still here >file");
}

#[test]
fn git_works_on_the_mount() {
    sit(1, sittings::git_works_on_the_mount);
}

#[test]
fn rsync_and_archives_with_attributes_round_trip() {
    sit(1, sittings::rsync_and_archives_with_attributes_round_trip);
}

#[test]
fn two_clients_see_each_others_changes_when_they_open() {
    sit(2, sittings::two_clients_see_each_others_changes_when_they_open);
}

/// One sitting of `count` guests.
fn sit(count: usize, sitting: impl Fn(&Guests)) {
    let (_sandbox, _disk, _appliance, guests) = world(count);
    sitting(&guests);
}

/// An appliance with a fresh disk of 4 GiB, mounted by `count` guests.
fn world(count: usize) -> (Sandbox, LoopBtrfs, Appliance, Guests) {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::with_demo(&sandbox, count);
    (sandbox, disk, appliance, guests)
}
