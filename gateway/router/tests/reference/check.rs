//! Compares the appliance with the tree: every attribute of every node, every name, every byte.

use model::{Attributes, Clock, Device, ObjectId, ObjectKind, Refusal, Timestamp, Wcc, WccBefore};
use volume::Ports;

use crate::perform::{Moved, Performed, Touched};
use crate::run::{Answer, Run, as_root};
use crate::tree::{Data, Kind, Node, NodeId, Shown, Tree};
use crate::world::End;

/// What the appliance does otherwise than the tree.
#[derive(Debug)]
pub struct Mismatch(pub String);

pub fn mismatch(what: String) -> Mismatch {
    Mismatch(what)
}

/// Between which instants an operation ran.
#[derive(Clone, Copy)]
struct Ran {
    from: Timestamp,
    to: Timestamp,
}

impl Run {
    /// Compares all attributes, and takes the times for shown.
    pub fn check_everything(
        &mut self,
        began: Timestamp,
        performed: &Performed,
        told: &[(NodeId, Wcc)],
    ) -> Result<(), Mismatch> {
        let ran = Ran { from: began, to: self.world.clock.wall() };
        for id in 0..self.tree.ever() {
            let shown = self.shown(id)?;
            let (Some(shown), Some(node)) = (shown, self.tree.node(id).cloned()) else { continue };
            let touched = performed.touched.get(&id).copied().unwrap_or_default();
            let before = node.shown;
            if touched.mode_is_free {
                self.tree.node_mut(id).mode = shown.mode;
            }
            self.check_node(id, &shown)?;
            let is_new = performed.made && performed.node == Some(id);
            let right = if is_new {
                times_of_birth(&shown, touched, ran)
            } else {
                times(&shown, before, touched, ran)
            };
            if !right {
                let what = format!("node {id}: {before:?} became {shown:?} by {touched:?}");
                return Err(mismatch(what));
            }
            for (told_of, wcc) in told {
                if *told_of == id {
                    check_wcc(id, wcc, before, &shown, touched)?;
                }
            }
            self.tree.node_mut(id).shown = times_of(&shown);
        }
        if self.random.once_in(20) { self.check_contents() } else { Ok(()) }
    }

    /// What the appliance shows of a node, if there is such a node.
    fn shown(&self, id: NodeId) -> Result<Option<Attributes>, Mismatch> {
        let object = self.object(id);
        let shown = self.world.run(self.world.router().attributes(&as_root(), object));
        match (shown, self.tree.node(id)) {
            (Ok(shown), Some(_)) => Ok(Some(shown)),
            (Err(refused), None) if refused.refusal == Refusal::Stale => Ok(None),
            (shown, node) => Err(mismatch(format!("node {id}: {shown:?} for {node:?}"))),
        }
    }

    fn check_node(&self, id: NodeId, shown: &Attributes) -> Result<(), Mismatch> {
        let node = self.tree.node(id).expect("shown");
        let wanted = (kind_of(node), node.mode, self.tree.links(id), node.uid, node.gid);
        let is = (shown.kind, shown.mode, shown.links, shown.uid, shown.gid);
        if is != wanted {
            return Err(mismatch(format!("node {id}: {is:?}, not {wanted:?}")));
        }
        let size = match &node.kind {
            Kind::File(data) => data.bytes.len(),
            Kind::Symlink(target) => target.len(),
            // How long a directory is is a matter of taste.
            Kind::Directory(_) => return Ok(()),
            Kind::Fifo | Kind::Socket | Kind::Character(_) | Kind::Block(_) => 0,
        };
        if shown.size != size as u64 || shown.device != device_of(node) {
            return Err(mismatch(format!("node {id}: {shown:?}, not {size} bytes of {node:?}")));
        }
        Ok(())
    }

    /// Compares all names, bytes and targets.
    pub fn check_contents(&mut self) -> Result<(), Mismatch> {
        let living: Vec<(NodeId, Kind)> =
            self.tree.living().map(|(id, node)| (id, node.kind.clone())).collect();
        for (id, kind) in living {
            match kind {
                Kind::Directory(_) => {
                    let entries_max = 1 + self.random.below(5);
                    match self.list(&as_root(), self.object(id), entries_max) {
                        Answer::Names(names) => self.check_names(id, &names)?,
                        other => return Err(mismatch(format!("node {id} is listed: {other:?}"))),
                    }
                }
                Kind::File(data) => {
                    let bytes = self.bytes(id)?;
                    if bytes != data.bytes {
                        return Err(mismatch(differ(id, &bytes, &data.bytes)));
                    }
                }
                Kind::Symlink(target) => {
                    let object = self.object(id);
                    let read = self.world.run(self.world.router().read_link(&as_root(), object));
                    if !read.as_ref().is_ok_and(|(is, _)| *is == target) {
                        return Err(mismatch(format!("symlink {id}: {read:?}")));
                    }
                }
                Kind::Fifo | Kind::Socket | Kind::Character(_) | Kind::Block(_) => {}
            }
        }
        let report = self.world.run(self.world.router().check_volume("demo"));
        let report = report.map_err(|refusal| mismatch(refusal.to_string()))?;
        match report.is_clean() {
            true => Ok(()),
            false => Err(mismatch(format!("{report:?}"))),
        }
    }

    fn bytes(&self, id: NodeId) -> Result<Vec<u8>, Mismatch> {
        let all = model::Span::new(0, 1 << 20).expect("a small span");
        let read = self.world.run(self.world.router().read(&as_root(), self.object(id), all));
        match read {
            Ok(read) if read.eof => Ok(read.bytes.to_vec()),
            other => Err(mismatch(format!("node {id} can't be read: {other:?}"))),
        }
    }

    pub fn check_names(&self, dir: NodeId, names: &[(Vec<u8>, ObjectId)]) -> Result<(), Mismatch> {
        let wanted = self.tree.names(dir).expect("judged to be a directory");
        let mut wanted: Vec<(Vec<u8>, ObjectId)> =
            wanted.iter().map(|(name, node)| (name.clone(), self.object(*node))).collect();
        wanted.push((b".".to_vec(), self.object(dir)));
        wanted.push((b"..".to_vec(), self.object(self.tree.parent(dir))));
        wanted.sort_unstable();
        let mut names = names.to_vec();
        names.sort_unstable();
        match names == wanted {
            true => Ok(()),
            false => Err(mismatch(format!("directory {dir} has {names:?}, not {wanted:?}"))),
        }
    }

    pub fn check_read(
        &self,
        file: NodeId,
        (offset, len): (usize, usize),
        bytes: &[u8],
        eof: bool,
    ) -> Result<(), Mismatch> {
        let Some(Kind::File(data)) = self.tree.node(file).map(|node| &node.kind) else {
            unreachable!("judged to be a file");
        };
        let end = data.bytes.len();
        let wanted = &data.bytes[offset.min(end)..(offset + len).min(end)];
        if bytes != wanted {
            return Err(mismatch(differ(file, bytes, wanted)));
        }
        match eof == (offset + len >= end) {
            true => Ok(()),
            false => Err(mismatch(format!("eof is {eof}: {len} bytes at {offset} of {end}"))),
        }
    }

    /// After a restart: whatever was acknowledged is there. Times never went back, but where
    /// unacknowledged data did.
    pub fn check_after(&mut self, end: End) -> Result<(), Mismatch> {
        let files: Vec<(NodeId, Data)> = self.tree.living().filter_map(file_of).collect();
        for (id, data) in files {
            let bytes = self.bytes(id)?;
            let may_be_lost = end == End::PowerCut && data.older.contains(&bytes);
            if bytes != data.bytes && !may_be_lost {
                return Err(mismatch(differ(id, &bytes, &data.bytes)));
            }
            let uncommitted = end != End::Clean && !data.older.is_empty();
            let kept = self.tree.data_mut(id);
            kept.bytes = bytes;
            if end != End::Kill {
                kept.made_durable();
            }
            let shown = self.shown(id)?.expect("it was read");
            let before = self.tree.node(id).expect("a file").shown;
            let went_back = shown.ctime < before.ctime || shown.mtime < before.mtime;
            let is_same = times_of(&shown) == before;
            let right = match (uncommitted, end) {
                (false, _) => is_same || shown.ctime > before.ctime,
                (true, End::PowerCut) => true,
                (true, End::Kill | End::Clean) => !went_back,
            };
            if !right {
                return Err(mismatch(format!("node {id}: {before:?} became {shown:?}")));
            }
        }
        self.take_times();
        for id in 0..self.tree.ever() {
            if let Some(shown) = self.shown(id)? {
                self.check_node(id, &shown)?;
            }
        }
        self.check_contents()
    }

    /// Takes whatever times are shown for right.
    pub fn take_times(&mut self) {
        let ids: Vec<NodeId> = self.tree.living().map(|(id, _)| id).collect();
        for id in ids {
            if let Ok(Some(shown)) = self.shown(id) {
                self.tree.node_mut(id).shown = times_of(&shown);
            }
        }
    }
}

/// Before and after, as a client may rely on them.
fn check_wcc(
    id: NodeId,
    wcc: &Wcc,
    before: Shown,
    shown: &Attributes,
    touched: Touched,
) -> Result<(), Mismatch> {
    let changed = touched != Touched::default();
    if let Some(after) = wcc.after
        && after != (Attributes { used: after.used, ..*shown })
    {
        return Err(mismatch(format!("node {id}: told {after:?}, is {shown:?}")));
    }
    match wcc.before {
        Some(WccBefore { mtime, ctime, .. }) if (mtime, ctime) == (before.mtime, before.ctime) => {
            Ok(())
        }
        None if !changed => Ok(()),
        // LINK tells of its file only how it is after.
        None if touched.mtime == Moved::Kept && touched.atime == Moved::Kept => Ok(()),
        told => Err(mismatch(format!("node {id}: before was {before:?}, told was {told:?}"))),
    }
}

fn times(shown: &Attributes, before: Shown, touched: Touched, ran: Ran) -> bool {
    let ctime_moved = shown.ctime > before.ctime
        && (shown.ctime <= ran.to || shown.ctime.as_nanos() <= before.ctime.as_nanos() + 2);
    let ctime = match touched.ctime {
        Moved::Kept => shown.ctime == before.ctime,
        Moved::Now => ctime_moved,
        Moved::Perhaps => shown.ctime == before.ctime || ctime_moved,
        Moved::To(_) => unreachable!("nobody sets a ctime"),
    };
    let is_now = |time: Timestamp| time <= shown.ctime && (time >= ran.from || time > before.ctime);
    let moved = |time: Timestamp, before: Timestamp, moved: Moved| match moved {
        Moved::Kept => time == before,
        Moved::Now => is_now(time),
        Moved::To(wanted) => time == wanted,
        Moved::Perhaps => time == before || is_now(time),
    };
    ctime
        && moved(shown.mtime, before.mtime, touched.mtime)
        && moved(shown.atime, before.atime, touched.atime)
}

fn times_of_birth(shown: &Attributes, touched: Touched, ran: Ran) -> bool {
    let in_time = |time: Timestamp| time >= ran.from && time <= ran.to;
    let right = |time: Timestamp, moved: Moved| match moved {
        Moved::To(wanted) => time == wanted,
        Moved::Kept | Moved::Now | Moved::Perhaps => in_time(time),
    };
    in_time(shown.ctime) && right(shown.mtime, touched.mtime) && right(shown.atime, touched.atime)
}

fn times_of(shown: &Attributes) -> Shown {
    Shown { atime: shown.atime, mtime: shown.mtime, ctime: shown.ctime }
}

fn file_of((id, node): (NodeId, &Node)) -> Option<(NodeId, Data)> {
    match &node.kind {
        Kind::File(data) => Some((id, data.clone())),
        _ => None,
    }
}

fn kind_of(node: &Node) -> ObjectKind {
    match node.kind {
        Kind::File(_) => ObjectKind::File,
        Kind::Directory(_) => ObjectKind::Directory,
        Kind::Symlink(_) => ObjectKind::Symlink,
        Kind::Fifo => ObjectKind::Fifo,
        Kind::Socket => ObjectKind::Socket,
        Kind::Character(_) => ObjectKind::CharacterDevice,
        Kind::Block(_) => ObjectKind::BlockDevice,
    }
}

fn device_of(node: &Node) -> Device {
    match node.kind {
        Kind::Character(device) | Kind::Block(device) => device,
        _ => Device::default(),
    }
}

fn differ(id: NodeId, is: &[u8], wanted: &[u8]) -> String {
    let at = is.iter().zip(wanted).position(|(is, wanted)| is != wanted);
    let (is, wanted) = (is.len(), wanted.len());
    format!("file {id} has {is} bytes, not {wanted}; the first that differs: {at:?}")
}

/// Some nodes of a tree, for messages.
impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (id, node) in self.living() {
            writeln!(f, "{id}: {:?} {:o} {} {}", kind_of(node), node.mode, node.uid, node.gid)?;
        }
        Ok(())
    }
}
