//! A long string that comes in pieces: the way back of [`text`](super::text).
//!
//! A string of hundreds of megabytes would be copied, or decompressed from far less, in one go once its last byte is
//! there, and meanwhile nobody is answered. So what has come is taken at once, to where it stays. Values only: keys
//! and elements of that length wait until they are complete. Redis has no counterpart.

use super::error::RdbErrorKind;
use super::lzf::Unpacker;
use super::read::{Reader, Result};

/// Shorter strings are taken whole.
const LONG: usize = 1 << 20;

/// A string on its way.
pub(super) struct LongText {
    /// Bytes to come.
    left: usize,
    form: Form,
}

enum Form {
    Plain(Vec<u8>),
    Packed(Unpacker),
}

impl LongText {
    /// Reads what stands before the string, and takes memory for it. `None`, and nothing is read, if it is short, or
    /// longer than `room`, the bytes that are still to come, can hold.
    pub fn begin(reader: &mut Reader, room: u64) -> Option<LongText> {
        let mut ahead = reader.clone();
        let text = match ahead.text_head().ok()? {
            text if text.len as u64 > room || text.len.max(text.unpacked) < LONG => return None,
            text => text,
        };
        let form = match text.unpacked {
            0 => Form::Plain(Vec::with_capacity(text.len)),
            unpacked => Form::Packed(Unpacker::new(text.len, unpacked)?),
        };
        *reader = ahead;
        Some(LongText { left: text.len, form })
    }

    /// Takes bytes of the string; how many. What is left of them is to come again, with more behind it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.left)];
        let used = match &mut self.form {
            Form::Plain(text) => {
                text.extend_from_slice(bytes);
                Some(bytes.len())
            }
            // Nothing comes behind the last of them.
            Form::Packed(text) => text.take(bytes).filter(|used| *used == bytes.len() || bytes.len() < self.left),
        };
        let used = used.ok_or(INVALID)?;
        self.left -= used;
        Ok(used)
    }

    /// Bytes that are to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The string, once nothing is to come; nothing is kept of it.
    pub fn end(&mut self) -> Result<Vec<u8>> {
        match std::mem::replace(&mut self.form, Form::Plain(Vec::new())) {
            Form::Plain(text) => Ok(text),
            Form::Packed(text) => text.end().ok_or(INVALID),
        }
    }
}

const INVALID: RdbErrorKind = RdbErrorKind::Malformed("invalid LZF string");
