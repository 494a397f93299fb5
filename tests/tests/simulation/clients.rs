//! Clients: one call at a time each, sent again through another appliance when no answer comes.
//!
//! Invariant: a call sent again is the same call (client, xid, arguments); a client that goes
//! elsewhere has closed its connection first. An answer is taken from the present connection alone.

use std::collections::VecDeque;

use model::{
    Change, ClientAddress, Cookie, CreateHow, ObjectId, RequestKey, SetAttributes, VolumeId,
};

use crate::checks::tree::{DIRECTORY, name};
use crate::history::Op;
use crate::process::Input;
use crate::words::{CELLS, Call, How, Outcome, Request};
use crate::world::{Event, World};

pub struct Client {
    /// Its connection, and to whom.
    conn: Option<(u64, usize)>,
    /// The call under way, by its place in the history.
    pub op: Option<usize>,
    xid: u64,
    pub attempt: u64,
    /// Where its next connection goes; anywhere, if it does not matter.
    pub home: Option<usize>,
    /// Calls to make, before any of its own.
    pub script: VecDeque<(VolumeId, Call)>,
    /// Whether it thinks of calls by itself.
    pub idle: bool,
    /// Whether it can't reach anybody.
    away: bool,
    /// It never gives a connection up by itself.
    pub patient: bool,
    pub answers: Vec<Outcome>,
    /// Where a listing goes on.
    listing: Option<(VolumeId, ObjectId, Cookie)>,
}

#[derive(Clone, Debug)]
pub enum ClientEvent {
    Think,
    /// No answer came.
    Late {
        op: usize,
        attempt: u64,
    },
    Again {
        op: usize,
        attempt: u64,
    },
    Reply {
        conn: u64,
        key: RequestKey,
        outcome: Outcome,
    },
    Closed {
        conn: u64,
    },
    /// It leaves its connection.
    Hangup,
    /// It can reach others again.
    Back,
}

impl Client {
    pub fn new(_number: usize) -> Self {
        Self {
            conn: None,
            op: None,
            xid: 0,
            attempt: 0,
            home: None,
            script: VecDeque::new(),
            idle: false,
            away: false,
            patient: false,
            answers: Vec::new(),
            listing: None,
        }
    }
}

impl World {
    pub fn client_event(&mut self, number: usize, event: ClientEvent) {
        match event {
            ClientEvent::Think => self.think(number),
            ClientEvent::Hangup => self.disconnect(number),
            ClientEvent::Back => {
                self.clients[number].away = false;
                if self.clients[number].op.is_some() {
                    self.again_soon(number);
                }
            }
            ClientEvent::Late { op, attempt } => {
                let client = &self.clients[number];
                if client.op == Some(op) && client.attempt == attempt {
                    self.disconnect(number);
                    self.again_soon(number);
                }
            }
            ClientEvent::Again { op, attempt } => {
                let client = &self.clients[number];
                if client.op == Some(op) && client.attempt == attempt {
                    self.transmit(number);
                }
            }
            ClientEvent::Closed { conn } => {
                let client = &mut self.clients[number];
                if client.conn.is_some_and(|(mine, _)| mine == conn) {
                    client.conn = None;
                    if client.op.is_some() {
                        self.again_soon(number);
                    }
                }
            }
            ClientEvent::Reply { conn, key, outcome } => self.replied(number, conn, key, outcome),
        }
    }

    fn disconnect(&mut self, number: usize) {
        if let Some((conn, to)) = self.clients[number].conn.take() {
            self.conns.remove(&conn);
            // Behind whatever is on its way on the same connection.
            self.post(700, Event::Machine { to, input: Input::Hangup { conn } });
        }
    }

    /// A client can't reach anybody; whatever it has under way it sends again when it is back.
    pub fn leaves(&mut self, number: usize) {
        self.clients[number].away = true;
        self.clients[number].attempt += 1;
        self.disconnect(number);
    }

    fn again_soon(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.attempt += 1;
        let (Some(op), attempt) = (client.op, client.attempt) else { return };
        let after = 1_000 + self.chance.below(60_000);
        self.post(after, Event::Client { number, event: ClientEvent::Again { op, attempt } });
    }

    fn replied(&mut self, number: usize, conn: u64, key: RequestKey, outcome: Outcome) {
        let client = &mut self.clients[number];
        let mine = client.conn.is_some_and(|(mine, _)| mine == conn);
        let Some(op) = client.op.filter(|op| mine && self.history.ops[*op].request.key == key)
        else {
            return;
        };
        client.op = None;
        client.answers.push(outcome.clone());
        let request = self.history.ops[op].request.clone();
        client.listing = match (&request.call, &outcome) {
            (Call::List { dir, .. }, Outcome::Listed { names, end: false }) => {
                names.last().map(|(.., cookie)| (request.volume, *dir, *cookie))
            }
            _ => None,
        };
        match (&request.call, &outcome) {
            (Call::Change(Change::Create { .. }), Outcome::Changed(object))
            | (Call::LookUp { .. }, Outcome::Found(Some(object)))
                if *object != DIRECTORY && !self.files.contains(&(request.volume, *object)) =>
            {
                self.files.push((request.volume, *object));
            }
            _ => {}
        }
        let busy = outcome == Outcome::Busy;
        if busy {
            // JUKEBOX: the same thing once more, as another call.
            self.clients[number].script.push_front((request.volume, request.call));
        }
        self.history.ops[op].answered = Some((self.now, outcome));
        let after = if busy { 100_000 } else { 1_000 + self.chance.below(30_000) };
        self.post(after, Event::Client { number, event: ClientEvent::Think });
    }

    fn think(&mut self, number: usize) {
        if self.clients[number].op.is_some() {
            return;
        }
        let scripted = self.clients[number].script.pop_front();
        let (volume, call) = match scripted {
            Some(scripted) => scripted,
            None if self.clients[number].idle => return,
            None => self.draw_call(number),
        };
        self.begin(number, volume, call);
    }

    /// A client begins a call.
    pub fn begin(&mut self, number: usize, volume: VolumeId, call: Call) -> usize {
        let client = &mut self.clients[number];
        client.xid += 1;
        let address = [number as u8 + 1; 16];
        let key = RequestKey {
            client: ClientAddress::from_bytes(address),
            digest: u128::from(client.xid),
        };
        let op = self.history.ops.len();
        let call = match call {
            // Each write writes what no other does.
            Call::Write { object, cell, cells, how, .. } => {
                Call::Write { object, cell, cells, value: op as u32 + 1, how }
            }
            other => other,
        };
        let request = Request { volume, key, call };
        self.history.ops.push(Op { request, invoked: self.now, answered: None });
        self.history.note(op as u64 + 77);
        let client = &mut self.clients[number];
        client.op = Some(op);
        client.attempt += 1;
        self.transmit(number);
        op
    }

    fn transmit(&mut self, number: usize) {
        let Some(op) = self.clients[number].op.filter(|_| !self.clients[number].away) else {
            return;
        };
        let (conn, to) = match self.clients[number].conn {
            Some(conn) => conn,
            None => {
                self.next_conn += 1;
                let doors = self.machines.len() as u64 - u64::from(self.config.witness);
                let anywhere = self.chance.below(doors) as usize;
                let conn = (self.next_conn, self.clients[number].home.unwrap_or(anywhere));
                self.conns.insert(conn.0, (number, conn.1));
                self.clients[number].conn = Some(conn);
                conn
            }
        };
        let request = self.history.ops[op].request.clone();
        let after = 100 + self.chance.below(500);
        self.post(after, Event::Machine { to, input: Input::Client { conn, request } });
        let attempt = self.clients[number].attempt;
        // Some are more patient than the appliances, as Linux is, and hear that they gave up.
        let patience = match self.clients[number].patient {
            true => 60_000_000,
            false => 600_000 + self.chance.below(2_800_000),
        };
        let event = ClientEvent::Late { op, attempt };
        self.post(patience, Event::Client { number, event });
    }

    fn draw_call(&mut self, number: usize) -> (VolumeId, Call) {
        if let Some((volume, dir, after)) = self.clients[number].listing.take() {
            return (volume, Call::List { dir, after, max: 3 });
        }
        let chance = std::sync::Arc::clone(&self.chance);
        let volume = VolumeId::new(1 + chance.below(self.config.volumes));
        let dir = || if chance.per_mille(650) { ObjectId::ROOT } else { DIRECTORY };
        let names = || name(["a", "b", "c", "f0"][chance.below(4) as usize]);
        // The newest files are used most: old ones are likely gone.
        let recent = self.files.len().saturating_sub(5) as u64;
        let at = if chance.per_mille(500) { 0 } else { recent };
        let at = at + chance.below(self.files.len() as u64 - at);
        let (of, object) = self.files[at as usize];
        match chance.below(100) {
            0..34 => {
                let cell = chance.below(CELLS as u64) as usize;
                let cells = 1 + chance.below((CELLS - cell) as u64) as usize;
                let how = if chance.per_mille(650) { How::Unstable } else { How::FileSync };
                (of, Call::Write { object, cell, cells, value: 0, how })
            }
            34..46 => (of, Call::Commit { object }),
            46..68 => (of, Call::Read { object }),
            68..76 => (volume, Call::LookUp { dir: dir(), name: names() }),
            76..80 => (volume, Call::List { dir: dir(), after: Cookie::START, max: 3 }),
            80..90 => (volume, create(dir(), names())),
            90..94 => (volume, Call::Change(Change::Remove { dir: dir(), name: names() })),
            _ => {
                let (from_dir, from, to_dir, to) = (dir(), names(), dir(), names());
                (volume, Call::Change(Change::Rename { from_dir, from, to_dir, to }))
            }
        }
    }
}

pub fn create(dir: ObjectId, name: model::Name) -> Call {
    let how = CreateHow::Guarded(SetAttributes::default());
    Call::Change(Change::Create { dir, name, how, owner: Default::default() })
}
