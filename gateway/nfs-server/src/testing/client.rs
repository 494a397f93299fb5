use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use nfs_wire::nfs3::{self, Args, DirOp, FileHandle, Name, Path, Procedure, Reply};
use nfs_wire::rpc::{Answer, AuthSys, CallHeader, Gids, call};
use nfs_wire::{Body, Credential, Framing, RecordReader, Refusal, Xid, mount};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A client of one connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    records: RecordReader,
    next_xid: u32,
    pub(crate) credential: Credential,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, records: RecordReader::new(8 << 20), next_xid: 1, credential: root() }
    }

    /// A call as it stands on the wire, and its transaction id.
    pub(crate) fn encode(
        &mut self,
        (program, version, procedure): (u32, u32, u32),
        args: &impl Body,
    ) -> (Xid, Bytes) {
        let xid = Xid(self.next_xid);
        self.next_xid += 1;
        let credential = &self.credential;
        let header = CallHeader { xid, program, version, procedure, credential };
        let message = call(&header, Framing::Record, args, &mut BytesMut::new());
        (xid, message.to_bytes())
    }

    pub(crate) fn encode_nfs(&mut self, args: &Args) -> (Xid, Bytes) {
        self.encode((nfs3::PROGRAM, 3, args.procedure().code()), args)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next reply, whatever it answers; `None` at the end of the stream.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        loop {
            if let Some(record) = self.records.next().unwrap() {
                return Some(Answer::parse(&record).unwrap());
            }
            self.stream.readable().await.unwrap();
            match self.stream.try_read_buf(&mut self.records.spare()) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    pub(crate) async fn raw(
        &mut self,
        which: (u32, u32, u32),
        args: &impl Body,
    ) -> Result<Bytes, Refusal> {
        let (xid, bytes) = self.encode(which, args);
        self.send(&bytes).await;
        let answer = self.receive().await.unwrap();
        assert_eq!(answer.xid, xid);
        answer.outcome
    }

    pub(crate) async fn try_nfs(&mut self, args: Args) -> Result<Reply, Refusal> {
        let procedure = args.procedure();
        let results = self.raw((nfs3::PROGRAM, 3, procedure.code()), &args).await?;
        Ok(Reply::decode(procedure, &results).unwrap())
    }

    pub(crate) async fn nfs(&mut self, args: Args) -> Reply {
        self.try_nfs(args).await.unwrap()
    }

    pub(crate) async fn mount_call(&mut self, args: mount::Args) -> mount::Reply {
        let procedure = args.procedure();
        let which = (mount::PROGRAM, mount::VERSION, procedure.code());
        let results = self.raw(which, &args).await.unwrap();
        mount::Reply::decode(procedure, &results).unwrap()
    }

    pub(crate) async fn mnt(&mut self, path: &str) -> Result<FileHandle, mount::Mountstat3> {
        let path = Path(Bytes::copy_from_slice(path.as_bytes()));
        match self.mount_call(mount::Args::Mnt(path)).await {
            mount::Reply::Mnt(mounted) => mounted.map(|mounted| mounted.handle),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn create(&mut self, dir: FileHandle, name: &str) -> FileHandle {
        let how = nfs3::CreateHow::Unchecked(nfs3::Sattr3::default());
        let place = place(dir, name);
        match self.nfs(Args::Create(nfs3::CreateArgs { place, how })).await {
            Reply::Create(Ok(created)) => created.obj.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn write(&mut self, file: FileHandle, offset: u64, data: Bytes) -> Reply {
        let stable = nfs3::StableHow::Unstable;
        self.nfs(Args::Write(nfs3::WriteArgs { file, offset, stable, data })).await
    }

    pub(crate) async fn read(&mut self, file: FileHandle, offset: u64, count: u32) -> nfs3::ReadOk {
        match self.nfs(Args::Read(nfs3::ReadArgs { file, offset, count })).await {
            Reply::Read(Ok(read)) => read,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn null(&mut self, program: u32, version: u32) -> Result<Bytes, Refusal> {
        self.raw((program, version, Procedure::Null.code()), &()).await
    }
}

pub(crate) fn place(dir: FileHandle, name: &str) -> DirOp {
    DirOp { dir, name: Name(Bytes::copy_from_slice(name.as_bytes())) }
}

pub(crate) fn root() -> Credential {
    let machine = Bytes::from_static(b"test");
    Credential::Sys(AuthSys { stamp: 0, machine, uid: 0, gid: 0, gids: Gids::default() })
}
