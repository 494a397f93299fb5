//! What neither `std` nor rustix offers safely: signals that wait to be asked for.
//!
//! Invariant: all `unsafe` of this crate is here. Absent on purpose: what a signal means.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

/// The signals that this process asks for instead of being interrupted by them.
const AWAITED: [Signal; 6] =
    [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2];

/// Makes the awaited signals wait until [`next_signal`] takes them, for this thread and those that
/// it starts. Programs would inherit that: see [`let_signals_through`].
///
/// # Errors
/// The system's.
pub fn hold_signals() -> io::Result<()> {
    let awaited = awaited();
    // SAFETY: `awaited` is a set that was made; the old one is not asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &awaited, std::ptr::null_mut()) };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

/// Makes a program that is yet to be started get all signals as usual.
pub fn let_signals_through(command: &mut Command) {
    // SAFETY: between fork and exec only what may be called in a signal handler may be called;
    // `sigemptyset` and `pthread_sigmask` may (signal-safety(7)), and nothing else is.
    unsafe {
        command.pre_exec(|| {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) {
                0 => Ok(()),
                failed => Err(io::Error::from_raw_os_error(failed)),
            }
        });
    }
}

/// Waits for one of the awaited signals.
///
/// # Errors
/// The system's.
pub fn next_signal() -> io::Result<Signal> {
    let awaited = awaited();
    let mut number = 0;
    // SAFETY: `awaited` is a set that was made; `number` is there to be written.
    let failed = unsafe { libc::sigwait(&awaited, &mut number) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let taken = AWAITED.into_iter().find(|signal| signal.as_raw() == number);
    taken.ok_or_else(|| io::Error::other(format!("signal {number} was not awaited")))
}

/// Ends every process but this one, at once. Only the first process of a machine may.
///
/// # Errors
/// The system's; that there was none is no error.
pub fn kill_all_others() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::other("this is not the first process"));
    }
    // SAFETY: -1 is every process that may be signalled, but for the first one and this one.
    let failed = unsafe { libc::kill(-1, libc::SIGKILL) } != 0;
    let fault = io::Error::last_os_error();
    match failed && fault.raw_os_error() != Some(libc::ESRCH) {
        true => Err(fault),
        false => Ok(()),
    }
}

fn awaited() -> libc::sigset_t {
    // SAFETY: all zeros is a value of this plain struct; `sigemptyset` then makes it a set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is there to be written, and the numbers are those of signals.
    unsafe {
        libc::sigemptyset(&mut set);
        for signal in AWAITED {
            libc::sigaddset(&mut set, signal.as_raw());
        }
    }
    set
}
