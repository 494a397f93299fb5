//! Addresses that their holder gives up while clients are connected.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use addresses::{Addresses, Ended, Floating};

use crate::world::{LONG, Lan, PORT, both_families, floating};

#[test]
fn the_connections_of_an_address_end_with_it_and_those_of_others_live() {
    for [gone, kept] in pairs() {
        let lan = Lan::new();
        let adas = lan.ada.addresses();
        let listener = lan.ada.listen("[::]:2049");
        let (_client, mut served) = connected(&lan, &adas, &listener, &gone);
        let (mut other_client, mut other_served) = connected(&lan, &adas, &listener, &kept);

        assert_eq!(ended(&adas, &gone), 1);
        assert!(!lan.ada.has(gone.address()));
        let told = served.read(&mut [0]).expect_err("it was destroyed");
        assert_eq!(told.kind(), ErrorKind::ConnectionAborted);
        assert!(adas.connections(gone.address(), PORT).unwrap().list.is_empty());

        assert!(lan.ada.has(kept.address()));
        assert_eq!(adas.connections(kept.address(), PORT).unwrap().list.len(), 1);
        other_served.write_all(b"well").unwrap();
        let mut heard = [0; 4];
        other_client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"well");
    }
}

#[test]
fn a_client_hears_nothing_from_the_machine_that_gave_its_address_up() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let listener = lan.ada.listen("[::]:2049");
    let [v4, v6] = both_families();
    for (floating, heard) in [
        (v4, ErrorKind::WouldBlock),
        // As `give_up` tells: the kernel does not look where a packet of IPv6 comes from.
        (v6, ErrorKind::ConnectionReset),
    ] {
        let (mut client, _served) = connected(&lan, &adas, &listener, &floating);
        assert_eq!(ended(&adas, &floating), 1);
        client.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let silence = client.read(&mut [0]).expect_err("nobody says anything");
        assert_eq!(silence.kind(), heard, "{floating}");
    }
}

#[test]
fn what_a_client_sends_to_an_address_that_was_given_up_is_not_acknowledged() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let listener = lan.ada.listen("[::]:2049");
    let [v4, _] = both_families();
    let (mut client, _served) = connected(&lan, &adas, &listener, &v4);
    let _ = adas.give_up(&v4).unwrap();
    client.write_all(b"write this down").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let queues = lan.client.run(|| std::process::Command::new("ss").args(["-tnH"]).output());
    let queues = String::from_utf8(queues.unwrap().stdout).unwrap();
    let unacknowledged = queues.split_whitespace().nth(2);
    assert_eq!(unacknowledged, Some("15"), "{queues}");
}

#[test]
fn a_client_that_came_lately_is_told_by_the_machine_that_gave_the_address_up() {
    for floating in both_families() {
        let lan = Lan::new();
        let (adas, bobs) = (lan.ada.addresses(), lan.bob.addresses());
        let listener = lan.ada.listen("[::]:2049");
        let _serving = lan.bob.listen("[::]:2049");
        let (mut client, _served) = connected(&lan, &adas, &listener, &floating);
        let Ended::Destroyed(known) = adas.give_up(&floating).unwrap() else { panic!() };
        // Nobody has told bob of any client.
        bobs.hold(&floating, LONG).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        // One packet can be lost, and a client answers one in half a second: both are repeated.
        let told = (0..5).find_map(|_| {
            bobs.announce(&floating).unwrap();
            let tickled = adas.tickle(&known);
            assert_eq!((tickled.tried, tickled.sent), (1, 1), "{:?}", tickled.fault);
            let told = client.read(&mut [0]).expect_err("its connection is gone").kind();
            (told != ErrorKind::WouldBlock).then_some(told)
        });
        assert_eq!(told, Some(ErrorKind::ConnectionReset), "{floating}");
        let again = lan.client.connect(SocketAddr::new(floating.address(), PORT));
        assert_eq!(again.peer_addr().unwrap().ip(), floating.address());
    }
}

#[test]
fn what_is_not_there_can_be_given_up() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    for floating in both_families() {
        assert_eq!(ended(&adas, &floating), 0);
    }
    let elsewhere = Floating::parse("10.99.0.9/24", "eth7".parse().unwrap()).unwrap();
    assert_eq!(ended(&adas, &elsewhere), 0);
}

/// An address that is given up, and one that is kept.
fn pairs() -> [[Floating; 2]; 2] {
    let [v4, v6] = both_families();
    [[v4, floating("10.99.0.10/24")], [v6, floating("fd99::10/64")]]
}

/// How many connections ended with the address.
fn ended(addresses: &Addresses, floating: &Floating) -> usize {
    match addresses.give_up(floating).expect("root may") {
        Ended::Destroyed(connections) => connections.len(),
        Ended::Left(left) => panic!("this kernel can't: {left:?}"),
    }
}

/// A client, and the end of its connection at ada's.
fn connected(
    lan: &Lan,
    adas: &Addresses,
    listener: &TcpListener,
    floating: &Floating,
) -> (TcpStream, TcpStream) {
    adas.hold(floating, LONG).expect("root may");
    let client = lan.client.connect(SocketAddr::new(floating.address(), PORT));
    let (served, _) = listener.accept().expect("a client is there");
    (client, served)
}
