//! Runs in a guest: makes a storm of changes on the mount and keeps a ledger of them, or checks a
//! mount against a ledger.
//!
//! `crash-writer storm FOLDER LEDGER PAUSE SEED` works until the file PAUSE says `stop`. Whenever
//! PAUSE says something else it finishes its step, copies that word to LEDGER.paused and waits. Any
//! error of any system call ends it: a hard mount shows a client no crash.
//!
//! `crash-writer verify FOLDER LEDGER SETTLED` prints what is not as the ledger's first SETTLED
//! bytes promise, and exits 1 if there is anything.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test program")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::Random;
use tests::ledger::{Content, Entry, FOLDERS, Promise, Step, Tree};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match *words {
        ["storm", folder, ledger, pause, seed] => {
            let seed = seed.parse().expect("a seed is a number");
            let mut worker = Worker::new(folder, ledger, pause, seed);
            if let Err(e) = worker.work() {
                println!("{}: {e}, at: {}", folder, worker.step);
                std::process::exit(1);
            }
        }
        ["verify", folder, ledger, settled] => {
            let text = fs::read_to_string(ledger).expect("the ledger can be read");
            let promise = Promise::read(&text, settled.parse().expect("a length"));
            let broken = verify(Path::new(folder), &promise);
            broken.iter().for_each(|what| println!("{folder}: {what}"));
            std::process::exit(i32::from(!broken.is_empty()));
        }
        _ => panic!("storm or verify, not {words:?}"),
    }
}

struct Worker {
    folder: PathBuf,
    ledger: File,
    pause: PathBuf,
    paused: PathBuf,
    random: Random,
    tree: Tree,
    step: String,
}

impl Worker {
    fn new(folder: &str, ledger: &str, pause: &str, seed: u64) -> Self {
        Self {
            folder: folder.into(),
            ledger: OpenOptions::new().append(true).create(true).open(ledger).unwrap(),
            pause: pause.into(),
            paused: format!("{ledger}.paused").into(),
            random: Random::new(seed),
            tree: Tree::default(),
            step: "start".to_owned(),
        }
    }

    fn work(&mut self) -> io::Result<()> {
        for folder in FOLDERS {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        let mut count = 0;
        while !self.stopped() {
            count += 1;
            let step = self.tree.choose(&mut self.random, count);
            self.step = step.to_string();
            // One write a line: the host must never see half of one.
            self.ledger.write_all(format!("begin {step}\n").as_bytes()).unwrap();
            self.take(&step)?;
            self.ledger.write_all(b"settled\n").unwrap();
            self.tree.apply(&step);
            self.look_back()?;
        }
        Ok(())
    }

    fn take(&self, step: &Step) -> io::Result<()> {
        let at = |name: &String| self.folder.join(name);
        match step {
            Step::Create(name, content) => fill(&File::create_new(at(name))?, *content),
            Step::Write(name, content) => {
                fill(&OpenOptions::new().write(true).open(at(name))?, *content)
            }
            Step::Rename(from, to) => fs::rename(at(from), at(to)),
            Step::Link(from, to) => fs::hard_link(at(from), at(to)),
            Step::Symlink(name, target) => std::os::unix::fs::symlink(target, at(name)),
            Step::Unlink(name) => fs::remove_file(at(name)),
            Step::Mkdir(name) => fs::create_dir(at(name)),
            Step::Rmdir(name) => fs::remove_dir(at(name)),
        }
    }

    /// Reads one file, so that there are reads in the storm as well.
    fn look_back(&mut self) -> io::Result<()> {
        let names: Vec<_> = self.tree.names().iter().collect();
        if names.is_empty() {
            return Ok(());
        }
        let (name, entry) = names[self.random.below(names.len())];
        if let Entry::File(file) = entry {
            let found = fs::read(self.folder.join(name))?;
            let same = found == self.tree.content(*file).bytes();
            return same.then_some(()).ok_or_else(|| io::Error::other(format!("{name} differs")));
        }
        fs::symlink_metadata(self.folder.join(name)).map(drop)
    }

    /// Waits while it is told to pause; true when it is told to stop.
    fn stopped(&self) -> bool {
        let mut told = String::new();
        loop {
            match fs::read_to_string(&self.pause) {
                Err(_) => return false,
                Ok(word) if word == "stop" => return true,
                Ok(word) if word != told => {
                    fs::write(&self.paused, &word).unwrap();
                    told = word;
                }
                Ok(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn fill(file: &File, content: Content) -> io::Result<()> {
    file.write_all_at(&content.bytes(), 0)?;
    file.set_len(content.len as u64)?;
    file.sync_all()
}

/// What is not as promised.
fn verify(folder: &Path, promise: &Promise) -> Vec<String> {
    let mut broken = Vec::new();
    let mut files = std::collections::BTreeMap::new();
    for (name, entry) in promise.tree.names() {
        if promise.doubtful.contains(name) {
            continue;
        }
        match is_as(&folder.join(name), entry, &promise.tree) {
            Ok(number) => {
                if let Entry::File(file) = entry
                    && *files.entry(*file).or_insert(number) != number
                {
                    broken.push(format!("{name} is not the same file as its other names"));
                }
            }
            Err(what) => broken.push(format!("{name}: {what}")),
        }
    }
    for sub in FOLDERS {
        let listed = match fs::read_dir(folder.join(sub)) {
            Ok(listed) => listed,
            Err(e) => {
                broken.push(format!("{sub}: {e}"));
                continue;
            }
        };
        for entry in listed {
            let name = match entry {
                Ok(entry) => format!("{sub}{}", entry.file_name().to_string_lossy()),
                Err(e) => {
                    broken.push(format!("listing {sub}: {e}"));
                    break;
                }
            };
            let known = promise.tree.names().contains_key(&name)
                || promise.doubtful.contains(&name)
                || FOLDERS.contains(&format!("{name}/").as_str());
            if !known {
                broken.push(format!("{name} is there but should not be"));
            }
        }
    }
    broken
}

/// The object's number if what is at `path` is as it should be.
fn is_as(path: &Path, entry: &Entry, tree: &Tree) -> Result<u64, String> {
    let found = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    let right = match entry {
        Entry::Folder => found.is_dir(),
        Entry::Symlink(target) => {
            fs::read_link(path).map_err(|e| e.to_string())? == Path::new(target)
        }
        Entry::File(file) => {
            let content = tree.content(*file);
            let bytes = fs::read(path).map_err(|e| e.to_string())?;
            if bytes.len() != content.len {
                return Err(format!("has {} bytes instead of {}", bytes.len(), content.len));
            }
            let wanted = content.bytes();
            let differs = (0..bytes.len()).find(|n| bytes[*n] != wanted[*n]);
            if let Some(place) = differs {
                return Err(format!("differs from byte {place} of {} on", content.len));
            }
            true
        }
    };
    if right { Ok(found.ino()) } else { Err(format!("is not {entry:?}")) }
}
