//! Redis' listpack: a sequence of strings and integers in one allocation.
//!
//! The bytes in memory are exactly Redis' listpack format, so saving to and loading from RDB is a
//! copy:
//!
//! ```text
//! total bytes: u32 LE | count: u16 LE | entry … | 0xFF
//! entry = encoding byte(s) | data | backlen (its own length is not counted in it)
//! ```
//!
//! Strings that are the canonical decimal form of an `i64` are stored as integers. It is not a
//! collection with limits: who uses it decides when it grew too large ([`Listpack::fits`] tells
//! only what the format can carry).
//!
//! Invariants of a [`Listpack`]: the header holds the true length in bytes; the count is true, or
//! 65535 for "65535 or more, walk to know"; every entry is followed by the backlen of its encoded
//! length; the last byte is 0xFF. Offsets handed to methods come from the same, unchanged
//! listpack; another offset is a bug and may panic, never touch foreign memory.
//!
//! Redis' counterpart: `listpack.c`.

mod buffer;
mod entry;

use super::number::parse_f64;
use buffer::Buffer;
pub(crate) use buffer::{Room, snug_capacity};
use entry::{Encoded, decode, entry_end, entry_start, head_and_data, le_u32, validate_entry};
use std::fmt;

/// Scratch space in which an integer item is written out as decimal digits.
pub use super::number::IntBuf;
/// The integer whose canonical decimal form a string is: only such strings are stored as integers.
pub use super::number::parse_i64 as canonical_int;

/// Bytes before the first entry.
const HEADER: usize = 6;
/// Terminator byte.
const END: u8 = 0xFF;
/// Count in the header that means "walk to know".
const COUNT_UNKNOWN: usize = u16::MAX as usize;
/// A listpack without elements.
const EMPTY: [u8; Listpack::EMPTY_BYTES] = [Listpack::EMPTY_BYTES as u8, 0, 0, 0, 0, 0, END];
/// No listpack grows past this, as in Redis (1 GiB).
const SAFETY_LIMIT: usize = 1 << 30;

/// One element as it is stored: a string, or an integer standing for its decimal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// An integer; as a string it is its canonical decimal form.
    Int(i64),
}

impl<'a> Item<'a> {
    /// The element as a string; digits of an integer are written to `scratch`.
    #[inline]
    pub fn bytes<'b>(&self, scratch: &'b mut IntBuf) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Item::Bytes(bytes) => bytes,
            Item::Int(value) => scratch.format(value).as_bytes(),
        }
    }

    /// Length in bytes of the element as a string.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match *self {
            Item::Bytes(bytes) => bytes.len(),
            Item::Int(value) => {
                let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
                digits + usize::from(value < 0)
            }
        }
    }

    /// Whether the element is this string. To compare many items, use one [`Needle`].
    pub fn eq_bytes(&self, other: &[u8]) -> bool {
        match *self {
            Item::Bytes(bytes) => bytes == other,
            Item::Int(value) => canonical_int(other) == Some(value),
        }
    }

    /// The element as an owned string.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes(&mut IntBuf::new()).to_vec()
    }

    /// The element as an integer, if it is the canonical decimal form of one.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Item::Bytes(bytes) => canonical_int(bytes),
            Item::Int(value) => Some(value),
        }
    }

    /// The element as a double (scores of packed sorted sets), if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Item::Bytes(bytes) => parse_f64(bytes),
            Item::Int(value) => Some(value as f64),
        }
    }
}

/// A string to search for, parsed once so that comparing it with an item never allocates.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares `bytes` for many comparisons.
    pub fn new(bytes: &'a [u8]) -> Self {
        Needle { bytes, int: canonical_int(bytes) }
    }

    /// Whether the item is the string searched for.
    #[inline]
    pub fn matches(&self, item: Item) -> bool {
        match item {
            Item::Bytes(bytes) => bytes == self.bytes,
            Item::Int(value) => self.int == Some(value),
        }
    }
}

/// Why bytes are not a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListpackError {
    /// Too short, or the header's length is not the real one.
    Header,
    /// An entry reaches past the end.
    Truncated,
    /// An encoding byte that means nothing.
    Encoding,
    /// The length after an entry is not that of the entry.
    Backlen,
    /// The header's count is not the real one.
    Count,
    /// The last byte is not the terminator.
    Terminator,
}

impl fmt::Display for ListpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListpackError::Header => "listpack header does not match its length",
            ListpackError::Truncated => "listpack entry is cut off",
            ListpackError::Encoding => "listpack entry has an unknown encoding",
            ListpackError::Backlen => "listpack entry has a wrong back length",
            ListpackError::Count => "listpack count is wrong",
            ListpackError::Terminator => "listpack has no terminator",
        })
    }
}

impl std::error::Error for ListpackError {}

/// A sequence of strings and integers in one allocation.
pub struct Listpack {
    buf: Buffer,
}

/// Strings of one length, each in an entry like the others.
pub(super) struct Strings<'a> {
    body: &'a [u8],
    /// Length of an entry.
    entry: usize,
    /// Bytes before its string.
    head: usize,
    /// Length of the strings.
    pub width: usize,
}

impl Strings<'_> {
    /// Fills `out` with the strings: as many as it has room for, which must be there.
    pub fn copy_to(&self, out: &mut [u8]) {
        /// A copy of so many bytes, wanted or not, is an instruction or two, one of any other length a call.
        const WIDE: usize = 32;
        let mut from = self.head;
        for at in (0..out.len()).step_by(self.width.max(1)) {
            match (self.body.get(from..from + WIDE), out.get_mut(at..at + WIDE)) {
                (Some(wide), Some(room)) if self.width <= WIDE => room.copy_from_slice(wide),
                _ => out[at..at + self.width].copy_from_slice(&self.body[from..from + self.width]),
            }
            from += self.entry;
        }
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Listpack {
    fn clone(&self) -> Self {
        Listpack { buf: Buffer::from(self.as_bytes().to_vec()) }
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, item)| item)).finish()
    }
}

/// Construction, bytes in and out, sizes.
impl Listpack {
    /// Bytes of a listpack without elements.
    pub const EMPTY_BYTES: usize = HEADER + 1;

    /// An empty listpack.
    pub fn new() -> Self {
        Listpack { buf: Buffer::from(EMPTY.to_vec()) }
    }

    /// An empty listpack with room for so many bytes at its tail: for one that is written at once.
    pub fn with_capacity(bytes: usize) -> Self {
        Self::with_room(bytes, Room::Back)
    }

    /// An empty listpack that is expected to grow to so many bytes, at one end.
    pub(super) fn with_room(bytes: usize, room: Room) -> Self {
        Listpack { buf: Buffer::with_capacity(&EMPTY, bytes, room) }
    }

    /// A listpack of strings that takes `len` bytes; none of them is the canonical form of an integer.
    pub(super) fn of_strings<'a>(strings: impl Iterator<Item = &'a [u8]>, len: usize) -> Self {
        let mut buf = Vec::with_capacity(len);
        buf.extend_from_slice(&[0; HEADER]);
        let mut count = 0;
        for string in strings {
            let entry = Encoded::string(string);
            let at = buf.len();
            buf.resize(at + entry.len(), 0);
            entry.write(&mut buf[at..]);
            count += 1;
        }
        buf.push(END);
        let mut list = Listpack { buf: Buffer::from(buf) };
        list.write_total();
        list.write_count(count);
        list
    }

    /// The elements, if all are strings of one length.
    pub(super) fn strings_of_one_length(&self) -> Option<Strings<'_>> {
        let Item::Bytes(first) = self.at(self.first()?) else {
            return None;
        };
        // An entry as long as the first one, with the same head, ends where the next one begins.
        let (head, width) = (head_and_data(&self.buf, HEADER).0, first.len());
        let body = &self.buf[HEADER..self.end()];
        let strings = Strings { body, entry: entry_end(body, 0), head, width };
        let mut entries = body.chunks_exact(strings.entry);
        let alike = |entry: &[u8]| entry[0] == body[0] && (head == 1 || entry[..head] == body[..head]);
        (entries.remainder().is_empty() && entries.all(alike)).then_some(strings)
    }

    /// Takes bytes from outside, after checking all of them.
    ///
    /// # Errors
    /// Those of [`validate`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ListpackError> {
        let count = validate(&bytes)?;
        let mut list = Listpack { buf: Buffer::from(bytes) };
        list.write_count(count);
        Ok(list)
    }

    /// The listpack in Redis' format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Number of elements. Constant time up to 65534 elements, else a walk.
    #[inline]
    pub fn count(&self) -> usize {
        match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.buf[HEADER] == END
    }

    /// Length in bytes, header and terminator included.
    pub fn byte_len(&self) -> usize {
        self.buf.len()
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// Whether `more` bytes of elements can still be added within what the format carries.
    #[inline]
    pub fn fits(&self, more: usize) -> bool {
        more <= SAFETY_LIMIT && self.buf.len() + more <= SAFETY_LIMIT
    }

    /// Bytes one element takes as an entry, its backlen included.
    pub fn entry_len(element: &[u8]) -> usize {
        Self::item_entry_len(Item::Bytes(element))
    }

    /// As [`Listpack::entry_len`], for an item.
    pub fn item_entry_len(item: Item) -> usize {
        Encoded::new(item).len()
    }

    fn header_count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.buf[4], self.buf[5]]))
    }

    #[inline]
    fn write_count(&mut self, count: usize) {
        let count = count.min(COUNT_UNKNOWN) as u16;
        self.buf[4..HEADER].copy_from_slice(&count.to_le_bytes());
    }

    #[inline]
    fn write_total(&mut self) {
        let total = u32::try_from(self.buf.len()).expect("a listpack is shorter than 4 GiB");
        self.buf[..4].copy_from_slice(&total.to_le_bytes());
    }

    /// Offset of the terminator.
    fn end(&self) -> usize {
        self.buf.len() - 1
    }
}

/// Finding elements.
impl Listpack {
    /// Offset of the first element.
    pub fn first(&self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// Offset of the last element.
    pub fn last(&self) -> Option<usize> {
        self.before(self.end())
    }

    /// Offset of the element after the one at `offset`.
    #[inline]
    pub fn next(&self, offset: usize) -> Option<usize> {
        let next = entry_end(&self.buf, offset);
        (next < self.end()).then_some(next)
    }

    /// Offset of the element before the one at `offset`.
    #[inline]
    pub fn prev(&self, offset: usize) -> Option<usize> {
        self.before(offset)
    }

    /// Start of the entry that ends at `end`.
    fn before(&self, end: usize) -> Option<usize> {
        (end > HEADER).then(|| entry_start(&self.buf, end))
    }

    /// The element at `offset`.
    #[inline]
    pub fn at(&self, offset: usize) -> Item<'_> {
        decode(&self.buf, offset).0
    }

    /// Offset of the element with this index; negative ones count from the tail, -1 the last.
    /// Walks from the nearer end.
    pub fn nth(&self, index: i64) -> Option<usize> {
        let header = self.header_count();
        if header == COUNT_UNKNOWN {
            return self.nth_by_walking(index);
        }
        let count = header as i64;
        let index = if index < 0 { index.checked_add(count)? } else { index };
        if index < 0 || index >= count {
            return None;
        }
        if index <= count / 2 { self.walk_forward(index) } else { self.walk_backward(count - 1 - index) }
    }

    fn nth_by_walking(&self, index: i64) -> Option<usize> {
        if index < 0 { self.walk_backward(-(index + 1)) } else { self.walk_forward(index) }
    }

    fn walk_forward(&self, steps: i64) -> Option<usize> {
        let mut offset = self.first()?;
        for _ in 0..steps {
            offset = self.next(offset)?;
        }
        Some(offset)
    }

    fn walk_backward(&self, steps: i64) -> Option<usize> {
        let mut offset = self.last()?;
        for _ in 0..steps {
            offset = self.prev(offset)?;
        }
        Some(offset)
    }

    /// The element with this index; negative ones count from the tail.
    pub fn item(&self, index: i64) -> Option<Item<'_>> {
        self.nth(index).map(|offset| self.at(offset))
    }

    /// All elements with their offsets, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { buf: &self.buf, front: HEADER, back: self.end() }
    }

    /// The elements from the one at `offset` to the tail.
    pub fn iter_from(&self, offset: usize) -> Iter<'_> {
        Iter { buf: &self.buf, front: offset, back: self.end() }
    }

    /// The elements from the head to the one at `offset`, it included.
    pub fn iter_to(&self, offset: usize) -> Iter<'_> {
        Iter { buf: &self.buf, front: HEADER, back: entry_end(&self.buf, offset) }
    }

    /// Offset of the first element equal to `needle`, looking at one element and then passing
    /// over `skip` others (1: only the fields of a hash).
    pub fn find(&self, needle: &[u8], skip: usize) -> Option<usize> {
        self.find_from(self.first()?, &Needle::new(needle), skip)
    }

    /// As [`Listpack::find`], beginning with the element at `offset`.
    pub fn find_from(&self, mut offset: usize, needle: &Needle, skip: usize) -> Option<usize> {
        let end = self.end();
        while offset < end {
            let (item, next) = decode(&self.buf, offset);
            if needle.matches(item) {
                return Some(offset);
            }
            offset = next;
            for _ in 0..skip {
                if offset >= end {
                    return None;
                }
                offset = entry_end(&self.buf, offset);
            }
        }
        None
    }
}

/// Changing elements.
impl Listpack {
    /// Adds an element at the tail.
    pub fn push_back(&mut self, element: &[u8]) {
        self.push_back_item(Item::Bytes(element));
    }

    /// Adds an integer at the tail.
    pub fn push_back_int(&mut self, value: i64) {
        self.push_back_item(Item::Int(value));
    }

    /// Adds an item at the tail.
    pub fn push_back_item(&mut self, item: Item) {
        let entry = Encoded::new(item);
        let (end, new) = (self.end(), entry.len());
        if !self.fits(new) || !self.buf.extend_back(new) {
            return self.insert_entry(end, &entry);
        }
        let bytes = &mut self.buf[end..];
        entry.write(&mut bytes[..new]);
        bytes[new] = END;
        self.settle(1);
    }

    /// Adds an element at the head.
    pub fn push_front(&mut self, element: &[u8]) {
        let entry = Encoded::new(Item::Bytes(element));
        let (count, new) = (self.header_count(), entry.len());
        if !self.fits(new) || !self.buf.extend_front(new) {
            return self.insert_entry(HEADER, &entry);
        }
        entry.write(&mut self.buf[HEADER..HEADER + new]);
        // The header is where it was not.
        self.write_count(count);
        self.settle(1);
    }

    /// Inserts before the element at `offset`, where the new element then is.
    pub fn insert_before(&mut self, offset: usize, element: &[u8]) -> usize {
        self.insert_item(offset, Item::Bytes(element))
    }

    /// Inserts after the element at `offset`; returns the offset of the new element.
    pub fn insert_after(&mut self, offset: usize, element: &[u8]) -> usize {
        let next = entry_end(&self.buf, offset);
        self.insert_item(next, Item::Bytes(element))
    }

    /// Inserts an item so that it begins at `offset` (of an element, or past the last one);
    /// returns that offset.
    pub fn insert_item(&mut self, offset: usize, item: Item) -> usize {
        self.insert_entry(offset, &Encoded::new(item));
        offset
    }

    fn insert_entry(&mut self, offset: usize, entry: &Encoded) {
        self.splice(offset, offset, entry);
        self.settle(1);
    }

    /// Puts another element in the place of the one at `offset`.
    pub fn replace(&mut self, offset: usize, element: &[u8]) {
        self.replace_item(offset, Item::Bytes(element));
    }

    /// Puts an item in the place of the element at `offset`.
    pub fn replace_item(&mut self, offset: usize, item: Item) {
        let end = entry_end(&self.buf, offset);
        self.splice(offset, end, &Encoded::new(item));
        self.settle(0);
    }

    /// Deletes the element at `offset`; returns the offset of the one that followed it.
    pub fn delete(&mut self, offset: usize) -> Option<usize> {
        self.delete_entries(offset, 1)
    }

    /// Deletes up to `count` elements beginning with the one at `offset`; returns the offset of
    /// the one that followed them.
    pub fn delete_entries(&mut self, offset: usize, count: usize) -> Option<usize> {
        let mut end = offset;
        let mut deleted = 0;
        while deleted < count && end < self.end() {
            end = entry_end(&self.buf, end);
            deleted += 1;
        }
        self.cut(offset, end, deleted);
        (offset < self.end()).then_some(offset)
    }

    /// Deletes up to `count` elements from the one with index `start` (negative: from the tail).
    /// Returns how many were deleted.
    pub fn delete_range(&mut self, start: i64, count: usize) -> usize {
        let Some(from) = self.nth(start) else {
            return 0;
        };
        let known = self.header_count();
        if known != COUNT_UNKNOWN {
            let index = if start < 0 { known as i64 + start } else { start } as usize;
            let rest = known - index;
            if count >= rest {
                self.cut(from, self.end(), rest);
                return rest;
            }
        }
        let mut end = from;
        let mut deleted = 0;
        while deleted < count && end < self.end() {
            end = entry_end(&self.buf, end);
            deleted += 1;
        }
        self.cut(from, end, deleted);
        deleted
    }

    /// Deletes elements equal to `needle` in one pass: passes over the first `skip` of them, then
    /// deletes at most `max`. Returns how many were deleted.
    pub fn remove_matching(&mut self, needle: &Needle, skip: usize, max: usize) -> usize {
        let end = self.end();
        let (mut seen, mut deleted) = (0, 0);
        // Bytes before `write` are kept; those of `kept..read` are kept and still to be moved.
        let (mut write, mut kept, mut read) = (HEADER, HEADER, HEADER);
        while read < end && deleted < max {
            let (item, next) = decode(&self.buf, read);
            if needle.matches(item) {
                seen += 1;
                if seen > skip {
                    self.buf.copy_within(kept..read, write);
                    write += read - kept;
                    kept = next;
                    deleted += 1;
                }
            }
            read = next;
        }
        if deleted > 0 {
            self.buf.copy_within(kept..=end, write);
            write += end + 1 - kept;
            self.buf.truncate(write);
            self.settle(-(deleted as isize));
        }
        deleted
    }

    /// Number of elements equal to `needle`.
    pub fn count_matching(&self, needle: &Needle) -> usize {
        self.iter().filter(|&(_, item)| needle.matches(item)).count()
    }

    /// Adds all elements of another listpack at the tail.
    pub fn append(&mut self, other: &Listpack) {
        let body = &other.buf[HEADER..other.end()];
        assert!(self.fits(body.len()), "listpack grows past its safety limit");
        let count = self.count() + other.count();
        let end = self.end();
        self.buf.splice(end, end, body.len());
        self.buf[end..end + body.len()].copy_from_slice(body);
        self.write_total();
        self.write_count(count);
    }

    /// Cuts before the element with this index and returns the part from there on; an index past
    /// the end returns an empty listpack.
    pub fn split_off(&mut self, index: usize) -> Listpack {
        let Some(at) = i64::try_from(index).ok().and_then(|index| self.nth(index)) else {
            return Listpack::new();
        };
        let count = self.count();
        let mut tail = Vec::with_capacity(HEADER + self.buf.len() - at);
        tail.extend_from_slice(&[0; HEADER]);
        tail.extend_from_slice(&self.buf[at..]);
        let mut tail = Listpack { buf: Buffer::from(tail) };
        tail.write_total();
        tail.write_count(count - index);
        let end = self.end();
        self.cut(at, end, count - index);
        self.write_count(index);
        tail
    }

    /// Deletes every element.
    pub fn clear(&mut self) {
        *self = Listpack::new();
    }

    /// Replaces the bytes `start..end` by one encoded entry; the header is left to the caller.
    fn splice(&mut self, start: usize, end: usize, entry: &Encoded) {
        let new = entry.len();
        assert!(self.fits(new.saturating_sub(end - start)), "listpack grows past its safety limit");
        self.buf.splice(start, end, new);
        entry.write(&mut self.buf[start..start + new]);
    }

    /// Deletes the bytes `start..end`, which are `count` entries.
    fn cut(&mut self, start: usize, end: usize, count: usize) {
        if count == 0 {
            return;
        }
        self.buf.splice(start, end, 0);
        self.settle(-(count as isize));
    }

    /// Settles the header after so many entries came, or went.
    #[inline]
    fn settle(&mut self, change: isize) {
        self.write_total();
        let known = self.header_count();
        if known != COUNT_UNKNOWN {
            self.write_count(known.wrapping_add_signed(change));
        }
    }
}

/// Elements with their offsets, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    buf: &'a [u8],
    front: usize,
    /// End of the last entry still to come.
    back: usize,
}

impl Iter<'_> {
    /// An iterator over nothing.
    pub fn empty() -> Self {
        Iter { buf: &[], front: 0, back: 0 }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (usize, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let offset = self.front;
        let (item, next) = decode(self.buf, offset);
        self.front = next;
        Some((offset, item))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = entry_start(self.buf, self.back);
        Some((self.back, decode(self.buf, self.back).0))
    }
}

impl std::iter::FusedIterator for Iter<'_> {}

/// Checks all of `bytes`: header, each entry and its backlen, count, terminator. Returns the
/// number of elements. Total: no input panics, and the time is linear.
///
/// # Errors
/// What is wrong first.
pub fn validate(bytes: &[u8]) -> Result<usize, ListpackError> {
    if bytes.len() < HEADER + 1 || le_u32(bytes) as usize != bytes.len() {
        return Err(ListpackError::Header);
    }
    let end = bytes.len() - 1;
    if bytes[end] != END {
        return Err(ListpackError::Terminator);
    }
    let mut offset = HEADER;
    let mut count = 0;
    while offset < end {
        offset += validate_entry(&bytes[offset..end])?;
        count += 1;
    }
    let stated = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    if stated != COUNT_UNKNOWN && stated != count {
        return Err(ListpackError::Count);
    }
    Ok(count)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Seeded randomness for the property tests of packed structures.

    /// SplitMix64: small, seeded, good enough to pick operations.
    pub struct Rng(pub u64);

    impl Rng {
        pub fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        pub fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound.max(1) as u64) as usize
        }

        /// A string or number of a kind that meets every encoding now and then.
        pub fn element(&mut self) -> Vec<u8> {
            match self.below(10) {
                0..=2 => self.below(6).to_string().into_bytes(),
                3 => (self.next() as i64 >> self.below(64)).to_string().into_bytes(),
                4..=6 => vec![b'a' + self.below(4) as u8; self.below(4)],
                7 => vec![b'x'; self.below(140)],
                8 => [&b"00"[..], &b"-0"[..], &b"+1"[..], &b"9223372036854775808"[..]][self.below(4)].to_vec(),
                _ if self.below(20) == 0 => vec![b'L'; self.below(5000)],
                _ => vec![self.next() as u8; 2],
            }
        }
    }

    pub fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }
}

#[cfg(test)]
mod tests;
