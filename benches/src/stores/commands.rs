//! Log entries as the appliance would write them: names created and removed by clients, each call
//! with its key in the replay cache.
//!
//! Invariant: the same entries, in the same order, for every store.

use std::collections::VecDeque;

use catalog::{Catalog, Command, Envelope, LogEntry, Store};
use model::{
    ApplianceId, Change, ClientAddress, Cookie, CreateHow, Identity, Index, Name, ObjectId, Reign,
    RequestKey, RootDirectory, SetAttributes, Term, Timestamp, View,
};

/// What the next entries do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Names are created.
    Create,
    /// Two names are created, then the oldest one is removed.
    CreateAndRemove,
}

/// Makes entries for one catalog.
#[derive(Debug)]
pub struct Commands {
    index: u64,
    dirs: Vec<ObjectId>,
    names: u64,
    /// The names that are still there, by the number of their creation, the oldest first.
    alive: VecDeque<u64>,
    calls: u128,
    mix: Mix,
}

impl Commands {
    /// Makes the root and its directories in an empty catalog.
    ///
    /// # Panics
    /// If the catalog refuses them.
    pub fn begin<S: Store>(catalog: &Catalog<S>, mix: Mix) -> Self {
        let (dirs, alive) = (Vec::new(), VecDeque::new());
        let mut commands = Self { index: 0, dirs, names: 0, alive, calls: 0, mix };
        commands.enter(catalog, Command::Reign { appliance: FOUNDER, view: View::new(1) });
        let (root, now) = (RootDirectory::default(), commands.now());
        commands.enter(catalog, Command::MakeRoot { root, now });
        for number in 0..DIRECTORIES {
            let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
            let name = name(&directory(number));
            let change = Change::MakeDirectory { dir: ObjectId::ROOT, name, set };
            let command = commands.change(change);
            let answer = commands.enter(catalog, command);
            commands.dirs.push(answer.expect("a change has a result"));
        }
        commands
    }

    /// The last entry that was made.
    #[must_use]
    pub fn index(&self) -> Index {
        Index::new(self.index)
    }

    /// How many names there are when everything is applied.
    #[must_use]
    pub fn names(&self) -> u64 {
        self.alive.len() as u64
    }

    /// The name of a directory's entry, by the number of its creation.
    #[must_use]
    pub fn place(&self, number: u64) -> (ObjectId, Name) {
        let dir = usize::try_from(number).expect("a count fits") % self.dirs.len();
        (self.dirs[dir], name(&format!("file-{number:08}")))
    }

    /// The next `count` entries, encoded.
    pub fn batch(&mut self, count: usize) -> Vec<(Index, Vec<u8>)> {
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            let change = self.next_change();
            let command = self.change(change);
            self.index += 1;
            batch.push((self.index(), encode(command)));
        }
        batch
    }

    /// Removes a name from a catalog that [`Mix::Create`] has filled, whoever did.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn remove_one<S: Store>(catalog: &Catalog<S>) -> Result<(), String> {
        let found = catalog.look_up(ObjectId::ROOT, &name(&directory(0)));
        let found = found.map_err(|fault| fault.to_string())?;
        let Some((dir, _)) = found.and_then(|found| found.target) else {
            return Err("a directory is gone".into());
        };
        let listed = catalog.list(dir, Cookie::DOT_DOT, 1, false).map_err(|e| e.to_string())?;
        let Some(first) = listed.and_then(|listed| listed.names.into_iter().next()) else {
            return Err("a directory is empty".into());
        };
        let name = Name::parse(&first.name).map_err(|e| format!("{e:?}"))?;
        let change = Change::Remove { dir, name };
        let now = Timestamp::from_nanos(u64::MAX / 4);
        let data = encode(Command::Change(change.asked(Identity::root(), None, now)));
        let index = catalog.applied().index.next();
        let entry = LogEntry { index, term: TERM, data: &data, membership: None };
        let answers = catalog.apply(&[entry]).map_err(|fault| fault.to_string())?;
        match answers.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("the entry was answered with {other:?}")),
        }
    }

    fn next_change(&mut self) -> Change {
        let removes = self.mix == Mix::CreateAndRemove && self.calls % 3 == 2;
        if removes && let Some(oldest) = self.alive.pop_front() {
            let (dir, name) = self.place(oldest);
            return Change::Remove { dir, name };
        }
        let (dir, name) = self.place(self.names);
        self.alive.push_back(self.names);
        self.names += 1;
        let set = SetAttributes { mode: Some(0o644), ..SetAttributes::default() };
        Change::Create { dir, name, how: CreateHow::Unchecked(set), owner: FOUNDER }
    }

    fn change(&mut self, change: Change) -> Command {
        self.calls += 1;
        let client = ClientAddress::from_bytes([u8::try_from(self.calls % 32).unwrap_or(0); 16]);
        let key = RequestKey { client, digest: self.calls };
        Command::Change(change.asked(Identity::root(), Some(key), self.now()))
    }

    /// A millisecond an entry, so that answers are kept for as long as in life.
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + self.index * 1_000_000)
    }

    fn enter<S: Store>(&mut self, catalog: &Catalog<S>, command: Command) -> Option<ObjectId> {
        self.index += 1;
        let data = encode(command);
        let entry = LogEntry { index: self.index(), term: TERM, data: &data, membership: None };
        let answers = catalog.apply(&[entry]).expect("the store takes an entry");
        let answer = answers.into_iter().next().expect("an entry has an answer");
        answer.expect("the entry is not refused").map(|changed| changed.object)
    }
}

/// Applies a batch; every entry must be done.
///
/// # Panics
/// If the store or the catalog refuses.
pub fn apply<S: Store>(catalog: &Catalog<S>, batch: &[(Index, Vec<u8>)]) {
    let entries: Vec<_> = batch
        .iter()
        .map(|(index, data)| LogEntry { index: *index, term: TERM, data, membership: None })
        .collect();
    let answers = catalog.apply(&entries).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(answers.iter().all(Result::is_ok), "no entry is refused");
}

fn encode(command: Command) -> Vec<u8> {
    let reign = Reign { view: View::new(1), ..Reign::default() };
    Envelope { reign, command }.encode()
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("our own names are good")
}

fn directory(number: usize) -> String {
    format!("directory-{number}")
}

/// The one appliance of the volume.
pub const FOUNDER: ApplianceId = ApplianceId::new(1);

const TERM: Term = Term::new(1);

/// A million names are a thousand in each.
const DIRECTORIES: usize = 1000;
