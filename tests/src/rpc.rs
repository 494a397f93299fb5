//! Calls as raw bytes, for tests that need to break them.
//!
//! Written from RFC 5531 and RFC 1813 alone, so it shares no mistake with the appliance's codec.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::client::nfs_address;

/// The NFS program and its version.
pub const NFS: (u32, u32) = (100_003, 3);

/// The MOUNT program and its version.
pub const MOUNT: (u32, u32) = (100_005, 3);

/// How durable a WRITE asks to be: not at all.
pub const UNSTABLE: u32 = 0;

/// How durable a WRITE asks to be: with all that is needed to find it again.
pub const FILE_SYNC: u32 = 2;

const WRITE: u32 = 7;

/// Bytes in XDR: everything big-endian and padded to four.
#[derive(Debug, Clone, Default)]
pub struct Xdr(pub Vec<u8>);

impl Xdr {
    /// Adds a 32-bit number.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds a 64-bit number.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds bytes of any length: the length, the bytes, the padding.
    #[must_use]
    pub fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.u32(u32::try_from(bytes.len()).expect("tests send small things"));
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A call message (AUTH_SYS, root) without the record mark.
#[must_use]
pub fn call((program, version): (u32, u32), procedure: u32, xid: u32, args: &Xdr) -> Vec<u8> {
    let credential = Xdr::default().u32(7).opaque(b"tests").u32(0).u32(0).u32(0);
    let header = Xdr::default()
        .u32(xid)
        .u32(0)
        .u32(2)
        .u32(program)
        .u32(version)
        .u32(procedure)
        .u32(1)
        .opaque(&credential.0)
        .u32(0)
        .u32(0);
    [header.0, args.0.clone()].concat()
}

/// The call that writes `bytes` at `offset` of `file` (RFC 1813 section 3.3.7).
#[must_use]
pub fn write_call(xid: u32, file: &[u8], offset: u64, bytes: &[u8], stable: u32) -> Vec<u8> {
    let count = u32::try_from(bytes.len()).expect("tests send small things");
    let args = Xdr::default().opaque(file).u64(offset).u32(count).u32(stable).opaque(bytes);
    call(NFS, WRITE, xid, &args)
}

/// A message as one record of one fragment.
#[must_use]
pub fn record(message: &[u8]) -> Vec<u8> {
    let mark = 0x8000_0000 | u32::try_from(message.len()).expect("tests send small things");
    [&mark.to_be_bytes(), message].concat()
}

/// A plain connection to the NFS port, with a limit of time on every read and write.
#[must_use]
pub fn dial() -> TcpStream {
    let stream = TcpStream::connect(nfs_address()).expect("the appliance listens");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("a socket option");
    stream.set_write_timeout(Some(ANSWER_MAX)).expect("a socket option");
    stream
}

/// Reads one record.
///
/// # Errors
/// Whatever the socket says; UnexpectedEof when the appliance closed the connection.
pub fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut mark = [0; 4];
        stream.read_exact(&mut mark)?;
        let mark = u32::from_be_bytes(mark);
        let start = message.len();
        message.resize(start + (mark & 0x7fff_ffff) as usize, 0);
        stream.read_exact(&mut message[start..])?;
        if mark & 0x8000_0000 != 0 {
            return Ok(message);
        }
    }
}

/// Sends one call and gives the reply's message.
///
/// # Errors
/// Whatever the socket says.
pub fn exchange(stream: &mut TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&record(message))?;
    receive(stream)
}

/// What an accepted reply carries after its header; panics if the call was not accepted.
#[must_use]
pub fn results(reply: &[u8]) -> &[u8] {
    let word = |n: usize| u32::from_be_bytes(reply[4 * n..4 * n + 4].try_into().unwrap());
    assert_eq!((word(1), word(2)), (1, 0), "a reply that accepts the call");
    // The verifier's flavor and length come before the status of acceptance.
    let after = 4 * 5 + word(4).next_multiple_of(4) as usize;
    assert_eq!(reply[after..after + 4], [0; 4], "the call succeeded");
    &reply[after + 4..]
}

/// The handle of the root of `volume`, by MNT over the NFS port.
#[must_use]
pub fn root_of(volume: &str) -> Vec<u8> {
    let path = Xdr::default().opaque(format!("/{volume}").as_bytes());
    let reply = exchange(&mut dial(), &call(MOUNT, 1, 1, &path)).expect("MNT is answered");
    let body = results(&reply);
    assert_eq!(body[..4], [0; 4], "MNT of /{volume} succeeds");
    let len = u32::from_be_bytes(body[4..8].try_into().unwrap()) as usize;
    body[8..8 + len].to_vec()
}

/// Nothing that a test asks for takes longer on a healthy appliance.
const ANSWER_MAX: Duration = Duration::from_secs(20);
