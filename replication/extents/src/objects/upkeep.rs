//! What is done to objects as files: removal, quarantine, faults, the clean stop.

use std::{io, path::Path, sync::Arc, time::Duration};

use model::{ObjectId, Refusal};
use tracing::{info, warn};

use super::{
    CopyFault, Objects, Shared, blocking,
    load::{file_name, group_name},
};
use crate::{Open, Rename, feed::FeedEnd, object::Object};

/// How many files a clean stop fsyncs at a time.
const SETTLED_AT_A_TIME: usize = 16;

/// The directory of files that nobody knows, beside the groups. (Within the volume's subvolume: a
/// file can't be renamed out of it.)
const QUARANTINE_NAME: &str = "quarantine";

impl Objects {
    /// Deletes backing files, once nobody works on them any more; from the call on these objects
    /// are stale. Those without a file count as deleted. Durable after [`Self::sync_file_system`].
    pub async fn remove(&self, objects: &[ObjectId]) -> io::Result<()> {
        let mut doomed = Vec::with_capacity(objects.len());
        let mut ids = objects.to_vec();
        for id in objects {
            // Not known and not to be known: the file alone is what there is.
            let Ok(object) = self.shared.table.get(*id) else {
                continue;
            };
            {
                let mut state = object.state();
                if state.unlinked {
                    // Done before. A copy that comes here anew may have a file of that name.
                    ids.retain(|other| other != id);
                    continue;
                }
                state.gone = true;
                state.feeds.end(FeedEnd::Stale);
            }
            doomed.push(object);
        }
        for object in &doomed {
            object
                .wait_for(|state| {
                    let core = state.core.as_ref();
                    let quiet = core.is_none_or(|core| core.is_quiet());
                    (quiet && !state.opening).then_some(())
                })
                .await;
        }
        let shared = Arc::clone(&self.shared);
        let done = blocking(move || {
            let unlinked = ids.into_iter().try_for_each(|id| shared.unlink(id));
            for object in doomed {
                shared.close(&object);
                object.state().unlinked = true;
            }
            unlinked
        });
        done.await.map_err(|_| io::Error::other("the runtime is stopping"))?
    }

    /// Whether the copy of the object is broken. One that is made anew is not.
    pub fn is_broken(&self, object: ObjectId) -> bool {
        self.shared.table.find(object).and_then(|object| fault_of(&object)).is_some()
    }

    /// Objects whose copy is broken, and why.
    pub fn faults(&self) -> Vec<(ObjectId, CopyFault)> {
        let objects = self.shared.table.all(|object| fault_of(object).is_some());
        objects.iter().filter_map(|object| Some((object.id, fault_of(object)?))).collect()
    }

    /// Lets writes and commits of the object go on: somebody took responsibility for what may be
    /// lost. What was wrong, if anything was.
    pub fn clear_fault(&self, object: ObjectId) -> Option<CopyFault> {
        let object = self.shared.table.find(object)?;
        let now = self.shared.clock.wall();
        let fault = object.state().core.as_mut()?.clear_fault(now)?;
        warn!(object = %object.id, ?fault, "the fault of an object's copy is cleared");
        Some(fault)
    }

    /// Shows every backing file there is, in any order. Blocks.
    pub fn each_backing_file(&self, mut each: impl FnMut(ObjectId)) -> io::Result<()> {
        let disk = &self.shared.disk;
        let dir = &self.shared.settings.dir;
        let mut groups = Vec::new();
        disk.list(dir, &mut |name| {
            if let Some(group) = name.to_str()
                && parse_hex(group).is_some()
            {
                groups.push(dir.join(group));
            }
        })?;
        for group in groups {
            disk.list(&group, &mut |name| {
                let object = name.to_str().and_then(parse_hex).map(ObjectId::new);
                // A name that we would not give is not one of ours.
                let ours = object.filter(|object| group.ends_with(group_name(*object)));
                if let Some(object) = ours {
                    each(object);
                }
            })?;
        }
        Ok(())
    }

    /// Whether the object has a backing file now. Blocks.
    pub fn has_backing_file(&self, object: ObjectId) -> bool {
        self.shared.disk.open(&self.shared.path(object), Open::Existing).is_ok()
    }

    /// Bytes of disk that the object's backing file takes now; none if there is no such file. The
    /// object is not loaded for that. Blocks.
    pub fn stored_bytes(&self, object: ObjectId) -> u64 {
        let file = self.shared.disk.open(&self.shared.path(object), Open::Existing);
        file.and_then(|file| file.facts()).map_or(0, |facts| facts.used)
    }

    /// Moves the backing file of an object that nobody knows out of the way, to
    /// `<dir>/quarantine/<object>.<second>`, both in hex. Blocks.
    pub fn quarantine(&self, object: ObjectId) -> io::Result<()> {
        let shared = &self.shared;
        let quarantine = shared.settings.dir.join(QUARANTINE_NAME);
        match shared.disk.make_dir(&quarantine) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let from: &Path = &shared.path(object);
        let name = format!("{}.{:x}", file_name(object), self.second());
        let to: &Path = &quarantine.join(name);
        shared.disk.rename(Rename { from, to })?;
        info!(%object, "the backing file of an unknown object is quarantined");
        Ok(())
    }

    /// Deletes what has been in quarantine for longer than `kept`; how many files. Blocks.
    pub fn discard_quarantined(&self, kept: Duration) -> io::Result<usize> {
        let disk = &self.shared.disk;
        let quarantine = self.shared.settings.dir.join(QUARANTINE_NAME);
        let before = self.second().saturating_sub(kept.as_secs());
        let mut old = Vec::new();
        let listed = disk.list(&quarantine, &mut |name| {
            let second = name.to_str().and_then(|name| name.split_once('.'));
            if second.and_then(|(_, second)| parse_hex(second)).is_some_and(|at| at < before) {
                old.push(quarantine.join(name));
            }
        });
        match listed {
            // Nothing was ever put there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            listed => listed?,
        }
        for path in &old {
            disk.unlink(path)?;
            info!(path = %path.display(), "a file nobody knows was in quarantine long enough");
        }
        Ok(old.len())
    }

    fn second(&self) -> u64 {
        self.shared.clock.wall().as_nanos() / 1_000_000_000
    }

    /// Makes everything durable and every record clean, for a clean stop. The first refusal, after
    /// all were tried: then the stop is not clean.
    pub async fn settle_all(&self) -> Result<(), Refusal> {
        let owing = self.shared.table.all(|object| {
            let state = object.state();
            let core = state.core.as_ref();
            !state.gone && core.is_some_and(|core| core.is_uncommitted())
        });
        let mut result = Ok(());
        for some in owing.chunks(SETTLED_AT_A_TIME) {
            let tasks: Vec<_> = some.iter().map(|object| self.settle(object)).collect();
            for task in tasks {
                let settled = task.await.unwrap_or(Err(Refusal::Fault));
                result = result.and(settled);
            }
        }
        result
    }

    /// Backing files open now.
    pub fn open_files(&self) -> usize {
        self.shared.table.open_files()
    }

    fn settle(&self, object: &Arc<Object>) -> tokio::task::JoinHandle<Result<(), Refusal>> {
        let shared = Arc::clone(&self.shared);
        let object = Arc::clone(object);
        let target = object.state().loaded().target();
        tokio::spawn(async move { shared.commit_to(&object, target).await })
    }
}

impl Shared {
    fn close(&self, object: &Object) {
        let file = object.state().file.take();
        if let Some(file) = file {
            self.table.closed(object.id);
            drop(file);
        }
    }

    fn unlink(&self, object: ObjectId) -> io::Result<()> {
        match self.disk.unlink(&self.path(object)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn parse_hex(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name, 16).ok()?;
    // `+1`, `0001` and `A` are not how we write numbers.
    (format!("{number:x}") == name).then_some(number)
}

fn fault_of(object: &Object) -> Option<CopyFault> {
    let state = object.state();
    match state.gone {
        true => None,
        false => state.core.as_ref()?.fault(),
    }
}
