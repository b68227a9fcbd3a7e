//! Walking over a list, in either direction, a known number of elements at most.

use super::element::Element;
use super::node::{Node, NodeIter};
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
        Iter { node, nodes, remaining: count }
    }

    pub(super) fn of_node(node: NodeIter<'a>, count: usize) -> Self {
        Iter::new(node, vec_deque::Iter::default(), count)
    }

    /// The next element of the present node.
    #[inline]
    fn step(&mut self) -> Option<Element<'a>> {
        if REVERSE { self.node.next_back() } else { self.node.next() }
    }

    #[cold]
    fn enter_next_node(&mut self) -> Option<Element<'a>> {
        let node = if REVERSE { self.nodes.next_back() } else { self.nodes.next() };
        let Some(node) = node else {
            self.remaining = 0;
            return None;
        };
        self.node = node.iter();
        self.step()
    }
}

impl<'a, const REVERSE: bool> Iterator for Iter<'a, REVERSE> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        match self.step() {
            None => self.enter_next_node(),
            item => item,
        }
    }

    /// Node by node: faster than one call of `next` an element.
    fn fold<B, F: FnMut(B, Element<'a>) -> B>(mut self, init: B, mut f: F) -> B {
        let mut result = init;
        while let Some(item) = self.next() {
            result = f(result, item);
            while self.remaining > 0
                && let Some(item) = self.step()
            {
                self.remaining -= 1;
                result = f(result, item);
            }
        }
        result
    }
}

impl<const REVERSE: bool> std::iter::FusedIterator for Iter<'_, REVERSE> {}
