//! Tells over the network what keeps the appliance from starting.
//!
//! Plain HTTP/1.1 on the port where the appliance's own API would be: 503 and a text.
//!
//! Invariant: a client costs at most so many bytes, so much time and so many connections, whatever
//! it sends; what it sends is not looked at. Once closed, the port is free.
//!
//! Absent on purpose: anything that changes anything.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;

/// An open door; it closes when it is dropped.
pub struct Door {
    text: Arc<Mutex<String>>,
    closing: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Door {
    /// Answers on `port` of all addresses.
    ///
    /// # Errors
    /// The system's: somebody has the port.
    pub fn open(port: u16, text: String) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        // A kernel without IPv6 has the other.
        let socket = TcpListener::bind(any)
            .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
        Self::on(socket, text)
    }

    fn on(socket: TcpListener, text: String) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let text = Arc::new(Mutex::new(text));
        let closing = Arc::new(AtomicBool::new(false));
        let (told, end) = (text.clone(), closing.clone());
        let listen = move || listen(&socket, &told, &end);
        let listener = Some(thread::Builder::new().name("door".to_owned()).spawn(listen)?);
        Ok(Self { text, closing, listener })
    }

    /// Tells this from now on.
    pub fn tell(&self, text: String) {
        *self.text.lock() = text;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(listener) = self.listener.take() {
            // It never panics; if it did, its socket is closed as well.
            _ = listener.join();
        }
    }
}

fn listen(socket: &TcpListener, text: &Mutex<String>, closing: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !closing.load(Ordering::Acquire) {
        let mut ready = [PollFd::new(socket, PollFlags::IN)];
        if !matches!(poll(&mut ready, Some(&moment)), Ok(1..)) {
            continue;
        }
        let Ok((client, _)) = socket.accept() else {
            // Out of descriptors, say: it would ask again at once.
            clock::pause(Duration::from_millis(50));
            continue;
        };
        if open.load(Ordering::Acquire) >= CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Ordering::AcqRel);
        let (answer, counted) = (answer(&text.lock()), open.clone());
        let serve = move || {
            // Whoever went away has no use for an answer.
            _ = serve(client, answer.as_bytes());
            counted.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("client".to_owned()).spawn(serve).is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Reads a request up to its end or limit, whatever it is, and answers.
fn serve(mut client: TcpStream, answer: &[u8]) -> io::Result<()> {
    let until = clock::since_boot() + PATIENCE;
    let left = || until.saturating_sub(clock::since_boot()).max(Duration::from_millis(1));
    client.set_nonblocking(false)?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 512];
    while request.len() < REQUEST_BYTES_MAX && clock::since_boot() < until {
        client.set_read_timeout(Some(left()))?;
        let count = client.read(&mut part)?;
        request.extend_from_slice(part.get(..count).unwrap_or_default());
        if count == 0 || request.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    client.write_all(answer)?;
    client.shutdown(Shutdown::Write)?;
    // Closed with something unread, the client would lose the answer.
    let mut rest = REQUEST_BYTES_MAX;
    while rest > 0 && clock::since_boot() < until {
        client.set_read_timeout(Some(left()))?;
        match client.read(&mut part)? {
            0 => break,
            count => rest = rest.saturating_sub(count),
        }
    }
    Ok(())
}

fn answer(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let text = text.get(..end).unwrap_or_default();
    let body = format!(
        "This appliance has not started.\n\n{text}\n\nIt looks again every few seconds. Its console \
         says more.\n"
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nRetry-After: 5\r\nCache-Control: no-store\r\nConnection: close\r\n\
         \r\n{body}",
        body.len()
    )
}

const CONNECTIONS_MAX: usize = 8;
const REQUEST_BYTES_MAX: usize = 8192;
const TEXT_BYTES_MAX: usize = 16 << 10;
/// For all of one connection, the answer's own time apart.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    /// An open door, and where it is.
    fn door(text: &str) -> (Door, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        (Door::on(socket, text.to_owned()).unwrap(), at)
    }

    fn ask(at: SocketAddr, request: &[u8]) -> String {
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn whoever_asks_is_told_what_is_wrong() {
        let (door, at) = door("two disks are empty");
        let said = ask(at, b"GET / HTTP/1.1\r\nHost: ada\r\n\r\n");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("text/plain") && body.contains("two disks are empty"), "{said}");
        door.tell("no disk at all".to_owned());
        assert!(ask(at, b"\r\n\r\n").contains("no disk at all"));
    }

    #[test]
    fn a_client_that_sends_without_end_gets_its_answer() {
        let (_door, at) = door("x");
        assert!(ask(at, &[b'x'; REQUEST_BYTES_MAX]).starts_with("HTTP/1.1 503 "));
    }

    #[test]
    fn clients_that_say_nothing_are_let_go_and_keep_nobody_out_for_long() {
        let (_door, at) = door("x");
        let silent: Vec<TcpStream> =
            (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(at).unwrap()).collect();
        // The last one was let in before the next is refused.
        let mut last = silent.last().unwrap();
        let began = clock::since_boot();
        assert!(matches!(last.read(&mut [0; 1]), Ok(0) | Err(_)));
        assert!(clock::since_boot() - began < PATIENCE * 2);
        assert!(ask(at, b"\r\n\r\n").starts_with("HTTP/1.1 503 "));
    }

    #[test]
    fn a_closed_door_leaves_its_port_to_the_appliance() {
        let (door, at) = door("x");
        ask(at, b"\r\n\r\n");
        drop(door);
        assert!(TcpListener::bind(at).is_ok());
    }

    #[test]
    fn a_long_story_is_cut() {
        let said = answer(&"é".repeat(TEXT_BYTES_MAX));
        assert!(said.len() < TEXT_BYTES_MAX + 1024);
    }
}
