//! LCS: the longest sequence of bytes that two strings have in common, in order.
//!
//! One table of lengths, filled once and walked back from its last cell; its size is bounded by
//! proto-max-bulk-len before it is allocated. Where several sequences are equally long, the walk decides
//! as Redis does, since clients see which one it is.
//!
//! Counterpart: `lcsCommand` in `t_string.c`.

use crate::engine::call::Call;
use crate::engine::entry::{Entry, Kind};
use crate::engine::error::{Error, Outcome};

/// Lengths of the longest common sequences of all pairs of prefixes.
struct Lengths<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// Row by row, `a.len() + 1` rows of `b.len() + 1` cells.
    cells: Vec<u32>,
}

/// A piece of both strings: the same bytes from `a` and from `b` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    a: usize,
    b: usize,
    len: usize,
}

impl<'a> Lengths<'a> {
    /// Fills the table; `None` if there is no memory for it.
    fn new(a: &'a [u8], b: &'a [u8]) -> Option<Lengths<'a>> {
        let width = b.len() + 1;
        let size = width.checked_mul(a.len() + 1)?;
        let mut cells = Vec::new();
        cells.try_reserve_exact(size).ok()?;
        cells.resize(width, 0);
        for (i, x) in a.iter().enumerate() {
            let above = i * width;
            let mut left = 0;
            cells.push(0);
            for (j, y) in b.iter().enumerate() {
                left = if x == y { cells[above + j] + 1 } else { left.max(cells[above + j + 1]) };
                cells.push(left);
            }
        }
        Some(Lengths { a, b, cells })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * (self.b.len() + 1) + j]
    }

    /// The length of the longest common sequence.
    fn longest(&self) -> usize {
        self.at(self.a.len(), self.b.len()) as usize
    }

    /// The pieces of the sequence from the last to the first, each as long as it can be.
    fn pieces(&self, mut each: impl FnMut(Piece)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut len = 0;
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                len += 1;
                i -= 1;
                j -= 1;
                continue;
            }
            if len > 0 {
                each(Piece { a: i, b: j, len });
                len = 0;
            }
            if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        if len > 0 {
            each(Piece { a: i, b: j, len });
        }
    }

    /// The sequence itself.
    fn sequence(&self) -> Vec<u8> {
        let mut sequence = vec![0; self.longest()];
        let mut end = sequence.len();
        self.pieces(|piece| {
            let start = end - piece.len;
            sequence[start..end].copy_from_slice(&self.a[piece.a..piece.a + piece.len]);
            end = start;
        });
        sequence
    }
}

/// What is to be replied.
#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(call: &Call) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 3;
        while at < call.args.len() {
            if call.word(at, "IDX") {
                options.idx = true;
            } else if call.word(at, "LEN") {
                options.len = true;
            } else if call.word(at, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if call.word(at, "MINMATCHLEN") && at + 1 < call.args.len() {
                at += 1;
                options.min_match_len = call.int(at)?;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        if options.idx && options.len {
            return Err("ERR If you want both the length and indexes, please just use IDX.".into());
        }
        Ok(options)
    }
}

/// The string at `key`, copied; empty if there is none.
fn copy_of(call: &mut Call, key: &[u8]) -> Result<Vec<u8>, Error> {
    match call.keys.read(key).map(Entry::value) {
        None => Ok(Vec::new()),
        Some(value) if value.kind() == Kind::String => Ok(value.text(&mut Vec::new()).to_vec()),
        Some(_) => Err("ERR The specified keys must contain string values".into()),
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN].
pub(super) fn lcs(call: &mut Call) -> Outcome {
    // Both keys are looked up before either type is judged: a missing second key counts as a miss.
    let (a, b) = (copy_of(call, call.args.at(1)), copy_of(call, call.args.at(2)));
    let (a, b) = (a?, b?);
    let options = Options::parse(call)?;
    let cells = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1);
    if cells.saturating_mul(size_of::<u32>() as u64) > call.keys.settings.max_string_bytes as u64 {
        return Err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len".into());
    }
    let Some(lengths) = Lengths::new(&a, &b) else {
        return Err("ERR Insufficient memory, failed allocating transient memory for LCS".into());
    };
    if options.len {
        call.reply.count(lengths.longest());
    } else if options.idx {
        reply_pieces(call, &lengths, &options);
    } else {
        call.reply.bulk(&lengths.sequence());
    }
    Ok(())
}

fn reply_pieces(call: &mut Call, lengths: &Lengths, options: &Options) {
    let reply = &mut *call.reply;
    reply.map(2);
    reply.bulk(b"matches");
    let mark = reply.deferred();
    let mut count = 0;
    lengths.pieces(|piece| {
        if (piece.len as i64) < options.min_match_len {
            return;
        }
        count += 1;
        reply.array(2 + usize::from(options.with_match_len));
        for start in [piece.a, piece.b] {
            reply.array(2);
            reply.count(start);
            reply.count(start + piece.len - 1);
        }
        if options.with_match_len {
            reply.count(piece.len);
        }
    });
    reply.finish_array(mark, count);
    reply.bulk(b"len");
    reply.count(lengths.longest());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(a: &str, b: &str) -> (String, Vec<Piece>) {
        let lengths = Lengths::new(a.as_bytes(), b.as_bytes()).unwrap();
        let mut pieces = Vec::new();
        lengths.pieces(|piece| pieces.push(piece));
        (String::from_utf8(lengths.sequence()).unwrap(), pieces)
    }

    #[test]
    fn pieces_are_maximal_and_come_from_the_end() {
        let (text, pieces) = solve("ohmytext", "mynewtext");
        assert_eq!(text, "mytext");
        assert_eq!(pieces, [Piece { a: 4, b: 5, len: 4 }, Piece { a: 2, b: 0, len: 2 }]);
    }

    #[test]
    fn nothing_in_common() {
        for (a, b) in [("", ""), ("", "x"), ("x", ""), ("abc", "def")] {
            assert_eq!(solve(a, b), (String::new(), vec![]));
        }
    }

    #[test]
    fn ties_take_the_later_match_of_the_first_string() {
        // Both "a" and "b" are longest; the walk prefers to give up bytes of the second string.
        assert_eq!(solve("ab", "ba").0, "b");
        assert_eq!(solve("acbc", "bcac").0, "bc");
    }
}
