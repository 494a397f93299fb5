//! The programs that this one runs, and the processes that nobody else waits for.
//!
//! Invariant: a process is started, waited for and signalled under one lock, so a signal never goes
//! to a number that a stranger has meanwhile. Every process that ends is waited for, whoever
//! started it.
//!
//! Absent on purpose: which programs are to run, and what follows when one ends.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group};

use crate::clock;
use crate::log::{self, Log};
use crate::places::program;
use crate::sys;

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it finds in its environment, `PATH` and `HOME` apart.
    pub environment: Vec<(String, String)>,
}

impl Task {
    /// `program` with `arguments`.
    pub fn new<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        Self { program: program.to_owned(), arguments, environment: Vec::new() }
    }

    /// The program's name, for people.
    pub fn name(&self) -> &str {
        let file = Path::new(&self.program).file_name().and_then(|name| name.to_str());
        match (file, self.arguments.first()) {
            // Its applets are programs of their own.
            (Some("busybox"), Some(applet)) => applet,
            (Some(file), _) => file,
            (None, _) => &self.program,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    fn of(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Killed(signal.unwrap_or(0)),
        }
    }

    /// Whether it did what it was to do.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a program that ran to its end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// How it ended.
    pub ended: Ended,
    /// Its output; at most [`OUTPUT_BYTES_MAX`].
    pub output: String,
    /// Its complaints; at most as many.
    pub complaints: String,
}

/// Called once, when a process has ended, with the lock held: it only passes the news on.
type Tell = Box<dyn FnOnce(Ended) + Send>;

/// All processes of this machine that are its own.
#[derive(Clone)]
pub struct Children {
    running: Arc<Mutex<Running>>,
    log: Log,
}

#[derive(Default)]
struct Running {
    /// By number: those that were not waited for yet.
    told: BTreeMap<i32, Tell>,
    /// Nothing is started any more.
    closed: bool,
}

impl Children {
    /// None yet.
    pub fn new(log: Log) -> Self {
        Self { running: Arc::default(), log }
    }

    /// Waits for all that have ended by now. For whoever is told that one has.
    pub fn reap(&self) {
        let mut running = self.running.lock();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(tell) = running.told.remove(&pid.as_raw_pid()) {
                tell(Ended::of(status));
            }
        }
    }

    /// Starts a program that is to go on running; its lines go to the log. `tell` is called when it
    /// ends, by another thread.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self, task: &Task, tell: impl FnOnce(Ended) + Send + 'static) -> io::Result<Pid> {
        let name: Arc<str> = task.name().into();
        let (pid, pipes) = self.spawn(task, Box::new(tell))?;
        for pipe in pipes {
            let (log, name) = (self.log.clone(), name.clone());
            let own = format!("{name}: ");
            let read = move || {
                lines(pipe, |line| {
                    // Some say who they are themselves.
                    let line = line.strip_prefix(&own).unwrap_or(line);
                    log.say(&name, log::severity_of(line), line);
                });
            };
            if let Err(fault) = thread::Builder::new().name("lines".to_owned()).spawn(read) {
                // With nobody to read what it says it would stand still.
                self.signal(pid, Signal::KILL, To::Group);
                return Err(fault);
            }
        }
        Ok(pid)
    }

    /// From now on nothing is started.
    pub fn close(&self) {
        self.running.lock().closed = true;
    }

    /// Runs a program to its end, or kills it after `limit`.
    ///
    /// # Errors
    /// A sentence: it can't be started, or did not end in time.
    pub fn run(&self, task: &Task, limit: Duration) -> Result<Said, String> {
        let name = task.name();
        let cant = |fault: io::Error| format!("{name} can't be run: {fault}");
        let (end, ended) = mpsc::channel();
        let tell = move |how| _ = end.send(how);
        let (pid, pipes) = self.spawn(task, Box::new(tell)).map_err(cant)?;
        let (part, parts) = mpsc::channel();
        for (which, pipe) in pipes.into_iter().enumerate() {
            let part = part.clone();
            let read = move || _ = part.send((which, text(pipe)));
            thread::Builder::new().name("output".to_owned()).spawn(read).map_err(cant)?;
        }
        let how = match ended.recv_timeout(limit) {
            Ok(how) => how,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.signal(pid, Signal::KILL, To::Group);
                return Err(format!("{name} did not end within {} s", limit.as_secs()));
            }
        };
        // A process that it left behind may keep the pipes open for ever.
        let until = clock::since_boot() + PIPES_PATIENCE;
        let mut both = [String::new(), String::new()];
        for _ in 0..both.len() {
            let left = until.saturating_sub(clock::since_boot());
            let Ok((which, text)) = parts.recv_timeout(left) else { break };
            if let Some(slot) = both.get_mut(which) {
                *slot = text;
            }
        }
        let [output, complaints] = both;
        Ok(Said { ended: how, output, complaints })
    }

    /// Runs a program that has to succeed.
    ///
    /// # Errors
    /// A sentence: what it said, or that it could not be run.
    pub fn must(&self, task: &Task, limit: Duration) -> Result<String, String> {
        let said = self.run(task, limit)?;
        if said.ended.is_success() {
            return Ok(said.output);
        }
        let why = match (said.complaints.trim(), said.output.trim()) {
            ("", "") => "it said nothing",
            ("", output) => output,
            (complaints, _) => complaints,
        };
        Err(format!("{} failed ({}): {why}", task.name(), said.ended))
    }

    /// Signals a process, or all of its group, if it was not waited for yet.
    pub fn signal(&self, pid: Pid, signal: Signal, to: To) {
        let running = self.running.lock();
        if running.told.contains_key(&pid.as_raw_pid()) {
            // It ended just now, or was started as a leader of its group: nothing else can fail.
            _ = match to {
                To::Process => kill_process(pid, signal),
                To::Group => kill_process_group(pid, signal),
            };
        }
    }

    fn spawn(&self, task: &Task, tell: Tell) -> io::Result<(Pid, [Pipe; 2])> {
        let mut command = Command::new(&task.program);
        command
            .args(&task.arguments)
            .env_clear()
            .env("PATH", program::PATH)
            .env("HOME", "/root")
            .envs(task.environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sys::let_signals_through(&mut command);
        let mut running = self.running.lock();
        if running.closed {
            return Err(io::Error::other("the machine is stopping"));
        }
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        running.told.insert(pid.as_raw_pid(), tell);
        let gone = || io::Error::other("its output has no pipe");
        let output: Pipe = Box::new(child.stdout.take().ok_or_else(gone)?);
        let complaints: Pipe = Box::new(child.stderr.take().ok_or_else(gone)?);
        // `child` goes here without being waited for: `reap` does that.
        Ok((pid, [output, complaints]))
    }
}

/// Who is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The process alone.
    Process,
    /// It, and what it started.
    Group,
}

type Pipe = Box<dyn Read + Send>;

/// All that comes out of a pipe, up to the limit; the rest is read and forgotten.
fn text(mut pipe: Pipe) -> String {
    let mut bytes = Vec::new();
    _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
    _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Gives each line to `tell`; one that is too long comes in parts.
fn lines(mut pipe: impl Read, mut tell: impl FnMut(&str)) {
    let mut waiting: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for part in read.split_inclusive(|byte| *byte == b'\n') {
            waiting.extend_from_slice(part);
            if part.ends_with(b"\n") || waiting.len() > log::LINE_BYTES_MAX {
                tell(&String::from_utf8_lossy(&waiting));
                waiting.clear();
            }
        }
    }
    if !waiting.is_empty() {
        tell(&String::from_utf8_lossy(&waiting));
    }
}

/// Of each pipe of a program that runs to its end.
pub const OUTPUT_BYTES_MAX: u64 = 8 << 20;
const PIPES_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
