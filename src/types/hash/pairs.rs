//! A small hash without expiry times: fields in one [`Block`], each with as little beside it as can be.
//!
//! A field is one byte (length of the name in the upper half, of the value in the lower, 15 standing for "15 or
//! more"), for each length that is more a varint of what it is above 15, the name, the value. Five fields of two
//! letters with values of eight take 55 bytes; Redis' listpack, which is what is written and read, takes 77.
//! Digits are text here; a listpack made of it has the integers that Redis has.
//!
//! Lookups walk. It does not know its limits. Invariant: the block holds whole fields and nothing else.
//! Redis' counterpart: the hash as a `listpack`.

use super::{Field, NotAHash};
use crate::types::block::Block;
use crate::types::listpack::{IntBuf, Item, Listpack};
use crate::types::sample::below;
use crate::types::thin::{read_varint, varint_len, write_varint};

/// The half byte of a length that does not fit.
const MORE: usize = 15;

/// Most bytes of a block: a listpack of its fields stays within what a listpack may have.
const MOST: usize = 1 << 28;

/// Where a field lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: usize,
    name: usize,
    value: usize,
    end: usize,
}

impl Place {
    /// The field at `start`.
    #[inline]
    fn of(bytes: &[u8], start: usize) -> Place {
        let lens = usize::from(bytes[start]);
        let (name_len, value_len) = (lens >> 4, lens & MORE);
        let name = start + 1;
        if name_len < MORE && value_len < MORE {
            return Place { start, name, value: name + name_len, end: name + name_len + value_len };
        }
        Place::of_long(bytes, start, name_len, value_len)
    }

    fn of_long(bytes: &[u8], start: usize, mut name_len: usize, mut value_len: usize) -> Place {
        let mut name = start + 1;
        for len in [&mut name_len, &mut value_len] {
            if *len == MORE {
                let (more, n) = read_varint(&bytes[name..]);
                *len += more;
                name += n;
            }
        }
        Place { start, name, value: name + name_len, end: name + name_len + value_len }
    }

    fn field(self, bytes: &[u8]) -> Field<'_> {
        Field {
            name: Item::Bytes(&bytes[self.name..self.value]),
            value: Item::Bytes(&bytes[self.value..self.end]),
            expiry_ms: None,
        }
    }
}

/// Bytes that a field takes.
fn field_len(name: &[u8], value: &[u8]) -> usize {
    let more = |len: usize| if len < MORE { 0 } else { varint_len(len - MORE) };
    1 + more(name.len()) + more(value.len()) + name.len() + value.len()
}

/// Writes a field to `out`, which is as long as it.
fn write(name: &[u8], value: &[u8], out: &mut [u8]) {
    out[0] = (name.len().min(MORE) << 4 | value.len().min(MORE)) as u8;
    let mut at = 1;
    for len in [name.len(), value.len()] {
        if len >= MORE {
            at += write_varint(len - MORE, &mut out[at..]);
        }
    }
    let (first, second) = out[at..].split_at_mut(name.len());
    first.copy_from_slice(name);
    second.copy_from_slice(value);
}

#[inline]
fn find(bytes: &[u8], name: &[u8]) -> Option<Place> {
    let mut start = 0;
    while start < bytes.len() {
        let place = Place::of(bytes, start);
        if &bytes[place.name..place.value] == name {
            return Some(place);
        }
        start = place.end;
    }
    None
}

/// The hash saved as a listpack of pairs.
pub(super) fn from_listpack(pairs: &Listpack) -> Result<Block, NotAHash> {
    let mut bytes = Vec::with_capacity(pairs.byte_len());
    let mut items = pairs.iter().map(|(_, item)| item);
    let (mut a, mut b) = (IntBuf::new(), IntBuf::new());
    while let Some(name) = items.next() {
        let (name, value) = (name.bytes(&mut a), items.next().ok_or(NotAHash)?);
        let value = value.bytes(&mut b);
        let start = bytes.len();
        bytes.resize(start + field_len(name, value), 0);
        write(name, value, &mut bytes[start..]);
    }
    Ok(Block::of(&bytes))
}

/// The listpack that Redis would have.
pub(super) fn to_listpack(bytes: &[u8]) -> Listpack {
    let mut pack = Listpack::with_capacity(bytes.len() * 2);
    for field in iter(bytes) {
        pack.push_back_item(field.name);
        pack.push_back_item(field.value);
    }
    pack
}

/// How many fields there are.
pub(super) fn len(bytes: &[u8]) -> usize {
    iter(bytes).count()
}

/// Whether there is room for this field as well.
pub(super) fn fits(bytes: &[u8], name: &[u8], value: &[u8]) -> bool {
    bytes.len() + name.len() + value.len() < MOST
}

pub(super) fn field<'a>(bytes: &'a [u8], name: &[u8]) -> Option<Field<'a>> {
    find(bytes, name).map(|place| place.field(bytes))
}

/// Sets the value of a field; true if the field is new.
pub(super) fn set(block: &mut Block, name: &[u8], value: &[u8]) -> bool {
    let bytes = block.bytes();
    let found = find(bytes, name);
    let (start, old) = match found {
        Some(place) if place.end - place.value == value.len() => {
            block.bytes_mut()[place.value..place.end].copy_from_slice(value);
            return false;
        }
        Some(place) => (place.start, place.end - place.start),
        None => (bytes.len(), 0),
    };
    write(name, value, block.splice(start, old, field_len(name, value)));
    found.is_none()
}

/// Removes a field; false if there was none.
pub(super) fn remove(block: &mut Block, name: &[u8]) -> bool {
    let found = find(block.bytes(), name);
    if let Some(place) = found {
        block.splice(place.start, place.end - place.start, 0);
    }
    found.is_some()
}

pub(super) fn random(bytes: &[u8], random: u64) -> Option<Field<'_>> {
    iter(bytes).nth(below(random, len(bytes) as u64) as usize)
}

pub(super) fn iter(bytes: &[u8]) -> Iter<'_> {
    Iter { bytes, at: 0 }
}

/// All fields.
pub struct Iter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        if self.at == self.bytes.len() {
            return None;
        }
        let place = Place::of(self.bytes, self.at);
        self.at = place.end;
        Some(place.field(self.bytes))
    }
}
