use super::*;
use crate::config::Config;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SET: Duration = clock::YEAR_2025;

fn found(text: &str) -> Found {
    let config = Config::parse(text.as_bytes()).unwrap();
    Found { config, origin: "holdfast.toml on /dev/vdb".to_owned() }
}

fn looked(config: Result<Found, Trouble>) -> Event {
    let used = vec!["/dev/vdb".to_owned()];
    Event::Looked(Box::new(Looked { config, esp: Esp::Mounted, used }))
}

fn looked_without_esp(config: &str) -> Event {
    let (config, esp) = (Ok(found(config)), Esp::Missing("no EFI partition".to_owned()));
    Event::Looked(Box::new(Looked { config, esp, used: Vec::new() }))
}

fn lease(address: &str) -> Setup {
    Setup {
        interface: "eth0".to_owned(),
        address: address.parse().unwrap(),
        prefix: 24,
        gateway: None,
        dns: Vec::new(),
        mtu: None,
    }
}

/// A start, and all that it said.
struct Started {
    boot: Boot,
    said: Vec<String>,
}

impl Started {
    /// Whose configuration is being looked for.
    fn new() -> Self {
        let mut started = Self { boot: Boot::new(), said: Vec::new() };
        assert_eq!(started.at(1, tick()), [Effect::Look]);
        started
    }

    /// What is to be done, besides telling something.
    fn at(&mut self, second: u64, event: Event) -> Vec<Effect> {
        let mut effects = self.boot.step(s(second), event);
        effects.retain(|effect| match effect {
            Effect::Say(_, text) => {
                self.said.push(text.clone());
                false
            }
            Effect::Configured(_) => false,
            _ => true,
        });
        effects
    }

    /// That has a configuration, an interface and a disk, all but the lease.
    fn leasing(text: &str) -> Self {
        let mut started = Self::new();
        let effects = started.at(2, looked(Ok(found(text))));
        assert!(
            matches!(&effects[..], [Effect::Connect(_), Effect::Prepare { .. }]),
            "{effects:?}"
        );
        let dhcp = started.at(3, Event::Connected(Ok(Connected::Dhcp("eth0".to_owned()))));
        assert!(matches!(&dhcp[..], [Effect::Dhcp { .. }]), "{dhcp:?}");
        assert_eq!(started.at(4, Event::Prepared(Outcome::Mounted)), []);
        started
    }
}

fn tick() -> Event {
    Event::Tick { wall: SET }
}

const ADA: &str = "name = \"ada\"";
const FIXED: &str = "name = \"ada\"\n[network]\naddress = \"10.0.0.7/24\"";

fn troubles(effects: &[Effect]) -> Vec<&Trouble> {
    let trouble = |effect| match effect {
        &Effect::Trouble(Some(ref trouble)) => Some(trouble),
        _ => None,
    };
    effects.iter().filter_map(trouble).collect()
}

#[test]
fn a_machine_with_everything_starts_without_a_pause() {
    let mut started = Started::leasing(ADA);
    let effects = started.at(5, Event::Lease(Some(lease("10.0.0.5"))));
    let config = Box::new(found(ADA).config);
    let address = "10.0.0.5".parse().unwrap();
    let write = Effect::Write { config, address, esp: true };
    assert_eq!(effects, [Effect::StartServices, write]);
    assert_eq!(started.at(5, Event::Written(Ok(()))), [Effect::StartAppliance]);
    assert_eq!(started.said, ["found holdfast.toml on /dev/vdb", "eth0 has 10.0.0.5/24"]);
    for second in 6..100 {
        assert_eq!(started.at(second, tick()), [], "nothing is looked for any more");
    }
}

#[test]
fn the_partition_that_it_was_booted_from_is_waited_for() {
    let mut started = Started::new();
    let effects = started.at(2, looked_without_esp(FIXED));
    assert_eq!(troubles(&effects)[0].console, "no EFI partition");
    assert_eq!(started.at(3, Event::Prepared(Outcome::Mounted)), [Effect::Look]);
    let effects = started.at(3, Event::Connected(Ok(Connected::Fixed(lease("10.0.0.7")))));
    assert!(effects.iter().all(|e| !matches!(e, Effect::Write { .. })), "{effects:?}");
    let effects = started.at(4, looked(Ok(found(FIXED))));
    let [Effect::StartServices, Effect::Write { esp: true, .. }, Effect::Trouble(None)] =
        &effects[..]
    else {
        panic!("{effects:?}");
    };
}

#[test]
fn the_partition_that_it_was_booted_from_is_not_waited_for_for_ever() {
    let mut started = Started::new();
    started.at(2, looked_without_esp(FIXED));
    started.at(3, Event::Prepared(Outcome::Mounted));
    started.at(3, Event::Connected(Ok(Connected::Fixed(lease("10.0.0.7")))));
    for second in 4..62 {
        let effects = started.at(second, looked_without_esp(FIXED));
        assert!(effects.iter().all(|e| !matches!(e, Effect::Write { .. })), "{effects:?}");
        started.at(second, tick());
    }
    let effects = started.at(62, looked_without_esp(FIXED));
    assert!(matches!(&effects[..], [Effect::Write { esp: false, .. }, Effect::Trouble(None)]));
    assert!(started.said.last().unwrap().starts_with("no EFI partition. It is not waited for"));
    assert_eq!(started.at(63, Event::Written(Ok(()))), [Effect::StartAppliance]);
}

#[test]
fn a_fixed_address_needs_no_lease() {
    let mut started = Started::new();
    started.at(2, looked(Ok(found(FIXED))));
    started.at(3, Event::Prepared(Outcome::Mounted));
    let effects = started.at(4, Event::Connected(Ok(Connected::Fixed(lease("10.0.0.7")))));
    assert!(matches!(&effects[..], [Effect::StartServices, Effect::Write { .. }]), "{effects:?}");
}

#[test]
fn without_a_configuration_it_is_told_over_dhcp_and_looked_for_for_ever() {
    let mut started = Started::new();
    let none = || looked(Err(Trouble::open("there is no configuration")));
    let effects = started.at(2, none());
    assert_eq!(effects[0], Effect::Connect(Network::default()));
    assert_eq!(troubles(&effects)[0].console, "there is no configuration");
    assert_eq!(effects.len(), 2, "no disk is touched: {effects:?}");
    started.at(3, Event::Connected(Ok(Connected::Dhcp("eth0".to_owned()))));
    started.at(4, Event::Lease(Some(lease("10.0.0.5"))));
    assert_eq!(started.at(6, tick()), []);
    for round in 1..10 {
        assert_eq!(started.at(2 + 5 * round, tick()), [Effect::Look]);
        assert_eq!(started.at(2 + 5 * round, none()), [], "the same is not told each time");
    }
    let told = started.at(62, tick());
    assert_eq!(troubles(&told).len(), 1, "but each minute");
}

#[test]
fn a_configuration_that_comes_late_takes_the_network_over() {
    let mut started = Started::new();
    started.at(2, looked(Err(Trouble::open("none"))));
    started.at(3, Event::Connected(Ok(Connected::Dhcp("eth0".to_owned()))));
    started.at(4, Event::Lease(Some(lease("10.0.0.5"))));
    started.at(7, tick());
    // The same network goes on.
    let effects = started.at(8, looked(Ok(found(ADA))));
    assert!(matches!(&effects[..], [Effect::Prepare { .. }, Effect::Trouble(None)]), "{effects:?}");
    started.at(9, Event::Prepared(Outcome::Refused("no disk".to_owned())));
    started.at(13, tick());
    // Another one begins anew, and so does the disk.
    let text = "name = \"ada\"\n[network]\naddress = \"10.0.0.7/24\"";
    let effects = started.at(14, looked(Ok(found(text))));
    assert_eq!(effects[0], Effect::Connect(found(text).config.network));
    assert!(matches!(effects[1], Effect::Prepare { .. }), "{effects:?}");
}

#[test]
fn a_refused_disk_is_told_and_tried_again_with_the_configuration_as_it_then_is() {
    let mut started = Started::new();
    started.at(2, looked(Ok(found(ADA))));
    let told = started.at(3, Event::Prepared(Outcome::Refused("two are empty".to_owned())));
    assert_eq!(troubles(&told)[0].network, "two are empty");
    assert_eq!(started.at(7, tick()), [Effect::Look]);
    // Not while the configuration is looked for.
    assert_eq!(started.at(8, tick()), []);
    let effects = started.at(9, looked(Ok(found(ADA))));
    let disks = found(ADA).config.disk;
    let used = vec!["/dev/vdb".to_owned()];
    assert_eq!(effects, [Effect::Prepare { disks, used, waited: Duration::ZERO }]);
    assert_eq!(started.at(14, tick()), [], "nor is that looked for while disks are seen to");
    assert_eq!(started.at(15, Event::Prepared(Outcome::Mounted)), [Effect::Trouble(None)]);
}

#[test]
fn a_missing_second_disk_is_waited_for_and_the_time_is_counted() {
    let mut started = Started::new();
    started.at(2, looked(Ok(found(ADA))));
    let waiting = || Event::Prepared(Outcome::Waiting("a disk is missing".to_owned()));
    let told = started.at(3, waiting());
    assert_eq!(troubles(&told).len(), 1);
    let waited = |effects: &[Effect]| match effects {
        [Effect::Prepare { waited, .. }] => *waited,
        other => panic!("{other:?}"),
    };
    assert_eq!(waited(&started.at(4, tick())), s(1));
    started.at(5, waiting());
    assert_eq!(waited(&started.at(6, tick())), s(3));
    // Something else is wrong: if it is missing again, the time begins anew.
    started.at(6, Event::Prepared(Outcome::Refused("no disk".to_owned())));
    started.at(11, tick());
    assert_eq!(waited(&started.at(12, looked(Ok(found(ADA))))), Duration::ZERO);
}

#[test]
fn an_interface_without_a_link_is_told_and_tried_again() {
    let mut started = Started::new();
    started.at(2, looked(Ok(found(ADA))));
    let told = started.at(3, Event::Connected(Err("no interface has a link".to_owned())));
    assert_eq!(troubles(&told).len(), 1);
    let effects = started.at(8, tick());
    assert!(effects.contains(&Effect::Connect(Network::default())), "{effects:?}");
}

#[test]
fn a_silent_dhcp_server_is_told_after_a_while() {
    let mut started = Started::leasing(ADA);
    assert_eq!(started.at(12, Event::Lease(None)), []);
    let told = started.at(13, Event::Lease(None));
    assert!(troubles(&told)[0].console.contains("no DHCP server answers on eth0"), "{told:?}");
    started.at(14, looked(Ok(found(ADA))));
    let effects = started.at(20, Event::Lease(Some(lease("10.0.0.5"))));
    assert!(effects.contains(&Effect::Trouble(None)), "{effects:?}");
}

#[test]
fn an_appliance_configuration_that_is_refused_is_written_again_when_it_was_changed() {
    let mut started = Started::leasing(ADA);
    started.at(5, Event::Lease(Some(lease("10.0.0.5"))));
    let told = started.at(6, Event::Written(Err(Trouble::guarded("`nfs`: \"x\" is bad"))));
    assert_eq!(troubles(&told)[0].network, "`nfs`: \"…\" is bad");
    assert_eq!(started.at(7, tick()), [Effect::Look]);
    let other = "name = \"bob\"";
    let effects = started.at(8, looked(Ok(found(other))));
    assert!(
        matches!(&effects[..], [Effect::Write { config, .. }, Effect::Trouble(None)]
            if config.name == "bob"),
        "{effects:?}"
    );
    let said = started.said.join("\n");
    assert!(said.contains("the log-in keep what they have"), "{said}");
    assert_eq!(started.at(9, Event::Written(Ok(()))), [Effect::StartAppliance]);
}

#[test]
fn the_trouble_is_over_before_the_appliance_wants_its_port() {
    let mut started = Started::leasing(ADA);
    started.at(5, Event::Lease(Some(lease("10.0.0.5"))));
    started.at(6, Event::Written(Err(Trouble::open("bad"))));
    started.at(7, tick());
    started.at(8, looked(Ok(found(ADA))));
    let effects = started.at(11, tick());
    assert!(matches!(&effects[..], [Effect::Write { .. }]), "{effects:?}");
    let effects = started.at(12, Event::Written(Ok(())));
    assert_eq!(effects, [Effect::Trouble(None), Effect::StartAppliance]);
}

#[test]
fn a_machine_without_a_clock_waits_for_ntp_and_not_for_ever() {
    let unset = || Event::Tick { wall: s(5) };
    let ready = |text: &str| {
        let mut started = Started { boot: Boot::new(), said: Vec::new() };
        started.at(1, unset());
        started.at(2, looked(Ok(found(text))));
        started.at(3, Event::Connected(Ok(Connected::Dhcp("eth0".to_owned()))));
        started.at(4, Event::Prepared(Outcome::Mounted));
        started.at(5, Event::Lease(Some(lease("10.0.0.5"))));
        let effects = started.at(6, Event::Written(Ok(())));
        (started, effects)
    };
    let (mut started, effects) = ready(ADA);
    assert_eq!(effects, []);
    assert_eq!(started.at(24, unset()), []);
    assert_eq!(started.at(25, unset()), [Effect::StartAppliance]);
    assert!(started.said.iter().any(|said| said.starts_with("the clock is not set")));
    let (mut started, _) = ready(ADA);
    assert_eq!(started.at(7, tick()), [Effect::StartAppliance], "an answer came");
    assert!(!started.said.iter().any(|said| said.starts_with("the clock is not set")));
    let (_, effects) = ready("name = \"ada\"\n[time]\nservers = []");
    assert_eq!(effects, [Effect::StartAppliance], "nobody is asked");
}

#[test]
fn an_address_that_changes_is_told_loudly() {
    let mut started = Started::leasing(ADA);
    started.at(5, Event::Lease(Some(lease("10.0.0.5"))));
    // Before the start the appliance gets the new one; what is being written has the old one.
    assert_eq!(started.at(6, Event::Lease(Some(lease("10.0.0.6")))), []);
    let effects = started.at(6, Event::Written(Ok(())));
    let is_new = |address: &IpAddr| address.to_string() == "10.0.0.6";
    assert!(
        matches!(&effects[..], [Effect::Write { address, .. }] if is_new(address)),
        "{effects:?}"
    );
    assert_eq!(started.at(7, Event::Written(Ok(()))), [Effect::StartAppliance]);
    assert_eq!(started.at(8, Event::Lease(Some(lease("10.0.0.7")))), []);
    let last = started.said.last().unwrap();
    assert!(last.contains("from 10.0.0.6 to 10.0.0.7"), "{last}");
    let said = started.said.len();
    started.at(9, Event::Lease(Some(lease("10.0.0.7"))));
    assert_eq!(started.said.len(), said, "once");
    for second in 10..20 {
        started.at(second, Event::Lease(None));
    }
    assert!(started.said.last().unwrap().contains("has ended"), "{:?}", started.said);
    assert_eq!(started.said.len(), said + 1, "once");
}
