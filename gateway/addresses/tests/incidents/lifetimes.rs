//! Addresses that stay as long as they are renewed, and no longer.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use addresses::{Addresses, Floating, VALID_SECONDS_MIN};

use crate::world::{LONG, Lan, both_families, eventually, floating};

#[test]
fn an_address_that_is_renewed_stays_and_one_that_is_not_goes_by_itself() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let valid_for = Duration::from_secs(2);
    let began = Instant::now();
    // Three lifetimes long.
    while began.elapsed() < valid_for * 3 {
        for floating in both_families() {
            adas.hold(&floating, valid_for).unwrap();
            assert!(is_held(&adas, &floating), "{floating} went after {:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    for floating in both_families() {
        let before = Instant::now();
        adas.hold(&floating, valid_for).unwrap();
        assert!(lan.ada.has(floating.address()));
        let late = overdue(&adas, &floating, valid_for, before);
        assert!(late < LATE_MAX, "{floating} went {late:?} late");
        assert!(!lan.ada.has(floating.address()));
    }
}

#[test]
fn a_frozen_holder_loses_its_address_soon_after_the_lifetime() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    for seconds in [VALID_SECONDS_MIN, 2, 3] {
        let valid_for = Duration::from_secs(seconds.into());
        for floating in both_families() {
            let before = Instant::now();
            adas.hold(&floating, valid_for).unwrap();
            let late = overdue(&adas, &floating, valid_for, before);
            eprintln!("{floating} for {valid_for:?} went {late:?} late");
            assert!(late < LATE_MAX, "{floating} went {late:?} late");
        }
    }
}

#[test]
fn an_address_goes_soon_also_if_the_kernel_looked_just_before_its_end() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    let valid_for = Duration::from_secs(2);
    let others = ["10.99.0.10/24", "fd99::10/64"].map(floating);
    for (floating, other) in both_families().iter().zip(&others) {
        let before = Instant::now();
        adas.hold(floating, valid_for).unwrap();
        // It looks when any address is added or renewed, and then not again for a second.
        let just_before = Duration::from_millis(1900);
        std::thread::sleep(just_before);
        adas.hold(other, LONG).unwrap();
        let late = overdue(&adas, floating, valid_for, before);
        eprintln!("{floating} for {valid_for:?} went {late:?} late, disturbed");
        assert!(late < LATE_MAX, "{floating} went {late:?} late");
    }
}

#[test]
fn what_an_earlier_run_left_behind_is_found_and_can_be_given_up() {
    let lan = Lan::new();
    let [first, second] = both_families();
    lan.ada.addresses().hold(&first, LONG).unwrap();
    lan.ada.addresses().hold(&second, LONG).unwrap();
    let adas = lan.ada.addresses();
    let wanted = [first.address(), second.address(), "10.99.0.10".parse().unwrap()];
    let mut held = adas.held(&wanted).unwrap();
    held.sort_by_key(|held| held.floating.address());
    assert_eq!(held.len(), 2, "{held:?}");
    for (held, floating) in held.iter().zip([&first, &second]) {
        assert_eq!(held.floating, *floating);
        let remaining = held.remaining.expect("it has a lifetime");
        assert!((LONG - Duration::from_secs(5)..=LONG).contains(&remaining), "{remaining:?}");
        let _ = adas.give_up(&held.floating).unwrap();
    }
    assert!(adas.held(&wanted).unwrap().is_empty());
}

#[test]
fn an_address_that_stays_by_itself_is_told_from_one_that_is_held() {
    let lan = Lan::new();
    let own: IpAddr = "10.99.0.101".parse().unwrap();
    let held = lan.ada.addresses().held(&[own]).unwrap();
    assert_eq!((held.len(), held[0].remaining), (1, None));
}

#[test]
fn an_address_that_goes_does_not_take_the_others_of_its_subnet_with_it() {
    let lan = Lan::new();
    let adas = lan.ada.addresses();
    // A subnet in which nothing stays; what is added first is the kernel's primary address.
    let [first, second] = ["10.98.0.8/24", "10.98.0.9/24"].map(floating);
    let both_then_one = || {
        adas.hold(&first, LONG).unwrap();
        adas.hold(&second, LONG).unwrap();
        let _ = adas.give_up(&first).unwrap();
        is_held(&adas, &second)
    };
    lan.ada.run(|| std::fs::write(PROMOTE_ALL, "0")).unwrap();
    assert!(!both_then_one(), "this kernel needs no preparation");
    lan.ada.run(|| adas.prepare(first.interface())).unwrap();
    assert!(both_then_one());
}

/// Waits until the address is gone; how much longer than `valid_for` after it was renewed that is.
///
/// `before` is when it had not been renewed yet: on a busy machine this thread may have waited
/// since.
fn overdue(
    addresses: &Addresses,
    floating: &Floating,
    valid_for: Duration,
    before: Instant,
) -> Duration {
    eventually("the address to go", || (!is_held(addresses, floating)).then_some(()));
    let took = before.elapsed();
    assert!(took + EARLY_MAX >= valid_for, "{floating} went after {took:?}");
    took.saturating_sub(valid_for)
}

fn is_held(addresses: &Addresses, floating: &Floating) -> bool {
    !addresses.held(&[floating.address()]).expect("the kernel lists").is_empty()
}

const PROMOTE_ALL: &str = "/proc/sys/net/ipv4/conf/all/promote_secondaries";

/// What `VALID_SECONDS_MIN` tells, and as much again for a machine that is busy.
const LATE_MAX: Duration = Duration::from_secs(2);
/// What the kernel rounds away (20 ms), and as much again.
const EARLY_MAX: Duration = Duration::from_millis(50);
