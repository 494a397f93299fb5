//! A receiver of webhooks: takes every notice and keeps it.
//!
//! Invariant: whatever is sent is answered 204 and kept in the order of its arrival. Absent on
//! purpose: TLS and signatures, which the crate `notices` tests against receivers of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// A receiver in the network in which it was started. Its thread ends with the test.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// One that listens at `address`, on a port of its own.
    ///
    /// # Panics
    /// If the address is not there.
    #[must_use]
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("it listens"));
        let taken = Arc::<Mutex<Vec<Value>>>::default();
        let keep = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up early sends it again.
                let _ = take(stream, &keep);
            }
        });
        Self { url, taken }
    }

    /// Where notices are to be sent.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What has arrived.
    ///
    /// # Panics
    /// If the receiver did.
    #[must_use]
    pub fn taken(&self) -> Vec<Value> {
        self.taken.lock().expect("it takes notices").clone()
    }
}

fn take(stream: TcpStream, keep: &Mutex<Vec<Value>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), None);
        while reader.read_line(&mut line)? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
            line.clear();
        }
        let Some(length) = length else { return Ok(()) };
        let mut body = Vec::new();
        (&mut reader).take(length).read_to_end(&mut body)?;
        keep.lock().expect("it takes notices").push(serde_json::from_slice(&body)?);
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

/// A sender that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);
