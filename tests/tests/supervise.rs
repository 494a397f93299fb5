//! An appliance that dies is started again by its supervisor, and clients notice a short wait.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::time::Duration;

use tests::storm::{Storm, Writers};
use tests::{APPLIANCE_ADDRESS, Appliance, Guests, LoopBtrfs, Random, Sandbox, Setup, sized};

#[test]
fn clients_wait_for_less_than_two_seconds_when_an_appliance_dies_and_lose_nothing() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let setup = Setup { supervised: true, ..Setup::default() };
    let mut appliance = Appliance::start_with(&sandbox, disk.path(), setup);
    let guests = Guests::boot(&sandbox, 2);
    let mut random = Random::from_environment(51);
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let address = APPLIANCE_ADDRESS.parse().unwrap();
    let writers = Writers { guest: guests.first(), address, count: 4 };
    let storm = Storm::begin(&guests, program, &[writers], (guests.second(), address), &mut random);

    for round in 0..sized(10, 200) {
        storm.await_progress(300);
        std::thread::sleep(Duration::from_millis(random.draw() % 300));
        appliance.crash();
        let took = storm.await_everybody();
        println!("round {round}: clients waited {took:?}");
        assert!(took < WAITED_MAX, "clients waited {took:?}");
        storm.check_at(&format!("back {round}"), &[address]);
    }

    // Without its supervisor it ends too: the root is free for the next one.
    appliance.kill9();
    appliance.restart();
    storm.check_at("all new", &[address]);
    println!("{} steps settled", storm.end());
    guests.first().unmount();
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn an_appliance_that_refuses_to_start_is_not_asked_for_ever() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("no-folder");
    let text = format!(
        "root = {root:?}\nname = \"refused\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\nrpcbind = \"off\"\n"
    );
    let config = sandbox.file("refused.toml", &text);
    let mut command = std::process::Command::new(tests::binary());
    command.args(["supervise".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let began = std::time::Instant::now();
    let ended = command.output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("no-folder"), "{said}");
}

/// It is started at once, replays its log, and serves what waited in the system's queue.
const WAITED_MAX: Duration = Duration::from_secs(2);
