use std::net::SocketAddr;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_universal_address_ends_in_the_two_bytes_of_the_port() {
    assert_eq!(universal_address(address("192.0.2.1:2049")), "192.0.2.1.8.1");
    assert_eq!(universal_address(address("[2001:db8::1]:111")), "2001:db8::1.0.111");
}

#[test]
fn a_universal_address_comes_back() {
    for text in ["0.0.0.0:2049", "[::]:2049", "[::1]:65535", "127.0.0.1:0", "[::ffff:1.2.3.4]:9"] {
        let written = universal_address(address(text));
        assert_eq!(parse_universal_address(written.as_bytes()), Some(address(text)));
    }
}

#[test]
fn what_is_no_universal_address_is_none() {
    let wrong: [&[u8]; 9] = [
        b"",
        b".",
        b"8.1",
        b"192.0.2.1",
        b"192.0.2.1.8.256",
        b"192.0.2.1.+8.1",
        b"192.0.2.1.8.",
        b"example.8.1",
        b"\xff.8.1",
    ];
    for text in wrong {
        assert_eq!(parse_universal_address(text), None, "{text:?}");
    }
}

#[test]
fn a_network_is_known_by_its_exact_word() {
    for netid in Netid::ALL {
        assert_eq!(Netid::parse(netid.word().as_bytes()), Some(netid));
    }
    assert_eq!(Netid::parse(b"TCP"), None);
    assert_eq!(Netid::parse(b""), None);
}

#[test]
fn indirect_calls_are_unknown_in_every_version() {
    const CALLIT: u32 = 5;
    const INDIRECT: u32 = 10;
    for version in Version::ALL {
        for procedure in [CALLIT, INDIRECT] {
            let decoded = Args::decode(*version, procedure, &Bytes::from_static(&[0; 64]));
            assert_eq!(decoded, Err(BadArgs::UnknownProcedure));
        }
    }
}

#[test]
fn version_4_has_procedures_that_version_3_has_not() {
    for procedure in [GETVERSADDR, GETADDRLIST] {
        let wire = Bytes::from_static(&[0; 20]);
        assert!(Args::decode(Version::V4, procedure, &wire).is_ok());
        let decoded = Args::decode(Version::V3, procedure, &wire);
        assert_eq!(decoded, Err(BadArgs::UnknownProcedure));
    }
    let decoded = Args::decode(Version::V2, GETTIME, &Bytes::new());
    assert_eq!(decoded, Err(BadArgs::UnknownProcedure));
}

#[test]
fn a_text_over_its_limit_is_garbage() {
    let mapping = |length| Rpcb {
        program: 100_003,
        version: 3,
        netid: Text(Bytes::from(vec![b't'; length])),
        address: Text::from(""),
        owner: Text::from("superuser"),
    };
    let decode = |length| Args::decode(Version::V4, SET, &mapping(length).to_bytes());
    assert!(decode(TEXT_BYTES_MAX).is_ok());
    assert!(decode(TEXT_BYTES_MAX + 1).is_err());
}
