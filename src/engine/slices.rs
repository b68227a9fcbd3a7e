//! Large values in a snapshot walk: each is opened when the walk meets it, or just before it changes, and
//! then given piece by piece between commands.
//!
//! Opening takes down what stands before the pieces (attributes, key, number) and begins the value's own
//! walk (`types/walk.rs`), which keeps it as it is at that moment however it changes. Opened values are
//! written one after another; entries that come in the middle of one are put aside until its end.
//!
//! Memory that is put aside: an element is kept when it changes before its turn, once: at most the value as it was
//! when the walk began, and one hash for each element that came or changed ahead of the walk. A value that is deleted
//! before its turn stays until then. An entry that changes in the middle of another is put aside as it is written, once.
//! So all of it is never more than the data at the cut and the hashes of what was added since, what a fork that copies
//! on write may take; and only as much as is changed meanwhile. `snapshot-memory-limit` bounds it: the more is put
//! aside beyond that, the longer the walk's slices, at the cost of whoever waits (`Engine::snapshot_excess`).
//!
//! Invariants: an opened value is in the keyspace, where its [`Place`] says, or belongs to the walk. Whoever
//! drops an entry gives it to [`Keyspace::discard`], whoever puts one under a key goes through
//! [`Keyspace::insert`]: these keep the place right. Only the first of the opened values has been begun.

use crate::rdb::ValueHead;
use crate::types::table::hash_bytes;
use crate::types::walk::{Piece, Share, Walker};

use super::entry::{Entry, Value};
use super::keyspace::{Garbage, Keyspace};
use super::rewrite::{self, Commands};
use super::snapshot::{Form, Walk};

/// Values of more than so many bytes are walked in slices.
pub const SLICED_FROM: usize = 16 * 1024;

/// Where an opened value is.
enum Place {
    /// Under a key of a db.
    Key(usize, Box<[u8]>),
    /// Nowhere else: it was deleted. Its memory counts as put aside.
    Here { value: Value, _counted: Share },
    /// The walk needs it no more, or not yet.
    Nowhere,
}

/// What comes before and around the pieces.
enum Frame {
    Rdb(ValueHead),
    /// The commands, and those behind the last of them.
    Commands(Commands, Vec<u8>),
}

/// A value that is walked in slices.
pub(super) struct Opened {
    id: u32,
    place: Place,
    record: Record,
}

/// How it is written.
struct Record {
    as_db: usize,
    frame: Frame,
    begun: bool,
    /// All pieces have come.
    ending: bool,
    /// Pieces to come.
    left: usize,
}

impl Walk {
    /// Whether a value has been begun and is not at its end.
    pub(super) fn is_within_value(&self) -> bool {
        self.opened.front().is_some_and(|opened| opened.record.begun)
    }

    /// What the value under way keeps of its compressed form.
    pub(super) fn packed_bytes(&self) -> usize {
        match self.opened.front().map(|opened| &opened.record.frame) {
            Some(Frame::Rdb(head)) => head.kept_bytes(),
            _ => 0,
        }
    }

    /// Whether this entry is to be taken in slices.
    pub(super) fn slices(&self, entry: &Entry) -> bool {
        entry.is_walkable(self.sliced_from) && self.form.is_some()
    }

    /// Opens the large value of an entry that lies in this db.
    pub(super) fn open(&mut self, as_db: usize, db: usize, entry: &mut Entry) {
        let Some(id) = self.open_record(as_db, entry) else { return };
        self.opened.back_mut().expect("it was just opened").place = Place::Key(db, entry.key().into());
        entry.begin_walk(Walker::new(id, &self.tally));
    }

    /// Opens the large value of an entry that is in no db any more.
    pub(super) fn open_taken(&mut self, as_db: usize, mut entry: Entry) {
        let Some(id) = self.open_record(as_db, &entry) else { return };
        entry.begin_walk(Walker::new(id, &self.tally));
        self.keep_value(id, entry);
    }

    fn open_record(&mut self, as_db: usize, entry: &Entry) -> Option<u32> {
        let (key, value) = (entry.key(), entry.value());
        let attributes = self.attributes(entry);
        let frame = match self.form.as_mut()? {
            Form::Rdb(writer) => Frame::Rdb(writer.value_head(key, value, &attributes)),
            Form::Commands { .. } => {
                let mut end = Vec::new();
                rewrite::expire(key, attributes.expire_at_ms, &mut end);
                Frame::Commands(Commands::new(key, value), end)
            }
        };
        self.last_opened += 1;
        let record = Record { as_db, frame, begun: false, ending: false, left: value.piece_count() };
        self.opened.push_back(Opened { id: self.last_opened, place: Place::Nowhere, record });
        Some(self.last_opened)
    }

    fn opened_mut(&mut self, id: u32) -> Option<&mut Opened> {
        self.opened.iter_mut().find(|opened| opened.id == id)
    }

    /// An opened value is under another key now.
    #[cold]
    pub(super) fn moved(&mut self, id: u32, db: usize, key: &[u8]) {
        if let Some(opened) = self.opened_mut(id) {
            opened.place = Place::Key(db, key.into());
        }
    }

    /// An opened value has gone from its db.
    #[cold]
    pub(super) fn keep_value(&mut self, id: u32, entry: Entry) {
        let mut share = Share::new(&self.tally);
        if let Some(opened) = self.opened_mut(id) {
            share.add(entry.heap_bytes());
            opened.place = Place::Here { value: entry.into_value(), _counted: share };
        }
    }

    /// Two dbs have been exchanged.
    pub(super) fn swapped(&mut self, a: usize, b: usize) {
        for opened in &mut self.opened {
            match &mut opened.place {
                Place::Key(db, _) if *db == a => *db = b,
                Place::Key(db, _) if *db == b => *db = a,
                _ => {}
            }
        }
    }

    /// The keys of opened values in a db.
    pub(super) fn opened_in(&self, db: usize) -> Vec<(u32, Box<[u8]>)> {
        let keys = self.opened.iter().filter_map(|opened| match &opened.place {
            Place::Key(at, key) if *at == db => Some((opened.id, key.clone())),
            _ => None,
        });
        keys.collect()
    }

    /// Writes what comes before the pieces.
    fn begin(&mut self, record: &mut Record) {
        record.begun = true;
        self.select(record.as_db);
        if let (Some(Form::Rdb(writer)), Frame::Rdb(head)) = (&mut self.form, &record.frame) {
            writer.begin_value(head, &mut self.out);
        }
    }

    fn piece(&mut self, record: &mut Record, piece: Piece) {
        record.left = record.left.checked_sub(1).expect("a walk gives what was there when it began, and no more");
        match (&mut self.form, &mut record.frame) {
            (Some(Form::Rdb(writer)), Frame::Rdb(head)) => writer.piece(head, piece, &mut self.out),
            (Some(Form::Commands { .. }), Frame::Commands(commands, _)) => commands.piece(piece, &mut self.out),
            _ => {}
        }
    }

    /// Writes what comes behind the pieces, or some of it. True if that was all.
    fn end_pieces(&mut self, record: &mut Record) -> bool {
        assert!(record.left == 0, "a walk gives all that was there when it began");
        match (&mut self.form, &mut record.frame) {
            (Some(Form::Rdb(writer)), Frame::Rdb(head)) => writer.end_value(head, &mut self.out),
            (Some(Form::Commands { .. }), Frame::Commands(commands, end)) => {
                commands.flush(&mut self.out);
                self.out.append(end);
                true
            }
            _ => true,
        }
    }
}

impl Keyspace {
    /// Goes on with the first of the opened values. False if there is none.
    pub(super) fn step_opened(&mut self) -> bool {
        let Some(mut opened) = self.walk.as_mut().and_then(|walk| walk.opened.pop_front()) else { return false };
        let more = !opened.record.ending && self.step_pieces(&mut opened);
        let Some(walk) = &mut self.walk else { return false };
        if more || (!walk.is_cancelled() && !walk.end_pieces(&mut opened.record)) {
            walk.opened.push_front(opened);
        } else {
            walk.keys_done += 1;
        }
        true
    }

    /// Goes on with the pieces of an opened value. False if all have come, or nobody wants them and what was put aside
    /// of them is dropped: the value is what it was before then.
    fn step_pieces(&mut self, opened: &mut Opened) -> bool {
        let seed = self.seed();
        let Some(walk) = &mut self.walk else { return false };
        let mut value = match &mut opened.place {
            Place::Here { value, .. } => value.as_mut(),
            Place::Key(db, key) => {
                let entry = self.dbs[*db].table.find_mut(hash_bytes(seed, key), |e| *e.key() == **key);
                entry.map(Entry::value_mut).expect("an opened value is where it is said to be")
            }
            Place::Nowhere => return false,
        };
        let record = &mut opened.record;
        if walk.is_cancelled() {
            value.cancel_walk();
        } else if !record.begun {
            walk.begin(record);
        }
        if !value.step_walk(|piece| walk.piece(record, piece)) {
            return true;
        }
        record.ending = true;
        if let Place::Here { value, .. } = std::mem::replace(&mut opened.place, Place::Nowhere) {
            self.garbage.push(Garbage::Value(value, false));
        }
        false
    }
}
