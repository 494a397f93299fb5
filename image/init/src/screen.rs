//! What is shown on the console of a running appliance, and when.
//!
//! Invariant: it is shown when it has changed, and never more often than every few seconds. Absent
//! on purpose: numbers that change all the time; whoever wants those asks the appliance.

use std::time::Duration;

use crate::net::Setup;
use crate::status::{ApplianceSays, Status};

/// What was shown, and when.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    shown: Option<(Duration, Vec<String>)>,
}

/// What is shown beside what the appliance says.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The image's version.
    pub version: &'a str,
    /// What the appliance's interface has.
    pub setup: Option<&'a Setup>,
}

impl Screen {
    /// The lines to be shown now, if they are new.
    pub fn step(
        &mut self,
        now: Duration,
        image: Image<'_>,
        status: &Status,
    ) -> Option<Vec<String>> {
        let lines = lines(image, status)?;
        match &self.shown {
            Some((at, _)) if now.saturating_sub(*at) < SHOW_EVERY => return None,
            Some((_, shown)) if *shown == lines => return None,
            Some(_) | None => {}
        }
        self.shown = Some((now, lines.clone()));
        Some(lines)
    }
}

/// What there is to be shown; nothing of an appliance that does not answer.
fn lines(image: Image<'_>, status: &Status) -> Option<Vec<String>> {
    let says = status.appliance.as_ref()?;
    let own = image.setup.map(|setup| setup.address.to_string());
    let mut lines = vec![format!(
        "---- {}: Holdfast {}, image {} ----",
        says.name, says.version, image.version
    )];
    lines.push(addresses(image.setup, says));
    if let Some(fleet) = &status.fleet {
        let up = fleet.members.iter().filter(|member| member.up).count();
        let down: Vec<&str> =
            fleet.members.iter().filter(|member| !member.up).map(|m| m.name.as_str()).collect();
        let mut line = format!("fleet: {up} of {} up", fleet.members.len());
        if !down.is_empty() {
            line.push_str(&format!("; DOWN: {}", down.join(", ")));
        }
        lines.push(line);
    }
    // An address that moves outlives its holder: clients should mount that.
    let floating = says.addresses.iter().find(|floating| floating.holder.is_some());
    let floating = floating.map(|floating| bare(&floating.address).to_owned());
    let host = floating.or_else(|| own.clone()).map(|address| bracketed(&address));
    for volume in says.volumes.iter().take(VOLUMES_MAX) {
        let state = match volume.state.as_str() {
            "degraded" => "DEGRADED".to_owned(),
            "unavailable" => "UNAVAILABLE".to_owned(),
            other => other.replace('_', " "),
        };
        let host = host.as_deref().unwrap_or("ADDRESS");
        let path = &volume.export_path;
        lines.push(format!("volume {}: {state}; mount -t nfs {host}:{path} /mnt", volume.name));
    }
    match says.volumes.len() {
        0 => lines.push("no volume yet: `holdfast volume create NAME` makes one".to_owned()),
        count if count > VOLUMES_MAX => {
            lines.push(format!("and {} more volumes", count - VOLUMES_MAX));
        }
        _ => {}
    }
    if let Some(admin) = &says.admin {
        let port = admin.listen.rsplit_once(':').map_or("", |(_, port)| port);
        let host = own.as_deref().map_or("ADDRESS".to_owned(), bracketed);
        lines.push(format!("admin: https://{host}:{port} fingerprint {}", admin.fingerprint));
    }
    Some(lines)
}

fn addresses(setup: Option<&Setup>, says: &ApplianceSays) -> String {
    let own = setup.map(|setup| format!("{} ({})", setup.address, setup.interface));
    let held = says.addresses.iter().filter(|held| held.holder.as_ref() == Some(&says.name));
    let held = held.map(|floating| format!("{} (floating)", bare(&floating.address)));
    let all: Vec<String> = own.into_iter().chain(held).collect();
    match all.is_empty() {
        true => "addresses: none".to_owned(),
        false => format!("addresses: {}", all.join(", ")),
    }
}

/// An address without its subnet.
fn bare(address: &str) -> &str {
    address.split_once('/').map_or(address, |(address, _)| address)
}

/// An address as it stands before a colon.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

const SHOW_EVERY: Duration = Duration::from_secs(5);
const VOLUMES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Admin, FleetSays, Floating, Member, Volume};

    fn setup(address: &str) -> Setup {
        Setup {
            interface: "eth0".to_owned(),
            address: address.parse().unwrap(),
            prefix: 24,
            gateway: None,
            dns: Vec::new(),
            mtu: None,
        }
    }

    fn status() -> Status {
        let volume = |name: &str, state: &str| Volume {
            name: name.to_owned(),
            export_path: format!("/{name}"),
            state: state.to_owned(),
        };
        let member = |name: &str, up| Member { name: name.to_owned(), up };
        let admin = Admin { listen: "[::]:2051".to_owned(), fingerprint: "ab12".to_owned() };
        let appliance = ApplianceSays {
            name: "ada".to_owned(),
            version: "0.1.0".to_owned(),
            volumes: vec![volume("media", "in_sync"), volume("docs", "degraded")],
            admin: Some(admin),
            addresses: Vec::new(),
        };
        let members = vec![member("ada", true), member("bob", false)];
        let fleet = FleetSays { leader: None, members };
        Status { appliance: Some(appliance), fleet: Some(fleet) }
    }

    fn shown(status: &Status, address: &str) -> Vec<String> {
        let setup = setup(address);
        lines(Image { version: "7", setup: Some(&setup) }, status).unwrap()
    }

    #[test]
    fn a_person_at_the_console_sees_how_to_mount_and_how_to_ask() {
        assert_eq!(
            shown(&status(), "10.0.0.5"),
            [
                "---- ada: Holdfast 0.1.0, image 7 ----",
                "addresses: 10.0.0.5 (eth0)",
                "fleet: 1 of 2 up; DOWN: bob",
                "volume media: in sync; mount -t nfs 10.0.0.5:/media /mnt",
                "volume docs: DEGRADED; mount -t nfs 10.0.0.5:/docs /mnt",
                "admin: https://10.0.0.5:2051 fingerprint ab12",
            ]
        );
        let six = shown(&status(), "fd00::5");
        assert!(six[3].contains("[fd00::5]:/media") && six[5].contains("https://[fd00::5]:2051"));
    }

    #[test]
    fn clients_are_sent_to_an_address_that_moves_if_there_is_one() {
        let mut status = status();
        let says = status.appliance.as_mut().unwrap();
        let floating = |address: &str, holder: Option<&str>| Floating {
            address: address.to_owned(),
            holder: holder.map(str::to_owned),
        };
        says.addresses = vec![
            floating("10.0.0.8/24", None),
            floating("10.0.0.9/24", Some("bob")),
            floating("10.0.0.10/24", Some("ada")),
        ];
        let lines = shown(&status, "10.0.0.5");
        assert_eq!(lines[1], "addresses: 10.0.0.5 (eth0), 10.0.0.10 (floating)");
        assert!(lines[3].contains("10.0.0.9:/media"), "{}", lines[3]);
        assert!(lines[5].contains("10.0.0.5:2051"), "one asks this appliance");
    }

    #[test]
    fn many_volumes_do_not_fill_the_screen_and_none_says_how_to_make_one() {
        let mut status = status();
        let says = status.appliance.as_mut().unwrap();
        says.volumes = vec![Volume::default(); VOLUMES_MAX + 3];
        says.admin = None;
        let lines = shown(&status, "10.0.0.5");
        assert_eq!(lines.last().unwrap(), "and 3 more volumes");
        assert_eq!(lines.len(), 3 + VOLUMES_MAX + 1);
        status.appliance.as_mut().unwrap().volumes.clear();
        assert!(shown(&status, "10.0.0.5").last().unwrap().contains("volume create"));
    }

    #[test]
    fn it_is_shown_when_it_changes_and_not_too_often() {
        const fn s(seconds: u64) -> Duration {
            Duration::from_secs(seconds)
        }
        let mut screen = Screen::default();
        let image = Image { version: "7", setup: None };
        assert_eq!(screen.step(s(1), image, &Status::default()), None, "nobody answers");
        let mut status = status();
        assert!(screen.step(s(10), image, &status).is_some());
        assert_eq!(screen.step(s(60), image, &status), None);
        status.fleet.as_mut().unwrap().members[1].up = true;
        assert!(screen.step(s(61), image, &status).is_some());
        status.fleet = None;
        assert_eq!(screen.step(s(65), image, &status), None);
        assert!(screen.step(s(66), image, &status).is_some());
    }
}
