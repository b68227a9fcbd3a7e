//! Compressed strings of a snapshot, decompressed before the loader comes to them.
//!
//! Most of the time that a long list takes to load goes into this, and it can be done by another thread, which only
//! has to find the strings. A [`Scout`] goes over the bytes of a snapshot before the loader does, and what it found
//! is an [`Ahead`]. All of this may be missing: the loader decompresses what nobody has. What is wrong is left for
//! it, too. Redis has no counterpart.

use std::collections::VecDeque;

use super::lzf;
use super::opcode::{Dialect, HEAD_LEN, op};
use super::scan::Scan;

/// Shorter strings are not worth being looked for.
const LEAST: usize = 512;

/// Bytes that one look brings at most: memory for what is ahead of the loader stays bounded.
const MOST: usize = 512 * 1024;

/// Strings of a stretch of a snapshot.
#[derive(Debug, Default)]
pub struct Ahead {
    bytes: Vec<u8>,
    /// Where each of them begins in the snapshot, compressed, and where it ends in `bytes`.
    strings: Vec<(u64, usize)>,
}

impl Ahead {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.strings.len()
    }

    /// Adds a string, if there is room for it and `packed` stands for so many bytes.
    fn add(&mut self, place: u64, packed: &[u8], len: usize) {
        let start = self.bytes.len();
        if len > packed.len().saturating_mul(lzf::MAX_RATIO) || start + len > MOST {
            return;
        }
        self.bytes.resize(start + len, 0);
        if lzf::decompress_into(packed, &mut self.bytes[start..]) {
            self.strings.push((place, start + len));
        } else {
            self.bytes.truncate(start);
        }
    }
}

/// All that is known of what the loader comes to.
#[derive(Debug, Default)]
pub(super) struct Known(VecDeque<Ahead>);

impl Known {
    pub fn add(&mut self, ahead: Ahead) {
        if !ahead.is_empty() {
            self.0.push_back(ahead);
        }
    }

    /// The string whose compressed bytes begin at this place of the snapshot.
    pub fn string(&self, place: u64) -> Option<&[u8]> {
        let ahead = self.0.iter().find(|ahead| ahead.strings.last().is_some_and(|(last, _)| place <= *last))?;
        let n = ahead.strings.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let start = n.checked_sub(1).map_or(0, |before| ahead.strings[before].1);
        ahead.bytes.get(start..ahead.strings[n].1)
    }

    /// Forgets what lies wholly before this place.
    pub fn pass(&mut self, place: u64) {
        while self.0.front().is_some_and(|ahead| ahead.strings.last().is_none_or(|(last, _)| *last < place)) {
            self.0.pop_front();
        }
    }
}

/// An item, or a part of one that repeats, of which fewer bytes than this are there comes again as a whole: whoever
/// takes it need not keep its beginning.
const BEGUN: usize = 8 * 1024;

/// Goes over the bytes of a file that may begin with a snapshot.
#[derive(Debug, Default)]
pub struct Scout {
    dialect: Option<Dialect>,
    /// The item that it is in the middle of.
    scan: Option<Scan>,
    /// Where the next bytes stand in the file.
    offset: u64,
    /// Bytes to come that are of no interest.
    skip: usize,
    /// The snapshot has ended, there is none, or it is wrong.
    done: bool,
}

impl Scout {
    /// Goes over the next bytes of the file, and if `unpack` is set decompresses strings in them. Returns what was
    /// found, and how many of the bytes are done with: the others are the beginning of something, and are to come
    /// again with more behind them.
    pub fn look(&mut self, bytes: &[u8], unpack: bool) -> (Ahead, usize) {
        let mut ahead = Ahead::default();
        let mut at = self.skip;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty() && !self.done) {
            let place = self.offset + at as u64;
            let take = |packed: &[u8], at: usize, len: usize| {
                if unpack {
                    ahead.add(place + at as u64, packed, len);
                }
            };
            match self.item(rest, take) {
                Some((used, whole)) => {
                    at += used;
                    if !whole {
                        break;
                    }
                }
                None => self.done = true,
            }
        }
        let used = if self.done { bytes.len() } else { at.min(bytes.len()) };
        (self.skip, self.offset) = (at.saturating_sub(used), self.offset + used as u64);
        (ahead, used)
    }

    /// Goes over the item that `rest` begins with, or goes on in: how many bytes are done with, perhaps more than there
    /// are, and whether that is all of it. `None` if nothing of interest follows. Compressed strings are taken with
    /// their place in `rest` and the length of what they stand for.
    fn item(&mut self, rest: &[u8], mut take: impl FnMut(&[u8], usize, usize)) -> Option<(usize, bool)> {
        let Some(dialect) = self.dialect else {
            let Some(head) = rest.first_chunk::<HEAD_LEN>() else { return Some((0, false)) };
            self.dialect = Some(Dialect::of_head(head)?.0);
            return Some((HEAD_LEN, true));
        };
        let going_on = self.scan.take();
        let begins = going_on.is_none();
        let mut scan = match going_on {
            Some(scan) => scan,
            None if rest[0] == op::EOF => return None,
            None => Scan::new(rest[0], dialect).ok()?,
        };
        let done = scan.advance_over(rest, |text, at| {
            if text.unpacked < LEAST || text.len.max(text.unpacked) > MOST {
                return true;
            }
            let packed = rest.get(at..at + text.len);
            packed.inspect(|packed| take(packed, at, text.unpacked)).is_some()
        });
        if let Some(len) = done.ok()? {
            return Some((len, true));
        }
        if begins && scan.at() < BEGUN {
            return Some((0, false));
        }
        let used = scan.forget(rest.len(), BEGUN);
        self.scan = Some(scan);
        Some((used, false))
    }
}
