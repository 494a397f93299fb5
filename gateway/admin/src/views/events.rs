//! What a person must know, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that a person must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its number; ask for what came after it.
    pub number: u64,
    /// When it was told, in UTC (RFC 3339).
    pub time: String,
    /// `good`, `info`, `warning` or `error`.
    pub status: String,
    /// What it is about.
    pub subject: String,
    /// What found it or did it.
    pub job: String,
    /// One sentence, with what to do.
    pub message: String,
    /// Named facts.
    pub details: BTreeMap<String, String>,
    /// How often the same was told again within the quiet time, and only counted.
    pub repeated: u64,
}

/// What became of a notice at one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrialView {
    /// Which target.
    pub target: String,
    /// Whether it has the notice.
    pub delivered: bool,
    /// What became of it, in a few words.
    pub outcome: String,
}
