//! Data at the owner: READ, WRITE, COMMIT, and SETATTR in sequence with them.

use std::future::Future;
use std::sync::Arc;

use catalog::{Command, Imaging, Preview};
use extents::Stamping;
use model::permission;
use model::{
    Attributes, Change, DataFacts, Inode, InodeKind, Mark, ObjectId, Refusal, Reign, RequestKey,
    SetAttributes, SetTime, Span, Stability, Timestamp, Wcc, WccBefore, Written,
};
use volume::{Ask, Attached, Committed, ReadData, Refused, WriteRequest, Wrote};

use crate::local::{DataAnswer, Local, OwnFile, faulted};
use crate::router::Router;

impl<S: Imaging> Router<S> {
    /// READ, and the newest change that it may have seen.
    pub(crate) async fn read_file(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        span: Span,
    ) -> Result<(ReadData, Mark), Refused> {
        let file = self.own_file(local, object).await?;
        if !permission::may_read_data(&*file.inode, &ask.identity) {
            return Err(self.refused_file(local, object, &file, Refusal::Access).await);
        }
        let done = local.objects.read(object, file.has_data, span).await?;
        let attributes = file.inode.attributes(object, done.facts);
        let seen = done.facts.stamp.map(|stamp| stamp.mark).unwrap_or_default();
        Ok((ReadData { bytes: done.bytes, eof: done.eof, attributes }, seen))
    }

    /// WRITE; a call sent twice is done once.
    pub(crate) async fn write_file(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        request: WriteRequest,
    ) -> Result<Wrote, Refused> {
        let (object, stability) = (request.object, request.stability);
        let call = async {
            match self.write_once(ask, local, request).await {
                Ok((wrote, mark)) => DataAnswer::WroteAt(wrote, mark),
                Err(refused) => DataAnswer::Refused(Box::new(refused)),
            }
        };
        let (mut wrote, mark) = match local.data_calls.once_about(Some(object), ask.key, call).await
        {
            DataAnswer::WroteAt(wrote, mark) => (wrote, mark),
            DataAnswer::Wrote(wrote) => (wrote, self.last_change(local, object).await?),
            DataAnswer::Refused(refused) => return Err(*refused),
            // One key, two procedures: the digest covers the procedure, so this can't be.
            DataAnswer::Set(_) | DataAnswer::SetAt(..) => return Err(Refusal::Fault.into()),
        };
        // Also of a call that an earlier owner executed: it may not have come so far.
        let done = wrote.written.committed;
        wrote.written.committed = self.secure(local, object, mark, (done, stability)).await?;
        Ok(wrote)
    }

    async fn write_once(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        request: WriteRequest,
    ) -> Result<(Wrote, Mark), Refused> {
        let WriteRequest { object, span, payload, stability } = request;
        // Taken before the bytes are written: a loss after this changes it.
        let verifier = self.verifier(ask.volume);
        let seen = self.own_file(local, object).await?;
        self.may_change(ask, local, object, &seen).await?;
        self.copies_are_joined(local, object, &seen).await?;
        // A write of nothing has no effect at all (POSIX write).
        let dropped = match span.is_empty() {
            true => None,
            false => self.drop_privileges(ask, local, object, &seen).await?,
        };
        let file = dropped.as_ref().unwrap_or(&seen);
        self.same_view(ask)?;
        // With other copies it is made durable at all of them at once, afterwards.
        let alone = file.is_alone();
        let secure = !alone && stability != Stability::Unstable && self.waits_for_all(local);
        let stability = if alone { stability } else { Stability::Unstable };
        let stamping = local.stamping(file, ask.key, self.parts.clock.wall());
        let stamping = Stamping { secure, ..stamping };
        let written = local
            .objects
            .write(object, file.has_data, span.offset(), payload, stability, stamping)
            .await;
        local.no_fault_open().await?;
        let done = match written {
            Ok(done) => done,
            Err(refusal) => return Err(self.refused_file(local, object, file, refusal).await),
        };
        // Removed meanwhile: it is shown as it was.
        let inode = local.inode(object).unwrap_or_else(|_| file.inode.clone());
        // Before and after enclose this change alone, or there is no before.
        let before = (inode.change == file.inode.change)
            .then(|| WccBefore::from(&seen.inode.attributes(object, done.before)));
        let wcc = Wcc { before, after: Some(inode.attributes(object, done.after)) };
        let written = Written { count: done.count, committed: done.committed, verifier };
        let mark = done.after.stamp.map(|stamp| stamp.mark).unwrap_or_default();
        Ok((Wrote { written, wcc }, mark))
    }

    /// Whether COMMIT may be done here, and to which file.
    pub(crate) async fn may_commit(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
    ) -> Result<OwnFile, Refused> {
        let file = self.own_file(local, object).await?;
        self.may_change(ask, local, object, &file).await?;
        self.copies_are_joined(local, object, &file).await?;
        Ok(file)
    }

    /// What COMMIT answers after its sync.
    pub(crate) async fn committed(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
        synced: Result<DataFacts, Refusal>,
    ) -> Result<Committed, Refused> {
        local.no_fault_open().await?;
        if let Err(refusal) = synced {
            return Err(self.refused_file(local, object, file, refusal).await);
        }
        // Taken after the fsync: it vouches for what is durable now.
        let verifier = self.verifier(ask.volume);
        let after = self.attributes_of(local, object, &file.inode).await.ok();
        let wcc = Wcc { before: after.as_ref().map(WccBefore::from), after };
        Ok(Committed { verifier, wcc })
    }

    /// SETATTR of any object.
    pub(crate) async fn set_attributes_of(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        let inode = local.inode(object)?;
        if let InodeKind::File { .. } = inode.kind {
            return self.set_file(ask, local, object, set, guard).await;
        }
        let before = WccBefore::from(&inode.attributes(object, DataFacts::default()));
        let standing = || {
            let attributes = inode.attributes(object, DataFacts::default());
            let object = Wcc { before: Some(before), after: Some(attributes) };
            Attached { object, ..Attached::default() }
        };
        if set.size.is_some() {
            let refusal =
                if inode.is_directory() { Refusal::IsDirectory } else { Refusal::Invalid };
            return Err(Refused { refusal, attached: standing() });
        }
        let wanted = Wanted { set, guard, expected_change: None, mark: Mark::default() };
        let change = wanted.change(object, Timestamp::default());
        match self.enter_change(ask, local, None, change).await {
            Ok(changed) => {
                // Somebody else's change may have come between the look and the entry.
                let alone = |after: &Inode| after.change == inode.change + 1;
                let before = changed.inode.as_ref().is_some_and(alone).then_some(before);
                let after = changed.inode.map(|i| i.attributes(object, DataFacts::default()));
                Ok(Wcc { before, after })
            }
            Err(refusal) => Err(Refused { refusal, attached: standing() }),
        }
    }

    /// SETATTR of a file, in sequence with its writes; a call sent twice is done once.
    pub(crate) async fn set_file(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        let once = self.set_file_once(ask, local, object, set, guard);
        self.set_once(ask, local, (object, set.size.is_some()), once).await
    }

    /// The part of a CREATE that is done to the file's data; a call sent twice is done once.
    pub(crate) async fn set_created(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
    ) -> Result<Wcc, Refused> {
        // The key stands for the entry that made the name: this is another, of the same call.
        let other = |key: RequestKey| RequestKey { digest: !key.digest, ..key };
        let part = Ask { key: ask.key.map(other), ..ask.clone() };
        let once = self.set_file_once(&part, local, object, set, None);
        self.set_once(&part, local, (object, set.size.is_some()), once).await
    }

    async fn set_once(
        &self,
        ask: &Ask,
        local: &Local<S>,
        (object, sized): (ObjectId, bool),
        set: impl Future<Output = Result<(Wcc, Mark), Refused>>,
    ) -> Result<Wcc, Refused> {
        let call = async {
            match set.await {
                Ok((wcc, mark)) => DataAnswer::SetAt(wcc, mark),
                Err(refused) => DataAnswer::Refused(Box::new(refused)),
            }
        };
        let (wcc, mark) = match local.data_calls.once_about(Some(object), ask.key, call).await {
            DataAnswer::SetAt(wcc, mark) => (wcc, mark),
            DataAnswer::Set(wcc) => (wcc, self.last_change(local, object).await?),
            DataAnswer::Refused(refused) => return Err(*refused),
            DataAnswer::Wrote(_) | DataAnswer::WroteAt(..) => return Err(Refusal::Fault.into()),
        };
        // Copies are asked about data alone; for what is not size nobody joined them.
        if sized && mark > Mark::default() {
            let file_sync = (Stability::Unstable, Stability::FileSync);
            self.secure(local, object, mark, file_sync).await?;
        }
        Ok(wcc)
    }

    /// Checks permission and guard for all parts first; then size, durable; then one entry for the
    /// rest.
    async fn set_file_once(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<(Wcc, Mark), Refused> {
        let file = self.owned(local, object)?;
        let facts = local.objects.facts(object, file.has_data).await?;
        let standing = file.inode.attributes(object, facts);
        if self.was_entered(ask, local)? {
            // Its entry outlived a restart, its answer in memory did not: the guard must not be
            // held against the very change it let through.
            let wcc = Wcc { before: None, after: Some(standing) };
            return Ok((wcc, facts.stamp.map(|stamp| stamp.mark).unwrap_or_default()));
        }
        let attached = Attached {
            object: Wcc { before: Some(WccBefore::from(&standing)), after: Some(standing) },
            ..Attached::default()
        };
        let refused = |refusal| Refused { refusal, attached };
        if ask.read_only {
            return Err(refused(Refusal::ReadOnly));
        }
        if guard.is_some_and(|ctime| ctime != standing.ctime) {
            return Err(refused(Refusal::NotSync));
        }
        let rest = rest_of(set);
        if let Some(rest) = rest {
            self.may_set(ask, local, object, rest).map_err(refused)?;
        }
        let steps = match (set.size, rest) {
            // Alone it is the whole call: other copies get to know it.
            (Some(size), None) => self.set_size(ask, ask.key, local, (object, &file), size).await?,
            (Some(size), Some(rest)) => {
                let sized = self.set_size(ask, None, local, (object, &file), size).await?;
                let rested = self.set_rest(ask, local, object, rest, None).await;
                sized.then(rested.map_err(refused)?)
            }
            (None, _) => self.set_rest(ask, local, object, set, guard).await.map_err(refused)?,
        };
        Ok((steps.wcc(), steps.made.unwrap_or_default()))
    }

    /// Whether the call's entry was applied, with success.
    fn was_entered(&self, ask: &Ask, local: &Local<S>) -> Result<bool, Refusal> {
        let Some(key) = &ask.key else { return Ok(false) };
        let answer = local.catalog.replayed(key).map_err(faulted)?;
        Ok(matches!(answer, Some(Ok(_))))
    }

    async fn set_size(
        &self,
        ask: &Ask,
        key: Option<RequestKey>,
        local: &Arc<Local<S>>,
        (object, seen): (ObjectId, &OwnFile),
        size: u64,
    ) -> Result<Steps, Refused> {
        self.may_change(ask, local, object, seen).await?;
        self.copies_are_joined(local, object, seen).await?;
        let dropped = self.drop_privileges(ask, local, object, seen).await?;
        let file = dropped.as_ref().unwrap_or(seen);
        self.same_view(ask)?;
        let stamping = local.stamping(file, key, self.parts.clock.wall());
        let stamping = Stamping { secure: self.waits_for_all(local), ..stamping };
        let sized = local.objects.set_size(object, file.has_data, size, stamping).await;
        local.no_fault_open().await?;
        match sized {
            Ok(done) => {
                // Removed meanwhile: it is shown as it was.
                let inode = local.inode(object).unwrap_or_else(|_| file.inode.clone());
                Ok(Steps {
                    before: seen.inode.attributes(object, done.before),
                    found: Moment::of(&seen.inode, &done.before),
                    left: Moment::of(&inode, &done.after),
                    after: inode.attributes(object, done.after),
                    alone: inode.change == file.inode.change,
                    made: done.after.stamp.map(|stamp| stamp.mark),
                })
            }
            Err(refusal) => Err(self.refused_file(local, object, file, refusal).await),
        }
    }

    /// Enters what is not size, conditional on the inode being as it was looked at.
    async fn set_rest(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Steps, Refusal> {
        let _turn = local.setters.turn(object).await;
        for _ in 0..CONFLICTS_MAX {
            let file = self.owned(local, object)?;
            let reign = Reign { epoch: file.epoch, view: local.reign() };
            let (mark, facts) = if sets_time(set) {
                local.objects.take_mark(object, file.has_data, reign).await?
            } else {
                (Mark::default(), local.objects.facts(object, file.has_data).await?)
            };
            let expected_change = Some(file.inode.change);
            let wanted = Wanted { set, guard, expected_change, mark };
            let floor = facts.stamp.map(|stamp| stamp.ctime).unwrap_or_default();
            let change = wanted.change(object, floor);
            match self.enter_change(ask, local, Some(file.reign()), change).await {
                Err(Refusal::Conflict) => continue,
                Err(refusal) => return Err(refusal),
                Ok(changed) => {
                    let entered = changed.inode.ok_or(Refusal::Fault)?;
                    let (inode, facts_now) = self.file_now(local, object).await?;
                    let left = Moment::of(&inode, &facts_now);
                    return Ok(Steps {
                        before: file.inode.attributes(object, facts),
                        found: Moment::of(&file.inode, &facts),
                        left,
                        after: inode.attributes(object, facts_now),
                        alone: left == Moment::of(&entered, &facts),
                        made: None,
                    });
                }
            }
        }
        Err(Refusal::Busy)
    }

    /// Whether the parts that are not size may be set, before anything is done.
    fn may_set(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        set: SetAttributes,
    ) -> Result<(), Refusal> {
        let wanted = Wanted { set, guard: None, expected_change: None, mark: Mark::default() };
        let change = wanted.change(object, Timestamp::default());
        let asked = change.asked(ask.identity.clone(), None, self.parts.clock.wall());
        match local.catalog.preview(&asked).map_err(faulted)? {
            Preview::Refused(refusal) => Err(refusal),
            Preview::Changes(_) | Preview::Nothing(_) => Ok(()),
        }
    }

    /// Whether the asker may change a file's data, and this appliance's copy is good.
    async fn may_change(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<(), Refused> {
        let refusal = if ask.read_only {
            Refusal::ReadOnly
        } else if !permission::may_write_data(&*file.inode, &ask.identity) {
            Refusal::Access
        } else if file.stale {
            Refusal::Fault
        } else {
            return Ok(());
        };
        Err(self.refused_file(local, object, file, refusal).await)
    }

    /// Takes setuid and setgid from a file that somebody else than the superuser changes; gives
    /// the file as it is then.
    async fn drop_privileges(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<Option<OwnFile>, Refused> {
        let mode = file.inode.mode;
        if ask.identity.is_root() || permission::mode_without_privileges(mode) == mode {
            return Ok(None);
        }
        let now = self.parts.clock.wall();
        let drop = Command::DropPrivileges { object, now };
        self.enter_under(local, file.reign(), drop).await?;
        Ok(Some(self.owned(local, object)?))
    }

    /// A file that this appliance owns now.
    ///
    /// # Errors
    /// STALE if it is gone, ISDIR or INVAL if it is something else, `Fenced` if another appliance
    /// owns it: then the asker looks again where it is.
    pub(crate) fn owned(&self, local: &Local<S>, object: ObjectId) -> Result<OwnFile, Refusal> {
        if local.parting.has_begun() {
            return Err(Refusal::Fenced);
        }
        let file = local.file(object)?;
        let view = file.inode.record().and_then(|record| self.owns_under(local, record));
        view.map(|view| OwnFile { view, ..file }).ok_or(Refusal::Fenced)
    }

    /// Refuses what was found to belong here in a view that is over: its client may have sent it
    /// again elsewhere since, and changed what this would change back.
    fn same_view(&self, ask: &Ask) -> Result<(), Refusal> {
        match ask.view {
            Some(view) if view != self.view_now() => Err(Refusal::Fenced),
            Some(_) | None => Ok(()),
        }
    }

    /// A file that is owned here; what is none is shown in the refusal.
    async fn own_file(&self, local: &Local<S>, object: ObjectId) -> Result<OwnFile, Refused> {
        let refusal = match self.owned(local, object) {
            Ok(file) => return Ok(file),
            Err(Refusal::Fenced) => return Err(Refusal::Fenced.into()),
            Err(refusal) => refusal,
        };
        let after = match local.inode(object) {
            Ok(inode) => self.attributes_of(local, object, &inode).await.ok(),
            Err(_) => None,
        };
        let object = Wcc { before: None, after };
        Err(Refused { refusal, attached: Attached { object, ..Attached::default() } })
    }

    /// A refusal with the file's attributes, if they can be had.
    async fn refused_file(
        &self,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
        refusal: Refusal,
    ) -> Refused {
        let after = self.attributes_of(local, object, &file.inode).await.ok();
        let object = Wcc { before: None, after };
        Refused { refusal, attached: Attached { object, ..Attached::default() } }
    }
}

/// What was done to a file, as weak cache consistency must know it.
struct Steps {
    /// Just before the first of them.
    before: Attributes,
    /// What the first one found.
    found: Moment,
    /// What the last one left.
    left: Moment,
    /// Just after it, or later.
    after: Attributes,
    /// Whether nobody else's change came between before and after.
    alone: bool,
    /// The change of data that was one of them.
    made: Option<Mark>,
}

impl Steps {
    fn then(self, next: Self) -> Self {
        let alone = self.alone && next.alone && self.left == next.found;
        let made = next.made.or(self.made);
        Self { before: self.before, found: self.found, alone, made, ..next }
    }

    /// Before and after enclose this change alone, or there is no before.
    fn wcc(&self) -> Wcc {
        let before = self.alone.then(|| WccBefore::from(&self.before));
        Wcc { before, after: Some(self.after) }
    }
}

/// Two looks at a file see the same moment if no entry and no change of data came between.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment {
    change: u64,
    mark: Option<Mark>,
}

impl Moment {
    fn of(inode: &Inode, facts: &DataFacts) -> Self {
        Self { change: inode.change, mark: facts.stamp.map(|stamp| stamp.mark) }
    }
}

/// SETATTR without size.
struct Wanted {
    set: SetAttributes,
    guard: Option<Timestamp>,
    expected_change: Option<u64>,
    mark: Mark,
}

impl Wanted {
    fn change(self, object: ObjectId, ctime_floor: Timestamp) -> Change {
        let Self { set, guard, expected_change, mark } = self;
        let set = SetAttributes { size: None, ..set };
        Change::SetAttributes { object, set, guard, expected_change, mark, ctime_floor }
    }
}

/// What is left of a SETATTR once its size is done. A server-time mtime beside a size is what a
/// change of size does by itself.
fn rest_of(set: SetAttributes) -> Option<SetAttributes> {
    let mut rest = SetAttributes { size: None, ..set };
    if set.size.is_some() && rest.mtime == SetTime::ToServerTime {
        rest.mtime = SetTime::Keep;
    }
    let nothing = SetAttributes::default();
    // A SETATTR of nothing at all still checks its guard and moves ctime, as an entry.
    (rest != nothing || set.size.is_none()).then_some(rest)
}

fn sets_time(set: SetAttributes) -> bool {
    set.mtime != SetTime::Keep
}

/// How often a request looks again when names of its file come and go under it.
pub(crate) const CONFLICTS_MAX: usize = 64;
