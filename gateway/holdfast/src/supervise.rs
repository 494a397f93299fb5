//! Keeps an appliance running: holds its listening sockets, starts it, and starts it again when it
//! dies.
//!
//! Invariant: there is no moment at which nobody listens; an appliance does not outlive whoever
//! holds its sockets. An appliance that refuses to start is not asked for ever. Absent on purpose:
//! what an appliance is.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use model::Clock;
use nfs_server::Held;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::adapters::SystemClock;
use crate::config::Config;
use crate::telemetry;

/// Runs an appliance until it ends well or this process is told to stop.
///
/// # Errors
/// A sentence for the operator: why it can't start.
pub fn run(path: &Path) -> Result<ExitCode, String> {
    let config = Config::read(path).map_err(|bad| bad.to_string())?;
    telemetry::start_log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("can't start: {e}"))?;
    runtime.block_on(async {
        let held = hold(&config).await.map_err(|e| e.to_string())?;
        keep(path, &held).await.map_err(|e| format!("can't supervise: {e}"))
    })
}

/// Binds the sockets. An appliance whose supervisor was just killed may hold them for a moment.
async fn hold(config: &Config) -> std::io::Result<Held> {
    let mut tries = 0;
    loop {
        match Held::bind(&config.nfs_settings()) {
            Err(fault) if fault.kind() == ErrorKind::AddrInUse && tries < BIND_TRIES => {
                tries += 1;
                tokio::time::sleep(BIND_PAUSE).await;
            }
            bound => return bound,
        }
    }
}

async fn keep(config: &Path, held: &Held) -> std::io::Result<ExitCode> {
    let mut told = Told::new()?;
    let clock = SystemClock::default();
    // Asked once: after an upgrade the running program has no path any more, and its path another.
    let program = std::env::current_exe()?;
    let (first, mut stood) = (clock.since_boot(), false);
    let mut pause = PAUSE_MIN;
    loop {
        let began = clock.since_boot();
        let status = match start(&program, config, held) {
            Ok(child) => {
                let (status, stopping) = told.until_it_ends(child).await?;
                let ran = clock.since_boot().saturating_sub(began);
                stood |= ran >= STEADY;
                // It says why it does not start, and will say so however often it is asked.
                let refuses = !stood && status.code().is_some();
                let patient = began.saturating_sub(first) < REFUSALS_MAX;
                if status.success() || stopping || refuses && !patient {
                    let code = status.code().and_then(|code| u8::try_from(code).ok());
                    return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
                }
                status.to_string()
            }
            Err(fault) => fault.to_string(),
        };
        let ran = clock.since_boot().saturating_sub(began);
        pause = if ran >= STEADY { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        tracing::error!(%status, ?ran, ?pause, "the appliance ended: it is started again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told.stop_wanted() => return Ok(ExitCode::FAILURE),
        }
    }
}

fn start(program: &Path, config: &Path, held: &Held) -> std::io::Result<Child> {
    let mut numbers = Vec::new();
    for descriptor in held.descriptors() {
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        numbers.push(descriptor.as_raw_fd().to_string());
    }
    Command::new(program)
        .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
        .env(HELD, numbers.join(","))
        .env(SUPERVISOR, std::process::id().to_string())
        .spawn()
}

/// What the system says to a supervisor.
struct Told {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    child: tokio::signal::unix::Signal,
}

impl Told {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            child: signal(SignalKind::child())?,
        })
    }

    async fn stop_wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// How it ended, and whether because it was told to.
    async fn until_it_ends(&mut self, mut child: Child) -> std::io::Result<(ExitStatus, bool)> {
        let mut stopping = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((status, stopping));
            }
            tokio::select! {
                _ = self.child.recv() => {}
                _ = self.terminate.recv() => stopping = stop(&child),
                // A terminal's Ctrl-C reaches both; twice is as good as once.
                _ = self.interrupt.recv() => stopping = stop(&child),
            }
        }
    }
}

/// Tells it to stop. It is this process's child and was not waited for: the number is its own.
fn stop(child: &Child) -> bool {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(fault) = kill_process(pid, Signal::TERM)
    {
        tracing::warn!(%fault, "the appliance can't be told to stop");
    }
    true
}

/// The sockets that a supervisor holds for this process; none if it has no supervisor. From here
/// on it ends with its supervisor.
///
/// # Errors
/// The environment names a supervisor or sockets that are not there.
pub fn held_for_us() -> Result<Held, String> {
    let (Ok(supervisor), Ok(held)) = (std::env::var(SUPERVISOR), std::env::var(HELD)) else {
        return Ok(Held::default());
    };
    let wrong = |what: &str| format!("{what}: start `holdfast supervise`, or unset {SUPERVISOR}");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| e.to_string())?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent != Some(supervisor) {
        return Err(wrong("the supervisor is gone"));
    }
    let mut descriptors = Vec::new();
    for number in held.split(',').filter(|number| !number.is_empty()) {
        let number: RawFd = number.parse().map_err(|_| wrong("a socket has no number"))?;
        if number < FIRST_HELD {
            return Err(wrong("a socket has the number of a standard stream"));
        }
        // SAFETY: nothing in this process closes descriptors that it did not open itself, so this
        // one, if it is open at all, stays so. If it is not, doubling it fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let doubled = descriptor.try_clone_to_owned();
        descriptors.push(doubled.map_err(|e| wrong(&format!("socket {number}: {e}")))?);
    }
    Ok(Held::from_descriptors(descriptors))
}

/// An appliance that never stood may be refused for so long, by what one before it still holds.
const REFUSALS_MAX: Duration = Duration::from_secs(5);
const BIND_TRIES: u32 = 20;
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// The environment of a supervised appliance: its sockets' numbers, with commas.
const HELD: &str = "HOLDFAST_HELD_SOCKETS";
/// And who holds them.
const SUPERVISOR: &str = "HOLDFAST_SUPERVISOR";
/// After the standard streams.
const FIRST_HELD: RawFd = 3;
/// Before an appliance that died is started again; doubled each time that it dies soon.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// An appliance that ran for so long had started well.
const STEADY: Duration = Duration::from_secs(2);
