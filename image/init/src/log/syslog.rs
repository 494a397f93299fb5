//! A syslog server: how a line is written for it, and how it gets there.
//!
//! Invariant: a message is one datagram, or one counted frame; no line can make two of them. Absent
//! on purpose: encryption, and answers: a server says nothing.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::Duration;

use super::queue::{Next, Queue};
use super::{Line, OWN_NAME, Severity};
use crate::clock;
use crate::config::{SyslogTarget, Transport};
use crate::utc;

/// Sends what comes out of `queue` to `target`, for ever.
pub fn start(target: SyslogTarget, host_name: String, queue: Queue) {
    let tell = move || {
        let mut way = Way::Closed;
        loop {
            let line = match queue.next() {
                Next::Line(line) => line,
                Next::Dropped(count) => Line {
                    program: OWN_NAME.into(),
                    severity: Severity::Warning,
                    at: clock::wall(),
                    text: format!("{count} lines were dropped: the syslog server was too slow"),
                },
            };
            let text = message(&line, &host_name);
            let mut pause = PAUSE_MIN;
            while way.send(&target, &text).is_err() {
                way = Way::Closed;
                clock::pause(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    };
    // Without a thread nobody there hears; the consoles still do.
    _ = thread::Builder::new().name("syslog".to_owned()).spawn(tell);
}

/// The message of a line (RFC 5424 section 6), without a frame.
fn message(line: &Line, host_name: &str) -> String {
    let severity = match line.severity {
        Severity::Error => 3,
        Severity::Warning => 4,
        Severity::Info => 6,
    };
    let priority = FACILITY_DAEMON * 8 + severity;
    // A machine that can't tell the time says so.
    let at = match clock::is_set(line.at) {
        true => utc::rfc3339(line.at),
        false => "-".to_owned(),
    };
    let Line { program, text, .. } = line;
    format!("<{priority}>1 {at} {host_name} {program} - - - {text}")
}

/// The frame of a message in a stream (RFC 6587 section 3.4.1).
fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

enum Way {
    Closed,
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Way {
    fn send(&mut self, target: &SyslogTarget, message: &str) -> io::Result<()> {
        if let Self::Closed = self {
            *self = Self::open(target)?;
        }
        match self {
            Self::Closed => Ok(()),
            Self::Udp(socket) => match socket.send(message.as_bytes()) {
                // An earlier datagram found nobody; the socket is as good as before.
                Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                sent => sent.map(|_| ()),
            },
            Self::Tcp(stream) => stream.write_all(counted(message).as_bytes()),
        }
    }

    fn open(target: &SyslogTarget) -> io::Result<Self> {
        let mut last = io::Error::other("the name has no address");
        for address in (target.host.as_str(), target.port).to_socket_addrs()? {
            match Self::to(address, target.transport) {
                Ok(way) => return Ok(way),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn to(address: SocketAddr, transport: Transport) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let any = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
        }
    }
}

/// RFC 5424 section 6.2.1: system daemons.
const FACILITY_DAEMON: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn line(text: &str) -> Line {
        Line {
            program: "holdfast".into(),
            severity: Severity::Error,
            at: Duration::new(1_798_761_599, 5),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_message_has_the_form_of_the_standard() {
        let said = message(&line("the disk is full"), "ada");
        assert_eq!(said, "<27>1 2026-12-31T23:59:59Z ada holdfast - - - the disk is full");
        let unset = Line { at: Duration::from_secs(5), ..line("x") };
        assert_eq!(message(&unset, "ada"), "<27>1 - ada holdfast - - - x");
        let info = Line { severity: Severity::Info, ..line("x") };
        assert!(message(&info, "ada").starts_with("<30>1 "));
        assert_eq!(counted("é x"), "4 é x", "octets, not characters");
    }

    fn target(address: SocketAddr, transport: Transport) -> SyslogTarget {
        SyslogTarget { transport, host: address.ip().to_string(), port: address.port() }
    }

    #[test]
    fn lines_arrive_as_datagrams() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let queue = Queue::new(10);
        queue.push(line("one"));
        queue.push(line("two"));
        start(target(server.local_addr().unwrap(), Transport::Udp), "ada".to_owned(), queue);
        let mut buffer = [0; 2048];
        for text in ["one", "two"] {
            let len = server.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], *message(&line(text), "ada").as_bytes());
        }
    }

    #[test]
    fn lines_arrive_in_a_stream_and_a_server_that_comes_late_misses_none() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let queue = Queue::new(10);
        queue.push(line("one"));
        start(target(port, Transport::Tcp), "ada".to_owned(), queue.clone());
        while !queue.has_hearer() {
            clock::pause(Duration::from_millis(5));
        }
        let server = TcpListener::bind(port).unwrap();
        queue.push(line("two"));
        let (mut stream, _) = server.accept().unwrap();
        let wanted = ["one", "two"].map(|text| counted(&message(&line(text), "ada"))).concat();
        let mut got = vec![0; wanted.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), wanted);
    }
}
