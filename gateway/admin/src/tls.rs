//! TLS for the admin API over TCP, both ends.
//!
//! Invariant: TLS 1.3 only. The appliance shows a certificate that it has signed itself, and who
//! asks believes that very certificate, by its fingerprint, and no authority. Absent on purpose:
//! certificates of clients; they show a token.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::files;

/// What the appliance shows to who asks, and signs with.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// SHA-256 of a certificate (DER), as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// Not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a fingerprint has 64 hex digits; `holdfast status` on the appliance shows it")]
pub struct BadFingerprint;

impl Identity {
    /// The certificate and key in `certificate.pem` and `key.pem` of `dir`; made, for these host
    /// names and addresses, if one of them is not there.
    ///
    /// # Errors
    /// As the file system says, or `InvalidData` if a file is damaged: delete both, and new ones
    /// are made at the next start, with a new fingerprint.
    pub fn open(dir: &Path, names: &[String]) -> io::Result<Self> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        if !certificate.exists() || !key.exists() {
            make(dir, names)?;
        }
        let damaged = |path: &Path| {
            let path = path.display().to_string();
            move |fault: &dyn fmt::Display| {
                let reason = format!(
                    "{path}: {fault}; delete {CERTIFICATE} and {KEY} there to get new ones"
                );
                io::Error::new(io::ErrorKind::InvalidData, reason)
            }
        };
        let identity = Self {
            certificate: CertificateDer::from_pem_file(&certificate)
                .map_err(|fault| damaged(&certificate)(&fault))?,
            key: PrivateKeyDer::from_pem_file(&key).map_err(|fault| damaged(&key)(&fault))?,
        };
        identity.server_config().map_err(|fault| damaged(&certificate)(&fault))?;
        Ok(identity)
    }

    /// Of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let config = self.server_config().map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(config)
    }
}

/// The client's end of a connection to the appliance with this certificate.
///
/// # Errors
/// As the network says, or if another certificate is shown.
pub async fn connect(stream: TcpStream, pinned: Fingerprint) -> io::Result<TlsStream<TcpStream>> {
    let verifier = Pinned { pinned, provider: provider() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    // The certificate is known by its fingerprint; it need not name where it was found.
    config.enable_sni = false;
    let name = ServerName::try_from("holdfast.internal").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A key pair, and a certificate that it has signed itself: durable before it is shown.
fn make(dir: &Path, names: &[String]) -> io::Result<()> {
    // ECDSA P-256: what browsers and scripts on other machines know, too.
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Holdfast admin API");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    files::write_secret(dir, KEY, key.serialize_pem().as_bytes())?;
    files::write_secret(dir, CERTIFICATE, certificate.pem().as_bytes())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let sha256 = suite.tls13().expect("it is a suite of TLS 1.3").common.hash_provider;
        let digest = sha256.hash(certificate);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
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

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    /// 64 hex digits, of either case, with or without colons between bytes.
    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

/// Believes one certificate.
#[derive(Debug)]
struct Pinned {
    pinned: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match Fingerprint::of(end_entity) == self.pinned {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const HTTP: &[u8] = b"http/1.1";

#[cfg(test)]
mod tests;
