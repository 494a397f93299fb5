//! A call that is sent again is done once, and gets the answer that the first sending got.

use std::net::SocketAddr;

use nfs3_client::nfs3_types::nfs3::*;
use tests::{Appliance, LoopBtrfs, Sandbox};

use crate::client::{
    Call, Client, Credential, Status, message, packed, place, unpacked, with_mode, with_size,
    write_args,
};
use crate::world::World;

/// One change of names of each kind, sent for the first time, and the bytes that it was answered.
struct Sent {
    what: &'static str,
    call: Call,
    answer: Vec<u8>,
}

/// Makes a change of names of each kind in `dir`, and then undoes it by other calls, so that the
/// same change could be made again.
fn make_and_undo(nfs: &mut Client, dir: &nfs_fh3) -> Vec<Sent> {
    let victim = nfs.create(dir, "removed");
    nfs.create(dir, "renamed");
    nfs.mkdir(dir, "removed dir");
    let mut sent = Vec::new();
    for (what, call) in changes_of_names(dir, &victim) {
        let answer = nfs.send(&call);
        assert_eq!(answer[..4], [0; 4], "{what} is done the first time");
        sent.push(Sent { what, call, answer });
    }
    for name in ["created", "symlink", "fifo", "link", "renamed to"] {
        nfs.remove(dir, name).unwrap();
    }
    nfs.rmdir(dir, "dir").unwrap();
    nfs.create(dir, "removed");
    nfs.create(dir, "renamed");
    nfs.mkdir(dir, "removed dir");
    sent
}

fn changes_of_names(dir: &nfs_fh3, linked: &nfs_fh3) -> Vec<(&'static str, Call)> {
    use NFS_PROGRAM::*;
    let at = |name: &str| place(dir, name);
    let create = CREATE3args { where_: at("created"), how: createhow3::GUARDED(with_mode(0o600)) };
    let mkdir = MKDIR3args { where_: at("dir"), attributes: with_mode(0o755) };
    let symlink = symlinkdata3 {
        symlink_attributes: sattr3::default(),
        symlink_data: b"somewhere".to_vec().into(),
    };
    let symlink = SYMLINK3args { where_: at("symlink"), symlink };
    let fifo = MKNOD3args { where_: at("fifo"), what: mknoddata3::NF3FIFO(sattr3::default()) };
    let link = LINK3args { file: linked.clone(), link: at("link") };
    let rename = RENAME3args { from: at("renamed"), to: at("renamed to") };
    vec![
        ("CREATE", Call::new(NFSPROC3_CREATE, &create)),
        ("MKDIR", Call::new(NFSPROC3_MKDIR, &mkdir)),
        ("SYMLINK", Call::new(NFSPROC3_SYMLINK, &symlink)),
        ("MKNOD", Call::new(NFSPROC3_MKNOD, &fifo)),
        ("LINK", Call::new(NFSPROC3_LINK, &link)),
        ("RENAME", Call::new(NFSPROC3_RENAME, &rename)),
        ("REMOVE", Call::new(NFSPROC3_REMOVE, &REMOVE3args { object: at("removed") })),
        ("RMDIR", Call::new(NFSPROC3_RMDIR, &RMDIR3args { object: at("removed dir") })),
    ]
}

/// Sends all of it again: nothing is done, and each answer is the first one.
fn send_again(nfs: &mut Client, dir: &nfs_fh3, sent: &[Sent]) {
    let before = nfs.getattr(dir);
    let names = nfs.names(dir);
    for Sent { what, call, answer } in sent {
        let again = nfs.send(call);
        assert_eq!(again[..4], answer[..4], "{what}: the status");
        // The link's file has lost both its names since: its attributes can't be had any more.
        if *what != "LINK" {
            assert_eq!(&again, answer, "{what}");
        }
    }
    assert_eq!(nfs.names(dir), names, "nothing was done a second time");
    assert_eq!(packed(&nfs.getattr(dir)), packed(&before));
}

#[test]
fn a_change_of_names_sent_again_is_done_once_and_answered_alike() {
    let (_world, mut nfs, dir) = World::folder();
    let sent = make_and_undo(&mut nfs, &dir);
    send_again(&mut nfs, &dir, &sent);
    let mut reconnected = Client::new(Credential::ROOT);
    send_again(&mut reconnected, &dir, &sent);
}

#[test]
fn the_first_answer_survives_a_kill_and_a_clean_restart() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let mut appliance = Appliance::start(&sandbox, disk.path());
    let mut nfs = Client::new(Credential::ROOT);
    let root = nfs.root("demo");
    let dir = nfs.mkdir(&root, "dir");
    let file = nfs.create(&root, "file");
    let sent = make_and_undo(&mut nfs, &dir);
    let stale = nfstime3 { seconds: 1, nseconds: 0 };
    let guard = Nfs3Option::Some(nfs.getattr(&file).ctime);
    let chmod = SETATTR3args { object: file.clone(), new_attributes: with_mode(0o640), guard };
    let chmod = Call::new(NFS_PROGRAM::NFSPROC3_SETATTR, &chmod);
    assert_eq!(nfs.send(&chmod)[..4], [0; 4]);
    nfs.setattr_guarded(&file, with_mode(0o777), Nfs3Option::Some(stale))
        .must_be(nfsstat3::NFS3ERR_NOT_SYNC);
    nfs.chmod(&file, 0o604);

    appliance.kill9();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    send_again(&mut nfs, &dir, &sent);
    let again: SETATTR3res = unpacked(&nfs.send(&chmod));
    again.must_be(nfsstat3::NFS3_OK);
    assert_eq!(nfs.getattr(&file).mode, 0o604, "set once");

    appliance.stop();
    appliance.restart();
    let mut nfs = Client::new(Credential::ROOT);
    send_again(&mut nfs, &dir, &sent);
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn a_write_or_truncation_sent_again_on_another_connection_does_not_undo_what_came_after() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let write = |data: &[u8]| {
        let args = write_args(&file, 0, data, stable_how::UNSTABLE);
        Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args)
    };
    let truncate = SETATTR3args {
        object: file.clone(),
        new_attributes: with_size(2),
        guard: Nfs3Option::None,
    };
    let truncate = Call::new(NFS_PROGRAM::NFSPROC3_SETATTR, &truncate);
    let first = write(b"first");
    let calls = [first, truncate];
    let answers = calls.each_ref().map(|call| nfs.send(call));
    nfs.put(&file, 0, b"second");
    let mut reconnected = Client::new(Credential::ROOT);
    for (call, answer) in calls.iter().zip(&answers) {
        assert_eq!(answer[..4], [0; 4]);
        assert_eq!(&reconnected.send(call), answer);
    }
    assert_eq!(nfs.read(&file, 0, 100).unwrap().data.as_ref(), b"second");
}

#[test]
fn a_guarded_setattr_sent_again_is_not_told_that_it_came_too_late() {
    let (_world, mut nfs, dir) = World::folder();
    let objects = [nfs.create(&dir, "file"), nfs.mkdir(&dir, "dir")];
    for object in objects {
        let guard = Nfs3Option::Some(nfs.getattr(&object).ctime);
        let args = SETATTR3args { object: object.clone(), new_attributes: with_mode(0o640), guard };
        let call = Call::new(NFS_PROGRAM::NFSPROC3_SETATTR, &args);
        let first: SETATTR3res = unpacked(&nfs.send(&call));
        first.must_be(nfsstat3::NFS3_OK);
        let again: SETATTR3res = unpacked(&Client::new(Credential::ROOT).send(&call));
        again.must_be(nfsstat3::NFS3_OK);
    }
}

#[test]
fn a_duplicate_of_a_call_under_way_waits_for_its_answer() {
    let (_world, mut nfs, dir) = World::folder();
    let mut other = Client::new(Credential::ROOT);
    let calls: Vec<Call> = (0..500)
        .map(|number| {
            let how = createhow3::GUARDED(with_mode(0o600));
            let args = CREATE3args { where_: place(&dir, format!("{number}")), how };
            Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args)
        })
        .collect();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| other.call_all::<CREATE3res>(&calls));
        (nfs.call_all::<CREATE3res>(&calls), theirs.join().unwrap())
    });
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_eq!(packed(&ours.unwrap()), packed(&theirs.unwrap()));
    }
    assert_eq!(nfs.names(&dir).len(), calls.len());
}

#[test]
fn only_the_same_call_of_the_same_user_and_client_is_a_duplicate() {
    let (_world, mut nfs, dir) = World::folder();
    let create = |name: &str| {
        let how = createhow3::GUARDED(with_mode(0o600));
        let args = CREATE3args { where_: place(&dir, name), how };
        Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args)
    };
    let first = create("name");
    let status = |answer: Vec<u8>| unpacked::<CREATE3res>(&answer).status();
    assert_eq!(status(nfs.send(&first)), nfsstat3::NFS3_OK);

    let other_name = Call { xid: first.xid, ..create("other") };
    assert_eq!(status(nfs.send(&other_name)), nfsstat3::NFS3_OK, "other arguments");
    assert_eq!(nfs.names(&dir).len(), 2);

    let mut other_user = Client::new(Credential::user(1000));
    assert_eq!(status(other_user.send(&first)), nfsstat3::NFS3ERR_EXIST, "another user");

    let elsewhere = SocketAddr::from(([127, 0, 0, 2], 0));
    let mut other_client = Client::from_address(Credential::ROOT, elsewhere);
    assert_eq!(status(other_client.send(&first)), nfsstat3::NFS3ERR_EXIST, "another client");

    let next = Call { xid: first.xid + 0x1000_0000, ..first.clone() };
    assert_eq!(status(nfs.send(&next)), nfsstat3::NFS3ERR_EXIST, "another transaction");
}

#[test]
fn a_new_stamp_or_port_does_not_make_a_duplicate_another_call() {
    let (_world, mut nfs, dir) = World::folder();
    let how = createhow3::GUARDED(with_mode(0o600));
    let args = CREATE3args { where_: place(&dir, "name"), how };
    let call = Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args);
    let answer = nfs.send(&call);
    let stamped = Credential::Sys { stamp: 99, uid: 0, gid: 0, gids: &[] };
    let mut reconnected = Client::new(stamped);
    assert_ne!(call.message(stamped), call.message(Credential::ROOT));
    assert_eq!(reconnected.send(&call), answer);
}

#[test]
fn a_call_that_was_refused_can_be_sent_again_and_does_no_harm() {
    let (_world, mut nfs, dir) = World::folder();
    let remove = REMOVE3args { object: place(&dir, "missing") };
    let call = Call::new(NFS_PROGRAM::NFSPROC3_REMOVE, &remove);
    let first: REMOVE3res = unpacked(&nfs.send(&call));
    first.must_be(nfsstat3::NFS3ERR_NOENT);
    let again: REMOVE3res = unpacked(&Client::new(Credential::ROOT).send(&call));
    again.must_be(nfsstat3::NFS3ERR_NOENT);
}

#[test]
fn the_answer_to_a_call_is_kept_through_a_thousand_others() {
    let (_world, mut nfs, dir) = World::folder();
    let sent = make_and_undo(&mut nfs, &dir);
    let elsewhere = nfs.mkdir(&dir, "elsewhere");
    let others: Vec<Call> = (0..900)
        .map(|number| {
            let how = createhow3::UNCHECKED(with_mode(0o600));
            let args = CREATE3args { where_: place(&elsewhere, format!("{number}")), how };
            Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args)
        })
        .collect();
    for made in nfs.call_all::<CREATE3res>(&others) {
        made.unwrap();
    }
    send_again(&mut nfs, &dir, &sent);
}

#[test]
fn a_message_is_a_header_and_arguments() {
    // The other tests stand on this: a call's bytes differ in nothing but what they mean to vary.
    let call = Call::new(NFS_PROGRAM::NFSPROC3_NULL, &0_u32);
    let by_hand = message(call.xid, (100_003, 3), 0, Credential::ROOT, &[0; 4]);
    assert_eq!(call.message(Credential::ROOT), by_hand);
}
