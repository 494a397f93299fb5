//! Stored records: a format byte, then postcard. Golden files in `records/` hold one of each, so
//! that a change of format can't go unnoticed.

use model::{ApplianceId, Cookie, Index, Membership, Name, ObjectId, Term, Timestamp};
use ownership::Fence;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::Answer;
use crate::fault::CatalogFault;
use crate::keys::{self, Kind};
use crate::store::{Scan, Store};

/// The format of every record here; another byte is refused, never guessed at.
pub const FORMAT: u8 = 1;

/// The catalog's one-of-a-kind facts; written in every batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The last entry applied.
    pub applied: Index,
    /// Its term.
    pub term: Term,
    /// Raft's ConfState: who votes.
    pub voters: Vec<ApplianceId>,
    /// Raft's ConfState: who learns.
    pub learners: Vec<ApplianceId>,
    /// The newest Reign.
    pub fence: Fence,
    /// The number of the next object.
    pub next_object: ObjectId,
    /// How many objects there are.
    pub objects: u64,
}

/// The part of a membership that is there only while it changes (Raft's joint consensus).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JointRecord {
    /// Who voted before.
    pub outgoing: Vec<ApplianceId>,
    /// Those of them who will learn.
    pub learners_next: Vec<ApplianceId>,
    /// Whether the leader ends the change by itself.
    pub auto_leave: bool,
}

impl JointRecord {
    /// That part of `membership`.
    pub fn of(membership: &Membership) -> Self {
        Self {
            outgoing: membership.outgoing.clone(),
            learners_next: membership.learners_next.clone(),
            auto_leave: membership.auto_leave,
        }
    }

    /// The whole membership.
    pub fn with(&self, voters: &[ApplianceId], learners: &[ApplianceId]) -> Membership {
        Membership {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            outgoing: self.outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
        }
    }
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// To which object.
    pub object: ObjectId,
    /// Its number in the directory.
    pub cookie: Cookie,
}

/// A directory's entry, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieRecord {
    /// To which object.
    pub object: ObjectId,
    /// Under which name.
    pub name: Name,
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRecord {
    /// To which call.
    pub digest: u128,
    /// When, by the clock of the replay cache.
    pub at: Timestamp,
    /// Which.
    pub answer: Answer,
}

/// Encodes a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_extend(record, vec![FORMAT]).expect("our records have no unsizable parts")
}

/// Decodes a record.
///
/// # Errors
/// [`CatalogFault::Record`]: rot or a newer format; never guessed at.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CatalogFault> {
    let fault = |reason: String| CatalogFault::Record { what, reason };
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|e| fault(e.to_string())),
        Some((other, _)) => Err(fault(format!("format {other}, this program knows {FORMAT}"))),
        None => Err(fault("it is empty".into())),
    }
}

/// Every record of one kind, decoded. `decode` gives none for a key of another shape.
pub fn walk<S: Store, K, V>(
    store: &S,
    kind: Kind,
    decode: impl Fn(&[u8], &[u8]) -> Option<(K, Result<V, CatalogFault>)>,
) -> Result<Vec<(K, V)>, CatalogFault> {
    let mut all = Vec::new();
    let mut fault = None;
    let (from, to) = keys::all(kind);
    store.scan(&from, &to, &mut |key, value| match decode(key, value) {
        Some((key, Ok(value))) => {
            all.push((key, value));
            Scan::Continue
        }
        Some((_, Err(e))) => {
            fault = Some(e);
            Scan::Stop
        }
        None => {
            fault = Some(meaningless(key));
            Scan::Stop
        }
    })?;
    fault.map_or(Ok(all), Err)
}

/// A key of another shape than those of its kind have.
pub fn meaningless(key: &[u8]) -> CatalogFault {
    let reason = format!("a key of {} bytes has no meaning", key.len());
    CatalogFault::Record { what: "key", reason }
}

#[cfg(test)]
mod tests;
