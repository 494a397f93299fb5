//! WRITE and COMMIT: what is promised is kept, and what may be lost is told.

use std::process::{Command, Stdio};

use nfs3_client::nfs3_types::nfs3::*;
use tests::{Appliance, Bound, LoopBtrfs, Sandbox, eventually};

use crate::client::{Client, Credential, Status, with_size};
use crate::world::World;

#[test]
fn every_stability_is_honoured_and_committed_says_what_was_done() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let mut verifiers = Vec::new();
    for asked in [stable_how::UNSTABLE, stable_how::DATA_SYNC, stable_how::FILE_SYNC] {
        let written = nfs.write(&file, 0, b"bytes", asked).unwrap();
        assert_eq!(written.count, 5);
        assert!(written.committed as u32 >= asked as u32, "{asked}: {}", written.committed);
        verifiers.push(written.verf);
    }
    verifiers.push(nfs.commit(&file).unwrap().verf);
    verifiers.dedup();
    assert_eq!(verifiers.len(), 1, "one verifier for all of it");
}

#[test]
fn commit_takes_any_range_of_any_file_and_refuses_what_is_none() {
    let (_world, mut nfs, dir) = World::folder();
    let empty = nfs.create(&dir, "empty");
    nfs.commit(&empty).unwrap();
    for (offset, count) in [(0, 1), (u64::MAX, u32::MAX), (1 << 40, 0)] {
        let args = COMMIT3args { file: empty.clone(), offset, count };
        let done: COMMIT3res = nfs.call(NFS_PROGRAM::NFSPROC3_COMMIT, &args);
        done.must_be(nfsstat3::NFS3_OK);
    }
    let status = nfs.commit(&dir).status();
    assert!(matches!(status, nfsstat3::NFS3ERR_ISDIR | nfsstat3::NFS3ERR_INVAL), "{status}");
}

#[test]
fn the_verifier_changes_at_a_kill_and_at_nothing_else() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let file = nfs.create(&root, "file");
    let unstable = nfs.put(&file, 0, b"unstable");
    let synced = nfs.write(&file, 8, b" synced", stable_how::FILE_SYNC).unwrap();
    assert_eq!(unstable.verf, synced.verf);
    nfs.setattr(&file, with_size(15)).unwrap();

    appliance.stop();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    assert_eq!(nfs.commit(&file).unwrap().verf, unstable.verf, "a clean restart loses nothing");
    let before = nfs.put(&file, 15, b" again");
    assert_eq!(before.verf, unstable.verf);

    appliance.kill9();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    let after = nfs.commit(&file).unwrap().verf;
    assert_ne!(after, unstable.verf, "a kill may have lost unstable data");
    assert_eq!(nfs.put(&file, 15, b" again").verf, after);
    assert_eq!(nfs.commit(&file).unwrap().verf, after);
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.as_ref(), b"unstable synced again");

    appliance.kill9();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    let again = nfs.commit(&file).unwrap().verf;
    assert!(again != after && again != unstable.verf, "every loss has its own verifier");
    appliance.stop();
}

#[test]
fn a_failed_fsync_is_the_answer_to_commit_and_changes_the_verifier() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let (file, other) = (nfs.create(&root, "file"), nfs.create(&root, "other"));
    let before = nfs.put(&file, 0, b"may be lost").verf;
    let object = nfs.getattr(&file).fileid;
    let backing = disk.path().join(format!("ada/volumes/1/data/{:x}/{object:x}", object >> 12));
    {
        let _failing = FailingFsync::of(&appliance, &backing);
        nfs.commit(&file).must_be(nfsstat3::NFS3ERR_IO);
    }
    nfs.commit(&file).must_be(nfsstat3::NFS3ERR_IO);
    nfs.write(&file, 0, b"more", stable_how::FILE_SYNC).must_be(nfsstat3::NFS3ERR_IO);
    let after = nfs.put(&other, 0, b"other files go on").verf;
    assert_ne!(after, before, "every client must send again what it has not committed");
    nfs.commit(&other).must_be(nfsstat3::NFS3_OK);
    let listed = appliance.cli_ok(&["object", "faults", "demo"]);
    // As `object clear` takes them.
    let named =
        listed.lines().any(|line| line.split_whitespace().eq(["demo", &object.to_string()]));
    assert!(named, "{listed}");

    appliance.cli_ok(&["object", "clear", "demo", &object.to_string()]);
    nfs.write(&file, 0, b"sent again!", stable_how::FILE_SYNC).must_be(nfsstat3::NFS3_OK);
    nfs.commit(&file).must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.as_ref(), b"sent again!");
    appliance.check("demo");
    appliance.stop();
}

/// Has every fsync of one backing file fail, as a dying disk would, while this value lives.
struct FailingFsync {
    _tracer: Bound,
}

impl FailingFsync {
    fn of(appliance: &Appliance, file: &std::path::Path) -> Self {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-p", &appliance.id().to_string(), "-P"])
            .arg(file)
            .args(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"])
            .args(["-o", "/dev/null"])
            .stdin(Stdio::null());
        let tracer = Bound::spawn(&mut command, "strace");
        let tasks = format!("/proc/{}/task", appliance.id());
        eventually("strace to hold every thread of the appliance", || {
            let mut tasks = std::fs::read_dir(&tasks).unwrap();
            let held = tasks.all(|task| {
                let status = std::fs::read_to_string(task.unwrap().path().join("status"));
                // A thread that has just ended does no harm.
                status.map_or(true, |status| !status.contains("TracerPid:\t0"))
            });
            held.then_some(())
        });
        Self { _tracer: tracer }
    }
}
