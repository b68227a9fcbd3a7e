//! How many keys of each type have how many elements, by power of two: what INFO keysizes shows.
//!
//! Counting costs nothing while nobody asks: no write keeps a tally. A small keyspace is counted when INFO
//! is asked; a larger one would hold other clients up, so it is counted in slices by the tick for as long as
//! somebody goes on asking, and INFO shows the last whole count. Redis' counterpart: the `keysizes`
//! histograms, which every write keeps up to date.

use std::cell::Cell;

use super::super::entry::Entry;
use super::super::keyspace::Keyspace;
use super::super::time::MonoTime;
use super::{Lines, Source};
use crate::types::table::hash_bytes;
use crate::types::value::ValueRef;

/// Keyspaces of at most so many keys are counted at once.
const AT_ONCE: usize = 10_000;

/// Keys counted in one slice.
const SLICE: usize = 2_000;

/// A count is kept up for so long after it was asked for.
const WANTED_MS: u64 = 60_000;

/// A count begins at most so often.
const EVERY_MS: u64 = 5_000;

/// The types in the order they are shown: names of the fields.
const KINDS: [&str; 5] = ["strings_sizes", "lists_items", "sets_items", "zsets_items", "hashes_items"];

/// Keys of one db: by type, and by the power of two that their size has; bin 0 is for empty strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bins([Vec<u64>; KINDS.len()]);

impl Bins {
    fn add(&mut self, entry: &Entry) {
        let (kind, size) = match entry.value() {
            value @ (ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_)) => (0, value.text_len()),
            ValueRef::List(list) => (1, list.len()),
            ValueRef::Set(set) => (2, set.len()),
            ValueRef::Zset(zset) => (3, zset.len()),
            ValueRef::Hash(hash) => (4, hash.len()),
        };
        let bin = size.checked_ilog2().map_or(0, |power| power as usize + 1);
        let bins = &mut self.0[kind];
        if bins.len() <= bin {
            bins.resize(bin + 1, 0);
        }
        bins[bin] += 1;
    }

    fn show(&self, db: usize, lines: &mut Lines) {
        for (name, bins) in KINDS.iter().zip(&self.0) {
            let filled = bins.iter().enumerate().filter(|(_, count)| **count > 0);
            let shown: Vec<String> = filled.map(|(bin, count)| format!("{}={count}", size_of_bin(bin))).collect();
            if !shown.is_empty() {
                lines.field(&format!("db{db}_distrib_{name}"), shown.join(","));
            }
        }
    }
}

/// The smallest size in a bin, in words.
fn size_of_bin(bin: usize) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    match bin.checked_sub(1) {
        None => "0".to_owned(),
        Some(power) => format!("{}{}", 1u64 << (power % 10), UNITS[power / 10]),
    }
}

/// The count of a keyspace that is too large to be counted at once.
#[derive(Debug, Default)]
pub struct Census {
    /// When somebody has asked last.
    asked: Cell<Option<MonoTime>>,
    /// When the count under way began, or the last one.
    began: Option<MonoTime>,
    /// Where the count under way is: db and cursor.
    at: Option<(usize, u64)>,
    counting: Vec<Bins>,
    counted: Vec<Bins>,
}

impl Census {
    /// Goes on with a count that is wanted. True if there is more to do.
    pub fn slice(&mut self, keys: &Keyspace) -> bool {
        let now = keys.now.mono;
        let Some((db, cursor)) = self.at else {
            let wanted = self.asked.get().is_some_and(|asked| now.ms_since(asked) < WANTED_MS);
            if !wanted || self.began.is_some_and(|began| now.ms_since(began) < EVERY_MS) {
                return false;
            }
            self.began = Some(now);
            self.at = Some((0, 0));
            self.counting = vec![Bins::default(); keys.dbs.len()];
            return true;
        };
        let bins = &mut self.counting[db];
        let next = keys.dbs[db].table.scan_some(
            cursor,
            SLICE,
            |entry| hash_bytes(keys.seed(), entry.key()),
            |entry| bins.add(entry),
        );
        self.at = match (next, db + 1 < keys.dbs.len()) {
            (0, true) => Some((db + 1, 0)),
            (0, false) => None,
            (cursor, _) => Some((db, cursor)),
        };
        if self.at.is_none() {
            self.counted = std::mem::take(&mut self.counting);
        }
        self.at.is_some()
    }
}

pub(super) fn keysizes(source: &Source, lines: &mut Lines) {
    let Source { server, keys } = source;
    let total: usize = keys.dbs.iter().map(|db| db.table.len()).sum();
    if total > AT_ONCE {
        server.census.asked.set(Some(server.now.mono));
        return server.census.counted.iter().enumerate().for_each(|(db, bins)| bins.show(db, lines));
    }
    for (number, db) in keys.dbs.iter().enumerate().filter(|(_, db)| !db.table.is_empty()) {
        let mut bins = Bins::default();
        db.table.iter().for_each(|entry| bins.add(entry));
        bins.show(number, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::config::Config;
    use crate::engine::host::Host;
    use crate::engine::time::{Now, WallTime};
    use crate::types::value::Value;

    fn shown(engine: &Engine) -> String {
        super::super::report(&engine.server, &engine.keyspace, &[b"keysizes"])
    }

    #[test]
    fn small_keyspaces_are_counted_at_once_and_large_ones_in_slices() {
        let mut engine = Engine::new(Config::default(), Host::default(), 7, Now::default());
        engine.keyspace.add(b"empty", Value::String(Vec::new()));
        engine.keyspace.add(b"five", Value::String(b"12345".to_vec()));
        engine.keyspace.add(b"number", Value::Int(-12_345_678));
        engine.keyspace.add(b"large", Value::String(vec![0; 5000]));
        assert_eq!(shown(&engine), "# Keysizes\r\ndb0_distrib_strings_sizes:0=1,4=1,8=1,4K=1\r\n");
        for n in 0..2 * AT_ONCE {
            engine.keyspace.add(format!("k{n}").as_bytes(), Value::Int(1));
        }
        assert_eq!(shown(&engine), "# Keysizes\r\n");
        let now = Now { mono: MonoTime::from_ms(1000), wall: WallTime::from_ms(1000) };
        engine.keyspace.now = now;
        while engine.server.census.slice(&engine.keyspace) {}
        assert_eq!(shown(&engine), "# Keysizes\r\ndb0_distrib_strings_sizes:0=1,1=20000,4=1,8=1,4K=1\r\n");
        assert!(!engine.server.census.slice(&engine.keyspace), "the next count comes later");
    }
}
