//! The layout of keys: one prefix byte a kind of record, numbers big endian so that order in the
//! store is order of numbers.

use model::{ApplianceId, ClientAddress, Cookie, Name, ObjectId};

/// The state record: one key.
pub const STATE: &[u8] = b"S";
/// The part of the membership that is there only while it changes: one key.
pub const JOINT: &[u8] = b"J";
/// This catalog is another appliance's image and the group's log is not yet reset to it: one key.
pub const INSTALLED: &[u8] = b"A";
/// How old answers are: one key.
pub const REPLAY_CLOCK: &[u8] = b"T";

const INODE: u8 = b'I';
const NAME: u8 = b'N';
const COOKIE: u8 = b'C';
const REMOVAL: u8 = b'R';
const REMOVAL_BY: u8 = b'D';
const FAULT: u8 = b'F';
const REPLAY: u8 = b'K';
const PIN: u8 = b'P';
const DEGRADED: u8 = b'G';

/// An object's inode.
pub fn inode(object: ObjectId) -> Vec<u8> {
    with_number(INODE, object.get())
}

/// A name in a directory: leads to object and cookie.
pub fn name(dir: ObjectId, name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + name.as_bytes().len());
    key.push(NAME);
    key.extend_from_slice(&dir.get().to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

/// A directory's entry by the order it came in: leads to object and name.
pub fn cookie(dir: ObjectId, cookie: Cookie) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(COOKIE);
    key.extend_from_slice(&dir.get().to_be_bytes());
    key.extend_from_slice(&cookie.get().to_be_bytes());
    key
}

/// An object whose backing file `appliance` is to remove.
pub fn removal_by(appliance: ApplianceId, object: ObjectId) -> Vec<u8> {
    let mut key = with_number(REMOVAL_BY, appliance.get());
    key.extend_from_slice(&object.get().to_be_bytes());
    key
}

/// The range of all objects whose backing files `appliance` is to remove.
pub fn removals_of(appliance: ApplianceId) -> (Vec<u8>, Vec<u8>) {
    let from = with_number(REMOVAL_BY, appliance.get());
    let to = match appliance.get().checked_add(1) {
        Some(next) => with_number(REMOVAL_BY, next),
        None => vec![REMOVAL_BY + 1],
    };
    (from, to)
}

/// Appliance and object of a key of [`removal_by`].
pub fn parts_of_removal(key: &[u8]) -> Option<(ApplianceId, ObjectId)> {
    let object = number_at(key, 9).filter(|_| key.len() == 17).map(ObjectId::new)?;
    Some((ApplianceId::new(number_at(key, 1)?), object))
}

/// An object whose backing file is to be removed, as a lone appliance noted it before there were
/// several.
pub fn removal(object: ObjectId) -> Vec<u8> {
    with_number(REMOVAL, object.get())
}

/// An object whose owner's copy is stale.
pub fn fault(object: ObjectId) -> Vec<u8> {
    with_number(FAULT, object.get())
}

/// A file of which some copy is stale.
pub fn degraded(object: ObjectId) -> Vec<u8> {
    with_number(DEGRADED, object.get())
}

/// Where the operator wants a file.
pub fn pin(object: ObjectId) -> Vec<u8> {
    with_number(PIN, object.get())
}

/// The answer to a client's call, by the index of its entry.
pub fn replay(client: ClientAddress, index: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(25);
    key.push(REPLAY);
    key.extend_from_slice(client.as_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The range of all keys of one kind.
pub fn all(kind: Kind) -> (Vec<u8>, Vec<u8>) {
    let prefix = prefix_of(kind);
    (vec![prefix], vec![prefix + 1])
}

/// Whether a key is one of a record of that kind.
pub fn is_of(kind: Kind, key: &[u8]) -> bool {
    key.first() == Some(&prefix_of(kind))
}

fn prefix_of(kind: Kind) -> u8 {
    match kind {
        Kind::Inode => INODE,
        Kind::Name => NAME,
        Kind::Cookie => COOKIE,
        Kind::Removal => REMOVAL,
        Kind::RemovalBy => REMOVAL_BY,
        Kind::Fault => FAULT,
        Kind::Replay => REPLAY,
        Kind::Pin => PIN,
        Kind::Degraded => DEGRADED,
    }
}

/// The range of the entries of `dir` with a cookie above `after`.
pub fn entries_after(dir: ObjectId, after: Cookie) -> (Vec<u8>, Vec<u8>) {
    (cookie(dir, after.next()), with_number(COOKIE, dir.get().saturating_add(1)))
}

/// The kinds of records there can be many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Inodes.
    Inode,
    /// Names.
    Name,
    /// Entries by cookie.
    Cookie,
    /// Removals, as they were noted once.
    Removal,
    /// Removals, by appliance.
    RemovalBy,
    /// Owners' stale copies.
    Fault,
    /// Answers given.
    Replay,
    /// Pins.
    Pin,
    /// Files of which some copy is stale.
    Degraded,
}

/// The object an inode, removal, fault, pin or degraded key is about; `None` for a key of another
/// shape.
pub fn object_of(key: &[u8]) -> Option<ObjectId> {
    number_at(key, 1).filter(|_| key.len() == 9).map(ObjectId::new)
}

/// Directory and cookie of an entry's key.
pub fn parts_of_cookie(key: &[u8]) -> Option<(ObjectId, Cookie)> {
    let dir = number_at(key, 1).map(ObjectId::new)?;
    let cookie = number_at(key, 9).filter(|_| key.len() == 17).map(Cookie::new)?;
    Some((dir, cookie))
}

/// Directory and name of a name's key.
pub fn parts_of_name(key: &[u8]) -> Option<(ObjectId, Name)> {
    let dir = number_at(key, 1).map(ObjectId::new)?;
    Some((dir, Name::parse(key.get(9..)?).ok()?))
}

/// Client and index of a replay key.
pub fn parts_of_replay(key: &[u8]) -> Option<(ClientAddress, u64)> {
    let client: [u8; 16] = key.get(1..17)?.try_into().ok()?;
    let index = number_at(key, 17).filter(|_| key.len() == 25)?;
    Some((ClientAddress::from_bytes(client), index))
}

fn with_number(prefix: u8, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(prefix);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn number_at(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}
