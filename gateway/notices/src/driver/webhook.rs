//! The way to a webhook: one POST (RFC 9110 section 9.3.3) on a connection of its own.
//!
//! Invariant: a request takes no longer than it may and reads no more than [`ANSWER_BYTES_MAX`].
//! Absent on purpose: redirects, which would take a token or a signature to somebody else; proxies;
//! and kept connections, which would fail now and then for notices that come days apart.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Ended;
use super::files;
use super::trust::Trust;
use crate::desk::Outcome;
use crate::endpoint::{Endpoint, Security};
use crate::letter::Letter;
use crate::settings::{Fault, Webhook, is_set, server_name};

pub(super) struct WebhookWay {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    key: Option<hmac::Key>,
    authorization: Option<HeaderValue>,
}

impl WebhookWay {
    pub(super) fn open(webhook: &Webhook, endpoint: Endpoint) -> Result<Self, Fault> {
        let tls = match endpoint.security {
            Security::None => None,
            Security::Tls => {
                let name = server_name(&endpoint.host).map_err(|reason| ("url", reason))?;
                Some((Trust::open(&webhook.ca_file)?.connector(Some(b"http/1.1"))?, name))
            }
        };
        let mut key = None;
        if is_set(&webhook.secret_file) {
            let secret =
                files::secret(&webhook.secret_file).map_err(|reason| ("secret_file", reason))?;
            key = Some(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        let mut authorization = None;
        if is_set(&webhook.token_file) {
            let token =
                files::secret(&webhook.token_file).map_err(|reason| ("token_file", reason))?;
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| ("token_file", "has letters that no token has".to_owned()))?;
            value.set_sensitive(true);
            authorization = Some(value);
        }
        Ok(Self { endpoint, tls, key, authorization })
    }

    /// Tries once.
    pub(super) async fn deliver(&self, letter: &Letter<'_>, wait: Duration) -> Ended {
        match tokio::time::timeout(wait, self.ask(letter)).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(fault)) => Ended::failed(fault),
            Err(_) => Ended::failed(format!("no answer within {wait:?}")),
        }
    }

    async fn ask(&self, letter: &Letter<'_>) -> Result<Ended, String> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(said)?;
        match &self.tls {
            None => self.exchange(TokioIo::new(stream), letter).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(said)?;
                self.exchange(TokioIo::new(stream), letter).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, letter: &Letter<'_>) -> Result<Ended, String>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let request = self.request(letter)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(said)?;
        // Ends with this function, however that ends.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let response = sender.send_request(request).await.map_err(said)?;
        let (status, outcome) = (response.status(), judge(&response));
        let reason = match outcome {
            Outcome::Delivered => String::new(),
            Outcome::Refused | Outcome::Failed { .. } => {
                format!("answered {status}: {}", explanation(response).await)
            }
        };
        Ok(Ended { outcome, reason })
    }

    fn request(&self, letter: &Letter<'_>) -> Result<Request<Full<Bytes>>, String> {
        let body = letter.json();
        let mut request = Request::post(self.endpoint.path.as_str())
            .header(header::HOST, self.endpoint.authority.as_str())
            .header(header::USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header(IDEMPOTENCY_KEY, letter.key());
        if let Some(key) = &self.key {
            request = request.header(SIGNATURE, signature(key, &body));
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request.body(Full::new(Bytes::from(body))).map_err(said)
    }
}

/// What an answer means (RFC 9110 section 15).
fn judge<B>(response: &Response<B>) -> Outcome {
    let status = response.status();
    let once_more = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() {
        Outcome::Delivered
    } else if status.is_client_error() && !once_more.contains(&status) {
        Outcome::Refused
    } else {
        let asked = response.headers().get(header::RETRY_AFTER);
        // A date instead of seconds is left to the waits of our own.
        let seconds = asked.and_then(|asked| asked.to_str().ok()?.trim().parse().ok());
        Outcome::Failed { retry_after: seconds.map(Duration::from_secs) }
    }
}

/// What a receiver says about its refusal, if it does so soon.
async fn explanation(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    match tokio::time::timeout(EXPLANATION_WAIT, body).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Ok(Err(_)) | Err(_) => "(no more)".to_owned(),
    }
}

/// As GitHub's webhooks have made it usual: HMAC-SHA256 (RFC 2104) of the body.
fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let tag = hmac::sign(key, body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// A fault with its causes.
fn said(fault: impl std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-holdfast-signature");
/// Of an answer's body; a receiver has nothing to tell us but why not.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The status says what to do; the explanation is for the log.
const EXPLANATION_WAIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_status_says_what_to_do() {
        let judged = |status: u16, after: &str| {
            let response = Response::builder().status(status).header("retry-after", after);
            judge(&response.body(()).unwrap())
        };
        let failed = |seconds: Option<u64>| Outcome::Failed {
            retry_after: seconds.map(Duration::from_secs),
        };
        for status in [200, 201, 204, 299] {
            assert_eq!(judged(status, "5"), Outcome::Delivered, "{status}");
        }
        for status in [400, 401, 403, 404, 410, 413, 422, 499] {
            assert_eq!(judged(status, "5"), Outcome::Refused, "{status}");
        }
        for status in [301, 302, 307, 308, 408, 429, 500, 502, 503, 504, 599] {
            assert_eq!(judged(status, "5"), failed(Some(5)), "{status}");
        }
        for after in ["", "-1", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999"] {
            assert_eq!(judged(503, after), failed(None), "{after}");
        }
    }

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        // RFC 4231 section 4.3.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&key, b"what do ya want for nothing?"), expected);
    }
}
