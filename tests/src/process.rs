//! Starting other programs.
//!
//! Invariant: a program started here dies when the *thread* that started it ends, however that
//! happens. So start long-lived programs on the thread that runs the test, not on a helper.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wait::eventually_within;

/// A running program that is killed when this value is dropped.
#[derive(Debug)]
pub struct Bound {
    child: Child,
    name: String,
}

impl Bound {
    /// Starts `command`; `name` is what messages call it.
    pub fn spawn(command: &mut Command, name: &str) -> Self {
        let child = bind(command).spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { child, name: name.to_owned() }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, if one was asked for and not taken before.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("standard input was piped")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id is positive");
        let pid = Pid::from_raw(id).expect("a process id is positive");
        // A child that has ended but was not waited for still takes signals, so this can't fail.
        rustix::process::kill_process(pid, signal)
            .unwrap_or_else(|e| panic!("signal to {}: {e}", self.name));
    }

    /// Waits for its end; panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually_within(limit, what, || self.ended())
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().unwrap_or_else(|e| panic!("kill {}: {e}", self.name));
            self.child.wait().unwrap_or_else(|e| panic!("wait for {}: {e}", self.name));
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Makes the program that `command` starts die with the calling thread.
fn bind(command: &mut Command) -> &mut Command {
    let die = || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(io::Error::from)
    };
    // SAFETY: the closure runs between fork and exec; it makes one system call and neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(die) }
}

/// Runs a program to its end and gives what it wrote and how it ended.
pub fn outcome_of<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    bind(&mut command).output().unwrap_or_else(|e| panic!("cannot start {program}: {e}"))
}

/// Runs a program to its end and gives its standard output; panics unless it exits 0.
pub fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> String {
    let output = outcome_of(program, args);
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}{}",
        shown.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// [`run`] of one line whose words hold no blanks.
pub fn must(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, args) = words.split_first().expect("a command line has a word");
    run(program, args)
}

/// One figure in KiB from `/proc/PID/status`, such as `VmRSS`; None once the process is gone.
pub(crate) fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(&format!("{key}:")))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The last `lines_max` lines of a file, for messages.
pub(crate) fn tail(path: &std::path::Path, lines_max: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(lines_max);
    lines[skipped..].join("\n")
}
