//! Active expiry: keys and fields whose time has come go even if nobody asks for them.
//!
//! Each slice does a bounded amount of work, in all dbs together, so that it never holds up a client for long; a
//! slice that finds many due asks for another one at once, and clients are served in between. It counts work
//! instead of measuring time, so that the same inputs give the same bytes. Nothing is deleted on a replica or while
//! a log is replayed.

use super::config::NotifyFlags;
use super::entry::ValueRef;
use super::keyspace::{ExpiryMode, Keyspace, Ticket, ticket};
use crate::types::table::Table;

/// Keys or fields that one slice deletes at most, all dbs together: some hundred microseconds.
const DELETED_PER_SLICE: usize = 256;

/// What deleting costs, where looking costs 1.
const DELETION: usize = 8;

/// Work of one slice.
const WORK_PER_SLICE: usize = DELETED_PER_SLICE * (1 + DELETION);

/// What a part of a slice has done.
#[derive(Clone, Copy, Default)]
struct Done {
    looked_at: usize,
    deleted: usize,
    /// More is waiting for certain.
    more: bool,
}

impl Done {
    fn work(self) -> usize {
        self.looked_at + self.deleted * DELETION
    }
}

impl Keyspace {
    /// Deletes some of what is due. True if much of what it looked at was: then more may be waiting. The higher
    /// `effort` (`active-expire-effort`, 1 to 10), the fewer are left alone.
    pub fn expire_slice(&mut self, effort: u32) -> bool {
        if self.expiry != ExpiryMode::Delete {
            return false;
        }
        let tolerated_percent = 11usize.saturating_sub(effort as usize).max(1);
        let selected = self.db;
        let (first, count) = (self.next_to_expire, self.dbs.len());
        let mut left = WORK_PER_SLICE;
        let mut busy = false;
        let (mut sampled, mut stale) = (0, 0);
        for n in 0..count {
            self.db = (first + n) % count;
            self.next_to_expire = self.db;
            if left <= DELETION {
                break;
            }
            // Many keys that are due do not keep fields waiting.
            let share = if self.dbs[self.db].field_expires.is_empty() { left } else { left / 2 };
            let keys = self.expire_keys(share / (1 + DELETION));
            left = left.saturating_sub(keys.work());
            let fields = self.expire_fields(left / (1 + DELETION));
            left = left.saturating_sub(fields.work());
            busy |= keys.deleted * 100 > keys.looked_at * tolerated_percent || fields.more;
            (sampled, stale) = (sampled + keys.looked_at, stale + keys.deleted);
            self.next_to_expire = (self.db + 1) % count;
        }
        self.db = selected;
        self.effects.set_apart();
        let ratio = if sampled == 0 { 0.0 } else { stale as f64 / sampled as f64 };
        self.stats.stale_ratio = self.stats.stale_ratio * 0.95 + ratio * 0.05;
        self.stats.expire_slices_full += u64::from(busy);
        busy
    }

    /// Deletes keys that are due, of about so many that it looks at.
    fn expire_keys(&mut self, budget: usize) -> Done {
        let db = &mut self.dbs[self.db];
        if db.expires.is_empty() {
            return Done::default();
        }
        let tickets = sample(&db.expires, &mut db.expire_cursor, budget);
        let now = self.now_ms();
        let (mut due, mut ttl_sum) = (Vec::new(), 0i64);
        for ticket in &tickets {
            let Some((key, at)) = self.expiring(*ticket) else { continue };
            if at < now {
                due.push(key);
            } else {
                ttl_sum = ttl_sum.saturating_add(at - now);
            }
        }
        let alive = tickets.len() - due.len();
        if alive > 0 {
            let average = ttl_sum / alive as i64;
            let db = &mut self.dbs[self.db];
            db.avg_ttl_ms = if db.avg_ttl_ms == 0 { average } else { db.avg_ttl_ms / 50 * 49 + average / 50 };
        }
        for key in &due {
            self.expire(key);
        }
        Done { looked_at: tickets.len(), deleted: due.len(), more: false }
    }

    /// The key that a ticket stands for, and when it expires.
    fn expiring(&self, wanted: Ticket) -> Option<(Box<[u8]>, i64)> {
        let table = &self.dbs[self.db].table;
        let entry = table.find(wanted.get(), |e| e.expire_at().is_some() && ticket(self.hash(e.key())) == wanted)?;
        Some((entry.key().into(), entry.expire_at()?))
    }

    /// Deletes up to so many fields that are due, and looks at no more hashes.
    fn expire_fields(&mut self, budget: usize) -> Done {
        let now = self.now_ms();
        let mut done = Done::default();
        // Once around at most; an empty bucket costs a step as well.
        for _ in 0..budget.min(self.dbs[self.db].field_expires.buckets()) {
            if done.looked_at + done.deleted >= budget {
                break;
            }
            let db = &mut self.dbs[self.db];
            if db.field_expires.is_empty() {
                break;
            }
            let (before, mut tickets) = (db.field_expire_cursor, Vec::new());
            next_bucket(&db.field_expires, &mut db.field_expire_cursor, &mut tickets);
            for wanted in tickets {
                done.looked_at += 1;
                let Some(key) = self.hash_with_due_fields(wanted, now) else { continue };
                let most = budget.saturating_sub(done.deleted);
                let gone = self.expire_hash_fields(&key, now, most);
                done.deleted += gone;
                if gone == most {
                    // The next slice goes on with this one.
                    self.dbs[self.db].field_expire_cursor = before;
                    done.more = true;
                }
            }
        }
        done
    }

    /// The key that a ticket stands for, if its hash has fields that are due.
    fn hash_with_due_fields(&self, wanted: Ticket, now: i64) -> Option<Box<[u8]>> {
        let is_wanted =
            |e: &super::entry::Entry| matches!(e.value(), ValueRef::Hash(_)) && ticket(self.hash(e.key())) == wanted;
        let entry = self.dbs[self.db].table.find(wanted.get(), is_wanted)?;
        let ValueRef::Hash(hash) = entry.value() else { return None };
        hash.min_expiry().is_some_and(|at| at < now).then(|| entry.key().into())
    }

    /// Removes up to so many due fields of one hash, with HDEL to the stream; gives how many.
    pub(super) fn expire_hash_fields(&mut self, key: &[u8], now: i64, most: usize) -> usize {
        let mut gone: Vec<Box<[u8]>> = Vec::new();
        let no_touch = std::mem::replace(&mut self.no_touch, true);
        if let Ok(Some(hash)) = self.hash_mut(key) {
            hash.expire_due(now, most, |field| gone.push(field.name.to_vec().into()));
        }
        self.no_touch = no_touch;
        if gone.is_empty() {
            return 0;
        }
        self.stats.expired_fields += gone.len() as u64;
        for field in &gone {
            self.effects.append(self.db, [&b"HDEL"[..], key, field].into_iter());
        }
        self.touched(key);
        self.notify(NotifyFlags::HASH, "hexpired", key);
        if !self.remove_if_empty(key) {
            self.index_fields(key);
        }
        gone.len()
    }
}

/// The next tickets of an index, about `budget`, going around.
fn sample(index: &Table<Ticket>, cursor: &mut usize, budget: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    // An empty bucket costs a step as well.
    for _ in 0..budget.min(index.buckets()) {
        next_bucket(index, cursor, &mut tickets);
        if tickets.len() >= budget {
            break;
        }
    }
    tickets
}

/// Adds the tickets of the next bucket of an index that is not empty, from the last one down: see
/// [`Table::visit_bucket`].
fn next_bucket(index: &Table<Ticket>, cursor: &mut usize, tickets: &mut Vec<Ticket>) {
    if *cursor == 0 || *cursor > index.buckets() {
        *cursor = index.buckets();
    }
    *cursor -= 1;
    index.visit_bucket(*cursor, |t| tickets.push(*t));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::client::Peer;
    use crate::engine::config::Config;
    use crate::engine::host::Host;
    use crate::engine::time::{MonoTime, Now, WallTime};

    fn at(ms: u64) -> Now {
        Now { mono: MonoTime::from_ms(ms), wall: WallTime::from_ms(ms as i64) }
    }

    /// In each of 16 dbs: 300 keys, a hash of 700 fields and 50 small hashes, all of which expire at 1000; 20 keys later.
    fn engine() -> Engine {
        let mut engine = Engine::new(Config::default(), Host::default(), 7, at(0));
        let id = engine.connect(at(0), Peer { local: true, ..Peer::default() });
        let mut requests = String::new();
        for db in 0..16 {
            requests += &format!("SELECT {db}\r\n");
            (0..300).for_each(|n| requests += &format!("SET key:{n} v PXAT 1000\r\n"));
            (0..20).for_each(|n| requests += &format!("SET later:{n} v PXAT 1000000\r\n"));
            (0..700).for_each(|n| requests += &format!("HSETEX large PXAT 1000 FIELDS 1 f{n} v\r\n"));
            (0..50).for_each(|n| requests += &format!("HSETEX small:{n} PXAT 1000 FIELDS 2 a v b v\r\n"));
        }
        engine.receive(at(0), id, requests.as_bytes());
        engine.keyspace.now = at(2000);
        engine
    }

    #[test]
    fn a_slice_is_bounded_whatever_is_due_and_all_of_it_goes() {
        let mut engine = engine();
        let keys = &mut engine.keyspace;
        let deleted = |keys: &Keyspace| keys.stats.expired + keys.stats.expired_fields;
        let (mut slices, mut before) = (1, 0);
        while keys.expire_slice(1) {
            let gone = deleted(keys) - before;
            // A bucket is looked at as a whole.
            assert!(gone <= DELETED_PER_SLICE as u64 + 32, "{gone}");
            before += gone;
            slices += 1;
            assert!(slices < 1000);
        }
        // What is left is too little to go on at once for; the next periods see to it.
        for _ in 0..40 {
            keys.expire_slice(1);
        }
        assert_eq!((keys.stats.expired, keys.stats.expired_fields), (16 * 300, 16 * (700 + 100)));
        assert!(keys.dbs.iter().all(|db| db.table.len() == 20 && db.field_expires.is_empty()));
    }

    #[test]
    fn dbs_take_turns() {
        let mut engine = engine();
        let keys = &mut engine.keyspace;
        for _ in 0..16 {
            keys.expire_slice(1);
        }
        let left: Vec<usize> = keys.dbs.iter().map(|db| db.table.len()).collect();
        assert!(left.iter().all(|left| *left < 371), "{left:?}");
    }

    #[test]
    fn more_effort_leaves_less() {
        let mut engine = Engine::new(Config::default(), Host::default(), 7, at(0));
        let id = engine.connect(at(0), Peer { local: true, ..Peer::default() });
        let mut requests = String::new();
        // Five in a hundred are due.
        (0..2000)
            .for_each(|n| requests += &format!("SET key:{n} v PXAT {}\r\n", if n % 20 == 0 { 1000 } else { 9000 }));
        engine.receive(at(0), id, requests.as_bytes());
        engine.keyspace.now = at(2000);
        assert!(!engine.keyspace.expire_slice(1));
        assert!(engine.keyspace.expire_slice(10));
    }
}
