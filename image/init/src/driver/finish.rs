//! The end of a machine's run.
//!
//! Invariant: everything that was written is on the disks before the power goes; a disk that can't
//! be unmounted is told. Absent on purpose: who was asked to end before.

use std::path::Path;
use std::time::Duration;

use rustix::mount::MountFlags;
use rustix::system::RebootCommand;

use super::Driver;
use crate::stop::After;
use crate::{clock, mounts, sys};

impl Driver {
    /// Ends all processes, writes everything, and turns the machine off or starts it again.
    pub(super) fn finish(&mut self, after: After) -> ! {
        // A job that still goes on finds its next program refused.
        self.children.close();
        if let Err(fault) = sys::kill_all_others() {
            self.log.error(&format!("not every process could be ended: {fault}"));
        }
        rustix::fs::sync();
        for folder in [&self.places.data, &self.places.esp] {
            if mounts::is_mounted(&self.places.proc, folder) {
                self.unmount(folder);
            }
        }
        rustix::fs::sync();
        let (what, command) = match after {
            After::PowerOff => ("power off", RebootCommand::PowerOff),
            After::Reboot => ("restart", RebootCommand::Restart),
        };
        self.log.progress(&format!("all is written: {what}"));
        self.log.flush(LOG_PATIENCE);
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.close();
        }
        let done = rustix::system::reboot(command);
        // It does not return; a machine that can't be turned off is at least quiet.
        loop {
            if let Err(fault) = done {
                self.log.error(&format!("the machine can't {what}: {fault}; turn it off by hand"));
            }
            clock::pause(Duration::from_secs(60));
        }
    }

    fn unmount(&self, folder: &Path) {
        let mut last = None;
        for _ in 0..UNMOUNT_TRIES {
            self.children.reap();
            match mounts::unmount(folder) {
                Ok(()) => return,
                Err(fault) => last = Some(fault),
            }
            clock::pause(UNMOUNT_PAUSE);
        }
        let why = last.map(|fault| fault.to_string()).unwrap_or_default();
        let shut = mounts::remount(folder, MountFlags::RDONLY);
        let and = if shut.is_ok() { "it is read-only now" } else { "it was synced" };
        let folder = folder.display();
        self.log.error(&format!("{folder} can't be unmounted: {why}; {and}"));
    }
}

const LOG_PATIENCE: Duration = Duration::from_secs(1);
const UNMOUNT_TRIES: u32 = 20;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(250);
