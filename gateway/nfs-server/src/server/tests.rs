use std::io::Write;

use bytes::Bytes;
use nfs_wire::nfs3::{
    self, Args, CreateHow, FileHandle, MknodData, Nfsstat3, Reply, Sattr3, StableHow,
};
use nfs_wire::rpc::{AuthFlavor, AuthStat, AuthSys, Gids};
use nfs_wire::{Credential, Refusal, mount, nlm};

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use volume::Line;

use super::*;
use crate::testing::{Client, DEMO, PUBLIC, World, place};

fn lookup(dir: FileHandle, name: &str) -> Args {
    Args::Lookup(nfs3::LookupArgs { what: place(dir, name) })
}

fn rename(from: (FileHandle, &str), to: (FileHandle, &str)) -> Args {
    Args::Rename(nfs3::RenameArgs { from: place(from.0, from.1), to: place(to.0, to.1) })
}

async fn demo() -> (World, Client, FileHandle) {
    let world = World::start().await;
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    (world, client, root)
}

/// Why a call failed, and how many attributes its reply has.
async fn failure(client: &mut Client, args: Args) -> (Nfsstat3, usize) {
    let reply = client.nfs(args).await;
    let status = reply.failure().unwrap();
    let count = |wcc: &nfs3::WccData| usize::from(wcc.after.is_some());
    let attributes = match reply {
        Reply::Lookup(Err(fail)) => usize::from(fail.attributes.is_some()),
        Reply::Readlink(Err(fail)) => usize::from(fail.attributes.is_some()),
        Reply::Readdir(Err(fail)) => usize::from(fail.attributes.is_some()),
        Reply::Readdirplus(Err(fail)) => usize::from(fail.attributes.is_some()),
        Reply::Setattr(Err(fail)) => count(&fail.attributes),
        Reply::Write(Err(fail)) => count(&fail.attributes),
        Reply::Remove(Err(fail)) | Reply::Rmdir(Err(fail)) => count(&fail.attributes),
        Reply::Create(Err(fail))
        | Reply::Mkdir(Err(fail))
        | Reply::Symlink(Err(fail))
        | Reply::Mknod(Err(fail)) => count(&fail.attributes),
        Reply::Rename(Err(fail)) => {
            count(&fail.attributes.fromdir_wcc) + count(&fail.attributes.todir_wcc)
        }
        Reply::Link(Err(fail)) => {
            usize::from(fail.attributes.file_attributes.is_some())
                + count(&fail.attributes.linkdir_wcc)
        }
        other => panic!("{other:?}"),
    };
    (status, attributes)
}

#[tokio::test]
async fn null_is_answered_by_both_programs_whoever_asks() {
    let (_world, mut client, _) = demo().await;
    client.credential = Credential::None;
    assert_eq!(client.null(nfs3::PROGRAM, 3).await, Ok(Bytes::new()));
    assert_eq!(client.null(mount::PROGRAM, 3).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn other_versions_programs_and_procedures_are_refused_with_the_word_for_it() {
    let (_world, mut client, _) = demo().await;
    let only_3 = Err(Refusal::ProgMismatch { low: 3, high: 3 });
    assert_eq!(client.null(nfs3::PROGRAM, 4).await, only_3);
    assert_eq!(client.null(nfs3::PROGRAM, 2).await, only_3);
    assert_eq!(client.null(mount::PROGRAM, 1).await, only_3);
    const NFSACL: u32 = 100_227;
    assert_eq!(client.null(NFSACL, 3).await, Err(Refusal::ProgUnavail));
    let only_4 = Err(Refusal::ProgMismatch { low: 4, high: 4 });
    assert_eq!(client.null(nlm::PROGRAM, 3).await, only_4);
    assert_eq!(client.raw((nfs3::PROGRAM, 3, 22), &()).await, Err(Refusal::ProcUnavail));
    assert_eq!(client.raw((nfs3::PROGRAM, 3, 1), &()).await, Err(Refusal::GarbageArgs));
}

#[tokio::test]
async fn a_lock_is_denied_in_the_words_of_the_lock_manager() {
    let (_world, mut client, _) = demo().await;
    let cookie = Bytes::from_static(b"mine");
    for (procedure, stat) in [
        (nlm::Procedure::Test, nlm::Nlm4Stat::DeniedNoLocks),
        (nlm::Procedure::Lock, nlm::Nlm4Stat::DeniedNoLocks),
        (nlm::Procedure::Cancel, nlm::Nlm4Stat::Granted),
        (nlm::Procedure::Unlock, nlm::Nlm4Stat::Granted),
    ] {
        let args = nlm::Args { procedure, cookie: cookie.clone() };
        let program = (nlm::PROGRAM, nlm::VERSION, procedure.code());
        let results = client.raw(program, &args).await.unwrap();
        let said = nlm::Reply::decode(procedure, &results);
        assert_eq!(said, Ok(nlm::Reply::Stat { cookie: cookie.clone(), stat }));
    }
}

#[tokio::test]
async fn a_credential_that_says_too_little_is_too_weak() {
    let (_world, mut client, root) = demo().await;
    let getattr = Args::Getattr(nfs3::GetattrArgs { object: root });
    client.credential = Credential::None;
    let too_weak = Err(Refusal::AuthError(AuthStat::TooWeak));
    assert_eq!(client.try_nfs(getattr.clone()).await, too_weak);
    assert_eq!(client.mnt("/demo").await, Err(mount::Mountstat3::Acces));
    const RPCSEC_GSS: AuthFlavor = AuthFlavor(6);
    client.credential = Credential::Unsupported(RPCSEC_GSS);
    assert_eq!(client.try_nfs(getattr).await, too_weak);
}

#[tokio::test]
async fn what_is_written_is_read_back_with_the_end_marked_exactly() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let data = Bytes::from(vec![7; 100_000]);
    let Reply::Write(Ok(wrote)) = client.write(file, 10, data.clone()).await else { panic!() };
    assert_eq!((wrote.count, wrote.committed), (100_000, StableHow::Unstable));
    assert_eq!(wrote.file_wcc.before.unwrap().size, 0);
    assert_eq!(wrote.file_wcc.after.unwrap().size, 100_010);
    let read = client.read(file, 10, 100_000).await;
    assert!(read.eof);
    assert_eq!(read.data, data);
    assert!(!client.read(file, 0, 10).await.eof);
    let beyond = client.read(file, u64::MAX, 10).await;
    assert_eq!((beyond.eof, beyond.data.len()), (true, 0));
}

#[tokio::test]
async fn the_largest_write_and_read_pass_and_more_is_cut() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let data: Bytes = (0..1 << 20).map(|at: u32| at as u8).collect::<Vec<_>>().into();
    let Reply::Write(Ok(wrote)) = client.write(file, 0, data.clone()).await else { panic!() };
    assert_eq!(wrote.count, 1 << 20);
    assert_eq!(client.read(file, 0, u32::MAX).await.data, data);
}

#[tokio::test]
async fn a_write_beyond_the_largest_file_is_too_big() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let (offset, stable) = (i64::MAX as u64, StableHow::FileSync);
    let write =
        Args::Write(nfs3::WriteArgs { file, offset, stable, data: Bytes::from_static(b"x") });
    assert_eq!(failure(&mut client, write).await, (Nfsstat3::Fbig, 1));
    let new_attributes = Sattr3 { size: Some(1 << 63), ..Sattr3::default() };
    let args = nfs3::SetattrArgs { object: file, new_attributes, guard: None };
    assert_eq!(failure(&mut client, Args::Setattr(args)).await, (Nfsstat3::Fbig, 1));
}

#[tokio::test]
async fn a_write_whose_two_lengths_differ_is_invalid() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let (offset, stable) = (0, StableHow::Unstable);
    let args = nfs3::WriteArgs { file, offset, stable, data: Bytes::from_static(b"abcd") };
    let mut wire = Vec::from(&nfs_wire::Body::to_bytes(&args)[..]);
    let count_at = 4 + file.as_bytes().len() + 8;
    wire[count_at + 3] = 3;
    let contradictory = nfs_wire::Verbatim(wire.into());
    let results = client.raw((nfs3::PROGRAM, 3, 7), &contradictory).await.unwrap();
    let reply = Reply::decode(nfs3::Procedure::Write, &results).unwrap();
    assert_eq!(reply.failure(), Some(Nfsstat3::Inval));
}

#[tokio::test]
async fn names_come_and_go_through_all_procedures() {
    let (_world, mut client, root) = demo().await;
    let mkdir = nfs3::MkdirArgs { place: place(root, "dir"), attributes: Sattr3::default() };
    let Reply::Mkdir(Ok(made)) = client.nfs(Args::Mkdir(mkdir)).await else { panic!() };
    let dir = made.obj.unwrap();
    let file = client.create(root, "a").await;

    let Reply::Rename(Ok(renamed)) = client.nfs(rename((root, "a"), (dir, "b"))).await else {
        panic!()
    };
    assert!(renamed.fromdir_wcc.before.is_some() && renamed.todir_wcc.before.is_some());
    let Reply::Lookup(Ok(found)) = client.nfs(lookup(dir, "b")).await else { panic!() };
    assert_eq!(found.object, file);
    let Reply::Lookup(Ok(parent)) = client.nfs(lookup(dir, "..")).await else { panic!() };
    assert_eq!(parent.object, root);

    let link = Args::Link(nfs3::LinkArgs { file, link: place(root, "c") });
    let Reply::Link(Ok(linked)) = client.nfs(link).await else { panic!() };
    assert_eq!(linked.file_attributes.unwrap().nlink, 2);

    let (target, attributes) = (nfs3::Path(Bytes::from_static(b"../c")), Sattr3::default());
    let symlink = nfs3::SymlinkArgs { place: place(root, "s"), attributes, target };
    let Reply::Symlink(Ok(made)) = client.nfs(Args::Symlink(symlink)).await else { panic!() };
    let readlink = nfs3::ReadlinkArgs { symlink: made.obj.unwrap() };
    let Reply::Readlink(Ok(read)) = client.nfs(Args::Readlink(readlink)).await else { panic!() };
    assert_eq!(&read.data[..], b"../c");

    let what = MknodData::Fifo(Sattr3::default());
    let mknod = Args::Mknod(nfs3::MknodArgs { place: place(root, "p"), what });
    let Reply::Mknod(Ok(made)) = client.nfs(mknod).await else { panic!() };
    assert_eq!(made.obj_attributes.unwrap().kind, nfs3::Ftype3::Fifo);

    let remove = |name| Args::Remove(nfs3::RemoveArgs { object: place(dir, name) });
    assert_eq!(client.nfs(remove("b")).await.failure(), None);
    let rmdir = Args::Rmdir(nfs3::RmdirArgs { object: place(root, "dir") });
    assert_eq!(client.nfs(rmdir).await.failure(), None);
}

#[tokio::test]
async fn a_rename_within_one_directory_reports_it_on_both_sides() {
    let (_world, mut client, root) = demo().await;
    client.create(root, "a").await;
    let Reply::Rename(Ok(renamed)) = client.nfs(rename((root, "a"), (root, "b"))).await else {
        panic!()
    };
    assert_eq!(renamed.fromdir_wcc, renamed.todir_wcc);
    assert!(renamed.todir_wcc.after.is_some());
}

#[tokio::test]
async fn every_failure_carries_the_attributes_its_result_has_room_for() {
    let (_world, mut client, root) = demo().await;
    let mut second = _world.client().await;
    let other = second.mnt("/second").await.unwrap();
    let file = client.create(root, "a").await;
    let long = "n".repeat(256);
    let remove = |name: &str| Args::Remove(nfs3::RemoveArgs { object: place(root, name) });
    let rmdir = |name: &str| Args::Rmdir(nfs3::RmdirArgs { object: place(root, name) });
    let create = |name: &str| {
        let how = CreateHow::Guarded(Sattr3::default());
        Args::Create(nfs3::CreateArgs { place: place(root, name), how })
    };
    let link = |dir| Args::Link(nfs3::LinkArgs { file, link: place(dir, "c") });
    let mknod = Args::Mknod(nfs3::MknodArgs { place: place(root, "m"), what: MknodData::Reg });
    let cases = [
        (lookup(root, "none"), (Nfsstat3::Noent, 1)),
        (lookup(root, &long), (Nfsstat3::Nametoolong, 1)),
        (lookup(root, ""), (Nfsstat3::Inval, 1)),
        (create("a"), (Nfsstat3::Exist, 1)),
        (create("x/y"), (Nfsstat3::Inval, 1)),
        (create(".."), (Nfsstat3::Exist, 1)),
        (remove("none"), (Nfsstat3::Noent, 1)),
        (remove("."), (Nfsstat3::Isdir, 1)),
        (rmdir("."), (Nfsstat3::Inval, 1)),
        (rmdir(".."), (Nfsstat3::Exist, 1)),
        (mknod, (Nfsstat3::Badtype, 1)),
        (rename((root, "a"), (root, &long)), (Nfsstat3::Nametoolong, 2)),
        (rename((root, "a"), (other, "a")), (Nfsstat3::Xdev, 2)),
        (link(other), (Nfsstat3::Xdev, 2)),
        (Args::Readlink(nfs3::ReadlinkArgs { symlink: file }), (Nfsstat3::Inval, 1)),
    ];
    for (args, expected) in cases {
        let described = format!("{args:?}");
        assert_eq!(failure(&mut client, args).await, expected, "{described}");
    }
}

#[tokio::test]
async fn a_read_only_export_refuses_every_change_and_still_commits() {
    let world = World::start().await;
    world.tree.plant(PUBLIC, "a");
    let mut client = world.client().await;
    let root = client.mnt("/public").await.unwrap();
    let Reply::Lookup(Ok(found)) = client.nfs(lookup(root, "a")).await else { panic!() };
    let file = found.object;
    let data = Bytes::from_static(b"x");
    let stable = StableHow::Unstable;
    let new_attributes = Sattr3::default();
    let changes = [
        Args::Write(nfs3::WriteArgs { file, offset: 0, stable, data }),
        Args::Setattr(nfs3::SetattrArgs { object: file, new_attributes, guard: None }),
        Args::Remove(nfs3::RemoveArgs { object: place(root, "a") }),
        Args::Mkdir(nfs3::MkdirArgs { place: place(root, "d"), attributes: new_attributes }),
    ];
    for change in changes {
        assert_eq!(failure(&mut client, change).await, (Nfsstat3::Rofs, 1));
    }
    let renamed = failure(&mut client, rename((root, "a"), (root, "b"))).await;
    assert_eq!(renamed, (Nfsstat3::Rofs, 2));
    let commit = Args::Commit(nfs3::CommitArgs { file, offset: 0, count: 0 });
    assert_eq!(client.nfs(commit).await.failure(), None);
}

#[tokio::test]
async fn a_setattr_whose_guard_is_old_is_not_in_sync() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let guard = Some(nfs3::Nfstime3 { seconds: 9, nseconds: 9 });
    let new_attributes = Sattr3 { mode: Some(0o600), ..Sattr3::default() };
    let args = Args::Setattr(nfs3::SetattrArgs { object: file, new_attributes, guard });
    assert_eq!(failure(&mut client, args).await, (Nfsstat3::NotSync, 1));
}

#[tokio::test]
async fn a_forged_handle_is_bad_and_one_of_a_closed_export_is_denied() {
    let (_world, mut client, _) = demo().await;
    for bytes in [&b""[..], &[1; 36], &[1; 64]] {
        let object = FileHandle::new(bytes).unwrap();
        let reply = client.nfs(Args::Getattr(nfs3::GetattrArgs { object })).await;
        assert_eq!(reply.failure(), Some(Nfsstat3::Badhandle));
    }
    assert_eq!(client.mnt("/closed").await, Err(mount::Mountstat3::Acces));
}

#[tokio::test]
async fn the_file_system_tells_its_limits_through_any_handle() {
    let (_world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    for fsroot in [root, file] {
        let fsinfo = client.nfs(Args::Fsinfo(nfs3::FsinfoArgs { fsroot })).await;
        let Reply::Fsinfo(Ok(info)) = fsinfo else { panic!() };
        assert_eq!((info.rtmax, info.wtmax, info.maxfilesize), (1 << 20, 1 << 20, (1 << 63) - 1));
        let Reply::Fsstat(Ok(stat)) = client.nfs(Args::Fsstat(nfs3::FsstatArgs { fsroot })).await
        else {
            panic!()
        };
        assert_eq!((stat.tbytes, stat.invarsec), (1 << 40, 0));
        let pathconf = Args::Pathconf(nfs3::PathconfArgs { object: fsroot });
        let Reply::Pathconf(Ok(conf)) = client.nfs(pathconf).await else { panic!() };
        assert!(conf.name_max == 255 && conf.no_trunc && !conf.case_insensitive);
    }
}

#[tokio::test]
async fn volumes_differ_in_their_fsid_and_access_grants_what_the_mode_does() {
    let (_world, mut client, demo) = demo().await;
    let second = client.mnt("/second").await.unwrap();
    let mut fsids = Vec::new();
    for object in [demo, second] {
        let access = nfs3::AccessBits(0x3f);
        let reply = client.nfs(Args::Access(nfs3::AccessArgs { object, access })).await;
        let Reply::Access(Ok(granted)) = reply else { panic!() };
        assert_eq!(granted.access.0, 0x1f);
        fsids.push(granted.obj_attributes.unwrap().fsid);
    }
    assert_ne!(fsids[0], fsids[1]);
}

#[tokio::test]
async fn a_resent_change_reaches_the_ports_under_its_first_key() {
    let (world, mut client, root) = demo().await;
    let sys = |stamp| {
        let machine = Bytes::from_static(b"test");
        Credential::Sys(AuthSys { stamp, machine, uid: 0, gid: 0, gids: Gids::default() })
    };
    let how = CreateHow::Unchecked(Sattr3::default());
    let create = Args::Create(nfs3::CreateArgs { place: place(root, "a"), how });
    for stamp in [1, 2] {
        let mut client = world.client().await;
        client.credential = sys(stamp);
        client.nfs(create.clone()).await;
    }
    client.nfs(create).await;
    let keys = world.tree.keys();
    assert!(keys[0].is_some() && keys[0] == keys[1]);
    assert_ne!(keys[1], keys[2], "another transaction id is another call");
}

#[tokio::test]
async fn only_what_changes_nothing_is_told_to_come_back_later() {
    let (world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    let (data, stable) = (Bytes::from_static(b"x"), StableHow::FileSync);
    let (new_attributes, target) = (Sattr3::default(), nfs3::Path(Bytes::from_static(b"t")));
    let (attributes, place) = (new_attributes, place(root, "b"));
    let how = CreateHow::Unchecked(new_attributes);
    let what = MknodData::Fifo(new_attributes);
    let changes = [
        Args::Write(nfs3::WriteArgs { file, offset: 0, stable, data }),
        Args::Setattr(nfs3::SetattrArgs { object: file, new_attributes, guard: None }),
        Args::Create(nfs3::CreateArgs { place: place.clone(), how }),
        Args::Mkdir(nfs3::MkdirArgs { place: place.clone(), attributes }),
        Args::Symlink(nfs3::SymlinkArgs { place: place.clone(), attributes, target }),
        Args::Mknod(nfs3::MknodArgs { place: place.clone(), what }),
        Args::Remove(nfs3::RemoveArgs { object: place.clone() }),
        Args::Rmdir(nfs3::RmdirArgs { object: place.clone() }),
        Args::Link(nfs3::LinkArgs { file, link: place }),
        rename((root, "a"), (root, "b")),
    ];
    for refusal in [model::Refusal::Busy, model::Refusal::Unknown] {
        world.tree.refuse(Some(refusal));
        for change in &changes {
            let mut client = world.client().await;
            let (_, bytes) = client.encode_nfs(change);
            client.send(&bytes).await;
            assert!(client.receive().await.is_none(), "{change:?} was answered");
        }
    }
    world.tree.refuse(Some(model::Refusal::Busy));
    for others in [
        Args::Read(nfs3::ReadArgs { file, offset: 0, count: 1 }),
        Args::Commit(nfs3::CommitArgs { file, offset: 0, count: 0 }),
        Args::Getattr(nfs3::GetattrArgs { object: file }),
        lookup(root, "a"),
    ] {
        assert_eq!(client.nfs(others).await.failure(), Some(Nfsstat3::Jukebox));
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way_and_closes() {
    let (world, mut client, root) = demo().await;
    let held = world.tree.plant(DEMO, "slow");
    let Reply::Lookup(Ok(found)) = client.nfs(lookup(root, "slow")).await else { panic!() };
    world.tree.hold_data(Some(held));
    let read = Args::Read(nfs3::ReadArgs { file: found.object, offset: 0, count: 10 });
    let (xid, bytes) = client.encode_nfs(&read);
    client.send(&bytes).await;
    sleep(Duration::from_millis(20)).await;
    let stopping = tokio::spawn(world.server.shutdown());
    sleep(Duration::from_millis(20)).await;
    assert!(!stopping.is_finished());
    world.tree.hold_data(None);
    assert_eq!(client.receive().await.unwrap().xid, xid);
    assert!(client.receive().await.is_none());
    stopping.await.unwrap();
}

/// Makes time pass for the connections of `world`.
async fn beats(world: &World, number: u32) {
    for _ in 0..number {
        world.server.pulse.send_modify(|_| {});
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_served_as_before() {
    let (world, mut client, root) = demo().await;
    for _ in 0..3 {
        beats(&world, 5).await;
        let file = client.create(root, "a").await;
        client.write(file, 0, Bytes::from(vec![1; 200_000])).await;
        assert_eq!(client.read(file, 0, 200_000).await.data.len(), 200_000);
    }
}

#[tokio::test]
async fn a_record_that_is_never_finished_gives_its_memory_back() {
    let (world, mut client, _) = demo().await;
    client.send(&((1_u32 << 31) | (1 << 20)).to_be_bytes()).await;
    client.send(&[0; 1000]).await;
    sleep(Duration::from_millis(20)).await;
    beats(&world, 20).await;
    assert!(client.receive().await.is_none());
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_connections() {
    let (world, mut client, _) = demo().await;
    drop(world.server);
    assert!(client.receive().await.is_none());
}

#[tokio::test]
async fn a_connection_that_nobody_has_accepted_yet_is_closed_with_all_others() {
    let (world, _client, _) = demo().await;
    // Nothing else runs on this thread meanwhile: the system holds both for us.
    let connect = || std::net::TcpStream::connect(world.server.local_addrs()[0]).unwrap();
    let null = [0x80, 0, 0, 40]
        .into_iter()
        .chain([7, 0, 2, 100_003, 3, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_be_bytes))
        .collect::<Vec<_>>();
    let ask = |mut stream: std::net::TcpStream| {
        stream.write_all(&null).unwrap();
        stream.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(stream).unwrap()
    };
    let (mut first, mut second) = (ask(connect()), ask(connect()));
    world.server.closer().close_all();
    let mut third = ask(connect());
    let mut reply = [0; 4];
    for stream in [&mut first, &mut second] {
        assert!(!matches!(stream.read(&mut reply).await, Ok(1..)), "it was never read");
    }
    assert!(third.read_exact(&mut reply).await.is_ok());
}

/// Sends a READ that is held; gives the connection as whoever executes it sees it.
async fn held_read(world: &World, client: &mut Client, root: FileHandle) -> Line {
    let Reply::Lookup(Ok(found)) = client.nfs(lookup(root, "slow")).await else { panic!() };
    let read = Args::Read(nfs3::ReadArgs { file: found.object, offset: 0, count: 10 });
    let (_, bytes) = client.encode_nfs(&read);
    client.send(&bytes).await;
    sleep(Duration::from_millis(20)).await;
    world.tree.line()
}

#[tokio::test]
async fn a_call_that_comes_again_before_it_is_answered_is_begun_once() {
    let (world, mut client, root) = demo().await;
    world.tree.hold_data(Some(world.tree.plant(DEMO, "slow")));
    let Reply::Lookup(Ok(found)) = client.nfs(lookup(root, "slow")).await else { panic!() };
    let (file, stable, data) = (found.object, StableHow::Unstable, Bytes::from_static(b"x"));
    let write = Args::Write(nfs3::WriteArgs { file, offset: 0, stable, data });
    let (xid, bytes) = client.encode_nfs(&write);
    for _ in 0..3 {
        client.send(&bytes).await;
    }
    sleep(Duration::from_millis(20)).await;
    assert_eq!(world.tree.keys().len(), 1);
    world.tree.hold_data(None);
    assert_eq!(client.receive().await.unwrap().xid, xid);
    // Once answered, it is for whoever knows the answer.
    client.send(&bytes).await;
    assert_eq!(client.receive().await.unwrap().xid, xid);
    assert_eq!(world.tree.keys().len(), 2);
}

#[tokio::test]
async fn a_call_whose_answer_is_on_its_way_is_answered_again() {
    let (world, mut client, root) = demo().await;
    let file = client.create(root, "a").await;
    client.write(file, 0, Bytes::from(vec![1; 1 << 20])).await;
    // More than the network takes of what nobody reads: the next answer waits here.
    let read = Args::Read(nfs3::ReadArgs { file, offset: 0, count: 1 << 20 });
    let reads: Vec<u8> = (0..READS).flat_map(|_| client.encode_nfs(&read).1).collect();
    client.send(&reads).await;
    let how = CreateHow::Unchecked(Sattr3::default());
    let create = Args::Create(nfs3::CreateArgs { place: place(root, "b"), how });
    let (xid, bytes) = client.encode_nfs(&create);
    client.send(&bytes).await;
    sleep(Duration::from_millis(200)).await;
    client.send(&bytes).await;
    for _ in 0..READS {
        assert_ne!(client.receive().await.unwrap().xid, xid);
    }
    for _ in 0..2 {
        let answer = timeout(Duration::from_secs(10), client.receive()).await;
        assert_eq!(answer.expect("both are answered").unwrap().xid, xid);
    }
    let keys = world.tree.keys();
    assert_eq!(keys[keys.len() - 2], keys[keys.len() - 1]);
}

const READS: u32 = 24;

#[tokio::test]
async fn whoever_executes_a_call_sees_that_its_connection_is_closed() {
    let (world, mut client, root) = demo().await;
    world.tree.hold_data(Some(world.tree.plant(DEMO, "slow")));
    let left = held_read(&world, &mut client, root).await;
    assert!(!left.is_closed());
    drop(client);
    sleep(Duration::from_millis(20)).await;
    assert!(left.is_closed(), "by the client");

    let mut client = world.client().await;
    let line = held_read(&world, &mut client, root).await;
    world.server.closer().close_at("127.0.0.2".parse().unwrap());
    assert!(!line.is_closed(), "it came to another address");
    world.server.closer().close_at("127.0.0.1".parse().unwrap());
    assert!(line.is_closed(), "before it is noticed that nobody reads any more");
    world.tree.hold_data(None);
    assert!(client.receive().await.is_none());

    let mut client = world.client().await;
    world.tree.hold_data(Some(world.tree.plant(DEMO, "slower")));
    let line = held_read(&world, &mut client, root).await;
    assert!(!line.is_closed(), "another connection");
    world.server.closer().close_all();
    assert!(line.is_closed());
}

#[tokio::test]
async fn all_connections_close_without_an_answer_and_new_ones_are_served() {
    let (world, mut client, root) = demo().await;
    world.tree.hold_data(Some(world.tree.plant(DEMO, "slow")));
    held_read(&world, &mut client, root).await;
    world.server.closer().close_all();
    world.tree.hold_data(None);
    assert!(client.receive().await.is_none());
    let mut again = world.client().await;
    assert!(matches!(again.nfs(lookup(root, "slow")).await, Reply::Lookup(Ok(_))));
}
