//! The only door to keys.
//!
//! Every lookup, change and removal of a key passes here, so that expiry, access clocks, hit counters,
//! WATCH, keyspace events, blocked clients and the snapshot walk each live in one place. What a key
//! holds is the business of the types; what a command says is the business of its handler.
//!
//! Invariants: a key with an expire time has a ticket in `Db::expires`, a hash with field expire times
//! one in `Db::field_expires`; no collection is empty; an entry that a running walk has not reached is
//! given to it before it changes or goes.

use std::cell::Cell;
use std::num::NonZeroU64;

use hashbrown::HashMap;

use crate::types::hash::Hash;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::table::{Table, hash_bytes, passed};
use crate::types::zset::Zset;

use super::client::ClientId;
use super::config::NotifyFlags;
use super::effects::Effects;
use super::entry::{Entry, Kind, Value, ValueMut, ValueRef};
use super::error::Error;
use super::eviction::AccessPolicy;
use super::rng::Rng;
use super::settings::Settings;
use super::slices::SLICED_FROM;
use super::snapshot::Walk;
use super::time::Now;

/// Hash maps of the engine: seeded, so that the same inputs give the same bytes.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A key's hash as the key of an index: never zero, so that it fits a table slot.
pub type Ticket = NonZeroU64;

/// One database.
pub struct Db {
    /// Its keys.
    pub table: Table<Entry>,
    /// Tickets of keys with an expire time.
    pub expires: Table<Ticket>,
    /// Tickets of hashes with field expire times.
    pub field_expires: Table<Ticket>,
    /// Who watches which key.
    pub watched: Map<Box<[u8]>, Vec<Watcher>>,
    /// How many blocked clients wait for which key.
    pub awaited: Map<Box<[u8]>, usize>,
    /// Moving average of the TTLs that active expiry has seen, in milliseconds.
    pub avg_ttl_ms: i64,
    /// Where active expiry goes on in `expires`: below the bucket with this number.
    pub expire_cursor: usize,
    /// Where active expiry goes on in `field_expires`: below the bucket with this number.
    pub field_expire_cursor: usize,
    /// Where the snapshot walk stands in this db.
    pub walk: DbWalk,
}

/// Where a snapshot walk stands in one db. It moves with the db through SWAPDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbWalk {
    /// No walk runs, or it is through with this db.
    Done,
    /// The walk takes this db as number `as_db` and has visited all positions below `cursor`.
    Pending {
        /// The number the db had when the snapshot was cut.
        as_db: usize,
        /// The first position that is not visited.
        cursor: u64,
    },
}

impl Db {
    fn new() -> Db {
        Db {
            table: Table::new(),
            expires: Table::new(),
            field_expires: Table::new(),
            watched: Map::default(),
            awaited: Map::default(),
            avg_ttl_ms: 0,
            expire_cursor: 0,
            field_expire_cursor: 0,
            walk: DbWalk::Done,
        }
    }

    /// Whether the time of the key with this hash may have come: nearly always it is known without comparing keys that
    /// it has not.
    fn may_be_due(&self, hash: u64, now_ms: i64) -> bool {
        self.table.find(hash, |e| e.expire_at().is_some_and(|at| at < now_ms)).is_some()
    }
}

/// Something large on its way out.
pub enum Garbage {
    /// A value, and whether it counts as freed lazily.
    Value(Value, bool),
    /// The keys of a flushed db, and of those that are gone already the large value that is being freed.
    Keys(Table<Entry>, Option<Value>),
    /// An index of a flushed db.
    Index(Table<Ticket>),
}

/// What happens to keys whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryMode {
    /// They are deleted, and the deletion is propagated.
    Delete,
    /// They are hidden; the primary will send the deletion.
    Hide,
    /// They stay visible: a log is being replayed and says itself when they go.
    Ignore,
}

/// Keys of one request whose hashes are known ahead, at most.
pub(super) const KEYS_AHEAD: usize = 16;

/// Where bytes lie: the same place is the same key for as long as it is borrowed.
fn place(key: &[u8]) -> (usize, usize) {
    (key.as_ptr().addr(), key.len())
}

/// A client that watches a key.
#[derive(Clone, Copy, Debug)]
pub struct Watcher {
    /// Who.
    pub client: ClientId,
    /// The key's time had come already, and nothing has happened to it since: for the watcher it is missing.
    stale: bool,
}

/// How a key stands in a db: [`Keyspace::standing`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    Stale,
    Live,
}

/// Counters that the door keeps.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct KeyspaceStats {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub expired_fields: u64,
    pub evicted: u64,
    pub lazyfreed: u64,
    /// How many of the keys with an expire time are due and still there: a moving average of what slices of
    /// active expiry find, from 0 to 1.
    pub stale_ratio: f64,
    /// Slices of active expiry that ended with more to do.
    pub expire_slices_full: u64,
    /// Time that active expiry has taken.
    pub expire_nanos: u64,
}

/// What becomes of a key's expire time when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// It goes.
    Clear,
    /// It stays.
    Keep,
    /// It becomes this, in milliseconds since the Unix epoch.
    At(i64),
}

/// All databases, and the one that the current command has selected.
pub struct Keyspace {
    /// The databases by number.
    pub dbs: Vec<Db>,
    /// The selected one.
    pub db: usize,
    /// The time of the current input.
    pub now: Now,
    /// What the configuration says that matters here.
    pub settings: Settings,
    /// What the current unit changed.
    pub effects: Effects,
    /// The running snapshot walk, if any.
    pub walk: Option<Walk>,
    /// Chance: sampling, hash seeds.
    pub rng: Rng,
    /// What happens to keys whose time has come.
    pub expiry: ExpiryMode,
    /// The db in which the next slice of active expiry begins.
    pub(super) next_to_expire: usize,
    /// Whether reads leave access clocks alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// Counters.
    pub stats: KeyspaceStats,
    /// Large values on their way out, freed in slices by the tick.
    pub garbage: Vec<Garbage>,
    /// Values of more than so many bytes are walked in slices.
    pub sliced_from: usize,
    seed: u64,
    /// Keys of the command under way, by address and length, with their hashes.
    hashed: [((usize, usize), u64); KEYS_AHEAD],
    /// How many of them.
    hashed_len: usize,
    /// The one that was asked for last.
    next_hashed: Cell<usize>,
}

impl Keyspace {
    /// `databases` empty databases.
    pub fn new(databases: usize, settings: Settings, mut rng: Rng) -> Keyspace {
        Keyspace {
            dbs: (0..databases).map(|_| Db::new()).collect(),
            db: 0,
            now: Now::default(),
            settings,
            effects: Effects::default(),
            walk: None,
            expiry: ExpiryMode::Delete,
            next_to_expire: 0,
            no_touch: false,
            stats: KeyspaceStats::default(),
            garbage: Vec::new(),
            sliced_from: SLICED_FROM,
            seed: rng.next(),
            hashed: [((0, 0), 0); KEYS_AHEAD],
            hashed_len: 0,
            next_hashed: Cell::new(0),
            rng,
        }
    }

    /// The position of a key in tables and walks.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        // A command asks for its keys in their order, and for each more than once.
        let next = self.next_hashed.get();
        for (at, (known, hash)) in self.hashed[..self.hashed_len].iter().enumerate().skip(next).take(2) {
            if *known == place(key) {
                self.next_hashed.set(at);
                return *hash;
            }
        }
        hash_bytes(self.seed, key)
    }

    /// Says what the hashes of these keys are: for as long as the very same bytes are borrowed.
    #[inline]
    pub(super) fn set_hashed<'a>(&mut self, hashed: impl Iterator<Item = (&'a [u8], u64)>) {
        let places = self.hashed.iter_mut().zip(hashed);
        self.hashed_len = places.map(|(known, (key, hash))| *known = (place(key), hash)).count();
        self.next_hashed.set(0);
    }

    /// Says that those bytes are not borrowed any more.
    #[inline]
    pub(super) fn forget_hashed(&mut self) {
        self.hashed_len = 0;
    }

    /// The seed of [`hash`](Self::hash).
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time of the current input in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.now.wall.ms()
    }

    fn selected(&mut self) -> &mut Db {
        &mut self.dbs[self.db]
    }

    // ---- Lookups ----

    /// The entry of `key` for reading: counts a hit or a miss and moves the access clock.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let access = self.access_policy();
        self.look_up(key, access)
    }

    /// Like [`read`](Self::read) for counters and events, but the access clock stays (TTL, TYPE, OBJECT).
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        let access = AccessPolicy::new(&self.settings, self.now, true);
        self.look_up(key, access)
    }

    #[inline]
    fn look_up(&mut self, key: &[u8], access: AccessPolicy) -> Option<&Entry> {
        let hash = self.hash(key);
        if self.has_lapsed(key, hash) {
            self.miss(key);
            return None;
        }
        let found = self.dbs[self.db].table.find_mut(hash, |e| e.key() == key);
        match found {
            Some(entry) => {
                self.stats.hits += 1;
                access.touch(entry, &mut self.rng);
                Some(entry)
            }
            None => {
                self.stats.misses += 1;
                if self.settings.notify.intersects(NotifyFlags::KEY_MISS) {
                    self.effects.raise(NotifyFlags::KEY_MISS, "keymiss", self.db, key);
                }
                None
            }
        }
    }

    fn miss(&mut self, key: &[u8]) {
        self.stats.misses += 1;
        self.notify(NotifyFlags::KEY_MISS, "keymiss", key);
    }

    /// The entry of `key` for looking without using: neither counters nor the access clock move.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        if self.has_lapsed(key, hash) {
            return None;
        }
        self.dbs[self.db].table.find(hash, |e| e.key() == key)
    }

    /// The entry of a key that a lookup has just found, its time come or not: for borrowing several at once.
    pub fn found(&self, key: &[u8]) -> Option<&Entry> {
        self.dbs[self.db].table.find(self.hash(key), |e| e.key() == key)
    }

    /// Whether `key` exists; moves nothing.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The entry of `key` for changing in place. Says nothing to anybody: call
    /// [`changed`](Self::changed) afterwards. Expire times are set through
    /// [`set_expire`](Self::set_expire) only.
    pub fn write(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let hash = self.hash(key);
        if self.has_lapsed(key, hash) {
            return None;
        }
        self.save_before_change(key, hash);
        let access = self.access_policy();
        let entry = self.dbs[self.db].table.find_mut(hash, |e| e.key() == key)?;
        access.touch(entry, &mut self.rng);
        Some(entry)
    }

    /// Whether the key counts as gone because its time has come; deletes it then. False if it is not there.
    #[inline]
    fn has_lapsed(&mut self, key: &[u8], hash: u64) -> bool {
        // Where no key expires, a lookup is all there is to do.
        !self.dbs[self.db].expires.is_empty() && self.lapse(key, hash)
    }

    /// Never inlined: where no key expires, commands need not be longer by it.
    #[inline(never)]
    fn lapse(&mut self, key: &[u8], hash: u64) -> bool {
        let db = &self.dbs[self.db];
        if !db.may_be_due(hash, self.now.wall.ms()) {
            return false;
        }
        let entry = db.table.find(hash, |e| e.key() == key);
        let Some(at) = entry.and_then(Entry::expire_at) else { return false };
        if at >= self.now.wall.ms() {
            return false;
        }
        match self.expiry {
            ExpiryMode::Ignore => false,
            ExpiryMode::Hide => true,
            ExpiryMode::Delete => {
                self.expire(key);
                true
            }
        }
    }

    fn access_policy(&self) -> AccessPolicy {
        AccessPolicy::new(&self.settings, self.now, self.no_touch)
    }

    // ---- Typed views: WRONGTYPE if the key holds something else ----

    /// The string at `key` for reading.
    pub fn string(&mut self, key: &[u8]) -> Result<Option<ValueRef<'_>>, Error> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(value @ (ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_))) => Ok(Some(value)),
            Some(_) => Err(Error::WrongType),
        }
    }

    // ---- Creation, replacement, removal ----

    /// Adds an entry whose key is not there.
    pub fn add(&mut self, key: &[u8], value: Value) {
        self.insert(Entry::new(key, value));
    }

    /// Adds an entry whose key is not there, with its expire time if it has one. Raises the event "new".
    pub fn insert(&mut self, entry: Entry) {
        let hash = self.hash(entry.key());
        self.insert_hashed(hash, entry);
    }

    /// The same for an entry whose key has this hash.
    pub(super) fn insert_hashed(&mut self, hash: u64, mut entry: Entry) {
        if self.expiry == ExpiryMode::Hide {
            // One whose time has come may still be there.
            self.take(entry.key()).into_iter().for_each(|old| self.discard(old, true));
        }
        let access = self.access_policy();
        access.start(&mut entry);
        self.notify(NotifyFlags::NEW, "new", entry.key());
        let seed = self.seed;
        if let Some(walk) = &mut self.walk
            && let Some(id) = entry.walker()
        {
            walk.moved(id, self.db, entry.key());
        }
        let db = &mut self.dbs[self.db];
        if matches!(db.walk, DbWalk::Pending { cursor, .. } if !passed(hash, cursor)) {
            entry.set_marked(true);
        }
        let ticket = ticket(hash);
        if entry.expire_at().is_some() {
            index_insert(&mut db.expires, ticket);
        }
        if matches!(entry.value(), ValueRef::Hash(h) if h.min_expiry().is_some()) {
            index_insert(&mut db.field_expires, ticket);
        }
        db.table.insert_unique(hash, entry, |e| hash_bytes(seed, e.key()));
    }

    /// Sets `key` to a string, whatever it held. Raises "new" or, for another type, the events of
    /// overwriting; not the command's own event.
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], ttl: Ttl) {
        let hash = self.hash(key);
        // The deletion of a key whose time has come is said before the new value.
        self.has_lapsed(key, hash);
        self.save_before_change(key, hash);
        self.announce_overwrite(key, Kind::String);
        let access = self.access_policy();
        let lazy = self.settings.lazyfree_server_del;
        let db = &mut self.dbs[self.db];
        let Some(entry) = db.table.find_mut(hash, |e| e.key() == key) else {
            let mut entry = Entry::string(key, bytes);
            if let Ttl::At(ms) = ttl {
                entry.set_expire_at(Some(ms));
            }
            return self.insert(entry);
        };
        let walked = self.walk.is_some() && entry.walker().is_some();
        if walked || frees_in_slices(entry, lazy) {
            let old = std::mem::replace(entry, Entry::string(key, bytes));
            entry.set_access(old.access());
            entry.set_marked(old.is_marked());
            entry.set_expire_at(old.expire_at());
            give_up(&mut self.walk, &mut self.garbage, old, lazy);
        } else {
            entry.write_string(bytes);
        }
        access.touch(entry, &mut self.rng);
        let had_ttl = entry.expire_at().is_some();
        match ttl {
            Ttl::Keep => {}
            Ttl::Clear => {
                if had_ttl {
                    entry.set_expire_at(None);
                    index_remove(&mut db.expires, ticket(hash));
                }
            }
            Ttl::At(ms) => {
                entry.set_expire_at(Some(ms));
                if !had_ttl {
                    index_insert(&mut db.expires, ticket(hash));
                }
            }
        }
        index_remove(&mut db.field_expires, ticket(hash));
    }

    /// Sets `key` to `value`, whatever it held, without expire time.
    pub fn set(&mut self, key: &[u8], value: Value) {
        let entry = Entry::new(key, value);
        if self.exists(key) {
            self.announce_overwrite(key, entry.kind());
            let lazy = self.settings.lazyfree_server_del;
            let quiet = std::mem::replace(&mut self.settings.notify, NotifyFlags::NONE);
            self.take(key).into_iter().for_each(|old| self.discard(old, lazy));
            self.insert(entry);
            self.settings.notify = quiet;
        } else {
            self.insert(entry);
        }
    }

    /// The events "overwritten" and "type_changed" for a key that is about to get another value.
    fn announce_overwrite(&mut self, key: &[u8], new: Kind) {
        if self.settings.notify.intersects(NotifyFlags::OVERWRITTEN | NotifyFlags::TYPE_CHANGED) {
            let Some(old) = self.peek(key).map(Entry::kind) else { return };
            self.notify(NotifyFlags::OVERWRITTEN, "overwritten", key);
            if old != new {
                self.notify(NotifyFlags::TYPE_CHANGED, "type_changed", key);
            }
        }
    }

    /// Removes `key` and returns its entry. Says nothing to anybody.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        self.save_before_change(key, hash);
        let db = self.selected();
        let entry = db.table.remove(hash, |e| e.key() == key)?;
        if entry.expire_at().is_some() {
            index_remove(&mut db.expires, ticket(hash));
        }
        if matches!(entry.value(), ValueRef::Hash(_)) {
            index_remove(&mut db.field_expires, ticket(hash));
        }
        Some(entry)
    }

    /// Removes a live `key`. Says nothing to anybody; false if it was not there.
    /// `lazy`: a large value is freed in slices.
    pub fn remove(&mut self, key: &[u8], lazy: bool) -> bool {
        if !self.exists(key) {
            return false;
        }
        let taken = self.take(key);
        let found = taken.is_some();
        taken.into_iter().for_each(|entry| self.discard(entry, lazy));
        found
    }

    /// Drops an entry: at once, or in slices if it is large and `lazy` is set.
    pub fn discard(&mut self, entry: Entry, lazy: bool) {
        let walked = self.walk.is_some() && entry.walker().is_some();
        if walked || frees_in_slices(&entry, lazy) {
            give_up(&mut self.walk, &mut self.garbage, entry, lazy);
        }
    }

    /// How many keys and values wait to be freed.
    pub fn garbage_len(&self) -> usize {
        let len = |garbage: &Garbage| match garbage {
            Garbage::Value(..) => 1,
            Garbage::Keys(table, value) => table.len() + usize::from(value.is_some()),
            Garbage::Index(_) => 0,
        };
        self.garbage.iter().map(len).sum()
    }

    /// Frees a slice of what was unlinked. True if some is left.
    pub fn free_slice(&mut self) -> bool {
        let Some(garbage) = self.garbage.last_mut() else { return false };
        let left = match garbage {
            Garbage::Value(value, _) => free_some(value),
            Garbage::Keys(table, value) => {
                if !value.as_mut().is_some_and(free_some) {
                    *value = free_keys(table);
                }
                value.is_some() || !table.is_empty()
            }
            Garbage::Index(table) => table.drain_some(FREED_PER_SLICE),
        };
        if !left {
            // Whoever flushed a whole database has counted its keys.
            let lazily = matches!(self.garbage.pop(), Some(Garbage::Value(_, true)));
            self.stats.lazyfreed += u64::from(lazily);
        }
        !self.garbage.is_empty()
    }

    /// Removes `key` if the collection in it is empty, with the event "del"; true if it did.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let db = self.selected();
        let Some(entry) = db.table.find(hash, |e| e.key() == key) else { return false };
        let empty = match entry.value() {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => false,
            ValueRef::List(list) => list.is_empty(),
            ValueRef::Set(set) => set.is_empty(),
            ValueRef::Hash(hash) => hash.is_empty(),
            ValueRef::Zset(zset) => zset.is_empty(),
        };
        if empty {
            self.take(key).into_iter().for_each(|entry| self.discard(entry, false));
            self.notify(NotifyFlags::GENERIC, "del", key);
        }
        empty
    }

    /// Deletes a key whose time has come: counted, propagated, announced.
    pub fn expire(&mut self, key: &[u8]) {
        let lazy = self.settings.lazyfree_expire;
        let Some(entry) = self.take(key) else { return };
        self.discard(entry, lazy);
        self.stats.expired += 1;
        let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.effects.append(self.db, [word, key].into_iter());
        self.touched(key);
        self.notify(NotifyFlags::EXPIRED, "expired", key);
    }

    /// Sets or removes the expire time of a live key; false if the key is not there.
    /// Says nothing to anybody.
    pub fn set_expire(&mut self, key: &[u8], at: Option<i64>) -> bool {
        let hash = self.hash(key);
        if self.has_lapsed(key, hash) {
            return false;
        }
        self.save_before_change(key, hash);
        let db = &mut self.dbs[self.db];
        let Some(entry) = db.table.find_mut(hash, |e| e.key() == key) else { return false };
        let had = entry.expire_at().is_some();
        entry.set_expire_at(at);
        match (had, at.is_some()) {
            (false, true) => index_insert(&mut db.expires, ticket(hash)),
            (true, false) => index_remove(&mut db.expires, ticket(hash)),
            _ => {}
        }
        true
    }

    /// Empties a db; how many keys it had. Watchers of its keys lose their transaction.
    /// `lazy`: the memory is given back in slices.
    pub fn flush(&mut self, db: usize, lazy: bool) -> usize {
        self.touch_all(db, None);
        let count = self.dbs[db].table.len();
        self.save_opened(db);
        let emptied = &mut self.dbs[db];
        let table = std::mem::take(&mut emptied.table);
        let indexes = [std::mem::take(&mut emptied.expires), std::mem::take(&mut emptied.field_expires)];
        (emptied.avg_ttl_ms, emptied.expire_cursor, emptied.field_expire_cursor) = (0, 0, 0);
        match (std::mem::replace(&mut emptied.walk, DbWalk::Done), &mut self.walk) {
            (DbWalk::Pending { as_db, cursor }, Some(walk)) => walk.adopt(as_db, cursor, table),
            // Even one key may hold a lot.
            _ if lazy && count > 0 => self.garbage.push(Garbage::Keys(table, None)),
            _ => drop(table),
        }
        self.garbage.extend(indexes.into_iter().filter(|index| lazy && index.len() > LAZY_EFFORT).map(Garbage::Index));
        count
    }

    /// Exchanges two dbs for all clients.
    pub fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.touch_all(a, Some(b));
        self.touch_all(b, Some(a));
        self.dbs.swap(a, b);
        if let Some(walk) = &mut self.walk {
            walk.swapped(a, b);
        }
        let (low, high) = self.dbs.split_at_mut(a.max(b));
        let (first, second) = (&mut low[a.min(b)], &mut high[0]);
        std::mem::swap(&mut first.watched, &mut second.watched);
        std::mem::swap(&mut first.awaited, &mut second.awaited);
        self.wake_all(a);
        self.wake_all(b);
    }

    /// Gives everybody who waits for keys of a db a chance.
    fn wake_all(&mut self, db: usize) {
        let mut awaited: Vec<Box<[u8]>> = self.dbs[db].awaited.keys().cloned().collect();
        awaited.sort_unstable();
        self.effects.ready.extend(awaited.into_iter().map(|key| (db, key)));
    }

    /// Takes the keys of another keyspace in place of all of its own. No walk may be under way.
    pub fn adopt(&mut self, other: Keyspace) {
        for db in 0..self.dbs.len() {
            self.flush(db, true);
        }
        // Tables are ordered by it.
        self.seed = other.seed;
        for (db, theirs) in other.dbs.into_iter().enumerate().take(self.dbs.len()) {
            let mine = &mut self.dbs[db];
            (mine.table, mine.expires, mine.field_expires) = (theirs.table, theirs.expires, theirs.field_expires);
            // What is there now is not what was there.
            self.touch_all(db, Some(db));
            self.wake_all(db);
        }
    }

    /// How a key stands in a db.
    fn standing(&self, db: usize, key: &[u8]) -> Standing {
        let entry = self.dbs[db].table.find(self.hash(key), |e| e.key() == key);
        match entry.map(Entry::expire_at) {
            None => Standing::Missing,
            Some(Some(at)) if at < self.now_ms() && self.expiry != ExpiryMode::Ignore => Standing::Stale,
            Some(_) => Standing::Live,
        }
    }

    /// Adds a watcher of a key of the selected db; false if it is one already.
    pub fn watch(&mut self, key: &[u8], client: ClientId) -> bool {
        let stale = self.standing(self.db, key) == Standing::Stale;
        let watchers = self.dbs[self.db].watched.entry(key.into()).or_default();
        let new = watchers.iter().all(|watcher| watcher.client != client);
        if new {
            watchers.push(Watcher { client, stale });
        }
        new
    }

    /// Whether the time of a key has come since a client began to watch it.
    pub fn lapsed_under_watch(&self, db: usize, key: &[u8], client: ClientId) -> bool {
        let watchers = self.dbs[db].watched.get(key).map_or(&[][..], |watchers| watchers);
        watchers.iter().any(|it| it.client == client && !it.stale) && self.standing(db, key) == Standing::Stale
    }

    /// All keys of a db go, and those of another come in their place: who watches one that is not what it was
    /// loses the transaction. A missing key and one whose time has come are the same.
    fn touch_all(&mut self, db: usize, replaced_by: Option<usize>) {
        let mut watched = std::mem::take(&mut self.dbs[db].watched);
        let mut touched: Vec<ClientId> = Vec::new();
        for (key, watchers) in &mut watched {
            let before = self.standing(db, key);
            let after = replaced_by.map_or(Standing::Missing, |other| self.standing(other, key));
            if (before, after) == (Standing::Missing, Standing::Missing) {
                continue;
            }
            for watcher in watchers {
                let was_gone = watcher.stale || before == Standing::Missing;
                if was_gone && after != Standing::Live {
                    watcher.stale = after == Standing::Stale;
                } else {
                    touched.push(watcher.client);
                }
            }
        }
        self.dbs[db].watched = watched;
        touched.sort_unstable();
        touched.dedup();
        self.effects.watchers.extend(touched);
    }

    /// Takes back what tables have reserved in vain.
    pub(super) fn settle_tables(&mut self) {
        self.dbs.iter_mut().for_each(|db| db.table.settle());
    }

    /// Brings the index of hashes with field expire times in line with the hash at `key`.
    pub fn index_fields(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        let db = self.selected();
        let Some(entry) = db.table.find(hash, |e| e.key() == key) else { return };
        match entry.value() {
            ValueRef::Hash(h) if h.min_expiry().is_some() => index_insert(&mut db.field_expires, ticket(hash)),
            _ => index_remove(&mut db.field_expires, ticket(hash)),
        }
    }

    // ---- What the others hear ----

    /// A command changed `key`: counts it, tells watchers and blocked clients, raises `event`.
    pub fn changed(&mut self, key: &[u8], class: NotifyFlags, event: &'static str, dirty: u64) {
        self.effects.dirty += dirty;
        self.touched(key);
        self.notify(class, event, key);
    }

    fn tell_watchers(&mut self, key: &[u8]) {
        let gone = self.standing(self.db, key) == Standing::Missing;
        let Some(watchers) = self.dbs[self.db].watched.get_mut(key) else { return };
        for watcher in watchers {
            // A key whose time had come when it was watched, and that goes now: nothing has changed.
            match watcher.stale && gone {
                true => watcher.stale = false,
                false => self.effects.watchers.push(watcher.client),
            }
        }
    }

    /// `key` is not what it was: watchers lose their transaction, waiting clients get a chance.
    pub fn touched(&mut self, key: &[u8]) {
        if !self.dbs[self.db].watched.is_empty() {
            self.tell_watchers(key);
        }
        let db = &self.dbs[self.db];
        if !db.awaited.is_empty() && db.awaited.contains_key(key) {
            self.effects.ready.push((self.db, key.into()));
        }
    }

    /// Raises a keyspace event, if anybody may hear it.
    #[inline]
    pub fn notify(&mut self, class: NotifyFlags, name: &'static str, key: &[u8]) {
        if self.settings.notify.intersects(class) {
            self.effects.raise(class, name, self.db, key);
        }
    }

    // ---- The snapshot walk ----

    /// Gives the entry to the running walk if it has not passed it: it is about to change or go.
    #[inline]
    fn save_before_change(&mut self, key: &[u8], hash: u64) {
        if let Some(walk) = &mut self.walk
            && let DbWalk::Pending { as_db, cursor } = self.dbs[self.db].walk
            && !passed(hash, cursor)
            && let Some(entry) = self.dbs[self.db].table.find_mut(hash, |e| e.key() == key)
            && !entry.is_marked()
        {
            walk.take(as_db, self.db, entry);
            entry.set_marked(true);
        }
    }

    /// Gives the running walk the values of a db that it has opened: all of the db is about to go.
    fn save_opened(&mut self, db: usize) {
        let Some(walk) = &mut self.walk else { return };
        for (id, key) in walk.opened_in(db) {
            let hash = hash_bytes(self.seed, &key);
            if let Some(entry) = self.dbs[db].table.remove(hash, |e| *e.key() == *key) {
                walk.keep_value(id, entry);
            }
        }
    }
}

macro_rules! typed {
    ($read:ident, $write:ident, $ensure:ident, $Type:ident, $words:literal, $new:expr) => {
        impl Keyspace {
            #[doc = concat!("The ", $words, " at `key` for reading.")]
            pub fn $read(&mut self, key: &[u8]) -> Result<Option<&$Type>, Error> {
                match self.read(key).map(Entry::value) {
                    None => Ok(None),
                    Some(ValueRef::$Type(value)) => Ok(Some(value)),
                    Some(_) => Err(Error::WrongType),
                }
            }

            #[doc = concat!("The ", $words, " at `key` for changing in place; see [`write`](Self::write).")]
            pub fn $write(&mut self, key: &[u8]) -> Result<Option<&mut $Type>, Error> {
                match self.write(key).map(Entry::value_mut) {
                    None => Ok(None),
                    Some(ValueMut::$Type(value)) => Ok(Some(value)),
                    Some(_) => Err(Error::WrongType),
                }
            }

            #[doc = concat!("The ", $words, " at `key` for changing; an empty one is made if there is none,")]
            #[doc = "and must not stay empty."]
            pub fn $ensure(&mut self, key: &[u8]) -> Result<&mut $Type, Error> {
                if !self.exists(key) {
                    let make: fn(&mut Keyspace) -> $Type = $new;
                    let fresh = make(self);
                    self.insert(Entry::new(key, Value::$Type(Box::new(fresh))));
                }
                match self.$write(key)? {
                    Some(value) => Ok(value),
                    None => Err(Error::WrongType),
                }
            }
        }
    };
}

typed!(list, list_mut, list_or_new, List, "list", |_| List::new());
typed!(set_value, set_mut, set_or_new, Set, "set", |_| Set::new());
typed!(hash_value, hash_mut, hash_or_new, Hash, "hash", |_| Hash::new());
typed!(zset, zset_mut, zset_or_new, Zset, "sorted set", |keys| Zset::new(keys.rng.next()));

/// Hands a value that leaves the keyspace to whom it concerns: the walk, if that is in the middle of it, or
/// those who free it in slices.
fn give_up(walk: &mut Option<Walk>, garbage: &mut Vec<Garbage>, entry: Entry, lazy: bool) {
    match (walk, entry.walker()) {
        (Some(walk), Some(id)) => walk.keep_value(id, entry),
        _ => garbage.push(Garbage::Value(entry.into_value(), lazy)),
    }
}

/// Whether a value that goes is freed in slices: one of many parts, or of very many where nobody has asked for that. So
/// a sorted set of a million members, which takes 170 ms, holds nobody up.
fn frees_in_slices(entry: &Entry, lazy: bool) -> bool {
    entry.free_effort() > if lazy { LAZY_EFFORT } else { GREAT_EFFORT }
}

/// Frees a slice of a value; whether anything is left.
fn free_some(value: &mut Value) -> bool {
    match value {
        Value::Int(_) | Value::String(_) | Value::Text(_) => false,
        Value::List(list) => list.take_chunk().is_some(),
        Value::Set(set) => set.drain_some(FREED_PER_SLICE),
        Value::Hash(hash) => hash.drain_some(FREED_PER_SLICE),
        Value::Zset(zset) => zset.drain_some(FREED_PER_SLICE),
    }
}

/// Frees a slice of keys, up to one with a large value: that one is given.
fn free_keys(table: &mut Table<Entry>) -> Option<Value> {
    let mut effort = 0;
    while effort < FREED_PER_SLICE {
        let entry = table.pop()?;
        if entry.free_effort() > LAZY_EFFORT {
            return Some(entry.into_value());
        }
        effort += entry.free_effort();
    }
    None
}

/// Values that take more than this many steps to free are freed in slices.
const LAZY_EFFORT: usize = 64;

/// Elements of large values freed in one slice.
const FREED_PER_SLICE: usize = 2048;

/// See [`frees_in_slices`].
const GREAT_EFFORT: usize = 8 * FREED_PER_SLICE;

/// The ticket of a key with this hash.
pub fn ticket(hash: u64) -> Ticket {
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

fn index_insert(index: &mut Table<Ticket>, ticket: Ticket) {
    if index.find(ticket.get(), |t| *t == ticket).is_none() {
        index.insert_unique(ticket.get(), ticket, |t| t.get());
    }
}

fn index_remove(index: &mut Table<Ticket>, ticket: Ticket) {
    if !index.is_empty() {
        index.remove(ticket.get(), |t| *t == ticket);
    }
}
