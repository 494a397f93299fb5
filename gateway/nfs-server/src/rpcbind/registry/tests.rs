use super::*;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const STATD: u32 = 100_024;

fn served_everywhere() -> Registry {
    Registry::new(nfs_services(&["[::]:2049".parse().unwrap()]))
}

fn wanted(program: u32, version: u32, netid: Netid) -> Wanted {
    Wanted { program, version, netid }
}

fn statd(port: u16) -> Service {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    Service::set_by(Text::from("statd"), wanted(STATD, 1, Netid::Udp), address)
}

#[test]
fn a_socket_of_all_ipv6_addresses_is_listed_for_both_families() {
    let registry = served_everywhere();
    assert_eq!(registry.addresses(mount::PROGRAM, 3, LOCAL).len(), 4);
    assert_eq!(registry.addresses(nfs3::PROGRAM, 3, LOCAL).len(), 2);
}

#[test]
fn nfs_over_udp_is_not_listed() {
    assert_eq!(served_everywhere().port(wanted(nfs3::PROGRAM, 3, Netid::Udp), LOCAL), 0);
}

#[test]
fn the_address_given_out_is_the_one_the_client_reached_us_at() {
    let nfs = wanted(nfs3::PROGRAM, 3, Netid::Tcp);
    let address = served_everywhere().address(nfs, Versions::Exact, LOCAL);
    assert_eq!(&address.0[..], b"10.0.0.5.8.1");
}

#[test]
fn a_client_that_asks_for_another_version_learns_the_port_all_the_same() {
    let nfs_2 = wanted(nfs3::PROGRAM, 2, Netid::Tcp);
    let registry = served_everywhere();
    assert_eq!(registry.port(nfs_2, LOCAL), 2049);
    assert_eq!(registry.address(nfs_2, Versions::Exact, LOCAL), Text::from(""));
}

#[test]
fn a_program_sets_and_unsets_its_own_service() {
    let registry = served_everywhere();
    assert!(registry.set(statd(700)));
    assert!(registry.set(statd(700)), "the same again changes nothing");
    assert!(!registry.set(statd(701)), "somebody has it already");
    assert_eq!(registry.port(wanted(STATD, 1, Netid::Udp), LOCAL), 700);
    assert!(registry.unset(STATD, 1, None));
    assert!(!registry.unset(STATD, 1, None));
}

#[test]
fn nobody_unsets_or_replaces_our_own_services() {
    let registry = served_everywhere();
    let before = registry.services();
    assert!(!registry.unset(nfs3::PROGRAM, 3, None));
    let fake = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9));
    let nfs_4 = wanted(nfs3::PROGRAM, 4, Netid::Tcp);
    assert!(!registry.set(Service::set_by(Text::from("x"), nfs_4, fake)));
    assert_eq!(registry.services(), before);
}

#[test]
fn the_table_is_bounded() {
    let registry = served_everywhere();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 700));
    let set = |version| {
        let service = wanted(STATD, version, Netid::Udp);
        registry.set(Service::set_by(Text::from("x"), service, address))
    };
    let taken = (0..2 * SERVICES_MAX as u32).filter(|version| set(*version)).count();
    assert_eq!(taken + nfs_services(&["[::]:2049".parse().unwrap()]).len(), SERVICES_MAX);
}
