use proptest::prelude::*;

use super::*;
use crate::spelling::ALPHABET;
use crate::testing::{TestEntropy, authority};

fn made() -> Invitation {
    Invitation::new(authority().fingerprint(), &TestEntropy)
}

#[test]
fn a_token_is_one_word_and_says_what_it_was_made_of() {
    let token = made();
    let text = token.to_string();
    assert_eq!(text.len(), SPELLING.chars());
    assert!(text.starts_with("hf1-"));
    assert!(text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    assert_eq!(text.parse::<Invitation>().unwrap(), token);
    assert_eq!(digest_of(&token.secret()), token.digest());
}

#[test]
fn what_people_do_to_a_token_does_not_spoil_it() {
    let token = made();
    let text = token.to_string();
    let typed = format!("  {}\n", text.to_uppercase());
    assert_eq!(typed.parse::<Invitation>().unwrap(), token);
    let (head, body) = text.split_at(4);
    let typed = format!("{head}{}", body.replace('0', "O").replace('1', "l"));
    assert_eq!(typed.parse::<Invitation>().unwrap(), token);
}

const NOT_ONE: BadToken = BadToken::NotOne { prefix: "hf", version: 1 };

#[test]
fn the_message_says_what_is_wrong() {
    let text = made().to_string();
    let parse = |text: &str| text.parse::<Invitation>().unwrap_err();
    assert_eq!(parse("hello"), NOT_ONE);
    assert_eq!(parse(""), NOT_ONE);
    assert_eq!(parse(&text.replace("hf1", "hf2")), BadToken::Version { found: 2, read: 1 });
    assert_eq!(parse(&text[..40]), BadToken::Length { found: 40, wanted: 88 });
    assert_eq!(parse(&format!("{text}0")), BadToken::Length { found: 89, wanted: 88 });
    let mut bad = text.clone();
    bad.replace_range(9..10, "u");
    assert_eq!(parse(&bad), BadToken::Character('u', 10));
    let mut wide: String = text.chars().take(SPELLING.chars() - 1).collect();
    wide.push('é');
    assert_eq!(parse(&wide), BadToken::Character('é', SPELLING.chars()));
}

#[test]
fn every_single_typing_error_is_found() {
    let text = made().to_string();
    for at in 4..text.len() {
        for other in ALPHABET {
            let other = *other as char;
            if text.as_bytes()[at] as char != other {
                let mut bad = text.clone();
                bad.replace_range(at..=at, &other.to_string());
                assert!(bad.parse::<Invitation>().is_err(), "{other} at {at}");
            }
        }
    }
}

#[test]
fn a_token_does_not_get_into_a_log() {
    let token = made();
    let shown = format!("{token:?}");
    let secret: String = token.secret().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!shown.contains(&secret) && !shown.contains(&token.to_string()[56..]));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", tail in ".{80,90}") {
        let _ = text.parse::<Invitation>();
        let _ = format!("hf1-{tail}").parse::<Invitation>();
    }
}
