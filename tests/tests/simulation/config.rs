//! What one run is made of.

/// Something done wrong on purpose, for a checker to find. Each is a promise that the appliance
/// of the simulation does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    Nothing,
    /// Acts without a live lease, and so beside whoever took over.
    ActsWithoutLease,
    /// Acts for whatever it has a good copy of.
    TakesCopiesForOwners,
    /// Acts under an older view than one that it has heard of.
    ForgetsWhatItHeard,
    /// Acts at once when it comes back, while another still stands in for it.
    TrustsStandIns,
    /// Answers COMMIT without a sync.
    CommitsWithoutSync,
    /// Acknowledges a change that a good copy elsewhere misses.
    LeavesCopiesGood,
    /// Answers COMMIT after its sync, though the file went elsewhere meanwhile.
    CommitsWhatHasLeft,
    /// Answers COMMIT while the copy that the file left, which is not durable, counts as good.
    CommitsForOldCopies,
    /// Hands a file over without the answers that were given about it.
    KeepsAnswers,
    /// Sends a call on for a client that has gone.
    ForwardsForTheGone,
    /// Tells a client to come back with another call for what an earlier sending may have done.
    HasChangesComeBack,
    /// Executes a forwarded change of data whatever view its sender had.
    IgnoresViews,
    /// Takes what comes late on a channel that was given up for new.
    HearsOldChannels,
    /// Does not know a change of names that was applied before.
    ForgetsNames,
    /// Answers that nothing was done from a look, so that the log does not know the call.
    RefusesFromALook,
    /// Reads names without asking anybody whether it still leads.
    ReadsWithoutRound,
    /// Answers a removal before the file's owner knows it.
    OwnersMayNotKnow,
    /// Does not raise loss counts: its start calls itself clean.
    CallsItselfClean,
    /// A clock may run a fifth slower than another.
    WildClocks,
    /// One appliance leaves an entry out.
    SkipsAnEntry,
    /// Answers a WRITE before the other copies have it.
    AnswersBeforeCopies,
    /// Answers COMMIT before the other copies are durable.
    CommitsBeforeCopies,
    /// A copy executes changes in the order in which they come.
    TakesChangesAsTheyCome,
    /// A copy takes changes from whoever sends them.
    FollowsAnybody,
    /// A copy believes its record after an unclean stop.
    TrustsRecords,
    /// A copy that is not what its owner takes it for does not say so.
    TakesTailsForEqual,
    /// Does not ask, after a start, which calls made a file what it is.
    ForgetsCalls,
    /// Does not tell a copy that joins which calls made what it has.
    JoinsUntold,
    /// A copy believes what it is told of calls whose changes have not come to it.
    BelievesWhatIsToCome,
    /// A call that comes again over its connection is begun again.
    BeginsDoubles,
    /// A copy takes the last part of its owner's though the first one was lost.
    MendsHalf,
    /// A copy that was made equal remembers calls whose changes are undone.
    KeepsUndoneCalls,
    /// Shows what another good copy does not have yet.
    ShowsWhatMayBeLost,
    /// A copy does not remember whose call a change was.
    ForgetsWhoseChanges,
    /// A copy that is not whole serves if no other is there.
    ServesStaleCopies,
    /// Takes a failed sync for one that succeeded.
    IgnoresFailedSyncs,
    /// A copy that has no room says that it has a change.
    LiesWhenFull,
    /// Answers zeros for what can't be read.
    TakesRotForZeros,
    /// Gives up a copy that can't be read while changes of it are on their way.
    GivesUpAmidChanges,
}

/// How bad it gets.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Lost messages in a thousand.
    pub loss: u64,
    /// Doubled messages in a thousand.
    pub doubles: u64,
    /// Messages that are late by up to two seconds, in a thousand.
    pub late: u64,
    /// Strokes of misfortune in the run.
    pub strokes: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub seed: u64,
    pub appliances: u64,
    /// Whether the last of them holds nothing and votes.
    pub witness: bool,
    pub volumes: u64,
    pub clients: u64,
    pub weather: Weather,
    /// The appliance whose disk gets full and fails now and then, if any.
    pub bad_disk: Option<u64>,
    /// Whether a copy of a file rots.
    pub rots: bool,
    /// How long clients are at it.
    pub work_micros: u64,
    /// Whether copies that a hand-over left behind are given up.
    pub drops_copies: bool,
    /// Copies that each file shall have, if there are as many members.
    pub replicas: u64,
    pub mistake: Mistake,
}

impl Config {
    /// Drawn from the seed.
    pub fn random(seed: u64, mistake: Mistake) -> Self {
        let draw = crate::chance::Chance::new(seed ^ 0xc0ff_ee00);
        let appliances = [3, 3, 3, 4, 5][draw.below(5) as usize];
        let stormy = draw.per_mille(700);
        let weather = Weather {
            loss: if stormy { draw.below(40) } else { 0 },
            doubles: if stormy { draw.below(30) } else { 0 },
            late: if stormy { draw.below(20) } else { 0 },
            strokes: 1 + draw.below(5),
        };
        Self {
            seed,
            appliances,
            witness: appliances == 3 && draw.per_mille(250)
                || appliances > 3 && draw.per_mille(500),
            volumes: 1 + draw.below(2),
            clients: 2 + draw.below(2),
            weather,
            work_micros: 3_000_000 + draw.below(2_500_000),
            drops_copies: true,
            replicas: [1, 2, 2, 3, 3][draw.below(5) as usize],
            bad_disk: draw.per_mille(400).then(|| draw.below(3)),
            rots: draw.per_mille(400),
            mistake,
        }
    }

    /// Fair weather and no clients of its own: a scenario says what happens.
    pub fn scenario(seed: u64, mistake: Mistake) -> Self {
        let weather = Weather { loss: 0, doubles: 0, late: 0, strokes: 0 };
        Self {
            seed,
            appliances: 3,
            witness: false,
            volumes: 1,
            clients: 2,
            weather,
            work_micros: 0,
            drops_copies: false,
            replicas: 1,
            bad_disk: None,
            rots: false,
            mistake,
        }
    }
}
