//! How QUIC is set up: windows, timers, packet sizes, and the keys of an endpoint.
//!
//! Invariant: a stranger gets one stream each way and a window of 64 KiB; a link widens them once
//! the other end is known.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use model::Clock;
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig,
    ServerConfig, TransportConfig, VarInt,
};
use rustix::net::sockopt;

use super::{BadCredentials, Congestion, tls};
use crate::Credentials;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HANDSHAKES_MAX, IDLE_MAX, INITIAL_RTT, KEEP_ALIVE,
    STRANGER_WINDOW_BYTES, STREAM_WINDOW_BYTES,
};

/// What an appliance accepts with, and what it dials with.
pub fn configs(
    credentials: &Credentials,
    clock: &Arc<dyn Clock>,
    congestion: Congestion,
) -> Result<(ServerConfig, ClientConfig), BadCredentials> {
    let transport = Arc::new(transport(congestion));
    let mut server = ServerConfig::with_crypto(Arc::new(tls::server(credentials, clock)?));
    server.transport_config(Arc::clone(&transport));
    server.max_incoming(HANDSHAKES_MAX);
    let mut client = ClientConfig::new(Arc::new(tls::client(credentials, clock)?));
    client.transport_config(transport);
    Ok((server, client))
}

/// For strangers; a link widens it once the hello is exchanged.
pub fn transport(congestion: Congestion) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX.as_millis() as u32).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES as u32))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW_BYTES as u32))
        .send_window(CONNECTION_WINDOW_BYTES as u64)
        .datagram_receive_buffer_size(None);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES_MAX);
    config.mtu_discovery_config(Some(discovery));
    match congestion {
        Congestion::Cubic => {
            config.congestion_controller_factory(Arc::new(CubicConfig::default()));
        }
        Congestion::Bbr => {
            config.congestion_controller_factory(Arc::new(BbrConfig::default()));
        }
    }
    config
}

/// Made of the appliance's lasting secret, so that after a restart it can still tell its peers that
/// their old connections are dead (stateless reset, RFC 9000, section 10.3).
pub fn endpoint_config(credentials: &Credentials, id_key: [u8; 32]) -> EndpointConfig {
    let reset_key = ResetKey(credentials.derive("holdfast mesh stateless reset"));
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(move || Box::new(Ids { key: id_key, made: 0 }));
    config
}

/// Asks for socket buffers that hold a burst: the kernel's usual 208 KiB are less than one batch of
/// several peers, and each datagram lost there slows its sender. Root is given what it asks for,
/// others what `net.core.rmem_max` allows; with less the mesh is slower and works.
pub fn widen(socket: &UdpSocket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BYTES).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
    }
    let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES);
}

/// Twice the window of a stream.
const SOCKET_BYTES: usize = 2 * STREAM_WINDOW_BYTES;

/// Keyed BLAKE3.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let good = blake3::keyed_hash(&self.0, data);
        // Compares in constant time.
        let shown = <[u8; 32]>::try_from(signature).map_err(|_| CryptoError)?;
        if good == blake3::Hash::from_bytes(shown) { Ok(()) } else { Err(CryptoError) }
    }
}

/// Connection ids: keyed BLAKE3 of a counter. Unlike QUIC's default, a restarted appliance takes
/// those of its earlier run for ids of its own, which makes it answer them with a reset.
struct Ids {
    key: [u8; 32],
    made: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made += 1;
        let hash = blake3::keyed_hash(&self.key, &self.made.to_be_bytes());
        ConnectionId::new(&hash.as_bytes()[..ID_BYTES])
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Of a connection id.
const ID_BYTES: usize = 8;

/// Ethernet's 1 500 less IPv6, UDP and some. Not jumbo frames: with 8 952 a batch of segments
/// outgrows the 64 KiB that the kernel takes at once and is lost whole; measured on loopback, a
/// quarter of all datagrams and half the speed.
const DATAGRAM_BYTES_MAX: u16 = 1452;
