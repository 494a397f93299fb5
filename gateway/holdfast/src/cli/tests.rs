use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, String> {
    let words = std::iter::once("holdfast").chain(line.split_whitespace());
    Cli::try_parse_from(words).map_err(|refused| refused.to_string())
}

#[test]
fn the_commands_do_not_contradict_one_another() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_can_be_written() {
    for line in [
        "status --json",
        "--socket /tmp/s status",
        "fleet init",
        "fleet invite --witness",
        "fleet invitations",
        "fleet revoke 0123456789abcdef",
        "fleet status",
        "fleet drain bob --wait",
        "fleet drain bob --stop",
        "fleet drain bob --cancel",
        "fleet drain bob --plan",
        "fleet rebalance",
        "fleet rebalance --plan",
        "fleet rebalance --wait",
        "fleet rebalance --cancel",
        "fleet remove bob",
        "fleet remove bob --dead --yes",
        "fleet labels bob site=attic rack=1",
        "fleet labels bob",
        "join TOKEN 10.0.0.5:2050 --witness",
        "volume create media --on ada,bob",
        "volume list --deleted",
        "volume members media --on ada,bob,cyd",
        "volume delete media --yes",
        "volume undelete media --as films",
        "volume purge 3 --yes",
        "object transfer media/film bob --wait",
        "object explain media/film",
        "object history media/film",
        "ledger",
        "job wait 1-1",
        "admin token",
        "status --url https://a:1 --token-file t --fingerprint 00",
    ] {
        assert_eq!(parse(line).err(), None, "{line}");
    }
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for line in [
        "status --socket /tmp/s --url https://a:1",
        "status --token-file t",
        "status --fingerprint 00",
        "fleet drain bob --stop --wait",
        "fleet drain bob --plan --wait",
        "fleet rebalance --plan --wait",
        "fleet rebalance --wait --cancel",
        "fleet remove bob --yes",
        "fleet labels bob attic",
        "volume members media",
        "volume create media --root-mode 999",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn an_appliance_elsewhere_is_believed_only_with_its_token_and_fingerprint() {
    let url = || Some("https://a:1".to_owned());
    let wanted = |token: Option<&str>, fingerprint: Option<&str>| {
        let token = token.map(PathBuf::from);
        way(&None, url(), token, fingerprint.map(str::to_owned)).err().unwrap()
    };
    assert!(wanted(None, Some("00")).contains("--token-file"));
    assert!(wanted(Some("t"), None).contains("--fingerprint"));
}
