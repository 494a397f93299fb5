//! Makes another appliance's copy of a file equal to the one here.
//!
//! Invariant: nobody changes the file meanwhile, its gate is closed; the copy says that it is in
//! doubt until its last extent has come. Absent on purpose: when that is done, and what the log is
//! told.

use bytes::Bytes;
use catalog::Imaging;
use extents::Piece;
use model::{ApplianceId, EXTENT_BYTES, Mark, ObjectId, Refusal, Reign};

use crate::local::Local;
use crate::router::Router;
use crate::telling::Knowing;
use crate::wire::copies::{CopyTold, CopyWhat, HASHED_MAX};

/// What is known of a copy that is to be made equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It followed: only what was changed lately can differ.
    WasAlike,
    /// It may have missed anything.
    Nothing,
}

/// Why a copy was not made equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unequal {
    /// The other copy is left alone: it may be the only one that can be read.
    #[error("the copy here can't be read")]
    NotReadHere,
    /// Only a stream of all of it does.
    #[error("too much may differ")]
    TooMuch,
    /// What stands there can't be mended.
    #[error("the other copy is broken")]
    BrokenThere,
    /// As things stand now.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Makes another appliance's copy equal to the one here, extent by extent; the name that both have
/// then. The file's gate is closed.
pub(crate) async fn equalize<S: Imaging>(
    router: &Router<S>,
    local: &Local<S>,
    object: ObjectId,
    to: ApplianceId,
    known: Known,
) -> Result<Mark, Unequal> {
    let file = router.owned(local, object)?;
    let has_data = file.has_data;
    let extents = differing(router, local, (object, has_data), to, known).await?;
    // What is undone there must not be known any more; what comes is told when it is there.
    let answers = local.data_calls.answers_about(object);
    router.tell_copy(local, object, to, (&answers, Knowing::Only)).await?;
    let reign = Reign { epoch: file.epoch, view: local.reign() };
    let named = local.objects.name_anew(object, has_data, reign).await;
    let (stamp, size) = named.map_err(not_read)?;
    let count = extents.len();
    tracing::info!(%object, %to, extents = count, "a copy is made equal");
    let mut extents = extents.into_iter().peekable();
    let mut first = true;
    loop {
        if local.parting.has_begun() {
            return Err(Refusal::Fenced.into());
        }
        let next = extents.next();
        let last = extents.peek().is_none();
        let pieces = match next {
            Some(extent) => read(local, object, has_data, extent).await?,
            None => Vec::new(),
        };
        let equal = extents::Equal { stamp, size, first, last };
        let what = CopyWhat::of_pieces(equal, pieces);
        match router.ask_copy(local, object, to, what).await {
            Some(CopyTold::Has { mark, .. }) if mark == stamp.mark => {}
            Some(CopyTold::Refused(refusal)) => return Err(refused_there(refusal)),
            _ => return Err(Refusal::Busy.into()),
        }
        first = false;
        if last {
            break;
        }
    }
    router.tell_copy(local, object, to, (&answers, Knowing::Also)).await?;
    Ok(stamp.mark)
}

/// The extents in which a copy may differ from the one here.
async fn differing<S: Imaging>(
    router: &Router<S>,
    local: &Local<S>,
    (object, has_data): (ObjectId, bool),
    to: ApplianceId,
    known: Known,
) -> Result<Vec<u64>, Unequal> {
    let here = local.objects.followed(object, has_data).await.map_err(not_read)?;
    let count = here.facts.size.div_ceil(EXTENT_BYTES);
    let ours = here.touched.extents().filter(|_| known == Known::WasAlike);
    let ask = CopyWhat::State { hashes: count <= HASHED_MAX };
    let there = router.ask_copy(local, object, to, (ask, Bytes::new())).await;
    let (touched, hashes) = match there {
        Some(CopyTold::State { touched, hashes, .. }) => (touched, hashes),
        // There is no file yet.
        Some(CopyTold::Gap) => (None, Vec::new()),
        Some(CopyTold::Refused(refusal)) => return Err(refused_there(refusal)),
        _ => return Err(Refusal::Busy.into()),
    };
    let mut differing = match (ours, touched) {
        (Some(ours), Some(theirs)) => [ours, theirs].concat(),
        _ if count <= HASHED_MAX => (0..count).collect(),
        _ => return Err(Unequal::TooMuch),
    };
    differing.retain(|extent| *extent < count);
    differing.sort_unstable();
    differing.dedup();
    if differing.len() > EQUAL_EXTENTS_MAX {
        return Err(Unequal::TooMuch);
    }
    if hashes.is_empty() {
        return Ok(differing);
    }
    let mut unlike = Vec::new();
    for extent in differing {
        let pieces = read(local, object, has_data, extent).await?;
        let theirs = usize::try_from(extent).ok().and_then(|at| hashes.get(at));
        let same = |piece: &Piece| theirs == Some(&piece.hash().0);
        if !pieces.iter().all(same) {
            unlike.push(extent);
        }
    }
    Ok(unlike)
}

async fn read<S>(
    local: &Local<S>,
    object: ObjectId,
    has_data: bool,
    extent: u64,
) -> Result<Vec<Piece>, Unequal> {
    local.objects.pieces(object, has_data, vec![extent]).await.map_err(not_read)
}

fn not_read(refusal: Refusal) -> Unequal {
    if refusal == Refusal::Fault { Unequal::NotReadHere } else { refusal.into() }
}

/// What it means that the other copy refused.
pub(crate) fn refused_there(refusal: Refusal) -> Unequal {
    if refusal == Refusal::Fault { Unequal::BrokenThere } else { refusal.into() }
}

/// What can be sent while requests wait.
const EQUAL_EXTENTS_MAX: usize = 128;
