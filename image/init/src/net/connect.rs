//! Finds the interface and gives it its address.
//!
//! Invariant: it ends within its patience, well or with a sentence. Absent on purpose: DHCP itself,
//! which runs for as long as the machine does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::dhcp::{self, perform, write_resolv_conf};
use super::{Interface, Patience, Pick, Setup, changes, pick};
use crate::children::{Children, Task};
use crate::clock;
use crate::config::{Network, is_interface_name};
use crate::places::{Places, program};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The interface has its fixed address.
    Fixed(Setup),
    /// A DHCP client is to run on this interface.
    Dhcp(String),
}

/// Makes the machine reachable for itself.
///
/// # Errors
/// A sentence.
pub fn loopback(children: &Children) -> Result<(), String> {
    run(children, &["link".to_owned(), "set".to_owned(), "lo".to_owned(), "up".to_owned()])
}

/// Finds the interface that is wanted, and gives it its address if that is fixed.
///
/// # Errors
/// A sentence: there is no such interface, it has no link, or a command failed.
pub fn connect(
    places: &Places,
    children: &Children,
    network: &Network,
) -> Result<Connected, String> {
    // One that stays as it was from an earlier configuration would be a second address.
    dhcp::apply(places, None, &|command| run(children, command))?;
    let interface = find(places, children, network)?;
    let Some(setup) = Setup::fixed(&interface, network) else {
        return Ok(Connected::Dhcp(interface));
    };
    perform(&changes(None, Some(&setup)), &|command| run(children, command))?;
    write_resolv_conf(&places.etc, &setup)?;
    Ok(Connected::Fixed(setup))
}

/// Takes a fixed address away again.
pub fn disconnect(children: &Children, setup: &Setup) {
    // Whatever can't be removed is gone.
    _ = perform(&changes(Some(setup), None), &|command| run(children, command));
}

fn find(places: &Places, children: &Children, network: &Network) -> Result<String, String> {
    let began = clock::since_boot();
    let mut linked = None;
    loop {
        for interface in interfaces(&places.sys).iter().filter(|one| !is_up(&places.sys, one)) {
            let up = ["link", "set", "dev", &interface.name, "up"].map(str::to_owned);
            // One that can't be used has no link, which is said below.
            _ = run(children, &up);
        }
        let all = interfaces(&places.sys);
        let now = clock::since_boot();
        if all.iter().any(|interface| interface.link) {
            linked = linked.or(Some(now));
        }
        let over = linked.is_some_and(|linked| now.saturating_sub(linked) >= OTHERS_PATIENCE)
            || now.saturating_sub(began) >= LINK_PATIENCE;
        let patience = if over { Patience::None } else { Patience::Some };
        match pick(&all, &network.interface, patience) {
            Pick::Take(name) => return Ok(name),
            Pick::Nothing(_) if now.saturating_sub(began) < LINK_PATIENCE => {}
            Pick::Nothing(why) => return Err(why),
            Pick::Wait => {}
        }
        clock::pause(PAUSE);
    }
}

/// The Ethernet interfaces of this machine, in the order in which people count.
fn interfaces(sys: &Path) -> Vec<Interface> {
    let folder = sys.join("class/net");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let interface = |name: String| {
        let of = folder.join(&name);
        let read = |what: &str| fs::read_to_string(of.join(what)).unwrap_or_default();
        // What has no device is made of others, or of nothing.
        let real = of.join("device").exists() && read("type").trim() == ETHERNET;
        // Of one that is down the kernel refuses to say.
        let link = read("carrier").trim() == "1";
        let mac = read("address").trim().to_ascii_lowercase();
        (real && is_interface_name(&name)).then_some(Interface { name, mac, link })
    };
    names.into_iter().filter_map(interface).take(INTERFACES_MAX).collect()
}

/// Whether an interface was brought up; without that it has no link.
fn is_up(sys: &Path, interface: &Interface) -> bool {
    let flags = sys.join("class/net").join(&interface.name).join("flags");
    let flags = fs::read_to_string(flags).unwrap_or_default();
    let number = flags.trim().strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    number.is_some_and(|flags| flags & IFF_UP != 0)
}

fn run(children: &Children, command: &[String]) -> Result<(), String> {
    let words = ["ip"].into_iter().chain(command.iter().map(String::as_str));
    children.must(&Task::new(program::BUSYBOX, words), IP_PATIENCE).map(|_| ())
}

/// netdevice(7).
const IFF_UP: u32 = 1;
/// ARPHRD_ETHER.
const ETHERNET: &str = "1";
const INTERFACES_MAX: usize = 64;
const IP_PATIENCE: Duration = Duration::from_secs(10);
/// Negotiation of a link takes some seconds.
const LINK_PATIENCE: Duration = Duration::from_secs(10);
/// For those before the first one that has a link.
const OTHERS_PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_devices_are_seen_and_nothing_else_is() {
        let sys = tempfile::tempdir().unwrap();
        let net = sys.path().join("class/net");
        let put = |name: &str, what: &str, text: &str| {
            fs::create_dir_all(net.join(name)).unwrap();
            fs::write(net.join(name).join(what), text).unwrap();
        };
        for name in ["eth10", "eth2", "ib0", "bond0", "lo"] {
            put(name, "type", if name == "ib0" { "32\n" } else { "1\n" });
            put(name, "address", "52:54:00:AB:00:01\n");
        }
        for name in ["eth10", "eth2", "ib0"] {
            fs::create_dir(net.join(name).join("device")).unwrap();
        }
        put("eth2", "carrier", "1\n");
        let found = interfaces(sys.path());
        let told: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.link)).collect();
        assert_eq!(told, [("eth2", true), ("eth10", false)]);
        assert_eq!(found[0].mac, "52:54:00:ab:00:01");
        put("eth2", "flags", "0x1003\n");
        put("eth10", "flags", "0x1002\n");
        assert!(is_up(sys.path(), &found[0]) && !is_up(sys.path(), &found[1]));
        assert!(interfaces(Path::new("/nowhere")).is_empty());
    }
}
