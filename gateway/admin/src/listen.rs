//! The listeners: a unix socket that only root can open, a TCP one for metrics alone, and one for
//! whoever has the token, over TLS.
//!
//! Invariant: over TCP nothing but the metrics listener answers without TLS and the token, whatever
//! the path; who has not shown the token gets no more than a request's head read. Absent on
//! purpose: what the API does.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::api::metrics_router;
use crate::operator::{Operator, Problem, ProblemKind};
use crate::tls::Identity;
use crate::token::Token;

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

/// Binds `listen` and serves the API on it over TLS, to whoever shows the token, until the task is
/// dropped. Gives the address that was bound.
///
/// # Errors
/// As the network says.
pub async fn serve_tls<O: Operator>(
    listen: SocketAddr,
    identity: &Identity,
    token: Token,
    operator: Arc<O>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let acceptor = identity.acceptor()?;
    let listener = TcpListener::bind(listen).await?;
    let bound = listener.local_addr()?;
    let api = crate::router(operator).layer(from_fn_with_state(Arc::new(token), authorized));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let task = tokio::spawn(async move {
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (acceptor, api) = (acceptor.clone(), api.clone());
                    tokio::spawn(async move {
                        if let Err(fault) = serve_one(stream, acceptor, api).await {
                            tracing::debug!(%from, fault, "an admin connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(fault) => {
                    // Out of descriptors, most likely: others must give some back first.
                    tracing::warn!(%fault, "an admin connection could not be taken");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    });
    Ok((bound, task))
}

async fn serve_one(stream: TcpStream, acceptor: TlsAcceptor, api: Router) -> Result<(), String> {
    let handshake = tokio::time::timeout(HEAD_WAIT, acceptor.accept(stream)).await;
    let stream = handshake.map_err(|_| "no handshake in time")?.map_err(|e| e.to_string())?;
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(api))
        .await
        .map_err(|e| e.to_string())
}

/// Lets a request through if it shows the token (RFC 6750 section 2.1).
async fn authorized(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION);
    let shown = header.and_then(|value| value.to_str().ok()).and_then(bearer);
    if shown.is_some_and(|shown| token.is(shown)) {
        return next.run(request).await;
    }
    let detail = "show the appliance's token: Authorization: Bearer TOKEN; \
        `holdfast admin token` prints it there";
    let mut refused = Problem::new(ProblemKind::Unauthorized, detail).into_response();
    // The body that may follow is not read.
    refused.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    refused
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Operators and their scripts; others wait.
const CONNECTIONS_MAX: usize = 64;
/// For a handshake, and again for the head of each request, however long the connection idles.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Paths and a token; hyper takes no less.
const HEAD_BYTES_MAX: usize = 16 << 10;
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
