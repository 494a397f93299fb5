//! What a file's owner asks of the appliances that have copies of it. Payloads travel beside, one
//! after the other.

use bytes::Bytes;
use extents::{CopyState, Equal, Frame, FrameChange, Piece};
use model::{
    EXTENT_BYTES, Epoch, Index, Mark, ObjectId, Refusal, RequestKey, Span, Stamp, Timestamp, View,
    VolumeId,
};
use replicator::{Batch, Told};
use serde::{Deserialize, Serialize};

use super::BadMessage;
use super::scrub::ExtentTold;
use crate::local::DataAnswer;

/// One question to a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyAsk {
    /// Of which volume.
    pub volume: VolumeId,
    /// Which file.
    pub object: ObjectId,
    /// The view under which the owner acts.
    pub view: View,
    /// The file's epoch as the owner knows it.
    pub epoch: Epoch,
    /// How far the owner has applied the volume's log: the asked first catches up with it.
    pub index: Index,
    /// What.
    pub what: CopyWhat,
}

/// What is asked of a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CopyWhat {
    /// Execute these changes; the bytes of WRITEs travel beside.
    Changes {
        /// The change before the first of them.
        previous: Mark,
        /// Up to here all copies are equal.
        settled: Mark,
        /// Whether all up to the last is to be durable when it is answered.
        durable: bool,
        /// Whether all calls were told that made what comes before them.
        told: bool,
        /// In order; none if only a question is asked.
        changes: Vec<ChangeHead>,
    },
    /// What do you hold?
    State {
        /// Hashes of all extents, if there are no more than [`HASHED_MAX`].
        hashes: bool,
    },
    /// Become equal: extents whose runs' bytes travel beside.
    Equal {
        /// The name and times of what it becomes.
        stamp: StampHead,
        /// Its size.
        size: u64,
        /// Whether this is the last piece.
        last: bool,
        /// Number of each extent, and its runs of data as offset and length.
        pieces: Vec<(u64, Vec<(u64, u64)>)>,
        /// Whether this is the first piece.
        first: bool,
    },
    /// Which calls about the file do you know? In the order of their keys.
    Calls {
        /// So many were told already.
        skip: u64,
    },
    /// Read this extent from your disk: what is in it?
    Extent {
        /// Which.
        extent: u64,
        /// The change that the owner holds; the copy waits for it, for a moment.
        at: Option<Mark>,
    },
    /// The calls about the file that travel beside this were answered, each with what it was told.
    /// The copy takes those that it has the changes of.
    Answers {
        /// Whether what is known there of other calls about it is undone.
        anew: bool,
    },
}

/// A change without its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeHead {
    mark: Mark,
    stamp: Option<StampHead>,
    key: Option<RequestKey>,
    what: ChangeWhat,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum ChangeWhat {
    Nothing,
    Write { offset: u64, len: u64 },
    SetSize(u64),
}

/// Mark and times of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampHead {
    mark: Mark,
    mtime: Timestamp,
    ctime: Timestamp,
}

/// What a copy says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CopyTold {
    /// It has everything up to this mark.
    Has {
        /// The last change.
        mark: Mark,
        /// Whether it is durable up to there.
        durable: bool,
    },
    /// It is not what the owner takes it for; or there is no file of which it could say anything.
    Gap,
    /// Not under this view or epoch.
    NotNow,
    /// It can't.
    Refused(Refusal),
    /// What it holds.
    State {
        /// Its name; none if it is in doubt.
        at: Option<Mark>,
        /// Its size.
        size: u64,
        /// Extents that may differ from other copies'; none if any may.
        touched: Option<Vec<u64>>,
        /// Blake3 of each extent, if that was asked for.
        hashes: Vec<[u8; 32]>,
    },
    /// Calls about the file, each with what it was answered; none when these are all.
    Calls(Vec<(RequestKey, DataAnswer)>),
    /// What it read.
    Extent(ExtentTold),
    /// It took the answers that are true of it.
    Knows,
}

impl CopyWhat {
    /// A batch of changes, and the bytes that travel beside it.
    pub fn of_batch(batch: Batch, settled: Mark) -> (Self, Bytes) {
        let Batch { previous, frames, durable, joins, .. } = batch;
        let mut payloads = Vec::new();
        let changes = frames.into_iter().map(|frame| head_of(frame, &mut payloads)).collect();
        (Self::Changes { previous, settled, durable, told: joins, changes }, joined(&payloads))
    }

    /// A piece of what a copy becomes, and the bytes that travel beside it.
    pub fn of_pieces(equal: Equal, pieces: Vec<Piece>) -> (Self, Bytes) {
        let Equal { stamp, size, first, last } = equal;
        let mut payloads = Vec::new();
        let mut piece_of = |piece: Piece| {
            let runs = piece.runs.iter().map(|run| (run.offset(), run.len())).collect();
            payloads.push(piece.bytes);
            (piece.extent, runs)
        };
        let pieces = pieces.into_iter().map(&mut piece_of).collect();
        let stamp = StampHead::from(stamp);
        (Self::Equal { stamp, size, last, pieces, first }, joined(&payloads))
    }
}

/// The changes of a batch, with their bytes.
///
/// # Errors
/// [`BadMessage`] if head and bytes do not fit together.
pub fn frames_of(changes: Vec<ChangeHead>, mut payload: Bytes) -> Result<Vec<Frame>, BadMessage> {
    let mut frames = Vec::with_capacity(changes.len());
    for ChangeHead { mark, stamp, key, what } in changes {
        let change = match what {
            ChangeWhat::Nothing => FrameChange::Nothing,
            ChangeWhat::SetSize(size) => {
                Span::new(size, 0).ok_or(BadMessage)?;
                FrameChange::SetSize(size)
            }
            ChangeWhat::Write { offset, len } => {
                Span::new(offset, len).ok_or(BadMessage)?;
                let bytes = take(&mut payload, len)?;
                FrameChange::Write { offset, bytes }
            }
        };
        frames.push(Frame { mark, stamp: stamp.map(Stamp::from), key, secure: false, change });
    }
    if payload.is_empty() { Ok(frames) } else { Err(BadMessage) }
}

/// The pieces of what a copy becomes, with their bytes.
///
/// # Errors
/// [`BadMessage`] if head and bytes do not fit together.
pub fn pieces_of(
    pieces: Vec<(u64, Vec<(u64, u64)>)>,
    mut payload: Bytes,
) -> Result<Vec<Piece>, BadMessage> {
    let mut all = Vec::with_capacity(pieces.len());
    for (extent, heads) in pieces {
        let start = extent.checked_mul(EXTENT_BYTES).ok_or(BadMessage)?;
        let (mut at, end) = (start, start.checked_add(EXTENT_BYTES).ok_or(BadMessage)?);
        let (mut runs, mut len) = (Vec::with_capacity(heads.len()), 0);
        for (offset, run) in heads {
            let run = Span::new(offset, run).ok_or(BadMessage)?;
            if run.offset() < at || run.end() > end {
                return Err(BadMessage);
            }
            at = run.end();
            len += run.len();
            runs.push(run);
        }
        all.push(Piece { extent, runs, bytes: take(&mut payload, len)? });
    }
    if payload.is_empty() { Ok(all) } else { Err(BadMessage) }
}

impl CopyTold {
    /// What the owner's core is told.
    pub fn told(&self) -> Told {
        match *self {
            Self::Has { mark, durable } => Told::Has { mark, durable },
            Self::Gap => Told::Gap,
            Self::Refused(refusal) => Told::Refused(refusal),
            Self::NotNow | Self::State { .. } | Self::Calls(_) | Self::Extent(_) | Self::Knows => {
                Told::NotNow
            }
        }
    }

    /// Of a copy, without hashes.
    pub fn of_copy(copy: &extents::Followed) -> Self {
        let at = match copy.state {
            CopyState::At(mark) => Some(mark),
            CopyState::InDoubt => None,
        };
        let (size, touched) = (copy.facts.size, copy.touched.extents());
        Self::State { at, size, touched, hashes: Vec::new() }
    }
}

impl From<Stamp> for StampHead {
    fn from(stamp: Stamp) -> Self {
        Self { mark: stamp.mark, mtime: stamp.mtime, ctime: stamp.ctime }
    }
}

impl From<StampHead> for Stamp {
    fn from(head: StampHead) -> Self {
        Self { mark: head.mark, mtime: head.mtime, ctime: head.ctime }
    }
}

fn head_of(frame: Frame, payloads: &mut Vec<Bytes>) -> ChangeHead {
    let Frame { mark, stamp, key, change, .. } = frame;
    let what = match change {
        FrameChange::Write { offset, bytes } => {
            let len = bytes.len() as u64;
            payloads.push(bytes);
            ChangeWhat::Write { offset, len }
        }
        FrameChange::SetSize(size) => ChangeWhat::SetSize(size),
        // A feed without copies has none of the others.
        FrameChange::Nothing
        | FrameChange::Later { .. }
        | FrameChange::Copy { .. }
        | FrameChange::Hole(_) => ChangeWhat::Nothing,
    };
    ChangeHead { mark, stamp: stamp.map(StampHead::from), key, what }
}

fn take(payload: &mut Bytes, len: u64) -> Result<Bytes, BadMessage> {
    let len = usize::try_from(len).map_err(|_| BadMessage)?;
    if len > payload.len() {
        return Err(BadMessage);
    }
    Ok(payload.split_to(len))
}

/// One alone is passed on as it is.
fn joined(payloads: &[Bytes]) -> Bytes {
    match payloads {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

/// So many extents are hashed for one answer: 64 MiB, which takes a tenth of a second.
pub const HASHED_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use model::{Reign, Sequence};

    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
    }

    #[test]
    fn a_batch_arrives_as_it_was() {
        let stamp = Some(Stamp { mark: mark(4), ..Stamp::default() });
        let write = |sequence, bytes: &'static [u8]| {
            let change = FrameChange::Write { offset: 7, bytes: Bytes::from_static(bytes) };
            Frame { mark: mark(sequence), stamp, key: None, secure: false, change }
        };
        let cut = Frame { change: FrameChange::SetSize(9), ..write(6, b"") };
        let frames = vec![write(4, b"one"), write(5, b"two"), cut];
        let (previous, durable) = (mark(3), true);
        let batch = Batch { number: 1, previous, frames: frames.clone(), durable, joins: false };
        let (what, payload) = CopyWhat::of_batch(batch, mark(2));
        let CopyWhat::Changes { changes, .. } = what else { panic!("changes") };
        assert_eq!(frames_of(changes.clone(), payload.clone()), Ok(frames));
        let short = payload.slice(1..);
        assert_eq!(frames_of(changes, short), Err(BadMessage));
    }

    #[test]
    fn pieces_arrive_as_they_were_and_nonsense_is_refused() {
        let span = |offset, len| Span::new(offset, len).unwrap();
        let runs = vec![span(EXTENT_BYTES, 2), span(EXTENT_BYTES + 9, 3)];
        let pieces = vec![
            Piece { extent: 1, runs, bytes: Bytes::from_static(b"abcde") },
            Piece { extent: 4, runs: vec![], bytes: Bytes::new() },
        ];
        let equal = Equal { stamp: Stamp::default(), size: 1 << 30, first: true, last: true };
        let (what, payload) = CopyWhat::of_pieces(equal, pieces.clone());
        let CopyWhat::Equal { pieces: heads, .. } = what else { panic!("pieces") };
        assert_eq!(pieces_of(heads, payload.clone()), Ok(pieces));
        for bad in [(1, vec![(0, 5)]), (u64::MAX, vec![]), (0, vec![(4, 2), (5, 3)])] {
            assert_eq!(pieces_of(vec![bad], payload.clone()), Err(BadMessage));
        }
    }
}
