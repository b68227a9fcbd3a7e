//! A big sorted set: a hash table from member to score, and a tree that keeps the order.
//!
//! The table owns the members; the tree points to them. This file is the only one that makes such
//! pointers and the only one that drops members.
//!
//! Invariants:
//! - Tree and table hold the same members with the same scores.
//! - A member leaves the tree before it leaves the table. While [`Large::drain_some`] takes the set
//!   apart only this second one holds: the tree may lack members, never the table.
//!
//! Counterpart in Redis: `zset` (dict and skiplist).

use super::Change;
use super::member::Member;
use super::tree::{Entry, Tree};
use super::walk::TreeWalk;
use crate::types::sought::{In, Sought};
use crate::types::table::{self, Table, hash_bytes};
use crate::types::walk::{Walker, Walking};

/// The large form.
pub(super) struct Large {
    pub(super) tree: Tree,
    members: Table<Member>,
    /// Bytes of all members' blocks.
    member_bytes: usize,
    seed: u64,
    walk: Walking<TreeWalk>,
}

fn entry(member: &Member) -> Entry {
    // SAFETY: the only holder of the alias is the tree of the same Large, and every member leaves it
    // before its Member is dropped: see remove, remove_nth and
    // drain_some; when a Large is dropped its tree reads no member.
    Entry { score: member.score(), member: unsafe { member.alias() } }
}

impl Large {
    /// An empty set.
    pub(super) fn new(seed: u64) -> Large {
        Large { tree: Tree::new(), members: Table::new(), member_bytes: 0, seed, walk: Walking::NONE }
    }

    /// The seed of its hashes.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Lays out the table of an empty set for so many members.
    pub(super) fn reserve(&mut self, members: usize) {
        self.members.reserve(members);
    }

    /// Takes back what was reserved in vain.
    pub(super) fn settle(&mut self) {
        self.members.settle();
    }

    /// Where a member is looked for.
    #[inline]
    pub(super) fn seek(&self, member: &[u8]) -> Option<Sought<'_>> {
        self.members.spot(hash_bytes(self.seed, member)).map(|spot| Sought(In::Zset(spot)))
    }

    /// The score of a member.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        let hash = hash_bytes(self.seed, member);
        self.members.find(hash, |other| other.bytes() == member).map(Member::score)
    }

    /// Gives a member the score that `decide` chooses, knowing its present one; `None` leaves all as it is.
    pub(super) fn upsert(&mut self, bytes: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> Change {
        let seed = self.seed;
        let hash = hash_bytes(seed, bytes);
        self.before_change(hash);
        match self.members.entry(hash, |other| other.bytes() == bytes) {
            table::Entry::Occupied(member) => {
                let old = member.score();
                match decide(Some(old)) {
                    Some(new) if new != old => {
                        member.set_score(new);
                        if !self.tree.rescore_in_place(old, bytes, new) {
                            self.tree.remove(old, bytes);
                            self.tree.insert(entry(member));
                        }
                        Change::Updated
                    }
                    _ => Change::Same,
                }
            }
            table::Entry::Vacant(place) => {
                let Some(score) = decide(None) else {
                    return Change::Same;
                };
                let member = Member::new(bytes, score);
                self.member_bytes += Member::heap_bytes(bytes.len());
                let entry = entry(&member);
                place.insert(member, |other| hash_bytes(seed, other.bytes()));
                self.tree.insert(entry);
                Change::Added
            }
        }
    }

    /// Takes a member out; returns its score.
    pub(super) fn remove(&mut self, bytes: &[u8]) -> Option<f64> {
        let score = self.score(bytes)?;
        self.tree.remove(score, bytes);
        self.take(bytes);
        Some(score)
    }

    /// Takes the member of this rank out.
    pub(super) fn remove_nth(&mut self, rank: usize) -> Option<Member> {
        let gone = self.tree.remove_nth(rank)?;
        self.take(gone.member.bytes())
    }

    /// What has this hash is about to come, to go or to get another score: a walk may want to keep it.
    #[inline]
    fn before_change(&mut self, hash: u64) {
        if let Some(walk) = self.walk.get_mut() {
            walk.keep(&self.members, hash, self.seed);
        }
    }

    pub(super) fn walker(&self) -> Option<u32> {
        self.walk.get().map(|walk| walk.id)
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        self.walk.begin(TreeWalk::new(walker));
    }

    pub(super) fn step_walk(&mut self, f: impl FnMut(&[u8], f64)) -> bool {
        let Some(walk) = self.walk.get_mut() else { return true };
        let done = walk.step(&self.tree, self.seed, f);
        if done {
            self.walk.end();
        }
        done
    }

    pub(super) fn cancel_walk(&mut self) {
        if let Some(walk) = self.walk.get_mut() {
            walk.cancel();
        }
    }

    /// Takes a member that is no longer in the tree out of the table.
    fn take(&mut self, bytes: &[u8]) -> Option<Member> {
        let hash = hash_bytes(self.seed, bytes);
        self.before_change(hash);
        let member = self.members.remove(hash, |other| other.bytes() == bytes)?;
        self.member_bytes -= Member::heap_bytes(member.bytes().len());
        Some(member)
    }

    /// Visits the members of the next bucket; see [`Table::scan`].
    pub(super) fn scan<'a>(&'a self, cursor: u64, visit: impl FnMut(&'a Member)) -> u64 {
        self.members.scan(cursor, |member| hash_bytes(self.seed, member.bytes()), visit)
    }

    /// Bytes of heap held.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Large>() + self.tree.heap_bytes() + self.members.table_bytes() + self.member_bytes
    }

    /// Frees about `count` members; returns whether any are left. Good for nothing but more of the same
    /// and dropping afterwards.
    pub(super) fn drain_some(&mut self, count: usize) -> bool {
        let target = self.tree.len().saturating_sub(count);
        if self.tree.len() > 0 {
            while self.tree.len() > target {
                self.tree.drop_last_leaf();
            }
            return true;
        }
        self.members.drain_some(count)
    }
}

impl Clone for Large {
    fn clone(&self) -> Large {
        let mut copy = Large::new(self.seed);
        copy.members = self.members.map(|member| Member::new(member.bytes(), member.score()));
        copy.member_bytes = self.member_bytes;
        for (bytes, _) in self.tree.iter(0..usize::MAX, false) {
            let hash = hash_bytes(copy.seed, bytes);
            if let Some(member) = copy.members.find(hash, |other| other.bytes() == bytes) {
                copy.tree.insert(entry(member));
            }
        }
        copy
    }
}
