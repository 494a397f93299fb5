//! What becomes of a request about one object at one appliance.
//!
//! Invariant: [`Standing::Execute`] is given at one appliance at most for one object and reign, as
//! long as leases hold. Absent on purpose: what the request is, and how long it may wait.

use std::time::Duration;

use model::{ApplianceId, Epoch, ObjectRecord, Reign, View};

use crate::fence::effective_owner;
use crate::lease::{Holding, SILENCE_MAX};

/// What an appliance knows of itself, in one volume, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// Which appliance.
    pub appliance: ApplianceId,
    /// The view it has applied.
    pub view: View,
    /// The view in which its present run came up; every start is a new one.
    pub up_since: View,
    /// The view of its own newest Reign that is applied in the volume; none if it never entered
    /// one.
    pub reigned: Option<View>,
    /// The newest view it has heard of: in the answers to its beats, and in the newest Reign of the
    /// volume, whoever's. Loss counts and who is up may have changed up to there.
    pub heard: View,
    /// How long ago its present run came up, by its own clock.
    pub up_for: Duration,
    /// Its lease.
    pub lease: Holding,
}

/// Whether an object's ownership is in motion, as its present owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It is not.
    Settled,
    /// A hand-over of it is proposed and neither that nor a `Keep` is applied.
    Open,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A client of this appliance.
    Client,
    /// Another appliance, for its client.
    Forwarded {
        /// The view it acts under.
        view: View,
        /// The epoch it believes the object to have.
        epoch: Epoch,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Do it here, and name a write by this. Asked again when its sequence is taken and when the
    /// answer is handed to the socket.
    Execute {
        /// "(epoch, view of its owner's newest Reign in this volume)".
        reign: Reign,
    },
    /// "Here if we own it, else forward." A forwarded request is not forwarded again: its asker
    /// gets `Moved` with these.
    Forward {
        /// The effective owner.
        to: ApplianceId,
        /// The object's epoch here.
        epoch: Epoch,
    },
    /// "While ownership is in motion a request waits, up to `park_ms_max`."
    Wait(WaitFor),
    /// The asker's view or epoch is older than ours: "a forwarded one runs only if its view equals
    /// the owner's". It gets these, catches up and asks again, if its lease lives.
    Behind {
        /// Ours.
        view: View,
        /// Ours.
        epoch: Epoch,
    },
    /// "Before an appliance acts on objects that it gained other than by an entry naming it owner
    /// (a view, an earlier replica gone stale, its own start), it enters Reign{volume, appliance,
    /// view} with its current view into the volume's group and applies up to it."
    EnterReignFirst,
    /// "If none qualifies the object waits (or answers IO, by volume policy): nothing is invented,
    /// and a stale replica never serves."
    Nobody,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// "Without a live lease an appliance acknowledges nothing: no read, no write, no name."
    /// Another appliance may be told so at once.
    Lease,
    /// The asker's view is newer, or one was heard of: the owner first catches up with it.
    View,
    /// Another good copy may still stand in for this one, which came up a moment ago: a stand-in
    /// that has not heard of our return answers reads until its lease of before that ends.
    StandIn,
    /// The asker's epoch is newer: the volume's log is behind here.
    Epoch,
    /// "From the moment of proposing the outcome is open: the old owner acknowledges nothing until
    /// it has applied that entry or its own Keep."
    HandOver,
}

/// What becomes of a request about an object with this record, under a view that says who is up.
pub fn standing(
    now: Duration,
    here: Here,
    record: &ObjectRecord,
    is_up: impl Fn(ApplianceId) -> bool,
    motion: Motion,
    claim: Claim,
) -> Standing {
    if !here.lease.is_live(now) {
        return Standing::Wait(WaitFor::Lease);
    }
    if here.view < here.heard {
        return Standing::Wait(WaitFor::View);
    }
    let epoch = record.epoch;
    if let Claim::Forwarded { view: claimed_view, epoch: claimed_epoch } = claim {
        // Catch up first: what is older or newer is only known between equals.
        if claimed_view > here.view {
            return Standing::Wait(WaitFor::View);
        }
        if claimed_epoch > epoch {
            return Standing::Wait(WaitFor::Epoch);
        }
        if claimed_view < here.view || claimed_epoch < epoch {
            return Standing::Behind { view: here.view, epoch };
        }
    }
    let Some(owner) = effective_owner(record, &is_up) else { return Standing::Nobody };
    if owner != here.appliance {
        return Standing::Forward { to: owner, epoch };
    }
    if motion == Motion::Open {
        return Standing::Wait(WaitFor::HandOver);
    }
    let stands_in =
        |a: &ApplianceId| *a != here.appliance && is_up(*a) && !record.stale.contains(a);
    if here.up_for < SILENCE_MAX
        && here.lease != Holding::ForEver
        && record.replicas.iter().any(stands_in)
    {
        return Standing::Wait(WaitFor::StandIn);
    }
    // The record names us: the Reign of our start will do. If a view or a stale copy made us the
    // owner, only one of the present view is surely later than what we gained.
    let needed = if record.owner == here.appliance { here.up_since } else { here.view };
    match here.reigned {
        Some(view) if view >= needed => Standing::Execute { reign: Reign { epoch, view } },
        Some(_) | None => Standing::EnterReignFirst,
    }
}

#[cfg(test)]
mod tests;
