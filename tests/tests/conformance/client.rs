//! A client that calls as it likes: any transaction id, any credential, calls repeated or broken.
//!
//! Invariant: its types are the `nfs3_types` crate's and its framing is written here from RFC
//! 5531, so it shares no mistake with the appliance. A reply must decode to its last byte.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nfs3_client::nfs3_types::nfs3::*;
use nfs3_client::nfs3_types::xdr_codec::{Opaque, Pack, Unpack};
use rustix::net::{AddressFamily, SocketType};
use tests::nfs_address;
use tests::rpc::{MOUNT, NFS, Xdr, dial, exchange, receive, record, results};

/// What a client claims to be.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// AUTH_NONE.
    Nobody,
    /// AUTH_SYS.
    Sys { stamp: u32, uid: u32, gid: u32, gids: &'a [u32] },
    /// Another flavor, with a body of zeros.
    Flavor(u32),
}

impl Credential<'_> {
    /// The superuser.
    pub const ROOT: Self = Self::user(0);

    /// A user with the group of the same number.
    pub const fn user(id: u32) -> Self {
        Self::Sys { stamp: 7, uid: id, gid: id, gids: &[] }
    }

    fn encode(self, message: Xdr) -> Xdr {
        match self {
            Self::Nobody => message.u32(0).u32(0),
            Self::Flavor(flavor) => message.u32(flavor).opaque(&[0; 8]),
            Self::Sys { stamp, uid, gid, gids } => {
                let count = u32::try_from(gids.len()).unwrap();
                let body = Xdr::default().u32(stamp).opaque(b"tests").u32(uid).u32(gid).u32(count);
                let body = gids.iter().fold(body, |body, gid| body.u32(*gid));
                message.u32(1).opaque(&body.0)
            }
        }
    }
}

/// A call that can be sent again.
#[derive(Clone, Debug)]
pub struct Call {
    pub xid: u32,
    pub procedure: NFS_PROGRAM,
    pub args: Vec<u8>,
}

impl Call {
    /// A call with a transaction id that no other has.
    pub fn new(procedure: NFS_PROGRAM, args: &impl Pack) -> Self {
        Self { xid: fresh_xid(), procedure, args: packed(args) }
    }

    /// The message, without the record mark.
    pub fn message(&self, who: Credential<'_>) -> Vec<u8> {
        message(self.xid, NFS, self.procedure as u32, who, &self.args)
    }
}

/// A call message (RFC 5531 section 9).
pub fn message(
    xid: u32,
    (program, version): (u32, u32),
    procedure: u32,
    who: Credential<'_>,
    args: &[u8],
) -> Vec<u8> {
    let header = Xdr::default().u32(xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
    let header = who.encode(header).u32(0).u32(0);
    [header.0, args.to_vec()].concat()
}

/// A transaction id that no other call of this process has.
pub fn fresh_xid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0x5000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One connection and one user.
pub struct Client {
    pub stream: TcpStream,
    pub who: Credential<'static>,
}

impl Client {
    pub fn new(who: Credential<'static>) -> Self {
        Self { stream: dial(), who }
    }

    /// Calls from another address or port of this machine.
    pub fn from_address(who: Credential<'static>, from: SocketAddr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &from).unwrap();
        rustix::net::connect(&socket, &nfs_address()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, who }
    }

    /// The same connection in another user's name.
    pub fn become_user(&mut self, who: Credential<'static>) -> &mut Self {
        self.who = who;
        self
    }

    /// Sends a call, maybe not for the first time, and gives its results as bytes.
    pub fn send(&mut self, call: &Call) -> Vec<u8> {
        let reply = exchange(&mut self.stream, &call.message(self.who)).unwrap();
        assert_eq!(reply[..4], call.xid.to_be_bytes(), "an answer to this call");
        results(&reply).to_vec()
    }

    /// Makes a call.
    pub fn call<R: Unpack>(&mut self, procedure: NFS_PROGRAM, args: &impl Pack) -> R {
        let call = Call::new(procedure, args);
        unpacked(&self.send(&call))
    }

    /// Makes many calls of one kind without waiting for answers in between; gives the results in
    /// the order of the calls.
    pub fn call_all<R: Unpack>(&mut self, calls: &[Call]) -> Vec<R> {
        use std::io::Write;
        let first = calls.first().map_or(0, |call| call.xid);
        let mut answers: Vec<Option<R>> = calls.iter().map(|_| None).collect();
        let who = self.who;
        let mut sender = self.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for window in calls.chunks(256) {
                    let records = window.iter().map(|call| record(&call.message(who)));
                    sender.write_all(&records.collect::<Vec<_>>().concat()).unwrap();
                }
            });
            for _ in calls {
                let reply = receive(&mut self.stream).unwrap();
                let xid = u32::from_be_bytes(reply[..4].try_into().unwrap());
                let at = calls.iter().position(|call| call.xid == xid);
                // Almost always they are numbered in a row.
                let guess = xid.wrapping_sub(first) as usize;
                let at = if calls.get(guess).is_some_and(|call| call.xid == xid) {
                    guess
                } else {
                    at.expect("an answer to one of these calls")
                };
                answers[at] = Some(unpacked(results(&reply)));
            }
        });
        answers.into_iter().map(|answer| answer.expect("every call is answered once")).collect()
    }

    /// A call of MOUNT over the NFS port; its results as bytes.
    pub fn mount_call(&mut self, procedure: u32, args: &Xdr) -> Vec<u8> {
        let message = message(fresh_xid(), MOUNT, procedure, self.who, &args.0);
        results(&exchange(&mut self.stream, &message).unwrap()).to_vec()
    }

    /// MNT: the handle, or the status.
    pub fn mnt(&mut self, path: &[u8]) -> Result<nfs_fh3, u32> {
        let answer = self.mount_call(1, &Xdr::default().opaque(path));
        match u32::from_be_bytes(answer[..4].try_into().unwrap()) {
            0 => Ok(nfs_fh3::unpack(&mut &answer[4..]).unwrap().0),
            status => Err(status),
        }
    }

    /// The root of a volume.
    pub fn root(&mut self, volume: &str) -> nfs_fh3 {
        self.mnt(format!("/{volume}").as_bytes()).expect("the volume is exported to us")
    }
}

/// The procedures; each gives the protocol's own answer.
impl Client {
    pub fn try_getattr(&mut self, object: &nfs_fh3) -> GETATTR3res {
        let args = GETATTR3args { object: object.clone() };
        self.call(NFS_PROGRAM::NFSPROC3_GETATTR, &args)
    }

    pub fn getattr(&mut self, object: &nfs_fh3) -> fattr3 {
        self.try_getattr(object).unwrap().obj_attributes
    }

    pub fn setattr(&mut self, object: &nfs_fh3, new_attributes: sattr3) -> SETATTR3res {
        self.setattr_guarded(object, new_attributes, Nfs3Option::None)
    }

    pub fn setattr_guarded(
        &mut self,
        object: &nfs_fh3,
        new_attributes: sattr3,
        guard: sattrguard3,
    ) -> SETATTR3res {
        let args = SETATTR3args { object: object.clone(), new_attributes, guard };
        self.call(NFS_PROGRAM::NFSPROC3_SETATTR, &args)
    }

    pub fn chmod(&mut self, object: &nfs_fh3, mode: u32) {
        self.setattr(object, with_mode(mode)).unwrap();
    }

    pub fn chown(&mut self, object: &nfs_fh3, uid: u32, gid: u32) {
        let (uid, gid) = (Nfs3Option::Some(uid), Nfs3Option::Some(gid));
        self.setattr(object, sattr3 { uid, gid, ..sattr3::default() }).unwrap();
    }

    pub fn lookup(&mut self, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> LOOKUP3res {
        let args = LOOKUP3args { what: place(dir, name) };
        self.call(NFS_PROGRAM::NFSPROC3_LOOKUP, &args)
    }

    pub fn access(&mut self, object: &nfs_fh3, access: u32) -> u32 {
        let args = ACCESS3args { object: object.clone(), access };
        let answer: Nfs3Result<ACCESS3resok, ACCESS3resfail> =
            self.call(NFS_PROGRAM::NFSPROC3_ACCESS, &args);
        answer.unwrap().access
    }

    pub fn readlink(&mut self, symlink: &nfs_fh3) -> READLINK3res<'static> {
        let args = READLINK3args { symlink: symlink.clone() };
        self.call(NFS_PROGRAM::NFSPROC3_READLINK, &args)
    }

    pub fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> READ3res<'static> {
        let args = READ3args { file: file.clone(), offset, count };
        self.call(NFS_PROGRAM::NFSPROC3_READ, &args)
    }

    pub fn write(
        &mut self,
        file: &nfs_fh3,
        offset: u64,
        data: &[u8],
        stable: stable_how,
    ) -> WRITE3res {
        self.call(NFS_PROGRAM::NFSPROC3_WRITE, &write_args(file, offset, data, stable))
    }

    /// Writes unstably; all of it must be taken.
    pub fn put(&mut self, file: &nfs_fh3, offset: u64, data: &[u8]) -> WRITE3resok {
        let written = self.write(file, offset, data, stable_how::UNSTABLE).unwrap();
        assert_eq!(written.count as usize, data.len());
        written
    }

    pub fn commit(&mut self, file: &nfs_fh3) -> COMMIT3res {
        let args = COMMIT3args { file: file.clone(), offset: 0, count: 0 };
        self.call(NFS_PROGRAM::NFSPROC3_COMMIT, &args)
    }

    pub fn try_create(
        &mut self,
        dir: &nfs_fh3,
        name: impl AsRef<[u8]>,
        how: createhow3,
    ) -> CREATE3res {
        let args = CREATE3args { where_: place(dir, name), how };
        self.call(NFS_PROGRAM::NFSPROC3_CREATE, &args)
    }

    /// A file with mode 0644.
    pub fn create(&mut self, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> nfs_fh3 {
        let made = self.try_create(dir, name, createhow3::UNCHECKED(with_mode(0o644)));
        made.unwrap().obj.unwrap()
    }

    pub fn try_mkdir(&mut self, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> MKDIR3res {
        let args = MKDIR3args { where_: place(dir, name), attributes: with_mode(0o755) };
        self.call(NFS_PROGRAM::NFSPROC3_MKDIR, &args)
    }

    pub fn mkdir(&mut self, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> nfs_fh3 {
        self.try_mkdir(dir, name).unwrap().obj.unwrap()
    }

    pub fn try_symlink(
        &mut self,
        dir: &nfs_fh3,
        name: impl AsRef<[u8]>,
        target: &[u8],
    ) -> SYMLINK3res {
        let symlink = symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: nfspath3(Opaque::borrowed(target)),
        };
        let args = SYMLINK3args { where_: place(dir, name), symlink };
        self.call(NFS_PROGRAM::NFSPROC3_SYMLINK, &args)
    }

    pub fn mknod(
        &mut self,
        dir: &nfs_fh3,
        name: impl AsRef<[u8]>,
        what: mknoddata3,
    ) -> Nfs3Result<MKNOD3resok, MKNOD3resfail> {
        let args = MKNOD3args { where_: place(dir, name), what };
        self.call(NFS_PROGRAM::NFSPROC3_MKNOD, &args)
    }

    pub fn remove(&mut self, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> REMOVE3res {
        let args = REMOVE3args { object: place(dir, name) };
        self.call(NFS_PROGRAM::NFSPROC3_REMOVE, &args)
    }

    pub fn rmdir(
        &mut self,
        dir: &nfs_fh3,
        name: impl AsRef<[u8]>,
    ) -> Nfs3Result<RMDIR3resok, RMDIR3resfail> {
        let args = RMDIR3args { object: place(dir, name) };
        self.call(NFS_PROGRAM::NFSPROC3_RMDIR, &args)
    }

    pub fn rename(
        &mut self,
        (from_dir, from): (&nfs_fh3, &str),
        (to_dir, to): (&nfs_fh3, &str),
    ) -> RENAME3res {
        let args = RENAME3args { from: place(from_dir, from), to: place(to_dir, to) };
        self.call(NFS_PROGRAM::NFSPROC3_RENAME, &args)
    }

    pub fn link(&mut self, file: &nfs_fh3, dir: &nfs_fh3, name: impl AsRef<[u8]>) -> LINK3res {
        let args = LINK3args { file: file.clone(), link: place(dir, name) };
        self.call(NFS_PROGRAM::NFSPROC3_LINK, &args)
    }

    pub fn readdir(
        &mut self,
        dir: &nfs_fh3,
        (cookie, cookieverf): (u64, cookieverf3),
        count: u32,
    ) -> READDIR3res<'static> {
        let args = READDIR3args { dir: dir.clone(), cookie, cookieverf, count };
        self.call(NFS_PROGRAM::NFSPROC3_READDIR, &args)
    }

    pub fn readdirplus(
        &mut self,
        dir: &nfs_fh3,
        (cookie, cookieverf): (u64, cookieverf3),
        (dircount, maxcount): (u32, u32),
    ) -> READDIRPLUS3res<'static> {
        let args = READDIRPLUS3args { dir: dir.clone(), cookie, cookieverf, dircount, maxcount };
        self.call(NFS_PROGRAM::NFSPROC3_READDIRPLUS, &args)
    }

    /// All names of a directory but `.` and `..`, in the order of their cookies.
    pub fn names(&mut self, dir: &nfs_fh3) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut after = (0, cookieverf3::default());
        loop {
            let page = self.readdir(dir, after, 1 << 16).unwrap();
            for entry in page.reply.entries.0 {
                after = (entry.cookie, page.cookieverf);
                names.push(entry.name.as_ref().to_vec());
            }
            if page.reply.eof {
                names.retain(|name| name != b"." && name != b"..");
                return names;
            }
        }
    }

    pub fn fsstat(&mut self, object: &nfs_fh3) -> FSSTAT3resok {
        let args = FSSTAT3args { fsroot: object.clone() };
        let answer: FSSTAT3res = self.call(NFS_PROGRAM::NFSPROC3_FSSTAT, &args);
        answer.unwrap()
    }

    pub fn fsinfo(&mut self, object: &nfs_fh3) -> FSINFO3resok {
        let args = FSINFO3args { fsroot: object.clone() };
        let answer: FSINFO3res = self.call(NFS_PROGRAM::NFSPROC3_FSINFO, &args);
        answer.unwrap()
    }

    pub fn pathconf(&mut self, object: &nfs_fh3) -> PATHCONF3resok {
        let args = PATHCONF3args { object: object.clone() };
        let answer: PATHCONF3res = self.call(NFS_PROGRAM::NFSPROC3_PATHCONF, &args);
        answer.unwrap()
    }
}

/// The status of any answer.
pub trait Status {
    fn status(&self) -> nfsstat3;

    /// Panics unless it is `wanted`.
    #[track_caller]
    fn must_be(&self, wanted: nfsstat3) {
        assert_eq!(self.status(), wanted);
    }
}

impl<T, E> Status for Nfs3Result<T, E> {
    fn status(&self) -> nfsstat3 {
        match self {
            Self::Ok(_) => nfsstat3::NFS3_OK,
            Self::Err((status, _)) => *status,
        }
    }
}

/// What an answer that must be a failure carries.
#[track_caller]
pub fn failure<T, E>(answer: Nfs3Result<T, E>) -> E {
    match answer {
        Nfs3Result::Ok(_) => panic!("it was done"),
        Nfs3Result::Err((_, failure)) => failure,
    }
}

pub fn place(dir: &nfs_fh3, name: impl AsRef<[u8]>) -> diropargs3<'static> {
    diropargs3 { dir: dir.clone(), name: name.as_ref().to_vec().into() }
}

pub fn write_args<'a>(
    file: &nfs_fh3,
    offset: u64,
    data: &'a [u8],
    stable: stable_how,
) -> WRITE3args<'a> {
    let count = u32::try_from(data.len()).unwrap();
    WRITE3args { file: file.clone(), offset, count, stable, data: Opaque::borrowed(data) }
}

pub fn with_mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

pub fn with_size(size: u64) -> sattr3 {
    sattr3 { size: Nfs3Option::Some(size), ..sattr3::default() }
}

/// Nanoseconds, to be compared.
pub fn nanos(time: nfstime3) -> u64 {
    u64::from(time.seconds) * 1_000_000_000 + u64::from(time.nseconds)
}

/// Bytes as they stand on the wire.
pub fn packed(value: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.pack(&mut bytes).unwrap();
    bytes
}

/// Decodes all of `bytes`.
pub fn unpacked<R: Unpack>(bytes: &[u8]) -> R {
    let mut rest = bytes;
    let (value, _) = R::unpack(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes after the results", rest.len());
    value
}
