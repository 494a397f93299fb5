//! What an operation does to the tree, and which times it moves.

use std::collections::BTreeMap;

use model::{Identity, NodeKind, SetAttributes, SetTime, Stability, Timestamp};

use crate::tree::{
    Data, How, Kind, Lie, Node, NodeId, Operation, SETGID, SETUID, Shown, Tree, is_member,
};

/// What became of one time of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moved {
    #[default]
    Kept,
    /// To the time of the operation.
    Now,
    /// To this.
    To(Timestamp),
    /// To the time of the operation, or not.
    Perhaps,
}

/// What became of a node's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub atime: Moved,
    pub mtime: Moved,
    pub ctime: Moved,
    /// The bits of the mode are for the appliance to say.
    pub mode_is_free: bool,
}

const CTIME: Touched =
    Touched { atime: Moved::Kept, mtime: Moved::Kept, ctime: Moved::Now, mode_is_free: false };
const DATA: Touched =
    Touched { atime: Moved::Kept, mtime: Moved::Now, ctime: Moved::Now, mode_is_free: false };
const BORN: Touched =
    Touched { atime: Moved::Now, mtime: Moved::Now, ctime: Moved::Now, mode_is_free: false };

/// What an operation did.
#[derive(Clone, Debug, Default)]
pub struct Performed {
    /// The node made or found under the name.
    pub node: Option<NodeId>,
    /// Whether it was made now.
    pub made: bool,
    /// The nodes whose times moved.
    pub touched: BTreeMap<NodeId, Touched>,
}

impl Performed {
    /// Nobody has said which mode the node is made with.
    fn free_mode(&mut self) {
        if let Some(touched) = self.node.and_then(|node| self.touched.get_mut(&node)) {
            touched.mode_is_free = true;
        }
    }
}

impl Tree {
    /// Does what was judged to be allowed.
    pub fn perform(&mut self, who: &Identity, operation: &Operation) -> Performed {
        let mut done = Performed::default();
        match operation {
            Operation::Create { dir, name, how } => return self.create(who, *dir, name, *how),
            Operation::MakeDirectory { dir, name, set } => {
                let kind = Kind::Directory(BTreeMap::new());
                return self.make(who, *dir, name, kind, set);
            }
            Operation::Symlink { dir, name, target } => {
                let kind = Kind::Symlink(target.clone());
                // As on Linux, whatever was asked for.
                let set = SetAttributes { mode: Some(0o777), ..SetAttributes::default() };
                return self.make(who, *dir, name, kind, &set);
            }
            Operation::Node { dir, name, node, set } => {
                let kind = match node {
                    NodeKind::Fifo => Kind::Fifo,
                    NodeKind::Socket => Kind::Socket,
                    NodeKind::CharacterDevice(device) => Kind::Character(*device),
                    NodeKind::BlockDevice(device) => Kind::Block(*device),
                };
                return self.make(who, *dir, name, kind, set);
            }
            Operation::Link { node, dir, name } => {
                self.names_mut(*dir).insert(name.clone(), *node);
                done.touched.extend([(*dir, DATA), (*node, CTIME)]);
            }
            Operation::Remove { dir, name } | Operation::RemoveDirectory { dir, name } => {
                self.take(*dir, name, &mut done);
                done.touched.insert(*dir, DATA);
            }
            Operation::Rename { from_dir, from, to_dir, to } => {
                return self.rename((*from_dir, from), (*to_dir, to));
            }
            Operation::Set { node, set, .. } => return self.set(who, *node, set),
            Operation::Write { node, offset, bytes, stability } => {
                if !bytes.is_empty() {
                    self.write(*node, *offset, bytes, *stability);
                    self.drop_privileges(who, *node);
                    done.touched.insert(*node, DATA);
                }
            }
            Operation::Commit { node } => self.data_mut(*node).made_durable(),
            Operation::Read { .. }
            | Operation::ReadLink { .. }
            | Operation::LookUp { .. }
            | Operation::LookUpParent { .. }
            | Operation::List { .. } => {}
        }
        done
    }

    fn create(&mut self, who: &Identity, dir: NodeId, name: &[u8], how: How) -> Performed {
        if let Some(found) = self.look_up(dir, name) {
            let mut done = Performed { node: Some(found), ..Performed::default() };
            if let How::Unchecked(SetAttributes { size: Some(size), .. }) = how {
                self.resize(found, size);
                self.drop_privileges(who, found);
                done.touched.insert(found, DATA);
            }
            return done;
        }
        let (set, exclusive) = match how {
            How::Unchecked(set) | How::Guarded(set) => (set, None),
            How::Exclusive(verifier) => (SetAttributes::default(), Some(verifier)),
        };
        let data = Data { exclusive, ..Data::default() };
        let mut done = self.make(who, dir, name, Kind::File(data), &set);
        if let (Some(size @ 1..), Some(node)) = (set.size, done.node) {
            self.resize(node, size);
        }
        if exclusive.is_some() {
            done.free_mode();
        }
        done
    }

    fn make(
        &mut self,
        who: &Identity,
        dir: NodeId,
        name: &[u8],
        kind: Kind,
        set: &SetAttributes,
    ) -> Performed {
        let above = self.node(dir).expect("judged to be there");
        let inherits = above.mode & SETGID != 0;
        let own_gid = if inherits { above.gid } else { who.gid };
        let given = |id: Option<u32>| id.filter(|_| who.is_root());
        let (uid, gid) = (given(set.uid).unwrap_or(who.uid), given(set.gid).unwrap_or(own_gid));
        let mut mode = set.mode.unwrap_or(0) & 0o7777;
        if matches!(kind, Kind::Directory(_)) {
            mode |= if inherits { SETGID } else { 0 };
        } else if !who.is_root() && !is_member(who, gid) && mode & 0o010 != 0 {
            mode &= !SETGID;
        }
        let moved = |time: SetTime| match time {
            SetTime::Keep | SetTime::ToServerTime => Moved::Now,
            SetTime::To(time) => Moved::To(time),
        };
        let touched = Touched { atime: moved(set.atime), mtime: moved(set.mtime), ..BORN };
        let node = self.add(Node { kind, mode, uid, gid, shown: Shown::default() });
        self.names_mut(dir).insert(name.to_vec(), node);
        let touched = BTreeMap::from([(dir, DATA), (node, touched)]);
        Performed { node: Some(node), made: true, touched }
    }

    /// Takes a name away, and the node if it was its last.
    fn take(&mut self, dir: NodeId, name: &[u8], done: &mut Performed) {
        let node = self.names_mut(dir).remove(name).expect("judged to be there");
        if self.is_directory(node) || self.has_no_name(node) {
            self.forget(node);
        } else if self.lie != Lie::UnlinkMovesNoTime {
            done.touched.insert(node, CTIME);
        }
    }

    fn has_no_name(&self, node: NodeId) -> bool {
        let all = self.living().filter_map(|(dir, _)| self.names(dir));
        !all.flat_map(BTreeMap::values).any(|named| *named == node)
    }

    fn rename(
        &mut self,
        (from_dir, from): (NodeId, &[u8]),
        (to_dir, to): (NodeId, &[u8]),
    ) -> Performed {
        let mut done = Performed::default();
        let moved = self.look_up(from_dir, from).expect("judged to be there");
        let target = self.look_up(to_dir, to);
        if target == Some(moved) {
            return done;
        }
        if target.is_some() && self.lie != Lie::RenameKeepsItsTarget {
            self.take(to_dir, to, &mut done);
        }
        self.names_mut(from_dir).remove(from);
        self.names_mut(to_dir).insert(to.to_vec(), moved);
        // POSIX leaves open whether the thing renamed has changed.
        let perhaps = Touched { ctime: Moved::Perhaps, ..Touched::default() };
        done.touched.extend([(moved, perhaps), (from_dir, DATA), (to_dir, DATA)]);
        done
    }

    fn set(&mut self, who: &Identity, id: NodeId, set: &SetAttributes) -> Performed {
        let mut touched = CTIME;
        if let Some(size) = set.size {
            let Kind::File(data) = &self.node_mut(id).kind else { panic!("judged to be a file") };
            // If the size is what it was POSIX leaves open whether anything changed.
            let same = data.bytes.len() as u64 == size;
            let moved = if same { Moved::Perhaps } else { Moved::Now };
            touched = Touched { mtime: moved, ctime: moved, ..touched };
            self.resize(id, size);
            self.drop_privileges(who, id);
        }
        if *set == SetAttributes::default() {
            touched.ctime = Moved::Perhaps;
        } else if (SetAttributes { size: None, ..*set }) != SetAttributes::default() {
            touched.ctime = Moved::Now;
        }
        let is_directory = self.is_directory(id);
        let node = self.node_mut(id);
        let is_given = set.uid.is_some() || set.gid.is_some();
        node.uid = set.uid.unwrap_or(node.uid);
        node.gid = set.gid.unwrap_or(node.gid);
        if let Some(mode) = set.mode {
            node.mode = mode & 0o7777;
            if !who.is_root() && !is_member(who, node.gid) {
                node.mode &= !SETGID;
            }
        }
        if is_given && !is_directory {
            node.mode = without_privileges(node.mode);
        }
        let moved = |time: SetTime, otherwise: Moved| match time {
            SetTime::Keep => otherwise,
            SetTime::ToServerTime => Moved::Now,
            SetTime::To(time) => Moved::To(time),
        };
        touched.atime = moved(set.atime, touched.atime);
        touched.mtime = moved(set.mtime, touched.mtime);
        Performed { touched: BTreeMap::from([(id, touched)]), ..Performed::default() }
    }

    fn write(&mut self, id: NodeId, offset: usize, bytes: &[u8], stability: Stability) {
        let lie = self.lie;
        let data = self.data_mut(id);
        data.change(|now| {
            let end = offset + bytes.len();
            if now.len() < end {
                now.resize(end, 0);
            }
            now[offset..end].copy_from_slice(bytes);
        });
        if stability != Stability::Unstable || lie == Lie::UnstableIsDurable {
            data.made_durable();
        }
    }

    /// A change of size is durable when it is answered.
    fn resize(&mut self, id: NodeId, size: u64) {
        let extra = usize::from(self.lie == Lie::TruncationGoesOneTooFar);
        let size = usize::try_from(size).expect("files of the model are small");
        let data = self.data_mut(id);
        if size < data.bytes.len() {
            data.bytes.truncate(size.saturating_sub(extra));
        }
        data.bytes.resize(size, 0);
        data.made_durable();
    }

    /// Who is not the superuser leaves no setuid in what it changes.
    fn drop_privileges(&mut self, who: &Identity, id: NodeId) {
        if !who.is_root() && self.lie != Lie::SetuidStays {
            let node = self.node_mut(id);
            node.mode = without_privileges(node.mode);
        }
    }
}

fn without_privileges(mode: u32) -> u32 {
    // Without group execution setgid means something else (mandatory locking).
    let group = if mode & 0o010 != 0 { SETGID } else { 0 };
    mode & !SETUID & !group
}
