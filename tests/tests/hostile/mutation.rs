//! Broken records, made of valid ones and of nothing.
//!
//! Invariant: the same draws make the same record. Handles are of the volume under attack alone, so
//! that no mutation is by chance a valid change to another one.

use tests::Random;
use tests::rpc::{MOUNT, NFS, Xdr, call, dial, exchange, root_of};

/// A volume under attack, with valid handles to break.
pub struct Prey {
    folder: Vec<u8>,
    file: Vec<u8>,
}

/// What goes to the socket.
pub struct Broken {
    pub bytes: Vec<u8>,
    /// What comes after it can't be told from it.
    pub ends_connection: bool,
}

impl Prey {
    /// Makes a file of a mebibyte in `volume`.
    pub fn find(volume: &str) -> Self {
        let folder = root_of(volume);
        let create = Xdr::default().opaque(&folder).opaque(b"prey").u32(0);
        let create = (0..6).fold(create, |args, _| args.u32(0));
        let reply = exchange(&mut dial(), &call(NFS, 8, 1, &create)).unwrap();
        let body = tests::rpc::results(&reply);
        // NFS3_OK, a handle follows, its length.
        assert_eq!(body[..8], [0, 0, 0, 0, 0, 0, 0, 1], "CREATE succeeds and gives a handle");
        let len = u32::from_be_bytes(body[8..12].try_into().unwrap()) as usize;
        let prey = Self { folder, file: body[12..12 + len].to_vec() };
        exchange(&mut dial(), &prey.write_of_a_mebibyte()).unwrap();
        prey
    }

    pub fn read_of_a_mebibyte(&self) -> Vec<u8> {
        call(NFS, 6, 2, &Xdr::default().opaque(&self.file).u64(0).u32(1 << 20))
    }

    pub fn write_of_a_mebibyte(&self) -> Vec<u8> {
        let data = vec![9; 1 << 20];
        let args = Xdr::default().opaque(&self.file).u64(0).u32(1 << 20).u32(0);
        call(NFS, 7, 3, &args.opaque(&data))
    }

    /// Any call that the door knows, all of them valid.
    pub fn any_call(&self, random: &mut Random) -> Vec<u8> {
        let xid = random.draw() as u32;
        if random.below(12) == 0 {
            return self.mount_call(xid, random);
        }
        let procedure = random.below(22) as u32;
        call(NFS, procedure, xid, &self.args(procedure, random))
    }

    /// Any call of MOUNT or rpcbind.
    pub fn any_datagram(&self, random: &mut Random) -> Vec<u8> {
        let xid = random.draw() as u32;
        if random.below(2) == 0 {
            return self.mount_call(xid, random);
        }
        let args = Xdr::default().u32(NFS.0).u32(3).u32(6).u32(0);
        let version = 2 + random.below(3) as u32;
        call((100_000, version), random.below(8) as u32, xid, &args)
    }

    fn mount_call(&self, xid: u32, random: &mut Random) -> Vec<u8> {
        let path = Xdr::default().opaque(b"/prey");
        call(MOUNT, random.below(6) as u32, xid, &path)
    }

    /// Arguments of each procedure (RFC 1813 section 3.3).
    fn args(&self, procedure: u32, random: &mut Random) -> Xdr {
        let name = format!("n{}", random.below(50)).into_bytes();
        let dir = Xdr::default().opaque(&self.folder);
        let file = Xdr::default().opaque(&self.file);
        let place = dir.clone().opaque(&name);
        let attributes = |args: Xdr| (0..6).fold(args, |args, _| args.u32(0));
        let offset = random.draw() % (4 << 20);
        match procedure {
            0 => Xdr::default(),
            1 | 5 | 18 | 19 | 20 => file,
            2 => attributes(file).u32(0),
            3 | 12 | 13 => place,
            4 => file.u32(0x3f),
            6 => file.u64(offset).u32(random.below(70_000) as u32),
            7 => {
                let len = random.below(5000);
                let data = random.bytes(len);
                file.u64(offset).u32(len as u32).u32(random.below(3) as u32).opaque(&data)
            }
            8 => attributes(place.u32(random.below(2) as u32)),
            9 => attributes(place),
            10 => attributes(place).opaque(b"target"),
            11 => attributes(place.u32(7)),
            14 => place.opaque(&self.folder).opaque(b"renamed"),
            15 => file.opaque(&self.folder).opaque(&name),
            16 => dir.u64(0).u64(0).u32(4096),
            17 => dir.u64(0).u64(0).u32(4096).u32(32_768),
            21 => file.u64(0).u32(0),
            other => panic!("there is no procedure {other}"),
        }
    }
}

/// Breaks a call in one of many ways.
pub fn mutated(call: &[u8], random: &mut Random) -> Broken {
    match random.below(10) {
        0 => {
            let len = random.below(2000);
            whole(marked(&random.bytes(len)))
        }
        1 | 2 => whole(marked(&with_flips(call.to_vec(), random))),
        3 => whole(marked(&call[..random.below(call.len())])),
        4 | 5 => whole(marked(&with_lies(call.to_vec(), random))),
        6 => whole(in_fragments(&with_flips(call.to_vec(), random), random)),
        7 => {
            let len = 1 + random.below(300);
            whole(marked(&[call, &random.bytes(len)].concat()))
        }
        8 => {
            // What follows is taken for marks, or never comes.
            let len = random.below(2 * call.len()) as u32;
            last([&(0x8000_0000 | len).to_be_bytes(), call].concat())
        }
        _ => {
            // Longer than any record may be, in one fragment or more.
            let len = (2 << 20) + random.below(1 << 28) as u32;
            let only = (random.below(2) as u32) << 31;
            last([&(only | len).to_be_bytes(), call].concat())
        }
    }
}

fn whole(bytes: Vec<u8>) -> Broken {
    Broken { bytes, ends_connection: false }
}

fn last(bytes: Vec<u8>) -> Broken {
    Broken { bytes, ends_connection: true }
}

/// Some words replaced by lengths that lie.
pub fn with_lies(mut call: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let lies = [0, 1, 3, 255, 401, 1 << 16, 1 << 20, 1 << 30, 0x7fff_ffff, 1 << 31, u32::MAX];
    for _ in 0..=random.below(2) {
        // Words before the procedure's number are no lengths, and change little.
        let words = call.len() / 4;
        let at = 4 * (5 + random.below(words - 5));
        call[at..at + 4].copy_from_slice(&lies[random.below(lies.len())].to_be_bytes());
    }
    call
}

fn with_flips(mut call: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(8) {
        let at = random.below(call.len());
        call[at] ^= 1 << random.below(8);
    }
    call
}

/// A record of one fragment.
fn marked(message: &[u8]) -> Vec<u8> {
    tests::rpc::record(message)
}

/// A record in fragments, some of them empty.
fn in_fragments(message: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(random.below(40).min(rest.len()));
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
        rest = after;
    }
    bytes.extend_from_slice(&0x8000_0000_u32.to_be_bytes());
    bytes
}
