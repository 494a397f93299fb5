//! Our volume in the words of the `nfsserve` crate.
//!
//! Invariant: what that crate's replies promise is kept: they say FILE_SYNC, so writes are durable.
//! Absent on purpose: who asks (the crate does not pass it on), so everybody is root; and a call
//! sent twice, which the crate notices by itself.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    Attributes, Change, Cookie, CreateHow, Name, ObjectId, ObjectKind, Refusal, SetAttributes,
    SetTime, Span, Stability, Timestamp,
};
use nfsserve::nfs::{
    fattr3, fileid3, filename3, ftype3, nfspath3, nfsstat3, nfstime3, sattr3, set_atime, set_gid3,
    set_mode3, set_mtime, set_size3, set_uid3, specdata3,
};
use nfsserve::vfs::{DirEntry, NFSFileSystem, ReadDirResult, VFSCapabilities};
use parking_lot::Mutex;
use volume::{Ask, Done, LookUpName, Page, Ports, Refused, WriteRequest};

use super::Stack;

/// Our volume, for that crate's listener.
pub struct OurVolume {
    stack: Stack,
    ask: Ask,
    /// The crate goes on after an object, we after a cookie: where each listing stopped.
    stops: Mutex<HashMap<(fileid3, fileid3), Cookie>>,
}

type Answer<T> = Result<T, nfsstat3>;

impl OurVolume {
    /// Over the volume of `stack`.
    #[must_use]
    pub fn new(stack: Stack) -> Self {
        let ask = Ask { read_only: false, ..Ask::own(stack.volume) };
        Self { stack, ask, stops: Mutex::default() }
    }

    async fn change(&self, change: Change) -> Answer<Done> {
        self.stack.router.change(&self.ask, change).await.map_err(status)
    }

    async fn make(&self, change: Change) -> Answer<(fileid3, fattr3)> {
        let done = self.change(change).await?;
        let object = done.object.ok_or(nfsstat3::NFS3ERR_SERVERFAULT)?;
        let attributes = match done.attached.object.after {
            Some(attributes) => fattr(&attributes),
            None => self.getattr(object.get()).await?,
        };
        Ok((object.get(), attributes))
    }

    fn create_change(dir: fileid3, name: &filename3, how: CreateHow) -> Answer<Change> {
        // A router puts its own appliance in.
        let owner = model::ApplianceId::new(1);
        Ok(Change::Create { dir: ObjectId::new(dir), name: parsed(name)?, how, owner })
    }
}

#[async_trait]
impl NFSFileSystem for OurVolume {
    fn capabilities(&self) -> VFSCapabilities {
        VFSCapabilities::ReadWrite
    }

    fn root_dir(&self) -> fileid3 {
        ObjectId::ROOT.get()
    }

    async fn lookup(&self, dir: fileid3, name: &filename3) -> Answer<fileid3> {
        let name = parsed(name)?;
        let (router, dir) = (&self.stack.router, ObjectId::new(dir));
        let found = router.look_up(&self.ask, dir, LookUpName::Name(&name)).await;
        Ok(found.map_err(status)?.object.get())
    }

    async fn getattr(&self, id: fileid3) -> Answer<fattr3> {
        let found = self.stack.router.attributes(&self.ask, ObjectId::new(id)).await;
        Ok(fattr(&found.map_err(status)?))
    }

    async fn setattr(&self, id: fileid3, set: sattr3) -> Answer<fattr3> {
        let (router, object) = (&self.stack.router, ObjectId::new(id));
        let wcc = router.set_attributes(&self.ask, object, attributes_to_set(&set), None).await;
        match wcc.map_err(status)?.after {
            Some(attributes) => Ok(fattr(&attributes)),
            None => self.getattr(id).await,
        }
    }

    async fn read(&self, id: fileid3, offset: u64, count: u32) -> Answer<(Vec<u8>, bool)> {
        let span = Span::new(offset, u64::from(count)).ok_or(nfsstat3::NFS3ERR_INVAL)?;
        let read = self.stack.router.read(&self.ask, ObjectId::new(id), span).await;
        let read = read.map_err(status)?;
        Ok((read.bytes.into(), read.eof))
    }

    async fn write(&self, id: fileid3, offset: u64, data: &[u8]) -> Answer<fattr3> {
        let span = Span::new(offset, data.len() as u64).ok_or(nfsstat3::NFS3ERR_FBIG)?;
        let (object, payload) = (ObjectId::new(id), Bytes::copy_from_slice(data));
        let request = WriteRequest { object, span, payload, stability: Stability::FileSync };
        let wrote = self.stack.router.write(&self.ask, request).await.map_err(status)?;
        let after = wrote.wcc.after.ok_or(nfsstat3::NFS3ERR_SERVERFAULT)?;
        Ok(fattr(&after))
    }

    async fn create(
        &self,
        dir: fileid3,
        name: &filename3,
        set: sattr3,
    ) -> Answer<(fileid3, fattr3)> {
        let how = CreateHow::Unchecked(attributes_to_set(&set));
        self.make(Self::create_change(dir, name, how)?).await
    }

    async fn create_exclusive(&self, dir: fileid3, name: &filename3) -> Answer<fileid3> {
        let how = CreateHow::Guarded(SetAttributes::default());
        Ok(self.make(Self::create_change(dir, name, how)?).await?.0)
    }

    async fn mkdir(&self, dir: fileid3, name: &filename3) -> Answer<(fileid3, fattr3)> {
        let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
        self.make(Change::MakeDirectory { dir: ObjectId::new(dir), name: parsed(name)?, set }).await
    }

    async fn remove(&self, dir: fileid3, name: &filename3) -> Answer<()> {
        let (dir, name) = (ObjectId::new(dir), parsed(name)?);
        let change = Change::Remove { dir, name: name.clone() };
        match self.stack.router.change(&self.ask, change).await {
            // The crate asks for RMDIR in the same words.
            Err(refused) if refused.refusal == Refusal::IsDirectory => {
                self.change(Change::RemoveDirectory { dir, name }).await.map(drop)
            }
            other => other.map(drop).map_err(status),
        }
    }

    async fn rename(
        &self,
        from_dir: fileid3,
        from: &filename3,
        to_dir: fileid3,
        to: &filename3,
    ) -> Answer<()> {
        let (from_dir, to_dir) = (ObjectId::new(from_dir), ObjectId::new(to_dir));
        let (from, to) = (parsed(from)?, parsed(to)?);
        self.change(Change::Rename { from_dir, from, to_dir, to }).await.map(drop)
    }

    async fn readdir(
        &self,
        dir: fileid3,
        start_after: fileid3,
        max_entries: usize,
    ) -> Answer<ReadDirResult> {
        let after = match start_after {
            0 => Cookie::DOT_DOT,
            object => {
                let stop = self.stops.lock().get(&(dir, object)).copied();
                stop.ok_or(nfsstat3::NFS3ERR_BAD_COOKIE)?
            }
        };
        let page = Page { after, entries_max: max_entries, with_attributes: true };
        let listed = self.stack.router.list(&self.ask, ObjectId::new(dir), page).await;
        let listed = listed.map_err(status)?;
        let mut stops = self.stops.lock();
        let mut entries = Vec::with_capacity(listed.entries.len());
        for entry in listed.entries {
            let Some(attributes) = entry.attributes else { continue };
            let fileid = entry.object.get();
            stops.insert((dir, fileid), entry.cookie);
            let name = filename3::from(&entry.name[..]);
            entries.push(DirEntry { fileid, name, attr: fattr(&attributes) });
        }
        Ok(ReadDirResult { entries, end: listed.end })
    }

    async fn symlink(
        &self,
        dir: fileid3,
        name: &filename3,
        target: &nfspath3,
        set: &sattr3,
    ) -> Answer<(fileid3, fattr3)> {
        let (dir, name, set) = (ObjectId::new(dir), parsed(name)?, attributes_to_set(set));
        self.make(Change::MakeSymlink { dir, name, target: target[..].into(), set }).await
    }

    async fn readlink(&self, id: fileid3) -> Answer<nfspath3> {
        let read = self.stack.router.read_link(&self.ask, ObjectId::new(id)).await;
        Ok(nfspath3::from(&read.map_err(status)?.0[..]))
    }
}

fn parsed(name: &filename3) -> Answer<Name> {
    Name::parse(name).map_err(|_| nfsstat3::NFS3ERR_INVAL)
}

/// Only what a workload may meet; it ends with anything else anyway.
fn status(refused: Refused) -> nfsstat3 {
    match refused.refusal {
        Refusal::NotFound => nfsstat3::NFS3ERR_NOENT,
        Refusal::Exists => nfsstat3::NFS3ERR_EXIST,
        Refusal::Stale => nfsstat3::NFS3ERR_STALE,
        Refusal::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        Refusal::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        Refusal::NoSpace => nfsstat3::NFS3ERR_NOSPC,
        _ => nfsstat3::NFS3ERR_SERVERFAULT,
    }
}

fn fattr(attributes: &Attributes) -> fattr3 {
    fattr3 {
        ftype: match attributes.kind {
            ObjectKind::File => ftype3::NF3REG,
            ObjectKind::Directory => ftype3::NF3DIR,
            ObjectKind::Symlink => ftype3::NF3LNK,
            ObjectKind::Fifo => ftype3::NF3FIFO,
            ObjectKind::Socket => ftype3::NF3SOCK,
            ObjectKind::CharacterDevice => ftype3::NF3CHR,
            ObjectKind::BlockDevice => ftype3::NF3BLK,
        },
        mode: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: attributes.used,
        rdev: specdata3 { specdata1: attributes.device.major, specdata2: attributes.device.minor },
        fsid: 1,
        fileid: attributes.object.get(),
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
    }
}

fn time(time: Timestamp) -> nfstime3 {
    let (seconds, nseconds) = time.to_parts();
    nfstime3 { seconds, nseconds }
}

fn attributes_to_set(set: &sattr3) -> SetAttributes {
    let given = |time: &nfstime3| SetTime::To(Timestamp::from_parts(time.seconds, time.nseconds));
    SetAttributes {
        mode: match set.mode {
            set_mode3::mode(mode) => Some(mode & 0o7777),
            set_mode3::Void => None,
        },
        uid: match set.uid {
            set_uid3::uid(uid) => Some(uid),
            set_uid3::Void => None,
        },
        gid: match set.gid {
            set_gid3::gid(gid) => Some(gid),
            set_gid3::Void => None,
        },
        size: match set.size {
            set_size3::size(size) => Some(size),
            set_size3::Void => None,
        },
        atime: match &set.atime {
            set_atime::DONT_CHANGE => SetTime::Keep,
            set_atime::SET_TO_SERVER_TIME => SetTime::ToServerTime,
            set_atime::SET_TO_CLIENT_TIME(time) => given(time),
        },
        mtime: match &set.mtime {
            set_mtime::DONT_CHANGE => SetTime::Keep,
            set_mtime::SET_TO_SERVER_TIME => SetTime::ToServerTime,
            set_mtime::SET_TO_CLIENT_TIME(time) => given(time),
        },
    }
}
