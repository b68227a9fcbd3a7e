//! A small sorted set: a listpack of member, score, member, score …, in order.
//!
//! The bytes are those Redis keeps and saves: a score that is a whole number is stored as an integer
//! (which makes -0 a 0), any other as its text. Lookups walk. It does not know its limits: `mod.rs`
//! turns it into the large form in time.
//!
//! Invariants: an even number of elements; every second one reads as a number that is not NaN; pairs
//! ascend by (score, member bytes); no member twice.
//!
//! Counterpart in Redis: the `zzl…` functions.

use crate::types::listpack::{IntBuf, Item, Listpack, Needle};
use crate::types::number::FloatBuf;
use std::cmp::Ordering;
use std::ops::Range;

/// Whole numbers up to this size are stored as integers (Redis: `LLONG_MAX / 2`).
const INTEGER_SCORE_MAX: f64 = (1u64 << 62) as f64;

fn score_item(score: f64, buf: &mut FloatBuf) -> Item<'_> {
    if score.abs() <= INTEGER_SCORE_MAX && score as i64 as f64 == score {
        return Item::Int(score as i64);
    }
    Item::Bytes(buf.format(score))
}

/// The score at `offset`; the invariant says that it is one.
fn score_at(pairs: &Listpack, offset: usize) -> f64 {
    pairs.at(offset).as_f64().unwrap_or(0.0)
}

/// Where a pair stands beside a score and member.
pub(super) fn order(item: Item, item_score: f64, score: f64, member: &[u8]) -> Ordering {
    match item_score.partial_cmp(&score) {
        Some(Ordering::Equal) | None => item.bytes(&mut IntBuf::new()).cmp(member),
        Some(order) => order,
    }
}

/// Whether these bytes from outside are a packed sorted set whose invariants hold. Members must not
/// occur twice; to find that out takes a sorted list of them.
pub(super) fn is_valid(pairs: &Listpack) -> bool {
    if !pairs.count().is_multiple_of(2) {
        return false;
    }
    let mut members = Vec::with_capacity(pairs.count() / 2);
    let mut items = pairs.iter().map(|(_, item)| item);
    let mut last: Option<(Vec<u8>, f64)> = None;
    while let (Some(member), Some(score)) = (items.next(), items.next()) {
        // A string that should be an integer would never be found.
        let canonical = !matches!(member, Item::Bytes(_)) || member.as_int().is_none();
        let Some(score) = score.as_f64().filter(|score| !score.is_nan()) else {
            return false;
        };
        if let Some((bytes, previous)) = &last
            && order(member, score, *previous, bytes) != Ordering::Greater
        {
            return false;
        }
        if !canonical {
            return false;
        }
        let bytes = member.to_vec();
        members.push(bytes.clone());
        last = Some((bytes, score));
    }
    members.sort_unstable();
    members.windows(2).all(|pair| pair[0] != pair[1])
}

/// Offset and score of a member.
pub(super) fn find(pairs: &Listpack, member: &[u8]) -> Option<(usize, f64)> {
    let offset = pairs.find(member, 1)?;
    Some((offset, score_at(pairs, pairs.next(offset)?)))
}

/// Adds a member that is not there yet.
pub(super) fn insert(pairs: &mut Listpack, member: &[u8], score: f64) {
    let mut buf = FloatBuf::new();
    let score_item = score_item(score, &mut buf);
    let mut items = pairs.iter();
    while let (Some((offset, item)), Some((_, item_score))) = (items.next(), items.next()) {
        if order(item, item_score.as_f64().unwrap_or(0.0), score, member) == Ordering::Greater {
            pairs.insert_item(offset, score_item);
            pairs.insert_item(offset, Item::Bytes(member));
            return;
        }
    }
    pairs.push_back(member);
    pairs.push_back_item(score_item);
}

/// Adds a member after all others: it must be the highest.
pub(super) fn push(pairs: &mut Listpack, member: &[u8], score: f64) {
    pairs.push_back(member);
    pairs.push_back_item(score_item(score, &mut FloatBuf::new()));
}

/// Whether the format has room for one more pair.
pub(super) fn fits(pairs: &Listpack, member: &[u8]) -> bool {
    // Far more than any score and the heads of two entries take.
    const OVERHEAD: usize = 128;
    pairs.fits(member.len().saturating_add(OVERHEAD))
}

/// Takes the pairs of these ranks out.
pub(super) fn remove_range(pairs: &mut Listpack, ranks: Range<usize>) {
    pairs.delete_range(ranks.start as i64 * 2, ranks.len() * 2);
}

/// Rank and score of a member.
pub(super) fn rank(pairs: &Listpack, member: &[u8]) -> Option<(usize, f64)> {
    let needle = Needle::new(member);
    let found = |(_, (item, _)): &(usize, (Item, f64))| needle.matches(*item);
    let (rank, (_, score)) = iter(pairs, 0..usize::MAX, false).enumerate().find(found)?;
    Some((rank, score))
}

/// Takes the pair out whose member is at `offset`.
pub(super) fn remove(pairs: &mut Listpack, offset: usize) {
    pairs.delete_entries(offset, 2);
}

/// How many pairs from the first on satisfy `holds`.
pub(super) fn partition_point(pairs: &Listpack, mut holds: impl FnMut(Item, f64) -> bool) -> usize {
    iter(pairs, 0..usize::MAX, false).take_while(|&(member, score)| holds(member, score)).count()
}

/// The pairs of these ranks, in order or in reverse.
pub(super) fn iter(pairs: &Listpack, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
    let len = pairs.count() / 2;
    let end = ranks.end.min(len);
    let start = ranks.start.min(end);
    let next = if start == end {
        None
    } else if reverse {
        pairs.nth(end as i64 * 2 - 2)
    } else {
        pairs.nth(start as i64 * 2)
    };
    Iter { pairs, next, left: end - start, reverse }
}

/// Pairs of a range of ranks.
pub(super) struct Iter<'a> {
    pairs: &'a Listpack,
    /// Offset of the next member.
    next: Option<usize>,
    left: usize,
    reverse: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        if self.left == 0 {
            return None;
        }
        let offset = self.next?;
        let score = self.pairs.next(offset)?;
        self.left -= 1;
        self.next = if self.left == 0 {
            None
        } else if self.reverse {
            self.pairs.prev(offset).and_then(|score| self.pairs.prev(score))
        } else {
            self.pairs.next(score)
        };
        Some((self.pairs.at(offset), score_at(self.pairs, score)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
