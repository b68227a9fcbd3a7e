//! A long string that is written in pieces.
//!
//! A string has its length in front, and a compressed one that of its compressed form, which is known last. So
//! either each piece goes out as it is, or all are compressed one by one and kept until the end: the first piece
//! decides which is worth it. Longer strings than [`PACKED_UP_TO`] are not compressed, for nothing bounds
//! what they would take meanwhile. A repetition does not reach back into the piece before; what is written is a
//! compressed string like any other. Redis compresses in one go, in the forked child.

use super::encode::{Encoder, length};
use super::opcode::encoding;

/// Longer strings are not compressed.
pub(super) const PACKED_UP_TO: usize = 16 << 20;

/// Bytes of a compressed string given in one step.
const STEP: usize = 64 * 1024;

/// How a string is being written.
#[derive(Clone, Debug)]
pub(super) struct TextBody {
    len: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// No piece has come.
    New,
    /// As it is.
    Plain,
    /// Compressed, so far.
    Packed(Vec<u8>),
    /// Compressed, and given up to here.
    Given(Vec<u8>, usize),
}

impl TextBody {
    /// A string of so many bytes, not empty.
    pub fn new(len: usize) -> TextBody {
        TextBody { len, form: Form::New }
    }

    /// Takes the next piece.
    pub fn piece(&mut self, piece: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
        if let Form::New = self.form {
            let mut packed = Vec::new();
            let gain = piece.len() / 16;
            let try_it = encoder.compress && self.len <= PACKED_UP_TO;
            if try_it && encoder.lzf.compress(piece, piece.len() - gain, &mut packed) {
                self.form = Form::Packed(packed);
                return;
            }
            length(self.len as u64, out);
            self.form = Form::Plain;
        }
        match &mut self.form {
            // What cannot be compressed gets hardly longer.
            Form::Packed(packed) => {
                encoder.lzf.compress(piece, usize::MAX, packed);
            }
            _ => out.extend_from_slice(piece),
        }
    }

    /// Appends what is kept, or some of it. True if that was all.
    pub fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if let Form::Packed(packed) = &mut self.form {
            out.push(0xC0 | encoding::LZF);
            length(packed.len() as u64, out);
            length(self.len as u64, out);
            self.form = Form::Given(std::mem::take(packed), 0);
        }
        let Form::Given(packed, given) = &mut self.form else { return true };
        let end = packed.len().min(*given + STEP);
        out.extend_from_slice(&packed[*given..end]);
        *given = end;
        end == packed.len()
    }

    /// Bytes that are kept.
    pub fn kept_bytes(&self) -> usize {
        match &self.form {
            Form::New | Form::Plain => 0,
            Form::Packed(packed) | Form::Given(packed, _) => packed.capacity(),
        }
    }
}
