//! The walk over a large sorted set in slices: from the highest score down, exact under changes.
//!
//! As `types/walk.rs` says, but in the order of the tree. Members may move in it: the walk goes by the
//! place that a member had when its hash was dealt with.

use super::member::Member;
use super::tree::Tree;
use crate::types::table::{Table, hash_bytes};
use crate::types::walk::{Dealt, KEPT_PER_STEP, NOTE_BYTES, Share, Walker, drop_some};

/// Members given in one step.
const PER_STEP: usize = 64;

/// A walk under way.
pub(super) struct TreeWalk {
    /// Who walks.
    pub(super) id: u32,
    /// Everything from here up has been given.
    last: Option<(f64, Vec<u8>)>,
    dealt: Dealt,
    /// Members as they were, before their turn.
    kept: Vec<Member>,
    share: Share,
    /// Nothing more is given.
    over: bool,
}

/// Bytes that a kept member takes, about.
fn kept_bytes(member: &Member) -> usize {
    size_of::<Member>() + Member::heap_bytes(member.bytes().len())
}

impl TreeWalk {
    pub(super) fn new(walker: Walker) -> TreeWalk {
        let (id, share) = walker.split();
        TreeWalk { id, last: None, dealt: Dealt::new(), kept: Vec::new(), share, over: false }
    }

    /// Nobody wants more of it.
    pub(super) fn cancel(&mut self) {
        self.over = true;
    }

    fn is_ahead(&self, member: &Member) -> bool {
        let Some((score, bytes)) = &self.last else { return true };
        member.score() < *score || (member.score() == *score && member.bytes() < &bytes[..])
    }

    /// A member with this hash is about to come, to go or to get another score.
    #[cold]
    pub(super) fn keep(&mut self, members: &Table<Member>, hash: u64, seed: u64) {
        if !self.over && self.dealt.insert(hash) {
            let (mut kept, mut more) = (std::mem::take(&mut self.kept), NOTE_BYTES);
            members.alike(
                hash,
                |member| hash_bytes(seed, member.bytes()),
                |member| {
                    if self.is_ahead(member) {
                        more += kept_bytes(member);
                        kept.push(Member::new(member.bytes(), member.score()));
                    }
                },
            );
            self.kept = kept;
            self.share.add(more);
        }
    }

    /// Gives the members kept so far, or the next ones of the tree. True at the end.
    pub(super) fn step(&mut self, tree: &Tree, seed: u64, mut f: impl FnMut(&[u8], f64)) -> bool {
        if self.over {
            return drop_some(&mut self.kept, &mut self.dealt);
        }
        if !self.kept.is_empty() {
            let rest = self.kept.len().saturating_sub(KEPT_PER_STEP);
            let mut given = 0;
            self.kept.drain(rest..).for_each(|member| {
                given += kept_bytes(&member);
                f(member.bytes(), member.score());
            });
            self.share.sub(given);
            return false;
        }
        let end = self.last.as_ref().map_or(tree.len(), |(score, bytes)| tree.rank(*score, bytes));
        let start = end.saturating_sub(PER_STEP);
        for (bytes, score) in tree.iter(start..end, true) {
            if self.dealt.is_empty() || !self.dealt.contains(hash_bytes(seed, bytes)) {
                f(bytes, score);
            }
        }
        if start > 0 {
            self.last = tree.nth(start).map(|(bytes, score)| (score, bytes.to_vec()));
        }
        self.over = start == 0;
        self.over && self.dealt.is_empty()
    }
}
