//! Files whose sync failed: the loss count goes up, then the copy is stale, and only then is
//! anything of the volume acknowledged again.
//!
//! Invariant: a copy breaks only where another is good, so that a fleet could survive it.

use std::time::Duration;

use model::ObjectRecord;
use ownership::FleetCommand;

use crate::entering::{Entry, Fate};
use crate::jobs::Stage;
use crate::process::{Ctx, Process};
use crate::words::{Entered, Key};

/// One of them, until the log knows.
pub struct Breakage {
    pub key: Key,
    entry: Option<Entry>,
    raised: bool,
    rests_until: Duration,
}

impl Process {
    /// Whether a sync of this file may fail now.
    pub fn may_break(&self, key: Key) -> bool {
        let Some(record) = self.record(key) else { return false };
        let good = !record.stale.contains(&self.me) && record.replicas.contains(&self.me);
        let others = record.replicas.iter().any(|a| *a != self.me && !record.stale.contains(a));
        let leaving = |job: &crate::jobs::Job| {
            job.key() == Some(key) && matches!(job.stage, Stage::Leaving(_))
        };
        let busy = self.transfers.contains_key(&key) || self.jobs.values().any(leaving);
        let whole = match self.fans.get(&key) {
            Some(fan) => fan.is_ready() && fan.core.has_all(fan.core.tip()),
            // It follows another's; of one that it owns nobody has said anything yet.
            None => !self.is_owner(key),
        };
        good && others && !busy && whole
    }

    /// A sync failed: nothing is known of what it should have covered.
    pub fn breaks(&mut self, key: Key) {
        self.disk.files.entry(key).or_default().broken = true;
        let rests_until = self.now;
        self.breakages.push(Breakage { key, entry: None, raised: false, rests_until });
        self.again = true;
    }

    pub fn is_broken(&self, key: Key) -> bool {
        self.disk.files.get(&key).is_some_and(|file| file.broken)
    }

    /// Whether a failed sync of the volume is not known to the log yet.
    pub fn hides_a_loss(&self, key: Key) -> bool {
        self.breakages.iter().any(|breakage| breakage.key.0 == key.0)
    }

    pub fn poll_breakages(&mut self, ctx: &mut Ctx<'_>) {
        for mut breakage in std::mem::take(&mut self.breakages) {
            if let Some(entry) = &mut breakage.entry {
                match self.poll_entry(ctx, entry) {
                    None => {
                        self.breakages.push(breakage);
                        continue;
                    }
                    Some(Fate::Applied(Entered::Fleet(Ok(_)), _)) => breakage.raised = true,
                    Some(_) => breakage.rests_until = self.now + AGAIN_AFTER,
                }
                breakage.entry = None;
            }
            if self.now < breakage.rests_until {
                self.breakages.push(breakage);
                continue;
            }
            self.again = true;
            if let Some(entry) = self.next_entry(&breakage) {
                breakage.entry = Some(entry);
                self.breakages.push(breakage);
            }
        }
    }

    /// What the log must still be told, if anything.
    fn next_entry(&self, breakage: &Breakage) -> Option<Entry> {
        let key = breakage.key;
        if !breakage.raised {
            return Some(Entry::fleet(FleetCommand::RaiseLossCount { volume: key.0 }));
        }
        let counts = |record: &ObjectRecord| {
            record.replicas.contains(&self.me) && !record.stale.contains(&self.me)
        };
        // A fact about the copy here, whoever owns the file by now; one that was made anew since is
        // another, and the log knew that this one was stale in between.
        let record = self.record(key).filter(|record| self.is_broken(key) && counts(record))?;
        Some(self.stale_entry(key, record.epoch, self.me))
    }
}

const AGAIN_AFTER: Duration = Duration::from_millis(20);
