//! Reading an extent from the disk, and not from memory: what BTRFS has checksums of is verified.
//!
//! What is clean in memory is dropped first, by a descriptor of its own that reads nothing ahead.
//! Read from memory all the same, and so not verified: bytes that are not on the disk yet, pages
//! that somebody else uses at that moment, and what BTRFS keeps of very small files inside its
//! metadata. What was in memory before is so again afterwards, what was not is dropped again.
//!
//! Invariant: nobody waits for this read: it takes no place among changes, and finds out afterwards
//! whether one came between. Absent on purpose: hashes, and what an error means for the copy.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use model::{EXTENT_BYTES, Mark, ObjectId, Refusal, Span};
use tracing::warn;

use super::copy::read_runs;
use super::follow::{Piece, extent_of};
use super::{Objects, blocking, refusal_of};
use crate::follow::CopyState;
use crate::object::{Need, State};
use crate::{BackingFile, Disk, Wait};

/// An extent, read from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cold {
    /// The change that the copy held during the read; none if one came meanwhile, or nobody can
    /// say.
    pub at: Option<Mark>,
    /// The object's size before.
    pub size: u64,
    /// What was read.
    pub piece: Piece,
    /// The next extent in which there is data; `u64::MAX` if there is none.
    pub next: u64,
}

/// What is known of an object at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sight {
    /// Its last change, if none is under way.
    steady: Option<Mark>,
    in_doubt: bool,
    size: u64,
    exists: bool,
}

impl Objects {
    /// Reads an extent from the disk. `Fault`: it can't be read, or is missing. `Busy`: not now.
    pub async fn read_cold(
        &self,
        object: ObjectId,
        has_data: bool,
        extent: u64,
    ) -> Result<Cold, Refusal> {
        let before = self.sight(object, has_data).await?;
        let span = extent_of(extent, before.size);
        let nothing = Piece { extent, runs: Vec::new(), bytes: Bytes::new() };
        if !before.exists {
            let (at, size) = (before.holds(), before.size);
            return Ok(Cold { at, size, piece: nothing, next: u64::MAX });
        }
        let (shared, path) = (self.shared.clone(), self.shared.path(object));
        let read = blocking(move || {
            let mut done = None;
            shared.disk.in_background(&mut || done = Some(read(&*shared.disk, &path, span)));
            done.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()))
        });
        let read = read.await?;
        // Gone meanwhile: then its file is, too.
        let after = self.sight(object, has_data).await?;
        let changed = before.steady.is_none() || before.steady != after.steady;
        match read {
            Ok((runs, bytes, next)) => {
                let at = before.holds().filter(|_| before == after);
                let piece = Piece { runs, bytes, ..nothing };
                Ok(Cold { at, size: before.size, piece, next })
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && changed => {
                Err(Refusal::Busy)
            }
            Err(error) => {
                warn!(%object, extent, %error, "an extent can't be read from the disk");
                Err(refusal_of(&error))
            }
        }
    }

    /// The change that the copy here holds; none if one is under way, or nobody can say.
    pub async fn holds(&self, object: ObjectId, has_data: bool) -> Result<Option<Mark>, Refusal> {
        Ok(self.sight(object, has_data).await?.holds())
    }

    async fn sight(&self, object: ObjectId, has_data: bool) -> Result<Sight, Refusal> {
        let object = self.shared.table.get(object)?;
        let sight = self.shared.when_ready(&object, has_data, Need::Facts, |_, state| sight(state));
        sight.await
    }
}

impl Sight {
    fn holds(&self) -> Option<Mark> {
        self.steady.filter(|_| !self.in_doubt)
    }
}

fn sight(state: &State) -> Result<Sight, Refusal> {
    let core = state.loaded();
    // A copy that is being received is in doubt until all of it has come.
    if core.fault().is_some() {
        return Err(Refusal::Busy);
    }
    let facts = core.facts();
    let last = facts.stamp.map(|stamp| stamp.mark).unwrap_or_default();
    Ok(Sight {
        steady: core.is_settled().then_some(last),
        in_doubt: core.state() == CopyState::InDoubt,
        size: facts.size,
        exists: state.exists,
    })
}

fn read(disk: &dyn Disk, path: &Path, span: Span) -> io::Result<(Vec<Span>, Bytes, u64)> {
    let file = disk.open_cold(path)?;
    let warm = is_in_memory(&*file, span);
    file.forget(span)?;
    let (mut runs, mut bytes) = (Vec::new(), BytesMut::new());
    let done = read_runs(&*file, span, &mut runs, &mut bytes);
    if !warm {
        file.forget(span)?;
    }
    done?;
    let next = file.next_data(span.end())?.map_or(u64::MAX, |data| data / EXTENT_BYTES);
    Ok((runs, bytes.freeze(), next))
}

/// Whether somebody uses these bytes, to judge by the first of them.
fn is_in_memory(file: &dyn BackingFile, span: Span) -> bool {
    let first = Span::new(span.offset(), span.len().min(1));
    let mut byte = BytesMut::new();
    let read = first.map(|first| file.read(first, &mut byte, Wait::Never));
    matches!(read, Some(Ok(1..)))
}
