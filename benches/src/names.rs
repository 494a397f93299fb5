//! Workloads on names: create, look up, stat, list and remove, by one client or by many.
//!
//! Every client has a connection and a directory of its own and asks one thing at a time, as a
//! process on a mount does. Invariant: all servers get the same calls on the same tree.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nfs_wire::nfs3::{
    Args, Cookieverf3, CreateArgs, CreateHow, DirOp, FileHandle, GetattrArgs, LookupArgs,
    MkdirArgs, Name, ReaddirArgs, ReaddirplusArgs, RemoveArgs, Reply, RmdirArgs, Sattr3,
};
use tests::Random;

use crate::client::{Connection, Source, Times, Until, together};
use crate::data::operations;
use crate::sample::{Latencies, Sample, count};
use crate::servers::Server;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Clients at once.
    pub clients: u32,
    /// Files that each of them makes.
    pub files_each: u64,
    /// How long a workload without an end goes on.
    pub duration: Duration,
}

/// A server's directories for the workloads on names.
#[derive(Debug)]
pub struct Tree {
    server: Arc<Server>,
    root: FileHandle,
    extent: Extent,
    clients: Vec<Client>,
    name: u32,
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    name: Name,
    dir: FileHandle,
    files: Vec<FileHandle>,
    number: u64,
}

/// Which listing is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// READDIR: names.
    Names,
    /// READDIRPLUS: names, attributes and handles, as `ls -l` wants them.
    Attributes,
}

impl Tree {
    /// Nothing yet.
    #[must_use]
    pub fn new(server: Arc<Server>, root: FileHandle, extent: Extent) -> Self {
        Self { server, root, extent, clients: Vec::new(), name: 0 }
    }

    /// Every client makes its files, in a fresh directory.
    pub async fn create(&mut self) -> Sample {
        if !self.clients.is_empty() {
            self.remove().await;
        }
        for _ in 0..self.extent.clients {
            self.name += 1;
            let client = Client::new(&self.server, self.root, u64::from(self.name)).await;
            self.clients.push(client);
        }
        let files = self.extent.files_each;
        self.run(move |mut client| async move {
            let dir = client.dir;
            let make = |number| Args::Create(CreateArgs { place: place(dir, number), how: how() });
            let mut source = Creating { times: Times::new(files, make), files: Vec::new() };
            let latencies = client.connection.drive(1, &mut source).await;
            client.files = source.files;
            (client, latencies)
        })
        .await
    }

    /// Makes the files, unmeasured, if there are none.
    pub async fn ensure(&mut self) {
        if self.clients.is_empty() {
            self.create().await;
        }
    }

    /// Every client looks up its names at random.
    pub async fn look_up(&mut self) -> Sample {
        let (files, until) = (self.files_each(), Instant::now() + self.extent.duration);
        self.run(move |mut client| async move {
            let mut random = Random::new(client.number);
            let dir = client.dir;
            let mut source = Until::new(until, |_| {
                Args::Lookup(LookupArgs { what: place(dir, random.below(files) as u64) })
            });
            let latencies = client.connection.drive(1, &mut source).await;
            (client, latencies)
        })
        .await
    }

    /// Every client asks for the attributes of its files at random.
    pub async fn stat(&mut self) -> Sample {
        let until = Instant::now() + self.extent.duration;
        self.run(move |mut client| async move {
            let mut random = Random::new(client.number);
            let files = &client.files;
            let mut source = Until::new(until, |_| {
                Args::Getattr(GetattrArgs { object: files[random.below(files.len())] })
            });
            let latencies = client.connection.drive(1, &mut source).await;
            (client, latencies)
        })
        .await
    }

    /// Every client lists its directory, over and over. The rate counts entries.
    pub async fn list(&mut self, listing: Listing) -> Sample {
        let until = Instant::now() + self.extent.duration;
        let clients = std::mem::take(&mut self.clients);
        let (clients, ran) = together(clients, move |mut client| async move {
            let mut source = Paging::new(client.dir, listing, until);
            let latencies = client.connection.drive(1, &mut source).await;
            ((client, source.entries), latencies)
        })
        .await;
        let entries = clients.iter().map(|(_, entries)| entries).sum();
        self.clients = clients.into_iter().map(|(client, _)| client).collect();
        Sample { work: count(entries), ..operations(ran) }
    }

    /// Every client removes its files; the directories go unmeasured.
    pub async fn remove(&mut self) -> Sample {
        let files = self.extent.files_each;
        let sample = self
            .run(move |mut client| async move {
                let dir = client.dir;
                let mut source = Times::new(files, |number| {
                    Args::Remove(RemoveArgs { object: place(dir, number) })
                });
                let latencies = client.connection.drive(1, &mut source).await;
                (client, latencies)
            })
            .await;
        for mut client in std::mem::take(&mut self.clients) {
            let object = DirOp { dir: self.root, name: client.name };
            client.connection.ask(Args::Rmdir(RmdirArgs { object })).await;
        }
        sample
    }

    async fn run<F>(&mut self, run: impl Fn(Client) -> F) -> Sample
    where
        F: Future<Output = (Client, Latencies)> + Send + 'static,
    {
        let (clients, ran) = together(std::mem::take(&mut self.clients), run).await;
        self.clients = clients;
        operations(ran)
    }

    fn files_each(&self) -> usize {
        usize::try_from(self.extent.files_each).expect("files fit the address space")
    }
}

impl Client {
    async fn new(server: &Server, root: FileHandle, number: u64) -> Self {
        let mut connection = Connection::dial(server.nfs).await;
        let name = Name(Bytes::from(format!("names-{number}")));
        let place = DirOp { dir: root, name: name.clone() };
        let attributes = Sattr3 { mode: Some(0o755), ..Sattr3::default() };
        let made = connection.ask(Args::Mkdir(MkdirArgs { place, attributes })).await;
        let Reply::Mkdir(Ok(made)) = made else { panic!("MKDIR was answered with {made:?}") };
        let dir = made.obj.expect("the server gives the new handle");
        Self { connection, name, dir, files: Vec::new(), number }
    }
}

/// Keeps the handles of what is made.
struct Creating<F> {
    times: Times<F>,
    files: Vec<FileHandle>,
}

impl<F: FnMut(u64) -> Args> Source for Creating<F> {
    fn next(&mut self) -> Option<Args> {
        self.times.next()
    }

    fn answered(&mut self, _number: u64, reply: Reply) {
        let Reply::Create(Ok(created)) = reply else { panic!("CREATE was answered oddly") };
        self.files.push(created.obj.expect("the server gives the new handle"));
    }
}

/// Follows the cookies of a listing, again from the start when it ends.
struct Paging {
    dir: FileHandle,
    listing: Listing,
    until: Instant,
    cookie: u64,
    cookieverf: Cookieverf3,
    entries: u64,
}

impl Paging {
    fn new(dir: FileHandle, listing: Listing, until: Instant) -> Self {
        Self { dir, listing, until, cookie: 0, cookieverf: Cookieverf3::default(), entries: 0 }
    }

    fn turn_page(&mut self, cookieverf: Cookieverf3, cookies: &[u64], eof: bool) {
        self.entries += cookies.len() as u64;
        (self.cookie, self.cookieverf) = match cookies.last() {
            Some(last) if !eof => (*last, cookieverf),
            _ => (0, Cookieverf3::default()),
        };
    }
}

impl Source for Paging {
    fn next(&mut self) -> Option<Args> {
        let Self { dir, cookie, cookieverf, .. } = *self;
        if Instant::now() >= self.until {
            return None;
        }
        Some(match self.listing {
            Listing::Names => {
                Args::Readdir(ReaddirArgs { dir, cookie, cookieverf, count: PAGE_BYTES })
            }
            Listing::Attributes => Args::Readdirplus(ReaddirplusArgs {
                dir,
                cookie,
                cookieverf,
                dircount: PAGE_BYTES,
                maxcount: PAGE_BYTES,
            }),
        })
    }

    fn answered(&mut self, _number: u64, reply: Reply) {
        match reply {
            Reply::Readdir(Ok(page)) => {
                let cookies: Vec<u64> = page.listing.entries().map(|entry| entry.cookie).collect();
                self.turn_page(page.cookieverf, &cookies, page.listing.eof());
            }
            Reply::Readdirplus(Ok(page)) => {
                let entries = page.listing.entries();
                let cookies: Vec<u64> = entries.map(|entry| entry.entry.cookie).collect();
                self.turn_page(page.cookieverf, &cookies, page.listing.eof());
            }
            other => panic!("a listing was answered with {other:?}"),
        }
    }
}

fn place(dir: FileHandle, number: u64) -> DirOp {
    DirOp { dir, name: Name(Bytes::from(format!("file-{number:06}"))) }
}

fn how() -> CreateHow {
    CreateHow::Unchecked(Sattr3 { mode: Some(0o644), ..Sattr3::default() })
}

/// What Linux asks for: its `dtsize` with the sizes that servers offer today.
const PAGE_BYTES: u32 = 64 << 10;
