//! A receiver of webhooks that does as it is told.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A receiver on a port of 127.0.0.1.
pub struct Receiver {
    pub port: u16,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The request line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// A status and a body that never ends.
    Endless(u16),
    /// Nothing, for ever.
    Hang,
}

impl Receiver {
    /// Does one of `replies` to each request, and the last one to all that follow.
    pub async fn start(tls: Option<TlsAcceptor>, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut replies = replies.into_iter().peekable();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let reply = match tls.is_none() && replies.len() > 1 {
                    true => replies.next().unwrap(),
                    false => replies.peek().unwrap().clone(),
                };
                let (sender, tls) = (sender.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, reply, &sender).await,
                        Some(tls) => {
                            // A client that does not believe us goes away.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, reply, &sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, requests }
    }

    pub async fn plain(replies: Vec<Reply>) -> Self {
        Self::start(None, replies).await
    }

    /// The next request.
    pub async fn request(&mut self) -> Request {
        crate::soon(self.requests.recv()).await.unwrap()
    }

    /// Whether nothing was asked that was not seen.
    pub fn is_done(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    /// The configuration of a webhook that goes here, with whatever else.
    pub fn toml(&self, scheme: &str, more: &str) -> String {
        let port = self.port;
        format!("[[webhook]]\nurl = \"{scheme}://127.0.0.1:{port}/hook?a=b\"\n{more}")
    }
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn serve<S>(mut stream: S, reply: Reply, requests: &mpsc::UnboundedSender<Request>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let mut request = Request { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    let length = request.header("content-length").unwrap().parse().unwrap();
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).await.unwrap();
    // The test may be over.
    let _ = requests.send(request);
    // A client that has enough goes away.
    let _ = answer(&mut stream, reply).await;
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Status(status) => {
            let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 3\r\n\r\nwhy");
            stream.write_all(head.as_bytes()).await?;
        }
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Endless(status) => {
            let head = format!("HTTP/1.1 {status} So\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Reply::Hang => std::future::pending().await,
    }
    stream.shutdown().await
}
