use std::net::SocketAddr;
use std::sync::Arc;

use admin::testing::{Counting, FakeOperator};
use admin::{Identity, StatusView};

use super::*;

/// An appliance's door over TLS, and the runtime that it lives in.
struct Door {
    _runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    url: String,
    fingerprint: String,
}

fn door() -> Door {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), &["127.0.0.1".to_owned()]).unwrap();
    let token = Token::open(dir.path(), &Counting::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let operator = Arc::new(FakeOperator::default());
    let serving = admin::serve_tls(anywhere, &identity, token, operator);
    let (at, _) = runtime.block_on(serving).unwrap();
    let fingerprint = identity.fingerprint().to_string();
    Door { _runtime: runtime, dir, url: format!("https://{at}"), fingerprint }
}

fn status(remote: Remote) -> Result<StatusView, String> {
    Client::remote(remote).ask(Method::Get, "/v1/status")
}

#[test]
fn an_appliance_on_another_machine_is_asked_with_its_token_and_fingerprint() {
    let door = door();
    let remote = Remote::new(&door.url, &door.dir.path().join("token"), &door.fingerprint);
    assert_eq!(status(remote.unwrap()).unwrap().name, "ada");
}

#[test]
fn one_that_answers_with_a_refusal_is_there() {
    let door = door();
    let token = door.dir.path().join("token");
    let client = |url: &str| Client::remote(Remote::new(url, &token, &door.fingerprint).unwrap());
    let there = client(&door.url);
    assert_eq!(there.ask_if_there::<StatusView>("/v1/status").unwrap().unwrap().name, "ada");
    assert!(there.ask_if_there::<StatusView>("/v1/nothing").is_err());
    let gone = client("https://127.0.0.1:1");
    assert!(gone.ask_if_there::<StatusView>("/v1/status").unwrap().is_none());
}

#[test]
fn a_wrong_token_or_fingerprint_is_refused_with_a_sentence() {
    let door = door();
    let wrong = door.dir.path().join("wrong");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let remote = Remote::new(&door.url, &wrong, &door.fingerprint).unwrap();
    let refused = status(remote).unwrap_err();
    assert!(refused.contains("holdfast admin token"), "{refused}");
    let token = door.dir.path().join("token");
    let refused = status(Remote::new(&door.url, &token, &"0".repeat(64)).unwrap()).unwrap_err();
    assert!(refused.contains("fingerprint"), "{refused}");
}

#[test]
fn what_names_no_appliance_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    std::fs::write(&good, "ab".repeat(32) + "\n").unwrap();
    std::fs::write(&bad, "no token").unwrap();
    let print = "0".repeat(64);
    assert!(Remote::new("https://a:1/", &good, &print).is_ok());
    for url in ["http://a:1", "a:1", "https://a", "https://a:1/path"] {
        assert!(Remote::new(url, &good, &print).is_err(), "{url}");
    }
    assert!(Remote::new("https://a:1", &bad, &print).is_err());
    assert!(Remote::new("https://a:1", &dir.path().join("none"), &print).is_err());
    assert!(Remote::new("https://a:1", &good, "12").is_err());
}

#[tokio::test(start_paused = true)]
async fn one_that_accepts_and_says_nothing_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "ab".repeat(32)).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let client = Client::remote(Remote::new(&url, &token, &"0".repeat(64)).unwrap());
    let fault = client.send(Method::Post, "/v1/image", Sent::default()).await.unwrap_err();
    let said = client.unreachable(fault.as_ref());
    assert!(said.ends_with(": no answer within 20 s"), "{said}");
}
