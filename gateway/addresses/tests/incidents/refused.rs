//! What the kernel refuses, in words for the operator.

use std::time::Duration;

use addresses::{Addresses, Fault, Floating, VALID_SECONDS_MAX};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::world::{Host, LONG, Lan, floating};

#[test]
fn an_interface_that_is_not_there_is_named() {
    let host = Host::new();
    let addresses = host.addresses();
    let nowhere = Floating::parse("10.99.0.9/24", "eth7".parse().unwrap()).unwrap();
    let remedy = "this machine has no interface of that name; name one of `ip link`";
    for (fault, deed) in [
        (addresses.hold(&nowhere, LONG), "hold 10.99.0.9/24 on eth7"),
        (addresses.announce(&nowhere), "announce 10.99.0.9/24 on eth7"),
        (
            host.run(|| addresses.prepare(nowhere.interface())),
            "prepare eth7 for floating addresses",
        ),
    ] {
        let fault = fault.unwrap_err();
        assert!(matches!(fault, Fault::NoInterface { .. }), "{fault:?}");
        assert_eq!(fault.to_string(), format!("can't {deed}: {remedy}"));
    }
}

#[test]
fn an_address_on_an_interface_that_nobody_asks_for_addresses_is_not_announced() {
    let host = Host::new();
    let addresses = host.addresses();
    for given in ["10.99.0.9/32", "fd99::9/128"] {
        let lonely = Floating::parse(given, "lo".parse().unwrap()).unwrap();
        addresses.hold(&lonely, LONG).unwrap();
        let fault = addresses.announce(&lonely).unwrap_err();
        assert!(matches!(fault, Fault::NotEthernet { .. }), "{fault:?}");
    }
}

#[test]
fn a_lifetime_that_the_kernel_can_not_count_is_refused() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let floating = floating("10.99.0.9/24");
    let too_long = Duration::from_secs(u64::from(VALID_SECONDS_MAX) + 1);
    for valid_for in [Duration::ZERO, Duration::from_millis(999), too_long, Duration::MAX] {
        let fault = adas.hold(&floating, valid_for).unwrap_err();
        assert!(matches!(fault, Fault::Lifetime { .. }), "{fault:?}");
    }
    let said = adas.hold(&floating, Duration::from_millis(999)).unwrap_err().to_string();
    let expected = "10.99.0.9/24 on eth0 can't be held for 999ms: give 1 s to 3600 s";
    assert_eq!(said, expected);
    assert!(!lan.ada.has(floating.address()));
}

#[test]
fn ipv6_that_is_off_is_said_to_be_off() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    lan.ada.run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")).unwrap();
    let fault = adas.hold(&floating("fd99::9/64"), LONG).unwrap_err();
    assert!(matches!(fault, Fault::Ipv6Off { .. }), "{fault:?}");
    adas.hold(&floating("10.99.0.9/24"), LONG).unwrap();
}

#[test]
fn a_process_that_may_not_is_told_what_it_lacks() {
    let lan = Lan::new();
    let (with, without) = lan.ada.run(|| {
        let opened = Addresses::open().unwrap();
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        // Of this thread alone.
        set_capabilities(None, sets).unwrap();
        (opened.hold(&floating("10.99.0.9/24"), LONG), Addresses::open().map(|_| ()))
    });
    for (fault, deed) in
        [(with, "hold 10.99.0.9/24 on eth0"), (without, "open the sockets that manage addresses")]
    {
        let fault = fault.unwrap_err();
        assert!(matches!(fault, Fault::NotPermitted { .. }), "{fault:?}");
        let remedy = "not permitted; start it with CAP_NET_ADMIN and CAP_NET_RAW";
        assert_eq!(fault.to_string(), format!("can't {deed}: {remedy}"));
    }
}
