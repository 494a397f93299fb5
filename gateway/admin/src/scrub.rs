//! Scrubs, as they go out of the API and come in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be scrubbed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrubWanted {
    /// One volume, by name; without it, all.
    #[serde(default)]
    pub volume: Option<String>,
}

/// How the scrubs of one appliance stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubView {
    /// The appliance, by name.
    pub appliance: String,
    /// `running`, `paused`, `idle`, or `unreachable`: it did not answer.
    pub state: String,
    /// The volume that is scrubbed, or was last; none is all.
    pub volume: Option<String>,
    /// When that began, in UTC (RFC 3339); none if there never was a scrub.
    pub began: Option<String>,
    /// What it has seen and done, or the last one has.
    pub found: ScrubFound,
    /// Files to look at, as they were counted when it began.
    pub files_total: u64,
    /// The file that is being looked at.
    pub file: Option<ScrubFile>,
    /// Bad copies that are being made anew.
    pub mending: u64,
    /// The last scrub that came to its end.
    pub last: Option<ScrubEnd>,
    /// When the next one begins by itself, in UTC (RFC 3339); none while one runs, or is never
    /// planned.
    pub next: Option<String>,
    /// Bytes a second that scrubs may read from its disk.
    pub rate_bytes_per_second: u64,
    /// Files of which no copy is whole, as far as it has found any.
    pub damaged_files: u64,
    /// Some of them.
    pub damaged: Vec<DamageView>,
}

/// What a scrub has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubFound {
    /// Files that were looked at to their end.
    pub files: u64,
    /// Bytes that were read of the appliance's own copies of them.
    pub bytes: u64,
    /// Bad copies: those that can't be read and those that differ.
    pub errors: u64,
    /// Copies that can't be read somewhere.
    pub unreadable: u64,
    /// Copies that can be read, and differ from their owner's.
    pub differing: u64,
    /// Bad copies that were made anew.
    pub mended: u64,
    /// Bad copies about which nothing could be done yet.
    pub put_off: u64,
    /// Files of which no copy is whole.
    pub damaged: u64,
    /// Files of which something was not compared: it changed all the time, or a copy did not
    /// answer.
    pub skipped: u64,
}

/// How far a file was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubFile {
    /// Its number.
    pub object: u64,
    /// Up to which byte.
    pub done: u64,
    /// Its size.
    pub size: u64,
}

/// A scrub that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubEnd {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// The volume that was scrubbed; none is all.
    pub volume: Option<String>,
    /// `clean`, `mended`: all that was bad is good again, or `damaged`: not all.
    pub outcome: String,
    /// What it has seen and done.
    pub found: ScrubFound,
}

/// A file of which no copy is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamageView {
    /// In which volume.
    pub volume: String,
    /// Its number.
    pub object: u64,
    /// Where it was when that was found: VOLUME/PATH.
    pub path: String,
    /// The first byte of the first extent that can't be read.
    pub offset: u64,
}
