//! Sets against a naive model, and the measured transitions between forms.

use super::*;
use crate::types::sample::tests::Rng;
use std::collections::BTreeSet;

const LIMITS: SetLimits = SetLimits { intset_entries: 512, pack: PackLimits { entries: 128, value: 64 }, seed: 11 };

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    set.iter().map(|member| member.to_vec()).collect()
}

/// A member of the kinds that decide on forms.
fn member(rng: &mut Rng, spread: u64) -> Vec<u8> {
    let n = rng.below(spread) as i64 - spread as i64 / 2;
    match rng.below(12) {
        0 => n.to_string().into_bytes().repeat(5),
        1 => format!("{n:070}").into_bytes(),
        2 => n.wrapping_mul(1 << 40).to_string().into_bytes(),
        3 => format!("m{n}").into_bytes(),
        _ => n.to_string().into_bytes(),
    }
}

#[test]
fn changes_its_form_where_redis_does() {
    let mut set = Set::new();
    for n in 0..512 {
        set.add(n.to_string().as_bytes(), &LIMITS);
        assert_eq!(set.encoding(), "intset");
    }
    assert!(!set.add(b"511", &LIMITS));
    assert_eq!(set.encoding(), "intset");
    assert!(set.add(b"512", &LIMITS));
    assert_eq!((set.encoding(), set.len()), ("hashtable", 513));

    let mut set = Set::new();
    for n in 0..128 {
        set.add(format!("m{n}").as_bytes(), &LIMITS);
        assert_eq!(set.encoding(), "listpack");
    }
    set.add(b"m128", &LIMITS);
    assert_eq!((set.encoding(), set.len()), ("hashtable", 129));

    for (ints, other, encoding) in [
        (127, vec![b'x'; 64], "listpack"),
        (128, vec![b'x'; 64], "hashtable"),
        (1, vec![b'x'; 65], "hashtable"),
        (0, vec![b'x'; 65], "hashtable"),
        (0, b"01".to_vec(), "listpack"),
    ] {
        let mut set = Set::new();
        (0..ints).for_each(|n| assert!(set.add(n.to_string().as_bytes(), &LIMITS)));
        assert!(set.add(&other, &LIMITS));
        assert_eq!((set.encoding(), set.len()), (encoding, ints + 1));
        assert!(set.contains(&other));
    }
    let none = SetLimits { intset_entries: 0, ..LIMITS };
    let mut set = Set::new();
    set.add(b"1", &none);
    assert_eq!(set.encoding(), "listpack");
}

#[test]
fn hints_choose_the_form_at_once() {
    for (first, hint, encoding) in
        [("1", 512, "intset"), ("1", 513, "hashtable"), ("a", 128, "listpack"), ("a", 129, "hashtable")]
    {
        assert_eq!(Set::with_hint(first.as_bytes(), hint, &LIMITS).encoding(), encoding);
    }
    let mut set = Set::with_hint(b"1", 1, &LIMITS);
    set.add(b"1", &LIMITS);
    set.expect(512, &LIMITS);
    assert_eq!(set.encoding(), "intset");
    set.expect(513, &LIMITS);
    assert_eq!((set.encoding(), set.contains(b"1")), ("hashtable", true));
}

#[test]
fn random_operations_agree_with_a_model() {
    let tiny = SetLimits { intset_entries: 8, pack: PackLimits { entries: 20, value: 64 }, seed: 3 };
    for seed in crate::types::tests::seeds(40) {
        let mut rng = Rng::new(seed);
        let limits = if seed % 2 == 0 { LIMITS } else { tiny };
        let spread = [10, 60, 400, 5_000][seed as usize % 4];
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for op in 0..3_000 {
            let one = member(&mut rng, spread);
            match rng.below(20) {
                0..=9 => assert_eq!(set.add(&one, &limits), model.insert(one)),
                10..=14 => assert_eq!(set.remove(&one), model.remove(&one)),
                15..=17 => assert_eq!(set.contains(&one), model.contains(&one)),
                18 => {
                    let popped = set.pop(rng.next(), |member| member.to_vec());
                    assert_eq!(popped.is_none(), model.is_empty());
                    popped.iter().for_each(|member| assert!(model.remove(member)));
                }
                _ => {
                    let random = set.random(rng.next()).map(|member| member.to_vec());
                    assert_eq!(random.is_none(), model.is_empty());
                    assert!(random.is_none_or(|member| set.contains(&member)));
                    if let Some(member) = set.random(rng.next()) {
                        assert!(set.contains_item(member));
                    }
                }
            }
            assert_eq!(set.len(), model.len());
            if op % 300 == 0 {
                assert_eq!(members(&set), model);
                assert_eq!(members(&set.clone()), model);
            }
        }
        let bytes: usize = model.iter().map(|member| ThinBytes::new(member).heap_bytes()).sum();
        if set.encoding() == "hashtable" {
            assert!(set.heap_bytes() > bytes);
            set.iter().map(|member| member.to_vec()).collect::<Vec<_>>().iter().for_each(|one| {
                set.remove(one);
            });
            let Form::Large(large) = &set.0 else { unreachable!() };
            assert_eq!((large.member_bytes, large.table.len()), (0, 0));
        }
    }
}

/// A set of each form, with its members.
fn one_of_each_form() -> Vec<Set> {
    let build = |prefix: &str, n: usize| {
        let mut set = Set::new();
        (0..n).for_each(|i| assert!(set.add(format!("{prefix}{i}").as_bytes(), &LIMITS)));
        set
    };
    vec![build("", 200), build("m", 100), build("m", 2_000), Set::new()]
}

#[test]
fn samples_and_pops_take_different_members() {
    let mut rng = Rng::new(8);
    let mut random = || rng.next();
    for set in one_of_each_form() {
        for count in [0, 1, 2, 30, 99, 100, 199, 1_500, 3_000] {
            let mut seen = BTreeSet::new();
            set.sample(count, &mut random, |member| assert!(seen.insert(member.to_vec())));
            assert_eq!(seen.len(), count.min(set.len()));
            assert!(seen.is_subset(&members(&set)));

            let (mut rest, mut popped) = (set.clone(), BTreeSet::new());
            rest.pop_many(count, &mut random, |member| assert!(popped.insert(member.to_vec())));
            assert_eq!(popped.len(), count.min(set.len()));
            assert!(popped.is_disjoint(&members(&rest)));
            popped.append(&mut members(&rest));
            assert_eq!(popped, members(&set));
        }
    }
}

#[test]
fn scan_visits_all() {
    for set in one_of_each_form() {
        let (mut seen, mut cursor, mut calls) = (Vec::new(), 0, 0);
        loop {
            let before = seen.len();
            cursor = set.scan(cursor, 50, |member| seen.push(member.to_vec()));
            calls += 1;
            assert!(cursor == 0 || (50..100).contains(&(seen.len() - before)));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), set.len());
        assert_eq!(BTreeSet::from_iter(seen), members(&set));
        assert_eq!(calls > 1, set.encoding() == "hashtable");
    }
}

#[test]
fn comes_back_from_its_packed_forms() {
    for set in one_of_each_form() {
        let again = match set.view() {
            View::Intset(ints) => Set::from_intset(ints.clone(), &LIMITS),
            View::Listpack(pack) => Set::from_listpack(pack.clone(), &LIMITS),
            View::Large => continue,
        };
        assert_eq!((again.encoding(), members(&again)), (set.encoding(), members(&set)));
        let tight = SetLimits { intset_entries: 5, pack: PackLimits { entries: 5, value: 64 }, seed: 1 };
        let again = match set.view() {
            View::Intset(ints) => Set::from_intset(ints.clone(), &tight),
            View::Listpack(pack) => Set::from_listpack(pack.clone(), &tight),
            View::Large => continue,
        };
        if set.len() > 5 {
            assert_eq!(again.encoding(), "hashtable");
        }
        assert_eq!(members(&again), members(&set));
    }
}

#[test]
fn duplicates_in_a_listpack_are_found() {
    let mut pack = Listpack::new();
    for element in ["a", "x", "b", "x", "1", "x"] {
        pack.push_back(element.as_bytes());
    }
    assert!(!has_duplicates(&pack, 2));
    assert!(has_duplicates(&pack, 1));
    // Such a set is wrong, but harmless.
    let mut set = Set::from_listpack(pack, &LIMITS);
    assert!(set.remove(b"x") && set.contains(b"x"));
    set.expect(1_000, &LIMITS);
    assert_eq!(set.len(), 4);
}

#[test]
fn draining_ends() {
    for mut set in one_of_each_form() {
        let mut calls = 0;
        while set.drain_some(100) {
            calls += 1;
        }
        assert!(set.is_empty() && calls < 21);
    }
}
