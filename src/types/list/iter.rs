//! Walking over a list, in either direction, a known number of elements at most.

use super::node::{Node, NodeIter};
use crate::types::listpack::Item;
use std::collections::vec_deque;

/// Elements of a list from some index on; with `REVERSE` towards the head.
#[derive(Clone, Debug)]
pub struct Iter<'a, const REVERSE: bool = false> {
    node: NodeIter<'a>,
    /// Nodes still to come.
    nodes: vec_deque::Iter<'a, Node>,
    /// Elements still wanted.
    remaining: usize,
}

impl<'a, const REVERSE: bool> Iter<'a, REVERSE> {
    pub(super) fn new(node: NodeIter<'a>, nodes: vec_deque::Iter<'a, Node>, count: usize) -> Self {
        Iter {
            node,
            nodes,
            remaining: count,
        }
    }

    pub(super) fn of_node(node: NodeIter<'a>, count: usize) -> Self {
        Iter::new(node, vec_deque::Iter::default(), count)
    }
}

impl<'a, const REVERSE: bool> Iterator for Iter<'a, REVERSE> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        loop {
            let item = if REVERSE {
                self.node.next_back()
            } else {
                self.node.next()
            };
            if item.is_some() {
                return item;
            }
            let node = if REVERSE {
                self.nodes.next_back()
            } else {
                self.nodes.next()
            };
            let Some(node) = node else {
                self.remaining = 0;
                return None;
            };
            self.node = node.iter();
        }
    }
}

impl<const REVERSE: bool> std::iter::FusedIterator for Iter<'_, REVERSE> {}
