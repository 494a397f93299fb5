//! The procedures about names: LOOKUP, READLINK, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR,
//! RENAME and LINK (RFC 1813 sections 3.3.3, 3.3.5 and 3.3.8 to 3.3.15).

use model::{ApplianceId, Change, CreateHow, Device, Name, NodeKind, ObjectId, Refusal, Wcc};
use nfs_wire::nfs3::{
    self, CreateArgs, CreateOk, DirOp, FileHandle, LinkArgs, LinkWcc, LookupArgs, LookupOk,
    MkdirArgs, MknodArgs, MknodData, PostOpAttr, ReadlinkArgs, ReadlinkOk, RemoveArgs, RenameArgs,
    RenameWcc, RmdirArgs, Specdata3, SymlinkArgs, WccData,
};
use volume::{Ask, Attached, Done, NameUse, Ports, Refused, Target, refusal_of_name};

use crate::door::{Answer, Door, Stop, post_op, set_attributes, wcc_data};

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn lookup(&self, args: LookupArgs) -> Answer<LookupOk, PostOpAttr> {
        let target = self.resolve(&args.what.dir).await?;
        let (ask, volume) = (&target.ask, target.ask.volume);
        match self.service.look_up(ask, target.object, &args.what.name).await {
            Ok(found) => Ok(LookupOk {
                object: self.handle(ask, found.object),
                obj_attributes: post_op(volume, found.attributes.as_ref()),
                dir_attributes: post_op(volume, Some(&found.dir)),
            }),
            Err(refused) => {
                let mut dir = refused.attached.dir;
                if dir.after.is_none() {
                    // A name that is none never reached the port.
                    dir = self.as_it_stands(&target).await;
                }
                Err(Stop::new(refused.refusal, post_op(volume, dir.after.as_ref())))
            }
        }
    }

    pub(crate) async fn readlink(&self, args: ReadlinkArgs) -> Answer<ReadlinkOk, PostOpAttr> {
        let Target { ask, object } = self.resolve(&args.symlink).await?;
        match self.ports().read_link(&ask, object).await {
            Ok((data, attributes)) => {
                Ok(ReadlinkOk { symlink_attributes: post_op(ask.volume, Some(&attributes)), data })
            }
            Err(refused) => {
                let attributes = refused.attached.object.after.as_ref();
                Err(Stop::new(refused.refusal, post_op(ask.volume, attributes)))
            }
        }
    }

    pub(crate) async fn create(&self, args: CreateArgs) -> Answer<CreateOk, WccData> {
        let how = match &args.how {
            nfs3::CreateHow::Unchecked(set) => set_attributes(set).map(CreateHow::Unchecked),
            nfs3::CreateHow::Guarded(set) => set_attributes(set).map(CreateHow::Guarded),
            nfs3::CreateHow::Exclusive(verifier) => Ok(CreateHow::Exclusive(verifier.0)),
        };
        // Whoever executes the change makes itself the owner: a door does not know appliances.
        let owner = ApplianceId::default();
        let build = |dir, name| Ok(Change::Create { dir, name, how: how?, owner });
        self.make(&args.place, build).await
    }

    pub(crate) async fn mkdir(&self, args: MkdirArgs) -> Answer<CreateOk, WccData> {
        let set = set_attributes(&args.attributes);
        let build = |dir, name| Ok(Change::MakeDirectory { dir, name, set: set? });
        self.make(&args.place, build).await
    }

    pub(crate) async fn symlink(&self, args: SymlinkArgs) -> Answer<CreateOk, WccData> {
        let set = set_attributes(&args.attributes);
        let target = symlink_target(&args.target);
        let build = |dir, name| Ok(Change::MakeSymlink { dir, name, target: target?, set: set? });
        self.make(&args.place, build).await
    }

    pub(crate) async fn mknod(&self, args: MknodArgs) -> Answer<CreateOk, WccData> {
        let what = match &args.what {
            MknodData::Fifo(set) => Ok((NodeKind::Fifo, set)),
            MknodData::Sock(set) => Ok((NodeKind::Socket, set)),
            MknodData::Chr(set, numbers) => Ok((NodeKind::CharacterDevice(device(numbers)), set)),
            MknodData::Blk(set, numbers) => Ok((NodeKind::BlockDevice(device(numbers)), set)),
            MknodData::Reg | MknodData::Dir | MknodData::Lnk => Err(Refusal::BadType),
        };
        let build = |dir, name| {
            let (node, set) = what?;
            Ok(Change::MakeNode { dir, name, node, set: set_attributes(set)? })
        };
        self.make(&args.place, build).await
    }

    /// The four procedures that make an object under a new name.
    async fn make(
        &self,
        place: &DirOp,
        build: impl FnOnce(ObjectId, Name) -> Result<Change, Refusal> + Send,
    ) -> Answer<CreateOk, WccData> {
        let target = self.resolve(&place.dir).await?;
        let (ask, volume) = (&target.ask, target.ask.volume);
        let change =
            parsed(&place.name, NameUse::Create).and_then(|name| build(target.object, name));
        match self.change(&target, change).await {
            Ok(done) => Ok(CreateOk {
                obj: done.object.map(|object| self.handle(ask, object)),
                obj_attributes: post_op(volume, done.attached.object.after.as_ref()),
                dir_wcc: wcc_data(volume, &done.attached.dir),
            }),
            Err(refused) => {
                Err(Stop::new(refused.refusal, wcc_data(volume, &refused.attached.dir)))
            }
        }
    }

    pub(crate) async fn remove(&self, args: RemoveArgs) -> Answer<WccData, WccData> {
        self.take(&args.object, NameUse::Remove, |dir, name| Change::Remove { dir, name }).await
    }

    pub(crate) async fn rmdir(&self, args: RmdirArgs) -> Answer<WccData, WccData> {
        let build = |dir, name| Change::RemoveDirectory { dir, name };
        self.take(&args.object, NameUse::RemoveDirectory, build).await
    }

    /// The two procedures that take a name away.
    async fn take(
        &self,
        what: &DirOp,
        used: NameUse,
        build: impl FnOnce(ObjectId, Name) -> Change + Send,
    ) -> Answer<WccData, WccData> {
        let target = self.resolve(&what.dir).await?;
        let volume = target.ask.volume;
        let change = parsed(&what.name, used).map(|name| build(target.object, name));
        match self.change(&target, change).await {
            Ok(done) => Ok(wcc_data(volume, &done.attached.dir)),
            Err(refused) => {
                Err(Stop::new(refused.refusal, wcc_data(volume, &refused.attached.dir)))
            }
        }
    }

    pub(crate) async fn rename(&self, args: RenameArgs) -> Answer<RenameWcc, RenameWcc> {
        let from = self.resolve(&args.from.dir).await?;
        let to = match self.resolve(&args.to.dir).await {
            Ok(to) => to,
            Err(denied) => {
                let fromdir_wcc = wcc_data(from.ask.volume, &self.as_it_stands(&from).await);
                return Err(with_attributes(denied.into(), |wcc: &mut RenameWcc| {
                    wcc.fromdir_wcc = fromdir_wcc;
                }));
            }
        };
        let names = parsed(&args.from.name, NameUse::Rename)
            .and_then(|from| Ok((from, parsed(&args.to.name, NameUse::Rename)?)));
        let change = names.and_then(|(from_name, to_name)| {
            let (from_dir, to_dir) = (from.object, to.object);
            let rename = Change::Rename { from_dir, from: from_name, to_dir, to: to_name };
            same_volume(&from, &to, rename)
        });
        match self.change_of_two(&from, &to, change).await {
            Ok(done) => Ok(rename_wcc(&from, &to, &done.attached)),
            Err(refused) => {
                Err(Stop::new(refused.refusal, rename_wcc(&from, &to, &refused.attached)))
            }
        }
    }

    pub(crate) async fn link(&self, args: LinkArgs) -> Answer<LinkWcc, LinkWcc> {
        let file = self.resolve(&args.file).await?;
        let file_volume = file.ask.volume;
        let dir = match self.resolve(&args.link.dir).await {
            Ok(dir) => dir,
            Err(denied) => {
                let wcc = self.as_it_stands(&file).await;
                let file_attributes = post_op(file_volume, wcc.after.as_ref());
                return Err(with_attributes(denied.into(), |wcc: &mut LinkWcc| {
                    wcc.file_attributes = file_attributes;
                }));
            }
        };
        let change = parsed(&args.link.name, NameUse::Create).and_then(|name| {
            let link = Change::Link { object: file.object, dir: dir.object, name };
            same_volume(&file, &dir, link)
        });
        let wcc = |attached: &Attached| LinkWcc {
            file_attributes: post_op(file_volume, attached.object.after.as_ref()),
            linkdir_wcc: wcc_data(dir.ask.volume, &attached.dir),
        };
        match self.change_of_file_and_dir(&file, &dir, change).await {
            Ok(done) => Ok(wcc(&done.attached)),
            Err(refused) => Err(Stop::new(refused.refusal, wcc(&refused.attached))),
        }
    }

    /// Has a change of one directory done, or refuses what no port needs to see.
    async fn change(&self, dir: &Target, change: Result<Change, Refusal>) -> Result<Done, Refused> {
        self.refuse_if_read_only(dir).await?;
        match change {
            Ok(change) => self.ports().change(&dir.ask, change).await,
            Err(refusal) => Err(self.refuse(dir, refusal).await),
        }
    }

    async fn change_of_two(
        &self,
        from: &Target,
        to: &Target,
        change: Result<Change, Refusal>,
    ) -> Result<Done, Refused> {
        match permitted(from, to, change) {
            Ok(change) => self.ports().change(&from.ask, change).await,
            Err(refusal) => {
                let (dir, to_dir) = (self.as_it_stands(from).await, self.as_it_stands(to).await);
                Err(Refused { refusal, attached: Attached { dir, to_dir, object: Wcc::default() } })
            }
        }
    }

    async fn change_of_file_and_dir(
        &self,
        file: &Target,
        dir: &Target,
        change: Result<Change, Refusal>,
    ) -> Result<Done, Refused> {
        match permitted(file, dir, change) {
            Ok(change) => self.ports().change(&dir.ask, change).await,
            Err(refusal) => {
                let (object, dir) = (self.as_it_stands(file).await, self.as_it_stands(dir).await);
                Err(Refused { refusal, attached: Attached { object, dir, to_dir: Wcc::default() } })
            }
        }
    }

    /// What a client gets to name an object with.
    pub(crate) fn handle(&self, ask: &Ask, object: ObjectId) -> FileHandle {
        FileHandle::new(&self.service.seal(ask, object)).expect("a sealed handle fits in 64 bytes")
    }
}

fn parsed(name: &[u8], used: NameUse) -> Result<Name, Refusal> {
    Name::parse(name).map_err(|bad| refusal_of_name(bad, used))
}

fn same_volume(one: &Target, other: &Target, change: Change) -> Result<Change, Refusal> {
    match one.ask.volume == other.ask.volume {
        true => Ok(change),
        false => Err(Refusal::CrossVolume),
    }
}

/// Two exports may differ in what they allow; a change through both needs both.
fn permitted(
    one: &Target,
    other: &Target,
    change: Result<Change, Refusal>,
) -> Result<Change, Refusal> {
    match one.ask.read_only || other.ask.read_only {
        true => Err(Refusal::ReadOnly),
        false => change,
    }
}

fn rename_wcc(from: &Target, to: &Target, attached: &Attached) -> RenameWcc {
    // Within one directory the port reports it once.
    let same = from.ask.volume == to.ask.volume && from.object == to.object;
    let to_dir = if same { &attached.dir } else { &attached.to_dir };
    RenameWcc {
        fromdir_wcc: wcc_data(from.ask.volume, &attached.dir),
        todir_wcc: wcc_data(to.ask.volume, to_dir),
    }
}

fn with_attributes<A>(stop: Stop<A>, fill: impl FnOnce(&mut A)) -> Stop<A> {
    match stop {
        Stop::Fail(mut fail) => {
            fill(&mut fail.attributes);
            Stop::Fail(fail)
        }
        Stop::TooWeak | Stop::FateUnknown => stop,
    }
}

/// A target is any bytes that a path can have.
fn symlink_target(target: &[u8]) -> Result<Box<[u8]>, Refusal> {
    if target.len() > model::SYMLINK_BYTES_MAX {
        return Err(Refusal::NameTooLong);
    }
    if target.is_empty() || target.contains(&0) {
        return Err(Refusal::Invalid);
    }
    Ok(target.into())
}

fn device(numbers: &Specdata3) -> Device {
    Device { major: numbers.major, minor: numbers.minor }
}
