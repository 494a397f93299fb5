//! Draws operations: mostly such as can be done, on few enough names that they meet.

use model::{Device, Identity, NodeKind, SetAttributes, SetTime, Stability, Timestamp};

use crate::tree::{Guard, How, Kind, NodeId, Operation, ROOT, Tree};

/// Numbers that follow from the seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound as u64).expect("below a usize")
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The superuser, two users who share a group, and one who is alone.
pub fn identities() -> [Identity; 4] {
    let user = |uid: u32, gid: u32, gids: &[u32]| Identity { uid, gid, gids: gids.into() };
    [Identity::root(), user(1000, 1000, &[2000]), user(1001, 2000, &[]), user(1002, 1002, &[])]
}

/// Who asks next: the superuser rarely, since it may do everything.
pub fn identity(random: &mut Random) -> Identity {
    let [root, one, two, three] = identities();
    match random.below(8) {
        0 => root,
        1..=4 => one,
        5..=6 => two,
        _ => three,
    }
}

/// One operation.
pub fn operation(random: &mut Random, tree: &Tree) -> Operation {
    let dir = directory(random, tree);
    let name = name(random);
    match random.below(100) {
        0..12 => Operation::Create { dir, name, how: how(random) },
        12..20 => Operation::MakeDirectory { dir, name, set: born_with(random, false) },
        20..24 => {
            let len = random.pick(&[0, 1, 10, 10, 10, 300, 4095, 4096]);
            Operation::Symlink { dir, name, target: vec![b'/'; len] }
        }
        24..28 => {
            let device = Device { major: 7, minor: 300 };
            let kinds = [
                NodeKind::Fifo,
                NodeKind::Fifo,
                NodeKind::Socket,
                NodeKind::CharacterDevice(device),
                NodeKind::BlockDevice(device),
            ];
            let node = random.pick(&kinds);
            Operation::Node { dir, name, node, set: born_with(random, false) }
        }
        28..34 => Operation::Link { node: any_node(random, tree), dir, name },
        34..40 => Operation::Remove { dir, name },
        40..44 => Operation::RemoveDirectory { dir, name },
        44..54 => {
            let to_dir = if random.once_in(2) { dir } else { directory(random, tree) };
            let to = self::name(random);
            Operation::Rename { from_dir: dir, from: name, to_dir, to }
        }
        54..66 => {
            let guard = random.pick(&[Guard::None, Guard::None, Guard::Right, Guard::Wrong]);
            Operation::Set { node: any_node(random, tree), set: set(random), guard }
        }
        66..80 => {
            let bytes = vec![random.draw() as u8; random.pick(&[0, 1, 100, 1000, 5000])];
            let stabilities = [
                Stability::Unstable,
                Stability::Unstable,
                Stability::Unstable,
                Stability::DataSync,
                Stability::FileSync,
            ];
            let stability = random.pick(&stabilities);
            let (node, offset) = (a_file(random, tree), random.below(BYTES_MAX - 5000));
            Operation::Write { node, offset, bytes, stability }
        }
        80..84 => Operation::Commit { node: a_file(random, tree) },
        84..89 => {
            let (offset, len) = (random.below(BYTES_MAX + 1000), random.below(BYTES_MAX));
            Operation::Read { node: a_file(random, tree), offset, len }
        }
        89..91 => Operation::ReadLink { node: any_node(random, tree) },
        91..95 => Operation::LookUp { dir, name },
        95..97 => Operation::LookUpParent { dir },
        _ => Operation::List { dir, entries_max: 1 + random.below(7) },
    }
}

fn name(random: &mut Random) -> Vec<u8> {
    let names: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"A", &[0xff, 0xfe], &[b'n'; 255]];
    random.pick(&names).to_vec()
}

/// A directory; once in a while one that is gone, or something else.
fn directory(random: &mut Random, tree: &Tree) -> NodeId {
    if random.once_in(20) {
        return random.below(tree.ever());
    }
    let all: Vec<NodeId> =
        tree.living().map(|(id, _)| id).filter(|id| tree.is_directory(*id)).collect();
    if random.once_in(4) { ROOT } else { random.pick(&all) }
}

/// A regular file, if there is one; once in a while something else.
fn a_file(random: &mut Random, tree: &Tree) -> NodeId {
    let is_file = |kind: &Kind| matches!(kind, Kind::File(_));
    let all: Vec<NodeId> =
        tree.living().filter(|(_, node)| is_file(&node.kind)).map(|(id, _)| id).collect();
    if all.is_empty() || random.once_in(20) { any_node(random, tree) } else { random.pick(&all) }
}

fn any_node(random: &mut Random, tree: &Tree) -> NodeId {
    if random.once_in(20) {
        return random.below(tree.ever());
    }
    let all: Vec<NodeId> = tree.living().map(|(id, _)| id).collect();
    random.pick(&all)
}

fn how(random: &mut Random) -> How {
    match random.below(6) {
        0 => How::Exclusive([random.below(2) as u8; 8]),
        1 => How::Guarded(born_with(random, true)),
        _ => How::Unchecked(born_with(random, true)),
    }
}

fn born_with(random: &mut Random, is_file: bool) -> SetAttributes {
    let modes = [0o777, 0o755, 0o644, 0o666, 0o600, 0o4755, 0o2775, 0o1777, 0o770];
    SetAttributes {
        mode: Some(random.pick(&modes)),
        uid: random.once_in(6).then_some(1001),
        gid: random.once_in(6).then_some(2000),
        size: (is_file && random.once_in(4)).then(|| random.pick(&[0, 0, 0, 5000])),
        atime: time(random),
        mtime: time(random),
    }
}

fn set(random: &mut Random) -> SetAttributes {
    let modes = [0o777, 0o755, 0o644, 0o000, 0o511, 0o6777, 0o2777, 0o1777, 0o2767];
    let chowns = random.once_in(3);
    SetAttributes {
        // What chown takes from a mode that is set beside it is nowhere written.
        mode: (!chowns && random.once_in(3)).then(|| random.pick(&modes)),
        uid: (chowns && random.once_in(3)).then(|| random.pick(&[0, 1000, 1001, 1002])),
        gid: (chowns && random.once_in(2)).then(|| random.pick(&[0, 1000, 1002, 2000])),
        size: random.once_in(3).then(|| random.below(BYTES_MAX) as u64),
        atime: time(random),
        mtime: time(random),
    }
}

fn time(random: &mut Random) -> SetTime {
    match random.below(6) {
        0 => SetTime::ToServerTime,
        1 => SetTime::To(Timestamp::from_parts(random.below(1 << 31) as u32, 1)),
        _ => SetTime::Keep,
    }
}

/// Files are at most this long: some pages, and cheap to keep many copies of.
pub const BYTES_MAX: usize = 20_000;
