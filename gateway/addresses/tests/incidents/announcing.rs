//! Neighbours that believe that an address is elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use crate::world::{LONG, Lan, PORT, both_families, eventually};

#[test]
fn a_neighbour_that_knows_the_previous_holder_sends_to_the_new_one_once_it_is_announced() {
    let lan = Lan::new();
    let (adas, bobs) = (lan.ada.addresses(), lan.bob.addresses());
    assert_ne!(lan.ada.mac(), lan.bob.mac());
    for floating in both_families() {
        let address = floating.address();
        let _listening = lan.ada.listen("[::]:2049");
        adas.hold(&floating, LONG).unwrap();
        let _connected = lan.client.connect(SocketAddr::new(address, PORT));
        assert_eq!(lan.client.neighbour(address), Some(lan.ada.mac()), "{floating}");

        let _ = adas.give_up(&floating).unwrap();
        bobs.hold(&floating, LONG).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(lan.client.neighbour(address), Some(lan.ada.mac()), "{floating}: too easy");

        bobs.announce(&floating).unwrap();
        eventually("the client to believe the announcement", || {
            (lan.client.neighbour(address) == Some(lan.bob.mac())).then_some(())
        });
    }
}
