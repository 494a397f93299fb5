//! Whose certificates are believed.
//!
//! Invariant: those of one file if one is named, else those of the system, and at least one. Absent
//! on purpose: a list of our own, which would age with the program; the system's is kept by the
//! system, and an operator's own authority can be added to it.

use std::path::Path;
use std::sync::Arc;

use lettre::transport::smtp::client::{
    Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::files;
use crate::settings::{Fault, is_set};

/// Certificates that can be believed.
pub(super) struct Trust(Vec<CertificateDer<'static>>);

impl Trust {
    /// Those of `ca_file`, or the system's if that is empty.
    pub(super) fn open(ca_file: &Path) -> Result<Self, Fault> {
        let trust = match is_set(ca_file) {
            true => Self::of_file(ca_file),
            false => Self::of_system(),
        };
        trust.map_err(|reason| ("ca_file", reason))
    }

    fn of_file(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let pem = files::certificates(path)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|fault| format!("{shown} is no PEM: {fault}"))?;
        if certificates.is_empty() {
            return Err(format!("{shown} has no certificate (BEGIN CERTIFICATE) in it"));
        }
        match certificates.iter().all(is_usable) {
            true => Ok(Self(certificates)),
            false => Err(format!("{shown} has a certificate that can't be read")),
        }
    }

    fn of_system() -> Result<Self, String> {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        // Some are older than the rules of today; who needs one of those names it in a file.
        certificates.retain(is_usable);
        match certificates.is_empty() {
            false => Ok(Self(certificates)),
            true => Err("this system has no certificates to believe: install its package of them \
                (ca-certificates), or name a file"
                .to_owned()),
        }
    }

    /// For streams of our own.
    pub(super) fn connector(&self, protocol: Option<&[u8]>) -> Result<TlsConnector, Fault> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|fault| ("ca_file", fault.to_string()))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols.extend(protocol.map(<[u8]>::to_vec));
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// For STARTTLS with this relay.
    pub(super) fn starttls(&self, relay: &str) -> Result<TlsParameters, Fault> {
        let mut builder =
            TlsParametersBuilder::new(relay.to_owned()).certificate_store(CertificateStore::None);
        for certificate in &self.0 {
            let certificate = Certificate::from_der(certificate.to_vec())
                .map_err(|fault| ("ca_file", fault.to_string()))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|fault| ("ca_file", fault.to_string()))
    }
}

fn is_usable(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_believed_or_it_is_said_what_it_lacks() {
        match Trust::open(Path::new("")) {
            Ok(trust) => assert!(trust.starttls("mail.example.org").is_ok()),
            Err((_, reason)) => assert!(reason.contains("install"), "{reason}"),
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        for text in
            ["", "nothing", &format!("{begin}AAAA\n{end}"), &format!("{begin}!\n{end}"), begin]
        {
            std::fs::write(&path, text).unwrap();
            let refused = Trust::open(&path).map(|_| ()).unwrap_err();
            assert_eq!(refused.0, "ca_file", "{text}");
            assert!(refused.1.contains("ca.pem"), "{refused:?}");
        }
    }
}
