//! What happened, as only an all-seeing eye knows it: what the checkers look at.
//!
//! Invariant: the first violation is kept. Absent on purpose: any influence on what happens.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Answer, Command, Envelope, LogEntry};
use consensus::Committed;
use model::{
    ApplianceId, GroupId, Incarnation, Index, Refusal, Reign, RequestKey, View, VolumeId,
    WriteVerifier,
};
use ownership::{FleetAnswer, FleetCommand, FleetRefusal};

use crate::checks::{Invariant, Violation};
use crate::words::{Key, Outcome, Request};

/// One call of a client.
#[derive(Clone, Debug)]
pub struct Op {
    pub request: Request,
    pub invoked: u64,
    /// When the client took which answer.
    pub answered: Option<(u64, Outcome)>,
}

/// An entry of a volume's group, with the moment at which it was first applied anywhere.
#[derive(Clone, Debug)]
pub struct Logged {
    pub at: u64,
    pub command: Option<Command>,
    pub answer: Answer,
}

/// Acknowledged unstable data that a power cut took.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    pub at: u64,
    pub key: Key,
    pub verifier: WriteVerifier,
}

/// One change of data, carried out under a view.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    pub at: u64,
    pub request: RequestKey,
    pub view: View,
    /// It was carried out before, and no appliance that has a good copy now should know of it:
    /// those that did have ended since, or were left behind.
    pub forgotten: bool,
}

#[derive(Default)]
pub struct History {
    pub now: u64,
    pub ops: Vec<Op>,
    pub logs: BTreeMap<VolumeId, BTreeMap<Index, Logged>>,
    pub losses: Vec<Loss>,
    /// When anybody lost power.
    pub power_cuts: Vec<u64>,
    pub downs: BTreeSet<(ApplianceId, Incarnation)>,
    /// Which changes of data were carried out, and when.
    pub executions: Vec<Execution>,
    /// About which file each of them is, and which appliances should know of it.
    knowers: BTreeMap<RequestKey, (Key, BTreeSet<ApplianceId>)>,
    reigns: BTreeMap<(Key, Reign), ApplianceId>,
    states: BTreeMap<(GroupId, Index), u64>,
    pub violation: Option<Violation>,
    pub digest: u64,
    pub handed_over: u64,
    /// Copies that were made whole.
    pub copied: u64,
    /// Syncs that failed.
    pub broken: u64,
    pub images: u64,
    pub take_overs: u64,
}

impl History {
    /// Notes a violation; the first one counts.
    pub fn breaks(&mut self, of: Invariant, what: String) {
        let what = format!("{what} (at {} µs)", self.now);
        self.violation.get_or_insert(Violation { of, what });
    }

    /// Something happened: the digest moves on.
    pub fn note(&mut self, what: u64) {
        let mixed = (self.digest ^ what ^ self.now.rotate_left(17)).wrapping_mul(0x0100_0000_01b3);
        self.digest = mixed ^ (mixed >> 29);
    }

    /// Invariant 1: one appliance acknowledges per object and reign.
    pub fn acknowledges(&mut self, by: ApplianceId, key: Key, reign: Reign) {
        let first = *self.reigns.entry((key, reign)).or_insert(by);
        if first != by {
            let (volume, object) = key;
            self.breaks(
                Invariant::OneAcknowledges,
                format!(
                    "appliances {first} and {by} both acknowledge for object {object} of volume \
                 {volume} in reign {reign:?}"
                ),
            );
        }
    }

    /// A change of data was carried out by `by`, while these others had good copies.
    pub fn executed(
        &mut self,
        (by, view): (ApplianceId, View),
        key: Key,
        request: RequestKey,
        others: &[ApplianceId],
    ) {
        self.note(request.digest as u64);
        let known = |knower: &ApplianceId| *knower == by || others.contains(knower);
        let knowers = self.knowers.get(&request).map(|(_, knowers)| knowers);
        let forgotten = knowers.is_some_and(|knowers| !knowers.iter().any(known));
        self.executions.push(Execution { at: self.now, request, view, forgotten });
        self.knows(by, key, request);
    }

    /// An appliance should know of a change of data that was carried out.
    pub fn knows(&mut self, by: ApplianceId, key: Key, request: RequestKey) {
        let of = self.knowers.entry(request).or_insert((key, BTreeSet::new()));
        of.1.insert(by);
    }

    /// An appliance has from another what that has of a file, and is to know what it knows.
    pub fn follows(&mut self, by: ApplianceId, other: ApplianceId, key: Key) {
        for (_, knowers) in self.knowers.values_mut().filter(|(of, _)| *of == key) {
            if knowers.contains(&other) {
                knowers.insert(by);
            }
        }
    }

    /// An appliance knows of no change any more: of a file, or of any.
    pub fn forgets(&mut self, by: ApplianceId, key: Option<Key>) {
        for (of, knowers) in self.knowers.values_mut() {
            if key.is_none_or(|key| key == *of) {
                knowers.remove(&by);
            }
        }
    }

    pub fn fleet_applied(
        &mut self,
        _by: ApplianceId,
        _index: Index,
        command: &FleetCommand,
        answer: &Result<FleetAnswer, FleetRefusal>,
    ) {
        if let (FleetCommand::Down { appliance, incarnation }, Ok(_)) = (command, answer) {
            self.downs.insert((*appliance, *incarnation));
        }
    }

    /// An entry was applied, at the first appliance or a later one.
    pub fn applied(&mut self, at: u64, volume: VolumeId, entry: &Committed, answer: &Answer) {
        let log = self.logs.entry(volume).or_default();
        if let Some(first) = log.get(&entry.index) {
            if first.answer != *answer {
                let first = first.answer.clone();
                let index = entry.index;
                self.breaks(
                    Invariant::Catalogs,
                    format!("entry {index} of volume {volume} did {first:?} and {answer:?}"),
                );
            }
            return;
        }
        let decoded = (!entry.data.is_empty()).then(|| {
            let entry = LogEntry {
                index: entry.index,
                term: entry.term,
                data: &entry.data,
                membership: None,
            };
            Envelope::decode(&entry).expect("our own entries decode").command
        });
        if let Some(Command::Reign { .. }) = decoded {
            self.take_overs += 1;
        }
        let logged = Logged { at, command: decoded, answer: answer.clone() };
        log.insert(entry.index, logged);
    }

    /// Invariant 7: catalogs with equal applied index are equal.
    pub fn same_state(&mut self, by: ApplianceId, volume: VolumeId, index: Index, hash: u64) {
        let first = *self.states.entry((volume.into(), index)).or_insert(hash);
        if first != hash {
            self.breaks(
                Invariant::Catalogs,
                format!("appliance {by}'s catalog of volume {volume} differs at {index}"),
            );
        }
    }

    /// Invariant 6: no lease is live after its Down was applied anywhere.
    pub fn lease_lives(&mut self, by: ApplianceId, incarnation: Incarnation) {
        if self.downs.contains(&(by, incarnation)) {
            self.breaks(
                Invariant::Leases,
                format!("the lease of run {incarnation} of appliance {by} outlives its Down"),
            );
        }
    }

    pub fn is_stale(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Refused(Refusal::Stale))
    }
}
