//! Loading at start: a base snapshot, then the log, fed in chunks of any size.
//!
//! A snapshot goes through the RDB loader into the keyspace; a log is run command by command by a client
//! that exists for this only, with expiry switched off, because the log says itself what went. Commands
//! between MULTI and EXEC count as one unit: a torn one is as if it had never been.

use crate::rdb::{self, Attributes, Note, RdbError, Sink};
use crate::resp::{Args, Decoder, Limits, Reply, Step};

use super::Engine;
use super::call::{Call, Mode};
use super::client::{ClientId, Peer};
use super::commands;
use super::config::NotifyFlags;
use super::entry::Entry;
use super::eviction::AccessPolicy;
use super::keyspace::{ExpiryMode, Keyspace};
use super::persistence::Loading;
use super::time::Now;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// A snapshot on its own: keys whose time has come are left out.
    Snapshot,
    /// The base or a part of a log: commands, or a snapshot with commands behind it.
    Log,
}

/// Why a file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The snapshot is wrong.
    Snapshot(RdbError),
    /// The log ends within a command or a transaction. Everything up to `valid` bytes is loaded and whole.
    Truncated {
        /// Bytes of the file that are whole.
        valid: u64,
    },
    /// The log is wrong here.
    Log {
        /// Bytes before the place that is wrong.
        offset: u64,
        /// What is wrong, in words.
        reason: String,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Snapshot(error) => error.fmt(f),
            LoadError::Truncated { valid } => write!(f, "unexpected end of file; whole up to offset {valid}"),
            LoadError::Log { offset, reason } => write!(f, "{reason} at offset {offset}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// What a load brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadStats {
    /// Keys taken from snapshots.
    pub keys: u64,
    /// Keys of snapshots left out because their time had come.
    pub expired: u64,
    /// Commands of logs.
    pub commands: u64,
    /// Things that were passed over, in words, at most a few.
    pub notes: Vec<String>,
}

/// A load under way.
pub struct Load {
    kind: LoadKind,
    snapshot: Option<rdb::Loader>,
    decided: bool,
    decoder: Decoder,
    held: Vec<u8>,
    /// Bytes of the file used up.
    at: u64,
    /// Bytes of the file that make whole units.
    valid: u64,
    client: ClientId,
    stats: LoadStats,
    /// What is known of the bytes to come.
    ahead: Vec<rdb::Ahead>,
}

/// Notes kept at most.
const MAX_NOTES: usize = 16;

impl Engine {
    /// Starts loading. Clients are told -LOADING until [`end_load`](Self::end_load).
    /// `total_bytes` is for the progress in INFO.
    pub fn begin_load(&mut self, now: Now, total_bytes: u64) {
        self.begin(now);
        let client = self.server.clients.add(Peer { addr: "loader".into(), local: true, ..Peer::default() }, now);
        self.server.clients[client].authenticated = true;
        self.server.clients[client].is_internal = true;
        self.server.persistence.loading =
            Some(Loading { since: now.wall.seconds(), total_bytes, loaded_bytes: 0, keys: 0 });
        self.keyspace.expiry = ExpiryMode::Ignore;
        self.keyspace.effects.streaming = false;
        self.keyspace.settings.notify = NotifyFlags::NONE;
        self.load = Some(Load {
            kind: LoadKind::Log,
            snapshot: None,
            decided: false,
            decoder: Decoder::default(),
            held: Vec::new(),
            at: 0,
            valid: 0,
            client,
            stats: LoadStats::default(),
            ahead: Vec::new(),
        });
    }

    /// Starts loading again, while the server runs; `flush` empties the keyspace first. Nothing of this goes
    /// to the stream.
    pub fn begin_reload(&mut self, now: Now, total_bytes: u64, flush: bool) {
        self.begin_load(now, total_bytes);
        if !flush {
            return;
        }
        for db in 0..self.keyspace.dbs.len() {
            self.keyspace.flush(db, false);
        }
    }

    /// Starts the next file. There must be a load under way.
    pub fn begin_file(&mut self, kind: LoadKind) {
        let load = self.load.as_mut().expect("begin_load comes before begin_file");
        load.kind = kind;
        load.snapshot = None;
        load.decided = false;
        load.decoder = Decoder::default();
        load.held.clear();
        load.ahead.clear();
        (load.at, load.valid) = (0, 0);
        let client = load.client;
        let client = &mut self.server.clients[client];
        client.multi = None;
        client.db = 0;
    }

    /// Takes what a [`Scout`](rdb::Scout) has found in bytes of the file that come next.
    pub fn expect(&mut self, ahead: rdb::Ahead) {
        if let Some(load) = self.load.as_mut().filter(|_| !ahead.is_empty()) {
            load.ahead.push(ahead);
        }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The file is wrong. What was loaded before stays.
    pub fn load(&mut self, now: Now, bytes: &[u8]) -> Result<(), LoadError> {
        self.begin(now);
        let mut load = self.load.take().expect("begin_load comes before load");
        let done = self.load_bytes(&mut load, bytes);
        if let Some(loading) = &mut self.server.persistence.loading {
            loading.loaded_bytes += bytes.len() as u64;
            loading.keys = load.stats.keys;
        }
        self.load = Some(load);
        self.settle_effects();
        self.keyspace.effects.ready.clear();
        done
    }

    /// Keys that the load under way has brought so far, and commands that it has run.
    pub fn steps_loaded(&self) -> u64 {
        self.load.as_ref().map_or(0, |load| load.stats.keys + load.stats.commands)
    }

    /// Says that the file has ended.
    ///
    /// # Errors
    /// It has ended too early.
    pub fn end_file(&mut self) -> Result<(), LoadError> {
        let load = self.load.as_ref().expect("begin_load comes before end_file");
        let whole_bytes = load.at + load.held.len() as u64;
        match &load.snapshot {
            Some(snapshot) if !snapshot.is_done() => snapshot.finish().map_err(LoadError::Snapshot),
            // No snapshot is empty; a log may be.
            _ if !load.decided && load.kind == LoadKind::Snapshot => {
                rdb::Loader::new(self.keyspace.rdb_limits(), true).finish().map_err(LoadError::Snapshot)
            }
            _ if whole_bytes > load.valid => Err(LoadError::Truncated { valid: load.valid }),
            _ => Ok(()),
        }
    }

    /// Ends the load: clients are served from now on.
    pub fn end_load(&mut self, now: Now) -> LoadStats {
        self.begin(now);
        let Some(load) = self.load.take() else { return LoadStats::default() };
        self.forget_client(load.client);
        self.keyspace.settle_tables();
        self.keyspace.expiry = ExpiryMode::Delete;
        self.keyspace.settings.refresh(&self.server.config);
        self.keyspace.effects.streaming = self.server.persistence.log_enabled;
        self.keyspace.effects.forget_selected();
        self.server.persistence.loading = None;
        (self.server.persistence.loaded_keys, self.server.persistence.loaded_expired) =
            (load.stats.keys, load.stats.expired);
        self.server.persistence.dirty = 0;
        load.stats
    }

    /// Replaces all keys by those that another engine has loaded. Nothing of this goes to the stream: the front end
    /// takes a new base. There must be no snapshot under way: see [`is_walking`](Self::is_walking).
    pub fn adopt(&mut self, now: Now, loaded: Engine) {
        self.begin(now);
        self.keyspace.adopt(loaded.keyspace);
        self.server.persistence.loaded_keys = loaded.server.persistence.loaded_keys;
        self.server.persistence.loaded_expired = loaded.server.persistence.loaded_expired;
        self.settle_effects();
        self.run_resumed();
    }

    fn load_bytes(&mut self, load: &mut Load, bytes: &[u8]) -> Result<(), LoadError> {
        let mut held = std::mem::take(&mut load.held);
        let mut rest = bytes;
        if !load.decided || load.snapshot.is_none() {
            held.extend_from_slice(bytes);
            rest = &[];
        }
        if !load.decided {
            if held.len() < MAGIC_BYTES
                && load.kind == LoadKind::Log
                && b"REDIS".starts_with(&held[..held.len().min(5)])
            {
                load.held = held;
                return Ok(());
            }
            load.decided = true;
            let is_snapshot =
                load.kind == LoadKind::Snapshot || held.starts_with(b"REDIS") || held.starts_with(b"VALKEY");
            let verify = self.server.config.rdbchecksum;
            load.snapshot = is_snapshot.then(|| rdb::Loader::new(self.keyspace.rdb_limits(), verify));
        }
        if load.snapshot.is_some() {
            for piece in [&held[..], rest] {
                let used = self.load_snapshot(load, piece)?;
                load.held.extend_from_slice(&piece[used..]);
            }
            if load.kind == LoadKind::Snapshot || load.held.is_empty() {
                load.held.clear();
                return Ok(());
            }
            held = std::mem::take(&mut load.held);
        }
        let used = self.load_commands(load, &held)?;
        held.drain(..used);
        load.held = held;
        Ok(())
    }

    /// Feeds the snapshot's loader; says how many bytes it used.
    fn load_snapshot(&mut self, load: &mut Load, bytes: &[u8]) -> Result<usize, LoadError> {
        let Some(snapshot) = &mut load.snapshot else { return Ok(0) };
        load.ahead.drain(..).for_each(|ahead| snapshot.expect(ahead));
        let drop_expired = load.kind == LoadKind::Snapshot;
        let loading = self.server.persistence.loading.as_ref();
        let file_bytes = loading.map_or(0, |loading| loading.total_bytes.saturating_sub(loading.loaded_bytes));
        let mut sink = KeyspaceSink::new(&mut self.keyspace, &mut load.stats, drop_expired, file_bytes);
        let used = snapshot.feed(bytes, &mut sink).map_err(LoadError::Snapshot)?;
        sink.insert_all().map_err(|reason| LoadError::Snapshot(snapshot.refusal(reason)))?;
        load.at += used as u64;
        if snapshot.is_done() {
            load.valid = load.at;
        }
        Ok(used)
    }

    /// Runs the commands that are complete; says how many bytes they took.
    fn load_commands(&mut self, load: &mut Load, bytes: &[u8]) -> Result<usize, LoadError> {
        let limits = Limits { max_bulk_len: usize::MAX, unauthenticated: false };
        let mut decoder = std::mem::take(&mut load.decoder);
        let mut reply = Reply::default();
        let mut at = 0;
        let wrong = |offset: u64, reason: String| LoadError::Log { offset, reason };
        while at < bytes.len() {
            let offset = load.at;
            if bytes[at] == b'#' && !decoder.is_midway() {
                let Some(end) = bytes[at..].iter().position(|b| *b == b'\n') else { break };
                at += end + 1;
                load.at += end as u64 + 1;
            } else if bytes[at] != b'*' {
                let shown = bytes[at].escape_ascii();
                return Err(wrong(offset, format!("Bad file format: '{shown}' where a command should begin")));
            } else {
                match decoder.decode(&bytes[at..], &limits) {
                    Ok(Step::Command { consumed }) => {
                        let args = decoder.args(&bytes[at..]);
                        self.replay(load.client, args, &mut reply).map_err(|reason| wrong(offset, reason))?;
                        load.stats.commands += 1;
                        at += consumed;
                        load.at += consumed as u64;
                    }
                    Ok(Step::Empty { consumed }) => {
                        at += consumed;
                        load.at += consumed as u64;
                    }
                    Ok(Step::Incomplete { .. }) => break,
                    Err(error) => return Err(wrong(offset, format!("Bad file format: {error}"))),
                }
            }
            if self.server.clients[load.client].multi.is_none() {
                load.valid = load.at;
            }
        }
        load.decoder = decoder;
        Ok(at)
    }

    /// Runs one command of a log.
    fn replay(&mut self, id: ClientId, args: Args, reply: &mut Reply) -> Result<(), String> {
        let resolved = commands::table().resolve(args, None, &commands::Renames::default());
        let command = resolved.map_err(|unresolved| match commands::table().find(args.at(0)) {
            None => format!("Unknown command '{}'", String::from_utf8_lossy(args.at(0))),
            Some(_) => unresolved.error.to_string(),
        })?;
        let spec = commands::table().row(command);
        reply.buf.clear();
        let client = &mut self.server.clients[id];
        if let Some(multi) = &mut client.multi
            && !matches!(spec.name, "exec" | "multi" | "discard")
        {
            multi.queue.push((command, args.to_owned()));
            return Ok(());
        }
        self.keyspace.db = client.db;
        let mut call = Call::new(args, reply, &mut self.keyspace, &mut self.server, id, (spec, command), Mode::Replay);
        super::dispatch::invoke(&mut call);
        Ok(())
    }
}

/// Bytes that tell a snapshot from a log.
const MAGIC_BYTES: usize = 5;

impl Keyspace {
    /// The limits that decide on the forms of loaded collections.
    pub fn rdb_limits(&self) -> rdb::Limits {
        let settings = &self.settings;
        rdb::Limits { list: settings.list, set: settings.set, hash: settings.hash, zset: settings.zset }
    }

    /// Replaces everything by what a snapshot holds.
    ///
    /// # Errors
    /// The snapshot is wrong; what was loaded before that stays.
    pub fn load_whole(&mut self, snapshot: &[u8]) -> Result<LoadStats, RdbError> {
        let mut stats = LoadStats::default();
        let notify = std::mem::replace(&mut self.settings.notify, NotifyFlags::NONE);
        let selected = self.db;
        for db in 0..self.dbs.len() {
            self.flush(db, false);
        }
        let mut loader = rdb::Loader::new(self.rdb_limits(), true);
        let mut sink = KeyspaceSink::new(self, &mut stats, true, snapshot.len() as u64);
        let done = loader.feed(snapshot, &mut sink).and_then(|_| loader.finish());
        let done = done.and_then(|()| sink.insert_all().map_err(|reason| loader.refusal(reason)));
        self.settle_tables();
        self.db = selected;
        self.settings.notify = notify;
        done.map(|()| stats)
    }
}

/// Puts what a snapshot holds into the keyspace.
struct KeyspaceSink<'a> {
    keys: &'a mut Keyspace,
    stats: &'a mut LoadStats,
    drop_expired: bool,
    /// Bytes of the files to come: no more keys than they can hold are expected.
    file_bytes: u64,
    /// Entries whose places in the table are on their way into the cache.
    waiting: Vec<(u64, Entry, Attributes)>,
}

/// Entries that wait for their places in the table at most.
const WAITING: usize = 32;

/// A key takes at least so many bytes of a file: its type, and the lengths of key and value.
const LEAST_KEY_BYTES: u64 = 3;

impl<'a> KeyspaceSink<'a> {
    fn new(keys: &'a mut Keyspace, stats: &'a mut LoadStats, drop_expired: bool, file_bytes: u64) -> Self {
        KeyspaceSink { keys, stats, drop_expired, file_bytes, waiting: Vec::with_capacity(WAITING) }
    }

    fn take(&mut self, key: &[u8], attributes: Attributes, make: impl FnOnce(&[u8]) -> Entry) -> Result<(), String> {
        let now = self.keys.now_ms();
        if self.drop_expired && attributes.expire_at_ms.is_some_and(|at| at < now) {
            self.stats.expired += 1;
            return Ok(());
        }
        let hash = self.keys.hash(key);
        self.keys.dbs[self.keys.db].table.prefetch(hash);
        let mut fresh = make(key);
        if attributes.expire_at_ms.is_some() {
            fresh.set_expire_at(attributes.expire_at_ms);
        }
        self.waiting.push((hash, fresh, attributes));
        if self.waiting.len() < WAITING { Ok(()) } else { self.insert_all() }
    }

    /// Puts the entries that wait into the table. Loading is faster by a third for asking early for the
    /// memory that they go to: each is a cache miss, and so they come in together.
    fn insert_all(&mut self) -> Result<(), String> {
        for (hash, fresh, attributes) in self.waiting.drain(..) {
            let db = self.keys.db;
            if self.keys.dbs[db].table.find(hash, |e| e.key() == fresh.key()).is_some() {
                return Err(format!("the key '{}' is there twice", fresh.key().escape_ascii()));
            }
            let Attributes { idle_seconds, frequency, .. } = attributes;
            let restored = (idle_seconds.is_some() || frequency.is_some()).then(|| fresh.key().to_vec());
            self.keys.insert_hashed(hash, fresh);
            self.stats.keys += 1;
            if let Some(key) = restored {
                let access = AccessPolicy::new(&self.keys.settings, self.keys.now, false);
                if let Some(fresh) = self.keys.dbs[db].table.find_mut(hash, |e| e.key() == key) {
                    access.restore(fresh, idle_seconds, frequency);
                }
            }
        }
        Ok(())
    }
}

impl Sink for KeyspaceSink<'_> {
    fn seed(&mut self) -> u64 {
        self.keys.rng.next()
    }

    fn room(&self) -> u64 {
        self.file_bytes
    }

    fn select_db(&mut self, db: u64) -> Result<(), String> {
        self.insert_all()?;
        let count = self.keys.dbs.len();
        self.keys.db = usize::try_from(db).ok().filter(|db| *db < count).ok_or_else(|| {
            format!("the file holds db {db}, but this server has only {count} databases; raise 'databases'")
        })?;
        Ok(())
    }

    fn entry(&mut self, entry: rdb::Entry<'_>) -> Result<(), String> {
        self.take(entry.key, entry.attributes, |key| Entry::new(key, entry.value))
    }

    fn string(&mut self, key: &[u8], bytes: &[u8], attributes: Attributes) -> Result<(), String> {
        self.take(key, attributes, |key| Entry::string(key, bytes))
    }

    fn resize(&mut self, keys: u64, _: u64) {
        let table = &mut self.keys.dbs[self.keys.db].table;
        if table.is_empty() {
            let likely = keys.min(self.file_bytes / LEAST_KEY_BYTES);
            table.reserve(usize::try_from(likely).unwrap_or(0));
        }
    }

    fn note(&mut self, note: Note<'_>) {
        if self.stats.notes.len() >= MAX_NOTES {
            return;
        }
        self.stats.notes.push(match note {
            Note::EmptyKey(key) => format!("skipped key '{}': a collection without elements", key.escape_ascii()),
            Note::Function(_) => "skipped a function library: this version has no functions".into(),
            Note::ModuleAux(id) => format!("skipped data of the module '{}'", rdb::module_name(id)),
            Note::SlotImport => "skipped an unfinished import of cluster slots".into(),
        });
    }
}
