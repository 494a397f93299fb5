//! Does what the start of the appliance wants done.
//!
//! Invariant: what takes time is begun here and goes on in a job. Absent on purpose: the order.

use std::fs;

use parking_lot::Mutex;
use rustix::process::Pid;

use super::{Driver, Event};
use crate::boot::{self, Effect};
use crate::children::Children;
use crate::clock;
use crate::config::{Config, Image};
use crate::disk;
use crate::door::Door;
use crate::esp;
use crate::find::look::{Esp, look};
use crate::log::{Log, Severity};
use crate::modules::Modules;
use crate::net::{connect, dhcp};
use crate::places::Places;
use crate::services::{self, Service};
use crate::start::{HOST_NAME, set_host_name};
use crate::trouble::Trouble;
use crate::watchdog::Watchdog;

impl Driver {
    pub(super) fn step_boot(&mut self, event: boot::Event) {
        // A machine that is stopping starts nothing.
        if self.stop.is_some() {
            return;
        }
        for effect in self.boot.step(clock::since_boot(), event) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let (places, children, log) =
            (self.places.clone(), self.children.clone(), self.log.clone());
        match effect {
            Effect::Look => {
                let modules = self.modules.clone();
                self.job("look", move || {
                    load_modules(&modules, &places, &children, &log);
                    let looked = look(&places, &children);
                    let mounted = looked.esp == Esp::Mounted;
                    let booted = mounted.then(|| esp::booted(&places)).flatten();
                    Event::Looked(Box::new(looked), booted)
                });
            }
            Effect::Configured(config) => self.configured(config),
            Effect::Connect(network) => {
                self.drop_service(Service::Dhcp);
                let fixed = self.fixed.take();
                self.job("connect", move || {
                    if let Some(fixed) = fixed {
                        connect::disconnect(&children, &fixed);
                    }
                    let done = connect::connect(&places, &children, &network);
                    Event::Boot(boot::Event::Connected(done))
                });
            }
            Effect::Dhcp { interface, network } => {
                let name = self.config.as_ref().map_or(HOST_NAME, |config| &config.name);
                let task = dhcp::client(&interface, name, &network);
                self.keep(Service::Dhcp, task);
            }
            Effect::Prepare { disks, used, waited } => {
                self.disk_busy = true;
                self.job("disk", move || {
                    let outcome =
                        disk::prepare::prepare(&places, &children, &log, &disks, &used, waited);
                    Event::Boot(boot::Event::Prepared(outcome))
                });
            }
            Effect::Write { config, address, esp: found } => {
                let folder = places.esp.to_string_lossy().into_owned();
                self.job("write", move || {
                    let booted = esp::booted(&places).map(|booted| booted.slot.file_name());
                    let booted = booted.unwrap_or_default();
                    let image = found.then_some(Image { esp: &folder, booted: &booted });
                    let done =
                        services::write_appliance(&places, &children, &config, address, image);
                    Event::Boot(boot::Event::Written(done))
                });
            }
            Effect::StartServices => self.start_services(),
            Effect::StartAppliance => {
                if !self.syslog {
                    log.tell_syslog(None, HOST_NAME);
                }
                log.progress("starting the appliance");
                self.keep(Service::Appliance, services::appliance(&places));
            }
            Effect::Trouble(trouble) => self.show_trouble(trouble),
            Effect::Say(Severity::Info, text) => log.progress(&text),
            Effect::Say(Severity::Warning, text) => log.warning(&text),
            Effect::Say(Severity::Error, text) => log.error(&text),
        }
    }

    fn configured(&mut self, config: Box<Config>) {
        if let Err(fault) = set_host_name(&config.name) {
            self.log.error(&format!("the host name can't be set: {fault}"));
        }
        if let Some(target) = config.syslog.clone().filter(|_| !self.syslog) {
            self.syslog = true;
            self.log.tell_syslog(Some(target), &config.name);
        }
        if let Some(judge) = &mut self.judge {
            judge.allow(config.healthy_within);
        }
        if self.watchdog.is_none() {
            match Watchdog::open(&self.places.dev, clock::since_boot()) {
                Ok(watchdog) => self.watchdog = watchdog,
                Err(fault) => self.log.error(&format!("the watchdog can't be used: {fault}")),
            }
        }
        self.config = Some(config);
    }

    fn start_services(&mut self) {
        let Some(config) = &self.config else { return };
        let (places, children) = (self.places.clone(), self.children.clone());
        let keys = config.authorized_keys.clone();
        let clock = services::clock(&places, &config.time_servers);
        self.job("login", move || {
            Event::Ready(Service::Login, services::login(&places, &children, &keys))
        });
        self.happened(Event::Ready(Service::Clock, clock));
    }

    fn show_trouble(&mut self, trouble: Option<Trouble>) {
        match trouble {
            Some(Trouble { console, network }) => {
                self.log.error(&format!("this appliance has not started:\n{console}"));
                if let Some(door) = &self.door {
                    door.tell(network.clone());
                }
                self.trouble = Some(network);
            }
            None => {
                self.log.progress("nothing is in the way any more");
                (self.trouble, self.door) = (None, None);
            }
        }
    }

    /// Opens the door if there is something to be told and it is not open.
    pub(super) fn open_door(&mut self) {
        if let (Some(text), None) = (&self.trouble, &self.door) {
            // Another program may have the port for a moment: the next tick tries again.
            self.door = Door::open(ADMIN_PORT, text.clone()).ok();
        }
    }
}

/// Loads what the image lists, the first time, and then what devices ask for.
fn load_modules(modules: &Mutex<Modules>, places: &Places, children: &Children, log: &Log) {
    let mut modules = modules.lock();
    if modules.is_new() {
        let faults = Modules::load_listed(places, children);
        faults.iter().for_each(|fault| log.error(fault));
        if let Err(why) = connect::loopback(children) {
            log.error(&why);
        }
    }
    modules.load_for_devices(places, children);
}

/// Keeps the kernel from ending the appliance when memory runs out: there is nothing else to end.
pub fn protect(places: &Places, pid: Pid) {
    let file = places.proc.join(pid.as_raw_nonzero().to_string()).join("oom_score_adj");
    // It may have ended by now.
    _ = fs::write(file, OOM_SCORE);
}

/// proc(5): -1000 is never.
const OOM_SCORE: &str = "-900";
/// The appliance's own API is there otherwise.
const ADMIN_PORT: u16 = 2051;
