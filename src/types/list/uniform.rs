//! The elements of a full node that all have one length, with nothing between them.
//!
//! A node that is full and no longer at the end of its list is seldom changed. If its elements are strings of one
//! length they lie here, each as its bytes alone, and two bytes an element are saved. Elements can be taken from
//! both ends until half are gone; whoever else changes the node makes a listpack of it again. Redis' counterpart:
//! none; in RDB files such a node is the listpack it stands for.
//!
//! Invariants: `width` is not 0; each part holds whole elements, in order; `count` of them, at least one, behind the
//! first `skip` are still there; `pack_len` is the length of their listpack. If an element may be the canonical form
//! of an integer, which a listpack holds as such, `numbers` says so.

use super::quicklist::End;
use crate::types::listpack::{IntBuf, Item, Listpack};
use crate::types::thin::ThinBytes;

/// Elements of one length.
#[derive(Clone, Debug)]
pub(super) struct Uniform {
    parts: [Option<ThinBytes>; 3],
    pack_len: u32,
    width: u16,
    skip: u16,
    count: u16,
    numbers: bool,
}

/// Allocators cut blocks of one size from runs of so many bytes.
const RUN: usize = 64 * 1024;

/// What the system gives memory in.
const PAGE: usize = 4096;

/// What a part is to save at least.
const WORTH: usize = 32;

/// Memory that one of many blocks with so many bytes takes. Allocators have four sizes to each power of two; what is
/// left at the end of a run is lost, but for whole pages, which nobody touches: 7168 take 1.6 percent more, 5120 none.
fn weight(bytes: usize) -> usize {
    let class = bytes.next_multiple_of((1 << bytes.max(32).ilog2()) / 4);
    match RUN / class.max(1) {
        0 => class,
        blocks => (blocks * class).next_multiple_of(PAGE) / blocks,
    }
}

/// How to divide `total` bytes, elements of `width` bytes, so that they take little memory.
fn divide(total: usize, width: usize) -> [usize; 3] {
    let mut best = (weight(total), [total, 0, 0]);
    if total < PAGE / 2 {
        return best.1;
    }
    let whole = |bytes: usize| bytes / width * width;
    let power = 1 << total.ilog2();
    for first in
        [power, power / 4 * 5, power / 2 * 3, power / 4 * 7].into_iter().map(whole).take_while(|it| *it <= total)
    {
        let rest = total - first;
        let power = 1 << rest.max(1).ilog2();
        for second in [0, whole(power), whole(power / 2)] {
            let parts = [first, second, rest - second];
            let takes = parts.map(|part| if part == 0 { 0 } else { weight(part) + WORTH }).iter().sum();
            if takes < best.0 {
                best = (takes, parts);
            }
        }
    }
    best.1
}

impl Uniform {
    /// The elements of a listpack, if they are as they must be.
    pub fn of(pack: &Listpack) -> Option<Uniform> {
        if let Some(strings) = pack.strings_of_one_length() {
            return Uniform::from_elements(pack, strings.width, false, |all| strings.copy_to(all));
        }
        // Among random letters and digits there is a number now and then: the others are not to suffer from it.
        let items = pack.iter().map(|(_, item)| item);
        let width = items.clone().next()?.len();
        let smaller = pack.count() * width < pack.heap_bytes();
        if !smaller || items.clone().any(|item| item.len() != width) {
            return None;
        }
        Uniform::from_elements(pack, width, true, |all| {
            let (places, mut digits) = (all.chunks_exact_mut(width), IntBuf::new());
            places.zip(items).for_each(|(place, item)| place.copy_from_slice(item.bytes(&mut digits)));
        })
    }

    /// `fill` writes all elements, one behind the other.
    fn from_elements(pack: &Listpack, width: usize, numbers: bool, fill: impl FnOnce(&mut [u8])) -> Option<Uniform> {
        if width == 0 {
            return None;
        }
        let (count, pack_len) = (u16::try_from(pack.count()).ok()?, u32::try_from(pack.byte_len()).ok()?);
        let mut all = vec![0; usize::from(count) * width];
        fill(&mut all);
        let mut rest = &all[..];
        let parts =
            divide(all.len(), width).map(|part| rest.split_off(..part).filter(|it| !it.is_empty()).map(ThinBytes::new));
        Some(Uniform { parts, pack_len, width: u16::try_from(width).ok()?, skip: 0, count, numbers })
    }

    /// The listpack of these elements.
    pub fn to_listpack(&self) -> Listpack {
        let elements = self.parts.iter().flatten().flat_map(|part| part.chunks_exact(self.width.into()));
        let elements = elements.skip(self.skip.into()).take(self.count.into());
        if !self.numbers {
            return Listpack::of_strings(elements, self.listpack_len());
        }
        let mut pack = Listpack::with_capacity(self.listpack_len());
        elements.for_each(|element| pack.push_back(element));
        pack
    }

    /// Length of the listpack of these elements.
    pub fn listpack_len(&self) -> usize {
        self.pack_len as usize
    }

    /// Bytes of heap held, its own among them.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Uniform>() + self.parts_len()
    }

    fn parts_len(&self) -> usize {
        self.parts.iter().flatten().map(|part| part.len()).sum()
    }

    /// Takes away the element at one end. False, and nothing is done, if that would leave nothing or less than half
    /// of what there is memory for.
    pub fn remove_end(&mut self, end: End) -> bool {
        let left = usize::from(self.count - 1) * usize::from(self.width);
        if left == 0 || left < self.parts_len() / 2 {
            return false;
        }
        // Without numbers all entries are alike.
        let taken = if end == End::Head || !self.numbers { 0 } else { usize::from(self.count - 1) };
        self.pack_len -= self.item(taken).map_or(0, Listpack::item_entry_len) as u32;
        self.count -= 1;
        self.skip += u16::from(end == End::Head);
        true
    }

    /// The element with this index.
    #[inline]
    pub fn item(&self, index: usize) -> Option<Item<'_>> {
        if index >= usize::from(self.count) {
            return None;
        }
        let width = usize::from(self.width);
        let mut at = (usize::from(self.skip) + index) * width;
        for part in self.parts.iter().flatten() {
            match at.checked_sub(part.len()) {
                None => return part.get(at..at + width).map(Item::Bytes),
                Some(beyond) => at = beyond,
            }
        }
        None
    }

    /// The elements with these indexes, which must be there.
    pub fn iter(&self, indexes: std::ops::Range<usize>) -> Iter<'_> {
        debug_assert!(indexes.end <= usize::from(self.count));
        let (width, skip) = (usize::from(self.width), usize::from(self.skip));
        let (mut start, mut end) = ((skip + indexes.start) * width, (skip + indexes.end) * width);
        let parts = self.parts.each_ref().map(|part| {
            let part = part.as_deref().unwrap_or_default();
            let wanted = &part[start.min(part.len())..end.min(part.len())];
            (start, end) = (start.saturating_sub(part.len()), end.saturating_sub(part.len()));
            wanted
        });
        Iter { parts, width }
    }
}

/// Elements, from either end.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a> {
    /// What is left of each part.
    parts: [&'a [u8]; 3],
    width: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.parts.iter_mut().find_map(|part| part.split_off(..self.width)).map(Item::Bytes)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        let width = self.width;
        let last = |part: &mut &'a [u8]| part.len().checked_sub(width).and_then(|at| part.split_off(at..));
        self.parts.iter_mut().rev().find_map(last).map(Item::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listpacks_of_one_length_come_back() {
        for (width, count) in [(1, 1), (3, 40), (16, 454), (63, 100), (64, 90), (5000, 2)] {
            let mut pack = Listpack::new();
            (0..count).for_each(|i| pack.push_back(&vec![b'a' + (i % 26) as u8; width]));
            let uniform = Uniform::of(&pack).unwrap();
            assert_eq!(uniform.to_listpack(), pack);
            assert_eq!(uniform.listpack_len(), pack.byte_len());
            let items: Vec<Item> = pack.iter().map(|(_, item)| item).collect();
            assert!(uniform.iter(0..count).eq(items.iter().copied()));
            assert!(uniform.iter(0..count).rev().eq(items.iter().rev().copied()));
            assert!((0..count).all(|i| uniform.item(i) == Some(items[i])) && uniform.item(count).is_none());
        }
    }

    #[test]
    fn half_can_be_taken_from_the_ends() {
        for (count, numbers) in [(1, 1), (2, 9), (3, 3), (100, 7), (454, 1000), (454, 50)] {
            let mut pack = Listpack::new();
            (0..count).for_each(|i| match i % numbers {
                0 => pack.push_back_int(-100_000_000_000_000 - i),
                _ => pack.push_back(format!("element {i:08}").as_bytes()),
            });
            let count = count as usize;
            let mut uniform = Uniform::of(&pack).unwrap();
            let mut taken = 0;
            while uniform.remove_end(if taken % 3 == 0 { End::Tail } else { End::Head }) {
                match taken % 3 {
                    0 => pack.delete_range(-1, 1),
                    _ => pack.delete_range(0, 1),
                };
                taken += 1;
                assert_eq!(uniform.to_listpack(), pack);
                assert_eq!(uniform.listpack_len(), pack.byte_len());
                let given = uniform.iter(0..pack.count()).map(|item| item.to_vec());
                assert!(given.eq(pack.iter().map(|(_, item)| item.to_vec())));
                assert!(uniform.item(pack.count()).is_none());
            }
            assert_eq!(taken, count / 2);
        }
    }

    #[test]
    fn others_stay_listpacks() {
        for elements in [&["a", "bb"][..], &["aa", "1"], &["12", "345"], &["", ""], &[]] {
            let mut pack = Listpack::new();
            elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
            assert!(Uniform::of(&pack).is_none(), "{elements:?}");
        }
    }

    #[test]
    fn numbers_are_no_larger_than_they_were() {
        let mut pack = Listpack::new();
        (0..300).for_each(|i| pack.push_back_int(1_700_000_000_000 + i));
        assert!(Uniform::of(&pack).is_none());
        pack.push_back(b"not a number.");
        assert!(Uniform::of(&pack).is_none());
    }

    #[test]
    fn parts_fit_sizes_of_allocators() {
        assert_eq!([40, 96, 100, 2048, 5000, 5120, 7000].map(weight), [40, 96, 112, 2048, 5120, 5120, 7281]);
        assert_eq!(divide(454 * 16, 16), [5120, 2048, 96]);
        assert_eq!(divide(8000, 16), [5120, 2048, 832]);
        assert_eq!(divide(8176, 16), [8176, 0, 0]);
        assert_eq!(divide(5000, 2500), [5000, 0, 0]);
        assert_eq!(divide(1000, 10), [1000, 0, 0]);
        for width in 1..300 {
            let total = 8180 / (width + 2) * width;
            let parts = divide(total, width);
            let takes: usize = parts.iter().filter(|part| **part > 0).map(|part| weight(*part)).sum();
            assert!(parts.iter().sum::<usize>() == total && parts.iter().all(|part| part % width == 0), "{width}");
            assert!(takes <= (total * 104 / 100).max(8192), "{width}: {total} in {parts:?} takes {takes}");
        }
    }
}
