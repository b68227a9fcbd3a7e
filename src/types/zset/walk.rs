//! The walk over a large sorted set in slices: from the highest score down, exact under changes.
//!
//! As `types/walk.rs` says, but in the order of the tree. Members may move in it: the walk goes by the
//! place that a member had when its hash was dealt with.

use super::member::Member;
use super::tree::Tree;
use crate::types::table::{Table, hash_bytes};
use crate::types::walk::{Aside, Keep, Walker};

/// Members given in one step.
const PER_STEP: usize = 64;

/// A walk under way.
pub(super) struct TreeWalk {
    /// Who walks.
    pub(super) id: u32,
    /// Everything from here up has been given.
    last: Option<(f64, Vec<u8>)>,
    aside: Aside<Member>,
}

impl Keep for Member {
    fn copy(&self) -> Member {
        Member::new(self.bytes(), self.score())
    }

    fn kept_bytes(&self) -> usize {
        size_of::<Member>() + Member::heap_bytes(self.bytes().len())
    }
}

impl TreeWalk {
    pub(super) fn new(walker: Walker) -> TreeWalk {
        let (id, aside) = Aside::new(walker);
        TreeWalk { id, last: None, aside }
    }

    /// Nobody wants more of it.
    pub(super) fn cancel(&mut self) {
        self.aside.finish();
    }

    /// A member with this hash is about to come, to go or to get another score.
    #[cold]
    pub(super) fn keep(&mut self, members: &Table<Member>, hash: u64, seed: u64) {
        if self.aside.deal(hash) {
            let (last, aside) = (self.last.as_ref(), &mut self.aside);
            let is_ahead = |member: &Member| {
                let Some((score, bytes)) = last else { return true };
                member.score() < *score || (member.score() == *score && member.bytes() < &bytes[..])
            };
            members.alike(
                hash,
                |member| hash_bytes(seed, member.bytes()),
                |member| {
                    if is_ahead(member) {
                        aside.keep(member);
                    }
                },
            );
        }
    }

    /// Gives the members kept so far, or the next ones of the tree. True at the end.
    pub(super) fn step(&mut self, tree: &Tree, seed: u64, mut f: impl FnMut(&[u8], f64)) -> bool {
        if let Some(ended) = self.aside.step(|member| f(member.bytes(), member.score())) {
            return ended;
        }
        let end = self.last.as_ref().map_or(tree.len(), |(score, bytes)| tree.rank(*score, bytes));
        let start = end.saturating_sub(PER_STEP);
        for (bytes, score) in tree.iter(start..end, true) {
            if self.aside.is_due(|| hash_bytes(seed, bytes)) {
                f(bytes, score);
            }
        }
        if start == 0 {
            return self.aside.finish();
        }
        self.last = tree.nth(start).map(|(bytes, score)| (score, bytes.to_vec()));
        false
    }
}
