//! What a client was promised: a list of steps on a tree of files, and the tree they make.
//!
//! A worker writes each step into its ledger before it asks for it and again when the answer has
//! come, at a place that no crash of the appliance touches. From the ledger follows what must be
//! found on the mount: every settled step, whole; only what a step still open at the time touches
//! is in doubt.
//!
//! Invariant: contents follow from a seed and a length, so that a ledger line is all that is needed
//! to check every byte. Absent on purpose: the mount; see the program `crash-writer`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Random;

/// The bytes that a file holds, named by what they are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The seed of a [`Random`].
    pub seed: u64,
    /// How many bytes of it.
    pub len: usize,
}

impl Content {
    /// The bytes themselves.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        Random::new(self.seed).bytes(self.len)
    }
}

/// One change of the tree. It is settled when all its system calls, fsync included, have returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new file, its content, fsync.
    Create(String, Content),
    /// New content for a file that exists, fsync.
    Write(String, Content),
    /// The second name, which may exist, becomes the first's file.
    Rename(String, String),
    /// The second name is another one for the first's file.
    Link(String, String),
    /// The first name is a symlink to the second.
    Symlink(String, String),
    /// The name goes.
    Unlink(String),
    /// A new, empty folder.
    Mkdir(String),
    /// An empty folder goes.
    Rmdir(String),
}

impl Step {
    /// The names that it touches.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Rename(from, to) | Self::Link(from, to) => vec![from, to],
            Self::Create(name, _)
            | Self::Write(name, _)
            | Self::Symlink(name, _)
            | Self::Unlink(name)
            | Self::Mkdir(name)
            | Self::Rmdir(name) => vec![name],
        }
    }

    fn parse(words: &[&str]) -> Option<Self> {
        let content = |seed: &str, len: &str| {
            Some(Content { seed: seed.parse().ok()?, len: len.parse().ok()? })
        };
        let own = |word: &str| word.to_owned();
        Some(match *words {
            ["create", name, seed, len] => Self::Create(own(name), content(seed, len)?),
            ["write", name, seed, len] => Self::Write(own(name), content(seed, len)?),
            ["rename", from, to] => Self::Rename(own(from), own(to)),
            ["link", from, to] => Self::Link(own(from), own(to)),
            ["symlink", name, target] => Self::Symlink(own(name), own(target)),
            ["unlink", name] => Self::Unlink(own(name)),
            ["mkdir", name] => Self::Mkdir(own(name)),
            ["rmdir", name] => Self::Rmdir(own(name)),
            _ => return None,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name, content) => {
                write!(f, "create {name} {} {}", content.seed, content.len)
            }
            Self::Write(name, content) => {
                write!(f, "write {name} {} {}", content.seed, content.len)
            }
            Self::Rename(from, to) => write!(f, "rename {from} {to}"),
            Self::Link(from, to) => write!(f, "link {from} {to}"),
            Self::Symlink(name, target) => write!(f, "symlink {name} {target}"),
            Self::Unlink(name) => write!(f, "unlink {name}"),
            Self::Mkdir(name) => write!(f, "mkdir {name}"),
            Self::Rmdir(name) => write!(f, "rmdir {name}"),
        }
    }
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file: its number in this ledger, which hard links share.
    File(u64),
    /// A symlink and its target.
    Symlink(String),
    /// An empty folder.
    Folder,
}

/// The tree that a list of steps makes.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    names: BTreeMap<String, Entry>,
    files: BTreeMap<u64, Content>,
    files_made: u64,
}

impl Tree {
    /// Every name and what it leads to.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<String, Entry> {
        &self.names
    }

    /// What a file holds.
    #[must_use]
    pub fn content(&self, file: u64) -> Content {
        self.files[&file]
    }

    /// The names that lead to the same file as `name`, itself among them.
    #[must_use]
    pub fn same_file(&self, name: &str) -> Vec<&str> {
        let Some(entry @ Entry::File(_)) = self.names.get(name) else { return Vec::new() };
        self.names.iter().filter(|(_, other)| *other == entry).map(|(name, _)| &**name).collect()
    }

    /// Takes a step.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(name, content) => {
                self.files_made += 1;
                self.files.insert(self.files_made, *content);
                self.names.insert(name.clone(), Entry::File(self.files_made));
            }
            Step::Write(name, content) => {
                let Entry::File(file) = self.names[name] else { panic!("{name} is no file") };
                self.files.insert(file, *content);
            }
            Step::Rename(from, to) => {
                let same = self.names.get(to) == self.names.get(from);
                // Between two names of one file a rename does nothing (POSIX).
                if !same || matches!(self.names[from], Entry::Symlink(_)) {
                    let entry = self.names.remove(from).expect("the worker renames what is there");
                    self.names.insert(to.clone(), entry);
                }
            }
            Step::Link(from, to) => {
                let entry = self.names[from].clone();
                self.names.insert(to.clone(), entry);
            }
            Step::Symlink(name, target) => {
                self.names.insert(name.clone(), Entry::Symlink(target.clone()));
            }
            Step::Mkdir(name) => {
                self.names.insert(name.clone(), Entry::Folder);
            }
            Step::Unlink(name) | Step::Rmdir(name) => {
                self.names.remove(name);
            }
        }
    }

    /// Chooses a step that is possible in this tree. `count` makes new names new.
    pub fn choose(&self, random: &mut Random, count: u64) -> Step {
        let fresh = format!("{}n{count}", FOLDERS[random.below(FOLDERS.len())]);
        let len_max = if random.below(8) == 0 { LARGE_BYTES_MAX } else { SMALL_BYTES_MAX };
        let content = Content { seed: random.draw(), len: random.below(len_max) };
        let files = self.pick(random, |entry| matches!(entry, Entry::File(_)));
        let folders = self.pick(random, |entry| matches!(entry, Entry::Folder));
        let others = self.pick(random, |entry| !matches!(entry, Entry::Folder));
        let room = self.names.len() < NAMES_MAX;
        match (random.below(16), files, others, folders) {
            (0..5, ..) if room => Step::Create(fresh, content),
            (5, ..) if room => Step::Symlink(fresh, format!("to/{count}")),
            (6, ..) if room => Step::Mkdir(fresh),
            (7, Some(file), ..) if room => Step::Link(file, fresh),
            (8 | 9, Some(file), ..) => Step::Write(file, content),
            (10 | 11, _, Some(other), _) => Step::Rename(other, fresh),
            (12, Some(file), Some(other), _) if file != other => Step::Rename(file, other),
            (13, _, _, Some(folder)) => Step::Rmdir(folder),
            (_, _, Some(other), _) if self.names.len() > NAMES_MAX / 2 => Step::Unlink(other),
            _ => Step::Create(fresh, content),
        }
    }

    fn pick(&self, random: &mut Random, wanted: impl Fn(&Entry) -> bool) -> Option<String> {
        let names: Vec<_> = self.names.iter().filter(|(_, entry)| wanted(entry)).collect();
        (!names.is_empty()).then(|| names[random.below(names.len())].0.clone())
    }
}

/// What a ledger says must be found.
#[derive(Debug, Default)]
pub struct Promise {
    /// The tree of all settled steps.
    pub tree: Tree,
    /// Names that open steps, or steps settled too late to count, touch.
    pub doubtful: BTreeSet<String>,
}

impl Promise {
    /// Reads a ledger: what was settled within its first `settled` bytes counts, and what was begun
    /// after that, or not settled by then, is in doubt.
    #[must_use]
    pub fn read(ledger: &str, settled: usize) -> Self {
        let mut promise = Self::default();
        let mut open: Option<Step> = None;
        let mut place = 0;
        for line in ledger.split_inclusive('\n') {
            place += line.len();
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words {
                _ if !line.ends_with('\n') => break,
                ["begin", ref step @ ..] => {
                    let step = Step::parse(step).unwrap_or_else(|| panic!("bad ledger: {line}"));
                    open = Some(step);
                }
                ["settled"] => {
                    let step = open.take().expect("a step is begun before it is settled");
                    if place <= settled {
                        promise.tree.apply(&step);
                    } else {
                        promise.doubt(&step);
                    }
                }
                _ => panic!("bad ledger: {line}"),
            }
        }
        if let Some(step) = open {
            promise.doubt(&step);
        }
        promise
    }

    fn doubt(&mut self, step: &Step) {
        for name in step.names() {
            self.doubtful.insert(name.to_owned());
            let same = self.tree.same_file(name).into_iter().map(str::to_owned);
            self.doubtful.extend(same.collect::<Vec<_>>());
        }
    }
}

/// The folders in which a worker keeps its names; the worker makes them before it starts.
pub const FOLDERS: [&str; 3] = ["", "left/", "right/"];

/// Enough names for every kind of step, few enough to check them all after every crash.
const NAMES_MAX: usize = 40;

/// Most files fit in one WRITE.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// Some need several, UNSTABLE ones, and a COMMIT.
const LARGE_BYTES_MAX: usize = 4 << 20;
