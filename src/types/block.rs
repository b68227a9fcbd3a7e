//! A byte string that grows and shrinks behind a single pointer: what a small collection is made of.
//!
//! Its length stands before its bytes, and how much room there is follows from the length alone, so a small
//! collection costs its bytes, one for the length, and what they lack to a multiple of eight. An empty one
//! allocates nothing. Redis' counterpart: the `sds` and `listpack` that its small objects point to.
//!
//! Invariant: the number is 0, or the address of an allocation with the layout [`layout`] gives for what is in it:
//! the length `n > 0` as a varint, then `n` initialized bytes. Alignment 8, so the address has three bits that are
//! always 0: [`hash`](super::hash) makes use of them.

use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use super::footprint::footprint;
use super::listpack::snug_capacity;
use super::thin::{varint_len, write_varint};

/// Up to this many bytes the room is what is needed, in steps of eight; above it, more is spare.
const EXACT: usize = 256;

/// An owned byte string, the size of a pointer, that may lie at any address.
#[repr(transparent)]
pub struct Block([u8; size_of::<usize>()]);

/// What is allocated for `bytes` with their length.
fn layout(bytes: usize) -> Layout {
    let size = if bytes <= EXACT { bytes.next_multiple_of(8) } else { snug_capacity(bytes).next_multiple_of(8) };
    Layout::from_size_align(size, 8).expect("shorter than the address space")
}

impl Block {
    /// An empty one.
    pub const fn new() -> Block {
        Block([0; size_of::<usize>()])
    }

    /// These bytes.
    pub fn of(bytes: &[u8]) -> Block {
        let mut block = Block::new();
        block.splice(0, 0, bytes.len()).copy_from_slice(bytes);
        block
    }

    #[inline]
    fn start(&self) -> Option<NonNull<u8>> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(self.0)))
    }

    /// Where the bytes begin, how many they are, and how many stand before them.
    #[inline]
    fn parts(&self) -> (NonNull<u8>, usize, usize) {
        let Some(start) = self.start() else { return (NonNull::dangling(), 0, 0) };
        let (mut n, mut i) = (0, 0);
        loop {
            // SAFETY: a whole varint stands at the start.
            let byte = unsafe { start.add(i).read() };
            n |= usize::from(byte & 0x7f) << (7 * i);
            i += 1;
            if byte < 0x80 {
                // SAFETY: the bytes follow.
                return (unsafe { start.add(i) }, n, i);
            }
        }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let (at, len, _) = self.parts();
        // SAFETY: so many initialized bytes are there, and live as long as `self`.
        unsafe { core::slice::from_raw_parts(at.as_ptr(), len) }
    }

    /// The bytes, to be changed.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (at, len, _) = self.parts();
        // SAFETY: as in `bytes`, borrowed exclusively; the length is not among them.
        unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), len) }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        let (_, len, head) = self.parts();
        if len == 0 { 0 } else { footprint(layout(head + len).size()) }
    }

    /// Takes `old` bytes out at `at` and puts `new` ones there, which are returned to be written: they are
    /// whatever they are.
    ///
    /// # Panics
    /// There are not so many bytes.
    pub fn splice(&mut self, at: usize, old: usize, new: usize) -> &mut [u8] {
        let (from, len, head) = self.parts();
        assert!(at <= len && old <= len - at, "within the bytes");
        let rest = len - at - old;
        let len = at + new + rest;
        let new_head = varint_len(len);
        if len == 0 {
            *self = Block::new();
        } else if new_head == head && layout(head + len) == layout(head + at + old + rest) {
            // SAFETY: the allocation has room for both lengths, which have the same number of bytes before them.
            unsafe {
                from.add(at + old).copy_to(from.add(at + new), rest);
                if new > old {
                    from.add(at + old).write_bytes(0, new - old);
                }
            }
            self.write_len(len, head);
        } else {
            let layout = layout(new_head + len);
            // SAFETY: the layout is not empty; what is copied lies within the old bytes and, as the lengths add up,
            // within the new allocation, all of which is initialized.
            unsafe {
                let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
                let to = start.add(new_head);
                from.copy_to_nonoverlapping(to, at);
                to.add(at).write_bytes(0, new);
                from.add(at + old).copy_to_nonoverlapping(to.add(at + new), rest);
                *self = Block(start.as_ptr().expose_provenance().to_ne_bytes());
            }
            self.write_len(len, new_head);
        }
        &mut self.bytes_mut()[at..at + new]
    }

    /// Writes the length over the `head` bytes before the bytes.
    fn write_len(&mut self, len: usize, head: usize) {
        let start = self.start().expect("it is not empty");
        // SAFETY: the head belongs to the allocation, which we hold exclusively; it is written, not read.
        write_varint(len, unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), head) });
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(start) = self.start() {
            let (_, len, head) = self.parts();
            // SAFETY: allocated with this layout, and used no more.
            unsafe { dealloc(start.as_ptr(), layout(head + len)) };
        }
    }
}

impl Default for Block {
    fn default() -> Block {
        Block::new()
    }
}

impl Clone for Block {
    fn clone(&self) -> Block {
        Block::of(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sample::splitmix;

    #[test]
    fn splices_agree_with_a_vector() {
        for most in [9, 200, 3_000, 40_000] {
            let (mut block, mut model) = (Block::new(), Vec::new());
            let mut seed = most as u64;
            for _ in 0..1_000 {
                let mut below = |n: usize| (splitmix(&mut seed) % (n as u64 + 1)) as usize;
                let at = below(model.len());
                let old = below(model.len() - at).min(below(most / 2));
                let new = below((most - (model.len() - old)).min(most / 3));
                let bytes: Vec<u8> = (0..new).map(|i| (i + at) as u8).collect();
                block.splice(at, old, new).copy_from_slice(&bytes);
                model.splice(at..at + old, bytes);
                assert_eq!(block.bytes(), model);
                assert!(block.heap_bytes() >= model.len());
                assert!(block.heap_bytes() <= (model.len() + 3) * 9 / 8 * 5 / 4 + 8, "{}", model.len());
                assert_eq!(block.clone().bytes(), model);
            }
            block.splice(0, model.len(), 0);
            assert_eq!((block.bytes().len(), block.heap_bytes()), (0, 0));
        }
    }
}
