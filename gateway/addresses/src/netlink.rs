//! A conversation with the kernel over netlink (RFC 3549): one question, all its answers.
//!
//! Invariant: answers are those to the question; what a conversation that broke off left behind is
//! skipped. Nothing that arrives can make this process panic, or grow without bound. Absent on
//! purpose: what is asked.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv,
    send, socket_with,
};

/// A socket to one part of the kernel, for one question at a time.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    line: Mutex<Line>,
}

/// What one question at a time uses.
#[derive(Debug)]
struct Line {
    sequence: u32,
    room: Vec<u8>,
}

/// Some of what the kernel listed.
#[derive(Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// Whether there was more than was wanted.
    pub cut: bool,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// What was listed changed meanwhile: some of it may be missing.
    Torn,
}

impl Netlink {
    /// A socket to the kernel's part `protocol`; rtnetlink is None.
    pub fn open(protocol: Option<Protocol>) -> IoResult<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::RAW, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // From here on only the kernel is heard.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_MAX))?;
        let line = Line { sequence: 0, room: vec![0; DATAGRAM_BYTES_MAX] };
        Ok(Self { socket, line: Mutex::new(line) })
    }

    /// Has something done; `flags` are added to those of a request.
    pub fn order<M>(&self, flags: u16, message: M) -> IoResult<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.converse(NLM_F_ACK | flags, message, |_| {}).map(|_| ())
    }

    /// Asks for one thing.
    pub fn get<M>(&self, message: M) -> IoResult<Option<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut got = None;
        self.converse(NLM_F_ACK, message, |answer| got = Some(answer))?;
        Ok(got)
    }

    /// Asks for a list, and has what `wanted` makes of it: at most `most`.
    pub fn list<M, T>(
        &self,
        message: M,
        most: usize,
        wanted: impl Fn(M) -> Option<T>,
    ) -> IoResult<Listed<T>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..LIST_TRIES {
            let mut listed = Listed { items: Vec::new(), cut: false };
            let end = self.converse(NLM_F_DUMP, message.clone(), |answer| {
                if let Some(item) = wanted(answer) {
                    if listed.items.len() < most {
                        listed.items.push(item);
                    } else {
                        listed.cut = true;
                    }
                }
            })?;
            if end == End::Whole {
                return Ok(listed);
            }
        }
        Err(IoError::new(ErrorKind::Interrupted, "it changes faster than it is listed"))
    }

    /// Asks, and hears every answer: a list whose rest nobody fetches would stand in the way of
    /// the next one.
    fn converse<M>(&self, flags: u16, message: M, mut hear: impl FnMut(M)) -> IoResult<End>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut line = self.line.lock();
        let Line { sequence, room } = &mut *line;
        *sequence = sequence.wrapping_add(1);
        let request = request(NLM_F_REQUEST | flags, *sequence, message);
        send(&self.socket, &request, SendFlags::empty())?;
        let mut heard = Heard { sequence: *sequence, end: End::Whole, wrong: None };
        loop {
            let bytes = match recv(&self.socket, &mut room[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
                Err(fault) => return Err(fault.into()),
                Ok((_, whole)) if whole > room.len() => return Err(unreadable("too long")),
                Ok((read, _)) => &room[..read],
            };
            if let Some(ended) = heard.datagram(bytes, &mut hear) {
                ended?;
                return heard.wrong.map_or(Ok(heard.end), Err);
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What was heard of one conversation so far.
struct Heard {
    sequence: u32,
    end: End,
    /// The first answer that was not understood.
    wrong: Option<IoError>,
}

impl Heard {
    /// The messages of one datagram; Some if one of them ends the conversation.
    fn datagram<M>(&mut self, mut bytes: &[u8], hear: &mut impl FnMut(M)) -> Option<IoResult<()>>
    where
        M: NetlinkDeserializable,
    {
        while !bytes.is_empty() {
            // Checks that the length that it tells is all there.
            let header = match NetlinkBuffer::new_checked(bytes) {
                Ok(header) => header,
                Err(bad) => return Some(Err(unreadable(bad))),
            };
            let length = header.length() as usize;
            let (torn, ours) =
                (header.flags() & NLM_F_DUMP_INTR != 0, header.sequence_number() == self.sequence);
            let (message, _) = bytes.split_at(length.min(bytes.len()));
            bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
            if !ours {
                continue;
            }
            if torn {
                self.end = End::Torn;
            }
            if let Some(ended) = self.message(message, hear) {
                return Some(ended);
            }
        }
        None
    }

    fn message<M>(&mut self, bytes: &[u8], hear: &mut impl FnMut(M)) -> Option<IoResult<()>>
    where
        M: NetlinkDeserializable,
    {
        match NetlinkMessage::<M>::deserialize(bytes).map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(answer)) => {
                hear(answer);
                None
            }
            Ok(NetlinkPayload::Error(said)) => Some(outcome(said.raw_code())),
            Ok(NetlinkPayload::Done(said)) => Some(outcome(said.code)),
            Ok(NetlinkPayload::Noop) => None,
            // An overrun, which no kernel sends, or what the library learns in the future.
            Ok(_) => Some(Err(unreadable("neither answer nor end"))),
            Err(bad) => {
                self.wrong.get_or_insert_with(|| unreadable(bad));
                None
            }
        }
    }
}

/// What a code at the end of a conversation says; a fault is an error number, made negative.
fn outcome(code: i32) -> IoResult<()> {
    if code < 0 { Err(IoError::from_raw_os_error(code.saturating_neg())) } else { Ok(()) }
}

fn request<M: NetlinkSerializable>(flags: u16, sequence: u32, message: M) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut whole = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    whole.finalize();
    let mut bytes = vec![0; whole.buffer_len()];
    whole.serialize(&mut bytes);
    bytes
}

fn unreadable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> IoError {
    IoError::new(ErrorKind::InvalidData, what)
}

/// The kernel answers within the call that asks; this is for one that forgets to.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The kernel makes lists in datagrams of at most 32 KiB (`netlink_dump` in
/// `net/netlink/af_netlink.c`).
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// How often a list that changes meanwhile is asked for.
const LIST_TRIES: u32 = 4;

/// `NLMSG_ALIGNTO` of `linux/netlink.h`.
const ALIGNMENT: usize = 4;

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;

    use super::*;

    fn heard(bytes: &[u8]) -> (Option<Result<(), ErrorKind>>, usize, Heard) {
        let mut heard = Heard { sequence: 7, end: End::Whole, wrong: None };
        let mut count = 0;
        let ended = heard.datagram(bytes, &mut |_: RouteNetlinkMessage| count += 1);
        (ended.map(|outcome| outcome.map_err(|e| e.kind())), count, heard)
    }

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    #[test]
    fn answers_to_an_earlier_question_are_skipped() {
        let address = [2, 24, 0, 0, 1, 0, 0, 0];
        let datagram = [
            message(20, 6, &address),
            message(3, 6, &0_i32.to_ne_bytes()),
            message(20, 7, &address),
            message(3, 7, &0_i32.to_ne_bytes()),
        ];
        let (ended, count, _) = heard(&datagram.concat());
        assert_eq!((ended, count), (Some(Ok(())), 1));
    }

    #[test]
    fn a_refusal_is_the_kernels_own_error() {
        let refusal = message(2, 7, &[(-1_i32).to_ne_bytes().as_slice(), &[0; 16]].concat());
        assert_eq!(heard(&refusal).0, Some(Err(ErrorKind::PermissionDenied)));
    }

    #[test]
    fn an_answer_that_is_not_understood_does_not_end_the_conversation() {
        let datagram = [message(20, 7, &[2]), message(3, 7, &0_i32.to_ne_bytes())].concat();
        let (ended, count, heard) = heard(&datagram);
        assert_eq!((ended, count), (Some(Ok(())), 0));
        assert_eq!(heard.wrong.unwrap().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn bytes_that_are_no_messages_are_refused() {
        let whole = message(3, 7, &0_i32.to_ne_bytes());
        for length in 1..whole.len() {
            assert!(matches!(heard(&whole[..length]).0, Some(Err(_))), "{length} bytes");
        }
        let mut endless = whole;
        endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert!(matches!(heard(&endless).0, Some(Err(_))));
    }

    #[test]
    fn a_long_list_is_cut_and_the_next_question_is_answered_all_the_same() {
        let netlink = Netlink::open(None).unwrap();
        let all = || RouteNetlinkMessage::GetAddress(Default::default());
        // Two: the loopback's addresses are everywhere, or one of them is the only address.
        let whole = netlink.list(all(), usize::MAX, Some).unwrap();
        assert!(!whole.cut);
        let none = netlink.list(all(), 0, Some).unwrap();
        assert_eq!((none.items.len(), none.cut), (0, !whole.items.is_empty()));
        assert_eq!(netlink.list(all(), usize::MAX, Some).unwrap().items.len(), whole.items.len());
    }
}
