//! The one-time token that an operator carries from a fleet to a newcomer.
//!
//! Invariant: a token that was mistyped is refused here, and never reaches a network. The fleet
//! keeps [`Invitation::digest`] alone, so that what it stores lets nobody in. The fingerprint lets
//! the newcomer tell its fleet from an impostor before it says the secret.
//!
//! Absent on purpose: addresses (given beside it), expiry and single use (the fleet's to decide).

use std::fmt;
use std::str::FromStr;

use model::Entropy;

use crate::Fingerprint;

/// What the token says. Its text is `hf1-` and 84 letters and digits of Crockford's base 32, one
/// word to a double click; case does not matter, and `O`, `I`, `L` are read as `0`, `1`, `1`.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    fleet: Fingerprint,
    secret: [u8; SECRET_BYTES],
}

impl Invitation {
    /// A new token for the fleet with this authority.
    pub fn new(fleet: Fingerprint, entropy: &dyn Entropy) -> Self {
        let mut secret = [0; SECRET_BYTES];
        entropy.fill(&mut secret);
        Self { fleet, secret }
    }

    /// The authority that the chain of the answering appliance must end in.
    pub fn fleet(&self) -> Fingerprint {
        self.fleet
    }

    /// What the newcomer shows, inside TLS and to this fleet only.
    pub fn secret(&self) -> [u8; SECRET_BYTES] {
        self.secret
    }

    /// What the fleet stores and compares: the BLAKE3 hash of the secret.
    pub fn digest(&self) -> [u8; 32] {
        digest_of(&self.secret)
    }
}

/// The digest of a secret that a newcomer has shown, to look up among the open invitations.
pub fn digest_of(secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

/// Why a word is no token; what the operator does next differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInvitation {
    /// Something else was pasted.
    #[error("not an invitation: one begins with `{PREFIX}1-`")]
    NotOne,
    /// The fleet or this appliance is newer than the other: update the older.
    #[error("an invitation of version {0}, this appliance reads version {VERSION}")]
    Version(u32),
    /// Part of it is missing, or something was added.
    #[error("an invitation has {TEXT_CHARS} characters, this has {0}")]
    Length(usize),
    /// Mistyped.
    #[error("`{0}` at character {1} is no part of an invitation")]
    Character(char, usize),
    /// Mistyped.
    #[error("the invitation has a typing error: its check digits do not fit")]
    Checksum,
}

impl FromStr for Invitation {
    type Err = BadInvitation;

    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix(PREFIX).ok_or(BadInvitation::NotOne)?;
        let (version, body) = rest.split_once('-').ok_or(BadInvitation::NotOne)?;
        let version: u32 = version.parse().map_err(|_| BadInvitation::NotOne)?;
        if version != VERSION {
            return Err(BadInvitation::Version(version));
        }
        let head = lower.len() - body.len();
        let chars = head + body.chars().count();
        if chars != TEXT_CHARS {
            return Err(BadInvitation::Length(chars));
        }
        let bytes = decode(body, head)?;
        let (said, check) = bytes.split_at(BYTES - CHECK_BYTES);
        if checksum(said) != check {
            return Err(BadInvitation::Checksum);
        }
        let (fleet, secret) = said.split_at(32);
        Ok(Self {
            fleet: Fingerprint::new(fleet.try_into().expect("split at 32")),
            secret: secret.try_into().expect("what is left is the secret"),
        })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [self.fleet.as_bytes().as_slice(), &self.secret].concat();
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{PREFIX}{VERSION}-")?;
        let (mut held, mut bits) = (0_u32, 0);
        for byte in bytes {
            held = held << 8 | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                write!(f, "{}", ALPHABET[(held >> bits & 31) as usize] as char)?;
            }
        }
        if bits > 0 {
            write!(f, "{}", ALPHABET[(held << (5 - bits) & 31) as usize] as char)?;
        }
        Ok(())
    }
}

/// Without the secret: a token must not get into a log by accident.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// `head`: how many characters stand before `body`, for the message.
fn decode(body: &str, head: usize) -> Result<[u8; BYTES], BadInvitation> {
    let mut bytes = [0; BYTES];
    let (mut held, mut bits, mut filled) = (0_u32, 0, 0);
    for (at, shown) in body.chars().enumerate() {
        let meant = match shown {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        };
        let value = ALPHABET.iter().position(|c| *c as char == meant);
        let value = value.ok_or(BadInvitation::Character(shown, head + at + 1))?;
        held = held << 5 | value as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes[filled] = (held >> bits) as u8;
            filled += 1;
        }
    }
    // The last character carries fewer than five bits: one spelling for each token.
    if held & ((1 << bits) - 1) != 0 {
        return Err(BadInvitation::Checksum);
    }
    Ok(bytes)
}

fn checksum(said: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(PREFIX.as_bytes()).update(&VERSION.to_be_bytes()).update(said);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

/// Nobody guesses 128 bits.
pub const SECRET_BYTES: usize = 16;

const PREFIX: &str = "hf";
const VERSION: u32 = 1;
/// One typing error in 4 billion goes unseen here, and is refused by the fleet.
const CHECK_BYTES: usize = 4;
const BYTES: usize = 32 + SECRET_BYTES + CHECK_BYTES;
const TEXT_CHARS: usize = 4 + (BYTES * 8).div_ceil(5);
/// Crockford's: without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests;
