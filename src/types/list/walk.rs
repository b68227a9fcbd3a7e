//! The walk over a quicklist in slices: its nodes from head to tail as they were when the walk began.
//!
//! The nodes from the walk's place on are described by runs: nodes as they were, nodes that came or changed
//! since, and, between nodes, those that went or changed, kept as they were. A run of the second sort is
//! passed over, one of the third is not in the list any more. There are at most about twice as many runs as
//! nodes, and in the commonest case, pushing and popping at the ends, a handful.
//!
//! Invariant: `behind` and the runs' lengths together are the number of nodes in the list.

use super::node::{Node, NodeRef};
use crate::types::walk::{Share, Walker};
use std::collections::VecDeque;

/// Nodes ahead of the walk.
enum Run {
    /// So many nodes of the list, as they were.
    Old(usize),
    /// So many nodes of the list that came or changed.
    New(usize),
    /// Nodes that are not in the list any more.
    Kept(VecDeque<Node>),
}

/// A walk under way.
pub(super) struct NodeWalk {
    /// Who walks.
    pub(super) id: u32,
    /// Nodes of the list that the walk has passed.
    behind: usize,
    runs: VecDeque<Run>,
    share: Share,
}

/// Bytes that a kept node takes, about.
fn kept_bytes(node: &Node) -> usize {
    size_of::<Node>() + node.heap_bytes()
}

impl NodeWalk {
    pub(super) fn new(walker: Walker, nodes: usize) -> NodeWalk {
        let (id, share) = walker.split();
        NodeWalk { id, behind: 0, runs: VecDeque::from([Run::Old(nodes)]), share }
    }

    /// Gives the next node. True at the end.
    pub(super) fn step(&mut self, nodes: &VecDeque<Node>, mut f: impl FnMut(NodeRef)) -> bool {
        loop {
            match self.runs.front_mut() {
                None => return true,
                Some(Run::Old(0)) => {}
                Some(Run::Old(left)) => {
                    f(nodes[self.behind].as_ref());
                    self.behind += 1;
                    *left -= 1;
                    return false;
                }
                Some(Run::New(count)) => self.behind += *count,
                Some(Run::Kept(kept)) => {
                    if let Some(node) = kept.pop_front() {
                        self.share.sub(kept_bytes(&node));
                        f(node.as_ref());
                        return false;
                    }
                }
            }
            self.runs.pop_front();
        }
    }

    /// The run that the node `n`, not behind, is in, and how many nodes of the run are before it. For the
    /// end of the list: the number of runs.
    fn locate(&self, n: usize) -> (usize, usize) {
        let mut before = n - self.behind;
        for (at, run) in self.runs.iter().enumerate() {
            match run {
                Run::Old(count) | Run::New(count) if before < *count => return (at, before),
                Run::Old(count) | Run::New(count) => before -= count,
                Run::Kept(_) => {}
            }
        }
        (self.runs.len(), before)
    }

    /// The node `n` is about to change in place.
    #[cold]
    pub(super) fn change(&mut self, n: usize, node: &Node) {
        if n >= self.behind {
            let (at, before) = self.locate(n);
            if let Some(Run::Old(_)) = self.runs.get(at) {
                self.replace(at, before, node.clone(), 1);
            }
        }
    }

    /// A node has come in place `n`.
    #[cold]
    pub(super) fn come(&mut self, n: usize) {
        if n <= self.behind {
            self.behind += 1;
            return;
        }
        // With the node before it: what is new stays together then.
        let (at, before) = self.locate(n - 1);
        match &mut self.runs[at] {
            Run::New(count) => *count += 1,
            Run::Old(count) => {
                let rest = *count - before - 1;
                *count = before + 1;
                if let (0, Some(Run::New(next))) = (rest, self.runs.get_mut(at + 1)) {
                    *next += 1;
                    return;
                }
                self.runs.insert(at + 1, Run::New(1));
                if rest > 0 {
                    self.runs.insert(at + 2, Run::Old(rest));
                }
            }
            Run::Kept(_) => unreachable!("a node of the list is in a run of nodes of the list"),
        }
    }

    /// The node `n` has gone.
    #[cold]
    pub(super) fn go(&mut self, n: usize, node: impl FnOnce() -> Node) {
        if n < self.behind {
            self.behind -= 1;
            return;
        }
        let (at, before) = self.locate(n);
        match &mut self.runs[at] {
            Run::New(count) => {
                *count -= 1;
                if *count == 0 {
                    self.runs.remove(at);
                }
            }
            _ => self.replace(at, before, node(), 0),
        }
    }

    /// One node of a run of old ones becomes a kept one and `new` new ones. What is kept and what is new next
    /// to each other may change places: only the order of old and kept nodes counts.
    fn replace(&mut self, at: usize, before: usize, node: Node, new: usize) {
        let Run::Old(count) = &mut self.runs[at] else { return };
        self.share.add(kept_bytes(&node));
        let rest = *count - before - 1;
        *count = before;
        let mut next = at + 1;
        if before == 0 {
            self.runs.remove(at);
            next = at;
            // Join the kept and new ones right before.
            let (mut kept, mut fresh) = (None, None);
            for run in (0..at).rev().take(2) {
                match self.runs[run] {
                    Run::Kept(_) => kept = kept.or(Some(run)),
                    Run::New(_) => fresh = fresh.or(Some(run)),
                    Run::Old(_) => break,
                }
            }
            match kept.map(|run| &mut self.runs[run]) {
                Some(Run::Kept(nodes)) => nodes.push_back(node),
                _ => {
                    self.runs.insert(next, Run::Kept(VecDeque::from([node])));
                    next += 1;
                }
            }
            match fresh.map(|run| &mut self.runs[run]) {
                Some(Run::New(count)) => *count += new,
                _ if new > 0 => {
                    self.runs.insert(next, Run::New(new));
                    next += 1;
                }
                _ => {}
            }
        } else {
            self.runs.insert(next, Run::Kept(VecDeque::from([node])));
            next += 1;
            if new > 0 {
                self.runs.insert(next, Run::New(new));
                next += 1;
            }
        }
        if rest > 0 {
            self.runs.insert(next, Run::Old(rest));
        }
    }
}
