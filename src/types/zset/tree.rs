//! A counted B+ tree: the order of a large sorted set.
//!
//! Entries are ordered by (score, member bytes). Every inner node knows how many entries lie below
//! each child, so rank and select take O(log n), and everything else is said in ranks: a range of
//! scores or members is two [`Tree::partition_point`]s, an iterator is a range of ranks that finds its
//! next leaf by its rank. No leaf links, no parent pointers.
//!
//! It does not own the members and knows nothing of their scores elsewhere: who changes a score
//! removes the entry and inserts another.
//!
//! Invariants:
//! - A node holds 1 to `CAPACITY` items; only the root leaf may be empty; all leaves are equally deep.
//! - `Child::first` equals the first entry below the child, `Child::count` the number of entries.
//! - The pointers in all entries are alive (see `member.rs`). Separators are copies of entries that
//!   are in the tree, never of removed ones, so this holds for them too.
//!
//! Counterpart in Redis: the skiplist with its spans.

use super::member::MemberRef;
use crate::types::listpack::Item;
use std::cmp::Ordering;
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

impl Default for Entry {
    fn default() -> Entry {
        Entry { score: 0.0, member: MemberRef::NONE }
    }
}

impl Entry {
    /// Member and score as the zset shows them.
    pub(super) fn pair(&self) -> (Item<'_>, f64) {
        (Item::Bytes(self.member.bytes()), self.score)
    }

    /// Where this entry stands beside a score and member: by score first, then by bytes.
    pub(super) fn order(&self, score: f64, member: &[u8]) -> Ordering {
        match self.score.partial_cmp(&score) {
            Some(Ordering::Equal) | None => self.member.bytes().cmp(member),
            Some(order) => order,
        }
    }

    fn is_above(&self, score: f64, member: &[u8]) -> bool {
        self.score > score || (self.score == score && self.member.bytes() > member)
    }

    fn is_below(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.member.bytes() < member)
    }
}

/// A short vector inside a node.
struct Slots<T, const N: usize> {
    len: usize,
    items: [T; N],
}

impl<T: Default, const N: usize> Slots<T, N> {
    fn new() -> Self {
        Slots { len: 0, items: std::array::from_fn(|_| T::default()) }
    }

    fn as_slice(&self) -> &[T] {
        &self.items[..self.len]
    }

    fn insert(&mut self, at: usize, item: T) {
        self.items[at..=self.len].rotate_right(1);
        self.items[at] = item;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> T {
        let item = std::mem::take(&mut self.items[at]);
        self.items[at..self.len].rotate_left(1);
        self.len -= 1;
        item
    }

    /// Moves items over the border between two neighbours, so that `self` has `len` of them.
    fn share(&mut self, right: &mut Self, len: usize) {
        if len < self.len {
            let moved = self.len - len;
            right.items[..right.len + moved].rotate_right(moved);
            self.items[len..self.len].swap_with_slice(&mut right.items[..moved]);
            right.len += moved;
        } else {
            let moved = len - self.len;
            self.items[self.len..len].swap_with_slice(&mut right.items[..moved]);
            right.items[..right.len].rotate_left(moved);
            right.len -= moved;
        }
        self.len = len;
    }
}

type Leaf = Slots<Entry, LEAF>;
type Inner = Slots<Child, FAN>;

#[derive(Default)]
struct Child {
    first: Entry,
    count: usize,
    node: Node,
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
    fn len(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.len,
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => FAN,
        }
    }

    fn first(&self) -> Entry {
        match self {
            Node::None => Entry::default(),
            Node::Leaf(leaf) => leaf.items[0],
            Node::Inner(inner) => inner.items[0].first,
        }
    }

    fn last(&self) -> Entry {
        match self {
            Node::None => Entry::default(),
            Node::Leaf(leaf) => leaf.items[leaf.len - 1],
            Node::Inner(inner) => inner.items[inner.len - 1].node.last(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::None => 0,
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.as_slice().iter().map(|child| child.count).sum(),
        }
    }

    /// An empty node of the same height.
    fn empty_like(&self) -> Node {
        match self {
            Node::None => Node::None,
            Node::Leaf(_) => Node::Leaf(Box::new(Slots::new())),
            Node::Inner(_) => Node::Inner(Box::new(Slots::new())),
        }
    }

    fn share(&mut self, right: &mut Node, len: usize) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.share(right, len),
            (Node::Inner(left), Node::Inner(right)) => left.share(right, len),
            _ => unreachable!("neighbours are equally high"),
        }
    }

    fn into_child(self) -> Child {
        Child { first: self.first(), count: self.count(), node: self }
    }
}

/// Where an entry that finds its leaf full stands: decides how the leaf is split.
#[derive(Clone, Copy)]
struct Edge {
    /// Before everything in the tree.
    front: bool,
    /// After everything in the tree.
    back: bool,
}

impl Inner {
    /// The child that an entry of this key belongs to.
    fn route(&self, score: f64, member: &[u8]) -> usize {
        let after = self.as_slice().partition_point(|child| !child.first.is_above(score, member));
        after.saturating_sub(1)
    }

    /// The child that holds the entry of this rank, and the rank below that child.
    fn select(&self, mut rank: usize) -> (usize, usize) {
        for (index, child) in self.as_slice().iter().enumerate() {
            if rank < child.count {
                return (index, rank);
            }
            rank -= child.count;
        }
        unreachable!("the rank is below the count")
    }

    fn refresh(&mut self, at: usize) {
        let child = &mut self.items[at];
        child.first = child.node.first();
        child.count = child.node.count();
    }

    /// Moves the border between children `at` and `at + 1` so that the first has `len` items.
    fn share_children(&mut self, at: usize, len: usize) {
        let (left, right) = self.items.split_at_mut(at + 1);
        left[at].node.share(&mut right[0].node, len);
        self.refresh(at);
        self.refresh(at + 1);
    }

    /// Gives the full child `at`, and whichever neighbour it shares with, room for one more item.
    /// Returns whether that took a new node. Self is not full.
    fn make_room(&mut self, at: usize, edge: Edge) -> bool {
        let capacity = self.items[at].node.capacity();
        let worth = capacity - capacity / 8;
        for left in [at.wrapping_sub(1), at] {
            if left >= self.len || left + 1 >= self.len {
                continue;
            }
            let total = self.items[left].node.len() + self.items[left + 1].node.len();
            if total <= capacity + worth {
                self.share_children(left, total / 2);
                return false;
            }
        }
        // Keys that come in order leave full nodes behind them instead of half-full ones.
        let left_len = match edge {
            Edge { back: true, .. } if at + 1 == self.len => capacity - 1,
            Edge { front: true, .. } if at == 0 => 1,
            _ => capacity / 2,
        };
        let right = self.items[at].node.empty_like();
        self.insert(at + 1, Child { node: right, ..Child::default() });
        self.share_children(at, left_len);
        true
    }

    /// Gives the small child `at` items from a neighbour, or merges the two.
    /// Returns whether a node is gone.
    fn make_fuller(&mut self, at: usize) -> bool {
        if self.len < 2 {
            return false;
        }
        let left = at.saturating_sub(1);
        let capacity = self.items[left].node.capacity();
        let total = self.items[left].node.len() + self.items[left + 1].node.len();
        if total > capacity - capacity / 8 {
            self.share_children(left, total / 2);
            return false;
        }
        let (a, b) = self.items.split_at_mut(left + 1);
        a[left].node.share(&mut b[0].node, total);
        self.refresh(left);
        self.remove(left + 1);
        true
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
        Tree { root: Node::Leaf(Box::new(Slots::new())), len: 0, leaves: 1, inners: 0 }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all nodes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.leaves * size_of::<Leaf>() + self.inners * size_of::<Inner>()
    }

    /// How many entries from the first on satisfy `holds`, which is true for a first part of the
    /// entries and false for the rest. (For anything else the answer is some rank, never a panic.)
    pub(super) fn partition_point(&self, mut holds: impl FnMut(&Entry) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::None => return rank,
                Node::Leaf(leaf) => return rank + leaf.as_slice().partition_point(holds),
                Node::Inner(inner) => {
                    let after = inner.as_slice().partition_point(|child| holds(&child.first));
                    let at = after.saturating_sub(1);
                    rank += inner.items[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &inner.items[at].node;
                }
            }
        }
    }

    /// The rank that an entry of this key has, or would have.
    pub(super) fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.partition_point(|entry| entry.is_below(score, member))
    }

    /// The entry of this rank.
    pub(super) fn nth(&self, rank: usize) -> Option<&Entry> {
        let (leaf, at) = self.leaf_of(rank)?;
        Some(&leaf[at])
    }

    /// The leaf that holds this rank, and where in it.
    fn leaf_of(&self, rank: usize) -> Option<(&[Entry], usize)> {
        if rank >= self.len {
            return None;
        }
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::None => return None,
                Node::Leaf(leaf) => return Some((leaf.as_slice(), rank)),
                Node::Inner(inner) => {
                    let (at, below) = inner.select(rank);
                    node = &inner.items[at].node;
                    rank = below;
                }
            }
        }
    }

    /// The entries of these ranks, in order or in reverse.
    pub(super) fn iter(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        let end = ranks.end.min(self.len);
        Iter { tree: self, ranks: ranks.start.min(end)..end, reverse, leaf: &[] }
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
                    let at = leaf.as_slice().partition_point(|other| other.is_below(score, key));
                    return leaf.insert(at, entry);
                }
                Node::Inner(inner) => {
                    let mut at = inner.route(score, key);
                    let child = &inner.items[at];
                    if child.node.len() == child.node.capacity() {
                        let is_leaf = matches!(child.node, Node::Leaf(_));
                        edge.front &= at == 0 && child.first.is_above(score, key);
                        edge.back &= at + 1 == inner.len && child.node.last().is_below(score, key);
                        let grown = inner.make_room(at, edge);
                        *(if is_leaf { &mut self.leaves } else { &mut self.inners }) += usize::from(grown);
                        at = inner.route(score, key);
                    }
                    edge.front &= at == 0;
                    edge.back &= at + 1 == inner.len;
                    let child = &mut inner.items[at];
                    child.count += 1;
                    if child.first.is_above(score, key) {
                        child.first = entry;
                    }
                    node = &mut child.node;
                }
            }
        }
    }

    /// Puts a new root above the full one.
    fn grow_root(&mut self) {
        let mut inner = Box::new(Inner::new());
        inner.insert(0, std::mem::take(&mut self.root).into_child());
        self.root = Node::Inner(inner);
        self.inners += 1;
    }

    /// Takes the entry of this key out, if it is there.
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) -> Option<Entry> {
        let rank = self.rank(score, member);
        let found = self.nth(rank)?;
        if found.order(score, member) != Ordering::Equal {
            return None;
        }
        self.remove_nth(rank)
    }

    /// Takes the entry of this rank out.
    pub(super) fn remove_nth(&mut self, rank: usize) -> Option<Entry> {
        if rank >= self.len {
            return None;
        }
        self.len -= 1;
        self.drop_thin_roots();
        let entry = take(&mut self.root, rank, &mut self.leaves, &mut self.inners);
        self.drop_thin_roots();
        Some(entry)
    }

    /// An inner root with a single child gives way to that child.
    fn drop_thin_roots(&mut self) {
        while let Node::Inner(inner) = &mut self.root
            && inner.len == 1
        {
            let child = inner.remove(0);
            self.root = child.node;
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

/// Removes and returns the entry of this rank below `node`, which has more than one item unless it is
/// a root leaf: the way down makes every small child fuller before it goes there.
fn take(node: &mut Node, rank: usize, leaves: &mut usize, inners: &mut usize) -> Entry {
    match node {
        Node::None => unreachable!("the rank is below the count"),
        Node::Leaf(leaf) => leaf.remove(rank),
        Node::Inner(inner) => {
            let (mut at, mut below) = inner.select(rank);
            let child = &inner.items[at].node;
            if child.len() <= child.capacity() * 2 / 5 {
                let is_leaf = matches!(child, Node::Leaf(_));
                let merged = inner.make_fuller(at);
                *(if is_leaf { &mut *leaves } else { &mut *inners }) -= usize::from(merged);
                (at, below) = inner.select(rank);
            }
            let child = &mut inner.items[at];
            let entry = take(&mut child.node, below, leaves, inners);
            child.count -= 1;
            if below == 0 {
                child.first = child.node.first();
            }
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
            let at = inner.len - 1;
            let child = &mut inner.items[at];
            let gone = cut_last_leaf(&mut child.node, leaves, inners);
            child.count -= gone;
            if child.count == 0 {
                let is_leaf = matches!(child.node, Node::Leaf(_));
                *(if is_leaf { leaves } else { inners }) -= 1;
                inner.remove(at);
            }
            gone
        }
    }
}

/// Entries of a range of ranks. Finds each next leaf from the root: O(log n) once a leaf.
/// The pointers in the entries stay alive as long as the tree is borrowed: so do the members it gives.
pub(super) struct Iter<'a> {
    tree: &'a Tree,
    /// Ranks that no leaf was looked up for yet.
    ranks: Range<usize>,
    reverse: bool,
    /// What is left of the current leaf.
    leaf: &'a [Entry],
}

impl<'a> Iter<'a> {
    /// Looks up the next leaf and cuts what belongs to the range out of it.
    fn refill(&mut self) -> Option<()> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.reverse {
            let (leaf, at) = self.tree.leaf_of(self.ranks.end - 1)?;
            let from = (at + 1).saturating_sub(self.ranks.len());
            self.leaf = &leaf[from..=at];
            self.ranks.end -= self.leaf.len();
        } else {
            let (leaf, at) = self.tree.leaf_of(self.ranks.start)?;
            let until = leaf.len().min(at.saturating_add(self.ranks.len()));
            self.leaf = &leaf[at..until];
            self.ranks.start += self.leaf.len();
        }
        Some(())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        if self.leaf.is_empty() {
            self.refill()?;
        }
        let entry;
        if self.reverse {
            (entry, self.leaf) = self.leaf.split_last()?;
        } else {
            (entry, self.leaf) = self.leaf.split_first()?;
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.leaf.len() + self.ranks.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
impl Tree {
    /// Panics unless every invariant of the module holds. Returns the filled part of all leaf slots.
    pub(super) fn check(&self) -> f64 {
        fn walk(node: &Node, root: bool, height: usize, seen: &mut (usize, usize, Vec<Entry>)) -> usize {
            assert!(node.len() <= node.capacity() && (root || node.len() > 0));
            match node {
                Node::None => panic!("an unused slot was reached"),
                Node::Leaf(leaf) => {
                    seen.0 += 1;
                    seen.2.extend_from_slice(leaf.as_slice());
                    height
                }
                Node::Inner(inner) => {
                    seen.1 += 1;
                    let mut heights = Vec::new();
                    for child in inner.as_slice() {
                        let before = seen.2.len();
                        heights.push(walk(&child.node, false, height + 1, seen));
                        assert_eq!(seen.2.len() - before, child.count);
                        let first = seen.2[before];
                        assert_eq!(first.member.bytes(), child.first.member.bytes());
                        assert_eq!(first.score.to_bits(), child.first.score.to_bits());
                    }
                    assert!(heights.windows(2).all(|pair| pair[0] == pair[1]));
                    heights[0]
                }
            }
        }
        let mut seen = (0, 0, Vec::new());
        walk(&self.root, true, 0, &mut seen);
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
        tree.iter(ranks, reverse).map(|e| (e.score, e.member.bytes().to_vec())).collect()
    }

    #[test]
    fn agrees_with_a_sorted_vector_while_it_grows_and_shrinks() {
        let all = members(3_000);
        let mut rng = Rng(7);
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
                    assert!(tree.remove(score, bytes).is_none());
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
                    let gone = tree.remove(score, bytes).unwrap();
                    assert_eq!(gone.member.bytes(), bytes);
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
                    assert_eq!(tree.nth(rank).unwrap().member.bytes(), want.1);
                }
                assert!(tree.nth(expected.len()).is_none());
            }
        }
        while let Some(rank) = tree.len().checked_sub(1).map(|last| rng.below(last + 1)) {
            tree.remove_nth(rank).unwrap();
            model.remove(rank);
            if tree.len() % 250 == 0 {
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
        let random = fill(&mut |_| rng.below(1 << 40) as f64);
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
