//! The appliance that most tests share.
//!
//! Invariant: it lives as long as any test uses it, in a thread and a sandbox of its own, and the
//! catalog is checked before it ends. Tests keep out of each other's way by working in a folder
//! of their own.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use nfs3_client::nfs3_types::nfs3::nfs_fh3;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tests::{Appliance, LoopBtrfs, Sandbox, Setup};

use crate::client::{Client, Credential};

/// A test's place in the shared world.
pub struct World {
    _home: Arc<Home>,
}

/// The thread in which sandbox and appliance live.
struct Home {
    network: File,
    end: Sender<Outcome>,
    thread: Option<JoinHandle<()>>,
}

enum Outcome {
    Passed,
    Failed,
}

impl World {
    /// Moves the calling thread into the network of the shared appliance.
    pub fn join() -> Self {
        static SHARED: Mutex<Weak<Home>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let home = shared.upgrade().unwrap_or_else(|| {
            let home = Home::found();
            *shared = Arc::downgrade(&home);
            home
        });
        home.enter();
        Self { _home: home }
    }

    /// A client and a fresh folder that everybody may write to.
    pub fn folder() -> (Self, Client, nfs_fh3) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let world = Self::join();
        let mut client = Client::new(Credential::ROOT);
        let name = format!("test.{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let root = client.root("demo");
        let folder = client.mkdir(&root, &name);
        client.chmod(&folder, 0o777);
        (world, client, folder)
    }
}

impl Home {
    fn found() -> Arc<Self> {
        let (end, ended) = channel();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || live(&tell, &ended));
        let network = told.recv().expect("the shared appliance starts");
        Arc::new(Self { network, end, thread: Some(thread) })
    }

    fn enter(&self) {
        use std::os::fd::AsFd;
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a network");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let _ = self.end.send(if failed { Outcome::Failed } else { Outcome::Passed });
        let ended = self.thread.take().expect("it ends once").join();
        assert!(ended.is_ok() || failed, "the shared appliance did not end well");
    }
}

fn live(tell: &Sender<File>, ended: &Receiver<Outcome>) {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 4096);
    let extra = VOLUMES_BESIDE.to_owned();
    let setup = Setup { extra, ..Setup::default() };
    let mut appliance = Appliance::start_with(&sandbox, disk.path(), setup);
    tell.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
    let outcome = ended.recv().expect("whoever founded this ends it");
    if let Outcome::Failed = outcome {
        eprintln!("--- log of the shared appliance ---\n{}", appliance.log());
    }
    appliance.check("demo");
    appliance.stop();
}

/// Volumes for what `demo` does not show.
const VOLUMES_BESIDE: &str = r#"
[[volume]]
name = "anonymous"
[[volume.export]]
clients = ["127.0.0.0/8"]
squash = "all"
insecure = true
[[volume]]
name = "squashed"
[[volume.export]]
clients = ["127.0.0.0/8"]
insecure = true
[[volume]]
name = "closed"
[[volume.export]]
clients = ["192.0.2.0/24"]
insecure = true
[[volume]]
name = "read-only"
[[volume.export]]
clients = ["127.0.0.0/8"]
access = "ro"
squash = "none"
insecure = true
[[volume]]
name = "privileged"
[[volume.export]]
clients = ["127.0.0.0/8"]
squash = "none"
"#;
