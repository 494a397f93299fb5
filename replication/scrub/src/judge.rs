//! What a comparison of copies means: extent by extent, then for the whole file.
//!
//! Invariant: two copies are compared only where both hold the change of the same mark before and
//! after the look; copies with the same mark hold the same bytes, so a difference is corruption. A
//! finding counts when it was seen twice. Of a file something is given up only if another copy was
//! read from its beginning to its end. Absent on purpose: reading and asking.

use model::{ApplianceId, Mark};

/// Blake3 of an extent's bytes, holes read as zeros.
pub type Digest = [u8; 32];

/// What an appliance found when it read an extent of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It could be read.
    Read {
        /// The change that it holds; none if it changed meanwhile, or nobody can say.
        at: Option<Mark>,
        /// The file's size.
        size: u64,
        /// Of the bytes.
        digest: Digest,
    },
    /// The disk refused: a checksum that is wrong, or an error.
    Unreadable,
    /// Not now: it catches up, or is busy.
    Moving,
    /// It did not answer, or is down.
    Silent,
}

/// What is known of one extent of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was read, and is as the owner's; of the owner's own: it was read.
    Same,
    /// It was read and can't be compared.
    Readable,
    /// Nothing is known yet.
    Moving,
    /// It can't be read.
    Unreadable,
    /// It was read, and is not as the owner's.
    Differs,
    /// It did not answer.
    Silent,
}

/// What the owner's own look says.
pub fn own_part(look: &Look) -> Part {
    match look {
        Look::Read { .. } => Part::Same,
        Look::Unreadable => Part::Unreadable,
        Look::Moving => Part::Moving,
        Look::Silent => Part::Silent,
    }
}

/// What is to be thought of another copy's extent. `after` is what the owner held when all had
/// answered.
pub fn compare(ours: &Look, after: Option<Mark>, theirs: &Look) -> Part {
    match (ours, theirs) {
        (_, Look::Silent) => Part::Silent,
        (_, Look::Moving) => Part::Moving,
        (_, Look::Unreadable) => Part::Unreadable,
        (
            Look::Read { at: Some(ours_at), size, digest },
            Look::Read { at: Some(at), size: their_size, digest: their_digest },
        ) if ours_at == at && after == Some(*at) => {
            match (size, digest) == (their_size, their_digest) {
                true => Part::Same,
                false => Part::Differs,
            }
        }
        (_, Look::Read { .. }) => Part::Readable,
    }
}

/// One extent, looked at until it is clear what it is.
#[derive(Debug)]
pub struct Trial {
    tries_max: usize,
    tries: usize,
    before: Vec<Part>,
}

impl Trial {
    /// One of a file of which so many extents could not be compared already: of one that changes
    /// all the time each is looked at once.
    pub fn new(not_compared: u64) -> Self {
        let tries_max = if not_compared < PATIENCE_EXTENTS { TRIES_MAX } else { 1 };
        Self { tries_max, tries: 0, before: Vec::new() }
    }

    /// What it is, from the owner's part and the others', always in the same order; none if it is
    /// to be looked at again.
    pub fn step(&mut self, own: Part, mut others: Vec<Part>) -> Option<(Part, Vec<Part>)> {
        self.tries += 1;
        let mut all = vec![own];
        all.append(&mut others);
        let seen_before = |n: usize, part: &Part| self.before.get(n) == Some(part);
        let is_sure = |(n, part): (usize, &Part)| match part {
            // Who does not answer is not asked again.
            Part::Same | Part::Silent => true,
            Part::Readable => own == Part::Unreadable,
            Part::Unreadable | Part::Differs => seen_before(n, part),
            Part::Moving => false,
        };
        let sure = all.iter().enumerate().all(is_sure);
        // Bad is only what was seen twice; so even who is not patient looks once more at that.
        let suspects = all.iter().any(|part| matches!(part, Part::Unreadable | Part::Differs));
        let tries_max = if suspects { self.tries_max.max(2) } else { self.tries_max };
        if !sure && self.tries < tries_max {
            self.before = all;
            return None;
        }
        let confirmed = all.iter().enumerate().map(|(n, part)| match part {
            Part::Unreadable | Part::Differs if !seen_before(n, part) => Part::Moving,
            other => *other,
        });
        let mut confirmed: Vec<Part> = confirmed.collect();
        let others = confirmed.split_off(1);
        confirmed.pop().map(|own| (own, others))
    }

    /// How often it was looked at.
    pub fn tries(&self) -> usize {
        self.tries
    }
}

/// What was found in one copy of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The first byte of the first extent that can't be read.
    pub unreadable: Option<u64>,
    /// The same, of one that differs.
    pub differs: Option<u64>,
    /// Whether some extent is not known to be readable.
    pub unproven: bool,
    /// Whether some extent was not compared.
    pub not_compared: bool,
}

impl Finding {
    /// Takes note of the extent that begins at `offset`.
    pub fn note(&mut self, offset: u64, part: Part) {
        match part {
            Part::Same => {}
            Part::Readable => self.not_compared = true,
            Part::Moving | Part::Silent => {
                self.unproven = true;
                self.not_compared = true;
            }
            Part::Unreadable => drop(self.unreadable.get_or_insert(offset)),
            Part::Differs => drop(self.differs.get_or_insert(offset)),
        }
    }

    /// Whether it is known to be wrong somewhere.
    pub fn is_bad(&self) -> bool {
        self.unreadable.is_some() || self.differs.is_some()
    }

    /// Whether all of it was read, and nothing of it is wrong.
    fn is_whole(&self) -> bool {
        !self.is_bad() && !self.unproven
    }
}

/// What is to be done about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: every copy is good, as far as was looked.
    Clean,
    /// These copies are marked stale and made whole from the owner's.
    MarkStale(Vec<ApplianceId>),
    /// The owner's own copy is given up, and first these, too: another one is whole.
    GiveUp(Vec<ApplianceId>),
    /// The owner's own copy is bad, and nobody can tell now whether another one is whole.
    Later,
    /// No copy is whole: none is touched.
    Damaged,
}

/// Judges a file by what was found in the owner's copy and in each other good one.
pub fn judge(own: &Finding, others: &[(ApplianceId, Finding)]) -> Verdict {
    let bad = others.iter().filter(|(_, finding)| finding.is_bad());
    let bad: Vec<ApplianceId> = bad.map(|(appliance, _)| *appliance).collect();
    let is_whole = |(_, finding): &(ApplianceId, Finding)| finding.is_whole();
    match own.unreadable {
        None if bad.is_empty() => Verdict::Clean,
        // Others are made from it, so it must be known to be whole itself.
        None if own.unproven => Verdict::Later,
        None => Verdict::MarkStale(bad),
        Some(_) if others.iter().any(is_whole) => Verdict::GiveUp(bad),
        Some(_) if bad.len() < others.len() => Verdict::Later,
        Some(_) => Verdict::Damaged,
    }
}

/// A file that is written to now and then has a quiet moment within so many looks.
const TRIES_MAX: usize = 5;
/// A file of which so many extents could not be compared changes all the time.
const PATIENCE_EXTENTS: u64 = 8;

#[cfg(test)]
mod tests;
