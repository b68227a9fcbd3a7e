//! One entry of a listpack: how it is written, read, walked over and checked.
//!
//! Reading functions expect entries that this module wrote or checked; only [`validate_entry`] is
//! for bytes from outside. Redis' counterpart: the encoding half of `listpack.c`.

use super::{Item, ListpackError, canonical_int};

/// One entry taken apart for writing.
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(item: Item<'a>) -> Self {
        match item {
            Item::Int(value) => Self::int(value),
            // Decimal forms of an i64 have at most 20 bytes, and end in a digit.
            Item::Bytes(bytes @ [.., b'0'..=b'9']) if bytes.len() <= 20 => match canonical_int(bytes) {
                Some(value) => Self::int(value),
                None => Self::string(bytes),
            },
            Item::Bytes(bytes) => Self::string(bytes),
        }
    }

    #[inline]
    pub(super) fn string(data: &'a [u8]) -> Self {
        let mut head = [0; 9];
        let len = data.len();
        let head_len = if len < 64 {
            head[0] = 0x80 | len as u8;
            1
        } else if len < 4096 {
            head[0] = 0xE0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        } else {
            // A longer one cannot be written: the callers' safety limit is far below.
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            head[0] = 0xF0;
            head[1..5].copy_from_slice(&len.to_le_bytes());
            5
        };
        Encoded { head, head_len, data }
    }

    fn int(value: i64) -> Self {
        let mut head = [0; 9];
        let bytes = value.to_le_bytes();
        let (code, width) = match value {
            0..=127 => {
                head[0] = value as u8;
                return Encoded { head, head_len: 1, data: &[] };
            }
            -4096..=4095 => {
                head[0] = 0xC0 | ((value >> 8) as u8 & 0x1F);
                head[1] = value as u8;
                return Encoded { head, head_len: 2, data: &[] };
            }
            -0x8000..=0x7FFF => (0xF1, 2),
            -0x80_0000..=0x7F_FFFF => (0xF2, 3),
            -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
            _ => (0xF4, 8),
        };
        head[0] = code;
        head[1..=width].copy_from_slice(&bytes[..width]);
        Encoded { head, head_len: width + 1, data: &[] }
    }

    /// Length with the backlen.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let len = self.head_len + self.data.len();
        len + backlen_len(len)
    }

    /// Writes the entry to `out`, which has exactly its length.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) {
        // Short strings and small integers are nearly all there is: nothing to be called for their head.
        if self.head_len == 1
            && let [head, data @ .., back] = out
            && data.len() == self.data.len()
        {
            *head = self.head[0];
            data.copy_from_slice(self.data);
            *back = 1 + self.data.len() as u8;
            return;
        }
        let (head, rest) = out.split_at_mut(self.head_len);
        head.copy_from_slice(&self.head[..self.head_len]);
        let (data, back) = rest.split_at_mut(self.data.len());
        data.copy_from_slice(self.data);
        write_backlen(self.head_len + self.data.len(), back);
    }
}

/// Bytes that the backlen of an entry of `len` bytes takes. The bounds are Redis' own: one below
/// what the digits could hold.
#[inline]
pub(super) fn backlen_len(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Writes a backlen over all of `out`: 7-bit digits, the highest first, all but the first marked,
/// to be read from right to left.
pub(super) fn write_backlen(mut len: usize, out: &mut [u8]) {
    let mut i = out.len();
    while i > 0 {
        i -= 1;
        out[i] = (len & 0x7F) as u8 | if i > 0 { 0x80 } else { 0 };
        len >>= 7;
    }
}

/// Start of the entry that ends at `end`, by the backlen before it.
#[inline]
pub(super) fn entry_start(buf: &[u8], end: usize) -> usize {
    let mut at = end - 1;
    let mut len = usize::from(buf[at] & 0x7F);
    let mut shift = 7;
    while buf[at] & 0x80 != 0 {
        at -= 1;
        len |= usize::from(buf[at] & 0x7F) << shift;
        shift += 7;
    }
    at - len
}

/// Lengths of head and data of the entry at `offset`.
#[inline]
pub(super) fn head_and_data(buf: &[u8], offset: usize) -> (usize, usize) {
    let code = buf[offset];
    match code {
        0x00..=0x7F => (1, 0),
        0x80..=0xBF => (1, usize::from(code & 0x3F)),
        0xC0..=0xDF => (2, 0),
        0xE0..=0xEF => (2, usize::from(code & 0x0F) << 8 | usize::from(buf[offset + 1])),
        0xF0 => (5, le_u32(&buf[offset + 1..]) as usize),
        0xF1 => (3, 0),
        0xF2 => (4, 0),
        0xF3 => (5, 0),
        0xF4 => (9, 0),
        _ => panic!("not an entry of a listpack"),
    }
}

/// Offset right after the entry at `offset`.
#[inline]
pub(super) fn entry_end(buf: &[u8], offset: usize) -> usize {
    // Short strings and small integers are nearly all there is.
    match buf[offset] {
        0x00..=0x7F => offset + 2,
        code @ 0x80..=0xBF => offset + 2 + usize::from(code & 0x3F),
        _ => {
            let (head, data) = head_and_data(buf, offset);
            offset + head + data + backlen_len(head + data)
        }
    }
}

/// The element at `offset` and the offset right after its entry.
#[inline]
pub(super) fn decode(buf: &[u8], offset: usize) -> (Item<'_>, usize) {
    match buf[offset] {
        code @ 0x00..=0x7F => (Item::Int(i64::from(code)), offset + 2),
        code @ 0x80..=0xBF => {
            let body = offset + 1;
            let end = body + usize::from(code & 0x3F);
            (Item::Bytes(&buf[body..end]), end + 1)
        }
        code => decode_wide(buf, offset, code),
    }
}

/// [`decode`] for the encodings of more than one byte.
fn decode_wide(buf: &[u8], offset: usize, code: u8) -> (Item<'_>, usize) {
    let (head, data) = head_and_data(buf, offset);
    let body = offset + head;
    let next = body + data + backlen_len(head + data);
    let rest = &buf[offset + 1..];
    let item = match code {
        0xC0..=0xDF => {
            let raw = u16::from_be_bytes([code & 0x1F, rest[0]]);
            // The sign is bit 12.
            Item::Int(i64::from((raw << 3) as i16 >> 3))
        }
        0xF1 => Item::Int(i64::from(i16::from_le_bytes([rest[0], rest[1]]))),
        0xF2 => Item::Int(i64::from(i32::from_le_bytes([0, rest[0], rest[1], rest[2]]) >> 8)),
        0xF3 => Item::Int(i64::from(le_u32(rest) as i32)),
        0xF4 => Item::Int(i64::from_le_bytes(rest[..8].try_into().expect("eight bytes"))),
        _ => Item::Bytes(&buf[body..body + data]),
    };
    (item, next)
}

#[inline]
pub(super) fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Checks the entry at the start of `bytes`, which is not empty; returns its length with backlen.
pub(super) fn validate_entry(bytes: &[u8]) -> Result<usize, ListpackError> {
    let head_needs = match bytes[0] {
        0x00..=0xBF => 1,
        0xC0..=0xEF => 2,
        0xF0 | 0xF3 => 5,
        0xF1 => 3,
        0xF2 => 4,
        0xF4 => 9,
        _ => return Err(ListpackError::Encoding),
    };
    if bytes.len() < head_needs {
        return Err(ListpackError::Truncated);
    }
    let (head, data) = head_and_data(bytes, 0);
    let len = head.checked_add(data).ok_or(ListpackError::Truncated)?;
    let width = backlen_len(len);
    if bytes.len() < len || bytes.len() - len < width {
        return Err(ListpackError::Truncated);
    }
    let mut back = [0; 5];
    let right = match width {
        1 => usize::from(bytes[len]) == len,
        _ => {
            write_backlen(len, &mut back[..width]);
            bytes[len..len + width] == back[..width]
        }
    };
    if right { Ok(len + width) } else { Err(ListpackError::Backlen) }
}
