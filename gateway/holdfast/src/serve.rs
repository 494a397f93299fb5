//! One appliance's life: lock, log, fleet, volumes, doors; and back in the other order.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use catalog::{FjallSettings, FjallStore, FleetCatalog};
use consensus::{Driver, EngineLog, Fatal, Groups};
use extents::{Ballast, Disk, LinuxDisk, Space};
use metrics_exporter_prometheus::PrometheusHandle;
use model::{ApplianceId, Clock, Entropy};
use nfs_server::Server;
use router::{Components, Machines, Router};
use tokio::signal::unix::{SignalKind, signal};
use volume::{HandleKey, Service};

use crate::adapters::{SystemClock, SystemEntropy, SystemGroups};
use crate::config::Config;
use crate::fleet_operator::FleetOperator;
use crate::root::{Root, VolumeFolders};
use crate::telemetry;

/// Runs an appliance until it is told to stop.
///
/// # Errors
/// A sentence for the operator: why it can't start.
pub fn run(config: &Path) -> Result<ExitCode, String> {
    let config = Config::read(config).map_err(|bad| bad.to_string())?;
    telemetry::start_log(&config.log)?;
    raise_open_files_limit(config.limits.open_files_max);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("holdfast")
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|e| format!("can't start threads: {e}"))?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<ExitCode, String> {
    let metrics = telemetry::start_metrics()?;
    tokio::spawn(telemetry::keep_metrics_small(metrics.clone()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (root, router, appliance) = {
        let (config, clock, entropy) = (config.clone(), clock.clone(), entropy.clone());
        let opened = tokio::task::spawn_blocking(move || open(&config, clock, entropy));
        opened.await.map_err(|e| e.to_string())??
    };
    let served = serve_until_told_to_stop(&config, &router, appliance, clock, metrics).await;
    let clean = router.stop().await;
    let marked = clean && root.set_clean_mark().is_ok();
    tracing::info!(clean = marked, "stopped");
    served?;
    Ok(if marked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the doors, and closes them again when it is time.
async fn serve_until_told_to_stop(
    config: &Config,
    router: &Arc<Router<FjallStore>>,
    appliance: ApplianceId,
    clock: Arc<dyn Clock>,
    metrics: PrometheusHandle,
) -> Result<(), String> {
    make_volumes(router, config).await?;
    let key = HandleKey::from_secret(router.secret());
    let groups = Arc::new(SystemGroups::new(clock.clone()));
    let service = Arc::new(Service::new(router.clone(), key, groups));
    let server = Server::start(config.nfs_settings(), service).await.map_err(|e| e.to_string())?;
    let listen: Vec<String> = server.local_addrs().iter().map(ToString::to_string).collect();
    let operator = Arc::new(FleetOperator {
        router: router.clone(),
        name: config.name.clone(),
        appliance,
        listen: listen.clone(),
        since: clock.since_boot(),
        clock,
        metrics,
        exports: tokio::sync::Mutex::default(),
    });
    admin::serve_unix(&config.admin.socket, operator.clone()).map_err(|e| e.to_string())?;
    if !config.admin.metrics_listen.is_empty() {
        let address = &config.admin.metrics_listen;
        admin::serve_metrics(address, operator)
            .await
            .map_err(|e| format!("admin.metrics_listen: {address}: {e}"))?;
    }
    announce(config, router.fleet().volumes().len(), &listen);
    wait_for_stop().await?;
    tracing::info!("stopping");
    server.shutdown().await;
    // The socket would only mislead: nobody answers on it any more.
    let _ = std::fs::remove_file(&config.admin.socket);
    Ok(())
}

type Opened = (Root, Arc<Router<FjallStore>>, ApplianceId);

/// Opens everything below the doors. Blocks.
fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Opened, String> {
    let root = Root::open(&config.root).map_err(|e| e.to_string())?;
    let appliance = root.identity(entropy.as_ref()).map_err(|e| e.to_string())?;
    let path = root.path().to_owned();
    let in_root = |e: std::io::Error| format!("{}: {e}", path.display());
    let disk: Arc<dyn Disk> = Arc::new(LinuxDisk::new(&path).map_err(in_root)?);
    let space = Arc::new(Space::new(path.clone(), disk.clone(), clock.clone(), Ballast::Kept));
    space.tend().map_err(in_root)?;
    let clean = root.take_clean_mark().map_err(|e| e.to_string())?;
    if !clean {
        tracing::warn!("the last run did not end cleanly: replaying the log");
    }
    let log = Arc::new(EngineLog::open(&root.log_dir()).map_err(|e| e.to_string())?);
    let groups = Groups::new(appliance, log, entropy.clone());
    let store = FjallSettings {
        cache_bytes: FLEET_CACHE_BYTES,
        memtable_bytes_max: FLEET_MEMTABLE_BYTES_MAX,
        ..FjallSettings::in_dir(root.fleet_dir())
    };
    let store = FjallStore::open(store).map_err(|e| e.to_string())?;
    let fleet = FleetCatalog::open(store, appliance).map_err(|e| e.to_string())?;
    let machines = Machines::new(fleet);
    let on_fatal = Box::new(|fatal| end_process(&fatal));
    let log = Driver::spawn(groups, machines.for_driver(), clock.clone(), on_fatal)
        .map_err(|e| format!("can't start threads: {e}"))?;
    let factory = Arc::new(VolumeFolders {
        root: path,
        disk,
        space: space.clone(),
        clock: clock.clone(),
        open_files_max: config.limits.open_files_max,
        meta_cache_bytes: config.limits.meta_cache_bytes,
    });
    let name = config.name.clone();
    let parts = Components { appliance, name, clock, entropy, log, machines, space, factory };
    let router = Router::start(parts, clean).map_err(|e| e.to_string())?;
    Ok((root, router, appliance))
}

/// Makes the volumes that the configuration names and the fleet does not have.
async fn make_volumes(router: &Arc<Router<FjallStore>>, config: &Config) -> Result<(), String> {
    for volume in &config.volumes {
        if router.fleet().volumes().iter().any(|info| info.name == volume.name) {
            continue;
        }
        let (rules, root) = (volume.rules()?, volume.root()?);
        let made = router.create_volume(volume.name.clone(), rules, root).await;
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
/// Disk operations under way at once; BTRFS gains little beyond a few dozen.
const BLOCKING_THREADS_MAX: usize = 64;
const FLEET_CACHE_BYTES: u64 = 4 << 20;
const FLEET_MEMTABLE_BYTES_MAX: u64 = 1 << 20;
