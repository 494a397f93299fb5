//! Names of directory entries: any bytes but `/` and NUL, 1 to 255 of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name, as on every Linux file system (PATHCONF reports it).
pub const NAME_BYTES_MAX: usize = 255;

/// The longest symlink target, Linux's `PATH_MAX` less its NUL.
pub const SYMLINK_BYTES_MAX: usize = 4095;

/// A name that can stand in a directory. `.` and `..` are not: they are answered, never stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name(Box<[u8]>);

/// Why bytes are no name; each is another answer to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadName {
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// Empty, or with a `/` or NUL in it.
    #[error("the name is empty or has a '/' or NUL in it")]
    Invalid,
    /// `.`
    #[error("the name is '.'")]
    Dot,
    /// `..`
    #[error("the name is '..'")]
    DotDot,
}

impl Name {
    /// Checks bytes from a client or a record.
    ///
    /// # Errors
    /// [`BadName`] says which rule they break; the client gets the status that belongs to it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadName> {
        match bytes {
            b"." => Err(BadName::Dot),
            b".." => Err(BadName::DotDot),
            _ if bytes.len() > NAME_BYTES_MAX => Err(BadName::TooLong),
            _ if bytes.is_empty() || bytes.iter().any(|b| matches!(b, b'/' | 0)) => {
                Err(BadName::Invalid)
            }
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes, which need not be UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}
