//! Disks are evened out and appliances emptied as their plans say, while files are used.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::fleet::said_by;
use tests::{Fleet, FleetWorld, Sandbox, Weather, eventually_within};

#[test]
fn files_on_one_disk_are_spread_over_all_while_they_are_used_and_then_nothing_is_left_to_move() {
    let world = lopsided(1);
    let fleet = &world.fleet;
    let plan = plan_of(fleet);
    assert_eq!(plan["balanced"], false, "{plan:#}");
    let flows = plan["flows"].as_array().unwrap();
    assert!(flows.iter().all(|flow| flow["from"] == "ada") && flows.len() >= 2, "{plan:#}");
    assert_eq!(owners(fleet), BTreeMap::from([("ada".to_owned(), FILES)]), "a plan moves nothing");
    let table = fleet.first().cli_ok(&["fleet", "rebalance", "--plan"]);
    println!("{table}");
    let headers =
        ["APPLIANCE  STATE  DISK", "VOLUME  FROM  TO   FILES  BYTES", "a rebalance would"];
    for wanted in headers {
        assert!(table.contains(wanted), "{wanted:?} is missing:\n{table}");
    }

    world.mount(1, 2);
    let used = world.guests.second().start(&format!(
        "set -e; n=0; until [ -e $JOB/stop ]; do n=$((n + 1)); echo $n >>log; sync log
           file=f$((RANDOM % {FILES} + 1)); head -c 100K $file | cmp - <(head -c 100K $JOB/copy/$file)
         done; [ $(wc -l <log) = $n ]; echo $n"
    ));
    let began = Instant::now();
    let done = fleet.nth(1).cli_json(&["fleet", "rebalance", "--wait"]);
    println!("{:?}: {done:#}", began.elapsed());
    assert_eq!((&done["run"]["phase"], &done["run"]["succeeded"]), (&"done".into(), &true.into()));
    assert!(done["run"]["files_done"].as_u64().unwrap() >= 10, "{done:#}");
    world.guests.first().sh("touch $JOB/stop");
    println!("used {} times", used.must_within(Duration::from_secs(60)));

    assert!(owners(fleet).len() == 3, "{:?}", owners(fleet));
    for number in 0..3 {
        let plan = plan_at(fleet, number);
        assert_eq!((&plan["balanced"], &plan["files"]), (&true.into(), &0.into()), "{plan:#}");
    }
    // Not as the appliances say, but as the disks are.
    let free: Vec<u64> = (0..3).map(|number| fleet.disk(number).free_bytes()).collect();
    let apart = free.iter().max().unwrap() - free.iter().min().unwrap();
    assert!(apart * 100 / (DISK_MIB << 20) <= 6, "{free:?}");
    let ledger = fleet.first().cli_json(&["ledger"]);
    assert!(ledger.to_string().contains("rebalance"), "{ledger}");
    let events = fleet.nth(1).cli_ok(&["events"]);
    assert!(events.contains("evenly full"), "{events}");
    is_whole(&world);
    let again = fleet.first().cli(&["fleet", "rebalance", "--cancel"]);
    assert!(again.code == 1 && again.stderr.contains("no rebalance"), "{again:?}");
    world.guests.second().unmount();
    world.end_well(3);
}

#[test]
fn a_rebalance_goes_on_after_a_kill_stops_when_told_to_and_a_drain_does_what_it_said() {
    let mut world = lopsided(1);
    // So slow that there is a middle.
    let slow = Weather { delay: Duration::from_millis(15), loss_permille: 0 };
    world.fleet.trouble(1, slow);
    world.fleet.trouble(2, slow);
    let begun = world.fleet.first().cli_json(&["fleet", "rebalance"]);
    assert_eq!(begun["run"]["phase"], "moving", "{begun:#}");
    let second = world.fleet.nth(1).cli(&["fleet", "rebalance"]);
    assert!(second.code == 1 && second.stderr.contains("under way"), "{second:?}");
    await_run(&world.fleet, "a file to be moved", |run| run["files_done"].as_u64() > Some(0));
    world.fleet.nth_mut(0).kill9();
    world.fleet.nth_mut(0).restart();
    world.fleet.await_standing(3);
    let fleet = &world.fleet;
    await_run(fleet, "it to go on", |run| run["ended"] == false && run["id"] == begun["run"]["id"]);
    assert!(fleet.first().log().contains("it goes on with a new plan"));
    await_run(fleet, "another file to be moved", |run| run["files_done"].as_u64() > Some(0));
    let ended = fleet.nth(2).cli_json(&["fleet", "rebalance", "--cancel"]);
    assert_eq!(ended["run"]["phase"], "cancelled", "{ended:#}");
    world.fleet.heal(1);
    world.fleet.heal(2);
    let fleet = &world.fleet;
    let then = owners(fleet);
    assert!(then["ada"] > FILES / 3 && then.len() > 1, "in the middle: {then:?}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(owners(fleet), then, "it has stopped");

    let plan = fleet.nth(1).cli_json(&["fleet", "drain", "ada", "--plan"]);
    println!("{}", fleet.nth(1).cli_ok(&["fleet", "drain", "ada", "--plan"]));
    assert_eq!(plan["obstacles"], Value::Array(vec![]), "{plan:#}");
    let status = fleet.first().cli_json(&["fleet", "status"]);
    assert_eq!(status["members"][0]["draining"], false, "a plan changes nothing");
    assert_eq!(owners(fleet), then, "a plan moves nothing");
    fleet.nth(1).cli_ok(&["fleet", "drain", "ada", "--wait"]);
    let mut handed: BTreeMap<String, u64> = BTreeMap::new();
    let ledger = fleet.nth(1).cli_json(&["ledger"]);
    for change in ledger["changes"].as_array().unwrap() {
        if change["cause"] == "drain" {
            *handed.entry(change["to"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let parts = plan["parts"].as_array().unwrap().iter();
    let planned: BTreeMap<String, u64> = parts
        .map(|part| {
            (part["to"].as_str().unwrap().to_owned(), part["handed_files"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(handed, planned, "what was said, and what was done");
    assert_eq!(planned.values().sum::<u64>(), then["ada"]);
    fleet.nth(1).cli_ok(&["fleet", "drain", "ada", "--cancel"]);
    is_whole(&world);
    world.end_well(0);
}

#[test]
fn with_two_copies_one_of_them_moves_and_there_are_never_fewer() {
    let world = lopsided(2);
    let fleet = &world.fleet;
    let before = plan_of(fleet);
    let used = world.guests.second();
    world.mount(1, 1);
    let used = used.start(&format!(
        "set -e; until [ -e $JOB/stop ]; do for n in 1 2 3; do echo more >>f$n; sync f$n; done
           file=f$((RANDOM % ({FILES} - 3) + 4)); head -c 9K $file | cmp - <(head -c 9K $JOB/copy/$file)
         done; tail -n 1 f1"
    ));
    println!("{}", fleet.first().cli_ok(&["fleet", "rebalance", "--plan"]));
    let begun = fleet.first().cli_json(&["fleet", "rebalance"]);
    assert_eq!(begun["run"]["phase"], "moving", "{before:#}{begun:#}");
    loop {
        for n in [1, 9, 17, 25] {
            let found = fleet.first().cli_json(&["object", "whereis", &format!("demo/f{n}")]);
            let count = |key: &str| found[key].as_array().unwrap().len();
            assert!(count("copies") - count("stale") >= 2, "{found}");
        }
        let view = fleet.nth(1).cli_json(&["fleet", "rebalance", "--plan"]);
        if view["run"]["ended"] == true {
            assert_eq!(view["run"]["phase"], "done", "{view:#}");
            break;
        }
    }
    world.guests.first().sh("touch $JOB/stop");
    assert_eq!(used.must_within(Duration::from_secs(60)).trim(), "more");
    let plan = plan_of(fleet);
    assert_eq!(plan["balanced"], true, "{plan:#}");
    println!("{}", fleet.first().cli_ok(&["fleet", "rebalance", "--plan"]));
    let mut copies: BTreeMap<String, u64> = BTreeMap::new();
    for n in 1..=FILES {
        let found = fleet.whereis(0, &format!("demo/f{n}"));
        assert_eq!(found.copies.len(), 2, "f{n}: {found:?}");
        for copy in found.copies {
            *copies.entry(copy).or_default() += 1;
        }
    }
    assert!(copies.len() == 3 && copies.values().all(|count| *count >= FILES / 2), "{copies:?}");
    world
        .guests
        .first()
        .sh("for n in 1 2 3; do head -c $(stat -c %s $JOB/copy/f$n) f$n | cmp - $JOB/copy/f$n
         done; sed -i '/ f[123]$/d' $JOB/sums");
    is_whole(&world);
    world.guests.second().unmount();
    world.end_well(3);
}

/// A fleet of three, of which all files of `demo`, [`FILES`], were written through the first; and
/// two guests.
fn lopsided(replicas: u8) -> FleetWorld {
    let sandbox = Sandbox::new();
    let fleet = Fleet::form(&sandbox, 3, DISK_MIB);
    let world = FleetWorld::with(sandbox, fleet, 3, 2);
    let replicas = replicas.to_string();
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", &replicas]);
    world.mount(0, 0);
    world.guests.first().sh(&format!(
        "set -e; mkdir $JOB/copy; for n in $(seq {FILES}); do
           head -c $((4500000 + n * 10000)) /dev/urandom >$JOB/copy/f$n; cp $JOB/copy/f$n f$n; done
         sync; cd $JOB/copy; md5sum f* >$JOB/sums"
    ));
    let whole = || {
        let volume = said_by(world.fleet.first(), &["volume", "show", "demo"])?;
        (volume["state"] == "in_sync").then_some(())
    };
    eventually_within(Duration::from_secs(60), "the volume to be whole", whole);
    world
}

/// What would be moved, as the first appliance says.
fn plan_of(fleet: &Fleet) -> Value {
    plan_at(fleet, 0)
}

fn plan_at(fleet: &Fleet, number: usize) -> Value {
    fleet.nth(number).cli_json(&["fleet", "rebalance", "--plan"])["plan"].clone()
}

/// How many files each appliance owns.
fn owners(fleet: &Fleet) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for n in 1..=FILES {
        *all.entry(fleet.whereis(1, &format!("demo/f{n}")).owner).or_default() += 1;
    }
    all
}

fn await_run(fleet: &Fleet, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually_within(Duration::from_secs(60), what, || {
        let view = said_by(fleet.nth(1), &["fleet", "rebalance", "--plan"])?;
        holds(&view["run"]).then_some(())
    });
}

/// Every byte is as it was written.
fn is_whole(world: &FleetWorld) {
    world
        .guests
        .first()
        .sh("set -e; echo 3 >/proc/sys/vm/drop_caches; md5sum --quiet -c $JOB/sums");
    let guest = world.guests.first();
    guest.unmount();
    guest.mount_from(world.fleet.client_address(2), "demo");
    guest.sh("md5sum --quiet -c $JOB/sums");
    guest.unmount();
}

/// Some 4.5 MiB each: 135 MiB in all.
const FILES: u64 = 30;
/// Sparse; an eighth of it is to be moved about.
const DISK_MIB: u64 = 1024;
