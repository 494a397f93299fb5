//! The consoles.
//!
//! Invariant: a console that stands still keeps nobody but its own thread. Absent on purpose:
//! lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Line;
use super::queue::{Next, Queue};
use crate::clock;

/// The devices that the kernel writes to, such as `tty0` and `ttyS0`. `/dev/console` would be the
/// last of them alone, and who looks at another sees nothing.
pub fn names(sys: &Path) -> Vec<String> {
    let active = std::fs::read_to_string(sys.join("class/tty/console/active"));
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let active = active.unwrap_or_default();
    let names: Vec<String> =
        active.split_whitespace().filter(plain).take(CONSOLES_MAX).map(str::to_owned).collect();
    if names.is_empty() { vec!["console".to_owned()] } else { names }
}

/// Writes what comes out of `queue` to `device`, for ever.
pub fn start(device: PathBuf, queue: Queue) {
    let hear = move || {
        let mut console = None;
        loop {
            let text = shown(&queue.next());
            tell(&mut console, &device, &text);
        }
    };
    // Without a thread this console stays dark; the others do not.
    _ = thread::Builder::new().name("console".to_owned()).spawn(hear);
}

/// Writes `text`, or forgets it: there may be no such device.
fn tell(console: &mut Option<File>, device: &Path, text: &str) {
    if console.is_none() {
        let no_terminal = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap_or(0);
        *console = OpenOptions::new().write(true).custom_flags(no_terminal).open(device).ok();
    }
    let written = console.as_mut().is_some_and(|file| file.write_all(text.as_bytes()).is_ok());
    if !written {
        *console = None;
        clock::pause(PAUSE_AFTER_FAULT);
    }
}

fn shown(next: &Next) -> String {
    match next {
        Next::Line(Line { program, text, .. }) => format!("{program}: {text}\n"),
        Next::Dropped(count) => {
            format!("{}: {count} lines were dropped here: too many at once\n", super::OWN_NAME)
        }
    }
}

const CONSOLES_MAX: usize = 4;
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Severity;

    #[test]
    fn every_console_of_the_kernel_is_written_to() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(names(sys.path()), ["console"]);
        let folder = sys.path().join("class/tty/console");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("active"), "tty0 ttyS0\n").unwrap();
        assert_eq!(names(sys.path()), ["tty0", "ttyS0"]);
        std::fs::write(folder.join("active"), "../../vda\n").unwrap();
        assert_eq!(names(sys.path()), ["console"]);
    }

    #[test]
    fn a_line_says_who_says_it() {
        let line = Line {
            program: super::super::OWN_NAME.into(),
            severity: Severity::Info,
            at: Duration::ZERO,
            text: "ready after 3.2 s".to_owned(),
        };
        assert_eq!(shown(&Next::Line(line)), "holdfast-init: ready after 3.2 s\n");
        assert!(shown(&Next::Dropped(7)).contains("7 lines were dropped"));
    }
}
