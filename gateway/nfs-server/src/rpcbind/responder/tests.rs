use nfs_wire::rpc::{Answer, CallHeader, call};
use nfs_wire::rpcbind::{IPPROTO_TCP, IPPROTO_UDP, Text};
use nfs_wire::{Credential, Xid, mount, nfs3};
use tokio::io::AsyncReadExt;

use super::*;
use crate::rpcbind::registry::nfs_services;
use crate::testing::{World, settings};
use crate::{RpcbindMode, Settings};

async fn world() -> World {
    World::start_with(Settings { rpcbind: RpcbindMode::Own, ..settings() }).await
}

fn encode(version: Version, args: &Args, framing: Framing) -> Bytes {
    let (version, procedure) = (version.code(), args.procedure());
    let credential = &Credential::None;
    let header = CallHeader { xid: Xid(3), program: PROGRAM, version, procedure, credential };
    call(&header, framing, args, &mut BytesMut::new()).to_bytes()
}

async fn ask_udp(world: &World, version: Version, args: Args) -> Reply {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(world.server.rpcbind_addrs()[0]).await.unwrap();
    socket.send(&encode(version, &args, Framing::Datagram)).await.unwrap();
    let mut buffer = [0; 9000];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Answer::parse(&Bytes::copy_from_slice(&buffer[..length])).unwrap();
    Reply::decode(&args, &answer.outcome.unwrap()).unwrap()
}

fn mapping(program: u32, version: u32, protocol: u32) -> Mapping {
    Mapping { program, version, protocol, port: 0 }
}

fn rpcb(program: u32, version: u32, netid: &'static str) -> Rpcb {
    let (address, owner) = (Text::from(""), Text::from(""));
    Rpcb { program, version, netid: Text::from(netid), address, owner }
}

#[tokio::test]
async fn getport_tells_where_nfs_and_mount_are_and_what_is_not_there() {
    let world = world().await;
    let port = u32::from(world.server.local_addrs()[0].port());
    for (asked, expected) in [
        (mapping(nfs3::PROGRAM, 3, IPPROTO_TCP), port),
        (mapping(mount::PROGRAM, 3, IPPROTO_UDP), port),
        (mapping(nfs3::PROGRAM, 3, IPPROTO_UDP), 0),
        (mapping(100_227, 3, IPPROTO_TCP), 0),
        (mapping(100_021, 4, IPPROTO_TCP), port),
        (mapping(100_021, 4, IPPROTO_UDP), 0),
    ] {
        let reply = ask_udp(&world, Version::V2, Args::Getport(asked)).await;
        assert_eq!(reply, Reply::Port(expected), "{asked:?}");
    }
}

#[tokio::test]
async fn dump_lists_rpcbind_itself_nfs_and_mount() {
    let world = world().await;
    let Reply::Mappings(mappings) = ask_udp(&world, Version::V2, Args::DumpPorts).await else {
        panic!()
    };
    let offers = |program, protocol| {
        mappings.iter().any(|entry| entry.program == program && entry.protocol == protocol)
    };
    assert!(offers(PROGRAM, IPPROTO_TCP) && offers(PROGRAM, IPPROTO_UDP));
    assert!(offers(nfs3::PROGRAM, IPPROTO_TCP) && !offers(nfs3::PROGRAM, IPPROTO_UDP));
    assert!(offers(mount::PROGRAM, IPPROTO_TCP) && offers(mount::PROGRAM, IPPROTO_UDP));
    let Reply::Services(services) = ask_udp(&world, Version::V4, Args::Dump).await else {
        panic!()
    };
    assert_eq!(services.len(), mappings.len(), "this server has no IPv6");
}

#[tokio::test]
async fn getaddr_gives_a_universal_address_that_leads_back_to_us() {
    let world = world().await;
    let expected = world.server.local_addrs()[0];
    let questions = [
        (Version::V3, Args::Getaddr(rpcb(nfs3::PROGRAM, 3, "tcp"))),
        (Version::V4, Args::Getaddr(rpcb(nfs3::PROGRAM, 4, "tcp"))),
        (Version::V4, Args::Getversaddr(rpcb(mount::PROGRAM, 3, "udp"))),
    ];
    for (version, args) in questions {
        let Reply::Address(address) = ask_udp(&world, version, args).await else { panic!() };
        assert_eq!(parse_universal_address(&address.0), Some(expected));
    }
    let none = Args::Getversaddr(rpcb(nfs3::PROGRAM, 4, "tcp"));
    assert_eq!(ask_udp(&world, Version::V4, none).await, Reply::Address(Text::from("")));
}

#[tokio::test]
async fn questions_over_tcp_are_answered_too() {
    let world = world().await;
    let mut stream = TcpStream::connect(world.server.rpcbind_addrs()[0]).await.unwrap();
    let args = Args::Getaddrlist(rpcb(mount::PROGRAM, 3, ""));
    stream.write_all(&encode(Version::V4, &args, Framing::Record)).await.unwrap();
    let length = stream.read_u32().await.unwrap() & !(1 << 31);
    let mut record = vec![0; length as usize];
    stream.read_exact(&mut record).await.unwrap();
    let answer = Answer::parse(&record.into()).unwrap();
    let Reply::Addresses(list) = Reply::decode(&args, &answer.outcome.unwrap()).unwrap() else {
        panic!()
    };
    assert_eq!(list.len(), 2);
}

#[test]
fn only_a_privileged_program_of_this_machine_may_set() {
    let registry = Registry::new(nfs_services(&["0.0.0.0:2049".parse().unwrap()]));
    let statd = Mapping { port: 700, ..mapping(100_024, 1, IPPROTO_UDP) };
    let set = encode(Version::V2, &Args::SetPort(statd), Framing::Datagram);
    let ask = |from: &str| {
        let by = Peer::from(from.parse::<SocketAddr>().unwrap());
        let asked = Asked { by, local: by.ip, framing: Framing::Datagram };
        let message = answer(&registry, asked, &set).unwrap().to_bytes();
        let results = Answer::parse(&message).unwrap().outcome.unwrap();
        Reply::decode(&Args::SetPort(statd), &results).unwrap()
    };
    assert_eq!(ask("127.0.0.1:5000"), Reply::Done(false));
    assert_eq!(ask("10.0.0.1:700"), Reply::Done(false));
    assert_eq!(ask("127.0.0.1:700"), Reply::Done(true));
    assert_eq!(ask("[::ffff:127.0.0.1]:701"), Reply::Done(true));
}

#[test]
fn callit_and_unknown_versions_are_refused() {
    let registry = Registry::new(Vec::new());
    let by = Peer::from("10.0.0.1:700".parse::<SocketAddr>().unwrap());
    let asked = Asked { by, local: by.ip, framing: Framing::Datagram };
    let refusal = |version, procedure| {
        let credential = &Credential::None;
        let header = CallHeader { xid: Xid(3), program: PROGRAM, version, procedure, credential };
        let message = call(&header, Framing::Datagram, &(), &mut BytesMut::new()).to_bytes();
        let answered = answer(&registry, asked, &message).unwrap().to_bytes();
        Answer::parse(&answered).unwrap().outcome.unwrap_err()
    };
    const CALLIT: u32 = 5;
    assert_eq!(refusal(2, CALLIT), Refusal::ProcUnavail);
    assert_eq!(refusal(5, 0), Refusal::ProgMismatch { low: 2, high: 4 });
}
