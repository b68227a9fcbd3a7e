//! The elements of a full node that all have one length, with nothing between them.
//!
//! A node that is full and no longer at the end of its list is seldom changed. If its elements are strings of one
//! length they lie here, each as its bytes alone, and two bytes an element are saved. Elements can be taken from
//! both ends until half are gone; whoever else changes the node makes a listpack of it again. Redis' counterpart:
//! none; in RDB files such a node is the listpack it stands for.
//!
//! Invariants: `width` is not 0; both parts hold whole elements, the second one the last of them; `count` of them,
//! at least one, behind the first `skip` are still there; `pack_len` is the length of their listpack. If an element
//! may be the canonical form of an integer, which a listpack holds as such, `numbers` says so.

use super::quicklist::End;
use crate::types::listpack::{IntBuf, Item, Listpack};

/// Elements of one length.
#[derive(Clone, Debug)]
pub(super) struct Uniform {
    width: usize,
    first: Box<[u8]>,
    second: Box<[u8]>,
    skip: u32,
    count: u32,
    pack_len: u32,
    numbers: bool,
}

/// How many bytes of `total` the first part gets. Allocators have about four sizes to each power of two. If the
/// next one is much more than needed, it is the one below it, and a small second part has what is left.
fn cut(total: usize, width: usize) -> usize {
    let step = 1 << total.max(64).ilog2().saturating_sub(2);
    if total.next_multiple_of(step) - total <= total / 32 {
        return total;
    }
    total / step * step / width * width
}

impl Uniform {
    /// The elements of a listpack, if they are as they must be.
    pub fn of(pack: &Listpack) -> Option<Uniform> {
        if let Some(elements) = pack.strings_of_one_length() {
            let width = elements.clone().next()?.len();
            return Uniform::from_parts(pack, width, false, elements.map(Item::Bytes));
        }
        // Among random letters and digits there is a number now and then: the others are not to suffer from it.
        let items = pack.iter().map(|(_, item)| item);
        let width = items.clone().next()?.len();
        let smaller = pack.count() * width < pack.heap_bytes();
        if !smaller || items.clone().any(|item| item.len() != width) {
            return None;
        }
        Uniform::from_parts(pack, width, true, items)
    }

    fn from_parts<'a>(
        pack: &Listpack,
        width: usize,
        numbers: bool,
        mut items: impl Iterator<Item = Item<'a>>,
    ) -> Option<Uniform> {
        if width == 0 {
            return None;
        }
        let (count, pack_len) = (u32::try_from(pack.count()).ok()?, u32::try_from(pack.byte_len()).ok()?);
        let total = count as usize * width;
        let head = cut(total, width);
        let mut part = |bytes: usize| {
            let (mut part, mut digits) = (Vec::with_capacity(bytes), IntBuf::new());
            items.by_ref().take(bytes / width).for_each(|item| part.extend_from_slice(item.bytes(&mut digits)));
            part.into_boxed_slice()
        };
        Some(Uniform { width, first: part(head), second: part(total - head), skip: 0, count, pack_len, numbers })
    }

    /// The listpack of these elements.
    pub fn to_listpack(&self) -> Listpack {
        let elements = self.first.chunks_exact(self.width).chain(self.second.chunks_exact(self.width));
        let elements = elements.skip(self.skip as usize).take(self.count as usize);
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
        size_of::<Uniform>() + self.first.len() + self.second.len()
    }

    /// Takes away the element at one end. False, and nothing is done, if that would leave nothing or less than half
    /// of what there is memory for.
    pub fn remove_end(&mut self, end: End) -> bool {
        let left = (self.count as usize - 1) * self.width;
        if left == 0 || left < (self.first.len() + self.second.len()) / 2 {
            return false;
        }
        // Without numbers all entries are alike.
        let taken = if end == End::Head || !self.numbers { 0 } else { self.count as usize - 1 };
        self.pack_len -= self.item(taken).map_or(0, Listpack::item_entry_len) as u32;
        self.count -= 1;
        self.skip += u32::from(end == End::Head);
        true
    }

    /// The element with this index.
    #[inline]
    pub fn item(&self, index: usize) -> Option<Item<'_>> {
        if index >= self.count as usize {
            return None;
        }
        let at = (self.skip as usize + index) * self.width;
        let (part, at) = match at.checked_sub(self.first.len()) {
            None => (&self.first, at),
            Some(at) => (&self.second, at),
        };
        part.get(at..at + self.width).map(Item::Bytes)
    }

    /// The elements with these indexes, which must be there.
    pub fn iter(&self, indexes: std::ops::Range<usize>) -> Iter<'_> {
        Iter { uniform: self, indexes }
    }
}

/// Elements, from either end.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a> {
    uniform: &'a Uniform,
    indexes: std::ops::Range<usize>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.uniform.item(self.indexes.next()?)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.uniform.item(self.indexes.next_back()?)
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
        assert_eq!(cut(454 * 16, 16), 7168);
        assert_eq!(cut(8000, 16), 8000);
        assert_eq!(cut(5000, 2500), 5000);
        assert_eq!(cut(5400, 2700), 2700);
    }
}
