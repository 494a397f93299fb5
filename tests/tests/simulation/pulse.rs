//! Beats and leases: drives the two lease cores of an appliance.

use consensus::Event;
use model::{ApplianceId, GroupId, Incarnation};
use ownership::FleetCommand;
use ownership::lease::{HolderEffect, HolderEvent, KeeperEffect, KeeperEvent, Round};

use crate::entering::{Entry, Fate};
use crate::process::{Ctx, Out, Process, Timer, Waiter};
use crate::words::{Entered, Message};

impl Process {
    pub fn hold(&mut self, ctx: &mut Ctx<'_>, event: HolderEvent) {
        for effect in self.holder.step(self.now, event) {
            match effect {
                HolderEffect::Send { to, beat } => {
                    ctx.out.push(Out::Send { to, message: Message::Beat(beat) });
                }
                HolderEffect::Lapsed => {
                    // Every client connection, unread requests and all.
                    self.conns.clear();
                    ctx.out.push(Out::HangupAll);
                    let after = ctx.chance.below(5_000);
                    ctx.out.push(Out::Timer { after, timer: Timer::Closed });
                }
                HolderEffect::Rejoin => self.register_at = Some(self.now),
                // Raft brings it; nothing is executed under an older one: see `Here::heard`.
                HolderEffect::Newer(_) => {}
            }
        }
    }

    pub fn keep(&mut self, ctx: &mut Ctx<'_>, event: KeeperEvent) {
        for effect in self.keeper.step(self.now, event) {
            match effect {
                KeeperEffect::Answer { to, answer } => {
                    ctx.out.push(Out::Send { to, message: Message::Answer(answer) });
                }
                KeeperEffect::StartRound(round) => {
                    let ticket = self.ticket(Waiter::Round(round));
                    self.events.push(Event::Read { group: GroupId::FLEET, ticket });
                }
                KeeperEffect::ProposeDown { appliance, incarnation } => {
                    let down = FleetCommand::Down { appliance, incarnation };
                    self.downs.push(Entry::fleet(down).about(appliance, incarnation));
                }
            }
        }
    }

    pub fn round_over(&mut self, ctx: &mut Ctx<'_>, round: Round, done: bool) {
        let event = match done {
            true => KeeperEvent::RoundDone(round),
            false => KeeperEvent::RoundFailed(round),
        };
        self.keep(ctx, event);
    }

    /// Who leads the fleet's group has changed.
    pub fn fleet_role(&mut self, ctx: &mut Ctx<'_>) {
        let (leader, term) = (self.fleet_raft.leader(), self.fleet_raft.term().get());
        if self.fleet_raft.leads() {
            if self.led != Some(term) {
                self.led = Some(term);
                self.keep(ctx, KeeperEvent::Led);
            }
        } else {
            self.led = None;
            self.keep(ctx, KeeperEvent::NotLed { leader });
        }
        self.hold(ctx, HolderEvent::Leader(leader));
    }

    /// The fleet's state has changed.
    pub fn tell_fleet(&mut self, ctx: &mut Ctx<'_>) {
        let roll = self.fleet_now.roll();
        let (me, incarnation) = (self.me, self.holder.incarnation());
        let down = roll.iter().any(|p| p.appliance == me && p.incarnation == incarnation && !p.up);
        if down && incarnation > Incarnation::default() {
            self.hold(ctx, HolderEvent::Down(incarnation));
        }
        let view = self.fleet_now.view();
        self.keep(ctx, KeeperEvent::Applied { view, roll });
        let voters = self.fleet.membership().voters;
        self.hold(ctx, HolderEvent::Voters(voters));
    }

    pub fn poll_downs(&mut self, ctx: &mut Ctx<'_>) {
        for mut entry in std::mem::take(&mut self.downs) {
            let (appliance, incarnation) = entry.accused();
            match self.poll_entry(ctx, &mut entry) {
                None => self.downs.push(entry),
                // What may yet be applied is not refused.
                Some(Fate::Unknown | Fate::Applied(Entered::Fleet(Ok(_)), _)) => {}
                Some(_) => self.keep(ctx, KeeperEvent::DownRefused { appliance, incarnation }),
            }
        }
    }
}

impl Entry {
    fn about(mut self, appliance: ApplianceId, incarnation: Incarnation) -> Self {
        self.accused = (appliance, incarnation);
        self
    }

    fn accused(&self) -> (ApplianceId, Incarnation) {
        self.accused
    }
}
