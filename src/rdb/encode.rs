//! The encoder: lengths, strings and values as bytes, for snapshots and payloads alike.
//!
//! It appends to a buffer of the caller and knows nothing of files, opcodes and checksums. Packed forms are
//! written as they lie in memory. Redis' counterpart: `rdbSaveObject`, `rdbSaveRawString`, `rdbSaveLen`.

use super::lzf::Compressor;
use super::opcode::{Format, container, encoding, kind};
use crate::types::hash::{Hash, Layout};
use crate::types::list::NodeRef;
use crate::types::listpack::{IntBuf, canonical_int};
use crate::types::set::View;
use crate::types::value::ValueRef;
use crate::types::walk::Piece;

/// Strings up to this length are not worth compressing.
const COMPRESS_MIN: usize = 20;
/// Strings up to this length are tried seldom where so many in a row could not be compressed, and then how seldom:
/// values are mostly of one kind, and trying takes three times as long as all the rest of writing a short string.
const SELDOM_TRIED: usize = 512;
const HOPELESS_AFTER: u32 = 32;
const TRIED_ONE_IN: u32 = 8;
/// Strings longer than this are not stored as an integer.
const INT_MAX_LEN: usize = 11;

/// How values become bytes.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pub format: Format,
    /// Whether strings that get shorter by it are compressed (rdbcompression).
    pub compress: bool,
    pub lzf: Compressor,
    /// Strings in a row that could not be compressed, or were not tried.
    in_vain: u32,
    /// Where packed text is unpacked.
    room: Vec<u8>,
}

impl Encoder {
    pub fn new(format: Format, compress: bool) -> Encoder {
        Encoder { format, compress, lzf: Compressor::default(), in_vain: 0, room: Vec::new() }
    }

    /// The type byte under which [`Encoder::value`] writes the value.
    pub fn kind(&self, value: ValueRef) -> u8 {
        match value {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => kind::STRING,
            ValueRef::List(_) => kind::LIST_QUICKLIST_2,
            ValueRef::Set(set) => match (set.view(), self.format) {
                (View::Intset(_), _) => kind::SET_INTSET,
                (View::Listpack(_), Format::V12) => kind::SET_LISTPACK,
                (View::Listpack(_), Format::V10) | (View::Large, _) => kind::SET,
            },
            ValueRef::Zset(zset) if zset.as_listpack().is_some() => kind::ZSET_LISTPACK,
            ValueRef::Zset(_) => kind::ZSET_2,
            ValueRef::Hash(hash) => Encoder::hash_kind(hash),
        }
    }

    /// Appends the value without its type.
    pub fn value(&mut self, value: ValueRef, out: &mut Vec<u8>) {
        match value {
            ValueRef::Int(value) => self.int(value, out),
            ValueRef::String(bytes) => self.string(bytes, out),
            ValueRef::Ascii(_) => {
                let mut room = std::mem::take(&mut self.room);
                room.clear();
                self.string(value.text(&mut room), out);
                self.room = room;
            }
            ValueRef::List(_) => self.pieces(value, out),
            ValueRef::Set(set) => match set.view() {
                View::Intset(ints) => self.string(ints.as_bytes(), out),
                View::Listpack(members) if self.format == Format::V12 => self.string(members.as_bytes(), out),
                View::Listpack(_) | View::Large => self.pieces(value, out),
            },
            ValueRef::Zset(zset) => match zset.as_listpack() {
                Some(pairs) => self.string(pairs.as_bytes(), out),
                None => self.pieces(value, out),
            },
            ValueRef::Hash(hash) => self.hash(hash, out),
        }
    }

    /// Appends what comes before the pieces of a collection that is written in pieces: their number, and the
    /// time that expire times of fields are counted from, which is returned.
    pub fn start(&mut self, value: ValueRef, out: &mut Vec<u8>) -> Option<i64> {
        let first = match value {
            ValueRef::Hash(hash) => hash.min_expiry(),
            _ => None,
        };
        if let Some(first) = first {
            out.extend_from_slice(&first.to_le_bytes());
        }
        length(value.piece_count() as u64, out);
        first
    }

    /// Appends a piece of a collection; `first` is what [`Encoder::start`] returned.
    pub fn piece(&mut self, piece: Piece, first: Option<i64>, out: &mut Vec<u8>) {
        match piece {
            Piece::Node(NodeRef::Plain(element)) => {
                length(container::PLAIN, out);
                self.string(element, out);
            }
            Piece::Node(NodeRef::Packed(pack)) => {
                length(container::PACKED, out);
                self.string(pack.as_bytes(), out);
            }
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Member(member) => self.string(member.bytes(&mut IntBuf::new()), out),
            Piece::Scored(member, score) => {
                self.string(member.bytes(&mut IntBuf::new()), out);
                out.extend_from_slice(&score.to_le_bytes());
            }
            Piece::Field(field) => {
                if let Some(first) = first {
                    // Counted from one before the first, so that 0 can mean none.
                    let since = field.expiry_ms.map_or(0, |expiry_ms| expiry_ms.abs_diff(first) + 1);
                    length(since, out);
                }
                self.string(field.name.bytes(&mut IntBuf::new()), out);
                self.string(field.value.bytes(&mut IntBuf::new()), out);
            }
        }
    }

    fn pieces(&mut self, value: ValueRef, out: &mut Vec<u8>) {
        let first = self.start(value, out);
        value.pieces(|piece| self.piece(piece, first, out));
    }

    /// Appends an integer as the string of its digits.
    pub fn int(&mut self, value: i64, out: &mut Vec<u8>) {
        if !short_int(value, out) {
            plain(IntBuf::new().format(value).as_bytes(), out);
        }
    }

    /// Appends a string in its shortest encoding.
    pub fn string(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.len() <= INT_MAX_LEN
            && let Some(value) = canonical_int(bytes)
            && short_int(value, out)
        {
            return;
        }
        if self.compress && bytes.len() > COMPRESS_MIN {
            let hopeless = self.in_vain >= HOPELESS_AFTER && bytes.len() <= SELDOM_TRIED;
            if (!hopeless || self.in_vain.is_multiple_of(TRIED_ONE_IN)) && self.compressed(bytes, out) {
                self.in_vain = 0;
                return;
            }
            self.in_vain = self.in_vain.wrapping_add(1);
        }
        plain(bytes, out);
    }

    /// Appends a string compressed, if that saves more than the second length costs.
    fn compressed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.push(0xC0 | encoding::LZF);
        // The compressed length comes first but is known last. It is shorter than `bytes`, so leave room for
        // the length of that and close the gap.
        let room = length_len(bytes.len() as u64);
        let lengths = out.len();
        out.resize(lengths + room, 0);
        length(bytes.len() as u64, out);
        let body = out.len();
        if !self.lzf.compress(bytes, bytes.len() - 4, out) {
            out.truncate(start);
            return false;
        }
        let packed_len = (out.len() - body) as u64;
        let gap = room - length_len(packed_len);
        if gap > 0 {
            out.drain(lengths..lengths + gap);
        }
        let behind = out.len();
        length(packed_len, out);
        let shown = out.len() - behind;
        let (before, packed_length) = out.split_at_mut(behind);
        before[lengths..lengths + shown].copy_from_slice(packed_length);
        out.truncate(behind);
        true
    }
}

/// Appends the integer if it has an encoding of its own.
fn short_int(value: i64, out: &mut Vec<u8>) -> bool {
    if let Ok(value) = i8::try_from(value) {
        out.push(0xC0 | encoding::INT8);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xC0 | encoding::INT16);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xC0 | encoding::INT32);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// Appends a string as it is.
fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Bytes that a length takes.
fn length_len(len: u64) -> usize {
    match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// Appends a length or count.
pub(super) fn length(len: u64, out: &mut Vec<u8>) {
    match length_len(len) {
        1 => out.push(len as u8),
        2 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        5 => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Hashes.
impl Encoder {
    fn hash_kind(hash: &Hash) -> u8 {
        match (hash.layout(), hash.min_expiry()) {
            (Layout::Pairs, _) => kind::HASH_LISTPACK,
            (Layout::Triples, Some(_)) => kind::HASH_LISTPACK_TTL,
            (Layout::Large, Some(_)) => kind::HASH_TTL,
            (Layout::Triples | Layout::Large, None) => kind::HASH,
        }
    }

    fn hash(&mut self, hash: &Hash, out: &mut Vec<u8>) {
        let first = hash.min_expiry();
        match hash.to_listpack() {
            Some(pack) if hash.layout() == Layout::Pairs || first.is_some() => {
                if let Some(first) = first {
                    out.extend_from_slice(&first.to_le_bytes());
                }
                self.string(pack.as_bytes(), out);
            }
            _ => self.pieces(ValueRef::Hash(hash), out),
        }
    }
}
