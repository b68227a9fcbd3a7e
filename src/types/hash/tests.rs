//! Hashes against a naive model, and the measured transitions between forms.

use super::*;
use crate::types::sample::tests::Rng;
use std::collections::{BTreeMap, BTreeSet};

const LIMITS: HashLimits = HashLimits { pack: PackLimits { entries: 512, value: 64 }, seed: 5 };

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn fields<'a>(iter: impl Iterator<Item = Field<'a>>) -> Model {
    let mut model = Model::new();
    for field in iter {
        let old = model.insert(field.name.to_vec(), (field.value.to_vec(), field.expiry_ms));
        assert!(old.is_none(), "a field occurs twice");
    }
    model
}

/// A hash with `n` fields; each `timed`-th expires.
fn build(n: usize, timed: usize, limits: &HashLimits) -> Hash {
    let mut hash = Hash::new();
    for i in 0..n {
        let ttl = if timed > 0 && i % timed == 0 { FieldTtl::At(1_000 + i as i64) } else { FieldTtl::Keep };
        assert!(hash.set(format!("f{i}").as_bytes(), format!("{i}").as_bytes(), ttl, limits));
    }
    hash
}

/// A hash of each form.
fn one_of_each_form() -> Vec<Hash> {
    vec![
        Hash::new(),
        build(100, 0, &LIMITS),
        build(100, 3, &LIMITS),
        build(2_000, 0, &LIMITS),
        build(2_000, 3, &LIMITS),
    ]
}

#[test]
fn changes_its_form_where_redis_does() {
    let mut hash = build(512, 0, &LIMITS);
    assert_eq!(hash.encoding(), "listpack");
    assert!(!hash.set(b"f1", &[b'v'; 64], FieldTtl::Clear, &LIMITS));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(b"more", b"", FieldTtl::Clear, &LIMITS));
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 513));

    for (name, value) in [(&[b'x'; 65][..], &b"v"[..]), (b"f0", &[b'x'; 65])] {
        let mut hash = build(3, 0, &LIMITS);
        hash.set(name, value, FieldTtl::Clear, &LIMITS);
        assert_eq!(hash.encoding(), "hashtable");
        assert_eq!(hash.get(name), Some(Item::Bytes(value)));
    }

    let mut hash = build(512, 0, &LIMITS);
    assert!(!hash.set_expiry(b"none", 9));
    assert_eq!(hash.persist(b"f1"), Some(false));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set_expiry(b"f1", 9));
    assert_eq!(hash.encoding(), "listpackex");
    assert_eq!((hash.persist(b"f1"), hash.persist(b"none")), (Some(true), None));
    assert_eq!(hash.encoding(), "listpackex");
    hash.set(b"more", b"", FieldTtl::Clear, &LIMITS);
    assert_eq!(hash.encoding(), "hashtable");

    let mut hash = build(1, 0, &LIMITS);
    hash.expect(512, &LIMITS);
    assert_eq!(hash.encoding(), "listpack");
    hash.expect(513, &LIMITS);
    assert_eq!((hash.encoding(), hash.contains(b"f0")), ("hashtable", true));
}

/// One random operation on both, which must agree.
fn step(rng: &mut Rng, hash: &mut Hash, model: &mut Model, spread: u64, limits: &HashLimits) {
    let n = rng.below(spread);
    let name = if n.is_multiple_of(3) { n.to_string() } else { format!("name:{n}") }.into_bytes();
    let value = match rng.below(40) {
        0 => vec![b'x'; 200],
        1..=20 => rng.below(1_000).to_string().into_bytes(),
        _ => format!("value {}", rng.below(100)).into_bytes(),
    };
    let time = 1 + rng.below(50) as i64;
    match rng.below(100) {
        0..=44 => {
            let ttl = [FieldTtl::Clear, FieldTtl::Keep, FieldTtl::At(time)][rng.below(3) as usize];
            let before = model.get(&name).and_then(|(_, expiry_ms)| *expiry_ms);
            let expiry_ms = match ttl {
                FieldTtl::Clear => None,
                FieldTtl::Keep => before,
                FieldTtl::At(time) => Some(time),
            };
            let new = model.insert(name.clone(), (value.clone(), expiry_ms)).is_none();
            assert_eq!(hash.set(&name, &value, ttl, limits), new);
        }
        45..=64 => assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
        65..=79 => {
            let found = model.get_mut(&name).map(|(_, expiry_ms)| *expiry_ms = Some(time));
            assert_eq!(hash.set_expiry(&name, time), found.is_some());
        }
        80..=89 => {
            let before = model.get_mut(&name).map(|(_, expiry_ms)| expiry_ms.take().is_some());
            assert_eq!(hash.persist(&name), before);
        }
        90..=92 => {
            let (now, max) = (rng.below(15) as i64, rng.below(10) as usize);
            let mut last = 0;
            let n = hash.expire_due(now, max, |field| {
                let (value, expiry_ms) = model.remove(&field.name.to_vec()).expect("it was there");
                assert_eq!((field.value.to_vec(), field.expiry_ms), (value, expiry_ms));
                assert!((last..now).contains(&expiry_ms.unwrap()));
                last = expiry_ms.unwrap();
            });
            let left = model.values().any(|(_, expiry_ms)| expiry_ms.is_some_and(|time| time < now));
            assert!(n == max || !left);
            assert_eq!(hash.all_live(now), !left);
        }
        _ => {
            let now = rng.below(50) as i64;
            let expected = model.get(&name);
            assert_eq!(hash.expiry(&name), expected.map(|field| field.1));
            let live = expected.filter(|field| field.1.is_none_or(|time| time >= now));
            assert_eq!(hash.get_live(&name, now).map(|value| value.to_vec()), live.map(|field| field.0.clone()));
            assert_eq!(hash.contains_live(&name, now), live.is_some());
            assert_eq!(hash.contains(&name), expected.is_some());
        }
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    for seed in crate::types::tests::seeds(40) {
        let mut rng = Rng::new(seed);
        let entries = [512, 10, 0][seed as usize % 3];
        let limits = HashLimits { pack: PackLimits { entries, value: 64 }, seed };
        let spread = [8, 40, 2_000][seed as usize % 3];
        let (mut hash, mut model) = (Hash::new(), Model::new());
        for op in 0..3_000 {
            step(&mut rng, &mut hash, &mut model, spread, &limits);
            assert_eq!(hash.len(), model.len());
            let min = model.values().filter_map(|field| field.1).min();
            assert_eq!(hash.min_expiry(), min);
            if op % 200 == 0 {
                assert_eq!(fields(hash.iter()), model);
                assert_eq!(fields(hash.clone().iter()), model);
                check_packed(&hash, &limits);
                let now = rng.below(50) as i64;
                let live = model.iter().filter(|(_, field)| field.1.is_none_or(|time| time >= now));
                assert_eq!(hash.live_len(now), live.count());
            }
        }
        for name in model.keys() {
            assert!(hash.remove(name));
        }
        assert_eq!((hash.len(), hash.min_expiry()), (0, None));
        if hash.encoding() == "hashtable" {
            assert!(hash.heap_bytes() < 2_000, "nothing is left behind");
        }
    }
}

/// Packed hashes are in order, and come back from their listpacks.
fn check_packed(hash: &Hash, limits: &HashLimits) {
    let Some(pack) = hash.to_listpack() else { return };
    let again = match hash.layout() {
        Layout::Pairs => Hash::from_pairs(&pack, limits),
        Layout::Triples => {
            let times = || pack.iter().skip(2).step_by(3).map(|(_, time)| time.as_int().unwrap());
            assert!(times().filter(|&time| time > 0).is_sorted());
            assert!(times().map(|time| time == 0).is_sorted());
            Hash::from_triples(pack.into_owned(), limits)
        }
        Layout::Large => panic!("it is a listpack"),
    };
    let again = again.unwrap();
    assert_eq!((again.encoding(), fields(again.iter())), (hash.encoding(), fields(hash.iter())));
}

#[test]
fn refuses_listpacks_that_are_no_hash() {
    let pack = |elements: &[&str]| {
        let mut pack = Listpack::new();
        elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
        pack
    };
    assert!(Hash::from_pairs(&pack(&["a", "b", "c"]), &LIMITS).is_err());
    for triples in [&["a", "b"][..], &["a", "b", "-1"], &["a", "b", "x"], &["a", "b", "1", "c"]] {
        assert!(Hash::from_triples(pack(triples), &LIMITS).is_err(), "{triples:?}");
    }
    for unordered in [["a", "1", "30", "b", "2", "20"], ["a", "1", "0", "b", "2", "20"]] {
        assert!(Hash::from_triples(pack(&unordered), &LIMITS).is_err(), "{unordered:?}");
    }
    let ordered = pack(&["c", "3", "20", "b", "2", "30", "a", "1", "0"]);
    let hash = Hash::from_triples(ordered, &LIMITS).unwrap();
    check_packed(&hash, &LIMITS);
    assert_eq!((hash.len(), hash.min_expiry(), hash.expiry(b"b")), (3, Some(20), Some(Some(30))));
    let tight = HashLimits { pack: PackLimits { entries: 2, value: 64 }, seed: 1 };
    let large = Hash::from_triples(hash.to_listpack().unwrap().into_owned(), &tight).unwrap();
    assert_eq!((large.encoding(), fields(large.iter())), ("hashtable", fields(hash.iter())));
    assert_eq!(large.min_expiry(), Some(20));
}

#[test]
fn random_fields_are_live_and_different() {
    let mut rng = Rng::new(3);
    let mut random = || rng.next();
    for hash in one_of_each_form() {
        for now in [0, 1_050, 1_500, 100_000] {
            let live = fields(hash.live(now));
            assert_eq!(live.len(), hash.live_len(now));
            for count in [0, 1, 10, 70, 100, 1_000, 5_000] {
                let mut seen = BTreeSet::new();
                hash.sample_live(count, now, &mut random, |field| {
                    assert!(live.contains_key(&field.name.to_vec()) && seen.insert(field.name.to_vec()));
                });
                assert_eq!(seen.len(), count.min(live.len()));
            }
            let one = hash.random_live(now, &mut random);
            assert!(one.is_none_or(|field| field.is_live(now)));
            assert_eq!(one.is_none(), live.is_empty());
        }
    }
    let mut hash = build(1_000, 1, &LIMITS);
    hash.persist(b"f77");
    let only = hash.random_live(100_000, &mut random).map(|field| field.name.to_vec());
    assert_eq!(only, Some(b"f77".to_vec()));
}

#[test]
fn scan_visits_all() {
    for hash in one_of_each_form() {
        let (mut seen, mut cursor, mut calls) = (Vec::new(), 0, 0);
        loop {
            cursor = hash.scan(cursor, 10, |field| seen.push(field.name.to_vec()));
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), hash.len());
        assert!(seen.into_iter().collect::<BTreeSet<_>>().iter().eq(fields(hash.iter()).keys()));
        assert_eq!(calls > 1, hash.encoding() == "hashtable");
    }
}

#[test]
fn draining_ends() {
    for mut hash in one_of_each_form() {
        let mut calls = 0;
        while hash.drain_some(100) {
            calls += 1;
        }
        assert!(hash.is_empty() && calls < 21);
    }
}
