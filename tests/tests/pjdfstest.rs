//! The POSIX test suite `pjdfstest`, on the mount, against a list of what must fail and why.
//!
//! The list is `tests/pjdfstest.expected`: one test a line, then its reason. A failure that is not
//! listed fails this test, and so does a listed one that passes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::{Appliance, Guests, LoopBtrfs, Sandbox, tool};

#[test]
fn pjdfstest_passes_but_for_the_listed_and_reasoned_failures() {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let appliance = Appliance::start(&sandbox, disk.path());
    let guests = Guests::with_demo(&sandbox, 1);
    std::fs::copy(tool("pjdfstest"), guests.shared().join("pjdfstest")).unwrap();
    std::fs::write(guests.shared().join("pjdfstest.toml"), CONFIG).unwrap();

    let job = guests.first().start(
        "chmod 755 .; mkdir /tmp/second
         $JOB/pjdfstest -c $JOB/pjdfstest.toml -p . -s /tmp/second",
    );
    let outcome = job.wait_within(Duration::from_secs(900));

    let results = results(&outcome.text);
    assert!(results.len() > 350, "{} results:\n{}", results.len(), outcome.text);
    let mut expected = expected();
    let mut wrong = Vec::new();
    for (test, verdict) in &results {
        let listed = expected.remove(test).is_some();
        match (verdict, listed) {
            (Verdict::Failed, false) => wrong.push(format!("{test} fails and is not listed")),
            (Verdict::Passed, true) => wrong.push(format!("{test} is listed but passes")),
            (Verdict::Skipped, true) => wrong.push(format!("{test} is listed but was skipped")),
            (Verdict::Failed, true) | (Verdict::Passed | Verdict::Skipped, false) => {}
        }
    }
    wrong.extend(expected.keys().map(|test| format!("{test} is listed but does not exist")));
    assert!(wrong.is_empty(), "{}\n\n{}", outcome.text, wrong.join("\n"));
    appliance.check("demo");
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// The verdict of each test: lines of a test's name, blanks and the verdict.
fn results(text: &str) -> BTreeMap<String, Verdict> {
    let verdict = |line: &str| {
        let (name, verdict) = line.split_once(char::is_whitespace)?;
        let verdict = match verdict.trim() {
            "ok" => Verdict::Passed,
            "FAILED" => Verdict::Failed,
            "skipped" => Verdict::Skipped,
            _ => return None,
        };
        name.contains("::").then(|| (name.to_owned(), verdict))
    };
    text.lines().filter_map(verdict).collect()
}

/// The tests that must fail, each with its reason.
fn expected() -> BTreeMap<String, String> {
    let path = tests::repository().join("tests/pjdfstest.expected");
    let text = std::fs::read_to_string(path).expect("the list of expected failures");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (test, reason) = line.split_once(' ').unwrap_or((line, ""));
        assert!(reason.trim().len() > 10, "{test} is listed without a reason");
        (test.to_owned(), reason.trim().to_owned())
    };
    lines.map(entry).collect()
}

/// NFS version 3 has no `posix_fallocate`; the rest of what Linux has is asked for.
const CONFIG: &str = "\
[features]
rename_ctime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.02
allow_remount = false

[dummy_auth]
entries = [[\"tests\", \"tests\"], [\"other\", \"other\"]]
";
