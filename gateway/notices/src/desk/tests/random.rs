//! Random notices to random targets: nothing is lost but what is counted, nothing overtakes, and no
//! target notices another.
//!
//! A failure prints the seed that repeats it; `HOLDFAST_SEEDS=1000` tries that many seeds.

use std::collections::BTreeSet;

use super::*;

const TARGETS: usize = 3;
const SEEDS: u64 = 60;
const HOURS: u64 = 60;
/// Fifty times as many as a run needs.
const STEPS_MAX: u32 = 500_000;

#[test]
fn nothing_is_lost_but_what_is_counted_and_nothing_overtakes() {
    let mut totals = [0; 4];
    for seed in seeds() {
        let run = Run::go(seed, Lie::None, Mood::Drawn);
        if let Err(what) = run.check() {
            panic!("repeat with: HOLDFAST_SEED={seed} cargo test -p notices random\n{what}");
        }
        let again = Run::go(seed, Lie::None, Mood::Drawn);
        assert_eq!(run.digest(), again.digest(), "seed {seed} went two ways");
        for (total, count) in totals.iter_mut().zip(run.losses()) {
            *total += count;
        }
    }
    println!("delivered, dropped, given up, refused: {totals:?}");
    if seeds().len() > 1 {
        assert!(totals.iter().all(|total| *total > 20), "not everything happened: {totals:?}");
    }
}

#[test]
fn other_seeds_go_other_ways() {
    let digests: BTreeSet<u64> =
        (1..20).map(|seed| Run::go(seed, Lie::None, Mood::Drawn).digest()).collect();
    assert_eq!(digests.len(), 19);
}

#[test]
fn a_target_does_not_notice_what_another_does() {
    for seed in seeds() {
        let of_first = |mood: Mood| Run::go(seed, Lie::None, mood).of_target(0);
        let (beside_good, beside_dead) = (of_first(Mood::OthersTake), of_first(Mood::OthersHang));
        assert!(!beside_good.is_empty(), "seed {seed}");
        assert_eq!(beside_good, beside_dead, "seed {seed}");
    }
}

#[test]
fn a_desk_that_gets_one_thing_wrong_is_found_out() {
    for lie in [Lie::ForgetsOne, Lie::Overtakes, Lie::SaysTooLittle, Lie::SendsTwice] {
        let found = (1..=SEEDS).find(|seed| Run::go(*seed, lie, Mood::Drawn).check().is_err());
        let found = found.unwrap_or_else(|| panic!("{lie:?} is not found out"));
        println!("{lie:?}: found out by seed {found}");
        assert_eq!(Run::go(found, Lie::None, Mood::Drawn).check(), Ok(()), "{lie:?}");
    }
}

/// What a broken desk would have done, put into the record of a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    ForgetsOne,
    Overtakes,
    SaysTooLittle,
    SendsTwice,
}

/// What targets do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Drawn,
    /// All but the first take everything at once.
    OthersTake,
    /// All but the first never answer.
    OthersHang,
}

/// All that happened at the targets, and what is left at the end.
struct Run {
    record: Vec<(usize, Happened)>,
    told: Vec<(Number, Status)>,
    left: Vec<TargetState>,
    leasts: [Status; TARGETS],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Happened {
    Delivered { number: Number, said: u64 },
    Lost(Number, Loss),
}

impl Run {
    fn go(seed: u64, lie: Lie, mood: Mood) -> Self {
        let mut simulation = Simulation::new(seed, mood);
        simulation.run();
        let mut record = simulation.record;
        tell_lie(&mut record, lie);
        let Simulation { told, world, leasts, .. } = simulation;
        Self { record, told, left: world.desk.targets(), leasts }
    }

    fn check(&self) -> Result<(), String> {
        (0..TARGETS).try_for_each(|target| {
            self.check_target(target).map_err(|what| format!("target {target}: {what}"))
        })
    }

    fn check_target(&self, target: usize) -> Result<(), String> {
        let (mut ended, mut last, mut said, mut lost) = (BTreeSet::new(), None, 0, 0);
        for happened in self.of_target(target) {
            let number = match happened {
                Happened::Delivered { number, said: also } => {
                    if last.is_some_and(|last| last >= number) {
                        return Err(format!("{number} was delivered after {last:?}"));
                    }
                    last = Some(number);
                    said += also;
                    number
                }
                Happened::Lost(number, _) => {
                    lost += 1;
                    number
                }
            };
            if !ended.insert(number) {
                return Err(format!("{number} ended twice"));
            }
        }
        let state = self.left[target];
        let wanted = self.told.iter().filter(|(_, status)| *status >= self.leasts[target]);
        let wanted: BTreeSet<Number> = wanted.map(|(number, _)| *number).collect();
        if !ended.is_subset(&wanted) || wanted.len() != ended.len() + state.waiting {
            return Err(format!("{} told, {} ended, {state:?}", wanted.len(), ended.len()));
        }
        if lost != said + state.undelivered {
            return Err(format!("{lost} lost, {said} said, {state:?}"));
        }
        Ok(())
    }

    fn of_target(&self, target: usize) -> Vec<Happened> {
        let of_it = self.record.iter().filter(|(of, _)| *of == target);
        of_it.map(|(_, happened)| happened.clone()).collect()
    }

    /// How many were delivered, dropped, given up and refused.
    fn losses(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for (_, happened) in &self.record {
            let index = match happened {
                Happened::Delivered { .. } => 0,
                Happened::Lost(_, Loss::Dropped) => 1,
                Happened::Lost(_, Loss::GivenUp) => 2,
                Happened::Lost(_, Loss::Refused) => 3,
            };
            counts[index] += 1;
        }
        counts
    }

    /// FNV-1a of the record.
    fn digest(&self) -> u64 {
        let text = format!("{:?}{:?}", self.record, self.told);
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
    }
}

fn tell_lie(record: &mut Vec<(usize, Happened)>, lie: Lie) {
    let delivered = |(_, happened): &&mut (usize, Happened)| {
        matches!(happened, Happened::Delivered { said: 1.., .. })
    };
    match lie {
        Lie::None => {}
        Lie::ForgetsOne => drop(record.pop()),
        Lie::Overtakes => record.reverse(),
        Lie::SendsTwice => record.extend(record.last().cloned()),
        Lie::SaysTooLittle => {
            if let Some((_, Happened::Delivered { said, .. })) = record.iter_mut().find(delivered) {
                *said -= 1;
            }
        }
    }
}

/// Targets that take time, fail and recover, and somebody who tells.
struct Simulation {
    world: World,
    leasts: [Status; TARGETS],
    mood: Mood,
    teller: Random,
    targets: [Random; TARGETS],
    /// What is under way: when it ends, and what it is.
    under_way: [Option<(Duration, Delivery)>; TARGETS],
    /// Until when a target is down.
    down_until: [Duration; TARGETS],
    record: Vec<(usize, Happened)>,
    told: Vec<(Number, Status)>,
    told_at: Vec<Duration>,
}

impl Simulation {
    fn new(seed: u64, mood: Mood) -> Self {
        let mut random = Random(seed);
        let leasts = std::array::from_fn(|_| Status::ALL[random.below(3) as usize]);
        Self {
            world: World::with(&leasts),
            leasts,
            mood,
            teller: Random(random.next()),
            targets: std::array::from_fn(|_| Random(random.next())),
            under_way: [const { None }; TARGETS],
            down_until: [Duration::ZERO; TARGETS],
            record: Vec::new(),
            told: Vec::new(),
            told_at: Vec::new(),
        }
    }

    fn run(&mut self) {
        let end = Duration::from_secs(HOURS * 3600);
        let mut tell_at = Duration::ZERO;
        let mut steps = 0;
        while tell_at < end {
            steps += 1;
            assert!(steps < STEPS_MAX, "time stands still at {:?}", self.world.at);
            let ends = self.under_way.iter().flatten().map(|(at, _)| *at).min();
            let wakes = self.world.desk.wake_at().map(|at| at.since(Moment::default()));
            let next = [Some(tell_at), ends, wakes].into_iter().flatten().min().unwrap();
            self.world.at = self.world.at.max(next);
            if ends == Some(next) {
                self.end_one(next);
            } else if wakes == Some(next) {
                let effects = self.world.step(Event::Woke);
                self.perform(effects);
            } else {
                self.tell();
                // Bursts, and long silence.
                let wait = [0, 1, 5, 60, 900][self.teller.below(5) as usize];
                tell_at += Duration::from_millis(wait * 1000 + self.teller.below(1000));
            }
        }
    }

    fn tell(&mut self) {
        let status = Status::ALL[self.teller.below(4) as usize];
        let subject = self.teller.below(400).to_string();
        let effects = self.world.step(Event::Told(notice(&subject, status)));
        self.perform(effects);
    }

    /// Ends what is under way until `now`, of one target.
    fn end_one(&mut self, now: Duration) {
        let due = |under_way: &Option<(Duration, Delivery)>| {
            under_way.as_ref().is_some_and(|(at, _)| *at == now)
        };
        let index = self.under_way.iter().position(due).expect("one ends now");
        let (_, delivery) = self.under_way[index].take().expect("one ends now");
        let random = &mut self.targets[index];
        if random.below(500) == 0 {
            // Some are down for longer than anything waits.
            let hours = [1, 8, 40][random.below(3) as usize];
            self.down_until[index] = now + Duration::from_secs(hours * 3600);
        }
        let outcome = match (now < self.down_until[index], random.below(40)) {
            (true, asked) => {
                let retry_after = (asked == 0).then_some(Duration::from_secs(120));
                Outcome::Failed { retry_after }
            }
            (false, 0) => Outcome::Refused,
            (false, 1..3) => FAILED,
            (false, _) => Outcome::Delivered,
        };
        if outcome == Outcome::Delivered {
            let (number, said) = (delivery.numbered.number, delivery.undelivered);
            self.record.push((index, Happened::Delivered { number, said }));
        }
        let chance = Chance(random.next() as u32);
        let effects = self.world.step(Event::Ended { target: Target(index), outcome, chance });
        self.perform(effects);
    }

    /// Only what is old is given up, and only from a full queue something is dropped.
    fn check_loss(&self, target: Target, number: Number, loss: Loss) {
        let age = self.world.at - self.told_at[(number.get() - FIRST) as usize];
        let waiting = self.world.desk.targets()[target.0].waiting;
        match loss {
            Loss::GivenUp => assert!(age >= Pace::default().give_up_after, "{number}: {age:?}"),
            Loss::Dropped => assert_eq!(waiting, QUEUE_MAX, "{number}"),
            Loss::Refused => {}
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Listed(numbered) => {
                    self.told.push((numbered.number, numbered.notice.status));
                    self.told_at.push(self.world.at);
                }
                Effect::Deliver(delivery) => {
                    let index = delivery.target.0;
                    let takes = match (index, self.mood) {
                        (0, _) | (_, Mood::Drawn) => self.targets[index].below(5000),
                        (_, Mood::OthersTake) => 0,
                        (_, Mood::OthersHang) => u64::MAX / 2,
                    };
                    let ends = self.world.at + Duration::from_millis(takes);
                    assert!(self.under_way[index].is_none(), "two are under way");
                    self.under_way[index] = Some((ends, delivery));
                }
                Effect::Lost(target, number, loss) => {
                    self.check_loss(target, number, loss);
                    self.record.push((target.0, Happened::Lost(number, loss)));
                }
                Effect::Suppressed(_)
                | Effect::Delivered(..)
                | Effect::Failing(_)
                | Effect::Recovered(_) => {}
            }
        }
    }
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match number("HOLDFAST_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("HOLDFAST_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
