//! Rust sources, read just well enough to count.
//!
//! Invariant: [`code`] has the lines of its argument, with every comment and every literal blanked,
//! so that words and braces in them count for nothing.

/// The text without what is inside comments, strings and characters.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let literal = match first {
            '/' => comment(rest),
            '"' => Some(string(rest)),
            'r' if !after_word => raw_string(rest),
            '\'' => character(rest),
            _ => None,
        };
        let len = literal.unwrap_or(first.len_utf8());
        let (part, after) = rest.split_at(len);
        if literal.is_some() {
            out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            out.push_str(part);
        }
        rest = after;
    }
    out
}

/// The functions of a text that [`code`] gave: the name, the first line counted from 1, and how
/// many lines it has.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let begins_word = code[..at].ends_with(|c: char| c.is_whitespace() || c == '(');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if at > 0 && !begins_word || name.is_empty() {
            continue;
        }
        let Some(body) = block(&code[at..]) else { continue };
        let line = 1 + code[..at].matches('\n').count();
        found.push((name, line, 1 + body.matches('\n').count()));
    }
    found
}

/// From the start of `code` to the end of its first block; None if a `;` comes before it.
fn block(code: &str) -> Option<&str> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            // Not the `;` of an array's type among the arguments.
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(&code[..=at]),
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    Some(rest.find("*/").map_or(rest.len(), |end| end + 2))
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
    let body = 1 + hashes;
    if !rest[body..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let found = rest[body + 1..].find(&end);
    Some(found.map_or(rest.len(), |at| body + 1 + at + end.len()))
}

/// A character, and not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

#[test]
fn words_and_braces_in_comments_and_literals_count_for_nothing() {
    for literal in [
        "// todo!()",
        "/* } */",
        r#""a \" } string""#,
        "r\"\\\"",
        "r#\"raw \" } one\"#",
        "b'}'",
        r"'\''",
        r"'\u{7d}'",
    ] {
        let left = code(&format!("before {literal}\nafter<'a>"));
        let words: Vec<&str> = left.split_whitespace().collect();
        let wanted: &[&str] = if literal.starts_with('b') {
            &["before", "b", "after<'a>"]
        } else {
            &["before", "after<'a>"]
        };
        assert_eq!(words, wanted, "{literal}");
    }
}

#[test]
fn functions_are_found_with_their_lengths() {
    let text = "trait T {\n    fn declared(&self, of: [u8; 4]) -> u8;\n}\n\
                pub(crate) fn outer(\n    a: [u8; 4],\n) {\n    match a { _ => {} }\n}\n\
                fn short() { if x { y } }\n";
    let found = functions(&code(text));
    assert_eq!(found, [("outer".to_owned(), 4, 5), ("short".to_owned(), 9, 1)]);
}
