//! From a bare kernel to a running appliance: what to do next.
//!
//! A configuration is looked for; then the network and the data disk are seen to at the same time;
//! with both, the appliance's own configuration is written and checked; when the clock is right,
//! the appliance is started. Whatever is in the way is told, and tried again, and the configuration
//! is looked at again with it: an operator may have changed it.
//!
//! Invariant: the appliance is started once, with the configuration that was found last, and only
//! on a mounted data disk. While the configuration is looked for, nothing that follows from it
//! begins.
//!
//! Absent on purpose: IO and clocks; `step` takes what happened and gives back what to do.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock;
use crate::config::{Config, Disks, Network};
use crate::disk::prepare::Outcome;
use crate::find::look::{Esp, Found, Looked};
use crate::log::Severity;
use crate::net::Setup;
use crate::net::connect::Connected;
use crate::trouble::Trouble;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The configuration was looked for.
    Looked(Box<Looked>),
    /// The interface was looked for, and set up if its address is fixed.
    Connected(Result<Connected, String>),
    /// What DHCP has given, as it is now.
    Lease(Option<Setup>),
    /// The disks were seen to.
    Prepared(Outcome),
    /// The appliance's configuration was written and checked.
    Written(Result<(), Trouble>),
    /// Time went by.
    Tick {
        /// Since 1970, as far as the machine knows.
        wall: Duration,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Look for the configuration; answer with [`Event::Looked`].
    Look,
    /// This configuration is in force.
    Configured(Box<Config>),
    /// Find the interface, and set it up anew; answer with [`Event::Connected`].
    Connect(Network),
    /// Run a DHCP client; answer with [`Event::Lease`] again and again.
    Dhcp {
        /// On which interface.
        interface: String,
        /// What the operator said about it.
        network: Network,
    },
    /// See to the disks; answer with [`Event::Prepared`].
    Prepare {
        /// Which are wanted.
        disks: Disks,
        /// Which are in use otherwise; paths.
        used: Vec<String>,
        /// Since when a part of the data has been missing.
        waited: Duration,
    },
    /// Write the appliance's configuration and check it; answer with [`Event::Written`].
    Write {
        /// What the operator said.
        config: Box<Config>,
        /// The appliance's address.
        address: IpAddr,
        /// Whether the EFI partition is mounted.
        esp: bool,
    },
    /// Start what needs the network and the data disk: the clock, and the log-in.
    StartServices,
    /// Start the appliance.
    StartAppliance,
    /// This is in the way now; none if nothing is.
    Trouble(Option<Trouble>),
    /// Tell this.
    Say(Severity, String),
}

/// How far the start is.
#[derive(Debug)]
pub struct Boot {
    found: Option<Found>,
    esp: bool,
    esp_missing_since: Option<Duration>,
    used: Vec<String>,
    looked_once: bool,
    look: Job,
    link: Link,
    /// What the link was set up for last.
    network: Network,
    data: Job,
    missing_since: Option<Duration>,
    file: Job,
    /// What is being written is not what it should be any more.
    outdated: bool,
    services: bool,
    clock: Clock,
    started: bool,
    troubles: Troubles,
    shown: Option<Trouble>,
    shown_at: Duration,
}

/// Something that takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// To be begun then, if there is a need.
    Due(Duration),
    Busy,
    Done,
}

impl Job {
    fn is_due(self, now: Duration) -> bool {
        matches!(self, Self::Due(at) if at <= now)
    }
}

#[derive(Debug)]
enum Link {
    Due(Duration),
    Connecting,
    Leasing { interface: String, since: Duration },
    Up { setup: Setup, lost: bool },
}

#[derive(Debug)]
enum Clock {
    Unset,
    /// NTP is asked until then.
    Asked(Duration),
    Set,
}

/// What was in the way when each was tried last.
#[derive(Debug, Default)]
struct Troubles {
    config: Option<Trouble>,
    esp: Option<Trouble>,
    link: Option<Trouble>,
    data: Option<Trouble>,
    file: Option<Trouble>,
}

impl Troubles {
    /// All of them as one; none if there is none.
    fn all(&self) -> Option<Trouble> {
        let all = [&self.config, &self.esp, &self.link, &self.data, &self.file];
        let mut all: Vec<&Trouble> = all.into_iter().flatten().collect();
        // The configuration may be on the EFI partition.
        all.dedup();
        let join = |part: fn(&Trouble) -> &str| all.iter().map(|one| part(one)).collect::<Vec<_>>();
        (!all.is_empty()).then(|| Trouble {
            console: join(|one| &one.console).join("\n"),
            network: join(|one| &one.network).join("\n"),
        })
    }
}

impl Boot {
    /// At the kernel's start.
    pub fn new() -> Self {
        let due = Job::Due(Duration::ZERO);
        Self {
            found: None,
            esp: false,
            esp_missing_since: None,
            used: Vec::new(),
            looked_once: false,
            look: due,
            link: Link::Due(Duration::ZERO),
            network: Network::default(),
            data: due,
            missing_since: None,
            file: due,
            outdated: false,
            services: false,
            clock: Clock::Unset,
            started: false,
            troubles: Troubles::default(),
            shown: None,
            shown_at: Duration::ZERO,
        }
    }

    /// What the appliance's interface has now.
    pub fn setup(&self) -> Option<&Setup> {
        match &self.link {
            Link::Up { setup, .. } => Some(setup),
            Link::Due(_) | Link::Connecting | Link::Leasing { .. } => None,
        }
    }

    /// `now` is since the kernel's start.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Looked(looked) => self.looked(now, *looked, &mut effects),
            Event::Connected(done) => self.connected(now, done, &mut effects),
            Event::Lease(lease) => self.leased(now, lease, &mut effects),
            Event::Prepared(outcome) => self.prepared(now, outcome),
            Event::Written(_) if self.outdated => {
                (self.file, self.outdated) = (Job::Due(now), false);
            }
            Event::Written(Ok(())) => (self.file, self.troubles.file) = (Job::Done, None),
            Event::Written(Err(trouble)) => {
                (self.file, self.troubles.file) = (Job::Due(now + LOOK_EVERY), Some(trouble));
            }
            Event::Tick { wall } if clock::is_set(wall) => self.clock = Clock::Set,
            Event::Tick { .. } => {}
        }
        if !self.started {
            self.advance(now, &mut effects);
            self.tell(now, &mut effects);
        }
        effects
    }

    fn looked(&mut self, now: Duration, looked: Looked, effects: &mut Vec<Effect>) {
        let Looked { config, esp, used } = looked;
        (self.used, self.looked_once) = (used, true);
        self.esp_seen(now, esp, effects);
        let pause = if self.troubles.esp.is_some() { WAIT_LOOK_EVERY } else { LOOK_EVERY };
        self.look = Job::Due(now + pause);
        match config {
            Ok(found) if self.found.as_ref() == Some(&found) => return,
            Ok(found) => {
                effects.push(Effect::Say(Severity::Info, format!("found {}", found.origin)));
                effects.push(Effect::Configured(Box::new(found.config.clone())));
                if self.services {
                    let text = "the configuration has changed: the data disk, the clock and the \
                                log-in keep what they have until the machine starts again";
                    effects.push(Effect::Say(Severity::Warning, text.to_owned()));
                }
                (self.found, self.troubles.config) = (Some(found), None);
            }
            Err(trouble) => (self.found, self.troubles.config) = (None, Some(trouble)),
        }
        // What another configuration was good or bad for is nothing any more.
        self.file = Job::Due(now);
        self.troubles.file = None;
        if self.data != Job::Done {
            (self.data, self.troubles.data) = (Job::Due(now), None);
        }
    }

    /// It was there a moment ago, for the boot loader; disks take their time to appear.
    fn esp_seen(&mut self, now: Duration, esp: Esp, effects: &mut Vec<Effect>) {
        let is_mounted = esp == Esp::Mounted;
        if self.esp != is_mounted {
            (self.esp, self.file) = (is_mounted, Job::Due(now));
        }
        let waited = self.troubles.esp.take().is_some();
        let Esp::Missing(why) = esp else {
            self.esp_missing_since = None;
            return;
        };
        let since = *self.esp_missing_since.get_or_insert(now);
        if now.saturating_sub(since) < ESP_PATIENCE {
            self.troubles.esp = Some(Trouble::open(why));
        } else if waited {
            let text = format!(
                "{why}. It is not waited for any longer: no image can be kept or updated until \
                 this machine starts again with it"
            );
            effects.push(Effect::Say(Severity::Error, text));
        }
    }

    fn connected(
        &mut self,
        now: Duration,
        done: Result<Connected, String>,
        effects: &mut Vec<Effect>,
    ) {
        self.link = match done {
            Ok(Connected::Fixed(setup)) => {
                self.troubles.link = None;
                effects.push(Effect::Say(Severity::Info, setup.to_string()));
                Link::Up { setup, lost: false }
            }
            Ok(Connected::Dhcp(interface)) => {
                let network = self.network.clone();
                effects.push(Effect::Dhcp { interface: interface.clone(), network });
                Link::Leasing { interface, since: now }
            }
            Err(why) => {
                self.troubles.link = Some(Trouble::open(why));
                Link::Due(now + LOOK_EVERY)
            }
        };
    }

    fn leased(&mut self, now: Duration, lease: Option<Setup>, effects: &mut Vec<Effect>) {
        let started = self.started;
        match (&mut self.link, lease) {
            (Link::Leasing { interface, since }, None) => {
                if now.saturating_sub(*since) >= LEASE_PATIENCE {
                    let text = format!(
                        "no DHCP server answers on {interface}: start one, or give this appliance \
                         a fixed address (`network.address`)"
                    );
                    self.troubles.link = Some(Trouble::open(text));
                }
            }
            (Link::Leasing { interface, .. }, Some(lease)) if *interface == lease.interface => {
                self.troubles.link = None;
                effects.push(Effect::Say(Severity::Info, lease.to_string()));
                self.link = Link::Up { setup: lease, lost: false };
            }
            (Link::Up { setup, lost }, Some(lease)) if self.network.address.is_none() => {
                if lease.address != setup.address {
                    effects.push(Effect::Say(Severity::Error, moved(setup, &lease)));
                    match self.file {
                        _ if started => {}
                        Job::Busy => self.outdated = true,
                        Job::Due(_) | Job::Done => self.file = Job::Due(now),
                    }
                }
                (*setup, *lost) = (lease, false);
            }
            (Link::Up { setup, lost }, None) if self.network.address.is_none() && !*lost => {
                *lost = true;
                let Setup { address, interface, .. } = &*setup;
                let text = format!(
                    "the lease of {address} on {interface} has ended, and no DHCP server renews \
                     it: nobody reaches this appliance there until one does"
                );
                effects.push(Effect::Say(Severity::Error, text));
            }
            (Link::Up { .. } | Link::Leasing { .. } | Link::Connecting | Link::Due(_), _) => {}
        }
    }

    fn prepared(&mut self, now: Duration, outcome: Outcome) {
        let (why, pause) = match outcome {
            Outcome::Mounted => {
                (self.data, self.troubles.data) = (Job::Done, None);
                return;
            }
            Outcome::Waiting(why) => {
                self.missing_since = self.missing_since.or(Some(now));
                (why, WAIT_LOOK_EVERY)
            }
            Outcome::Refused(why) => {
                self.missing_since = None;
                (why, LOOK_EVERY)
            }
        };
        (self.data, self.troubles.data) = (Job::Due(now + pause), Some(Trouble::open(why)));
    }

    /// Begins whatever can begin now.
    fn advance(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let follows = self.data == Job::Busy || self.file == Job::Busy;
        let needed = self.found.is_none() || self.troubles.all().is_some();
        if needed && !follows && self.look.is_due(now) {
            self.look = Job::Busy;
            effects.push(Effect::Look);
        }
        self.advance_link(now, effects);
        let Some(found) = self.found.as_ref().filter(|_| self.look != Job::Busy) else { return };
        if self.data.is_due(now) {
            self.data = Job::Busy;
            let missing = |since| now.saturating_sub(since);
            effects.push(Effect::Prepare {
                disks: found.config.disk.clone(),
                used: self.used.clone(),
                waited: self.missing_since.map_or(Duration::ZERO, missing),
            });
        }
        let (Job::Done, Link::Up { setup, .. }) = (self.data, &self.link) else { return };
        if !self.services {
            self.services = true;
            effects.push(Effect::StartServices);
            if let Clock::Unset = self.clock {
                let asked = !found.config.time_servers.is_empty();
                let patience = if asked { CLOCK_PATIENCE } else { Duration::ZERO };
                self.clock = Clock::Asked(now + patience);
            }
        }
        if self.troubles.esp.is_some() {
            return;
        }
        if self.file.is_due(now) {
            self.file = Job::Busy;
            let config = Box::new(found.config.clone());
            effects.push(Effect::Write { config, address: setup.address, esp: self.esp });
        }
        if self.file == Job::Done {
            self.start(now, effects);
        }
    }

    fn advance_link(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let wanted = match &self.found {
            Some(found) => &found.config.network,
            // Without a configuration the network is as it was last, or by DHCP: so that somebody
            // can be told what is wrong.
            None if self.looked_once => &self.network,
            None => return,
        };
        let again = match &self.link {
            Link::Connecting => false,
            Link::Due(at) => *at <= now || *wanted != self.network,
            Link::Leasing { .. } | Link::Up { .. } => *wanted != self.network,
        };
        if again {
            self.network = wanted.clone();
            self.link = Link::Connecting;
            effects.push(Effect::Connect(self.network.clone()));
        }
    }

    fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match self.clock {
            Clock::Asked(until) if until > now => return,
            Clock::Unset | Clock::Asked(_) => {
                let text = "the clock is not set: no NTP server has answered, and this machine \
                            has no clock of its own. Times of files are wrong until one answers";
                effects.push(Effect::Say(Severity::Error, text.to_owned()));
            }
            Clock::Set => {}
        }
        // Who told of a trouble has the appliance's port.
        self.tell(now, effects);
        self.started = true;
        effects.push(Effect::StartAppliance);
    }

    /// Tells what is in the way when that changes, and now and then.
    fn tell(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let trouble = self.troubles.all();
        let stale = trouble.is_some() && now.saturating_sub(self.shown_at) >= TELL_EVERY;
        if trouble != self.shown || stale {
            (self.shown, self.shown_at) = (trouble.clone(), now);
            effects.push(Effect::Trouble(trouble));
        }
    }
}

/// What an operator must know of an address that DHCP has changed.
fn moved(old: &Setup, new: &Setup) -> String {
    format!(
        "the address has changed from {} to {}: clients and other appliances that use the old one \
         do not reach this appliance. Reserve an address for it at the DHCP server, or set \
         `network.address`, and start it again",
        old.address, new.address
    )
}

/// How often what is in the way is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A disk that hangs takes half a minute to look at.
const ESP_PATIENCE: Duration = Duration::from_secs(60);
/// While a disk may appear at any moment.
const WAIT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// DHCP servers answer within some seconds.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);
/// For NTP, where the machine has no clock of its own.
const CLOCK_PATIENCE: Duration = Duration::from_secs(20);
/// Who comes to the console later sees it, too.
const TELL_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
