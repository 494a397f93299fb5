//! The bearer token of the admin API over TCP (RFC 6750).
//!
//! Invariant: 32 bytes of chance, on disk before anybody is let in with them, readable by the
//! appliance's user alone; what is shown is compared in a time that tells nothing of the token.
//! Absent on purpose: users and roles; whoever has it is the operator.

use std::io;
use std::path::Path;

use model::Entropy;
use subtle::ConstantTimeEq;

use crate::files;

/// The token. Not `Debug`: it is a secret.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in the file `token` of `dir`, made up and made durable if there is none.
    ///
    /// # Errors
    /// As the file system says, or `InvalidData` if the file is damaged: delete it, and a new token
    /// is made at the next start.
    pub fn open(dir: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let text = match std::fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; BYTES];
                entropy.fill(&mut bytes);
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                files::write_secret(dir, FILE, format!("{text}\n").as_bytes())?;
                text
            }
            Err(other) => return Err(other),
        };
        Self::parse(&text).ok_or_else(|| {
            let path = dir.join(FILE);
            let reason =
                format!("{} is damaged: delete it, and a new token is made", path.display());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }

    /// A token as it stands in a file; none if it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (text.len() == 2 * BYTES && is_hex).then(|| Self(text.to_owned()))
    }

    /// The text that is shown as `Authorization: Bearer TEXT`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is the token. Takes as long for every text of the same length.
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

const FILE: &str = "token";
const BYTES: usize = 32;

#[cfg(test)]
mod tests;
