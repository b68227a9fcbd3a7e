//! An owned byte string behind a single pointer: what large sets and hashes keep in their tables.
//!
//! Where a pointer has bits to spare ([`NARROW`]) they hold the length, and the allocation nothing but the bytes: a
//! member of 16 bytes takes 16. Elsewhere, or when the string is longer than these bits tell, the length stands
//! before the bytes. It cannot grow: a changed string is a new one. Redis' counterpart: `sds`, whose header also
//! lies before the bytes.
//!
//! Invariant: the pointer leads to an allocation of alignment 1 that begins with a head and goes on with exactly
//! `n` initialized bytes and nothing else. With a tag below [`IN_HEAD`] `n` is the tag and the head is empty; the
//! allocation has one byte even if there is none in it. Otherwise the head holds `n`: as a `usize` where there are
//! tags, as a canonical varint (seven bits a byte, lowest first, the high bit set on all but the last) where not.

use crate::types::footprint::footprint;
use crate::types::prefetch::prefetch;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use super::address::{NARROW, Tagged};

/// The tag of a string whose length stands before it.
const IN_HEAD: u16 = if NARROW { u16::MAX } else { 0 };

/// An owned, immutable-length byte string in one exact allocation, the size of a pointer.
pub struct ThinBytes(Tagged);

// SAFETY: it owns its bytes, like a `Box<[u8]>`.
unsafe impl Send for ThinBytes {}
// SAFETY: as above; a shared one gives out shared references only.
unsafe impl Sync for ThinBytes {}

/// Bytes of the varint that encodes `n`.
pub fn varint_len(n: usize) -> usize {
    (usize::BITS - (n | 1).leading_zeros()).div_ceil(7) as usize
}

/// Writes `n` as a varint to the start of `out`, which has room; gives its length.
pub fn write_varint(mut n: usize, out: &mut [u8]) -> usize {
    let mut i = 0;
    while n >= 0x80 {
        out[i] = n as u8 | 0x80;
        n >>= 7;
        i += 1;
    }
    out[i] = n as u8;
    i + 1
}

/// Reads the varint at the start of `bytes`, which must hold one; gives it and its length.
#[inline]
pub fn read_varint(bytes: &[u8]) -> (usize, usize) {
    let mut n = 0;
    let mut i = 0;
    loop {
        let byte = bytes[i];
        n |= usize::from(byte & 0x7f) << (7 * i);
        i += 1;
        if byte < 0x80 {
            return (n, i);
        }
    }
}

impl ThinBytes {
    /// Asks for the memory of the bytes.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }

    /// A copy of these bytes.
    pub fn new(bytes: &[u8]) -> ThinBytes {
        ThinBytes::concat(&[bytes])
    }

    /// A copy of these parts, one after the other.
    pub fn concat(parts: &[&[u8]]) -> ThinBytes {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = [0; usize::BITS.div_ceil(7) as usize];
        let (tag, head_len) = match u16::try_from(len) {
            Ok(tag) if NARROW && tag != IN_HEAD => (tag, 0),
            _ if NARROW => {
                head[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
                (IN_HEAD, size_of::<usize>())
            }
            _ => (IN_HEAD, write_varint(len, &mut head)),
        };
        let head = &head[..head_len];
        let layout = Self::layout(head_len + len);
        // SAFETY: the layout is not empty; head and parts together are no longer than it, and new memory overlaps
        // with none of them.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let mut at = start.as_ptr();
            for part in core::iter::once(&head).chain(parts) {
                at.copy_from_nonoverlapping(part.as_ptr(), part.len());
                at = at.add(part.len());
            }
            ThinBytes(Tagged::new(start, tag))
        }
    }

    /// The layout of an allocation for so many bytes.
    fn layout(size: usize) -> Layout {
        Layout::array::<u8>(size.max(1)).expect("shorter than the address space")
    }

    /// Length of the string and of the head before it.
    #[inline]
    fn lens(&self) -> (usize, usize) {
        let tag = self.0.tag();
        if tag != IN_HEAD { (usize::from(tag), 0) } else { self.lens_in_head() }
    }

    /// The same, where the head holds the length.
    fn lens_in_head(&self) -> (usize, usize) {
        let start = self.0.as_ptr();
        if NARROW {
            // SAFETY: the head is a `usize`.
            return unsafe { (start.cast::<usize>().read_unaligned(), size_of::<usize>()) };
        }
        let mut n = 0;
        let mut i = 0;
        loop {
            // SAFETY: a whole varint stands at the start.
            let byte = unsafe { *start.add(i) };
            n |= usize::from(byte & 0x7f) << (7 * i);
            i += 1;
            if byte < 0x80 {
                return (n, i);
            }
        }
    }

    /// The layout of the allocation.
    fn own_layout(&self) -> Layout {
        let (len, head) = self.lens();
        Self::layout(head + len)
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        footprint(self.own_layout().size())
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (len, head) = self.lens();
        // SAFETY: `len` initialized bytes follow the head, and live as long as `self`.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().add(head), len) }
    }
}

impl DerefMut for ThinBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (len, head) = self.lens();
        // SAFETY: as in `deref`, borrowed exclusively; the head is not part of it.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr().add(head), len) }
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        let layout = self.own_layout();
        // SAFETY: allocated with this layout, and used no more.
        unsafe { dealloc(self.0.as_ptr(), layout) };
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> ThinBytes {
        ThinBytes::new(self)
    }
}

impl fmt::Debug for ThinBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_strings_of_any_length() {
        assert_eq!(size_of::<Option<ThinBytes>>(), size_of::<usize>());
        for len in [0, 1, 2, 63, 64, 127, 128, 129, 16_383, 16_384, 65_534, 65_535, 70_000, 2_097_151, 2_097_152] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut thin = ThinBytes::new(&bytes);
            assert_eq!(&*thin, &bytes);
            let head = match len {
                _ if !NARROW => varint_len(len),
                0..65_535 => 0,
                _ => size_of::<usize>(),
            };
            assert_eq!(thin.own_layout().size(), (len + head).max(1));
            assert!((len + head..(len + head) * 5 / 4 + 9).contains(&thin.heap_bytes()), "{len}");
            let copy = thin.clone();
            let (a, b) = bytes.split_at(len / 3);
            assert_eq!(&*ThinBytes::concat(&[a, b"", b]), &bytes);
            if let Some(last) = thin.last_mut() {
                *last ^= 1;
                assert_ne!(&*thin, &bytes);
            }
            assert_eq!(&*copy, &bytes);
        }
    }

    #[test]
    fn varints_come_back() {
        for n in (0..usize::BITS).flat_map(|bit| [(1usize << bit) - 1, 1 << bit]).chain([usize::MAX]) {
            let mut out = [0; 10];
            let len = write_varint(n, &mut out);
            assert_eq!(len, varint_len(n));
            assert_eq!(read_varint(&out), (n, len));
        }
    }
}
