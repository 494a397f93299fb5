//! What lies between two appliances: a stream and requests over loopback beside a bare QUIC stream,
//! and a stream over a long path that loses datagrams, as a table.

use std::sync::Arc;
use std::time::Duration;

use benches::mesh::path::Quality;
use benches::mesh::{Asked, Pair, ZEROS, bare};
use benches::table::align;
use clap::Parser;
use mesh::Congestion;

/// As in the appliance.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the mesh and prints a table.
#[derive(Debug, Parser)]
struct Options {
    /// Half a second for each row: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// Asks over BBR instead of CUBIC.
    #[arg(long)]
    bbr: bool,
}

impl Options {
    fn congestion(&self) -> Congestion {
        if self.bbr { Congestion::Bbr } else { Congestion::Cubic }
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let time = Duration::from_millis(if options.quick { 500 } else { 3000 });
    let mut rows = vec![vec!["what".to_owned(), "a second".to_owned(), "MiB/s".to_owned()]];
    let mut row = |what: &str, each: f64, bytes: f64| {
        let each = if each > 0.0 { format!("{each:.0}") } else { "-".to_owned() };
        rows.push(vec![what.to_owned(), each, format!("{:.1}", bytes / MIB)]);
    };
    for datagram in [1452, 8952] {
        let what = format!("bare QUIC stream, datagrams up to {datagram}");
        row(&what, 0.0, bare::over_loopback(datagram, time).await);
    }
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        let pair = Pair::connect(congestion, None).await;
        row(&format!("bulk stream, {congestion:?}"), 0.0, pair.bulk(time).await);
    }
    let pair = Arc::new(Pair::connect(options.congestion(), None).await);
    for askers in [1, 32] {
        for (name, size) in [("0 B", 0), ("64 KiB", 64 << 10), ("1 MiB", ZEROS.len())] {
            let rate = pair.asks(askers, Asked { sent: size, wanted: 0 }, time).await;
            row(&format!("ask, {askers} at once, {name} there"), rate, rate * size as f64);
            if size > 0 {
                let rate = pair.asks(askers, Asked { sent: 0, wanted: size }, time).await;
                row(&format!("ask, {askers} at once, {name} back"), rate, rate * size as f64);
            }
        }
    }
    drop(pair);
    for lost in [0, 20] {
        for congestion in [Congestion::Cubic, Congestion::Bbr] {
            let quality = Quality { delay: Duration::from_millis(10), lost };
            let pair = Pair::connect(congestion, Some(quality)).await;
            let what = format!("bulk stream, round trip 20 ms, {lost} ‰ lost, {congestion:?}");
            row(&what, 0.0, pair.bulk(time * 2).await);
        }
    }
    println!("{}", align(&rows));
}

const MIB: f64 = (1 << 20) as f64;
