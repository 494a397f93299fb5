//! What a person must know is told once, by one appliance, to whoever the configuration names, and
//! the commands say it as loudly.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    APPLIANCE_ADDRESS, Appliance, Fleet, Guests, LoopBtrfs, Receiver, Sandbox, Setup, binary,
    eventually_within, outcome_of,
};

#[test]
fn the_death_of_an_appliance_is_told_once_and_so_is_its_return() {
    dies_and_comes_back(|leader| (leader + 1) % 3);
}

#[test]
fn the_death_of_the_leader_is_told_once_by_the_next_one() {
    dies_and_comes_back(|leader| leader);
}

/// `pick` says who dies, by the number of the fleet's leader.
fn dies_and_comes_back(pick: impl Fn(usize) -> usize) {
    let sandbox = Sandbox::new();
    let receiver = Receiver::start(APPLIANCE_ADDRESS);
    let hook = format!("[[notify.webhook]]\nurl = \"{}\"\nleast = \"good\"\n", receiver.url());
    let mut fleet = Fleet::form_with(&sandbox, 3, DISK_MIB, &hook);
    fleet.make_volume("demo", &["ada", "bob", "cyd"]);
    fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let guests = Guests::boot(&sandbox, 1);
    let victim = pick(fleet.leader());
    let name = fleet.nth(victim).name().to_owned();
    let others: Vec<usize> = (0..3).filter(|number| *number != victim).collect();
    guests.first().mount_from(fleet.client_address(victim), "demo");
    guests.first().sh("set -e; for n in 1 2 3; do echo $n >file$n; sync file$n; done");
    guests.first().unmount();
    await_state(&fleet, &[0, 1, 2], "in_sync");
    let of_fleet = |status| told(&receiver, &format!("appliance {name}"), "fleet", status);
    let of_copies = |status| told(&receiver, "volume demo", "copies", status);
    let before = (of_copies("warning"), of_copies("good"));

    fleet.nth_mut(victim).kill9();
    eventually_within(TOLD_MAX, "its death to be told", || {
        (of_fleet("error") > 0 && of_copies("warning") > before.0).then_some(())
    });
    await_state(&fleet, &others, "degraded");
    let other = fleet.nth(others[0]);
    for args in [&["status"][..], &["volume", "list"], &["volume", "show", "demo"]] {
        let table = other.cli_ok(args);
        assert!(table.contains("DEGRADED  /demo"), "{args:?} is not loud:\n{table}");
    }
    let found = other.cli_ok(&["object", "whereis", "demo/file1"]);
    assert!(found.contains("DEGRADED"), "it was the victim's:\n{found}");
    assert!(
        other.metrics().contains("holdfast_volume_state{volume=\"demo\",state=\"degraded\"} 1")
    );
    // Whoever tells it twice does so by now.
    std::thread::sleep(QUIET);
    assert_eq!((of_fleet("error"), of_copies("warning")), (1, before.0 + 1), "{receiver:#?}");

    fleet.nth_mut(victim).restart();
    eventually_within(TOLD_MAX, "its return to be told", || {
        (of_fleet("good") > 0 && of_copies("good") > before.1).then_some(())
    });
    fleet.await_standing(3);
    await_state(&fleet, &[0, 1, 2], "in_sync");
    std::thread::sleep(QUIET);
    assert_eq!((of_fleet("good"), of_copies("good")), (1, before.1 + 1), "{receiver:#?}");
    assert_eq!((of_fleet("error"), of_copies("warning")), (1, before.0 + 1), "{receiver:#?}");

    // Each of them is listed where it was told.
    let table: String = (0..3).map(|number| fleet.nth(number).cli_ok(&["events"])).collect();
    let (down, up) = (format!("Appliance {name} is down"), format!("Appliance {name} is up"));
    for said in [&down, &up, "demo is degraded", "demo is whole"] {
        assert!(table.contains(said), "{said} is missing:\n{table}");
    }
    assert!(table.contains("ERROR") && table.contains("SUBJECT"), "{table}");
}

#[test]
fn a_test_notice_goes_to_every_target_and_says_what_became_of_it() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 1024);
    let receiver = Receiver::start("127.0.0.1");
    let extra = format!(
        "[[notify.webhook]]\nurl = \"{}\"\nleast = \"error\"\n\
         [[notify.webhook]]\nurl = \"http://127.0.0.1:1/nobody\"\n",
        receiver.url()
    );
    let setup = Setup { extra, ..Setup::default() };
    let mut ada = Appliance::start_with(&sandbox, disk.path(), setup);
    let reply = ada.cli(&["--json", "notify", "test"]);
    let tried: Value = serde_json::from_str(&reply.stdout).unwrap();
    assert_eq!(reply.code, 1, "one of them is not there: {reply:?}");
    assert_eq!((&tried[0]["delivered"], &tried[1]["delivered"]), (&json!(true), &json!(false)));
    assert!(tried[1]["outcome"].as_str().unwrap().starts_with("FAILED"), "{tried}");
    let taken = receiver.taken();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let words = ["appliance ada", "test", "info"];
    assert_eq!(["subject", "job", "status"].map(|key| taken[0][key].as_str().unwrap()), words);
    assert!(
        taken[0]["message"].as_str().unwrap().contains("ada") && taken[0]["details"] == json!({})
    );

    let events = ada.cli_json(&["events"]);
    assert_eq!(
        (&events[0]["subject"], &events[0]["status"]),
        (&json!("appliance ada"), &json!("info"))
    );
    let state = &ada.cli_json(&["status"])["volumes"][0]["state"];
    assert_eq!(state, "in_sync");
    // The target that is not there holds nobody up for long.
    ada.stop();
}

#[test]
fn bad_targets_are_refused_with_file_key_and_reason() {
    let sandbox = Sandbox::new();
    for (entry, key) in [
        ("[[notify.webhook]]\nurl = \"ftp://x\"", "[[notify.webhook]] 1: url"),
        ("[[notify.webhook]]\nurl = \"http://[::1]/\"\nsecret_file = \"/no\"", "secret_file"),
        ("[[notify.mail]]\nrelay = \"x\"\nfrom = \"x\"\nto = [\"a@x.org\"]", "from"),
        ("[notify]\nquiet_s = 9999999999", "notify.quiet_s"),
        ("[notify]\nquite_s = 1", "quite_s"),
    ] {
        let text = format!("root = \"/x\"\nname = \"x\"\n{entry}\n");
        let file = sandbox.file("bad.toml", text);
        let program = binary();
        for verb in [&["check-config"][..], &["serve", "--config"]] {
            let mut args = vec!["20".as_ref(), program.as_os_str()];
            args.extend(verb.iter().map(std::ffi::OsStr::new));
            args.push(file.as_os_str());
            let refused = outcome_of("timeout", &args);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{verb:?}: {said}");
            assert!(said.contains("bad.toml") && said.contains(key), "{key} of {verb:?}: {said}");
        }
    }
}

/// How many notices of that kind have arrived.
fn told(receiver: &Receiver, subject: &str, job: &str, status: &str) -> usize {
    let is_it = |n: &Value| n["subject"] == subject && n["job"] == job && n["status"] == status;
    receiver.taken().iter().filter(|notice| is_it(notice)).count()
}

/// Waits until all of them say so of the volume.
fn await_state(fleet: &Fleet, numbers: &[usize], state: &str) {
    eventually_within(TOLD_MAX, format!("the volume to be {state}"), || {
        let says = |number: &usize| fleet.nth(*number).cli_json(&["volume", "show", "demo"]);
        numbers.iter().all(|number| says(number)["state"] == state).then_some(())
    });
}

/// Sparse.
const DISK_MIB: u64 = 2048;
/// What lasts 5 s is told, and what was told lately after some more.
const TOLD_MAX: Duration = Duration::from_secs(60);
/// Longer than anything must last to be told.
const QUIET: Duration = Duration::from_secs(12);
