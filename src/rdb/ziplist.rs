//! Ziplists and zipmaps: the packed sequences of Redis before 7.0, for reading only, as listpacks.
//!
//! ```text
//! ziplist: total bytes u32 LE | offset of the last entry u32 LE | count u16 LE | entry … | 0xFF
//! entry:   length of the entry before | encoding | data
//! zipmap:  count u8 | (length | field | length | free u8 | value | free bytes) … | 0xFF
//! ```
//!
//! Everything is checked on the way: sums, counts, back lengths. Redis' counterparts: `ziplist.c`,
//! `zipmap.c`.

use super::error::RdbErrorKind;
use super::read::Result;
use crate::types::listpack::{Item, Listpack};

const END: u8 = 0xFF;
const HEADER: usize = 10;
/// No entry of a listpack needs more beside its string.
const ENTRY_OVERHEAD: usize = 16;

fn bad_ziplist<T>() -> Result<T> {
    Err(RdbErrorKind::Malformed("invalid ziplist"))
}

fn bad_zipmap<T>() -> Result<T> {
    Err(RdbErrorKind::Malformed("invalid zipmap"))
}

fn le_u32(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

/// The entries of a ziplist.
pub(super) fn ziplist(bytes: &[u8]) -> Result<Listpack> {
    if bytes.len() < HEADER + 1 || le_u32(bytes) != bytes.len() || bytes[bytes.len() - 1] != END {
        return bad_ziplist();
    }
    let end = bytes.len() - 1;
    let (mut at, mut before, mut last, mut count) = (HEADER, 0, HEADER, 0);
    let mut items = Listpack::new();
    while at < end {
        let Some((item, len)) = ziplist_entry(&bytes[at..end], before) else { return bad_ziplist() };
        push(&mut items, item)?;
        (last, before) = (at, len);
        at += len;
        count += 1;
    }
    let stated = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    // 65535 means "walk to know". Of an empty one the last entry is the end.
    let counted = stated == count || stated == usize::from(u16::MAX) && count > stated;
    if !counted || le_u32(&bytes[4..]) != last {
        return bad_ziplist();
    }
    Ok(items)
}

/// Adds an entry, unless it grows out of what a listpack can be.
fn push(items: &mut Listpack, item: Item) -> Result<()> {
    if !items.fits(item.len().saturating_add(ENTRY_OVERHEAD)) {
        return Err(RdbErrorKind::Malformed("packed value is too large"));
    }
    items.push_back_item(item);
    Ok(())
}

/// The entry at the start of `bytes` and its length, if the length it gives for the entry before is true.
fn ziplist_entry(bytes: &[u8], before: usize) -> Option<(Item<'_>, usize)> {
    let (stated, back) = match *bytes.first()? {
        254 => (le_u32(bytes.get(1..5)?), 5),
        len => (usize::from(len), 1),
    };
    let rest = bytes.get(back..)?;
    let (head, data): (usize, usize) = match (*rest.first()?, rest) {
        (first @ 0x00..=0x3F, _) => (1, usize::from(first)),
        (first @ 0x40..=0x7F, &[_, low, ..]) => (2, usize::from(first & 0x3F) << 8 | usize::from(low)),
        (0x80, &[_, a, b, c, d, ..]) => (5, u32::from_be_bytes([a, b, c, d]) as usize),
        (0xC0, _) => (1, 2),
        (0xD0, _) => (1, 4),
        (0xE0, _) => (1, 8),
        (0xF0, _) => (1, 3),
        (0xFE, _) => (1, 1),
        (0xF1..=0xFD, _) => (1, 0),
        _ => return None,
    };
    let end = head.checked_add(data)?;
    let data = rest.get(head..end)?;
    let item = match (rest[0], data) {
        (0x00..=0x80, _) => Item::Bytes(data),
        (0xFE, &[a]) => Item::Int(i64::from(a as i8)),
        (0xC0, &[a, b]) => Item::Int(i64::from(i16::from_le_bytes([a, b]))),
        (0xF0, &[a, b, c]) => Item::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)),
        (0xD0, &[a, b, c, d]) => Item::Int(i64::from(i32::from_le_bytes([a, b, c, d]))),
        (0xE0, eight) => Item::Int(i64::from_le_bytes(eight.try_into().ok()?)),
        (small, _) => Item::Int(i64::from(small & 0x0F) - 1),
    };
    (stated == before).then_some((item, back + end))
}

/// The fields and values of a zipmap.
pub(super) fn zipmap(bytes: &[u8]) -> Result<Listpack> {
    let Some((&stated, mut rest)) = bytes.split_first() else { return bad_zipmap() };
    let (mut items, mut count) = (Listpack::new(), 0);
    while let Some(((field, value), after)) = zipmap_pair(rest) {
        push(&mut items, Item::Bytes(field))?;
        push(&mut items, Item::Bytes(value))?;
        rest = after;
        count += 1;
    }
    // 254 and more mean "walk to know".
    if rest != [END] || stated < 254 && usize::from(stated) != count {
        return bad_zipmap();
    }
    Ok(items)
}

type PairAndRest<'a> = ((&'a [u8], &'a [u8]), &'a [u8]);

fn zipmap_pair(bytes: &[u8]) -> Option<PairAndRest<'_>> {
    let (len, rest) = zipmap_len(bytes)?;
    let (field, rest) = rest.split_at_checked(len)?;
    let (len, rest) = zipmap_len(rest)?;
    let (free, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(len)?;
    Some(((field, value), rest.get(usize::from(*free)..)?))
}

fn zipmap_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes.first()? {
        END => None,
        254 => Some((le_u32(bytes.get(1..5)?), &bytes[5..])),
        len => Some((usize::from(len), &bytes[1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::listpack::testing::{Rng, unhex};

    /// The ziplist of "a", 1, 300, 100000, 2^40 and a string of 70 bytes, by the layout above.
    fn sample() -> Vec<u8> {
        let mut entries: Vec<Vec<u8>> = vec![
            vec![0x01, b'a'],
            vec![0xF2],
            vec![0xC0, 0x2C, 0x01],
            vec![0xF0, 0xA0, 0x86, 0x01],
            vec![0xE0, 0, 0, 0, 0, 0, 1, 0, 0],
            vec![0xFE, 0xF0],
        ];
        entries.push([&[0x40, 70][..], &[b'x'; 70]].concat());
        let mut bytes = vec![0; HEADER];
        let mut before = 0;
        let mut last = 0;
        for entry in &entries {
            last = bytes.len();
            bytes.push(before as u8);
            bytes.extend(entry);
            before = entry.len() + 1;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        bytes[8] = entries.len() as u8;
        bytes
    }

    #[test]
    fn reads_every_encoding() {
        let bytes = sample();
        let list = ziplist(&bytes).unwrap();
        let items: Vec<_> = list.iter().map(|(_, item)| item).collect();
        assert_eq!(items[0], Item::Bytes(b"a"));
        let ints: Vec<_> = items[1..6].iter().map(|item| item.as_int().unwrap()).collect();
        assert_eq!(ints, [1, 300, 100_000, 1 << 40, -16]);
        assert_eq!(items[6].len(), 70);
        assert!(ziplist(&unhex("0b0000000a0000000000ff")).unwrap().is_empty());
    }

    #[test]
    fn refuses_wrong_sums() {
        for at in [0, 4, 8, 13] {
            let mut bytes = sample();
            bytes[at] ^= 1;
            assert!(ziplist(&bytes).is_err(), "{at}");
        }
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(ziplist(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn reads_a_zipmap() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world??\xFF";
        let pairs = zipmap(bytes).unwrap();
        let texts: Vec<_> = pairs.iter().map(|(_, item)| item.to_vec()).collect();
        assert_eq!(texts, [&b"foo"[..], b"bar", b"hello", b"world"]);
        for len in 0..bytes.len() {
            assert!(zipmap(&bytes[..len]).is_err(), "{len}");
        }
        assert!(zipmap(b"\x01\xFF").is_err());
    }

    #[test]
    fn random_damage_never_panics() {
        let mut rng = Rng(4);
        for _ in 0..20_000 {
            let mut bytes = sample();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            let _ = ziplist(&bytes);
            let _ = zipmap(&bytes);
        }
    }
}
