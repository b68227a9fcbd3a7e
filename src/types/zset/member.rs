//! One member of a large sorted set: its score, its length and its bytes in one heap block.
//!
//! [`Member`] owns the block and frees it; [`MemberRef`] is a copy of the pointer, kept by the tree.
//! This module is where all of the zset's pointers are read: everyone else goes through
//! [`Member::bytes`], [`MemberRef::bytes`] and the score accessors.
//!
//! Layout of a block, aligned for `f64`: score (8 bytes), then the length (one byte when it is below
//! 255, otherwise the byte 255 and a `usize`), then the bytes.
//!
//! Invariants, on which every `unsafe` here rests:
//! - A block is made whole by [`Member::new`]; length and bytes never change after that.
//! - Only the score changes, and only through `&mut Member`; a `MemberRef` never reads it.
//! - Whoever makes a `MemberRef` with [`Member::alias`] drops or forgets it before the `Member`.
//!
//! Counterpart in Redis: the `sds` that dict and skiplist node share.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::types::address::Address;
use crate::types::footprint::footprint;
use crate::types::prefetch::prefetch;

const SCORE_BYTES: usize = size_of::<f64>();
const LONG: u8 = u8::MAX;

/// An owned member with its score.
pub(in crate::types) struct Member(Address);

impl Member {
    #[inline]
    fn block(&self) -> NonNull<u8> {
        // SAFETY: the address was made of a block, which is not null.
        unsafe { NonNull::new_unchecked(self.0.as_ptr()) }
    }
}

/// A copy of a member's address. It gives access to the bytes, never to the score.
#[derive(Clone, Copy)]
pub(super) struct MemberRef(NonNull<u8>);

// SAFETY: a Member owns its block alone, like a Box<[u8]>; shared access only reads it.
unsafe impl Send for Member {}
// SAFETY: as above; the score is written through &mut only.
unsafe impl Sync for Member {}
// SAFETY: a MemberRef only reads bytes that never change, and its maker keeps the Member alive.
unsafe impl Send for MemberRef {}
// SAFETY: as above.
unsafe impl Sync for MemberRef {}

/// Where the bytes begin, for a member of `len` bytes.
fn prefix_bytes(len: usize) -> usize {
    SCORE_BYTES + if len < LONG as usize { 1 } else { 1 + size_of::<usize>() }
}

fn layout(len: usize) -> Layout {
    let size = prefix_bytes(len).checked_add(len).expect("a member's length fits memory");
    Layout::from_size_align(size, align_of::<f64>()).expect("a member's length fits memory")
}

/// The bytes of the block at `block`.
///
/// # Safety
/// `block` was made by `Member::new` and is not freed for all of `'a`.
#[inline]
unsafe fn bytes_at<'a>(block: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the block is alive (contract above) and laid out as the module says.
    unsafe {
        let short = block.add(SCORE_BYTES).read();
        let (start, len) = if short < LONG {
            (SCORE_BYTES + 1, short as usize)
        } else {
            let len = block.add(SCORE_BYTES + 1).cast::<usize>().read_unaligned();
            (SCORE_BYTES + 1 + size_of::<usize>(), len)
        };
        std::slice::from_raw_parts(block.add(start).as_ptr(), len)
    }
}

impl Member {
    /// Copies `bytes` into a new block.
    pub(super) fn new(bytes: &[u8], score: f64) -> Member {
        let layout = layout(bytes.len());
        // SAFETY: the layout is never of size zero, it holds the prefix and the bytes, and nobody
        // else knows the block yet.
        unsafe {
            let Some(block) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            block.cast::<f64>().write(score);
            if bytes.len() < LONG as usize {
                block.add(SCORE_BYTES).write(bytes.len() as u8);
            } else {
                block.add(SCORE_BYTES).write(LONG);
                block.add(SCORE_BYTES + 1).cast::<usize>().write_unaligned(bytes.len());
            }
            let start = block.add(prefix_bytes(bytes.len()));
            start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            Member(Address::new(block))
        }
    }

    /// The member's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: self owns the block, which lives as long as self.
        unsafe { bytes_at(self.block()) }
    }

    /// The member's score.
    pub(super) fn score(&self) -> f64 {
        // SAFETY: every block begins with its score, aligned; writers hold &mut self.
        unsafe { self.block().cast::<f64>().read() }
    }

    /// Changes the score (the tree orders by its own copy).
    pub(super) fn set_score(&mut self, score: f64) {
        // SAFETY: as in `score`; MemberRefs never read the score.
        unsafe { self.block().cast::<f64>().write(score) }
    }

    /// Asks for the memory of the member.
    #[inline]
    pub(in crate::types) fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }

    /// Size of the heap block of a member of `len` bytes.
    pub(super) fn heap_bytes(len: usize) -> usize {
        footprint(prefix_bytes(len).saturating_add(len))
    }

    /// A second pointer to this member.
    ///
    /// # Safety
    /// `MemberRef::bytes` is not called after this `Member` is dropped.
    pub(super) unsafe fn alias(&self) -> MemberRef {
        MemberRef(self.block())
    }
}

impl MemberRef {
    /// What fills the unused slots of a node; its bytes are never read.
    pub(super) const NONE: MemberRef = MemberRef(NonNull::<f64>::dangling().cast());

    /// Asks the processor to fetch the member: for a walk that comes to it soon.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }

    /// The member's bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `alias` made this pointer, and its caller promised that the block is still there.
        // NONE stands only in slots past a node's length, which no one reads.
        unsafe { bytes_at(self.0) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let layout = layout(self.bytes().len());
        // SAFETY: made by `alloc` with this very layout; self is the only owner.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}
