//! A server on loopback over a reference tree in memory, and a client that speaks to it with the
//! codec's other end.

use std::sync::Arc;

use model::{ClientPattern, ExportAccess, ExportRule, RootDirectory, Squash, VolumeId, VolumeInfo};
use volume::{Groups, GroupsFound, HandleKey, Service};

mod client;
mod tree;

pub(crate) use client::{Client, place, root};
pub(crate) use tree::Tree;

use crate::{RpcbindMode, Server, Settings};

/// A running server and the tree behind it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) tree: Arc<Tree>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let tree = Arc::new(Tree::new(volumes()));
        let key = HandleKey::from_secret(&[7; 32]);
        let service = Service::new(Arc::clone(&tree), key, Arc::new(NoGroups));
        let server = Server::start(settings, Arc::new(service)).await.unwrap();
        Self { server, tree }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.server.local_addrs()[0]).await
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        rpcbind: RpcbindMode::Off,
        rpcbind_port: 0,
        ..Settings::default()
    }
}

pub(crate) const DEMO: VolumeId = VolumeId::new(1);
pub(crate) const PUBLIC: VolumeId = VolumeId::new(3);

/// `demo` and `second` for everybody, `public` read-only for the anonymous, `closed` for a
/// stranger.
fn volumes() -> Vec<VolumeInfo> {
    let rule = |pattern: &str| ExportRule {
        insecure: true,
        squash: Squash::None,
        ..ExportRule::for_client(pattern.parse::<ClientPattern>().unwrap())
    };
    let public = ExportRule { access: ExportAccess::ReadOnly, squash: Squash::All, ..rule("*") };
    let volume = |id, name: &str, rule| VolumeInfo {
        id: VolumeId::new(id),
        name: name.into(),
        exports: vec![rule],
        loss_count: Default::default(),
        root: RootDirectory::default(),
    };
    vec![
        volume(1, "demo", rule("*")),
        volume(2, "second", rule("*")),
        volume(3, "public", public),
        volume(4, "closed", rule("10.9.9.9")),
    ]
}

struct NoGroups;

impl Groups for NoGroups {
    fn groups_of(&self, _uid: u32) -> GroupsFound<'_> {
        Box::pin(async { None })
    }
}
