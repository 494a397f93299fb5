use super::*;

fn parse(text: &str) -> Result<Settings, toml::de::Error> {
    toml::from_str(text)
}

fn check(text: &str) -> Result<(), BadSetting> {
    parse(text).unwrap().check()
}

const WEBHOOK: &str = "[[webhook]]\nurl = \"https://hooks.example.org/holdfast\"\n";
const MAIL: &str =
    "[[mail]]\nrelay = \"mail.example.org\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n";

#[test]
fn little_must_be_written() {
    assert_eq!(parse("").unwrap(), Settings::default());
    let settings = parse(&format!("{WEBHOOK}{MAIL}")).unwrap();
    assert_eq!(settings.check(), Ok(()));
    assert_eq!(settings.webhooks[0].least, Status::Warning);
    assert_eq!(settings.mails[0].least, Status::Warning);
    assert_eq!((settings.mails[0].port, settings.mails[0].tls), (587, Tls::Starttls));
    assert_eq!(settings.pace(), Pace::default());
}

#[test]
fn everything_can_be_written() {
    let text = r#"
        quiet_s = 60
        [[webhook]]
        url = "http://127.0.0.1:8080/hook"
        least = "good"
        secret_file = "/etc/holdfast/secret"
        token_file = "/etc/holdfast/token"
        ca_file = ""
        [[mail]]
        relay = "localhost"
        port = 465
        tls = "implicit"
        user = "holdfast"
        password_file = "/etc/holdfast/password"
        ca_file = "/etc/holdfast/ca.pem"
        from = "Holdfast <holdfast@example.org>"
        to = ["Ada Öst <ada@example.org>", "bob@example.org"]
        least = "error"
    "#;
    assert_eq!(check(text), Ok(()));
    assert_eq!(parse(text).unwrap().pace().quiet, Duration::from_secs(60));
}

#[test]
fn unknown_keys_and_words_are_refused() {
    for text in [
        "quiet = 60".to_owned(),
        format!("{WEBHOOK}secret = \"s3cret\""),
        format!("{WEBHOOK}least = \"fatal\""),
        format!("{MAIL}password = \"s3cret\""),
        format!("{MAIL}tls = \"opportunistic\""),
        "[[webhook]]\nleast = \"good\"".to_owned(),
    ] {
        assert!(parse(&text).is_err(), "{text}");
    }
}

#[test]
fn a_fault_names_its_entry_and_its_key() {
    let second = format!("{WEBHOOK}[[webhook]]\nurl = \"hooks.example.org\"\n");
    let fault = check(&second).unwrap_err();
    assert_eq!(fault.key, "[[notify.webhook]] 2: url");
    assert!(fault.to_string().contains("write it like \"https://"), "{fault}");
}

#[test]
fn what_makes_no_sense_is_refused_at_its_key() {
    let http = "[[webhook]]\nurl = \"http://hooks.example.org/\"\n";
    let mail = |from: &str, to: &str| MAIL.replace(from, to);
    for (text, key) in [
        ("quiet_s = 604801".to_owned(), "notify.quiet_s"),
        (WEBHOOK.repeat(9), "[[notify.webhook]]"),
        (MAIL.repeat(9), "[[notify.mail]]"),
        (format!("{http}token_file = \"/t\""), "[[notify.webhook]] 1: token_file"),
        (format!("{http}ca_file = \"/c\""), "[[notify.webhook]] 1: ca_file"),
        (mail("mail.example.org", "mail example"), "[[notify.mail]] 1: relay"),
        (mail("mail.example.org", ""), "[[notify.mail]] 1: relay"),
        (mail("a@example.org", "a"), "[[notify.mail]] 1: from"),
        (mail("a@example.org", "a@example.org\\r\\nBcc: x@y.z"), "[[notify.mail]] 1: from"),
        (mail("a@example.org", "å@example.org"), "[[notify.mail]] 1: from"),
        (mail("\"b@example.org\"", ""), "[[notify.mail]] 1: to"),
        (mail("\"b@example.org\"", &"\"b@c.d\",".repeat(17)), "[[notify.mail]] 1: to"),
        (mail("\"b@example.org\"", "\"b@c.d\", \"x\""), "[[notify.mail]] 1: to"),
        (format!("{MAIL}port = 0"), "[[notify.mail]] 1: port"),
        (format!("{MAIL}user = \"u\""), "[[notify.mail]] 1: password_file"),
        (format!("{MAIL}password_file = \"/p\""), "[[notify.mail]] 1: user"),
        (format!("{MAIL}user = \"u\\r\\n\"\npassword_file = \"/p\""), "[[notify.mail]] 1: user"),
        (format!("{MAIL}tls = \"plain\"\nca_file = \"/c\""), "[[notify.mail]] 1: ca_file"),
        (
            format!("{MAIL}tls = \"plain\"\nuser = \"u\"\npassword_file = \"/p\""),
            "[[notify.mail]] 1: tls",
        ),
    ] {
        assert_eq!(check(&text).unwrap_err().key, key, "{text}");
    }
}

#[test]
fn a_plain_way_to_this_machine_may_carry_secrets() {
    let http = "[[webhook]]\nurl = \"http://localhost/\"\ntoken_file = \"/t\"\n";
    assert_eq!(check(http), Ok(()));
    let mail = MAIL.replace("mail.example.org", "127.0.0.1");
    let secret = "tls = \"plain\"\nuser = \"u\"\npassword_file = \"/p\"\n";
    assert_eq!(check(&format!("{mail}{secret}")), Ok(()));
}
