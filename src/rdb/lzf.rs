//! LZF, the compression of strings in RDB files.
//!
//! A compressed string is a row of instructions. A byte below 32 says "copy the next (byte + 1) bytes"; any
//! other says "repeat": its upper three bits are a length (7: a further byte adds to it), its lower five and
//! the next byte a distance back. Both functions are total; the decompressor never makes more than the
//! caller said, and no more than [`MAX_RATIO`] times what it reads.
//!
//! Redis' counterpart: `lzf_c.c`, `lzf_d.c`.

mod unpack;

pub use unpack::{Unpacker, decompress, decompress_into};

/// Most bytes that one compressed byte can stand for: three bytes repeat 264.
pub const MAX_RATIO: usize = 88;

/// Longest run of bytes that one instruction copies.
const MAX_LITERAL: usize = 32;
/// Longest repetition of one instruction.
const MAX_REPEAT: usize = 264;
/// After so many bytes (a power of two) without a repetition one place in two is looked up, and so on.
const SKIP_SHIFT: usize = 4;
/// Places left out at most.
const MAX_SKIP: usize = 7;
/// Farthest distance back.
const MAX_DISTANCE: usize = 8192;

/// A compressor; it keeps its table between strings.
#[derive(Clone, Debug, Default)]
pub struct Compressor {
    /// Where a hash of three bytes was last seen, counted over all strings so far: what lies before this one is as
    /// good as never, so the table need not be emptied.
    seen: Vec<u32>,
    /// Where the next string begins in that count; it begins at 1.
    base: u32,
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` if it takes at most `max` bytes; else leaves `out` as
    /// it was and returns false.
    pub fn compress(&mut self, input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        // Positions are kept in 32 bits, counted from 1; Redis does not compress longer strings either.
        let done = input.len() < u32::MAX as usize && self.run(input, max, out).is_some();
        if !done {
            out.truncate(start);
        }
        done
    }

    /// `None` once more than `max` bytes would be needed.
    fn run(&mut self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        // Short strings get a small part of the table: it stays in the nearest cache.
        let bits = (usize::BITS - input.len().leading_zeros()).clamp(6, 14);
        let base = self.begin(input.len(), 1 << bits);
        let seen = &mut self.seen[..1 << bits];
        let mask = seen.len() - 1;
        let (mut at, mut literal) = (0, 0);
        while let Some(three) = three(input, at) {
            let slot = &mut seen[hash(three, bits) & mask];
            let candidate = slot.checked_sub(base).map(|before| before as usize);
            *slot = base + at as u32;
            let repeated =
                candidate.filter(|before| at - before <= MAX_DISTANCE && self::three(input, *before) == Some(three));
            let Some(before) = repeated else {
                // Where nothing has repeated for a while, nothing will: look less often. Strings that cannot be
                // compressed are what a snapshot would spend half of its time on.
                at += 1 + ((at - literal) >> SKIP_SHIFT).min(MAX_SKIP);
                continue;
            };
            let length = common(input, before, at);
            put_literals(&input[literal..at], out);
            put_repeat(length, at - before, out);
            if out.len() - start > max {
                return None;
            }
            // The inside of a repetition is not looked up: its last two places suffice.
            let end = at + length;
            for place in end - 2..end {
                if let Some(three) = self::three(input, place) {
                    seen[hash(three, bits) & mask] = base + place as u32;
                }
            }
            (at, literal) = (end, end);
        }
        let rest = input.len() - literal;
        if out.len() - start + rest + rest.div_ceil(MAX_LITERAL) > max {
            // Nothing is copied in vain where nothing repeats.
            return None;
        }
        put_literals(&input[literal..], out);
        Some(())
    }

    /// Makes so many places of the table ready for a string of this length; where that begins in the count.
    fn begin(&mut self, len: usize, places: usize) -> u32 {
        let (base, end) = (self.base.max(1), u64::from(self.base.max(1)) + len as u64);
        if let Ok(end) = u32::try_from(end) {
            self.base = end;
            if self.seen.len() < places {
                self.seen.resize(places, 0);
            }
            return base;
        }
        self.seen.clear();
        self.seen.resize(places, 0);
        self.base = 1 + len as u32;
        1
    }
}

/// The three bytes at a place, if a fourth follows.
#[inline]
fn three(input: &[u8], at: usize) -> Option<u32> {
    let four = input.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*four) & 0x00FF_FFFF)
}

/// Hash of three bytes.
#[inline]
fn hash(three: u32, bits: u32) -> usize {
    (three.wrapping_mul(0x9E37_79B1) >> (32 - bits)) as usize
}

/// How many bytes at `before` and at `at` are equal, as far as one instruction reaches.
#[inline]
fn common(input: &[u8], before: usize, at: usize) -> usize {
    let longest = MAX_REPEAT.min(input.len() - at);
    let (old, new) = (&input[before..before + longest], &input[at..at + longest]);
    let ((old_eights, old_rest), (eights, rest)) = (old.as_chunks::<8>(), new.as_chunks::<8>());
    for (n, (old, new)) in old_eights.iter().zip(eights).enumerate() {
        let different = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if different != 0 {
            return 8 * n + different.trailing_zeros() as usize / 8;
        }
    }
    8 * eights.len() + old_rest.iter().zip(rest).take_while(|(old, new)| old == new).count()
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(MAX_LITERAL) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_repeat(length: usize, distance: usize, out: &mut Vec<u8>) {
    let (length, back) = (length - 2, distance - 1);
    let high = (back >> 8) as u8;
    if length < 7 {
        out.push((length as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((length - 7) as u8);
    }
    out.push(back as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::listpack::testing::Rng;

    fn round(input: &[u8]) -> Option<usize> {
        let mut out = vec![9];
        let smaller = Compressor::default().compress(input, input.len().saturating_sub(4), &mut out);
        assert_eq!(out[0], 9);
        if !smaller {
            assert_eq!(out.len(), 1);
            return None;
        }
        assert_eq!(decompress(&out[1..], input.len()).as_deref(), Some(input));
        Some(out.len() - 1)
    }

    #[test]
    fn compresses_what_repeats() {
        assert!(round(&[b'a'; 1000]).unwrap() < 20);
        assert!(round(&b"hello world ".repeat(50)).unwrap() < 40);
        assert_eq!(round(b""), Some(0));
        assert_eq!(round(b"abc"), None);
        let distinct: Vec<u8> = (0..=255).collect();
        assert_eq!(round(&distinct), None);
    }

    #[test]
    fn random_strings_round() {
        let mut rng = Rng(5);
        let mut compressor = Compressor::default();
        for _ in 0..400 {
            let letters = 1 + rng.below(6);
            let len = rng.below(3000);
            let input: Vec<u8> = (0..len).map(|_| b'a' + rng.below(letters) as u8).collect();
            let mut out = Vec::new();
            // The worst case adds one byte to each 32.
            assert!(compressor.compress(&input, len + len / 32 + 1, &mut out));
            assert_eq!(decompress(&out, len).as_deref(), Some(&input[..]));
            assert!(len == 0 || decompress(&out, len - 1).is_none());
            assert!(decompress(&out, len + 1).is_none());
        }
    }

    /// What a compressor saw in other strings does not matter, nor how many there were.
    #[test]
    fn a_compressor_begins_anew_with_each_string() {
        let mut rng = Rng(9);
        let mut compressor = Compressor::default();
        for n in 0..3000 {
            if n % 100 == 99 {
                compressor.base = u32::MAX - rng.below(2000) as u32;
            }
            let alphabet = 1 + rng.below(5);
            let input: Vec<u8> = (0..rng.below(1000)).map(|_| rng.below(alphabet) as u8).collect();
            let (mut again, mut fresh) = (Vec::new(), Vec::new());
            let done = compressor.compress(&input, input.len(), &mut again);
            assert_eq!(done, Compressor::default().compress(&input, input.len(), &mut fresh));
            assert!(again == fresh && (!done || decompress(&again, input.len()).as_deref() == Some(&input[..])));
        }
    }

    #[test]
    fn distances_and_lengths_at_their_edges() {
        let mut rng = Rng(1);
        let noise: Vec<u8> = (0..8300).map(|_| rng.next() as u8).collect();
        for gap in [8188, 8189, 8190, 8191, 8192, 8193] {
            for length in [3, 8, 9, 263, 264, 265, 600] {
                let mut input = noise[..gap].to_vec();
                input.extend_from_within(..length);
                let mut out = Vec::new();
                assert!(Compressor::default().compress(&input, input.len() * 2, &mut out));
                assert_eq!(decompress(&out, input.len()).as_deref(), Some(&input[..]), "{gap} {length}");
            }
        }
    }

    #[test]
    fn hostile_input_is_refused() {
        // Back before the start, cut off, and a claim far past what the bytes can carry.
        assert_eq!(decompress(&[0x20, 0x00], 3), None);
        assert_eq!(decompress(&[0x05, b'a'], 6), None);
        assert_eq!(decompress(&[0xE0], 9), None);
        assert_eq!(decompress(&[0x00, b'a'], usize::MAX), None);
        let mut rng = Rng(8);
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..rng.below(40)).map(|_| rng.next() as u8).collect();
            let len = rng.below(400);
            if let Some(out) = decompress(&input, len) {
                assert_eq!(out.len(), len);
            }
        }
    }

    /// One instruction after the other, one byte after the other.
    fn simple(input: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut bytes) = (Vec::new(), input.iter().map(|byte| usize::from(*byte)));
        while let Some(control) = bytes.next() {
            if control < 32 {
                for _ in 0..=control {
                    out.push(bytes.next()? as u8);
                }
            } else {
                let more = if control >> 5 == 7 { bytes.next()? } else { 0 };
                let from = out.len().checked_sub(((control & 0x1F) << 8 | bytes.next()?) + 1)?;
                for at in from..from + (control >> 5) + more + 2 {
                    out.push(out[at]);
                }
            }
        }
        Some(out)
    }

    /// Any instructions: from near and far, short and long.
    fn instructions(rng: &mut Rng, count: usize) -> Vec<u8> {
        let mut input = Vec::new();
        for _ in 0..count {
            match rng.below(5) {
                0 | 1 => {
                    let run = rng.below(32);
                    input.push(run as u8);
                    input.extend((0..=run).map(|_| rng.next() as u8));
                }
                kind => {
                    let near = rng.below(2) == 0;
                    let high = if near { 0 } else { rng.below(3) };
                    let length = if kind == 4 { 7 } else { 1 + rng.below(6) };
                    input.push((length << 5 | high) as u8);
                    if length == 7 {
                        input.push(rng.next() as u8);
                    }
                    input.push(if near { rng.below(40) } else { rng.below(256) } as u8);
                }
            }
        }
        input
    }

    #[test]
    fn quick_and_simple_agree() {
        let mut rng = Rng(21);
        let mut whole = 0;
        for round in 0..6_000 {
            let count = 1 + rng.below(60);
            // A beginning that can be gone back to, most of the time.
            let mut input = if round % 8 == 0 { Vec::new() } else { [31; 33].repeat(rng.below(60)) };
            input.extend(instructions(&mut rng, count));
            match rng.below(8) {
                0 => input.truncate(rng.below(input.len())),
                1 => *input.last_mut().unwrap() ^= 1 << rng.below(8),
                _ => {}
            }
            let output = simple(&input);
            let right = output.as_ref().map_or(500, Vec::len);
            for len in [right, right + 1, right.saturating_sub(1), rng.below(500)] {
                let expected = output.clone().filter(|output| output.len() == len);
                whole += usize::from(expected.is_some());
                assert_eq!(decompress(&input, len), expected);
                let mut room = vec![7; len + 40];
                assert_eq!(decompress_into(&input, &mut room[..len]), expected.is_some());
                assert!(room[len..].iter().all(|byte| *byte == 7));
                assert_eq!(in_pieces(&mut rng, &input, len), expected);
            }
        }
        assert!(whole > 1500, "{whole}");
    }

    fn in_pieces(rng: &mut Rng, input: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut unpacker = Unpacker::new(input.len(), len)?;
        let (mut start, mut end) = (0, 0);
        while end < input.len() {
            end = input.len().min(end + 1 + rng.below(100));
            start += unpacker.take(&input[start..end])?;
        }
        unpacker.end().filter(|_| start == input.len())
    }
}
