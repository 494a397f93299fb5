//! Scrubs the files that this appliance owns: drives the course of `scrub`, one file at a time.
//!
//! Invariant: clients are not held up: a scrub takes no gate but where a copy is given up, and no
//! place among a file's changes; it is in nobody's way when a volume is closed. What is kept is
//! enough to go on after a restart. Absent on purpose: what is next and what a comparison means
//! (`scrub` says that), and making copies anew (`tending` does that, as for any stale copy).

mod asked;
mod everywhere;
mod file;

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::{Catalog, CatalogFault, Imaging};
use model::{ApplianceId, ObjectId, ObjectRecord, Timestamp, VolumeId};
use parking_lot::Mutex;
use scrub::{Course, Done, Finished, Kept, Mending, Next, Pace, Place, Settings, Which};
use tokio::sync::Notify;

use crate::happening::{Happening, Here};
use crate::local::Local;
use crate::router::Router;
use crate::wire::scrub::FileProgress;

use self::file::Looked;

/// How an appliance's files are scrubbed.
#[derive(Clone)]
pub struct Scrubs {
    /// What the operator chose.
    pub settings: Settings,
    /// Keeps what a restart must know.
    pub keeper: Arc<dyn ScrubKeeper>,
}

/// Keeps what a restart must know of scrubs. Both calls may block.
pub trait ScrubKeeper: Send + Sync {
    /// What was kept last; none if there is nothing, or it can't be read, and the log says so.
    fn load(&self) -> Option<Vec<u8>>;

    /// Keeps it, durably. What can't be kept is not, and the log says so.
    fn keep(&self, bytes: &[u8]);
}

/// Keeps nothing.
struct Forgetful;

impl ScrubKeeper for Forgetful {
    fn load(&self) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &[u8]) {}
}

impl Default for Scrubs {
    /// Only when asked for, and forgotten by a restart.
    fn default() -> Self {
        Self { settings: Settings::default(), keeper: Arc::new(Forgetful) }
    }
}

/// The scrubs of one appliance.
pub(crate) struct Scrubbing {
    course: Mutex<Course>,
    pace: Mutex<Pace>,
    keeper: Arc<dyn ScrubKeeper>,
    /// What was begun or stopped is taken up at once.
    woken: Notify,
    /// The file that is being looked at.
    file: Mutex<Option<FileProgress>>,
    /// Held while the course is kept, so that the newest is what stays.
    keeping: tokio::sync::Mutex<()>,
}

/// What the driver remembers from step to step.
#[derive(Default)]
struct Memory {
    up: BTreeSet<ApplianceId>,
    kept_at: Duration,
    looked_at: Duration,
    /// Since when nothing is left but to wait for copies.
    mending_since: Option<Duration>,
    /// The volume that should be open here and is not, and since when.
    waits_for: Option<(VolumeId, Duration)>,
}

/// Scrubs until the router is gone.
pub(crate) async fn scrub<S: Imaging>(router: Weak<Router<S>>) {
    let mut memory = Memory::default();
    loop {
        let (scrubbing, rest) = {
            let Some(router) = router.upgrade() else { return };
            let rest = router.scrub_once(&mut memory).await;
            (router.scrub.clone(), rest)
        };
        match rest.is_zero() {
            true => tokio::task::yield_now().await,
            // Woken or not, it looks.
            false => drop(tokio::time::timeout(rest, scrubbing.woken.notified()).await),
        }
    }
}

impl Scrubbing {
    pub(crate) fn new(scrubs: &Scrubs, now: Timestamp) -> Self {
        let kept = scrubs.keeper.load().and_then(|bytes| {
            let kept = Kept::decode(&bytes);
            kept.inspect_err(|bad| tracing::warn!(%bad, "scrubs begin anew")).ok()
        });
        Self {
            course: Mutex::new(Course::new(kept, scrubs.settings, now)),
            pace: Mutex::new(Pace::new(scrubs.settings.bytes_per_second)),
            keeper: scrubs.keeper.clone(),
            woken: Notify::new(),
            file: Mutex::new(None),
            keeping: tokio::sync::Mutex::default(),
        }
    }

    /// A file came here from another appliance.
    pub(crate) fn came(&self, volume: VolumeId, object: ObjectId) {
        self.course.lock().came(volume, object);
    }

    /// Files of a volume without a whole copy, as far as this appliance has found any.
    pub(crate) fn damaged_in(&self, volume: VolumeId) -> u64 {
        let course = self.course.lock();
        course.kept().damaged.iter().filter(|damage| damage.volume == volume).count() as u64
    }

    /// Does something to the course if that pass is still the one under way.
    fn of_pass(&self, pass: u64, change: impl FnOnce(&mut Course)) {
        let mut course = self.course.lock();
        if course.pass() == pass {
            change(&mut course);
        }
    }

    /// Keeps the course as it is now.
    async fn keep(&self) {
        let _one = self.keeping.lock().await;
        let bytes = self.course.lock().kept().encode();
        let keeper = self.keeper.clone();
        // Only a runtime that stops ends it early.
        let _ = tokio::task::spawn_blocking(move || keeper.keep(&bytes)).await;
    }
}

impl<S: Imaging> Router<S> {
    /// One step, and how long to rest after it.
    async fn scrub_once(self: &Arc<Self>, memory: &mut Memory) -> Duration {
        let (wall, now) = (self.parts.clock.wall(), self.parts.clock.since_boot());
        if self.scrub.course.lock().wake(wall) {
            tracing::info!("a scrub begins, as planned");
            self.scrub.keep().await;
        }
        if now >= memory.looked_at + LOOK_EVERY {
            memory.looked_at = now;
            self.look_after_scrub();
        }
        let (next, total) = {
            let course = self.scrub.course.lock();
            (course.next(), course.kept().pass.files_total)
        };
        let Some(next) = next.filter(|_| self.has_lease()) else {
            *self.scrub.file.lock() = None;
            return LOOK_EVERY;
        };
        self.note_who_left(memory);
        if now >= memory.kept_at + KEEP_EVERY {
            memory.kept_at = now;
            self.scrub.keep().await;
        }
        if total.is_none() {
            self.count_for_scrub().await;
        }
        if next != Next::Mend {
            memory.mending_since = None;
        }
        match next {
            Next::Walk(place, which) => return self.scrub_some(place, which, memory).await,
            Next::File(volume, object) => self.scrub_late(volume, object).await,
            Next::Mend => {
                let since = *memory.mending_since.get_or_insert(now);
                let over = self.scrub.course.lock().mending().is_empty();
                if !over && now.saturating_sub(since) < MEND_MAX {
                    self.count_mended();
                    return MEND_LOOK;
                }
                *self.scrub.file.lock() = None;
                let finished = self.scrub.course.lock().finish(wall);
                self.scrub.keep().await;
                self.tell_scrubbed(finished);
            }
        }
        Duration::ZERO
    }

    /// Looks at some files of the walk, from `place` on; how long to rest after it.
    async fn scrub_some(
        self: &Arc<Self>,
        place: Place,
        which: Which,
        memory: &mut Memory,
    ) -> Duration {
        let (pass, scope) = {
            let course = self.scrub.course.lock();
            (course.pass(), course.scope())
        };
        let volumes = self.volumes_to_scrub(scope);
        let next_to = |volume| volumes.iter().copied().find(|id| *id > volume);
        let Some(volume) = volumes.iter().copied().find(|id| *id >= place.volume) else {
            self.scrub.of_pass(pass, |course| course.volume_done(None));
            return Duration::ZERO;
        };
        let Ok(local) = self.local(volume) else {
            let now = self.parts.clock.since_boot();
            let since = memory.waits_for.filter(|(waits_for, _)| *waits_for == volume);
            let (_, since) = *memory.waits_for.insert(since.unwrap_or((volume, now)));
            if now.saturating_sub(since) < OPEN_MAX {
                return LOOK_EVERY;
            }
            tracing::warn!(%volume, "a volume is not open here, and is not scrubbed");
            memory.waits_for = None;
            self.scrub.of_pass(pass, |course| course.volume_done(next_to(volume)));
            return Duration::ZERO;
        };
        memory.waits_for = None;
        let from = if local.id == place.volume { place.object.get() } else { 0 };
        let before = ObjectId::new(from.saturating_sub(1));
        let me = self.parts.appliance;
        let look = local.catalog.copies_of(me, before, FILES_AT_ONCE);
        let copies = look.inspect_err(|fault| {
            tracing::error!(volume = %local.id, %fault, "files can't be looked for");
        });
        let next = match copies {
            Ok(copies) => {
                let mine = |(_, record): &&(ObjectId, ObjectRecord)| {
                    self.is_owner(record) && (which == Which::All || record.owner != me)
                };
                for (object, _) in copies.found.iter().filter(mine) {
                    if !self.scrub_one(&local, *object, pass).await {
                        return Duration::ZERO;
                    }
                }
                copies.next
            }
            Err(_) => None,
        };
        match next {
            Some(last) => {
                let place = Place { volume, object: last.next(), extent: 0 };
                self.scrub.of_pass(pass, |course| course.reached(place));
            }
            None => {
                self.scrub.of_pass(pass, |course| course.volume_done(next_to(volume)));
            }
        }
        Duration::ZERO
    }

    /// Volumes of which this appliance may own files, in their order; not all of them need be open
    /// here, shortly after a start.
    fn volumes_to_scrub(&self, scope: Option<VolumeId>) -> BTreeSet<VolumeId> {
        let (fleet, me) = (self.fleet_now(), self.parts.appliance);
        let held = |id: &VolumeId| fleet.seats(*id).is_some_and(|seats| seats.includes(me));
        let listed = fleet.volumes().iter().map(|info| info.id).filter(held);
        let mut volumes: BTreeSet<VolumeId> = listed.collect();
        volumes.extend(self.locals.read().keys());
        volumes.retain(|id| scope.is_none_or(|scope| scope == *id));
        volumes
    }

    async fn scrub_late(self: &Arc<Self>, volume: VolumeId, object: ObjectId) {
        let pass = self.scrub.course.lock().pass();
        match self.local(volume) {
            Ok(local) => drop(self.scrub_one(&local, object, pass).await),
            Err(_) => self.scrub.of_pass(pass, |course| course.file_done(volume, object, None)),
        }
    }

    /// Looks at one file; whether that came to its end.
    async fn scrub_one(
        self: &Arc<Self>,
        local: &Arc<Local<S>>,
        object: ObjectId,
        pass: u64,
    ) -> bool {
        let volume = local.id;
        let from = self.scrub.course.lock().extent_of(volume, object);
        let done = match self.scrub_file(local, object, (pass, from)).await {
            Looked::BrokenOff => return false,
            Looked::NotOurs => None,
            Looked::Done(done) => {
                count(&done);
                Some(done)
            }
        };
        let found = done.as_ref().is_some_and(|done| done.unreadable + done.differing > 0);
        self.scrub.of_pass(pass, |course| course.file_done(volume, object, done));
        if found {
            self.scrub.keep().await;
        }
        true
    }

    /// Waits until the next read may begin; false if the pass, or its volume, is no more.
    async fn scrub_turn(&self, local: &Arc<Local<S>>, pass: u64) -> bool {
        loop {
            let goes_on = {
                let course = self.scrub.course.lock();
                course.is_running() && course.pass() == pass
            };
            let open = self.locals.read().get(&local.id).is_some_and(|at| Arc::ptr_eq(at, local));
            if !goes_on || !open || !self.has_lease() {
                return false;
            }
            let wait = self.scrub.pace.lock().wait(self.parts.clock.since_boot());
            if wait.is_zero() {
                return true;
            }
            tokio::time::sleep(wait.min(TURN_LOOK)).await;
        }
    }

    /// Somebody else owns the files of who goes away.
    fn note_who_left(&self, memory: &mut Memory) {
        let fleet = self.fleet_now();
        let up = fleet.members().iter().filter(|member| fleet.is_up(member.id));
        let up: BTreeSet<ApplianceId> = up.map(|member| member.id).collect();
        if !memory.up.is_subset(&up) {
            self.scrub.course.lock().somebody_left();
        }
        memory.up = up;
    }

    /// Counts the files that a pass will look at.
    async fn count_for_scrub(self: &Arc<Self>) {
        let (pass, scope) = {
            let course = self.scrub.course.lock();
            (course.pass(), course.scope())
        };
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        let mut files = 0;
        for local in locals.iter().filter(|local| scope.is_none_or(|scope| scope == local.id)) {
            let (router, catalog) = (self.clone(), local.catalog.clone());
            let counted = tokio::task::spawn_blocking(move || router.owned_files(&catalog)).await;
            match counted {
                Ok(Ok(count)) => files += count,
                Ok(Err(fault)) => tracing::error!(%fault, "files can't be counted"),
                Err(_) => {}
            }
        }
        self.scrub.of_pass(pass, |course| course.counted(files));
    }

    /// Walks a catalog. Blocks.
    fn owned_files(&self, catalog: &Catalog<S>) -> Result<u64, CatalogFault> {
        let (mut files, mut after) = (0, ObjectId::new(0));
        loop {
            let copies = catalog.copies_of(self.parts.appliance, after, COUNTED_AT_ONCE)?;
            files += copies.found.iter().filter(|(_, record)| self.is_owner(record)).count() as u64;
            match copies.next {
                Some(next) => after = next,
                None => return Ok(files),
            }
        }
    }

    /// Sees what became of bad copies and damaged files, and shows how it stands.
    fn look_after_scrub(&self) {
        self.count_mended();
        let me = self.parts.appliance;
        let mut course = self.scrub.course.lock();
        // A volume that is not open here may be so again.
        course.keep_damaged(|damage| match self.local(damage.volume) {
            Ok(local) => local.inode(damage.object).is_ok_and(|inode| {
                inode.record().is_some_and(|record| record.replicas.contains(&me))
            }),
            Err(_) => self.fleet_now().volumes().iter().any(|info| info.id == damage.volume),
        });
        // What came as another copy is not owned here.
        course.keep_late(|volume, object| {
            let inode = self.local(volume).and_then(|local| local.inode(object));
            inode.is_ok_and(|inode| inode.record().is_some_and(|record| self.is_owner(record)))
        });
        let kept = course.kept();
        metrics::gauge!(RUNNING).set(f64::from(u8::from(course.is_running())));
        metrics::gauge!(DAMAGED).set(kept.damaged.len() as f64);
        if let Some(finished) = kept.finished {
            metrics::gauge!(LAST_FINISHED).set((finished.at.as_nanos() / 1_000_000_000) as f64);
        }
    }

    fn count_mended(&self) {
        let mut course = self.scrub.course.lock();
        if course.mending().is_empty() {
            return;
        }
        let (mut good, mut gone) = (Vec::new(), Vec::new());
        for mending in course.mending() {
            let Mending { volume, object, copy } = mending;
            let inode = self.local(*volume).and_then(|local| local.inode(*object));
            match inode.ok().as_ref().and_then(|inode| inode.record()) {
                // Good again, or another copy was made in its place.
                Some(record) if !record.stale.contains(copy) => good.push(*mending),
                Some(_) => {}
                None => gone.push(*mending),
            }
        }
        metrics::counter!(MENDED).increment(good.len() as u64);
        course.mended(&good, &gone);
    }

    fn tell_scrubbed(&self, finished: Finished) {
        let counts = finished.counts;
        let unmended = finished.unmended();
        let (files, errors) = (counts.files, counts.errors());
        tracing::info!(files, errors, unmended, skipped = counts.skipped, "a scrub is done");
        self.tell(Happening::Here(Here::Scrubbed(finished)));
    }
}

fn count(done: &Done) {
    metrics::counter!(FILES).increment(1);
    metrics::counter!(ERRORS, "kind" => "unreadable").increment(done.unreadable);
    metrics::counter!(ERRORS, "kind" => "differs").increment(done.differing);
    metrics::counter!(SKIPPED).increment(u64::from(done.skipped));
}

/// Bytes that scrubs read from this appliance's disk, for its own files and for others'; a counter.
const BYTES: &str = "holdfast_scrub_bytes_total";
/// Files that were scrubbed to their end; a counter.
const FILES: &str = "holdfast_scrub_files_total";
/// Bad copies that scrubs found, by `kind`: `unreadable` or `differs`; a counter.
const ERRORS: &str = "holdfast_scrub_errors_total";
/// Of those, the ones that were made anew; a counter.
const MENDED: &str = "holdfast_scrub_mended_total";
/// Files of which something was not compared; a counter.
const SKIPPED: &str = "holdfast_scrub_skipped_files_total";
/// Whether a scrub runs; a gauge.
const RUNNING: &str = "holdfast_scrub_running";
/// Files of this appliance without a whole copy; a gauge.
const DAMAGED: &str = "holdfast_scrub_damaged_files";
/// When the last scrub ended, in seconds since 1970; a gauge.
const LAST_FINISHED: &str = "holdfast_scrub_last_finished_seconds";

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a restart may have to read again.
const KEEP_EVERY: Duration = Duration::from_secs(2);
const MEND_LOOK: Duration = Duration::from_millis(200);
/// A large file is made anew in so long; what takes longer is reported as not mended yet.
const MEND_MAX: Duration = Duration::from_secs(600);
/// What is to be held here is open some seconds after a start, or its catalog is on its way.
const OPEN_MAX: Duration = Duration::from_secs(120);
/// Who is stopped stops within this.
const TURN_LOOK: Duration = Duration::from_millis(100);
const FILES_AT_ONCE: usize = 64;
const COUNTED_AT_ONCE: usize = 1000;
