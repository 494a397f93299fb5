//! Copies here of other appliances' files: what their owners send to them.
//!
//! Invariant: a copy takes changes from its file's owner alone, and knows of no call whose change
//! it does not have. Absent on purpose: what a copy takes (`replicator::admit`,
//! `ownership::following`).

use std::time::Duration;

use extents::{Admission, CopyState, Frame, admit};
use model::{ApplianceId, Mark, Refusal, RequestKey};
use ownership::{Following, Sender, following};
use replicator::{Batch, Told};

use crate::config::Mistake;
use crate::following::{SentUnder, ToCopy};
use crate::process::{Ctx, Out, Process};
use crate::words::{Answered, How, Key, Message, Outcome, Reply};

/// What is asked of a copy here, and waits.
pub struct Followed {
    from: ApplianceId,
    ask: u64,
    key: Key,
    under: SentUnder,
    what: ToCopy,
    until: Duration,
    /// Being made durable.
    sync: Option<(u64, Mark)>,
}

impl Process {
    /// An owner sends something to the copy here.
    pub fn follow(&mut self, from: (ApplianceId, u64), key: Key, under: SentUnder, what: ToCopy) {
        let (from, ask) = from;
        let until = self.now + EARLY_WAIT;
        self.followed.push(Followed { from, ask, key, under, what, until, sync: None });
        self.again = true;
    }

    pub fn poll_followed(&mut self, ctx: &mut Ctx<'_>) {
        for mut followed in std::mem::take(&mut self.followed) {
            match self.poll_one_followed(ctx, &mut followed) {
                Some(told) => {
                    let reply = match (&followed.what, told) {
                        (ToCopy::State, Told::Has { .. }) => {
                            let file = self.disk.files.entry(followed.key).or_default();
                            let state = file.state();
                            let answers = self.answers_about(followed.key);
                            Reply::Held { state, answers }
                        }
                        (_, told) => Reply::Copied(told),
                    };
                    let message = Message::Reply(followed.ask, reply);
                    ctx.out.push(Out::Send { to: followed.from, message });
                    self.again = true;
                }
                None => self.followed.push(followed),
            }
        }
    }

    fn poll_one_followed(&mut self, ctx: &mut Ctx<'_>, followed: &mut Followed) -> Option<Told> {
        if let Some((number, mark)) = followed.sync
            && !self.is_broken(followed.key)
        {
            let synced = self.synced.remove(&number);
            return synced.then_some(Told::Has { mark, durable: true });
        }
        let late = self.now >= followed.until;
        let key = followed.key;
        if self.is_broken(key) {
            return Some(Told::Refused(Refusal::Fault));
        }
        match self.takes_from(ctx, followed) {
            Following::Take => {}
            Following::Wait if !late => return None,
            Following::Wait | Following::Behind | Following::Not => return Some(Told::NotNow),
        }
        let brings = match &followed.what {
            ToCopy::Changes { batch, .. } => !batch.frames.is_empty(),
            ToCopy::State | ToCopy::Answers { .. } => false,
            ToCopy::Equal(_) => true,
        };
        if self.disk.full && brings && ctx.mistake != Mistake::LiesWhenFull {
            return Some(Told::Refused(Refusal::NoSpace));
        }
        match &followed.what {
            ToCopy::Equal(part) => {
                let file = self.disk.files.entry(key).or_default();
                let late = file.is_newer(part) && ctx.mistake != Mistake::FollowsAnybody;
                let goes_on = file.goes_on_with(part) || ctx.mistake == Mistake::MendsHalf;
                if late || !goes_on && ctx.mistake != Mistake::FollowsAnybody {
                    return Some(Told::Refused(Refusal::Fenced));
                }
                file.share();
                file.make_equal(part);
                Some(Told::Has { mark: part.mark, durable: false })
            }
            // What is asked is looked up when it is answered.
            ToCopy::State => Some(Told::Has { mark: Mark::default(), durable: false }),
            ToCopy::Answers { answers, anew } => {
                let answers = answers.clone();
                self.learn_answers(ctx, key, answers, *anew);
                Some(Told::Has { mark: Mark::default(), durable: false })
            }
            ToCopy::Changes { batch, settled } => {
                let (batch, settled) = (batch.clone(), *settled);
                let joins = batch.joins;
                let told = self.take_changes(ctx, followed, batch, late);
                if matches!(told, Some(Told::Has { .. })) || followed.sync.is_some() {
                    self.disk.files.entry(key).or_default().settle(settled);
                    if joins {
                        ctx.history.follows(self.me, followed.from, key);
                        self.witnessed.insert(key);
                    }
                }
                told
            }
        }
    }

    fn take_changes(
        &mut self,
        ctx: &mut Ctx<'_>,
        followed: &mut Followed,
        batch: Batch,
        late: bool,
    ) -> Option<Told> {
        let key = followed.key;
        let Batch { previous, frames, durable, .. } = batch;
        let marks: Vec<Mark> = frames.iter().map(|frame| frame.mark).collect();
        let file = self.disk.files.entry(key).or_default();
        file.share();
        let state = file.state();
        if self.disk.full && ctx.mistake == Mistake::LiesWhenFull {
            let mark = marks.last().copied().unwrap_or(previous);
            return Some(Told::Has { mark, durable });
        }
        let admission = match ctx.mistake {
            Mistake::TakesChangesAsTheyCome => Admission::Execute { skip: 0 },
            _ => admit(state, previous, &marks),
        };
        match admission {
            Admission::Execute { skip } => {
                let given = self.disk.files[&key].now.mark;
                let old = frames[skip..].first().is_some_and(|frame| frame.mark <= given);
                if old && ctx.mistake != Mistake::TakesChangesAsTheyCome {
                    return Some(Told::Refused(Refusal::Invalid));
                }
                self.execute_changes(ctx, key, &frames[skip..]);
            }
            Admission::There => {}
            Admission::Early if !late => return None,
            _ if ctx.mistake == Mistake::TakesTailsForEqual => {
                self.execute_changes(ctx, key, &frames);
            }
            Admission::Early | Admission::Gap => return Some(Told::Gap),
        }
        let CopyState::At(mark) = self.disk.files[&key].state() else { return Some(Told::Gap) };
        let mark = match ctx.mistake {
            Mistake::TakesChangesAsTheyCome | Mistake::TakesTailsForEqual => {
                marks.last().copied().unwrap_or(previous)
            }
            _ => mark,
        };
        if durable {
            followed.sync = Some((self.sync(ctx, key), mark));
            return None;
        }
        Some(Told::Has { mark, durable: false })
    }

    /// Whoever has a change knows the call that made it.
    fn execute_changes(&mut self, ctx: &mut Ctx<'_>, key: Key, frames: &[Frame]) {
        let verifier = self.verifier(key.0);
        let file = self.disk.files.entry(key).or_default();
        let local = self.volumes.get_mut(&key.0).expect("it takes");
        for frame in frames {
            file.apply(frame, None);
            if let Some(request) = frame.key
                && ctx.mistake != Mistake::ForgetsWhoseChanges
            {
                let outcome = Outcome::Wrote { how: How::Unstable, verifier };
                let answered = Answered { object: key.1, outcome, mark: frame.mark };
                local.answered.entry(request).or_insert(answered);
            }
            if let Some(request) = frame.key {
                ctx.history.knows(self.me, key, request);
            }
        }
    }

    /// Whoever joins is told of all calls, and believes what its copy has come to: of what comes it
    /// learns with the change itself.
    fn learn_answers(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        mut answers: Vec<(RequestKey, Answered)>,
        anew: bool,
    ) {
        let state = self.disk.files.entry(key).or_default().state();
        if ctx.mistake != Mistake::BelievesWhatIsToCome {
            answers.retain(|(_, answered)| match state {
                CopyState::At(mark) => answered.mark <= mark,
                CopyState::InDoubt => answered.mark == Mark::default(),
            });
        }
        let local = self.volumes.get_mut(&key.0).expect("it takes");
        if anew && ctx.mistake != Mistake::KeepsUndoneCalls {
            // It is about to hold something else: before it owns the file, others that are sure of
            // theirs are asked.
            self.witnessed.remove(&key);
            local.answered.retain(|_, answered| answered.object != key.1);
            ctx.history.forgets(self.me, Some(key));
        }
        for (request, answered) in answers {
            local.answered.entry(request).or_insert(answered);
        }
    }

    fn takes_from(&self, ctx: &Ctx<'_>, followed: &Followed) -> Following {
        let Followed { from, key, under, .. } = *followed;
        let Some(local) = self.volumes.get(&key.0) else { return Following::Wait };
        if local.catalog.applied_index() < under.index {
            return Following::Wait;
        }
        // Gone: there is nothing to follow.
        let Some(record) = self.record(key) else { return Following::Not };
        if ctx.mistake == Mistake::FollowsAnybody {
            return Following::Take;
        }
        let sender = Sender { appliance: from, view: under.view, epoch: under.epoch };
        let is_up = |appliance| self.fleet_now.is_up(appliance);
        following(self.me, self.fleet_now.view(), &record, is_up, sender)
    }
}

/// Longer than a predecessor is on its way.
const EARLY_WAIT: Duration = Duration::from_millis(300);
