//! Serves a fresh volume of ours through the listener of the `nfsserve` crate:
//! `nfsserve_door ROOT ADDRESS:PORT`. A peer in the table of `peers`, and nothing else.

use std::path::PathBuf;

use benches::door::{OurVolume, Stack};
use nfsserve::tcp::{NFSTcp, NFSTcpListener};

/// As in the appliance.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(root), Some(address)) = (args.next(), args.next()) else {
        eprintln!("usage: nfsserve_door ROOT ADDRESS:PORT");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let stack = Stack::start(PathBuf::from(root)).await;
        let mut listener = NFSTcpListener::bind(&address, OurVolume::new(stack))
            .await
            .unwrap_or_else(|e| panic!("{address}: {e}"));
        listener.with_export_name("demo");
        listener.handle_forever().await.unwrap_or_else(|e| panic!("{address}: {e}"));
    });
}

/// The appliance's.
const BLOCKING_THREADS_MAX: usize = 64;
