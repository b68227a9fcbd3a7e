//! An owned byte string behind a single pointer: what large sets and hashes keep in their tables.
//!
//! One exact allocation holds the length, as a varint, and the bytes. It cannot grow: a changed
//! string is a new one. Redis' counterpart: `sds`, whose header also lies before the bytes.
//!
//! Invariant: the pointer leads to an allocation of alignment 1 that begins with a canonical varint
//! `n` (seven bits a byte, lowest first, the high bit set on all but the last), followed by exactly
//! `n` initialized bytes and nothing else.

use crate::types::prefetch::prefetch;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// An owned, immutable-length byte string in one exact allocation, the size of a pointer.
pub struct ThinBytes(NonNull<u8>);

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
        let len = parts.iter().map(|part| part.len()).sum();
        let mut header = [0; usize::BITS.div_ceil(7) as usize];
        let header = {
            let n = write_varint(len, &mut header);
            &header[..n]
        };
        let layout = Self::layout(header.len() + len);
        // SAFETY: the layout is not empty; header and parts together are exactly as long as it, and
        // new memory overlaps with none of them.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let mut at = start.as_ptr();
            for part in core::iter::once(&header).chain(parts) {
                at.copy_from_nonoverlapping(part.as_ptr(), part.len());
                at = at.add(part.len());
            }
            ThinBytes(start)
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::array::<u8>(size).expect("shorter than the address space")
    }

    /// Length of the string and of the varint before it.
    #[inline]
    fn lens(&self) -> (usize, usize) {
        let mut n = 0;
        let mut i = 0;
        loop {
            // SAFETY: a whole varint stands at the start.
            let byte = unsafe { *self.0.as_ptr().add(i) };
            n |= usize::from(byte & 0x7f) << (7 * i);
            i += 1;
            if byte < 0x80 {
                return (n, i);
            }
        }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        let (len, header) = self.lens();
        header + len
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (len, header) = self.lens();
        // SAFETY: `len` initialized bytes follow the varint, and live as long as `self`.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().add(header), len) }
    }
}

impl DerefMut for ThinBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (len, header) = self.lens();
        // SAFETY: as in `deref`, borrowed exclusively; the varint is not part of it.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr().add(header), len) }
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        let layout = Self::layout(self.heap_bytes());
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
        for len in [0, 1, 2, 63, 64, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_151, 2_097_152] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut thin = ThinBytes::new(&bytes);
            assert_eq!(&*thin, &bytes);
            assert_eq!(thin.heap_bytes(), len + varint_len(len));
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
