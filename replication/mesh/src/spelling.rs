//! How tokens are spelled: one word of letters and digits that survives being read aloud.
//!
//! Invariant: a word that was mistyped is not read. Absent on purpose: what the bytes mean.

/// A kind of token: a prefix, a version, so many bytes.
pub(crate) struct Spelling {
    /// What the word begins with, before its version and a dash.
    pub(crate) prefix: &'static str,
    /// Which reading of the bytes.
    pub(crate) version: u32,
    /// How many bytes it says.
    pub(crate) bytes: usize,
}

/// Why a word is no token; what the operator does next differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Something else was pasted.
    #[error("not a token of this kind: one begins with `{prefix}{version}-`")]
    NotOne {
        /// What one begins with,
        prefix: &'static str,
        /// and its version.
        version: u32,
    },
    /// The fleet or this appliance is newer than the other: update the older.
    #[error("a token of version {found}, this appliance reads version {read}")]
    Version {
        /// The word's.
        found: u32,
        /// Ours.
        read: u32,
    },
    /// Part of it is missing, or something was added.
    #[error("such a token has {wanted} characters, this has {found}")]
    Length {
        /// How many it has.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// Mistyped.
    #[error("`{0}` at character {1} is no part of a token")]
    Character(char, usize),
    /// Mistyped.
    #[error("the token has a typing error: its check digits do not fit")]
    Checksum,
}

impl Spelling {
    /// The word for `said`: Crockford's base 32 with a checksum at its end.
    pub(crate) fn spell(&self, said: &[u8]) -> String {
        let mut bytes = said.to_vec();
        bytes.extend_from_slice(&self.checksum(said));
        let mut word = format!("{}{}-", self.prefix, self.version);
        let (mut held, mut bits) = (0_u32, 0);
        for byte in bytes {
            held = held << 8 | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                word.push(ALPHABET[(held >> bits & 31) as usize] as char);
            }
        }
        if bits > 0 {
            word.push(ALPHABET[(held << (5 - bits) & 31) as usize] as char);
        }
        word
    }

    /// What a word says. Case does not matter, and `O`, `I`, `L` are read as `0`, `1`, `1`.
    pub(crate) fn read(&self, text: &str) -> Result<Vec<u8>, BadToken> {
        let not_one = BadToken::NotOne { prefix: self.prefix, version: self.version };
        let lower = text.trim().to_ascii_lowercase();
        let rest = lower.strip_prefix(self.prefix).ok_or(not_one)?;
        let (version, body) = rest.split_once('-').ok_or(not_one)?;
        let found: u32 = version.parse().map_err(|_| not_one)?;
        if found != self.version {
            return Err(BadToken::Version { found, read: self.version });
        }
        let head = lower.len() - body.len();
        let (found, wanted) = (head + body.chars().count(), self.chars());
        if found != wanted {
            return Err(BadToken::Length { found, wanted });
        }
        let mut said = self.decode(body, head)?;
        let check = said.split_off(self.bytes);
        if self.checksum(&said) != check[..] {
            return Err(BadToken::Checksum);
        }
        Ok(said)
    }

    /// How many characters a word has.
    pub(crate) fn chars(&self) -> usize {
        let head = self.prefix.len() + self.version.to_string().len() + 1;
        head + ((self.bytes + CHECK_BYTES) * 8).div_ceil(5)
    }

    /// `head`: how many characters stand before `body`, for the message.
    fn decode(&self, body: &str, head: usize) -> Result<Vec<u8>, BadToken> {
        let mut bytes = Vec::with_capacity(self.bytes + CHECK_BYTES);
        let (mut held, mut bits) = (0_u32, 0);
        for (at, shown) in body.chars().enumerate() {
            let meant = match shown {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            };
            let value = ALPHABET.iter().position(|c| *c as char == meant);
            let value = value.ok_or(BadToken::Character(shown, head + at + 1))?;
            held = held << 5 | value as u32;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits) as u8);
            }
        }
        // The last character carries fewer than five bits: one spelling for each token.
        if held & ((1 << bits) - 1) != 0 {
            return Err(BadToken::Checksum);
        }
        Ok(bytes)
    }

    fn checksum(&self, said: &[u8]) -> [u8; CHECK_BYTES] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.prefix.as_bytes()).update(&self.version.to_be_bytes()).update(said);
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
        check
    }
}

/// One typing error in 4 billion goes unseen here, and is refused by the fleet.
const CHECK_BYTES: usize = 4;
/// Crockford's: without I, L, O and U.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
