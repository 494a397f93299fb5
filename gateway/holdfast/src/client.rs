//! Talks to a running appliance: HTTP over its unix socket, or over TLS with its token.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use admin::{Fingerprint, Problem, Token};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// A way to one appliance.
pub struct Client(Way);

enum Way {
    /// On this machine.
    Socket(PathBuf),
    /// On another.
    Remote(Remote),
}

/// An appliance on another machine, and what opens it.
pub struct Remote {
    /// HOST:PORT.
    host: String,
    token: Token,
    fingerprint: Fingerprint,
}

impl Remote {
    /// The appliance at `url`, whose token is in a file.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn new(url: &str, token_file: &Path, fingerprint: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
        let host = rest.filter(|rest| rest.contains(':') && !rest.contains('/'));
        let host =
            host.ok_or_else(|| format!("{url:?} is not of the form https://HOST:PORT"))?.to_owned();
        let text = std::fs::read_to_string(token_file)
            .map_err(|e| format!("{}: {e}", token_file.display()))?;
        let token = Token::parse(&text).ok_or_else(|| {
            let file = token_file.display();
            format!("{file} holds no token; `holdfast admin token` on the appliance prints it")
        })?;
        let fingerprint =
            fingerprint.parse().map_err(|bad: admin::BadFingerprint| bad.to_string())?;
        Ok(Self { host, token, fingerprint })
    }

    /// A connection that ends by itself when the machine at its other end is gone or was started
    /// anew, though nobody said so.
    async fn connect(&self) -> io::Result<impl Stream + use<>> {
        let stream = TcpStream::connect(&self.host).await?;
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_EVERY).with_interval(KEEPALIVE_EVERY);
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
        admin::connect(stream, self.fingerprint).await
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn is_silence(fault: &io::Error) -> bool {
    fault.kind() == io::ErrorKind::TimedOut
}

fn silent(time: Duration) -> io::Error {
    let seconds = time.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {seconds} s"))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// Show.
    Get,
    /// Make or do.
    Post,
    /// Remove.
    Delete,
}

/// What goes with a request.
#[derive(Default)]
struct Sent {
    headers: Vec<(&'static str, String)>,
    bytes: Vec<u8>,
}

impl Sent {
    fn json(value: &impl Serialize) -> Result<Self, String> {
        let bytes = serde_json::to_vec(value).map_err(|e| e.to_string())?;
        Ok(Self { headers: vec![("content-type", "application/json".to_owned())], bytes })
    }
}

impl Client {
    /// The appliance whose socket is at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self(Way::Socket(socket))
    }

    /// An appliance on another machine.
    pub fn remote(remote: Remote) -> Self {
        Self(Way::Remote(remote))
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, String> {
        decode(&self.exchange(method, path, Sent::default())?)
    }

    /// [`Self::ask`] of one that may be starting anew; none if nobody answers.
    ///
    /// # Errors
    /// It answers, and what it says.
    pub fn ask_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        let asked = async {
            let sent = self.send(Method::Get, path, Sent::default());
            timeout(SHOW_WAIT, sent).await.map_err(|_| silent(SHOW_WAIT))?
        };
        match self.reach(asked) {
            Err(_) | Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Ok(None),
            Ok(answer) => decode(&well(answer)?).map(Some),
        }
    }

    /// Sends something, and reads the answer.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn send_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, String> {
        decode(&self.exchange(Method::Post, path, Sent::json(body)?)?)
    }

    /// Tells it to do something that has no answer but success.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn tell(&self, method: Method, path: &str) -> Result<(), String> {
        self.exchange(method, path, Sent::default()).map(drop)
    }

    /// Sends something that has no answer but success.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn tell_json(&self, path: &str, body: &impl Serialize) -> Result<(), String> {
        self.exchange(Method::Post, path, Sent::json(body)?).map(drop)
    }

    /// Sends bytes and what a header says of them, and reads the answer.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn send_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        header: (&'static str, String),
        bytes: Vec<u8>,
    ) -> Result<T, String> {
        let kind = ("content-type", "application/octet-stream".to_owned());
        decode(&self.exchange(Method::Post, path, Sent { headers: vec![kind, header], bytes })?)
    }

    fn exchange(&self, method: Method, path: &str, sent: Sent) -> Result<Bytes, String> {
        well(self.reach(self.send(method, path, sent))?)
    }

    /// Whatever it answers; the error is that it does not.
    fn reach(
        &self,
        sending: impl Future<Output = Result<(StatusCode, Bytes), Fault>>,
    ) -> Result<(StatusCode, Bytes), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        runtime.block_on(sending).map_err(|e| self.unreachable(e.as_ref()))
    }

    /// Waits as long as the appliance takes, unless that is gone.
    async fn send(
        &self,
        method: Method,
        path: &str,
        sent: Sent,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let (stream, host, token): (Box<dyn Stream>, &str, _) = match &self.0 {
            Way::Socket(socket) => (Box::new(UnixStream::connect(socket).await?), "holdfast", None),
            Way::Remote(remote) => {
                let stream = timeout(CONNECT_WAIT, remote.connect()).await;
                let stream = stream.map_err(|_| silent(CONNECT_WAIT))??;
                (Box::new(stream), &remote.host, Some(&remote.token))
            }
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let method = match method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
            Method::Delete => hyper::Method::DELETE,
        };
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        for (name, value) in sent.headers {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(sent.bytes));
        let answer = sender.send_request(request.body(body)?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, fault: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
        let socket = match &self.0 {
            Way::Socket(socket) => socket.display().to_string(),
            Way::Remote(remote) => {
                let host = &remote.host;
                if fault.downcast_ref::<io::Error>().is_some_and(is_silence) {
                    return format!("{host}: {fault}");
                }
                return format!(
                    "{host}: {fault}. Does its `admin.listen` say so, and is the fingerprint the \
                     one that `holdfast status` shows there?"
                );
            }
        };
        let hint = match fault.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                ": no appliance runs there. Start one with `holdfast serve`, or name its \
                 `admin.socket` with --socket"
            }
            Some(io::ErrorKind::PermissionDenied) => ": only root may talk to the appliance",
            _ => "",
        };
        format!("{socket}: {fault}{hint}")
    }
}

/// The answer, if it is not that something went wrong.
fn well((status, bytes): (StatusCode, Bytes)) -> Result<Bytes, String> {
    if status.is_success() {
        return Ok(bytes);
    }
    Err(match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => problem.detail,
        Err(_) => format!("the appliance answered {status}"),
    })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes)
        .map_err(|e| format!("the appliance answered what this program can't read: {e}"))
}

/// For the connection and its TLS handshake.
const CONNECT_WAIT: Duration = Duration::from_secs(20);
/// For what an appliance shows of itself alone.
const SHOW_WAIT: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// A disk may stand still for half a minute while an image is written to it.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// The largest answer: a list of 10 000 faults is under 1 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
