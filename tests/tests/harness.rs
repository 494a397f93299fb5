//! The harness keeps its own promises.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::io::Read;
use std::net::TcpListener;

use tests::{Guests, LoopBtrfs, Sandbox};

#[test]
fn a_sandbox_has_its_own_network_mounts_and_disk() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 512);
    std::fs::write(disk.path().join("file"), "content").unwrap();
    disk.unmount();
    assert!(!disk.path().join("file").exists(), "unmounted");
    disk.mount();
    assert_eq!(std::fs::read_to_string(disk.path().join("file")).unwrap(), "content");
    let seen = std::fs::read_to_string(format!("/proc/{}/mounts", std::process::id())).unwrap();
    assert!(!seen.contains(&*disk.path().to_string_lossy()), "the first thread does not see it");
    TcpListener::bind("[::]:2049").expect("the port is free in every sandbox");
}

#[test]
fn guests_run_scripts_at_once_and_meet_at_barriers() {
    let sandbox = Sandbox::new();
    let guests = Guests::boot(&sandbox, 2);
    let waiting = guests.first().start("barrier met; echo met");
    assert_eq!(guests.first().sh("echo 1"), "1\n", "while another script runs");
    assert!(!waiting.ended());
    guests.second().sh("barrier met");
    assert_eq!(waiting.must_within(std::time::Duration::from_secs(5)), "met\n");
    let listener = TcpListener::bind((tests::APPLIANCE_ADDRESS, 7)).unwrap();
    let calling = guests.second().start("echo hello >/dev/tcp/ada/7");
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");
    assert_eq!(calling.wait_within(std::time::Duration::from_secs(5)).code, 0);
    let failed = guests.first().try_sh("echo no >&2; exit 7");
    assert_eq!((failed.code, failed.text.as_str()), (7, "no\n"));
}
