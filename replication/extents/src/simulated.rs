//! A disk in memory that fails on request and forgets on a power cut what was not synced: the twin
//! of the real one, for tests of whatever stands on [`Disk`].
//!
//! Invariant: passes the same contract suite as the real disk. The power cut is the harshest that
//! the contract allows: everything that may be lost is.
//! Absent on purpose: torn pages, permissions, links.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::BytesMut;
use model::Span;
use parking_lot::{Condvar, Mutex};

use crate::{BackingFile, Disk, DiskTotals, FileFacts, Open, Rename, Wait};

/// What can be made to fail or to stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opening or making a file.
    Open,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Changing a file's length.
    SetSize,
    /// Making a hole.
    Punch,
    /// Making a file durable.
    Sync,
    /// Reading the record.
    Record,
    /// Writing the record.
    SetRecord,
}

/// How often an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The next time only.
    Once,
    /// Until [`SimulatedDisk::mend`].
    Always,
}

/// A disk in memory.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<World>,
}

struct World {
    state: Mutex<State>,
    resumed: Condvar,
}

struct State {
    capacity: u64,
    names: BTreeMap<PathBuf, Name>,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    /// Cut power ends the life of every open file.
    boot: u64,
    failing: HashMap<Operation, (i32, Failing)>,
    stalled: HashMap<Operation, u64>,
    calls: HashMap<Operation, u64>,
    closed_unsynced: u64,
}

#[derive(Clone, Copy)]
struct Name {
    target: Target,
    durable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Directory,
    File(u64),
}

#[derive(Default)]
struct Inode {
    now: Content,
    durable: Content,
    open: u64,
    changed: bool,
}

#[derive(Clone, Default)]
struct Content {
    size: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES as usize]>>,
    record: Option<Vec<u8>>,
}

struct SimulatedFile {
    world: Arc<World>,
    inode: u64,
    boot: u64,
}

impl SimulatedDisk {
    /// An empty disk of `capacity` bytes, with the directory `/`.
    pub fn new(capacity: u64) -> Self {
        let root = Name { target: Target::Directory, durable: true };
        Self {
            world: Arc::new(World {
                state: Mutex::new(State {
                    capacity,
                    names: BTreeMap::from([(PathBuf::from("/"), root)]),
                    inodes: HashMap::new(),
                    next_inode: 1,
                    boot: 0,
                    failing: HashMap::new(),
                    stalled: HashMap::new(),
                    calls: HashMap::new(),
                    closed_unsynced: 0,
                }),
                resumed: Condvar::new(),
            }),
        }
    }

    /// Makes `operation` fail with the error number `errno`.
    pub fn fail(&self, operation: Operation, errno: i32, failing: Failing) {
        let mut state = self.world.state.lock();
        state.failing.insert(operation, (errno, failing));
    }

    /// Ends all failing.
    pub fn mend(&self) {
        self.world.state.lock().failing.clear();
    }

    /// Makes every `operation` from now on wait for [`Self::resume`]; those not to wait, too.
    pub fn stall(&self, operation: Operation) {
        self.world.state.lock().stalled.insert(operation, 0);
    }

    /// Lets those that wait, and all others, go on.
    pub fn resume(&self, operation: Operation) {
        self.world.state.lock().stalled.remove(&operation);
        self.world.resumed.notify_all();
    }

    /// How many calls of a stalled `operation` wait right now.
    pub fn waiting(&self, operation: Operation) -> u64 {
        let state = self.world.state.lock();
        state.stalled.get(&operation).copied().unwrap_or(0)
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: Operation) -> u64 {
        let state = self.world.state.lock();
        state.calls.get(&operation).copied().unwrap_or(0)
    }

    /// Changes how much the disk holds.
    pub fn set_capacity(&self, capacity: u64) {
        self.world.state.lock().capacity = capacity;
    }

    /// How many times the last reference to a changed file with a name was closed without a sync.
    pub fn closed_unsynced(&self) -> u64 {
        self.world.state.lock().closed_unsynced
    }

    /// Forgets all that was not synced. Files that are open fail from now on.
    pub fn cut_power(&self) {
        let mut state = self.world.state.lock();
        state.boot += 1;
        state.names.retain(|_, name| name.durable);
        let names = state.names.clone();
        // A file survives only in a directory that does.
        state.names.retain(|path, _| {
            path.ancestors().all(|above| above.as_os_str().is_empty() || names.contains_key(above))
        });
        for inode in state.inodes.values_mut() {
            inode.now = inode.durable.clone();
            inode.open = 0;
            inode.changed = false;
        }
        state.forget_nameless();
    }
}

impl World {
    fn enter(&self, operation: Operation) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        *state.calls.entry(operation).or_default() += 1;
        if let Some(waiting) = state.stalled.get_mut(&operation) {
            *waiting += 1;
        }
        while state.stalled.contains_key(&operation) {
            self.resumed.wait(&mut state);
        }
        match state.failing.get(&operation).copied() {
            None => Ok(state),
            Some((errno, failing)) => {
                if failing == Failing::Once {
                    state.failing.remove(&operation);
                }
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.now.used()).sum()
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path).map(|name| name.target) {
            Some(Target::File(inode)) => Ok(inode),
            Some(Target::Directory) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path).map(|name| name.target) {
            Some(Target::Directory) => Ok(()),
            Some(Target::File(_)) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        self.directory(path.parent().unwrap_or(Path::new("")))
    }

    fn has_name(&self, inode: u64) -> bool {
        self.names.values().any(|name| name.target == Target::File(inode))
    }

    fn forget_nameless(&mut self) {
        let named: Vec<u64> = self
            .names
            .values()
            .filter_map(|name| match name.target {
                Target::File(inode) => Some(inode),
                Target::Directory => None,
            })
            .collect();
        self.inodes.retain(|id, inode| inode.open > 0 || named.contains(id));
    }

    fn inode(&mut self, file: &SimulatedFile) -> io::Result<&mut Inode> {
        if file.boot != self.boot {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let inode = self.inodes.get_mut(&file.inode);
        inode.ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
    }
}

impl Content {
    fn used(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }

    fn read(&self, span: Span, into: &mut BytesMut) -> usize {
        let end = span.end().min(self.size);
        let mut at = span.offset();
        while at < end {
            let within = at % PAGE_BYTES;
            let len = (PAGE_BYTES - within).min(end - at);
            match self.pages.get(&(at / PAGE_BYTES)) {
                Some(page) => into.extend_from_slice(&page[within as usize..][..len as usize]),
                None => into.resize(into.len() + len as usize, 0),
            }
            at += len;
        }
        end.saturating_sub(span.offset()) as usize
    }

    /// Writes what fits into `room` more bytes of pages.
    fn write(&mut self, payload: &[u8], offset: u64, mut room: u64) -> usize {
        let mut done = 0;
        while done < payload.len() {
            let at = offset + done as u64;
            let page = at / PAGE_BYTES;
            if !self.pages.contains_key(&page) {
                if room < PAGE_BYTES {
                    break;
                }
                room -= PAGE_BYTES;
            }
            let within = (at % PAGE_BYTES) as usize;
            let len = (PAGE_BYTES as usize - within).min(payload.len() - done);
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            Arc::make_mut(page)[within..within + len].copy_from_slice(&payload[done..done + len]);
            done += len;
        }
        if done > 0 {
            self.size = self.size.max(offset + done as u64);
        }
        done
    }

    fn set_size(&mut self, size: u64) {
        self.pages.retain(|page, _| page * PAGE_BYTES < size);
        let within = (size % PAGE_BYTES) as usize;
        if let Some(page) = self.pages.get_mut(&(size / PAGE_BYTES)) {
            Arc::make_mut(page)[within..].fill(0);
        }
        self.size = size;
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let (page, _) = self.pages.range(offset / PAGE_BYTES..).next()?;
        Some(offset.max(page * PAGE_BYTES)).filter(|found| *found < self.size)
    }

    fn next_hole(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let mut page = offset / PAGE_BYTES;
        while self.pages.contains_key(&page) {
            page += 1;
        }
        Some(offset.max(page * PAGE_BYTES).min(self.size))
    }

    fn punch(&mut self, span: Span) {
        let pages = span.offset() / PAGE_BYTES..span.end().div_ceil(PAGE_BYTES);
        let touched: Vec<u64> = self.pages.range(pages).map(|(page, _)| *page).collect();
        for page in touched {
            let start = page * PAGE_BYTES;
            let from = span.offset().max(start) - start;
            let to = span.end().min(start + PAGE_BYTES) - start;
            if to - from == PAGE_BYTES {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                Arc::make_mut(bytes)[from as usize..to as usize].fill(0);
            }
        }
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn BackingFile>> {
        let mut state = self.world.enter(Operation::Open)?;
        let inode = match (state.file(path), how) {
            (Err(error), Open::OrCreate) if error.kind() == io::ErrorKind::NotFound => {
                state.parent(path)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                let name = Name { target: Target::File(inode), durable: false };
                state.names.insert(path.to_owned(), name);
                inode
            }
            (found, _) => found?,
        };
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.open += 1;
        }
        Ok(Arc::new(SimulatedFile { world: Arc::clone(&self.world), inode, boot: state.boot }))
    }

    fn open_cold(&self, path: &Path) -> io::Result<Arc<dyn BackingFile>> {
        self.open(path, Open::Existing)
    }

    fn in_background(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.state.lock();
        state.file(path)?;
        state.names.remove(path);
        state.forget_nameless();
        Ok(())
    }

    fn rename(&self, names: Rename<'_>) -> io::Result<()> {
        let mut state = self.world.state.lock();
        state.file(names.from)?;
        state.parent(names.to)?;
        if let Some(name) = state.names.remove(names.from) {
            state.names.insert(names.to.to_owned(), name);
        }
        state.forget_nameless();
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.state.lock();
        state.parent(path)?;
        if state.names.contains_key(path) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let name = Name { target: Target::Directory, durable: false };
        state.names.insert(path.to_owned(), name);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.state.lock();
        state.directory(path)?;
        for (name, what) in &mut state.names {
            if name.parent() == Some(path) {
                what.durable = true;
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        let names: Vec<PathBuf> = {
            let state = self.world.state.lock();
            state.directory(path)?;
            let all = state.names.keys();
            all.filter(|name| name.parent() == Some(path)).cloned().collect()
        };
        for name in names.iter().filter_map(|name| name.file_name()) {
            each(name);
        }
        Ok(())
    }

    fn totals(&self, _: &Path) -> io::Result<DiskTotals> {
        let state = self.world.state.lock();
        let free = state.capacity.saturating_sub(state.used());
        Ok(DiskTotals { total: state.capacity, free, available: free })
    }

    fn sync_file_system(&self, _: &Path) -> io::Result<()> {
        let mut state = self.world.state.lock();
        for name in state.names.values_mut() {
            name.durable = true;
        }
        for inode in state.inodes.values_mut() {
            inode.durable = inode.now.clone();
            inode.changed = false;
        }
        Ok(())
    }
}

impl BackingFile for SimulatedFile {
    fn read(&self, span: Span, into: &mut BytesMut, _: Wait) -> io::Result<usize> {
        let mut state = self.world.enter(Operation::Read)?;
        Ok(state.inode(self)?.now.read(span, into))
    }

    /// Nothing is elsewhere.
    fn forget(&self, _: Span) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, payload: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.world.enter(Operation::Write)?;
        if offset.saturating_add(payload.len() as u64) > FILE_BYTES_MAX {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let room = state.capacity.saturating_sub(state.used());
        let inode = state.inode(self)?;
        match inode.now.write(payload, offset, room) {
            0 if !payload.is_empty() => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            count => {
                inode.changed = true;
                Ok(count)
            }
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.world.enter(Operation::SetSize)?;
        if size > FILE_BYTES_MAX {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let inode = state.inode(self)?;
        inode.now.set_size(size);
        inode.changed = true;
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let mut state = self.world.state.lock();
        Ok(state.inode(self)?.now.next_data(offset))
    }

    fn next_hole(&self, offset: u64) -> io::Result<u64> {
        let mut state = self.world.state.lock();
        let found = state.inode(self)?.now.next_hole(offset);
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENXIO))
    }

    fn punch(&self, span: Span) -> io::Result<()> {
        let mut state = self.world.enter(Operation::Punch)?;
        let inode = state.inode(self)?;
        inode.now.punch(span);
        inode.changed = true;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.world.enter(Operation::Sync)?;
        let inode = state.inode(self)?;
        inode.durable = inode.now.clone();
        inode.changed = false;
        for name in state.names.values_mut() {
            if name.target == Target::File(self.inode) {
                name.durable = true;
            }
        }
        Ok(())
    }

    fn facts(&self) -> io::Result<FileFacts> {
        let mut state = self.world.state.lock();
        let now = &state.inode(self)?.now;
        Ok(FileFacts { size: now.size, used: now.used() })
    }

    fn record(&self) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.world.enter(Operation::Record)?;
        Ok(state.inode(self)?.now.record.clone())
    }

    fn set_record(&self, record: &[u8]) -> io::Result<()> {
        let mut state = self.world.enter(Operation::SetRecord)?;
        let inode = state.inode(self)?;
        inode.now.record = Some(record.to_owned());
        inode.changed = true;
        Ok(())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.world.state.lock();
        if self.boot != state.boot {
            return;
        }
        let named = state.has_name(self.inode);
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.open -= 1;
            if inode.open == 0 && inode.changed && named {
                state.closed_unsynced += 1;
            }
        }
        state.forget_nameless();
    }
}

const PAGE_BYTES: u64 = 4096;
/// As ext4 has it; BTRFS takes up to 2^63 - 1.
const FILE_BYTES_MAX: u64 = 16 << 40;
