//! Walks a whole catalog and names what does not fit together. For the operator's `volume check`
//! and for every crash test.

use std::collections::HashMap;
use std::fmt;

use model::{ApplianceId, Cookie, Inode, InodeKind, Name, ObjectId};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::fault::CatalogFault;
use crate::keys::{self, Kind};
use crate::records::{CookieRecord, NameRecord, decode, meaningless};
use crate::store::{Image, Imaging, Scan, Store};

/// What a walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects seen.
    pub objects: u64,
    /// Names seen.
    pub names: u64,
    /// Backing files still to be removed.
    pub removals: u64,
    /// What does not fit together; at most [`VIOLATIONS_MAX`] are kept.
    pub violations: Vec<Violation>,
}

/// One thing that does not fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// About which object.
    pub object: ObjectId,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {}", self.object, self.what)
    }
}

/// What is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// How many violations a report keeps: after so many nobody reads on.
pub const VIOLATIONS_MAX: usize = 100;

impl Report {
    fn add(&mut self, object: ObjectId, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { object, what });
        }
    }
}

/// What is counted for one object while its names are walked.
#[derive(Default)]
struct Seen {
    names: u32,
    subdirectories: u32,
    entries: u64,
    highest_cookie: Cookie,
}

impl<S: Imaging> Catalog<S> {
    /// Looks at every record as it stands at one moment, while the catalog goes on. Costs memory
    /// for every object.
    ///
    /// # Errors
    /// [`CatalogFault`] if a record can't be read at all.
    pub fn check(&self) -> Result<Report, CatalogFault> {
        let (_, mut image) = self.image()?;
        let mut rows = Rows::default();
        loop {
            let piece = image.next(PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            for (key, value) in piece {
                rows.take(&key, &value)?;
            }
        }
        drop(image);
        Ok(rows.report())
    }
}

impl<S: Store> Catalog<S> {
    /// As [`check`](Self::check), of a catalog that nobody changes meanwhile, on any store.
    ///
    /// # Errors
    /// [`CatalogFault`] if a record can't be read at all.
    pub fn check_at_rest(&self) -> Result<Report, CatalogFault> {
        let (mut rows, mut fault) = (Rows::default(), None);
        self.store().scan(&[], &[u8::MAX], &mut |key, value| match rows.take(key, value) {
            Ok(()) => Scan::Continue,
            Err(bad) => {
                fault = Some(bad);
                Scan::Stop
            }
        })?;
        fault.map_or_else(|| Ok(rows.report()), Err)
    }
}

/// The records that must fit together.
#[derive(Default)]
struct Rows {
    inodes: HashMap<ObjectId, Inode>,
    names: Vec<NameRow>,
    cookies: Vec<CookieRow>,
    removals: Vec<(ApplianceId, ObjectId)>,
}

impl Rows {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), CatalogFault> {
        let bad = || meaningless(key);
        if keys::is_of(Kind::Inode, key) {
            let object = keys::object_of(key).ok_or_else(bad)?;
            self.inodes.insert(object, decode::<Inode>("inode", value)?);
        } else if keys::is_of(Kind::Name, key) {
            let parts = keys::parts_of_name(key).ok_or_else(bad)?;
            self.names.push((parts, decode::<NameRecord>("name", value)?));
        } else if keys::is_of(Kind::Cookie, key) {
            let parts = keys::parts_of_cookie(key).ok_or_else(bad)?;
            self.cookies.push((parts, decode::<CookieRecord>("entry", value)?));
        } else if keys::is_of(Kind::RemovalBy, key) {
            self.removals.push(keys::parts_of_removal(key).ok_or_else(bad)?);
        }
        Ok(())
    }

    fn report(self) -> Report {
        let Self { inodes, names, cookies, removals } = self;
        let mut report = Report {
            objects: inodes.len() as u64,
            names: names.len() as u64,
            removals: removals.len() as u64,
            violations: Vec::new(),
        };
        for (appliance, object) in removals {
            let record = inodes.get(&object).and_then(Inode::record);
            if record.is_some_and(|record| record.replicas.contains(&appliance)) {
                report.add(object, format!("appliance {appliance} is to remove it and has it"));
            }
        }
        let seen = count(&inodes, &names, &mut report);
        cookies_match_names(&cookies, &names, &mut report);
        for (object, inode) in &inodes {
            check_inode(*object, inode, seen.get(object), &inodes, &mut report);
        }
        report
    }
}

type NameRow = ((ObjectId, Name), NameRecord);
type CookieRow = ((ObjectId, Cookie), CookieRecord);

fn count(
    inodes: &HashMap<ObjectId, Inode>,
    names: &[NameRow],
    report: &mut Report,
) -> HashMap<ObjectId, Seen> {
    let mut seen: HashMap<ObjectId, Seen> = HashMap::new();
    for ((dir, name), record) in names {
        let Some(inode) = inodes.get(&record.object) else {
            report
                .add(*dir, format!("name {name} leads to object {}, which is gone", record.object));
            continue;
        };
        match inodes.get(dir).map(|dir| &dir.kind) {
            Some(InodeKind::Directory { .. }) => {}
            _ => report.add(*dir, format!("has a name {name} in it and is no directory")),
        }
        if let InodeKind::Directory { parent, .. } = inode.kind
            && parent != *dir
        {
            report.add(record.object, format!("is in {dir} but its parent is {parent}"));
        }
        let of_dir = seen.entry(*dir).or_default();
        of_dir.entries += 1;
        of_dir.highest_cookie = of_dir.highest_cookie.max(record.cookie);
        of_dir.subdirectories += u32::from(inode.is_directory());
        seen.entry(record.object).or_default().names += 1;
    }
    seen
}

fn cookies_match_names(cookies: &[CookieRow], names: &[NameRow], report: &mut Report) {
    let by_name: HashMap<&(ObjectId, Name), &NameRecord> =
        names.iter().map(|(key, record)| (key, record)).collect();
    for ((dir, cookie), record) in cookies {
        let named = by_name.get(&(*dir, record.name.clone()));
        if named.is_none_or(|named| named.object != record.object || named.cookie != *cookie) {
            report.add(*dir, format!("entry {cookie} ({}) has no such name", record.name));
        }
    }
    if cookies.len() != names.len() {
        let what = format!("{} names but {} entries in the volume", names.len(), cookies.len());
        report.add(ObjectId::ROOT, what);
    }
}

fn check_inode(
    object: ObjectId,
    inode: &Inode,
    seen: Option<&Seen>,
    inodes: &HashMap<ObjectId, Inode>,
    report: &mut Report,
) {
    let nothing = Seen::default();
    let seen = seen.unwrap_or(&nothing);
    match &inode.kind {
        InodeKind::Directory { parent, entries, next_cookie } => {
            if inode.links != 2 + seen.subdirectories {
                let is = seen.subdirectories;
                report.add(object, format!("{} links with {is} subdirectories", inode.links));
            }
            if *entries != seen.entries {
                report.add(object, format!("counts {entries} names, has {}", seen.entries));
            }
            if seen.entries > 0 && seen.highest_cookie >= *next_cookie {
                report.add(object, format!("would give out cookie {next_cookie} again"));
            }
            let named = if object == ObjectId::ROOT { 0 } else { 1 };
            if seen.names != named {
                report.add(object, format!("a directory with {} names", seen.names));
            }
            if !inodes.contains_key(parent) {
                report.add(object, format!("its parent {parent} is gone"));
            }
        }
        _ if inode.links != seen.names => {
            report.add(object, format!("counts {} names, has {}", inode.links, seen.names));
        }
        _ => {}
    }
}
