use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::Counting;

#[test]
fn a_token_is_made_once_and_only_its_user_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = Token::open(&dir.path().join("admin"), &Counting::default()).unwrap();
    let again = Token::open(&dir.path().join("admin"), &Counting::default()).unwrap();
    assert_eq!(made.as_str(), again.as_str());
    assert_eq!(made.as_str().len(), 64);
    let mode = |path: &str| {
        let metadata = std::fs::metadata(dir.path().join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("admin"), mode("admin/token")), (0o700, 0o600));
}

#[test]
fn only_the_whole_token_is_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let token = Token::open(dir.path(), &Counting::default()).unwrap();
    let text = token.as_str().to_owned();
    assert!(token.is(&text));
    assert!(!token.is("") && !token.is(&text[1..]) && !token.is(&format!("{text}0")));
    assert!(!token.is(&text.replacen('0', "1", 1)));
}

#[test]
fn a_damaged_token_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "abc", &"x".repeat(64)] {
        std::fs::write(dir.path().join("token"), text).unwrap();
        let refused = Token::open(dir.path(), &Counting::default()).err().unwrap();
        assert!(refused.to_string().contains("token is damaged"), "{refused}");
    }
}
