//! DHCP: the client, and what it tells.
//!
//! `udhcpc` runs this program by the name of [`program::DHCP_EVENT`] whenever a lease comes,
//! changes or goes. Invariant: nothing of what a server sent is used before it was parsed; what is
//! optional and wrong is as if it were absent.
//!
//! Absent on purpose: routes and options that an appliance does not need.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;

use super::{Command, Need, Setup, changes};
use crate::children::Task;
use crate::config::{MTU, Network, is_host, is_interface_name};
use crate::files::{self, Readers};
use crate::places::{Places, program};

/// What a variable of the environment says.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The DHCP client for an interface. What the operator said goes along, and wins.
pub fn client(interface: &str, host_name: &str, network: &Network) -> Task {
    let name = format!("hostname:{host_name}");
    let arguments =
        ["udhcpc", "-f", "-i", interface, "-s", program::DHCP_EVENT, "-x", &name, "-O", "mtu"];
    let patience = ["-t", "4", "-T", "2", "-A", "5"];
    let mut task = Task::new(program::BUSYBOX, arguments.into_iter().chain(patience));
    let dns: Vec<String> = network.dns.iter().map(IpAddr::to_string).collect();
    let said = [
        (SAID_GATEWAY, network.gateway.map(|gateway| gateway.to_string())),
        (SAID_DNS, (!dns.is_empty()).then(|| dns.join(" "))),
        (SAID_MTU, network.mtu.map(|mtu| mtu.to_string())),
    ];
    let said = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    task.environment.extend(said);
    task
}

/// What an interface is to have by the lease in `environment`.
///
/// # Errors
/// A sentence: what can't be used.
pub fn lease(environment: Environment<'_>) -> Result<Setup, String> {
    let need = |key: &str| environment(key).ok_or_else(|| format!("the lease has no `{key}`"));
    let address: Ipv4Addr = need("ip")?
        .parse()
        .ok()
        .filter(|address| is_host(IpAddr::V4(*address)))
        .ok_or("the lease's address is no address of a machine")?;
    let prefix = match environment("mask") {
        Some(bits) => bits.parse().ok().filter(|bits| (1..=32).contains(bits)),
        None => need("subnet")?.parse().ok().and_then(prefix),
    };
    let prefix = prefix.ok_or("the lease's subnet mask is none")?;
    let first = |key| addresses(environment(key)).first().copied();
    let dns = match addresses(environment(SAID_DNS)) {
        none if none.is_empty() => addresses(environment("dns")),
        said => said,
    };
    let mtu = |key| environment(key)?.parse().ok().filter(|mtu| MTU.contains(mtu));
    Ok(Setup {
        interface: interface(environment)?,
        address: IpAddr::V4(address),
        prefix,
        gateway: first(SAID_GATEWAY).or_else(|| first("router")),
        dns,
        mtu: mtu(SAID_MTU).or_else(|| mtu("mtu")),
    })
}

/// What DHCP gave last; none if there is no lease.
pub fn current(places: &Places) -> Option<Setup> {
    serde_json::from_slice(&files::read(&places.lease(), LEASE_BYTES_MAX).ok()?).ok()
}

/// What `udhcpc` runs: one event, told by `arguments` and the environment.
pub fn event(arguments: &[String]) -> ExitCode {
    let environment = |key: &str| std::env::var(key).ok();
    let what = arguments.get(1).map_or("", String::as_str);
    match carry_out(&Places::of_the_image(), what, &environment, &run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command of `ip`, and says what became of it.
pub type Run<'a> = &'a dyn Fn(&[String]) -> Result<(), String>;

/// Carries one event out, all commands by `run`.
fn carry_out(
    places: &Places,
    what: &str,
    environment: Environment<'_>,
    run: Run<'_>,
) -> Result<(), String> {
    match what {
        "bound" | "renew" => apply(places, Some(&lease(environment)?), run),
        "deconfig" => {
            apply(places, None, run)?;
            let up = format!("link set dev {} up", interface(environment)?);
            run(&up.split(' ').map(str::to_owned).collect::<Vec<_>>())
        }
        // "leasefail" and "nak": it goes on trying, and says so itself.
        _ => Ok(()),
    }
}

/// Gives an interface what the lease says, in the place of what the last one said.
///
/// # Errors
/// A sentence: which command failed, or which file can't be written.
pub fn apply(places: &Places, new: Option<&Setup>, run: Run<'_>) -> Result<(), String> {
    let old = current(places);
    perform(&changes(old.as_ref(), new), run)?;
    let Some(new) = new else {
        return match std::fs::remove_file(places.lease()) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("the lease can't be removed: {fault}"))
            }
            _ => Ok(()),
        };
    };
    write_resolv_conf(&places.etc, new)?;
    let text = serde_json::to_vec(new).map_err(|fault| format!("no lease: {fault}"))?;
    files::replace(&places.lease(), &text, Readers::All)
        .map_err(|fault| format!("the lease can't be written: {fault}"))
}

/// Runs `commands` in their order.
///
/// # Errors
/// What one that must succeed said.
pub fn perform(commands: &[Command], run: Run<'_>) -> Result<(), String> {
    for (need, command) in commands {
        match (need, run(command)) {
            (Need::Must, Err(why)) => return Err(why),
            (Need::May, _) | (_, Ok(())) => {}
        }
    }
    Ok(())
}

/// Writes which name servers to ask.
///
/// # Errors
/// A sentence.
pub fn write_resolv_conf(etc: &Path, setup: &Setup) -> Result<(), String> {
    let text = setup.resolv_conf();
    files::replace(&etc.join("resolv.conf"), text.as_bytes(), Readers::All)
        .map_err(|fault| format!("/etc/resolv.conf can't be written: {fault}"))
}

fn run(command: &[String]) -> Result<(), String> {
    let ran = std::process::Command::new(program::BUSYBOX).arg("ip").args(command).status();
    let what = command.join(" ");
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ip {what}: {status}")),
        Err(fault) => Err(format!("ip {what}: {fault}")),
    }
}

fn interface(environment: Environment<'_>) -> Result<String, String> {
    let name = environment("interface").filter(|name| is_interface_name(name));
    name.ok_or_else(|| "udhcpc names no interface".to_owned())
}

/// The first addresses of a list, without what is none.
fn addresses(list: Option<String>) -> Vec<IpAddr> {
    let list = list.unwrap_or_default();
    let words = list.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    words.filter(|address| is_host(*address)).take(ADDRESSES_MAX).collect()
}

/// The length of a subnet mask.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (ones > 0 && ones == bits.count_ones()).then(|| u8::try_from(ones).ok())?
}

const SAID_GATEWAY: &str = "HOLDFAST_GATEWAY";
const SAID_DNS: &str = "HOLDFAST_DNS";
const SAID_MTU: &str = "HOLDFAST_MTU";
/// glibc's resolver asks no more name servers.
const ADDRESSES_MAX: usize = 3;
const LEASE_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    fn said(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        move |key| pairs.get(key).cloned()
    }

    const GOOD: &[(&str, &str)] = &[
        ("interface", "eth0"),
        ("ip", "10.0.0.5"),
        ("mask", "24"),
        ("subnet", "255.255.255.0"),
        ("router", "10.0.0.1 10.0.0.2"),
        ("dns", "10.0.0.1 1.1.1.1 8.8.8.8 9.9.9.9"),
        ("mtu", "1400"),
    ];

    /// [`GOOD`] with one value changed.
    fn changed(key: &str, value: &str) -> Result<Setup, String> {
        let pairs: Vec<_> =
            GOOD.iter().map(|(k, v)| if *k == key { (*k, value) } else { (*k, *v) }).collect();
        lease(&said(&pairs))
    }

    #[test]
    fn a_lease_is_understood() {
        let lease = lease(&said(GOOD)).unwrap();
        assert_eq!(
            lease.to_string(),
            "eth0 has 10.0.0.5/24, router 10.0.0.1, name server 10.0.0.1, name server 1.1.1.1, \
             name server 8.8.8.8, MTU 1400"
        );
    }

    #[test]
    fn a_lease_that_can_not_be_used_is_refused() {
        for (key, value) in [
            ("interface", "eth0 up; reboot"),
            ("interface", "../eth0"),
            ("ip", "10.0.0.5/24"),
            ("ip", "0.0.0.0"),
            ("ip", "127.0.0.1"),
            ("ip", "224.0.0.1"),
            ("ip", "fd00::1"),
            ("mask", "33"),
            ("mask", "0"),
            ("mask", "x"),
        ] {
            assert!(changed(key, value).is_err(), "{key}={value}");
        }
        assert!(lease(&said(&[("interface", "eth0"), ("ip", "10.0.0.5")])).is_err(), "no mask");
        let odd = [("interface", "eth0"), ("ip", "10.0.0.5"), ("subnet", "255.0.255.0")];
        assert!(lease(&said(&odd)).is_err());
        let dotted = [("interface", "eth0"), ("ip", "10.0.0.5"), ("subnet", "255.255.240.0")];
        assert_eq!(lease(&said(&dotted)).unwrap().prefix, 20);
    }

    #[test]
    fn what_is_optional_and_wrong_is_left_out() {
        assert_eq!(changed("router", "0.0.0.0 nonsense").unwrap().gateway, None);
        assert_eq!(changed("dns", "$(reboot) 255.255.255.255").unwrap().dns, Vec::<IpAddr>::new());
        for mtu in ["", "68", "99999", "-1"] {
            assert_eq!(changed("mtu", mtu).unwrap().mtu, None, "{mtu}");
        }
    }

    #[test]
    fn what_the_operator_said_wins_over_what_the_server_says() {
        let network = Network {
            gateway: "10.0.0.254".parse().ok(),
            dns: vec!["10.0.0.53".parse().unwrap()],
            mtu: Some(9000),
            ..Network::default()
        };
        let task = client("eth0", "ada", &network);
        assert_eq!(task.name(), "udhcpc");
        assert!(task.arguments.contains(&"hostname:ada".to_owned()));
        let both: Vec<(&str, &str)> = task
            .environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(GOOD.iter().copied())
            .collect();
        let lease = lease(&said(&both)).unwrap();
        assert_eq!(
            lease.to_string(),
            "eth0 has 10.0.0.5/24, router 10.0.0.254, name server 10.0.0.53, MTU 9000"
        );
        assert!(client("eth0", "ada", &Network::default()).environment.is_empty());
    }

    #[test]
    fn a_lease_comes_changes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places { run: at("run"), etc: at("etc"), ..Places::of_the_image() };
        let ran = RefCell::new(Vec::new());
        let run = |command: &[String]| {
            ran.borrow_mut().push(command.join(" "));
            // What is to be removed is always gone already.
            if command.contains(&"del".to_owned()) {
                Err("no such thing".to_owned())
            } else {
                Ok(())
            }
        };
        let happens = |what, pairs: &[(&str, &str)]| {
            ran.borrow_mut().clear();
            carry_out(&places, what, &said(pairs), &run)
        };
        happens("deconfig", GOOD).unwrap();
        assert_eq!(*ran.borrow(), ["link set dev eth0 up"], "there was nothing to take away");
        assert_eq!(current(&places), None);
        happens("bound", GOOD).unwrap();
        assert_eq!(current(&places), lease(&said(GOOD)).ok());
        let resolv = std::fs::read_to_string(at("etc/resolv.conf")).unwrap();
        assert!(resolv.starts_with("nameserver 10.0.0.1\n"), "{resolv}");
        happens("leasefail", GOOD).unwrap();
        assert!(ran.borrow().is_empty() && current(&places).is_some());
        let other = [("interface", "eth0"), ("ip", "10.0.0.6"), ("mask", "24")];
        happens("renew", &other).unwrap();
        assert!(ran.borrow().contains(&"-4 addr del 10.0.0.5/24 dev eth0".to_owned()));
        happens("deconfig", &other).unwrap();
        assert!(ran.borrow().contains(&"-4 addr del 10.0.0.6/24 dev eth0".to_owned()));
        assert_eq!(current(&places), None);
    }

    #[test]
    fn a_lease_that_was_not_applied_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let run_folder = folder.path().to_owned();
        let places = Places { run: run_folder.clone(), etc: run_folder, ..Places::of_the_image() };
        let fails = |_: &[String]| Err("no such interface".to_owned());
        let why = carry_out(&places, "bound", &said(GOOD), &fails).unwrap_err();
        assert_eq!(why, "no such interface");
        assert_eq!(current(&places), None);
        std::fs::write(places.lease(), "{\"garbage\":").unwrap();
        assert_eq!(current(&places), None);
    }
}
