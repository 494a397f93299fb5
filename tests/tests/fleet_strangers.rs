//! Who is not invited stays outside, and is told why.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use tests::fleet::said_by;
use tests::{Fleet, Reply, Sandbox};

#[test]
fn an_appliance_joins_with_a_good_token_only_and_only_once() {
    let sandbox = Sandbox::new();
    let fleet = Fleet::strangers(&sandbox, 3, 512);
    let at = fleet.mesh_address(0).to_string();
    is_refused(&fleet.first().cli(&["fleet", "invite"]), "fleet init");
    fleet.first().cli_ok(&["fleet", "init"]);
    let token = fleet.invite();

    is_refused(&fleet.nth(1).cli(&["join", "no-token", &at]), "token");
    is_refused(&fleet.nth(1).cli(&["join", &token, "nowhere"]), "address and port");
    is_refused(&fleet.nth(1).cli(&["join", &forged(&token), &at]), "");
    is_refused(&fleet.nth(1).cli(&["join", &token, "10.98.0.77:2050"]), "10.98.0.77");

    fleet.nth(1).cli_ok(&["join", &token, &at]);
    fleet.await_standing(2);
    is_refused(&fleet.nth(2).cli(&["join", &token, &at]), "");
    is_refused(&fleet.nth(1).cli(&["join", &fleet.invite(), &at]), "of a fleet already");
    assert_eq!(members(&fleet, 0), 2, "nobody else came in");
    fleet.nth(2).cli_ok(&["join", &fleet.invite(), &at]);
    fleet.await_standing(3);
}

#[test]
fn an_appliance_with_volumes_or_with_another_fleet_is_refused() {
    let sandbox = Sandbox::new();
    let fleet = Fleet::strangers(&sandbox, 4, 512);
    let at = fleet.mesh_address(0).to_string();
    fleet.first().cli_ok(&["fleet", "init"]);
    fleet.nth(1).cli_ok(&["volume", "create", "own"]);
    is_refused(&fleet.nth(1).cli(&["join", &fleet.invite(), &at]), "has volume \"own\"");
    assert!(fleet.nth(1).cli_ok(&["volume", "list"]).contains("own"), "it is as it was");

    // Two other appliances are a fleet of their own.
    fleet.nth(2).cli_ok(&["fleet", "init"]);
    let made = fleet.nth(2).cli_json(&["fleet", "invite"]);
    let other = fleet.mesh_address(2).to_string();
    fleet.nth(3).cli_ok(&["join", made["token"].as_str().unwrap(), &other]);
    // It starts anew, and does not answer for a moment.
    tests::eventually("the other fleet to be two", || {
        let status = said_by(fleet.nth(3), &["fleet", "status"])?;
        (status["members"].as_array()?.len() == 2).then_some(())
    });
    for number in [2, 3] {
        let reply = fleet.nth(number).cli(&["join", &fleet.invite(), &at]);
        is_refused(&reply, "of a fleet already");
    }
    // A token is for the fleet that made it.
    let reply = fleet.nth(1).cli(&["join", &fleet.invite(), &other]);
    is_refused(&reply, "");
    assert_eq!(members(&fleet, 0), 1, "nobody came in");
}

#[test]
fn appliances_with_one_token_find_together_and_one_on_an_empty_disk_comes_back() {
    let sandbox = Sandbox::new();
    let mut fleet = Fleet::unattended(&sandbox, 3, 512);
    fleet.await_standing(3);
    fleet.make_volume("media", &["bob", "cyd"]);

    // A disk is lost with all that is on it: the appliance that founded the fleet founds no second
    // one, but is taken in as what it is, a new one, as soon as its name is free.
    fleet.nth_mut(0).kill9();
    for entry in std::fs::read_dir(fleet.disk(0).path()).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    tests::eventually("the others to miss it", || {
        let removed = fleet.nth(1).cli(&["fleet", "remove", "ada", "--dead", "--yes"]);
        (removed.code == 0).then_some(())
    });
    fleet.nth_mut(0).restart();
    fleet.await_standing(3);
    assert!(fleet.first().cli_ok(&["volume", "list"]).contains("media"), "it is the same fleet");
}

/// The token of another invitation, which was never made.
fn forged(token: &str) -> String {
    let (kept, last) = token.split_at(token.len() - 4);
    let other: String = last.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect();
    format!("{kept}{other}")
}

/// One sentence on standard error, in which `said` is found, and exit code 1 or 2.
fn is_refused(reply: &Reply, said: &str) {
    println!("{}", reply.stderr.trim_end());
    assert!(reply.code == 1 || reply.code == 2, "{reply:?}");
    assert!(reply.stderr.contains(said) && reply.stderr.len() > 20, "{reply:?}");
    assert!(!reply.stderr.contains("panicked"), "{reply:?}");
}

fn members(fleet: &Fleet, asked: usize) -> usize {
    let status = fleet.nth(asked).cli_json(&["fleet", "status"]);
    status["members"].as_array().unwrap().len()
}
