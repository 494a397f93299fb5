//! A stream of QUIC and nothing else: what the mesh could reach at most.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig};
use quinn::{TokioRuntime, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::ZEROS;

/// Bytes a second of one stream over loopback, with datagrams up to `datagram` bytes.
pub async fn over_loopback(datagram: u16, time: Duration) -> f64 {
    let socket = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
    between([socket(), socket()], datagram, time).await
}

/// Bytes a second of one stream from the first socket to the second, with datagrams up to
/// `datagram` bytes.
pub async fn between(sockets: [UdpSocket; 2], datagram: u16, time: Duration) -> f64 {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["bench.internal".to_owned()]);
    let certificate = params.expect("a name").self_signed(&key).expect("signed").der().clone();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let mut provider = rustls::crypto::ring::default_provider();
    // As in the mesh.
    provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(provider);
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private.into())
        .expect("a certificate and its key");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagram);
    transport.mtu_discovery_config(Some(discovery));
    transport.stream_receive_window(VarInt::from_u32(4 << 20)).send_window(64 << 20);
    let transport = Arc::new(transport);
    let crypto = QuicServerConfig::try_from(server).expect("a suite of QUIC");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::clone(&transport));
    let crypto = QuicClientConfig::try_from(client).expect("a suite of QUIC");
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);
    let endpoint = |socket, server| {
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(datagram.max(1472)).expect("a size of QUIC");
        Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).expect("an endpoint")
    };
    let [here, there] = sockets;
    let (there, here) = (endpoint(there, Some(server)), endpoint(here, None));
    let address = there.local_addr().expect("bound");
    let reading = tokio::spawn(async move {
        let incoming = there.accept().await.expect("dialed");
        let connection = incoming.accept().expect("a handshake").await.expect("connected");
        let (_send, mut receive) = connection.accept_bi().await.expect("a stream");
        let mut pieces = [const { Bytes::new() }; 32];
        while let Some(_count) = receive.read_chunks(&mut pieces).await.expect("read") {}
        connection.close(VarInt::from_u32(0), b"");
        there.wait_idle().await;
    });
    let connecting = here.connect_with(client, address, "bench.internal").expect("dialed");
    let connection = connecting.await.expect("connected");
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    let began = Instant::now();
    let mut bytes = 0_u64;
    while began.elapsed() < time {
        send.write_chunk(Bytes::from_static(&ZEROS)).await.expect("sent");
        bytes += ZEROS.len() as u64;
    }
    send.finish().expect("finished");
    connection.closed().await;
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    reading.await.expect("read to the end");
    rate
}
