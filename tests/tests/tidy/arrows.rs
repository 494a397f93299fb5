//! Which crate may import which.
//!
//! Invariant: an arrow that is not listed is forbidden, so a new crate or a new arrow is a decision
//! that shows in this file.

/// What is wrong with `from` importing `to`, both crates of this workspace.
pub fn between(from: &str, to: &str) -> Option<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else {
        return Some(format!("{from} is new: list what it may import"));
    };
    if allowed.contains(&to) {
        return None;
    }
    Some(format!("{from} may not import {to}"))
}

/// What is wrong with `from`, a crate of this workspace, importing `to`, one from elsewhere.
pub fn outward(from: &str, to: &str) -> Option<String> {
    if PURE.contains(&from) && IMPURE.contains(&to) {
        return Some(format!("{from} is pure and may not import {to}"));
    }
    let home = HOMES.iter().find(|(library, _)| *library == to);
    match home {
        Some((_, owners)) if !owners.contains(&from) => {
            Some(format!("{from} may not import {to}: it is for {owners:?}"))
        }
        _ => None,
    }
}

/// Crates without IO, clock and chance.
pub const PURE: &[&str] = &["model", "ownership", "scrub", "nfs-wire", "volume"];

const ALLOWED: &[(&str, &[&str])] = &[
    // What keeps objects knows nothing of the doors.
    ("model", &[]),
    ("ownership", &["model"]),
    ("consensus", &["model"]),
    ("catalog", &["model", "ownership"]),
    ("extents", &["model"]),
    ("replicator", &["model", "extents"]),
    ("mesh", &["model"]),
    ("scrub", &["model"]),
    // The doors know what a file system means, and not who does it.
    ("nfs-wire", &[]),
    ("volume", &["model"]),
    ("nfs-server", &["model", "nfs-wire", "volume"]),
    ("admin", &["model", "volume"]),
    ("notices", &[]),
    ("addresses", &[]),
    // The first process of the image; the daemon shares what boot files are called with it.
    ("init", &[]),
    (
        "router",
        &[
            "catalog",
            "consensus",
            "extents",
            "mesh",
            "model",
            "ownership",
            "replicator",
            "scrub",
            "volume",
        ],
    ),
    (
        "holdfast",
        &[
            "addresses",
            "admin",
            "catalog",
            "consensus",
            "extents",
            "init",
            "mesh",
            "model",
            "nfs-server",
            "notices",
            "ownership",
            "replicator",
            "router",
            "scrub",
            "volume",
        ],
    ),
    // The harness meets an appliance from outside alone. The simulation of a fleet drives the cores
    // of what keeps objects, and no part of the gateway.
    ("tests", &["model", "ownership", "consensus", "catalog", "extents", "replicator"]),
    (
        "benches",
        &[
            "catalog",
            "consensus",
            "extents",
            "mesh",
            "model",
            "nfs-wire",
            "replicator",
            "router",
            "tests",
            "volume",
        ],
    ),
];

const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "fjall",
    "raft-engine",
    "rand",
    "getrandom",
    "rustix",
    "libc",
    "btrfsutil",
    "socket2",
    "uzers",
];

const HOMES: &[(&str, &[&str])] = &[
    ("fjall", &["catalog"]),
    ("raft", &["consensus"]),
    ("raft-engine", &["consensus"]),
    ("btrfsutil", &["extents"]),
    // The benches hold the mesh against a bare stream, which needs a certificate.
    ("quinn", &["mesh", "benches"]),
    // The admin API has a certificate of its own: operators come from outside the fleet.
    ("rcgen", &["mesh", "benches", "admin"]),
    ("netlink-packet-core", &["addresses"]),
    ("netlink-packet-route", &["addresses"]),
    ("netlink-packet-sock-diag", &["addresses"]),
    ("axum", &["admin"]),
    ("lettre", &["notices"]),
    ("clap", &["holdfast", "benches"]),
];

#[test]
fn an_arrow_upward_sideways_or_to_a_stranger_is_found() {
    assert!(between("stranger", "model").is_some(), "a crate that is not listed");
    assert!(between("catalog", "volume").is_some(), "replication knows no gateway");
    assert!(between("nfs-server", "admin").is_some(), "a door knows no other door");
    for inner in ["extents", "catalog", "router"] {
        assert!(between("nfs-server", inner).is_some(), "a door goes through its ports");
        assert!(between("admin", inner).is_some(), "a door goes through its ports");
    }
    assert!(between("tests", "volume").is_some(), "the harness is outside");
    assert_eq!(between("router", "catalog"), None);
    assert!(outward("volume", "tokio").is_some(), "a pure crate runs nothing");
    assert!(outward("router", "fjall").is_some(), "fjall has one home");
    assert_eq!(outward("catalog", "fjall"), None);
    assert!(outward("router", "quinn").is_some(), "connections are the mesh's");
    assert_eq!(outward("router", "tokio"), None);
}
