//! The snapshot walk: a point-in-time picture of all keys, taken in slices while commands go on.
//!
//! No fork. The walk visits every db in the order of its table's positions and turns each entry into RDB bytes, or into
//! commands where the log is to have no snapshot in front. An entry that it has not reached is given to it by the
//! keyspace door before it changes or goes, and marked; entries added after the cut are marked too; the walk passes
//! marked entries over and takes the mark away. FLUSHALL hands the old table over. Large values are opened instead and
//! walked in slices of their own (`slices.rs`). So the picture is exactly that of the cut, with bounded memory, and it
//! works in a browser.
//!
//! What may not be written yet is put aside; how much that is, [`Walk::put_aside`] says, and
//! `snapshot-memory-limit` how much it may be before the walk makes haste at the clients' cost.
//!
//! Invariant: outside a walk no entry is marked. A walk that nobody wants any more therefore goes on to
//! its end without writing.

use std::collections::VecDeque;

use crate::rdb::{Attributes, Aux, Format, Sum, Writer};
use crate::types::table::{Table, hash_bytes, passed};
use crate::types::walk::Tally;

use super::Engine;
use super::config::{MaxmemoryPolicy, MemoryOrPercent};
use super::entry::Entry;
use super::eviction::AccessPolicy;
use super::host::{Ask, SnapshotKind};
use super::keyspace::{Db, DbWalk, Garbage, Keyspace};
use super::rewrite;
use super::server::Server;
use super::slices::Opened;
use super::time::Now;

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// There is more to come.
    More,
    /// That was all of it.
    Done,
    /// There is no snapshot to pull.
    Idle,
}

/// A table that FLUSHALL, FLUSHDB or a drop left to the walk.
struct Detached {
    as_db: usize,
    cursor: u64,
    table: Table<Entry>,
}

/// What a walk turns entries into.
pub(super) enum Form {
    /// A snapshot.
    Rdb(Writer),
    /// Commands.
    Commands {
        /// Where integers and packed text become text.
        room: Vec<u8>,
    },
}

/// A walk under way.
pub struct Walk {
    /// What it is for; `None` for an export.
    pub kind: Option<SnapshotKind>,
    /// `None` once nobody wants the snapshot any more.
    pub(super) form: Option<Form>,
    /// Of a snapshot, unless the front end makes it: the sum of all that was given.
    sum: Option<Sum>,
    pub(super) out: Vec<u8>,
    /// Entries that came in the middle of an opened value, in segments; they come after it.
    aside: VecDeque<Vec<u8>>,
    /// What opened values have put aside.
    pub(super) tally: Tally,
    /// The db that is selected at the end of what is written.
    selected: Option<usize>,
    /// Large values under way.
    pub(super) opened: VecDeque<Opened>,
    /// The number of the last of them.
    pub(super) last_opened: u32,
    /// Values of more than so many bytes are opened.
    pub(super) sliced_from: usize,
    /// Keys and keys with an expire time of each db at the cut.
    sizes: Vec<(usize, usize)>,
    detached: Vec<Detached>,
    access: AccessPolicy,
    policy: MaxmemoryPolicy,
    /// Keys at the cut.
    pub keys_total: u64,
    /// Keys written.
    pub keys_done: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Memory in use at the cut.
    used_bytes: u64,
    /// The most that was put aside at one time.
    pub peak_aside: u64,
}

/// Bytes of a segment of what is put aside.
const SEGMENT_BYTES: usize = 64 * 1024;

/// A limit in percent is never less than this: what is put aside of a few keys is not worth any haste.
const LEAST_LIMIT: u64 = 4 << 20;

/// Where the next entry is written.
fn target<'w>(out: &'w mut Vec<u8>, aside: &'w mut VecDeque<Vec<u8>>, midway: bool) -> &'w mut Vec<u8> {
    if !midway {
        return out;
    }
    if aside.back().is_none_or(|segment| segment.len() >= SEGMENT_BYTES) {
        aside.push_back(Vec::new());
    }
    aside.back_mut().expect("it was just pushed")
}

impl Walk {
    /// Whether nothing may be written to `out` but more of the value under way, or what was put aside meanwhile.
    fn is_midway(&self) -> bool {
        !self.aside.is_empty() || self.is_within_value()
    }

    /// Writes some of what has been put aside, if it may be written. False if there is none.
    fn step_aside(&mut self) -> bool {
        if self.is_within_value() {
            return false;
        }
        let Some(segment) = self.aside.pop_front() else { return false };
        self.out.extend_from_slice(&segment);
        true
    }

    /// Selects a db for what is written next.
    pub(super) fn select(&mut self, as_db: usize) {
        if self.selected.replace(as_db) == Some(as_db) {
            return;
        }
        let (keys, expires) = self.sizes.get(as_db).copied().unwrap_or_default();
        let midway = self.is_midway();
        let target = target(&mut self.out, &mut self.aside, midway);
        match &mut self.form {
            Some(Form::Rdb(writer)) => writer.select_db(as_db, keys, expires, target),
            Some(Form::Commands { .. }) => rewrite::select_db(as_db, target),
            None => {}
        }
    }

    /// What the snapshot tells about an entry.
    pub(super) fn attributes(&self, entry: &Entry) -> Attributes {
        attributes(entry, self.policy, self.access)
    }

    /// Takes one entry as it is now.
    fn emit(&mut self, as_db: usize, entry: &Entry) {
        self.select(as_db);
        let attributes = self.attributes(entry);
        let midway = self.is_midway();
        let target = target(&mut self.out, &mut self.aside, midway);
        match &mut self.form {
            Some(Form::Rdb(writer)) => writer.entry(entry.key(), entry.value(), &attributes, target),
            Some(Form::Commands { room }) => rewrite::entry(entry, room, target),
            None => return,
        }
        self.keys_done += 1;
    }

    /// Takes one entry of a db, as it is now or in slices.
    pub fn take(&mut self, as_db: usize, db: usize, entry: &mut Entry) {
        match self.slices(entry) {
            true => self.open(as_db, db, entry),
            false => self.emit(as_db, entry),
        }
    }

    /// Bytes that are put aside, about: what was taken before its turn and could not be given yet, what opened values
    /// keep, and what was flushed and is not walked yet.
    pub fn put_aside(&self) -> u64 {
        let aside: usize = self.aside.iter().map(Vec::len).sum();
        let flushed: u64 = self.detached.iter().map(|part| part.table.len() as u64).sum();
        let average = self.used_bytes / self.keys_total.max(1);
        (self.out.len() + aside + self.tally.bytes() + self.packed_bytes()) as u64 + flushed * average
    }

    /// How many times the limit is put aside: 0 is within it.
    fn excess(&self, limit: MemoryOrPercent) -> u64 {
        let limit = match limit {
            MemoryOrPercent::Bytes(0) => return 0,
            MemoryOrPercent::Bytes(bytes) => bytes,
            MemoryOrPercent::Percent(_) => limit.bytes(self.used_bytes).max(LEAST_LIMIT),
        };
        self.put_aside() / limit
    }

    /// Nobody wants the snapshot any more.
    pub fn cancel(&mut self) {
        self.form = None;
        (self.out, self.aside) = (Vec::new(), VecDeque::new());
    }

    /// Whether nobody wants the snapshot any more.
    pub fn is_cancelled(&self) -> bool {
        self.form.is_none()
    }

    /// Takes over a table that its db gives up.
    pub fn adopt(&mut self, as_db: usize, cursor: u64, table: Table<Entry>) {
        self.detached.push(Detached { as_db, cursor, table });
    }

    /// The db to go on with: the one that is selected, or any other.
    fn next_db(&self, dbs: &[Db]) -> Option<usize> {
        let pending = |db: &Db| matches!(db.walk, DbWalk::Pending { .. });
        let in_turn = |db: &Db| matches!(db.walk, DbWalk::Pending { as_db, .. } if Some(as_db) == self.selected);
        dbs.iter().position(in_turn).or_else(|| dbs.iter().position(pending))
    }

    /// One step through the tables that were handed over; false if there are none.
    fn step_detached(&mut self, seed: u64, mut left_over: impl FnMut(Entry)) -> bool {
        let Some(mut part) = self.detached.pop() else { return false };
        for _ in 0..DETACHED_STEP {
            let Some(entry) = part.table.pop() else { return true };
            if entry.is_marked() || passed(hash_bytes(seed, entry.key()), part.cursor) {
                left_over(entry);
            } else if self.slices(&entry) {
                self.open_taken(part.as_db, entry);
            } else {
                self.emit(part.as_db, &entry);
            }
        }
        self.detached.push(part);
        true
    }
}

/// Steps of a walk in one go, where they bring nothing to write: some hundred cache misses.
const STEPS: usize = 64;

/// Entries of a handed-over table taken in one step.
const DETACHED_STEP: usize = 16;

fn attributes(entry: &Entry, policy: MaxmemoryPolicy, access: AccessPolicy) -> Attributes {
    Attributes {
        expire_at_ms: entry.expire_at(),
        idle_seconds: policy.is_lru().then(|| u64::from(access.idle_seconds(entry.access()))),
        frequency: policy.is_lfu().then(|| access.decayed(entry.access()) as u8),
    }
}

impl Keyspace {
    /// Cuts a snapshot here and now. There must be no walk under way.
    pub fn start_walk(&mut self, kind: Option<SnapshotKind>, server: &Server) {
        debug_assert!(self.walk.is_none());
        let mut out = Vec::new();
        let base = kind == Some(SnapshotKind::LogBase);
        let form = if base && !server.config.aof_use_rdb_preamble {
            if server.config.aof_timestamp_enabled {
                out.extend_from_slice(format!("#TS:{}\r\n", self.now.wall.seconds()).as_bytes());
            }
            Form::Commands { room: Vec::new() }
        } else {
            let mut writer = self.snapshot_writer(server);
            writer.head(&self.snapshot_head(server, base), &mut out);
            Form::Rdb(writer)
        };
        let sum = matches!(form, Form::Rdb(_)).then(|| Sum::new(server.config.rdbchecksum));
        let mut sizes = Vec::new();
        for (number, db) in self.dbs.iter_mut().enumerate() {
            sizes.push((db.table.len(), db.expires.len()));
            db.walk = match db.table.is_empty() {
                true => DbWalk::Done,
                false => DbWalk::Pending { as_db: number, cursor: 0 },
            };
        }
        self.walk = Some(Walk {
            kind,
            form: Some(form),
            sum,
            out,
            aside: VecDeque::new(),
            tally: Tally::default(),
            selected: None,
            opened: VecDeque::new(),
            last_opened: 0,
            sliced_from: self.sliced_from,
            keys_total: sizes.iter().map(|(keys, _)| *keys as u64).sum(),
            sizes,
            detached: Vec::new(),
            access: AccessPolicy::new(&self.settings, self.now, true),
            policy: self.settings.eviction,
            keys_done: 0,
            bytes: 0,
            used_bytes: (server.host.used_memory)() as u64,
            peak_aside: 0,
        });
    }

    fn snapshot_writer(&self, server: &Server) -> Writer {
        let field_expiries = self.dbs.iter().any(|db| !db.field_expires.is_empty());
        let config = &server.config;
        Writer::new(Format::for_field_expiries(field_expiries), config.rdbcompression)
    }

    fn snapshot_head<'s>(&self, server: &'s Server, aof_base: bool) -> Aux<'s> {
        Aux {
            redis_version: std::str::from_utf8(&server.config.haversack_server_version).unwrap_or("8.2.3"),
            created_seconds: self.now.wall.seconds(),
            used_bytes: (server.host.used_memory)() as u64,
            replication: None,
            aof_base,
        }
    }

    /// Goes on with the walk until there are `budget` bytes, or for a while. True at its end.
    fn step_walk(&mut self, budget: usize) -> bool {
        let seed = self.seed();
        for _ in 0..STEPS {
            let Some(walk) = &mut self.walk else { return true };
            if walk.out.len() >= budget {
                return false;
            }
            if walk.step_aside() || self.step_opened() || self.step_detached(seed) {
                continue;
            }
            let Some(walk) = &mut self.walk else { return true };
            let Some(next) = walk.next_db(&self.dbs) else { return true };
            let db = &mut self.dbs[next];
            let DbWalk::Pending { as_db, cursor } = db.walk else { return true };
            // Each entry is a cache miss: those of the next bucket come in while these are dealt with.
            let ahead = db.table.cursor_after(cursor);
            let further = db.table.peek(ahead, Entry::prefetch_whole);
            db.table.prefetch(further);
            let cursor = db.table.scan_mut(
                cursor,
                |e| hash_bytes(seed, e.key()),
                |entry| {
                    if entry.is_marked() {
                        entry.set_marked(false);
                    } else {
                        walk.take(as_db, next, entry);
                    }
                },
            );
            db.walk = if cursor == 0 { DbWalk::Done } else { DbWalk::Pending { as_db, cursor } };
        }
        false
    }

    /// One step through the tables that were handed over; false if there are none.
    fn step_detached(&mut self, seed: u64) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        walk.step_detached(seed, |entry| {
            if entry.free_effort() > 1 {
                self.garbage.push(Garbage::Value(entry.into_value(), false));
            }
        })
    }

    /// The whole keyspace as a snapshot, at once and apart from any walk.
    pub fn whole_snapshot(&self, server: &Server) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = self.snapshot_writer(server);
        writer.head(&self.snapshot_head(server, false), &mut out);
        let access = AccessPolicy::new(&self.settings, self.now, true);
        for (number, db) in self.dbs.iter().enumerate().filter(|(_, db)| !db.table.is_empty()) {
            writer.select_db(number, db.table.len(), db.expires.len(), &mut out);
            for entry in db.table.iter() {
                let attributes = attributes(entry, self.settings.eviction, access);
                writer.entry(entry.key(), entry.value(), &attributes, &mut out);
            }
        }
        writer.finish(&mut out);
        Sum::new(server.config.rdbchecksum).seal(&mut out);
        out
    }
}

impl Engine {
    /// Values of more than so many bytes are walked in slices by snapshots that begin from now on.
    pub fn slice_values_from(&mut self, bytes: usize) {
        self.keyspace.sliced_from = bytes;
    }

    /// Whether a snapshot is under way or about to begin.
    pub fn is_walking(&self) -> bool {
        let persistence = &self.server.persistence;
        self.keyspace.walk.is_some() || persistence.snapshot.is_some() || persistence.wanted.is_some()
    }

    /// The checksum of the snapshot that has just begun, for whoever wants to make it instead and to append its
    /// trailer; `None` if it consists of commands.
    pub fn take_snapshot_sum(&mut self) -> Option<Sum> {
        self.keyspace.walk.as_mut().and_then(|walk| walk.sum.take())
    }

    /// How many times `snapshot-memory-limit` the snapshot under way has put aside: 0 is within it. Who pulls it
    /// does so the more, the more this is.
    pub fn snapshot_excess(&self) -> u64 {
        let limit = self.server.config.snapshot_memory_limit;
        self.keyspace.walk.as_ref().map_or(0, |walk| walk.excess(limit))
    }

    /// Adds the next part of the snapshot under way to `out`: about `budget` bytes, or what the walk has.
    pub fn snapshot_chunk(&mut self, budget: usize, out: &mut Vec<u8>) -> SnapshotProgress {
        let keys = &mut self.keyspace;
        let Some(walk) = keys.walk.as_mut().filter(|walk| !walk.is_cancelled()) else {
            return SnapshotProgress::Idle;
        };
        walk.peak_aside = walk.peak_aside.max(walk.put_aside());
        // The walk goes on right behind what is there, so that nothing is copied but what came early.
        let start = out.len();
        out.append(&mut walk.out);
        std::mem::swap(out, &mut walk.out);
        let done = keys.step_walk(start + budget);
        let Some(walk) = &mut keys.walk else { return SnapshotProgress::Idle };
        std::mem::swap(out, &mut walk.out);
        if done && let Some(Form::Rdb(writer)) = &mut walk.form {
            writer.finish(out);
        }
        if let Some(sum) = &mut walk.sum {
            sum.add(&out[start..]);
            if done {
                out.extend_from_slice(&sum.trailer());
            }
        }
        walk.bytes += (out.len() - start) as u64;
        if !done {
            return SnapshotProgress::More;
        }
        if walk.kind.is_some() {
            self.server.persistence.snapshot_bytes = walk.bytes;
        }
        let peak = walk.peak_aside;
        match walk.kind {
            Some(SnapshotKind::Rdb) => self.server.persistence.last_save_aside = peak,
            Some(SnapshotKind::LogBase) => self.server.persistence.last_rewrite_aside = peak,
            None => {}
        }
        let was_export = keys.walk.take().is_some_and(|walk| walk.kind.is_none());
        if was_export {
            // One that waited for it.
            self.start_wanted_snapshot();
        }
        SnapshotProgress::Done
    }

    /// Cuts a snapshot here and now that only its caller wants: the bytes of a `dump.rdb`, which come from
    /// [`snapshot_chunk`](Self::snapshot_chunk). Saves and rewrites begin after it. False if another one is under way.
    pub fn begin_export(&mut self, now: Now) -> bool {
        self.begin(now);
        if self.is_walking() {
            return false;
        }
        self.keyspace.start_walk(None, &self.server);
        true
    }

    /// Gives up an export, if one is under way.
    pub fn cancel_export(&mut self, now: Now) {
        self.begin(now);
        if let Some(walk) = self.keyspace.walk.as_mut().filter(|walk| walk.kind.is_none()) {
            walk.cancel();
            self.server.clock.busy = true;
        }
    }

    /// Keys that the snapshot under way has at all.
    pub fn snapshot_keys_total(&self) -> u64 {
        self.keyspace.walk.as_ref().map_or(0, |walk| walk.keys_total)
    }

    /// Keys that the snapshot under way has dealt with.
    pub fn snapshot_keys_done(&self) -> u64 {
        self.keyspace.walk.as_ref().map_or(0, |walk| walk.keys_done)
    }

    /// Starts a snapshot that has been asked for, between two units.
    pub(super) fn start_wanted_snapshot(&mut self) {
        if self.keyspace.walk.is_some() || self.server.persistence.snapshot.is_some() {
            return;
        }
        let Some((kind, at_once)) = self.server.persistence.wanted.take() else { return };
        self.keyspace.start_walk(Some(kind), &self.server);
        if kind == SnapshotKind::LogBase {
            // The new generation is read from its beginning: its first command selects its db.
            self.keyspace.effects.forget_selected();
        }
        let now = self.server.now.wall.seconds();
        let persistence = &mut self.server.persistence;
        persistence.snapshots_begun += 1;
        persistence.snapshot = Some(kind);
        persistence.snapshot_since = now;
        persistence.dirty_at_cut = persistence.dirty;
        persistence.offset_at_cut = self.server.offset;
        if kind == SnapshotKind::Rdb {
            persistence.last_save_try = now;
        }
        self.server.asks.push(Ask::StartSnapshot { kind, at: self.server.offset, at_once });
    }

    /// A slice of a walk that nobody wants any more: it only takes marks away. True if it goes on.
    pub(super) fn finish_cancelled_walk(&mut self) -> bool {
        if !self.keyspace.walk.as_ref().is_some_and(Walk::is_cancelled) {
            return false;
        }
        for _ in 0..CANCELLED_STEPS {
            if self.keyspace.step_cancelled() {
                self.keyspace.walk = None;
                return false;
            }
        }
        true
    }
}

/// Buckets of a cancelled walk visited in one slice.
const CANCELLED_STEPS: usize = 1024;

impl Keyspace {
    /// One bucket of a cancelled walk. True at its end.
    fn step_cancelled(&mut self) -> bool {
        let seed = self.seed();
        if self.step_opened() || self.step_detached(seed) {
            return false;
        }
        for db in &mut self.dbs {
            if let DbWalk::Pending { as_db, cursor } = db.walk {
                let cursor = db.table.scan_mut(cursor, |e| hash_bytes(seed, e.key()), |e| e.set_marked(false));
                db.walk = if cursor == 0 { DbWalk::Done } else { DbWalk::Pending { as_db, cursor } };
                return false;
            }
        }
        true
    }
}
