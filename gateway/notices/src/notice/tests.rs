use proptest::prelude::*;

use super::*;

fn notice(subject: &str) -> Notice {
    Notice {
        subject: subject.to_owned(),
        job: "scrub".to_owned(),
        status: Status::Good,
        message: "All is well.".to_owned(),
        details: BTreeMap::new(),
    }
}

#[test]
fn what_fits_is_left_as_it_is() {
    let mut whole = notice(&"ä".repeat(SUBJECT_BYTES_MAX / 2));
    whole.details = (0..DETAILS_MAX).map(|n| (n.to_string(), n.to_string())).collect();
    assert_eq!(whole.clone().bounded(), whole);
}

#[test]
fn what_is_too_long_is_cut_at_a_character_and_marked() {
    let cut = notice(&"ä".repeat(SUBJECT_BYTES_MAX)).bounded().subject;
    assert!(cut.len() <= SUBJECT_BYTES_MAX && cut.len() > SUBJECT_BYTES_MAX - 4, "{}", cut.len());
    assert!(cut.ends_with("ä…"), "{cut}");
}

#[test]
fn details_beyond_their_number_are_counted() {
    let mut many = notice("volume media");
    many.details = (0..DETAILS_MAX + 5).map(|n| (format!("{n:03}"), String::new())).collect();
    let details = many.bounded().details;
    assert_eq!(details.len(), DETAILS_MAX);
    assert_eq!(details.get("…").map(String::as_str), Some("6 more"));
}

#[test]
fn a_line_end_becomes_a_space() {
    assert_eq!(notice("a\r\nBcc: b\u{2028}c\0").bounded().subject, "a  Bcc: b c ");
}

#[test]
fn statuses_are_ordered_and_their_words_are_those_of_json() {
    assert!(Status::ALL.is_sorted());
    for status in Status::ALL {
        assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
    }
}

#[test]
fn a_notice_has_its_five_fields_and_no_others() {
    let text = serde_json::to_string(&notice("volume media")).unwrap();
    let expected = "{\"subject\":\"volume media\",\"job\":\"scrub\",\"status\":\"good\",\
        \"message\":\"All is well.\",\"details\":{}}";
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice("volume media"));
    let more = text.replace("{}", "{},\"level\":1");
    assert!(serde_json::from_str::<Notice>(&more).is_err());
}

proptest! {
    #[test]
    fn whatever_is_told_ends_up_within_the_limits(
        subject in "\\PC{0,400}|[\\x00-\\x1f]{0,400}",
        message in ".{0,2000}",
        details in proptest::collection::btree_map(".{0,100}", ".{0,700}", 0..40),
    ) {
        let bounded = Notice { message, details, ..notice(&subject) }.bounded();
        prop_assert!(bounded.subject.len() <= SUBJECT_BYTES_MAX);
        prop_assert!(bounded.message.len() <= MESSAGE_BYTES_MAX);
        prop_assert!(bounded.details.len() <= DETAILS_MAX);
        for (name, value) in &bounded.details {
            prop_assert!(name.len() <= DETAIL_NAME_BYTES_MAX && value.len() <= DETAIL_BYTES_MAX);
        }
        let mut texts = vec![&bounded.subject, &bounded.message];
        texts.extend(bounded.details.iter().flat_map(|(name, value)| [name, value]));
        prop_assert!(!texts.iter().any(|text| text.contains(is_line_breaking)));
        prop_assert_eq!(bounded.clone().bounded(), bounded);
    }
}
