//! Both forms of the zset against a naive model: a vector of pairs, sorted anew when asked.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const SEED: u64 = 0x5eed;
const PACKED: PackLimits = PackLimits { entries: 128, value: 64 };
const ALWAYS_LARGE: PackLimits = PackLimits { entries: 0, value: 64 };
const ALWAYS_PACKED: PackLimits = PackLimits { entries: 100_000, value: 1_000 };

/// A small generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn score(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => 1e300,
            3 => -0.0,
            4..7 => self.below(20) as f64 / 8.0 - 1.0,
            _ => self.below(1000) as f64 - 500.0,
        }
    }

    /// Words, numbers that a listpack stores as integers, the empty string, bytes that are no text.
    fn member(&mut self, kinds: usize) -> Vec<u8> {
        let n = self.below(kinds);
        match n % 4 {
            0 => format!("{}", n as i64 - 40).into_bytes(),
            1 => format!("member:{n}").into_bytes(),
            2 => vec![n as u8, (n >> 8) as u8, 0xff, 0],
            _ => vec![b'x'; n % 50],
        }
    }
}

type Pair = (Vec<u8>, f64);

#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn sorted(&self) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = self.0.iter().map(|(m, s)| (m.clone(), *s)).collect();
        pairs.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
        pairs
    }
}

fn pairs<'a>(items: impl Iterator<Item = (Item<'a>, f64)>) -> Vec<Pair> {
    items.map(|(member, score)| (member.to_vec(), score)).collect()
}

fn check_whole(zset: &Zset, model: &Model, rng: &mut Rng) {
    let sorted = model.sorted();
    assert_eq!(zset.len(), sorted.len());
    assert_eq!(zset.is_empty(), sorted.is_empty());
    assert_eq!(pairs(zset.iter()), sorted);
    for _ in 0..4 {
        let from = rng.below(sorted.len() + 1);
        let until = from + rng.below(sorted.len() + 3 - from);
        let slice = &sorted[from..until.min(sorted.len())];
        assert_eq!(zset.range(from..until, false).len(), slice.len());
        assert_eq!(pairs(zset.range(from..until, false)), slice);
        let backward: Vec<Pair> = slice.iter().rev().cloned().collect();
        assert_eq!(pairs(zset.range(from..until, true)), backward);
        let range = ScoreRange {
            min: rng.score(),
            max: rng.score(),
            min_exclusive: rng.below(2) == 0,
            max_exclusive: rng.below(2) == 0,
        };
        let inside = |score: f64| {
            (if range.min_exclusive { score > range.min } else { score >= range.min })
                && if range.max_exclusive { score < range.max } else { score <= range.max }
        };
        let expected: Vec<Pair> = sorted.iter().filter(|pair| inside(pair.1)).cloned().collect();
        let ranks = zset.score_ranks(&range);
        assert_eq!(ranks.len(), expected.len());
        assert_eq!(pairs(zset.range(ranks, false)), expected);
    }
    for (rank, (member, score)) in sorted.iter().enumerate().step_by(1 + sorted.len() / 40) {
        assert_eq!(zset.score(member), Some(*score));
        assert_eq!(zset.rank(member, false), Some((rank, *score)));
        assert_eq!(zset.rank(member, true), Some((sorted.len() - 1 - rank, *score)));
        let (found, at) = zset.nth(rank).unwrap();
        assert_eq!((found.to_vec(), at), (member.clone(), *score));
    }
    assert!(zset.nth(sorted.len()).is_none());
    assert!(zset.nth(usize::MAX).is_none());
    if let Form::Large(large) = &zset.form {
        large.tree.check();
    }
}

/// One random operation on both; returns nothing, asserts that both say the same.
fn step(zset: &mut Zset, model: &mut Model, limits: PackLimits, kinds: usize, grow: bool, rng: &mut Rng) {
    let member = rng.member(kinds);
    match rng.below(if grow { 80 } else { 12 }) {
        0 => {
            let from = rng.below(model.0.len() + 1);
            let until = from + rng.below(4);
            let mut gone = Vec::new();
            let count = zset.remove_range(from..until, |m, s| gone.push((m.to_vec(), s)));
            let sorted = model.sorted();
            assert_eq!(gone, sorted[from..until.min(sorted.len())]);
            assert_eq!(gone.len(), count);
            gone.iter().for_each(|(m, _)| assert!(model.0.remove(m).is_some()));
        }
        1 => {
            let mut gone = Vec::new();
            let least = rng.below(2) == 0;
            let count = 1 + rng.below(3);
            let take = |m: Item, s: f64| gone.push((m.to_vec(), s));
            let popped = if least { zset.pop_min(count, take) } else { zset.pop_max(count, take) };
            let mut sorted = model.sorted();
            if !least {
                sorted.reverse();
            }
            sorted.truncate(count);
            assert_eq!((gone.len(), &gone), (popped, &sorted));
            gone.iter().for_each(|(m, _)| assert!(model.0.remove(m).is_some()));
        }
        2..8 => assert_eq!(zset.remove(&member), model.0.remove(&member)),
        _ => {
            let score = rng.score();
            // A packed set stores a whole number as an integer, so -0 becomes 0.
            let expected = match model.0.insert(member.clone(), score) {
                None => Change::Added,
                Some(old) if old == score => Change::Same,
                Some(_) => Change::Updated,
            };
            assert_eq!(zset.insert(&member, score, limits), expected);
            assert_eq!(zset.score(&member), Some(score));
        }
    }
    assert_eq!(zset.len(), model.0.len());
}

fn random_walk(limits: PackLimits, kinds: usize, steps: usize, seed: u64) -> Zset {
    let mut rng = Rng(seed);
    let mut zset = Zset::new(SEED);
    let mut model = Model::default();
    for i in 0..steps {
        let grow = (i / (steps / 4)).is_multiple_of(2);
        step(&mut zset, &mut model, limits, kinds, grow, &mut rng);
        if i % (steps / 40) == 0 {
            check_whole(&zset, &model, &mut rng);
            check_whole(&zset.clone(), &model, &mut rng);
        }
    }
    while !zset.is_empty() {
        step(&mut zset, &mut model, limits, kinds, false, &mut rng);
        if rng.below(5) == 0 {
            let rank = rng.below(zset.len() + 1);
            zset.remove_range(rank..rank + 1, |m, _| assert!(model.0.remove(&m.to_vec()).is_some()));
        }
    }
    check_whole(&zset, &model, &mut rng);
    zset
}

#[test]
fn packed_sets_agree_with_the_model() {
    for seed in crate::types::tests::seeds(4) {
        let zset = random_walk(ALWAYS_PACKED, 400, 4_000, seed);
        assert_eq!(zset.encoding(), "listpack");
    }
}

#[test]
fn large_sets_agree_with_the_model() {
    for seed in crate::types::tests::seeds(4) {
        let zset = random_walk(ALWAYS_LARGE, 4_000, 8_000, seed);
        assert_eq!(zset.encoding(), "skiplist");
        let Form::Large(large) = &zset.form else { unreachable!() };
        assert!(large.heap_bytes() < 8_000, "an empty set gave its memory back");
    }
}

#[test]
fn sets_that_cross_the_limit_agree_with_the_model() {
    for seed in crate::types::tests::seeds(4) {
        assert_eq!(random_walk(PACKED, 1_000, 2_000, seed).encoding(), "skiplist");
    }
}

#[test]
fn a_hundred_thousand_members_come_and_go() {
    let mut rng = Rng(99);
    let mut zset = Zset::new(SEED);
    let name = |i: usize| format!("member:{i:09}").into_bytes();
    let mut model: Vec<(u64, usize)> = (0..100_000).map(|i| (rng.next() >> 20, i)).collect();
    for &(score, i) in &model {
        assert_eq!(zset.insert(&name(i), score as f64, PACKED), Change::Added);
    }
    model.sort_unstable();
    let mut all = zset.iter();
    assert!(model.iter().all(|&(score, i)| {
        let (member, found) = all.next().unwrap();
        member == Item::Bytes(&name(i)) && found == score as f64
    }));
    for _ in 0..2_000 {
        let rank = rng.below(model.len());
        assert_eq!(zset.rank(&name(model[rank].1), false), Some((rank, model[rank].0 as f64)));
        let (a, b) = (rng.below(model.len()), rng.below(model.len()));
        let range = ScoreRange { min: model[a].0 as f64, max: model[b].0 as f64, ..ScoreRange::ALL };
        assert_eq!(zset.score_ranks(&range).len(), (b + 1).saturating_sub(a));
    }
    let per_member = zset.heap_bytes() / zset.len();
    assert!(per_member <= 62, "{per_member}");
    let copy = zset.clone();
    assert!((copy.heap_bytes() / copy.len()).abs_diff(per_member) <= 5);
    while !zset.is_empty() {
        let at = rng.below(model.len());
        let until = model.len().min(at + 1 + rng.below(200));
        let mut gone = model.drain(at..until);
        let count = zset.remove_range(at..until, |member, score| {
            let (expected, i) = gone.next().unwrap();
            assert_eq!((member, score), (Item::Bytes(&name(i)), expected as f64));
        });
        assert_eq!(count, until - at);
    }
    assert_eq!(copy.len(), 100_000);
}

#[test]
fn forms_change_at_the_limits_and_only_there() {
    let mut zset = Zset::new(SEED);
    for i in 0..128 {
        zset.insert(format!("m{i}").as_bytes(), 1.0, PACKED);
    }
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"m5", 2.0, PACKED);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"one more", 2.0, PACKED);
    assert_eq!(zset.encoding(), "skiplist");
    zset.remove(b"m1");
    assert_eq!(zset.encoding(), "skiplist");
    zset.pack(PACKED);
    assert_eq!((zset.encoding(), zset.len()), ("listpack", 128));
    assert_eq!(zset.rank(b"one more", true), Some((0, 2.0)));

    let mut zset = Zset::new(SEED);
    zset.insert(&[b'x'; 64], 1.0, PACKED);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(&[b'x'; 65], 1.0, PACKED);
    assert_eq!(zset.encoding(), "skiplist");
    zset.pack(PACKED);
    assert_eq!((zset.encoding(), zset.len()), ("skiplist", 2));
    // Members whose length takes the long prefix.
    for len in [254, 255, 256, 70_000] {
        zset.insert(&vec![b'y'; len], len as f64, PACKED);
        assert_eq!(zset.nth(zset.len() - 1).unwrap(), (Item::Bytes(&vec![b'y'; len]), len as f64));
    }
}

#[test]
fn zero_keeps_its_sign_where_redis_keeps_it() {
    let mut zset = Zset::new(SEED);
    zset.insert(b"a", -0.0, PACKED);
    assert!(zset.score(b"a").unwrap().is_sign_positive());
    zset.convert();
    zset.insert(b"b", -0.0, PACKED);
    assert!(zset.score(b"b").unwrap().is_sign_negative());
    assert_eq!(zset.insert(b"b", 0.0, PACKED), Change::Same);
    assert_eq!(zset.rank(b"b", false).unwrap().0, 1);
}

#[test]
#[should_panic(expected = "NaN is no score")]
fn nan_does_not_enter() {
    Zset::new(SEED).insert(b"a", f64::NAN, PACKED);
}

#[test]
fn upsert_lets_the_caller_decide() {
    for limits in [PACKED, ALWAYS_LARGE] {
        let mut zset = Zset::new(SEED);
        assert_eq!(zset.upsert(b"a", limits, |old| old.map(|_| 1.0)), Change::Same);
        assert_eq!(zset.len(), 0);
        assert_eq!(zset.upsert(b"a", limits, |old| Some(old.unwrap_or(2.0))), Change::Added);
        assert_eq!(zset.upsert(b"a", limits, |old| old.map(|s| s + 0.5)), Change::Updated);
        assert_eq!(zset.score(b"a"), Some(2.5));
    }
}

#[test]
fn lex_ranges_count_and_walk() {
    for limits in [PACKED, ALWAYS_LARGE] {
        let mut rng = Rng(5);
        let mut members = BTreeSet::new();
        let mut zset = Zset::new(SEED);
        while members.len() < 100 {
            let member = rng.member(1_000);
            zset.insert(&member, 0.0, limits);
            members.insert(member);
        }
        for _ in 0..300 {
            let (a, b) = (rng.member(1_000), rng.member(1_000));
            let bound = |bytes, kind| match kind {
                0 => LexBound::Min,
                1 => LexBound::Max,
                2 | 3 => LexBound::Exclusive(bytes),
                _ => LexBound::Inclusive(bytes),
            };
            let range = LexRange { min: bound(&a, rng.below(6)), max: bound(&b, rng.below(6)) };
            let expected: Vec<Vec<u8>> =
                members.iter().filter(|m| !range.is_below(m) && !range.is_above(m)).cloned().collect();
            let found: Vec<Vec<u8>> = zset.range(zset.lex_ranks(&range), false).map(|(m, _)| m.to_vec()).collect();
            assert_eq!(found, expected);
        }
        zset.insert(b"middle", 1.0, limits);
        let range = LexRange { min: LexBound::Inclusive(b"a"), max: LexBound::Exclusive(b"z") };
        assert!(zset.lex_ranks(&range).len() <= zset.len());
    }
}

#[test]
fn range_texts_are_read_as_redis_reads_them() {
    let at = |text: &str| ScoreRange::parse(text.as_bytes(), b"+inf").map(|r| (r.min, r.min_exclusive));
    for refused in
        [" 1", "1 ", "( 1", "0x10", "nan", "(nan", "-nan", "infx", "1_0", "-", "+", ".", "1e", "((1", "--1", "\u{b5}"]
    {
        assert_eq!(at(refused), None, "{refused}");
        assert_eq!(ScoreRange::parse(b"1", refused.as_bytes()), None);
    }
    for (text, score) in [
        ("", 0.0),
        ("1", 1.0),
        ("-inf", f64::NEG_INFINITY),
        ("+inf", f64::INFINITY),
        ("Infinity", f64::INFINITY),
        ("1e400", f64::INFINITY),
        ("1e-400", 0.0),
        ("+1", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("2\0ab", 2.0),
    ] {
        assert_eq!(at(text), Some((score, false)), "{text}");
        assert_eq!(at(&format!("({text}")), Some((score, true)), "({text}");
    }
    assert_eq!(ScoreRange::parse(b"-inf", b"inf"), Some(ScoreRange::ALL));
    for refused in ["", "a", "-a", "++"] {
        assert_eq!(LexRange::parse(refused.as_bytes(), b"+"), None);
        assert_eq!(LexRange::parse(b"-", refused.as_bytes()), None);
    }
    assert_eq!(LexRange::parse(b"-", b"+"), Some(LexRange::ALL));
    let range = LexRange { min: LexBound::Inclusive(b""), max: LexBound::Exclusive(b"(a") };
    assert_eq!(LexRange::parse(b"[", b"((a"), Some(range));
}

#[test]
fn scan_visits_what_stays_while_others_come_and_go() {
    for (limits, start) in [(PACKED, 50), (PACKED, 2_000), (ALWAYS_LARGE, 9)] {
        let mut rng = Rng(start as u64);
        let mut zset = Zset::new(SEED);
        let name = |i: usize| format!("stays:{i}").into_bytes();
        for i in 0..start {
            zset.insert(&name(i), i as f64, limits);
        }
        let mut seen = BTreeSet::new();
        let (mut cursor, mut calls) = (0, 0);
        loop {
            cursor = zset.scan(cursor, 10, |member, score| {
                let member = member.to_vec();
                assert!(!member.starts_with(b"stays") || name(score as usize) == member);
                seen.insert(member);
            });
            calls += 1;
            assert!(calls < 10_000, "a scan ends");
            if cursor == 0 {
                break;
            }
            for i in 0..40 {
                let other = format!("other:{}", rng.below(3_000)).into_bytes();
                if i % 2 == (calls / 30) % 2 {
                    zset.insert(&other, 1.0, limits);
                } else {
                    zset.remove(&other);
                }
            }
        }
        assert!((0..start).all(|i| seen.contains(&name(i))));
    }
}

#[test]
fn random_members_are_all_drawn() {
    for limits in [PACKED, ALWAYS_LARGE] {
        let mut zset = Zset::new(SEED);
        assert!(zset.random(7).is_none());
        for i in 0..20 {
            zset.insert(format!("{i}").as_bytes(), 1.0, limits);
        }
        let mut rng = Rng(3);
        let mut drawn = [0; 20];
        for _ in 0..4_000 {
            let (member, _) = zset.random(rng.next()).unwrap();
            drawn[String::from_utf8(member.to_vec()).unwrap().parse::<usize>().unwrap()] += 1;
        }
        assert!(drawn.iter().all(|&n| (120..280).contains(&n)), "{drawn:?}");
        assert!(zset.random(u64::MAX).is_some());
    }
}

#[test]
fn listpacks_from_outside_are_checked() {
    let pack = |items: &[&str]| {
        let mut pairs = Listpack::new();
        items.iter().for_each(|item| pairs.push_back(item.as_bytes()));
        Zset::from_listpack(SEED, pairs, PackLimits { entries: 3, value: 64 })
    };
    let good = pack(&["a", "1", "b", "1", "7", "2.5"]).unwrap();
    assert_eq!((good.encoding(), good.rank(b"7", false)), ("listpack", Some((2, 2.5))));
    assert_eq!(good.as_listpack().unwrap().count(), 6);
    assert_eq!(pack(&["a", "1", "b", "1", "c", "2", "d", "inf"]).unwrap().encoding(), "skiplist");
    let sorted = pack(&["b", "3", "a", "1"]).unwrap();
    assert_eq!(sorted.rank(b"b", false), Some((1, 3.0)));
    assert!(pack(&["a", "1", "b"]).is_none());
    assert!(pack(&["a", "x"]).is_none());
    assert!(pack(&["a", "nan"]).is_none());
    assert!(pack(&["a", "1", "a", "2"]).is_none());
    assert!(pack(&["a", "1", "a", "1"]).is_none());
    assert!(pack(&[]).unwrap().is_empty());
}

#[test]
fn pairs_in_any_order_make_a_set() {
    let mut rng = Rng(11);
    let input: Vec<Pair> = (0..5_000).map(|_| (rng.member(3_000), rng.score())).collect();
    let model = Model(input.iter().cloned().collect());
    for limits in [ALWAYS_LARGE, PACKED] {
        let zset = Zset::from_pairs(SEED, input.iter().map(|(m, s)| (m, *s)), limits);
        check_whole(&zset, &model, &mut rng);
    }
}

#[test]
fn draining_frees_in_pieces_and_ends() {
    let pairs = (0..10_000).map(|i| (format!("member {i}"), f64::from(i)));
    let mut zset = Zset::from_pairs(SEED, pairs, PACKED);
    let mut calls = 1;
    while zset.drain_some(100) {
        calls += 1;
    }
    assert!((100..400).contains(&calls), "{calls}");
    let mut zset = Zset::new(SEED);
    zset.insert(b"a", 1.0, PACKED);
    assert!(!zset.drain_some(1));
}
