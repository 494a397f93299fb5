//! Files that can't be read where they are: another good copy answers, and makes this one anew.
//!
//! Invariant: rot strikes one copy of one file, where another one is good. Should that be left
//! behind before anybody notices, the bytes are gone, and whoever asks is told so: never anything
//! else, and never by a copy that is behind.

use catalog::Command;
use model::{ObjectRecord, Refusal};

use crate::config::Mistake;
use crate::entering::Entry;
use crate::jobs::{Ending, Job, Next};
use crate::process::{Ctx, Process};
use crate::words::{CELLS, Key, Outcome};

/// A copy that another one is to answer for.
pub struct GivenUp {
    key: Key,
    /// Its gate is closed.
    closed: bool,
    entry: Option<Entry>,
}

impl Process {
    /// What is here rots, if another copy is good.
    pub fn rot(&mut self, key: Key) {
        let Some(record) = self.record(key) else { return };
        let good = record.replicas.contains(&self.me) && !record.stale.contains(&self.me);
        if let Some(file) = self.disk.files.get_mut(&key)
            && good
            && record.replicas.len() > record.stale.len() + 1
        {
            file.rotten = !file.now.bytes.is_empty();
        }
    }

    pub fn is_rotten(&self, key: Key) -> bool {
        self.disk.files.get(&key).is_some_and(|file| file.rotten)
    }

    /// A READ of what can't be read here.
    pub fn read_rotten(&mut self, ctx: &mut Ctx<'_>, job: &mut Job, record: &ObjectRecord) -> Next {
        let key = job.key().expect("it is about a file");
        if ctx.mistake == Mistake::TakesRotForZeros {
            let verifier = self.verifier(key.0);
            return Next::End(Ending::Outcome(Outcome::Read { cells: [0; CELLS], verifier }));
        }
        if self.good_others(record).is_empty() {
            return Next::End(Ending::Outcome(Outcome::Refused(Refusal::Fault)));
        }
        self.give_up_copy(key);
        self.park(job)
    }

    /// Has the copy here left behind, so that another good one answers.
    pub fn give_up_copy(&mut self, key: Key) {
        if !self.given_up.iter().any(|given_up| given_up.key == key) {
            self.given_up.push(GivenUp { key, closed: false, entry: None });
            self.again = true;
        }
    }

    pub fn poll_given_up(&mut self, ctx: &mut Ctx<'_>) {
        for mut given_up in std::mem::take(&mut self.given_up) {
            if self.gives_up(ctx, &mut given_up) {
                self.given_up.push(given_up);
            } else if given_up.closed {
                self.again |= self.gates.remove(&given_up.key);
            }
        }
    }

    /// Whether there is more to do.
    fn gives_up(&mut self, ctx: &mut Ctx<'_>, given_up: &mut GivenUp) -> bool {
        let key = given_up.key;
        if let Some(entry) = &mut given_up.entry {
            return self.poll_entry(ctx, entry).is_none();
        }
        let record = self.record(key).filter(|_| self.is_owner(key) && self.is_rotten(key));
        let Some(record) = record else { return false };
        let up = self.good_others(&record).iter().any(|other| self.fleet_now.is_up(*other));
        if !up {
            return false;
        }
        if !given_up.closed && !self.gates.insert(key) {
            return true;
        }
        given_up.closed = true;
        // Nobody is between a change and its answer: whoever is good has all that was acknowledged.
        let passed = self.jobs.values().any(|job| job.passed && job.key() == Some(key));
        if !passed || ctx.mistake == Mistake::GivesUpAmidChanges {
            let give_up = Command::GiveUp { object: key.1, appliance: self.me };
            given_up.entry = Some(Entry::volume(key.0, self.deciding(record.epoch), give_up));
            self.again = true;
        }
        true
    }
}
