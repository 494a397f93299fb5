//! Leases: how long an appliance may act unheard (Gray and Cheriton, "Leases", SOSP 1989).
//!
//! [`LeaseHolder`] runs on every appliance and beats; [`LeaseKeeper`] runs beside the leader of the
//! fleet's group, answers beats after a quorum's read round, and calls down who is silent for
//! longer than its lease can run. Both are `step(now, event) -> effects`; `now` is
//! `CLOCK_BOOTTIME` of the appliance they run on, and clocks are compared by their rate alone.
//!
//! Invariant: when a Down entry is applied anywhere, the lease of the run it names has ended. It
//! rests on four promises of the driver:
//!
//! - An answered read round means: since the round began a majority of the voters said that we
//!   lead, and all that was committed before is applied and was told to the keeper.
//! - A voter gives nobody its vote for [`ELECTION_MIN`] after it last heard of a leader, **nor
//!   after its own start**: a started voter forgot whom it heard of, so it must wait as well.
//! - Leadership of the fleet's group is not transferred while a lease granted under it can run.
//! - A beat carries the run whose `UpAt` entry has been applied where the beat comes from.
//!
//! Absent on purpose: sockets, Raft, entries; leases are never entries.

use std::time::Duration;

use model::{ApplianceId, Incarnation, View};
use serde::{Deserialize, Serialize};

mod holder;
mod keeper;

pub use holder::{HolderEffect, HolderEvent, Holding, LeaseHolder};
pub use keeper::{KeeperEffect, KeeperEvent, LeaseKeeper, Round};

/// What an appliance sends to say that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub appliance: ApplianceId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Its number in this run; counts up.
    pub number: u64,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// To which run.
    pub incarnation: Incarnation,
    /// To which beat.
    pub number: u64,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided about a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A lease, from the moment the beat was sent.
    Granted {
        /// The view at that moment, or a newer one.
        view: View,
    },
    /// This run was called down: start a new one.
    CalledDown {
        /// The view that says so, or a newer one.
        view: View,
    },
    /// Not ours to answer: ask that one, or any voter if none is known.
    AskLeader(Option<ApplianceId>),
}

/// How often an appliance beats: ten beats a lease, so that a few may be lost.
pub const BEAT: Duration = Duration::from_millis(150);
/// How long an appliance may act after it sent a beat that was answered: long enough
/// for an election and the beats after it, short enough to wait for.
pub const LEASE: Duration = Duration::from_millis(1500);
/// For so long after it heard of a leader a voter votes for nobody.
pub const ELECTION_MIN: Duration = Duration::from_millis(400);
/// By then a voter that hears of no leader stands for election.
pub const ELECTION_MAX: Duration = Duration::from_millis(600);
/// How much faster one appliance's clock may run than another's, in thousandths. NTP slews by half
/// a thousandth; a crystal without it is off by a tenth of one.
pub const DRIFT_PER_MILLE: u32 = 10;
/// For what no rate tells: a tick of an election timer that came early, the grain of clocks.
pub const DRIFT_MARGIN: Duration = Duration::from_millis(85);
/// What is added to a time of at most a lease on another appliance's clock.
pub const DRIFT: Duration =
    Duration::from_millis(LEASE.as_millis() as u64 * DRIFT_PER_MILLE as u64 / 1000)
        .saturating_add(DRIFT_MARGIN);
/// A run that was silent for so long is called down.
pub const SILENCE_MAX: Duration = LEASE.saturating_add(DRIFT);
/// For so long a new leader calls nobody down: the leader before it may have answered a beat just
/// before the least election timeout began to run.
pub const NEW_LEADER_WAIT: Duration = SILENCE_MAX.saturating_sub(ELECTION_MIN);
/// How often both want a tick at least: a lapse is told, and a silence noticed, so much late.
pub const TICK: Duration = Duration::from_millis(50);

const _: () = assert!(LEASE.as_millis() >= 8 * BEAT.as_millis(), "some beats may be lost");
const _: () = assert!(ELECTION_MIN.as_millis() < ELECTION_MAX.as_millis());
const _: () = assert!(
    2 * ELECTION_MAX.as_millis() + 2 * BEAT.as_millis() <= LEASE.as_millis(),
    "an election, split once, and the beats after it must not outlast a lease"
);
const _: () = assert!(DRIFT_MARGIN.as_millis() > TICK.as_millis(), "a tick may come early");
const _: () = assert!(TICK.as_millis() < BEAT.as_millis());
const _: () = assert!(NEW_LEADER_WAIT.as_millis() > ELECTION_MAX.as_millis());

#[cfg(test)]
mod tests;
