//! A notice, and what is known of one that was told.
//!
//! Invariant: what [`Notice::bounded`] gives has no control characters and keeps every limit.
//! Absent on purpose: which notices there are.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::when::WallTime;

/// What a person is to know, from whoever found it or did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// What it is about: "volume media", "appliance bob". At most [`SUBJECT_BYTES_MAX`].
    pub subject: String,
    /// What found it or did it: "scrub", "repair", "fleet". At most [`JOB_BYTES_MAX`].
    pub job: String,
    /// How bad it is.
    pub status: Status,
    /// One sentence for a person, with what to do. At most [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Named facts, at most [`DETAILS_MAX`]. [`SUPPRESSED`] and [`UNDELIVERED`] are added here.
    pub details: BTreeMap<String, String>,
}

/// How bad it is; a worse one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Something is well again, or ended well.
    Good,
    /// Something happened that is not bad.
    Info,
    /// Somebody should look, in their own time.
    Warning,
    /// Somebody must look.
    Error,
}

/// Names a notice within its appliance. Numbers grow by one, and over restarts: the first is the
/// milliseconds from 1970 to the start, so that only a clock that was set back gives one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(u64);

/// A notice with what it got when it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its name.
    pub number: Number,
    /// When it was told.
    pub time: WallTime,
    /// Itself, within its limits.
    pub notice: Notice,
}

/// A notice of the list, as operators get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Its name; ask for what came after it.
    pub number: Number,
    /// When it was told (RFC 3339, UTC).
    pub time: WallTime,
    /// How often the same was told again within the quiet time, and only counted.
    pub repeated: u64,
    /// Itself.
    #[serde(flatten)]
    pub notice: Notice,
}

impl Notice {
    /// This notice within its limits: control characters become spaces, text that is too long is
    /// cut at a character and ends in "…", and details beyond their number are only counted.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            subject: tidy(self.subject, SUBJECT_BYTES_MAX),
            job: tidy(self.job, JOB_BYTES_MAX),
            status: self.status,
            message: tidy(self.message, MESSAGE_BYTES_MAX),
            details: bounded_details(self.details),
        }
    }
}

fn bounded_details(details: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let count = details.len();
    let kept = if count > DETAILS_MAX { DETAILS_MAX - 1 } else { count };
    let mut bounded: BTreeMap<String, String> = details
        .into_iter()
        .take(kept)
        .map(|(name, value)| (tidy(name, DETAIL_NAME_BYTES_MAX), tidy(value, DETAIL_BYTES_MAX)))
        .collect();
    if kept < count {
        bounded.insert(CUT.to_owned(), format!("{} more", count - kept));
    }
    bounded
}

impl Status {
    /// All, from good to bad.
    pub const ALL: [Self; 4] = [Self::Good, Self::Info, Self::Warning, Self::Error];

    /// The word in JSON and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Number {
    /// The number with this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after it.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// `text` in one line and at most `max` bytes. Line ends and their like would end a mail's header.
pub(crate) fn tidy(text: String, max: usize) -> String {
    let line = match text.contains(is_line_breaking) {
        true => text.replace(is_line_breaking, " "),
        false => text,
    };
    cut(line, max)
}

/// `text` in at most `max` bytes, with a mark where something was cut away.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

fn is_line_breaking(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The detail that says how often the same was told, and only counted, since it was last sent.
pub const SUPPRESSED: &str = "suppressed";
/// The detail that says how many notices its target did not get since the last that it got.
pub const UNDELIVERED: &str = "undelivered";

/// A volume or an appliance and a path, cut short.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// A word or two.
pub const JOB_BYTES_MAX: usize = 64;
/// A sentence; the long ones say what to do.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Facts of one notice, without those that are added here.
pub const DETAILS_MAX: usize = 32;
/// A word or two.
pub const DETAIL_NAME_BYTES_MAX: usize = 64;
/// A path of a file, cut short.
pub const DETAIL_BYTES_MAX: usize = 512;

/// Where something was cut away.
const CUT: &str = "…";

#[cfg(test)]
mod tests;
