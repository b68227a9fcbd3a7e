//! The list type: a listpack while small, a quicklist when large.
//!
//! A list grows into a quicklist by itself, in each operation that adds; it turns back into a
//! listpack only when [`List::try_shrink`] is called, which commands do where Redis does (after
//! LPOP, RPOP, LMOVE, LTRIM, LREM and LSET). Limits come in as [`ListLimits`] with each operation,
//! so that a change of configuration holds at once. No operation on a large list copies more than
//! a few nodes. No node is compressed in memory, but full ones are packed: see `uniform.rs`.
//!
//! Invariant: a quicklist may hold no element (after its last one was removed); a list never
//! holds an empty node. Redis' counterparts: `t_list.c` (encodings), `quicklist.c`.

mod element;
mod iter;
mod node;
mod quicklist;
#[cfg(test)]
mod tests;
mod uniform;
mod walk;

use super::listpack::{Listpack, Needle};
use super::walk::Walker;
pub use element::Element;
pub use iter::Iter;
pub use node::{NodeBody, NodeRef};

use node::{Node, NodeIter};
use quicklist::{End, Quicklist, SAFE_NODE_BYTES};
use std::borrow::Cow;

/// How large nodes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// list-max-listpack-size: positive, elements in a node; -1 to -5, node size of 4, 8, 16, 32
    /// or 64 KiB.
    pub fill: i32,
    /// list-compress-depth, kept for reports only: nodes in memory are never compressed.
    pub compress_depth: u32,
    /// Elements of at least this many bytes get a plain node of their own (DEBUG
    /// QUICKLIST-PACKED-THRESHOLD); 0: those larger than a node's limit.
    pub packed_threshold: usize,
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits { fill: -2, compress_depth: 0, packed_threshold: 0 }
    }
}

impl ListLimits {
    /// Most bytes and most elements of a node.
    fn node_limits(&self) -> (usize, usize) {
        match self.fill {
            fill if fill >= 0 => (usize::MAX, (fill as usize).max(1)),
            fill => (4096 << (-1 - fill.max(-5)), usize::MAX),
        }
    }

    /// Whether a node of this size is over its limit. Where only the count is limited, nodes of
    /// more than 8 KiB are, too.
    fn exceeded(&self, bytes: usize, count: usize) -> bool {
        let (max_bytes, max_count) = self.node_limits();
        let max_bytes = if self.fill >= 0 { SAFE_NODE_BYTES } else { max_bytes };
        bytes > max_bytes || count > max_count
    }

    /// Whether an element of this length gets a plain node of its own.
    fn is_large(&self, len: usize) -> bool {
        match self.packed_threshold {
            0 => self.exceeded(len, 0),
            threshold => len >= threshold.min(PACKED_LIMIT),
        }
    }
}

/// No threshold lets an element of more than this into a listpack.
const PACKED_LIMIT: usize = 1 << 29;

/// A list of strings.
#[derive(Clone, Debug)]
pub struct List {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

/// Sizes, encodings and nodes.
impl List {
    /// An empty list.
    pub fn new() -> Self {
        List { repr: Repr::Packed(Listpack::new()) }
    }

    /// A list of nodes from outside, in its right encoding; empty nodes are dropped.
    pub fn from_nodes(nodes: impl IntoIterator<Item = NodeBody>, limits: &ListLimits) -> Self {
        let mut list = List { repr: Repr::Quick(Box::default()) };
        for node in nodes {
            match node {
                NodeBody::Packed(pack) => list.append_listpack(pack),
                NodeBody::Plain(element) => list.append_plain(element),
            }
        }
        list.try_convert(limits);
        list
    }

    /// Adds a whole listpack as a node at the tail. The list becomes a quicklist; when all nodes
    /// are there, [`List::try_convert`] settles the encoding.
    pub fn append_listpack(&mut self, pack: Listpack) {
        let quick = self.quicklist();
        quick.seal(quick.nodes().len().wrapping_sub(1));
        quick.add_node(quick.nodes().len(), Node::new(NodeBody::Packed(pack)));
    }

    /// Adds one element as a plain node at the tail, as [`List::append_listpack`] does.
    pub fn append_plain(&mut self, element: Box<[u8]>) {
        let quick = self.quicklist();
        quick.add_node(quick.nodes().len(), Node::new(NodeBody::Plain(element)));
    }

    /// The nodes from head to tail, for saving; a list in one listpack has one.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        let count = self.node_count();
        (0..count).map(move |n| match &self.repr {
            Repr::Packed(pack) => NodeRef::Packed(Cow::Borrowed(pack)),
            Repr::Quick(quick) => quick.nodes()[n].as_ref(),
        })
    }

    /// Number of nodes, as [`List::nodes`] gives them.
    pub fn node_count(&self) -> usize {
        match &self.repr {
            Repr::Packed(pack) => usize::from(!pack.is_empty()),
            Repr::Quick(quick) => quick.nodes().len(),
        }
    }

    /// The name OBJECT ENCODING shows.
    pub fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Packed(_) => "listpack",
            Repr::Quick(_) => "quicklist",
        }
    }

    /// Number of elements. Constant time.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Packed(pack) => pack.count(),
            Repr::Quick(quick) => quick.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap held. Constant time.
    pub fn heap_bytes(&self) -> usize {
        match &self.repr {
            Repr::Packed(pack) => pack.heap_bytes(),
            Repr::Quick(quick) => quick.heap_bytes(),
        }
    }

    /// Turns a listpack into a quicklist, if `bytes` and `count` of elements about to be added
    /// would put it over the limit.
    pub fn try_grow(&mut self, bytes: usize, count: usize, limits: &ListLimits) {
        if let Repr::Packed(pack) = &self.repr
            && limits.exceeded(pack.byte_len() + bytes, pack.count() + count)
        {
            self.quicklist();
        }
    }

    /// Turns a quicklist back into a listpack, if one node is left with at most half the limit.
    /// An empty list becomes a listpack, too.
    pub fn try_shrink(&mut self, limits: &ListLimits) {
        let (bytes, count) = limits.node_limits();
        self.try_pack(bytes / 2, count / 2);
    }

    /// Settles the encoding after loading: a listpack over the limit becomes a quicklist, a
    /// quicklist of one packed node within the limit a listpack.
    pub fn try_convert(&mut self, limits: &ListLimits) {
        self.try_grow(0, 0, limits);
        let (bytes, count) = limits.node_limits();
        self.try_pack(bytes, count);
    }

    fn try_pack(&mut self, max_bytes: usize, max_count: usize) {
        let Repr::Quick(quick) = &mut self.repr else {
            return;
        };
        // One that is walked keeps its form until the walk has ended.
        if quick.walker().is_some() {
            return;
        }
        if quick.len() == 0 {
            *self = List::new();
            return;
        }
        let fits = |node: &Node| node.pack_len().is_some_and(|len| len <= max_bytes);
        if quick.nodes().len() == 1
            && quick.len() <= max_count
            && fits(&quick.nodes()[0])
            && let Some(NodeBody::Packed(pack)) = quick.take_node(0).map(Node::into_body)
        {
            self.repr = Repr::Packed(pack);
        }
    }

    /// The quicklist, which the list becomes if it was none.
    fn quicklist(&mut self) -> &mut Quicklist {
        if let Repr::Packed(pack) = &mut self.repr {
            let mut quick = Box::<Quicklist>::default();
            quick.add_node(0, Node::new(NodeBody::Packed(std::mem::take(pack))));
            self.repr = Repr::Quick(quick);
        }
        match &mut self.repr {
            Repr::Quick(quick) => quick,
            Repr::Packed(_) => unreachable!("it was just made a quicklist"),
        }
    }
}

/// Both ends.
impl List {
    /// Adds an element at the head.
    pub fn push_front(&mut self, element: &[u8], limits: &ListLimits) {
        self.extend_front(std::iter::once(element), limits);
    }

    /// Adds an element at the tail.
    pub fn push_back(&mut self, element: &[u8], limits: &ListLimits) {
        self.extend_back(std::iter::once(element), limits);
    }

    /// Adds elements at the head, one after the other: the last one ends up first (LPUSH). The
    /// encoding is decided once for all of them, as in Redis.
    pub fn extend_front<'e>(&mut self, elements: impl Iterator<Item = &'e [u8]> + Clone, limits: &ListLimits) {
        self.grow_for(elements.clone(), limits);
        match &mut self.repr {
            Repr::Packed(pack) => elements.for_each(|element| pack.push_front(element)),
            Repr::Quick(quick) => elements.for_each(|element| quick.push(End::Head, element, limits)),
        }
    }

    /// Adds elements at the tail (RPUSH). The encoding is decided once for all of them, as in
    /// Redis.
    pub fn extend_back<'e>(&mut self, elements: impl Iterator<Item = &'e [u8]> + Clone, limits: &ListLimits) {
        self.grow_for(elements.clone(), limits);
        match &mut self.repr {
            Repr::Packed(pack) => elements.for_each(|element| pack.push_back(element)),
            Repr::Quick(quick) => elements.for_each(|element| quick.push(End::Tail, element, limits)),
        }
    }

    fn grow_for<'e>(&mut self, elements: impl Iterator<Item = &'e [u8]>, limits: &ListLimits) {
        if let Repr::Packed(_) = self.repr {
            let (bytes, count) = elements.fold((0, 0), |(bytes, count), e| (bytes + e.len(), count + 1));
            self.try_grow(bytes, count, limits);
        }
    }

    /// The first element.
    pub fn front(&self) -> Option<Element<'_>> {
        match &self.repr {
            Repr::Packed(pack) => pack.first().map(|offset| Element::Item(pack.at(offset))),
            Repr::Quick(quick) => quick.peek(End::Head),
        }
    }

    /// The last element.
    pub fn back(&self) -> Option<Element<'_>> {
        match &self.repr {
            Repr::Packed(pack) => pack.last().map(|offset| Element::Item(pack.at(offset))),
            Repr::Quick(quick) => quick.peek(End::Tail),
        }
    }

    /// Removes the first element; false if there is none.
    pub fn remove_front(&mut self) -> bool {
        self.remove_end(End::Head)
    }

    /// Removes the last element; false if there is none.
    pub fn remove_back(&mut self) -> bool {
        self.remove_end(End::Tail)
    }

    /// Removes the first element and returns it.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Head)
    }

    /// Removes the last element and returns it.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Tail)
    }

    fn remove_end(&mut self, end: End) -> bool {
        match &mut self.repr {
            Repr::Packed(pack) => {
                let offset = if end == End::Head { pack.first() } else { pack.last() };
                offset.map(|offset| pack.delete(offset)).is_some()
            }
            Repr::Quick(quick) => quick.remove_end(end),
        }
    }

    fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        if let Repr::Quick(quick) = &mut self.repr {
            return quick.pop(end);
        }
        let item = if end == End::Head { self.front() } else { self.back() };
        let element = item?.to_vec();
        self.remove_end(end);
        Some(element)
    }
}

/// The inside.
impl List {
    /// The index from the head that `index` means (negative: from the tail), if it is in the list.
    fn absolute(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
        usize::try_from(index).ok().filter(|&index| index < len)
    }

    /// The element with this index; negative ones count from the tail.
    pub fn index(&self, index: i64) -> Option<Element<'_>> {
        let index = self.absolute(index)?;
        match &self.repr {
            Repr::Packed(pack) => pack.item(index as i64).map(Element::Item),
            Repr::Quick(quick) => quick.item(index),
        }
    }

    /// Replaces the element with this index (negative: from the tail); false if there is none.
    /// As in Redis a large element makes a quicklist of the list even then.
    pub fn set(&mut self, index: i64, element: &[u8], limits: &ListLimits) -> bool {
        self.try_grow(element.len(), 1, limits);
        let Some(index) = self.absolute(index) else {
            return false;
        };
        match &mut self.repr {
            Repr::Packed(pack) => {
                let offset = pack.nth(index as i64).expect("index within the list");
                pack.replace(offset, element);
            }
            Repr::Quick(quick) => quick.set(index, element, limits),
        }
        true
    }

    /// Inserts before the first element equal to `pivot`; false if there is none.
    pub fn insert_before(&mut self, pivot: &[u8], element: &[u8], limits: &ListLimits) -> bool {
        self.insert(pivot, element, false, limits)
    }

    /// Inserts after the first element equal to `pivot`; false if there is none.
    pub fn insert_after(&mut self, pivot: &[u8], element: &[u8], limits: &ListLimits) -> bool {
        self.insert(pivot, element, true, limits)
    }

    /// Inserts next to the pivot. The list grows whether or not the pivot
    /// is there, as in Redis.
    fn insert(&mut self, pivot: &[u8], element: &[u8], after: bool, limits: &ListLimits) -> bool {
        self.try_grow(element.len(), 1, limits);
        match &mut self.repr {
            Repr::Packed(pack) => match pack.find(pivot, 0) {
                None => return false,
                Some(at) if !after => pack.insert_before(at, element),
                Some(at) => pack.insert_after(at, element),
            },
            Repr::Quick(quick) => {
                let Some((n, i)) = quick.find(&Needle::new(pivot)) else {
                    return false;
                };
                quick.insert(n, i, after, element, limits);
                0
            }
        };
        true
    }

    /// Removes elements equal to `value`: with positive `count` the first so many, with negative
    /// the last so many, with 0 all (LREM). Returns how many were removed.
    pub fn remove(&mut self, count: i64, value: &[u8], limits: &ListLimits) -> usize {
        let max = match count {
            0 => usize::MAX,
            count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
        };
        let needle = Needle::new(value);
        match &mut self.repr {
            Repr::Packed(pack) => {
                let skip = if count < 0 { pack.count_matching(&needle).saturating_sub(max) } else { 0 };
                pack.remove_matching(&needle, skip, max)
            }
            Repr::Quick(quick) => {
                let from = if count < 0 { End::Tail } else { End::Head };
                quick.remove_matching(&needle, max, from, limits)
            }
        }
    }

    /// Keeps only the elements from index `start` to `stop`, both included, negative ones counted
    /// from the tail (LTRIM). Returns how many were removed.
    pub fn trim(&mut self, start: i64, stop: i64) -> usize {
        let len = self.len();
        match self.span(start, stop) {
            None => self.delete_range(0, len),
            Some((start, count)) => {
                let tail = self.delete_range(start + count, len);
                tail + self.delete_range(0, start)
            }
        }
    }

    /// First index and number of the elements that the arguments of LRANGE or LTRIM mean; `None`
    /// if there are none.
    pub fn span(&self, start: i64, stop: i64) -> Option<(usize, usize)> {
        let len = self.len() as i64;
        let from_head = |index: i64| {
            if index < 0 { index.saturating_add(len) } else { index }
        };
        let (start, stop) = (from_head(start).max(0), from_head(stop).min(len - 1));
        (start <= stop).then(|| (start as usize, (stop - start) as usize + 1))
    }

    /// Deletes up to `count` elements from index `start`; returns how many.
    pub fn delete_range(&mut self, start: usize, count: usize) -> usize {
        match &mut self.repr {
            Repr::Packed(pack) => i64::try_from(start).map_or(0, |start| pack.delete_range(start, count)),
            Repr::Quick(quick) => quick.delete_range(start, count),
        }
    }

    /// Drops the last node; returns how many elements went, `None` if the list is empty. Called
    /// repeatedly, it frees a large list in slices.
    pub fn take_chunk(&mut self) -> Option<usize> {
        match &mut self.repr {
            Repr::Packed(pack) => {
                let count = std::mem::take(pack).count();
                (count > 0).then_some(count)
            }
            Repr::Quick(quick) => {
                let last = quick.nodes().len().checked_sub(1)?;
                quick.take_node(last).map(|node| node.count())
            }
        }
    }
}

/// Walks in slices, exact under changes: see `types/walk.rs`.
impl List {
    pub(super) fn walker(&self) -> Option<u32> {
        match &self.repr {
            Repr::Packed(_) => None,
            Repr::Quick(quick) => quick.walker(),
        }
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        if let Repr::Quick(quick) = &mut self.repr {
            quick.begin_walk(walker);
        }
    }

    pub(super) fn step_walk(&mut self, f: impl FnMut(NodeRef)) -> bool {
        match &mut self.repr {
            Repr::Packed(_) => true,
            Repr::Quick(quick) => quick.step_walk(f),
        }
    }

    pub(super) fn cancel_walk(&mut self) {
        if let Repr::Quick(quick) = &mut self.repr {
            quick.cancel_walk();
        }
    }
}

/// Walking.
impl List {
    /// All elements from head to tail.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, usize::MAX)
    }

    /// All elements from tail to head.
    pub fn iter_rev(&self) -> Iter<'_, true> {
        self.range_rev(self.len().wrapping_sub(1), usize::MAX)
    }

    /// Up to `count` elements from index `start` towards the tail. Nodes before it are passed
    /// over unread.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        match &self.repr {
            Repr::Packed(pack) => Iter::of_node(NodeIter::from(pack, start), count),
            Repr::Quick(quick) => match quick.locate(start) {
                None => Iter::of_node(NodeIter::empty(), 0),
                Some((n, i)) => Iter::new(quick.nodes()[n].iter_from(i), quick.nodes().range(n + 1..), count),
            },
        }
    }

    /// Up to `count` elements from index `start` towards the head.
    pub fn range_rev(&self, start: usize, count: usize) -> Iter<'_, true> {
        match &self.repr {
            Repr::Packed(pack) => Iter::of_node(NodeIter::to(pack, start), count),
            Repr::Quick(quick) => match quick.locate(start) {
                None => Iter::of_node(NodeIter::empty(), 0),
                Some((n, i)) => Iter::new(quick.nodes()[n].iter_to(i), quick.nodes().range(..n), count),
            },
        }
    }

    /// Indexes, ascending, of the elements equal to `value` among the first `max_len` (LPOS).
    pub fn positions<'a>(&'a self, value: &'a [u8], max_len: usize) -> impl Iterator<Item = usize> + 'a {
        let needle = Needle::new(value);
        let hits =
            self.range(0, max_len).enumerate().filter(move |&(_, element)| element.with(|item| needle.matches(item)));
        hits.map(|(index, _)| index)
    }

    /// Indexes, descending, of the elements equal to `value` among the last `max_len` (LPOS with
    /// a negative rank).
    pub fn positions_rev<'a>(&'a self, value: &'a [u8], max_len: usize) -> impl Iterator<Item = usize> + 'a {
        let needle = Needle::new(value);
        let len = self.len();
        let items = self.range_rev(len.wrapping_sub(1), max_len).enumerate();
        items
            .filter(move |&(_, element)| element.with(|item| needle.matches(item)))
            .map(move |(back, _)| len - 1 - back)
    }
}
