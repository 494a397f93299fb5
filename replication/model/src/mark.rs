//! Names of reigns and of writes. Compared epoch first, then view, then sequence: a later reign's
//! first write is newer than an earlier reign's last.

use serde::{Deserialize, Serialize};

use crate::{Epoch, Sequence, View};

/// One rule of one owner: the epoch grows at hand-over, the view at take-over and start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Reign {
    /// How often the object was handed over.
    pub epoch: Epoch,
    /// The view of the owner's newest Reign entry in this volume.
    pub view: View,
}

/// The name of one write to one object; of a copy: of the last write it has.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark {
    /// Under whose rule it was written.
    pub reign: Reign,
    /// The owner's number for it.
    pub sequence: Sequence,
}

impl Mark {
    /// The mark of the next write under `reign`.
    ///
    /// A new reign starts counting anew; the reign never goes back (the caller was fenced before).
    #[must_use]
    pub fn next_under(self, reign: Reign) -> Self {
        assert!(reign >= self.reign, "an owner writes under its newest reign only");
        let sequence = if reign == self.reign { self.sequence.next() } else { Sequence::new(1) };
        Self { reign, sequence }
    }
}
