//! Misfortune: what a fleet could survive, drawn from the seed.
//!
//! Invariant: nobody is away for good, and no disk loses what it made durable; so whatever a
//! checker finds is a bug.

use std::collections::VecDeque;

use model::{Cookie, ObjectId};

use crate::checks::tree::DIRECTORY;
use crate::checks::{Invariant, Violation, alike};
use crate::clients::ClientEvent;
use crate::config::Config;
use crate::process::Input;
use crate::words::Call;
use crate::world::{Event, World};

impl World {
    /// One stroke of misfortune.
    pub fn stroke(&mut self) {
        let chance = std::sync::Arc::clone(&self.chance);
        let at = chance.below(self.machines.len() as u64) as usize;
        let soon = chance.per_mille(400);
        let away = if soon { chance.below(50_000) } else { chance.below(2_600_000) };
        match chance.below(7) {
            0 | 1 => {
                match chance.per_mille(500) {
                    true => self.kill(at),
                    false => self.power_cut(at),
                }
                self.post(away, Event::Boot(at));
            }
            2 => self.pause(at, away),
            3 => {
                let number = chance.below(self.clients.len() as u64) as usize;
                self.leaves(number);
                self.post(away, Event::Client { number, event: ClientEvent::Back });
            }
            4 => {
                for other in 0..self.machines.len() {
                    if chance.per_mille(600) {
                        self.cut(at, other, away);
                    }
                    if chance.per_mille(300) {
                        self.cut(other, at, away);
                    }
                }
            }
            _ => {
                for other in 0..self.machines.len() {
                    self.cut(at, other, away);
                    self.cut(other, at, away);
                }
            }
        }
        if soon && chance.per_mille(500) {
            // Misfortune seldom comes alone.
            self.post(chance.below(400_000), Event::Stroke);
        }
    }

    /// A disk that is not what it should be, for a while.
    pub fn spoil(&mut self, at: usize) {
        let full = self.chance.per_mille(500);
        let failing = !full;
        self.post(0, Event::Machine { to: at, input: Input::Disk { full, failing } });
        let after = 50_000 + self.chance.below(1_200_000);
        let mended = Input::Disk { full: false, failing: false };
        self.post(after, Event::Machine { to: at, input: mended });
    }

    /// One of the appliances has a file that can't be read any more.
    pub fn rot_something(&mut self) {
        let at = self.chance.below(self.machines.len() as u64) as usize;
        if let Some(key) = self.chance.pick(&self.files) {
            self.post(0, Event::Machine { to: at, input: Input::Rot(key) });
        }
    }

    /// The operator moves a file somewhere.
    pub fn move_something(&mut self) {
        let (Some(key), chance) = (self.chance.pick(&self.files), self.chance.clone()) else {
            return;
        };
        let members = crate::genesis::members(&self.config, key.0.get());
        if let Some(to) = chance.pick(&members) {
            for at in 0..self.machines.len() {
                self.post(100, Event::Machine { to: at, input: Input::Move { key, to } });
            }
        }
        if !self.calm {
            self.post(100_000 + chance.below(500_000), Event::Move);
        }
    }

    /// A whole run: work in bad weather, then peace, then a look at everything.
    pub fn run(config: Config) -> (Self, Result<(), Violation>) {
        let mut world = Self::new(config);
        for number in 0..world.clients.len() {
            let after = 750_000 + world.chance.below(100_000);
            world.post(after, Event::Client { number, event: ClientEvent::Think });
        }
        for _ in 0..config.weather.strokes {
            let after = 700_000 + world.chance.below(config.work_micros);
            world.post(after, Event::Stroke);
        }
        world.post(900_000, Event::Move);
        if let Some(at) = config.bad_disk {
            for _ in 0..1 + world.chance.below(3) {
                let after = 900_000 + world.chance.below(config.work_micros);
                world.post(after, Event::Spoil(at as usize));
            }
        }
        if config.rots {
            let after = 900_000 + world.chance.below(config.work_micros);
            world.post(after, Event::Rot);
        }
        world.run_until(700_000 + config.work_micros);
        world.clients.iter_mut().for_each(|client| client.idle = true);
        world.heal();
        for number in 0..world.clients.len() {
            world.client_event(number, ClientEvent::Back);
        }
        // Whoever stands still wakes up by then, and comes back.
        world.millis(4_500);
        world.look_at_everything();
        world.wait_until_alike();
        let verdict = world.verdict();
        (world, verdict)
    }

    /// In the end all copies are good and hold the same.
    fn wait_until_alike(&mut self) {
        let end = self.now + 10_000_000;
        loop {
            match alike::check(self) {
                Ok(()) => return,
                Err(_) if self.now < end && self.history.violation.is_none() => self.millis(100),
                Err(what) => return self.history.breaks(Invariant::Alike, what),
            }
        }
    }

    /// In the end everything can be read, by anybody.
    fn look_at_everything(&mut self) {
        let mut calls: VecDeque<_> =
            self.files.iter().map(|(v, object)| (*v, Call::Read { object: *object })).collect();
        for volume in self.volumes() {
            for dir in [ObjectId::ROOT, DIRECTORY] {
                calls.push_back((volume, Call::List { dir, after: Cookie::START, max: 100 }));
            }
        }
        let count = self.clients.len();
        for (at, call) in calls.into_iter().enumerate() {
            self.clients[at % count].script.push_back(call);
        }
        for number in 0..count {
            self.post(0, Event::Client { number, event: ClientEvent::Think });
        }
        let end = self.now + 8_000_000;
        while self.now < end && self.history.violation.is_none() {
            let done = |c: &crate::clients::Client| c.op.is_none() && c.script.is_empty();
            if self.clients.iter().all(done) {
                return;
            }
            self.millis(50);
        }
        for client in &self.clients {
            if let Some(op) = client.op {
                let call = self.history.ops[op].request.call.clone();
                let volume = self.history.ops[op].request.volume;
                let what = format!("in peace, {call:?} of volume {volume} is never answered");
                self.history.breaks(Invariant::Progress, what);
            }
        }
    }
}
