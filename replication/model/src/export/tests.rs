use super::*;

fn pattern(text: &str) -> ClientPattern {
    text.parse().unwrap()
}

#[test]
fn a_network_matches_its_own_addresses_only() {
    let net = pattern("10.1.0.0/16");
    assert!(net.matches("10.1.255.3".parse().unwrap()));
    assert!(!net.matches("10.2.0.1".parse().unwrap()));
    assert!(!net.matches("::1".parse().unwrap()));
    assert!(pattern("fd00::/8").matches("fd12::7".parse().unwrap()));
    assert!(pattern("0.0.0.0/0").matches("1.2.3.4".parse().unwrap()));
}

#[test]
fn an_ipv4_client_seen_through_an_ipv6_socket_is_still_an_ipv4_client() {
    assert!(pattern("10.1.0.0/16").matches("::ffff:10.1.2.3".parse().unwrap()));
}

#[test]
fn a_pattern_reads_back_as_it_was_written() {
    for text in ["*", "10.0.0.5", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0", "::/0"] {
        assert_eq!(pattern(text).to_string(), text);
    }
}

#[test]
fn text_that_names_no_clients_is_refused() {
    for text in ["", "ada", "10.0.0.0/33", "10.0.0.5/24", "fd00::1/8", "10.0.0.0/", "1.2.3"] {
        assert!(text.parse::<ClientPattern>().is_err(), "{text:?}");
    }
}
