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
use crate::spelling::{BadToken, Spelling};

/// What the token says. Its text is `hf1-` and 84 letters and digits of Crockford's base 32, one
/// word to a double click.
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

    /// One that both sides derive from what they share.
    pub(crate) fn derived(fleet: Fingerprint, secret: [u8; SECRET_BYTES]) -> Self {
        Self { fleet, secret }
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

impl FromStr for Invitation {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let said = SPELLING.read(text)?;
        let (fleet, secret) = said.split_at(32);
        Ok(Self {
            fleet: Fingerprint::new(fleet.try_into().expect("split at 32")),
            secret: secret.try_into().expect("what is left is the secret"),
        })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.fleet.as_bytes().as_slice(), &self.secret].concat();
        f.write_str(&SPELLING.spell(&bytes))
    }
}

/// Without the secret: a token must not get into a log by accident.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// Nobody guesses 128 bits.
pub const SECRET_BYTES: usize = 16;

const SPELLING: Spelling = Spelling { prefix: "hf", version: 1, bytes: 32 + SECRET_BYTES };

#[cfg(test)]
mod tests;
