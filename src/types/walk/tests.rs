//! Walks against a copy made when they begin, under random changes.

use super::*;
use crate::types::PackLimits;
use crate::types::hash::{FieldTtl, Hash, HashLimits};
use crate::types::list::{List, ListLimits};
use crate::types::listpack::IntBuf;
use crate::types::sample::splitmix;
use crate::types::set::{Set, SetLimits};
use crate::types::zset::Zset;

const PACK: PackLimits = PackLimits { entries: 4, value: 64 };
const SET: SetLimits = SetLimits { intset_entries: 4, pack: PACK, seed: 5 };
const HASH: HashLimits = HashLimits { pack: PACK, seed: 6 };

fn list_limits() -> ListLimits {
    ListLimits { fill: 4, ..ListLimits::default() }
}

/// Everything about a piece.
fn show(piece: Piece) -> String {
    let text = |item: Item| item.bytes(&mut IntBuf::new()).escape_ascii().to_string();
    match piece {
        Piece::Node(NodeRef::Plain(bytes)) => format!("plain {}", bytes.escape_ascii()),
        Piece::Node(NodeRef::Packed(pack)) => pack.iter().map(|(_, item)| text(item) + " ").collect(),
        Piece::Member(member) => text(member),
        Piece::Text(bytes) => bytes.escape_ascii().to_string(),
        Piece::Scored(member, score) => format!("{} {score}", text(member)),
        Piece::Field(field) => format!("{}={} {:?}", text(field.name), text(field.value), field.expiry_ms),
    }
}

fn shown(value: ValueRef) -> Vec<String> {
    let mut pieces = Vec::new();
    value.pieces(|piece| pieces.push(show(piece)));
    if !matches!(value, ValueRef::List(_)) {
        pieces.sort_unstable();
    }
    pieces
}

/// A value of each type with about `n` elements.
fn values(n: u64) -> Vec<Value> {
    let (mut hash, mut set, mut zset, mut list) = (Hash::new(), Set::new(), Zset::new(7), List::new());
    for i in 0..n {
        let name = format!("m{i}");
        let ttl = if i % 3 == 0 { FieldTtl::At(1000 + i as i64) } else { FieldTtl::Clear };
        hash.set(name.as_bytes(), b"value", ttl, &HASH);
        set.add(name.as_bytes(), &SET);
        zset.insert(name.as_bytes(), (i % 17) as f64, PACK);
        list.push_back(name.as_bytes(), &list_limits());
    }
    vec![
        Value::Hash(Box::new(hash)),
        Value::Set(Box::new(set)),
        Value::Zset(Box::new(zset)),
        Value::List(Box::new(list)),
    ]
}

/// A random change.
fn change(value: &mut Value, random: &mut u64) {
    let draw = splitmix(random);
    let name = format!("m{}", draw % 700);
    let name = name.as_bytes();
    let what = draw >> 40;
    let fill = list_limits();
    match value {
        Value::Hash(hash) => match what % 6 {
            0 => _ = hash.remove(name),
            1 => _ = hash.set_expiry(name, 900 + (draw % 500) as i64),
            2 => _ = hash.persist(name),
            3 => _ = hash.expire_due(1000 + (draw % 100) as i64, 3, |_| {}),
            4 => _ = hash.set(name, b"a longer value", FieldTtl::Keep, &HASH),
            _ => _ = hash.set(name, b"other", FieldTtl::At(1500), &HASH),
        },
        Value::Set(set) => match what % 5 {
            0 | 1 => _ = set.remove(name),
            2 => _ = set.pop(draw, |_| {}),
            3 if what % 50 == 3 => set.pop_many(20, &mut || splitmix(random), |_| {}),
            _ => _ = set.add(name, &SET),
        },
        Value::Zset(zset) => match what % 6 {
            0 => _ = zset.remove(name),
            1 => _ = zset.pop_min(2, |_, _| {}),
            2 => _ = zset.pop_max(1, |_, _| {}),
            _ => _ = zset.insert(name, (draw % 19) as f64, PACK),
        },
        Value::List(list) => {
            let at = (draw % 800) as i64 - 400;
            match what % 16 {
                0..=2 => list.push_front(name, &fill),
                3..=5 => list.push_back(name, &fill),
                6 | 7 => _ = list.pop_front(),
                8 | 9 => _ = list.pop_back(),
                10 => _ = list.set(at, name, &fill),
                11 => _ = list.insert_before(name, b"new", &fill),
                12 => _ = list.insert_after(name, &[b'x'; 9000], &fill),
                13 => _ = list.remove(at % 3, name, &fill),
                14 if what.is_multiple_of(5) => _ = list.trim(3, -9),
                14 => _ = list.delete_range(at.unsigned_abs() as usize, 7),
                _ => list.try_shrink(&fill),
            }
        }
        _ => {}
    }
}

#[test]
fn a_walk_gives_what_was_there_when_it_began() {
    for seed in 0..60u64 {
        let mut random = seed;
        for mut value in values(500) {
            let before = shown(value.as_ref());
            let kind = value.as_ref().kind();
            // Some are walked lazily under many changes, some changed to nothing, some hardly changed.
            let changes = [0, 1, 5, 40][(seed % 4) as usize];
            let tally = Tally::default();
            value.as_mut().begin_walk(Walker::new(9, &tally));
            assert_eq!(value.as_ref().walker(), Some(9));
            let mut pieces = Vec::new();
            loop {
                for _ in 0..changes {
                    change(&mut value, &mut random);
                }
                if value.as_mut().step_walk(|piece| pieces.push(show(piece))) {
                    break;
                }
            }
            if kind != crate::types::value::Kind::List {
                pieces.sort_unstable();
            }
            assert!(pieces == before, "seed {seed}: {kind:?}\n{pieces:?}\n{before:?}");
            assert_eq!((value.as_ref().walker(), tally.bytes()), (None, 0));
        }
    }
}

#[test]
fn a_value_emptied_under_its_walk_is_given_in_full() {
    for mut value in values(300) {
        let before = shown(value.as_ref()).len();
        let tally = Tally::default();
        value.as_mut().begin_walk(Walker::new(1, &tally));
        let mut seen = 0;
        for _ in 0..3 {
            assert!(!value.as_mut().step_walk(|_| seen += 1));
        }
        match &mut value {
            Value::Hash(hash) => assert!((0..300).all(|i| hash.remove(format!("m{i}").as_bytes()))),
            Value::Set(set) => set.pop_many(usize::MAX, &mut || 77, |_| {}),
            Value::Zset(zset) => _ = zset.pop_min(usize::MAX, |_, _| {}),
            Value::List(list) => _ = list.trim(1, 0),
            _ => {}
        }
        assert!(value.as_ref().piece_count() == 0);
        assert!(tally.bytes() > 500, "{} bytes kept", tally.bytes());
        while !value.as_mut().step_walk(|_| seen += 1) {}
        assert_eq!(seen, before);
    }
}

#[test]
fn what_was_put_aside_is_dropped_in_steps() {
    const MORE: usize = 5000;
    for cancelled in [false, true] {
        for mut value in values(300).into_iter().take(3) {
            let tally = Tally::default();
            value.as_mut().begin_walk(Walker::new(1, &tally));
            for i in 0..MORE {
                let name = format!("new{i}");
                match &mut value {
                    Value::Hash(hash) => _ = hash.set(name.as_bytes(), b"", FieldTtl::Clear, &HASH),
                    Value::Set(set) => _ = set.add(name.as_bytes(), &SET),
                    Value::Zset(zset) => _ = zset.insert(name.as_bytes(), 1.0, PACK),
                    _ => {}
                }
            }
            if cancelled {
                value.as_mut().cancel_walk();
            }
            let (mut idle, mut given) = (0, 0);
            loop {
                let before = given;
                let done = value.as_mut().step_walk(|_| given += 1);
                idle += usize::from(given == before);
                if done {
                    break;
                }
            }
            assert_eq!(given, if cancelled { 0 } else { 300 });
            assert!(idle >= MORE / aside::DROPPED_PER_STEP, "{idle} steps");
            assert_eq!((value.as_ref().walker(), tally.bytes()), (None, 0));
        }
    }
}

#[test]
fn a_copy_is_not_walked() {
    for mut value in values(100) {
        value.as_mut().begin_walk(Walker::new(1, &Tally::default()));
        assert_eq!(value.clone().as_ref().walker(), None);
        value.as_mut().cancel_walk();
        while !value.as_mut().step_walk(|_| unreachable!("it is cancelled")) {}
        assert_eq!(value.as_ref().walker(), None);
    }
}
