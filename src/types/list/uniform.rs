//! The elements of a full node that all have one length, with nothing between them.
//!
//! A node that is full and no longer at the end of its list is seldom changed. If its elements are strings of one
//! length they lie here, each as its bytes alone, and two bytes an element are saved; whoever changes the node
//! makes a listpack of it again. Redis' counterpart: none; in RDB files such a node is the listpack it stands for.
//!
//! Invariants: `width` is not 0; both parts hold whole elements, the second one the last of them; no element is the
//! canonical form of an integer, which a listpack would hold as such.

use crate::types::listpack::{Item, Listpack};

/// Elements of one length.
#[derive(Clone, Debug)]
pub(super) struct Uniform {
    width: usize,
    first: Box<[u8]>,
    second: Box<[u8]>,
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
        let mut items = pack.iter().map(|(_, item)| item);
        let width = items.next()?.len();
        if width == 0 || !pack.iter().all(|(_, item)| matches!(item, Item::Bytes(bytes) if bytes.len() == width)) {
            return None;
        }
        let count = pack.count();
        let head = cut(count * width, width) / width;
        let part = |skip: usize, count: usize| {
            let mut bytes = Vec::with_capacity(count * width);
            for (_, item) in pack.iter().skip(skip).take(count) {
                if let Item::Bytes(element) = item {
                    bytes.extend_from_slice(element);
                }
            }
            bytes.into_boxed_slice()
        };
        Some(Uniform { width, first: part(0, head), second: part(head, count - head) })
    }

    /// The listpack of these elements.
    pub fn to_listpack(&self) -> Listpack {
        let parts = self.first.chunks_exact(self.width).chain(self.second.chunks_exact(self.width));
        Listpack::of_strings(parts, self.listpack_len())
    }

    /// Length of the listpack of these elements.
    pub fn listpack_len(&self) -> usize {
        let entry = self.item(0).map_or(0, Listpack::item_entry_len);
        Listpack::EMPTY_BYTES + (self.first.len() + self.second.len()) / self.width * entry
    }

    /// Bytes of heap held, its own among them.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Uniform>() + self.first.len() + self.second.len()
    }

    /// The element with this index.
    #[inline]
    pub fn item(&self, index: usize) -> Option<Item<'_>> {
        let at = index.checked_mul(self.width)?;
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
    fn others_stay_listpacks() {
        for elements in [&["a", "bb"][..], &["aa", "12"], &["12", "34"], &["", ""], &[]] {
            let mut pack = Listpack::new();
            elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
            assert!(Uniform::of(&pack).is_none(), "{elements:?}");
        }
    }

    #[test]
    fn parts_fit_sizes_of_allocators() {
        assert_eq!(cut(454 * 16, 16), 7168);
        assert_eq!(cut(8000, 16), 8000);
        assert_eq!(cut(5000, 2500), 2500);
    }
}
