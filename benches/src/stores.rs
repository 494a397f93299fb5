//! The catalog's store beside its rivals, all through the catalog's own seam.
//!
//! The adapters are written as the product would write them, with the product's promise: after a
//! crash of the process a store holds a prefix of the batches, after a power cut at least those
//! before the last checkpoint. Where a store offers more, it is not asked for.

pub mod commands;
mod redb;
mod sled;
pub mod tasks;

use std::path::Path;
use std::str::FromStr;

use catalog::{FjallSettings, FjallStore, Store, StoreFault};

pub use self::redb::RedbStore;
pub use self::sled::{SledSettings, SledStore};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What the appliance uses: a log-structured merge tree.
    Fjall,
    /// A copy-on-write B-tree in one file.
    Redb,
    /// A log-structured B-link tree.
    Sled,
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Self; 3] = [Self::Fjall, Self::Redb, Self::Sled];

    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("no store is called {text:?}"))
    }
}

/// What is done with a store, whichever it is.
pub trait Task {
    /// What comes of it.
    type Outcome;

    /// Does it; `open` opens the store, or makes it.
    fn run<S: Store>(self, open: impl Fn() -> Result<S, StoreFault>) -> Self::Outcome;
}

impl Kind {
    /// Runs `task` with a store of this kind in `dir`.
    pub fn run<T: Task>(self, dir: &Path, task: T) -> T::Outcome {
        match self {
            Self::Sled => task.run(|| SledStore::open(SledSettings::in_dir(dir.to_owned()))),
            Self::Redb => task.run(|| RedbStore::open(dir, CACHE_BYTES)),
            Self::Fjall => task.run(|| FjallStore::open(FjallSettings::in_dir(dir.to_owned()))),
        }
    }
}

/// What the appliance gives to its store.
const CACHE_BYTES: usize = 48 << 20;
