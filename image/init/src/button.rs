//! The power button.
//!
//! Invariant: devices that come later are listened to as well. Absent on purpose: every other key.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;

/// Calls `pressed` each time that a power button is pressed on a device below `dev`.
///
/// # Errors
/// There is no thread to be had.
pub fn listen(dev: PathBuf, mut pressed: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let listen = move || {
        let mut devices: Vec<(PathBuf, File)> = Vec::new();
        loop {
            rescan(&dev.join("input"), &mut devices);
            let moment = Timespec { tv_sec: 2, tv_nsec: 0 };
            let mut waiting: Vec<PollFd<'_>> =
                devices.iter().map(|(_, file)| PollFd::new(file, PollFlags::IN)).collect();
            if poll(&mut waiting, Some(&moment)).is_err() {
                clock::pause(Duration::from_secs(1));
            }
            devices.retain_mut(|(_, file)| read(file, &mut pressed));
        }
    };
    thread::Builder::new().name("button".to_owned()).spawn(listen).map(|_| ())
}

/// Opens what is new.
fn rescan(folder: &Path, devices: &mut Vec<(PathBuf, File)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_event = entry.file_name().to_str().is_some_and(|name| name.starts_with("event"));
        let known = devices.iter().any(|(known, _)| *known == path);
        if !is_event || known || devices.len() >= DEVICES_MAX {
            continue;
        }
        let at_once = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        if let Ok(file) = OpenOptions::new().read(true).custom_flags(at_once).open(&path) {
            devices.push((path, file));
        }
    }
}

/// Reads what a device has to say. Gives back whether it is still there.
fn read(device: &mut File, pressed: &mut impl FnMut()) -> bool {
    let mut events = [0; EVENT_BYTES * 16];
    loop {
        let count = match device.read(&mut events) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(fault) => {
                return matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        };
        let (events, _) = events.get(..count).unwrap_or_default().as_chunks::<EVENT_BYTES>();
        events.iter().filter(|event| is_press(event)).for_each(|_| pressed());
    }
}

/// Whether this event of evdev is the press of a power button: a time, then type, code and value.
fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let Some((_, [t0, t1, c0, c1, v0, v1, v2, v3])) = event.split_last_chunk::<8>() else {
        return false;
    };
    u16::from_ne_bytes([*t0, *t1]) == EV_KEY
        && u16::from_ne_bytes([*c0, *c1]) == KEY_POWER
        && i32::from_ne_bytes([*v0, *v1, *v2, *v3]) == PRESSED
}

/// Linux, input.h and input-event-codes.h.
const EVENT_BYTES: usize = size_of::<libc::input_event>();
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;
const DEVICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![7; EVENT_BYTES - 8];
        event.extend(kind.to_ne_bytes());
        event.extend(code.to_ne_bytes());
        event.extend(value.to_ne_bytes());
        event
    }

    #[test]
    fn only_the_press_of_the_power_button_counts() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("event0", [event(1, 116, 1), event(1, 116, 0), event(1, 116, 2)].concat()),
            ("event1", [event(1, 30, 1), event(0, 116, 1), vec![0; 5]].concat()),
            ("mouse0", event(1, 116, 1)),
        ] {
            File::create(folder.path().join(name)).unwrap().write_all(&bytes).unwrap();
        }
        let mut devices = Vec::new();
        rescan(folder.path(), &mut devices);
        rescan(folder.path(), &mut devices);
        assert_eq!(devices.len(), 2);
        let mut presses = 0;
        for (_, device) in &mut devices {
            assert!(!read(device, &mut || presses += 1), "a file ends; a device does not");
        }
        assert_eq!(presses, 1);
    }
}
