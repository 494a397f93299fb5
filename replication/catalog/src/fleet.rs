//! The fleet group's state, kept in a store of its own: small, and written whole with each run of
//! entries.
//!
//! Invariant: what is stored is the state after some entry, with that entry's index, its term and
//! the membership it left. Absent on purpose: Raft, and when to take a checkpoint.

use model::{ApplianceId, Index, Membership, Term};
use ownership::{Fleet, FleetAnswer, FleetCommand, FleetRefusal, FleetV1};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::catalog::Applied;
use crate::command::LogEntry;
use crate::fault::CatalogFault;
use crate::keys;
use crate::records::{FORMAT, encode};
use crate::store::{Batch, Store};

/// The fleet group's state on one appliance.
pub struct FleetCatalog<S> {
    store: S,
    state: RwLock<Visible>,
}

struct Visible {
    state: FleetState,
    /// It came as an image and the group's log was not yet reset to it.
    installed: bool,
}

/// Format 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FleetState {
    applied: Index,
    term: Term,
    membership: Membership,
    fleet: Fleet,
}

/// Format 1: no joint changes, one appliance.
#[derive(Deserialize)]
struct FleetStateV1 {
    applied: Index,
    term: Term,
    voters: Vec<ApplianceId>,
    learners: Vec<ApplianceId>,
    fleet: FleetV1,
}

impl<S: Store> FleetCatalog<S> {
    /// Opens the state in `store`; an empty store is that of a fleet yet to be founded, whose
    /// group has the one voter `founder`.
    ///
    /// # Errors
    /// [`CatalogFault`] if what is stored does not decode.
    pub fn open(store: S, founder: ApplianceId) -> Result<Self, CatalogFault> {
        let state = match store.get(KEY)? {
            Some(value) => FleetState::decode(value.as_ref())?,
            None => FleetState {
                applied: Index::default(),
                term: Term::default(),
                membership: Membership::of_voters([founder]),
                fleet: Fleet::default(),
            },
        };
        let installed = store.get(keys::INSTALLED)?.is_some();
        Ok(Self { store, state: RwLock::new(Visible { state, installed }) })
    }

    /// How far the log was applied.
    pub fn applied(&self) -> Applied {
        let Visible { state, installed } = &*self.state.read();
        Applied {
            index: state.applied,
            term: state.term,
            membership: state.membership.clone(),
            installed: *installed,
        }
    }

    /// Who takes part in the fleet's group, as of the last entry that changed it.
    pub fn membership(&self) -> Membership {
        self.state.read().state.membership.clone()
    }

    /// The fleet as of the last entry.
    pub fn fleet(&self) -> Fleet {
        self.state.read().state.fleet.clone()
    }

    /// Applies committed entries in order and answers each.
    ///
    /// # Errors
    /// [`CatalogFault`]: nothing was applied, and nothing more may be.
    pub fn apply(
        &self,
        entries: &[LogEntry<'_>],
    ) -> Result<Vec<Option<Result<FleetAnswer, FleetRefusal>>>, CatalogFault> {
        let mut state = self.state.read().state.clone();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.index != state.applied.next() {
                return Err(CatalogFault::Gap { applied: state.applied, got: entry.index });
            }
            state.applied = entry.index;
            state.term = entry.term;
            if let Some(membership) = entry.membership {
                state.membership = membership.clone();
            }
            answers.push(match entry.data {
                [] => None,
                _ => Some(state.fleet.apply(decode_command(entry)?)),
            });
        }
        self.store(state, Batch::default())?;
        Ok(answers)
    }

    /// The whole state with its place in the log, for an appliance that lags too far behind.
    pub fn image(&self) -> Vec<u8> {
        self.state.read().state.encode()
    }

    /// Puts another appliance's [`FleetCatalog::image`] in the place of what is here, durably, with
    /// a mark that the group's log must be reset to it. Bytes from the network are refused, never
    /// guessed at.
    ///
    /// # Errors
    /// [`CatalogFault`] if it does not decode; what is here stays.
    pub fn install(&self, image: &[u8]) -> Result<(), CatalogFault> {
        let mut batch = Batch::default();
        batch.put(keys::INSTALLED.to_vec(), Vec::new());
        self.store(FleetState::decode(image)?, batch)?;
        self.state.write().installed = true;
        Ok(self.store.checkpoint()?)
    }

    /// The entry that an image stands at.
    ///
    /// # Errors
    /// [`CatalogFault`] if it does not decode.
    pub fn image_index(image: &[u8]) -> Result<Index, CatalogFault> {
        Ok(FleetState::decode(image)?.applied)
    }

    /// The group's log is reset to the image that this state came as.
    ///
    /// # Errors
    /// [`CatalogFault`] if the store fails.
    pub fn confirm_installed(&self) -> Result<(), CatalogFault> {
        let mut visible = self.state.write();
        let mut batch = Batch::default();
        batch.delete(keys::INSTALLED.to_vec());
        self.store.apply(batch)?;
        visible.installed = false;
        Ok(())
    }

    fn store(&self, state: FleetState, mut batch: Batch) -> Result<(), CatalogFault> {
        batch.put(KEY.to_vec(), state.encode());
        let mut visible = self.state.write();
        self.store.apply(batch)?;
        visible.state = state;
        Ok(())
    }

    /// Makes everything applied so far durable; gives the entry below which the log may be cut.
    ///
    /// # Errors
    /// [`CatalogFault`] if that failed: the log must not be cut.
    pub fn checkpoint(&self) -> Result<Index, CatalogFault> {
        let applied = self.state.read().state.applied;
        self.store.checkpoint()?;
        Ok(applied)
    }
}

impl FleetState {
    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![STATE_FORMAT]).expect("our records have no unsizable parts")
    }

    fn decode(bytes: &[u8]) -> Result<Self, CatalogFault> {
        let fault = |reason: String| CatalogFault::Record { what: "fleet", reason };
        match bytes.split_first() {
            Some((&STATE_FORMAT, body)) => {
                postcard::from_bytes(body).map_err(|e| fault(e.to_string()))
            }
            // The same without what came last: an empty map is one byte. Of floating addresses
            // there are two, offers and holders; of policies one, before those.
            Some((&STATE_FORMAT_WITHOUT_ADDRESSES, body)) => {
                let body = [body, &[0; 2]].concat();
                postcard::from_bytes(&body).map_err(|e| fault(e.to_string()))
            }
            Some((&STATE_FORMAT_WITHOUT_POLICIES, body)) => {
                let body = [body, &[0; 3]].concat();
                postcard::from_bytes(&body).map_err(|e| fault(e.to_string()))
            }
            Some((&STATE_FORMAT_OLD, body)) => {
                let old: FleetStateV1 =
                    postcard::from_bytes(body).map_err(|e| fault(e.to_string()))?;
                Ok(old.into())
            }
            Some((other, _)) => {
                Err(fault(format!("format {other}, this program knows 1 to {STATE_FORMAT}")))
            }
            None => Err(fault("it is empty".into())),
        }
    }
}

impl From<FleetStateV1> for FleetState {
    fn from(old: FleetStateV1) -> Self {
        let FleetStateV1 { applied, term, voters, learners, fleet } = old;
        let membership = Membership { voters, learners, ..Membership::default() };
        Self { applied, term, membership, fleet: fleet.into() }
    }
}

/// The bytes of a fleet command that go into the log.
pub fn encode_fleet_command(command: &FleetCommand) -> Vec<u8> {
    encode(command)
}

fn decode_command(entry: &LogEntry<'_>) -> Result<FleetCommand, CatalogFault> {
    let fault = |reason: String| CatalogFault::Entry { index: entry.index, reason };
    match entry.data.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|e| fault(e.to_string())),
        other => Err(fault(format!("format {:?}, not {FORMAT}", other.map(|(f, _)| f)))),
    }
}

const KEY: &[u8] = b"fleet";
const STATE_FORMAT: u8 = 4;
const STATE_FORMAT_WITHOUT_ADDRESSES: u8 = 3;
const STATE_FORMAT_WITHOUT_POLICIES: u8 = 2;
const STATE_FORMAT_OLD: u8 = 1;

#[cfg(test)]
mod tests;
