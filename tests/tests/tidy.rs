//! The tree keeps the rules that no compiler checks.
//!
//! Who may import whom, which crates know neither disk nor clock, which one file names which
//! library, and how long things may get. Invariant: every rule is a function from a path and a text
//! to what is wrong there, and has a test of its own that shows it can find something.
//!
//! Absent on purpose: what rustfmt and clippy see already.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic")]

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use tests::{binary, repository, run};

/// What is wrong in one file, one sentence each.
type Rule = fn(&str, &str) -> Vec<String>;

#[test]
fn crates_import_only_downward() {
    let metadata = run(
        env!("CARGO"),
        &[
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--manifest-path",
            &repository().join("Cargo.toml").to_string_lossy(),
        ],
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 10, "the whole workspace");
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let local = dependency["path"].is_string();
            let tests_only = dependency["kind"] == "dev";
            let to = dependency["name"].as_str().unwrap();
            wrong.extend(if local {
                arrows::between(name, to)
            } else if tests_only {
                None
            } else {
                arrows::outward(name, to)
            });
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_crates_know_neither_disk_nor_clock_nor_chance() {
    must_hold(rules::purity);
}

#[test]
fn each_storage_library_is_named_in_one_place() {
    must_hold(rules::one_home);
}

#[test]
fn no_file_function_or_comment_is_too_long() {
    must_hold(rules::lengths);
}

#[test]
fn every_crate_and_every_test_says_at_its_top_what_it_is_for() {
    must_hold(rules::heading);
}

#[test]
fn nothing_is_left_to_be_done_and_no_test_is_skipped() {
    must_hold(rules::unfinished);
}

#[test]
fn every_shipped_configuration_is_good() {
    let mut checked = 0;
    let folders = ["configs", "configs/fleet"].map(|folder| repository().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| !path.is_dir()) {
        assert!(path.extension().is_some_and(|end| end == "toml"), "{}", path.display());
        let said = run(binary().to_str().unwrap(), &["check-config".as_ref(), path.as_os_str()]);
        assert!(said.contains("is good"), "{said}");
        checked += 1;
    }
    assert!(checked >= 5, "{checked} files");
}

/// Fails with all that `rule` finds in the sources.
#[track_caller]
fn must_hold(rule: Rule) {
    let root = repository();
    let mut files = Vec::new();
    for folder in ["gateway", "replication", "tests", "benches"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 150, "only {} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        wrong.extend(rule(&path, &fs::read_to_string(&file).unwrap()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// All Rust sources below `folder`.
fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}
