//! A path that takes time and loses datagrams, in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What a path is like.
#[derive(Clone, Copy)]
pub struct Quality {
    /// One way.
    pub delay: Duration,
    /// Of a thousand datagrams, by chance, each way.
    pub lost: u64,
}

/// An address that leads to `target`, for one dialer.
pub async fn to(target: SocketAddr, quality: Quality) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
    for socket in [&front, &back] {
        // A burst must not be lost here beside what is lost on purpose.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, 16 << 20);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, 4 << 20);
    }
    let address = front.local_addr().expect("bound");
    let dialer = Arc::new(Mutex::new(target));
    let seen = Arc::clone(&dialer);
    let note = move |source| *seen.lock() = source;
    tokio::spawn(carry(Arc::clone(&front), Arc::clone(&back), quality, note, move || target));
    tokio::spawn(carry(back, front, quality, |_| (), move || *dialer.lock()));
    address
}

async fn carry(
    from: Arc<UdpSocket>,
    out_of: Arc<UdpSocket>,
    quality: Quality,
    note: impl Fn(SocketAddr),
    to: impl Fn() -> SocketAddr + Send + 'static,
) {
    let (queue, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((when, datagram)) = waiting.recv().await {
            sleep_until(when).await;
            let address = to();
            // What the kernel refuses is lost, as on any path.
            let _ = out_of.send_to(&datagram, address).await;
        }
    });
    let mut buffer = vec![0; 65536];
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    while let Ok((len, source)) = from.recv_from(&mut buffer).await {
        note(source);
        // SplitMix64's step: even enough for a loss rate.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (dice >> 33) % 1000 < quality.lost {
            continue;
        }
        let _ = queue.send((Instant::now() + quality.delay, buffer[..len].to_vec()));
    }
}
