use super::*;

fn names() -> Vec<String> {
    vec!["ada".to_owned(), "127.0.0.1".to_owned()]
}

#[test]
fn a_certificate_is_made_once_and_again_if_a_half_of_it_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let made = Identity::open(dir.path(), &names()).unwrap().fingerprint();
    assert_eq!(Identity::open(dir.path(), &names()).unwrap().fingerprint(), made);
    std::fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
    assert_ne!(Identity::open(dir.path(), &names()).unwrap().fingerprint(), made);
}

#[test]
fn a_damaged_certificate_or_the_key_of_another_is_refused_with_its_path() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Identity::open(dir.path(), &names()).unwrap();
    Identity::open(other.path(), &names()).unwrap();
    std::fs::copy(other.path().join(KEY), dir.path().join(KEY)).unwrap();
    let refused = Identity::open(dir.path(), &names()).err().unwrap().to_string();
    assert!(refused.contains(CERTIFICATE), "{refused}");
    std::fs::write(dir.path().join(KEY), "rot").unwrap();
    let refused = Identity::open(dir.path(), &names()).err().unwrap().to_string();
    assert!(refused.contains(KEY), "{refused}");
}

#[test]
fn a_fingerprint_is_sha_256_and_is_read_as_people_write_it() {
    // FIPS 180-4's example for "abc".
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let of_abc = Fingerprint::of(b"abc");
    assert_eq!(of_abc.to_string(), text);
    assert_eq!(text.to_uppercase().parse(), Ok(of_abc));
    let pairs: Vec<&str> = (0..32).map(|at| &text[2 * at..2 * at + 2]).collect();
    assert_eq!(pairs.join(":").parse(), Ok(of_abc));
    for bad in ["", "ab", &text[1..], &text.replace('b', "g"), &"é".repeat(32)] {
        assert_eq!(bad.parse::<Fingerprint>(), Err(BadFingerprint), "{bad}");
    }
}
