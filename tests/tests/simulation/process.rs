//! One run of an appliance: its groups, catalogs, leases and the calls it works at.
//!
//! Invariant: everything that happens to it is an [`Input`], and everything it does to others is an
//! [`Out`]; what it decides is decided by the cores. Absent on purpose: true time; it knows its own
//! clock. What survives it is on its [`Disk`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, FleetCatalog};
use consensus::{Applied, Effect, Event, GroupView, Groups, MemoryLog, Origin, Ticket};
use model::{ApplianceId, GroupId, Incarnation, ObjectId, RequestKey, Timestamp, View, VolumeId};
use ownership::lease::{LeaseHolder, LeaseKeeper, Round};
use ownership::{Fleet, FleetCommand, Here};

use crate::breaking::Breakage;
use crate::chance::Chance;
use crate::checks::Invariant;
use crate::config::Mistake;
use crate::disk::{Disk, File, Shared, Sync};
use crate::entering::{Entry, Fate};
use crate::followed::Followed;
use crate::following::Fan;
use crate::history::History;
use crate::jobs::Job;
use crate::recalling::Recall;
use crate::receiving::Receiving;
use crate::rotting::GivenUp;
use crate::transfers::{Purpose, Transfer};
use crate::words::{Answered, Ask, Key, Message, Outcome, Reply};

/// What happens to a process.
#[derive(Clone, Debug)]
pub enum Input {
    /// Its clock has moved on.
    Tick,
    Timer(Timer),
    Peer {
        from: ApplianceId,
        message: Message,
    },
    /// A client's call on a connection.
    Client {
        conn: u64,
        request: crate::words::Request,
    },
    /// A client has closed its connection.
    Hangup {
        conn: u64,
    },
    /// The operator moves a file.
    Move {
        key: Key,
        to: ApplianceId,
    },
    /// Its disk gets full or fails, or no longer.
    Disk {
        full: bool,
        failing: bool,
    },
    /// The operator changes who takes part in a volume's group.
    /// What is there of that file rots, if another copy is good.
    Rot(Key),
    Members {
        volume: VolumeId,
        voters: Vec<ApplianceId>,
    },
}

/// What a process asked to be woken for; nothing to the next one.
#[derive(Clone, Debug)]
pub enum Timer {
    Synced(u64),
    /// Client connections of before a lapse are closed.
    Closed,
}

/// What a process does to others.
pub enum Out {
    Send {
        to: ApplianceId,
        message: Message,
    },
    Reply {
        conn: u64,
        key: RequestKey,
        outcome: Outcome,
    },
    Hangup {
        conn: u64,
    },
    /// Every connection that there is, of which it may not have heard.
    HangupAll,
    Timer {
        after: u64,
        timer: Timer,
    },
}

/// What a process may look at and do besides itself.
pub struct Ctx<'a> {
    /// True time, for the history alone.
    pub time: u64,
    pub chance: &'a Chance,
    pub mistake: Mistake,
    pub drops_copies: bool,
    /// Copies that each file shall have.
    pub replicas: usize,
    pub history: &'a mut History,
    pub out: Vec<Out>,
}

/// A volume that is open.
pub struct Local {
    pub catalog: Catalog<Shared>,
    pub raft: Arc<GroupView>,
    /// The view of this run's newest applied Reign.
    pub reigned: Option<View>,
    pub reigning: Option<(View, Entry)>,
    /// Calls that are being executed.
    pub running: BTreeSet<RequestKey>,
    /// Changes of data that were answered.
    pub answered: BTreeMap<RequestKey, Answered>,
    /// Backing files being removed.
    pub removing: Option<Entry>,
    pub dropping: Option<Entry>,
}

/// Who waits for a ticket.
pub enum Waiter {
    Here,
    Peer(ApplianceId, u64),
    Round(Round),
}

pub struct Process {
    pub me: ApplianceId,
    pub disk: Disk,
    pub now: Duration,
    pub wall: Timestamp,
    pub groups: Groups<MemoryLog>,
    pub fleet: FleetCatalog<Shared>,
    pub fleet_now: Rc<Fleet>,
    pub fleet_raft: Arc<GroupView>,
    pub volumes: BTreeMap<VolumeId, Local>,
    pub holder: LeaseHolder,
    pub keeper: LeaseKeeper,
    /// The term in which the keeper was told that it leads.
    pub led: Option<u64>,
    /// The view in which this run came up, and when that was applied here.
    pub up: Option<(View, Duration)>,
    /// Who has not said yet that it knows of this run: the ask under way, and until when.
    unaware: BTreeMap<ApplianceId, Option<(u64, Duration)>>,
    up_index: model::Index,
    /// Who was up at the last look, each in which run.
    runs: BTreeMap<ApplianceId, Incarnation>,
    pub registering: Option<Entry>,
    pub register_at: Option<Duration>,
    pub clean: bool,
    pub downs: Vec<Entry>,
    pub jobs: BTreeMap<u64, Job>,
    pub conns: BTreeSet<u64>,
    pub transfers: BTreeMap<Key, Transfer>,
    pub receivings: BTreeMap<Key, Receiving>,
    pub fans: BTreeMap<Key, Fan>,
    pub followed: Vec<Followed>,
    pub recalls: BTreeMap<Key, Recall>,
    /// Files of which all calls are known in this run that made them what they are.
    pub witnessed: BTreeSet<Key>,
    pub breakages: Vec<Breakage>,
    pub given_up: Vec<GivenUp>,
    /// Files whose hand-over is closing: nothing of them is answered.
    pub gates: BTreeSet<Key>,
    pub tickets: BTreeMap<Ticket, Waiter>,
    pub fates: BTreeMap<Ticket, Option<Fate>>,
    pub asked: BTreeSet<u64>,
    pub replies: BTreeMap<u64, Reply>,
    pub syncs: BTreeMap<u64, (Key, Sync)>,
    pub synced: BTreeSet<u64>,
    /// Syncs that failed.
    pub unsynced: BTreeSet<u64>,
    pub images: BTreeMap<u64, (GroupId, consensus::LogPoint, Duration)>,
    /// Where a volume's leader or a file's owner was found.
    pub hints: BTreeMap<(VolumeId, Option<ObjectId>), (ApplianceId, Option<model::Epoch>)>,
    /// Other appliances' asks about entries that are not applied here yet.
    pub awaited: Vec<(ApplianceId, u64, VolumeId, model::Index)>,
    pub events: Vec<Event>,
    pub again: bool,
    pub next: u64,
    pub ticks: u64,
}

impl Process {
    /// Starts on a disk. `number` tells its tickets from those of other runs.
    pub fn start(
        me: ApplianceId,
        disk: Disk,
        number: u64,
        clean: bool,
        chance: &Arc<Chance>,
    ) -> Self {
        let entropy = Arc::clone(chance);
        let groups = Groups::new(me, Arc::clone(&disk.log), entropy).with_tail(TAIL_ENTRIES);
        let fleet = FleetCatalog::open(disk.fleet.clone(), me).expect("the catalog can be read");
        let fleet_raft = groups.watch(GroupId::FLEET);
        let fleet_now = Rc::new(fleet.fleet());
        let mut process = Self {
            me,
            disk,
            now: Duration::ZERO,
            wall: Timestamp::default(),
            groups,
            fleet,
            fleet_now,
            fleet_raft,
            volumes: BTreeMap::new(),
            holder: LeaseHolder::new(me),
            keeper: LeaseKeeper::new(),
            led: None,
            up: None,
            unaware: BTreeMap::new(),
            up_index: model::Index::default(),
            runs: BTreeMap::new(),
            registering: None,
            register_at: Some(Duration::ZERO),
            clean,
            downs: Vec::new(),
            jobs: BTreeMap::new(),
            conns: BTreeSet::new(),
            transfers: BTreeMap::new(),
            receivings: BTreeMap::new(),
            fans: BTreeMap::new(),
            followed: Vec::new(),
            recalls: BTreeMap::new(),
            witnessed: BTreeSet::new(),
            breakages: Vec::new(),
            given_up: Vec::new(),
            gates: BTreeSet::new(),
            tickets: BTreeMap::new(),
            fates: BTreeMap::new(),
            asked: BTreeSet::new(),
            replies: BTreeMap::new(),
            syncs: BTreeMap::new(),
            synced: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            images: BTreeMap::new(),
            hints: BTreeMap::new(),
            awaited: Vec::new(),
            events: Vec::new(),
            again: false,
            next: number << 32,
            ticks: 0,
        };
        process.disk.files.values_mut().for_each(File::reopened);
        process.open_groups();
        process
    }

    fn open_groups(&mut self) {
        let applied = self.fleet.applied();
        self.events.push(open(GroupId::FLEET, applied));
        for (volume, store) in self.disk.volumes.clone() {
            self.open_volume(volume, store);
            let applied = self.volumes[&volume].catalog.applied();
            self.events.push(open(volume.into(), applied));
        }
    }

    /// Opens a volume's catalog.
    pub fn open_volume(&mut self, volume: VolumeId, store: Shared) {
        let founders = self.fleet_now.founders(volume);
        let local = Local {
            catalog: Catalog::open(store, founders).expect("the catalog can be read"),
            raft: self.groups.watch(volume.into()),
            reigned: None,
            reigning: None,
            running: BTreeSet::new(),
            answered: BTreeMap::new(),
            removing: None,
            dropping: None,
        };
        self.volumes.insert(volume, local);
    }

    /// Takes one input and does all that comes of it.
    pub fn take(&mut self, ctx: &mut Ctx<'_>, now: Duration, input: Input) {
        self.now = now;
        // Hours apart: nothing may hang on wall clocks.
        self.wall = Timestamp::from_nanos(ctx.time * 1000 + self.me.get() * HOUR_NANOS);
        match input {
            Input::Tick => self.tick(ctx),
            Input::Timer(Timer::Closed) => self.hold(ctx, ownership::lease::HolderEvent::Closed),
            Input::Timer(Timer::Synced(number)) => self.sync_done(ctx, number),
            Input::Peer { from, message } => self.hear(ctx, from, message),
            Input::Client { conn, request } => self.called(ctx, conn, request),
            Input::Hangup { conn } => drop(self.conns.remove(&conn)),
            Input::Move { key, to } => self.begin_transfer(ctx, key, to, Purpose::HandOver),
            Input::Disk { full, failing } => {
                (self.disk.full, self.disk.failing) = (full, failing);
            }
            Input::Rot(key) => self.rot(key),
            Input::Members { volume, voters } => {
                let ticket = self.ticket(Waiter::Here);
                let (group, learners) = (volume.into(), vec![]);
                self.events.push(Event::ChangeMembership { group, ticket, voters, learners });
            }
        }
        self.settle(ctx);
    }

    fn tick(&mut self, ctx: &mut Ctx<'_>) {
        self.ticks += 1;
        if self.groups.next_tick().is_some_and(|due| due <= self.now) {
            self.events.push(Event::Tick);
        }
        if self.ticks.is_multiple_of(2) {
            self.hold(ctx, ownership::lease::HolderEvent::Tick);
            self.keep(ctx, ownership::lease::KeeperEvent::Tick);
        }
        if self.ticks.is_multiple_of(32) {
            self.checkpoint();
        }
        if self.ticks.is_multiple_of(8) {
            self.tend(ctx);
        }
        self.images_time_out();
    }

    fn checkpoint(&mut self) {
        let index = self.fleet.checkpoint().expect("memory does not fail");
        self.events.push(Event::Checkpointed { group: GroupId::FLEET, index });
        for (volume, local) in &self.volumes {
            let index = local.catalog.checkpoint().expect("memory does not fail");
            self.events.push(Event::Checkpointed { group: (*volume).into(), index });
        }
    }

    /// Goes on until nothing more happens by itself.
    fn settle(&mut self, ctx: &mut Ctx<'_>) {
        for _ in 0..SETTLE_MAX {
            self.step_groups(ctx);
            self.again = false;
            self.poll_registering(ctx);
            self.poll_unaware(ctx);
            self.poll_downs(ctx);
            self.poll_volumes(ctx);
            self.poll_breakages(ctx);
            self.poll_given_up(ctx);
            self.poll_jobs(ctx);
            self.poll_transfers(ctx);
            self.poll_receivings(ctx);
            self.poll_followed(ctx);
            self.poll_fans(ctx);
            if self.events.is_empty() && !self.again && !self.groups.has_work() {
                return;
            }
        }
        ctx.history.breaks(Invariant::Progress, format!("{} does not settle", self.me));
    }

    fn step_groups(&mut self, ctx: &mut Ctx<'_>) {
        while !self.events.is_empty() || self.groups.has_work() {
            let events = std::mem::take(&mut self.events);
            match self.groups.step(self.now, events) {
                Ok(effects) => {
                    for effect in effects {
                        self.perform(ctx, effect);
                    }
                }
                Err(fault) => {
                    let what = format!("{}: {fault}", self.me);
                    return ctx.history.breaks(Invariant::Progress, what);
                }
            }
        }
    }

    fn perform(&mut self, ctx: &mut Ctx<'_>, effect: Effect) {
        match effect {
            Effect::Send { group, to, message } => {
                ctx.out.push(Out::Send { to, message: Message::Raft(group, message) });
            }
            Effect::Apply { group: GroupId::FLEET, entries } => self.apply_fleet(ctx, &entries),
            Effect::Apply { group, entries } => self.apply_volume(ctx, group, &entries),
            Effect::Refused { ticket, refusal: _ } => self.fate(ctx, ticket, Fate::Unknown),
            Effect::ReadReady { ticket, .. } => self.fate(ctx, ticket, Fate::Ready),
            Effect::RoleChanged { group, .. } => {
                self.again = true;
                if group == GroupId::FLEET {
                    self.fleet_role(ctx);
                }
            }
            Effect::SnapshotWanted { group } => self.make_image(group),
            Effect::InstallSnapshot { group, from, point, .. } => {
                self.fetch_image(ctx, group, from, point);
            }
            Effect::LogReset { group, .. } => self.log_was_reset(group),
            Effect::Lost { group, missing } => {
                let what = format!("{} lost entry {missing} of {group}", self.me);
                ctx.history.breaks(Invariant::NothingLost, what);
            }
            Effect::Opened { .. } | Effect::Cut { .. } | Effect::CheckpointWanted { .. } => {}
        }
    }

    /// What became of a ticket, to whoever waits for it.
    pub fn fate(&mut self, ctx: &mut Ctx<'_>, ticket: Ticket, fate: Fate) {
        match self.tickets.remove(&ticket) {
            None => {}
            Some(Waiter::Here) => {
                self.fates.insert(ticket, Some(fate));
                self.again = true;
            }
            Some(Waiter::Peer(to, ask)) => {
                let reply = match fate {
                    Fate::Applied(entered, index) => Reply::Entered(entered, index),
                    Fate::Ready | Fate::NotTaken | Fate::Unknown => Reply::Unknown,
                };
                ctx.out.push(Out::Send { to, message: Message::Reply(ask, reply) });
            }
            Some(Waiter::Round(round)) => self.round_over(ctx, round, matches!(fate, Fate::Ready)),
        }
    }

    pub fn ticket(&mut self, waiter: Waiter) -> Ticket {
        let ticket = Ticket::new(self.number());
        if let Waiter::Here = waiter {
            self.fates.insert(ticket, None);
        }
        self.tickets.insert(ticket, waiter);
        ticket
    }

    /// A number that no run of any appliance gave before.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn has_lease(&self, mistake: Mistake) -> bool {
        self.holder.is_live(self.now) || mistake == Mistake::ActsWithoutLease && self.up.is_some()
    }

    /// What this appliance knows of itself in a volume.
    pub fn here(&self, local: &Local, mistake: Mistake) -> Here {
        let view = self.fleet_now.view();
        let (up_since, up_at) = self.up.unwrap_or((view, self.now));
        let heard = self.holder.heard().max(local.catalog.newest_reign());
        let is = |wrong: Mistake| mistake == wrong;
        let lease = match is(Mistake::ActsWithoutLease) {
            true => ownership::lease::Holding::ForEver,
            false => self.holder.holding(),
        };
        Here {
            appliance: self.me,
            view,
            up_since,
            reigned: local.reigned,
            heard: if is(Mistake::ForgetsWhatItHeard) { View::default() } else { heard },
            up_for: match is(Mistake::TrustsStandIns) {
                true => Duration::MAX,
                false if self.up.is_some() && self.unaware.is_empty() => Duration::MAX,
                false => self.now.saturating_sub(up_at),
            },
            lease,
        }
    }

    /// The fleet's log has brought something.
    pub fn fleet_moved(&mut self, ctx: &mut Ctx<'_>) {
        self.fleet_now = Rc::new(self.fleet.fleet());
        self.again = true;
        self.tell_fleet(ctx);
        let up = self.fleet_now.members().iter().filter(|m| self.fleet_now.is_up(m.id));
        let now: BTreeMap<_, _> = up.map(|member| (member.id, member.incarnation)).collect();
        let before = std::mem::replace(&mut self.runs, now);
        let is_over =
            |id: &ApplianceId| before.contains_key(id) && before.get(id) != self.runs.get(id);
        for (volume, local) in &self.volumes {
            let group = (*volume).into();
            match local.raft.leader() {
                Some(leader) if is_over(&leader) => {
                    self.events.push(Event::LeaderGone { group, leader });
                }
                Some(leader) if self.fleet_now.is_up(leader) => {}
                Some(_) | None => self.events.push(Event::Wake { group }),
            }
        }
    }

    /// Asks all others whether they know of this run: then none of them acts in its stead.
    fn poll_unaware(&mut self, ctx: &mut Ctx<'_>) {
        for (other, asked) in std::mem::take(&mut self.unaware) {
            let told = asked
                .is_some_and(|(ask, _)| matches!(self.replies.remove(&ask), Some(Reply::Done)));
            // Who is called down has no lease any more.
            if told || !self.fleet_now.is_up(other) {
                self.again = true;
                continue;
            }
            let asked = match asked {
                Some((ask, until)) if self.now < until => (ask, until),
                _ => {
                    let (volume, index) = (VolumeId::new(GroupId::FLEET.get()), self.up_index);
                    let ask = self.ask(ctx, other, Ask::AppliedUpTo { volume, index });
                    (ask, self.now + REGISTER_AGAIN_AFTER)
                }
            };
            self.unaware.insert(other, Some(asked));
        }
    }

    /// Registers this run, however long that takes.
    fn poll_registering(&mut self, ctx: &mut Ctx<'_>) {
        if self.registering.is_none() && self.register_at.is_some_and(|at| at <= self.now) {
            let clean = self.clean || ctx.mistake == Mistake::CallsItselfClean;
            let up = FleetCommand::UpAt {
                appliance: self.me,
                name: self.me.to_string(),
                addresses: vec![],
                labels: ownership::Labels::default(),
                clean,
            };
            self.registering = Some(Entry::fleet(up));
            self.register_at = None;
        }
        let Some(mut entry) = self.registering.take() else { return };
        match self.poll_entry(ctx, &mut entry) {
            None => self.registering = Some(entry),
            Some(Fate::Applied(crate::words::Entered::Fleet(Ok(answer)), index)) => {
                if let ownership::FleetAnswer::Up { incarnation, view } = answer {
                    self.up = Some((view, self.now));
                    let others = self.fleet_now.members().iter().map(|member| member.id);
                    let others = others.filter(|id| *id != self.me);
                    self.unaware = others.map(|id| (id, None)).collect();
                    self.up_index = index;
                    // From here on a new registration is one of this very process.
                    self.clean = true;
                    self.hold(ctx, ownership::lease::HolderEvent::Up(incarnation));
                    self.again = true;
                }
            }
            Some(_) => self.register_at = Some(self.now + REGISTER_AGAIN_AFTER),
        }
    }
}

fn open(group: GroupId, applied: catalog::Applied) -> Event {
    let catalog::Applied { index, term, membership, installed } = applied;
    let origin = if installed { Origin::Snapshot } else { Origin::Log };
    Event::Open { group, applied: Applied { index, term, membership }, origin }
}

/// So few that a member who was away needs an image now and then.
const TAIL_ENTRIES: u64 = 24;
const REGISTER_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Far more rounds than anything takes.
const SETTLE_MAX: usize = 10_000;

const HOUR_NANOS: u64 = 3_600 * 1_000_000_000;
