//! Several appliances are one file system to their clients.
//!
//! Each test is a fleet in network namespaces, and guests with the real Linux client that mount
//! different appliances of it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use tests::FleetWorld;

#[test]
fn a_tree_written_through_one_appliance_is_the_same_through_all_others() {
    let world = FleetWorld::new(3, 3, 3);
    (0..3).for_each(|number| world.mount(number, number));
    let guests = &world.guests;
    guests.nth(0).sh("set -e; umask 022; mkdir -p /tmp/tree/a/b /tmp/tree/c
         cd /tmp/tree; for n in $(seq 60); do head -c $((n * 3001)) /dev/urandom >a/f$n; done
         seq 200000 >a/b/big; chmod 640 a/f7; ln a/f1 c/hard; ln -s ../a/f2 c/soft
         mkfifo c/pipe; touch -d '2001-02-03 04:05:06.789 UTC' a/f3
         cp -a /tmp/tree /mnt/nfs/tree; sync; tar --format=pax -cf $JOB/tree.tar .");
    for guest in [1, 2] {
        guests.nth(guest).sh("set -e; mkdir -p /tmp/tree; tar -xpf $JOB/tree.tar -C /tmp/tree
             diff -r --no-dereference -x pipe /tmp/tree tree
             list() { (cd $1; find . ! -type d -printf '%P %y %m %n %s %T@ %l\\n' | sort); }
             diff <(list /tmp/tree) <(list tree)
             [ tree/c/hard -ef tree/a/f1 ]; [ \"$(readlink tree/c/soft)\" = ../a/f2 ]");
    }
    for path in ["demo/tree/a/f1", "demo/tree/a/b/big", "demo/tree/c/hard"] {
        for asked in 0..3 {
            assert_eq!(world.fleet.whereis(asked, path).owner, "ada", "{path} asked of {asked}");
        }
    }
    world.end_well(3);
}

#[test]
fn what_one_client_renames_links_and_removes_is_so_for_clients_of_other_appliances() {
    let world = FleetWorld::new(3, 3, 3);
    (0..3).for_each(|number| world.mount(number, number));
    // Each guest changes what the one before it made. Names that a client has seen may be cached,
    // so each step's names are its own.
    world.guests.all(
        "set -ex
         before=$(((GUEST + 2) % 3)); mkdir of.$GUEST; cd of.$GUEST
         for n in $(seq 10); do echo $n of $GUEST >rename.$n; echo $n >remove.$n; done
         for n in $(seq 10); do echo $n >link.$n; echo $n >chmod.$n; seq $n >grow.$n; done
         mkdir dir; ln -s target soft; sync; cd ..; barrier made
         cd of.$before
         for n in $(seq 10); do mv rename.$n renamed.$n; rm remove.$n; done
         for n in $(seq 10); do ln link.$n linked.$n; chmod 600 chmod.$n; echo on >>grow.$n; done
         rmdir dir; mv soft ../of.$GUEST/soft.taken; sync; cd ..; barrier changed
         after=$(((GUEST + 1) % 3)); cd of.$after
         for n in $(seq 10); do
           [ \"$(cat renamed.$n)\" = \"$n of $after\" ]; ! [ -e rename.$n ]; ! [ -e remove.$n ]
           [ linked.$n -ef link.$n ]; [ $(stat -c %h linked.$n) = 2 ]
           [ $(stat -c %a chmod.$n) = 600 ]; [ \"$(tail -1 grow.$n)\" = on ]
           [ $(wc -l <grow.$n) = $((n + 1)) ]
         done
         ! [ -e dir ]; ! [ -L soft ]; [ \"$(readlink soft.taken)\" = target ]",
    );
    world.end_well(3);
}

#[test]
fn files_made_at_once_through_all_appliances_are_all_there() {
    let world = FleetWorld::new(3, 3, 3);
    (0..3).for_each(|number| world.mount(number, number));
    world.guests.all(
        "set -e; mkdir -p one; barrier ready
         make() { for n in $(seq 50); do echo $1.$n >one/$GUEST.$1.$n; done; }
         for worker in $(seq 7); do make $worker & done; wait; sync
         barrier made
         names=$(echo {0,1,2}.{1,2,3,4,5,6,7}.{1..50}); cd one
         [ \"$(cat $names | tr '\\n' ' ')\" = \"$(echo ' '$names | sed 's/ [0-2][.]/ /g; s/^ //') \" ]
         cd ..
         [ $(ls one | wc -l) = 1050 ]",
    );
    for (guest, owner) in ["ada", "bob", "cyd"].iter().enumerate() {
        let path = format!("demo/one/{guest}.1.1");
        assert_eq!(world.fleet.whereis(0, &path).owner, *owner, "{path}");
    }
    world.end_well(3);
}
