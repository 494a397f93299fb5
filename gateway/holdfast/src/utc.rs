//! Instants as people and programs write them: RFC 3339, in UTC, to the second.

use model::Timestamp;

/// Such as `2026-01-31T23:59:59Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let seconds = at.as_nanos() / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Whole seconds from `now` until `then`; 0 if that is over.
pub fn seconds_until(then: Timestamp, now: Timestamp) -> u64 {
    then.as_nanos().saturating_sub(now.as_nanos()) / 1_000_000_000
}

/// Year, month and day of a day counted from 1970-01-01. Years are counted from March, so that the
/// leap day is the last of its year, in eras of 400 years, which are all equally long.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// 400 years.
const ERA_DAYS: u64 = 146_097;
/// From 0000-03-01.
const DAYS_TO_1970: u64 = 719_468;

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
