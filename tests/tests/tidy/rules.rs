//! The rules over one file each: from its path and its text to what is wrong there.

use crate::arrows::PURE;
use crate::source::{code, functions};

/// A pure crate takes time, chance, disk and network as arguments.
pub fn purity(path: &str, text: &str) -> Vec<String> {
    let in_pure_crate = PURE.iter().any(|name| path.contains(&format!("/{name}/src/")));
    let in_pure_part = MOSTLY_PURE
        .iter()
        .any(|(name, but)| path.contains(&format!("/{name}/src/")) && !path.contains(but));
    if !(in_pure_crate || in_pure_part) || is_test(path) {
        return Vec::new();
    }
    let words = IMPURE_WORDS.iter().filter(|word| code(text).contains(**word));
    words.map(|word| format!("{path} is pure and names {word}")).collect()
}

/// What stores or sends bytes is named by one file (or the files of one module), behind a seam.
pub fn one_home(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut wrong = Vec::new();
    for (library, home) in HOMES {
        let names = |what: &str| has_word(&code, what);
        let named = names(&format!("{library}::")) || names(&format!("use {library}"));
        // `self::fjall` and `crate::fjall` are modules of ours.
        let ours = code.matches(&format!("::{library}::")).count();
        let all = code.matches(&format!("{library}::")).count();
        let only_ours = all == ours && !names(&format!("use {library}"));
        // A home without `.rs` is a module: its file, and its folder.
        let at_home = path.ends_with(home)
            || path.ends_with(&format!("{home}.rs"))
            || path.contains(&format!("{home}/"));
        // The benches hold what is behind a seam against what it is made of.
        let measured = path.starts_with("benches/");
        if named && !only_ours && !at_home && !measured {
            wrong.push(format!("{path} names {library}, which is for {home} alone"));
        }
    }
    wrong
}

/// Files, functions and comments have a length at which they are still read.
pub fn lengths(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        wrong.push(format!("{path} has {lines} lines, more than {FILE_LINES_MAX}"));
    }
    for (name, line, lines) in functions(&code(text)) {
        if lines > FUNCTION_LINES_MAX {
            wrong.push(format!("{path}:{line}: {name} has {lines} lines"));
        }
    }
    // The formatter sees to code, and a literal may have to be long.
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && line.trim_start().starts_with("//") {
            wrong.push(format!("{path}:{}: {columns} columns", number + 1));
        }
    }
    wrong
}

/// The root of a crate, a program or a test opens with what it is for.
pub fn heading(path: &str, text: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let root = file == "lib.rs"
        || file == "main.rs"
        || folder.ends_with("/bin")
        || folder.ends_with("/tests") && folder != "tests" && !folder.contains("/src");
    let said = text.starts_with("//! ") && text.len() > "//! ".len() + 20;
    if root && !said { vec![format!("{path} does not say what it is for")] } else { Vec::new() }
}

/// Nothing is promised for later, and every test runs.
pub fn unfinished(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let words = UNFINISHED.iter().filter(|word| code.contains(**word));
    words.map(|word| format!("{path} has {word}")).collect()
}

/// Whether `word` is in `code` and not the end of a longer one.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether a file is compiled for tests alone.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/testing") || path.contains("/tests/")
}

/// Crates that are pure but for one part: the adapter behind their seam, or the driver.
const MOSTLY_PURE: &[(&str, &str)] = &[
    ("catalog", "catalog/src/fjall.rs"),
    ("consensus", "consensus/src/engine.rs"),
    ("notices", "notices/src/driver"),
    ("replicator", "replicator/src/driver"),
];

const IMPURE_WORDS: &[&str] = &[
    "std::fs",
    "fs::File",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "thread::sleep",
    "thread_rng",
    "rand::",
    "getrandom",
    "tokio::",
    "rustix::",
    "libc::",
];

const HOMES: &[(&str, &str)] = &[
    ("fjall", "replication/catalog/src/fjall.rs"),
    ("raft_engine", "replication/consensus/src/engine.rs"),
    ("btrfsutil", "replication/extents/src/btrfs.rs"),
    ("quinn", "replication/mesh/src/quic"),
];

const UNFINISHED: &[&str] =
    &["todo!", "unimplemented!", "dbg!", "#[ignore", "#![ignore", ", ignore)]"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;
const COLUMNS_MAX: usize = 100;

#[test]
fn a_clock_in_a_pure_crate_is_found_and_one_in_a_comment_or_an_adapter_is_not() {
    let clock = "fn f() { let now = std::time::Instant::now(); }";
    assert_eq!(purity("gateway/volume/src/service.rs", clock).len(), 1);
    assert_eq!(purity("replication/catalog/src/plan.rs", "use std::fs;").len(), 1);
    assert_eq!(purity("replication/consensus/src/driver.rs", "use tokio::sync;").len(), 1);
    assert!(purity("gateway/volume/src/service.rs", "// not Instant::now()").is_empty());
    assert!(purity("gateway/volume/src/service/tests.rs", clock).is_empty());
    assert!(purity("replication/catalog/src/fjall.rs", "use std::fs;").is_empty());
    assert!(purity("gateway/router/src/names.rs", clock).is_empty());
}

#[test]
fn a_library_named_outside_its_home_is_found() {
    for text in ["use fjall::Db;", "use fjall;", "fn f() { fjall::open(); }"] {
        assert_eq!(one_home("gateway/router/src/names.rs", text).len(), 1, "{text}");
        assert!(one_home("replication/catalog/src/fjall.rs", text).is_empty(), "{text}");
    }
    assert_eq!(
        one_home("replication/consensus/src/groups.rs", "use raft_engine::Engine;").len(),
        1
    );
    assert_eq!(one_home("replication/extents/src/linux.rs", "use btrfsutil::x;").len(), 1);
    assert!(
        one_home("replication/catalog/src/lib.rs", "pub use self::fjall::FjallStore;").is_empty()
    );
    assert!(one_home("gateway/router/src/names.rs", "// fjall::Db").is_empty());
    for at in ["quic.rs", "quic/link.rs", "quic/tests/strangers.rs"] {
        assert!(one_home(&format!("replication/mesh/src/{at}"), "use quinn::VarInt;").is_empty());
    }
    for at in ["memory.rs", "quick.rs", "quic_too/link.rs"] {
        assert_eq!(one_home(&format!("replication/mesh/src/{at}"), "use quinn::V;").len(), 1);
    }
}

#[test]
fn a_long_file_function_or_comment_is_found() {
    let line = "let x = 1;\n";
    assert!(lengths("a.rs", &line.repeat(FILE_LINES_MAX)).is_empty());
    assert_eq!(lengths("a.rs", &line.repeat(FILE_LINES_MAX + 1)).len(), 1);
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", line.repeat(lines - 2));
    assert!(lengths("a.rs", &function(FUNCTION_LINES_MAX)).is_empty());
    assert_eq!(lengths("a.rs", &function(FUNCTION_LINES_MAX + 1)).len(), 1);
    let comment = |columns: usize| format!("    // {}\n", "x".repeat(columns - 7));
    assert!(lengths("a.rs", &comment(COLUMNS_MAX)).is_empty());
    assert_eq!(lengths("a.rs", &comment(COLUMNS_MAX + 1)).len(), 1);
}

#[test]
fn a_root_without_a_heading_is_found() {
    let silent = "use std::fmt;\n";
    for path in [
        "gateway/volume/src/lib.rs",
        "gateway/holdfast/src/main.rs",
        "benches/src/bin/peers.rs",
        "tests/tests/crash.rs",
    ] {
        assert_eq!(heading(path, silent).len(), 1, "{path}");
        assert_eq!(heading(path, "//!\n").len(), 1, "{path}");
        assert!(heading(path, "//! Everything that a file system means.\n").is_empty(), "{path}");
    }
    assert!(heading("gateway/volume/src/service/tests.rs", silent).is_empty());
}

#[test]
fn what_is_unfinished_is_found() {
    for text in ["fn f() { todo!() }", "#[test]\n#[ignore]\nfn f() {}", "unimplemented!()"] {
        assert_eq!(unfinished("a.rs", text).len(), 1, "{text}");
    }
    assert!(unfinished("a.rs", "// todo!() is not used").is_empty());
}
