//! The configuration file: every key, its default, and what is wrong with what was written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use addresses::Floating as FloatingAddress;
use admin::{ExportView, Token};
use model::{ExportAccess, ExportRule, RootDirectory, Squash, is_volume_name};
use nfs_server::{RpcbindMode, Settings};
use notices::Targets;
use ownership::{ADDRESSES_MAX, FLOATING_MAX, Labels};
use serde::Deserialize;
use thiserror::Error;

mod fleet;

pub use fleet::Together;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept; on BTRFS.
    pub root: PathBuf,
    /// What people call this appliance.
    pub name: String,
    /// The NFS door.
    #[serde(default)]
    pub nfs: Nfs,
    /// The way to other appliances.
    #[serde(default)]
    pub mesh: Mesh,
    /// What this appliance says of itself, for placement: site, rack and whatever else.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The fleet that it founds or joins by itself.
    #[serde(default)]
    pub fleet: Together,
    /// The operator's door.
    #[serde(default)]
    pub admin: Admin,
    /// Copies of files at several appliances.
    #[serde(default)]
    pub copies: Copies,
    /// Reading and comparing all copies, now and then.
    #[serde(default)]
    pub scrub: Scrub,
    /// Whom what a person must know is sent to.
    #[serde(default)]
    pub notify: notices::Settings,
    /// Addresses that move between appliances.
    #[serde(default)]
    pub floating: Floating,
    /// What the appliance boots from.
    #[serde(default)]
    pub image: Image,
    /// How much at once.
    #[serde(default)]
    pub limits: Limits,
    /// What is told.
    #[serde(default)]
    pub log: Log,
    /// Volumes to make if they are not there.
    #[serde(default, rename = "volume")]
    pub volumes: Vec<Volume>,
}

/// `[nfs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nfs {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Who answers on port 111.
    pub rpcbind: Rpcbind,
}

/// Who answers on port 111.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rpcbind {
    /// We do, or we register with who does.
    Auto,
    /// We do.
    Own,
    /// We register.
    Register,
    /// Nobody.
    Off,
}

/// `[mesh]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mesh {
    /// The UDP address for other appliances; used once this one is of a fleet.
    pub listen: SocketAddr,
    /// Where other appliances reach it; empty is the address that it listens on.
    pub advertise: Vec<SocketAddr>,
}

impl Mesh {
    /// Where other appliances reach this one.
    ///
    /// # Errors
    /// If that can't be told: it listens on every address and none is advertised.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        match (self.advertise.is_empty(), self.listen.ip().is_unspecified()) {
            (false, _) => Ok(self.advertise.clone()),
            (true, false) => Ok(vec![self.listen]),
            (true, true) => {
                Err("set `mesh.advertise` to an address at which the other appliances \
                reach this one, such as [\"10.0.0.5:2050\"], and start it again"
                    .to_owned())
            }
        }
    }
}

/// `[admin]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The unix socket.
    pub socket: PathBuf,
    /// Where Prometheus asks; empty is nowhere.
    pub metrics_listen: String,
    /// Where operators on other machines ask, over TLS and with the token; empty is nowhere.
    pub listen: String,
    /// The token; empty is one that this appliance makes up.
    pub token: String,
}

/// Without the secret.
impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { socket, metrics_listen, listen, token } = self;
        let mut shown = f.debug_struct("Admin");
        shown.field("socket", socket).field("metrics_listen", metrics_listen);
        shown.field("listen", listen).field("token", &!token.is_empty()).finish()
    }
}

impl Admin {
    /// Where operators on other machines ask, if they may.
    ///
    /// # Errors
    /// If it is no address and port.
    pub fn remote(&self) -> Result<Option<SocketAddr>, String> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let bad = |_| format!("{:?} is no address and port, such as \"0.0.0.0:2051\"", self.listen);
        self.listen.parse().map(Some).map_err(bad)
    }
}

/// `[copies]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Copies {
    /// Seconds that an appliance may be down before what it held is made elsewhere.
    pub rebuild_after_s: u64,
}

/// `[scrub]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Days from the end of a scrub to the next one; 0 is never.
    pub every_days: u64,
    /// MiB a second that scrubs read from this appliance's disk.
    pub rate_mib_s: u64,
}

impl Scrub {
    /// What the router is to do.
    pub fn settings(&self) -> scrub::Settings {
        let every = Duration::from_secs(self.every_days.saturating_mul(24 * 3600));
        let every = Some(every).filter(|every| !every.is_zero());
        scrub::Settings { every, bytes_per_second: self.rate_mib_s.saturating_mul(1 << 20) }
    }

    fn check(&self) -> Result<(), (String, String)> {
        if self.every_days > SCRUB_DAYS_MAX {
            let reason = format!("must be 1 to {SCRUB_DAYS_MAX}, or 0 for never");
            return Err(("scrub.every_days".to_owned(), reason));
        }
        if !(1..=SCRUB_MIB_S_MAX).contains(&self.rate_mib_s) {
            let reason = format!("must be 1 to {SCRUB_MIB_S_MAX} MiB a second");
            return Err(("scrub.rate_mib_s".to_owned(), reason));
        }
        Ok(())
    }
}

/// `[floating]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Floating {
    /// Where they are held.
    pub interface: String,
    /// The addresses that this appliance can hold, each with its subnet; empty is none.
    pub addresses: Vec<String>,
    /// Seconds after the last change of who is up before addresses are spread.
    pub spread_after_s: u64,
}

impl Floating {
    /// The addresses, on their interface.
    ///
    /// # Errors
    /// A sentence for the operator: which one can't be held, and why.
    pub fn parsed(&self) -> Result<Vec<FloatingAddress>, String> {
        if self.addresses.is_empty() {
            return Ok(Vec::new());
        }
        if self.addresses.len() > FLOATING_MAX {
            return Err(format!("at most {FLOATING_MAX} addresses"));
        }
        let interface: addresses::InterfaceName =
            self.interface.parse().map_err(|bad| format!("interface: {bad}"))?;
        let mut all: Vec<FloatingAddress> = Vec::new();
        for given in &self.addresses {
            let floating = FloatingAddress::parse(given, interface.clone());
            let floating = floating.map_err(|bad| format!("addresses: {bad}"))?;
            if all.iter().any(|other| other.address() == floating.address()) {
                return Err(format!("addresses: {} is named twice", floating.address()));
            }
            all.push(floating);
        }
        Ok(all)
    }

    /// Whether clients find the NFS door at each of them.
    fn check(&self, listen: &[SocketAddr]) -> Result<(), String> {
        for floating in self.parsed()? {
            // One that is not here at the start can't be bound, so only a wildcard will do.
            let found = |at: &SocketAddr| match at.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() && floating.address().is_ipv4(),
                IpAddr::V6(ip) => ip.is_unspecified(),
            };
            if !listen.iter().any(found) {
                let address = floating.address();
                return Err(format!(
                    "nobody would answer at {address}: `nfs.listen` needs \"[::]:2049\""
                ));
            }
        }
        Ok(())
    }
}

/// `[image]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// Where the EFI partition is mounted; empty if it does not run from an image.
    pub esp: PathBuf,
    /// The boot file that runs now, by its name.
    pub booted: String,
    /// Whose images are taken: a minisign public key. Empty is nobody's.
    pub public_key: String,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once.
    pub connections_max: usize,
    /// Bytes of one call.
    pub record_bytes_max: usize,
    /// Calls of one connection at once.
    pub requests_per_connection_max: usize,
    /// Bytes of calls and replies of one connection.
    pub in_flight_bytes_per_connection_max: usize,
    /// Bytes of calls and replies in all.
    pub in_flight_bytes_max: usize,
    /// Open backing files.
    pub open_files_max: usize,
    /// Metadata cache of one volume, in bytes.
    pub meta_cache_bytes: u64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or a filter such as `info,nfs_server=debug`.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[[volume]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Owner of its root directory.
    #[serde(default)]
    pub root_uid: u32,
    /// Group of its root directory.
    #[serde(default)]
    pub root_gid: u32,
    /// Mode of its root directory, an octal string such as "0755".
    #[serde(default = "root_mode")]
    pub root_mode: String,
    /// Who may mount it.
    #[serde(default, rename = "export")]
    pub exports: Vec<Export>,
}

/// `[[volume.export]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Networks, addresses or `*`.
    pub clients: Vec<String>,
    /// `rw` or `ro`.
    #[serde(default = "read_write")]
    pub access: ExportAccess,
    /// `root`, `all` or `none`.
    #[serde(default = "squash_root")]
    pub squash: Squash,
    /// The anonymous user.
    #[serde(default = "anonymous")]
    pub anonuid: u32,
    /// The anonymous group.
    #[serde(default = "anonymous")]
    pub anongid: u32,
    /// Whether source ports of 1024 and above are taken.
    #[serde(default)]
    pub insecure: bool,
    /// Whether groups are looked up here.
    #[serde(default)]
    pub manage_gids: bool,
}

/// What is wrong with a configuration; the appliance does not start.
#[derive(Debug, Error)]
pub enum BadConfig {
    /// The file can't be read.
    #[error("{path}: {fault}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        fault: std::io::Error,
    },
    /// It is not TOML, or has a key that is not known or a value of the wrong kind.
    #[error("{path}: {fault}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        fault: toml::de::Error,
    },
    /// A value makes no sense.
    #[error("{path}: {key}: {reason}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`BadConfig`] names file, key and reason.
    pub fn read(path: &Path) -> Result<Self, BadConfig> {
        let text = std::fs::read_to_string(path)
            .map_err(|fault| BadConfig::Unreadable { path: path.to_owned(), fault })?;
        let config: Self = toml::from_str(&text)
            .map_err(|fault| BadConfig::Syntax { path: path.to_owned(), fault })?;
        match config.check() {
            Ok(()) => Ok(config),
            Err((key, reason)) => Err(BadConfig::Value { path: path.to_owned(), key, reason }),
        }
    }

    /// What the NFS door is to do.
    pub fn nfs_settings(&self) -> Settings {
        Settings {
            listen: self.nfs.listen.clone(),
            connections_max: self.limits.connections_max,
            record_bytes_max: self.limits.record_bytes_max,
            requests_per_connection_max: self.limits.requests_per_connection_max,
            in_flight_bytes_per_connection_max: self.limits.in_flight_bytes_per_connection_max,
            in_flight_bytes_max: self.limits.in_flight_bytes_max,
            rpcbind: match self.nfs.rpcbind {
                Rpcbind::Auto => RpcbindMode::Auto,
                Rpcbind::Own => RpcbindMode::Own,
                Rpcbind::Register => RpcbindMode::Register,
                Rpcbind::Off => RpcbindMode::Off,
            },
            ..Settings::default()
        }
    }

    fn check(&self) -> Result<(), (String, String)> {
        let bad = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return bad("name", format!("must have 1 to {NAME_BYTES_MAX} bytes"));
        }
        if let Err(refusal) = Labels(self.labels.clone()).check() {
            return bad("labels", refusal.to_string());
        }
        // Secrets are read here, too: what can't be sent later is known before.
        if let Err(notices::BadSetting { key, reason }) = Targets::open(&self.notify) {
            return Err((key, reason));
        }
        if self.mesh.advertise.len() > ADDRESSES_MAX {
            return bad("mesh.advertise", format!("at most {ADDRESSES_MAX} addresses"));
        }
        self.fleet.check(&self.mesh).map_err(|reason| ("fleet".to_owned(), reason))?;
        self.admin.remote().map_err(|reason| ("admin.listen".to_owned(), reason))?;
        if !self.admin.token.is_empty() && Token::parse(&self.admin.token).is_none() {
            return bad("admin.token", "must be 64 hex digits: `openssl rand -hex 32`".to_owned());
        }
        let floating = self.floating.check(&self.nfs.listen);
        floating.map_err(|reason| ("floating".to_owned(), reason))?;
        let image = crate::image::Image::new(&self.image).map(drop);
        image.map_err(|reason| ("image.public_key".to_owned(), reason))?;
        self.scrub.check()?;
        if self.limits.open_files_max < OPEN_FILES_LEAST {
            return bad("limits.open_files_max", format!("must be at least {OPEN_FILES_LEAST}"));
        }
        if self.limits.meta_cache_bytes < META_CACHE_BYTES_LEAST {
            let least = META_CACHE_BYTES_LEAST;
            return bad("limits.meta_cache_bytes", format!("must be at least {least}"));
        }
        if let Err(reason) = self.nfs_settings().check() {
            return bad("nfs, limits", reason.to_string());
        }
        for volume in &self.volumes {
            let key = format!("volume {:?}", volume.name);
            if !is_volume_name(&volume.name) {
                let reason = "use 1 to 64 letters, digits, '-', '_' or '.', not starting with '.'";
                return bad(&key, reason.to_owned());
            }
            volume.root().map_err(|reason| (format!("{key}.root_mode"), reason))?;
            volume.rules().map_err(|reason| (format!("{key}.export.clients"), reason))?;
        }
        Ok(())
    }
}

impl Volume {
    /// Owner and mode of its root directory.
    ///
    /// # Errors
    /// If the mode is not octal.
    pub fn root(&self) -> Result<RootDirectory, String> {
        let mode = u32::from_str_radix(&self.root_mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| {
                format!("{:?} is no mode: write it in octal: \"0755\"", self.root_mode)
            })?;
        Ok(RootDirectory { uid: self.root_uid, gid: self.root_gid, mode })
    }

    /// Who may mount it.
    ///
    /// # Errors
    /// If a pattern names no clients.
    pub fn rules(&self) -> Result<Vec<ExportRule>, String> {
        let mut rules = Vec::new();
        for export in &self.exports {
            for client in &export.clients {
                let view = ExportView {
                    client: client.clone(),
                    access: export.access,
                    squash: export.squash,
                    anonuid: export.anonuid,
                    anongid: export.anongid,
                    insecure: export.insecure,
                    manage_gids: export.manage_gids,
                };
                rules.push(ExportRule::try_from(&view).map_err(|bad| bad.to_string())?);
            }
        }
        Ok(rules)
    }
}

impl Default for Nfs {
    fn default() -> Self {
        Self { listen: Settings::default().listen, rpcbind: Rpcbind::Auto }
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], MESH_PORT)), advertise: Vec::new() }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: PathBuf::from(SOCKET_DEFAULT),
            metrics_listen: "127.0.0.1:9049".to_owned(),
            listen: String::new(),
            token: String::new(),
        }
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self { rebuild_after_s: 600 }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self { every_days: 30, rate_mib_s: 32 }
    }
}

impl Default for Floating {
    fn default() -> Self {
        Self { interface: String::new(), addresses: Vec::new(), spread_after_s: 60 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let nfs = Settings::default();
        Self {
            connections_max: nfs.connections_max,
            record_bytes_max: nfs.record_bytes_max,
            requests_per_connection_max: 128,
            in_flight_bytes_per_connection_max: 16 << 20,
            in_flight_bytes_max: 96 << 20,
            open_files_max: 4096,
            meta_cache_bytes: 48 << 20,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Where the commands look for the appliance.
pub const SOCKET_DEFAULT: &str = "/run/holdfast/admin.sock";

fn read_write() -> ExportAccess {
    ExportAccess::ReadWrite
}

fn squash_root() -> Squash {
    Squash::Root
}

fn anonymous() -> u32 {
    model::ANONYMOUS_ID
}

fn root_mode() -> String {
    "0755".to_owned()
}

/// One above NFS's own.
const MESH_PORT: u16 = 2050;
/// A host name's limit (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 63;
/// Ten years.
const SCRUB_DAYS_MAX: u64 = 3650;
/// More than disks read.
const SCRUB_MIB_S_MAX: u64 = 65_536;
const OPEN_FILES_LEAST: usize = 16;
const META_CACHE_BYTES_LEAST: u64 = 4 << 20;

#[cfg(test)]
mod tests;
