//! The sorted set type: members with scores, ordered by score and then by the members' bytes.
//!
//! Small sets are packed in a listpack (`packed.rs`); past the limits they become a hash table and a
//! counted B+ tree (`large.rs`, `tree.rs`, `member.rs`) and stay that. Both forms speak in ranks: a range
//! of scores or members is a range of ranks, found in O(log n), which can be counted, walked from either
//! end and removed.
//!
//! It knows no reply and no command options. NaN is no score: whoever computes one refuses it first.
//!
//! Invariants: those of the two forms. Nothing but the one change of form touches all members at once
//! (and [`Clone`], and making a set from a whole listpack).
//!
//! Counterpart in Redis: `t_zset.c`, encodings `listpack` and `skiplist`.

mod large;
pub(super) mod member;
mod packed;
mod range;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use range::{LexBound, LexRange, ScoreRange};

use super::PackLimits;
use super::listpack::{IntBuf, Item, Listpack};
use super::sought::Sought;
use super::walk::Walker;
use large::Large;
use std::ops::Range;

/// A sorted set.
#[derive(Clone)]
pub struct Zset {
    form: Form,
}

#[derive(Clone)]
enum Form {
    /// The seed is for the hash table that this may become.
    Packed {
        pairs: Listpack,
        seed: u64,
    },
    Large(Box<Large>),
}

/// What giving a member a score did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The member is new.
    Added,
    /// The member has another score now.
    Updated,
    /// Nothing changed.
    Same,
}

impl Zset {
    /// An empty sorted set. `seed` is for its hash table, once it has one.
    pub fn new(seed: u64) -> Zset {
        Zset { form: Form::Packed { pairs: Listpack::new(), seed } }
    }

    /// An empty sorted set that will get about `len` members, the longest of `longest` bytes: it is
    /// large from the start if it would become so.
    pub fn with_hint(seed: u64, len: usize, longest: usize, limits: PackLimits) -> Zset {
        let mut zset = Zset::new(seed);
        if len > limits.entries || longest > limits.value {
            zset.convert();
        }
        zset
    }

    /// Lays out an empty large set for so many members; [`settle`](Self::settle) when they are there.
    pub fn reserve(&mut self, members: usize) {
        if let Form::Large(large) = &mut self.form {
            large.reserve(members);
        }
    }

    /// Takes back what was reserved in vain.
    pub fn settle(&mut self) {
        if let Form::Large(large) = &mut self.form {
            large.settle();
        }
    }

    /// The set of these pairs, which may come in any order; of two with the same member the last counts.
    pub fn from_pairs<M: AsRef<[u8]>>(
        seed: u64,
        pairs: impl IntoIterator<Item = (M, f64)>,
        limits: PackLimits,
    ) -> Zset {
        let pairs = pairs.into_iter();
        let mut zset = Zset::with_hint(seed, pairs.size_hint().0, 0, limits);
        for (member, score) in pairs {
            zset.insert(member.as_ref(), score, limits);
        }
        zset
    }

    /// A set from Redis' packed form. `None` if that is not one: a missing or unreadable score, or a
    /// member twice. Pairs out of order are put in order. Too many for `limits` make a large set.
    pub fn from_listpack(seed: u64, pairs: Listpack, limits: PackLimits) -> Option<Zset> {
        let len = pairs.count() / 2;
        if packed::is_valid(&pairs) {
            let mut zset = Zset { form: Form::Packed { pairs, seed } };
            if len > limits.entries {
                zset.convert();
            }
            return Some(zset);
        }
        let mut zset = Zset::with_hint(seed, len, 0, limits);
        let mut items = pairs.iter().map(|(_, item)| item);
        while let Some(member) = items.next() {
            let score = items.next()?.as_f64().filter(|score| !score.is_nan())?;
            let added = zset.insert(member.bytes(&mut IntBuf::new()), score, limits);
            (added == Change::Added).then_some(())?;
        }
        Some(zset)
    }

    /// The packed form, if this is packed: what RDB stores as it is.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Packed { pairs, .. } => Some(pairs),
            Form::Large(_) => None,
        }
    }

    /// The name that OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Packed { .. } => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed { pairs, .. } => pairs.heap_bytes(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    /// Where a large sorted set looks for this member.
    #[inline]
    pub fn seek(&self, member: &[u8]) -> Option<Sought<'_>> {
        match &self.form {
            Form::Packed { .. } => None,
            Form::Large(large) => large.seek(member),
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed { pairs, .. } => pairs.count() / 2,
            Form::Large(large) => large.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Packed { pairs, .. } => pairs.is_empty(),
            Form::Large(large) => large.len() == 0,
        }
    }

    /// Makes the set large, if it is not.
    pub fn convert(&mut self) {
        let Form::Packed { pairs, seed } = &self.form else {
            return;
        };
        let mut large = Large::new(*seed);
        for (member, score) in packed::iter(pairs, 0..usize::MAX, false) {
            large.upsert(member.bytes(&mut IntBuf::new()), |_| Some(score));
        }
        self.form = Form::Large(Box::new(large));
    }

    /// Makes the set packed, if it is large and fits: for results that a command has built.
    pub fn pack(&mut self, limits: PackLimits) {
        let Form::Large(large) = &self.form else {
            return;
        };
        if large.len() > limits.entries {
            return;
        }
        let mut pairs = Listpack::new();
        for (member, score) in large.tree.iter(0..usize::MAX, false) {
            if member.len() > limits.value || !packed::fits(&pairs, member) {
                return;
            }
            packed::push(&mut pairs, member, score);
        }
        self.form = Form::Packed { pairs, seed: large.seed() };
    }
}

/// Single members.
impl Zset {
    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Packed { pairs, .. } => packed::find(pairs, member).map(|(_, score)| score),
            Form::Large(large) => large.score(member),
        }
    }

    /// Gives a member a score, which must not be NaN.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: PackLimits) -> Change {
        self.upsert(member, limits, |_| Some(score))
    }

    /// Gives a member the score that `decide` chooses, knowing its present one. `None` leaves all as it
    /// is. NaN must not be chosen.
    pub fn upsert(
        &mut self,
        member: &[u8],
        limits: PackLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Change {
        let checked = |old| {
            let new = decide(old);
            assert!(!new.is_some_and(f64::is_nan), "NaN is no score");
            new
        };
        let (pairs, found) = match &mut self.form {
            Form::Large(large) => return large.upsert(member, checked),
            Form::Packed { pairs, .. } => {
                let found = packed::find(pairs, member);
                (pairs, found)
            }
        };
        let Some(new) = checked(found.map(|(_, score)| score)) else {
            return Change::Same;
        };
        if let Some((offset, old)) = found {
            if new == old {
                return Change::Same;
            }
            packed::remove(pairs, offset);
            packed::insert(pairs, member, new);
            return Change::Updated;
        }
        let len = pairs.count() / 2;
        if len < limits.entries && member.len() <= limits.value && packed::fits(pairs, member) {
            packed::insert(pairs, member, new);
            return Change::Added;
        }
        self.convert();
        if let Form::Large(large) = &mut self.form {
            large.upsert(member, |_| Some(new));
        }
        Change::Added
    }

    /// Takes a member out; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Packed { pairs, .. } => {
                let (offset, score) = packed::find(pairs, member)?;
                packed::remove(pairs, offset);
                Some(score)
            }
            Form::Large(large) => large.remove(member),
        }
    }

    /// Rank and score of a member; with `reverse` counted from the highest.
    pub fn rank(&self, member: &[u8], reverse: bool) -> Option<(usize, f64)> {
        let (rank, score) = match &self.form {
            Form::Packed { pairs, .. } => packed::rank(pairs, member)?,
            Form::Large(large) => {
                let score = large.score(member)?;
                (large.tree.rank(score, member), score)
            }
        };
        Some((if reverse { self.len() - 1 - rank } else { rank }, score))
    }

    /// The member of this rank and its score.
    pub fn nth(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        match &self.form {
            Form::Packed { pairs, .. } => packed::iter(pairs, rank..rank.saturating_add(1), false).next(),
            Form::Large(large) => large.tree.nth(rank).map(as_item),
        }
    }

    /// A random member, all equally likely; `draw` decides which. `None` if there is none.
    pub fn random(&self, draw: u64) -> Option<(Item<'_>, f64)> {
        let rank = (u128::from(draw) * self.len() as u128) >> 64;
        self.nth(rank as usize)
    }
}

/// Ranges of ranks.
impl Zset {
    /// Members of these ranks with their scores, from the lowest, or with `reverse` from the highest.
    /// Ranks past the end are left out.
    pub fn range(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        match &self.form {
            Form::Packed { pairs, .. } => Iter(Inner::Packed(packed::iter(pairs, ranks, reverse))),
            Form::Large(large) => Iter(Inner::Large(large.tree.iter(ranks, reverse))),
        }
    }

    /// All members with their scores, from the lowest.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..usize::MAX, false)
    }

    /// The ranks of the members whose scores lie in the range. Its length is their count.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        let (start, end) = match &self.form {
            Form::Packed { pairs, .. } => (
                packed::partition_point(pairs, |_, score| range.is_below(score)),
                packed::partition_point(pairs, |_, score| !range.is_above(score)),
            ),
            Form::Large(large) => (
                if range.min_exclusive {
                    large.tree.scores_up_to(range.min)
                } else {
                    large.tree.scores_below(range.min)
                },
                if range.max_exclusive {
                    large.tree.scores_below(range.max)
                } else {
                    large.tree.scores_up_to(range.max)
                },
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the members that lie in the range, in a set whose scores are all equal.
    pub fn lex_ranks(&self, range: &LexRange) -> Range<usize> {
        let (start, end) = match &self.form {
            Form::Packed { pairs, .. } => {
                let mut buf = IntBuf::new();
                let start = packed::partition_point(pairs, |item, _| range.is_below(item.bytes(&mut buf)));
                let end = packed::partition_point(pairs, |item, _| !range.is_above(item.bytes(&mut buf)));
                (start, end)
            }
            Form::Large(large) => (
                large.tree.members_that(|member| range.is_below(member)),
                large.tree.members_that(|member| !range.is_above(member)),
            ),
        };
        start..end.max(start)
    }

    /// Removes the members of these ranks and hands each to `removed`, from the lowest. Returns how many.
    pub fn remove_range(&mut self, ranks: Range<usize>, mut removed: impl FnMut(Item<'_>, f64)) -> usize {
        let end = ranks.end.min(self.len());
        let start = ranks.start.min(end);
        match &mut self.form {
            Form::Packed { pairs, .. } => {
                packed::iter(pairs, start..end, false).for_each(|(member, score)| removed(member, score));
                packed::remove_range(pairs, start..end);
            }
            Form::Large(large) => {
                for _ in start..end {
                    let Some(member) = large.remove_nth(start) else {
                        break;
                    };
                    removed(Item::Bytes(member.bytes()), member.score());
                }
            }
        }
        end - start
    }

    /// Removes up to `count` members and hands each to `removed`, from the lowest. Returns how many.
    pub fn pop_min(&mut self, count: usize, removed: impl FnMut(Item<'_>, f64)) -> usize {
        self.remove_range(0..count, removed)
    }

    /// Removes up to `count` members and hands each to `removed`, from the highest. Returns how many.
    pub fn pop_max(&mut self, count: usize, mut removed: impl FnMut(Item<'_>, f64)) -> usize {
        let len = self.len();
        let start = len.saturating_sub(count);
        match &mut self.form {
            Form::Packed { pairs, .. } => {
                packed::iter(pairs, start..len, true).for_each(|(member, score)| removed(member, score));
                packed::remove_range(pairs, start..len);
            }
            Form::Large(large) => {
                for rank in (start..len).rev() {
                    let Some(member) = large.remove_nth(rank) else {
                        break;
                    };
                    removed(Item::Bytes(member.bytes()), member.score());
                }
            }
        }
        len - start
    }
}

/// Walks in pieces.
impl Zset {
    /// Visits about `count` members from `cursor` on (0 begins) and returns the cursor to go on with; 0
    /// ends. A member that stays from the first call to the last is visited, whatever happens in
    /// between; a packed set is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>, f64)) -> u64 {
        let large = match &self.form {
            Form::Packed { .. } => {
                self.iter().for_each(|(member, score)| visit(member, score));
                return 0;
            }
            Form::Large(large) => large,
        };
        let mut cursor = cursor;
        let mut seen = 0;
        // Like Redis, not more than ten buckets for each member asked for.
        for _ in 0..count.max(1).saturating_mul(10) {
            cursor = large.scan(cursor, |member| {
                seen += 1;
                visit(Item::Bytes(member.bytes()), member.score());
            });
            if cursor == 0 || seen >= count {
                break;
            }
        }
        cursor
    }

    /// Frees about `count` members; returns whether any are left to free. For throwing a set away in
    /// pieces: after the first call nothing else may be asked of it but to be dropped.
    pub fn drain_some(&mut self, count: usize) -> bool {
        match &mut self.form {
            Form::Packed { pairs, .. } => {
                *pairs = Listpack::new();
                false
            }
            Form::Large(large) => large.drain_some(count),
        }
    }
}

/// Walks in slices, exact under changes: see `types/walk.rs`.
impl Zset {
    pub(super) fn walker(&self) -> Option<u32> {
        match &self.form {
            Form::Packed { .. } => None,
            Form::Large(large) => large.walker(),
        }
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        if let Form::Large(large) = &mut self.form {
            large.begin_walk(walker);
        }
    }

    pub(super) fn step_walk(&mut self, mut f: impl FnMut(Item<'_>, f64)) -> bool {
        match &mut self.form {
            Form::Packed { .. } => true,
            Form::Large(large) => large.step_walk(|member, score| f(Item::Bytes(member), score)),
        }
    }

    pub(super) fn cancel_walk(&mut self) {
        if let Form::Large(large) = &mut self.form {
            large.cancel_walk();
        }
    }
}

fn as_item((member, score): (&[u8], f64)) -> (Item<'_>, f64) {
    (Item::Bytes(member), score)
}

/// Members with their scores, see [`Zset::range`].
pub struct Iter<'a>(Inner<'a>);

enum Inner<'a> {
    Packed(packed::Iter<'a>),
    Large(tree::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        match &mut self.0 {
            Inner::Packed(iter) => iter.next(),
            Inner::Large(iter) => iter.next().map(as_item),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Inner::Packed(iter) => iter.size_hint(),
            Inner::Large(iter) => iter.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
