//! The world: true time, the network, the appliances and their clients.
//!
//! Invariant: everything follows from the configuration's seed. Time moves from event to event;
//! each appliance sees it through a clock of its own speed. Absent on purpose: decisions of
//! appliances, and what is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{ApplianceId, ObjectRecord, VolumeId};

use crate::chance::Chance;
use crate::checks::{self, Violation};
use crate::clients::{Client, ClientEvent};
use crate::config::{Config, Mistake};
use crate::disk::{Disk, File};
use crate::genesis;
use crate::history::{History, Loss};
use crate::process::{Ctx, Input, Out, Process};
use crate::words::{Key, Message, Piece};

/// A machine: a clock, a disk, and a process if it runs.
pub struct Machine {
    pub id: ApplianceId,
    /// Parts in a million that its clock is fast.
    pub rate: i64,
    offset: Duration,
    pub process: Option<Process>,
    disk: Option<Disk>,
    pub paused_until: u64,
    pub runs: u64,
    /// Connections up to this number were closed.
    deaf_to: u64,
}

/// What is to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// To a process; of a run that is over it is forgotten.
    Process {
        to: usize,
        run: u64,
        input: Input,
    },
    /// Whatever runs there.
    Machine {
        to: usize,
        input: Input,
    },
    Boot(usize),
    Client {
        number: usize,
        event: ClientEvent,
    },
    Stroke,
    Move,
    /// That one's disk.
    Spoil(usize),
    Rot,
}

pub struct World {
    pub config: Config,
    pub chance: Arc<Chance>,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    posted: u64,
    pub machines: Vec<Machine>,
    pub clients: Vec<Client>,
    pub history: History,
    /// Nothing gets from one to the other until then.
    pub cuts: BTreeMap<(usize, usize), u64>,
    pub calm: bool,
    broken: BTreeSet<u64>,
    ordered: BTreeMap<(usize, usize), u64>,
    /// Connections: whose, and to which appliance.
    pub conns: BTreeMap<u64, (usize, usize)>,
    pub next_conn: u64,
    /// Files that somebody was told of.
    pub files: Vec<Key>,
    pub events: u64,
    /// What a scenario wants to see or change on its way; true drops the message.
    pub tap: Option<Tap>,
}

pub type Tap = Box<dyn FnMut(usize, usize, &Message) -> bool>;

impl World {
    pub fn new(config: Config) -> Self {
        let chance = Arc::new(Chance::new(config.seed));
        let disks = genesis::disks(&config);
        let spread = match config.mistake {
            Mistake::WildClocks => 250_000,
            _ => 4_500,
        };
        let machine = |(at, disk): (usize, Disk)| Machine {
            id: ApplianceId::new(at as u64 + 1),
            rate: chance.below(2 * spread + 1) as i64 - spread as i64,
            offset: Duration::from_millis(10_000 + chance.below(1_000_000)),
            process: None,
            disk: Some(disk),
            paused_until: 0,
            runs: 0,
            deaf_to: 0,
        };
        let machines: Vec<Machine> = disks.into_iter().enumerate().map(machine).collect();
        let clients = (0..config.clients as usize).map(Client::new).collect();
        let mut world = Self {
            config,
            chance,
            now: 0,
            queue: BTreeMap::new(),
            posted: 0,
            machines,
            clients,
            history: History::default(),
            cuts: BTreeMap::new(),
            calm: false,
            broken: BTreeSet::new(),
            ordered: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            files: genesis::files(&config),
            events: 0,
            tap: None,
        };
        for at in 0..world.machines.len() {
            world.boot(at, true);
        }
        world
    }

    pub fn post(&mut self, after: u64, event: Event) {
        self.posted += 1;
        self.queue.insert((self.now + after, self.posted), event);
    }

    /// Until then, or until something is found.
    pub fn run_until(&mut self, end: u64) {
        while self.history.violation.is_none() {
            let Some(entry) = self.queue.first_entry() else { break };
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.history.now = at;
            self.events += 1;
            self.happen(event);
        }
        self.now = self.now.max(end);
        self.history.now = self.now;
    }

    pub fn millis(&mut self, millis: u64) {
        self.run_until(self.now + millis * 1000);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Process { to, run, input } => {
                if self.machines[to].runs == run {
                    self.input(to, input);
                }
            }
            Event::Machine { to, input } => self.input(to, input),
            Event::Boot(at) => self.boot(at, false),
            Event::Client { number, event } => self.client_event(number, event),
            Event::Stroke => self.stroke(),
            Event::Move => self.move_something(),
            Event::Spoil(at) => self.spoil(at),
            Event::Rot => self.rot_something(),
        }
    }

    /// Gives a machine's process an input, and carries out what it does.
    pub fn input(&mut self, to: usize, input: Input) {
        let wait = self.machines[to].paused_until.saturating_sub(self.now);
        let run = self.machines[to].runs;
        if wait > 0 {
            // A process that stands still reads all of it later, in order.
            return self.post(wait, Event::Process { to, run, input });
        }
        if matches!(input, Input::Client { conn, .. } if conn <= self.machines[to].deaf_to) {
            return;
        }
        let tick = matches!(input, Input::Tick);
        let local = self.local(to);
        let Some(process) = self.machines[to].process.as_mut() else {
            return self.nobody_there(to, input);
        };
        let mut ctx = Ctx {
            time: self.now,
            chance: &self.chance,
            mistake: self.config.mistake,
            drops_copies: self.config.drops_copies,
            replicas: self.config.replicas as usize,
            history: &mut self.history,
            out: Vec::new(),
        };
        process.take(&mut ctx, local, input);
        let out = ctx.out;
        self.history.note(to as u64 + 1 + out.len() as u64 * 8);
        for out in out {
            self.carry_out(to, run, out);
        }
        if tick {
            let jitter = self.chance.below(500);
            self.post(25_300 + jitter, Event::Process { to, run, input: Input::Tick });
        }
        self.check_leases();
    }

    fn carry_out(&mut self, from: usize, run: u64, out: Out) {
        match out {
            Out::Send { to, message } => self.send(from, to.get() as usize - 1, message),
            Out::Timer { after, timer } => {
                let input = Input::Timer(timer);
                self.post(after, Event::Process { to: from, run, input });
            }
            Out::Reply { conn, key, outcome } => {
                if let Some((number, _)) = self.conns.get(&conn).copied() {
                    let after = 100 + self.chance.below(500);
                    let event = ClientEvent::Reply { conn, key, outcome };
                    self.post(after, Event::Client { number, event });
                }
            }
            Out::Hangup { conn } => self.hang_up(conn),
            Out::HangupAll => self.hang_up_all(from),
        }
    }

    /// What was sent on any connection so far is never read.
    fn hang_up_all(&mut self, at: usize) {
        self.machines[at].deaf_to = self.next_conn;
        let open: Vec<u64> =
            self.conns.iter().filter(|(_, (_, to))| *to == at).map(|(conn, _)| *conn).collect();
        open.into_iter().for_each(|conn| self.hang_up(conn));
    }

    /// An appliance closes a connection.
    fn hang_up(&mut self, conn: u64) {
        if let Some((number, _)) = self.conns.remove(&conn) {
            let after = 100 + self.chance.below(500);
            self.post(after, Event::Client { number, event: ClientEvent::Closed { conn } });
        }
    }

    fn nobody_there(&mut self, to: usize, input: Input) {
        match input {
            Input::Client { conn, .. } => self.hang_up(conn),
            Input::Peer { from, message: Message::Stream { stream, .. } } => {
                let from = from.get() as usize - 1;
                self.break_stream(stream, (from, to));
            }
            // A disk is what it is, whoever uses it.
            Input::Disk { full, failing } => {
                if let Some(disk) = self.machines[to].disk.as_mut() {
                    (disk.full, disk.failing) = (full, failing);
                }
            }
            _ => {}
        }
    }

    pub fn local(&self, at: usize) -> Duration {
        let machine = &self.machines[at];
        let micros = self.now as i64 + self.now as i64 * machine.rate / 1_000_000;
        machine.offset + Duration::from_micros(micros as u64)
    }

    fn check_leases(&mut self) {
        if self.history.downs.is_empty() {
            return;
        }
        for at in 0..self.machines.len() {
            let local = self.local(at);
            let machine = &self.machines[at];
            let Some(process) = &machine.process else { continue };
            if machine.paused_until <= self.now && process.holder.is_live(local) {
                self.history.lease_lives(machine.id, process.holder.incarnation());
            }
        }
    }

    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        if let Some(mut tap) = self.tap.take() {
            let dropped = tap(from, to, &message);
            self.tap = Some(tap);
            if dropped {
                return;
            }
        }
        let id = self.machines[from].id;
        let input = |message| Input::Peer { from: id, message };
        if from == to {
            return self.post(1, Event::Machine { to, input: input(message) });
        }
        let weather = self.config.weather;
        let cut = self.cuts.get(&(from, to)).is_some_and(|until| self.now < *until);
        let stormy = !self.calm;
        let lost = cut || stormy && self.chance.per_mille(weather.loss);
        if let Message::Stream { stream, .. } = message {
            if self.broken.contains(&stream) {
                return;
            }
            if lost {
                return self.break_stream(stream, (from, to));
            }
            let at = self.now + 150 + self.chance.below(1_500);
            let at = at.max(self.ordered.get(&(from, to)).copied().unwrap_or(0) + 1);
            self.ordered.insert((from, to), at);
            return self.post(at - self.now, Event::Machine { to, input: input(message) });
        }
        if lost {
            return;
        }
        let copies = if stormy && self.chance.per_mille(weather.doubles) { 2 } else { 1 };
        for _ in 0..copies {
            let late = stormy && self.chance.per_mille(weather.late);
            let delay =
                if late { self.chance.below(2_000_000) } else { 150 + self.chance.below(1_500) };
            self.post(delay, Event::Machine { to, input: input(message.clone()) });
        }
    }

    /// Both ends are told, in their own time.
    fn break_stream(&mut self, stream: u64, ends: (usize, usize)) {
        if !self.broken.insert(stream) {
            return;
        }
        for (to, other) in [ends, (ends.1, ends.0)] {
            let from = self.machines[other].id;
            let message = Message::Stream { stream, piece: Piece::Broken };
            let after = 20_000 + self.chance.below(50_000);
            self.post(after, Event::Machine { to, input: Input::Peer { from, message } });
        }
    }

    pub fn boot(&mut self, at: usize, clean: bool) {
        let machine = &mut self.machines[at];
        let Some(disk) = machine.disk.take() else { return };
        machine.runs += 1;
        let number = machine.id.get() << 20 | machine.runs;
        let mut process = Process::start(machine.id, disk, number, clean, &self.chance);
        if self.config.mistake == Mistake::TrustsRecords {
            process.disk.files.values_mut().for_each(File::trust);
        }
        machine.process = Some(process);
        let run = machine.runs;
        self.post(0, Event::Process { to: at, run, input: Input::Tick });
    }

    /// kill -9: the process is gone, all that it wrote is there.
    pub fn kill(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let Some(process) = machine.process.take() else { return };
        machine.runs += 1;
        machine.paused_until = 0;
        machine.disk = Some(process.disk);
        self.history.forgets(machine.id, None);
        self.hang_up_all(at);
    }

    /// The machine loses power.
    pub fn power_cut(&mut self, at: usize) {
        let acts: BTreeSet<Key> =
            self.files.iter().copied().filter(|key| self.acts_for(at, *key)).collect();
        self.kill(at);
        self.history.power_cuts.push(self.now);
        // A scenario loses all that can be lost.
        let kept = if self.calm { 0 } else { 400 };
        let Some(disk) = self.machines[at].disk.as_mut() else { return };
        for (key, verifier) in disk.power_cut(&self.chance, kept) {
            if acts.contains(&key) {
                self.history.losses.push(Loss { at: self.now, key, verifier });
            }
        }
    }

    /// Whether it is this machine's copy of a file that counts, for all that any of them knows:
    /// what a copy loses that the file has left is lost to nobody.
    fn acts_for(&self, at: usize, key: Key) -> bool {
        let Some(process) = &self.machines[at].process else { return false };
        let record = self.newest_record(key);
        let acts = record.and_then(|record| ownership::effective_owner(&record, |_| true));
        acts == Some(self.machines[at].id) && !process.hands_over(key)
    }

    /// A file's record, as whoever has applied most knows it.
    pub fn newest_record(&self, key: Key) -> Option<ObjectRecord> {
        let up = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        let holders = up.filter(|process| process.volumes.contains_key(&key.0));
        let newest = holders.max_by_key(|process| process.applied_index(key.0.into()));
        newest.and_then(|process| process.record(key))
    }

    /// How many copies a volume's files shall have.
    pub fn wanted(&self, volume: VolumeId) -> usize {
        let members = genesis::members(&self.config, volume.get()).len();
        members.min(self.config.replicas as usize)
    }

    pub fn pause(&mut self, at: usize, micros: u64) {
        self.machines[at].paused_until = self.now + micros;
    }

    /// From now on a machine's clock is so much too fast, in millionths.
    pub fn drift(&mut self, at: usize, rate: i64) {
        let before = self.local(at);
        self.machines[at].rate = rate;
        let ahead = self.local(at);
        self.machines[at].offset = (self.machines[at].offset + before).saturating_sub(ahead);
    }

    pub fn cut(&mut self, from: usize, to: usize, micros: u64) {
        self.cuts.insert((from, to), self.now + micros);
    }

    /// Fair weather from here on, everybody there.
    pub fn heal(&mut self) {
        self.calm = true;
        self.cuts.clear();
        for at in 0..self.machines.len() {
            self.boot(at, false);
            let mended = Input::Disk { full: false, failing: false };
            self.post(0, Event::Machine { to: at, input: mended });
        }
    }

    pub fn volumes(&self) -> impl Iterator<Item = VolumeId> + use<> {
        (1..=self.config.volumes).map(VolumeId::new)
    }

    pub fn verdict(&self) -> Result<(), Violation> {
        checks::all(&self.history)
    }
}
