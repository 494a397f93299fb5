//! The first process ("init") of the appliance image: from a bare kernel to a running Holdfast, and
//! back.
//!
//! The image is a kernel and this file system in memory; nothing of it is on the data disk. This
//! program mounts what the kernel offers, loads modules, finds the configuration, sets the network
//! up, finds or makes the data disk, starts the clock, the log-in and the appliance, and keeps them
//! running. It judges an image that was booted for the first time, and stops the machine cleanly.
//!
//! Invariant: decisions are pure functions and step machines, which take what was seen and give
//! back what to do; adapters beside them do it. No bytes from a disk, the network or a
//! configuration make this process end. A disk with anything on it that is not Holdfast's own is
//! not written to.
//!
//! Absent on purpose: a shell, a package manager, and whatever an appliance does: that is
//! `holdfast`'s. Only [`slots`] is for other programs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod block;
mod boot;
mod button;
mod children;
mod clock;
mod config;
mod disk;
mod door;
mod driver;
mod esp;
mod files;
mod find;
mod health;
mod keeper;
mod log;
mod memory;
mod modules;
mod mounts;
mod net;
mod places;
mod probe;
mod screen;
mod services;
pub mod slots;
mod start;
mod status;
mod stop;
mod sys;
mod trouble;
mod utc;
mod watchdog;

pub use self::start::run;
