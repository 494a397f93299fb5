use std::time::{Duration, Instant};

use notices::UNDELIVERED;
use ring::hmac;

use crate::http::{Receiver, Reply};
use crate::*;

#[tokio::test]
async fn a_notice_is_posted_as_json() {
    let mut receiver = Receiver::plain(vec![Reply::Status(200)]).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(notice("volume media"));
    let request = receiver.request().await;
    assert!(request.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", request.head);
    let told = notifier.recent(None, 1).remove(0);
    let expected = serde_json::json!({
        "subject": "volume media",
        "job": "fsync",
        "status": "error",
        "message": "An fsync failed: look at the disk.",
        "details": { "disk": "sdb" },
        "number": told.number.get(),
        "time": told.time.to_string(),
        "appliance": "ada",
    });
    assert_eq!(request.json(), expected);
    let key = format!("ada-{}", told.number);
    for (name, value) in [
        ("host", Some(format!("127.0.0.1:{}", receiver.port).as_str())),
        ("content-type", Some("application/json")),
        ("idempotency-key", Some(key.as_str())),
        ("x-holdfast-signature", None),
        ("authorization", None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    until(&notifier, |target| target.waiting == 0 && target.undelivered == 0).await;
}

#[tokio::test]
async fn what_failed_is_posted_again_as_it_was() {
    let replies = [500, 302, 429, 408, 204].map(Reply::Status).to_vec();
    let mut receiver = Receiver::plain(replies).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(notice("volume media"));
    let first = receiver.request().await;
    for _ in 0..4 {
        assert_eq!(receiver.request().await, first);
    }
    until(&notifier, |target| target.waiting == 0 && target.failures == 0).await;
    assert!(receiver.is_done());
}

#[tokio::test]
async fn a_receiver_can_tell_by_the_signature_who_sent_it() {
    let files = Files::new();
    let more = path_line("secret_file", &files.secret("secret", "s3cret\n"));
    let mut receiver = Receiver::plain(vec![Reply::Status(200)]).await;
    let (notifier, _running) = start(&receiver.toml("http", &more), hurried());
    notifier.tell(notice("volume media"));
    let request = receiver.request().await;
    let shown = request.header("x-holdfast-signature").unwrap();
    let hex = shown.strip_prefix("sha256=").unwrap();
    let tag: Vec<u8> = (0..hex.len() / 2)
        .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let verifies = |secret: &str, body: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, body, &tag).is_ok()
    };
    assert!(verifies("s3cret", &request.body));
    assert!(!verifies("another", &request.body));
    assert!(!verifies("s3cret", &[&request.body[..], b" "].concat()));
}

#[tokio::test]
async fn over_tls_a_receiver_with_the_named_certificate_gets_the_token() {
    let files = Files::new();
    let (acceptor, ca_file) = files.tls("ca.pem");
    let more =
        path_line("ca_file", &ca_file) + &path_line("token_file", &files.secret("token", "t0ken"));
    let mut receiver = Receiver::start(Some(acceptor), vec![Reply::Status(200)]).await;
    let (notifier, _running) = start(&receiver.toml("https", &more), hurried());
    notifier.tell(notice("volume media"));
    let request = receiver.request().await;
    assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
    until(&notifier, |target| target.waiting == 0).await;
}

#[tokio::test]
async fn a_receiver_with_another_certificate_gets_nothing() {
    let files = Files::new();
    let (acceptor, _) = files.tls("its.pem");
    let (_, ca_file) = files.tls("another.pem");
    let mut receiver = Receiver::start(Some(acceptor), vec![Reply::Status(200)]).await;
    let toml = receiver.toml("https", &path_line("ca_file", &ca_file));
    let (notifier, _running) = start(&toml, hurried());
    notifier.tell(notice("volume media"));
    until(&notifier, |target| target.failures >= 3).await;
    assert!(receiver.is_done());
}

#[tokio::test]
async fn a_refused_notice_is_not_posted_again_and_the_next_says_so() {
    let mut receiver = Receiver::plain(vec![Reply::Status(404), Reply::Status(200)]).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(notice("first"));
    assert_eq!(receiver.request().await.json()["subject"], "first");
    until(&notifier, |target| target.undelivered == 1).await;
    notifier.tell(notice("second"));
    let second = receiver.request().await.json();
    assert_eq!(
        (&second["subject"], &second["details"][UNDELIVERED]),
        (&"second".into(), &"1".into())
    );
    until(&notifier, |target| target.undelivered == 0).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut elsewhere = Receiver::plain(vec![Reply::Status(200)]).await;
    let location = format!("http://127.0.0.1:{}/", elsewhere.port);
    let redirect = format!("HTTP/1.1 307 So\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let mut receiver = Receiver::plain(vec![Reply::Bytes(redirect.into_bytes())]).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(notice("volume media"));
    receiver.request().await;
    receiver.request().await;
    assert!(elsewhere.is_done());
}

#[tokio::test]
async fn whatever_a_receiver_answers_the_next_try_is_made() {
    let endless_head = [b"HTTP/1.1 200 So\r\nx: ".to_vec(), vec![b'y'; 1 << 20]].concat();
    let replies = vec![
        Reply::Endless(503),
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"220 mail.example.org ESMTP\r\n".to_vec()),
        Reply::Bytes(vec![0xff; 1000]),
        Reply::Bytes(endless_head),
        Reply::Bytes(b"HTTP/1.1 500 \xff\xfe\r\ncontent-length: 9\r\n\r\n\xff".to_vec()),
        Reply::Endless(200),
    ];
    let count = replies.len();
    let mut receiver = Receiver::plain(replies).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(notice("volume media"));
    for _ in 0..count {
        receiver.request().await;
    }
    until(&notifier, |target| target.waiting == 0).await;
    assert!(receiver.is_done(), "the status of the last was enough");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_asked_again_when_its_time_is_over() {
    let mut receiver = Receiver::plain(vec![Reply::Hang, Reply::Status(200)]).await;
    let pace = Pace { webhook_wait: Duration::from_millis(200), ..hurried() };
    let (notifier, _running) = start(&receiver.toml("http", ""), pace);
    notifier.tell(notice("volume media"));
    assert_eq!(receiver.request().await, receiver.request().await);
    until(&notifier, |target| target.waiting == 0).await;
}

#[tokio::test]
async fn a_target_that_never_answers_holds_up_neither_who_tells_nor_another_target() {
    let mut silent = Receiver::plain(vec![Reply::Hang]).await;
    let mut good = Receiver::plain(vec![Reply::Status(200)]).await;
    let toml = silent.toml("http", "") + &good.toml("http", "");
    let pace = Pace { webhook_wait: Duration::from_secs(3600), ..hurried() };
    let (notifier, running) = start(&toml, pace);
    let before = Instant::now();
    // A thread of its own, as one that serves a client or syncs a disk.
    let teller = notifier.clone();
    let telling = std::thread::spawn(move || {
        (0..100).for_each(|n| teller.tell(notice(&n.to_string())));
    });
    telling.join().unwrap();
    assert!(before.elapsed() < Duration::from_secs(5), "it waited for the silent one");
    for n in 0..100 {
        assert_eq!(good.request().await.json()["subject"], n.to_string());
    }
    assert_eq!(silent.request().await.json()["subject"], "0");
    assert!(silent.is_done(), "one is under way at a time");
    until(&notifier, |target| target.waiting == 100).await;
    assert_eq!(soon(running.stop(Duration::from_millis(10))).await, 100);
    notifier.tell(notice("afterwards"));
    assert_eq!(notifier.recent(None, 1)[0].notice.subject, "afterwards");
}

#[tokio::test]
async fn the_end_waits_for_one_more_try_of_what_failed() {
    let mut receiver = Receiver::plain(vec![Reply::Status(500), Reply::Status(200)]).await;
    let pace = Pace {
        retry_least: Duration::from_secs(3600),
        retry_most: Duration::from_secs(3600),
        ..hurried()
    };
    let (notifier, running) = start(&receiver.toml("http", ""), pace);
    notifier.tell(notice("first"));
    notifier.tell(notice("second"));
    until(&notifier, |target| target.failures == 1).await;
    assert_eq!(soon(running.stop(Duration::from_secs(20))).await, 0);
    let subjects = [receiver.request().await, receiver.request().await, receiver.request().await]
        .map(|request| request.json()["subject"].clone());
    assert_eq!(subjects, ["first", "first", "second"]);
}

#[tokio::test]
async fn what_is_not_bad_enough_is_listed_and_not_sent() {
    let mut receiver = Receiver::plain(vec![Reply::Status(200)]).await;
    let (notifier, _running) = start(&receiver.toml("http", ""), hurried());
    notifier.tell(Notice { status: Status::Good, ..notice("good") });
    notifier.tell(Notice { status: Status::Warning, ..notice("bad") });
    assert_eq!(receiver.request().await.json()["subject"], "bad");
    assert_eq!(notifier.recent(None, 9).len(), 2);
    until(&notifier, |target| target.waiting == 0).await;
    assert!(receiver.is_done());
}

#[tokio::test]
async fn without_targets_notices_are_listed() {
    let (notifier, running) = start("", hurried());
    notifier.tell(notice("volume media"));
    notifier.tell(notice("volume media"));
    let told = notifier.recent(None, 9);
    assert_eq!((told.len(), told[0].repeated), (1, 1));
    let json = serde_json::to_value(&told[0]).unwrap();
    assert_eq!((&json["subject"], &json["repeated"]), (&"volume media".into(), &1.into()));
    assert_eq!(soon(running.stop(Duration::ZERO)).await, 0);
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_its_key() {
    let files = Files::new();
    let more = path_line("secret_file", &files.file("secret", "s3cret", 0o644));
    let toml = "[[webhook]]\nurl = \"https://hooks.example.org\"\nca_file = ";
    let (_, ca_file) = files.tls("ca.pem");
    let toml = format!("{toml}{:?}\n{more}", ca_file.to_str().unwrap());
    let settings: Settings = toml::from_str(&toml).unwrap();
    let bad = Targets::open(&settings).map(|_| ()).unwrap_err();
    assert_eq!(bad.key, "[[notify.webhook]] 1: secret_file");
    assert!(bad.reason.contains("chmod o="), "{bad}");
}

#[test]
fn what_is_told_and_sent_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // All tasks are on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let replies = [500, 404, 200].map(Reply::Status).to_vec();
            let receiver = Receiver::plain(replies).await;
            let (notifier, running) = start(&receiver.toml("http", ""), hurried());
            notifier.tell(notice("first"));
            notifier.tell(notice("first"));
            notifier.tell(notice("second"));
            assert_eq!(soon(running.stop(Duration::from_secs(20))).await, 0);
        });
    });
    let rendered = handle.render();
    for line in [
        "holdfast_notices_total{status=\"error\"} 2",
        "holdfast_notices_suppressed_total 1",
        "holdfast_notice_deliveries_total{kind=\"webhook\",outcome=\"failed\"} 1",
        "holdfast_notice_deliveries_total{kind=\"webhook\",outcome=\"refused\"} 1",
        "holdfast_notice_deliveries_total{kind=\"webhook\",outcome=\"delivered\"} 1",
        "holdfast_notices_waiting{target=\"webhook 1 127.0.0.1\"} 0",
    ] {
        assert!(rendered.lines().any(|given| given == line), "{line}\n{rendered}");
    }
}
