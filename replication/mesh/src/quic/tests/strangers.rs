//! Who is not of the fleet is refused before a frame of its is read, and garbage from who is closes
//! the connection.

use super::*;
use crate::wire::{PREFIX_BYTES, Prefix};
use quinn::{ConnectionError, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig as TlsClient, DigitallySignedStruct, SignatureScheme};

/// Believes anybody: what an attacker uses.
#[derive(Debug)]
struct Credulous;

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A bare QUIC client with this certificate, if any, and protocol.
fn raw(shown: Option<&Credentials>, protocol: &[u8]) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsClient::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut tls = match shown {
        Some(shown) => builder.with_client_auth_cert(shown.chain(), shown.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    endpoint
}

/// Says a hello and a request as fast as it can. Gives how the connection ended, if it did, and
/// whether the other end said anything.
async fn intrude(endpoint: &Endpoint, mesh: &QuicMesh) -> (Option<ConnectionError>, bool) {
    let connecting = endpoint.connect(mesh.address().unwrap(), "any.example").unwrap();
    let connection = match connecting.await {
        Ok(connection) => connection,
        Err(fault) => return (Some(fault), false),
    };
    let mut heard = false;
    let talking = async {
        let mut hello = connection.open_uni().await.ok()?;
        let mut said = frame(Tag::Hello, 0, Bytes::new(), mesh.0.hello.to_bytes());
        hello.write_all_chunks(&mut said).await.ok()?;
        let (mut send, mut receive): (SendStream, RecvStream) = connection.open_bi().await.ok()?;
        let body = Bytes::from_static(b"let me in");
        send.write_all_chunks(&mut frame(Tag::Request, 1, Bytes::new(), body)).await.ok()?;
        heard = receive.read_chunk(1, true).await.ok()?.is_some();
        Some(())
    };
    let _ = timeout(Duration::from_secs(2), talking).await;
    let ended = timeout(Duration::from_millis(500), connection.closed()).await;
    (ended.ok(), heard)
}

/// Asserts that nobody with these credentials gets a frame to the handler; gives the reason.
async fn refused(mesh: &QuicMesh, at: &Recorder, shown: Option<&Credentials>) -> ConnectionError {
    let (ended, heard) = intrude(&raw(shown, tls::MESH), mesh).await;
    assert_eq!(at.frames(), 0, "a frame reached the handler");
    assert!(!heard);
    ended.expect("the connection was closed")
}

fn is_tls_alert(fault: &ConnectionError) -> bool {
    matches!(fault, ConnectionError::ConnectionClosed(closed)
        if (0x100..0x200).contains(&u64::from(closed.error_code)))
}

#[track_caller]
fn assert_closed_with(fault: &ConnectionError, code: u32) {
    let ConnectionError::ApplicationClosed(closed) = fault else { panic!("{fault}") };
    assert_eq!(closed.error_code, VarInt::from_u32(code), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_the_fleet_is_heard_by_the_same_means() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let good = fleet.issue(B, &TestEntropy, NOW, DAY);
    let (ended, heard) = intrude(&raw(Some(&good), tls::MESH), &mesh).await;
    assert!(ended.is_none() && heard, "{ended:?}");
    assert_eq!(at.frames(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_no_certificate_is_refused() {
    let (mesh, at) = appliance(&authority(), A);
    let fault = refused(&mesh, &at, None).await;
    assert_closed_with(&fault, close::STRANGER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_fleet_is_refused_in_the_handshake() {
    let (mesh, at) = appliance(&authority(), A);
    let foreign = authority().issue(B, &TestEntropy, NOW, DAY);
    let fault = refused(&mesh, &at, Some(&foreign)).await;
    assert!(is_tls_alert(&fault), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_made_certificate_is_refused_in_the_handshake() {
    let (mesh, at) = appliance(&authority(), A);
    // The same names, signed by nobody but itself.
    let own = authority();
    let fault = refused(&mesh, &at, Some(&own.as_credentials_of(B))).await;
    assert!(is_tls_alert(&fault), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused_in_the_handshake() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let past = model::Timestamp::from_nanos(NOW.as_nanos() - DAY.as_nanos() as u64 * 31);
    let expired = fleet.issue(B, &TestEntropy, past, 30 * DAY);
    let fault = refused(&mesh, &at, Some(&expired)).await;
    assert!(is_tls_alert(&fault), "{fault}");
    let future = model::Timestamp::from_nanos(NOW.as_nanos() + DAY.as_nanos() as u64);
    let early = fleet.issue(B, &TestEntropy, future, 30 * DAY);
    let fault = refused(&mesh, &at, Some(&early)).await;
    assert!(is_tls_alert(&fault), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_appliance_is_refused() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    at.removed.lock().push(B);
    let good = fleet.issue(B, &TestEntropy, NOW, DAY);
    let fault = refused(&mesh, &at, Some(&good)).await;
    assert_closed_with(&fault, close::NOT_ADMITTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_to_be_us_is_refused() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let ours = fleet.issue(A, &TestEntropy, NOW, DAY);
    let fault = refused(&mesh, &at, Some(&ours)).await;
    assert_closed_with(&fault, close::NOT_ADMITTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_protocol_is_refused_in_the_handshake() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let good = fleet.issue(B, &TestEntropy, NOW, DAY);
    let (ended, _) = intrude(&raw(Some(&good), b"holdfast/9"), &mesh).await;
    assert!(is_tls_alert(&ended.expect("it was closed")));
    assert_eq!(at.frames(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_appliance_than_the_dialed_one_is_not_asked() {
    let fleet = authority();
    let ((a, _), (b, at_b)) = (appliance(&fleet, A), appliance(&fleet, B));
    let other = ApplianceId::new(0xc);
    a.set_peers(vec![peer(other, &b)]);
    let asked = a.ask(other, message(9, Bytes::new()), Duration::from_millis(500)).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
    assert_eq!(at_b.frames(), 0);
    assert!(!a.is_connected(other) && !a.is_connected(B));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appliance_of_another_fleet_is_not_asked() {
    let ((a, _), (b, at_b)) = (appliance(&authority(), A), appliance(&authority(), B));
    a.set_peers(vec![peer(B, &b)]);
    let asked = a.ask(B, message(9, Bytes::new()), Duration::from_millis(500)).await;
    assert_eq!(asked, Err(MeshFault::NotSent));
    assert_eq!(at_b.frames(), 0);
}

/// A connection of a fleet's member that says what it likes after the hello.
async fn greeted(mesh: &QuicMesh, fleet: &FleetAuthority) -> (Endpoint, quinn::Connection) {
    let endpoint = raw(Some(&fleet.issue(B, &TestEntropy, NOW, DAY)), tls::MESH);
    let connecting = endpoint.connect(mesh.address().unwrap(), "any.example").unwrap();
    let connection = connecting.await.unwrap();
    let mut hello = connection.open_uni().await.unwrap();
    let mut said = frame(Tag::Hello, 0, Bytes::new(), mesh.0.hello.to_bytes());
    hello.write_all_chunks(&mut said).await.unwrap();
    hello.finish().unwrap();
    until(|| mesh.is_connected(B)).await;
    (endpoint, connection)
}

fn claim(tag: Tag, header: u32, payload: u32) -> [u8; PREFIX_BYTES] {
    let mut bytes = Prefix { tag, kind: 0, header: 0, payload: 0 }.bytes();
    bytes[4..8].copy_from_slice(&header.to_be_bytes());
    bytes[8..].copy_from_slice(&payload.to_be_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_frame_closes_its_connection_and_nothing_else() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        claim(Tag::Request, 0, u32::MAX).to_vec(),
        claim(Tag::Request, u32::MAX, u32::MAX).to_vec(),
        claim(Tag::Request, 0, PAYLOAD_BYTES_MAX as u32 + 1).to_vec(),
        claim(Tag::Reply, 0, 0).to_vec(),
        claim(Tag::Chunk, 0, 0).to_vec(),
        claim(Tag::Hello, 0, 0).to_vec(),
        claim(Tag::Join, 0, 0).to_vec(),
    ];
    for bytes in garbage {
        let (_endpoint, connection) = greeted(&mesh, &fleet).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let ended = timeout(SOON, connection.closed()).await.expect("it is closed");
        assert_closed_with(&ended, close::MALFORMED);
        until(|| !mesh.is_connected(B)).await;
    }
    for bytes in [claim(Tag::Request, 0, 0), claim(Tag::Tell, 1, 0), claim(Tag::Chunk, 0, 0)] {
        let (_endpoint, connection) = greeted(&mesh, &fleet).await;
        connection.open_uni().await.unwrap().write_all(&bytes).await.unwrap();
        let ended = timeout(SOON, connection.closed()).await.expect("it is closed");
        assert_closed_with(&ended, close::MALFORMED);
        until(|| !mesh.is_connected(B)).await;
    }
    assert_eq!(at.frames(), 0);
    let (b, _) = appliance(&fleet, B);
    b.set_peers(vec![peer(A, &mesh)]);
    echo(&b, A).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_is_not_executed() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let (_endpoint, connection) = greeted(&mesh, &fleet).await;
    for finish in [true, false] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&claim(Tag::Request, 0, 1000)).await.unwrap();
        send.write_all(&[7; 999]).await.unwrap();
        if finish {
            send.finish().unwrap()
        } else {
            send.reset(VarInt::from_u32(9)).unwrap()
        }
        let said = timeout(SOON, receive.read_chunk(10, true)).await.unwrap();
        assert!(matches!(said, Err(quinn::ReadError::Reset(_))), "{said:?}");
    }
    assert_eq!(at.frames(), 0);
    assert!(mesh.is_connected(B), "the asker may withdraw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_or_missing_hello_closes_the_connection() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let endpoint = raw(Some(&fleet.issue(B, &TestEntropy, NOW, DAY)), tls::MESH);
    for hello in [&b""[..], b"nonsense", &claim(Tag::Hello, 0, 2000), &claim(Tag::Hello, 0, 0)] {
        let connecting = endpoint.connect(mesh.address().unwrap(), "any.example").unwrap();
        let connection = connecting.await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(hello).await.unwrap();
        stream.finish().unwrap();
        let ended = timeout(SOON, connection.closed()).await.expect("it is closed");
        assert_closed_with(&ended, close::HELLO);
    }
    let connecting = endpoint.connect(mesh.address().unwrap(), "any.example").unwrap();
    let silent = connecting.await.unwrap();
    let ended = timeout(SOON, silent.closed()).await.expect("it is closed");
    assert_closed_with(&ended, close::HELLO);
    assert_eq!(at.frames(), 0);
}
