//! The main loop: waits for an event, asks the machines what to do, and does it.
//!
//! Invariant: this loop never waits for a disk, a program or another machine; what takes time is a
//! job on a thread of its own, and comes back as an event. It ends only with the machine.
//!
//! Absent on purpose: decisions; they are in [`boot`], [`health`], [`stop`], [`keeper`] and
//! [`screen`].

mod finish;
mod perform;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal};

use crate::boot::{self, Boot};
use crate::children::{Children, Ended, Task, To};
use crate::clock;
use crate::config::{self, Config};
use crate::door::Door;
use crate::esp::{self, Booted};
use crate::find::look::{Esp, Looked};
use crate::health::{Judge, Verdict};
use crate::keeper::Keeper;
use crate::log::Log;
use crate::memory;
use crate::modules::Modules;
use crate::net::{self, Setup, connect::Connected};
use crate::places::Places;
use crate::screen::{Image, Screen};
use crate::services::Service;
use crate::status::{self, Status};
use crate::stop::{After, Alive, Effect, Stop};
use crate::watchdog::Watchdog;

/// What happened.
pub enum Event {
    /// The configuration was looked for, and the running boot file.
    Looked(Box<Looked>, Option<Booted>),
    /// Something else on the way to a running appliance.
    Boot(boot::Event),
    /// A program that is to run on can be started, cannot, or is not wanted.
    Ready(Service, Result<Option<Task>, String>),
    /// The run of this number of a program has ended.
    Ended(Service, u64, Ended),
    /// The appliance was asked.
    Status(Status),
    /// The running image was kept, or could not be.
    Kept(Result<(), String>),
    /// The machine is to stop, and why.
    Stop(After, &'static str),
}

/// A program that is kept running.
struct Kept {
    keeper: Keeper,
    task: Task,
    /// The process, and the number of its run; none between two runs.
    running: Option<(Pid, u64)>,
}

/// All that the main loop has.
pub struct Driver {
    places: Places,
    log: Log,
    children: Children,
    version: String,
    sender: Sender<Event>,
    events: Receiver<Event>,
    boot: Boot,
    modules: Arc<Mutex<Modules>>,
    config: Option<Box<Config>>,
    syslog: bool,
    fixed: Option<Setup>,
    disk_busy: bool,
    services: BTreeMap<Service, Kept>,
    runs: u64,
    trouble: Option<String>,
    door: Option<Door>,
    status: Status,
    asking: bool,
    ask_at: Duration,
    ready: bool,
    screen: Screen,
    judge: Option<Judge>,
    keep_again_at: Option<Duration>,
    /// Why not, when that was told last.
    not_kept: Option<String>,
    booted: Option<Booted>,
    watchdog: Option<Watchdog>,
    stop: Option<(Stop, After)>,
}

impl Driver {
    /// At the kernel's start. Gives back where events are told.
    pub fn new(
        places: Places,
        log: Log,
        children: Children,
        version: String,
    ) -> (Self, Sender<Event>) {
        let (sender, events) = mpsc::channel();
        let judge = esp::was_counted(&places).then(|| Judge::new(HEALTHY_WITHIN));
        let driver = Self {
            places,
            log,
            children,
            version,
            sender: sender.clone(),
            events,
            boot: Boot::new(),
            modules: Arc::default(),
            config: None,
            syslog: false,
            fixed: None,
            disk_busy: false,
            services: BTreeMap::new(),
            runs: 0,
            trouble: None,
            door: None,
            status: Status::default(),
            asking: false,
            ask_at: Duration::ZERO,
            ready: false,
            screen: Screen::default(),
            judge,
            keep_again_at: None,
            not_kept: None,
            booted: None,
            watchdog: None,
            stop: None,
        };
        (driver, sender)
    }

    /// Runs for as long as the machine does.
    pub fn run(mut self) -> ! {
        loop {
            self.tick();
            // It holds a sender itself: nobody can hang up.
            match self.events.recv_timeout(TICK) {
                Ok(event) => self.happened(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Looked(looked, booted) => {
                if looked.esp == Esp::Mounted {
                    self.judge_booted(booted);
                }
                self.step_boot(boot::Event::Looked(looked));
            }
            Event::Boot(event) => {
                match &event {
                    boot::Event::Prepared(_) => self.disk_busy = false,
                    boot::Event::Connected(Ok(Connected::Fixed(setup))) => {
                        self.fixed = Some(setup.clone());
                    }
                    _ => {}
                }
                self.step_boot(event);
            }
            Event::Ready(service, Ok(Some(task))) => self.keep(service, task),
            Event::Ready(_, Ok(None)) => {}
            Event::Ready(service, Err(why)) => {
                self.log.error(&format!("{} can't be started: {why}", service.name()));
            }
            Event::Ended(service, run, how) => self.ended(service, run, how),
            Event::Status(status) => self.answered(status),
            Event::Kept(Ok(())) => self.log.info("this image is kept: it has been healthy"),
            Event::Kept(Err(why)) => {
                self.keep_again_at = Some(clock::since_boot() + KEEP_AGAIN_AFTER);
                if self.not_kept.as_ref() != Some(&why) {
                    self.log.error(&cannot_be_kept(&why));
                    self.not_kept = Some(why);
                }
            }
            Event::Stop(after, why) => self.begin_stop(after, why),
        }
    }

    fn tick(&mut self) {
        let now = clock::since_boot();
        self.children.reap();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(now);
        }
        if self.stop.is_some() {
            return self.step_stop(now);
        }
        if self.services.contains_key(&Service::Dhcp) {
            let lease = net::dhcp::current(&self.places);
            self.step_boot(boot::Event::Lease(lease));
        }
        self.step_boot(boot::Event::Tick { wall: clock::wall() });
        self.open_door();
        self.start_due(now);
        self.ask(now);
        let verdict = self.judge.as_mut().and_then(|judge| judge.step(now, None));
        let again = self.keep_again_at.take_if(|at| *at <= now).map(|_| Verdict::Keep);
        self.judged(verdict.or(again));
    }

    /// Runs `work` on a thread of its own; what it gives back is an event.
    fn job(&self, name: &str, work: impl FnOnce() -> Event + Send + 'static) {
        let sender = self.sender.clone();
        // The main loop never ends; without it there is nobody to tell.
        let job = move || _ = sender.send(work());
        if let Err(fault) = thread::Builder::new().name(name.to_owned()).spawn(job) {
            // It is out of memory or threads, and will not come back from that by waiting.
            self.log.error(&format!("no thread for {name} ({fault})"));
            _ = self.sender.send(Event::Stop(After::Reboot, "it has no memory left"));
        }
    }

    /// Keeps a program running from now on.
    fn keep(&mut self, service: Service, task: Task) {
        if self.stop.is_none() {
            let keeper = Keeper::new(clock::since_boot());
            self.services.insert(service, Kept { keeper, task, running: None });
        }
    }

    /// Ends a program that is not wanted any more, at once.
    fn drop_service(&mut self, service: Service) {
        if let Some(Kept { running: Some((pid, _)), .. }) = self.services.remove(&service) {
            self.children.signal(pid, Signal::KILL, To::Group);
        }
    }

    fn start_due(&mut self, now: Duration) {
        for (service, kept) in &mut self.services {
            if !kept.keeper.is_due(now) {
                continue;
            }
            self.runs += 1;
            let (service, run, sender) = (*service, self.runs, self.sender.clone());
            // The main loop never ends; without it there is nobody to tell.
            let tell = move |how| _ = sender.send(Event::Ended(service, run, how));
            match self.children.start(&kept.task, tell) {
                Ok(pid) => {
                    kept.keeper.started(now);
                    kept.running = Some((pid, run));
                    if service == Service::Appliance {
                        perform::protect(&self.places, pid);
                    }
                }
                Err(fault) => {
                    kept.keeper.ended(now);
                    let name = service.name();
                    self.log.error(&format!("{name} can't be started: {fault}"));
                }
            }
        }
    }

    fn ended(&mut self, service: Service, run: u64, how: Ended) {
        let Some(kept) = self.services.get_mut(&service) else { return };
        // One before it that was dropped.
        if kept.running.is_none_or(|(_, running)| running != run) {
            return;
        }
        kept.running = None;
        let name = service.name();
        match kept.keeper.ended(clock::since_boot()) {
            Some(pause) => {
                let seconds = pause.as_secs();
                let text = format!("{name} ended ({how}): it is started again in {seconds} s");
                self.log.error(&text);
            }
            None => self.log.progress(&format!("{name} has ended")),
        }
    }

    fn ask(&mut self, now: Duration) {
        if self.asking || now < self.ask_at || !self.services.contains_key(&Service::Appliance) {
            return;
        }
        self.asking = true;
        let children = self.children.clone();
        let config = self.config.as_deref();
        let socket = config.and_then(config::admin_socket).map(str::to_owned);
        self.job("status", move || Event::Status(status::ask(&children, socket.as_deref())));
    }

    fn answered(&mut self, status: Status) {
        let now = clock::since_boot();
        self.asking = false;
        self.ask_at = now
            + match &self.judge {
                _ if !self.ready => ASK_UNTIL_READY_EVERY,
                Some(judge) if judge.is_open() => ASK_JUDGED_EVERY,
                _ => ASK_EVERY,
            };
        let (before, answers) = (self.status.appliance.is_some(), status.appliance.is_some());
        if answers && !self.ready {
            self.ready = true;
            let used = memory::used_mib()
                .map_or_else(String::new, |mib| format!(", {mib} MiB of memory are used"));
            self.log.info(&format!("ready after {:.1} s{used}", now.as_secs_f64()));
        } else if before && !answers && self.stop.is_none() {
            self.log.error("the appliance does not answer");
        } else if answers && !before {
            self.log.info("the appliance answers again");
        }
        let image = Image { version: &self.version, setup: self.boot.setup() };
        if let Some(lines) = self.screen.step(now, image, &status) {
            lines.iter().for_each(|line| self.log.info(line));
        }
        let seen = status.seen();
        self.status = status;
        let verdict = self.judge.as_mut().and_then(|judge| judge.step(now, Some(seen)));
        self.judged(verdict);
    }

    /// The boot files were looked at.
    fn judge_booted(&mut self, booted: Option<Booted>) {
        let Some(booted) = booted else { return };
        if self.booted.is_none() && booted.slot.tries.is_none() {
            self.judge = None;
        } else if self.booted.is_none() {
            let within =
                self.config.as_ref().map_or(HEALTHY_WITHIN, |config| config.healthy_within);
            self.judge.get_or_insert(Judge::new(within));
            let file = booted.slot.file_name();
            self.log
                .progress(&format!("{file} was booted for the first time: it has to be healthy"));
        }
        self.booted = Some(booted);
    }

    fn judged(&mut self, verdict: Option<Verdict>) {
        match (verdict, self.booted) {
            (None, _) => {}
            (Some(Verdict::Keep), Some(Booted { slot, .. })) => {
                let places = self.places.clone();
                self.job("keep", move || {
                    Event::Kept(esp::keep(&places, slot).map_err(|fault| fault.to_string()))
                });
            }
            (Some(Verdict::Keep), None) => {
                self.log.error(&cannot_be_kept("its EFI partition is not there"));
            }
            (Some(Verdict::GiveUp(why)), Some(Booted { has_fallback: false, .. })) => {
                self.log.error(&format!("{why}; there is no other image, so it goes on"));
            }
            (Some(Verdict::GiveUp(why)), _) => {
                self.log.error(&format!("{why}: going back to the image before it"));
                self.begin_stop(After::Reboot, "this image is given up");
            }
        }
    }

    fn begin_stop(&mut self, after: After, why: &str) {
        if self.stop.is_some() {
            return self.log.info("the machine is stopping already");
        }
        let what = match after {
            After::PowerOff => "powering off",
            After::Reboot => "starting again",
        };
        self.log.progress(&format!("{what}: {why}"));
        self.services.values_mut().for_each(|kept| kept.keeper.stop());
        self.door = None;
        let within = self.config.as_ref().map_or(STOP_WITHIN, |config| config.stop_within);
        self.stop = Some((Stop::new(clock::since_boot(), within), after));
    }

    fn step_stop(&mut self, now: Duration) {
        let runs = |service: &Service| {
            self.services.get(service).is_some_and(|kept| kept.running.is_some())
        };
        let others = [Service::Dhcp, Service::Clock, Service::Login].into_iter().filter(runs);
        let alive = Alive {
            appliance: runs(&Service::Appliance),
            job: self.disk_busy.then_some("the data disk"),
            others: others.map(Service::name).collect(),
        };
        let Some((stop, after)) = &mut self.stop else { return };
        let (effects, after) = (stop.step(now, &alive), *after);
        for effect in effects {
            match effect {
                Effect::AskAppliance => {
                    self.signal(Signal::TERM, To::Process, |service| service == Service::Appliance);
                }
                Effect::KillAppliance => {
                    self.signal(Signal::KILL, To::Group, |service| service == Service::Appliance);
                }
                Effect::AskOthers => {
                    self.signal(Signal::TERM, To::Process, |service| service != Service::Appliance);
                }
                Effect::Say(text) => self.log.warning(&text),
                Effect::Finish => self.finish(after),
            }
        }
    }

    fn signal(&self, signal: Signal, to: To, whom: impl Fn(Service) -> bool) {
        for (_, kept) in self.services.iter().filter(|(service, _)| whom(**service)) {
            if let Some((pid, _)) = kept.running {
                self.children.signal(pid, signal, to);
            }
        }
    }
}

fn cannot_be_kept(why: &str) -> String {
    format!(
        "this image is healthy and can't be kept ({why}): a start now goes back to the one before it"
    )
}

/// The longest that a change waits for the loop.
const TICK: Duration = Duration::from_millis(250);
/// The partition may be read again then, or be back.
const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(30);
const ASK_UNTIL_READY_EVERY: Duration = Duration::from_millis(300);
const ASK_JUDGED_EVERY: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Until a configuration says otherwise.
const HEALTHY_WITHIN: Duration = Duration::from_secs(180);
const STOP_WITHIN: Duration = Duration::from_secs(60);
