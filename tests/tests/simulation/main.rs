//! The pure cores of a whole fleet in one thread: Raft groups, leases, catalogs, ownership,
//! hand-over and copies that follow, with virtual time, a network that loses, delays, doubles and
//! reorders, disks that lose what was not synced, pauses and clocks that run apart. One seed is one
//! run.
//!
//! Invariant: same seed, same run. Faults are drawn so that a fleet could survive them, so whatever
//! a checker finds is a bug; it prints the line that repeats it. Absent on purpose: sockets, files,
//! threads; and the gateway: the glue here decides by the same pure functions as the router.

#![allow(clippy::unwrap_used, reason = "tests panic")]

mod applying;
mod breaking;
mod chance;
mod checks;
mod clients;
mod config;
mod copies;
mod disk;
mod disks;
mod entering;
mod faults;
mod followed;
mod following;
mod genesis;
mod history;
mod incidents;
mod jobs;
mod peers;
mod process;
mod pulse;
mod random;
mod recalling;
mod receiving;
mod rotting;
mod serving;
mod tending;
mod transfers;
mod words;
mod world;
