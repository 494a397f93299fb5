//! What comes before everything else: which program this is, and what the kernel must know.
//!
//! Invariant: a step that fails is told, and the next one is taken: a machine that says what it
//! lacks is better than one that is silent. Absent on purpose: everything that takes time.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::system::RebootCommand;

use crate::children::Children;
use crate::driver::{Driver, Event};
use crate::log::Log;
use crate::places::{Places, program};
use crate::stop::After;
use crate::{button, clock, mounts, net, sys};

/// Runs the program that this was started as: the first process, which never returns, or what the
/// DHCP client calls.
pub fn run() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name == Path::new(program::DHCP_EVENT).file_name() {
        return net::dhcp::event(&arguments);
    }
    if std::process::id() != 1 {
        eprintln!("holdfast-init is the first process of the appliance image, and nothing else");
        return ExitCode::FAILURE;
    }
    first_process()
}

fn first_process() -> ! {
    // Before there is another thread: it would not hold them.
    let held = sys::hold_signals();
    std::panic::set_hook(Box::new(|panic| last_words(&panic.to_string())));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let places = Places::of_the_image();
    let mut faults = mounts::early(&places);
    faults.extend(held.err().map(|fault| format!("signals can't be held: {fault}")));
    faults.extend(tell_kernel(&places));
    faults.extend(mounts::variables(&places));
    let log = Log::start(&places.sys, &places.dev);
    let version = version(&places);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    log.progress(&format!("Holdfast image {version}, Linux {release}"));
    faults.iter().for_each(|fault| log.error(fault));
    let children = Children::new(log.clone());
    let (driver, events) = Driver::new(places.clone(), log.clone(), children.clone(), version);
    let told = [
        take_signals(children, events.clone()),
        button::listen(places.dev, move || {
            // The main loop never ends; without it there is nobody to stop.
            _ = events.send(Event::Stop(After::PowerOff, "the power button was pressed"));
        }),
    ];
    for fault in told.into_iter().filter_map(Result::err) {
        log.error(&format!("a thread can't be started: {fault}"));
    }
    driver.run()
}

/// Settings of the kernel and of this process, which its children have as well. Gives back what
/// went wrong.
fn tell_kernel(places: &Places) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |what: &str, done: std::io::Result<()>| {
        if let Err(fault) = done {
            faults.push(format!("{what}: {fault}"));
        }
    };
    // From then on Ctrl-Alt-Del is a SIGINT to this process.
    check("Ctrl-Alt-Del", rustix::system::reboot(RebootCommand::CadOff).map_err(Into::into));
    let modprobe = places.proc.join("sys/kernel/modprobe");
    check("the kernel's modprobe", fs::write(modprobe, program::MODPROBE));
    let files = Rlimit { current: Some(OPEN_FILES_MAX), maximum: Some(OPEN_FILES_MAX) };
    let limited = rustix::process::setrlimit(Resource::Nofile, files);
    check("the limit of open files", limited.map_err(Into::into));
    check("the host name", set_host_name(HOST_NAME));
    faults
}

/// Sets the machine's name.
///
/// # Errors
/// The system's.
pub fn set_host_name(name: &str) -> std::io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// The image's version, in one line.
fn version(places: &Places) -> String {
    let text = fs::read_to_string(places.library.join("version")).unwrap_or_default();
    let line = crate::log::clean(text.lines().next().unwrap_or_default());
    if line.is_empty() { "of unknown version".to_owned() } else { line }
}

/// Takes signals for ever: waits for children that ended, and tells what the others want.
fn take_signals(children: Children, events: Sender<Event>) -> std::io::Result<()> {
    let take = move || {
        loop {
            let event = match sys::next_signal() {
                Ok(Signal::CHILD) => {
                    children.reap();
                    continue;
                }
                Ok(Signal::USR1) => Event::Stop(After::PowerOff, "it was told to (SIGUSR1)"),
                Ok(Signal::USR2) => Event::Stop(After::PowerOff, "it was told to (SIGUSR2)"),
                Ok(Signal::TERM) => Event::Stop(After::Reboot, "it was told to (SIGTERM)"),
                Ok(Signal::INT) => Event::Stop(After::Reboot, "Ctrl-Alt-Del was pressed"),
                Ok(_) => continue,
                Err(_) => {
                    clock::pause(Duration::from_secs(1));
                    continue;
                }
            };
            // The main loop never ends; without it there is nobody to stop.
            _ = events.send(event);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(take).map(|_| ())
}

/// A bug of ours: without its first process the kernel would stop with a riddle. It says what was,
/// keeps what is written, and starts again.
fn last_words(panic: &str) {
    // Neither locks nor threads: whoever panicked may hold them.
    for device in ["/dev/kmsg", "/dev/console"] {
        if let Ok(mut device) = OpenOptions::new().write(true).open(device) {
            // There is nobody left to tell.
            _ = writeln!(device, "holdfast-init: a bug: {panic}; the machine starts again");
        }
    }
    rustix::fs::sync();
    _ = rustix::system::reboot(RebootCommand::Restart);
}

/// For the appliance: its clients and its files, and as many again.
const OPEN_FILES_MAX: u64 = 65_536;
/// Until a configuration names the machine.
pub const HOST_NAME: &str = "holdfast";
