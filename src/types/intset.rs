//! Sorted sets of integers in one allocation.
//!
//! The bytes in memory are exactly Redis' intset format, so saving to and loading from RDB is a
//! copy: `width: u32 LE (2, 4 or 8) | length: u32 LE | integers LE, ascending`. The width is that
//! of the widest integer ever added; it never shrinks. Limits and randomness belong to the caller.
//!
//! Invariants of an [`Intset`]: the width is 2, 4 or 8; the length is true; the integers are
//! strictly ascending. Redis' counterpart: `intset.c`.

use super::listpack::snug_capacity;
use std::fmt;

/// Bytes before the first integer.
const HEADER: usize = 8;

/// Why bytes are not an intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntsetError {
    /// Too short, an unknown width, or a length that is not the real one.
    Header,
    /// No integer in it: Redis never stores one such.
    Empty,
    /// The integers are not strictly ascending.
    Order,
}

impl fmt::Display for IntsetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IntsetError::Header => "intset header does not match its length",
            IntsetError::Empty => "intset is empty",
            IntsetError::Order => "intset is not in ascending order",
        })
    }
}

impl std::error::Error for IntsetError {}

/// A sorted set of integers in one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Intset {
    buf: Vec<u8>,
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Intset {
    /// An empty set.
    pub fn new() -> Self {
        Intset { buf: vec![2, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// Takes bytes from outside, after checking all of them.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IntsetError> {
        if bytes.len() < HEADER {
            return Err(IntsetError::Header);
        }
        let mut set = Intset { buf: bytes };
        let (width, len) = (set.header(0), set.header(4));
        if !matches!(width, 2 | 4 | 8) || (set.buf.len() - HEADER) as u64 != u64::from(width) * u64::from(len) {
            return Err(IntsetError::Header);
        }
        if len == 0 {
            return Err(IntsetError::Empty);
        }
        if !set.iter().is_sorted_by(|a, b| a < b) {
            return Err(IntsetError::Order);
        }
        set.buf.shrink_to_fit();
        Ok(set)
    }

    /// The set in Redis' format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The set in Redis' format, owned.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.buf.clone()
    }

    /// Number of integers.
    pub fn len(&self) -> usize {
        (self.buf.len() - HEADER) / self.width()
    }

    /// Whether there is no integer.
    pub fn is_empty(&self) -> bool {
        self.buf.len() == HEADER
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// The integer with this index in ascending order. With a random index, a random member.
    pub fn nth(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.value(index))
    }

    /// The least integer.
    pub fn first(&self) -> Option<i64> {
        self.nth(0)
    }

    /// The greatest integer.
    pub fn last(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|index| self.value(index))
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// All integers, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + '_ {
        self.buf[HEADER..].chunks_exact(self.width()).map(read)
    }

    /// Adds `value`; false if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let width = width_of(value);
        if width > self.width() {
            // Wider than all others: it is the least or the greatest.
            self.widen(width);
        }
        let Err(index) = self.search(value) else {
            return false;
        };
        let width = self.width();
        let at = HEADER + index * width;
        let old_len = self.buf.len();
        if old_len + width > self.buf.capacity() {
            self.buf.reserve_exact(snug_capacity(old_len + width) - old_len);
        }
        self.buf.resize(old_len + width, 0);
        self.buf.copy_within(at..old_len, at + width);
        self.buf[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.write_len();
        true
    }

    /// Removes `value`; false if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return false;
        }
        let Ok(index) = self.search(value) else {
            return false;
        };
        let at = HEADER + index * self.width();
        self.buf.drain(at..at + self.width());
        self.write_len();
        if self.buf.capacity() > 64 && self.buf.len() < self.buf.capacity() / 2 {
            self.buf.shrink_to(snug_capacity(self.buf.len()));
        }
        true
    }

    /// Bytes per integer.
    fn width(&self) -> usize {
        usize::from(self.buf[0])
    }

    fn header(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.buf[at..at + 4].try_into().expect("four bytes"))
    }

    fn write_len(&mut self) {
        let len = u32::try_from(self.len()).expect("an intset has fewer than 2^32 integers");
        self.buf[4..HEADER].copy_from_slice(&len.to_le_bytes());
    }

    #[inline]
    fn value(&self, index: usize) -> i64 {
        let at = HEADER + index * self.width();
        read(&self.buf[at..at + self.width()])
    }

    /// Index of `value`, or where it belongs.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let len = self.len();
        // Ascending inserts are common.
        if len > 0 && self.value(len - 1) < value {
            return Err(len);
        }
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.value(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Writes all integers anew with `width` bytes each.
    fn widen(&mut self, width: usize) {
        // Room for the integer that is about to be added, too.
        let mut buf = Vec::with_capacity(snug_capacity(HEADER + (self.len() + 1) * width));
        buf.extend_from_slice(&(width as u32).to_le_bytes());
        buf.extend_from_slice(&self.buf[4..HEADER]);
        for value in self.iter() {
            buf.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.buf = buf;
    }
}

/// Bytes that Redis gives an integer of this size.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// An integer from its 2, 4 or 8 bytes.
#[inline]
fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::listpack::testing::{Rng, unhex};
    use super::*;
    use std::collections::BTreeSet;

    /// DUMP of Redis 8.2.3, without type, length and footer.
    #[test]
    fn same_bytes_as_redis() {
        let cases = [
            (300, "0200000003000000fbff01002c01"),
            (70_000, "0400000003000000fbffffff0100000070110100"),
            (5_000_000_000, "0800000003000000fbffffffffffffff010000000000000000f2052a01000000"),
        ];
        for (last, golden) in cases {
            let mut set = Intset::new();
            for value in [1, -5, last] {
                assert!(set.insert(value));
            }
            assert_eq!(set.as_bytes(), unhex(golden));
            assert_eq!(Intset::from_bytes(unhex(golden)).unwrap(), set);
        }
    }

    #[test]
    fn random_operations_against_model() {
        for seed in crate::types::tests::seeds(80) {
            let mut rng = Rng(seed);
            let mut set = Intset::new();
            let mut model = BTreeSet::new();
            // Most seeds stay narrow for a while.
            let bits = [60, 52, 36, 30, 0][rng.below(5)];
            for round in 0..400 {
                let wide = if round > 200 { bits.min(rng.below(64)) } else { bits };
                let value = rng.next() as i64 >> wide;
                if rng.below(3) > 0 {
                    assert_eq!(set.insert(value), model.insert(value));
                } else {
                    assert_eq!(set.remove(value), model.remove(&value));
                }
                assert_eq!(set.contains(value), model.contains(&value));
                assert_eq!(set.len(), model.len());
                assert_eq!((set.first(), set.last()), (model.first().copied(), model.last().copied()));
            }
            assert!(set.iter().eq(model.iter().copied()));
            assert!((0..set.len()).map(|i| set.nth(i).unwrap()).eq(model.iter().copied()));
            assert_eq!(set.nth(set.len()), None);
            assert_eq!(Intset::from_bytes(set.to_bytes()).unwrap(), set);
        }
    }

    #[test]
    fn hostile_bytes() {
        let cases = [
            ("", IntsetError::Header),
            ("02000000000000", IntsetError::Header),
            ("0200000000000000", IntsetError::Empty),
            ("0300000001000000010000", IntsetError::Header),
            ("02000000020000000100", IntsetError::Header),
            ("08000000ffffffff0100", IntsetError::Header),
            ("020000000200000001000100", IntsetError::Order),
            ("02000000020000000100ffff", IntsetError::Order),
        ];
        for (hex, error) in cases {
            assert_eq!(Intset::from_bytes(unhex(hex)).unwrap_err(), error, "{hex}");
        }
        let mut rng = Rng(3);
        for _ in crate::types::tests::seeds(5000) {
            let mut bytes = unhex("0400000003000000fbffffff0100000070110100");
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            bytes.truncate(20 - rng.below(20) * rng.below(2));
            if let Ok(set) = Intset::from_bytes(bytes) {
                assert!(set.iter().all(|value| set.contains(value)));
            }
        }
    }
}
