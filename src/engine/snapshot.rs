//! The snapshot walk: a point-in-time picture of all keys, taken in slices while commands go on.
//!
//! No fork. The walk visits every db in the order of its table's positions and turns each entry into RDB bytes, or into
//! commands where the log is to have no snapshot in front. An entry that it has not reached is given to it by the
//! keyspace door before it changes or goes, and marked; entries added after the cut are marked too; the walk passes
//! marked entries over and takes the mark away. FLUSHALL hands the old table over. Large values are opened instead and
//! walked in slices of their own (`slices.rs`). So the picture is exactly that of the cut, with bounded memory, and it
//! works in a browser.
//!
//! Not in slices: a string, and a value in packed form. Each is given whole, so a string of hundreds of megabytes
//! keeps everybody waiting while it is compressed and summed: about 4 ms a megabyte that is not compressible, 12 of
//! text, measured on a slow machine. Redis' fork makes its clients wait for none of that.
//!
//! Invariant: outside a walk no entry is marked. A walk that nobody wants any more therefore goes on to
//! its end without writing.

use std::collections::VecDeque;

use crate::rdb::{Attributes, Aux, Format, Writer};
use crate::types::table::{Table, hash_bytes, passed};

use super::Engine;
use super::config::MaxmemoryPolicy;
use super::entry::Entry;
use super::eviction::AccessPolicy;
use super::host::{Ask, SnapshotKind};
use super::keyspace::{DbWalk, Garbage, Keyspace};
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
    Commands,
}

/// A walk under way.
pub struct Walk {
    /// What it is for; `None` for an export.
    pub kind: Option<SnapshotKind>,
    /// `None` once nobody wants the snapshot any more.
    pub(super) form: Option<Form>,
    pub(super) out: Vec<u8>,
    /// Entries that came in the middle of an opened value.
    pub(super) aside: Vec<u8>,
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
    /// Bytes of entries that were taken before their turn because they were about to change.
    pub early_bytes: u64,
}

impl Walk {
    /// Selects a db for what is written next, aside or not.
    pub(super) fn select(&mut self, as_db: usize, aside: bool) {
        if self.selected.replace(as_db) == Some(as_db) {
            return;
        }
        let (keys, expires) = self.sizes.get(as_db).copied().unwrap_or_default();
        match (&mut self.form, aside) {
            (Some(Form::Rdb(writer)), true) => writer.select_db_aside(as_db, keys, expires, &mut self.aside),
            (Some(Form::Rdb(writer)), false) => writer.select_db(as_db, keys, expires, &mut self.out),
            (Some(Form::Commands), true) => rewrite::select_db(as_db, &mut self.aside),
            (Some(Form::Commands), false) => rewrite::select_db(as_db, &mut self.out),
            (None, _) => {}
        }
    }

    /// What the snapshot tells about an entry.
    pub(super) fn attributes(&self, entry: &Entry) -> Attributes {
        attributes(entry, self.policy, self.access)
    }

    /// Takes one entry as it is now.
    fn emit(&mut self, as_db: usize, entry: &Entry) {
        let aside = self.is_midway();
        self.select(as_db, aside);
        let attributes = self.attributes(entry);
        match (&mut self.form, aside) {
            (Some(Form::Rdb(writer)), true) => {
                writer.entry_aside(entry.key(), entry.value(), &attributes, &mut self.aside);
            }
            (Some(Form::Rdb(writer)), false) => {
                writer.entry(entry.key(), entry.value(), &attributes, &mut self.out);
            }
            (Some(Form::Commands), true) => rewrite::entry(entry, &mut self.aside),
            (Some(Form::Commands), false) => rewrite::entry(entry, &mut self.out),
            (None, _) => return,
        }
        self.keys_done += 1;
    }

    /// Takes one entry of a db, as it is now or in slices.
    fn take(&mut self, as_db: usize, db: usize, entry: &mut Entry) {
        match self.slices(entry) {
            true => self.open(as_db, db, entry),
            false => self.emit(as_db, entry),
        }
    }

    /// Takes one entry that is about to change.
    pub fn take_early(&mut self, as_db: usize, db: usize, entry: &mut Entry) {
        let before = self.out.len() + self.aside.len();
        self.take(as_db, db, entry);
        self.early_bytes += (self.out.len() + self.aside.len() - before) as u64;
    }

    /// Nobody wants the snapshot any more.
    pub fn cancel(&mut self) {
        self.form = None;
        (self.out, self.aside) = (Vec::new(), Vec::new());
    }

    /// Whether nobody wants the snapshot any more.
    pub fn is_cancelled(&self) -> bool {
        self.form.is_none()
    }

    /// Takes over a table that its db gives up.
    pub fn adopt(&mut self, as_db: usize, cursor: u64, table: Table<Entry>) {
        self.detached.push(Detached { as_db, cursor, table });
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

/// Steps of a walk in one go, where they bring nothing to write.
const STEPS: usize = 1024;

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
            Form::Commands
        } else {
            let mut writer = self.snapshot_writer(server);
            writer.head(&self.snapshot_head(server, base), &mut out);
            Form::Rdb(writer)
        };
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
            out,
            aside: Vec::new(),
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
            early_bytes: 0,
        });
    }

    fn snapshot_writer(&self, server: &Server) -> Writer {
        let field_expiries = self.dbs.iter().any(|db| !db.field_expires.is_empty());
        let config = &server.config;
        Writer::new(Format::for_field_expiries(field_expiries), config.rdbcompression, config.rdbchecksum)
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

    /// Goes on with the walk until `budget` bytes are there, or for a while. True at its end.
    fn step_walk(&mut self, budget: usize) -> bool {
        let seed = self.seed();
        for _ in 0..STEPS {
            if self.walk.as_ref().is_some_and(|walk| walk.out.len() >= budget) {
                return false;
            }
            if self.step_opened() || self.step_detached(seed) {
                continue;
            }
            let Some(walk) = &mut self.walk else { return true };
            let selected = walk.selected;
            let pending = |db: &super::keyspace::Db| matches!(db.walk, DbWalk::Pending { .. });
            let in_turn =
                |db: &super::keyspace::Db| matches!(db.walk, DbWalk::Pending { as_db, .. } if Some(as_db) == selected);
            let next = self.dbs.iter().position(in_turn).or_else(|| self.dbs.iter().position(pending));
            let Some(next) = next else { return true };
            let db = &mut self.dbs[next];
            let DbWalk::Pending { as_db, cursor } = db.walk else { return true };
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
            // Each entry is a cache miss: those of the next bucket come in while these are dealt with.
            let ahead = db.table.peek(cursor, Entry::prefetch);
            db.table.prefetch(ahead);
        }
        false
    }

    /// One step through the tables that were handed over; false if there are none.
    fn step_detached(&mut self, seed: u64) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        walk.step_detached(seed, |entry| {
            if entry.free_effort() > 1 {
                self.garbage.push(Garbage::Value(entry.into_value()));
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

    /// Adds the next part of the snapshot under way to `out`: about `budget` bytes, or what the walk has.
    pub fn snapshot_chunk(&mut self, budget: usize, out: &mut Vec<u8>) -> SnapshotProgress {
        let keys = &mut self.keyspace;
        if keys.walk.as_ref().is_none_or(Walk::is_cancelled) {
            return SnapshotProgress::Idle;
        }
        let done = keys.step_walk(budget);
        let Some(walk) = &mut keys.walk else { return SnapshotProgress::Idle };
        if done && let Some(Form::Rdb(writer)) = &mut walk.form {
            writer.finish(&mut walk.out);
        }
        walk.bytes += walk.out.len() as u64;
        if out.is_empty() {
            // A huge string is not copied once more.
            std::mem::swap(out, &mut walk.out);
        } else {
            out.append(&mut walk.out);
        }
        if !done {
            return SnapshotProgress::More;
        }
        if walk.kind.is_some() {
            self.server.persistence.snapshot_bytes = walk.bytes;
        }
        let early_bytes = walk.early_bytes;
        match walk.kind {
            Some(SnapshotKind::Rdb) => self.server.persistence.last_save_early_bytes = early_bytes,
            Some(SnapshotKind::LogBase) => self.server.persistence.last_rewrite_early_bytes = early_bytes,
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
