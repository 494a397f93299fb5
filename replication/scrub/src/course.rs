//! The course of an appliance's scrubs: when a pass begins, what comes next in it, when it ends.
//!
//! A pass looks at all files that its appliance owns, volume by volume, in the order of their
//! numbers. Files that change their owner meanwhile: one that is handed over behind its new
//! owner's cursor is put on a list and looked at in the end; when an appliance goes away, whoever
//! owns its files from then on looks once more, after the first walk, at those that are only
//! stood in for. A file may be looked at twice; it is missed only if more than [`LATE_MAX`] come
//! late, and then it is counted as skipped.
//!
//! Invariant: what is kept is enough to go on after a restart; the cursor passes a file only when
//! it was looked at to its end. Absent on purpose: looking.

use std::time::Duration;

use model::{ApplianceId, ObjectId, Timestamp, VolumeId};

use crate::kept::{
    Counts, DAMAGED_MAX, Damage, Finished, Kept, LATE_MAX, MENDING_MAX, Mending, PATH_BYTES_MAX,
    Pass, Place, Stage, State,
};

/// What the operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the end of a pass to the next one; none is never.
    pub every: Option<Duration>,
    /// Bytes a second that are read from this appliance's disk.
    pub bytes_per_second: u64,
}

impl Default for Settings {
    /// Only when it is asked for.
    fn default() -> Self {
        Self { every: None, bytes_per_second: 32 << 20 }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at files from there on, the file of that number included, and then say so.
    Walk(Place, Which),
    /// Look at this one.
    File(VolumeId, ObjectId),
    /// Nothing is left to be looked at: wait until copies are whole again.
    Mend,
}

/// Which files of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are owned here.
    All,
    /// Those of them that another appliance should own.
    TakenOver,
}

/// What became of a wish to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A new pass began.
    Anew,
    /// The one that was stopped goes on.
    GoesOn,
    /// One that covers what is wanted runs already.
    RunsAlready,
}

/// What was found in a file that was looked at to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Copies that can't be read somewhere.
    pub unreadable: u64,
    /// Copies that differ.
    pub differing: u64,
    /// Copies that are being made anew.
    pub mending: Vec<ApplianceId>,
    /// Bad copies about which nothing can be done now.
    pub put_off: u64,
    /// No copy is whole: the first byte that can't be read, and the file's path.
    pub damaged: Option<(u64, String)>,
    /// Whether something was not compared.
    pub skipped: bool,
}

/// The course of an appliance's scrubs.
#[derive(Clone, Debug)]
pub struct Course {
    settings: Settings,
    kept: Kept,
    /// Passes that began in this run.
    begun: u64,
}

impl Course {
    /// From what was kept, or from nothing.
    pub fn new(kept: Option<Kept>, settings: Settings, now: Timestamp) -> Self {
        let kept = kept.unwrap_or_else(|| Kept { since: now, ..Kept::default() });
        Self { settings, kept, begun: 0 }
    }

    /// All that is to be kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What the operator chose.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Names the pass in this run: what was found in an earlier one is not said of a later one.
    pub fn pass(&self) -> u64 {
        self.begun
    }

    /// Whether a pass is under way.
    pub fn is_running(&self) -> bool {
        self.kept.state == State::Running
    }

    /// When a pass begins by itself, unless one runs.
    pub fn due(&self) -> Option<Timestamp> {
        let every = self.settings.every.filter(|_| !self.is_running())?;
        let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        Some(Timestamp::from_nanos(self.kept.since.as_nanos().saturating_add(every)))
    }

    /// Begins what is due; whether something was.
    pub fn wake(&mut self, now: Timestamp) -> bool {
        let is_due = self.due().is_some_and(|due| now >= due);
        if is_due {
            match self.kept.state {
                State::Paused => self.enter(State::Running, now),
                State::Idle | State::Running => self.begin(now, None),
            }
        }
        is_due
    }

    /// The operator wants one volume looked at, or all.
    pub fn start(&mut self, now: Timestamp, scope: Option<VolumeId>) -> Started {
        let present = self.kept.pass.scope;
        match self.kept.state {
            State::Running if present.is_none() || present == scope => Started::RunsAlready,
            State::Paused if present == scope => {
                self.enter(State::Running, now);
                Started::GoesOn
            }
            State::Idle | State::Running | State::Paused => {
                self.begin(now, scope);
                Started::Anew
            }
        }
    }

    /// The operator wants no more for now; whether a pass was under way.
    pub fn stop(&mut self, now: Timestamp) -> bool {
        let runs = self.is_running();
        if runs {
            self.enter(State::Paused, now);
        }
        runs
    }

    /// What comes next, if a pass runs.
    pub fn next(&self) -> Option<Next> {
        let pass = &self.kept.pass;
        if !self.is_running() {
            return None;
        }
        Some(match pass.stage {
            Stage::All => Next::Walk(pass.at, Which::All),
            Stage::TakenOver => Next::Walk(pass.at, Which::TakenOver),
            Stage::Late => match pass.late.last() {
                Some((volume, object)) => Next::File(*volume, *object),
                None => Next::Mend,
            },
            Stage::Mending => Next::Mend,
        })
    }

    /// One volume, or all.
    pub fn scope(&self) -> Option<VolumeId> {
        self.kept.pass.scope
    }

    /// So many files are to be looked at.
    pub fn counted(&mut self, files: u64) {
        self.kept.pass.files_total = Some(files);
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: u64) {
        let counts = &mut self.kept.pass.counts;
        counts.bytes = counts.bytes.saturating_add(bytes);
    }

    /// The walk has come here. A file that came late has no place of its own in it.
    pub fn reached(&mut self, place: Place) {
        if matches!(self.kept.pass.stage, Stage::All | Stage::TakenOver) {
            self.kept.pass.at = place;
        }
    }

    /// Where to go on with a file: at its beginning, unless a walk stopped in the middle of it.
    pub fn extent_of(&self, volume: VolumeId, object: ObjectId) -> u64 {
        let at = self.kept.pass.at;
        let walks = matches!(self.kept.pass.stage, Stage::All | Stage::TakenOver);
        let here = walks && (at.volume, at.object) == (volume, object);
        if here { at.extent } else { 0 }
    }

    /// A file was looked at to its end, or is none of this appliance's (then there is nothing to
    /// say about it).
    pub fn file_done(&mut self, volume: VolumeId, object: ObjectId, done: Option<Done>) {
        let pass = &mut self.kept.pass;
        match pass.stage {
            Stage::All | Stage::TakenOver => {
                pass.at = Place { volume, object: object.next(), extent: 0 };
            }
            Stage::Late => pass.late.retain(|late| *late != (volume, object)),
            Stage::Mending => {}
        }
        let Some(done) = done else { return };
        let counts = &mut pass.counts;
        counts.files += 1;
        counts.unreadable += done.unreadable;
        counts.differing += done.differing;
        counts.put_off += done.put_off;
        counts.skipped += u64::from(done.skipped);
        for copy in done.mending {
            match pass.mending.len() < MENDING_MAX {
                true => pass.mending.push(Mending { volume, object, copy }),
                false => counts.put_off += 1,
            }
        }
        let known = |damage: &Damage| (damage.volume, damage.object) == (volume, object);
        if let Some((offset, mut path)) = done.damaged {
            counts.damaged += 1;
            path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
            self.kept.damaged.retain(|damage| !known(damage));
            if self.kept.damaged.len() < DAMAGED_MAX {
                self.kept.damaged.push(Damage { volume, object, offset, path });
            }
        } else if !done.skipped {
            self.kept.damaged.retain(|damage| !known(damage));
        }
    }

    /// The walk is at the end of its volume: it goes on with the volume `next`, if there is one.
    pub fn volume_done(&mut self, next: Option<VolumeId>) {
        let pass = &mut self.kept.pass;
        if let Some(volume) = next {
            pass.at = Place { volume, ..Place::default() };
            return;
        }
        pass.at = Place::default();
        pass.stage = match pass.stage {
            Stage::All if pass.somebody_left => Stage::TakenOver,
            Stage::All | Stage::TakenOver | Stage::Late => Stage::Late,
            Stage::Mending => Stage::Mending,
        };
    }

    /// A file was handed over to here; its new owner's cursor may be beyond it.
    pub fn came(&mut self, volume: VolumeId, object: ObjectId) {
        let pass = &mut self.kept.pass;
        let wanted = pass.scope.is_none_or(|scope| scope == volume);
        if self.kept.state == State::Idle || !wanted {
            return;
        }
        let ahead = (volume, object) >= (pass.at.volume, pass.at.object);
        if pass.stage == Stage::All && ahead || pass.late.contains(&(volume, object)) {
            return;
        }
        match pass.late.len() < LATE_MAX {
            true => pass.late.push((volume, object)),
            false => pass.counts.skipped += 1,
        }
        if pass.stage == Stage::Mending {
            pass.stage = Stage::Late;
        }
    }

    /// Forgets files that came late and are not here to stay, if there are many of them.
    pub fn keep_late(&mut self, is_ours: impl Fn(VolumeId, ObjectId) -> bool) {
        let late = &mut self.kept.pass.late;
        if late.len() > LATE_MAX / 2 {
            late.retain(|(volume, object)| is_ours(*volume, *object));
        }
    }

    /// An appliance went away: others own its files now.
    pub fn somebody_left(&mut self) {
        if self.kept.state != State::Idle && self.kept.pass.stage == Stage::All {
            self.kept.pass.somebody_left = true;
        }
    }

    /// What is being made anew.
    pub fn mending(&self) -> &[Mending] {
        &self.kept.pass.mending
    }

    /// Of what is being made anew, these are good again, and these are gone.
    pub fn mended(&mut self, good: &[Mending], gone: &[Mending]) {
        let pass = &mut self.kept.pass;
        let before = pass.mending.len();
        pass.mending.retain(|mending| !good.contains(mending));
        pass.counts.mended += (before - pass.mending.len()) as u64;
        pass.mending.retain(|mending| !gone.contains(mending));
    }

    /// Files that are still there, of all that were damaged.
    pub fn keep_damaged(&mut self, is_there: impl Fn(&Damage) -> bool) {
        self.kept.damaged.retain(is_there);
    }

    /// All was looked at, and what could be made anew is, or takes too long.
    pub fn finish(&mut self, now: Timestamp) -> Finished {
        let pass = &mut self.kept.pass;
        pass.counts.put_off += pass.mending.len() as u64;
        pass.mending.clear();
        let finished = Finished { at: now, scope: pass.scope, counts: pass.counts };
        self.kept.finished = Some(finished);
        self.enter(State::Idle, now);
        finished
    }

    fn begin(&mut self, now: Timestamp, scope: Option<VolumeId>) {
        let at = Place { volume: scope.unwrap_or_default(), ..Place::default() };
        let counts = Counts::default();
        self.begun += 1;
        self.kept.pass = Pass { scope, began: now, at, counts, ..Pass::default() };
        self.enter(State::Running, now);
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.kept.state = state;
        self.kept.since = now;
    }
}

#[cfg(test)]
mod tests;
