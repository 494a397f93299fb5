//! Notices reach real receivers on this machine: HTTP and SMTP, plain and over TLS, good and bad.
//!
//! Invariant: ports are the system's to choose, and a test waits for what happens, not for a time.
//! Absent on purpose: what the desk decides, which is tested with time as an argument.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic")]

mod http;
mod mails;
mod smtp;
mod webhooks;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notices::{
    ApplianceName, Notice, Notifier, Pace, Running, Settings, Status, TargetView, Targets,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// A notifier for what stands in this configuration, hurried.
fn start(toml: &str, pace: Pace) -> (Notifier, Running) {
    let settings: Settings = toml::from_str(toml).unwrap();
    let targets = Targets::open(&settings).unwrap_or_else(|bad| panic!("{bad}"));
    Notifier::start(targets, ApplianceName::new("ada"), pace)
}

/// Tries again soon; a receiver that hangs is left after a while.
fn hurried() -> Pace {
    Pace {
        retry_least: Duration::from_millis(2),
        retry_most: Duration::from_millis(10),
        webhook_wait: Duration::from_secs(10),
        ..Pace::default()
    }
}

fn notice(subject: &str) -> Notice {
    Notice {
        subject: subject.to_owned(),
        job: "fsync".to_owned(),
        status: Status::Error,
        message: "An fsync failed: look at the disk.".to_owned(),
        details: BTreeMap::from([("disk".to_owned(), "sdb".to_owned())]),
    }
}

/// What `future` gives, unless that takes so long that it never will.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it never happens")
}

/// Waits until the first target is as wanted.
async fn until(notifier: &Notifier, wanted: impl Fn(&TargetView) -> bool) {
    let seen = async {
        while !wanted(&notifier.targets()[0]) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(seen).await;
}

/// Files for one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file that nobody else can read.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        self.file(name, text, 0o600)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A server's side of TLS for 127.0.0.1, and the file of the certificate to believe.
    fn tls(&self, name: &str) -> (TlsAcceptor, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], der)
                .unwrap();
        let path = self.file(name, &certificate.pem(), 0o644);
        (TlsAcceptor::from(Arc::new(config)), path)
    }
}

/// A key and a path, as a line of TOML.
fn path_line(key: &str, path: &Path) -> String {
    format!("{key} = {:?}\n", path.to_str().unwrap())
}
