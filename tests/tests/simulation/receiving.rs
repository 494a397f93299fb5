//! The other end of a hand-over: a copy is received, and is none that counts until the log says so.

use std::collections::VecDeque;

use model::{ApplianceId, Epoch, Index};
use replicator::Message as Word;
use replicator::cores::{ReceiveCore, ReceiveEffect, ReceiveEvent};

use crate::config::Mistake;
use crate::process::{Ctx, Out, Process};
use crate::words::{Key, Message, Piece};

/// One file that is being received, or was and its fate is not known.
pub struct Receiving {
    pub from: ApplianceId,
    stream: u64,
    /// Its opening, until the log here has come far enough.
    opening: Option<(Epoch, Index)>,
    core: ReceiveCore,
    waiting: VecDeque<Word>,
    /// Whether a receipt of this run is there: a new run knows of nothing.
    begun: bool,
    work: Option<(u64, Work)>,
}

enum Work {
    Round(replicator::Round),
    Finish,
}

impl Process {
    /// A piece of a stream has come, to either end.
    pub fn take_piece(&mut self, ctx: &mut Ctx<'_>, from: ApplianceId, stream: u64, piece: Piece) {
        match piece {
            Piece::Open { key, epoch, index } => {
                let receiving = self.receivings.entry(key).or_insert_with(|| Receiving {
                    from,
                    stream,
                    opening: None,
                    core: ReceiveCore::default(),
                    waiting: VecDeque::new(),
                    begun: false,
                    work: None,
                });
                receiving.core.opened();
                if ctx.mistake == Mistake::HearsOldChannels {
                    receiving.core = ReceiveCore::default();
                }
                (receiving.from, receiving.stream) = (from, stream);
                receiving.opening = Some((epoch, index));
                receiving.waiting.clear();
                receiving.work = None;
            }
            Piece::Down(word) => {
                let found = self.receivings.values_mut().find(|r| r.stream == stream);
                match found {
                    Some(receiving) => receiving.waiting.push_back(word),
                    None => self.break_stream(ctx, from, stream),
                }
            }
            piece @ (Piece::Up(_) | Piece::Broken) => self.take_answer(ctx, stream, piece),
        }
    }

    fn break_stream(&self, ctx: &mut Ctx<'_>, to: ApplianceId, stream: u64) {
        let message = Message::Stream { stream, piece: Piece::Broken };
        ctx.out.push(Out::Send { to, message });
    }

    pub fn poll_receivings(&mut self, ctx: &mut Ctx<'_>) {
        let keys: Vec<Key> = self.receivings.keys().copied().collect();
        for key in keys {
            let Some(mut receiving) = self.receivings.remove(&key) else { continue };
            if self.poll_receiving(ctx, key, &mut receiving) {
                self.receivings.insert(key, receiving);
            }
        }
    }

    /// Whether it is to be kept.
    fn poll_receiving(&mut self, ctx: &mut Ctx<'_>, key: Key, receiving: &mut Receiving) -> bool {
        if let Some((epoch, index)) = receiving.opening {
            if self.applied_index(key.0.into()) < index {
                return true;
            }
            // The copy here is none that counts, and its owner sends it in its epoch.
            let me = self.me;
            let may = self.volumes.contains_key(&key.0)
                && self
                    .record(key)
                    .is_some_and(|record| record.epoch == epoch && record.stale.contains(&me));
            if !may {
                self.break_stream(ctx, receiving.from, receiving.stream);
                return false;
            }
            receiving.opening = None;
        }
        if let Some((number, work)) = &receiving.work
            && self.synced.remove(number)
        {
            let event = match work {
                Work::Round(round) => {
                    let mark = self.disk.files.entry(key).or_default().now.mark;
                    ReceiveEvent::Synced(*round, mark)
                }
                Work::Finish => ReceiveEvent::Ended,
            };
            receiving.work = None;
            if !self.receive_step(ctx, key, receiving, event) {
                return false;
            }
        }
        while receiving.work.is_none() && receiving.core.wants_more() {
            let Some(word) = receiving.waiting.pop_front() else { break };
            if !self.receive_step(ctx, key, receiving, ReceiveEvent::Message(word)) {
                return false;
            }
        }
        true
    }

    fn receive_step(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        receiving: &mut Receiving,
        event: ReceiveEvent,
    ) -> bool {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in receiving.core.step(event) {
                let (to, stream) = (receiving.from, receiving.stream);
                let mut answer = |word: Word| {
                    let message = Message::Stream { stream, piece: Piece::Up(word) };
                    ctx.out.push(Out::Send { to, message });
                };
                match effect {
                    ReceiveEffect::Begin(_, base) => {
                        let older = self.disk.files.entry(key).or_default().begin(&base);
                        receiving.begun = true;
                        ctx.history.forgets(self.me, Some(key));
                        events.push_back(ReceiveEvent::Begun(older.into()));
                    }
                    ReceiveEffect::Recall => {
                        let file = self.disk.files.get(&key).filter(|_| receiving.begun);
                        events.push_back(ReceiveEvent::Recalled(file.map(|file| file.now.mark)));
                    }
                    ReceiveEffect::Apply(frames) => {
                        let file = self.disk.files.entry(key).or_default();
                        frames.iter().for_each(|frame| file.apply(frame, None));
                        events.push_back(ReceiveEvent::Applied);
                    }
                    ReceiveEffect::Compare(extents) => {
                        let held = self.disk.files.entry(key).or_default().hash();
                        let held = extents.clone().map(|_| held).collect();
                        events.push_back(ReceiveEvent::Compared(extents.start, held));
                    }
                    ReceiveEffect::Sync(round) => {
                        receiving.work = Some((self.sync(ctx, key), Work::Round(round)));
                    }
                    ReceiveEffect::Finish(base, durable) => {
                        // There is nobody but its owner, and that one has all of it.
                        let alike = self.record(key).is_some_and(|r| r.replicas.len() <= 2);
                        let file = self.disk.files.entry(key).or_default();
                        file.received(&base);
                        ctx.history.follows(self.me, receiving.from, key);
                        if alike {
                            file.share();
                            file.settle(file.name());
                        }
                        if file.durable() < durable {
                            receiving.work = Some((self.sync(ctx, key), Work::Finish));
                        } else {
                            events.push_back(ReceiveEvent::Ended);
                        }
                    }
                    ReceiveEffect::Answer(word) => answer(word),
                    ReceiveEffect::Done(base) => answer(Word::Finished { mark: base.mark }),
                    ReceiveEffect::Refuse(refusal) => {
                        answer(Word::Refused { refusal });
                    }
                }
            }
        }
        true
    }
}
