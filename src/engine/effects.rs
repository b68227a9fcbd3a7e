//! What a unit of execution changed, collected while it runs and dealt with once when it ends.
//!
//! An execution unit is one top-level command, one EXEC or one tick slice. Handlers and the keyspace
//! door record here; `settle` reads it. Nothing here does anything by itself.

use crate::resp::encode_command;

use super::client::ClientId;
use super::config::NotifyFlags;

/// A keyspace event waiting to be published.
#[derive(Clone, Debug)]
pub struct Event {
    /// The class it belongs to, for `notify-keyspace-events`.
    pub class: NotifyFlags,
    /// Its name, e.g. "set", "lpush", "expired".
    pub name: &'static str,
    /// The db it happened in.
    pub db: usize,
    /// The key it happened to.
    pub key: Box<[u8]>,
}

/// What a command that changed something sends to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagate {
    /// The request itself, if anything changed.
    Request,
    /// What the handler wrote with [`Effects::propagate`], or nothing.
    Replaced,
    /// The request itself, even if nothing changed.
    Always,
}

/// Everything a unit changed.
#[derive(Debug)]
pub struct Effects {
    /// Changes made by the current command, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// How the current command propagates.
    pub propagate: Propagate,
    /// Events not yet published.
    pub events: Vec<Event>,
    /// Clients whose watched keys changed.
    pub watchers: Vec<ClientId>,
    /// Keys that blocked clients wait for and that changed, in order.
    pub ready: Vec<(usize, Box<[u8]>)>,
    /// Whether anybody reads the stream (a log, a replica); otherwise nothing is encoded.
    pub streaming: bool,
    /// This unit's part of the stream.
    unit: Vec<u8>,
    /// Bytes at the start of `unit` that belong to no command: each of their commands stands alone.
    apart: usize,
    /// Commands in `unit` behind `apart`, SELECTs not counted.
    commands: usize,
    /// The db that the stream's reader has selected; `None` at the start of a log.
    selected: Option<usize>,
    /// The unix time last noted in the stream.
    stamped: Option<i64>,
}

impl Default for Effects {
    fn default() -> Effects {
        Effects {
            dirty: 0,
            propagate: Propagate::Request,
            events: Vec::new(),
            watchers: Vec::new(),
            ready: Vec::new(),
            streaming: false,
            unit: Vec::new(),
            apart: 0,
            commands: 0,
            selected: None,
            stamped: None,
        }
    }
}

impl Effects {
    /// Adds a keyspace event; whether anybody may hear it has been checked.
    pub fn raise(&mut self, class: NotifyFlags, name: &'static str, db: usize, key: &[u8]) {
        self.events.push(Event { class, name, db, key: key.into() });
    }

    /// Starts the next command of the unit.
    pub fn begin_command(&mut self) {
        self.dirty = 0;
        self.propagate = Propagate::Request;
    }

    /// Adds a command to the stream and says that the request itself is not to be propagated.
    pub fn propagate(&mut self, db: usize, args: &[&[u8]]) {
        self.propagate = Propagate::Replaced;
        self.append(db, args.iter().copied());
    }

    /// Adds a command to the stream without a word about the request.
    pub fn append<'a>(&mut self, db: usize, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        if !self.streaming {
            return;
        }
        if self.selected != Some(db) {
            self.selected = Some(db);
            let db = db.to_string();
            encode_command([&b"SELECT"[..], db.as_bytes()], &mut self.unit);
        }
        self.commands += 1;
        encode_command(args, &mut self.unit);
    }

    /// Makes the next command in the stream select its db again: a reader starts here.
    pub fn forget_selected(&mut self) {
        (self.selected, self.stamped) = (None, None);
    }

    /// Says that what was added so far is nobody's doing (a background slice, eviction): its commands are
    /// independent, so they are not made one transaction with each other or with what comes next.
    pub fn set_apart(&mut self) {
        (self.apart, self.commands) = (self.unit.len(), 0);
    }

    /// Ends the unit's stream part: moves it to `out`, wrapped in MULTI and EXEC if it is more than one
    /// command. `stamp` is a unix time to note before it, unless the last note has it. Returns the bytes added.
    pub fn take_stream(&mut self, out: &mut Vec<u8>, stamp: Option<i64>) -> usize {
        if self.unit.is_empty() {
            return 0;
        }
        let before = out.len();
        if let Some(seconds) = stamp.filter(|_| stamp != self.stamped) {
            out.extend_from_slice(format!("#TS:{seconds}\r\n").as_bytes());
            self.stamped = stamp;
        }
        if self.commands > 1 {
            out.extend_from_slice(&self.unit[..self.apart]);
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            out.extend_from_slice(&self.unit[self.apart..]);
            self.unit.clear();
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        } else {
            out.append(&mut self.unit);
        }
        (self.apart, self.commands) = (0, 0);
        out.len() - before
    }

    /// Whether the unit left nothing to settle but its caller's reply.
    pub fn is_quiet(&self) -> bool {
        self.unit.is_empty() && self.events.is_empty() && self.watchers.is_empty() && self.ready.is_empty()
    }
}
