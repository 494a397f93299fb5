//! Clients whose connections were served by a machine that is silent now.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use addresses::{Connection, Floating, TICKLES_MAX};

use crate::world::{LONG, Lan, PORT, READ_MAX, both_families};

#[test]
fn a_client_of_a_silent_machine_hangs_until_the_new_holder_tickles_it() {
    for floating in both_families() {
        let lan = Lan::new();
        let (adas, bobs) = (lan.ada.addresses(), lan.bob.addresses());
        let listener = lan.ada.listen("[::]:2049");
        let _serving = lan.bob.listen("[::]:2049");
        adas.hold(&floating, LONG).unwrap();
        let at = SocketAddr::new(floating.address(), PORT);
        let client = lan.client.connect(at);
        let _served = listener.accept().unwrap();
        let known = adas.connections(floating.address(), PORT).unwrap();
        assert_eq!(known.list.len(), 1);

        lan.isolate_ada();
        bobs.hold(&floating, LONG).unwrap();
        bobs.announce(&floating).unwrap();
        let (waited, heard) = wait_for_word(&client);
        assert_eq!(heard, ErrorKind::WouldBlock, "{floating}: it noticed by itself");
        assert!(waited >= READ_MAX - Duration::from_millis(10), "{waited:?}");

        let tickled = bobs.tickle(&known.list);
        assert_eq!((tickled.tried, tickled.sent), (1, 1), "{:?}", tickled.fault);
        let (waited, heard) = wait_for_word(&client);
        eprintln!("{floating}: {heard} {waited:?} after the tickle");
        assert_eq!(heard, ErrorKind::ConnectionReset, "{floating}");
        assert!(waited < Duration::from_secs(1), "{floating}: {waited:?}");
        let again = lan.client.connect(at);
        assert_eq!(again.peer_addr().unwrap(), at);
    }
}

#[test]
fn a_client_whose_connection_lives_is_not_disturbed_by_a_tickle() {
    for floating in both_families() {
        let lan = Lan::new();
        let adas = lan.ada.addresses();
        let listener = lan.ada.listen("[::]:2049");
        adas.hold(&floating, LONG).unwrap();
        let mut client = lan.client.connect(SocketAddr::new(floating.address(), PORT));
        let (mut served, _) = listener.accept().unwrap();
        let known = adas.connections(floating.address(), PORT).unwrap();
        assert_eq!(adas.tickle(&known.list).sent, 1);
        std::thread::sleep(Duration::from_millis(300));
        std::io::Write::write_all(&mut served, b"well").unwrap();
        let mut heard = [0; 4];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"well");
    }
}

#[test]
fn a_client_of_ipv4_whom_a_socket_for_both_families_serves_is_listed_as_one_of_ipv4() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let [v4, v6] = both_families();
    let listener = lan.ada.listen("[::]:2049");
    for floating in [&v4, &v6] {
        adas.hold(floating, LONG).unwrap();
    }
    let at = |floating: &Floating| SocketAddr::new(floating.address(), PORT);
    let clients = [lan.client.connect(at(&v4)), lan.client.connect(at(&v6))];
    let _served = [listener.accept().unwrap(), listener.accept().unwrap()];
    for (floating, client) in [&v4, &v6].into_iter().zip(&clients) {
        let found = adas.connections(floating.address(), PORT).unwrap();
        let here = Connection::new(at(floating), client.local_addr().unwrap()).unwrap();
        assert_eq!((found.list, found.cut), (vec![here], false));
    }
    assert!(adas.connections(v4.address(), PORT + 1).unwrap().list.is_empty());
    assert!(adas.connections(IpAddr::from([10, 99, 0, 10]), PORT).unwrap().list.is_empty());
}

#[test]
fn so_many_tickles_are_sent_a_call_and_no_more() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let local = "10.99.0.9:2049".parse().unwrap();
    let many: Vec<_> = (0..TICKLES_MAX + 5)
        .map(|n| SocketAddr::from(([10, 99, 0, 7], 1024 + u16::try_from(n).unwrap())))
        .map(|remote| Connection::new(local, remote).unwrap())
        .collect();
    let tickled = adas.tickle(&many);
    // Some may be left for the next call: their queue is short while the neighbour is looked for.
    assert!((1..=TICKLES_MAX).contains(&tickled.tried), "{tickled:?}");
    assert_eq!(tickled.sent, tickled.tried, "{tickled:?}");
    assert_eq!(adas.tickle(&many[many.len() - 1..]).sent, 1);
}

#[test]
fn a_client_that_no_route_leads_to_is_named_and_the_others_are_tickled() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let local = "10.99.0.9:2049".parse().unwrap();
    let [far, near] = ["192.0.2.7:700", "10.99.0.7:700"]
        .map(|remote| Connection::new(local, remote.parse().unwrap()).unwrap());
    let tickled = adas.tickle(&[far, near]);
    assert_eq!((tickled.tried, tickled.sent), (2, 1));
    let said = tickled.fault.unwrap().to_string();
    assert!(said.starts_with("can't tickle 192.0.2.7:700 from 10.99.0.9:2049: Network is unre"));
}

/// How long the client waited for its server, and what it then heard.
fn wait_for_word(mut client: &TcpStream) -> (Duration, ErrorKind) {
    let began = Instant::now();
    let fault = client.read(&mut [0]).expect_err("nobody says anything");
    (began.elapsed(), fault.kind())
}
