//! The way back: from a compressed string to what it stands for.
//!
//! Nearly all instructions are a few bytes to be copied, from the input or from what was written before, in an order
//! that nobody can foresee. So the quick loop makes no difference between the two: where the bytes come from, how many
//! they are and where the next instruction stands is selected, not branched upon. It copies [`WIDE`] bytes at a time,
//! wanted or not; what is written too much is written again, or lies before the end of a string whose length is
//! checked. What the quick loop cannot do (the ends of input and string, what repeats itself, long repetitions) is
//! done one instruction at a time. An instruction that is cut off is left for the time when more is there.

use std::hint::select_unpredictable;

use super::{MAX_LITERAL, MAX_RATIO};

/// Bytes copied at once where there is room: no literal is longer.
const WIDE: usize = MAX_LITERAL;

/// From here on a control byte has another that adds to its length.
const LONG: usize = 7 << 5;

/// No repetition is longer that is not long.
const SHORT: usize = 8;

/// The string of `len` bytes that `input` stands for; `None` if it does not stand for exactly such a one.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut unpacker = Unpacker::new(input.len(), len)?;
    let taken = unpacker.take(input)?;
    unpacker.end().filter(|_| taken == input.len())
}

/// Fills `out` with the string that `input` stands for. False if it does not stand for exactly so many bytes.
pub fn decompress_into(input: &[u8], out: &mut [u8]) -> bool {
    run(input, out, 0) == Some((input.len(), out.len()))
}

/// A string on its way, whose compressed form comes in pieces.
#[derive(Clone, Debug)]
pub struct Unpacker {
    out: Vec<u8>,
    /// Bytes that are there.
    at: usize,
}

impl Unpacker {
    /// For a string of `len` bytes in `packed` ones; `None` if these cannot stand for so many. Memory for all of it is
    /// taken at once.
    pub fn new(packed: usize, len: usize) -> Option<Unpacker> {
        (len <= packed.saturating_mul(MAX_RATIO)).then(|| Unpacker { out: vec![0; len], at: 0 })
    }

    /// Takes the next piece; how many of its bytes were whole instructions. The others are to come again, with more
    /// behind them. `None` if this is no compressed string, or one that is too long.
    pub fn take(&mut self, input: &[u8]) -> Option<usize> {
        let (taken, at) = run(input, &mut self.out, self.at)?;
        self.at = at;
        Some(taken)
    }

    /// The string, if all of it is there.
    pub fn end(self) -> Option<Vec<u8>> {
        (self.at == self.out.len()).then_some(self.out)
    }
}

/// Writes at `at` what the whole instructions in `input` stand for; how many bytes these are, and where it ends.
fn run(input: &[u8], out: &mut [u8], at: usize) -> Option<(usize, usize)> {
    let (mut next, mut at) = (0, at);
    loop {
        (next, at) = quick(input, next, out, at);
        let Some((length, end)) = instruction(&input[next..], out, at)? else { return Some((next, at)) };
        (next, at) = (next + length, end);
    }
}

/// Runs instructions from `next` on as long as they are of the usual kind; where it has come to in both.
#[inline]
fn quick(input: &[u8], mut next: usize, out: &mut [u8], mut at: usize) -> (usize, usize) {
    while let Some([control, run @ ..]) = input.get(next..).and_then(|rest| rest.first_chunk::<{ 1 + WIDE }>()) {
        let (control, low) = (usize::from(*control), usize::from(run[0]));
        let literal = control < MAX_LITERAL;
        // How far back the bytes lie. For a literal those are not what is copied, but lie somewhere as well.
        let back = select_unpredictable(literal, WIDE, ((control & 0x1F) << 8 | low) + 1);
        if control >= LONG || back < SHORT || back > at || at + WIDE > out.len() {
            break;
        }
        let Some(repeated) = out[at - back..].first_chunk() else { break };
        let bytes = *select_unpredictable(literal, run, repeated);
        out[at..at + WIDE].copy_from_slice(&bytes);
        at += select_unpredictable(literal, control + 1, (control >> 5) + 2);
        next += select_unpredictable(literal, control + 2, 2);
    }
    (next, at)
}

/// Runs the first instruction: how long it is, and where what it wrote ends. `Some(None)` if it is not all there,
/// `None` if it cannot be.
#[inline]
fn instruction(input: &[u8], out: &mut [u8], at: usize) -> Option<Option<(usize, usize)>> {
    let Some(&control) = input.first() else { return Some(None) };
    let control = usize::from(control);
    if control < MAX_LITERAL {
        let Some(run) = input.get(1..control + 2) else { return Some(None) };
        match (input.get(1..1 + WIDE), out.get_mut(at..at + WIDE)) {
            (Some(wide), Some(room)) => room.copy_from_slice(wide),
            _ => out.get_mut(at..at + run.len())?.copy_from_slice(run),
        }
        return Some(Some((control + 2, at + run.len())));
    }
    let (length, low, taken) = match (control < LONG, input) {
        (true, [_, low, ..]) => ((control >> 5) + 2, *low, 2),
        (false, [_, more, low, ..]) => (usize::from(*more) + 9, *low, 3),
        _ => return Some(None),
    };
    let from = at.checked_sub(((control & 0x1F) << 8 | usize::from(low)) + 1)?;
    if length > out.len() - at {
        return None;
    }
    repeat(out, from, at, length);
    Some(Some((taken, at + length)))
}

/// Writes `length` bytes at `at` that begin at `from`, before it; they may reach into what is being written.
#[inline]
fn repeat(out: &mut [u8], from: usize, at: usize, length: usize) {
    let distance = at - from;
    if distance >= WIDE && at + length.next_multiple_of(WIDE) <= out.len() {
        for step in (0..length).step_by(WIDE) {
            out.copy_within(from + step..from + step + WIDE, at + step);
        }
        return;
    }
    let mut done = 0;
    while done < length {
        let piece = (length - done).min(distance + done);
        out.copy_within(from..from + piece, at + done);
        done += piece;
    }
}
