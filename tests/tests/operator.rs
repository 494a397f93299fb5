//! What an operator does: volumes, exports, faults and metrics of a running appliance.
//!
//! Invariant: every verb does what it says, and says what it did as a table and as JSON; a refusal
//! is one sentence that names what is wrong, with exit code 1; 2 is for a line that makes no sense.
//!
//! Absent on purpose: the HTTP API beneath, which the `admin` crate tests.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[allow(dead_code, reason = "these tests need a part of what that client can do")]
#[path = "conformance/client.rs"]
mod client;

use std::path::Path;
use std::process::Output;

use nfs3_client::nfs3_types::nfs3::*;
use serde_json::{Value, json};
use tests::{Appliance, Guests, LoopBtrfs, Sandbox, Setup, binary, eventually, outcome_of};

use client::{Call, Client, Credential, Status, place, with_mode};

#[test]
fn a_backing_file_that_nothing_knows_is_put_into_quarantine_and_never_deleted() {
    let (_sandbox, disk, mut appliance) = world();
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let file = nfs.create(&root, "known");
    nfs.write(&file, 0, b"content", stable_how::FILE_SYNC).unwrap();
    appliance.stop();
    let id = folder_of_the_volume(&disk);
    let data = disk.path().join(format!("ada/volumes/{id}/data"));
    std::fs::write(data.join("0/abc"), "somebody's only copy").unwrap();
    appliance.restart();
    assert_eq!(appliance.cli(&["volume", "check", "demo"]).code, 1, "it is reported at first");
    let quarantined = eventually("the file to be in quarantine", || {
        let entry = std::fs::read_dir(data.join("quarantine")).ok()?.next()?;
        Some(entry.unwrap().path())
    });
    assert!(quarantined.file_name().unwrap().to_string_lossy().starts_with("abc."));
    assert_eq!(std::fs::read_to_string(quarantined).unwrap(), "somebody's only copy");
    appliance.check("demo");
    let mut nfs = Client::new(Credential::ROOT);
    assert_eq!(nfs.getattr(&file).size, 7);
    appliance.stop();
}

/// The folder of the only volume.
fn folder_of_the_volume(disk: &LoopBtrfs) -> String {
    let mut volumes = std::fs::read_dir(disk.path().join("ada/volumes")).unwrap();
    volumes.next().unwrap().unwrap().file_name().into_string().unwrap()
}

#[test]
fn a_volume_is_made_shown_mounted_deleted_brought_back_and_purged() {
    let (_sandbox, disk, mut appliance) = world();
    let made = json_of(&appliance, &["volume", "create", "media", "--root-mode", "0750"]);
    assert_eq!(made["name"], "media");
    assert_eq!(made["export_path"], "/media");
    assert_eq!(made["exports"], json!([]), "nobody may mount it yet");
    let listed = json_of(&appliance, &["volume", "list"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(name_of).collect();
    assert_eq!(names, ["demo", "media"]);
    let mut nfs = Client::new(Credential::ROOT);
    assert!(nfs.mnt(b"/media").is_err(), "an empty list of exports denies");

    appliance.cli_ok(&["export", "set", "media", "127.0.0.0/8", "--squash=none", "--insecure"]);
    let root = nfs.root("media");
    assert_eq!(nfs.getattr(&root).mode, 0o750);
    let file = nfs.create(&root, "file");
    nfs.write(&file, 0, b"content", stable_how::FILE_SYNC).unwrap();
    let shown = json_of(&appliance, &["volume", "show", "media"]);
    assert_eq!(shown["objects"], 2, "its root and a file: {shown}");
    assert_eq!(shown["exports"][0]["client"], "127.0.0.0/8");
    let table = appliance.cli_ok(&["volume", "show", "media"]);
    assert!(table.contains("/media") && table.contains("127.0.0.0/8"), "{table}");

    let unsure = refusal_of(&appliance, &["volume", "delete", "media"]);
    assert!(unsure.contains("--yes"), "{unsure}");
    let folder = disk.path().join(format!("ada/volumes/{}", shown["id"]));
    assert!(folder.exists());
    let deleted = json_of(&appliance, &["volume", "delete", "media", "--yes"]);
    assert_eq!(deleted["name"], "media");
    nfs.try_getattr(&file).must_be(nfsstat3::NFS3ERR_STALE);
    assert!(nfs.mnt(b"/media").is_err());
    let kept = json_of(&appliance, &["volume", "list", "--deleted"]);
    assert_eq!((kept.as_array().unwrap().len(), name_of(&kept[0])), (1, "media"), "{kept}");
    appliance.kill9();
    appliance.restart();
    assert_eq!(json_of(&appliance, &["volume", "list"]).as_array().unwrap().len(), 1);

    appliance.cli_ok(&["volume", "undelete", "media", "--as", "again"]);
    appliance.cli_ok(&["export", "set", "again", "127.0.0.0/8", "--squash=none", "--insecure"]);
    let mut nfs = Client::new(Credential::ROOT);
    assert_eq!(nfs.root("again"), root, "clients that held on to it go on");
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.0.as_ref(), b"content");
    appliance.cli_ok(&["volume", "delete", "again", "--yes"]);
    let unsure = refusal_of(&appliance, &["volume", "purge", "again"]);
    assert!(unsure.contains("--yes"), "{unsure}");
    assert!(folder.exists());
    appliance.cli_ok(&["volume", "purge", "again", "--yes"]);
    eventually("its files to be gone", || (!folder.exists()).then_some(()));
    assert_eq!(json_of(&appliance, &["volume", "list", "--deleted"]), json!([]));
    appliance.kill9();
    appliance.restart();
    assert_eq!(json_of(&appliance, &["volume", "list"]).as_array().unwrap().len(), 1);
    appliance.stop();
}

#[test]
fn exports_are_set_changed_listed_and_removed_and_hold_at_once_and_after_a_restart() {
    let (_sandbox, _disk, mut appliance) = world();
    appliance.cli_ok(&["volume", "create", "media"]);
    let set = |line: &str| -> Value {
        let words: Vec<&str> =
            ["export", "set", "media"].into_iter().chain(line.split(' ')).collect();
        json_of(&appliance, &words)[0]["exports"].clone()
    };
    set("127.0.0.1 --access=ro --squash=all --anonuid=7 --anongid=8 --insecure");
    let rules = set("192.168.0.0/16 --manage-gids");
    assert_eq!(rules.as_array().unwrap().len(), 2);
    let first = &rules[0];
    assert_eq!(
        (&first["access"], &first["squash"], &first["anonuid"], &first["anongid"]),
        (&json!("ro"), &json!("all"), &json!(7), &json!(8))
    );
    assert_eq!(rules[1]["manage_gids"], true);
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("media");
    nfs.try_mkdir(&root, "folder").must_be(nfsstat3::NFS3ERR_ROFS);

    let rules = set("127.0.0.1 --squash=none --insecure");
    assert_eq!(rules.as_array().unwrap().len(), 2, "the rule is changed, not doubled");
    nfs.mkdir(&root, "folder");

    appliance.kill9();
    appliance.restart();
    let listed = json_of(&appliance, &["export", "list", "media"]);
    assert_eq!(listed[0]["exports"], rules);
    let all = appliance.cli_ok(&["export", "list"]);
    assert!(all.contains("demo") && all.contains("192.168.0.0/16"), "{all}");
    let mut nfs = Client::new(Credential::ROOT);
    nfs.getattr(&root);

    appliance.cli_ok(&["export", "remove", "media", "127.0.0.1"]);
    assert_ne!(nfs.try_getattr(&root).status(), nfsstat3::NFS3_OK, "it holds for handles too");
    assert!(nfs.mnt(b"/media").is_err());
    let gone = refusal_of(&appliance, &["export", "remove", "media", "127.0.0.1"]);
    assert!(gone.contains("media") && gone.contains("127.0.0.1"), "{gone}");
    appliance.stop();
}

#[test]
fn status_check_and_faults_say_how_the_appliance_is() {
    let (_sandbox, _disk, mut appliance) = world();
    let status = json_of(&appliance, &["status"]);
    assert_eq!(status["name"], "ada");
    assert_eq!(status["listen"], json!(["[::]:2049"]));
    assert_eq!(status["volumes"][0]["name"], "demo");
    let disk = &status["disk"];
    assert!(disk["free_bytes"].as_u64() < disk["total_bytes"].as_u64(), "{disk}");
    let table = appliance.cli_ok(&["status"]);
    for word in ["ada", "[::]:2049", "demo", "GiB used"] {
        assert!(table.contains(word), "{word} is missing:\n{table}");
    }
    let check = json_of(&appliance, &["volume", "check", "demo"]);
    assert_eq!((&check["clean"], &check["violations"]), (&json!(true), &json!([])));
    assert_eq!(json_of(&appliance, &["object", "faults"]), json!([]));
    assert_eq!(appliance.cli_ok(&["object", "faults", "demo"]), "no faults\n");
    let config = appliance.config().to_str().unwrap();
    assert_eq!(json_of(&appliance, &["check-config", config]), json!({ "good": config }));
    let nothing = refusal_of(&appliance, &["object", "clear", "demo", "12345"]);
    assert!(nothing.contains("no such object"), "{nothing}");
    appliance.stop();
}

#[test]
fn what_cannot_be_done_is_refused_in_a_sentence() {
    let (sandbox, _disk, mut appliance) = world();
    for (args, reason) in [
        (&["volume", "show", "nothing"][..], "nothing"),
        (&["volume", "delete", "nothing", "--yes"], "nothing"),
        (&["volume", "check", "nothing"], "nothing"),
        (&["volume", "create", "demo"], "demo"),
        (&["volume", "create", "a/b"], "no volume name"),
        (&["volume", "create", ""], "no volume name"),
        (&["export", "set", "nothing", "*"], "nothing"),
        (&["export", "set", "demo", "300.0.0.0/8"], "300.0.0.0/8"),
        (&["export", "set", "demo", "10.0.0.0/64"], "10.0.0.0/64"),
        (&["object", "faults", "nothing"], "nothing"),
        (&["--socket", "/run/nowhere", "status"], "/run/nowhere"),
    ] {
        let said = refusal_of(&appliance, args);
        assert!(said.contains(reason), "{args:?} says: {said}");
    }
    for args in [
        &["volume"][..],
        &["volume", "make", "x"],
        &["volume", "create", "x", "--root-mode", "9"],
        &["export", "set", "demo", "*", "--squash", "some"],
        &["object", "clear", "demo", "x"],
    ] {
        let reply = appliance.cli(args);
        assert_eq!((reply.code, reply.stdout.as_str()), (2, ""), "{args:?}: {reply:?}");
        assert!(!reply.stderr.is_empty());
    }
    for (text, key) in [
        ("name = \"x\"", "root"),
        ("root = \"/x\"\nname = \"x\"\nnmae = 1", "nmae"),
        ("root = \"/x\"\nname = \"x\"\n[limits]\nconnections_max = \"many\"", "connections_max"),
        ("root = \"/x\"\nname = \"x\"\n[limits]\nrecord_bytes_max = 5", "record_bytes_max"),
        ("root = \"/x\"\nname = \"x\"\n[nfs]\nlisten = [\"nowhere\"]", "listen"),
        ("root = \"/x\"\nname = \"x\"\n[[volume]]\nname = \"a/b\"", "a/b"),
    ] {
        let file = sandbox.file("bad.toml", text);
        for verb in [&["check-config"][..], &["serve", "--config"]] {
            let said = refused_start(verb, &file);
            assert!(said.contains("bad.toml") && said.contains(key), "{key}: {said}");
        }
    }
    appliance.assert_alive();
    appliance.stop();
}

#[test]
fn a_second_appliance_on_the_same_root_is_refused() {
    let (_sandbox, _disk, mut appliance) = world();
    let said = refused_start(&["serve", "--config"], appliance.config());
    assert!(said.contains("locked") && said.contains("another appliance"), "{said}");
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    nfs.mkdir(&root, "the first goes on");
    appliance.kill9();
    appliance.restart();
    appliance.stop();
}

#[test]
fn a_root_that_is_not_on_btrfs_is_refused_with_the_remedy() {
    let sandbox = Sandbox::new();
    // The sandbox's /run is a tmpfs.
    let config = sandbox.file("tmpfs.toml", "root = \"/run/root\"\nname = \"x\"\n");
    let said = refused_start(&["serve", "--config"], &config);
    for word in ["/run/root", "not on BTRFS", "mkfs.btrfs"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
}

#[test]
fn a_port_that_is_taken_is_refused_with_its_address() {
    let (sandbox, disk, mut appliance) = world();
    let root = disk.path().join("other");
    let text = format!(
        "root = {root:?}\nname = \"x\"\n[admin]\nsocket = \"/run/other.sock\"\n\
         metrics_listen = \"\"\n"
    );
    let said = refused_start(&["serve", "--config"], &sandbox.file("other.toml", text));
    assert!(said.contains("2049") && said.contains("another program listens there"), "{said}");
    appliance.assert_alive();
    appliance.stop();
}

#[test]
fn metrics_count_what_clients_do() {
    let (_sandbox, _disk, mut appliance) = world();
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let file = nfs.create(&root, "file");
    nfs.put(&file, 0, &[7; 100_000]);
    nfs.commit(&file).unwrap();
    nfs.read(&file, 0, 50_000).unwrap();
    nfs.lookup(&root, "nothing").must_be(nfsstat3::NFS3ERR_NOENT);
    let how = createhow3::GUARDED(with_mode(0o600));
    let args = CREATE3args { where_: place(&root, "once"), how };
    let call = Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args);
    assert_eq!(nfs.send(&call), nfs.send(&call), "the answer is the first one's");

    let metrics = appliance.metrics();
    let sum = |words: &[&str]| sum_of(&metrics, words);
    let operations = "holdfast_nfs_operations_total{";
    assert_eq!(sum(&[operations, "procedure=\"WRITE\"", "status=\"NFS3_OK\""]), 1.0, "{metrics}");
    assert_eq!(sum(&[operations, "procedure=\"LOOKUP\"", "status=\"NFS3ERR_NOENT\""]), 1.0);
    assert_eq!(sum(&["holdfast_nfs_operation_seconds_count{", "procedure=\"READ\""]), 1.0);
    assert_eq!(sum(&["holdfast_nfs_written_bytes_total "]), 100_000.0);
    assert_eq!(sum(&["holdfast_nfs_read_bytes_total "]), 50_000.0);
    assert_eq!(sum(&["holdfast_nfs_connections "]), 1.0);
    assert_eq!(sum(&["holdfast_replays_suppressed_total "]), 1.0);
    assert!(sum(&["holdfast_raft_proposals_total "]) >= 2.0);
    assert!(sum(&["holdfast_raft_sync_seconds_count "]) >= 2.0);
    assert!(sum(&["holdfast_raft_sync_seconds_sum "]) > 0.0);
    assert!(sum(&["holdfast_fsync_seconds_count "]) >= 1.0);
    assert_eq!(sum(&["holdfast_reads_total{", "from=\"memory\""]), 1.0, "just written, so cached");
    assert_eq!(sum(&["holdfast_reads_total{", "from=\"disk\""]), 0.0);
    appliance.stop();
}

#[test]
fn a_mounted_client_sees_an_export_change_without_mounting_again() {
    let (sandbox, _disk, mut appliance) = world();
    let guests = Guests::boot(&sandbox, 1);
    let guest = guests.first();
    guest.mount("demo");
    guest.sh("echo before >file; chmod 666 file");
    let client = "10.99.0.0/16";
    appliance.cli_ok(&[
        "export",
        "set",
        "demo",
        client,
        "--access=ro",
        "--squash=none",
        "--insecure",
    ]);
    guest.sh("! (echo no >file) 2>said; ! touch new 2>&1; [ $(cat file) = before ]");
    appliance.cli_ok(&["export", "set", "demo", client, "--squash=none", "--insecure"]);
    // Root's client remembers for a while what it may do; another user's has not asked yet.
    let other = "setpriv --reuid tests --regid tests --clear-groups bash -c";
    guest.sh(&format!("set -e; {other} 'echo after >file'; [ $(cat file) = after ]"));
    guest.unmount();
    appliance.stop();
}

fn world() -> (Sandbox, LoopBtrfs, Appliance) {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let appliance = Appliance::start_with(&sandbox, disk.path(), Setup::default());
    (sandbox, disk, appliance)
}

fn name_of(volume: &Value) -> &str {
    volume["name"].as_str().unwrap()
}

/// What a verb that must be done says with `--json`.
fn json_of(appliance: &Appliance, args: &[&str]) -> Value {
    let said = appliance.cli_ok(&[args, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{args:?}: {e}\n{said}"))
}

/// The sentence of a verb that must be refused.
fn refusal_of(appliance: &Appliance, args: &[&str]) -> String {
    let reply = appliance.cli(args);
    assert_eq!((reply.code, reply.stdout.as_str()), (1, ""), "{args:?}: {reply:?}");
    must_be_a_sentence(&reply.stderr);
    reply.stderr
}

/// The sentence of an appliance that must not start.
fn refused_start(verb: &[&str], config: &Path) -> String {
    let mut args: Vec<&std::ffi::OsStr> = verb.iter().map(AsRef::as_ref).collect();
    args.push(config.as_os_str());
    let program = binary();
    let Output { status, stderr, stdout } = outcome_of("timeout", &{
        let mut all: Vec<&std::ffi::OsStr> = vec!["20".as_ref(), program.as_os_str()];
        all.extend(args);
        all
    });
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(stdout.is_empty(), "it never said that it was ready");
    // Lines of the log may come before it.
    let reason = said.find("holdfast: ").map_or("", |at| &said[at..]);
    must_be_a_sentence(reason);
    reason.to_owned()
}

fn must_be_a_sentence(said: &str) {
    assert!(said.starts_with("holdfast: "), "{said}");
    assert!(!said.contains("panicked") && !said.contains("Err("), "{said}");
}

/// The sum of the metrics whose line has all of `words`.
fn sum_of(metrics: &str, words: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
