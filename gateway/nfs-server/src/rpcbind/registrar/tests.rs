use nfs_wire::{Call, rpc};
use tokio::net::UdpSocket;

use super::*;
use crate::rpcbind::registry::nfs_services;
use crate::testing::{World, settings};
use crate::{RpcbindMode, Settings};

/// Another rpcbind: says yes to all, and tells what it was asked.
async fn obliging_rpcbind(socket: &UdpSocket) -> Args {
    let mut buffer = [0; 1500];
    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
    let call = Call::parse(&Bytes::copy_from_slice(&buffer[..length])).unwrap();
    let version = Version::from_code(call.version).unwrap();
    let args = Args::decode(version, call.procedure, &call.args).unwrap();
    let scratch = &mut BytesMut::new();
    let reply = rpc::accept(call.xid, Framing::Datagram, &Reply::Done(true), scratch);
    socket.send_to(&reply.to_bytes(), from).await.unwrap();
    args
}

#[tokio::test]
async fn services_are_registered_with_an_rpcbind_that_runs_and_taken_back_at_the_end() {
    let rpcbind = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let rpcbind_port = rpcbind.local_addr().unwrap().port();
    // Its port is taken, so `Auto` must find out that somebody else answers there.
    let rpcbind_mode = RpcbindMode::Auto;
    let world =
        World::start_with(Settings { rpcbind: rpcbind_mode, rpcbind_port, ..settings() }).await;
    assert!(world.server.rpcbind_addrs().is_empty());
    let mut set = Vec::new();
    while set.len() < 4 {
        if let Args::SetPort(mapping) = obliging_rpcbind(&rpcbind).await {
            set.push((mapping.program, mapping.protocol));
        }
    }
    assert_eq!(set, [(100_003, 6), (100_021, 6), (100_005, 6), (100_005, 17)]);
    // The server has had the last answer once it takes them back.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopping = tokio::spawn(world.server.shutdown());
    for _ in 0..4 {
        assert!(matches!(obliging_rpcbind(&rpcbind).await, Args::UnsetPort(_)));
    }
    stopping.await.unwrap();
}

#[test]
fn ipv6_is_registered_in_version_4_and_ipv4_in_version_2() {
    let services = nfs_services(&["[::]:2049".parse().unwrap()]);
    let versions: Vec<_> = services.iter().map(|service| set(service).0).collect();
    assert_eq!(versions, [[Version::V2; 4], [Version::V4; 4]].concat());
}
