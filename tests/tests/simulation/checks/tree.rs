//! A volume's names as anybody would write them down: what the catalog must agree with.
//!
//! Absent on purpose: permission, times, anything but regular files in two directories.

use std::collections::BTreeMap;

use model::{Change, Cookie, Name, ObjectId, Refusal};

/// What is there before a run: `d` and some files, all in the root.
pub const GENESIS_FILES: u64 = 2;
pub const DIRECTORY: ObjectId = ObjectId::new(2);

#[derive(Clone, Debug)]
pub struct Tree {
    names: BTreeMap<(ObjectId, Name), (ObjectId, Cookie)>,
    cookies: BTreeMap<ObjectId, Cookie>,
    next: ObjectId,
}

impl Tree {
    pub fn genesis() -> Self {
        let mut tree = Self { names: BTreeMap::new(), cookies: BTreeMap::new(), next: DIRECTORY };
        tree.insert(ObjectId::ROOT, name("d"), DIRECTORY);
        tree.next = DIRECTORY.next();
        for file in 0..GENESIS_FILES {
            let object = tree.next;
            tree.next = object.next();
            tree.insert(ObjectId::ROOT, name(&format!("f{file}")), object);
        }
        tree
    }

    fn insert(&mut self, dir: ObjectId, name: Name, object: ObjectId) {
        let next = self.cookies.entry(dir).or_insert(Cookie::FIRST_NAME);
        self.names.insert((dir, name), (object, *next));
        *next = next.next();
    }

    pub fn find(&self, dir: ObjectId, name: &Name) -> Option<ObjectId> {
        self.names.get(&(dir, name.clone())).map(|(object, _)| *object)
    }

    pub fn has(&self, object: ObjectId) -> bool {
        object == ObjectId::ROOT || self.names.values().any(|(other, _)| *other == object)
    }

    /// A page of names, and whether nothing follows; `.` and `..` take their places and are left
    /// out.
    pub fn list(
        &self,
        dir: ObjectId,
        after: Cookie,
        max: usize,
    ) -> (Vec<(Name, ObjectId, Cookie)>, bool) {
        let mut all = vec![(Cookie::DOT, None), (Cookie::DOT_DOT, None)];
        let mut named: Vec<_> = self
            .names
            .iter()
            .filter(|((of, _), _)| *of == dir)
            .map(|((_, name), (object, cookie))| (*cookie, Some((name.clone(), *object))))
            .collect();
        named.sort_by_key(|(cookie, _)| *cookie);
        all.append(&mut named);
        all.retain(|(cookie, _)| *cookie > after);
        let end = all.len() <= max;
        let page = all.into_iter().take(max);
        (page.filter_map(|(c, n)| n.map(|(name, object)| (name, object, c))).collect(), end)
    }

    /// Carries a change out: the object it was about.
    pub fn apply(&mut self, change: &Change) -> Result<ObjectId, Refusal> {
        match change {
            Change::Create { dir, name, .. } => {
                if self.find(*dir, name).is_some() {
                    return Err(Refusal::Exists);
                }
                let object = self.next;
                self.next = object.next();
                self.insert(*dir, name.clone(), object);
                Ok(object)
            }
            Change::Remove { dir, name } => {
                let object = self.find(*dir, name).ok_or(Refusal::NotFound)?;
                if object == DIRECTORY {
                    return Err(Refusal::IsDirectory);
                }
                self.names.remove(&(*dir, name.clone()));
                Ok(object)
            }
            Change::Rename { from_dir, from, to_dir, to } => {
                let object = self.find(*from_dir, from).ok_or(Refusal::NotFound)?;
                match self.find(*to_dir, to) {
                    Some(target) if target == object => return Ok(object),
                    Some(target) if target == DIRECTORY => return Err(Refusal::IsDirectory),
                    Some(_) | None => {}
                }
                self.names.remove(&(*from_dir, from.clone()));
                self.names.remove(&(*to_dir, to.clone()));
                self.insert(*to_dir, to.clone(), object);
                Ok(object)
            }
            other => panic!("clients of the simulation never ask for {other:?}"),
        }
    }
}

pub fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("it is a name")
}
