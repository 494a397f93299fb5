//! One appliance's router: what it is made of, how it starts and stops.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use catalog::{Answer, Catalog, CatalogFault, Command, Envelope, Store, encode_fleet_command};
use consensus::{Handle, OpenFault};
use extents::{Objects, Sink, Space};
use model::{
    ApplianceId, Clock, Entropy, GroupId, Refusal, Reign, View, VolumeId, VolumeInfo, WriteVerifier,
};
use ownership::{FleetAnswer, FleetCommand, FleetRefusal, Secret, write_verifier};
use parking_lot::RwLock;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use crate::duplicates::Duplicates;
use crate::local::{DataAnswer, Local, News, Setters};
use crate::machines::Machines;

/// What a router is made of.
pub struct Components<S> {
    /// Which appliance this is.
    pub appliance: ApplianceId,
    /// What people call it.
    pub name: String,
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
    pub(crate) parts: Components<S>,
    pub(crate) view: View,
    pub(crate) secret: Secret,
    pub(crate) locals: RwLock<HashMap<VolumeId, Arc<Local<S>>>>,
}

impl<S: Store> Router<S> {
    /// Opens the fleet's group and every volume, in a new view. Blocks until all that was ever
    /// acknowledged is applied; call it from where blocking is allowed, inside a tokio runtime.
    ///
    /// `clean` says whether the last run ended with everything durable.
    ///
    /// # Errors
    /// [`StartFault`]: do not serve.
    pub fn start(parts: Components<S>, clean: bool) -> Result<Arc<Self>, StartFault> {
        let applied = group_applied(parts.machines.fleet.applied());
        let opening = parts.log.open_group(GroupId::FLEET, applied);
        opening
            .wait()
            .map_err(|reason| StartFault::Group { group: "the fleet's group".into(), reason })?;
        let up =
            || FleetCommand::Up { appliance: parts.appliance, name: parts.name.clone(), clean };
        match enter_fleet_blocking(&parts, up()) {
            Err(StartFault::Fleet(FleetRefusal::UnknownAppliance(appliance))) => {
                found(&parts, appliance)?;
                enter_fleet_blocking(&parts, up())?;
            }
            other => {
                other?;
            }
        }
        let fleet = parts.machines.fleet.fleet();
        let secret = fleet.secret().ok_or(StartFault::Foreign(parts.appliance))?;
        let router =
            Arc::new(Self { view: fleet.view(), secret, parts, locals: RwLock::default() });
        for info in fleet.volumes() {
            router.open_volume(info)?;
        }
        router.spawn_housekeeping();
        Ok(router)
    }

    /// The secret that seals file handles.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret.0
    }

    /// Opens one volume: its catalog with all that was acknowledged, this appliance's reign, its
    /// backing files. Blocks.
    pub(crate) fn open_volume(self: &Arc<Self>, info: &VolumeInfo) -> Result<(), StartFault> {
        let (news, faults) = News::new(info.id);
        let opened = self.parts.factory.open(info.id, news.clone())?;
        let catalog = Arc::new(Catalog::open(opened.store, &[self.parts.appliance])?);
        self.parts.machines.volumes.write().insert(info.id, catalog.clone());
        let opening = self.parts.log.open_group(info.id.into(), group_applied(catalog.applied()));
        opening.wait().map_err(|reason| StartFault::Group {
            group: format!("volume {:?}", info.name),
            reason,
        })?;
        let local = Arc::new(Local {
            id: info.id,
            catalog,
            objects: Arc::new(opened.objects),
            view: self.view,
            news,
            setters: Setters::default(),
            name_calls: Duplicates::running_only(),
            data_calls: Duplicates::with_answers(DataAnswer::is_final),
            removed: Notify::new(),
        });
        let reign = Command::Reign { appliance: self.parts.appliance, view: self.view };
        self.enter_blocking(&local, reign)?;
        if local.catalog.objects() == 0 {
            let root = Command::MakeRoot { root: info.root, now: self.parts.clock.wall() };
            self.enter_blocking(&local, root)?;
        }
        self.tend_volume(&local, faults);
        self.locals.write().insert(info.id, local);
        Ok(())
    }

    /// Enters a command into a volume's group and waits until it is applied.
    ///
    /// # Errors
    /// What apply refused it with, or `Busy` and `Fault` of the log.
    pub(crate) async fn enter(&self, local: &Local<S>, command: Command) -> Answer {
        let (ticket, answer) = self.parts.machines.waiters.for_volume();
        self.propose(local, ticket, command)?;
        answer.await.unwrap_or(Err(Refusal::Fault))
    }

    /// Proposes a command that nobody waits for.
    pub(crate) fn enter_unawaited(&self, local: &Local<S>, command: Command) {
        let (ticket, _) = self.parts.machines.waiters.for_volume();
        if let Err(refusal) = self.propose(local, ticket, command) {
            tracing::debug!(volume = %local.id, %refusal, "an unawaited entry was not taken");
        }
    }

    fn enter_blocking(&self, local: &Local<S>, command: Command) -> Result<(), StartFault> {
        let (ticket, answer) = self.parts.machines.waiters.for_volume();
        self.propose(local, ticket, command).map_err(StartFault::Refused)?;
        let answer = answer.blocking_recv().unwrap_or(Err(Refusal::Fault));
        answer.map(drop).map_err(StartFault::Refused)
    }

    fn propose(
        &self,
        local: &Local<S>,
        ticket: consensus::Ticket,
        command: Command,
    ) -> Result<(), Refusal> {
        // A lone appliance never hands over: every record's epoch is the first.
        let reign = Reign { view: local.view, ..Reign::default() };
        let data = Envelope { reign, command }.encode();
        self.parts.log.propose(local.id.into(), ticket, data).inspect_err(|refusal| {
            self.parts.machines.waiters.refuse(ticket, *refusal);
        })
    }

    /// Enters a command into the fleet's group and waits until it is applied.
    ///
    /// # Errors
    /// The outer one is the log's, the inner one the fleet's.
    pub(crate) async fn enter_fleet(
        &self,
        command: FleetCommand,
    ) -> Result<Result<FleetAnswer, FleetRefusal>, Refusal> {
        let (ticket, answer) = self.parts.machines.waiters.for_fleet();
        self.parts.log.propose(GroupId::FLEET, ticket, encode_fleet_command(&command))?;
        answer.await.unwrap_or(Err(Refusal::Fault))
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

    /// Makes everything durable and ends the log. Doors are closed already. `true` if nothing
    /// uncommitted is left: the next start may call itself clean.
    pub async fn stop(&self) -> bool {
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        let mut clean = true;
        for local in &locals {
            if let Err(refusal) = local.objects.settle_all().await {
                tracing::error!(volume = %local.id, ?refusal, "could not make all data durable");
                clean = false;
            }
        }
        let log = self.parts.log.clone();
        let stopped = tokio::task::spawn_blocking(move || log.stop()).await;
        for local in locals {
            let checkpoint = tokio::task::spawn_blocking(move || local.catalog.checkpoint()).await;
            clean &= matches!(checkpoint, Ok(Ok(_)));
        }
        clean && stopped.is_ok()
    }
}

/// Makes a fleet of one, if this root has none yet.
fn found<S: Store>(parts: &Components<S>, appliance: ApplianceId) -> Result<(), StartFault> {
    let mut secret = [0; 32];
    parts.entropy.fill(&mut secret);
    let (name, secret) = (parts.name.clone(), Secret(secret));
    match enter_fleet_blocking(parts, FleetCommand::Found { appliance, name, secret }) {
        Ok(_) => Ok(()),
        Err(StartFault::Fleet(FleetRefusal::Founded)) => Err(StartFault::Foreign(appliance)),
        Err(fault) => Err(fault),
    }
}

fn enter_fleet_blocking<S: Store>(
    parts: &Components<S>,
    command: FleetCommand,
) -> Result<FleetAnswer, StartFault> {
    let (ticket, answer) = parts.machines.waiters.for_fleet();
    let data = encode_fleet_command(&command);
    parts.log.propose(GroupId::FLEET, ticket, data).map_err(StartFault::Refused)?;
    let outcome = answer.blocking_recv().unwrap_or(Err(Refusal::Fault));
    Ok(outcome.map_err(StartFault::Refused)??)
}

fn group_applied(applied: catalog::Applied) -> consensus::Applied {
    let voters = applied.membership.voters;
    consensus::Applied { index: applied.index, term: applied.term, voters }
}

/// Where a volume's faults come.
pub(crate) type Faults = mpsc::UnboundedReceiver<model::ObjectId>;
