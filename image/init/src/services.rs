//! The programs that run on beside the appliance, and the appliance itself: how each is started.
//!
//! Invariant: nothing that an operator wrote goes into another program's file unless it was checked
//! for that. Absent on purpose: when they are started, and that they are started again.

use std::fs::{self, DirBuilder, File};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use crate::children::{Children, Task};
use crate::config::{Appliance, Config, Image};
use crate::files::{self, Readers};
use crate::places::{Places, program};
use crate::trouble::Trouble;

/// A program that runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The appliance.
    Appliance,
    /// The DHCP client.
    Dhcp,
    /// The NTP client.
    Clock,
    /// The SSH server.
    Login,
}

impl Service {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Appliance => "the appliance",
            Self::Dhcp => "udhcpc",
            Self::Clock => "chronyd",
            Self::Login => "dropbear",
        }
    }
}

/// The appliance.
pub fn appliance(places: &Places) -> Task {
    let file = places.appliance_toml();
    let mut task = Task::new(program::HOLDFAST, ["supervise", "--config", &file.to_string_lossy()]);
    // It may have the machine restarted, by SIGTERM to this process.
    task.environment.push(("HOLDFAST_INIT".to_owned(), "1".to_owned()));
    task
}

/// Writes the appliance's configuration, and has it checked.
///
/// # Errors
/// What the check said.
pub fn write_appliance(
    places: &Places,
    children: &Children,
    config: &Config,
    address: IpAddr,
    image: Option<Image<'_>>,
) -> Result<(), Trouble> {
    let root = places.root();
    let appliance = Appliance { config, root: &root.to_string_lossy(), address, image };
    let text = appliance.to_toml().map_err(Trouble::guarded)?;
    let file = places.appliance_toml();
    files::replace(&file, text.as_bytes(), Readers::Root)
        .map_err(|fault| Trouble::open(format!("{}: {fault}", file.display())))?;
    let check = Task::new(program::HOLDFAST, ["check-config", &file.to_string_lossy()]);
    children.must(&check, CHECK_PATIENCE).map(|_| ()).map_err(|why| {
        Trouble::guarded(format!("`[appliance]` in the configuration can't be used: {why}"))
    })
}

/// The NTP client; none if nobody is to be asked.
///
/// # Errors
/// A sentence: its configuration can't be written.
pub fn clock(places: &Places, servers: &[String]) -> Result<Option<Task>, String> {
    if servers.is_empty() {
        return Ok(None);
    }
    let file = places.run.join("chrony.conf");
    let text = chrony_conf(servers, &places.system(), &places.run);
    files::replace(&file, text.as_bytes(), Readers::All)
        .map_err(|fault| format!("{} can't be written: {fault}", file.display()))?;
    Ok(Some(Task::new(program::CHRONYD, ["-d", "-f", &file.to_string_lossy()])))
}

fn chrony_conf(servers: &[String], system: &Path, run: &Path) -> String {
    let mut text = String::new();
    for server in servers {
        // A name may stand for many servers, an address is one.
        let kind = if server.parse::<IpAddr>().is_ok() { "server" } else { "pool" };
        text.push_str(&format!("{kind} {server} iburst\n"));
    }
    let (system, run) = (system.display(), run.display());
    text.push_str(&format!(
        "makestep 1 3\nrtcsync\nport 0\ncmdport 0\nbindcmdaddress /\nuser root\n\
         driftfile {system}/chrony.drift\npidfile {run}/chronyd.pid\n"
    ));
    text
}

/// The SSH server; none if nobody may log in. Its key is made if there is none.
///
/// # Errors
/// A sentence: a file can't be written, or the key can't be made.
pub fn login(
    places: &Places,
    children: &Children,
    keys: &[String],
) -> Result<Option<Task>, String> {
    if keys.is_empty() {
        return Ok(None);
    }
    let mut text = keys.join("\n");
    text.push('\n');
    let authorized = places.home.join(".ssh/authorized_keys");
    files::replace(&authorized, text.as_bytes(), Readers::Root)
        .map_err(|fault| format!("{} can't be written: {fault}", authorized.display()))?;
    let host_key = host_key(&places.system().join("ssh"), |path| {
        let task = Task::new(program::DROPBEARKEY, ["-t", "ed25519", "-f", path]);
        children.must(&task, KEY_PATIENCE).map(|_| ())
    })?;
    let pid_file = places.run.join("dropbear.pid");
    // In the foreground, to our log; no passwords, no forwarding: it is for a look inside.
    let arguments =
        ["-F", "-E", "-s", "-j", "-k", "-r", &host_key, "-P", &pid_file.to_string_lossy()];
    Ok(Some(Task::new(program::DROPBEAR, arguments)))
}

/// The path of the key by which this machine is known; `make` makes one at a path.
fn host_key(
    folder: &Path,
    make: impl FnOnce(&str) -> Result<(), String>,
) -> Result<String, String> {
    let cant = |fault: std::io::Error| format!("{}: {fault}", folder.display());
    let key = folder.join("ed25519");
    if !fs::metadata(&key).is_ok_and(|key| key.len() > 0) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cant)?;
        let fresh = folder.join("ed25519.new");
        // Left by a start that was cut off.
        _ = fs::remove_file(&fresh);
        make(&fresh.to_string_lossy())?;
        File::open(&fresh).and_then(|file| file.sync_all()).map_err(cant)?;
        fs::rename(&fresh, &key).map_err(cant)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(cant)?;
    }
    Ok(key.to_string_lossy().into_owned())
}

const CHECK_PATIENCE: Duration = Duration::from_secs(20);
const KEY_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_asks_those_who_are_named_and_answers_nobody() {
        let servers = ["2.debian.pool.ntp.org".to_owned(), "fd00::1".to_owned()];
        let text = chrony_conf(&servers, Path::new("/data/system"), Path::new("/run/holdfast"));
        assert_eq!(
            text,
            "pool 2.debian.pool.ntp.org iburst\nserver fd00::1 iburst\nmakestep 1 3\nrtcsync\n\
             port 0\ncmdport 0\nbindcmdaddress /\nuser root\n\
             driftfile /data/system/chrony.drift\npidfile /run/holdfast/chronyd.pid\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let places = Places { run: folder.path().to_owned(), ..Places::of_the_image() };
        assert_eq!(clock(&places, &[]), Ok(None));
        assert!(clock(&places, &servers).unwrap().is_some());
        assert!(folder.path().join("chrony.conf").exists());
    }

    #[test]
    fn a_machine_keeps_the_key_by_which_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("ssh");
        let fails = host_key(&folder, |_| Err("no entropy".to_owned()));
        assert_eq!(fails, Err("no entropy".to_owned()));
        let make = |text: &'static str| {
            move |path: &str| fs::write(path, text).map_err(|fault| fault.to_string())
        };
        // What a cut-off start left is not taken.
        fs::write(folder.join("ed25519.new"), "half").unwrap();
        fs::write(folder.join("ed25519"), "").unwrap();
        let path = host_key(&folder, make("first")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        host_key(&folder, make("second")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn without_keys_nobody_may_log_in() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { home: folder.path().to_owned(), ..Places::of_the_image() };
        let children = Children::new(crate::log::Log::silent());
        assert_eq!(login(&places, &children, &[]), Ok(None));
        assert!(!folder.path().join(".ssh").exists());
    }
}
