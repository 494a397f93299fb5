use std::time::Duration;

use crate::smtp::{Habits, Relay, Seen, Way};
use crate::*;

/// The lines of a conversation that begin so, without their beginning.
fn after<'a>(lines: &'a [(String, Way)], start: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|(line, _)| line.strip_prefix(start)).collect()
}

/// The headers of a mail, unfolded, and its text, without the soft line ends of quoted-printable.
fn taken_apart(mail: &str) -> (Vec<String>, String) {
    let (head, text) = mail.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ");
    (
        head.split("\r\n").map(str::to_owned).collect(),
        text.replace("=\r\n", "").replace("\r\n", "\n"),
    )
}

fn header<'a>(headers: &'a [String], name: &str) -> Vec<&'a str> {
    headers.iter().filter_map(|header| header.strip_prefix(&format!("{name}: "))).collect()
}

#[tokio::test]
async fn a_notice_is_mailed_to_everybody_on_the_list() {
    let mut relay = Relay::start(Habits::default()).await;
    let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
    notifier.tell(notice("volume media"));
    let (lines, mail) = relay.mail().await;
    assert_eq!(after(&lines, "MAIL FROM:"), ["<holdfast@example.org>"]);
    assert_eq!(after(&lines, "RCPT TO:"), ["<ada@example.org>", "<bob@example.org>"]);
    assert!(mail.is_ascii(), "{mail}");
    let (headers, text) = taken_apart(&mail);
    let subject = "[holdfast ada] ERROR volume media: An fsync failed: look at the disk.";
    assert_eq!(header(&headers, "Subject"), [subject]);
    let told = notifier.recent(None, 1).remove(0);
    let id = format!("<ada-{}@example.org>", told.number);
    assert_eq!(header(&headers, "Message-ID"), [id]);
    assert_eq!(header(&headers, "Auto-Submitted"), ["auto-generated"]);
    assert_eq!(header(&headers, "Content-Type"), ["text/plain; charset=utf-8"]);
    assert_eq!((header(&headers, "Date").len(), header(&headers, "Bcc").len()), (1, 0));
    assert!(text.starts_with("An fsync failed: look at the disk.\n\nsubject    volume media\n"));
    assert!(text.contains("\nstatus     error\n") && text.contains("\n\ndisk  sdb\n"), "{text}");
    until(&notifier, |target| target.waiting == 0 && target.undelivered == 0).await;
}

#[tokio::test]
async fn a_line_end_in_a_notice_makes_no_header_and_no_command() {
    let mut relay = Relay::start(Habits::default()).await;
    let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
    let evil = "x\r\nBcc: evil@example.net\r\n\r\nbody\r\n.\r\nRCPT TO:<evil@example.net>\r\n";
    let mut notice = notice(evil);
    notice.message = evil.to_owned();
    notice.job = evil.to_owned();
    notice.details = BTreeMap::from([(evil.to_owned(), evil.to_owned())]);
    notifier.tell(notice);
    let (lines, mail) = relay.mail().await;
    assert_eq!(after(&lines, "RCPT TO:").len(), 2);
    let (headers, text) = taken_apart(&mail);
    assert!(header(&headers, "Bcc").is_empty(), "{headers:?}");
    assert_eq!(header(&headers, "Subject").len(), 1);
    assert!(!text.lines().any(|line| line.starts_with("Bcc") || line.starts_with("RCPT")));
    until(&notifier, |target| target.waiting == 0).await;
    let rest = relay.rest();
    let only_quit = |seen: &Seen| matches!(seen, Seen::Line(line, _) if line == "QUIT");
    assert!(rest.iter().all(only_quit), "{rest:?}");
}

#[tokio::test]
async fn text_that_looks_like_an_end_or_is_not_ascii_arrives() {
    let mut relay = Relay::start(Habits::default()).await;
    let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
    notifier.tell(Notice { message: ".".to_owned(), ..notice("a") });
    let (_, mail) = relay.mail().await;
    assert!(taken_apart(&mail).1.starts_with(".\n\nsubject"), "{mail}");
    notifier.tell(Notice { message: "ö".repeat(2000), ..notice("Öst\u{202e}") });
    let (_, mail) = relay.mail().await;
    assert!(mail.is_ascii() && mail.lines().all(|line| line.len() <= 78), "{mail}");
    until(&notifier, |target| target.waiting == 0).await;
}

#[tokio::test]
async fn after_starttls_the_password_and_the_mail_are_sent() {
    let files = Files::new();
    let (acceptor, ca_file) = files.tls("ca.pem");
    let habits = Habits { starttls: Some(acceptor), ..Habits::default() };
    let mut relay = Relay::start(habits).await;
    let more = format!("user = \"holdfast\"\n{}", path_line("ca_file", &ca_file))
        + &path_line("password_file", &files.secret("password", "s3cret\n"));
    let (notifier, _running) = start(&relay.toml("starttls", &more), hurried());
    notifier.tell(notice("volume media"));
    let (lines, _) = relay.mail().await;
    let plain: Vec<&str> =
        lines.iter().filter(|(_, way)| *way == Way::Plain).map(|(line, _)| line.as_str()).collect();
    assert_eq!(plain, ["EHLO [127.0.0.1]", "STARTTLS"]);
    // Base64 of NUL, user, NUL, password (RFC 4616).
    assert_eq!(after(&lines, "AUTH PLAIN "), ["AGhvbGRmYXN0AHMzY3JldA=="]);
    until(&notifier, |target| target.waiting == 0).await;
}

#[tokio::test]
async fn with_implicit_tls_everything_is_within_it() {
    let files = Files::new();
    let (acceptor, ca_file) = files.tls("ca.pem");
    let habits = Habits { implicit: Some(acceptor), ..Habits::default() };
    let mut relay = Relay::start(habits).await;
    let toml = relay.toml("implicit", &path_line("ca_file", &ca_file));
    let (notifier, _running) = start(&toml, hurried());
    notifier.tell(notice("volume media"));
    let (lines, _) = relay.mail().await;
    assert!(lines.iter().all(|(_, way)| *way == Way::Tls), "{lines:?}");
    until(&notifier, |target| target.waiting == 0).await;
}

#[tokio::test]
async fn a_relay_without_starttls_or_with_another_certificate_gets_no_mail() {
    let files = Files::new();
    let (its_own, _) = files.tls("its.pem");
    let (_, ca_file) = files.tls("another.pem");
    for starttls in [None, Some(its_own)] {
        let mut relay = Relay::start(Habits { starttls, ..Habits::default() }).await;
        let more = format!("user = \"holdfast\"\n{}", path_line("ca_file", &ca_file))
            + &path_line("password_file", &files.secret("password", "s3cret"));
        let (notifier, _running) = start(&relay.toml("starttls", &more), hurried());
        notifier.tell(notice("volume media"));
        until(&notifier, |target| target.failures >= 3).await;
        for seen in relay.rest() {
            let Seen::Line(line, way) = seen else { panic!("{seen:?}") };
            assert_eq!(way, Way::Plain, "{line}");
            let greeting = ["EHLO", "STARTTLS", "QUIT"].iter().any(|verb| line.starts_with(verb));
            assert!(greeting, "{line}");
        }
    }
}

#[tokio::test]
async fn what_is_slipped_in_before_tls_is_not_taken_for_the_relay_s_word() {
    let files = Files::new();
    let (acceptor, ca_file) = files.tls("ca.pem");
    let habits = Habits {
        starttls: Some(acceptor),
        slipped_in: "250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",
        ..Habits::default()
    };
    let mut relay = Relay::start(habits).await;
    let toml = relay.toml("starttls", &path_line("ca_file", &ca_file));
    let (notifier, _running) = start(&toml, hurried());
    notifier.tell(notice("volume media"));
    until(&notifier, |target| target.failures >= 2).await;
    assert_eq!(notifier.targets()[0].waiting, 1);
    assert!(!relay.rest().iter().any(|seen| matches!(seen, Seen::Line(_, Way::Tls))));
}

#[tokio::test]
async fn a_recipient_that_is_not_taken_silences_nobody_else() {
    for answer in ["550 5.1.1 who?", "451 4.7.1 later"] {
        let always = vec![("RCPT TO:<ada@", answer)];
        let mut relay = Relay::start(Habits { always, ..Habits::default() }).await;
        let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
        notifier.tell(notice("volume media"));
        relay.mail().await;
        until(&notifier, |target| target.waiting == 0 && target.undelivered == 0).await;
    }
}

#[tokio::test]
async fn a_mail_that_nobody_takes_is_refused_and_the_next_is_sent() {
    for (start_of_line, count) in [("MAIL", 1), ("RCPT", 2), ("DATA", 1), ("the mail", 1)] {
        let once = vec![(start_of_line, "550 5.7.1 not here"); count];
        let mut relay = Relay::start(Habits { once, ..Habits::default() }).await;
        let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
        notifier.tell(notice("first"));
        until(&notifier, |target| target.undelivered == 1).await;
        relay.rest();
        notifier.tell(notice("second"));
        let (_, mail) = relay.mail().await;
        let text = taken_apart(&mail).1;
        assert!(text.contains("subject    second\n"), "{start_of_line}: {text}");
        assert!(text.contains("\nundelivered  1\n"), "{start_of_line}: {text}");
    }
}

#[tokio::test]
async fn what_is_to_be_sent_later_is_sent_again_with_the_same_id() {
    let once = vec![
        ("EHLO", "421 busy"),
        ("MAIL", "451 later"),
        ("RCPT", "550 not here"),
        ("RCPT", "450 later"),
        ("DATA", "451 later"),
        ("the mail", "452 full"),
    ];
    let mut relay = Relay::start(Habits { once, ..Habits::default() }).await;
    let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
    notifier.tell(notice("volume media"));
    let (_, first) = relay.mail().await;
    let (_, second) = relay.mail().await;
    assert_eq!(first, second);
    until(&notifier, |target| target.waiting == 0 && target.undelivered == 0).await;
}

#[tokio::test]
async fn a_password_that_is_not_right_loses_no_notice() {
    let files = Files::new();
    let once = vec![("AUTH", "535 5.7.8 wrong"); 3];
    let mut relay = Relay::start(Habits { once, ..Habits::default() }).await;
    let more = "user = \"holdfast\"\n".to_owned()
        + &path_line("password_file", &files.secret("password", "s3cret"));
    let (notifier, _running) = start(&relay.toml("plain", &more), hurried());
    notifier.tell(notice("volume media"));
    relay.mail().await;
    until(&notifier, |target| target.waiting == 0 && target.undelivered == 0).await;
}

#[tokio::test]
async fn a_relay_that_talks_nonsense_or_without_end_is_left() {
    let endless = "220-so\r\n".repeat(100_000);
    for greeting in [endless, "x".repeat(1 << 20), "\u{fffd}\0\r\n".to_owned(), "\r\n".to_owned()] {
        let relay = Relay::start(Habits { greeting, ..Habits::default() }).await;
        let (notifier, _running) = start(&relay.toml("plain", ""), hurried());
        notifier.tell(notice("volume media"));
        until(&notifier, |target| target.failures >= 2).await;
    }
}

#[tokio::test]
async fn a_relay_that_hangs_is_tried_again_when_its_time_is_over() {
    let mut relay = Relay::start(Habits { greeting: String::new(), ..Habits::default() }).await;
    let pace = Pace { mail_wait: Duration::from_millis(50), ..hurried() };
    let (notifier, _running) = start(&relay.toml("plain", ""), pace);
    notifier.tell(notice("volume media"));
    until(&notifier, |target| target.failures >= 2).await;
    assert_eq!(relay.rest(), []);
}
