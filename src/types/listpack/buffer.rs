//! The allocation of a listpack: its bytes, with room before and behind them.
//!
//! Lists grow and shrink at both ends, and what comes or goes at the head should not move all that is behind it.
//! So whatever part is shorter moves, the one before the place or the one behind it. It is a small vector that
//! knows nothing of what its bytes mean; room is little (see [`snug_capacity`]), since memory per small collection
//! matters. Redis' counterpart: none; there a listpack fills its allocation from the start.
//!
//! Invariants: `gap + len` is at most the length of `bytes`; all of `bytes` has been written at some time, and what
//! is outside of the range means nothing.

use std::ops::{Deref, DerefMut};

/// Bytes with room at both ends.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: u32,
    /// Bytes of room before the first one. A larger room is not worth a larger field.
    gap: u16,
    _niche: Niche,
}

/// A byte with one lawful value: who holds a listpack or something else needs no byte of his own to tell which.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Niche {
    Only = 0,
}

/// Most room before the first byte.
const MAX_GAP: usize = u16::MAX as usize;

/// So many bytes are moved rather than room made at the other end.
const NEAR: usize = 64;

/// Allocations up to this are not made smaller.
const TINY: usize = 64;

/// Where room is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Front,
    Back,
}

impl From<Vec<u8>> for Buffer {
    /// These bytes, with no room.
    fn from(bytes: Vec<u8>) -> Buffer {
        let bytes = bytes.into_boxed_slice();
        let len = u32::try_from(bytes.len()).expect("a listpack is shorter than 4 GiB");
        Buffer { bytes, len, gap: 0, _niche: Niche::Only }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.gap()..self.gap() + self.len as usize]
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (gap, len) = (self.gap(), self.len as usize);
        &mut self.bytes[gap..gap + len]
    }
}

impl Buffer {
    /// These bytes in an allocation of so many, the room where it is wanted.
    pub fn with_capacity(content: &[u8], capacity: usize, room: Room) -> Buffer {
        let capacity = capacity.max(content.len());
        let mut buffer = Buffer { bytes: Box::default(), len: content.len() as u32, gap: 0, _niche: Niche::Only };
        buffer.fill(content, capacity, room);
        buffer
    }

    /// Bytes of heap held.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    fn gap(&self) -> usize {
        usize::from(self.gap)
    }

    /// Bytes of room behind the last one.
    fn back(&self) -> usize {
        self.bytes.len() - self.gap() - self.len as usize
    }

    fn set_gap(&mut self, gap: usize) {
        debug_assert!(gap <= MAX_GAP);
        self.gap = gap as u16;
    }

    /// Makes `new` bytes of the bytes `start..end`; what they are then is left to the caller to write.
    pub fn splice(&mut self, start: usize, end: usize, new: usize) {
        let old = end - start;
        if new > old {
            self.widen(start, end, new - old);
        } else if new < old {
            self.narrow(start, end, old - new);
        }
    }

    /// Adds so many bytes before the first one, to be written by the caller with what follows them, if there is room.
    #[inline]
    pub fn extend_front(&mut self, more: usize) -> bool {
        let room = more <= self.gap();
        if room {
            self.set_gap(self.gap() - more);
            self.len += more as u32;
        }
        room
    }

    /// Adds so many bytes behind the last one, to be written by the caller, if there is room.
    #[inline]
    pub fn extend_back(&mut self, more: usize) -> bool {
        let room = more <= self.back();
        if room {
            self.len += more as u32;
        }
        room
    }

    fn widen(&mut self, start: usize, end: usize, more: usize) {
        let behind = self.len as usize - end;
        if self.widens_in_front(start, behind, more) {
            if more > self.gap() {
                self.make_room(more, Room::Front);
            }
            let gap = self.gap();
            self.bytes.copy_within(gap..gap + start, gap - more);
            self.set_gap(gap - more);
        } else {
            if more > self.back() {
                self.make_room(more, Room::Back);
            }
            let from = self.gap() + end;
            self.bytes.copy_within(from..from + behind, from + more);
        }
        self.len += more as u32;
    }

    /// Whether to move what is before the place, `start` bytes, rather than the `behind` bytes behind it.
    #[inline]
    fn widens_in_front(&self, start: usize, behind: usize, more: usize) -> bool {
        match start < behind && more <= MAX_GAP {
            true => more <= self.gap() || behind > NEAR || more > self.back(),
            false => more > self.back() && start <= NEAR && more <= self.gap(),
        }
    }

    fn narrow(&mut self, start: usize, end: usize, less: usize) {
        let behind = self.len as usize - end;
        let gap = self.gap();
        if start < behind && gap + less <= MAX_GAP {
            self.bytes.copy_within(gap..gap + start, gap + less);
            self.set_gap(gap + less);
        } else {
            let from = gap + end;
            self.bytes.copy_within(from..from + behind, from - less);
        }
        self.len -= less as u32;
        self.give_back();
    }

    /// Sees to it that there are `more` bytes of room, at most [`MAX_GAP`] in front. Room that there is at the other
    /// end is shared by both, so that bytes that come at both ends in turn do not move all others each time.
    #[cold]
    fn make_room(&mut self, more: usize, room: Room) {
        let len = self.len as usize;
        match self.bytes.len().checked_sub(len + more) {
            Some(spare) => {
                let share = (spare / 2).min(MAX_GAP - more.min(MAX_GAP));
                let gap = if room == Room::Front { more + share } else { share };
                let from = self.gap();
                self.bytes.copy_within(from..from + len, gap);
                self.set_gap(gap);
            }
            None if self.gap == 0 && room == Room::Back => {
                let mut bytes = std::mem::take(&mut self.bytes).into_vec();
                let capacity = snug_capacity(len + more);
                bytes.reserve_exact(capacity - bytes.len());
                bytes.resize(capacity, 0);
                self.bytes = bytes.into_boxed_slice();
            }
            None => {
                let old = std::mem::take(&mut self.bytes);
                let from = self.gap();
                self.fill(&old[from..from + len], snug_capacity(len + more), room);
            }
        }
    }

    /// Takes an allocation of this size for these bytes.
    fn fill(&mut self, content: &[u8], capacity: usize, room: Room) {
        let gap = match room {
            Room::Front => (capacity - content.len()).min(MAX_GAP),
            Room::Back => 0,
        };
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(gap, 0);
        bytes.extend_from_slice(content);
        bytes.resize(capacity, 0);
        self.bytes = bytes.into_boxed_slice();
        self.set_gap(gap);
    }

    /// Drops all bytes from this length on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len as usize {
            self.len = len as u32;
            self.give_back();
        }
    }

    /// Returns memory when less than half of it is in use.
    fn give_back(&mut self) {
        let len = self.len as usize;
        if self.bytes.len() > TINY && len < self.bytes.len() / 2 {
            let from = self.gap();
            self.bytes.copy_within(from..from + len, 0);
            self.gap = 0;
            let mut bytes = std::mem::take(&mut self.bytes).into_vec();
            bytes.truncate(snug_capacity(len));
            self.bytes = bytes.into_boxed_slice();
        }
    }
}

/// Capacity for `len` bytes: the next of eight steps between powers of two, so at most an eighth
/// is spare and adding one entry at a time seldom reallocates. Allocators round up about as much.
pub(crate) fn snug_capacity(len: usize) -> usize {
    len.next_multiple_of(1 << (len.max(64).ilog2() - 3))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rng;
    use super::*;

    #[test]
    fn is_no_larger_than_a_vector() {
        assert!(size_of::<Buffer>() <= size_of::<Vec<u64>>().max(16));
        assert_eq!(size_of::<Option<Option<Buffer>>>(), size_of::<Buffer>());
    }

    #[test]
    fn random_changes_against_a_vector() {
        for seed in crate::types::tests::seeds(24) {
            let mut rng = Rng(seed);
            let mut model: Vec<u8> = (0..rng.below(50)).map(|_| rng.next() as u8).collect();
            let room = [Room::Front, Room::Back][rng.below(2)];
            let mut buffer = match rng.below(2) {
                0 => Buffer::from(model.clone()),
                _ => Buffer::with_capacity(&model, rng.below(200), room),
            };
            // Long stretches of growing and of shrinking, at one end, at both, or anywhere.
            for _ in 0..8 {
                let (place, grow) = (rng.below(4), rng.below(2) == 0);
                let large = [20, 20, 20, 300_000][rng.below(4)];
                for _ in 0..40 {
                    let start = match place {
                        0 => 0,
                        1 => model.len(),
                        2 => [0, model.len()][rng.below(2)],
                        _ => rng.below(model.len() + 1),
                    };
                    if place < 2 && rng.below(4) == 0 {
                        let new = vec![rng.next() as u8; rng.below(8)];
                        let (known, at) = (model.len(), if place == 0 { 0 } else { model.len() });
                        if if place == 0 { buffer.extend_front(new.len()) } else { buffer.extend_back(new.len()) } {
                            assert_eq!(buffer.len(), known + new.len());
                            buffer[at..at + new.len()].copy_from_slice(&new);
                            model.splice(at..at, new);
                        }
                    }
                    let old = rng.below(if grow { 3 } else { large });
                    let (start, end) = match place {
                        1 => (start.saturating_sub(old), start),
                        _ => (start, (start + old).min(model.len())),
                    };
                    let new = vec![rng.next() as u8; rng.below(if grow && model.len() < 400_000 { large } else { 3 })];
                    buffer.splice(start, end, new.len());
                    buffer[start..start + new.len()].copy_from_slice(&new);
                    model.splice(start..end, new);
                    assert!(*buffer == model[..]);
                    assert!(buffer.capacity() <= 300.max(model.len() * 2 + 8));
                }
                let keep = rng.below(model.len() + 1);
                if rng.below(3) == 0 {
                    model.truncate(keep);
                    buffer.truncate(keep);
                    assert!(*buffer == model[..]);
                }
            }
        }
    }

    /// Bytes moved and reallocations are few where bytes come at one end, or at both in turn.
    #[test]
    fn growing_at_an_end_seldom_moves_all() {
        for ends in [&[0][..], &[1], &[0, 1]] {
            let mut buffer = Buffer::from(vec![0; 7]);
            let mut moves = 0;
            for i in 0..10_000 {
                let place = buffer[..].as_ptr() as usize;
                let at = if ends[i % ends.len()] == 0 { 6 } else { buffer.len() - 1 };
                buffer.splice(at, at, 10);
                let now = buffer[..].as_ptr() as usize;
                moves += usize::from(now != place && now != place - 10);
            }
            assert!(moves < 600, "{ends:?}: {moves}");
        }
    }

    #[test]
    fn taking_from_the_head_moves_nothing_and_gives_back() {
        let mut buffer = Buffer::from(vec![1; 8000]);
        let last = buffer.last().map(|byte| byte as *const u8);
        (0..100).for_each(|_| buffer.splice(6, 16, 0));
        assert_eq!(buffer.last().map(|byte| byte as *const u8), last);
        (0..600).for_each(|_| buffer.splice(6, 16, 0));
        assert!(buffer.capacity() < 2100, "{}", buffer.capacity());
    }
}
