//! What is said: every line goes to all consoles, and to a syslog server if there is one.
//!
//! Invariant: whoever says something never waits. Each hearer has a queue of its own with a limit;
//! of one that does not listen the oldest lines are dropped, and it is told how many.
//!
//! Absent on purpose: what is worth saying.

mod console;
mod queue;
mod syslog;
mod text;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::queue::Queue;
pub use self::text::{LINE_BYTES_MAX, clean, severity_of};
use crate::clock;
use crate::config::SyslogTarget;

/// How bad it is (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A person must look.
    Error,
    /// It goes on, and a person should look.
    Warning,
    /// It goes as it should.
    Info,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which program says it.
    pub program: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// When, since 1970.
    pub at: Duration,
    /// What; without control characters.
    pub text: String,
}

/// Says lines. Copies say to the same hearers.
#[derive(Clone)]
pub struct Log {
    consoles: Arc<[Queue]>,
    syslog: Queue,
    own: Arc<str>,
}

impl Log {
    /// Says to all consoles that the kernel uses, and keeps lines for a syslog server.
    pub fn start(sys: &Path, dev: &Path) -> Self {
        let consoles = console::names(sys).into_iter().map(|name| {
            let queue = Queue::new(LINES_MAX);
            console::start(dev.join(name), queue.clone());
            queue
        });
        let consoles = consoles.collect();
        Self { consoles, syslog: Queue::new(LINES_MAX), own: OWN_NAME.into() }
    }

    /// Says to nobody.
    #[cfg(test)]
    pub fn silent() -> Self {
        let consoles = Arc::new([]);
        Self { consoles, syslog: Queue::new(LINES_MAX), own: OWN_NAME.into() }
    }

    /// It goes as it should.
    pub fn info(&self, text: &str) {
        self.say(&self.own, Severity::Info, text);
    }

    /// It goes on, and a person should look.
    pub fn warning(&self, text: &str) {
        self.say(&self.own, Severity::Warning, text);
    }

    /// A person must look.
    pub fn error(&self, text: &str) {
        self.say(&self.own, Severity::Error, text);
    }

    /// How far the start is, with the time since the kernel's.
    pub fn progress(&self, text: &str) {
        self.info(&format!("{:.1} s: {text}", clock::since_boot().as_secs_f64()));
    }

    /// What `program` says; several lines are told one by one.
    pub fn say(&self, program: &Arc<str>, severity: Severity, text: &str) {
        for part in text.lines().filter(|part| !part.trim().is_empty()) {
            let text = clean(part);
            let line = Line { program: program.clone(), severity, at: clock::wall(), text };
            for console in &*self.consoles {
                console.push(line.clone());
            }
            self.syslog.push(line);
        }
    }

    /// Tells a syslog server everything from the first line on; without one, forgets them.
    pub fn tell_syslog(&self, target: Option<SyslogTarget>, host_name: &str) {
        match target {
            Some(target) => syslog::start(target, host_name.to_owned(), self.syslog.clone()),
            None => self.syslog.close(),
        }
    }

    /// Waits until all was heard, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let until = clock::since_boot() + limit;
        let queues =
            || self.consoles.iter().chain(self.syslog.has_hearer().then_some(&self.syslog));
        while queues().any(|queue| !queue.is_empty()) && clock::since_boot() < until {
            clock::pause(Duration::from_millis(20));
        }
    }
}

/// What this program is called in every log.
pub const OWN_NAME: &str = "holdfast-init";
/// Of each hearer.
const LINES_MAX: usize = 2000;
