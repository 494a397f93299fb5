//! The listeners: a unix socket that only root can open, and a TCP one for metrics alone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::api::metrics_router;
use crate::operator::Operator;

/// Why the admin socket can't be opened.
#[derive(Debug, Error)]
pub enum SocketFault {
    /// Another appliance answers on it.
    #[error("{0}: another appliance answers there; give this one its own `admin.socket`")]
    InUse(PathBuf),
    /// The file system does not let us.
    #[error("{path}: {fault}; check `admin.socket` in the configuration")]
    Io {
        /// Which socket.
        path: PathBuf,
        /// What it says.
        fault: std::io::Error,
    },
}

/// Binds the admin socket, open to root only, and serves the API on it until the task is dropped.
///
/// # Errors
/// [`SocketFault`] if it can't be bound.
pub fn serve_unix<O: Operator>(
    path: &Path,
    operator: Arc<O>,
) -> Result<tokio::task::JoinHandle<()>, SocketFault> {
    let io = |fault| SocketFault::Io { path: path.to_owned(), fault };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(io)?;
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketFault::InUse(path.to_owned()));
        }
        // A socket that nobody answers on is what a killed process leaves behind.
        std::fs::remove_file(path).map_err(io)?;
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    let api = crate::router(operator);
    Ok(tokio::spawn(async move {
        if let Err(fault) = axum::serve(listener, api).await {
            tracing::error!(%fault, "the admin socket is gone");
        }
    }))
}

/// Binds `address` and serves metrics on it until the task is dropped.
///
/// # Errors
/// As the network says.
pub async fn serve_metrics<O: Operator>(
    address: &str,
    operator: Arc<O>,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(address).await?;
    let api = metrics_router(operator);
    Ok(tokio::spawn(async move {
        if let Err(fault) = axum::serve(listener, api).await {
            tracing::error!(%fault, "the metrics listener is gone");
        }
    }))
}
