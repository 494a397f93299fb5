//! What other appliances say to this one, and what it answers at once.

use model::{ApplianceId, Index, VolumeId};
use ownership::Claim;
use ownership::lease::{HolderEvent, KeeperEvent};

use consensus::Event;

use crate::config::Mistake;
use crate::jobs::{Job, Origin};
use crate::process::{Ctx, Out, Process};
use crate::words::{Ask, Message, Reply, Request};

impl Process {
    pub fn hear(&mut self, ctx: &mut Ctx<'_>, from: ApplianceId, message: Message) {
        match message {
            Message::Raft(group, message) => {
                self.events.push(Event::Receive { group, from, message });
            }
            Message::Beat(beat) => self.keep(ctx, KeeperEvent::Beat(beat)),
            Message::Answer(answer) => self.hold(ctx, HolderEvent::Answered(answer)),
            Message::Ask(number, ask) => self.asked_by(ctx, (from, number), ask),
            Message::Reply(number, reply) => {
                if !self.take_image(ctx, number, &reply) && self.asked.remove(&number) {
                    self.replies.insert(number, reply);
                    self.again = true;
                }
            }
            Message::Stream { stream, piece } => self.take_piece(ctx, from, stream, piece),
        }
    }

    fn asked_by(&mut self, ctx: &mut Ctx<'_>, from: (ApplianceId, u64), ask: Ask) {
        let reply = match ask {
            Ask::Forward { request, view, epoch, index } => {
                let claim = match epoch {
                    Some(epoch) => Claim::Forwarded { view, epoch },
                    // Its sender holds nothing of the volume and learns the epoch from our answer.
                    None => Claim::Forwarded { view, epoch: model::Epoch::default() },
                };
                return self.forwarded(
                    Origin::Peer { from: from.0, ask: from.1 },
                    request,
                    claim,
                    index,
                );
            }
            Ask::Propose { group, data } => return self.propose_for(ctx, from, group, data),
            Ask::AppliedUpTo { volume, index } => {
                self.awaited.push((from.0, from.1, volume, index));
                self.again = true;
                return;
            }
            Ask::Answers { key, answers, anew } => {
                let anew = anew && ctx.mistake != Mistake::KeepsUndoneCalls;
                self.take_answers(from.0, key, (answers, anew))
            }
            Ask::Image { group } => self.image_of(group),
            Ask::Copy { key, under, what } => return self.follow(from, key, under, what),
        };
        ctx.out.push(Out::Send { to: from.0, message: Message::Reply(from.1, reply) });
    }

    fn forwarded(&mut self, origin: Origin, request: Request, claim: Claim, index: Index) {
        let number = self.number();
        self.jobs.insert(number, Job::new(origin, request, claim, index, self.now));
    }

    /// A client's call.
    pub fn called(&mut self, ctx: &Ctx<'_>, conn: u64, request: Request) {
        self.conns.insert(conn);
        let number = self.number();
        let origin = Origin::Client { conn };
        // Sent again over the same connection: the first one's answer goes there.
        let same = |job: &Job| job.origin == origin && job.request.key == request.key;
        if self.jobs.values().any(same) && ctx.mistake != Mistake::BeginsDoubles {
            return;
        }
        let job = Job::new(origin, request, Claim::Client, Index::default(), self.now);
        self.jobs.insert(number, job);
    }

    /// Answers those who wait until entries are applied here.
    pub fn answer_awaited(&mut self, ctx: &mut Ctx<'_>) {
        for (to, ask, volume, index) in std::mem::take(&mut self.awaited) {
            if self.applied_index(VolumeId::new(volume.get()).into()) >= index {
                let message = Message::Reply(ask, Reply::Done);
                ctx.out.push(Out::Send { to, message });
            } else {
                self.awaited.push((to, ask, volume, index));
            }
        }
    }
}
