use super::*;

fn interface(name: &str, link: bool) -> Interface {
    Interface { name: name.to_owned(), mac: format!("52:54:00:00:00:{}", &name[3..]), link }
}

fn setup(subnet: &str, gateway: &str) -> Setup {
    let subnet: Subnet = subnet.parse().unwrap();
    Setup {
        interface: "eth0".to_owned(),
        address: subnet.address,
        prefix: subnet.prefix,
        gateway: gateway.parse().ok(),
        dns: Vec::new(),
        mtu: None,
    }
}

fn told(old: Option<&Setup>, new: Option<&Setup>) -> Vec<String> {
    changes(old, new).into_iter().map(|(_, words)| words.join(" ")).collect()
}

#[test]
fn the_first_interface_with_a_link_is_taken_and_an_earlier_one_may_come_late() {
    let take = |name: &str| Pick::Take(name.to_owned());
    let first = [interface("eth00", true), interface("eth01", true)];
    assert_eq!(pick(&first, &Which::FirstWithLink, Patience::Some), take("eth00"));
    let late = [interface("eth00", false), interface("eth01", true)];
    assert_eq!(pick(&late, &Which::FirstWithLink, Patience::Some), Pick::Wait);
    assert_eq!(pick(&late, &Which::FirstWithLink, Patience::None), take("eth01"));
}

#[test]
fn an_interface_is_named_by_its_name_or_its_hardware_address() {
    let two = [interface("eth00", true), interface("eth01", true)];
    let take = Pick::Take("eth01".to_owned());
    assert_eq!(pick(&two, &Which::Name("eth01".to_owned()), Patience::Some), take);
    assert_eq!(pick(&two, &Which::Mac("52:54:00:00:00:01".to_owned()), Patience::Some), take);
}

#[test]
fn where_there_is_no_link_all_interfaces_are_named() {
    let why = |interfaces: &[Interface], wanted| match pick(interfaces, &wanted, Patience::None) {
        Pick::Nothing(why) => why,
        other => panic!("{other:?}"),
    };
    let one = [interface("eth00", false)];
    let said = why(&one, Which::FirstWithLink);
    assert!(
        said.contains("plug a cable in") && said.contains("eth00 (52:54:00:00:00:00"),
        "{said}"
    );
    let said = why(&one, Which::Name("eth7".to_owned()));
    assert!(said.contains("names eth7, which is not there; there are eth00"), "{said}");
    let said = why(&one, Which::Name("eth00".to_owned()));
    assert!(said.contains("eth00 has no link"), "{said}");
    assert!(why(&[], Which::FirstWithLink).contains("none at all"));
}

#[test]
fn a_new_address_comes_before_the_old_one_goes() {
    let old = setup("10.0.0.5/24", "10.0.0.1");
    assert_eq!(
        told(None, Some(&old)),
        ["-4 addr replace 10.0.0.5/24 dev eth0", "-4 route replace default via 10.0.0.1 dev eth0"]
    );
    let new = Setup { mtu: Some(1400), ..setup("10.0.0.6/24", "10.0.0.2") };
    assert_eq!(
        told(Some(&old), Some(&new)),
        [
            "link set dev eth0 mtu 1400",
            "-4 route del default via 10.0.0.1 dev eth0",
            "-4 addr replace 10.0.0.6/24 dev eth0",
            "-4 addr del 10.0.0.5/24 dev eth0",
            "-4 route replace default via 10.0.0.2 dev eth0",
        ]
    );
    assert_eq!(
        told(Some(&old), None),
        ["-4 route del default via 10.0.0.1 dev eth0", "-4 addr del 10.0.0.5/24 dev eth0"]
    );
    assert!(told(None, None).is_empty());
}

#[test]
fn a_renewal_takes_nothing_away() {
    let same = setup("10.0.0.5/24", "10.0.0.1");
    let renewed = told(Some(&same), Some(&same));
    assert!(renewed.iter().all(|command| command.contains("replace")), "{renewed:?}");
}

#[test]
fn a_router_outside_of_the_subnet_gets_a_route_of_its_own() {
    let outside = told(None, Some(&setup("10.128.0.2/32", "10.128.0.1")));
    assert_eq!(outside[1], "-4 route replace 10.128.0.1 dev eth0");
    let six = told(None, Some(&setup("fd00::5/64", "fe80::1")));
    assert_eq!(six[1..], ["-6 route replace default via fe80::1 dev eth0"]);
}

#[test]
fn a_fixed_address_is_told_in_full() {
    let config = "name = \"a\"\n[network]\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\n\
                  dns = [\"10.0.0.1\", \"10.0.0.2\"]\nmtu = 9000";
    let network = crate::config::Config::parse(config.as_bytes()).unwrap().network;
    let setup = Setup::fixed("eth0", &network).unwrap();
    assert_eq!(setup.resolv_conf(), "nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
    assert_eq!(
        setup.to_string(),
        "eth0 has 10.0.0.5/24, router 10.0.0.1, name server 10.0.0.1, name server 10.0.0.2, MTU 9000"
    );
    assert_eq!(Setup::fixed("eth0", &Network::default()), None);
}
