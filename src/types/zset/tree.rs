//! A counted B+ tree: the order of a large sorted set.
//!
//! Entries are ordered by (score, member bytes). Every inner node knows how many entries lie below
//! each child, so rank and select take O(log n), and everything else is said in ranks: a range of
//! scores or members is two lookups, an iterator is a range of ranks that finds its
//! next leaf by its rank. No leaf links, no parent pointers.
//!
//! It does not own the members and knows nothing of their scores elsewhere: who changes a score
//! removes the entry and inserts another.
//!
//! Invariants:
//! - A node holds 1 to `CAPACITY` items; only the root leaf may be empty; all leaves are equally deep.
//! - `Inner::firsts` and `Inner::counts` tell the first entry and the number of entries below each child.
//! - The pointers in all entries are alive (see `member.rs`). Separators are copies of entries that
//!   are in the tree, never of removed ones, so this holds for them too.
//!
//! Counterpart in Redis: the skiplist with its spans.

use super::member::MemberRef;
use std::ops::Range;

/// Entries of a leaf: a leaf fills 1024 bytes on 64-bit machines, a size class of every allocator.
const LEAF: usize = 63;
/// Children of an inner node.
const FAN: usize = 31;

/// One member in order.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) score: f64,
    pub(super) member: MemberRef,
}

impl Entry {
    fn is_above(&self, score: f64, member: &[u8]) -> bool {
        self.score > score || (self.score == score && self.member.bytes() > member)
    }

    fn is_below(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.member.bytes() < member)
    }
}

/// How many of some ascending scores are below this one. Looking at all of them beats halving: no branch
/// is guessed wrong, and the cache lines come in together.
#[inline]
fn count_below(scores: &[f64], score: f64) -> usize {
    scores.iter().map(|other| usize::from(*other < score)).sum()
}

/// Moves `items[at..]` one place on and writes `item` there; the last item is lost.
fn insert<T: Copy>(items: &mut [T], at: usize, item: T) {
    items.copy_within(at..items.len() - 1, at + 1);
    items[at] = item;
}

/// Moves the first `count` items of `right` behind the `len` items of `left`.
fn move_left<T: Copy>(left: &mut [T], len: usize, right: &mut [T], count: usize) {
    left[len..len + count].copy_from_slice(&right[..count]);
    right.copy_within(count.., 0);
}

/// Moves the last `count` of the `len` items of `left` before the items of `right`.
fn move_right<T: Copy>(left: &mut [T], len: usize, right: &mut [T], count: usize) {
    right.copy_within(..right.len() - count, count);
    right[..count].copy_from_slice(&left[len - count..len]);
}

/// A short ascending run of entries: a leaf, or the first entries of an inner node's children.
struct Keys<const N: usize> {
    len: usize,
    scores: [f64; N],
    members: [MemberRef; N],
}

impl<const N: usize> Keys<N> {
    fn new() -> Self {
        Keys { len: 0, scores: [0.0; N], members: [MemberRef::NONE; N] }
    }

    fn scores(&self) -> &[f64] {
        &self.scores[..self.len]
    }

    fn members(&self) -> &[MemberRef] {
        &self.members[..self.len]
    }

    fn entry(&self, at: usize) -> Entry {
        Entry { score: self.scores()[at], member: self.members()[at] }
    }

    fn set(&mut self, at: usize, entry: Entry) {
        self.scores[at] = entry.score;
        self.members[at] = entry.member;
    }

    fn insert(&mut self, at: usize, entry: Entry) {
        self.len += 1;
        insert(&mut self.scores[..self.len], at, entry.score);
        insert(&mut self.members[..self.len], at, entry.member);
    }

    fn remove(&mut self, at: usize) -> Entry {
        let entry = self.entry(at);
        self.scores.copy_within(at + 1..self.len, at);
        self.members.copy_within(at + 1..self.len, at);
        self.len -= 1;
        entry
    }

    /// Moves entries over the border between two neighbours, so that `self` has `len` of them.
    fn share(&mut self, right: &mut Self, len: usize) {
        if len < self.len {
            let moved = self.len - len;
            right.len += moved;
            move_right(&mut self.scores, self.len, &mut right.scores[..right.len], moved);
            move_right(&mut self.members, self.len, &mut right.members[..right.len], moved);
        } else {
            let moved = len - self.len;
            move_left(&mut self.scores, self.len, &mut right.scores[..right.len], moved);
            move_left(&mut self.members, self.len, &mut right.members[..right.len], moved);
            right.len -= moved;
        }
        self.len = len;
    }

    /// How many entries are below the key, and whether the next one is the key itself.
    #[inline]
    fn search(&self, score: f64, member: &[u8]) -> (usize, bool) {
        let below = count_below(self.scores(), score);
        let ties = &self.scores()[below..];
        if ties.first() != Some(&score) {
            return (below, false);
        }
        let ties = ties.partition_point(|other| *other == score);
        match self.members()[below..below + ties].binary_search_by(|other| other.bytes().cmp(member)) {
            Ok(at) => (below + at, true),
            Err(at) => (below + at, false),
        }
    }
}

type Leaf = Keys<LEAF>;

struct Inner {
    /// The first entry below each child.
    firsts: Keys<FAN>,
    /// The number of entries below each child.
    counts: [usize; FAN],
    nodes: [Node; FAN],
}

#[derive(Default)]
enum Node {
    /// What stands in the unused slots of an inner node, and nowhere else.
    #[default]
    None,
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

impl Node {
    fn new_leaf() -> Node {
        Node::Leaf(Box::new(Leaf::new()))
    }

    fn is_leaf(&self) -> bool {
        matches!(self, Node::Leaf(_))
    }

    fn len(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.firsts.len,
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => FAN,
        }
    }

    /// The first entry, of a node that has one.
    fn first(&self) -> Entry {
        match self {
            Node::None => unreachable!("unused slots are not looked at"),
            Node::Leaf(leaf) => leaf.entry(0),
            Node::Inner(inner) => inner.firsts.entry(0),
        }
    }

    /// The last entry, of a node that has one.
    fn last(&self) -> Entry {
        match self {
            Node::None => unreachable!("unused slots are not looked at"),
            Node::Leaf(leaf) => leaf.entry(leaf.len - 1),
            Node::Inner(inner) => inner.nodes[inner.firsts.len - 1].last(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.counts[..inner.firsts.len].iter().sum(),
        }
    }

    /// An empty node of the same height.
    fn empty_like(&self) -> Node {
        match self {
            Node::None => Node::None,
            Node::Leaf(_) => Node::new_leaf(),
            Node::Inner(_) => Node::Inner(Box::new(Inner::new())),
        }
    }

    fn share(&mut self, right: &mut Node, len: usize) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.share(right, len),
            (Node::Inner(left), Node::Inner(right)) => left.share(right, len),
            _ => unreachable!("neighbours are equally high"),
        }
    }
}

/// Which entry to remove.
#[derive(Clone, Copy)]
enum Target<'a> {
    Rank(usize),
    Key(f64, &'a [u8]),
}

/// Whether an entry on its way down belongs at an end of the tree: decides how a full node is split.
#[derive(Clone, Copy)]
struct Edge {
    /// Before everything in the tree.
    front: bool,
    /// After everything in the tree.
    back: bool,
}

impl Inner {
    fn new() -> Inner {
        Inner { firsts: Keys::new(), counts: [0; FAN], nodes: std::array::from_fn(|_| Node::None) }
    }

    fn insert(&mut self, at: usize, first: Entry, node: Node) {
        let count = node.count();
        self.firsts.insert(at, first);
        let len = self.firsts.len;
        insert(&mut self.counts[..len], at, count);
        self.nodes[at..len].rotate_right(1);
        self.nodes[at] = node;
    }

    fn remove(&mut self, at: usize) -> Node {
        let len = self.firsts.len;
        self.firsts.remove(at);
        self.counts.copy_within(at + 1..len, at);
        let node = std::mem::take(&mut self.nodes[at]);
        self.nodes[at..len].rotate_left(1);
        node
    }

    /// Moves children over the border between two neighbours, so that `self` has `len` of them.
    fn share(&mut self, right: &mut Inner, len: usize) {
        let (left_len, right_len) = (self.firsts.len, right.firsts.len);
        self.firsts.share(&mut right.firsts, len);
        if len < left_len {
            let moved = left_len - len;
            let all = right_len + moved;
            move_right(&mut self.counts, left_len, &mut right.counts[..all], moved);
            right.nodes[..all].rotate_right(moved);
            self.nodes[len..left_len].swap_with_slice(&mut right.nodes[..moved]);
        } else {
            let moved = len - left_len;
            move_left(&mut self.counts, left_len, &mut right.counts[..right_len], moved);
            self.nodes[left_len..len].swap_with_slice(&mut right.nodes[..moved]);
            right.nodes[..right_len].rotate_left(moved);
        }
    }

    /// The child that an entry of this key is in or belongs to.
    #[inline]
    fn route(&self, score: f64, member: &[u8]) -> usize {
        let (below, found) = self.firsts.search(score, member);
        (below + usize::from(found)).saturating_sub(1)
    }

    /// The child that holds the entry of this rank, and its rank below that child.
    #[inline]
    fn select(&self, mut rank: usize) -> (usize, usize) {
        for (at, &count) in self.counts[..self.firsts.len].iter().enumerate() {
            if rank < count {
                return (at, rank);
            }
            rank -= count;
        }
        unreachable!("the rank is below the count")
    }

    /// The child that holds the target, and the target as seen from there.
    fn seek<'a>(&self, target: Target<'a>) -> (usize, Target<'a>) {
        match target {
            Target::Rank(rank) => {
                let (at, below) = self.select(rank);
                (at, Target::Rank(below))
            }
            Target::Key(score, member) => (self.route(score, member), target),
        }
    }

    /// Moves the border between children `at` and `at + 1` so that the first has `len` items.
    fn share_children(&mut self, at: usize, len: usize) {
        let (left, right) = self.nodes.split_at_mut(at + 1);
        left[at].share(&mut right[0], len);
        for at in [at, at + 1] {
            self.counts[at] = self.nodes[at].count();
            if self.counts[at] > 0 {
                self.firsts.set(at, self.nodes[at].first());
            }
        }
    }

    /// Gives the full child `at`, and whichever neighbour it shares with, room for one more item.
    /// Returns whether that took a new node. Self is not full.
    fn make_room(&mut self, at: usize, edge: Edge) -> bool {
        let len = self.firsts.len;
        let capacity = self.nodes[at].capacity();
        // Sharing must leave both with room, and is to last for a few insertions.
        let worth = capacity - (capacity / 16).max(2);
        for left in [at.wrapping_sub(1), at] {
            if left >= len || left + 1 >= len {
                continue;
            }
            let total = self.nodes[left].len() + self.nodes[left + 1].len();
            if total <= capacity + worth {
                self.share_children(left, total / 2);
                return false;
            }
        }
        let (first, right) = (self.firsts.entry(at), self.nodes[at].empty_like());
        self.insert(at + 1, first, right);
        match edge {
            // Keys that come in order leave full nodes behind them instead of half-full ones.
            Edge { back: true, .. } if at + 1 == len => self.share_children(at, capacity - 1),
            Edge { front: true, .. } if at == 0 => self.share_children(at, 1),
            // Two full neighbours become three nodes, each filled to two thirds.
            _ if at > 0 => {
                self.share_children(at, capacity / 3);
                self.share_children(at - 1, capacity * 2 / 3);
            }
            _ if at + 1 < len => {
                self.share_children(at, capacity * 2 / 3);
                self.share_children(at + 1, capacity * 2 / 3);
            }
            _ => self.share_children(at, capacity / 2),
        }
        true
    }

    /// Gives the small child `at` items from a neighbour, or merges the two.
    /// Returns whether a node is gone.
    fn make_fuller(&mut self, at: usize) -> bool {
        if self.firsts.len < 2 {
            return false;
        }
        let left = at.saturating_sub(1);
        let capacity = self.nodes[left].capacity();
        let total = self.nodes[left].len() + self.nodes[left + 1].len();
        let merge = total <= capacity - capacity / 16;
        self.share_children(left, if merge { total } else { total / 2 });
        if merge {
            self.remove(left + 1);
        }
        merge
    }
}

/// The tree.
pub(super) struct Tree {
    root: Node,
    len: usize,
    leaves: usize,
    inners: usize,
}

impl Tree {
    /// An empty tree.
    pub(super) fn new() -> Tree {
        Tree { root: Node::new_leaf(), len: 0, leaves: 1, inners: 0 }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all nodes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.leaves * size_of::<Leaf>() + self.inners * size_of::<Inner>()
    }

    /// How many entries satisfy `holds`, which is true for a first part of the entries and false for
    /// the rest. `count` counts them in a run of entries. (If it is true for other entries the answer is
    /// some rank.)
    #[inline]
    fn partition_point(&self, count: impl Fn(&[f64], &[MemberRef]) -> usize) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::None => return rank,
                Node::Leaf(leaf) => return rank + count(leaf.scores(), leaf.members()),
                Node::Inner(inner) => {
                    let holding = count(inner.firsts.scores(), inner.firsts.members());
                    let at = holding.saturating_sub(1);
                    rank += inner.counts[..at].iter().sum::<usize>();
                    node = &inner.nodes[at];
                }
            }
        }
    }

    /// How many scores are below this one.
    pub(super) fn scores_below(&self, score: f64) -> usize {
        self.partition_point(|scores, _| count_below(scores, score))
    }

    /// How many scores are this one or below it.
    pub(super) fn scores_up_to(&self, score: f64) -> usize {
        self.partition_point(|scores, _| scores.iter().map(|other| usize::from(*other <= score)).sum())
    }

    /// How many members satisfy `holds`, if scores are all equal and it holds up to some member.
    pub(super) fn members_that(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        self.partition_point(|_, members| members.partition_point(|member| holds(member.bytes())))
    }

    /// The rank that an entry of this key has, or would have.
    pub(super) fn rank(&self, score: f64, member: &[u8]) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::None => return rank,
                Node::Leaf(leaf) => return rank + leaf.search(score, member).0,
                Node::Inner(inner) => {
                    let at = inner.route(score, member);
                    rank += inner.counts[..at].iter().sum::<usize>();
                    node = &inner.nodes[at];
                }
            }
        }
    }

    /// The member of this rank and its score.
    pub(super) fn nth(&self, rank: usize) -> Option<(&[u8], f64)> {
        let (leaf, at) = self.leaf_of(rank)?;
        Some((leaf.members()[at].bytes(), leaf.scores()[at]))
    }

    /// The leaf that holds this rank, and where in it.
    fn leaf_of(&self, rank: usize) -> Option<(&Leaf, usize)> {
        if rank >= self.len {
            return None;
        }
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::None => return None,
                Node::Leaf(leaf) => return Some((leaf, rank)),
                Node::Inner(inner) => {
                    let (at, below) = inner.select(rank);
                    node = &inner.nodes[at];
                    rank = below;
                }
            }
        }
    }

    /// The entries of these ranks, in order or in reverse.
    pub(super) fn iter(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        let end = ranks.end.min(self.len);
        Iter { tree: self, ranks: ranks.start.min(end)..end, reverse, scores: &[], members: &[] }
    }

    /// Adds an entry whose key is not there yet.
    pub(super) fn insert(&mut self, entry: Entry) {
        let member = entry.member;
        let (score, key) = (entry.score, member.bytes());
        self.len += 1;
        if self.root.len() == self.root.capacity() {
            self.grow_root();
        }
        let mut edge = Edge { front: true, back: true };
        let mut node = &mut self.root;
        loop {
            match node {
                Node::None => unreachable!("the tree has a root"),
                Node::Leaf(leaf) => {
                    let at = leaf.search(score, key).0;
                    return leaf.insert(at, entry);
                }
                Node::Inner(inner) => {
                    let mut at = inner.route(score, key);
                    let child = &inner.nodes[at];
                    if child.len() == child.capacity() {
                        edge.front &= at == 0 && inner.firsts.entry(0).is_above(score, key);
                        edge.back &= at + 1 == inner.firsts.len && child.last().is_below(score, key);
                        let nodes = if child.is_leaf() { &mut self.leaves } else { &mut self.inners };
                        *nodes += usize::from(inner.make_room(at, edge));
                        at = inner.route(score, key);
                    }
                    edge.front &= at == 0;
                    edge.back &= at + 1 == inner.firsts.len;
                    inner.counts[at] += 1;
                    if at == 0 && inner.firsts.entry(0).is_above(score, key) {
                        inner.firsts.set(0, entry);
                    }
                    node = &mut inner.nodes[at];
                }
            }
        }
    }

    /// Puts a new root above the full one.
    fn grow_root(&mut self) {
        let mut inner = Box::new(Inner::new());
        inner.insert(0, self.root.first(), std::mem::take(&mut self.root));
        self.root = Node::Inner(inner);
        self.inners += 1;
    }

    /// Changes the score of the entry with this key in its place, if it can stay there and its neighbours
    /// in the leaf prove it. Otherwise changes nothing and returns false.
    pub(super) fn rescore_in_place(&mut self, score: f64, member: &[u8], new: f64) -> bool {
        let mut node = &mut self.root;
        while let Node::Inner(inner) = node {
            let at = inner.route(score, member);
            node = &mut inner.nodes[at];
        }
        let Node::Leaf(leaf) = node else { return false };
        let (at, found) = leaf.search(score, member);
        let fits = found
            && at > 0
            && at + 1 < leaf.len
            && leaf.entry(at - 1).is_below(new, member)
            && leaf.entry(at + 1).is_above(new, member);
        if fits {
            leaf.scores[at] = new;
        }
        fits
    }

    /// Takes the entry of this key out, which must be there.
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) {
        self.take(Target::Key(score, member));
    }

    /// Takes the entry of this rank out.
    pub(super) fn remove_nth(&mut self, rank: usize) -> Option<Entry> {
        (rank < self.len).then(|| self.take(Target::Rank(rank)))
    }

    fn take(&mut self, target: Target) -> Entry {
        self.drop_thin_roots();
        let entry = take(&mut self.root, target, &mut self.leaves, &mut self.inners);
        self.len -= 1;
        self.drop_thin_roots();
        entry
    }

    /// An inner root with a single child gives way to that child.
    fn drop_thin_roots(&mut self) {
        while let Node::Inner(inner) = &mut self.root
            && inner.firsts.len == 1
        {
            let child = inner.remove(0);
            self.root = child;
            self.inners -= 1;
        }
    }

    /// Frees the last leaf; returns whether anything is left to free. For taking a big tree down in pieces.
    pub(super) fn drop_last_leaf(&mut self) -> bool {
        let gone = cut_last_leaf(&mut self.root, &mut self.leaves, &mut self.inners);
        self.len -= gone;
        self.drop_thin_roots();
        self.len > 0
    }
}

/// Removes and returns the target below `node`, which has more than one item unless it is a root leaf:
/// the way down makes every small child fuller before it goes there.
fn take(node: &mut Node, target: Target, leaves: &mut usize, inners: &mut usize) -> Entry {
    match node {
        Node::None => unreachable!("the tree has a root"),
        Node::Leaf(leaf) => match target {
            Target::Rank(rank) => leaf.remove(rank),
            Target::Key(score, member) => {
                let (at, found) = leaf.search(score, member);
                assert!(found, "the tree has every member that the table has");
                leaf.remove(at)
            }
        },
        Node::Inner(inner) => {
            let (mut at, mut below) = inner.seek(target);
            let child = &inner.nodes[at];
            if child.len() < child.capacity() / 2 {
                let nodes = if child.is_leaf() { &mut *leaves } else { &mut *inners };
                *nodes -= usize::from(inner.make_fuller(at));
                (at, below) = inner.seek(target);
            }
            let entry = take(&mut inner.nodes[at], below, leaves, inners);
            inner.counts[at] -= 1;
            inner.firsts.set(at, inner.nodes[at].first());
            entry
        }
    }
}

/// Frees the last leaf below `node` and every inner node that this leaves empty, but not `node`
/// itself. Returns how many entries went.
fn cut_last_leaf(node: &mut Node, leaves: &mut usize, inners: &mut usize) -> usize {
    match node {
        Node::None => 0,
        Node::Leaf(leaf) => std::mem::take(&mut leaf.len),
        Node::Inner(inner) => {
            let at = inner.firsts.len - 1;
            let gone = cut_last_leaf(&mut inner.nodes[at], leaves, inners);
            inner.counts[at] -= gone;
            if inner.counts[at] == 0 {
                let nodes = if inner.nodes[at].is_leaf() { leaves } else { inners };
                *nodes -= 1;
                inner.remove(at);
            }
            gone
        }
    }
}

/// Members and scores of a range of ranks. Finds each next leaf from the root: O(log n) once a leaf.
pub(super) struct Iter<'a> {
    tree: &'a Tree,
    /// Ranks that no leaf was looked up for yet.
    ranks: Range<usize>,
    reverse: bool,
    /// What is left of the current leaf.
    scores: &'a [f64],
    members: &'a [MemberRef],
}

/// How many members ahead of the present one are called into the cache.
const AHEAD: usize = 8;

impl Iter<'_> {
    /// Looks up the next leaf and cuts what belongs to the range out of it.
    fn refill(&mut self) -> Option<()> {
        if self.ranks.is_empty() {
            return None;
        }
        let cut = if self.reverse {
            let (leaf, at) = self.tree.leaf_of(self.ranks.end - 1)?;
            let from = (at + 1).saturating_sub(self.ranks.len());
            (self.scores, self.members) = (leaf.scores(), leaf.members());
            self.ranks.end -= at + 1 - from;
            from..at + 1
        } else {
            let (leaf, at) = self.tree.leaf_of(self.ranks.start)?;
            let until = leaf.len.min(at.saturating_add(self.ranks.len()));
            (self.scores, self.members) = (leaf.scores(), leaf.members());
            self.ranks.start += until - at;
            at..until
        };
        (self.scores, self.members) = (&self.scores[cut.clone()], &self.members[cut]);
        let len = self.members.len();
        let near = len.min(AHEAD);
        let soon = if self.reverse { len - near..len } else { 0..near };
        self.members[soon].iter().for_each(MemberRef::prefetch);
        Some(())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        if self.members.is_empty() {
            self.refill()?;
        }
        let (member, score, ahead);
        if self.reverse {
            (score, self.scores) = self.scores.split_last()?;
            (member, self.members) = self.members.split_last()?;
            ahead = self.members.len().checked_sub(AHEAD);
        } else {
            (score, self.scores) = self.scores.split_first()?;
            (member, self.members) = self.members.split_first()?;
            ahead = Some(AHEAD - 1);
        }
        if let Some(later) = ahead.and_then(|at| self.members.get(at)) {
            later.prefetch();
        }
        Some((member.bytes(), *score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.members.len() + self.ranks.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
impl Tree {
    /// Panics unless every invariant of the module holds. Returns the filled part of all leaf slots.
    pub(super) fn check(&self) -> f64 {
        fn walk(node: &Node, root: bool, seen: &mut (usize, usize, Vec<Entry>)) -> usize {
            assert!(node.len() <= node.capacity() && (root || node.len() > 0));
            match node {
                Node::None => panic!("an unused slot was reached"),
                Node::Leaf(leaf) => {
                    seen.0 += 1;
                    seen.2.extend((0..leaf.len).map(|at| leaf.entry(at)));
                    0
                }
                Node::Inner(inner) => {
                    seen.1 += 1;
                    let (used, free) = inner.nodes.split_at(inner.firsts.len);
                    let mut heights = Vec::new();
                    for (at, child) in used.iter().enumerate() {
                        let before = seen.2.len();
                        heights.push(walk(child, false, seen));
                        assert_eq!(seen.2.len() - before, inner.counts[at]);
                        let (first, known) = (seen.2[before], inner.firsts.entry(at));
                        assert_eq!(first.member.bytes(), known.member.bytes());
                        assert_eq!(first.score.to_bits(), known.score.to_bits());
                    }
                    assert!(heights.windows(2).all(|pair| pair[0] == pair[1]));
                    assert!(free.iter().all(|node| matches!(node, Node::None)));
                    heights[0] + 1
                }
            }
        }
        let mut seen = (0, 0, Vec::new());
        walk(&self.root, true, &mut seen);
        assert_eq!((seen.0, seen.1, seen.2.len()), (self.leaves, self.inners, self.len));
        assert!(seen.2.windows(2).all(|pair| pair[0].is_below(pair[1].score, pair[1].member.bytes())));
        self.len as f64 / (self.leaves * LEAF) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::Member;
    use super::*;

    /// A small generator for tests (splitmix64).
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = self.0;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x ^ (x >> 31)) % limit as u64) as usize
        }
    }

    fn members(count: usize) -> Vec<Member> {
        (0..count).map(|i| Member::new(format!("member:{i:06}").as_bytes(), 0.0)).collect()
    }

    fn entry(member: &Member, score: f64) -> Entry {
        // SAFETY: every test keeps its members until after its tree.
        Entry { score, member: unsafe { member.alias() } }
    }

    fn keys(tree: &Tree, ranks: Range<usize>, reverse: bool) -> Vec<(f64, Vec<u8>)> {
        tree.iter(ranks, reverse).map(|(member, score)| (score, member.to_vec())).collect()
    }

    #[test]
    fn agrees_with_a_sorted_vector_while_it_grows_and_shrinks() {
        crate::types::tests::seeds(1).for_each(|seed| grow_and_shrink(7 + seed));
    }

    fn grow_and_shrink(seed: u64) {
        let all = members(3_000);
        let mut rng = Rng(seed);
        let mut tree = Tree::new();
        let mut model: Vec<(i64, usize)> = Vec::new();
        for step in 0..40_000 {
            let growing = (step / 5_000) % 2 == 0;
            let key = (rng.below(40) as i64, rng.below(all.len()));
            let (score, bytes) = (key.0 as f64, all[key.1].bytes());
            match model.binary_search(&key) {
                Err(at) if rng.below(10) < if growing { 9 } else { 2 } => {
                    tree.insert(entry(&all[key.1], score));
                    model.insert(at, key);
                }
                Err(at) => {
                    assert!(!tree.rescore_in_place(score, bytes, score));
                    assert_eq!(tree.rank(score, bytes), at);
                    if !model.is_empty() && !growing {
                        let rank = rng.below(model.len());
                        let gone = tree.remove_nth(rank).unwrap();
                        let (score, index) = model.remove(rank);
                        assert_eq!((gone.score, gone.member.bytes()), (score as f64, all[index].bytes()));
                    }
                }
                Ok(at) => {
                    assert_eq!(tree.rank(score, bytes), at);
                    tree.remove(score, bytes);
                    model.remove(at);
                }
            }
            assert_eq!(tree.len(), model.len());
            if step % 500 == 0 {
                tree.check();
                let expected: Vec<_> = model.iter().map(|&(s, i)| (s as f64, all[i].bytes().to_vec())).collect();
                assert_eq!(keys(&tree, 0..usize::MAX, false), expected);
                let from = rng.below(model.len() + 1);
                let until = from + rng.below(model.len() + 1 - from);
                assert_eq!(keys(&tree, from..until, false), expected[from..until]);
                let mut backward = expected[from..until].to_vec();
                backward.reverse();
                assert_eq!(keys(&tree, from..until, true), backward);
                for (rank, want) in expected.iter().enumerate().step_by(17) {
                    assert_eq!(tree.nth(rank).unwrap().0, want.1);
                }
                assert!(tree.nth(expected.len()).is_none());
            }
        }
        while let Some(rank) = tree.len().checked_sub(1).map(|last| rng.below(last + 1)) {
            tree.remove_nth(rank).unwrap();
            model.remove(rank);
            if tree.len().is_multiple_of(250) {
                tree.check();
            }
        }
        assert_eq!((tree.leaves, tree.inners, tree.len()), (1, 0, 0));
    }

    #[test]
    fn leaves_are_nearly_full_after_ordered_and_well_filled_after_random_inserts() {
        let all = members(50_000);
        let fill = |scores: &mut dyn FnMut(usize) -> f64| {
            let mut tree = Tree::new();
            for (i, member) in all.iter().enumerate() {
                tree.insert(entry(member, scores(i)));
            }
            tree.check()
        };
        assert!(fill(&mut |i| i as f64) > 0.95);
        assert!(fill(&mut |i| -(i as f64)) > 0.95);
        let mut rng = Rng(1);
        let random = fill(&mut |_| rng.below(1 << 30) as f64);
        assert!(random > 0.78, "{random}");
    }

    #[test]
    fn comes_down_leaf_by_leaf() {
        let all = members(20_000);
        let mut tree = Tree::new();
        for member in &all {
            tree.insert(entry(member, 1.0));
        }
        let mut steps = 1;
        while tree.drop_last_leaf() {
            steps += 1;
            if steps % 20 == 0 {
                tree.check();
            }
        }
        assert!(steps > all.len() / LEAF && tree.len() == 0 && tree.leaves == 1, "{steps}");
    }
}
