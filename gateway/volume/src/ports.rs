//! What a door needs done, in the words of a file system. The router implements it: here if we
//! lead or own, elsewhere otherwise.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Attributes, Change, Cookie, Identity, Name, ObjectId, RequestKey, SetAttributes, Span,
    Stability, Timestamp, View, VolumeId, VolumeInfo, Wcc, WriteVerifier, Written,
};
use serde::{Deserialize, Serialize};

use crate::caller::Line;

/// For whom and where something is asked: travels with a forwarded request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// In which volume.
    pub volume: VolumeId,
    /// As whom, after squash.
    pub identity: Identity,
    /// In which call, for the replay cache.
    pub key: Option<RequestKey>,
    /// The export's verdict: changes are refused.
    pub read_only: bool,
    /// In which view it was found to belong where it is executed: a change is refused in any other.
    /// None in a fleet of one.
    pub view: Option<View>,
    /// The connection that it came over, if that ends here.
    pub line: Line,
}

impl Ask {
    /// The appliance's own question: it may look at everything, and changes nothing.
    pub fn own(volume: VolumeId) -> Self {
        let (identity, line) = (Identity::root(), Line::default());
        Self { volume, identity, key: None, read_only: true, view: None, line }
    }

    /// The same, found to belong where it is executed in `view`.
    pub fn in_view(&self, view: Option<View>) -> Cow<'_, Self> {
        match view == self.view {
            true => Cow::Borrowed(self),
            false => Cow::Owned(Self { view, ..self.clone() }),
        }
    }
}

/// A refusal, with the attributes an error reply may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Of the object asked about.
    pub object: Wcc,
    /// Of the (first) directory.
    pub dir: Wcc,
    /// Of RENAME's target directory.
    pub to_dir: Wcc,
}

/// What was not done, why, and what is known of the objects all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub refusal: model::Refusal,
    /// Attributes for the reply.
    pub attached: Attached,
}

impl From<model::Refusal> for Refused {
    fn from(refusal: model::Refusal) -> Self {
        Self { refusal, attached: Attached::default() }
    }
}

/// LOOKUP's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What the name leads to.
    pub object: ObjectId,
    /// Its attributes, if they were at hand.
    pub attributes: Option<Attributes>,
    /// The directory's.
    pub dir: Attributes,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it leads to.
    pub object: ObjectId,
    /// Where the listing goes on after it.
    pub cookie: Cookie,
    /// Its name, `.` and `..` included.
    pub name: Bytes,
    /// Its attributes, if asked for and at hand.
    pub attributes: Option<Attributes>,
}

/// A run of a directory's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The directory's attributes.
    pub dir: Attributes,
    /// In the order of their cookies.
    pub entries: Vec<Entry>,
    /// Whether nothing follows.
    pub end: bool,
}

/// What a change of names or attributes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The object made, taken, linked or changed.
    pub object: Option<ObjectId>,
    /// Before and after.
    pub attached: Attached,
}

/// READ's answer.
#[derive(Clone, Debug)]
pub struct ReadData {
    /// At most as many as asked for; fewer only at the end.
    pub bytes: Bytes,
    /// Whether the last byte of the file is among them, or before them.
    pub eof: bool,
    /// The file's attributes.
    pub attributes: Attributes,
}

/// WRITE's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    /// How many bytes, and what was promised.
    pub written: Written,
    /// Before and after.
    pub wcc: Wcc,
}

/// COMMIT's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Of the moment after the bytes were durable.
    pub verifier: WriteVerifier,
    /// Before and after.
    pub wcc: Wcc,
}

/// FSSTAT's answer (RFC 1813 section 3.3.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceReport {
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes free, the reserve not counted.
    pub bytes_free: u64,
    /// Objects there can be.
    pub objects_total: u64,
    /// Objects that can still be made.
    pub objects_free: u64,
    /// Attributes of the object asked about.
    pub attributes: Attributes,
}

/// One WRITE.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// To which file.
    pub object: ObjectId,
    /// Where.
    pub span: Span,
    /// What; `span.len()` bytes.
    pub payload: Bytes,
    /// How durable before it is answered.
    pub stability: Stability,
}

/// Everything a door can have done to a volume. Every method checks permission where it runs and
/// answers [`Refused`] with the attributes at hand.
pub trait Ports: Send + Sync + 'static {
    /// The volumes as this appliance knows them now.
    fn volumes(&self) -> Arc<Vec<VolumeInfo>>;

    /// GETATTR: needs no permission.
    fn attributes(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> impl Future<Output = Result<Attributes, Refused>> + Send;

    /// LOOKUP of a name; `.` and `..` have methods of their own kind of name.
    fn look_up(
        &self,
        ask: &Ask,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> impl Future<Output = Result<Found, Refused>> + Send;

    /// READLINK.
    fn read_link(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> impl Future<Output = Result<(Bytes, Attributes), Refused>> + Send;

    /// READDIR and READDIRPLUS: at most `entries_max` entries after `after`.
    fn list(
        &self,
        ask: &Ask,
        dir: ObjectId,
        page: Page,
    ) -> impl Future<Output = Result<Listing, Refused>> + Send;

    /// CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.
    fn change(
        &self,
        ask: &Ask,
        change: Change,
    ) -> impl Future<Output = Result<Done, Refused>> + Send;

    /// SETATTR, size included.
    fn set_attributes(
        &self,
        ask: &Ask,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> impl Future<Output = Result<Wcc, Refused>> + Send;

    /// READ.
    fn read(
        &self,
        ask: &Ask,
        object: ObjectId,
        span: Span,
    ) -> impl Future<Output = Result<ReadData, Refused>> + Send;

    /// WRITE.
    fn write(
        &self,
        ask: &Ask,
        request: WriteRequest,
    ) -> impl Future<Output = Result<Wrote, Refused>> + Send;

    /// COMMIT, always of the whole object.
    fn commit(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> impl Future<Output = Result<Committed, Refused>> + Send;

    /// FSSTAT.
    fn space(
        &self,
        ask: &Ask,
        object: ObjectId,
    ) -> impl Future<Output = Result<SpaceReport, Refused>> + Send;
}

/// What LOOKUP can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUpName<'a> {
    /// The directory itself.
    Dot,
    /// Its parent.
    DotDot,
    /// A name in it.
    Name(&'a Name),
}

/// Which part of a directory to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// After this entry.
    pub after: Cookie,
    /// At most so many entries.
    pub entries_max: usize,
    /// Whether to fetch each entry's attributes.
    pub with_attributes: bool,
}
