//! One run from one seed: the same operations on the appliance and on the tree, and everything
//! compared after each.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use model::{
    ApplianceId, Change, ClientAddress, Clock, Cookie, CreateHow, Identity, Name, ObjectId,
    Refusal, RequestKey, Span, Stability, Timestamp, Wcc, WriteVerifier,
};
use volume::{Ask, LookUpName, Page, Ports, Refused, WriteRequest};

use crate::check::{Mismatch, mismatch};
use crate::draw::{self, Random};
use crate::perform::Performed;
use crate::tree::{Guard, How, Kind, Lie, NodeId, Operation, ROOT, Tree};
use crate::world::{End, Pace, Subject, VOLUME, World};

/// The tree, the appliance, and which object is which node.
pub struct Run {
    pub world: World,
    pub tree: Tree,
    pub objects: HashMap<NodeId, ObjectId>,
    pub random: Random,
    pub counts: BTreeMap<String, u64>,
    verifier: Option<WriteVerifier>,
    verifiers_before: Vec<WriteVerifier>,
    next_key: u128,
    /// The last change of names that was done, to be sent once more.
    last: Option<Sent>,
    history: Vec<String>,
}

#[derive(Clone)]
struct Sent {
    ask: Ask,
    operation: Operation,
    answer: Answer,
}

/// What the appliance answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Refused(Refusal),
    Done(Option<ObjectId>),
    Read { bytes: Bytes, eof: bool },
    Target(Bytes),
    Names(Vec<(Vec<u8>, ObjectId)>),
}

/// An answer, and the weak cache consistency of the nodes that it tells of.
pub struct Told {
    pub answer: Answer,
    pub wcc: Vec<(NodeId, Wcc)>,
}

impl Run {
    pub fn new(seed: u64, lie: Lie) -> Self {
        let mut random = Random::new(seed);
        let world = World::new(pace(&mut random));
        let mut run = Self {
            world,
            tree: Tree::new(0o777, lie),
            objects: HashMap::from([(ROOT, ObjectId::ROOT)]),
            random,
            counts: BTreeMap::new(),
            verifier: None,
            verifiers_before: Vec::new(),
            next_key: 1,
            last: None,
            history: Vec::new(),
        };
        run.take_times();
        run
    }

    /// Some lives of some operations each.
    ///
    /// # Errors
    /// What the appliance did otherwise than the tree, with the last operations.
    pub fn go(&mut self, lives: usize, operations: usize) -> Result<(), String> {
        let gone = (0..lives).try_for_each(|_| {
            (0..operations).try_for_each(|_| self.step())?;
            self.restart()
        });
        gone.map_err(|Mismatch(what)| {
            let from = self.history.len().saturating_sub(HISTORY_SHOWN);
            let lines: Vec<String> = self.history[from..].iter().map(|line| short(line)).collect();
            format!("{}\n{}", lines.join("\n"), short(&what))
        })
    }

    fn step(&mut self) -> Result<(), Mismatch> {
        let who = draw::identity(&mut self.random);
        let operation = draw::operation(&mut self.random, &self.tree);
        let ask = self.ask(who);
        let began = self.world.clock.wall();
        let told = self.send(&ask, &operation);
        self.history.push(format!("{} {operation:?}: {:?}", ask.identity.uid, told.answer));
        let performed = self.judge(&ask, &operation, &told.answer)?;
        self.check_everything(began, &performed, &told.wcc)?;
        if let Answer::Done(_) = told.answer {
            if self.random.once_in(5) {
                self.send_again(&ask, &operation, &told.answer)?;
            }
            if is_change_of_names(&operation) && !performed.touched.is_empty() {
                self.last = Some(Sent { ask, operation, answer: told.answer });
            }
        }
        Ok(())
    }

    /// A request as a client would send it, with a key of its own.
    fn ask(&mut self, identity: Identity) -> Ask {
        self.next_key += 1;
        let client = ClientAddress::default();
        let key = Some(RequestKey { client, digest: self.next_key });
        Ask { identity, key, read_only: false, ..Ask::own(VOLUME) }
    }

    /// Whether the answer is one that the tree allows; does to the tree what was done.
    fn judge(
        &mut self,
        ask: &Ask,
        operation: &Operation,
        answer: &Answer,
    ) -> Result<Performed, Mismatch> {
        let judgement = self.tree.judge(&ask.identity, operation);
        if let Answer::Refused(refusal) = answer {
            self.count(operation, "refused");
            if judgement.allows(*refusal) {
                return Ok(Performed::default());
            }
            return Err(mismatch(format!("refused with {refusal:?}; the tree says {judgement:?}")));
        }
        self.count(operation, "done");
        if !judgement.allows_success() {
            return Err(mismatch(format!("it was done; the tree says {judgement:?}")));
        }
        let performed = self.tree.perform(&ask.identity, operation);
        self.check_answer(operation, answer, &performed)?;
        Ok(performed)
    }

    fn check_answer(
        &mut self,
        operation: &Operation,
        answer: &Answer,
        performed: &Performed,
    ) -> Result<(), Mismatch> {
        match (operation, answer) {
            (Operation::Read { node, offset, len }, Answer::Read { bytes, eof }) => {
                self.check_read(*node, (*offset, *len), bytes, *eof)
            }
            (Operation::ReadLink { node }, Answer::Target(target)) => {
                match self.tree.node(*node).map(|node| &node.kind) {
                    Some(Kind::Symlink(wanted)) if wanted == target => Ok(()),
                    other => Err(mismatch(format!("it leads to {target:?}, not as {other:?}"))),
                }
            }
            (Operation::LookUp { dir, name }, Answer::Done(Some(found))) => {
                self.check_same(self.tree.look_up(*dir, name), *found)
            }
            (Operation::LookUpParent { dir }, Answer::Done(Some(found))) => {
                self.check_same(Some(self.tree.parent(*dir)), *found)
            }
            (Operation::List { dir, .. }, Answer::Names(names)) => self.check_names(*dir, names),
            (_, Answer::Done(Some(object))) => match performed.node {
                Some(node) if performed.made => {
                    let known = self.objects.values().any(|known| known == object);
                    self.objects.insert(node, *object);
                    match known {
                        true => Err(mismatch(format!("object {object} is given out twice"))),
                        false => Ok(()),
                    }
                }
                Some(node) => self.check_same(Some(node), *object),
                None => Ok(()),
            },
            (_, Answer::Done(None)) => Ok(()),
            (operation, answer) => unreachable!("{operation:?} is never answered {answer:?}"),
        }
    }

    fn check_same(&self, node: Option<NodeId>, object: ObjectId) -> Result<(), Mismatch> {
        match node.and_then(|node| self.objects.get(&node)) {
            Some(known) if *known == object => Ok(()),
            other => Err(mismatch(format!("it is object {object}, not {other:?}"))),
        }
    }

    /// A call that comes a second time gets the same answer and does nothing.
    fn send_again(
        &mut self,
        ask: &Ask,
        operation: &Operation,
        answer: &Answer,
    ) -> Result<(), Mismatch> {
        let began = self.world.clock.wall();
        let again = self.send(ask, operation).answer;
        self.history.push(format!("the same call again: {again:?}"));
        if again != *answer {
            return Err(mismatch(format!("a call sent again was answered {again:?}")));
        }
        self.check_everything(began, &Performed::default(), &[])
    }

    /// Ends this life, maybe in the middle of something, and begins the next.
    fn restart(&mut self) -> Result<(), Mismatch> {
        let end = self.random.pick(&[End::Clean, End::Kill, End::PowerCut]);
        let under_way = (end != End::Clean && self.random.once_in(2)).then(|| self.begin_one());
        self.history.push(format!("{end:?}"));
        self.world.end(end, &mut self.random);
        *self.counts.entry(format!("{end:?}")).or_default() += 1;
        let pace = pace(&mut self.random);
        if let Err(fault) = self.world.start(end == End::Clean, pace) {
            return Err(mismatch(format!("it does not start: {fault}")));
        }
        if let Some(verifier) = self.verifier.take() {
            match end {
                End::Clean => self.verifier = Some(verifier),
                End::Kill | End::PowerCut => self.verifiers_before.push(verifier),
            }
        }
        // A client sends again what it got no answer to; then it is done once, whatever came
        // before.
        if let Some((ask, operation)) = under_way {
            let answer = self.send(&ask, &operation).answer;
            self.history.push(format!("{} {operation:?}, again: {answer:?}", ask.identity.uid));
            self.judge(&ask, &operation, &answer)?;
        }
        self.check_after(end)?;
        if let Some(Sent { ask, operation, answer }) = self.last.clone() {
            self.send_again(&ask, &operation, &answer)?;
        }
        Ok(())
    }

    /// Begins a change of names or attributes and does not wait for its end.
    fn begin_one(&mut self) -> (Ask, Operation) {
        let who = draw::identity(&mut self.random);
        let operation = loop {
            let operation = draw::operation(&mut self.random, &self.tree);
            if is_change_of_names(&operation) {
                break operation;
            }
        };
        let ask = self.ask(who);
        self.history.push(format!("{} {operation:?}, under way", ask.identity.uid));
        let (router, turns) = (self.world.router().clone(), self.random.below(4));
        let change = self.change(&operation).expect("a change of names");
        let asked = ask.clone();
        let request = async move {
            // Nobody is there any more to hear the answer.
            let _ = router.change(&asked, change).await;
        };
        self.world.begin(request, turns);
        self.last = None;
        (ask, operation)
    }

    fn count(&mut self, operation: &Operation, outcome: &str) {
        let shown = format!("{operation:?}");
        let kind = shown.split(' ').next().expect("a word");
        *self.counts.entry(format!("{kind} {outcome}")).or_default() += 1;
    }

    /// A WRITE or COMMIT told this verifier.
    fn see_verifier(&mut self, seen: WriteVerifier) {
        let known = *self.verifier.get_or_insert(seen);
        assert_eq!(seen, known, "the verifier changed in the middle of a life");
        assert!(!self.verifiers_before.contains(&seen), "the verifier of an earlier life");
    }
}

/// Sending.
impl Run {
    /// Has the appliance do an operation.
    pub fn send(&mut self, ask: &Ask, operation: &Operation) -> Told {
        let router = self.world.router().clone();
        if let Some(change) = self.change(operation) {
            let wcc_of = nodes_told_of(operation);
            let done = self.world.run(router.change(ask, change));
            let (answer, attached) = match done {
                Ok(done) => (Answer::Done(done.object), done.attached),
                Err(Refused { refusal, attached }) => (Answer::Refused(refusal), attached),
            };
            // An unlinked object is told by number, but is no node any more.
            let answer = match (answer, operation) {
                (Answer::Done(_), Operation::Remove { .. } | Operation::RemoveDirectory { .. }) => {
                    Answer::Done(None)
                }
                (answer, _) => answer,
            };
            let told = [attached.object, attached.dir, attached.to_dir];
            let wcc = wcc_of.into_iter().zip(told);
            let wcc = wcc.filter_map(|(node, wcc)| Some((node?, wcc))).collect();
            return Told { answer, wcc };
        }
        self.send_other(ask, operation, &router)
    }

    fn send_other(&mut self, ask: &Ask, operation: &Operation, router: &Subject) -> Told {
        let refused = |node: NodeId, refused: Refused| Told {
            answer: Answer::Refused(refused.refusal),
            wcc: vec![(node, refused.attached.object)],
        };
        let told = |answer| Told { answer, wcc: vec![] };
        match operation {
            Operation::Set { node, set, guard } => {
                let object = self.object(*node);
                let guard = self.guard(*node, *guard);
                match self.world.run(router.set_attributes(ask, object, *set, guard)) {
                    Ok(wcc) => Told { answer: Answer::Done(None), wcc: vec![(*node, wcc)] },
                    Err(refusal) => refused(*node, refusal),
                }
            }
            Operation::Write { node, offset, bytes, stability } => {
                let payload = Bytes::copy_from_slice(bytes);
                let span = span(*offset, bytes.len());
                let object = self.object(*node);
                let request = WriteRequest { object, span, payload, stability: *stability };
                match self.world.run(router.write(ask, request)) {
                    Ok(wrote) => {
                        self.see_verifier(wrote.written.verifier);
                        assert_eq!(wrote.written.count as usize, bytes.len());
                        assert!(wrote.written.committed >= *stability);
                        Told { answer: Answer::Done(None), wcc: vec![(*node, wrote.wcc)] }
                    }
                    Err(refusal) => refused(*node, refusal),
                }
            }
            Operation::Commit { node } => {
                match self.world.run(router.commit(ask, self.object(*node))) {
                    Ok(committed) => {
                        self.see_verifier(committed.verifier);
                        Told { answer: Answer::Done(None), wcc: vec![(*node, committed.wcc)] }
                    }
                    Err(refusal) => refused(*node, refusal),
                }
            }
            Operation::Read { node, offset, len } => {
                let span = span(*offset, *len);
                match self.world.run(router.read(ask, self.object(*node), span)) {
                    Ok(read) => told(Answer::Read { bytes: read.bytes, eof: read.eof }),
                    Err(refusal) => refused(*node, refusal),
                }
            }
            Operation::ReadLink { node } => {
                match self.world.run(router.read_link(ask, self.object(*node))) {
                    Ok((target, _)) => told(Answer::Target(target)),
                    Err(refusal) => refused(*node, refusal),
                }
            }
            Operation::LookUp { dir, name } => {
                self.send_look_up(ask, *dir, LookUpName::Name(&named(name)), router)
            }
            Operation::LookUpParent { dir } => {
                self.send_look_up(ask, *dir, LookUpName::DotDot, router)
            }
            Operation::List { dir, entries_max } => {
                told(self.list(ask, self.object(*dir), *entries_max))
            }
            other => unreachable!("{other:?} is a change of names"),
        }
    }

    fn send_look_up(&self, ask: &Ask, dir: NodeId, name: LookUpName<'_>, router: &Subject) -> Told {
        let answer = match self.world.run(router.look_up(ask, self.object(dir), name)) {
            Ok(found) => Answer::Done(Some(found.object)),
            Err(refused) => Answer::Refused(refused.refusal),
        };
        Told { answer, wcc: vec![] }
    }

    /// The whole directory, in pages.
    pub fn list(&self, ask: &Ask, dir: ObjectId, entries_max: usize) -> Answer {
        let mut names = Vec::new();
        let mut after = Cookie::START;
        loop {
            let page = Page { after, entries_max, with_attributes: true };
            let listing = match self.world.run(self.world.router().list(ask, dir, page)) {
                Ok(listing) => listing,
                Err(refused) => return Answer::Refused(refused.refusal),
            };
            assert!(listing.end || !listing.entries.is_empty(), "an empty page is the end");
            for entry in listing.entries {
                assert!(entry.cookie > after, "cookies grow");
                after = entry.cookie;
                names.push((entry.name.to_vec(), entry.object));
            }
            if listing.end {
                return Answer::Names(names);
            }
        }
    }

    /// An operation as a change of names, if it is one.
    fn change(&self, operation: &Operation) -> Option<Change> {
        let change = match operation {
            Operation::Create { dir, name, how } => {
                let how = match how {
                    How::Unchecked(set) => CreateHow::Unchecked(*set),
                    How::Guarded(set) => CreateHow::Guarded(*set),
                    How::Exclusive(verifier) => CreateHow::Exclusive(*verifier),
                };
                let owner = ApplianceId::default();
                Change::Create { dir: self.object(*dir), name: named(name), how, owner }
            }
            Operation::MakeDirectory { dir, name, set } => {
                Change::MakeDirectory { dir: self.object(*dir), name: named(name), set: *set }
            }
            Operation::Symlink { dir, name, target } => Change::MakeSymlink {
                dir: self.object(*dir),
                name: named(name),
                target: target.as_slice().into(),
                set: Default::default(),
            },
            Operation::Node { dir, name, node, set } => {
                let (dir, name) = (self.object(*dir), named(name));
                Change::MakeNode { dir, name, node: *node, set: *set }
            }
            Operation::Link { node, dir, name } => {
                let (object, dir) = (self.object(*node), self.object(*dir));
                Change::Link { object, dir, name: named(name) }
            }
            Operation::Remove { dir, name } => {
                Change::Remove { dir: self.object(*dir), name: named(name) }
            }
            Operation::RemoveDirectory { dir, name } => {
                Change::RemoveDirectory { dir: self.object(*dir), name: named(name) }
            }
            Operation::Rename { from_dir, from, to_dir, to } => Change::Rename {
                from_dir: self.object(*from_dir),
                from: named(from),
                to_dir: self.object(*to_dir),
                to: named(to),
            },
            Operation::Set { .. }
            | Operation::Write { .. }
            | Operation::Commit { .. }
            | Operation::Read { .. }
            | Operation::ReadLink { .. }
            | Operation::LookUp { .. }
            | Operation::LookUpParent { .. }
            | Operation::List { .. } => return None,
        };
        Some(change)
    }

    pub fn object(&self, node: NodeId) -> ObjectId {
        self.objects[&node]
    }

    fn guard(&self, node: NodeId, guard: Guard) -> Option<Timestamp> {
        let shown = self.tree.node(node).map(|node| node.shown.ctime).unwrap_or_default();
        match guard {
            Guard::None => None,
            Guard::Right => Some(shown),
            Guard::Wrong => Some(Timestamp::from_nanos(shown.as_nanos() ^ 1)),
        }
    }
}

/// Which nodes the parts of a reply tell of: object, directory, target directory.
fn nodes_told_of(operation: &Operation) -> [Option<NodeId>; 3] {
    match operation {
        Operation::Create { dir, .. }
        | Operation::MakeDirectory { dir, .. }
        | Operation::Symlink { dir, .. }
        | Operation::Node { dir, .. }
        | Operation::Remove { dir, .. }
        | Operation::RemoveDirectory { dir, .. } => [None, Some(*dir), None],
        Operation::Link { node, dir, .. } => [Some(*node), Some(*dir), None],
        Operation::Rename { from_dir, to_dir, .. } => [None, Some(*from_dir), Some(*to_dir)],
        _ => [None, None, None],
    }
}

/// Whether it goes through the log as one entry, whose answer is kept there.
fn is_change_of_names(operation: &Operation) -> bool {
    match operation {
        // The size of a file that is there already is a matter of data.
        Operation::Create { how: How::Unchecked(set) | How::Guarded(set), .. } => {
            set.size.is_none()
        }
        Operation::Create { .. }
        | Operation::MakeDirectory { .. }
        | Operation::Symlink { .. }
        | Operation::Node { .. }
        | Operation::Link { .. }
        | Operation::Remove { .. }
        | Operation::RemoveDirectory { .. }
        | Operation::Rename { .. } => true,
        _ => false,
    }
}

fn pace(random: &mut Random) -> Pace {
    random.pick(&[Pace::Real, Pace::Hurried])
}

fn named(name: &[u8]) -> Name {
    Name::parse(name).expect("names are drawn from good ones")
}

fn span(offset: usize, len: usize) -> Span {
    Span::new(offset as u64, len as u64).expect("files of the model are small")
}

/// Without the middle of long lists of bytes.
fn short(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('[') {
        let (before, list) = rest.split_at(open);
        let close = list.find(']').unwrap_or(list.len());
        shown.push_str(before);
        shown.push_str(&list[..close.min(BYTES_SHOWN)]);
        if close > BYTES_SHOWN {
            shown.push('…');
        }
        rest = &list[close..];
    }
    shown + rest
}

/// How much of a list of bytes is shown.
const BYTES_SHOWN: usize = 24;

/// How many operations a failure shows.
const HISTORY_SHOWN: usize = 25;

/// For asking as nobody in particular would see it.
pub fn as_root() -> Ask {
    Ask { read_only: false, ..Ask::own(VOLUME) }
}

/// WRITE that needs no tree.
pub fn write_request(object: ObjectId, bytes: &'static [u8], stability: Stability) -> WriteRequest {
    let payload = Bytes::from_static(bytes);
    WriteRequest { object, span: span(0, bytes.len()), payload, stability }
}
