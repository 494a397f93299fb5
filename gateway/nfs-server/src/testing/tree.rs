//! A file system that is nothing but a map: no permission, no durability, all there is to see.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Attributes, Change, Cookie, CreateHow, Device, Name, NodeKind, ObjectId, ObjectKind, Refusal,
    RequestKey, SetAttributes, SetTime, Span, Timestamp, VolumeId, VolumeInfo, Wcc, WccBefore,
    WriteVerifier, Written,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use volume::{
    Ask, Attached, Committed, Done, Entry, Found, Line, Listing, LookUpName, Page, Ports, ReadData,
    Refused, SpaceReport, WriteRequest, Wrote,
};

pub(crate) struct Tree {
    volumes: Arc<Vec<VolumeInfo>>,
    state: Mutex<State>,
    /// Reads of this object wait.
    held: watch::Sender<Option<ObjectId>>,
    /// Of all changes, in order.
    keys: Mutex<Vec<Option<RequestKey>>>,
    /// Over which the last read came.
    line: Mutex<Line>,
    /// What every port answers instead, if anything.
    refuses: Mutex<Option<Refusal>>,
}

struct State {
    objects: HashMap<(VolumeId, ObjectId), Object>,
    next: u64,
    now: u64,
}

#[derive(Clone)]
struct Object {
    attributes: Attributes,
    data: Vec<u8>,
    names: BTreeMap<Cookie, (Name, ObjectId)>,
    parent: ObjectId,
}

impl Tree {
    pub(crate) fn new(volumes: Vec<VolumeInfo>) -> Self {
        let mut state = State { objects: HashMap::new(), next: 2, now: 1_000_000_000 };
        for volume in &volumes {
            let root = Object::new(ObjectId::ROOT, ObjectKind::Directory, ObjectId::ROOT);
            state.objects.insert((volume.id, ObjectId::ROOT), root);
        }
        let held = watch::Sender::new(None);
        let (volumes, state) = (Arc::new(volumes), Mutex::new(state));
        let (keys, line, refuses) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { volumes, state, held, keys, line, refuses }
    }

    /// Puts an empty file into a volume's root, as if it had been there before.
    pub(crate) fn plant(&self, volume: VolumeId, name: &str) -> ObjectId {
        let name = Name::parse(name.as_bytes()).unwrap();
        self.state.lock().add(volume, ObjectId::ROOT, name, ObjectKind::File).unwrap()
    }

    /// Makes reads and writes of `object` wait until another one is held.
    pub(crate) fn hold_data(&self, object: Option<ObjectId>) {
        self.held.send_replace(object);
    }

    /// The connection over which the last read came.
    pub(crate) fn line(&self) -> Line {
        self.line.lock().clone()
    }

    /// Has every port answer with this from now on, or as usual.
    pub(crate) fn refuse(&self, with: Option<Refusal>) {
        *self.refuses.lock() = with;
    }

    fn serves(&self) -> Result<(), Refusal> {
        self.refuses.lock().map_or(Ok(()), Err)
    }

    pub(crate) fn keys(&self) -> Vec<Option<RequestKey>> {
        self.keys.lock().clone()
    }
}

impl Object {
    fn new(object: ObjectId, kind: ObjectKind, parent: ObjectId) -> Self {
        let (zero, links) = (Timestamp::default(), 1 + u32::from(kind == ObjectKind::Directory));
        let attributes = Attributes {
            object,
            kind,
            mode: 0o644,
            links,
            uid: 0,
            gid: 0,
            size: 0,
            used: 0,
            device: Device::default(),
            atime: zero,
            mtime: zero,
            ctime: zero,
        };
        Self { attributes, data: Vec::new(), names: BTreeMap::new(), parent }
    }

    fn resize(&mut self, size: usize) {
        self.data.resize(size, 0);
        (self.attributes.size, self.attributes.used) = (size as u64, size as u64);
    }

    fn set(&mut self, set: &SetAttributes) {
        let attributes = &mut self.attributes;
        attributes.mode = set.mode.unwrap_or(attributes.mode);
        attributes.uid = set.uid.unwrap_or(attributes.uid);
        attributes.gid = set.gid.unwrap_or(attributes.gid);
        if let SetTime::To(time) = set.mtime {
            attributes.mtime = time;
        }
        if let Some(size) = set.size {
            self.resize(size as usize);
        }
    }
}

impl State {
    fn object(&mut self, volume: VolumeId, object: ObjectId) -> Result<&mut Object, Refusal> {
        self.objects.get_mut(&(volume, object)).ok_or(Refusal::Stale)
    }

    fn directory(&mut self, volume: VolumeId, dir: ObjectId) -> Result<&mut Object, Refusal> {
        let object = self.object(volume, dir)?;
        match object.attributes.kind {
            ObjectKind::Directory => Ok(object),
            _ => Err(Refusal::NotDirectory),
        }
    }

    fn find(&mut self, volume: VolumeId, dir: ObjectId, name: &Name) -> Result<ObjectId, Refusal> {
        let names = &self.directory(volume, dir)?.names;
        let found = names.values().find(|(other, _)| other == name);
        found.map(|(_, object)| *object).ok_or(Refusal::NotFound)
    }

    fn add(
        &mut self,
        volume: VolumeId,
        dir: ObjectId,
        name: Name,
        kind: ObjectKind,
    ) -> Result<ObjectId, Refusal> {
        if self.find(volume, dir, &name).is_ok() {
            return Err(Refusal::Exists);
        }
        let object = ObjectId::new(self.next);
        self.name(volume, dir, name, object)?;
        self.objects.insert((volume, object), Object::new(object, kind, dir));
        Ok(object)
    }

    fn name(
        &mut self,
        volume: VolumeId,
        dir: ObjectId,
        name: Name,
        object: ObjectId,
    ) -> Result<(), Refusal> {
        self.next += 1;
        let cookie = Cookie::new(self.next);
        self.directory(volume, dir)?.names.insert(cookie, (name, object));
        Ok(())
    }

    fn unname(&mut self, volume: VolumeId, dir: ObjectId, name: &Name) -> Result<(), Refusal> {
        self.directory(volume, dir)?.names.retain(|_, (other, _)| other != name);
        Ok(())
    }

    fn touch(&mut self, volume: VolumeId, object: ObjectId) -> Result<Wcc, Refusal> {
        self.now += 1;
        let now = Timestamp::from_nanos(self.now);
        let attributes = &mut self.object(volume, object)?.attributes;
        let before = Some(WccBefore::from(&*attributes));
        (attributes.mtime, attributes.ctime) = (now, now);
        Ok(Wcc { before, after: Some(*attributes) })
    }

    fn as_is(&mut self, volume: VolumeId, object: ObjectId) -> Wcc {
        let after = self.object(volume, object).ok().map(|object| object.attributes);
        Wcc { before: None, after }
    }

    fn apply(&mut self, volume: VolumeId, change: Change) -> Result<Done, Refusal> {
        let dir = dir_of(&change);
        let to_dir = match &change {
            Change::Rename { to_dir, .. } if *to_dir != dir => Some(*to_dir),
            _ => None,
        };
        let object = match change {
            Change::Remove { .. } | Change::RemoveDirectory { .. } => self.take(volume, change)?,
            Change::Rename { .. } | Change::Link { .. } => self.add_name(volume, change)?,
            _ => self.make(volume, change)?,
        };
        let dir = self.touch(volume, dir)?;
        let to_dir = to_dir.map_or(Ok(Wcc::default()), |dir| self.touch(volume, dir))?;
        let of_object = self.as_is(volume, object);
        Ok(Done { object: Some(object), attached: Attached { object: of_object, dir, to_dir } })
    }

    fn make(&mut self, volume: VolumeId, change: Change) -> Result<ObjectId, Refusal> {
        match change {
            Change::Create { dir, name, how, .. } => {
                let (guarded, set) = match how {
                    CreateHow::Unchecked(set) => (false, set),
                    CreateHow::Guarded(set) => (true, set),
                    CreateHow::Exclusive(_) => (true, SetAttributes::default()),
                };
                let object = match self.find(volume, dir, &name) {
                    Ok(_) if guarded => return Err(Refusal::Exists),
                    Ok(object) => object,
                    Err(_) => self.add(volume, dir, name, ObjectKind::File)?,
                };
                self.object(volume, object)?.set(&set);
                Ok(object)
            }
            Change::MakeDirectory { dir, name, set } => {
                let object = self.add(volume, dir, name, ObjectKind::Directory)?;
                self.object(volume, object)?.set(&set);
                Ok(object)
            }
            Change::MakeSymlink { dir, name, target, .. } => {
                let object = self.add(volume, dir, name, ObjectKind::Symlink)?;
                self.object(volume, object)?.data = target.into();
                Ok(object)
            }
            Change::MakeNode { dir, name, node, .. } => {
                let kind = match node {
                    NodeKind::Fifo => ObjectKind::Fifo,
                    NodeKind::Socket => ObjectKind::Socket,
                    NodeKind::CharacterDevice(_) => ObjectKind::CharacterDevice,
                    NodeKind::BlockDevice(_) => ObjectKind::BlockDevice,
                };
                self.add(volume, dir, name, kind)
            }
            _ => Err(Refusal::Fault),
        }
    }

    fn take(&mut self, volume: VolumeId, change: Change) -> Result<ObjectId, Refusal> {
        let (dir, name, directory) = match change {
            Change::Remove { dir, name } => (dir, name, false),
            Change::RemoveDirectory { dir, name } => (dir, name, true),
            _ => return Err(Refusal::Fault),
        };
        let object = self.find(volume, dir, &name)?;
        let found = self.object(volume, object)?;
        match (directory, found.attributes.kind == ObjectKind::Directory) {
            (false, true) => return Err(Refusal::IsDirectory),
            (true, false) => return Err(Refusal::NotDirectory),
            (true, true) if !found.names.is_empty() => return Err(Refusal::NotEmpty),
            _ => {}
        }
        self.unname(volume, dir, &name)?;
        Ok(object)
    }

    fn add_name(&mut self, volume: VolumeId, change: Change) -> Result<ObjectId, Refusal> {
        match change {
            Change::Rename { from_dir, from, to_dir, to } => {
                let object = self.find(volume, from_dir, &from)?;
                self.unname(volume, to_dir, &to)?;
                self.unname(volume, from_dir, &from)?;
                self.name(volume, to_dir, to, object)?;
                Ok(object)
            }
            Change::Link { object, dir, name } => {
                self.name(volume, dir, name, object)?;
                self.object(volume, object)?.attributes.links += 1;
                Ok(object)
            }
            _ => Err(Refusal::Fault),
        }
    }
}

fn dir_of(change: &Change) -> ObjectId {
    match change {
        Change::Create { dir, .. }
        | Change::MakeDirectory { dir, .. }
        | Change::MakeSymlink { dir, .. }
        | Change::MakeNode { dir, .. }
        | Change::Remove { dir, .. }
        | Change::RemoveDirectory { dir, .. }
        | Change::Link { dir, .. } => *dir,
        Change::Rename { from_dir, .. } => *from_dir,
        Change::SetAttributes { object, .. } => *object,
    }
}

impl Ports for Tree {
    fn volumes(&self) -> Arc<Vec<VolumeInfo>> {
        Arc::clone(&self.volumes)
    }

    async fn attributes(&self, ask: &Ask, object: ObjectId) -> Result<Attributes, Refused> {
        self.serves()?;
        Ok(self.state.lock().object(ask.volume, object)?.attributes)
    }

    async fn look_up(
        &self,
        ask: &Ask,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> Result<Found, Refused> {
        self.serves()?;
        let mut state = self.state.lock();
        let attributes = state.directory(ask.volume, dir)?.attributes;
        let found = match name {
            LookUpName::Dot => Ok(dir),
            LookUpName::DotDot => Ok(state.directory(ask.volume, dir)?.parent),
            LookUpName::Name(name) => state.find(ask.volume, dir, name),
        };
        match found {
            Ok(object) => {
                let found = state.as_is(ask.volume, object).after;
                Ok(Found { object, attributes: found, dir: attributes })
            }
            Err(refusal) => {
                let dir = Wcc { before: None, after: Some(attributes) };
                Err(Refused { refusal, attached: Attached { dir, ..Attached::default() } })
            }
        }
    }

    async fn read_link(&self, ask: &Ask, object: ObjectId) -> Result<(Bytes, Attributes), Refused> {
        self.serves()?;
        let mut state = self.state.lock();
        let object = state.object(ask.volume, object)?;
        if object.attributes.kind != ObjectKind::Symlink {
            let object = Wcc { before: None, after: Some(object.attributes) };
            let attached = Attached { object, ..Attached::default() };
            return Err(Refused { refusal: Refusal::Invalid, attached });
        }
        Ok((Bytes::from(object.data.clone()), object.attributes))
    }

    async fn list(&self, ask: &Ask, dir: ObjectId, page: Page) -> Result<Listing, Refused> {
        self.serves()?;
        let mut state = self.state.lock();
        let object = state.directory(ask.volume, dir)?.clone();
        let dots = [(Cookie::DOT, dir, "."), (Cookie::DOT_DOT, object.parent, "..")];
        let dots = dots.map(|(cookie, object, name)| (cookie, object, Bytes::from(name)));
        let names = object.names.iter().map(|(cookie, (name, object))| {
            (*cookie, *object, Bytes::copy_from_slice(name.as_bytes()))
        });
        let mut rest = dots.into_iter().chain(names).filter(|(cookie, ..)| *cookie > page.after);
        let entries: Vec<_> = rest.by_ref().take(page.entries_max).collect();
        let end = rest.next().is_none();
        let mut attributes = |object| match page.with_attributes {
            true => state.as_is(ask.volume, object).after,
            false => None,
        };
        let entries = entries
            .into_iter()
            .map(|(cookie, object, name)| Entry {
                object,
                cookie,
                name,
                attributes: attributes(object),
            })
            .collect();
        Ok(Listing { dir: object.attributes, entries, end })
    }

    async fn change(&self, ask: &Ask, change: Change) -> Result<Done, Refused> {
        self.serves()?;
        self.keys.lock().push(ask.key);
        let mut state = self.state.lock();
        let dir = dir_of(&change);
        state.apply(ask.volume, change).map_err(|refusal| {
            let dir = state.as_is(ask.volume, dir);
            Refused { refusal, attached: Attached { dir, ..Attached::default() } }
        })
    }

    async fn set_attributes(
        &self,
        ask: &Ask,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        self.serves()?;
        let mut state = self.state.lock();
        let target = state.object(ask.volume, object)?;
        if guard.is_some_and(|guard| guard != target.attributes.ctime) {
            let object = state.as_is(ask.volume, object);
            let attached = Attached { object, ..Attached::default() };
            return Err(Refused { refusal: Refusal::NotSync, attached });
        }
        target.set(&set);
        Ok(state.touch(ask.volume, object)?)
    }

    async fn read(&self, ask: &Ask, object: ObjectId, span: Span) -> Result<ReadData, Refused> {
        self.serves()?;
        *self.line.lock() = ask.line.clone();
        let mut held = self.held.subscribe();
        held.wait_for(|held| *held != Some(object)).await.map_err(|_| Refusal::Fault)?;
        let mut state = self.state.lock();
        let object = state.object(ask.volume, object)?;
        let size = object.data.len() as u64;
        let (start, end) = (span.offset().min(size), span.end().min(size));
        let bytes = Bytes::copy_from_slice(&object.data[start as usize..end as usize]);
        Ok(ReadData { bytes, eof: span.end() >= size, attributes: object.attributes })
    }

    async fn write(&self, ask: &Ask, request: WriteRequest) -> Result<Wrote, Refused> {
        self.serves()?;
        self.keys.lock().push(ask.key);
        let mut held = self.held.subscribe();
        held.wait_for(|held| *held != Some(request.object)).await.map_err(|_| Refusal::Fault)?;
        let mut state = self.state.lock();
        let object = state.object(ask.volume, request.object)?;
        let before = Some(WccBefore::from(&object.attributes));
        let (start, end) = (request.span.offset() as usize, request.span.end() as usize);
        if object.data.len() < end {
            object.resize(end);
        }
        object.data[start..end].copy_from_slice(&request.payload);
        let wcc = Wcc { before, ..state.touch(ask.volume, request.object)? };
        let count = request.payload.len() as u32;
        let (committed, verifier) = (request.stability, WriteVerifier([9; 8]));
        Ok(Wrote { written: Written { count, committed, verifier }, wcc })
    }

    async fn commit(&self, ask: &Ask, object: ObjectId) -> Result<Committed, Refused> {
        self.serves()?;
        let wcc = self.state.lock().as_is(ask.volume, object);
        Ok(Committed { verifier: WriteVerifier([9; 8]), wcc })
    }

    async fn space(&self, ask: &Ask, object: ObjectId) -> Result<SpaceReport, Refused> {
        let attributes = self.attributes(ask, object).await?;
        Ok(SpaceReport {
            bytes_total: 1 << 40,
            bytes_free: 1 << 39,
            objects_total: 1 << 30,
            objects_free: 1 << 29,
            attributes,
        })
    }
}
