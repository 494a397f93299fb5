use std::sync::Arc;

use super::*;
use crate::desk::Target;
use crate::notice::{Notice, Numbered};

fn delivery(undelivered: u64, message: &str) -> Delivery {
    let details = BTreeMap::from([
        ("disk".to_owned(), "sdb".to_owned()),
        ("files damaged".to_owned(), "2".to_owned()),
    ]);
    let notice = Notice {
        subject: "volume media".to_owned(),
        job: "scrub".to_owned(),
        status: Status::Warning,
        message: message.to_owned(),
        details,
    };
    let number = Number::new(1_795_327_000_123);
    let time = WallTime::from_millis(1_795_327_000_500);
    let numbered = Arc::new(Numbered { number, time, notice });
    Delivery { target: Target(0), numbered, undelivered }
}

#[test]
fn json_has_these_fields_and_no_others() {
    let ada = ApplianceName::new("ada");
    let json = Letter::new(&ada, &delivery(0, "Two files were repaired.")).json();
    let expected = "{\"subject\":\"volume media\",\"job\":\"scrub\",\"status\":\"warning\",\
        \"message\":\"Two files were repaired.\",\
        \"details\":{\"disk\":\"sdb\",\"files damaged\":\"2\"},\
        \"number\":1795327000123,\"time\":\"2026-11-22T05:56:40.5Z\",\"appliance\":\"ada\"}";
    assert_eq!(String::from_utf8(json).unwrap(), expected);
}

#[test]
fn a_mail_has_its_facts_below_one_another() {
    let ada = ApplianceName::new("ada");
    let delivery = delivery(3, "Two files were repaired.");
    let letter = Letter::new(&ada, &delivery);
    assert_eq!(letter.subject(), "[holdfast ada] WARNING volume media: Two files were repaired.");
    let expected = "\
Two files were repaired.

subject    volume media
status     warning
job        scrub
appliance  ada
time       2026-11-22T05:56:40.5Z
number     1795327000123

disk           sdb
files damaged  2
undelivered    3
";
    assert_eq!(letter.text(), expected);
}

#[test]
fn a_long_message_is_cut_in_the_subject_and_whole_in_the_text() {
    let ada = ApplianceName::new("ada");
    let message = "ä".repeat(400);
    let delivery = delivery(0, &message);
    let letter = Letter::new(&ada, &delivery);
    let subject = letter.subject();
    assert!(subject.len() <= MAIL_SUBJECT_BYTES_MAX && subject.ends_with('…'), "{subject}");
    assert!(letter.text().starts_with(&message));
}

#[test]
fn a_key_fits_into_every_header() {
    let key = |name: &str| ApplianceName::new(name).key(Number::new(7));
    assert_eq!(key("ada-1"), "ada-1-7");
    assert_eq!(key("a\r\nb: ö <x@y>"), "a__b_____x_y_-7");
}
