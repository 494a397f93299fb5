//! A mail relay that does as it is told (RFC 5321, as much as a client sees).

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A relay on a port of 127.0.0.1.
pub struct Relay {
    pub port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A line, and whether it came over TLS.
    Line(String, Way),
    /// A mail, as it came, without what RFC 5321 section 4.5.2 puts into it.
    Mail(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    Tls,
}

/// What the relay does.
#[derive(Clone)]
pub struct Habits {
    /// TLS from the first byte on.
    pub implicit: Option<TlsAcceptor>,
    /// TLS after STARTTLS; the line is not offered without.
    pub starttls: Option<TlsAcceptor>,
    /// Answers to lines that begin so, one each time and then never again.
    pub once: Vec<(&'static str, &'static str)>,
    /// Answers to lines that begin so.
    pub always: Vec<(&'static str, &'static str)>,
    /// Comes right behind the answer to STARTTLS.
    pub slipped_in: &'static str,
    pub greeting: String,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            implicit: None,
            starttls: None,
            once: Vec::new(),
            always: Vec::new(),
            slipped_in: "",
            greeting: "220 relay ESMTP\r\n".to_owned(),
        }
    }
}

impl Relay {
    pub async fn start(habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::unbounded_channel();
        let once = Arc::new(parking_lot::Mutex::new(habits.once.clone()));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (habits, once, seen) = (habits.clone(), once.clone(), sender.clone());
                // A client that is displeased goes away.
                tokio::spawn(async move { Talk { habits, once, seen }.serve(stream).await });
            }
        });
        Self { port, seen }
    }

    /// What came next.
    pub async fn next(&mut self) -> Seen {
        crate::soon(self.seen.recv()).await.unwrap()
    }

    /// The next mail, and the lines before it.
    pub async fn mail(&mut self) -> (Vec<(String, Way)>, String) {
        let mut lines = Vec::new();
        loop {
            match self.next().await {
                Seen::Line(line, way) => lines.push((line, way)),
                Seen::Mail(mail) => return (lines, mail),
            }
        }
    }

    /// All that came and was not looked at.
    pub fn rest(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// The configuration of a mail target that goes here, with whatever else.
    pub fn toml(&self, tls: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "[[mail]]\nrelay = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\n\
            from = \"Holdfast <holdfast@example.org>\"\n\
            to = [\"Ada Öst <ada@example.org>\", \"bob@example.org\"]\n{more}"
        )
    }
}

struct Talk {
    habits: Habits,
    once: Arc<parking_lot::Mutex<Vec<(&'static str, &'static str)>>>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Talk {
    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        if let Some(tls) = &self.habits.implicit {
            let mut stream = tls.accept(stream).await.ok()?;
            stream.write_all(self.habits.greeting.as_bytes()).await.ok()?;
            return self.talk(&mut stream, Way::Tls).await;
        }
        stream.write_all(self.habits.greeting.as_bytes()).await.ok()?;
        self.talk(&mut stream, Way::Plain).await?;
        // It has asked for TLS.
        let tls = self.habits.starttls.as_ref()?;
        let mut stream = tls.accept(stream).await.ok()?;
        self.talk(&mut stream, Way::Tls).await
    }

    /// Answers lines until the client wants TLS or goes.
    async fn talk<S>(&self, stream: &mut S, way: Way) -> Option<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let line = read_until(stream, b"\r\n").await?;
            // The test may be over.
            let _ = self.seen.send(Seen::Line(line.clone(), way));
            let verb = line.split(' ').next()?.to_uppercase();
            let answer = self.answer(&line, &verb, way);
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            match verb.as_str() {
                "STARTTLS" => return Some(()),
                "QUIT" => return None,
                "DATA" if answer.starts_with("354") => {
                    let mail = read_until(stream, b"\r\n.\r\n").await?;
                    let _ = self.seen.send(Seen::Mail(mail.replace("\r\n..", "\r\n.")));
                    let answer = self.answer("the mail", "MAIL", way);
                    stream.write_all(answer.as_bytes()).await.ok()?;
                }
                _ => {}
            }
        }
    }

    fn answer(&self, line: &str, verb: &str, way: Way) -> String {
        let mut once = self.once.lock();
        if let Some(at) = once.iter().position(|(start, _)| line.starts_with(start)) {
            return format!("{}\r\n", once.remove(at).1);
        }
        let always = self.habits.always.iter().find(|(start, _)| line.starts_with(start));
        if let Some((_, answer)) = always {
            return format!("{answer}\r\n");
        }
        match (verb, way) {
            ("EHLO", Way::Plain) if self.habits.starttls.is_some() => {
                "250-relay\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n".to_owned()
            }
            ("EHLO", _) => "250-relay\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
            ("STARTTLS", _) => format!("220 go\r\n{}", self.habits.slipped_in),
            ("AUTH", _) => "235 welcome\r\n".to_owned(),
            ("DATA", _) => "354 go\r\n".to_owned(),
            ("QUIT", _) => "221 bye\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        }
    }
}

/// Text up to `end`, without it.
async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, end: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(stream.read_u8().await.ok()?);
    }
    bytes.truncate(bytes.len() - end.len());
    String::from_utf8(bytes).ok()
}
