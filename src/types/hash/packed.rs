//! A small hash a field of which had an expiry time: one listpack of triples.
//!
//! It does not know its limits; lookups walk.
//!
//! Invariants: the number of elements is a multiple of three. The third of each is
//! an integer, 0 for "does not expire"; fields that expire come first, in order of their times. (Redis
//! keeps `listpackex` the same way, so triples are saved and loaded as they are.)

use super::{Field, FieldTtl, NotAHash};
use crate::types::listpack::{self, Item, Listpack};
use crate::types::sample::below;

/// Elements of a field.
const STRIDE: usize = 3;

/// A listpack of triples.
#[derive(Clone)]
pub(super) struct Packed {
    pack: Listpack,
}

/// An expiry time as it is written.
fn written(expiry_ms: Option<i64>) -> i64 {
    expiry_ms.map_or(0, |expiry_ms| expiry_ms.max(1))
}

/// An expiry time as it was written.
fn read(time: Item) -> Option<i64> {
    time.as_int().filter(|&time| time != 0)
}

impl Packed {
    /// These fields, none of which expires.
    pub(super) fn from_fields<'a>(fields: impl Iterator<Item = Field<'a>>) -> Packed {
        let mut packed = Packed { pack: Listpack::new() };
        fields.for_each(|field| packed.push(field));
        packed
    }

    pub(super) fn from_triples(pack: Listpack) -> Result<Packed, NotAHash> {
        if !pack.count().is_multiple_of(STRIDE) {
            return Err(NotAHash);
        }
        let times = pack.iter().skip(2).step_by(3).map(|(_, time)| time);
        if times.clone().any(|time| !matches!(time, Item::Int(0..))) {
            return Err(NotAHash);
        }
        let order = |time: &Item| read(*time).unwrap_or(i64::MAX);
        match times.is_sorted_by_key(|time| order(&time)) {
            true => Ok(Packed { pack }),
            false => Err(NotAHash),
        }
    }

    pub(super) fn listpack(&self) -> &Listpack {
        &self.pack
    }

    pub(super) fn len(&self) -> usize {
        self.pack.count() / STRIDE
    }

    /// Whether the format can carry this field as well.
    pub(super) fn fits(&self, name: &[u8], value: &[u8]) -> bool {
        // Nine bytes and their backlen are the most that a time takes; it may be new in each triple.
        let times = 10 * (self.len() + 1);
        self.pack.fits(Listpack::entry_len(name) + Listpack::entry_len(value) + times)
    }

    /// Offset of the element of this name.
    fn find(&self, name: &[u8]) -> Option<usize> {
        self.pack.find(name, STRIDE - 1)
    }

    /// Offset of the value of the field at `offset`.
    fn value_offset(&self, offset: usize) -> usize {
        self.pack.next(offset).expect("each field has a value")
    }

    /// The field at `offset`.
    fn at(&self, offset: usize) -> Field<'_> {
        let mut iter = Iter { elements: self.pack.iter_from(offset) };
        iter.next().expect("there is a field at the offset")
    }

    pub(super) fn field(&self, name: &[u8]) -> Option<Field<'_>> {
        self.find(name).map(|offset| self.at(offset))
    }

    /// Appends a field, which must belong there.
    fn push(&mut self, field: Field) {
        self.pack.push_back_item(field.name);
        self.pack.push_back_item(field.value);
        self.pack.push_back_int(written(field.expiry_ms));
    }

    pub(super) fn set(&mut self, name: &[u8], value: &[u8], ttl: FieldTtl) -> bool {
        let found = self.find(name);
        match found {
            Some(offset) => self.pack.replace(self.value_offset(offset), value),
            None => self.push(Field { name: Item::Bytes(name), value: Item::Bytes(value), expiry_ms: None }),
        }
        match ttl {
            FieldTtl::At(expiry_ms) => drop(self.set_expiry(name, Some(expiry_ms))),
            FieldTtl::Clear if found.is_some() => drop(self.set_expiry(name, None)),
            _ => {}
        }
        found.is_none()
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let found = self.find(name);
        if let Some(offset) = found {
            self.pack.delete_entries(offset, STRIDE);
        }
        found.is_some()
    }

    /// Sets when a field expires, and gives when it did before; `None` if there is no such field.
    pub(super) fn set_expiry(&mut self, name: &[u8], expiry_ms: Option<i64>) -> Option<Option<i64>> {
        let found = self.find(name)?;
        let expiry_ms = expiry_ms.map(|expiry_ms| expiry_ms.max(1));
        let field = self.at(found);
        let before = field.expiry_ms;
        if before == expiry_ms {
            return Some(before);
        }
        let value = field.value.to_vec();
        self.pack.delete_entries(found, STRIDE);
        let field = Field { name: Item::Bytes(name), value: Item::Bytes(&value), expiry_ms };
        match self.place(expiry_ms) {
            None => self.push(field),
            Some(offset) => {
                self.pack.insert_item(offset, Item::Int(written(expiry_ms)));
                self.pack.insert_item(offset, field.value);
                self.pack.insert_item(offset, field.name);
            }
        }
        Some(before)
    }

    /// Offset of the first triple that expires later than this, or never; `None` if that is the end.
    fn place(&self, expiry_ms: Option<i64>) -> Option<usize> {
        let expiry_ms = expiry_ms?;
        let mut elements = self.pack.iter();
        while let (Some((offset, _)), Some(_), Some((_, time))) = (elements.next(), elements.next(), elements.next()) {
            if read(time).is_none_or(|time| time > expiry_ms) {
                return Some(offset);
            }
        }
        None
    }

    pub(super) fn min_expiry(&self) -> Option<i64> {
        self.iter().next()?.expiry_ms
    }

    pub(super) fn expire_due(&mut self, now_ms: i64, max: usize, mut f: impl FnMut(Field)) -> usize {
        let due = self.iter().take(max).take_while(|field| !field.is_live(now_ms));
        let n = due.map(&mut f).count();
        if n > 0 {
            self.pack.delete_range(0, STRIDE * n);
        }
        n
    }

    pub(super) fn random(&self, random: u64) -> Option<Field<'_>> {
        let i = below(random, self.len() as u64) as usize;
        self.pack.nth((i * STRIDE) as i64).map(|offset| self.at(offset))
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { elements: self.pack.iter() }
    }
}

/// All fields of a packed hash.
pub struct Iter<'a> {
    elements: listpack::Iter<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let (_, name) = self.elements.next()?;
        let (_, value) = self.elements.next()?;
        let expiry_ms = read(self.elements.next()?.1);
        Some(Field { name, value, expiry_ms })
    }
}
