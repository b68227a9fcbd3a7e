//! Active expiry: keys and fields whose time has come go even if nobody asks for them.
//!
//! Each slice looks at a bounded number of tickets, so that it never holds up a client for long; a slice
//! that finds many due asks for another one at once. It counts work instead of measuring time, so that
//! the same inputs give the same bytes. Nothing is deleted on a replica or while a log is replayed.

use super::config::NotifyFlags;
use super::entry::ValueRef;
use super::keyspace::{ExpiryMode, Keyspace, Ticket, ticket};

/// Tickets that one slice looks at per unit of `active-expire-effort`.
const TICKETS_PER_SLICE: usize = 200;

/// Fields removed from one hash in one slice.
const FIELDS_PER_SLICE: usize = 512;

impl Keyspace {
    /// Deletes some of what is due. True if much of what it looked at was: then more may be waiting.
    pub fn expire_slice(&mut self, effort: u32) -> bool {
        if self.expiry != ExpiryMode::Delete {
            return false;
        }
        let selected = self.db;
        let budget = TICKETS_PER_SLICE * effort as usize;
        let mut busy = false;
        let (mut sampled, mut stale) = (0, 0);
        for db in 0..self.dbs.len() {
            self.db = db;
            let (looked_at, due) = self.expire_keys(budget);
            busy |= due * 10 > looked_at;
            busy |= self.expire_fields(budget);
            (sampled, stale) = (sampled + looked_at, stale + due);
        }
        self.db = selected;
        self.effects.set_apart();
        let ratio = if sampled == 0 { 0.0 } else { stale as f64 / sampled as f64 };
        self.stats.stale_ratio = self.stats.stale_ratio * 0.95 + ratio * 0.05;
        self.stats.expire_slices_full += u64::from(busy);
        busy
    }

    /// Deletes keys that are due. How many keys it looked at, and how many of them it deleted.
    fn expire_keys(&mut self, budget: usize) -> (usize, usize) {
        let db = &mut self.dbs[self.db];
        if db.expires.is_empty() {
            return (0, 0);
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
        (tickets.len(), due.len())
    }

    /// The key that a ticket stands for, and when it expires.
    fn expiring(&self, wanted: Ticket) -> Option<(Box<[u8]>, i64)> {
        let table = &self.dbs[self.db].table;
        let entry = table.find(wanted.get(), |e| e.expire_at().is_some() && ticket(self.hash(e.key())) == wanted)?;
        Some((entry.key().into(), entry.expire_at()?))
    }

    fn expire_fields(&mut self, budget: usize) -> bool {
        let db = &mut self.dbs[self.db];
        if db.field_expires.is_empty() {
            return false;
        }
        let tickets = sample(&db.field_expires, &mut db.field_expire_cursor, budget);
        let now = self.now_ms();
        let mut busy = false;
        for wanted in tickets {
            let table = &self.dbs[self.db].table;
            let is_wanted = |e: &super::entry::Entry| {
                matches!(e.value(), ValueRef::Hash(_)) && ticket(self.hash(e.key())) == wanted
            };
            let Some(entry) = table.find(wanted.get(), is_wanted) else { continue };
            let ValueRef::Hash(hash) = entry.value() else { continue };
            if hash.min_expiry().is_some_and(|at| at < now) {
                let key: Box<[u8]> = entry.key().into();
                busy |= self.expire_hash_fields(&key, now);
            }
        }
        busy
    }

    /// Removes due fields of one hash, with HDEL to the stream. True if some may be left.
    pub(super) fn expire_hash_fields(&mut self, key: &[u8], now: i64) -> bool {
        let mut gone: Vec<Box<[u8]>> = Vec::new();
        let no_touch = std::mem::replace(&mut self.no_touch, true);
        if let Ok(Some(hash)) = self.hash_mut(key) {
            hash.expire_due(now, FIELDS_PER_SLICE, |field| gone.push(field.name.to_vec().into()));
        }
        self.no_touch = no_touch;
        if gone.is_empty() {
            return false;
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
        gone.len() >= FIELDS_PER_SLICE
    }
}

/// The next tickets of an index, about `budget`, going around.
fn sample(index: &crate::types::table::Table<Ticket>, cursor: &mut u64, budget: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    // An empty bucket costs a step as well.
    for _ in 0..budget {
        *cursor = index.scan(*cursor, |t| t.get(), |t| tickets.push(*t));
        if tickets.len() >= budget || *cursor == 0 {
            break;
        }
    }
    tickets
}
