//! Data at the owner: READ, WRITE, COMMIT, and SETATTR in sequence with them.

use std::sync::Arc;

use catalog::{Command, Preview, Store};
use model::permission;
use model::{
    Change, DataFacts, InodeKind, Mark, ObjectId, Refusal, Reign, SetAttributes, SetTime, Span,
    Timestamp, Wcc, WccBefore, Written,
};
use volume::{Ask, Attached, Committed, ReadData, Refused, WriteRequest, Wrote};

use crate::local::{DataAnswer, Local, OwnFile, faulted};
use crate::router::Router;

impl<S: Store> Router<S> {
    /// READ.
    pub(crate) async fn read_file(
        &self,
        ask: &Ask,
        object: ObjectId,
        span: Span,
    ) -> Result<ReadData, Refused> {
        let local = self.local(ask.volume)?;
        let file = local.own_file(object, self.parts.appliance)?;
        if !permission::may_read_data(&file.inode, &ask.identity) {
            return Err(self.refused_file(&local, object, &file, Refusal::Access).await);
        }
        let done = local.objects.read(object, file.has_data, span).await?;
        let attributes = file.inode.attributes(object, done.facts);
        Ok(ReadData { bytes: done.bytes, eof: done.eof, attributes })
    }

    /// WRITE; a call sent twice is done once.
    pub(crate) async fn write_file(
        &self,
        ask: &Ask,
        request: WriteRequest,
    ) -> Result<Wrote, Refused> {
        let local = self.local(ask.volume)?;
        let call = async {
            match self.write_once(ask, &local, request).await {
                Ok(wrote) => DataAnswer::Wrote(wrote),
                Err(refused) => DataAnswer::Refused(Box::new(refused)),
            }
        };
        match local.data_calls.once(ask.key, call).await {
            DataAnswer::Wrote(wrote) => Ok(wrote),
            DataAnswer::Refused(refused) => Err(*refused),
            // One key, two procedures: the digest covers the procedure, so this can't be.
            DataAnswer::Set(_) => Err(Refusal::Fault.into()),
        }
    }

    async fn write_once(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        request: WriteRequest,
    ) -> Result<Wrote, Refused> {
        let WriteRequest { object, span, payload, stability } = request;
        // Taken before the bytes are written: a loss after this changes it.
        let verifier = self.verifier(ask.volume);
        let file = local.own_file(object, self.parts.appliance)?;
        self.may_change(ask, local, object, &file).await?;
        self.drop_privileges(ask, local, object, &file).await?;
        let stamping = local.stamping(&file, self.parts.clock.wall());
        let written = local
            .objects
            .write(object, file.has_data, span.offset(), payload, stability, stamping)
            .await;
        local.news.no_fault_open().await;
        let done = match written {
            Ok(done) => done,
            Err(refusal) => return Err(self.refused_file(local, object, &file, refusal).await),
        };
        Ok(Wrote {
            written: Written { count: done.count, committed: done.committed, verifier },
            wcc: wcc(object, &file, done.before, done.after),
        })
    }

    /// COMMIT.
    pub(crate) async fn commit_file(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> Result<Committed, Refused> {
        let local = self.local(ask.volume)?;
        let file = local.own_file(object, self.parts.appliance)?;
        self.may_change(ask, &local, object, &file).await?;
        let committed = local.objects.commit(object, file.has_data).await;
        local.news.no_fault_open().await;
        let facts = match committed {
            Ok(facts) => facts,
            Err(refusal) => return Err(self.refused_file(&local, object, &file, refusal).await),
        };
        // Taken after the fsync: it vouches for what is durable now.
        let verifier = self.verifier(ask.volume);
        Ok(Committed { verifier, wcc: wcc(object, &file, facts, facts) })
    }

    /// SETATTR of any object.
    pub(crate) async fn set_attributes_of(
        &self,
        ask: &Ask,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        let local = self.local(ask.volume)?;
        let inode = local.inode(object)?;
        if let InodeKind::File { .. } = inode.kind {
            return self.set_file(ask, &local, object, set, guard).await;
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
        match self.enter_change(ask, &local, wanted.change(object, Timestamp::default())).await {
            Ok(changed) => {
                let after = changed.inode.map(|i| i.attributes(object, DataFacts::default()));
                Ok(Wcc { before: Some(before), after })
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
        let call = async {
            match self.set_file_once(ask, local, object, set, guard).await {
                Ok(wcc) => DataAnswer::Set(wcc),
                Err(refused) => DataAnswer::Refused(Box::new(refused)),
            }
        };
        match local.data_calls.once(ask.key, call).await {
            DataAnswer::Set(wcc) => Ok(wcc),
            DataAnswer::Refused(refused) => Err(*refused),
            DataAnswer::Wrote(_) => Err(Refusal::Fault.into()),
        }
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
    ) -> Result<Wcc, Refused> {
        let file = local.own_file(object, self.parts.appliance)?;
        let facts = local.objects.facts(object, file.has_data).await?;
        if self.was_entered(ask, local)? {
            // Its entry outlived a restart, its answer in memory did not: the guard must not be
            // held against the very change it let through.
            let after = Some(file.inode.attributes(object, facts));
            return Ok(Wcc { before: None, after });
        }
        let before = file.inode.attributes(object, facts);
        let attached = Attached {
            object: Wcc { before: Some(WccBefore::from(&before)), after: Some(before) },
            ..Attached::default()
        };
        let refused = |refusal| Refused { refusal, attached };
        if ask.read_only {
            return Err(refused(Refusal::ReadOnly));
        }
        if guard.is_some_and(|ctime| ctime != before.ctime) {
            return Err(refused(Refusal::NotSync));
        }
        let rest = rest_of(set);
        if let Some(rest) = rest {
            self.may_set(ask, local, object, rest).map_err(refused)?;
        }
        let mut after = facts;
        if let Some(size) = set.size {
            self.may_change(ask, local, object, &file).await?;
            self.drop_privileges(ask, local, object, &file).await?;
            let stamping = local.stamping(&file, self.parts.clock.wall());
            let sized = local.objects.set_size(object, file.has_data, size, stamping).await;
            local.news.no_fault_open().await;
            after = sized.map_err(refused)?.after;
        }
        if let Some(rest) = rest {
            self.set_rest(ask, local, object, rest).await.map_err(refused)?;
            after = local.objects.facts(object, file.has_data).await.map_err(refused)?;
        }
        let inode = local.inode(object)?;
        let after = inode.attributes(object, after);
        Ok(Wcc { before: attached.object.before, after: Some(after) })
    }

    /// Whether the call's entry was applied, with success.
    fn was_entered(&self, ask: &Ask, local: &Local<S>) -> Result<bool, Refusal> {
        let Some(key) = &ask.key else { return Ok(false) };
        let answer = local.catalog.replayed(key).map_err(faulted)?;
        Ok(matches!(answer, Some(Ok(_))))
    }

    /// Enters what is not size, conditional on the inode being as it was looked at.
    async fn set_rest(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
    ) -> Result<(), Refusal> {
        for _ in 0..CONFLICTS_MAX {
            let file = local.own_file(object, self.parts.appliance)?;
            let reign = Reign { epoch: file.epoch, view: local.view };
            let (mark, facts) = if sets_time(set) {
                local.objects.take_mark(object, file.has_data, reign).await?
            } else {
                (Mark::default(), local.objects.facts(object, file.has_data).await?)
            };
            let expected_change = Some(file.inode.change);
            let wanted = Wanted { set, guard: None, expected_change, mark };
            let floor = facts.stamp.map(|stamp| stamp.ctime).unwrap_or_default();
            match self.enter_change(ask, local, wanted.change(object, floor)).await {
                Err(Refusal::Conflict) => continue,
                other => return other.map(drop),
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
        } else if !permission::may_write_data(&file.inode, &ask.identity) {
            Refusal::Access
        } else if file.stale {
            Refusal::Fault
        } else {
            return Ok(());
        };
        Err(self.refused_file(local, object, file, refusal).await)
    }

    /// Takes setuid and setgid from a file that somebody else than the superuser changes.
    async fn drop_privileges(
        &self,
        ask: &Ask,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<(), Refused> {
        let mode = file.inode.mode;
        if ask.identity.is_root() || permission::mode_without_privileges(mode) == mode {
            return Ok(());
        }
        let now = self.parts.clock.wall();
        self.enter(local, Command::DropPrivileges { object, now }).await?;
        Ok(())
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

fn wcc(object: ObjectId, file: &OwnFile, before: DataFacts, after: DataFacts) -> Wcc {
    Wcc {
        before: Some(WccBefore::from(&file.inode.attributes(object, before))),
        after: Some(file.inode.attributes(object, after)),
    }
}

/// How often a SETATTR looks again when the inode changed under it.
const CONFLICTS_MAX: usize = 8;
