//! One element of a list as it is stored, and eight of one length in the room of seven.
//!
//! Of plain ASCII every eighth bit is zero. In a group of eight elements the last one lies in the eighth bits of the
//! seven others: its characters' lowest bits in those of the first element, and so on. So an element can be read alone,
//! and an eighth of the memory is saved, as `types/ascii.rs` does within one longer string.

use crate::types::ascii::{WORD, for_each_word};
use crate::types::listpack::Item;

/// Elements in a group.
pub(super) const GROUP: usize = 8;
/// Elements whose bytes a group takes.
pub(super) const ROOM: usize = GROUP - 1;
/// The shortest and the longest elements that are put into groups: shorter ones are small already without what a
/// listpack has between them, and longer ones do not gain enough for their time.
pub(super) const SHORTEST: usize = WORD;
pub(super) const LONGEST: usize = 64;

/// The bits of a word that are free in ASCII.
const FREE: u64 = (u64::MAX / 255) << 7;

/// An element of a list.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// One that is stored as it is.
    Item(Item<'a>),
    /// One of a group of eight.
    Grouped(Grouped<'a>),
}

impl<'a> Element<'a> {
    /// Hands the element on as an item, which may be there only as long as `f` runs.
    #[inline]
    pub fn with<R>(self, f: impl FnOnce(Item) -> R) -> R {
        match self {
            Element::Item(item) => f(item),
            Element::Grouped(grouped) => f(Item::Bytes(grouped.unpack(&mut [0; LONGEST]))),
        }
    }

    /// The element as an owned string.
    pub fn to_vec(self) -> Vec<u8> {
        self.with(|item| item.to_vec())
    }
}

/// One of a group of eight elements.
#[derive(Clone, Copy, Debug)]
pub struct Grouped<'a> {
    /// All of the group.
    group: &'a [u8],
    width: u16,
    nth: u16,
}

impl<'a> Grouped<'a> {
    /// The element with this number, of those that [`pack`] has packed.
    #[inline]
    pub(super) fn new(group: &'a [u8], width: usize, nth: usize) -> Grouped<'a> {
        debug_assert!(group.len() == ROOM * width && width <= LONGEST && nth < GROUP);
        Grouped { group, width: width as u16, nth: nth as u16 }
    }

    /// The element, written to `room`.
    #[inline]
    fn unpack(self, room: &mut [u8; LONGEST]) -> &[u8] {
        let (width, nth) = (usize::from(self.width), usize::from(self.nth));
        let out = &mut room[..width];
        if nth < ROOM {
            let packed = &self.group[nth * width..][..width];
            for_each_word(width, |at| set_word(out, at, word(packed, at) & !FREE));
        } else {
            let group = &self.group[..ROOM * width];
            for_each_word(width, |at| {
                let bits = (0..ROOM).map(|nth| (word(group, nth * width + at) & FREE) >> (ROOM - nth));
                set_word(out, at, bits.fold(0, |all, bits| all | bits));
            });
        }
        out
    }
}

/// Puts eight elements of one length, plain ASCII all, into the room of seven: `group`.
pub(super) fn pack(elements: &[u8], group: &mut [u8]) {
    let width = group.len() / ROOM;
    let (elements, last) = elements.split_at(ROOM * width);
    for_each_word(width, |at| {
        let last = word(last, at);
        for nth in 0..ROOM {
            let at = nth * width + at;
            set_word(group, at, word(elements, at) | last << (ROOM - nth) & FREE);
        }
    });
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + WORD].try_into().expect("as long as a word"))
}

#[inline(always)]
fn set_word(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + WORD].copy_from_slice(&word.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_elements_come_back_from_the_room_of_seven() {
        for width in SHORTEST..=LONGEST {
            let elements: Vec<u8> = (0..GROUP * width).map(|n| (n * 37 + width) as u8 & 0x7f).collect();
            let mut group = vec![0xaa; ROOM * width];
            pack(&elements, &mut group);
            for (nth, element) in elements.chunks_exact(width).enumerate() {
                assert_eq!(Element::Grouped(Grouped::new(&group, width, nth)).to_vec(), element);
            }
        }
    }
}
