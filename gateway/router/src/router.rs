//! One appliance's router: what it is made of, how it starts and stops.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::{Catalog, CatalogFault, Command, Envelope, Imaging, encode_fleet_command};
use consensus::{GroupView, Handle, OpenFault};
use extents::{Objects, Sink, Space};
use mesh::{Mesh, Peer};
use model::{ApplianceId, Clock, Entropy, GroupId, Refusal, Reign, View, VolumeId, WriteVerifier};
use ownership::lease::Holding;
use ownership::{
    Fleet, FleetAnswer, FleetCommand, FleetRefusal, Labels, Member, Secret, write_verifier,
};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::balancing::{Balancing, Forgotten, RunKeeper, resume_rebalance};
use crate::duplicates::Duplicates;
use crate::floating::Floating;
use crate::following::follow;
use crate::gates::Gates;
use crate::happening::Herald;
use crate::heat::{Forgetful, LedgerKeeper, Uses, follow_heat};
use crate::installing::UnderWay;
use crate::joining::{Certifier, NoCertificates};
use crate::local::{DataCalls, Local, News, Parting, Turns, Witnessed, no_data_calls};
use crate::machines::{Machine, Machines};
use crate::outbox::MeshSlot;
use crate::parked::Parked;
use crate::pulse::{Pulse, PulseEvent, PulseHandle};
use crate::scrubbing::{Scrubbing, Scrubs};
use crate::standing::{Hints, Lease};
use crate::tending::tend_copies;
use crate::transfers::Transfers;
use crate::watching::Watched;

/// What a router is made of.
pub struct Components<S> {
    /// Which appliance this is.
    pub appliance: ApplianceId,
    /// What people call it.
    pub name: String,
    /// Its way to other appliances, and theirs to it.
    pub reach: Reach,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The Raft groups.
    pub log: Handle,
    /// Their state machines.
    pub machines: Arc<Machines<S>>,
    /// The disk's space.
    pub space: Arc<Space>,
    /// Opens and deletes what a volume keeps on disk.
    pub factory: Arc<dyn VolumeFactory<S>>,
    /// How long an appliance may be down before what it held is made elsewhere.
    pub rebuild_after: Duration,
    /// Whoever is told what happens.
    pub herald: Arc<dyn Herald>,
    /// How its files are scrubbed.
    pub scrubs: Scrubs,
}

/// An appliance's way to others, and theirs to it.
#[derive(Clone)]
pub struct Reach {
    /// Where others reach it; none for a lone one.
    pub addresses: Vec<SocketAddr>,
    /// What it says of itself, for placement.
    pub labels: Labels,
    /// The way to others, once there is one.
    pub mesh: Arc<MeshSlot>,
    /// Whom it was told of when it joined: until it has the fleet's state.
    pub introduced: Vec<(ApplianceId, Vec<SocketAddr>)>,
    /// What lets appliances in whose configurations have it as well.
    pub token: Option<mesh::FleetToken>,
    /// Issues certificates of the fleet.
    pub certifier: Arc<dyn Certifier>,
    /// Keeps the ledger of owners over restarts.
    pub ledger: Arc<dyn LedgerKeeper>,
    /// Remembers over restarts that a rebalance is under way.
    pub runs: Arc<dyn RunKeeper>,
}

impl Default for Reach {
    /// Of an appliance that stays alone.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            labels: Labels::default(),
            mesh: Arc::default(),
            introduced: Vec::new(),
            token: None,
            certifier: Arc::new(NoCertificates),
            ledger: Arc::new(Forgetful),
            runs: Arc::new(Forgotten),
        }
    }
}

/// What a volume keeps on disk, opened.
pub struct OpenedVolume<S> {
    /// Its metadata.
    pub store: S,
    /// Its backing files.
    pub objects: Objects,
}

/// Opens and deletes what a volume keeps on disk.
pub trait VolumeFactory<S>: Send + Sync {
    /// Opens a volume's store and backing files; makes them if the volume is new.
    ///
    /// # Errors
    /// [`StartFault`] says what is in the way.
    fn open(&self, volume: VolumeId, sink: Arc<dyn Sink>) -> Result<OpenedVolume<S>, StartFault>;

    /// An empty store beside the volume's own, for an image of another appliance's.
    ///
    /// # Errors
    /// [`StartFault`] says what is in the way.
    fn fresh(&self, volume: VolumeId) -> Result<S, StartFault>;

    /// Puts what [`Self::fresh`] gave in the place of the volume's store, durably. Nobody uses
    /// either.
    ///
    /// # Errors
    /// As the file system says.
    fn swap(&self, volume: VolumeId) -> std::io::Result<()>;

    /// The volumes that something is kept of.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self) -> std::io::Result<Vec<VolumeId>>;

    /// Deletes a volume's store and backing files; nobody uses them any more.
    ///
    /// # Errors
    /// As the file system says.
    fn delete(&self, volume: VolumeId) -> std::io::Result<()>;
}

/// Why an appliance can't start, or can't open a volume. The operator reads it.
#[derive(Debug, Error)]
pub enum StartFault {
    /// The log misses what was acknowledged.
    #[error("{group} can't be opened: {reason}")]
    Group {
        /// "the fleet's group" or a volume.
        group: String,
        /// What the log says.
        reason: OpenFault,
    },
    /// A catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    /// A folder or file can't be used.
    #[error("{path}: {reason}")]
    Path {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The root belongs to another appliance's fleet.
    #[error("this root's fleet does not know appliance {0}: was its identity file replaced?")]
    Foreign(ApplianceId),
    /// The group did not take an entry that a start needs.
    #[error("the log refused an entry that the start needs: {0}")]
    Refused(Refusal),
    /// The fleet did not take one.
    #[error(transparent)]
    Fleet(#[from] FleetRefusal),
}

/// One appliance's router.
pub struct Router<S> {
    /// Itself, for tasks that end with it.
    pub(crate) me: Weak<Self>,
    pub(crate) parts: Components<S>,
    pub(crate) locals: RwLock<HashMap<VolumeId, Arc<Local<S>>>>,
    /// How long this appliance may act.
    pub(crate) lease: Lease,
    /// The view in which this run of the appliance came up; 0 before.
    pub(crate) up_view: AtomicU64,
    /// When it did, in nanoseconds since boot.
    pub(crate) up_at_nanos: AtomicU64,
    /// The view that brought this run up, once all others have said that they know it.
    pub(crate) known_view: AtomicU64,
    /// The newest view that an answer to a beat has told of.
    pub(crate) heard_view: AtomicU64,
    /// Whether beats were answered since a second member was announced.
    pub(crate) accompanied: AtomicBool,
    /// How many appliances are being admitted.
    pub(crate) admitting: AtomicUsize,
    /// Held while volumes are opened or closed as the fleet wants it.
    pub(crate) holding: tokio::sync::Mutex<()>,
    pub(crate) pulse: PulseHandle,
    pub(crate) hints: Hints,
    pub(crate) parked: Parked,
    /// Calls that were sent to another appliance.
    pub(crate) forwards: AtomicU64,
    pub(crate) transfers: Transfers,
    pub(crate) installing: UnderWay,
    pub(crate) uses: Uses,
    pub(crate) floating: Floating,
    pub(crate) balancing: Balancing,
    /// Since when appliances are down, as far as was seen here.
    pub(crate) absences: Mutex<HashMap<ApplianceId, Duration>>,
    pub(crate) watched: Watched,
    pub(crate) scrub: Arc<Scrubbing>,
    fleet_raft: Arc<GroupView>,
    clients: RwLock<Option<Arc<dyn Clients>>>,
}

/// The client connections of this appliance's doors.
pub trait Clients: Send + Sync {
    /// Closes every one of them, unread requests and all.
    fn close_all(&self);

    /// Closes those to an address.
    fn close_at(&self, address: IpAddr);
}

/// How a volume's Raft group stands when the volume is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// To be opened.
    Closed,
    /// Open, and told of the image by whoever installed it.
    Waiting,
}

/// How the last run of an appliance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With everything durable.
    Clean,
    /// Not so: unstable data may be lost.
    Unclean,
}

impl<S: Imaging> Router<S> {
    /// Opens the fleet's group. A fleet of one also opens every volume, in a new view, and serves;
    /// others do so once they have a mesh and [`Self::begin`] was called. Blocks until all that was
    /// ever acknowledged is applied; call it from where that is allowed, inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartFault`]: do not serve.
    pub fn start(parts: Components<S>, how: Start) -> Result<Arc<Self>, StartFault> {
        let applied = group_applied(parts.machines.fleet.applied());
        let alone = applied.membership.is_alone(parts.appliance);
        let opening = match parts.machines.fleet.applied().installed {
            true => parts.log.open_installed(GroupId::FLEET, applied),
            false => parts.log.open_group(GroupId::FLEET, applied),
        };
        opening
            .wait()
            .map_err(|reason| StartFault::Group { group: "the fleet's group".into(), reason })?;
        let fleet_raft = parts.log.watch(GroupId::FLEET);
        let (pulse, beats) = PulseHandle::new();
        let news = parts.machines.news();
        let uses = Uses::new(parts.appliance, parts.reach.ledger.clone());
        let scrub = Arc::new(Scrubbing::new(&parts.scrubs, parts.clock.wall()));
        let router = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            parts,
            locals: RwLock::default(),
            lease: Lease::none(),
            up_view: AtomicU64::new(0),
            up_at_nanos: AtomicU64::new(0),
            known_view: AtomicU64::new(0),
            heard_view: AtomicU64::new(0),
            holding: tokio::sync::Mutex::default(),
            absences: Mutex::default(),
            accompanied: AtomicBool::new(false),
            admitting: AtomicUsize::new(0),
            pulse,
            hints: Hints::default(),
            parked: Parked::default(),
            forwards: AtomicU64::new(0),
            transfers: Transfers::default(),
            installing: UnderWay::default(),
            uses,
            watched: Watched::default(),
            scrub,
            floating: Floating::default(),
            balancing: Balancing::default(),
            fleet_raft,
            clients: RwLock::new(None),
        });
        if alone && router.fleet_now().members().len() <= 1 {
            router.start_alone(how)?;
        }
        tokio::spawn(Pulse::new(&router).run(beats));
        if let Some(news) = news {
            tokio::spawn(follow(Arc::downgrade(&router), news));
        }
        router.pulse.tell(PulseEvent::Fleet);
        router.pulse.tell(PulseEvent::Role);
        tokio::spawn(follow_heat(Arc::downgrade(&router)));
        tokio::spawn(resume_rebalance(Arc::downgrade(&router)));
        router.spawn_housekeeping();
        Ok(router)
    }

    /// A fleet of one: founds itself at its first start, comes up, opens its volumes.
    fn start_alone(self: &Arc<Self>, how: Start) -> Result<(), StartFault> {
        let up = || self.up_command(how);
        let came_up = match enter_fleet_blocking(&self.parts, up()) {
            Err(StartFault::Fleet(FleetRefusal::UnknownAppliance(appliance))) => {
                found(&self.parts, appliance)?;
                enter_fleet_blocking(&self.parts, up())?
            }
            other => other?,
        };
        self.parts
            .machines
            .fleet
            .fleet()
            .secret()
            .ok_or(StartFault::Foreign(self.parts.appliance))?;
        self.came_up(came_up);
        self.lease.set(Holding::ForEver);
        let fleet = self.fleet_now();
        for volume in fleet.volumes().iter().map(|info| info.id) {
            self.open_volume(volume)?;
        }
        Ok(())
    }

    /// Comes up in a fleet of several: registers, waiting for a quorum as long as it takes, and
    /// opens what is to be held here.
    pub async fn begin(self: &Arc<Self>, how: Start) {
        if !self.lease.is_for_ever() {
            self.hold_volumes().await;
            self.register(how).await;
        }
    }

    /// Opens one volume: its catalog with all that was acknowledged, its backing files. A fleet of
    /// one also enters its reign. Blocks.
    pub(crate) fn open_volume(self: &Arc<Self>, volume: VolumeId) -> Result<(), StartFault> {
        self.open_volume_as(volume, Group::Closed, no_data_calls()).map(drop)
    }

    /// Opens a volume whose group is open already and waits for the image that was put in place;
    /// what was answered before is known.
    pub(crate) fn open_installed_volume(
        self: &Arc<Self>,
        volume: VolumeId,
        data_calls: DataCalls,
    ) -> Result<catalog::Applied, StartFault> {
        self.open_volume_as(volume, Group::Waiting, data_calls)
    }

    fn open_volume_as(
        self: &Arc<Self>,
        volume: VolumeId,
        group: Group,
        data_calls: DataCalls,
    ) -> Result<catalog::Applied, StartFault> {
        let fleet = self.fleet_now();
        let (news, faults) = News::new(volume);
        let opened = self.parts.factory.open(volume, news.clone())?;
        let catalog = Arc::new(Catalog::open(opened.store, fleet.founders(volume))?);
        let objects = Arc::new(opened.objects);
        let applied = catalog.applied();
        let machine = Arc::new(Machine {
            catalog: catalog.clone(),
            objects: objects.clone(),
            applied: watch::Sender::new(applied.index),
        });
        self.parts.machines.volumes.write().insert(volume, machine.clone());
        let alone = applied.membership.is_alone(self.parts.appliance);
        if group == Group::Closed {
            let log = &self.parts.log;
            let opening = match applied.installed {
                true => log.open_installed(volume.into(), group_applied(applied.clone())),
                false => log.open_group(volume.into(), group_applied(applied.clone())),
            };
            opening.wait().map_err(|reason| StartFault::Group {
                group: format!("volume {volume}"),
                reason,
            })?;
        }
        let local = Arc::new(Local {
            id: volume,
            appliance: self.parts.appliance,
            catalog,
            objects,
            machine,
            raft: self.parts.log.watch(volume.into()),
            reign: AtomicU64::new(0),
            reigning: tokio::sync::Mutex::default(),
            gates: Gates::default(),
            fans: Default::default(),
            news,
            fan_turns: Turns::default(),
            witnessed: Witnessed::default(),
            setters: Turns::default(),
            parting: Parting::default(),
            name_calls: Duplicates::running_only(),
            data_calls,
            removed: Notify::new(),
        });
        if alone && self.lease.is_for_ever() {
            self.reign_alone(&local)?;
        }
        self.tend_volume(&local, faults);
        if !self.lease.is_for_ever() {
            let (router, local) = (Arc::downgrade(self), Arc::downgrade(&local));
            tokio::spawn(tend_copies(router, local));
        }
        self.locals.write().insert(volume, local);
        self.parts.machines.moved();
        Ok(applied)
    }

    fn reign_alone(&self, local: &Local<S>) -> Result<(), StartFault> {
        let view = self.fleet_now().view();
        let reign = Command::Reign { appliance: self.parts.appliance, view };
        self.enter_blocking(local, reign)?;
        local.reign.store(view.get(), Ordering::Release);
        if local.catalog.objects() == 0 {
            self.enter_blocking(local, self.root_of(local.id))?;
        }
        Ok(())
    }

    /// What makes a new volume's root directory.
    pub(crate) fn root_of(&self, volume: VolumeId) -> Command {
        let table = self.parts.machines.table.read();
        let root = table.iter().find(|info| info.id == volume).map(|info| info.root);
        Command::MakeRoot { root: root.unwrap_or_default(), now: self.parts.clock.wall() }
    }

    fn enter_blocking(&self, local: &Local<S>, command: Command) -> Result<(), StartFault> {
        let (ticket, answer) = self.parts.machines.waiters.for_volume();
        let reign = Reign { view: self.fleet_now().view(), ..Reign::default() };
        let data = Envelope { reign, command }.encode();
        self.parts.log.propose(local.id.into(), ticket, data).map_err(StartFault::Refused)?;
        let answer = answer.blocking_recv().unwrap_or(Err(Refusal::Fault));
        let (answer, _) = answer.map_err(StartFault::Refused)?;
        answer.map(drop).map_err(StartFault::Refused)
    }
}

impl<S: Imaging> Router<S> {
    /// The secret that seals file handles; nothing before the fleet's state is known here.
    pub fn secret(&self) -> Option<[u8; 32]> {
        self.fleet_now().secret().map(|secret| secret.0)
    }

    /// The way to the other appliances; from now on this one answers them, too.
    pub fn attach_mesh(&self, mesh: Arc<dyn Mesh>) {
        self.parts.reach.mesh.set(mesh);
        self.set_peers();
        self.parts.machines.moved();
    }

    /// The doors' connections, to be closed when the lease lapses.
    pub fn attach_clients(&self, clients: Arc<dyn Clients>) {
        *self.clients.write() = Some(clients);
    }

    pub(crate) fn mesh(&self) -> Option<Arc<dyn Mesh>> {
        self.parts.reach.mesh.get()
    }

    /// Tells the mesh whom there is to talk to.
    pub(crate) fn set_peers(&self) {
        let Some(mesh) = self.mesh() else { return };
        let (fleet, me) = (self.fleet_now(), self.parts.appliance);
        let peers = match fleet.member(me) {
            Some(_) => {
                let others = fleet.members().iter().filter(|member| member.id != me);
                let peer =
                    |member: &Member| Peer { id: member.id, addresses: member.addresses.clone() };
                others.map(peer).collect()
            }
            None => {
                let introduced = self.parts.reach.introduced.iter();
                let peer = |(id, addresses): &(ApplianceId, Vec<SocketAddr>)| Peer {
                    id: *id,
                    addresses: addresses.clone(),
                };
                introduced.map(peer).collect()
            }
        };
        mesh.set_peers(peers);
    }

    pub(crate) fn close_clients(&self) {
        if let Some(clients) = &*self.clients.read() {
            clients.close_all();
        }
    }

    pub(crate) fn close_clients_at(&self, address: IpAddr) {
        if let Some(clients) = &*self.clients.read() {
            clients.close_at(address);
        }
    }

    /// The fleet as of now.
    pub fn fleet_now(&self) -> Arc<Fleet> {
        self.parts.machines.fleet_now.read().clone()
    }

    /// The fleet's view as of now.
    pub(crate) fn view_now(&self) -> View {
        self.parts.machines.fleet_now.read().view()
    }

    /// The fleet's group as it stands here.
    pub(crate) fn fleet_raft(&self) -> &GroupView {
        &self.fleet_raft
    }

    /// An open volume.
    ///
    /// # Errors
    /// STALE if there is none of that number.
    pub(crate) fn local(&self, volume: VolumeId) -> Result<Arc<Local<S>>, Refusal> {
        self.locals.read().get(&volume).cloned().ok_or(Refusal::Stale)
    }

    /// The write verifier of a volume, of now.
    pub(crate) fn verifier(&self, volume: VolumeId) -> WriteVerifier {
        let table = self.parts.machines.table.read();
        let loss_count = table.iter().find(|info| info.id == volume).map(|info| info.loss_count);
        write_verifier(volume, loss_count.unwrap_or_default())
    }
}

/// Makes a fleet of one, if this root has none yet.
fn found<S: Imaging>(parts: &Components<S>, appliance: ApplianceId) -> Result<(), StartFault> {
    let mut secret = [0; 32];
    parts.entropy.fill(&mut secret);
    let (name, secret) = (parts.name.clone(), Secret(secret));
    match enter_fleet_blocking(parts, FleetCommand::Found { appliance, name, secret }) {
        Ok(_) => Ok(()),
        Err(StartFault::Fleet(FleetRefusal::Founded)) => Err(StartFault::Foreign(appliance)),
        Err(fault) => Err(fault),
    }
}

fn enter_fleet_blocking<S: Imaging>(
    parts: &Components<S>,
    command: FleetCommand,
) -> Result<FleetAnswer, StartFault> {
    let (ticket, answer) = parts.machines.waiters.for_fleet();
    let data = encode_fleet_command(&command);
    parts.log.propose(GroupId::FLEET, ticket, data).map_err(StartFault::Refused)?;
    let outcome = answer.blocking_recv().unwrap_or(Err(Refusal::Fault));
    let (answer, _) = outcome.map_err(StartFault::Refused)?;
    Ok(answer?)
}

pub(crate) fn group_applied(applied: catalog::Applied) -> consensus::Applied {
    let catalog::Applied { index, term, membership, .. } = applied;
    consensus::Applied { index, term, membership }
}
