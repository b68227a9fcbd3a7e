//! The large form of a list: a deque of nodes.
//!
//! It never copies more than a few nodes' elements, whatever its length. Where to cut and what to
//! merge is decided by [`ListLimits`] alone. Invariants of a [`Quicklist`]: no node is empty; `len`
//! is the sum of the nodes' counts and `bytes` of their heap; both change only in
//! [`Quicklist::edit`] and the three functions beside it. Redis' counterpart: `quicklist.c`,
//! without compressed nodes.

use super::ListLimits;
use super::element::Element;
use super::node::{Node, NodeBody, NodeRef};
use super::walk::NodeWalk;
use crate::types::listpack::{Listpack, Needle, Room, snug_capacity};
use crate::types::walk::{Walker, Walking};
use std::collections::VecDeque;

/// A deque of nodes.
#[derive(Debug)]
pub(super) struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    bytes: usize,
    walk: Walking<NodeWalk>,
}

impl Default for Quicklist {
    fn default() -> Self {
        Quicklist { nodes: VecDeque::new(), len: 0, bytes: 0, walk: Walking::NONE }
    }
}

impl Clone for Quicklist {
    fn clone(&self) -> Self {
        let nodes = self.nodes.clone();
        // Clones have no spare capacity.
        let bytes = nodes.iter().map(Node::heap_bytes).sum();
        Quicklist { nodes, len: self.len, bytes, walk: Walking::NONE }
    }
}

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Head,
    Tail,
}

/// Sizes and reading.
impl Quicklist {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn nodes(&self) -> &VecDeque<Node> {
        &self.nodes
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.nodes.capacity() * size_of::<Node>() + self.bytes
    }

    /// Node and index within it of the element with this index. Passes over whole nodes from the
    /// nearer end.
    pub fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut before = 0;
            for (n, node) in self.nodes.iter().enumerate() {
                if index < before + node.count() {
                    return Some((n, index - before));
                }
                before += node.count();
            }
        } else {
            let mut start = self.len;
            for (n, node) in self.nodes.iter().enumerate().rev() {
                start -= node.count();
                if index >= start {
                    return Some((n, index - start));
                }
            }
        }
        None
    }

    /// The element with this index.
    pub fn item(&self, index: usize) -> Option<Element<'_>> {
        self.locate(index).map(|(n, i)| self.nodes[n].item(i))
    }

    pub fn peek(&self, end: End) -> Option<Element<'_>> {
        match end {
            End::Head => self.nodes.front().map(Node::first),
            End::Tail => self.nodes.back().map(Node::last),
        }
    }

    /// Node and index within it of the first element equal to `needle`.
    pub fn find(&self, needle: &Needle) -> Option<(usize, usize)> {
        self.nodes.iter().enumerate().find_map(|(n, node)| {
            node.iter().position(|element| element.with(|item| needle.matches(item))).map(|i| (n, i))
        })
    }
}

/// The only functions that touch `nodes`, `len` and `bytes`.
impl Quicklist {
    fn edit<R>(&mut self, n: usize, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.nodes[n];
        if let Some(walk) = self.walk.get_mut() {
            walk.change(n, node);
        }
        let (count, bytes) = (node.count(), node.heap_bytes());
        let result = change(node);
        self.len = self.len - count + node.count();
        self.bytes = self.bytes - bytes + node.heap_bytes();
        result
    }

    /// Adds an element to the node at one end, if there is one that has room for it.
    fn push_into(&mut self, end: End, element: &[u8], limits: &ListLimits) -> bool {
        let (n, node) = match end {
            End::Head => (0, self.nodes.front_mut()),
            End::Tail => (self.nodes.len().wrapping_sub(1), self.nodes.back_mut()),
        };
        let Some(node) = node.filter(|node| accepts(node, element, limits)) else {
            return false;
        };
        if let Some(walk) = self.walk.get_mut() {
            walk.change(n, node);
        }
        let bytes = node.heap_bytes();
        node.push(end, element);
        self.len += 1;
        self.bytes = self.bytes - bytes + node.heap_bytes();
        true
    }

    /// Seals the node, if it is there: it is no longer at the end of the list, or will not be.
    pub fn seal(&mut self, n: usize) {
        if n < self.nodes.len() {
            self.edit(n, Node::seal);
        }
    }

    /// Adds a node so that it has the number `n`; an empty one is dropped.
    pub fn add_node(&mut self, n: usize, node: Node) {
        if node.count() > 0 {
            self.len += node.count();
            self.bytes += node.heap_bytes();
            self.nodes.insert(n, node);
            if let Some(walk) = self.walk.get_mut() {
                walk.come(n);
            }
        }
    }

    pub fn take_node(&mut self, n: usize) -> Option<Node> {
        let node = self.nodes.remove(n)?;
        self.len -= node.count();
        self.bytes -= node.heap_bytes();
        if let Some(walk) = self.walk.get_mut() {
            walk.go(n, || node.clone());
        }
        if self.nodes.capacity() > 32 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        Some(node)
    }

    /// Drops the nodes `start..end`, which may be empty ones.
    fn drop_nodes(&mut self, start: usize, end: usize) {
        for node in self.nodes.drain(start..end) {
            self.len -= node.count();
            self.bytes -= node.heap_bytes();
            if let Some(walk) = self.walk.get_mut() {
                walk.go(start, || node);
            }
        }
        if self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }
}

/// Walks in slices.
impl Quicklist {
    pub fn walker(&self) -> Option<u32> {
        self.walk.get().map(|walk| walk.id)
    }

    pub fn begin_walk(&mut self, walker: Walker) {
        self.walk.begin(NodeWalk::new(walker, self.nodes.len()));
    }

    pub fn step_walk(&mut self, f: impl FnMut(NodeRef)) -> bool {
        let Some(walk) = self.walk.get_mut() else { return true };
        let done = walk.step(&self.nodes, f);
        if done {
            self.walk.end();
        }
        done
    }

    pub fn cancel_walk(&mut self) {
        self.walk.end();
    }
}

/// Changing.
impl Quicklist {
    pub fn push(&mut self, end: End, element: &[u8], limits: &ListLimits) {
        let (n, edge, room) = match end {
            End::Head => (0, 0, Room::Front),
            End::Tail => (self.nodes.len(), self.nodes.len().wrapping_sub(1), Room::Back),
        };
        // Where no threshold says otherwise, no node accepts a large one.
        let may_join = limits.packed_threshold == 0 || !limits.is_large(element.len());
        if may_join && self.push_into(end, element, limits) {
            return;
        }
        if limits.is_large(element.len()) {
            self.seal(edge);
            self.add_node(n, Node::plain(element));
        } else {
            // It will become as large as the one before it, so it takes at once what it will need, unless that were
            // much beside what the list has: a listpack that grows from nothing is copied many times.
            let expected = self.nodes.get(edge).and_then(Node::pack_len).unwrap_or(0).min(self.bytes / 16);
            self.seal(edge);
            self.add_node(n, Node::expecting(element, snug_capacity(expected), room));
        }
    }

    /// Deletes the element at one end; false if there is none.
    pub fn remove_end(&mut self, end: End) -> bool {
        let Some(last) = self.nodes.len().checked_sub(1) else {
            return false;
        };
        let n = if end == End::Head { 0 } else { last };
        if self.nodes[n].count() == 1 {
            self.take_node(n);
            return true;
        }
        self.edit(n, |node| node.remove_end(end));
        true
    }

    /// Takes the element at one end; a plain one without copying.
    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let n = if end == End::Head { 0 } else { self.nodes.len().checked_sub(1)? };
        if self.nodes.get(n)?.is_plain()
            && let NodeBody::Plain(element) = self.take_node(n)?.into_body()
        {
            return Some(element.into_vec());
        }
        let element = self.peek(end)?.to_vec();
        self.remove_end(end);
        Some(element)
    }

    /// Whether the node is there, packed, and has room for the element.
    fn accepts(&self, n: usize, element: &[u8], limits: &ListLimits) -> bool {
        self.nodes.get(n).is_some_and(|node| accepts(node, element, limits))
    }

    /// Inserts next to the element `i` of the node `n`: into that node, else into the neighbour
    /// beyond it, else into a new node there; and if the node is full and the place inside it, the
    /// node is cut at that place.
    pub fn insert(&mut self, n: usize, i: usize, after: bool, element: &[u8], limits: &ListLimits) {
        let large = limits.is_large(element.len());
        let at = i + usize::from(after);
        let edge = at == 0 || at == self.nodes[n].count();
        if !large && self.accepts(n, element, limits) {
            self.edit(n, |node| node.insert(at, element));
        } else if edge {
            let beyond = if after { n + 1 } else { n.wrapping_sub(1) };
            if !large && self.accepts(beyond, element, limits) {
                let at = if after { 0 } else { self.nodes[beyond].count() };
                self.edit(beyond, |node| node.insert(at, element));
            } else {
                self.add_node(n + usize::from(after), Node::of(element, large));
            }
        } else {
            self.cut(n, at);
            if large {
                self.add_node(n + 1, Node::plain(element));
                return;
            }
            // The new element joins the part without its pivot.
            let (joined, centre) = if after { (n + 1, n) } else { (n, n + 1) };
            let at = if after { 0 } else { self.nodes[n].count() };
            self.edit(joined, |node| node.insert(at, element));
            self.merge_around(centre, limits);
        }
    }

    /// Cuts the packed node `n` before its element `i`, which is not its first one.
    fn cut(&mut self, n: usize, i: usize) {
        let tail = self.edit(n, |node| node.edit(|pack| pack.split_off(i)));
        let tail = tail.expect("a plain node has nothing to cut between");
        self.add_node(n + 1, Node::new(NodeBody::Packed(tail)));
    }

    /// Merges what is small around the node `n`: the two before it, the two after it, then it
    /// with both sides. The order is Redis', since it decides how many nodes are left.
    fn merge_around(&mut self, n: usize, limits: &ListLimits) {
        let mut n = n;
        if n >= 2 && self.merge(n - 2, limits) {
            n -= 1;
        }
        self.merge(n + 1, limits);
        if n >= 1 && self.merge(n - 1, limits) {
            n -= 1;
        }
        self.merge(n, limits);
    }

    /// Merges the node `n` with the one after it, if both are packed and fit into one.
    fn merge(&mut self, n: usize, limits: &ListLimits) -> bool {
        let len = |n: usize| self.nodes.get(n).and_then(Node::pack_len);
        let (Some(left), Some(right)) = (len(n), len(n + 1)) else {
            return false;
        };
        let count = self.nodes[n].count() + self.nodes[n + 1].count();
        let bytes = left + right - Listpack::EMPTY_BYTES;
        if limits.exceeded(bytes, count) {
            return false;
        }
        if let Some(NodeBody::Packed(right)) = self.take_node(n + 1).map(Node::into_body) {
            self.edit(n, |node| node.edit(|pack| pack.append(&right)));
        }
        true
    }

    /// Replaces the element with this index, which must be there. It stays where it is unless it
    /// changes between packed and plain, or would swell its node too much.
    pub fn set(&mut self, index: usize, element: &[u8], limits: &ListLimits) {
        let (n, i) = self.locate(index).expect("index within the list");
        let large = limits.is_large(element.len());
        let node = &self.nodes[n];
        let Some(len) = node.pack_len() else {
            if large {
                self.edit(n, |node| node.replace(0, element));
            } else {
                self.insert(n, 0, true, element, limits);
                self.drop_nodes(n, n + 1);
            }
            return;
        };
        let old = node.item(i).with(Listpack::item_entry_len);
        let bytes = len - old + Listpack::entry_len(element);
        if !large && !limits.exceeded(bytes / REPLACE_SLACK, 0) {
            self.edit(n, |node| node.replace(i, element));
            return;
        }
        // The old element is the last of the node, then; the new one gets a node after it.
        if i + 1 < node.count() {
            self.cut(n, i + 1);
        }
        self.add_node(n + 1, Node::of(element, large));
        if i == 0 {
            self.drop_nodes(n, n + 1);
        } else {
            self.edit(n, |node| node.delete_range(i, 1));
            self.merge_around(n + 1, limits);
        }
    }

    /// Deletes up to `max` elements equal to `needle`, seen from one end; returns how many.
    pub fn remove_matching(&mut self, needle: &Needle, max: usize, from: End, limits: &ListLimits) -> usize {
        let (mut removed, mut emptied) = (0, false);
        for step in 0..self.nodes.len() {
            if removed == max {
                break;
            }
            let n = if from == End::Head { step } else { self.nodes.len() - 1 - step };
            // A walk keeps what is about to change: let nothing seem so that does not.
            if self.walk.is_on() && !self.nodes[n].iter().any(|element| element.with(|item| needle.matches(item))) {
                continue;
            }
            removed += self.edit(n, |node| node.remove_matching(needle, max - removed, from == End::Tail));
            emptied |= self.nodes[n].count() == 0;
        }
        if emptied {
            // Empty nodes count nothing and hold next to nothing.
            self.bytes -= self.nodes.iter().filter(|node| node.count() == 0).map(Node::heap_bytes).sum::<usize>();
            if let Some(walk) = self.walk.get_mut() {
                for n in (0..self.nodes.len()).rev().filter(|n| self.nodes[*n].count() == 0) {
                    walk.go(n, || unreachable!("it has changed, so it is kept"));
                }
            }
            self.nodes.retain(|node| node.count() > 0);
        }
        if removed > 0 && !self.walk.is_on() {
            self.merge_small(limits);
        }
        removed
    }

    /// Merges neighbours that fill less than a quarter of a node together, once the list has many
    /// such. At least two nodes stay: Redis merges nothing here, and the encoding must not differ.
    fn merge_small(&mut self, limits: &ListLimits) {
        let (max_bytes, max_count) = limits.node_limits();
        let sparse = |bytes: usize, count: usize| bytes <= max_bytes.min(SAFE_NODE_BYTES) / 4 && count <= max_count / 4;
        if self.nodes.len() < 8 || !sparse(self.bytes / self.nodes.len(), self.len / self.nodes.len()) {
            return;
        }
        let mut merged: VecDeque<Node> = VecDeque::new();
        let nodes = self.nodes.len();
        for (i, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if let (Some(last), Some(len)) = (merged.back_mut(), node.pack_len())
                && i + 1 < nodes
                && let Some(left) = last.pack_len()
                && sparse(left + len, last.count() + node.count())
                && let NodeRef::Packed(pack) = node.as_ref()
            {
                last.edit(|left| left.append(&pack));
            } else {
                merged.push_back(node);
            }
        }
        self.bytes = merged.iter().map(Node::heap_bytes).sum();
        self.nodes = merged;
    }

    /// Deletes up to `count` elements from index `start`; returns how many. Whole nodes are
    /// dropped unread.
    pub fn delete_range(&mut self, start: usize, count: usize) -> usize {
        let Some((first, i)) = self.locate(start) else {
            return 0;
        };
        let deleted = count.min(self.len - start);
        let mut rest = deleted;
        let mut n = first;
        if i > 0 {
            let here = rest.min(self.nodes[n].count() - i);
            self.edit(n, |node| node.delete_range(i, here));
            rest -= here;
            n += 1;
        }
        let mut end = n;
        while end < self.nodes.len() && rest >= self.nodes[end].count() {
            rest -= self.nodes[end].count();
            end += 1;
        }
        self.drop_nodes(n, end);
        if rest > 0 {
            self.edit(n, |node| node.delete_range(0, rest));
        }
        deleted
    }
}

/// Whether the node is packed and has room for the element. No limit lets a node grow past what a listpack carries.
fn accepts(node: &Node, element: &[u8], limits: &ListLimits) -> bool {
    let fits = |bytes| !limits.exceeded(bytes + element.len() + ENTRY_OVERHEAD, node.count() + 1);
    node.pack_len().is_some_and(fits)
}

/// What an entry is reckoned to cost beside its bytes when asking whether a node has room.
const ENTRY_OVERHEAD: usize = 8;

/// Replaced elements may swell a node to this many times its limit. Redis knows no bound here; up
/// to this one, encodings agree, and nodes stay small enough to be moved about.
const REPLACE_SLACK: usize = 4;

/// Nodes limited by count alone stay below this many bytes.
pub(super) const SAFE_NODE_BYTES: usize = 8192;
