use bytes::{Bytes, BytesMut};
use nfs_wire::nfs3::{self, Sattr3};
use nfs_wire::rpc::{Answer, CallHeader, call};
use nfs_wire::{Framing, Xid, mount};
use tokio::net::UdpSocket;

use super::*;
use crate::testing::{World, place, root};

#[tokio::test]
async fn a_directory_below_an_export_mounts_too() {
    let world = World::start().await;
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    let mkdir = nfs3::MkdirArgs { place: place(root, "dir"), attributes: Sattr3::default() };
    let nfs3::Reply::Mkdir(Ok(made)) = client.nfs(nfs3::Args::Mkdir(mkdir)).await else { panic!() };
    assert_eq!(client.mnt("/demo/dir").await, Ok(made.obj.unwrap()));
    assert_eq!(client.mnt("//demo//dir/").await, Ok(made.obj.unwrap()));
}

#[tokio::test]
async fn a_mount_that_can_not_be_is_refused_with_the_reason() {
    let world = World::start().await;
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    client.create(root, "file").await;
    assert_eq!(client.mnt("/none").await, Err(Mountstat3::Noent));
    assert_eq!(client.mnt("/demo/none").await, Err(Mountstat3::Noent));
    assert_eq!(client.mnt("/demo/file").await, Err(Mountstat3::Notdir));
    assert_eq!(client.mnt("/closed").await, Err(Mountstat3::Acces));
    let long = format!("/demo/{}", "n/".repeat(600));
    assert_eq!(client.mnt(&long).await, Err(Mountstat3::Nametoolong));
}

#[tokio::test]
async fn only_an_export_for_the_anonymous_takes_calls_of_nobody() {
    let world = World::start().await;
    let mut client = world.client().await;
    for (path, flavors) in
        [("/demo", vec![AuthFlavor::SYS]), ("/public", vec![AuthFlavor::SYS, AuthFlavor::NONE])]
    {
        let reply = client.mount_call(Args::Mnt(Path(path.into()))).await;
        let Reply::Mnt(Ok(mounted)) = reply else { panic!() };
        assert_eq!(mounted.flavors, flavors);
    }
}

#[tokio::test]
async fn exports_are_listed_with_their_clients() {
    let world = World::start().await;
    let mut client = world.client().await;
    let Reply::Export(exports) = client.mount_call(Args::Export).await else { panic!() };
    let listed: Vec<_> =
        exports.iter().map(|export| (&export.directory[..], &export.groups[0][..])).collect();
    assert_eq!(listed[0], (&b"/demo"[..], &b"*"[..]));
    assert_eq!(listed[3], (&b"/closed"[..], &b"10.9.9.9"[..]));
}

#[tokio::test]
async fn dump_lists_what_is_mounted_until_it_is_not() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.mnt("/demo").await.unwrap();
    client.mnt("/public").await.unwrap();
    let Reply::Dump(mounts) = client.mount_call(Args::Dump).await else { panic!() };
    assert_eq!(mounts.len(), 2);
    assert_eq!(&mounts[0].hostname[..], b"127.0.0.1");
    client.mount_call(Args::Umnt(Path("/demo".into()))).await;
    let Reply::Dump(mounts) = client.mount_call(Args::Dump).await else { panic!() };
    assert_eq!(mounts.len(), 1);
    client.mount_call(Args::Umntall).await;
    let Reply::Dump(mounts) = client.mount_call(Args::Dump).await else { panic!() };
    assert!(mounts.is_empty());
}

#[tokio::test]
async fn mount_is_answered_over_udp_and_nfs_is_not() {
    let world = World::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(world.server.local_addrs()[0]).await.unwrap();
    let mut buffer = [0; 1500];
    let mut ask = async |program, procedure, args: &Args| {
        let credential = &root();
        let header = CallHeader { xid: Xid(5), program, version: 3, procedure, credential };
        let message = call(&header, Framing::Datagram, args, &mut BytesMut::new());
        socket.send(&message.to_bytes()).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        Answer::parse(&Bytes::copy_from_slice(&buffer[..length])).unwrap().outcome
    };
    let mounted = ask(mount::PROGRAM, 1, &Args::Mnt(Path("/demo".into()))).await.unwrap();
    let reply = Reply::decode(mount::Procedure::Mnt, &mounted).unwrap();
    assert!(matches!(reply, Reply::Mnt(Ok(_))));
    let refused = ask(nfs3::PROGRAM, 0, &Args::Null).await;
    assert_eq!(refused, Err(nfs_wire::Refusal::ProgUnavail));
}
