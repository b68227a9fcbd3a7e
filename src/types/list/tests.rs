//! Lists against a naive model, and their encodings against what Redis 8.2.3 shows.

use super::*;
use crate::types::listpack::testing::Rng;
use crate::types::listpack::validate;

const DEFAULTS: ListLimits = ListLimits { fill: -2, compress_depth: 0, packed_threshold: 0 };

fn limits(fill: i32) -> ListLimits {
    ListLimits { fill, ..DEFAULTS }
}

fn contents<const R: bool>(iter: Iter<'_, R>) -> Vec<Vec<u8>> {
    iter.map(|item| item.to_vec()).collect()
}

/// All that must hold of a list whatever happened to it.
fn check(list: &List, model: &[Vec<u8>]) {
    assert_eq!(list.len(), model.len());
    assert_eq!(contents(list.iter()), model);
    assert!(contents(list.iter_rev()).iter().eq(model.iter().rev()));
    assert_eq!(list.front().map(|item| item.to_vec()).as_ref(), model.first());
    assert_eq!(list.back().map(|item| item.to_vec()).as_ref(), model.last());
    let mut count = 0;
    for node in list.nodes() {
        count += match node {
            NodeRef::Packed(pack) => {
                assert!(!pack.is_empty());
                validate(pack.as_bytes()).unwrap()
            }
            NodeRef::Plain(_) => 1,
        };
    }
    assert_eq!(count, model.len());
    if let Repr::Quick(quick) = &list.repr {
        let nodes = quick.nodes();
        let bytes: usize = nodes.iter().map(Node::heap_bytes).sum();
        assert_eq!(quick.heap_bytes(), size_of::<Quicklist>() + nodes.capacity() * size_of::<Node>() + bytes);
        assert_eq!(nodes.iter().map(Node::count).sum::<usize>(), model.len());
    }
}

/// Limits under which all elements have one length, so that nodes are sealed, most of them in groups of eight.
const ONE_LENGTH: [i32; 2] = [20, 100];

fn some_element(rng: &mut Rng, limits: &ListLimits) -> Vec<u8> {
    let mut element = rng.element();
    if ONE_LENGTH.contains(&limits.fill) {
        element.resize(12, b'.');
        if rng.below(500) > 0 {
            element.iter_mut().for_each(|byte| *byte &= 0x7f);
        }
    }
    element
}

#[test]
fn random_operations_against_model() {
    let kinds = [
        limits(1),
        limits(2),
        limits(3),
        limits(7),
        limits(40),
        limits(ONE_LENGTH[0]),
        limits(ONE_LENGTH[1]),
        limits(-1),
        limits(-2),
        ListLimits { packed_threshold: 3, ..limits(5) },
        ListLimits { packed_threshold: 100, ..limits(-1) },
    ];
    for seed in crate::types::tests::seeds(110) {
        let mut rng = Rng(seed);
        let limits = &kinds[seed as usize % kinds.len()];
        let mut list = List::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for _ in 0..rng.below(600) {
            add(&mut rng, &mut list, &mut model, limits);
        }
        for _ in 0..250 {
            match rng.below(3) {
                0 => add(&mut rng, &mut list, &mut model, limits),
                1 => change(&mut rng, &mut list, &mut model, limits),
                _ => read(&mut rng, &list, &model),
            }
            check(&list, &model);
        }
        check(&list.clone(), &model);
        check(&rebuilt(&list, limits), &model);
        let mut freed = 0;
        while let Some(count) = list.take_chunk() {
            freed += count;
        }
        assert_eq!(freed, model.len());
        check(&list, &[]);
    }
}

fn rebuilt(list: &List, limits: &ListLimits) -> List {
    let nodes = list.nodes().map(|node| match node {
        NodeRef::Packed(pack) => NodeBody::Packed(pack.into_owned()),
        NodeRef::Plain(element) => NodeBody::Plain(element.into()),
    });
    List::from_nodes(nodes.collect::<Vec<_>>(), limits)
}

fn add(rng: &mut Rng, list: &mut List, model: &mut Vec<Vec<u8>>, limits: &ListLimits) {
    let element = if rng.below(300) == 0 { vec![b'P'; 9000] } else { some_element(rng, limits) };
    match rng.below(4) {
        0 => {
            list.push_back(&element, limits);
            model.push(element);
        }
        1 => {
            list.push_front(&element, limits);
            model.insert(0, element);
        }
        2 => {
            let more: Vec<_> = (0..rng.below(5)).map(|_| some_element(rng, limits)).collect();
            list.extend_back(more.iter().map(Vec::as_slice), limits);
            model.extend(more.iter().cloned());
            list.extend_front(more.iter().map(Vec::as_slice), limits);
            more.into_iter().for_each(|element| model.insert(0, element));
        }
        _ => {
            let pivot = model.get(rng.below(model.len())).cloned().unwrap_or_default();
            let place = model.iter().position(|e| *e == pivot);
            let after = rng.below(2);
            let inserted = if after == 1 {
                list.insert_after(&pivot, &element, limits)
            } else {
                list.insert_before(&pivot, &element, limits)
            };
            assert_eq!(inserted, place.is_some());
            place.into_iter().for_each(|i| model.insert(i + after, element.clone()));
        }
    }
}

fn change(rng: &mut Rng, list: &mut List, model: &mut Vec<Vec<u8>>, limits: &ListLimits) {
    let len = model.len();
    let at = rng.below(len);
    match rng.below(9) {
        0 => {
            assert_eq!(list.pop_front(), (len > 0).then(|| model.remove(0)));
        }
        1 => assert_eq!(list.pop_back(), model.pop()),
        2 => {
            assert_eq!(list.remove_front(), len > 0);
            model.drain(..len.min(1));
        }
        3 => {
            assert_eq!(list.remove_back(), model.pop().is_some());
        }
        4 | 5 => {
            let element = some_element(rng, limits);
            let index = if rng.below(2) == 0 { at as i64 } else { at as i64 - len as i64 };
            assert_eq!(list.set(index, &element, limits), len > 0);
            assert!(!list.set(len as i64, b"x", limits) && !list.set(-1 - len as i64, b"x", limits));
            model.get_mut(at).into_iter().for_each(|old| *old = element.clone());
        }
        6 => {
            let value = model.get(at).cloned().unwrap_or_default();
            let count = rng.below(7) as i64 - 3;
            let mut hits: Vec<usize> = (0..len).filter(|&i| model[i] == value).collect();
            if count > 0 {
                hits.truncate(count as usize);
            } else if count < 0 {
                hits.drain(..hits.len().saturating_sub(-count as usize));
            }
            assert_eq!(list.remove(count, &value, limits), hits.len());
            hits.iter().rev().for_each(|&i| drop(model.remove(i)));
        }
        7 => {
            let count = rng.below(10) * rng.below(10);
            let deleted = list.delete_range(at, count);
            assert_eq!(deleted, count.min(len - at.min(len)));
            model.drain(at.min(len)..(at + deleted).min(len));
        }
        _ => {
            let (start, stop) = (rng.below(20) as i64 - 10, -(rng.below(12) as i64));
            let kept = slice(model, start, stop).to_vec();
            assert_eq!(list.trim(start, stop), len - kept.len());
            *model = kept;
        }
    }
    if rng.below(2) == 0 {
        list.try_shrink(limits);
    }
}

/// LRANGE on the model, written another way than [`List::span`].
fn slice(model: &[Vec<u8>], start: i64, stop: i64) -> &[Vec<u8>] {
    let len = model.len() as i64;
    let start = if start < 0 { (len + start).max(0) } else { start.min(len) };
    let end = if stop < 0 { (len + stop + 1).max(0) } else { (stop + 1).min(len) };
    if start < end { &model[start as usize..end as usize] } else { &[] }
}

fn read(rng: &mut Rng, list: &List, model: &[Vec<u8>]) {
    let len = model.len();
    let (at, count) = (rng.below(len), rng.below(30));
    assert_eq!(list.index(at as i64).map(|item| item.to_vec()).as_ref(), model.get(at));
    assert_eq!(list.index(-1 - at as i64).map(|item| item.to_vec()).as_ref(), model.iter().rev().nth(at));
    assert!(list.index(len as i64).is_none());
    assert!(list.index(i64::MIN).is_none());
    assert!(contents(list.range(at, count)).iter().eq(model.iter().skip(at).take(count)));
    let before = &model[..(at + 1).min(len)];
    assert!(contents(list.range_rev(at, count)).iter().eq(before.iter().rev().take(count)));
    let mut folded = Vec::new();
    list.range(at, count).for_each(|item| folded.push(item.to_vec()));
    list.range_rev(at, count).for_each(|item| folded.push(item.to_vec()));
    let mut again = contents(list.range(at, count));
    again.extend(contents(list.range_rev(at, count)));
    assert_eq!(folded, again);
    assert_eq!(list.range(usize::MAX, 3).count(), 0);
    assert_eq!(list.range_rev(usize::MAX, 3).count(), 0);
    let value = model.get(at).cloned().unwrap_or_default();
    let hits = (0..len).filter(|&i| model[i] == value);
    assert!(list.positions(&value, usize::MAX).eq(hits.clone()));
    assert!(list.positions(&value, at).eq(hits.clone().take_while(|&i| i < at)));
    assert!(list.positions_rev(&value, usize::MAX).eq(hits.rev()));
}

/// Elements of one kind pushed one at a time until the list is a quicklist.
fn turns_at(element: &[u8], limits: &ListLimits) -> usize {
    let mut list = List::new();
    while list.encoding() == "listpack" {
        list.push_back(element, limits);
    }
    list.len()
}

#[test]
fn grows_where_redis_does() {
    assert_eq!(turns_at(b"x", &DEFAULTS), 2730);
    assert_eq!(turns_at(&[b'x'; 10], &DEFAULTS), 683);
    assert_eq!(turns_at(&[b'x'; 100], &DEFAULTS), 80);
    assert_eq!(turns_at(b"x", &limits(128)), 129);
    for (len, encoding) in [(8185, "listpack"), (8186, "quicklist")] {
        let mut list = List::new();
        list.push_back(&vec![b'x'; len], &DEFAULTS);
        assert_eq!(list.encoding(), encoding);
    }
    // The bytes of all arguments are added up, without what their entries cost.
    let mut list = List::new();
    list.extend_back(std::iter::repeat_n(&b"x"[..], 2800), &DEFAULTS);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn shrinks_where_redis_does() {
    let mut list = List::new();
    for _ in 0..2740 {
        list.push_back(b"x", &DEFAULTS);
    }
    assert_eq!(list.encoding(), "quicklist");
    while list.encoding() == "quicklist" {
        list.remove_back();
        list.try_shrink(&DEFAULTS);
    }
    assert_eq!(list.len(), 1363);
    // Two nodes stay a quicklist, however small.
    let mut list = List::new();
    let limits = limits(2);
    list.extend_back([b"a", b"b", b"c"].iter().map(|e| &e[..]), &limits);
    assert_eq!(list.remove(1, b"b", &limits), 1);
    list.try_shrink(&limits);
    assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
    list.pop_back();
    list.try_shrink(&limits);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn large_elements_are_plain_nodes() {
    let big = vec![b'b'; 9000];
    let mut list = List::new();
    list.extend_back([&b"a"[..], &big, b"c"].into_iter(), &DEFAULTS);
    let plain = |list: &List| list.nodes().map(|node| matches!(node, NodeRef::Plain(_))).collect::<Vec<_>>();
    assert_eq!(plain(&list), [false, true, false]);
    assert!(list.set(1, b"small", &DEFAULTS));
    assert_eq!(plain(&list), [false, false]);
    assert!(list.set(0, &big, &DEFAULTS));
    assert_eq!(contents(list.iter()), [big.clone(), b"small".to_vec(), b"c".to_vec()]);
    assert_eq!(list.pop_front(), Some(big));
}

#[test]
fn inserts_in_the_middle_touch_few_nodes() {
    let mut list = List::new();
    for i in 0..200_000 {
        list.push_back(i.to_string().as_bytes(), &DEFAULTS);
    }
    let nodes = list.node_count();
    let untouched = |list: &List| {
        list.nodes()
            .map(|node| match node {
                NodeRef::Packed(pack) => pack.as_bytes().as_ptr() as usize,
                NodeRef::Plain(element) => element.as_ptr() as usize,
            })
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = untouched(&list);
    assert!(list.insert_after(b"100000", b"new", &DEFAULTS));
    assert!(list.set(50_000, &[b'y'; 3000], &DEFAULTS));
    assert_eq!(list.remove(1, b"150000", &DEFAULTS), 1);
    assert!(before.intersection(&untouched(&list)).count() >= nodes - 4);
    assert_eq!(list.index(100_001).map(Element::to_vec), Some(b"new".to_vec()));
    assert_eq!(list.len(), 200_000);
}

#[test]
fn sparse_nodes_are_merged() {
    let limits = limits(64);
    let mut list = List::new();
    for i in 0..64_000 {
        list.push_back(if i % 64 == 0 { b"keep" } else { b"gone" }, &limits);
    }
    assert_eq!(list.remove(0, b"gone", &limits), 63_000);
    assert!(list.node_count() < 100 && list.node_count() > 1, "{}", list.node_count());
    check(&list, &vec![b"keep".to_vec(); 1000]);
}

#[test]
fn replacing_does_not_swell_nodes() {
    let mut list = List::new();
    list.extend_back(std::iter::repeat_n(&b"x"[..], 20_000), &DEFAULTS);
    for index in 0..300 {
        assert!(list.set(index * 3, &[b'y'; 3000], &DEFAULTS));
    }
    for node in list.nodes() {
        assert!(matches!(node, NodeRef::Packed(pack) if pack.byte_len() < 5 * 8192));
    }
    let mut model = vec![b"x".to_vec(); 20_000];
    (0..300).for_each(|index| model[index * 3] = vec![b'y'; 3000]);
    check(&list, &model);
}

#[test]
fn both_ends_are_stored_alike() {
    let elements: Vec<String> = (0..100_000).map(|i| format!("element {i:08}")).collect();
    let (mut pushed_front, mut pushed_back, mut both) = (List::new(), List::new(), List::new());
    for (i, element) in elements.iter().enumerate() {
        pushed_front.push_front(element.as_bytes(), &DEFAULTS);
        pushed_back.push_back(element.as_bytes(), &DEFAULTS);
        match i % 2 {
            0 => both.push_front(element.as_bytes(), &DEFAULTS),
            _ => both.push_back(element.as_bytes(), &DEFAULTS),
        }
    }
    for list in [&pushed_front, &pushed_back, &both] {
        let each = list.heap_bytes() as f64 / elements.len() as f64;
        assert!(each < 16.6, "{each} bytes for each element of 16");
    }
    assert!(pushed_front.iter_rev().map(|item| item.to_vec()).eq(elements.iter().map(|e| e.as_bytes().to_vec())));
}

#[test]
fn memory_falls_as_elements_go() {
    for step in [List::remove_front as fn(&mut List) -> bool, List::remove_back] {
        let mut list = List::new();
        (0..20_000).for_each(|i| list.push_front(format!("element {i:08}").as_bytes(), &DEFAULTS));
        while list.len() > 1 {
            assert!(step(&mut list));
            let most = list.len() * 18 * 5 / 4 + 2 * 8192 + 1024;
            assert!(list.heap_bytes() <= most, "{} elements take {} bytes", list.len(), list.heap_bytes());
        }
        list.try_shrink(&DEFAULTS);
        assert!(list.heap_bytes() <= 128, "{}", list.heap_bytes());
    }
}
