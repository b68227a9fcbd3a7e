//! One line of a table: a cache line of entries with a tag byte for each.
//!
//! What a line holds, and nothing about which line an entry belongs to: that is the table's.
//!
//! # Layout
//!
//! First a header: a tag byte for each slot, never 0 when the slot is in use, then the filter byte. Then the
//! slots. With entries of eight bytes there are seven slots, with those of six (an [`Address`]) nine: either way 64
//! bytes. On 32-bit targets a line of pointers is shorter.
//!
//! # Invariants
//!
//! - Slots in use come first.
//! - The filter is 0 if the line is the last of its chain. Otherwise all slots but the last are in use, the last
//!   holds the pointer to the next line (and its tag is 0), and the filter has the bit `tag % 8` set for every tag
//!   below.
//! - A line below another is an allocation of its own, of as many slots as its entries need, in steps of eight bytes.

use crate::types::address::Address;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::alloc::Layout;

/// Room for a line of any table, for taking it apart.
pub(super) type Copied = MaybeUninit<[u64; 8]>;

/// The tag of a hash: its high byte, which no bucket number of a table that fits in memory reaches.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The bit of a tag in the filters of the lines above it.
#[inline]
pub(super) fn filter_bit(tag: u8) -> u8 {
    1 << (tag & 7)
}

/// The header of a line as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The tags of the first eight slots, or seven and a 0.
    tags: u64,
    /// The tag of the ninth slot, 0 where there is none.
    ninth: u8,
    /// Which tags are below; 0 if the line is the last of its chain.
    pub filter: u8,
}

impl Header {
    /// The tag in slot `i`.
    #[inline]
    pub fn tag(self, i: usize) -> u8 {
        if i < 8 { (self.tags >> (8 * i)) as u8 } else { self.ninth }
    }

    /// How many slots hold entries.
    #[inline]
    pub fn count(self) -> usize {
        if self.ninth != 0 { 9 } else { (71 - self.tags.leading_zeros() as usize) / 8 }
    }

    /// All filter bits of a line's own entries and of those below it.
    pub fn filter_above(self) -> u8 {
        (0..self.count()).fold(self.filter, |bits, i| bits | filter_bit(self.tag(i)))
    }
}

/// Slots that a tag stands for, a bit for each.
#[derive(Clone, Copy)]
pub(super) struct Hits(u32);

impl Hits {
    /// The bytes among the first sixteen at `at` that equal `tag`.
    ///
    /// # Safety
    /// There are sixteen bytes.
    #[inline]
    unsafe fn find(at: NonNull<u8>, tag: u8) -> Hits {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; every processor of this kind has these instructions.
        unsafe {
            use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
            let bytes = _mm_loadu_si128(at.as_ptr().cast());
            Hits(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(tag as i8))) as u32)
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        // SAFETY: the caller's promise.
        unsafe {
            use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, v128_load};
            Hits(u8x16_bitmask(u8x16_eq(v128_load(at.as_ptr().cast()), u8x16_splat(tag))).into())
        }
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
        // SAFETY: the caller's promise.
        unsafe {
            Hits::among(at.cast::<[u64; 2]>().read_unaligned().map(u64::from_le), tag)
        }
    }

    /// The same, with what every processor can: exact, no false hits.
    #[cfg(any(test, not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128")))))]
    fn among(words: [u64; 2], tag: u8) -> Hits {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let [low, high] = words.map(|word| {
            let differ = word ^ (u64::from(tag) * 0x0101_0101_0101_0101);
            let equal = !(((differ & LOW) + LOW) | differ | LOW);
            // The high bits of all bytes, moved to the highest byte.
            ((equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
        });
        Hits(low | high << 8)
    }
}

impl Hits {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Hits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        (self.0 != 0).then(|| {
            let i = self.0.trailing_zeros() as usize;
            self.0 &= self.0 - 1;
            i
        })
    }
}

/// A handle on a line: just the pointer, with names for the accesses.
pub(super) struct Line<T> {
    at: NonNull<u8>,
    entries: PhantomData<*mut T>,
}

impl<T> Clone for Line<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Line<T> {}
impl<T> PartialEq for Line<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

/// Geometry.
impl<T> Line<T> {
    const FITS: () = assert!(
        matches!(size_of::<T>(), 4 | 6 | 8) && size_of::<T>().is_multiple_of(align_of::<T>()) && align_of::<T>() <= 8,
        "an entry is pointer-like"
    );

    /// Slots of a line.
    pub const SLOTS: usize = {
        let () = Self::FITS;
        if size_of::<T>() == 6 { 9 } else { 7 }
    };

    /// Bytes before the slots.
    const HEADER: usize = Self::SLOTS + 1;

    /// Bytes of a line.
    pub const BYTES: usize = (Self::HEADER + Self::SLOTS * size_of::<T>()).next_multiple_of(align_of::<T>());

    /// What a line is aligned to: a cache line where it is one.
    pub const ALIGN: usize = if Self::BYTES == 64 { 64 } else { align_of::<usize>() };

    /// The layout of a line below another that holds this many entries.
    pub fn layout(entries: usize) -> Layout {
        let size = (Self::HEADER + entries * size_of::<T>()).next_multiple_of(8);
        Layout::from_size_align(size, 8).expect("a line is small")
    }
}

/// Every method demands: the handle points to an initialized line that the caller may read, and for
/// those that write, may write exclusively; slot numbers lie within the line's allocation.
impl<T> Line<T> {
    /// The line at this address.
    #[inline]
    pub fn at(at: NonNull<u8>) -> Line<T> {
        Line { at, entries: PhantomData }
    }

    /// Its address.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.at.as_ptr()
    }

    #[inline]
    pub unsafe fn header(self) -> Header {
        // SAFETY: see the impl's demands; the header has eight bytes, or ten if there are nine slots.
        unsafe {
            let word = self.at.cast::<u64>().read_unaligned();
            let word = u64::from_le(word);
            if Self::SLOTS == 9 {
                Header { tags: word, ninth: self.at.add(8).read(), filter: self.at.add(9).read() }
            } else {
                Header { tags: word & (u64::MAX >> 8), ninth: 0, filter: (word >> 56) as u8 }
            }
        }
    }

    /// The slots with this tag.
    #[inline]
    pub unsafe fn hits(self, tag: u8) -> Hits {
        // SAFETY: see the impl's demands; the smallest line has two slots, sixteen bytes with its header.
        let Hits(bits) = unsafe { Hits::find(self.at, tag) };
        Hits(bits & ((1 << Self::SLOTS) - 1))
    }

    /// Whether an entry with this tag may be in a line below.
    #[inline]
    pub unsafe fn may_be_below(self, tag: u8) -> bool {
        // SAFETY: see the impl's demands.
        unsafe { self.at.add(Self::SLOTS).read() & filter_bit(tag) != 0 }
    }

    /// Makes the line one without entries; those it had are forgotten.
    #[inline]
    pub unsafe fn clear(self) {
        // SAFETY: see the impl's demands. What `hits` reads beside the header is thereby never uninitialized.
        unsafe { self.at.write_bytes(0, 16) }
    }

    #[inline]
    unsafe fn set_tag(self, i: usize, tag: u8) {
        debug_assert!(i < Self::SLOTS);
        // SAFETY: see the impl's demands; the tags come first.
        unsafe { self.at.add(i).write(tag) }
    }

    #[inline]
    pub unsafe fn set_filter(self, filter: u8) {
        // SAFETY: see the impl's demands; the filter stands behind the tags.
        unsafe { self.at.add(Self::SLOTS).write(filter) }
    }

    /// The entry in slot `i`, which must be in use.
    #[inline]
    pub unsafe fn entry(self, i: usize) -> *mut T {
        debug_assert!(i < Self::SLOTS);
        // SAFETY: see the impl's demands; no reference is made on the way.
        unsafe { self.at.add(Self::HEADER + i * size_of::<T>()).as_ptr().cast() }
    }

    /// The next line of the chain; there must be one.
    #[inline]
    pub unsafe fn child(self) -> Line<T> {
        // SAFETY: the last slot is the child when the filter is not empty, and never null.
        unsafe {
            let slot = self.entry(Self::SLOTS - 1);
            let pointer = match size_of::<T>() >= size_of::<usize>() {
                true => slot.cast::<*mut u8>().read_unaligned(),
                false => slot.cast::<Address>().read().as_ptr(),
            };
            Line::at(NonNull::new_unchecked(pointer))
        }
    }

    #[inline]
    pub unsafe fn set_child(self, child: Line<T>) {
        // SAFETY: see the impl's demands.
        unsafe {
            let slot = self.entry(Self::SLOTS - 1);
            match size_of::<T>() >= size_of::<usize>() {
                true => slot.cast::<*mut u8>().write_unaligned(child.as_ptr()),
                false => slot.cast::<Address>().write(Address::new(child.at)),
            }
        }
    }

    /// Moves an entry into the free slot `i` and sets its tag.
    #[inline]
    pub unsafe fn put(self, i: usize, tag: u8, entry: T) {
        // SAFETY: see the impl's demands.
        unsafe {
            self.entry(i).write(entry);
            self.set_tag(i, tag);
        }
    }

    /// Moves the entry out of slot `i`, which is the last in use, and clears its tag.
    #[inline]
    pub unsafe fn pull(self, i: usize) -> (u8, T) {
        // SAFETY: see the impl's demands.
        unsafe {
            let tag = self.at.add(i).read();
            self.set_tag(i, 0);
            (tag, self.entry(i).read())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sample::splitmix;

    #[test]
    fn a_line_is_a_cache_line() {
        assert_eq!((Line::<u64>::BYTES, Line::<[u8; 6]>::BYTES), (64, 64));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(Line::<Box<u8>>::BYTES, 64);
        assert_eq!((Line::<u64>::layout(2).size(), Line::<[u8; 6]>::layout(9).size()), (24, 64));
    }

    #[test]
    fn tags_are_matched_exactly() {
        let mut seed = 1;
        for _ in 0..200_000 {
            // Few distinct values, so that matches and near-matches abound.
            let mut few = || splitmix(&mut seed) & splitmix(&mut seed) & 0x8181_8181_8181_8181;
            let words = [few(), few()];
            let tag = (few() as u8).max(1);
            let bytes = words.map(u64::to_le_bytes).concat();
            let expected: Vec<usize> = (0..16).filter(|&i| bytes[i] == tag).collect();
            assert_eq!(Hits::among(words, tag).collect::<Vec<_>>(), expected, "{bytes:x?} {tag:x}");
            // SAFETY: the bytes are sixteen.
            let found = unsafe { Hits::find(NonNull::from(&bytes[..]).cast(), tag) };
            assert_eq!(found.collect::<Vec<_>>(), expected, "{bytes:x?} {tag:x}");
        }
    }
}
