//! The elements of a full node that all have one length, with nothing between them.
//!
//! A node that is full and no longer at the end of its list is seldom changed. If its elements are strings of one
//! length they lie here, each as its bytes alone, and two bytes an element are saved. Elements can be taken from
//! both ends until half are gone; whoever else changes the node makes a listpack of it again. Eight that are plain ASCII
//! take the room of seven (see `element.rs`). Redis' counterpart: none; in RDB files such a node is the listpack it
//! stands for.
//!
//! Invariants: `width` is not 0; `groups` groups of eight elements come first, then elements as they are; each part
//! holds whole groups or elements, in order; `count` elements, at least one, behind the first `skip` are still there;
//! `pack_len` is the length of their listpack. If an element may be the canonical form of an integer, which a listpack
//! holds as such, `numbers` says so.

use super::element::{self, Element, GROUP, Grouped, LONGEST, ROOM, SHORTEST};
use super::quicklist::End;
use crate::types::footprint::footprint;
use crate::types::listpack::{IntBuf, Item, Listpack};
use crate::types::thin::ThinBytes;

/// Elements of one length.
#[derive(Clone, Debug)]
pub(super) struct Uniform {
    parts: [Option<ThinBytes>; 3],
    pack_len: u32,
    width: u16,
    groups: u16,
    /// Elements that there is memory for.
    capacity: u16,
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

/// Memory that one of many blocks with so many bytes takes. Beside what the allocator sets apart for each, what is
/// left at the end of a run is lost, but for whole pages, which nobody touches: 7168 take 1.6 percent more, 5120 none.
fn weight(bytes: usize) -> usize {
    let class = footprint(bytes);
    match RUN / class.max(1) {
        0 => class,
        blocks => (blocks * class).next_multiple_of(PAGE) / blocks,
    }
}

/// How to divide `total` bytes, in pieces of `width` bytes, so that they take little memory.
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
        let groups =
            if (SHORTEST..=LONGEST).contains(&width) && all.is_ascii() { usize::from(count) / GROUP } else { 0 };
        let (stored, piece) = match groups {
            0 => (all, width),
            _ => {
                let (eights, others) = all.split_at(groups * GROUP * width);
                let mut stored = vec![0; groups * ROOM * width];
                let places = stored.chunks_exact_mut(ROOM * width);
                places.zip(eights.chunks_exact(GROUP * width)).for_each(|(group, eight)| element::pack(eight, group));
                stored.extend_from_slice(others);
                (stored, ROOM * width)
            }
        };
        let mut rest = &stored[..];
        let parts = divide(stored.len(), piece)
            .map(|part| rest.split_off(..part).filter(|it| !it.is_empty()).map(ThinBytes::new));
        let (width, groups) = (u16::try_from(width).ok()?, groups as u16);
        Some(Uniform { parts, pack_len, width, groups, capacity: count, skip: 0, count, numbers })
    }

    /// The listpack of these elements.
    pub fn to_listpack(&self) -> Listpack {
        if self.groups == 0 {
            let elements = self.parts.iter().flatten().flat_map(|part| part.chunks_exact(self.width.into()));
            return self.listpack_of(elements.skip(self.skip.into()).take(self.count.into()));
        }
        let mut all = Vec::with_capacity(usize::from(self.count) * usize::from(self.width));
        self.iter(0..self.count.into()).for_each(|element| {
            element.with(|item| all.extend_from_slice(item.bytes(&mut IntBuf::new())));
        });
        self.listpack_of(all.chunks_exact(self.width.into()))
    }

    fn listpack_of<'e>(&self, elements: impl Iterator<Item = &'e [u8]>) -> Listpack {
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
        let left = self.count - 1;
        if left == 0 || left < self.capacity.div_ceil(2) {
            return false;
        }
        // Without numbers all entries are alike.
        let taken = if end == End::Head || !self.numbers { 0 } else { usize::from(self.count - 1) };
        self.pack_len -= self.item(taken).map_or(0, |element| element.with(Listpack::item_entry_len)) as u32;
        self.count -= 1;
        self.skip += u16::from(end == End::Head);
        true
    }

    /// The element with this index.
    #[inline]
    pub fn item(&self, index: usize) -> Option<Element<'_>> {
        (index < usize::from(self.count)).then(|| self.stored(usize::from(self.skip) + index))?
    }

    /// The element that has this number among all that were stored.
    #[inline]
    fn stored(&self, number: usize) -> Option<Element<'_>> {
        let (width, groups) = (usize::from(self.width), usize::from(self.groups));
        if number < groups * GROUP {
            let group = self.group(number / GROUP)?;
            return Some(Element::Grouped(Grouped::new(group, width, number % GROUP)));
        }
        let bytes = self.piece((number - groups) * width, width)?;
        Some(Element::Item(Item::Bytes(bytes)))
    }

    /// The bytes of a group.
    fn group(&self, number: usize) -> Option<&[u8]> {
        let bytes = ROOM * usize::from(self.width);
        self.piece(number * bytes, bytes)
    }

    /// So many bytes from this one on, which lie in one part.
    #[inline]
    fn piece(&self, mut at: usize, bytes: usize) -> Option<&[u8]> {
        for part in self.parts.iter().flatten() {
            match at.checked_sub(part.len()) {
                None => return part.get(at..at + bytes),
                Some(beyond) => at = beyond,
            }
        }
        None
    }

    /// The elements with these indexes, which must be there.
    pub fn iter(&self, indexes: std::ops::Range<usize>) -> Iter<'_> {
        debug_assert!(indexes.end <= usize::from(self.count));
        let (width, skip) = (usize::from(self.width), usize::from(self.skip));
        if self.groups > 0 {
            let numbers = skip + indexes.start..skip + indexes.end;
            return Iter::Grouped { uniform: self, numbers, known: (usize::MAX, &[]) };
        }
        let (mut start, mut end) = ((skip + indexes.start) * width, (skip + indexes.end) * width);
        let parts = self.parts.each_ref().map(|part| {
            let part = part.as_deref().unwrap_or_default();
            let wanted = &part[start.min(part.len())..end.min(part.len())];
            (start, end) = (start.saturating_sub(part.len()), end.saturating_sub(part.len()));
            wanted
        });
        Iter::Plain { parts, width }
    }
}

/// Elements, from either end.
#[derive(Clone, Debug)]
pub(super) enum Iter<'a> {
    /// None of them is in a group.
    Plain {
        /// What is left of each part.
        parts: [&'a [u8]; 3],
        width: usize,
    },
    Grouped {
        uniform: &'a Uniform,
        /// Those left, among all that were stored.
        numbers: std::ops::Range<usize>,
        /// The group looked up last, and its number.
        known: (usize, &'a [u8]),
    },
}

impl<'a> Uniform {
    /// As [`stored`](Self::stored), faster for those of the known group.
    #[inline(always)]
    fn stored_near(&'a self, number: usize, known: &mut (usize, &'a [u8])) -> Option<Element<'a>> {
        let group = number / GROUP;
        if group != known.0 {
            if group >= usize::from(self.groups) {
                return self.stored(number);
            }
            *known = (group, self.group(group)?);
        }
        Some(Element::Grouped(Grouped::new(known.1, usize::from(self.width), number % GROUP)))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            Iter::Plain { parts, width } => {
                let first = parts.iter_mut().find_map(|part| part.split_off(..*width));
                first.map(|bytes| Element::Item(Item::Bytes(bytes)))
            }
            Iter::Grouped { uniform, numbers, known } => uniform.stored_near(numbers.next()?, known),
        }
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Element<'a>> {
        match self {
            Iter::Plain { parts, width } => {
                let last = |part: &mut &'a [u8]| part.len().checked_sub(*width).and_then(|at| part.split_off(at..));
                parts.iter_mut().rev().find_map(last).map(|bytes| Element::Item(Item::Bytes(bytes)))
            }
            Iter::Grouped { uniform, numbers, known } => uniform.stored_near(numbers.next_back()?, known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listpacks_of_one_length_come_back() {
        let shapes =
            [(1, 1), (3, 40), (8, 7), (8, 8), (9, 700), (16, 454), (33, 15), (63, 100), (64, 90), (65, 90), (5000, 2)];
        for ((width, count), first) in shapes.into_iter().flat_map(|shape| [(shape, b'a'), (shape, 0xe0)]) {
            let mut pack = Listpack::new();
            let element = |i: usize| (0..width).map(|at| first + ((i * 7 + at * at) % 26) as u8).collect::<Vec<u8>>();
            (0..count).for_each(|i| pack.push_back(&element(i)));
            let uniform = Uniform::of(&pack).unwrap();
            let (all, saved) =
                (width * count, if (8..=64).contains(&width) && first == b'a' { count / 8 * width } else { 0 });
            assert_eq!(uniform.parts_len(), all - saved, "{count} of {width} from {first}");
            assert_eq!(uniform.to_listpack(), pack);
            assert_eq!(uniform.listpack_len(), pack.byte_len());
            let items: Vec<Vec<u8>> = pack.iter().map(|(_, item)| item.to_vec()).collect();
            assert!(uniform.iter(0..count).map(Element::to_vec).eq(items.iter().cloned()));
            assert!(uniform.iter(0..count).rev().map(Element::to_vec).eq(items.iter().rev().cloned()));
            let item = |at: usize| uniform.item(at).map(Element::to_vec);
            assert!((0..=count).all(|at| item(at).as_ref() == items.get(at)));
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
                let given = uniform.iter(0..pack.count()).map(Element::to_vec);
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
