//! What a volume's owner wants of it: how many copies, and what is promised of them.

use serde::{Deserialize, Serialize};

/// When data is called durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// When every copy that counts has it durable: the loss of one appliance loses nothing.
    #[default]
    AllInSync,
    /// When its owner has it durable; other copies follow when they can. A take-over may lose what
    /// was committed last.
    Local,
}

/// How a volume's files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Copies of each file, its owner's among them; as many as the volume has members at most.
    pub replicas: u8,
    /// When data is called durable.
    pub durability: Durability,
}

impl Default for Policy {
    /// One copy.
    fn default() -> Self {
        Self { replicas: 1, durability: Durability::AllInSync }
    }
}
