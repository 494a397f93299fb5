//! The state machines of one appliance: entries into catalogs, and images of them for members that
//! are too far behind.

use std::time::Duration;

use catalog::{Catalog, FleetCatalog, Image, Installing, LogEntry, Store};
use consensus::{Applied, Committed, Event, LogPoint};
use model::{ApplianceId, GroupId, VolumeId};
use ownership::FleetCommand;
use ownership::lease::KeeperEvent;

use crate::config::Mistake;
use crate::disk::Shared;
use crate::entering::Fate;
use crate::process::{Ctx, Process};
use crate::words::{Ask, Entered, Reply};

impl Process {
    pub fn apply_fleet(&mut self, ctx: &mut Ctx<'_>, committed: &[Committed]) {
        for entry in committed {
            let answers = self.fleet.apply(&log_entries(std::slice::from_ref(entry), None));
            let answer = answers.expect("entries can be applied").pop().flatten();
            if let (Some(command), Some(answer)) = (command(entry), &answer) {
                ctx.history.fleet_applied(self.me, entry.index, &command, answer);
                if let (FleetCommand::Down { appliance, incarnation }, Err(_)) = (command, answer) {
                    self.keep(ctx, KeeperEvent::DownRefused { appliance, incarnation });
                }
            }
            if let (Some(ticket), Some(answer)) = (entry.ticket, answer) {
                let fate = Fate::Applied(Entered::Fleet(answer), entry.index);
                self.fate(ctx, ticket, fate);
            }
        }
        let index = self.fleet.applied().index;
        self.events.push(Event::Applied { group: GroupId::FLEET, index });
        self.fleet_moved(ctx);
    }

    pub fn apply_volume(&mut self, ctx: &mut Ctx<'_>, group: GroupId, committed: &[Committed]) {
        let volume = VolumeId::new(group.get());
        let Some(local) = self.volumes.get_mut(&volume) else { return };
        // One appliance leaves one entry out, if that is the mistake.
        let skipped = (ctx.mistake == Mistake::SkipsAnEntry && self.me.get() == 2).then_some(9);
        let answers = local.catalog.apply(&log_entries(committed, skipped));
        let answers = answers.expect("entries can be applied");
        local.catalog.take_owners_moved();
        let hash = hash(local.catalog.store());
        for (entry, answer) in committed.iter().zip(&answers) {
            ctx.history.applied(ctx.time, volume, entry, answer);
        }
        if let Some(last) = committed.last() {
            ctx.history.same_state(self.me, volume, last.index, hash);
            self.events.push(Event::Applied { group, index: last.index });
        }
        for (entry, answer) in committed.iter().zip(answers) {
            if let Some(ticket) = entry.ticket {
                let fate = Fate::Applied(Entered::Volume(answer), entry.index);
                self.fate(ctx, ticket, fate);
            }
        }
        self.again = true;
    }

    pub fn make_image(&mut self, group: GroupId) {
        let applied = match group {
            GroupId::FLEET => self.fleet.applied(),
            _ => self.volumes[&VolumeId::new(group.get())].catalog.applied(),
        };
        let point = LogPoint { index: applied.index, term: applied.term };
        self.events.push(Event::SnapshotMade { group, point, membership: applied.membership });
    }

    pub fn fetch_image(
        &mut self,
        ctx: &mut Ctx<'_>,
        group: GroupId,
        from: ApplianceId,
        point: LogPoint,
    ) {
        let ask = self.ask(ctx, from, Ask::Image { group });
        self.images.insert(ask, (group, point, self.now + IMAGE_WAIT));
    }

    /// An image of what is here now.
    pub fn image_of(&self, group: GroupId) -> Reply {
        if group == GroupId::FLEET {
            return Reply::FleetImage(self.fleet.image());
        }
        let Some(local) = self.volumes.get(&VolumeId::new(group.get())) else { return Reply::No };
        let (_, mut image) = local.catalog.image().expect("memory does not fail");
        Reply::VolumeImage(image.next(usize::MAX).expect("memory does not fail"))
    }

    /// An image has come; false if nobody waits for one under this number.
    pub fn take_image(&mut self, ctx: &mut Ctx<'_>, ask: u64, reply: &Reply) -> bool {
        let Some((group, point, _)) = self.images.remove(&ask) else { return false };
        let installed = match reply {
            Reply::FleetImage(image) => self.install_fleet(ctx, image, point),
            Reply::VolumeImage(records) => {
                let volume = VolumeId::new(group.get());
                let store = Shared::default();
                let mut installing = Installing::new(store.clone());
                let taken = installing.take(records.clone()).and_then(|()| installing.finish());
                match taken {
                    Ok(index) if index >= point.index => Some(self.swap(volume, store)),
                    Ok(_) | Err(_) => None,
                }
            }
            _ => None,
        };
        self.events.push(match installed {
            Some(applied) => {
                ctx.history.images += 1;
                Event::SnapshotInstalled { group, applied }
            }
            None => Event::SnapshotFailed { group },
        });
        true
    }

    fn install_fleet(
        &mut self,
        ctx: &mut Ctx<'_>,
        image: &[u8],
        point: LogPoint,
    ) -> Option<Applied> {
        let index = FleetCatalog::<Shared>::image_index(image).ok()?;
        if index < point.index {
            return None;
        }
        self.fleet.install(image).ok()?;
        self.fleet_moved(ctx);
        Some(group_applied(self.fleet.applied()))
    }

    /// The image takes the catalog's place.
    fn swap(&mut self, volume: VolumeId, store: Shared) -> Applied {
        self.disk.volumes.insert(volume, store.clone());
        let founders = self.fleet_now.founders(volume).to_vec();
        let catalog = Catalog::open(store, &founders).expect("an image can be read");
        let applied = group_applied(catalog.applied());
        let local = self.volumes.get_mut(&volume).expect("it is open");
        local.catalog = catalog;
        self.again = true;
        applied
    }

    pub fn log_was_reset(&mut self, group: GroupId) {
        let confirmed = match group {
            GroupId::FLEET => self.fleet.confirm_installed(),
            _ => self.volumes[&VolumeId::new(group.get())].catalog.confirm_installed(),
        };
        confirmed.expect("memory does not fail");
    }

    pub fn images_time_out(&mut self) {
        let late: Vec<u64> = self
            .images
            .iter()
            .filter(|(_, image)| image.2 < self.now)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in late {
            if let Some((group, ..)) = self.images.remove(&ask) {
                self.events.push(Event::SnapshotFailed { group });
            }
        }
    }
}

pub fn group_applied(applied: catalog::Applied) -> Applied {
    let catalog::Applied { index, term, membership, .. } = applied;
    Applied { index, term, membership }
}

fn log_entries(committed: &[Committed], skipped: Option<u64>) -> Vec<LogEntry<'_>> {
    let data = |entry: &'_ Committed| match skipped == Some(entry.index.get()) {
        true => 0..0,
        false => 0..entry.data.len(),
    };
    committed
        .iter()
        .map(|entry| LogEntry {
            index: entry.index,
            term: entry.term,
            data: &entry.data[data(entry)],
            membership: entry.membership.as_ref(),
        })
        .collect()
}

/// The command of an entry of the fleet's group, for the history.
fn command(entry: &Committed) -> Option<FleetCommand> {
    let (_, body) = entry.data.split_first()?;
    Some(postcard::from_bytes(body).expect("our own entries decode"))
}

/// FNV over all that a store holds, but for what only says how it came here.
fn hash<S: Store>(store: &S) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let scanned = store.scan(&[], &[0xff], &mut |key, value| {
        if key != b"A" {
            take(key);
            take(value);
        }
        catalog::Scan::Continue
    });
    scanned.expect("memory does not fail");
    hash
}

const IMAGE_WAIT: Duration = Duration::from_secs(1);
