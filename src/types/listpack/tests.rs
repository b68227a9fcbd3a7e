//! Listpacks against a naive model, against bytes of a real server, and against hostile bytes.

use super::testing::{Rng, unhex};
use super::*;

fn contents(list: &Listpack) -> Vec<Vec<u8>> {
    list.iter().map(|(_, item)| item.to_vec()).collect()
}

fn of(elements: &[&[u8]]) -> Listpack {
    let mut list = Listpack::new();
    elements.iter().for_each(|element| list.push_back(element));
    list
}

fn check(list: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(validate(list.as_bytes()), Ok(model.len()));
    assert_eq!(list.count(), model.len());
    assert_eq!(contents(list), model);
    let backward: Vec<_> = list.iter().rev().map(|(_, item)| item.to_vec()).collect();
    assert!(backward.iter().eq(model.iter().rev()));
    assert!(list.heap_bytes() <= 128.max(list.byte_len() * 2 + 8));
}

/// DUMP of Redis 8.2.3, without type, node header and footer.
#[test]
fn same_bytes_as_redis() {
    let integers: [&[u8]; 22] = [
        b"a",
        b"1",
        b"-1",
        b"127",
        b"128",
        b"4095",
        b"-4096",
        b"4096",
        b"32767",
        b"32768",
        b"-8388608",
        b"8388608",
        b"2147483647",
        b"2147483648",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"hello",
        b"01",
        b"+1",
        b"-0",
        b"1.5",
        b"",
    ];
    let golden = unhex(
        "7000000016008161020101dfff027f01c08002cfff02d00002f1001003f1ff7f03f200800004f200008004\
         f30000800005f3ffffff7f05f4000000800000000009f4ffffffffffffff7f09f4000000000000008009856\
         8656c6c6f0682303103822b3103822d300383312e35048001ff"
            .replace(' ', "")
            .as_str(),
    );
    assert_eq!(of(&integers).as_bytes(), golden);
    let loaded = Listpack::from_bytes(golden).unwrap();
    assert!(loaded.iter().map(|(_, item)| item.to_vec()).eq(integers.iter().map(|e| e.to_vec())));

    let hash = of(&[b"name", b"Ada", b"age", b"36", b"score", b"-77.5", b"id", b"100000"]);
    let golden = "300000000800846e616d65058341646104836167650424018573636f726506852d37372e350682696403f2a0860104ff";
    assert_eq!(hash.as_bytes(), unhex(golden));
    assert_eq!(hash.find(b"id", 1).and_then(|field| hash.next(field)).map(|v| hash.at(v)), Some(Item::Int(100_000)));
    assert_eq!(hash.find(b"36", 1), None);
}

/// String and backlen length boundaries, seen in DUMP of Redis 8.2.3.
#[test]
fn same_boundaries_as_redis() {
    let list = of(&[&[b'x'; 63], &[b'y'; 64], &[b'z'; 126], &[b'w'; 200]]);
    let mut golden = unhex("d90100000400bf");
    golden.extend([b'x'; 63]);
    golden.extend(unhex("40e040"));
    golden.extend([b'y'; 64]);
    golden.extend(unhex("42e07e"));
    golden.extend([b'z'; 126]);
    golden.extend(unhex("0180e0c8"));
    golden.extend([b'w'; 200]);
    golden.extend(unhex("01caff"));
    assert_eq!(list.as_bytes(), golden);
    let cases = [
        (4095, "0a1000000100efff", "2081ff"),
        (4096, "0e1000000100f000100000", "2085ff"),
        (16376, "064000000100f0f83f0000", "7ffdff"),
        (16377, "074000000100f0f93f0000", "7ffeff"),
        (16378, "094000000100f0fa3f0000", "00ffffff"),
        (16379, "0a4000000100f0fb3f0000", "018080ff"),
    ];
    for (len, head, tail) in cases {
        let element = vec![b'q'; len];
        let list = of(&[&element]);
        assert!(list.as_bytes().starts_with(&unhex(head)), "{len}");
        assert!(list.as_bytes().ends_with(&unhex(tail)), "{len}");
        assert_eq!(validate(list.as_bytes()), Ok(1));
        assert_eq!(Listpack::entry_len(&element) + 7, list.byte_len());
        assert_eq!(list.last(), Some(6));
    }
}

#[test]
fn items() {
    for value in [0, 9, 10, -1, -10, 99, 100, i64::MAX, i64::MIN] {
        let text = value.to_string();
        assert_eq!(Item::Int(value).len(), text.len());
        assert_eq!(canonical_int(text.as_bytes()), Some(value));
        assert!(Item::Int(value).eq_bytes(text.as_bytes()));
        assert_eq!(Item::Bytes(text.as_bytes()).as_int(), Some(value));
    }
    for text in ["", "-", "+1", "01", "-0", "1 ", "1e3", "9223372036854775808", "-9223372036854775809"] {
        assert_eq!(canonical_int(text.as_bytes()), None, "{text}");
    }
    assert_eq!(Item::Bytes(b"-inf").as_f64(), Some(f64::NEG_INFINITY));
    assert_eq!(Item::Int(3).as_f64(), Some(3.0));
}

#[test]
fn random_operations_against_model() {
    for seed in crate::types::tests::seeds(60) {
        let mut rng = Rng(seed);
        let mut list = Listpack::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for _ in 0..200 {
            step(&mut rng, &mut list, &mut model);
            check(&list, &model);
        }
        check(&list.clone(), &model);
        let bytes = list.as_bytes().to_vec();
        assert_eq!(Listpack::from_bytes(bytes).unwrap(), list);
    }
}

fn step(rng: &mut Rng, list: &mut Listpack, model: &mut Vec<Vec<u8>>) {
    let element = rng.element();
    let at = rng.below(model.len());
    let offset = list.nth(at as i64);
    assert_eq!(offset.is_some(), at < model.len());
    assert_eq!(list.nth(at as i64 - model.len() as i64), if model.is_empty() { None } else { offset });
    assert_eq!(list.nth(model.len() as i64), None);
    match (rng.below(12), offset) {
        (0 | 1, _) => {
            list.push_back(&element);
            model.push(element);
        }
        (2, _) => {
            list.push_front(&element);
            model.insert(0, element);
        }
        (3, Some(offset)) => {
            assert_eq!(list.insert_before(offset, &element), offset);
            model.insert(at, element);
        }
        (4, Some(offset)) => {
            let new = list.insert_after(offset, &element);
            assert!(list.at(new).eq_bytes(&element));
            model.insert(at + 1, element);
        }
        (5, Some(offset)) => {
            list.replace(offset, &element);
            model[at] = element;
        }
        (6, Some(offset)) => {
            let next = list.delete(offset);
            model.remove(at);
            assert_eq!(next.map(|o| list.at(o).to_vec()).as_ref(), model.get(at));
        }
        (7, Some(_)) => {
            let count = rng.below(5);
            let deleted = list.delete_range(at as i64, count);
            assert_eq!(deleted, count.min(model.len() - at));
            model.drain(at..at + deleted);
        }
        (8, Some(_)) => {
            let needle = model[at].clone();
            let found = list.find(&needle, 0).unwrap();
            assert_eq!(list.iter().position(|(o, _)| o == found), model.iter().position(|e| *e == needle));
            let (skip, max) = (rng.below(2), rng.below(3));
            let hits: Vec<usize> = (0..model.len()).filter(|&i| model[i] == needle).collect();
            let gone: Vec<usize> = hits.into_iter().skip(skip).take(max).collect();
            assert_eq!(list.remove_matching(&Needle::new(&needle), skip, max), gone.len());
            gone.iter().rev().for_each(|&i| drop(model.remove(i)));
        }
        (9, Some(_)) => {
            let tail = list.split_off(at);
            check(&tail, &model[at..]);
            check(list, &model[..at]);
            list.append(&tail);
        }
        (10, Some(offset)) => {
            assert!(list.iter_from(offset).map(|(_, i)| i.to_vec()).eq(model[at..].iter().cloned()));
            assert!(list.iter_to(offset).rev().map(|(_, i)| i.to_vec()).eq(model[..=at].iter().rev().cloned()));
        }
        (_, _) => {
            assert_eq!(list.find(b"not there", 0), None);
            list.push_back_int(at as i64);
            model.push(at.to_string().into_bytes());
        }
    }
}

#[test]
fn more_elements_than_the_header_counts() {
    let mut list = Listpack::new();
    for i in 0..70_000 {
        list.push_back_int(i % 100);
    }
    assert_eq!(list.as_bytes()[4..6], [0xFF, 0xFF]);
    assert_eq!(list.count(), 70_000);
    assert_eq!(validate(list.as_bytes()), Ok(70_000));
    assert_eq!(list.item(69_999), Some(Item::Int(99)));
    assert_eq!(list.item(-70_000), Some(Item::Int(0)));
    assert_eq!(list.nth(70_000), None);
    assert_eq!(list.nth(i64::MIN), None);
    assert_eq!(list.delete_range(10, 69_000), 69_000);
    assert_eq!(list.count(), 1000);
    let loaded = Listpack::from_bytes(list.as_bytes().to_vec()).unwrap();
    assert_eq!(loaded.as_bytes()[4..6], 1000u16.to_le_bytes());
}

#[test]
fn hostile_bytes() {
    let good = of(&[b"name", b"100000", &[b'y'; 64], &[b'w'; 200], &[b'q'; 5000], b"-5"]);
    let mut rng = Rng(7);
    for _ in crate::types::tests::seeds(20_000) {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            // Mostly where entries begin, not in the middle of the long strings.
            let at = if rng.below(3) > 0 { rng.below(90) } else { rng.below(bytes.len()) };
            bytes[at] = rng.next() as u8;
        }
        if rng.below(3) == 0 {
            bytes.truncate(rng.below(bytes.len()));
            let len = bytes.len() as u32;
            if len >= 7 {
                bytes[..4].copy_from_slice(&len.to_le_bytes());
            }
        }
        if let Ok(mut list) = Listpack::from_bytes(bytes) {
            let count = list.count();
            assert_eq!(list.iter().count(), count);
            assert_eq!(list.iter().rev().count(), count);
            // Encodings that Redis would not have chosen are lawful; changing them must work.
            let at = rng.below(count);
            let Some(offset) = list.nth(at as i64) else {
                continue;
            };
            list.replace(offset, &rng.element());
            let tail = list.split_off(at);
            list.append(&tail);
            list.insert_after(offset, b"new");
            list.delete(offset);
            assert_eq!(validate(list.as_bytes()), Ok(count));
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    use ListpackError::*;
    let cases = [
        ("", Err(Header)),
        ("070000000000", Err(Header)),
        ("080000000000ff", Err(Header)),
        ("07000000000000", Err(Terminator)),
        ("07000000ff7fff", Err(Count)),
        ("0900000002000101ff", Err(Count)),
        ("0900000001000102ff", Err(Backlen)),
        ("0900000001008101ff", Err(Truncated)),
        ("090000000100f501ff", Err(Encoding)),
        ("090000000100ff01ff", Err(Encoding)),
        ("0d0000000100f0ffffffff01ff", Err(Truncated)),
        ("0d0000000100f0fffffffeffff", Err(Truncated)),
        ("07000000ffffff", Ok(0)),
        ("0900000001008001ff", Ok(1)),
        ("0a00000001008161 02ff", Ok(1)),
    ];
    for (hex, result) in cases {
        assert_eq!(validate(&unhex(&hex.replace(' ', ""))), result, "{hex}");
    }
}
