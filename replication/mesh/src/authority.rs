//! The fleet's own certificate authority, and the certificates that appliances show one another.
//!
//! Invariant: a certificate names one appliance, and is made from bytes of entropy and an instant
//! that the caller gives, so that equal arguments make an equal certificate. The key of the
//! authority is a secret of the fleet: whoever has it can be any appliance.
//!
//! Absent on purpose: clocks, disks (the caller stores [`FleetAuthority::to_bytes`]), revocation
//! (a removed appliance is refused by `Handler::admits`; certificates are short-lived instead).

use std::fmt;
use std::time::Duration;

use model::{ApplianceId, Entropy, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Which fleet: the BLAKE3 hash of its authority's certificate (DER). Not a secret; an operator may
/// compare two of them by eye.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps the bytes as they stand in a token or a record.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(*blake3::hash(certificate).as_bytes())
    }

    /// The bytes, for tokens and records.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one appliance shows and signs with: its certificate, its key, and the authority that it
/// trusts. Renewed by the caller well before [`CREDENTIALS_LIFETIME`] is over.
#[derive(Clone)]
pub struct Credentials {
    appliance: ApplianceId,
    /// The appliance's certificate, then the authority's.
    chain: [CertificateDer<'static>; 2],
    /// PKCS #8 (RFC 8410), an Ed25519 key.
    key: Vec<u8>,
    /// The same however often this appliance is issued others.
    lasting: [u8; SEED_BYTES],
}

impl Credentials {
    /// Whose they are.
    pub fn appliance(&self) -> ApplianceId {
        self.appliance
    }

    /// Of the authority that issued them: the fleet's identity.
    pub fn fleet(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[1])
    }

    /// A format byte, the appliance's number, its lasting secret, then its key and both
    /// certificates, each behind its length. Holds secrets: for a file that only the appliance may
    /// read.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![CREDENTIALS_FORMAT];
        bytes.extend_from_slice(&self.appliance.get().to_be_bytes());
        bytes.extend_from_slice(&self.lasting);
        for part in [self.key.as_slice(), &self.chain[0], &self.chain[1]] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// What [`Self::to_bytes`] gave. The caller starts over (joins anew) if it can't be read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadAuthority> {
        let (&format, rest) = bytes.split_first().ok_or(BadAuthority::Cut)?;
        if format != CREDENTIALS_FORMAT {
            return Err(BadAuthority::Format(format));
        }
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(BadAuthority::Cut)?;
        let (lasting, mut rest) =
            rest.split_first_chunk::<SEED_BYTES>().ok_or(BadAuthority::Cut)?;
        let mut part = || {
            let (len, after) = rest.split_first_chunk::<4>().ok_or(BadAuthority::Cut)?;
            let len = u32::from_be_bytes(*len) as usize;
            let (part, after) = after.split_at_checked(len).ok_or(BadAuthority::Cut)?;
            rest = after;
            Ok(part.to_vec())
        };
        let key = part()?;
        let chain = [CertificateDer::from(part()?), CertificateDer::from(part()?)];
        let appliance = ApplianceId::new(u64::from_be_bytes(*number));
        let named = appliance_of(&chain[0]).ok_or(BadAuthority::Mismatch)?;
        let public = public_key(&key).ok_or(BadAuthority::Mismatch)?;
        if named != appliance || !holds_key(&chain[0], &public) {
            return Err(BadAuthority::Mismatch);
        }
        Ok(Self { appliance, chain, key, lasting: *lasting })
    }

    /// For TLS: the appliance's certificate, then the authority's.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.to_vec()
    }

    /// For TLS.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// The certificate that every peer's must come from.
    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        &self.chain[1]
    }

    /// Bytes for `purpose` that only this appliance and the authority can derive, the same after
    /// a restart and with renewed credentials.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.lasting)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("appliance", &self.appliance).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Credentials {
    /// What an impostor could show: its own certificate, and another fleet's authority.
    pub(crate) fn with_authority_of(mut self, other: &FleetAuthority) -> Self {
        self.chain[1] = other.certificate.clone();
        self
    }
}

#[cfg(test)]
impl FleetAuthority {
    /// A certificate with an appliance's name that its own key has signed.
    pub(crate) fn as_credentials_of(&self, appliance: ApplianceId) -> Credentials {
        let mut params = CertificateParams::new(vec![appliance_name(appliance)]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = params.self_signed(&key_pair(&self.seed)).unwrap().der().clone();
        Credentials {
            appliance,
            chain: [own.clone(), own],
            key: pkcs8(&self.seed),
            lasting: self.seed,
        }
    }
}

/// Why stored bytes are no authority or no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// Another version of the program wrote them.
    #[error("the format byte is {0}, which this version can't read")]
    Format(u8),
    /// The file is damaged.
    #[error("cut short")]
    Cut,
    /// The file is damaged, or put together from two.
    #[error("the key and the certificate do not belong together")]
    Mismatch,
}

/// The key that signs the certificates of a fleet, and its own certificate.
pub struct FleetAuthority {
    seed: [u8; SEED_BYTES],
    certificate: CertificateDer<'static>,
}

impl FleetAuthority {
    /// A new fleet's. `now` is the wall time; the certificate outlives every appliance
    /// ([`AUTHORITY_LIFETIME`]).
    pub fn found(entropy: &dyn Entropy, now: Timestamp) -> Self {
        let seed = fresh_seed(entropy);
        let key = key_pair(&seed);
        let mut params = authority_params();
        limit(&mut params, now, AUTHORITY_LIFETIME);
        params.serial_number = Some(serial(entropy));
        let certificate = params.self_signed(&key).expect("the parameters are ours and complete");
        Self { seed, certificate: certificate.der().clone() }
    }

    /// A format byte, the key's seed, the certificate. A secret of the fleet.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![AUTHORITY_FORMAT];
        bytes.extend_from_slice(&self.seed);
        bytes.extend_from_slice(&self.certificate);
        bytes
    }

    /// What [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadAuthority> {
        let (&format, rest) = bytes.split_first().ok_or(BadAuthority::Cut)?;
        if format != AUTHORITY_FORMAT {
            return Err(BadAuthority::Format(format));
        }
        let (seed, certificate) =
            rest.split_first_chunk::<SEED_BYTES>().ok_or(BadAuthority::Cut)?;
        let certificate = CertificateDer::from(certificate.to_vec());
        let public = public_key(&pkcs8(seed)).ok_or(BadAuthority::Mismatch)?;
        if !holds_key(&certificate, &public) {
            return Err(BadAuthority::Mismatch);
        }
        Ok(Self { seed: *seed, certificate })
    }

    /// Credentials for `appliance`, good from [`BACKDATED`] before `now` until `lifetime` after it.
    pub fn issue(
        &self,
        appliance: ApplianceId,
        entropy: &dyn Entropy,
        now: Timestamp,
        lifetime: Duration,
    ) -> Credentials {
        let seed = fresh_seed(entropy);
        let mut params = CertificateParams::new(vec![appliance_name(appliance)])
            .expect("the name is of hex digits and dots");
        limit(&mut params, now, lifetime);
        params.serial_number = Some(serial(entropy));
        params.distinguished_name.push(DnType::CommonName, appliance_name(appliance));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(authority_params(), key_pair(&self.seed));
        let certificate = params
            .signed_by(&key_pair(&seed), &issuer)
            .expect("the parameters are ours and complete");
        Credentials {
            appliance,
            chain: [certificate.der().clone(), self.certificate.clone()],
            key: pkcs8(&seed),
            lasting: self.lasting(appliance),
        }
    }

    fn lasting(&self, appliance: ApplianceId) -> [u8; SEED_BYTES] {
        let secret = [&self.seed[..], &appliance.get().to_be_bytes()].concat();
        blake3::derive_key("holdfast mesh lasting secret of an appliance", &secret)
    }

    /// The fleet's identity, which the token of an invitation carries.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }
}

impl fmt::Debug for FleetAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetAuthority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The DNS name in an appliance's certificate: 16 hex digits and a suffix that never resolves
/// (`internal` is reserved for private use).
pub(crate) fn appliance_name(appliance: ApplianceId) -> String {
    format!("{:016x}{NAME_SUFFIX}", appliance.get())
}

/// Whose a certificate is; None unless it has exactly one name, and that of an appliance.
/// Says nothing of who signed it.
pub(crate) fn appliance_of(certificate: &CertificateDer<'_>) -> Option<ApplianceId> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_dns_names();
    let (name, None) = (names.next()?, names.next()) else { return None };
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    // One spelling for each appliance: no sign, no capital, no missing zero.
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits.len() != 16 || !plain {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(ApplianceId::new)
}

/// Subject and usage of every authority: also what an issued certificate names as its issuer, so
/// it never changes.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Holdfast fleet authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn limit(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let now = Duration::from_nanos(now.as_nanos());
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + lifetime.min(AUTHORITY_LIFETIME);
}

fn fresh_seed(entropy: &dyn Entropy) -> [u8; SEED_BYTES] {
    let mut seed = [0; SEED_BYTES];
    entropy.fill(&mut seed);
    seed
}

fn serial(entropy: &dyn Entropy) -> SerialNumber {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    // RFC 5280, 4.1.2.2: positive.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// An Ed25519 seed as PKCS #8 version 1 (RFC 8410, section 7): a fixed head, then the seed.
fn pkcs8(seed: &[u8; SEED_BYTES]) -> Vec<u8> {
    [PKCS8_HEAD, seed].concat()
}

fn key_pair(seed: &[u8; SEED_BYTES]) -> KeyPair {
    let key = PrivatePkcs8KeyDer::from(pkcs8(seed));
    KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519)
        .expect("every 32 bytes are an Ed25519 seed")
}

fn public_key(key: &[u8]) -> Option<Vec<u8>> {
    let key = PrivatePkcs8KeyDer::from(key);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).ok()?;
    Some(pair.public_key_raw().to_vec())
}

/// Whether the certificate is for this Ed25519 key.
fn holds_key(certificate: &CertificateDer<'_>, public: &[u8]) -> bool {
    // `anchor_from_trusted_cert` only parses; nothing is trusted here.
    webpki::anchor_from_trusted_cert(certificate)
        .is_ok_and(|parsed| parsed.subject_public_key_info.ends_with(public))
}

/// How long the caller should let credentials live; renewed daily, they outlast a month offline.
pub const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate is good from this long before it was made: clocks of a fleet differ.
pub const BACKDATED: Duration = Duration::from_secs(3600);

/// Two centuries: an authority is not renewed, a fleet is founded anew.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(200 * 365 * 24 * 3600);

const NAME_SUFFIX: &str = ".appliance.holdfast.internal";
const AUTHORITY_FORMAT: u8 = 1;
/// 1 had no lasting secret.
const CREDENTIALS_FORMAT: u8 = 2;
const SEED_BYTES: usize = 32;
const PKCS8_HEAD: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests;
