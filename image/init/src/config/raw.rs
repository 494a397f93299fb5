//! The file as it is written, and the way from there to what is checked.
//!
//! Invariant: an unknown key is refused everywhere. Absent on purpose: defaults that depend on the
//! machine.

use std::time::Duration;

use serde::Deserialize;

use super::{
    BadConfig, Config, DiskName, Disks, MTU, Network, Profile, Subnet, SyslogTarget, Transport,
    Which, is_host, is_host_name, is_interface_name,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    #[serde(default)]
    network: NetworkTable,
    #[serde(default)]
    disk: DiskTable,
    #[serde(default)]
    time: TimeTable,
    #[serde(default)]
    syslog: SyslogTable,
    #[serde(default)]
    ssh: SshTable,
    #[serde(default)]
    image: ImageTable,
    #[serde(default)]
    appliance: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkTable {
    interface: String,
    address: String,
    gateway: String,
    dns: Vec<String>,
    mtu: Option<u16>,
}

impl Default for NetworkTable {
    fn default() -> Self {
        Self {
            interface: String::new(),
            address: DHCP.to_owned(),
            gateway: String::new(),
            dns: Vec::new(),
            mtu: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DiskTable {
    devices: Vec<String>,
    profile: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeTable {
    servers: Vec<String>,
}

impl Default for TimeTable {
    fn default() -> Self {
        Self { servers: vec![TIME_SERVER.to_owned()] }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SyslogTable {
    target: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SshTable {
    authorized_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImageTable {
    public_key: String,
    healthy_within_s: u64,
    stop_within_s: u64,
}

impl Default for ImageTable {
    fn default() -> Self {
        Self {
            public_key: String::new(),
            healthy_within_s: HEALTHY_WITHIN_S,
            stop_within_s: STOP_WITHIN_S,
        }
    }
}

impl File {
    pub(super) fn check(self) -> Result<Config, BadConfig> {
        let image = self.image;
        let seconds = |key, value: u64, range: std::ops::RangeInclusive<u64>| {
            if range.contains(&value) {
                return Ok(Duration::from_secs(value));
            }
            bad(key, format!("{value} is not within {} to {} s", range.start(), range.end()))
        };
        Ok(Config {
            name: host_name(self.name)?,
            network: network(self.network)?,
            disk: disks(self.disk)?,
            time_servers: time_servers(self.time.servers)?,
            syslog: syslog(&self.syslog.target)?,
            authorized_keys: authorized_keys(self.ssh.authorized_keys)?,
            public_key: public_key(image.public_key)?,
            healthy_within: seconds("image.healthy_within_s", image.healthy_within_s, 30..=3600)?,
            stop_within: seconds("image.stop_within_s", image.stop_within_s, 5..=600)?,
            appliance: appliance(self.appliance)?,
        })
    }
}

/// A label of the domain name system (RFC 1123 section 2.1), which is short enough for a kernel.
fn host_name(name: String) -> Result<String, BadConfig> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good {
        return Ok(name);
    }
    bad("name", format!("{name:?} is no host name: 1 to 63 letters, digits and inner hyphens"))
}

fn network(table: NetworkTable) -> Result<Network, BadConfig> {
    let address = match table.address.as_str() {
        DHCP => None,
        text => match text.parse::<Subnet>() {
            Ok(subnet) => Some(subnet),
            Err(why) => {
                let hint = "write \"dhcp\", or an address with its prefix: \"10.0.0.5/24\"";
                return bad("network.address", format!("{text:?}: {why}; {hint}"));
            }
        },
    };
    let parse = |key, text: &str| match text.parse() {
        Ok(address) if is_host(address) => Ok(address),
        _ => bad(key, format!("{text:?} is no address of a machine, such as \"10.0.0.1\"")),
    };
    let gateway: Option<std::net::IpAddr> = match table.gateway.as_str() {
        "" => None,
        text => Some(parse("network.gateway", text)?),
    };
    if let (Some(subnet), Some(gateway)) = (address, gateway)
        && subnet.address.is_ipv4() != gateway.is_ipv4()
    {
        return bad("network.gateway", format!("{gateway} can't be reached from {subnet}"));
    }
    at_most("network.dns", table.dns.len(), DNS_MAX)?;
    let dns = table.dns.iter().map(|text| parse("network.dns", text));
    if let Some(mtu) = table.mtu.filter(|mtu| !MTU.contains(mtu)) {
        let (least, most) = (MTU.start(), MTU.end());
        return bad("network.mtu", format!("{mtu} is not within {least} to {most}"));
    }
    Ok(Network {
        interface: which(&table.interface)?,
        address,
        gateway,
        dns: dns.collect::<Result<_, _>>()?,
        mtu: table.mtu,
    })
}

fn which(text: &str) -> Result<Which, BadConfig> {
    if text.is_empty() {
        return Ok(Which::FirstWithLink);
    }
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let octet = |text: &&str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(octet) {
        return Ok(Which::Mac(octets.join(":").to_ascii_lowercase()));
    }
    if is_interface_name(text) {
        return Ok(Which::Name(text.to_owned()));
    }
    bad(
        "network.interface",
        format!(
            "{text:?} is neither a name (\"eth0\") nor a hardware address (\"52:54:00:12:34:56\")"
        ),
    )
}

fn disks(table: DiskTable) -> Result<Disks, BadConfig> {
    const KEY: &str = "disk.devices";
    let name = |text: String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.!".contains(&byte);
        let path = text.strip_prefix("/dev/").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(plain) && !name.contains("..")
        });
        if path && text.len() <= DISK_NAME_BYTES_MAX {
            return Ok(DiskName::Path(text));
        }
        match text.strip_prefix("serial:").map(str::trim) {
            Some(serial) if !serial.is_empty() && serial.len() <= DISK_NAME_BYTES_MAX => {
                Ok(DiskName::Serial(serial.to_owned()))
            }
            _ => bad(KEY, format!("{text:?}: write \"/dev/vda\", or \"serial:\" and its serial")),
        }
    };
    let devices: Vec<DiskName> =
        table.devices.into_iter().take(DISKS_MAX + 1).map(name).collect::<Result<_, _>>()?;
    let wanted = table.profile.disks();
    if !devices.is_empty() && devices.len() != wanted {
        let profile = table.profile.name();
        return bad(KEY, format!("profile {profile:?} is over {wanted}: name so many, or none"));
    }
    if let [one, other] = devices.as_slice()
        && one == other
    {
        return bad(KEY, "one disk is named twice: name two".to_owned());
    }
    Ok(Disks { devices, profile: table.profile })
}

fn time_servers(servers: Vec<String>) -> Result<Vec<String>, BadConfig> {
    const KEY: &str = "time.servers";
    at_most(KEY, servers.len(), TIME_SERVERS_MAX)?;
    match servers.iter().find(|server| !is_host_name(server)) {
        None => Ok(servers),
        Some(server) => bad(KEY, format!("{server:?} is no name or address of a server")),
    }
}

fn syslog(target: &str) -> Result<Option<SyslogTarget>, BadConfig> {
    if target.is_empty() {
        return Ok(None);
    }
    let parsed = || {
        let (transport, rest) = match target.split_once("://")? {
            ("udp", rest) => (Transport::Udp, rest),
            ("tcp", rest) => (Transport::Tcp, rest),
            _ => return None,
        };
        let (host, port) = rest.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // An IPv6 address has brackets, and nothing else has.
        let fits = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains(':') && is_host_name(host),
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = bare.unwrap_or(host).to_owned();
        fits.then_some(SyslogTarget { transport, host, port })
    };
    match parsed() {
        Some(target) => Ok(Some(target)),
        None => bad(
            "syslog.target",
            format!("{target:?}: write \"udp://10.0.0.9:514\" or \"tcp://10.0.0.9:514\""),
        ),
    }
}

fn authorized_keys(keys: Vec<String>) -> Result<Vec<String>, BadConfig> {
    const KEY: &str = "ssh.authorized_keys";
    at_most(KEY, keys.len(), KEYS_MAX)?;
    for (index, key) in keys.iter().enumerate() {
        let number = index + 1;
        if key.chars().any(char::is_control) {
            return bad(KEY, format!("key {number} is not one line"));
        }
        if key.len() > KEY_BYTES_MAX {
            return bad(KEY, format!("key {number} has more than {KEY_BYTES_MAX} bytes"));
        }
        let words: Vec<&str> = key.split(' ').collect();
        let is_key = |pair: &[&str]| matches!(pair, [kind, blob] if is_key(kind, blob));
        if key.trim_start().starts_with('#') || !words.windows(2).any(is_key) {
            let hint = "copy the line of a .pub file: \"ssh-ed25519 AAAA… who\"";
            return bad(KEY, format!("key {number} is no public key: {hint}"));
        }
    }
    Ok(keys)
}

/// Whether these are the kind and the bytes of a public key; the bytes begin with their own length.
fn is_key(kind: &str, blob: &str) -> bool {
    const KINDS: &[&str] = &["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    KINDS.iter().any(|prefix| kind.starts_with(prefix)) && blob.starts_with("AAAA") && base64(blob)
}

fn public_key(key: String) -> Result<Option<String>, BadConfig> {
    if key.is_empty() {
        return Ok(None);
    }
    // 2 bytes `Ed`, 8 of a key number, 32 of the key.
    if key.len() == 56 && key.starts_with("RW") && base64(&key) {
        return Ok(Some(key));
    }
    let hint = "copy the second line of the .pub file, 56 letters that begin with RW";
    bad("image.public_key", format!("this is no minisign public key: {hint}"))
}

fn appliance(table: toml::Table) -> Result<toml::Table, BadConfig> {
    for (key, instead) in [
        ("name", "say it as `name`, above all tables"),
        ("root", "the image keeps it on the data disk"),
        ("image", "say it in `[image]`"),
    ] {
        if table.contains_key(key) {
            return bad("appliance", format!("`{key}` does not belong there: {instead}"));
        }
    }
    Ok(table)
}

fn at_most(key: &'static str, count: usize, max: usize) -> Result<(), BadConfig> {
    if count <= max { Ok(()) } else { bad(key, format!("{count} are too many: at most {max}")) }
}

fn base64(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn bad<T>(key: &'static str, reason: String) -> Result<T, BadConfig> {
    Err(BadConfig::Value { key, reason })
}

const DHCP: &str = "dhcp";
const TIME_SERVER: &str = "2.debian.pool.ntp.org";
const HEALTHY_WITHIN_S: u64 = 180;
const STOP_WITHIN_S: u64 = 60;
/// glibc's resolver asks no more.
const DNS_MAX: usize = 3;
const TIME_SERVERS_MAX: usize = 8;
const DISKS_MAX: usize = 2;
const DISK_NAME_BYTES_MAX: usize = 128;
const KEYS_MAX: usize = 64;
/// dropbear reads lines of 4200 bytes.
const KEY_BYTES_MAX: usize = 4096;
