//! A large string that can be walked in slices: its bytes as they were when the walk began, however it changes.
//!
//! Whoever changes bytes in place says which ones, before: pieces that the walk has not given yet are kept as they
//! are. A string that is replaced as a whole goes to the walk instead. Strings become this when a walk opens them,
//! and stay so; any other large string is a plain buffer. Redis has no counterpart: it forks.
//!
//! Invariant: while a walk is under way, the first `len` bytes that are neither given nor kept are there, as they were.

use std::collections::BTreeMap;
use std::ops::Range;

use super::walk::{Share, Walker, Walking};

/// Bytes of a piece: what is compressed in a fraction of a millisecond.
pub const PIECE: usize = 16 * 1024;

/// Shorter strings are not walked in slices. No string that is a number is as long, so what is walked is never
/// replaced by counting.
pub const SMALLEST: usize = 8 * 1024;

/// A large string.
#[derive(Clone, Debug)]
pub struct Text {
    bytes: Vec<u8>,
    walk: Walking<TextWalk>,
}

/// A walk under way.
struct TextWalk {
    id: u32,
    /// Bytes that it is to give.
    len: usize,
    /// Bytes given: all of a piece, or none.
    given: usize,
    /// Pieces as they were, by their number.
    kept: BTreeMap<usize, Box<[u8]>>,
    share: Share,
}

impl Text {
    /// A string that nobody walks.
    pub fn new(bytes: Vec<u8>) -> Text {
        Text { bytes, walk: Walking::NONE }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, of which these bytes are about to change. It must not become shorter.
    pub fn bytes_mut(&mut self, changed: Range<usize>) -> &mut Vec<u8> {
        if let Some(walk) = self.walk.get_mut() {
            walk.keep(&self.bytes, changed);
        }
        &mut self.bytes
    }

    /// Who walks it.
    pub fn walker(&self) -> Option<u32> {
        self.walk.get().map(|walk| walk.id)
    }

    /// How many pieces a string of so many bytes has.
    pub fn piece_count(len: usize) -> usize {
        len.div_ceil(PIECE)
    }

    /// Begins a walk.
    pub fn begin_walk(&mut self, walker: Walker) {
        let (id, share) = walker.split();
        self.walk.begin(TextWalk { id, len: self.bytes.len(), given: 0, kept: BTreeMap::new(), share });
    }

    /// Gives the next piece. True if it was the last one, and the walk has ended.
    pub fn step_walk(&mut self, f: impl FnOnce(&[u8])) -> bool {
        let Some(walk) = self.walk.get_mut() else { return true };
        let end = walk.len.min(walk.given + PIECE);
        match walk.kept.remove(&(walk.given / PIECE)) {
            Some(kept) => {
                f(&kept);
                walk.share.sub(kept.len());
            }
            None => f(&self.bytes[walk.given..end]),
        }
        walk.given = end;
        let done = end == walk.len;
        if done {
            self.walk.end();
        }
        done
    }

    /// Nobody wants more of a walk, wherever it is: it ends.
    pub fn cancel_walk(&mut self) {
        self.walk.end();
    }
}

impl TextWalk {
    #[cold]
    fn keep(&mut self, bytes: &[u8], changed: Range<usize>) {
        let (start, end) = (changed.start.max(self.given), changed.end.min(self.len));
        if start >= end {
            return;
        }
        for piece in start / PIECE..end.div_ceil(PIECE) {
            self.kept.entry(piece).or_insert_with(|| {
                let kept = &bytes[piece * PIECE..self.len.min((piece + 1) * PIECE)];
                self.share.add(kept.len());
                kept.into()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::Tally;
    use super::*;

    fn walked(text: &mut Text, mut between: impl FnMut(&mut Text, usize)) -> Vec<u8> {
        let mut seen = Vec::new();
        for step in 0.. {
            if text.step_walk(|piece| seen.extend_from_slice(piece)) {
                break;
            }
            between(text, step);
        }
        seen
    }

    #[test]
    fn a_walk_gives_what_was_there_when_it_began() {
        let before: Vec<u8> = (0..5 * PIECE + 100).map(|n| ((n * 7) >> 3) as u8).collect();
        let (mut text, tally) = (Text::new(before.clone()), Tally::default());
        text.begin_walk(Walker::new(3, &tally));
        assert_eq!(text.walker(), Some(3));
        // Across a border, and beyond the end.
        text.bytes_mut(3 * PIECE - 1..3 * PIECE + 1)[3 * PIECE - 1..3 * PIECE + 1].fill(0);
        assert_eq!(tally.bytes(), 2 * PIECE);
        let seen = walked(&mut text, |text, step| {
            let len = text.bytes().len();
            let buffer = text.bytes_mut(step * PIECE..len + 10);
            buffer.resize(len + 10, 1);
            buffer[step * PIECE..].fill(step as u8);
        });
        assert!(seen == before);
        assert_eq!((text.walker(), tally.bytes()), (None, 0));
    }

    #[test]
    fn a_walk_that_is_given_up_keeps_nothing() {
        let (mut text, tally) = (Text::new(vec![b'x'; 3 * PIECE]), Tally::default());
        text.begin_walk(Walker::new(1, &tally));
        text.bytes_mut(0..3 * PIECE).fill(b'y');
        assert_eq!(tally.bytes(), 3 * PIECE);
        text.cancel_walk();
        assert_eq!((text.walker(), tally.bytes()), (None, 0));
    }
}
