//! What all procedures have in common: from a handle to an object the caller may ask about, and
//! from our words to the protocol's.
//!
//! Invariant: every failure leaves here with the attributes its result has room for, as far as
//! anybody knows them. Absent on purpose: decisions about any single procedure.

use model::{Attributes, ObjectKind, Refusal, SetAttributes, SetTime, Timestamp, VolumeId, Wcc};
use nfs_wire::nfs3::{
    self, Fail, Fattr3, FileHandle, Ftype3, Nfstime3, PostOpAttr, Sattr3, Specdata3, WccAttr,
    WccData,
};
use volume::{Attached, Caller, Denied, Ports, Refused, Service, Target};

use crate::status::nfs_status;

/// One call at the door.
pub(crate) struct Door<'a, P> {
    pub(crate) service: &'a Service<P>,
    pub(crate) caller: &'a Caller,
}

/// What a procedure answers: results, or a [`Stop`] with the attributes `A` of its failure.
pub(crate) type Answer<T, A> = Result<T, Stop<A>>;

/// Why a procedure did not do what it was asked.
pub(crate) enum Stop<A> {
    /// The credential is not enough: an answer of RPC, not of NFS.
    TooWeak,
    /// A status of NFS.
    Fail(Fail<A>),
    /// No answer at all, and no connection: what became of the call is not known.
    FateUnknown,
}

impl<A> Stop<A> {
    pub(crate) fn new(refusal: Refusal, attributes: A) -> Self {
        match refusal {
            Refusal::Unknown => Self::FateUnknown,
            _ => Self::Fail(Fail::new(nfs_status(refusal), attributes)),
        }
    }
}

/// Before any object is known there are no attributes to give.
impl<A: Default> From<Denied> for Stop<A> {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::TooWeak => Self::TooWeak,
            Denied::Refusal(refusal) => Self::new(refusal, A::default()),
        }
    }
}

impl<P: Ports> Door<'_, P> {
    pub(crate) fn ports(&self) -> &P {
        self.service.ports()
    }

    /// The object behind a handle, if this caller may ask about it.
    pub(crate) async fn resolve(&self, handle: &FileHandle) -> Result<Target, Denied> {
        self.service.resolve(self.caller, handle.as_bytes()).await
    }

    /// A refusal decided here, before a port was asked about `target`: with its attributes as
    /// they stand, since the reply has room for them. They count as those of the object and of
    /// the directory; the procedure knows which of the two it is.
    pub(crate) async fn refuse(&self, target: &Target, refusal: Refusal) -> Refused {
        let wcc = self.as_it_stands(target).await;
        Refused { refusal, attached: Attached { object: wcc, dir: wcc, to_dir: Wcc::default() } }
    }

    /// The attributes of an object that nothing was done to; none if they can't be had.
    pub(crate) async fn as_it_stands(&self, target: &Target) -> Wcc {
        let after = self.ports().attributes(&target.ask, target.object).await.ok();
        Wcc { before: None, after }
    }

    /// As [`Door::refuse`], if the export does not let this caller change anything.
    pub(crate) async fn refuse_if_read_only(&self, target: &Target) -> Result<(), Refused> {
        match target.ask.read_only {
            true => Err(self.refuse(target, Refusal::ReadOnly).await),
            false => Ok(()),
        }
    }
}

/// The wire's attributes of an object.
pub(crate) fn fattr(volume: VolumeId, attributes: &Attributes) -> Fattr3 {
    Fattr3 {
        kind: ftype(attributes.kind),
        mode: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: attributes.used,
        rdev: Specdata3 { major: attributes.device.major, minor: attributes.device.minor },
        fsid: fsid(volume),
        fileid: attributes.object.get(),
        atime: nfstime(attributes.atime),
        mtime: nfstime(attributes.mtime),
        ctime: nfstime(attributes.ctime),
    }
}

/// Attributes after an operation, if they are known.
pub(crate) fn post_op(volume: VolumeId, attributes: Option<&Attributes>) -> PostOpAttr {
    attributes.map(|attributes| fattr(volume, attributes))
}

/// Attributes before and after an operation, as far as they are known.
pub(crate) fn wcc_data(volume: VolumeId, wcc: &Wcc) -> WccData {
    let before = wcc.before.map(|before| WccAttr {
        size: before.size,
        mtime: nfstime(before.mtime),
        ctime: nfstime(before.ctime),
    });
    WccData { before, after: post_op(volume, wcc.after.as_ref()) }
}

/// What a client wants an object to be.
///
/// # Errors
/// FBIG for a size that no file can have.
pub(crate) fn set_attributes(asked: &Sattr3) -> Result<SetAttributes, Refusal> {
    if asked.size.is_some_and(|size| size > model::FILE_BYTES_MAX) {
        return Err(Refusal::FileTooBig);
    }
    Ok(SetAttributes {
        mode: asked.mode.map(|mode| mode & model::permission::MODE_BITS),
        uid: asked.uid,
        gid: asked.gid,
        size: asked.size,
        atime: set_time(asked.atime),
        mtime: set_time(asked.mtime),
    })
}

fn set_time(asked: nfs3::SetTime) -> SetTime {
    match asked {
        nfs3::SetTime::DontChange => SetTime::Keep,
        nfs3::SetTime::ToServerTime => SetTime::ToServerTime,
        nfs3::SetTime::ToClientTime(time) => SetTime::To(timestamp(time)),
    }
}

pub(crate) fn timestamp(time: Nfstime3) -> Timestamp {
    Timestamp::from_parts(time.seconds, time.nseconds)
}

fn nfstime(time: Timestamp) -> Nfstime3 {
    let (seconds, nseconds) = time.to_parts();
    Nfstime3 { seconds, nseconds }
}

fn ftype(kind: ObjectKind) -> Ftype3 {
    match kind {
        ObjectKind::File => Ftype3::Reg,
        ObjectKind::Directory => Ftype3::Dir,
        ObjectKind::Symlink => Ftype3::Lnk,
        ObjectKind::Fifo => Ftype3::Fifo,
        ObjectKind::Socket => Ftype3::Sock,
        ObjectKind::CharacterDevice => Ftype3::Chr,
        ObjectKind::BlockDevice => Ftype3::Blk,
    }
}

/// Tells volumes apart. Clients take 0 for "unknown"; volumes count from 1, so it does not occur.
fn fsid(volume: VolumeId) -> u64 {
    match volume.get() {
        0 => u64::MAX,
        number => number,
    }
}

#[cfg(test)]
mod tests;
