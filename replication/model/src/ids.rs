//! Identifiers and counters: one newtype a noun, so that an epoch is never compared with a term.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number as it stands in a record or on the wire.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number, for records and the wire.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number after this one. Saturates: 2^64 steps are never taken.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

newtype!(
    /// One appliance of the fleet; given at its first start, never reused.
    ApplianceId
);
newtype!(
    /// One volume of the fleet; counts up from 1, never reused.
    VolumeId
);
newtype!(
    /// One Raft group: 0 is the fleet's own, every other is the volume of the same number.
    GroupId
);
newtype!(
    /// One file, directory, symlink or special file; unique in its volume, never reused.
    /// Counts up from [`ObjectId::ROOT`].
    ObjectId
);
newtype!(
    /// How often an object was handed over. With the view of a Reign entry it names a reign.
    Epoch
);
newtype!(
    /// The number of one opinion of the fleet about which appliances are up.
    View
);
newtype!(
    /// One run of an appliance's process.
    Incarnation
);
newtype!(
    /// The owner's number for each change to one object's data; starts at 1 in each reign.
    Sequence
);
newtype!(
    /// Raft's election counter.
    Term
);
newtype!(
    /// Raft's position in a group's log.
    Index
);
newtype!(
    /// How often a volume may have lost unstable data; the write verifier is made of it.
    LossCount
);
newtype!(
    /// The number a name got when it was put into its directory; never reused in that directory.
    /// 1 is `.`, 2 is `..`, names count from [`Cookie::FIRST_NAME`].
    Cookie
);

impl ObjectId {
    /// The root directory of every volume.
    pub const ROOT: Self = Self(1);
}

impl GroupId {
    /// The fleet's own group.
    pub const FLEET: Self = Self(0);
}

impl From<VolumeId> for GroupId {
    fn from(volume: VolumeId) -> Self {
        Self(volume.get())
    }
}

impl Cookie {
    /// Before the first entry: where a listing starts.
    pub const START: Self = Self(0);
    /// The entry `.`.
    pub const DOT: Self = Self(1);
    /// The entry `..`.
    pub const DOT_DOT: Self = Self(2);
    /// The first name put into a directory.
    pub const FIRST_NAME: Self = Self(3);
}
