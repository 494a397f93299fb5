use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{Counting, FakeOperator};
use crate::tls::{Fingerprint, connect};

struct Door {
    at: SocketAddr,
    fingerprint: Fingerprint,
    token: String,
    _dir: tempfile::TempDir,
}

async fn door() -> Door {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open(dir.path(), &["127.0.0.1".to_owned()]).unwrap();
    let token = Token::open(dir.path(), &Counting::default()).unwrap();
    let text = token.as_str().to_owned();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let operator = Arc::new(FakeOperator::default());
    let (at, _) = serve_tls(anywhere, &identity, token, operator).await.unwrap();
    Door { at, fingerprint: identity.fingerprint(), token: text, _dir: dir }
}

impl Door {
    /// Sends a request with these header lines; gives the whole answer.
    async fn ask(&self, path: &str, headers: &str) -> String {
        let stream = TcpStream::connect(self.at).await.unwrap();
        let mut stream = connect(stream, self.fingerprint).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn the_token_opens_the_api_and_nothing_else_does() {
    let door = door().await;
    let good = format!("authorization: Bearer {}\r\n", door.token);
    let lower = format!("Authorization: bearer {}\r\n", door.token);
    for headers in [&good, &lower] {
        let answer = door.ask("/v1/status", headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let cut = format!("authorization: Bearer {}\r\n", &door.token[1..]);
    let basic = format!("authorization: Basic {}\r\n", door.token);
    let bare = format!("authorization: {}\r\n", door.token);
    for headers in ["", &cut, &basic, &bare, "authorization: Bearer \r\n"] {
        let answer = door.ask("/v1/status", headers).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 401 "), "{headers}: {answer}");
        assert!(answer.contains("www-authenticate: bearer"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(!answer.contains(&door.token), "the token is not told");
    }
}

#[tokio::test]
async fn no_path_is_open_without_the_token() {
    let door = door().await;
    for path in ["/metrics", "/v1/openapi.json", "/v1/admin/token", "/nothing", "/"] {
        let answer = door.ask(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn plain_http_is_refused() {
    let door = door().await;
    let mut stream = TcpStream::connect(door.at).await.unwrap();
    let good = format!("authorization: Bearer {}", door.token);
    let request = format!("GET /v1/status HTTP/1.1\r\nhost: a\r\n{good}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset tells as much as an end.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
}

#[tokio::test]
async fn an_appliance_with_another_certificate_is_not_believed() {
    let door = door().await;
    let stream = TcpStream::connect(door.at).await.unwrap();
    let other = Fingerprint::of(b"another");
    assert!(connect(stream, other).await.is_err());
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off_at_its_limit() {
    let door = door().await;
    let stream = TcpStream::connect(door.at).await.unwrap();
    let mut stream = connect(stream, door.fingerprint).await.unwrap();
    let line = format!("x: {}\r\n", "y".repeat(1000));
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
    for _ in 0..4 * HEAD_BYTES_MAX / line.len() {
        if stream.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
