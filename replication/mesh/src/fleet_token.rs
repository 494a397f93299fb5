//! What the configurations of a fleet's appliances share, so that they find together unattended.
//!
//! Invariant: the same token makes the same authority, so each appliance knows its fleet before it
//! has seen it; what a newcomer shows is derived for it alone, and tells nobody the token. Whoever
//! has the token can be any appliance of the fleet.
//!
//! Absent on purpose: who founds, who joins and where (the configuration says).

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use model::{ApplianceId, Entropy, Timestamp};

use crate::spelling::{BadToken, Spelling};
use crate::{FleetAuthority, Invitation, SECRET_BYTES};

/// 256 bits that make a fleet. Its text is `hffleet1-` and 58 letters and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetToken([u8; TOKEN_BYTES]);

impl FleetToken {
    /// A new one.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// The authority of the fleet: the same each time.
    pub fn authority(&self) -> FleetAuthority {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast fleet token: authority");
        hasher.update(&self.0);
        FleetAuthority::found(&Derived(Mutex::new(hasher.finalize_xof())), FOUNDED)
    }

    /// What lets this appliance, and no other one, into the fleet.
    pub fn invitation(&self, appliance: ApplianceId) -> Invitation {
        let said = [&self.0[..], &appliance.get().to_be_bytes()].concat();
        let derived = blake3::derive_key("holdfast fleet token: invitation", &said);
        let mut secret = [0; SECRET_BYTES];
        secret.copy_from_slice(&derived[..SECRET_BYTES]);
        Invitation::derived(self.authority().fingerprint(), secret)
    }
}

impl FromStr for FleetToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        Ok(Self(SPELLING.read(text)?.try_into().expect("the spelling says how many bytes")))
    }
}

/// The word that configurations have: a secret.
impl fmt::Display for FleetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&SPELLING.spell(&self.0))
    }
}

/// Without the secret.
impl fmt::Debug for FleetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetToken").finish_non_exhaustive()
    }
}

/// Bytes that follow from the token.
struct Derived(Mutex<blake3::OutputReader>);

impl Entropy for Derived {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill(bytes);
    }
}

const TOKEN_BYTES: usize = 32;
const SPELLING: Spelling = Spelling { prefix: "hffleet", version: 1, bytes: TOKEN_BYTES };
/// Any instant that every clock is past: certificates of authorities are good for centuries. The
/// beginning of 2024.
const FOUNDED: Timestamp = Timestamp::from_nanos(1_704_067_200 * 1_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestEntropy;

    #[test]
    fn two_configurations_with_one_token_mean_one_fleet() {
        let token = FleetToken::new(&TestEntropy);
        let read: FleetToken = token.to_string().to_uppercase().parse().unwrap();
        assert_eq!(read, token);
        let (one, other) = (token.authority(), read.authority());
        assert_eq!(one.to_bytes(), other.to_bytes());
        let appliance = ApplianceId::new(7);
        assert_eq!(token.invitation(appliance), read.invitation(appliance));
        assert_eq!(token.invitation(appliance).fleet(), one.fingerprint());
    }

    #[test]
    fn another_token_is_another_fleet_and_another_appliance_needs_another_secret() {
        let (token, other) = (FleetToken([1; TOKEN_BYTES]), FleetToken([2; TOKEN_BYTES]));
        assert_ne!(token.authority().fingerprint(), other.authority().fingerprint());
        let secret =
            |token: &FleetToken, appliance| token.invitation(ApplianceId::new(appliance)).secret();
        assert_ne!(secret(&token, 1), secret(&token, 2));
        assert_ne!(secret(&token, 1), secret(&other, 1));
    }

    #[test]
    fn an_invitation_is_no_fleet_token_nor_the_other_way() {
        let token = FleetToken::new(&TestEntropy);
        let invitation = token.invitation(ApplianceId::new(1)).to_string();
        assert!(invitation.parse::<FleetToken>().is_err());
        assert!(token.to_string().parse::<Invitation>().is_err());
        assert!(!format!("{token:?}").contains(&token.to_string()));
    }
}
