//! One appliance's life: lock, log, fleet, volumes, doors; and back in the other order.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use catalog::{FjallSettings, FjallStore, FleetCatalog};
use consensus::{Driver, Durability, EngineLog, Fatal, Groups, LogBatch, LogStore};
use extents::{Ballast, Disk, LinuxDisk, Space};
use metrics_exporter_prometheus::PrometheusHandle;
use model::{ApplianceId, Clock, Entropy, GroupId};
use nfs_server::{Held, Server};
use notices::{ApplianceName, Notifier, Running, Targets};
use ownership::Labels;
use router::{
    Admission, Components, Herald, Machines, MeshOutbox, MeshSlot, Reach, Router, Scrubs, Start,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use volume::{HandleKey, Service};

use crate::adapters::{MeshCertifier, SystemClock, SystemEntropy, SystemGroups};
use crate::config::Config;
use crate::fleet::{self, Together};
use crate::fleet_operator::FleetOperator;
use crate::floating::Holder;
use crate::happenings::Teller;
use crate::image::Image;
use crate::ledger::LedgerFile;
use crate::remote_admin::RemoteAdmin;
use crate::root::{Root, VolumeFolders};
use crate::runs::RunFile;
use crate::scrub_file::ScrubState;
use crate::{supervise, telemetry};

/// Runs an appliance until it is told to stop.
///
/// # Errors
/// A sentence for the operator: why it can't start.
pub fn run(config: &Path) -> Result<ExitCode, String> {
    let config = Config::read(config).map_err(|bad| bad.to_string())?;
    telemetry::start_log(&config.log)?;
    let held = supervise::held_for_us()?;
    raise_open_files_limit(config.limits.open_files_max);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("holdfast")
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|e| format!("can't start threads: {e}"))?;
    runtime.block_on(serve(config, held))
}

/// Why an appliance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Somebody told it to stop.
    Stopped,
    /// It joined a fleet and is to start anew as one of it.
    Joined,
}

async fn serve(config: Config, held: Held) -> Result<ExitCode, String> {
    let metrics = telemetry::start_metrics()?;
    tokio::spawn(telemetry::keep_metrics_small(metrics.clone()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (notifier, notifying) = start_notices(&config)?;
    let opened = {
        let (config, clock, entropy) = (config.clone(), clock.clone(), entropy.clone());
        let herald = Arc::new(Teller::new(notifier.clone(), &config.name));
        let opened = tokio::task::spawn_blocking(move || open(&config, clock, entropy, herald));
        Arc::new(opened.await.map_err(|e| e.to_string())??)
    };
    let telling = (metrics, notifier);
    let served = serve_until_told_to_stop((&config, &held), &opened, clock, entropy, telling).await;
    let how = opened.router.stop().await;
    let marked = how == Start::Clean && opened.root.set_clean_mark().is_ok();
    notifying.stop(NOTICES_STOP_WAIT).await;
    tracing::info!(clean = marked, "stopped");
    match served? {
        Ended::Joined => Err(start_anew()),
        Ended::Stopped if marked => Ok(ExitCode::SUCCESS),
        Ended::Stopped => Ok(ExitCode::FAILURE),
    }
}

/// Starts to send what is told to whoever the configuration names.
fn start_notices(config: &Config) -> Result<(Notifier, Running), String> {
    let targets = Targets::open(&config.notify).map_err(|bad| bad.to_string())?;
    let name = ApplianceName::new(&config.name);
    Ok(Notifier::start(targets, name, config.notify.pace()))
}

/// Starts this program anew in the same process; comes back only with the reason why not.
fn start_anew() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(fault) => return format!("start the appliance again: {fault}"),
    };
    tracing::info!("starting anew as one of the fleet");
    let fault = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    format!("start the appliance again: {fault}")
}

/// Opens the doors, and closes them again when it is time.
async fn serve_until_told_to_stop(
    (config, held): (&Config, &Held),
    opened: &Arc<Opened>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    (metrics, notifier): (PrometheusHandle, Notifier),
) -> Result<Ended, String> {
    let router = &opened.router;
    let (ended, mut told) = mpsc::channel(1);
    let remote = RemoteAdmin::open(config, opened.root.path(), entropy.as_ref())?;
    let operator = Arc::new(FleetOperator {
        router: router.clone(),
        opened: opened.clone(),
        config: config.clone(),
        appliance: opened.appliance,
        since: clock.since_boot(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        metrics,
        notifier,
        exports: tokio::sync::Mutex::default(),
        token: remote.token.clone(),
        remote: remote.view(),
        image: Image::new(&config.image)?,
        joined: ended,
    });
    admin::serve_unix(&config.admin.socket, operator.clone()).map_err(|e| e.to_string())?;
    remote.serve(operator.clone()).await?;
    if !config.admin.metrics_listen.is_empty() {
        let address = &config.admin.metrics_listen;
        admin::serve_metrics(address, operator)
            .await
            .map_err(|e| format!("admin.metrics_listen: {address}: {e}"))?;
    }
    let mesh_clock = clock.clone();
    tokio::spawn(fleet::keep_mesh(config.mesh.listen, opened.clone(), mesh_clock, entropy));
    let stop = wait_for_stop();
    tokio::pin!(stop);
    let served = async {
        router.begin(opened.how).await;
        if fleet::find_together(opened, config, clock.clone()).await? == Together::Admitted {
            return Ok(None);
        }
        make_volumes(router, config).await?;
        let secret = fleet::secret(router).await;
        let groups = Arc::new(SystemGroups::new(clock.clone()));
        let key = HandleKey::from_secret(&secret);
        let service = Arc::new(Service::new(router.clone(), key, groups));
        let server = Server::start_on(held, config.nfs_settings(), service).await;
        server.map(Some).map_err(|e| e.to_string())
    };
    let server = tokio::select! {
        server = served => match server? {
            Some(server) => server,
            None => return Ok(Ended::Joined),
        },
        stopped = &mut stop => return stopped.map(|()| Ended::Stopped),
        _ = told.recv() => return Ok(Ended::Joined),
    };
    router.attach_clients(Arc::new(fleet::NfsClients(server.closer())));
    let listen: Vec<String> = server.local_addrs().iter().map(ToString::to_string).collect();
    let floating = Holder::start(config, router, &clock)?;
    announce(config, router.fleet_now().volumes().len(), &listen);
    let ended = tokio::select! {
        stopped = &mut stop => stopped.map(|()| Ended::Stopped),
        _ = told.recv() => Ok(Ended::Joined),
    };
    tracing::info!("stopping");
    // Before the connections end: clients are to hear of it from the next holder.
    floating.stop(router).await;
    server.shutdown().await;
    tracing::info!("the doors are closed");
    // The socket would only mislead: nobody answers on it any more.
    let _ = std::fs::remove_file(&config.admin.socket);
    ended
}

/// What is below the doors.
pub struct Opened {
    /// The root folder.
    pub root: Root,
    /// The router over it.
    pub router: Arc<Router<FjallStore>>,
    /// Which appliance this is.
    pub appliance: ApplianceId,
    /// The fleet that it joined, if it did not found its own.
    pub joined: Option<Admission>,
    /// How its last run ended.
    pub how: Start,
}

/// Opens everything below the doors. Blocks.
fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    herald: Arc<dyn Herald>,
) -> Result<Opened, String> {
    let root = Root::open(&config.root).map_err(|e| e.to_string())?;
    let appliance = root.identity(entropy.as_ref()).map_err(|e| e.to_string())?;
    let path = root.path().to_owned();
    let in_root = |e: std::io::Error| format!("{}: {e}", path.display());
    let disk: Arc<dyn Disk> = Arc::new(LinuxDisk::new(&path).map_err(in_root)?);
    let space = Arc::new(Space::new(path.clone(), disk.clone(), clock.clone(), Ballast::Kept));
    space.tend().map_err(in_root)?;
    let how = match root.take_clean_mark().map_err(|e| e.to_string())? {
        true => Start::Clean,
        false => Start::Unclean,
    };
    if how == Start::Unclean {
        tracing::warn!("the last run did not end cleanly: replaying the log");
    }
    let log = Arc::new(EngineLog::open(&root.log_dir()).map_err(|e| e.to_string())?);
    let forget = || {
        let mut batch = LogBatch::default();
        batch.remove(GroupId::FLEET);
        log.write(&batch, Durability::Synced).map_err(|e| e.to_string())
    };
    let joined = root.joined(forget).map_err(|e| e.to_string())?;
    let store = FjallSettings {
        cache_bytes: FLEET_CACHE_BYTES,
        memtable_bytes_max: FLEET_MEMTABLE_BYTES_MAX,
        ..FjallSettings::in_dir(root.fleet_dir())
    };
    let store = FjallStore::open(store).map_err(|e| e.to_string())?;
    let founder = joined.as_ref().map_or(appliance, |admission| admission.founder);
    let fleet = FleetCatalog::open(store, founder).map_err(|e| e.to_string())?;
    let machines = Machines::new(fleet);
    let mesh = Arc::new(MeshSlot::default());
    let drive = || {
        let groups = Groups::new(appliance, log.clone(), entropy.clone());
        let outbox = Box::new(MeshOutbox(mesh.clone()));
        let on_fatal = Box::new(|fatal| end_process(&fatal));
        Driver::spawn(groups, machines.for_driver(), outbox, clock.clone(), on_fatal)
            .map_err(|e| format!("can't start threads: {e}"))
    };
    let handle = drive()?.beside(drive()?);
    let factory = Arc::new(VolumeFolders {
        root: path,
        disk,
        space: space.clone(),
        clock: clock.clone(),
        open_files_max: config.limits.open_files_max,
        meta_cache_bytes: config.limits.meta_cache_bytes,
    });
    let certifier = MeshCertifier { clock: clock.clone(), entropy: entropy.clone() };
    let reach = Reach {
        // A lone appliance needs none; who is asked to found or join a fleet is told what to set.
        addresses: config.mesh.addresses().unwrap_or_default(),
        labels: Labels(config.labels.clone()),
        mesh,
        introduced: joined.as_ref().map(|j| j.peers.clone()).unwrap_or_default(),
        token: config.fleet.token()?,
        certifier: Arc::new(certifier),
        ledger: Arc::new(LedgerFile::new(root.ledger())),
        runs: Arc::new(RunFile::new(root.rebalance())),
    };
    let name = config.name.clone();
    let rebuild_after = Duration::from_secs(config.copies.rebuild_after_s);
    let keeper = Arc::new(ScrubState::new(root.scrub()));
    let scrubs = Scrubs { settings: config.scrub.settings(), keeper };
    let parts = Components {
        appliance,
        name,
        reach,
        clock,
        entropy,
        log: handle,
        machines,
        space,
        factory,
        rebuild_after,
        herald,
        scrubs,
    };
    let router = Router::start(parts, how).map_err(|e| e.to_string())?;
    Ok(Opened { root, router, appliance, joined, how })
}

/// Makes the volumes that the configuration names and the fleet does not have.
async fn make_volumes(router: &Arc<Router<FjallStore>>, config: &Config) -> Result<(), String> {
    for volume in &config.volumes {
        if router.fleet_now().volumes().iter().any(|info| info.name == volume.name) {
            continue;
        }
        let (rules, root) = (volume.rules()?, volume.root()?);
        let made = router.create_volume(volume.name.clone(), rules, root, &[]).await;
        made.map_err(|e| format!("volume {:?}: {e}", volume.name))?;
        tracing::info!(volume = volume.name, "made a volume");
    }
    Ok(())
}

/// One line on standard output for whoever started us.
fn announce(config: &Config, volumes: usize, listen: &[String]) {
    let mut out = std::io::stdout().lock();
    // If nobody reads it any more, nobody misses it.
    let _ =
        writeln!(out, "ready: {} serves {volumes} volumes on {}", config.name, listen.join(", "));
    let _ = out.flush();
}

async fn wait_for_stop() -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The log or a state machine failed: nothing may be acknowledged any more, so nobody is left who
/// could. What was acknowledged is in the log.
fn end_process(fatal: &Fatal) {
    let mut reasons = vec![fatal.to_string()];
    let mut source = std::error::Error::source(fatal);
    while let Some(reason) = source {
        reasons.push(reason.to_string());
        source = reason.source();
    }
    tracing::error!(fault = reasons.join(": "), "the appliance ends at once");
    std::process::abort();
}

/// Backing files, connections, tables and log files together.
fn raise_open_files_limit(open_files_max: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = (open_files_max as u64).saturating_mul(2).saturating_add(OPEN_FILES_BESIDE);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
        let raised = Rlimit { current: Some(wanted), maximum: Some(maximum) };
        if let Err(errno) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%errno, wanted, "can't raise the limit of open files");
        }
    }
}

/// Connections and everything else that is not a backing file.
const OPEN_FILES_BESIDE: u64 = 8192;
/// What waits for a target is tried once more at the end, and nobody waits long for a dead one.
const NOTICES_STOP_WAIT: Duration = Duration::from_secs(3);
/// Disk operations under way at once; BTRFS gains little beyond a few dozen.
const BLOCKING_THREADS_MAX: usize = 64;
const FLEET_CACHE_BYTES: u64 = 4 << 20;
const FLEET_MEMTABLE_BYTES_MAX: u64 = 1 << 20;
