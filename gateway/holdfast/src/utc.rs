//! Instants as people and programs write them: RFC 3339, in UTC, to the second.

use model::Timestamp;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Such as `2026-01-31T23:59:59Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let seconds = at.as_nanos() / 1_000_000_000;
    let utc = i64::try_from(seconds).ok().and_then(|s| UtcDateTime::from_unix_timestamp(s).ok());
    // What no calendar has is still told.
    let text = utc.and_then(|utc| utc.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// Whole seconds from `now` until `then`; 0 if that is over.
pub fn seconds_until(then: Timestamp, now: Timestamp) -> u64 {
    then.as_nanos().saturating_sub(now.as_nanos()) / 1_000_000_000
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
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let at = Timestamp::from_nanos(seconds * 1_000_000_000 + 999);
            assert_eq!(rfc3339(at), text);
        }
    }

    #[test]
    fn what_is_over_is_in_no_seconds() {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(seconds_until(at(5), at(3)), 2);
        assert_eq!(seconds_until(at(3), at(5)), 0);
    }
}
