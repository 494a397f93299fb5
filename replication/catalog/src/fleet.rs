//! The fleet group's state, kept in a store of its own: small, and written whole with each run of
//! entries.

use model::{ApplianceId, Index, Term};
use ownership::{Fleet, FleetAnswer, FleetCommand, FleetRefusal};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::catalog::Applied;
use crate::command::LogEntry;
use crate::fault::CatalogFault;
use crate::records::{FORMAT, JointRecord, decode, encode};
use crate::store::{Batch, Store};

/// The fleet group's state on one appliance.
pub struct FleetCatalog<S> {
    store: S,
    state: RwLock<FleetState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FleetState {
    applied: Index,
    term: Term,
    voters: Vec<ApplianceId>,
    learners: Vec<ApplianceId>,
    fleet: Fleet,
}

impl<S: Store> FleetCatalog<S> {
    /// Opens the state in `store`; an empty store is that of a fleet yet to be founded, whose
    /// group has the one voter `founder`.
    ///
    /// # Errors
    /// [`CatalogFault`] if what is stored does not decode.
    pub fn open(store: S, founder: ApplianceId) -> Result<Self, CatalogFault> {
        let state = match store.get(KEY)? {
            Some(value) => decode("fleet", value.as_ref())?,
            None => FleetState {
                applied: Index::default(),
                term: Term::default(),
                voters: vec![founder],
                learners: vec![],
                fleet: Fleet::default(),
            },
        };
        Ok(Self { store, state: RwLock::new(state) })
    }

    /// How far the log was applied.
    pub fn applied(&self) -> Applied {
        let state = self.state.read();
        Applied {
            index: state.applied,
            term: state.term,
            membership: JointRecord::default().with(&state.voters, &state.learners),
            installed: false,
        }
    }

    /// The fleet as of the last entry.
    pub fn fleet(&self) -> Fleet {
        self.state.read().fleet.clone()
    }

    /// Applies committed entries in order and answers each.
    ///
    /// # Errors
    /// [`CatalogFault`]: nothing was applied, and nothing more may be.
    pub fn apply(
        &self,
        entries: &[LogEntry<'_>],
    ) -> Result<Vec<Option<Result<FleetAnswer, FleetRefusal>>>, CatalogFault> {
        let mut state = self.state.read().clone();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.index != state.applied.next() {
                return Err(CatalogFault::Gap { applied: state.applied, got: entry.index });
            }
            state.applied = entry.index;
            state.term = entry.term;
            answers.push(match entry.data {
                [] => None,
                _ => Some(state.fleet.apply(decode_command(entry)?)),
            });
        }
        let mut batch = Batch::default();
        batch.put(KEY.to_vec(), encode(&state));
        let mut visible = self.state.write();
        self.store.apply(batch)?;
        *visible = state;
        Ok(answers)
    }

    /// Makes everything applied so far durable; gives the entry below which the log may be cut.
    ///
    /// # Errors
    /// [`CatalogFault`] if that failed: the log must not be cut.
    pub fn checkpoint(&self) -> Result<Index, CatalogFault> {
        let applied = self.state.read().applied;
        self.store.checkpoint()?;
        Ok(applied)
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
