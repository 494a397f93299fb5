//! Calls at one appliance: finds out who answers, executes here or has it executed there.
//!
//! Invariant: nothing is acknowledged without a live lease, nor changed without standing at the
//! moment of the change. Absent on purpose: what the call does to names and bytes (`serving`).

use std::time::Duration;

use consensus::{Event, Ticket};
use model::{ApplianceId, Epoch, Index, Mark, Refusal, Reign, VolumeId, WriteVerifier};
use ownership::{Claim, Motion, Standing, standing};

use crate::config::Mistake;
use crate::entering::{Entry, Fate};
use crate::process::{Ctx, Out, Process, Waiter};
use crate::words::{Ask, Call, How, Key, Message, Outcome, Reply, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client { conn: u64 },
    Peer { from: ApplianceId, ask: u64 },
}

/// A call that is worked at.
#[derive(Debug)]
pub struct Job {
    pub origin: Origin,
    pub request: Request,
    pub claim: Claim,
    /// What its sender had applied.
    pub index: Index,
    pub until: Duration,
    /// Looked at again not before.
    pub rest: Duration,
    pub stage: Stage,
    /// It was sent to another appliance, and nobody knows what became of it.
    pub unknown: bool,
    /// It is the one that executes its key.
    pub runs: bool,
    /// Between the file's gate and the answer.
    pub passed: bool,
    /// Its changes of names are confirmed by a round.
    pub confirmed: bool,
}

#[derive(Debug)]
pub enum Stage {
    Settle,
    Round(Ticket),
    Forwarded {
        ask: u64,
        until: Duration,
        to: ApplianceId,
    },
    /// Marks a copy elsewhere stale first.
    Leaving(Entry),
    /// Waits for its bytes to be where they must be.
    Securing(Securing),
    Changing(Entry),
    /// Waits until these know what was entered.
    Telling {
        left: Vec<(ApplianceId, Option<(u64, Duration)>)>,
        index: Index,
        outcome: Outcome,
    },
}

/// Where a call's bytes must be before it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Securing {
    /// The sync here, while it runs.
    pub sync: Option<u64>,
    /// Up to where every good copy must have all.
    pub mark: Mark,
    /// How durable.
    pub how: How,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Of before the bytes were written.
    pub verifier: WriteVerifier,
}

/// How a job ends here.
pub enum Ending {
    Outcome(Outcome),
    Moved(Option<ApplianceId>),
    Behind(Epoch),
    /// Nobody knows what became of it: the client asks again with the same call.
    Hangup,
}

/// What one look at a job brings.
pub enum Next {
    Wait,
    Again,
    End(Ending),
}

impl Job {
    pub fn new(
        origin: Origin,
        request: Request,
        claim: Claim,
        index: Index,
        now: Duration,
    ) -> Self {
        let patience = match origin {
            Origin::Client { .. } => PARK_MAX,
            Origin::Peer { .. } => PARK_MAX / 2,
        };
        Self {
            origin,
            request,
            claim,
            index,
            until: now + patience,
            rest: Duration::ZERO,
            stage: Stage::Settle,
            unknown: false,
            runs: false,
            passed: false,
            confirmed: false,
        }
    }

    pub fn key(&self) -> Option<Key> {
        self.request.call.object().map(|object| (self.request.volume, object))
    }
}

impl Process {
    pub fn poll_jobs(&mut self, ctx: &mut Ctx<'_>) {
        self.answer_awaited(ctx);
        let numbers: Vec<u64> = self.jobs.keys().copied().collect();
        for number in numbers {
            let Some(mut job) = self.jobs.remove(&number) else { continue };
            let ending = loop {
                match self.poll_job(ctx, &mut job) {
                    Next::Wait => break None,
                    Next::Again => {}
                    Next::End(ending) => break self.end(ctx, &mut job, ending),
                }
            };
            match ending {
                Some(()) => self.release(&mut job),
                None => drop(self.jobs.insert(number, job)),
            }
        }
    }

    fn poll_job(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        match &mut job.stage {
            Stage::Settle => self.settle_job(ctx, job),
            Stage::Round(ticket) => {
                let Some(Some(fate)) = self.fates.get(ticket).cloned() else { return Next::Wait };
                self.fates.remove(ticket);
                job.stage = Stage::Settle;
                job.confirmed = matches!(fate, Fate::Ready);
                if !job.confirmed {
                    job.rest = self.now + LOOK_AGAIN;
                }
                Next::Again
            }
            Stage::Forwarded { ask, until, to } => {
                let (ask, until, to) = (*ask, *until, *to);
                self.poll_forwarded(ctx, job, ask, until, to)
            }
            Stage::Leaving(_) | Stage::Securing(_) | Stage::Changing(_) | Stage::Telling { .. } => {
                self.poll_serving(ctx, job)
            }
        }
    }

    /// Ends a job, unless what was done may not be said: then it goes on.
    fn end(&mut self, ctx: &mut Ctx<'_>, job: &mut Job, ending: Ending) -> Option<()> {
        match job.origin {
            Origin::Client { conn } => match ending {
                Ending::Outcome(outcome) => {
                    let key = job.request.key;
                    if self.conns.contains(&conn) {
                        ctx.out.push(Out::Reply { conn, key, outcome });
                    }
                }
                Ending::Hangup | Ending::Moved(_) | Ending::Behind(_) => {
                    if self.conns.remove(&conn) {
                        ctx.out.push(Out::Hangup { conn });
                    }
                }
            },
            Origin::Peer { from, ask } => {
                let reply = match ending {
                    Ending::Outcome(Outcome::Busy) => Reply::Moved(None),
                    Ending::Outcome(outcome) => Reply::Returned(outcome),
                    Ending::Moved(to) => Reply::Moved(to),
                    Ending::Behind(epoch) => Reply::Behind { epoch },
                    Ending::Hangup => Reply::Unknown,
                };
                let message = Message::Reply(ask, reply);
                ctx.out.push(Out::Send { to: from, message });
            }
        }
        Some(())
    }

    /// Gives up what a job held.
    pub fn release(&mut self, job: &mut Job) {
        if std::mem::take(&mut job.runs)
            && let Some(local) = self.volumes.get_mut(&job.request.volume)
        {
            local.running.remove(&job.request.key);
            self.again = true;
        }
        if std::mem::take(&mut job.passed) {
            self.again = true;
        }
    }

    /// Finds out who answers, and goes there.
    fn settle_job(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        if let Origin::Client { conn } = job.origin
            && !self.conns.contains(&conn)
            && ctx.mistake != Mistake::ForwardsForTheGone
        {
            return Next::End(Ending::Hangup);
        }
        if self.now >= job.until {
            // Any sending of a change may be the second, and the first may still be done.
            let again = job.unknown
                || job.request.call.changes() && ctx.mistake != Mistake::HasChangesComeBack;
            let ending = match (again, job.origin) {
                (false, Origin::Client { .. }) => Ending::Outcome(Outcome::Busy),
                (_, Origin::Peer { .. }) if !job.unknown => Ending::Moved(None),
                _ => Ending::Hangup,
            };
            return Next::End(ending);
        }
        if self.now < job.rest {
            return Next::Wait;
        }
        if !self.has_lease(ctx.mistake) {
            return self.park(job);
        }
        let volume = job.request.volume;
        let Some(local) = self.volumes.get(&volume) else { return self.without_copy(ctx, job) };
        if let Origin::Peer { .. } = job.origin
            && local.catalog.applied_index() < job.index
        {
            return self.park(job);
        }
        let Some((_, object)) = job.key() else { return self.settle_names(ctx, job) };
        let inode = local.catalog.inode(object).expect("memory does not fail");
        match inode.as_ref().and_then(|inode| inode.record()) {
            Some(record) => {
                let record = record.clone();
                self.settle_file(ctx, job, &record)
            }
            // No file, or one that the log here has not come to yet: the leader knows.
            None => self.settle_names(ctx, job),
        }
    }

    fn settle_file(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        record: &model::ObjectRecord,
    ) -> Next {
        let (volume, object) = job.key().expect("it is about a file");
        if self.gates.contains(&(volume, object)) && !job.passed {
            return self.park(job);
        }
        match self.standing_of(ctx, volume, record, job.claim) {
            Standing::Execute { reign } => self.execute_file(ctx, job, record, reign),
            Standing::Forward { to, epoch } => self.go_there(ctx, job, to, Some(epoch)),
            Standing::Behind { epoch, .. } => Next::End(Ending::Behind(epoch)),
            Standing::EnterReignFirst => {
                self.reign_in(volume);
                self.park(job)
            }
            Standing::Wait(_) | Standing::Nobody => self.park(job),
        }
    }

    /// What becomes of a call about a file with this record.
    pub fn standing_of(
        &self,
        ctx: &Ctx<'_>,
        volume: VolumeId,
        record: &model::ObjectRecord,
        claim: Claim,
    ) -> Standing {
        let here = self.here(&self.volumes[&volume], ctx.mistake);
        let claim = match claim {
            Claim::Forwarded { .. } if ctx.mistake == Mistake::IgnoresViews => Claim::Client,
            other => other,
        };
        let is_up = |appliance| {
            self.fleet_now.is_up(appliance)
                || ctx.mistake == Mistake::ActsWithoutLease && appliance == self.me
        };
        let mut record = record.clone();
        if ctx.mistake == Mistake::ServesStaleCopies
            && ownership::effective_owner(&record, is_up).is_none()
        {
            record.stale = Box::new([]);
        }
        if ctx.mistake == Mistake::TakesCopiesForOwners
            && record.replicas.contains(&self.me)
            && !record.stale.contains(&self.me)
        {
            record.owner = self.me;
        }
        standing(self.now, here, &record, is_up, Motion::Settled, claim)
    }

    fn settle_names(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        let local = &self.volumes[&job.request.volume];
        if local.raft.leads() {
            let leased = local.raft.read_lease_until() > self.now
                || ctx.mistake == Mistake::ReadsWithoutRound;
            if leased || job.confirmed {
                job.confirmed = false;
                return self.execute_names(ctx, job);
            }
            let group = job.request.volume.into();
            let ticket = self.ticket(Waiter::Here);
            self.events.push(Event::Read { group, ticket });
            job.stage = Stage::Round(ticket);
            return Next::Wait;
        }
        if ctx.mistake == Mistake::ReadsWithoutRound
            && matches!(job.request.call, Call::LookUp { .. } | Call::List { .. })
        {
            return self.execute_names(ctx, job);
        }
        match local.raft.leader() {
            Some(leader) if leader != self.me && self.fleet_now.is_up(leader) => {
                self.go_there(ctx, job, leader, None)
            }
            _ => self.park(job),
        }
    }

    /// This appliance has nothing of the volume: it asks where it was found last, or any member.
    fn without_copy(&mut self, ctx: &mut Ctx<'_>, job: &mut Job) -> Next {
        let volume = job.request.volume;
        let object = job.key().map(|(_, object)| object);
        let fleet = &self.fleet_now;
        let reachable = |a: &ApplianceId| *a != self.me && fleet.is_up(*a);
        let hint = self.hints.get(&(volume, object)).copied().filter(|(a, _)| reachable(a));
        let any = fleet.volume_members(volume).iter().copied().find(reachable);
        match (hint, any) {
            (Some((to, epoch)), _) => self.go_there(ctx, job, to, epoch),
            (None, Some(to)) => self.go_there(ctx, job, to, None),
            (None, None) => self.park(job),
        }
    }

    fn go_there(
        &mut self,
        ctx: &mut Ctx<'_>,
        job: &mut Job,
        to: ApplianceId,
        epoch: Option<Epoch>,
    ) -> Next {
        if let Origin::Peer { .. } = job.origin {
            return Next::End(Ending::Moved(Some(to)));
        }
        self.release(job);
        let volume = job.request.volume;
        let index = self.volumes.get(&volume).map(|local| local.catalog.applied_index());
        let request = job.request.clone();
        let (view, index) = (self.fleet_now.view(), index.unwrap_or_default());
        let ask = self.ask(ctx, to, Ask::Forward { request, view, epoch, index });
        job.stage = Stage::Forwarded { ask, until: self.now + FORWARD_WAIT, to };
        Next::Wait
    }

    fn poll_forwarded(
        &mut self,
        _ctx: &mut Ctx<'_>,
        job: &mut Job,
        ask: u64,
        until: Duration,
        to: ApplianceId,
    ) -> Next {
        let reply = self.replies.remove(&ask);
        if reply.is_none() && self.now < until {
            return Next::Wait;
        }
        job.stage = Stage::Settle;
        let spot = (job.request.volume, job.key().map(|(_, object)| object));
        match reply {
            Some(Reply::Returned(outcome)) => {
                let epoch = self.hints.get(&spot).and_then(|hint| hint.1);
                self.hints.insert(spot, (to, epoch));
                Next::End(Ending::Outcome(outcome))
            }
            Some(Reply::Moved(Some(next))) if next != self.me && next != to => {
                self.hints.insert(spot, (next, None));
                self.park(job)
            }
            Some(Reply::Behind { epoch }) => {
                self.hints.insert(spot, (to, Some(epoch)));
                self.park(job)
            }
            Some(_) => {
                self.hints.remove(&spot);
                self.park(job)
            }
            None => {
                self.asked.remove(&ask);
                self.hints.remove(&spot);
                job.unknown = true;
                self.park(job)
            }
        }
    }

    /// Waits until something about who may do what has changed, or for a moment.
    pub fn park(&mut self, job: &mut Job) -> Next {
        self.release(job);
        job.stage = Stage::Settle;
        job.confirmed = false;
        job.rest = self.now + LOOK_AGAIN;
        Next::Wait
    }

    /// Enters this appliance's Reign under the current view, unless that is under way.
    pub fn reign_in(&mut self, volume: VolumeId) {
        let view = self.fleet_now.view();
        let command = catalog::Command::Reign { appliance: self.me, view };
        let reign = Reign { view, ..Reign::default() };
        let local = self.volumes.get_mut(&volume).expect("it is open");
        if local.reigning.is_none() {
            local.reigning = Some((view, Entry::volume(volume, reign, command)));
            self.again = true;
        }
    }

    /// The file's record here; none if it is gone.
    pub fn record(&self, key: Key) -> Option<model::ObjectRecord> {
        let inode = self.volumes.get(&key.0)?.catalog.inode(key.1).expect("memory does not fail");
        inode.as_ref().and_then(|inode| inode.record()).cloned()
    }

    /// STALE for what is no file here.
    pub fn stale() -> Next {
        Next::End(Ending::Outcome(Outcome::Refused(Refusal::Stale)))
    }
}

/// Shorter than the appliance's, as a run is short.
pub const PARK_MAX: Duration = Duration::from_millis(2400);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const FORWARD_WAIT: Duration = Duration::from_millis(1300);
