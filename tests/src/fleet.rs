//! Several appliances, each in a network namespace of its own, formed into a fleet by the command
//! line alone.
//!
//! Every appliance has two ways out: `clients`, on the bridge that guests are on, and `mesh`, on a
//! bridge of its own. So the traffic between appliances can be cut or hindered while clients still
//! reach everybody. Invariant: namespaces, bridges and devices lie in the sandbox's own network,
//! their names in the sandbox's own `/run`, and vanish with it.
//!
//! Absent on purpose: what the appliances say to each other.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;
use serde_json::Value;

use crate::appliance::binary;
use crate::process::{must, run};
use crate::wait::eventually_within;
use crate::weather::{DEVICE, Relay, Weather};
use crate::{Appliance, Guests, LoopBtrfs, Place, Reply, Sandbox, Setup};

/// What [`Fleet`]s call their appliances, in the order in which they are made.
pub const NAMES: [&str; 8] = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"];

/// Appliances with a disk each. All those of [`Self::form`] trust one another.
#[derive(Debug)]
pub struct Fleet {
    appliances: Vec<Appliance>,
    relay: OnceCell<Relay>,
    disks: Vec<LoopBtrfs>,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The owner's name.
    pub owner: String,
    /// How often it was handed over.
    pub epoch: u64,
    /// Who has copies.
    pub copies: Vec<String>,
}

/// How a transfer stands.
#[derive(Debug, Clone)]
pub struct TransferReport {
    /// The job's number, as `holdfast job` takes it.
    pub id: String,
    /// What it does.
    pub phase: String,
    /// How much it has moved.
    pub bytes_done: u64,
    /// How long requests were held up.
    pub pause: Duration,
    /// Whether it is over.
    pub ended: bool,
    /// Whether the file is where it was to go.
    pub succeeded: bool,
    /// What became of it.
    pub outcome: String,
}

/// A sandbox with a fleet and guests, in the order in which they must go.
#[derive(Debug)]
pub struct FleetWorld {
    /// Machines with the Linux client.
    pub guests: Guests,
    /// The appliances.
    pub fleet: Fleet,
    /// The rest.
    pub sandbox: Sandbox,
}

impl FleetWorld {
    /// A fleet of `appliances`, of which the first `holders` hold the volume `demo`, and `guests`
    /// that have mounted nothing yet.
    #[must_use]
    pub fn new(appliances: usize, holders: usize, guests: usize) -> Self {
        let sandbox = Sandbox::new();
        let fleet = Fleet::form(&sandbox, appliances, DISK_MIB);
        Self::with(sandbox, fleet, holders, guests)
    }

    /// The same of appliances that a supervisor starts again when they die.
    #[must_use]
    pub fn supervised(appliances: usize, holders: usize, guests: usize) -> Self {
        let sandbox = Sandbox::new();
        let fleet = Fleet::form_supervised(&sandbox, appliances, DISK_MIB);
        Self::with(sandbox, fleet, holders, guests)
    }

    /// The same with a fleet that was formed before.
    #[must_use]
    pub fn with(sandbox: Sandbox, fleet: Fleet, holders: usize, guests: usize) -> Self {
        fleet.make_volume("demo", &NAMES[..holders]);
        let guests = Guests::boot(&sandbox, guests);
        Self { guests, fleet, sandbox }
    }

    /// Has a guest mount `demo` of an appliance.
    pub fn mount(&self, guest: usize, appliance: usize) {
        self.guests.nth(guest).mount_from(self.fleet.client_address(appliance), "demo");
    }

    /// Has every holder's catalog checked, and ends all appliances as an administrator would.
    pub fn end_well(mut self, holders: usize) {
        for number in 0..holders {
            self.fleet.nth(number).check("demo");
        }
        drop(self.guests);
        for appliance in &mut self.fleet.appliances {
            appliance.stop();
        }
    }
}

impl Fleet {
    /// Makes `count` appliances, each on a disk of `disk_mib` MiB, and forms them into a fleet.
    #[must_use]
    pub fn form(sandbox: &Sandbox, count: usize, disk_mib: u64) -> Self {
        Self::strangers(sandbox, count, disk_mib).formed()
    }

    /// The same of appliances that a supervisor starts again when they die.
    #[must_use]
    pub fn form_supervised(sandbox: &Sandbox, count: usize, disk_mib: u64) -> Self {
        let setup = Setup { supervised: true, ..Setup::default() };
        Self::form_as(sandbox, count, disk_mib, &setup)
    }

    /// The same as [`Self::form`], with `extra` at the end of each configuration.
    #[must_use]
    pub fn form_with(sandbox: &Sandbox, count: usize, disk_mib: u64, extra: &str) -> Self {
        let setup = Setup { extra: extra.to_owned(), ..Setup::default() };
        Self::form_as(sandbox, count, disk_mib, &setup)
    }

    /// The same of appliances that are configured as `setup` says but for their names, places and
    /// volumes.
    #[must_use]
    pub fn form_as(sandbox: &Sandbox, count: usize, disk_mib: u64, setup: &Setup) -> Self {
        Self::make(sandbox, count, disk_mib, &|_| setup.clone()).formed()
    }

    /// Makes `count` appliances with one fleet token in their configurations: they find together
    /// unattended.
    #[must_use]
    pub fn unattended(sandbox: &Sandbox, count: usize, disk_mib: u64) -> Self {
        let token = run(&binary().to_string_lossy(), &["fleet", "token"]);
        let place = |number| SocketAddr::new(mesh_v4(number).into(), MESH_PORT).to_string();
        Self::make(sandbox, count, disk_mib, &|number| {
            let others: Vec<_> = (0..count).filter(|n| *n != number).map(place).collect();
            let found = number == 0;
            let extra = format!(
                "[fleet]\ntoken = {:?}\nfound = {found}\njoin = {others:?}\n",
                token.trim()
            );
            Setup { extra, ..Setup::default() }
        })
    }

    fn formed(self) -> Self {
        self.first().cli_ok(&["fleet", "init"]);
        for number in 1..self.appliances.len() {
            self.admit(number);
        }
        self
    }

    /// Makes `count` appliances that know nothing of each other.
    #[must_use]
    pub fn strangers(sandbox: &Sandbox, count: usize, disk_mib: u64) -> Self {
        Self::make(sandbox, count, disk_mib, &|_| Setup::default())
    }

    fn make(
        sandbox: &Sandbox,
        count: usize,
        disk_mib: u64,
        setup_of: &dyn Fn(usize) -> Setup,
    ) -> Self {
        must("ip link add br1 type bridge");
        must("ip link set br1 up");
        let mut fleet = Self { appliances: Vec::new(), relay: OnceCell::new(), disks: Vec::new() };
        for (number, name) in NAMES.iter().enumerate().take(count) {
            let disk = LoopBtrfs::new(sandbox, &format!("disk.{name}"), disk_mib);
            let setup = Setup {
                name: (*name).to_owned(),
                volumes: Vec::new(),
                place: Some(make_place(name, number)),
                ..setup_of(number)
            };
            fleet.appliances.push(Appliance::start_with(sandbox, disk.path(), setup));
            fleet.disks.push(disk);
        }
        fleet
    }

    /// Invites the appliance of that number, has it join, and waits until the fleet stands.
    pub fn admit(&self, number: usize) {
        let token = self.invite();
        let at = self.mesh_address(0).to_string();
        self.nth(number).cli_ok(&["join", &token, &at]);
        self.await_standing(number + 1);
    }

    /// A token from the first appliance.
    #[must_use]
    pub fn invite(&self) -> String {
        let made = self.first().cli_json(&["fleet", "invite"]);
        made["token"].as_str().expect("a token is text").to_owned()
    }

    /// Waits until the first `count` appliances all say that so many are up, and that as many vote
    /// as should: an odd number, or two of two.
    pub fn await_standing(&self, count: usize) {
        for appliance in self.appliances.iter().take(count).filter(|a| a.is_started()) {
            eventually_within(STANDING_MAX, format!("{count} to be up and vote"), || {
                stands(appliance, count)
            });
        }
    }

    /// Whether all of `count` appliances say so now.
    #[must_use]
    pub fn stands(&self, count: usize) -> bool {
        self.appliances.iter().take(count).all(|appliance| stands(appliance, count).is_some())
    }

    /// Makes a volume on the appliances `on`, open to all, and waits until all of the fleet know.
    pub fn make_volume(&self, name: &str, on: &[&str]) {
        let first = self.first();
        let on = on.join(",");
        first.cli_ok(&["volume", "create", name, "--on", &on, "--root-mode", "0777"]);
        first.cli_ok(&["export", "set", name, "*", "--insecure", "--squash", "none"]);
        let members = self.members();
        for appliance in self.appliances.iter().filter(|a| members.contains(a.name())) {
            eventually_within(STANDING_MAX, format!("volume {name} to be known"), || {
                let volume = said_by(appliance, &["volume", "show", name])?;
                (!volume["exports"].as_array()?.is_empty()).then_some(())
            });
        }
    }

    fn members(&self) -> BTreeSet<String> {
        let fleet = self.first().cli_json(&["fleet", "status"]);
        let members = fleet["members"].as_array().expect("a list of appliances");
        members.iter().map(|m| m["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The disk of the appliance of that number.
    #[must_use]
    pub fn disk(&self, number: usize) -> &LoopBtrfs {
        &self.disks[number]
    }

    /// The first appliance, which founded the fleet.
    #[must_use]
    pub fn first(&self) -> &Appliance {
        &self.appliances[0]
    }

    /// An appliance by its number, counted from 0.
    #[must_use]
    pub fn nth(&self, number: usize) -> &Appliance {
        &self.appliances[number]
    }

    /// An appliance by its number, to kill or restart it.
    pub fn nth_mut(&mut self, number: usize) -> &mut Appliance {
        &mut self.appliances[number]
    }

    /// The number of the appliance called `name`.
    #[must_use]
    pub fn number_of(&self, name: &str) -> usize {
        let found = self.appliances.iter().position(|appliance| appliance.name() == name);
        found.unwrap_or_else(|| panic!("no appliance is called {name}"))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.appliances.len()
    }

    /// At which address clients find the appliance of that number.
    #[must_use]
    pub fn client_address(&self, number: usize) -> IpAddr {
        self.nth(number).place().expect("each has a place").clients
    }

    /// At which address the other appliances find it.
    #[must_use]
    pub fn mesh_address(&self, number: usize) -> SocketAddr {
        self.nth(number).place().expect("each has a place").mesh
    }

    /// A socket beside an appliance's own: in its network, on its way to the others.
    #[must_use]
    pub fn mesh_socket(&self, number: usize) -> UdpSocket {
        let place = self.nth(number).place().expect("each has a place");
        let there = File::open(format!("/run/netns/{}", place.namespace)).expect("it is there");
        let address = SocketAddr::new(place.mesh.ip(), 0);
        // A thread of its own: it stays in that network.
        let bound = std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(there.as_fd(), kind).expect("root may");
            UdpSocket::bind(address).expect("a free port")
        });
        bound.join().expect("it binds")
    }

    /// The number of the appliance that leads the fleet, as the others see it.
    #[must_use]
    pub fn leader(&self) -> usize {
        eventually_within(STANDING_MAX, "the fleet to have a leader", || {
            let started = self.appliances.iter().filter(|appliance| appliance.is_started());
            started.filter_map(|a| said_by(a, &["fleet", "status"])).find_map(|fleet| {
                let members = fleet["members"].as_array()?;
                let leads = members.iter().find(|m| m["appliance"] == fleet["leader"])?;
                Some(self.number_of(leads["name"].as_str()?))
            })
        })
    }

    /// The number of the appliance that leads the volume's group, as one of its holders sees it.
    #[must_use]
    pub fn volume_leader(&self, volume: &str) -> usize {
        eventually_within(STANDING_MAX, "the volume to have a leader", || {
            let started = self.appliances.iter().filter(|appliance| appliance.is_started());
            let shown = started.filter_map(|a| said_by(a, &["volume", "show", volume]));
            shown.into_iter().find_map(|shown| Some(self.number_of(shown["leader"].as_str()?)))
        })
    }

    /// Waits until every file of the volume has as many good copies as it shall.
    pub fn await_whole(&self, volume: &str) {
        eventually_within(WHOLE_WITHIN, "all copies to be whole", || {
            let shown = self.appliances.iter().map(|a| said_by(a, &["volume", "show", volume]));
            shown.into_iter().all(|shown| shown.is_some_and(|v| v["degraded"] == 0)).then_some(())
        });
    }

    /// Where a file is, as the appliance of that number knows; `path` is `VOLUME/PATH`.
    #[must_use]
    pub fn whereis(&self, number: usize, path: &str) -> Whereabouts {
        let found = self.nth(number).cli_json(&["object", "whereis", path]);
        let names = |list: &Value| {
            let list = list.as_array().expect("a list");
            list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        Whereabouts {
            owner: found["owner"].as_str().expect("a name").to_owned(),
            epoch: found["epoch"].as_u64().expect("a number"),
            copies: names(&found["copies"]),
        }
    }

    /// Begins to move a file, and returns at once.
    ///
    /// # Errors
    /// What the appliance said if it refused.
    pub fn begin_transfer(&self, path: &str, to: &str) -> Result<TransferReport, Reply> {
        let reply = self.first().cli(&["--json", "object", "transfer", path, to]);
        match serde_json::from_str(&reply.stdout) {
            Ok(job) if reply.code == 0 => Ok(report(&job)),
            _ => Err(reply),
        }
    }

    /// How a transfer stands; None if nobody can tell now.
    #[must_use]
    pub fn transfer_now(&self, id: &str) -> Option<TransferReport> {
        said_by(self.first(), &["job", "show", id]).map(|job| report(&job))
    }

    /// Moves a file and waits until that is over.
    #[must_use]
    pub fn transfer(&self, path: &str, to: &str) -> TransferReport {
        eventually_within(TRANSFER_MAX, format!("{path} to be moved to {to}"), || {
            let reply = self.first().cli(&["--json", "object", "transfer", "--wait", path, to]);
            match serde_json::from_str(&reply.stdout) {
                Ok(job) => Some(report(&job)),
                // It is moving elsewhere by itself, since it was used much from there.
                Err(_) if reply.stderr.contains("busy") => None,
                Err(_) => panic!("{reply:?}"),
            }
        })
    }

    /// Cuts an appliance off the others; clients still reach it.
    pub fn partition(&self, number: usize) {
        must(&format!("ip link set m.{} nomaster", NAMES[number]));
        self.relay().set(mesh_v4(number), Weather { loss_permille: 1000, ..Weather::default() });
    }

    /// Cuts an appliance off the others and off its clients.
    pub fn isolate(&self, number: usize) {
        self.partition(number);
        must(&format!("ip link set c.{} nomaster", NAMES[number]));
    }

    /// The numbers of the appliances that have this address on the interface to their clients.
    #[must_use]
    pub fn holders_of(&self, address: IpAddr) -> Vec<usize> {
        let has = |number: &usize| {
            let line = format!("ip -n {} -o addr show dev clients", NAMES[*number]);
            must(&line).contains(&format!(" {address}/"))
        };
        (0..self.count()).filter(has).collect()
    }

    /// Ends [`Self::partition`], [`Self::isolate`] and [`Self::trouble`] of one appliance.
    pub fn heal(&self, number: usize) {
        must(&format!("ip link set c.{} master br0", NAMES[number]));
        must(&format!("ip link set m.{} master br1", NAMES[number]));
        self.relay().set(mesh_v4(number), Weather::default());
        self.route(number, "del");
    }

    /// Gives all that an appliance and the others say to each other bad weather, each way.
    pub fn trouble(&self, number: usize, weather: Weather) {
        self.relay().set(mesh_v4(number), weather);
        self.route(number, "replace");
    }

    /// How many packets of troubled appliances arrived and how many were lost.
    #[must_use]
    pub fn packets(&self) -> (u64, u64) {
        self.relay().counts()
    }

    fn relay(&self) -> &Relay {
        self.relay.get_or_init(|| {
            let places: Vec<_> = (0..self.count())
                .map(|number| (NAMES[number].to_owned(), mesh_v4(number)))
                .collect();
            Relay::new(&places)
        })
    }

    /// Leads packets between an appliance and all others through the relay, or no more.
    fn route(&self, number: usize, verb: &str) {
        for other in (0..self.count()).filter(|other| *other != number) {
            for (here, there) in [(number, other), (other, number)] {
                let (name, to) = (NAMES[here], mesh_v4(there));
                let line = format!("ip -n {name} route {verb} {to}/32 dev {DEVICE}");
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                let done = crate::process::outcome_of("ip", &words);
                let gone_before = verb == "del";
                assert!(done.status.success() || gone_before, "{line}: {done:?}");
            }
        }
    }
}

/// Whether an appliance says that `count` are up and as many vote as should.
fn stands(appliance: &Appliance, count: usize) -> Option<()> {
    let fleet = said_by(appliance, &["fleet", "status"])?;
    let members = fleet["members"].as_array()?;
    let all = |key: &str| members.iter().filter(|m| m[key] == true).count();
    let voters = if count > 2 { (count - 1) | 1 } else { count };
    let standing = all("up") == count && all("votes") == voters.min(VOTERS_MAX);
    (members.len() == count && standing).then_some(())
}

/// What an appliance answers to a verb; None if it does not answer or refuses now.
#[must_use]
pub fn said_by(appliance: &Appliance, args: &[&str]) -> Option<Value> {
    let reply = appliance.cli(&[&["--json"], args].concat());
    (reply.code == 0).then(|| serde_json::from_str(&reply.stdout).ok()).flatten()
}

fn report(job: &Value) -> TransferReport {
    let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| job[key].as_u64().expect("a number");
    TransferReport {
        id: text("id"),
        phase: text("phase"),
        bytes_done: number("bytes_done"),
        pause: Duration::from_micros(number("pause_micros")),
        ended: job["ended"] == true,
        succeeded: job["succeeded"] == true,
        outcome: text("outcome"),
    }
}

/// A namespace on both bridges.
fn make_place(name: &str, number: usize) -> Place {
    let clients = Ipv4Addr::new(10, 99, 0, last_byte(number));
    let mesh = mesh_v4(number);
    for line in [
        format!("ip netns add {name}"),
        format!("ip link add c.{name} type veth peer name clients netns {name}"),
        format!("ip link add m.{name} type veth peer name mesh netns {name}"),
        format!("ip link set c.{name} master br0 up"),
        format!("ip link set m.{name} master br1 up"),
        format!("ip -n {name} addr add {clients}/24 dev clients"),
        format!("ip -n {name} addr add {mesh}/24 dev mesh"),
        format!("ip -n {name} link set lo up"),
        format!("ip -n {name} link set clients up"),
        format!("ip -n {name} link set mesh up"),
    ] {
        must(&line);
    }
    let mesh = SocketAddr::from((mesh, MESH_PORT));
    Place { namespace: name.to_owned(), clients: clients.into(), mesh }
}

fn mesh_v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, 0, last_byte(number))
}

/// Guests have the addresses from 10 on.
fn last_byte(number: usize) -> u8 {
    101 + u8::try_from(number).expect("there are few appliances")
}

/// More appliances than this do not vote.
const VOTERS_MAX: usize = 5;

const MESH_PORT: u16 = 2050;

/// Sparse, and room enough for a file of 1 GiB and its copies.
const DISK_MIB: u64 = 6144;

/// An election takes half a second; on two busy processors everything takes longer.
const STANDING_MAX: Duration = Duration::from_secs(30);
/// What changed while an appliance was away is sent to it again.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// The largest file that tests move, at a tenth of what one processor can move.
const TRANSFER_MAX: Duration = Duration::from_secs(300);
