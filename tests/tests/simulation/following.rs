//! Copies that follow the owner's: sending changes to them, and making them equal.
//!
//! Invariant: a change is acknowledged when every copy that the log has for good has it. Absent on
//! purpose: what goes to whom when (`replicator::FanOut`), and the other end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use catalog::Command;
use extents::{CopyState, FrameChange};
use model::{
    ApplianceId, EXTENT_BYTES, Epoch, Incarnation, Index, Mark, ObjectRecord, Reign, RequestKey,
    Span, View, VolumeId,
};
use ownership::{Claim, Standing, copies, effective_owner};
use replicator::{Batch, FanOut, FanOutEffect, FanOutEvent, FanOutSettings, LostWhy, Told};

use crate::config::Mistake;
use crate::entering::Entry;
use crate::process::{Ctx, Process};
use crate::words::{Answered, Ask, Key, Reply};

/// The copies that follow one file of this appliance.
pub struct Fan {
    pub core: FanOut,
    /// Batches under way: to whom, which, and until when an answer counts.
    asks: BTreeMap<u64, (ApplianceId, u64, Duration)>,
    /// Batches that go to who joins once it knows the calls.
    tellings: BTreeMap<u64, (ApplianceId, Batch, Duration)>,
    lost: Vec<(ApplianceId, LostWhy)>,
    leaving: Option<Entry>,
    /// Nothing is entered before that.
    rests_until: Duration,
    equalling: Option<Equalling>,
    /// Up to where the others were told that all are alike.
    told: Mark,
}

impl Fan {
    /// Whether all copies follow, and none is being made equal.
    pub fn is_ready(&self) -> bool {
        self.core.is_joined() && self.equalling.is_none()
    }
}

/// A copy is being made equal.
enum Equalling {
    /// The gate is closed; whoever passed is still at it.
    Closing(ApplianceId),
    Asked {
        to: ApplianceId,
        ask: u64,
        step: Step,
        until: Duration,
    },
}

/// What the copy was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To forget the calls that its owner does not know.
    Forget,
    /// To take a part.
    Take { mark: Mark, last: bool },
    /// To learn the calls, now that it has their changes.
    Learn { mark: Mark },
}

/// Under what an owner sends, and how far the log must be applied to judge it.
#[derive(Clone, Copy, Debug)]
pub struct SentUnder {
    pub view: View,
    pub epoch: Epoch,
    pub index: Index,
}

/// What an owner asks of a copy.
#[derive(Clone, Debug)]
pub enum ToCopy {
    Changes {
        batch: Batch,
        /// Up to here all copies hold the same.
        settled: Mark,
    },
    /// Who joins, or is made equal, gets to know the calls that made what it has.
    Answers {
        answers: Vec<(RequestKey, Answered)>,
        /// Whether these are all that it knows.
        anew: bool,
    },
    /// What is there, and which calls about it are known?
    State,
    /// A part of all bytes.
    Equal(Part),
}

/// A part of the owner's copy, as that was at this mark; whoever has taken the last one has it.
#[derive(Clone, Debug)]
pub struct Part {
    pub mark: Mark,
    pub size: usize,
    pub offset: usize,
    pub bytes: Vec<u8>,
    pub first: bool,
    pub last: bool,
}

/// Whether a change may be made, as far as the copies go.
pub enum Joined {
    /// All copies are there.
    Ready,
    NotYet,
    /// The log must know first that this copy is stale.
    Leave(Entry),
}

impl Process {
    /// Whether all copies that count stand where the owner's does.
    pub fn join(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        record: &ObjectRecord,
        reign: Reign,
    ) -> Joined {
        if ctx.mistake != Mistake::LeavesCopiesGood
            && let Some(appliance) = self.copies(ctx, key.0, record).leave.first()
        {
            return Joined::Leave(self.stale_entry(key, record.epoch, *appliance));
        }
        let follow = self.good_others(record);
        let follows = !follow.is_empty() && ctx.mistake != Mistake::LeavesCopiesGood;
        if follows && let Some(joined) = self.recall(ctx, key, record, &follow) {
            return joined;
        }
        if !follows {
            self.witnessed.insert(key);
            if self.fans.remove(&key).is_some_and(|fan| fan.equalling.is_some()) {
                self.gates.remove(&key);
            }
            return Joined::Ready;
        }
        if !self.fans.contains_key(&key) {
            let tip = self.tip(key, reign);
            let core = FanOut::new(FanOutSettings::default(), tip);
            let fan = Fan {
                core,
                asks: BTreeMap::new(),
                tellings: BTreeMap::new(),
                lost: Vec::new(),
                leaving: None,
                rests_until: Duration::ZERO,
                equalling: None,
                told: Mark::default(),
            };
            self.fans.insert(key, fan);
        }
        let follow = self.runs(&follow);
        self.step_fan(ctx, key, |core, now| core.follow(now, &follow));
        if self.fans[&key].is_ready() { Joined::Ready } else { Joined::NotYet }
    }

    pub fn copies(
        &self,
        ctx: &Ctx<'_>,
        volume: VolumeId,
        record: &ObjectRecord,
    ) -> ownership::Copies {
        let wanted = self.wanted(ctx, volume);
        copies(record, self.me, wanted, |appliance| self.fleet_now.is_up(appliance))
    }

    /// How many copies a volume's files shall have.
    pub fn wanted(&self, ctx: &Ctx<'_>, volume: VolumeId) -> usize {
        ctx.replicas.min(self.fleet_now.volume_members(volume).len())
    }

    /// Whether the file is this appliance's, as far as is known here.
    pub fn is_owner(&self, key: Key) -> bool {
        let is_up = |appliance| self.fleet_now.is_up(appliance);
        self.record(key).and_then(|record| effective_owner(&record, is_up)) == Some(self.me)
    }

    pub fn good_others(&self, record: &ObjectRecord) -> Vec<ApplianceId> {
        let good = |a: &ApplianceId| *a != self.me && !record.stale.contains(a);
        record.replicas.iter().copied().filter(good).collect()
    }

    fn runs(&self, appliances: &[ApplianceId]) -> Vec<(ApplianceId, Incarnation)> {
        let run = |appliance: &ApplianceId| {
            let member = self.fleet_now.member(*appliance);
            (*appliance, member.map(|member| member.incarnation).unwrap_or_default())
        };
        appliances.iter().map(run).collect()
    }

    pub fn stale_entry(&self, key: Key, epoch: Epoch, appliance: ApplianceId) -> Entry {
        let stale = Command::MarkStale { object: key.1, appliance };
        Entry::volume(key.0, self.deciding(epoch), stale)
    }

    /// The name of what is here; what has none gets one.
    pub fn tip(&mut self, key: Key, reign: Reign) -> Mark {
        let file = self.disk.files.entry(key).or_default();
        file.share();
        if let CopyState::At(mark) = file.state() {
            return mark;
        }
        self.change_file(key, reign, FrameChange::Nothing, None).mark
    }

    /// Tells the core about a file's copies something, if there are any.
    pub fn step_fan(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        act: impl FnOnce(&mut FanOut, Duration) -> Vec<FanOutEffect>,
    ) {
        let Some(mut fan) = self.fans.remove(&key) else { return };
        let effects = act(&mut fan.core, self.now);
        self.carry_out(ctx, key, &mut fan, effects);
        self.fans.insert(key, fan);
    }

    /// Whether every good copy has a change.
    pub fn all_have(&self, ctx: &Ctx<'_>, key: Key, mark: Mark, durable: bool) -> bool {
        let Some(record) = self.record(key) else { return true };
        let good = self.good_others(&record);
        let careless = [Mistake::LeavesCopiesGood, Mistake::CommitsForOldCopies];
        if good.is_empty() || careless.contains(&ctx.mistake) {
            return true;
        }
        let Some(fan) = self.fans.get(&key) else { return false };
        let followed = good.iter().all(|a| fan.core.followers().any(|f| f == *a));
        if ctx.mistake == Mistake::AnswersBeforeCopies {
            return true;
        }
        let received = followed && fan.core.has_all(mark);
        let secure = fan.core.is_secure(mark) || ctx.mistake == Mistake::CommitsBeforeCopies;
        received && (!durable || secure)
    }

    pub fn ask_copy(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        epoch: Epoch,
        to: ApplianceId,
        what: ToCopy,
    ) -> u64 {
        let index = self.volumes[&key.0].catalog.applied_index();
        let under = SentUnder { view: self.fleet_now.view(), epoch, index };
        self.ask(ctx, to, Ask::Copy { key, under, what })
    }

    pub fn poll_fans(&mut self, ctx: &mut Ctx<'_>) {
        let keys: Vec<Key> = self.fans.keys().copied().collect();
        for key in keys {
            let Some(mut fan) = self.fans.remove(&key) else { continue };
            let record = self.record(key);
            let mine = self.is_owner(key) && !self.is_broken(key);
            let Some(record) = record.filter(|_| mine) else {
                if fan.equalling.is_some() {
                    self.gates.remove(&key);
                }
                continue;
            };
            let follow = self.good_others(&record);
            let mut effects = fan.core.follow(self.now, &self.runs(&follow));
            fan.lost.retain(|(appliance, _)| follow.contains(appliance));
            effects.extend(self.poll_tellings(ctx, key, &record, &mut fan));
            for (ask, (to, batch, until)) in fan.asks.clone() {
                let event = match self.replies.remove(&ask) {
                    Some(Reply::Copied(told)) => FanOutEvent::Told { from: to, batch, told },
                    None if self.now < until => continue,
                    Some(_) | None => FanOutEvent::Failed { to, batch },
                };
                self.asked.remove(&ask);
                fan.asks.remove(&ask);
                effects.extend(fan.core.step(self.now, event));
                self.again = true;
            }
            self.carry_out(ctx, key, &mut fan, effects);
            if let Some(received) = fan.core.received().filter(|_| fan.core.is_joined()) {
                self.disk.files.entry(key).or_default().settle(received);
                let tip = fan.core.tip();
                if received == tip && fan.told < tip && fan.asks.is_empty() {
                    fan.told = tip;
                    self.tell_settled(ctx, key, &record, &fan.core);
                }
            }
            self.see_to_lost(ctx, key, &record, &mut fan);
            self.fans.insert(key, fan);
        }
    }

    /// Who knows the calls gets the changes.
    fn poll_tellings(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        record: &ObjectRecord,
        fan: &mut Fan,
    ) -> Vec<FanOutEffect> {
        let mut effects = Vec::new();
        for (ask, (to, batch, until)) in std::mem::take(&mut fan.tellings) {
            match self.replies.remove(&ask) {
                Some(Reply::Copied(Told::Has { .. })) => {
                    self.send_batch(ctx, (key, record), fan, (to, batch));
                }
                None if self.now < until => {
                    fan.tellings.insert(ask, (to, batch, until));
                    continue;
                }
                Some(_) | None => {
                    let failed = FanOutEvent::Failed { to, batch: batch.number };
                    effects.extend(fan.core.step(self.now, failed));
                }
            }
            self.asked.remove(&ask);
            self.again = true;
        }
        effects
    }

    fn send_batch(
        &mut self,
        ctx: &mut Ctx<'_>,
        (key, record): (Key, &ObjectRecord),
        fan: &mut Fan,
        (to, batch): (ApplianceId, Batch),
    ) {
        let number = batch.number;
        let settled = fan.core.received().filter(|_| fan.core.is_joined());
        let what = ToCopy::Changes { batch, settled: settled.unwrap_or_default() };
        let ask = self.ask_copy(ctx, key, record.epoch, to, what);
        fan.asks.insert(ask, (to, number, self.now + BATCH_WAIT));
    }

    /// All copies are the same: each of them is to know it, so that it is sure of itself after a
    /// crash.
    fn tell_settled(&mut self, ctx: &mut Ctx<'_>, key: Key, record: &ObjectRecord, core: &FanOut) {
        let settled = core.tip();
        let (previous, frames) = (settled, Vec::new());
        let batch = Batch { number: 0, previous, frames, durable: false, joins: false };
        for to in core.followers() {
            let what = ToCopy::Changes { batch: batch.clone(), settled };
            let ask = self.ask_copy(ctx, key, record.epoch, to, what);
            // Nobody waits for what it says to that.
            self.asked.remove(&ask);
        }
    }

    /// A copy that does not keep up is made equal, if nobody has to wait for that, or left behind.
    fn see_to_lost(&mut self, ctx: &mut Ctx<'_>, key: Key, record: &ObjectRecord, fan: &mut Fan) {
        if let Some(entry) = &mut fan.leaving {
            if self.poll_entry(ctx, entry).is_some() {
                // Whatever became of it: the record says it.
                fan.leaving = None;
                fan.rests_until = self.now + LEAVE_AGAIN_AFTER;
            }
        } else if let Some(equalling) = fan.equalling.take() {
            fan.equalling = self.poll_equalling(ctx, key, record, equalling, fan);
        } else if let Some((appliance, why)) = fan.lost.first().copied()
            && self.now >= fan.rests_until
        {
            let passed = self.jobs.values().any(|job| job.passed && job.key() == Some(key));
            let free = !passed && !self.gates.contains(&key);
            if why == LostWhy::Gap && free {
                self.gates.insert(key);
                fan.equalling = Some(Equalling::Closing(appliance));
                self.again = true;
            } else {
                fan.leaving = Some(self.stale_entry(key, record.epoch, appliance));
                self.again = true;
            }
        }
    }

    fn poll_equalling(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        record: &ObjectRecord,
        equalling: Equalling,
        fan: &mut Fan,
    ) -> Option<Equalling> {
        let (to, step, told) = match equalling {
            Equalling::Closing(to) => {
                let what = ToCopy::Answers { answers: self.answers_about(key), anew: true };
                return Some(self.ask_for(ctx, (key, record), to, (Step::Forget, what)));
            }
            Equalling::Asked { to, ask, step, until } => {
                let reply = self.replies.remove(&ask);
                if reply.is_none() && self.now < until {
                    return Some(Equalling::Asked { to, ask, step, until });
                }
                self.asked.remove(&ask);
                let Some(Reply::Copied(Told::Has { mark, .. })) = reply else {
                    return self.end_equalling(key, Some((record, to, fan)));
                };
                (to, step, mark)
            }
        };
        let taking = match step {
            Step::Forget => {
                let claim = Claim::Client;
                let standing = self.standing_of(ctx, key.0, record, claim);
                let Standing::Execute { reign } = standing else {
                    return self.end_equalling(key, None);
                };
                // A name of its own: what follows upon it follows upon these very bytes.
                let naming = self.change_file(key, reign, FrameChange::Nothing, None);
                let mark = naming.mark;
                let effects = fan.core.step(self.now, FanOutEvent::Frame(naming));
                self.carry_out(ctx, key, fan, effects);
                Step::Take { mark, last: false }
            }
            Step::Take { mark, .. } if told != mark => {
                return self.end_equalling(key, Some((record, to, fan)));
            }
            Step::Take { mark, last: false } => Step::Take { mark, last: true },
            Step::Take { mark, last: true } => {
                let what = ToCopy::Answers { answers: self.answers_about(key), anew: false };
                let learn = Step::Learn { mark };
                return Some(self.ask_for(ctx, (key, record), to, (learn, what)));
            }
            Step::Learn { mark } => {
                ctx.history.follows(to, self.me, key);
                fan.lost.retain(|(appliance, _)| *appliance != to);
                let effects = fan.core.made_equal(self.now, to, mark);
                self.carry_out(ctx, key, fan, effects);
                return self.end_equalling(key, None);
            }
        };
        if self.is_rotten(key) {
            self.give_up_copy(key);
            return self.end_equalling(key, None);
        }
        let Step::Take { mark, last } = taking else { return None };
        let all = &self.disk.files[&key].now.bytes;
        let (size, half) = (all.len(), all.len() / 2);
        let (offset, bytes) =
            if last { (half, all[half..].to_vec()) } else { (0, all[..half].to_vec()) };
        let what = ToCopy::Equal(Part { mark, size, offset, bytes, first: !last, last });
        Some(self.ask_for(ctx, (key, record), to, (taking, what)))
    }

    fn ask_for(
        &mut self,
        ctx: &mut Ctx<'_>,
        (key, record): (Key, &ObjectRecord),
        to: ApplianceId,
        (step, what): (Step, ToCopy),
    ) -> Equalling {
        let ask = self.ask_copy(ctx, key, record.epoch, to, what);
        Equalling::Asked { to, ask, step, until: self.now + EQUAL_WAIT }
    }

    /// Requests go on; a copy that could not be made equal is left behind.
    fn end_equalling(
        &mut self,
        key: Key,
        failed: Option<(&ObjectRecord, ApplianceId, &mut Fan)>,
    ) -> Option<Equalling> {
        self.gates.remove(&key);
        self.again = true;
        if let Some((record, to, fan)) = failed {
            fan.leaving = Some(self.stale_entry(key, record.epoch, to));
        }
        None
    }

    fn carry_out(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        fan: &mut Fan,
        effects: Vec<FanOutEffect>,
    ) {
        for effect in effects {
            match effect {
                FanOutEffect::Send { to, batch } => {
                    let Some(record) = self.record(key) else { continue };
                    if !batch.joins || ctx.mistake == Mistake::JoinsUntold {
                        self.send_batch(ctx, (key, &record), fan, (to, batch));
                        continue;
                    }
                    let answers = self.answers_about(key);
                    let what = ToCopy::Answers { answers, anew: false };
                    let ask = self.ask_copy(ctx, key, record.epoch, to, what);
                    fan.tellings.insert(ask, (to, batch, self.now + BATCH_WAIT));
                }
                FanOutEffect::Lost { follower, why } => {
                    fan.lost.push((follower, why));
                    self.again = true;
                }
            }
        }
    }
}

/// All of a file, as one copy.
pub fn whole(bytes: &[u8]) -> FrameChange {
    let span = Span::new(0, EXTENT_BYTES).expect("it is short");
    let runs = vec![Span::new(0, bytes.len() as u64).expect("it is short")];
    FrameChange::Copy { span, runs, bytes: Bytes::copy_from_slice(bytes) }
}

/// An answer is waited for so long before the same is sent again.
const BATCH_WAIT: Duration = Duration::from_millis(400);
const LEAVE_AGAIN_AFTER: Duration = Duration::from_millis(20);
pub const EQUAL_WAIT: Duration = Duration::from_millis(500);
