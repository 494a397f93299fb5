//! What an operation may be answered, by POSIX and RFC 1813.
//!
//! Neither says which of several reasons for a refusal comes first, so a judgement lists them all
//! and any of them will do.

use model::{Identity, NodeKind, Refusal, SetAttributes, SetTime};

use crate::tree::{Guard, How, Kind, Lie, Node, NodeId, Operation, STICKY, Tree, is_member};

/// What an operation may be answered.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// If there are any, it must be refused with one of these.
    pub must: Vec<Refusal>,
    /// It may be refused with one of these.
    pub may: Vec<Refusal>,
}

impl Judgement {
    fn must(mut self, refused: bool, refusals: &[Refusal]) -> Self {
        if refused {
            self.must.extend(refusals);
        }
        self
    }

    fn may(mut self, refused: bool, refusals: &[Refusal]) -> Self {
        if refused {
            self.may.extend(refusals);
        }
        self
    }

    fn and(mut self, other: Self) -> Self {
        self.must.extend(other.must);
        self.may.extend(other.may);
        self
    }

    pub fn allows(&self, refusal: Refusal) -> bool {
        self.must.contains(&refusal) || self.may.contains(&refusal)
    }

    pub fn allows_success(&self) -> bool {
        self.must.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Read = 4,
    Write = 2,
    Search = 1,
}

impl Tree {
    /// What `operation` may be answered if `who` asks for it now.
    pub fn judge(&self, who: &Identity, operation: &Operation) -> Judgement {
        match operation {
            Operation::Create { dir, name, how } => self.judge_create(who, *dir, name, *how),
            Operation::MakeDirectory { dir, name, .. } => self.judge_new(who, *dir, name),
            Operation::Symlink { dir, name, target } => {
                let bad = target.is_empty() || target.contains(&0);
                self.judge_new(who, *dir, name)
                    .must(bad, &[Refusal::Invalid])
                    .must(target.len() > 4095, &[Refusal::NameTooLong])
            }
            Operation::Node { dir, name, node, .. } => {
                let device =
                    matches!(node, NodeKind::CharacterDevice(_) | NodeKind::BlockDevice(_));
                let denied = device && !who.is_root();
                self.judge_new(who, *dir, name).must(denied, &[Refusal::NotPermitted])
            }
            Operation::Link { node, dir, name } => {
                let is_directory = [Refusal::NotPermitted, Refusal::IsDirectory];
                self.judge_new(who, *dir, name)
                    .must(self.node(*node).is_none(), &[Refusal::Stale])
                    .must(self.is_directory(*node), &is_directory)
            }
            Operation::Remove { dir, name } => self.judge_remove(who, *dir, name),
            Operation::RemoveDirectory { dir, name } => self.judge_rmdir(who, *dir, name),
            Operation::Rename { from_dir, from, to_dir, to } => {
                self.judge_rename(who, (*from_dir, from), (*to_dir, to))
            }
            Operation::Set { node, set, guard } => self.judge_set(who, *node, set, *guard),
            Operation::Write { node, .. } | Operation::Commit { node } => {
                self.judge_data(who, *node, Want::Write)
            }
            Operation::Read { node, .. } => self.judge_data(who, *node, Want::Read),
            Operation::ReadLink { node } => match self.node(*node).map(|node| &node.kind) {
                None => Judgement::default().must(true, &[Refusal::Stale]),
                Some(Kind::Symlink(_)) => Judgement::default(),
                Some(_) => Judgement::default().must(true, &[Refusal::Invalid]),
            },
            Operation::LookUp { dir, name } => {
                let missing = self.look_up(*dir, name).is_none();
                self.judge_search(who, *dir, missing, &[Refusal::NotFound])
            }
            Operation::LookUpParent { dir } => self.judge_dir(who, *dir, Want::Search),
            Operation::List { dir, .. } => self.judge_dir(who, *dir, Want::Read),
        }
    }

    fn allowed(&self, who: &Identity, node: &Node, want: Want) -> bool {
        if who.is_root() {
            return true;
        }
        let class = if node.uid == who.uid {
            node.mode >> 6
        } else if is_member(who, node.gid) || self.lie == Lie::OthersAreTheGroup {
            node.mode >> 3
        } else {
            node.mode
        };
        class & want as u32 != 0
    }

    fn judge_dir(&self, who: &Identity, dir: NodeId, want: Want) -> Judgement {
        let judgement = Judgement::default();
        match self.node(dir) {
            None => judgement.must(true, &[Refusal::Stale]),
            Some(node) if !self.is_directory(dir) => {
                let _ = node;
                judgement.must(true, &[Refusal::NotDirectory])
            }
            Some(node) => judgement.must(!self.allowed(who, node, want), &[Refusal::Access]),
        }
    }

    /// A directory that names are looked up in; nothing is said of names to who may not.
    fn judge_search(
        &self,
        who: &Identity,
        dir: NodeId,
        refused: bool,
        refusals: &[Refusal],
    ) -> Judgement {
        let search = self.judge_dir(who, dir, Want::Search);
        let found_out = search.allows_success();
        search.must(refused && found_out, refusals)
    }

    fn may_write_names(&self, who: &Identity, dir: NodeId) -> bool {
        self.node(dir).is_some_and(|node| self.allowed(who, node, Want::Write))
    }

    fn judge_new(&self, who: &Identity, dir: NodeId, name: &[u8]) -> Judgement {
        let taken = self.look_up(dir, name).is_some();
        let denied = !self.may_write_names(who, dir);
        let judgement = self.judge_search(who, dir, taken, &[Refusal::Exists]);
        let is_directory = self.is_directory(dir);
        judgement.must(is_directory && denied, &[Refusal::Access])
    }

    fn judge_create(&self, who: &Identity, dir: NodeId, name: &[u8], how: How) -> Judgement {
        let Some(found) = self.look_up(dir, name) else { return self.judge_new(who, dir, name) };
        let exists = [Refusal::Exists, Refusal::IsDirectory];
        let file = match &self.node(found).expect("names lead somewhere").kind {
            Kind::File(data) => Some(data),
            _ => None,
        };
        let search = |refused: bool| self.judge_search(who, dir, refused, &exists);
        match (how, file) {
            (How::Guarded(_), _) | (_, None) => {
                let denied = !self.may_write_names(who, dir);
                search(true).may(denied, &[Refusal::Access])
            }
            (How::Exclusive(verifier), Some(data)) => search(data.exclusive != Some(verifier)),
            (How::Unchecked(set), Some(_)) => {
                let search = search(false);
                let opened = search.allows_success() && set.size.is_some();
                let data = self.judge_data(who, found, Want::Write);
                if opened { search.and(data) } else { search }
            }
        }
    }

    /// Whether `who` may take `victim`'s name out of `dir`.
    fn judge_take(&self, who: &Identity, dir: NodeId, victim: NodeId) -> Judgement {
        let (Some(above), Some(node)) = (self.node(dir), self.node(victim)) else {
            return Judgement::default();
        };
        let sticky = above.mode & STICKY != 0 && self.lie != Lie::StickyBitsMeanNothing;
        let owns = who.is_root() || who.uid == above.uid || who.uid == node.uid;
        Judgement::default()
            .must(!self.allowed(who, above, Want::Write), &[Refusal::Access])
            .must(sticky && !owns, &[Refusal::NotPermitted, Refusal::Access])
    }

    fn judge_remove(&self, who: &Identity, dir: NodeId, name: &[u8]) -> Judgement {
        let found = self.look_up(dir, name);
        let search = self.judge_search(who, dir, found.is_none(), &[Refusal::NotFound]);
        let denied = !self.may_write_names(who, dir);
        let search = search.may(denied, &[Refusal::Access]);
        let Some(found) = found.filter(|_| search.allows_success()) else { return search };
        let is_directory = [Refusal::IsDirectory, Refusal::NotPermitted];
        let judgement = search.and(self.judge_take(who, dir, found));
        judgement.must(self.is_directory(found), &is_directory)
    }

    fn judge_rmdir(&self, who: &Identity, dir: NodeId, name: &[u8]) -> Judgement {
        let found = self.look_up(dir, name);
        let search = self.judge_search(who, dir, found.is_none(), &[Refusal::NotFound]);
        let denied = !self.may_write_names(who, dir);
        let search = search.may(denied, &[Refusal::Access]);
        let Some(found) = found.filter(|_| search.allows_success()) else { return search };
        let full = self.names(found).is_some_and(|names| !names.is_empty());
        search
            .and(self.judge_take(who, dir, found))
            .must(!self.is_directory(found), &[Refusal::NotDirectory])
            .must(full, &[Refusal::NotEmpty, Refusal::Exists])
    }

    fn judge_rename(
        &self,
        who: &Identity,
        (from_dir, from): (NodeId, &[u8]),
        (to_dir, to): (NodeId, &[u8]),
    ) -> Judgement {
        let both = self.judge_dir(who, from_dir, Want::Search).and(self.judge_dir(
            who,
            to_dir,
            Want::Search,
        ));
        let found = self.look_up(from_dir, from);
        let search = both.allows_success();
        let both = both.must(search && found.is_none(), &[Refusal::NotFound]);
        let Some(moved) = found.filter(|_| search) else {
            return both.may(!self.may_write_names(who, from_dir), &[Refusal::Access]);
        };
        let target = self.look_up(to_dir, to);
        let taken = self.judge_take(who, from_dir, moved);
        if target == Some(moved) {
            // Nothing happens, so permission to do it may be asked for or not.
            return both.may(!taken.must.is_empty(), &taken.must);
        }
        let is_directory = self.is_directory(moved);
        let into_itself = is_directory && self.is_below(to_dir, moved);
        let moves_up = is_directory && from_dir != to_dir;
        let node = self.node(moved).expect("names lead somewhere");
        let judgement = both
            .and(taken)
            .must(into_itself, &[Refusal::Invalid])
            .must(!self.may_write_names(who, to_dir), &[Refusal::Access])
            .must(moves_up && !self.allowed(who, node, Want::Write), &[Refusal::Access]);
        let Some(target) = target else { return judgement };
        let full = self.names(target).is_some_and(|names| !names.is_empty());
        let over_directory = self.is_directory(target);
        judgement
            .and(self.judge_take(who, to_dir, target))
            .must(is_directory && !over_directory, &[Refusal::NotDirectory, Refusal::Exists])
            .must(!is_directory && over_directory, &[Refusal::IsDirectory, Refusal::Exists])
            .must(is_directory && full, &[Refusal::NotEmpty, Refusal::Exists])
    }

    fn judge_set(
        &self,
        who: &Identity,
        id: NodeId,
        set: &SetAttributes,
        guard: Guard,
    ) -> Judgement {
        let judgement = Judgement::default();
        let Some(node) = self.node(id) else { return judgement.must(true, &[Refusal::Stale]) };
        let owns = who.is_root() || who.uid == node.uid;
        let keeps_uid = owns && set.uid == Some(node.uid);
        let to_own_group =
            |gid: u32| owns && (gid == node.gid || is_member(who, gid)) || who.is_root();
        let writes = self.allowed(who, node, Want::Write);
        let mut judgement = judgement
            .must(guard == Guard::Wrong, &[Refusal::NotSync])
            .must(set.mode.is_some() && !owns, &[Refusal::NotPermitted])
            .must(set.uid.is_some() && !keeps_uid && !who.is_root(), &[Refusal::NotPermitted])
            .must(set.gid.is_some_and(|gid| !to_own_group(gid)), &[Refusal::NotPermitted]);
        for time in [set.atime, set.mtime] {
            let denied = [Refusal::Access, Refusal::NotPermitted];
            judgement = match time {
                SetTime::Keep => judgement,
                SetTime::ToServerTime => judgement.must(!owns && !writes, &denied),
                SetTime::To(_) => judgement.must(!owns, &denied[1..]),
            };
        }
        match set.size {
            Some(_) => judgement.and(self.judge_data(who, id, Want::Write)),
            None => judgement,
        }
    }

    /// Access to a file's data: its owner has opened it before, and who may run it may read it.
    fn judge_data(&self, who: &Identity, id: NodeId, want: Want) -> Judgement {
        let judgement = Judgement::default();
        let Some(node) = self.node(id) else { return judgement.must(true, &[Refusal::Stale]) };
        match node.kind {
            Kind::File(_) => {}
            Kind::Directory(_) => return judgement.must(true, &[Refusal::IsDirectory]),
            _ => return judgement.must(true, &[Refusal::Invalid]),
        }
        let allowed = node.uid == who.uid
            || self.allowed(who, node, want)
            || want == Want::Read && self.allowed(who, node, Want::Search);
        judgement.must(!allowed, &[Refusal::Access])
    }
}
