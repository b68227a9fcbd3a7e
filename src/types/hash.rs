//! The hash type: fields with values, and perhaps an expiry time for each field.
//!
//! A hash is packed (a block of pairs, or a listpack of triples once a field had an expiry time) or large (a table); a
//! packed one without expiry times is a single allocation, and the hash itself a single pointer. It does not know its
//! limits (they come with each call that may convert), and it never converts back. It knows no clock either: fields
//! whose time has come stay until `expire_due` takes them out, and every reading method shows them unless its name says
//! `live`.
//!
//! A field with expiry time `t` is alive at `now` as long as `now <= t`, as keys are.
//!
//! Redis' counterpart: `t_hash.c`, with `ebuckets.c`.

mod form;
pub(super) mod large;
mod packed;
mod pairs;

use crate::types::PackLimits;
use crate::types::listpack::{Item, Listpack};
use crate::types::sample::Selection;
use crate::types::sought::Sought;
use crate::types::walk::Walker;
use form::{Form, View, ViewMut};
use large::Large;
use packed::Packed;
use std::borrow::Cow;

/// When a hash becomes large, and what its table is seeded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// Limits of a listpack.
    pub pack: PackLimits,
    /// Seed of the hash function; unknown to clients, or they could make all hashes equal.
    pub seed: u64,
}

/// A field with all that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name of the field.
    pub name: Item<'a>,
    /// Its value.
    pub value: Item<'a>,
    /// When it expires, if ever: milliseconds since the Unix epoch.
    pub expiry_ms: Option<i64>,
}

impl Field<'_> {
    /// Whether the field has not expired yet.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.expiry_ms.is_none_or(|expiry_ms| now_ms <= expiry_ms)
    }
}

/// What a new value does to the expiry time of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldTtl {
    /// The field does not expire.
    Clear,
    /// An existing field expires when it did before; a new one does not.
    Keep,
    /// The field expires then: milliseconds since the Unix epoch, more than 0.
    At(i64),
}

/// The latest moment a field can expire, in milliseconds since the Unix epoch: 46 bits, as in Redis.
pub const LATEST_FIELD_TTL_MS: i64 = (1 << 46) - 1;

/// Fields with values.
///
/// It has the size of a pointer and lies at any address.
#[derive(Clone)]
#[repr(transparent)]
pub struct Hash(Form);

/// What Redis' hash of these fields looks like inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A listpack of field, value, field, value …
    Pairs,
    /// A listpack of field, value, expiry time …; those that expire come first, the soonest of all first; an
    /// expiry time of 0 is none.
    Triples,
    /// Neither; [`Hash::iter`] gives the fields.
    Large,
}

/// Why a listpack is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash;

impl Default for Hash {
    fn default() -> Self {
        Hash::new()
    }
}

/// Building, forms and sizes.
impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash(Form::new())
    }

    /// The hash saved as a listpack of pairs. Fields that occur twice are not looked for.
    ///
    /// # Errors
    /// The last field has no value.
    pub fn from_pairs(pairs: &Listpack, limits: &HashLimits) -> Result<Hash, NotAHash> {
        Ok(Hash(Form::pairs(pairs::from_listpack(pairs)?)).within(limits))
    }

    /// The hash saved as a listpack of triples, in any order. Fields that occur twice are not looked for.
    ///
    /// # Errors
    /// The last triple is not whole, or an expiry time is not a time.
    pub fn from_triples(triples: Listpack, limits: &HashLimits) -> Result<Hash, NotAHash> {
        Ok(Hash(Form::triples(Packed::from_triples(triples)?)).within(limits))
    }

    /// Itself, large if it is not small enough for the limits.
    fn within(mut self, limits: &HashLimits) -> Hash {
        let room = match self.0.view() {
            View::Pairs(pairs) => pairs::fits(pairs, b"", b""),
            View::Triples(packed) => packed.fits(b"", b""),
            View::Large(_) => true,
        };
        let fits = |field: Field| field.name.len().max(field.value.len()) <= limits.pack.value;
        if !room || self.len() > limits.pack.entries || !self.iter().all(fits) {
            self.enlarge(limits.seed);
        }
        self
    }

    /// What it looks like inside.
    pub fn layout(&self) -> Layout {
        match self.0.view() {
            View::Pairs(_) => Layout::Pairs,
            View::Triples(_) => Layout::Triples,
            View::Large(_) => Layout::Large,
        }
    }

    /// The listpack that Redis' hash would be, if it were one: for writing it out.
    pub fn to_listpack(&self) -> Option<Cow<'_, Listpack>> {
        match self.0.view() {
            View::Pairs(pairs) => Some(Cow::Owned(pairs::to_listpack(pairs))),
            View::Triples(packed) => Some(Cow::Borrowed(packed.listpack())),
            View::Large(_) => None,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.layout() {
            Layout::Pairs => "listpack",
            Layout::Triples => "listpackex",
            Layout::Large => "hashtable",
        }
    }

    /// Converts at once a hash to which more fields will be added than stay packed.
    pub fn expect(&mut self, more: usize, limits: &HashLimits) {
        if more > limits.pack.entries {
            self.enlarge(limits.seed);
        }
    }

    /// Lays out an empty large hash for so many fields; [`settle`](Self::settle) when they are there.
    pub fn reserve(&mut self, fields: usize) {
        if let ViewMut::Large(large) = self.0.view_mut() {
            large.reserve(fields);
        }
    }

    /// Takes back what was reserved in vain.
    pub fn settle(&mut self) {
        if let ViewMut::Large(large) = self.0.view_mut() {
            large.settle();
        }
    }

    /// Number of fields, expired ones included.
    pub fn len(&self) -> usize {
        match self.0.view() {
            View::Pairs(pairs) => pairs::len(pairs),
            View::Triples(packed) => packed.len(),
            View::Large(large) => large.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        match self.0.view() {
            View::Pairs(pairs) => pairs.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// Number of fields that have not expired yet.
    pub fn live_len(&self, now_ms: i64) -> usize {
        if self.all_live(now_ms) { self.len() } else { self.live(now_ms).count() }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Frees up to `n` fields of a hash no longer in use; gives whether any are left.
    pub fn drain_some(&mut self, n: usize) -> bool {
        match self.0.view_mut() {
            ViewMut::Large(large) => large.drain_some(n),
            _ => {
                *self = Hash::new();
                false
            }
        }
    }

    fn enlarge(&mut self, seed: u64) {
        if self.layout() != Layout::Large {
            let mut large = Large::new(seed);
            self.iter().for_each(|field| large.add(field));
            self.0 = Form::large(large);
        }
    }

    /// Makes room for expiry times.
    fn make_timed(&mut self) {
        if let View::Pairs(pairs) = self.0.view() {
            self.0 = Form::triples(Packed::from_fields(pairs::iter(pairs)));
        }
    }
}

/// Fields.
impl Hash {
    /// The field with this name.
    pub fn field(&self, name: &[u8]) -> Option<Field<'_>> {
        match self.0.view() {
            View::Pairs(pairs) => pairs::field(pairs, name),
            View::Triples(packed) => packed.field(name),
            View::Large(large) => large.field(name),
        }
    }

    /// Where a large hash looks for this field.
    #[inline]
    pub fn seek(&self, name: &[u8]) -> Option<Sought<'_>> {
        match self.0.view() {
            View::Large(large) => large.seek(name),
            _ => None,
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &[u8]) -> Option<Item<'_>> {
        self.field(name).map(|field| field.value)
    }

    /// The value of a field that has not expired yet.
    pub fn get_live(&self, name: &[u8], now_ms: i64) -> Option<Item<'_>> {
        self.field(name).filter(|field| field.is_live(now_ms)).map(|field| field.value)
    }

    /// Whether there is a field with this name.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.field(name).is_some()
    }

    /// Whether there is a field with this name that has not expired yet.
    pub fn contains_live(&self, name: &[u8], now_ms: i64) -> bool {
        self.field(name).is_some_and(|field| field.is_live(now_ms))
    }

    /// Sets the value of a field; true if the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], ttl: FieldTtl, limits: &HashLimits) -> bool {
        let long = name.len().max(value.len()) > limits.pack.value;
        let new = match self.0.view_mut() {
            ViewMut::Large(large) => return large.set(name, value, ttl),
            ViewMut::Pairs(pairs) if !long && pairs::fits(pairs.bytes(), name, value) => {
                if let FieldTtl::At(_) = ttl {
                    self.make_timed();
                    return self.set(name, value, ttl, limits);
                }
                pairs::set(pairs, name, value)
            }
            ViewMut::Triples(packed) if !long && packed.fits(name, value) => packed.set(name, value, ttl),
            _ => {
                self.enlarge(limits.seed);
                return self.set(name, value, ttl, limits);
            }
        };
        if new && self.exceeds(limits.pack.entries) {
            self.enlarge(limits.seed);
        }
        new
    }

    /// Whether there are more fields than this.
    fn exceeds(&self, entries: usize) -> bool {
        match self.0.view() {
            // A field takes a byte at least.
            View::Pairs(pairs) if pairs.len() <= entries => false,
            _ => self.len() > entries,
        }
    }

    /// Removes a field; false if there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self.0.view_mut() {
            ViewMut::Pairs(pairs) => pairs::remove(pairs, name),
            ViewMut::Triples(packed) => packed.remove(name),
            ViewMut::Large(large) => large.remove(name),
        }
    }

    /// All fields, in no particular order.
    pub fn iter(&self) -> Iter<'_> {
        match self.0.view() {
            View::Pairs(pairs) => Iter::Pairs(pairs::iter(pairs)),
            View::Triples(packed) => Iter::Packed(packed.iter()),
            View::Large(large) => Iter::Large(large.iter()),
        }
    }

    /// All fields that have not expired yet.
    pub fn live(&self, now_ms: i64) -> impl Iterator<Item = Field<'_>> {
        self.iter().filter(move |field| field.is_live(now_ms))
    }

    /// Visits about `count` fields at `cursor` (0 begins) and gives the cursor to go on with; 0 ends.
    /// Packed hashes are visited whole. What is there throughout is visited, expired or not.
    pub fn scan(&self, cursor: u64, count: usize, f: impl FnMut(Field)) -> u64 {
        match self.0.view() {
            View::Large(large) => large.scan(cursor, count, f),
            _ => {
                self.iter().for_each(f);
                0
            }
        }
    }
}

/// Random fields.
impl Hash {
    /// A random field, expired or not, all equally likely; the random number decides which.
    pub fn random(&self, random: u64) -> Option<Field<'_>> {
        match self.0.view() {
            View::Pairs(pairs) => pairs::random(pairs, random),
            View::Triples(packed) => packed.random(random),
            View::Large(large) => large.random(random),
        }
    }

    /// A random field that has not expired yet, all equally likely.
    pub fn random_live(&self, now_ms: i64, random: &mut impl FnMut() -> u64) -> Option<Field<'_>> {
        for _ in 0..32 {
            let field = self.random(random())?;
            if field.is_live(now_ms) {
                return Some(field);
            }
        }
        let mut selection = Selection::new(1, self.live_len(now_ms));
        self.live(now_ms).find(|_| selection.next(random))
    }

    /// Visits `count` different random fields that have not expired yet (all, if there are fewer).
    pub fn sample_live<'a>(
        &'a self,
        count: usize,
        now_ms: i64,
        random: &mut impl FnMut() -> u64,
        mut f: impl FnMut(Field<'a>),
    ) {
        match self.0.view() {
            View::Large(large) if self.all_live(now_ms) => large.sample(count, random, f),
            _ => {
                let mut selection = Selection::new(count, self.live_len(now_ms));
                self.live(now_ms).filter(|_| selection.next(random)).for_each(&mut f);
            }
        }
    }
}

/// Expiry times.
impl Hash {
    /// When a field expires; the outer `None` means that there is no such field.
    pub fn expiry(&self, name: &[u8]) -> Option<Option<i64>> {
        self.field(name).map(|field| field.expiry_ms)
    }

    /// Sets when a field expires (milliseconds since the Unix epoch, more than 0); false if there is
    /// no such field.
    pub fn set_expiry(&mut self, name: &[u8], expiry_ms: i64) -> bool {
        if !self.contains(name) {
            return false;
        }
        self.make_timed();
        let before = match self.0.view_mut() {
            ViewMut::Pairs(_) => None,
            ViewMut::Triples(packed) => packed.set_expiry(name, Some(expiry_ms)),
            ViewMut::Large(large) => large.set_expiry(name, Some(expiry_ms)),
        };
        before.is_some()
    }

    /// Makes a field one that does not expire; true if it did, `None` if there is no such field.
    pub fn persist(&mut self, name: &[u8]) -> Option<bool> {
        let before = match self.0.view_mut() {
            ViewMut::Pairs(pairs) => pairs::field(pairs.bytes(), name).map(|field| field.expiry_ms),
            ViewMut::Triples(packed) => packed.set_expiry(name, None),
            ViewMut::Large(large) => large.set_expiry(name, None),
        };
        before.map(|expiry_ms| expiry_ms.is_some())
    }

    /// When the first field expires. Constant or logarithmic time.
    pub fn min_expiry(&self) -> Option<i64> {
        match self.0.view() {
            View::Pairs(_) => None,
            View::Triples(packed) => packed.min_expiry(),
            View::Large(large) => large.min_expiry(),
        }
    }

    /// Whether no field has expired yet.
    pub fn all_live(&self, now_ms: i64) -> bool {
        self.min_expiry().is_none_or(|expiry_ms| now_ms <= expiry_ms)
    }

    /// Removes up to `max` expired fields, the first to expire first, after showing each to `f`; gives
    /// how many.
    pub fn expire_due(&mut self, now_ms: i64, max: usize, f: impl FnMut(Field)) -> usize {
        match self.0.view_mut() {
            ViewMut::Pairs(_) => 0,
            ViewMut::Triples(packed) => packed.expire_due(now_ms, max, f),
            ViewMut::Large(large) => large.expire_due(now_ms, max, f),
        }
    }
}

/// Walks in slices, exact under changes: see `types/walk.rs`.
impl Hash {
    pub(super) fn walker(&self) -> Option<u32> {
        match self.0.view() {
            View::Pairs(_) | View::Triples(_) => None,
            View::Large(large) => large.walker(),
        }
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        if let ViewMut::Large(large) = self.0.view_mut() {
            large.begin_walk(walker);
        }
    }

    pub(super) fn step_walk(&mut self, f: impl FnMut(Field)) -> bool {
        match self.0.view_mut() {
            ViewMut::Pairs(_) | ViewMut::Triples(_) => true,
            ViewMut::Large(large) => large.step_walk(f),
        }
    }

    pub(super) fn cancel_walk(&mut self) {
        if let ViewMut::Large(large) = self.0.view_mut() {
            large.cancel_walk();
        }
    }
}

/// All fields of a hash.
pub enum Iter<'a> {
    /// Of a packed one.
    Pairs(pairs::Iter<'a>),
    /// Of a packed one with expiry times.
    Packed(packed::Iter<'a>),
    /// Of a large one.
    Large(large::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Iter::Pairs(iter) => iter.next(),
            Iter::Packed(iter) => iter.next(),
            Iter::Large(iter) => iter.next(),
        }
    }
}

#[cfg(test)]
mod tests;
