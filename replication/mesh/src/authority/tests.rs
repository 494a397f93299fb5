use std::sync::atomic::{AtomicU8, Ordering};

use super::*;
use crate::testing::{A, DAY, NOW, TestEntropy, authority};

#[test]
fn a_stored_authority_issues_certificates_of_the_same_fleet() {
    let fleet = authority();
    let stored = FleetAuthority::from_bytes(&fleet.to_bytes()).unwrap();
    assert_eq!(stored.fingerprint(), fleet.fingerprint());
    assert_eq!(stored.issue(A, &TestEntropy, NOW, DAY).fleet(), fleet.fingerprint());
}

#[test]
fn two_fleets_differ() {
    assert_ne!(authority().fingerprint(), authority().fingerprint());
}

#[test]
fn equal_entropy_and_time_found_the_same_fleet() {
    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }
    let found = || FleetAuthority::found(&Counting(AtomicU8::new(1)), NOW).to_bytes();
    assert_eq!(found(), found());
}

#[test]
fn a_damaged_authority_is_refused() {
    let good = authority().to_bytes();
    assert_eq!(FleetAuthority::from_bytes(&[]).unwrap_err(), BadAuthority::Cut);
    assert_eq!(FleetAuthority::from_bytes(&good[..20]).unwrap_err(), BadAuthority::Cut);
    let other = [&[9], &good[1..]].concat();
    assert_eq!(FleetAuthority::from_bytes(&other).unwrap_err(), BadAuthority::Format(9));
    let mut wrong_key = good.clone();
    wrong_key[5] ^= 1;
    assert_eq!(FleetAuthority::from_bytes(&wrong_key).unwrap_err(), BadAuthority::Mismatch);
    assert!(FleetAuthority::from_bytes(&good[..good.len() - 1]).is_err());
}

#[test]
fn stored_credentials_are_the_same_and_damaged_ones_are_refused() {
    let issued = authority().issue(A, &TestEntropy, NOW, DAY);
    let bytes = issued.to_bytes();
    let stored = Credentials::from_bytes(&bytes).unwrap();
    assert_eq!((stored.appliance(), stored.fleet()), (A, issued.fleet()));
    assert_eq!(stored.to_bytes(), bytes);
    for len in 0..bytes.len() {
        assert!(Credentials::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    let mut other = bytes;
    other[8] ^= 1;
    assert_eq!(Credentials::from_bytes(&other).unwrap_err(), BadAuthority::Mismatch);
}

#[test]
fn a_certificate_names_one_appliance() {
    for number in [0, 1, 0xfedc_ba98_7654_3210, u64::MAX] {
        let id = ApplianceId::new(number);
        let issued = authority().issue(id, &TestEntropy, NOW, DAY);
        assert_eq!(appliance_of(&issued.chain()[0]), Some(id));
    }
    assert_eq!(appliance_of(authority().issue(A, &TestEntropy, NOW, DAY).authority()), None);
}

#[test]
fn another_spelling_of_a_name_is_nobody() {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = key_pair(&fresh_seed(&TestEntropy));
        let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        appliance_of(made.der())
    };
    let good = appliance_name(A);
    assert_eq!(named(&[&good]), Some(A));
    for bad in [
        &["000000000000000A.appliance.holdfast.internal"][..],
        &["a.appliance.holdfast.internal"],
        &["*.appliance.holdfast.internal"],
        &["000000000000000a.appliance.holdfast.internal.example"],
        &["000000000000000a.example"],
        &[&good, "000000000000000b.appliance.holdfast.internal"],
        &[],
    ] {
        assert_eq!(named(bad), None, "{bad:?}");
    }
}
