//! Calls that are executed here: names at the leader, data at the owner.
//!
//! Invariant: the verifier of a WRITE is taken before its bytes, that of a COMMIT after its sync; a
//! change is acknowledged when every good copy has it, or is known to the log not to be good.

use std::time::Duration;

use bytes::Bytes;
use catalog::{Command, Others, Preview};
use extents::{Frame, FrameChange};
use model::{
    ApplianceId, Change, Epoch, Identity, Index, Mark, Name, ObjectId, ObjectRecord, Refusal,
    Reign, RequestKey, Stamp, VolumeId, WriteVerifier,
};
use ownership::{Standing, write_verifier};
use replicator::FanOutEvent;

use crate::config::Mistake;
use crate::entering::{Entry, Fate};
use crate::following::Joined;
use crate::jobs::{Ending, Job, Next, Securing, Stage};
use crate::process::{Ctx, Out, Process, Timer};
use crate::words::{Answered, Ask, CELL_BYTES, Call, Entered, How, Key, Outcome, Reply};

impl Process {
    /// Executes a call about a file that is owned here.
    pub fn execute_file(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        record: &ObjectRecord,
        reign: Reign,
    ) -> Next {
        let key = job.key().expect("it is about a file");
        let verifier = self.verifier(key.0);
        if self.is_broken(key) {
            return self.park(job);
        }
        match job.request.call.clone() {
            Call::Read { .. } if self.is_rotten(key) => self.read_rotten(ctx, job, record),
            Call::Read { .. } => {
                if !self.is_everywhere(ctx, key, record) {
                    if let Some(next) = self.wait_for_copies(ctx, job, record, reign) {
                        return next;
                    }
                    if !self.is_everywhere(ctx, key, record) {
                        return self.park(job);
                    }
                }
                let cells = self.disk.files.entry(key).or_default().cells();
                self.acknowledge(ctx, key, reign);
                Next::End(Ending::Outcome(Outcome::Read { cells, verifier }))
            }
            Call::Commit { .. } => {
                if ctx.mistake == Mistake::CommitsWithoutSync {
                    self.acknowledge(ctx, key, reign);
                    return Next::End(Ending::Outcome(Outcome::Committed { verifier }));
                }
                if ctx.mistake != Mistake::CommitsForOldCopies
                    && let Some(next) = self.wait_for_copies(ctx, job, record, reign)
                {
                    return next;
                }
                let mark = self.disk.files.entry(key).or_default().name();
                self.secure(ctx, job, record.epoch, (mark, How::FileSync), verifier)
            }
            Call::Write { cell, cells, value, how, .. } => {
                let local = self.volumes.get_mut(&key.0).expect("it is open");
                if let Some(answered) = local.answered.get(&job.request.key) {
                    return match answered.outcome.clone() {
                        Outcome::Wrote { how: done, verifier } => {
                            let owed = if done < how { How::FileSync } else { How::Unstable };
                            self.secure_answered(ctx, job, (record, reign), owed, verifier)
                        }
                        outcome => Next::End(Ending::Outcome(outcome)),
                    };
                }
                if let Some(next) = self.wait_for_copies(ctx, job, record, reign) {
                    return next;
                }
                if self.disk.full {
                    // A late double of it must not be carried out once there is room.
                    let outcome = Outcome::Refused(Refusal::NoSpace);
                    self.note_answer(key, job.request.key, (outcome.clone(), Mark::default()));
                    return Next::End(Ending::Outcome(outcome));
                }
                let local = self.volumes.get_mut(&key.0).expect("it is open");
                if !job.runs && !local.running.insert(job.request.key) {
                    return self.park(job);
                }
                (job.runs, job.passed) = (true, true);
                let bytes: Vec<u8> =
                    std::iter::repeat_n(value.to_le_bytes(), cells).flatten().collect();
                let offset = (cell * CELL_BYTES) as u64;
                let change = FrameChange::Write { offset, bytes: Bytes::from(bytes) };
                let by = (job.request.key, verifier);
                let made = self.change_file(key, reign, change, Some(by));
                let frame = Frame { secure: how == How::FileSync, ..made };
                let mark = frame.mark;
                // Whoever comes with it again waits with this one for the copies.
                let outcome = Outcome::Wrote { how: How::Unstable, verifier };
                self.note_answer(key, job.request.key, (outcome, mark));
                self.step_fan(ctx, key, |core, now| core.step(now, FanOutEvent::Frame(frame)));
                let by = (self.me, self.fleet_now.view());
                ctx.history.executed(by, key, job.request.key, &self.good_others(record));
                self.secure(ctx, job, record.epoch, (mark, how), verifier)
            }
            Call::LookUp { .. } | Call::List { .. } | Call::Change(_) => {
                unreachable!("names are no file's")
            }
        }
    }

    /// Whether something about the file's copies comes first.
    fn wait_for_copies(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        record: &ObjectRecord,
        reign: Reign,
    ) -> Option<Next> {
        let key = job.key().expect("it is about a file");
        match self.join(ctx, key, record, reign) {
            Joined::Ready => None,
            Joined::NotYet => Some(self.park(job)),
            Joined::Leave(entry) => {
                job.stage = Stage::Leaving(entry);
                Some(Next::Again)
            }
        }
    }

    /// Waits until a change is where it must be: here, and at every good copy.
    fn secure(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        epoch: Epoch,
        (mark, how): (Mark, How),
        verifier: WriteVerifier,
    ) -> Next {
        let key = job.key().expect("it is about a file");
        let sync = (how == How::FileSync).then(|| {
            self.step_fan(ctx, key, |core, now| core.step(now, FanOutEvent::Secure(mark)));
            self.sync(ctx, key)
        });
        job.stage = Stage::Securing(Securing { sync, mark, how, epoch, verifier });
        Next::Again
    }

    /// A WRITE that was carried out before: by an earlier owner, who may not have told all copies,
    /// nor made it durable.
    fn secure_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        (record, reign): (&ObjectRecord, Reign),
        owed: How,
        verifier: WriteVerifier,
    ) -> Next {
        if let Some(next) = self.wait_for_copies(ctx, job, record, reign) {
            return next;
        }
        let key = job.key().expect("it is about a file");
        let mark = self.disk.files.entry(key).or_default().name();
        job.passed = true;
        self.secure(ctx, job, record.epoch, (mark, owed), verifier)
    }

    /// The view under which something about a file is decided now.
    pub fn deciding(&self, epoch: Epoch) -> Reign {
        Reign { view: self.fleet_now.view(), epoch }
    }

    /// A change takes its sequence and is carried out, here and in the streams that copy the file.
    pub fn change_file(
        &mut self,
        key: Key,
        reign: Reign,
        change: FrameChange,
        by: Option<(RequestKey, WriteVerifier)>,
    ) -> Frame {
        let file = self.disk.files.entry(key).or_default();
        let mark = file.now.mark.next_under(reign);
        let stamp = Some(Stamp { mark, ..Stamp::default() });
        let (request, verifier) = by.unzip();
        let frame = Frame { mark, stamp, key: request, secure: false, change };
        file.change(&frame, verifier);
        if let Some(transfer) = self.transfers.get_mut(&key) {
            transfer.feed.push_back(frame.clone());
        }
        frame
    }

    fn wrote(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        reign: Reign,
        verifier: WriteVerifier,
    ) -> Next {
        let key = job.key().expect("it is about a file");
        let Call::Write { how, .. } = job.request.call else { unreachable!("it is a WRITE") };
        let outcome = Outcome::Wrote { how, verifier };
        let local = self.volumes.get_mut(&key.0).expect("it is open");
        if let Some(answered) = local.answered.get_mut(&job.request.key) {
            answered.outcome = outcome.clone();
        }
        if !self.has_lease(ctx.mistake) {
            return self.park(job);
        }
        self.acknowledge(ctx, key, reign);
        Next::End(Ending::Outcome(outcome))
    }

    fn note_answer(&mut self, key: Key, request: RequestKey, (outcome, mark): (Outcome, Mark)) {
        let local = self.volumes.get_mut(&key.0).expect("it is open");
        local.answered.insert(request, Answered { object: key.1, outcome, mark });
    }

    fn acknowledge(&self, ctx: &mut Ctx<'_>, key: Key, reign: Reign) {
        ctx.history.acknowledges(self.me, key, reign);
    }

    pub fn verifier(&self, volume: VolumeId) -> WriteVerifier {
        let found = self.fleet_now.volumes().iter().find(|info| info.id == volume);
        write_verifier(volume, found.map(|info| info.loss_count).unwrap_or_default())
    }

    /// Begins to make a file durable.
    pub fn sync(&mut self, ctx: &mut Ctx<'_>, key: Key) -> u64 {
        let number = self.number();
        let sync = self.disk.files.entry(key).or_default().sync();
        self.syncs.insert(number, (key, sync));
        let after = 300 + ctx.chance.below(8_000);
        ctx.out.push(Out::Timer { after, timer: Timer::Synced(number) });
        number
    }

    pub fn sync_done(&mut self, ctx: &mut Ctx<'_>, number: u64) {
        let Some((key, sync)) = self.syncs.remove(&number) else { return };
        if self.is_broken(key) {
            self.unsynced.insert(number);
            self.again = true;
            return;
        }
        if self.disk.failing && self.may_break(key) {
            self.unsynced.insert(number);
            ctx.history.broken += 1;
            match ctx.mistake {
                Mistake::IgnoresFailedSyncs => drop(self.synced.insert(number)),
                _ => self.breaks(key),
            }
            self.again = true;
            return;
        }
        if let Some(file) = self.disk.files.get_mut(&key) {
            file.synced(sync);
        }
        self.synced.insert(number);
        self.again = true;
    }

    /// Goes on with a call that is being executed.
    pub fn poll_serving(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        match &mut job.stage {
            Stage::Leaving(entry) => match self.poll_entry(ctx, entry) {
                None => Next::Wait,
                // Whatever became of it: who owns the file is asked anew.
                Some(fate) => {
                    job.stage = Stage::Settle;
                    if !matches!(fate, Fate::Applied(Entered::Volume(Ok(_)), _)) {
                        return self.park(job);
                    }
                    Next::Again
                }
            },
            Stage::Securing(securing) => {
                if securing.sync.is_some_and(|number| self.synced.remove(&number)) {
                    securing.sync = None;
                }
                let securing = *securing;
                if securing.sync.is_some_and(|number| self.unsynced.remove(&number)) {
                    return self.park(job);
                }
                self.poll_securing(ctx, job, securing)
            }
            Stage::Changing(entry) => match self.poll_entry(ctx, entry) {
                None => Next::Wait,
                Some(Fate::Applied(Entered::Volume(answer), index)) => {
                    self.changed(ctx, job, answer, index)
                }
                // The entry bears being proposed twice: apply knows its key.
                Some(_) => {
                    job.unknown = true;
                    self.park(job)
                }
            },
            Stage::Telling { .. } => self.poll_telling(ctx, job),
            Stage::Settle | Stage::Round(_) | Stage::Forwarded { .. } => unreachable!("not here"),
        }
    }

    /// Once the bytes are where they must be, asks again whether they are ours to answer for.
    fn poll_securing(&mut self, ctx: &mut Ctx<'_>, job: &mut Job, securing: Securing) -> Next {
        let key = job.key().expect("it is about a file");
        let Securing { sync, mark, how, epoch, verifier } = securing;
        // Only who owns the file knows who has it; whoever owns it then answers.
        let owns = self.is_owner(key);
        if self.hides_a_loss(key) {
            return Next::Wait;
        }
        if owns
            && !self.is_broken(key)
            && (sync.is_some() || !self.all_have(ctx, key, mark, how == How::FileSync))
        {
            return Next::Wait;
        }
        if ctx.mistake == Mistake::CommitsWhatHasLeft && !job.passed {
            let verifier = self.verifier(key.0);
            return Next::End(Ending::Outcome(Outcome::Committed { verifier }));
        }
        // A COMMIT does not hold up a hand-over: it waits for what becomes of that.
        if !job.passed && self.gates.contains(&key) {
            return self.park(job);
        }
        let standing = self
            .record(key)
            .map(|record| self.standing_of(ctx, key.0, &record, ownership::Claim::Client));
        let reign = match standing {
            Some(Standing::Execute { reign }) if reign.epoch == epoch => Some(reign),
            _ => None,
        };
        // Done, though not as durable as it was to be: whoever owns the file goes on.
        let Some(reign) = reign else { return self.park(job) };
        match job.request.call {
            Call::Write { .. } => self.wrote(ctx, job, reign, verifier),
            _ => {
                let verifier = self.verifier(key.0);
                self.acknowledge(ctx, key, reign);
                Next::End(Ending::Outcome(Outcome::Committed { verifier }))
            }
        }
    }

    /// Executes a call about names, or one about an object that is no file; this appliance leads.
    pub fn execute_names(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        let volume = job.request.volume;
        let catalog = &self.volumes[&volume].catalog;
        let outcome = match &job.request.call {
            Call::LookUp { dir, name } => {
                let found = catalog.look_up(*dir, name).expect("memory does not fail");
                match found {
                    Some(found) => Outcome::Found(found.target.map(|(object, _)| object)),
                    None => Outcome::Refused(Refusal::Stale),
                }
            }
            Call::List { dir, after, max } => {
                let listed = catalog.list(*dir, *after, *max, false).expect("memory");
                match listed {
                    Some(listed) => {
                        let name = |name: &[u8]| Name::parse(name).ok();
                        let names = listed
                            .names
                            .into_iter()
                            .filter_map(|n| Some((name(&n.name)?, n.object, n.cookie)));
                        Outcome::Listed { names: names.collect(), end: listed.end }
                    }
                    None => Outcome::Refused(Refusal::Stale),
                }
            }
            Call::Change(_) => return self.change_names(ctx, job),
            Call::Read { object } | Call::Write { object, .. } | Call::Commit { object } => {
                if let Some(record) = self.record((volume, *object)) {
                    return Next::End(Ending::Moved(Some(record.owner)));
                }
                return Self::stale();
            }
        };
        Next::End(Ending::Outcome(outcome))
    }

    fn change_names(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        let Call::Change(mut change) = job.request.call.clone() else { unreachable!("it is one") };
        let volume = job.request.volume;
        let (me, wall) = (self.me, self.wall);
        if let Change::Create { owner, .. } = &mut change {
            let asker = match job.origin {
                crate::jobs::Origin::Client { .. } => me,
                crate::jobs::Origin::Peer { from, .. } => from,
            };
            let holds = self.fleet_now.volume_members(volume).contains(&asker);
            *owner = if holds { asker } else { me };
        }
        let local = self.volumes.get_mut(&volume).expect("it is open");
        let key = Some(job.request.key).filter(|_| ctx.mistake != Mistake::ForgetsNames);
        let replayed = key.map(|key| local.catalog.replayed(&key).expect("memory"));
        if let Some(Some(answer)) = replayed {
            let index = local.catalog.applied_index();
            return self.changed(ctx, job, answer, index);
        }
        if !job.runs && !local.running.insert(job.request.key) {
            return self.park(job);
        }
        job.runs = true;
        let owner = match &change {
            Change::Create { owner, .. } => Some(*owner),
            _ => None,
        };
        let asked = change.asked(Identity::root(), key, wall);
        if ctx.mistake == Mistake::RefusesFromALook {
            let preview = local.catalog.preview(&asked).expect("memory does not fail");
            if let Preview::Refused(refusal) = preview {
                return Next::End(Ending::Outcome(Outcome::Refused(refusal)));
            }
        }
        let view = self.fleet_now.view();
        let reign = Reign { view, ..Reign::default() };
        let command = match owner {
            Some(owner) => {
                let others = self.others(ctx, volume, owner);
                Command::Create { asked, others }
            }
            None => Command::Change(asked),
        };
        job.stage = Stage::Changing(Entry::volume(volume, reign, command));
        Next::Again
    }

    /// Who else gets a copy of a new file: whoever is up, as far as there are enough.
    fn others(&self, ctx: &Ctx<'_>, volume: VolumeId, owner: ApplianceId) -> Others {
        let members = self.fleet_now.volume_members(volume).iter().copied();
        let mut replicas: Vec<ApplianceId> = members.filter(|member| *member != owner).collect();
        replicas.sort_by_key(|member| !self.fleet_now.is_up(*member));
        replicas.truncate(self.wanted(ctx, volume) - 1);
        let stale = replicas.iter().copied().filter(|a| !self.fleet_now.is_up(*a)).collect();
        Others { replicas: replicas.into(), stale }
    }

    /// A change of names is applied: those who own what it touched must know before it is answered.
    fn changed(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        answer: catalog::Answer,
        index: Index,
    ) -> Next {
        let outcome = match answer {
            Ok(Some(changed)) => {
                // Nobody can know anything old of what is new.
                let before = Some(changed.object).filter(|_| !changed.created);
                let touched = [before, changed.removed];
                let outcome = Outcome::Changed(changed.object);
                let left = self.who_must_know(ctx, job.request.volume, &touched);
                let left = left.into_iter().map(|appliance| (appliance, None)).collect();
                job.stage = Stage::Telling { left, index, outcome };
                return Next::Again;
            }
            // Only our view was too old: the log has a newer Reign.
            Err(Refusal::Fenced) => return self.park(job),
            Ok(None) => Outcome::Refused(Refusal::Fault),
            Err(refusal) => Outcome::Refused(refusal),
        };
        if !self.has_lease(ctx.mistake) {
            return self.park(job);
        }
        Next::End(Ending::Outcome(outcome))
    }

    /// Whoever may answer for these files: every other member that is up. Which of them the record
    /// named is not known any more once the file is gone.
    fn who_must_know(
        &self,
        ctx: &Ctx<'_>,
        volume: VolumeId,
        touched: &[Option<ObjectId>],
    ) -> Vec<ApplianceId> {
        if ctx.mistake == Mistake::OwnersMayNotKnow || touched.iter().all(Option::is_none) {
            return Vec::new();
        }
        let members = self.fleet_now.volume_members(volume).iter().copied();
        members.filter(|member| *member != self.me && self.fleet_now.is_up(*member)).collect()
    }

    fn poll_telling(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        let volume = job.request.volume;
        let Stage::Telling { left, index, outcome } = &mut job.stage else { return Next::Wait };
        let (index, now) = (*index, self.now);
        let mut still = Vec::new();
        for (appliance, asked) in std::mem::take(left) {
            let told = asked
                .is_some_and(|(ask, _)| matches!(self.replies.remove(&ask), Some(Reply::Done)));
            // Called down: its lease has ended.
            if told || !self.fleet_now.is_up(appliance) {
                continue;
            }
            let asked = match asked {
                Some((ask, until)) if now < until => (ask, until),
                _ => {
                    let ask = self.ask(ctx, appliance, Ask::AppliedUpTo { volume, index });
                    (ask, now + TOLD_WAIT)
                }
            };
            still.push((appliance, Some(asked)));
        }
        let done = still.is_empty();
        let outcome = outcome.clone();
        if let Stage::Telling { left, .. } = &mut job.stage {
            *left = still;
        }
        match done {
            false if now < job.until => Next::Wait,
            false => {
                job.unknown = true;
                self.park(job)
            }
            true if self.has_lease(ctx.mistake) => Next::End(Ending::Outcome(outcome)),
            true => self.park(job),
        }
    }
}

const TOLD_WAIT: Duration = Duration::from_millis(250);
