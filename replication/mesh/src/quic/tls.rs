//! TLS for the mesh: who is believed, and as whom.
//!
//! Invariant: TLS 1.3 only; both sides show a certificate of the fleet's authority, and the dialer
//! checks the name of the appliance that it dials in the handshake. No session is resumed and no
//! early data sent, so each connection checks certificates anew. A connection without a
//! certificate gets through the handshake, for newcomers, and no further but to [`JOIN`].

use std::fmt;
use std::sync::Arc;

use model::{ApplianceId, Clock};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::authority::appliance_of;
use crate::{Credentials, Fingerprint};

/// Between appliances.
pub const MESH: &[u8] = b"holdfast/1";
/// For newcomers.
pub const JOIN: &[u8] = b"holdfast-join/1";

/// The certificates that an appliance has can't be used.
#[derive(Debug, thiserror::Error)]
#[error("unusable credentials: {0}")]
pub struct BadCredentials(#[from] rustls::Error);

/// For what dials us.
pub fn server(
    credentials: &Credentials,
    clock: &Arc<dyn Clock>,
) -> Result<QuicServerConfig, BadCredentials> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(credentials)?), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|fault| rustls::Error::General(fault.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider(), wall(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain(), credentials.key())?;
    config.alpn_protocols = vec![MESH.to_vec(), JOIN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(quic(QuicServerConfig::try_from(config)))
}

/// For dialing an appliance.
pub fn client(
    credentials: &Credentials,
    clock: &Arc<dyn Clock>,
) -> Result<QuicClientConfig, BadCredentials> {
    let mut config = ClientConfig::builder_with_details(provider(), wall(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(credentials)?)
        .with_client_auth_cert(credentials.chain(), credentials.key())?;
    config.alpn_protocols = vec![MESH.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(quic(QuicClientConfig::try_from(config)))
}

/// For a newcomer, who knows the fingerprint alone.
pub fn newcomer(
    fleet: Fingerprint,
    clock: &Arc<dyn Clock>,
) -> Result<QuicClientConfig, BadCredentials> {
    let verifier = FleetVerifier { fleet, provider: provider() };
    let mut config = ClientConfig::builder_with_details(provider(), wall(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(quic(QuicClientConfig::try_from(config)))
}

/// Who is at the other end, by the certificate that the handshake has verified.
pub fn identity(connection: &quinn::Connection) -> Option<ApplianceId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    appliance_of(chain.first()?)
}

/// Which of our protocols the other end has chosen.
pub fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

fn quic<T>(made: Result<T, quinn::crypto::rustls::NoInitialCipherSuite>) -> T {
    match made {
        Ok(config) => config,
        Err(_) => unreachable!("our suites hold the one of QUIC's first packets"),
    }
}

fn roots(credentials: &Credentials) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(credentials.authority().clone())?;
    Ok(roots)
}

/// AES-128 first: as good as 256 for this, and a quarter faster.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

fn wall(clock: &Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(Wall(Arc::clone(clock)))
}

/// The appliance's wall clock, for the lifetimes of certificates.
struct Wall(Arc<dyn Clock>);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let (seconds, nanoseconds) = self.0.wall().to_parts();
        let since = std::time::Duration::new(u64::from(seconds), nanoseconds);
        Some(UnixTime::since_unix_epoch(since))
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

/// Believes any appliance of one fleet: the chain it shows ends in the authority whose fingerprint
/// is known, and that authority has signed its certificate.
#[derive(Debug)]
struct FleetVerifier {
    fleet: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for FleetVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse = |why: CertificateError| rustls::Error::InvalidCertificate(why);
        let authority = intermediates.last().filter(|last| Fingerprint::of(last) == self.fleet);
        let authority = authority.ok_or(refuse(CertificateError::UnknownIssuer))?;
        let bad = |_| refuse(CertificateError::BadEncoding);
        let anchor = webpki::anchor_from_trusted_cert(authority).map_err(bad)?;
        let shown = webpki::EndEntityCert::try_from(end_entity).map_err(bad)?;
        shown
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &[anchor],
                &[],
                now,
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|fault| match fault {
                webpki::Error::CertExpired { .. } => refuse(CertificateError::Expired),
                _ => refuse(CertificateError::BadSignature),
            })?;
        let named = appliance_of(end_entity);
        named.ok_or(refuse(CertificateError::NotValidForName))?;
        Ok(ServerCertVerified::assertion())
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
