//! What keeps the appliance from starting.
//!
//! Invariant: what is shown to the network holds no value that an operator wrote. Absent on
//! purpose: what follows from it; whoever finds a trouble is asked again.

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For who stands at the machine.
    pub console: String,
    /// For whoever asks over the network.
    pub network: String,
}

impl Trouble {
    /// One that says nothing that only the operator may know.
    pub fn open(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { console: text.clone(), network: text }
    }

    /// One that may repeat what an operator wrote.
    pub fn guarded(text: impl Into<String>) -> Self {
        let console = text.into();
        Self { network: redacted(&console), console }
    }
}

/// `text` without what is quoted, and without the lines that show a place in a file.
fn redacted(text: &str) -> String {
    let is_excerpt = |line: &&str| {
        let after_number = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        after_number.trim_start().starts_with('|')
    };
    let mut out = String::new();
    for line in text.lines().filter(|line| !is_excerpt(line)) {
        if !out.is_empty() {
            out.push('\n');
        }
        let (mut quoted, mut escaped) = (false, false);
        for c in line.chars() {
            match c {
                '"' if !escaped => {
                    quoted = !quoted;
                    out.push_str(if quoted { "\"…" } else { "\"" });
                }
                _ if !quoted => out.push(c),
                _ => {}
            }
            escaped = quoted && c == '\\' && !escaped;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_wrote_is_not_told_to_the_network() {
        let said = "invalid type: string \"hunter\\\"2\", expected u16 in `mtu`";
        let trouble = Trouble::guarded(said);
        assert_eq!(trouble.console, said);
        assert_eq!(trouble.network, "invalid type: string \"…\", expected u16 in `mtu`");
        assert_eq!(Trouble::guarded("open \"secret").network, "open \"…");
    }

    #[test]
    fn a_place_in_a_file_is_not_shown_to_the_network() {
        let said = "appliance.toml: TOML parse error at line 3, column 1\n  |\n3 | token = 'x'\n  | ^^^^^\nunknown field `token`";
        assert_eq!(
            Trouble::guarded(said).network,
            "appliance.toml: TOML parse error at line 3, column 1\nunknown field `token`"
        );
    }
}
