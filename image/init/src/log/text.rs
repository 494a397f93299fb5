//! Lines of programs, as they may be shown and sent.
//!
//! Invariant: what [`clean`] gives has no control characters and at most [`LINE_BYTES_MAX`] bytes,
//! so it can neither steer a terminal nor break a frame. Absent on purpose: who hears it.

use super::Severity;

/// `text` without what a terminal would obey, cut where it is too long.
pub fn clean(text: &str) -> String {
    let end = text.floor_char_boundary(LINE_BYTES_MAX);
    let shown = text.get(..end).unwrap_or_default().trim_end();
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How bad a program says that its line is: it writes `ERROR` near the beginning, say.
pub fn severity_of(text: &str) -> Severity {
    let mut words = text.split_whitespace().take(WORDS_LOOKED_AT);
    words
        .find_map(|word| match word.trim_matches(|c: char| !c.is_ascii_alphanumeric()) {
            "ERROR" | "FATAL" => Some(Severity::Error),
            "WARN" | "WARNING" => Some(Severity::Warning),
            _ => None,
        })
        .unwrap_or(Severity::Info)
}

/// What receivers of syslog should take at least (RFC 5426 section 3.2), with room for the header.
pub const LINE_BYTES_MAX: usize = 1800;
/// A time and a level stand in front.
const WORDS_LOOKED_AT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_not_steer_a_terminal_and_has_a_limit() {
        assert_eq!(clean("a\x1b[2Jb\tc\u{9b}d\r"), "a [2Jb c d");
        let long = "é".repeat(LINE_BYTES_MAX);
        assert!(clean(&long).len() <= LINE_BYTES_MAX);
        assert!(clean(&long).chars().all(|c| c == 'é'), "no character is cut in two");
    }

    #[test]
    fn a_program_says_itself_how_bad_it_is() {
        let line = "2026-01-01T00:00:00.1Z ERROR holdfast: the disk is full";
        assert_eq!(severity_of(line), Severity::Error);
        assert_eq!(severity_of("2026-01-01T00:00:00Z  WARN mesh: slow"), Severity::Warning);
        assert_eq!(severity_of("[WARNING] slow"), Severity::Warning);
        assert_eq!(severity_of("2026-01-01T00:00:00Z INFO a: no ERROR at all"), Severity::Info);
        assert_eq!(severity_of(""), Severity::Info);
    }
}
