//! Who is of the fleet changes: one leaves with its files, one was away for long, one only votes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::{Duration, Instant};

use tests::fleet::said_by;
use tests::{Fleet, FleetWorld, Guests, Sandbox, eventually_within};

#[test]
fn a_drained_appliance_leaves_its_files_to_the_others_while_they_are_used() {
    let mut world = FleetWorld::new(4, 3, 2);
    world.mount(0, 1);
    world.mount(1, 3);
    world.guests.first().sh("set -e; mkdir /tmp/tree tree; for n in $(seq 30); do
           head -c $((n * 20000)) /dev/urandom >/tmp/tree/f$n; cp /tmp/tree/f$n tree/f$n; done; sync
         tar -cf $JOB/tree.tar -C /tmp/tree .");
    assert_eq!(world.fleet.whereis(0, "demo/tree/f7").owner, "bob", "where its client is");
    let used = world.guests.second().start(
        "set -e; touch log; until [ -e $JOB/stop ]; do echo line >>log; sync log
           for n in 1 15 30; do echo more >>/tmp/more; echo more >>tree/f$n; done; done
         wc -l <log; wc -l </tmp/more",
    );
    let ada = world.fleet.first();
    let drained = ada.cli_ok(&["fleet", "drain", "bob", "--wait"]);
    println!("{drained}");
    world.guests.second().sh("touch $JOB/stop");
    let counts = used.must_within(Duration::from_secs(60));
    println!("{counts}");
    for n in 1..=30 {
        let found = world.fleet.whereis(0, &format!("demo/tree/f{n}"));
        assert!(found.owner != "bob" && !found.copies.contains(&"bob".to_owned()), "{found:?}");
    }
    let demo = ada.cli_json(&["volume", "show", "demo"]);
    assert_eq!(demo["members"].as_array().unwrap().len(), 3, "another one took its place: {demo}");

    world.guests.first().unmount();
    world.fleet.nth_mut(1).stop();
    world.fleet.first().cli_ok(&["fleet", "remove", "bob"]);
    world.guests.second().sh("set -e; mkdir /tmp/tree; tar -xf $JOB/tree.tar -C /tmp/tree
         lines=$(($(wc -l </tmp/more) / 3))
         for n in 1 15 30; do head -n $lines /tmp/more >>/tmp/tree/f$n; done
         echo 3 >/proc/sys/vm/drop_caches; diff -r /tmp/tree tree");
    for number in [0, 2, 3] {
        world.fleet.nth(number).check("demo");
    }
}

#[test]
fn an_appliance_that_was_away_for_long_gets_a_whole_catalog_and_goes_on() {
    let mut world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.guests.first().sh("set -e; mkdir before; touch before/f{1..50}");
    world.fleet.nth_mut(2).kill9();
    // More entries than the log keeps for those who are away, and time for it to be cut.
    world.guests.first().sh("set -e; mkdir away; cd away
         for d in $(seq 12); do mkdir $d; touch $d/f{1..200}; sleep 1; done; rm -r ../before");
    std::thread::sleep(Duration::from_secs(6));
    world.fleet.nth_mut(2).restart();
    world.fleet.await_standing(3);
    let cyd = world.fleet.nth(2);
    eventually_within(Duration::from_secs(60), "a whole catalog to come", || {
        let log = cyd.log();
        assert!(!log.contains("could not be installed"), "{log}");
        log.contains("too far behind: fetching an image").then_some(())
    });
    world.mount(1, 2);
    world.guests.second().sh("set -e; [ $(find away -type f | wc -l) = 2400 ]; [ ! -e before ]
         echo new >away/new; sync away/new");
    assert_eq!(world.guests.first().sh("cat away/new"), "new\n");
    // It counts again: with another one gone the two of them decide.
    world.guests.first().unmount();
    world.fleet.nth_mut(0).kill9();
    world.guests.second().sh("set -e; mkdir with-two; touch with-two/f{1..20}");
    world.fleet.nth_mut(0).restart();
    world.fleet.await_standing(3);
    world.end_well(3);
}

#[test]
fn an_appliance_that_was_cut_off_for_long_answers_at_once_when_it_is_back() {
    let world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.mount(1, 1);
    world.guests.first().sh("set -e; echo before >moved; sync moved; mkdir removed");
    world.guests.second().sh("set -e; for n in $(seq 50); do echo $n >removed/$n; done; sync -f .");
    // What bob has in hand when he is cut off must not keep him from opening the catalog anew: a
    // file that has just come to him, files that he removes, and a client that waits.
    assert_eq!(world.fleet.transfer("demo/moved", "bob").phase, "done");
    world.guests.first().sh("rm removed/*");
    world.fleet.partition(1);
    let waiting =
        world.guests.second().start("set -e; touch while-cut-off; cat moved; echo is back");
    world.guests.first().sh("set -e; mkdir away; cd away
         for d in $(seq 8); do mkdir $d; touch $d/f{1..200}; sleep 1; done");
    std::thread::sleep(Duration::from_secs(6));
    assert!(!waiting.ended(), "{}", waiting.so_far());
    let log = world.fleet.nth(1).log().len();
    world.fleet.heal(1);
    let healed = Instant::now();
    let said = waiting.must_within(Duration::from_secs(60));
    let answered = healed.elapsed();
    assert_eq!(said, "before\nis back\n");
    let log = world.fleet.nth(1).log()[log..].to_owned();
    assert!(log.contains("too far behind: fetching an image"), "{log}");
    println!("answered {answered:?} after it was back");
    assert!(answered < BACK_WITHIN, "{answered:?}\n{log}");
    world.fleet.await_standing(3);
    world.fleet.await_whole("demo");
    assert_eq!(world.guests.second().sh("ls away/*/ | grep -c f"), "1600\n");
    (0..2).for_each(|number| world.guests.nth(number).unmount());
    world.end_well(3);
}

#[test]
fn two_appliances_and_a_witness_go_on_when_one_is_gone() {
    let sandbox = Sandbox::new();
    let mut fleet = Fleet::strangers(&sandbox, 3, 1024);
    fleet.first().cli_ok(&["fleet", "init"]);
    fleet.admit(1);
    assert!(fleet.first().cli_ok(&["fleet", "status"]).contains("tolerates NO loss"));
    let made = fleet.first().cli_json(&["fleet", "invite", "--witness"]);
    let (token, at) = (made["token"].as_str().unwrap(), fleet.mesh_address(0).to_string());
    fleet.nth(2).cli_ok(&["join", token, &at, "--witness"]);
    fleet.await_standing(3);
    let three = fleet.first().cli_json(&["fleet", "status"]);
    assert_eq!(three["members"][2]["kind"], "witness", "{three}");
    fleet.make_volume("demo", &["bob"]);
    let said = fleet.first().cli(&["volume", "create", "no", "--on", "cyd"]);
    assert!(said.code != 0 && said.stderr.contains("witness"), "{said:?}");

    let guests = Guests::boot(&sandbox, 1);
    guests.first().mount_from(fleet.client_address(1), "demo");
    guests.first().sh("set -e; echo before >file; sync file");
    fleet.nth_mut(0).kill9();
    guests.first().sh("set -e; [ $(cat file) = before ]; echo after >file; sync file; mkdir new");
    eventually_within(Duration::from_secs(20), "the loss to be seen", || {
        let status = said_by(fleet.nth(1), &["fleet", "status"])?;
        (status["members"][0]["up"] == false).then_some(())
    });
    guests.first().sh("set -e; [ $(cat file) = after ]; touch new/file");
    fleet.nth(1).cli_ok(&["volume", "create", "later", "--on", "bob"]);
    guests.first().unmount();
}

/// The client tries a connection again after three seconds, and the image takes one; two busy
/// processors are allowed the rest. Ten more is what one request in hand would cost.
const BACK_WITHIN: Duration = Duration::from_secs(9);
