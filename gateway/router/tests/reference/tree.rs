//! A file system that is nothing but a tree in memory, written from POSIX and RFC 1813 alone.
//!
//! Invariant: it shares no rule with the appliance; link counts, sizes and parents are counted
//! afresh whenever they are asked for. Absent on purpose: speed.

use std::collections::BTreeMap;

use model::{Device, Identity, SetAttributes, Stability, Timestamp};

/// A node of the tree; numbers are never used again.
pub type NodeId = usize;

/// The root's number.
pub const ROOT: NodeId = 0;

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    File(Data),
    Directory(BTreeMap<Vec<u8>, NodeId>),
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Character(Device),
    Block(Device),
}

/// A file's bytes now, and as they were after each change since they were last made durable: what
/// a power cut may leave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    pub bytes: Vec<u8>,
    pub older: Vec<Vec<u8>>,
    /// The verifier of the exclusive create that made it.
    pub exclusive: Option<[u8; 8]>,
}

impl Data {
    pub fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        self.older.push(self.bytes.clone());
        change(&mut self.bytes);
    }

    pub fn made_durable(&mut self) {
        self.older.clear();
    }
}

/// The times that were shown last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub shown: Shown,
}

/// The whole tree.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Option<Node>>,
    /// What it gets wrong on purpose.
    pub lie: Lie,
}

/// A rule that a wrong model does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    StickyBitsMeanNothing,
    LinksAreNotCounted,
    OthersAreTheGroup,
    RenameKeepsItsTarget,
    TruncationGoesOneTooFar,
    UnlinkMovesNoTime,
    SetuidStays,
    UnstableIsDurable,
}

/// One thing asked of a volume.
#[derive(Clone, Debug)]
pub enum Operation {
    Create { dir: NodeId, name: Vec<u8>, how: How },
    MakeDirectory { dir: NodeId, name: Vec<u8>, set: SetAttributes },
    Symlink { dir: NodeId, name: Vec<u8>, target: Vec<u8> },
    Node { dir: NodeId, name: Vec<u8>, node: model::NodeKind, set: SetAttributes },
    Link { node: NodeId, dir: NodeId, name: Vec<u8> },
    Remove { dir: NodeId, name: Vec<u8> },
    RemoveDirectory { dir: NodeId, name: Vec<u8> },
    Rename { from_dir: NodeId, from: Vec<u8>, to_dir: NodeId, to: Vec<u8> },
    Set { node: NodeId, set: SetAttributes, guard: Guard },
    Write { node: NodeId, offset: usize, bytes: Vec<u8>, stability: Stability },
    Commit { node: NodeId },
    Read { node: NodeId, offset: usize, len: usize },
    ReadLink { node: NodeId },
    LookUp { dir: NodeId, name: Vec<u8> },
    LookUpParent { dir: NodeId },
    List { dir: NodeId, entries_max: usize },
}

/// How a file is made.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Unchecked(SetAttributes),
    Guarded(SetAttributes),
    Exclusive([u8; 8]),
}

/// What a SETATTR believes of the ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    None,
    Right,
    Wrong,
}

impl Tree {
    /// A root directory and nothing in it.
    pub fn new(mode: u32, lie: Lie) -> Self {
        let kind = Kind::Directory(BTreeMap::new());
        let root = Node { kind, mode, uid: 0, gid: 0, shown: Shown::default() };
        Self { nodes: vec![Some(root)], lie }
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)?.as_ref()
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id].as_mut().expect("judged to be there")
    }

    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(Some(node));
        self.nodes.len() - 1
    }

    pub fn forget(&mut self, id: NodeId) {
        self.nodes[id] = None;
    }

    /// All numbers ever given out.
    pub fn ever(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes there are.
    pub fn living(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(id, node)| Some((id, node.as_ref()?)))
    }

    pub fn names(&self, dir: NodeId) -> Option<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.node(dir)?.kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    pub fn names_mut(&mut self, dir: NodeId) -> &mut BTreeMap<Vec<u8>, NodeId> {
        match &mut self.node_mut(dir).kind {
            Kind::Directory(names) => names,
            _ => panic!("judged to be a directory"),
        }
    }

    pub fn data_mut(&mut self, file: NodeId) -> &mut Data {
        match &mut self.node_mut(file).kind {
            Kind::File(data) => data,
            _ => panic!("judged to be a file"),
        }
    }

    pub fn look_up(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.names(dir)?.get(name).copied()
    }

    pub fn is_directory(&self, id: NodeId) -> bool {
        self.names(id).is_some()
    }

    /// How many names lead to a node; for a directory: its own, `.`, and a `..` of each below it.
    pub fn links(&self, id: NodeId) -> u32 {
        let count = match self.names(id) {
            Some(names) => 2 + names.values().filter(|node| self.is_directory(**node)).count(),
            None => {
                let all = self.living().filter_map(|(dir, _)| self.names(dir));
                all.flat_map(BTreeMap::values).filter(|node| **node == id).count()
            }
        };
        match self.lie {
            Lie::LinksAreNotCounted if !self.is_directory(id) => 1,
            _ => u32::try_from(count).expect("few nodes"),
        }
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent(&self, dir: NodeId) -> NodeId {
        let holds = |(above, _): &(NodeId, &Node)| {
            self.names(*above).is_some_and(|names| names.values().any(|node| *node == dir))
        };
        self.living().find(holds).map_or(ROOT, |(above, _)| above)
    }

    /// Whether `dir` is `top` or below it.
    pub fn is_below(&self, mut dir: NodeId, top: NodeId) -> bool {
        loop {
            if dir == top {
                return true;
            }
            if dir == ROOT {
                return false;
            }
            dir = self.parent(dir);
        }
    }
}

/// Whether `who` belongs to group `gid`.
pub fn is_member(who: &Identity, gid: u32) -> bool {
    who.gid == gid || who.gids.contains(&gid)
}

pub const SETUID: u32 = 0o4000;
pub const SETGID: u32 = 0o2000;
pub const STICKY: u32 = 0o1000;
