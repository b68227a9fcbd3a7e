//! What a walk puts aside: elements as they were before their turn, and the hashes that are dealt with so.

use super::{Share, Walker};
use crate::types::table::Table;

/// Elements kept that are given in one step.
const KEPT_PER_STEP: usize = 64;

/// Elements kept and hashes noted that are dropped in one step, once there is nothing more to give. Dropping 300
/// thousand of them at once took 6 ms.
pub(super) const DROPPED_PER_STEP: usize = 16;

/// What a noted hash takes, about.
const NOTE_BYTES: usize = size_of::<u64>() * 3 / 2;

/// An element that a walk may keep.
pub(in crate::types) trait Keep {
    /// The element as it is, to be given later.
    fn copy(&self) -> Self;

    /// Bytes that a copy takes, about.
    fn kept_bytes(&self) -> usize;
}

/// What a walk has put aside.
pub(in crate::types) struct Aside<T> {
    /// The hashes dealt with before their turn.
    dealt: Table<u64>,
    /// Elements as they were.
    kept: Vec<T>,
    share: Share,
    /// Nothing more is given: what is here only goes.
    over: bool,
}

impl<T: Keep> Aside<T> {
    /// Nothing, and who walks.
    pub fn new(walker: Walker) -> (u32, Aside<T>) {
        let (id, share) = walker.split();
        (id, Aside { dealt: Table::new(), kept: Vec::new(), share, over: false })
    }

    /// Notes that a hash is dealt with; false if it was so before, or the walk is over.
    pub fn deal(&mut self, hash: u64) -> bool {
        let new = !self.over && !self.has_dealt(hash);
        if new {
            self.dealt.insert_unique(hash, hash, |hash| *hash);
            self.share.add(NOTE_BYTES);
        }
        new
    }

    /// Whether a hash was noted.
    fn has_dealt(&self, hash: u64) -> bool {
        self.dealt.find(hash, |other| *other == hash).is_some()
    }

    /// Whether an element that the walk comes to is to be given; asks for its hash only if any was noted.
    pub fn is_due(&self, hash: impl FnOnce() -> u64) -> bool {
        self.dealt.is_empty() || !self.has_dealt(hash())
    }

    /// Keeps an element as it is.
    pub fn keep(&mut self, element: &T) {
        self.share.add(element.kept_bytes());
        self.kept.push(element.copy());
    }

    /// What a step does before it walks on: it gives some of what was kept, or drops some if nothing more is given.
    /// Tells whether the walk has ended, or nothing if it is to walk on.
    pub fn step(&mut self, mut f: impl FnMut(&T)) -> Option<bool> {
        if self.over {
            self.kept.truncate(self.kept.len().saturating_sub(DROPPED_PER_STEP));
            return Some(!self.dealt.drain_some(DROPPED_PER_STEP) && self.kept.is_empty());
        }
        if self.kept.is_empty() {
            return None;
        }
        let (rest, mut given) = (self.kept.len().saturating_sub(KEPT_PER_STEP), 0);
        for element in self.kept.drain(rest..) {
            given += element.kept_bytes();
            f(&element);
        }
        self.share.sub(given);
        Some(false)
    }

    /// Nothing more is to be given. True if nothing is here.
    pub fn finish(&mut self) -> bool {
        self.over = true;
        self.dealt.is_empty() && self.kept.is_empty()
    }
}
