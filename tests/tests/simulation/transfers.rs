//! Hand-over of a file at its owner: lists the target, streams, closes the gate, lets the log
//! decide.
//!
//! Invariant: from the moment the entry is proposed until its fate is known nothing of the file is
//! answered; entries carry the view under which they were decided upon. Absent on purpose: the
//! stream's decisions, which are the replicator's core's.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use catalog::Command;
use extents::{Backlog, Copied, ExtentHash, Frame, FrameChange};
use model::{ApplianceId, EXTENT_BYTES, Epoch, Refusal, RequestKey, Span};
use ownership::{Claim, Standing};
use replicator::cores::{Look, SendCore, SendEffect, SendEvent};
use replicator::{HasData, SendSettings, TransferId};

use crate::config::Mistake;
use crate::entering::{Entry, Fate};
use crate::following::{Joined, whole};
use crate::process::{Ctx, Out, Process};
use crate::words::{Ask, Entered, Key, Message, Piece, Reply};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    HandOver,
    /// Makes a copy whole.
    Copy,
    /// No stream: the target's copy counts already.
    Promote,
}

/// One hand-over, or one copy that is made whole.
pub struct Transfer {
    pub to: ApplianceId,
    purpose: Purpose,
    epoch: Epoch,
    stage: Stage,
    /// Changes that the stream has not taken yet.
    pub feed: VecDeque<Frame>,
    to_copy: u64,
    /// What the target's older copy holds.
    held: Option<ExtentHash>,
    core: Option<SendCore>,
    stream: u64,
    /// The answers that the target has, once it has most of them: before the gate closes.
    told: Option<BTreeSet<RequestKey>>,
    telling: Option<(u64, BTreeSet<RequestKey>)>,
    /// Nothing has come for so long.
    quiet_until: Duration,
    breaks: u32,
    /// The gate was closed for this.
    holds_gate: bool,
}

enum Stage {
    Listing(Entry),
    /// The target's copy follows: it has everything in a moment.
    Flushing {
        until: Duration,
    },
    Streaming,
    /// The gate is closed; whoever passed is still at it.
    Closing,
    Draining {
        until: Duration,
    },
    Answers {
        ask: u64,
        until: Duration,
    },
    Proposed(Entry),
    /// The fate of the proposal is unknown: cancels it by an entry.
    Keeping(Entry),
    Over,
}

impl Process {
    /// Begins to move a file, if it is owned here.
    pub fn begin_transfer(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        to: ApplianceId,
        purpose: Purpose,
    ) {
        let Some(record) = self.record(key) else { return };
        let standing = self.standing_of(ctx, key.0, &record, Claim::Client);
        let Standing::Execute { reign } = standing else { return };
        let member = self.fleet_now.volume_members(key.0).contains(&to);
        let comes_back = to == record.owner && purpose == Purpose::HandOver;
        if to == self.me || comes_back || !member || self.transfers.contains_key(&key) {
            return;
        }
        let counts = record.replicas.contains(&to) && !record.stale.contains(&to);
        let purpose = if counts && ctx.replicas > 1 { Purpose::Promote } else { purpose };
        let stage = match purpose {
            Purpose::Promote => {
                if let Joined::Leave(_) = self.join(ctx, key, &record, reign) {
                    return;
                }
                Stage::Flushing { until: self.now + FINISH_WAIT }
            }
            Purpose::HandOver | Purpose::Copy => {
                let command = self.next_listing(key, &record, to);
                Stage::Listing(Entry::volume(key.0, self.deciding(record.epoch), command))
            }
        };
        let transfer = Transfer {
            to,
            purpose,
            epoch: record.epoch,
            stage,
            feed: VecDeque::new(),
            to_copy: 0,
            held: None,
            core: None,
            stream: 0,
            told: None,
            telling: None,
            quiet_until: Duration::ZERO,
            breaks: 0,
            holds_gate: false,
        };
        self.transfers.insert(key, transfer);
    }

    /// A good copy is overwritten, so it must not be taken for one meanwhile.
    fn next_listing(&self, key: Key, record: &model::ObjectRecord, to: ApplianceId) -> Command {
        let listed = record.replicas.contains(&to);
        match listed && !record.stale.contains(&to) {
            true => Command::MarkStale { object: key.1, appliance: to },
            false => Command::AddReplica { object: key.1, appliance: to },
        }
    }

    /// Whether a hand-over of the file is proposed and its fate unknown here.
    pub fn hands_over(&self, key: Key) -> bool {
        let stage = self.transfers.get(&key).map(|transfer| &transfer.stage);
        matches!(stage, Some(Stage::Proposed(_) | Stage::Keeping(_)))
    }

    pub fn poll_transfers(&mut self, ctx: &mut Ctx<'_>) {
        let keys: Vec<Key> = self.transfers.keys().copied().collect();
        for key in keys {
            let Some(mut transfer) = self.transfers.remove(&key) else { continue };
            self.poll_transfer(ctx, key, &mut transfer);
            if let Stage::Over = transfer.stage {
                if transfer.holds_gate {
                    self.again |= self.gates.remove(&key);
                }
            } else {
                self.transfers.insert(key, transfer);
            }
        }
    }

    fn poll_transfer(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        match &mut transfer.stage {
            Stage::Listing(entry) => match self.poll_entry(ctx, entry) {
                None => {}
                Some(Fate::Applied(Entered::Volume(Ok(_)), _)) => self.listed(ctx, key, transfer),
                Some(_) => transfer.stage = Stage::Over,
            },
            Stage::Flushing { until } => {
                let until = *until;
                self.flush(ctx, key, transfer, until);
            }
            Stage::Streaming => {
                self.stream_goes_on(ctx, key, transfer);
                let look = self.look(key, transfer);
                let close = transfer.core.as_ref().is_some_and(|core| core.is_close(look));
                let told = close && self.tell_ahead(ctx, key, transfer);
                let streaming = matches!(transfer.stage, Stage::Streaming);
                if told && streaming && !self.gates.contains(&key) {
                    self.gates.insert(key);
                    transfer.holds_gate = true;
                    transfer.stage = Stage::Closing;
                    self.again = true;
                }
            }
            Stage::Closing => {
                let passed = self.jobs.values().any(|job| job.passed && job.key() == Some(key));
                if passed {
                    return;
                }
                let until = self.now + FINISH_WAIT;
                transfer.stage = Stage::Draining { until };
                self.send_step(ctx, key, transfer, SendEvent::Drain);
                self.again = true;
            }
            Stage::Draining { until } => {
                let late = self.now > *until;
                self.stream_goes_on(ctx, key, transfer);
                let finished = transfer.core.as_ref().is_some_and(|core| core.finished().is_some());
                if finished {
                    self.send_answers(ctx, key, transfer);
                } else if late {
                    transfer.stage = Stage::Over;
                }
            }
            Stage::Answers { ask, until } => match self.replies.remove(ask) {
                Some(Reply::Done) => self.propose_hand_over(ctx, key, transfer),
                Some(_) => transfer.stage = Stage::Over,
                None if self.now > *until => transfer.stage = Stage::Over,
                None => {}
            },
            Stage::Proposed(entry) => match self.poll_entry(ctx, entry) {
                None => {}
                Some(Fate::Unknown | Fate::NotTaken | Fate::Ready) => {
                    transfer.stage = Stage::Keeping(self.keep_entry(key, transfer.epoch));
                }
                Some(Fate::Applied(Entered::Volume(Ok(_)), _)) => {
                    match transfer.purpose {
                        Purpose::HandOver | Purpose::Promote => ctx.history.handed_over += 1,
                        Purpose::Copy => ctx.history.copied += 1,
                    }
                    transfer.stage = Stage::Over;
                }
                // Applied and refused: who owns the file is asked anew.
                Some(Fate::Applied(..)) => transfer.stage = Stage::Over,
            },
            Stage::Keeping(entry) => match self.poll_entry(ctx, entry) {
                None => {}
                // Refused as well: the epoch has ended, or a newer Reign fences both.
                Some(Fate::Applied(..)) => transfer.stage = Stage::Over,
                Some(_) => transfer.stage = Stage::Keeping(self.keep_entry(key, transfer.epoch)),
            },
            Stage::Over => {}
        }
    }

    /// Waits with a closed gate until the target has every change.
    fn flush(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer, until: Duration) {
        let same = self.record(key).is_some_and(|record| record.epoch == transfer.epoch);
        if self.now > until || !same || !self.owns(ctx, key) {
            transfer.stage = Stage::Over;
            return;
        }
        let Some(fan) = self.fans.get(&key).filter(|fan| fan.is_ready()) else { return };
        let tip = fan.core.tip();
        if !self.gates.contains(&key) {
            self.gates.insert(key);
            transfer.holds_gate = true;
        }
        let passed = self.jobs.values().any(|job| job.passed && job.key() == Some(key));
        if transfer.holds_gate && !passed && self.all_have(ctx, key, tip, false) {
            self.send_answers(ctx, key, transfer);
        }
    }

    fn keep_entry(&self, key: Key, epoch: Epoch) -> Entry {
        Entry::volume(key.0, self.deciding(epoch), Command::Keep { object: key.1 })
    }

    fn listed(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        let Some(record) = self.record(key).filter(|record| record.epoch == transfer.epoch) else {
            transfer.stage = Stage::Over;
            return;
        };
        if !record.stale.contains(&transfer.to) {
            let command = self.next_listing(key, &record, transfer.to);
            let entry = Entry::volume(key.0, self.deciding(transfer.epoch), command);
            transfer.stage = Stage::Listing(entry);
            self.again = true;
            return;
        }
        let Standing::Execute { reign } = self.standing_of(ctx, key.0, &record, Claim::Client)
        else {
            transfer.stage = Stage::Over;
            return;
        };
        // The target's copy gets the name of this one.
        self.tip(key, reign);
        self.attach(key, transfer);
        let base = self.disk.files.entry(key).or_default().base();
        let number = self.number() & u64::from(u32::MAX);
        let id = TransferId::new(transfer.epoch, reign.view.get() << 32 | number);
        transfer.core = Some(SendCore::new(SendSettings::default(), id, HasData::Yes, base));
        transfer.stage = Stage::Streaming;
        self.connect(ctx, key, transfer);
    }

    /// From here on all changes of the file are part of the transfer.
    fn attach(&mut self, key: Key, transfer: &mut Transfer) {
        transfer.feed.clear();
        let len = self.disk.files.entry(key).or_default().now.bytes.len();
        transfer.to_copy = u64::from(len > 0);
        transfer.held = None;
    }

    fn owns(&self, ctx: &Ctx<'_>, key: Key) -> bool {
        let Some(record) = self.record(key) else { return false };
        let standing = self.standing_of(ctx, key.0, &record, Claim::Client);
        matches!(standing, Standing::Execute { .. })
    }

    fn connect(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        transfer.stream = self.number();
        transfer.quiet_until = self.now + QUIET_MAX;
        let index = self.volumes[&key.0].catalog.applied_index();
        let piece = Piece::Open { key, epoch: transfer.epoch, index };
        let (stream, to) = (transfer.stream, transfer.to);
        ctx.out.push(Out::Send { to, message: Message::Stream { stream, piece } });
        self.send_step(ctx, key, transfer, SendEvent::Connected);
    }

    fn look(&mut self, key: Key, transfer: &Transfer) -> Look {
        let frames = transfer.feed.len();
        let queued_bytes = transfer.feed.iter().map(|frame| frame.change.payload_len()).sum();
        let file = self.disk.files.entry(key).or_default();
        let (base, promised) = (file.base(), file.durable());
        Look {
            now: self.now,
            backlog: Backlog {
                frames,
                queued_bytes,
                to_copy: transfer.to_copy,
                next: (transfer.to_copy > 0).then_some(0),
            },
            settled: transfer.feed.is_empty().then_some(base),
            promised,
        }
    }

    fn send_step(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        transfer: &mut Transfer,
        event: SendEvent,
    ) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let look = self.look(key, transfer);
            let Some(core) = transfer.core.as_mut() else { return };
            for effect in core.step(look, event) {
                match effect {
                    SendEffect::Send(message) => {
                        let piece = Piece::Down(message);
                        let (stream, to) = (transfer.stream, transfer.to);
                        ctx.out.push(Out::Send { to, message: Message::Stream { stream, piece } });
                    }
                    SendEffect::Copy => events.push_back(self.copy(ctx, key, transfer)),
                    SendEffect::Learn(_, held) => transfer.held = held.first().copied().flatten(),
                    SendEffect::BeginAnew => {
                        self.attach(key, transfer);
                        let base = self.disk.files.entry(key).or_default().base();
                        let core = transfer.core.as_mut().expect("it steps");
                        let piece = Piece::Down(core.begin_anew(base));
                        let (stream, to) = (transfer.stream, transfer.to);
                        ctx.out.push(Out::Send { to, message: Message::Stream { stream, piece } });
                    }
                }
            }
        }
    }

    /// Copies the file's one extent: the copy takes a sequence like a write.
    fn copy(&mut self, ctx: &Ctx<'_>, key: Key, transfer: &mut Transfer) -> SendEvent {
        let standing =
            self.record(key).map(|record| self.standing_of(ctx, key.0, &record, Claim::Client));
        let Some(Standing::Execute { reign }) = standing else {
            return SendEvent::Copied(Err(Refusal::Fenced));
        };
        let file = self.disk.files.entry(key).or_default();
        if file.rotten {
            return SendEvent::Copied(Err(Refusal::Fault));
        }
        transfer.to_copy = 0;
        file.now.mark = file.now.mark.next_under(reign);
        let data_bytes = file.now.bytes.len() as u64;
        let held = transfer.held.take().is_some_and(|held| Some(held) == file.hash());
        let change = match held {
            true => FrameChange::Nothing,
            false => whole(&file.now.bytes),
        };
        let mark = file.now.mark;
        transfer.feed.push_back(Frame { mark, stamp: None, key: None, secure: false, change });
        let span = Span::new(0, EXTENT_BYTES).expect("it is short");
        SendEvent::Copied(Ok(Some(Copied { span, data_bytes, mark, held })))
    }

    /// Frames leave while there is room; faults and silence end it.
    fn stream_goes_on(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        while transfer.core.as_ref().is_some_and(SendCore::wants_frame) {
            let Some(frame) = transfer.feed.pop_front() else { break };
            self.send_step(ctx, key, transfer, SendEvent::Frame(frame));
        }
        let Some(core) = &transfer.core else { return };
        if core.fault().is_some() {
            transfer.stage = Stage::Over;
        } else if self.now > transfer.quiet_until {
            self.stream_broke(ctx, key, transfer);
        }
    }

    fn stream_broke(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        transfer.breaks += 1;
        if transfer.breaks > BREAKS_MAX {
            transfer.stage = Stage::Over;
            return;
        }
        transfer.telling = None;
        transfer.told = None;
        self.send_step(ctx, key, transfer, SendEvent::Broken);
        self.connect(ctx, key, transfer);
    }

    /// Something of a stream has come to its owner's end.
    pub fn take_answer(&mut self, ctx: &mut Ctx<'_>, stream: u64, piece: Piece) {
        let found = self.transfers.iter().find(|(_, t)| t.stream == stream).map(|(key, _)| *key);
        let Some(key) = found else { return };
        let mut transfer = self.transfers.remove(&key).expect("it was found");
        transfer.quiet_until = self.now + QUIET_MAX;
        let streams =
            matches!(transfer.stage, Stage::Streaming | Stage::Draining { .. } | Stage::Closing);
        match piece {
            Piece::Up(message) if streams => {
                self.send_step(ctx, key, &mut transfer, SendEvent::Answer(message));
            }
            Piece::Broken if streams => self.stream_broke(ctx, key, &mut transfer),
            _ => {}
        }
        self.transfers.insert(key, transfer);
        self.again = true;
    }

    /// The new owner must know the calls that were answered here: each of them may come again.
    fn send_answers(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        let (ask, _) = self.send_untold(ctx, key, transfer);
        transfer.stage = Stage::Answers { ask, until: self.now + FINISH_WAIT };
    }

    /// Sends what was answered about the file and the target does not know; which ones.
    fn send_untold(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: Key,
        transfer: &Transfer,
    ) -> (u64, BTreeSet<RequestKey>) {
        let answered = &self.volumes[&key.0].answered;
        let told = |k| transfer.told.as_ref().is_some_and(|told| told.contains(k));
        let about = answered.iter().filter(|(k, call)| call.object == key.1 && !told(k));
        let mut answers: Vec<_> = about.map(|(k, call)| (*k, call.clone())).collect();
        if ctx.mistake == Mistake::KeepsAnswers {
            answers.clear();
        }
        let keys = answers.iter().map(|(key, _)| *key).collect();
        let anew = transfer.told.is_none();
        (self.ask(ctx, transfer.to, Ask::Answers { key, answers, anew }), keys)
    }

    /// Tells the target most of the answers before anybody has to wait for it; true once it has
    /// them.
    fn tell_ahead(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) -> bool {
        if transfer.told.is_some() {
            return true;
        }
        let Some((ask, keys)) = &transfer.telling else {
            transfer.telling = Some(self.send_untold(ctx, key, transfer));
            return false;
        };
        // If none comes the stream is given up for its silence.
        if let Some(Reply::Done) = self.replies.remove(ask) {
            transfer.told = Some(keys.clone());
        }
        transfer.told.is_some()
    }

    fn propose_hand_over(&mut self, ctx: &mut Ctx<'_>, key: Key, transfer: &mut Transfer) {
        let same = self.record(key).is_some_and(|record| record.epoch == transfer.epoch);
        if !same || !self.owns(ctx, key) {
            transfer.stage = Stage::Over;
            return;
        }
        let (object, to) = (key.1, transfer.to);
        let command = match transfer.purpose {
            Purpose::HandOver => Command::HandOver { object, to },
            Purpose::Promote => Command::Promote { object, to },
            Purpose::Copy => Command::Synced { object, appliance: to },
        };
        transfer.stage =
            Stage::Proposed(Entry::volume(key.0, self.deciding(transfer.epoch), command));
        self.again = true;
    }
}

const FINISH_WAIT: Duration = Duration::from_millis(600);
/// Longer than anything on a stream takes.
const QUIET_MAX: Duration = Duration::from_millis(400);
const BREAKS_MAX: u32 = 5;
