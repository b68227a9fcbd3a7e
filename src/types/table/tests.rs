//! The table against naive models: random operations, growth and shrinking, scans in between.

use super::line::Header;
use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// A small number as an entry.
trait Number: Copy + Ord + core::fmt::Debug {
    fn of(n: u64) -> Self;
    fn number(&self) -> u64;
}

/// Seven in a line.
impl Number for u64 {
    fn of(n: u64) -> u64 {
        n
    }
    fn number(&self) -> u64 {
        *self
    }
}

/// Nine in a line.
impl Number for [u8; 6] {
    fn of(n: u64) -> [u8; 6] {
        n.to_le_bytes()[..6].try_into().unwrap()
    }
    fn number(&self) -> u64 {
        self.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
    }
}

/// A hash of a number, good enough in all bits.
fn mix<N: Number>(n: &N) -> u64 {
    let mut state = n.number();
    splitmix(&mut state)
}

fn insert<N: Number>(table: &mut Table<N>, n: u64) {
    let n = N::of(n);
    table.insert_unique(mix(&n), n, mix);
}

/// Checks every invariant of the module's documentation.
fn check<T>(table: &Table<T>, rehash: impl Fn(&T) -> u64) {
    let mut len = 0;
    let mut child_bytes = 0;
    if table.buckets > 0 {
        assert_eq!(table.mask, table.buckets.next_power_of_two() - 1);
    }
    assert!(table.capacity >= table.buckets);
    assert_eq!(table.segments.len(), table.capacity.div_ceil(SEGMENT));
    for bucket in 0..table.buckets {
        let mut line = table.line(bucket);
        let mut above = Vec::new();
        loop {
            // SAFETY: the lines of a table in use are initialized.
            let (header, entries) = unsafe {
                let header = line.header();
                let entries: Vec<&T> = (0..header.count()).map(|i| &*line.entry(i)).collect();
                (header, entries)
            };
            len += entries.len();
            for (i, entry) in entries.iter().enumerate() {
                let hash = rehash(entry);
                assert_eq!(table.bucket_of(hash), bucket);
                assert_eq!(header.tag(i), tag_of(hash));
                assert!(above.iter().all(|header: &Header| header.filter & filter_bit(tag_of(hash)) != 0));
            }
            assert!((entries.len()..9).all(|i| header.tag(i) == 0));
            if !above.is_empty() {
                assert!(entries.len() > 1);
                let slots = if header.filter == 0 { entries.len() } else { Line::<T>::SLOTS };
                child_bytes += Line::<T>::layout(slots).size();
            }
            if header.filter == 0 {
                break;
            }
            assert_eq!(entries.len(), Line::<T>::SLOTS - 1);
            above.push(header);
            // SAFETY: a filter means a child.
            line = unsafe { line.child() };
        }
    }
    assert_eq!(len, table.len);
    assert_eq!(child_bytes, table.child_bytes);
}

#[test]
fn random_operations_agree_with_a_model() {
    let walks = [(20, 5_000), (600, 30_000), (9_000, 60_000), (1 << 40, 30_000)];
    for seed in crate::types::tests::seeds(4) {
        let (spread, ops) = walks[seed as usize % 4];
        let mut random = seed;
        let mut table: Table<Box<(u64, u64)>> = Table::new();
        let mut model = BTreeMap::new();
        #[allow(clippy::borrowed_box)] // The entry is the box.
        let rehash = |entry: &Box<(u64, u64)>| mix(&entry.0);
        for op in 0..ops {
            let key = splitmix(&mut random) % spread;
            let hash = mix(&key);
            // Phases in which insertions, then removals prevail.
            let grow = if op / 2_000 % 2 == 0 { 7 } else { 3 };
            if splitmix(&mut random) % 10 < grow {
                match table.entry(hash, |entry| entry.0 == key) {
                    Entry::Occupied(entry) => entry.1 = op,
                    Entry::Vacant(vacant) => vacant.insert(Box::new((key, op)), rehash),
                }
                model.insert(key, op);
            } else {
                let removed = table.remove(hash, |entry| entry.0 == key);
                assert_eq!(removed.map(|entry| entry.1), model.remove(&key));
            }
            let probe = splitmix(&mut random) % spread;
            let found = table.find(mix(&probe), |entry| entry.0 == probe);
            assert_eq!(found.map(|entry| entry.1), model.get(&probe).copied());
            assert_eq!(table.len(), model.len());
            if op % 500 == 0 {
                check(&table, rehash);
                let entries: BTreeMap<u64, u64> = table.iter().map(|entry| **entry).collect();
                assert_eq!(entries, model);
            }
        }
        check(&table, rehash);
        let copy = table.clone();
        check(&copy, rehash);
        assert_eq!(copy.iter().map(|entry| **entry).collect::<BTreeMap<_, _>>(), model);
    }
}

#[test]
fn equal_hashes_make_a_chain_that_still_works() {
    equal_hashes::<u64>();
    equal_hashes::<[u8; 6]>();
}

fn equal_hashes<N: Number>() {
    let mut table = Table::new();
    for n in 0..100 {
        table.insert_unique(42, N::of(n), |_| 42);
        check(&table, |_| 42);
    }
    for n in (0..100).step_by(3).chain((0..100).filter(|n| n % 3 > 0)).map(N::of) {
        assert_eq!(table.remove(42, |&entry| entry == n), Some(n));
        assert!(table.find(42, |&entry| entry == n).is_none());
        check(&table, |_| 42);
    }
    assert!(table.is_empty());
}

#[test]
fn grows_to_a_million_and_back_with_a_steady_load() {
    grows_and_shrinks::<u64>(13.0, 15.0);
    grows_and_shrinks::<[u8; 6]>(10.3, 11.5);
}

fn grows_and_shrinks<N: Number>(growing: f64, shrinking: f64) {
    let mut table = Table::<N>::new();
    for n in 0..1_000_000u64 {
        let before = table.buckets();
        insert(&mut table, n);
        assert!(table.buckets() <= before + 1);
        if n >= 1_000 && n % 1_000 == 0 {
            let bytes = table.table_bytes() as f64 / table.len() as f64;
            assert!(bytes < growing, "{bytes} bytes at {n}");
        }
    }
    check(&table, mix);
    for n in 0..1_000_000 {
        let before = table.buckets();
        let entry = N::of(n);
        assert_eq!(table.remove(mix(&entry), |&other| other == entry), Some(entry));
        assert!(table.buckets() + 1 >= before);
        if n < 950_000 && n % 1_000 == 0 {
            let bytes = table.table_bytes() as f64 / table.len() as f64;
            assert!(bytes < shrinking, "{bytes} bytes after removing {n}");
        }
        if n % 100_000 == 0 {
            check(&table, mix);
        }
    }
    assert_eq!((table.len(), table.buckets()), (0, 1));
    assert!(table.table_bytes() < 500);
}

/// Entries in the first two lines of their buckets are nearly all there are, and `approach` comes to them in two steps.
#[test]
fn nearly_every_entry_is_found_in_two_steps() {
    two_steps::<u64>();
    two_steps::<[u8; 6]>();
}

fn two_steps<N: Number>() {
    const COUNT: u64 = 30_000;
    let mut table = Table::new();
    (0..COUNT).for_each(|n| insert::<N>(&mut table, n));
    let (mut first, mut second) = (0, 0);
    for n in (0..COUNT).map(N::of) {
        let mut seen = false;
        let spot = table.spot(mix(&n)).expect("the table is not empty");
        let further = spot.approach(|entry| seen |= *entry == n);
        assert!(!seen || further.is_none(), "what is there is not looked for further down");
        first += u64::from(seen);
        second += u64::from(further.is_some_and(|spot| {
            spot.approach(|entry| seen |= *entry == n);
            seen
        }));
    }
    assert!(first < COUNT * 9 / 10, "{first}: the second step has something to do");
    assert!(first + second > COUNT * 95 / 100, "{first} and {second} of {COUNT}");
    assert!(Table::<N>::new().spot(1).is_none());
}

#[test]
fn scan_of_a_table_at_rest_visits_each_entry_once() {
    let mut table = Table::<u64>::new();
    for n in 0..3_000u64 {
        insert(&mut table, n);
        if n < 200 || n % 97 == 0 {
            let (mut seen, mut cursor) = (Vec::new(), 0);
            loop {
                cursor = table.scan(cursor, mix, |&entry| seen.push(entry));
                assert!(cursor < 2 * table.buckets() as u64, "cursors are small numbers");
                if cursor == 0 {
                    break;
                }
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..=n));
        }
    }
    assert_eq!(Table::<u64>::new().scan(7, mix, |_| panic!()), 0);
}

/// Walks with a cursor while the table changes; what stays throughout is visited exactly once, and
/// `passed` always tells what has been visited.
#[test]
fn scan_keeps_its_guarantee_while_the_table_changes() {
    for seed in crate::types::tests::seeds(60) {
        scan_while_it_changes::<u64>(seed);
        scan_while_it_changes::<[u8; 6]>(seed);
    }
}

fn scan_while_it_changes<N: Number>(seed: u64) {
    let mut random = seed;
    let mut table = Table::<N>::new();
    let mut stays = BTreeSet::new();
    let mut passing = Vec::new();
    let start = splitmix(&mut random) % 3_000;
    for n in 0..start {
        insert(&mut table, n);
        if n % 5 == 0 {
            stays.insert(N::of(n));
        } else {
            passing.push(N::of(n));
        }
    }
    let mut next = start;
    let mut visited = BTreeMap::new();
    let (mut cursor, mut growing) = (0, seed.is_multiple_of(2));
    loop {
        let mut batch = Vec::new();
        let after = table.scan(cursor, mix, |&entry| batch.push(entry));
        for entry in batch {
            assert!(!passed(mix(&entry), cursor));
            assert!(after == 0 || passed(mix(&entry), after));
            *visited.entry(entry).or_insert(0) += 1;
        }
        cursor = after;
        if cursor == 0 {
            break;
        }
        for entry in table.iter().filter(|entry| stays.contains(entry)) {
            assert_eq!(passed(mix(entry), cursor), visited.contains_key(entry));
        }
        if splitmix(&mut random).is_multiple_of(20) {
            growing = !growing;
        }
        for _ in 0..splitmix(&mut random) % 60 {
            if growing && table.len() < 6_000 {
                insert(&mut table, next);
                passing.push(N::of(next));
                next += 1;
            } else if !passing.is_empty() {
                let i = splitmix(&mut random) as usize % passing.len();
                let n = passing.swap_remove(i);
                assert_eq!(table.remove(mix(&n), |&entry| entry == n), Some(n));
            }
        }
    }
    for n in &stays {
        assert_eq!(visited.get(n), Some(&1), "seed {seed}, entry {n:?}");
    }
    assert!(visited.values().all(|&times| times == 1));
    check(&table, mix);
}

#[test]
fn random_picks_are_uniform() {
    uniform_picks::<u64>();
    uniform_picks::<[u8; 6]>();
}

fn uniform_picks<N: Number>() {
    for size in [1u64, 5, 7, 8, 40, 100, 333] {
        let mut table = Table::<N>::new();
        (0..size).for_each(|n| insert(&mut table, n));
        let mut picks = vec![0u64; size as usize];
        let mut random = size;
        let rounds = 400 * size;
        for _ in 0..rounds {
            picks[table.random(splitmix(&mut random)).unwrap().number() as usize] += 1;
        }
        // Chi-squared: the mean is size - 1, the deviation sqrt(2 size); six of them is never.
        let chi: f64 = picks.iter().map(|&n| (n as f64 - 400.0).powi(2) / 400.0).sum();
        let limit = size as f64 - 1.0 + 6.0 * (2.0 * size as f64).sqrt();
        assert!(chi < limit, "{chi} for {size}");
    }
    assert!(Table::<u64>::new().random(1).is_none());
}

#[test]
fn random_ends_even_in_a_table_that_is_nearly_empty() {
    let mut table = Table::new();
    for n in 0..10_000u64 {
        insert(&mut table, n);
    }
    for n in 0..9_999 {
        table.remove(mix(&n), |&entry| entry == n);
    }
    assert_eq!(table.random(3), Some(&9_999));
}

#[test]
fn samples_are_different_and_uniform() {
    let mut table = Table::<u64>::new();
    (0..300).for_each(|n| insert(&mut table, n));
    let mut state = 4;
    let mut random = || splitmix(&mut state);
    for count in [0, 1, 20, 99, 100, 101, 299, 300, 400] {
        let mut picks = vec![0u32; 300];
        for _ in 0..1_000 {
            let mut seen = BTreeSet::new();
            table.sample(count, &mut random, |&n| assert!(seen.insert(n)));
            assert_eq!(seen.len(), count.min(300));
            seen.iter().for_each(|&n| picks[n as usize] += 1);
        }
        let mean = (1_000 * count.min(300) / 300) as u32;
        assert!(picks.iter().all(|n| n.abs_diff(mean) < 100), "{picks:?}");
    }
}

/// Counts how many of it are alive.
struct Counted<'a>(&'a core::cell::Cell<i64>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn every_entry_is_dropped_once() {
    let alive = core::cell::Cell::new(0);
    let mut table = Table::new();
    let mut random = 9;
    for n in 0..5_000i64 {
        alive.set(alive.get() + 1);
        // Hashes that lie when asked again: entries may get lost to lookups, never to memory.
        let hash = splitmix(&mut random) << 32;
        table.insert_unique(hash, Box::new(Counted(&alive)), |_| n as u64);
    }
    assert_eq!(alive.get(), 5_000);
    assert!(table.drain_some(1_000));
    assert_eq!((alive.get(), table.len()), (4_000, 4_000));
    drop(table.pop());
    assert_eq!(alive.get(), 3_999);
    drop(table);
    assert_eq!(alive.get(), 0);
}

#[test]
fn draining_empties_and_the_table_can_be_filled_again() {
    let mut table = Table::new();
    for n in 0..10_000u64 {
        insert(&mut table, n);
    }
    let mut rest = BTreeSet::from_iter(0..10_000);
    while let Some(n) = table.pop() {
        assert!(rest.remove(&n));
        if rest.len() % 1_000 == 0 {
            check(&table, mix);
        }
    }
    assert!(rest.is_empty() && !table.drain_some(1));
    insert(&mut table, 1);
    assert_eq!(table.iter().copied().collect::<Vec<_>>(), [1]);
    table.clear();
    assert_eq!(table.table_bytes(), 0);
}

#[test]
fn all_bits_of_hash_bytes_are_good() {
    let mut ones = [0u32; 64];
    let mut tags = [0u32; 256];
    let mut low = [0u32; 256];
    for n in 0..20_000u32 {
        let hash = hash_bytes(7, format!("key:{n}").as_bytes());
        (0..64).for_each(|bit| ones[bit] += (hash >> bit) as u32 & 1);
        tags[(hash >> 56) as usize] += 1;
        low[hash as usize & 255] += 1;
    }
    assert!(ones.iter().all(|n| n.abs_diff(10_000) < 450), "{ones:?}");
    assert!(tags.iter().chain(&low).all(|n| n.abs_diff(78) < 60));
    assert_ne!(hash_bytes(1, b"a"), hash_bytes(2, b"a"));
    assert_eq!(hash_bytes(1, b"a"), hash_bytes(1, b"a"));
    assert_ne!(hash_bytes(1, b""), hash_bytes(1, b"\0"));
}

#[test]
fn a_reserved_table_fills_without_splits_and_settles() {
    let mut table: Table<u64> = Table::new();
    table.reserve(10_000);
    let (buckets, hash) = (table.buckets(), |n: &u64| hash_bytes(1, &n.to_le_bytes()));
    for n in 0..10_000u64 {
        table.insert_unique(hash(&n), n, hash);
    }
    assert_eq!(table.buckets(), buckets);
    assert!((0..10_000u64).all(|n| table.find(hash(&n), |other| *other == n).is_some()));
    let mut large: Table<u64> = Table::new();
    large.reserve(1_000_000);
    for n in 0..100u64 {
        large.insert_unique(hash(&n), n, hash);
    }
    large.settle();
    assert!(large.buckets() < 30, "{}", large.buckets());
    assert!((0..100u64).all(|n| large.find(hash(&n), |other| *other == n).is_some()));
    let mut none: Table<u64> = Table::new();
    none.reserve(1000);
    none.settle();
    assert!(none.buckets() <= 1 && none.iter().count() == 0);
}

/// Deleting from the last bucket down leaves no long chains behind; in the order of cursors it does.
#[test]
fn deleting_from_the_last_bucket_down_keeps_chains_short() {
    const ENTRIES: u64 = 50_000;
    let longest = |order: fn(&Table<u64>, &mut u64) -> Vec<u64>| {
        let (mut table, mut cursor, mut longest) = (Table::new(), 0, 0);
        (0..ENTRIES).for_each(|n| insert(&mut table, n));
        while !table.is_empty() {
            let entries = order(&table, &mut cursor);
            longest = longest.max(entries.len());
            for n in entries {
                assert_eq!(table.remove(mix(&n), |found| *found == n), Some(n));
            }
        }
        longest
    };
    let down = longest(|table, bucket| {
        if *bucket == 0 || *bucket > table.buckets() as u64 {
            *bucket = table.buckets() as u64;
        }
        *bucket -= 1;
        let mut entries = Vec::new();
        table.visit_bucket(*bucket as usize, |n| entries.push(*n));
        entries
    });
    assert!(down < 40, "{down}");
    let by_cursor = longest(|table, cursor| {
        let mut entries = Vec::new();
        *cursor = table.scan(*cursor, mix, |n| entries.push(*n));
        entries
    });
    assert!(by_cursor > 10 * down, "{by_cursor} and {down}");
}
