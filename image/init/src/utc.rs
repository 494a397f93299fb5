//! Instants as programs write them: RFC 3339, in UTC, to the second.
//!
//! Absent on purpose: time zones, and any other direction.

use std::time::Duration;

use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Such as `2026-01-31T23:59:59Z`, of the time since 1970.
pub fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let utc = i64::try_from(seconds).ok().and_then(|s| UtcDateTime::from_unix_timestamp(s).ok());
    // What no calendar has is still told.
    let text = utc.and_then(|utc| utc.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        // `date -u -d @SECONDS` says so.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }
}
