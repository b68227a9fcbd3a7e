//! The hash type: fields with values, and perhaps an expiry time for each field.
//!
//! A hash is packed (a listpack of pairs, or of triples once a field had an expiry time) or large (a
//! table). It does not know its limits (they come with each call that may convert), and it never
//! converts back. It knows no clock either: fields whose time has come stay until `expire_due` takes
//! them out, and every reading method shows them unless its name says `live`.
//!
//! A field with expiry time `t` is alive at `now` as long as `now <= t`, as keys are.
//!
//! Redis' counterpart: `t_hash.c`, with `ebuckets.c`.

mod large;
mod packed;

use crate::types::PackLimits;
use crate::types::listpack::{Item, Listpack};
use crate::types::sample::Selection;
use large::Large;
use packed::Packed;

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
#[derive(Clone)]
pub struct Hash(Form);

#[derive(Clone)]
enum Form {
    Packed(Packed),
    Large(Box<Large>),
}

/// What a hash looks like inside: for writing it out as it is.
pub enum View<'a> {
    /// Field, value, field, value …
    Pairs(&'a Listpack),
    /// Field, value, expiry time …; those that expire come first, the soonest of all first; an
    /// expiry time of 0 is none.
    Triples(&'a Listpack),
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
        Hash(Form::Packed(Packed::new()))
    }

    /// The hash saved as a listpack of pairs. Fields that occur twice are not looked for.
    ///
    /// # Errors
    /// The last field has no value.
    pub fn from_pairs(pairs: Listpack, limits: &HashLimits) -> Result<Hash, NotAHash> {
        Ok(Hash::from_packed(Packed::from_pairs(pairs)?, limits))
    }

    /// The hash saved as a listpack of triples, in any order. Fields that occur twice are not looked for.
    ///
    /// # Errors
    /// The last triple is not whole, or an expiry time is not a time.
    pub fn from_triples(triples: Listpack, limits: &HashLimits) -> Result<Hash, NotAHash> {
        Ok(Hash::from_packed(Packed::from_triples(triples)?, limits))
    }

    fn from_packed(packed: Packed, limits: &HashLimits) -> Hash {
        let fits = |field: Field| field.name.len().max(field.value.len()) <= limits.pack.value;
        let small = packed.len() <= limits.pack.entries && packed.fits(b"", b"") && packed.iter().all(fits);
        let mut hash = Hash(Form::Packed(packed));
        if !small {
            hash.enlarge(limits.seed);
        }
        hash
    }

    /// The form, for writing it out as it is.
    pub fn view(&self) -> View<'_> {
        match &self.0 {
            Form::Packed(packed) if packed.is_timed() => View::Triples(packed.listpack()),
            Form::Packed(packed) => View::Pairs(packed.listpack()),
            Form::Large(_) => View::Large,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.view() {
            View::Pairs(_) => "listpack",
            View::Triples(_) => "listpackex",
            View::Large => "hashtable",
        }
    }

    /// Converts at once a hash to which more fields will be added than stay packed.
    pub fn expect(&mut self, more: usize, limits: &HashLimits) {
        if more > limits.pack.entries {
            self.enlarge(limits.seed);
        }
    }

    /// Number of fields, expired ones included.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.len(),
            Form::Large(large) => large.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of fields that have not expired yet.
    pub fn live_len(&self, now_ms: i64) -> usize {
        if self.all_live(now_ms) { self.len() } else { self.live(now_ms).count() }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.listpack().heap_bytes(),
            Form::Large(large) => size_of::<Large>() + large.heap_bytes(),
        }
    }

    /// Frees up to `n` fields of a hash no longer in use; gives whether any are left.
    pub fn drain_some(&mut self, n: usize) -> bool {
        match &mut self.0 {
            Form::Large(large) => large.drain_some(n),
            Form::Packed(_) => {
                *self = Hash::new();
                false
            }
        }
    }

    fn enlarge(&mut self, seed: u64) {
        if let Form::Packed(packed) = &self.0 {
            let mut large = Large::new(seed);
            packed.iter().for_each(|field| large.add(field));
            self.0 = Form::Large(Box::new(large));
        }
    }
}

/// Fields.
impl Hash {
    /// The field with this name.
    pub fn field(&self, name: &[u8]) -> Option<Field<'_>> {
        match &self.0 {
            Form::Packed(packed) => packed.field(name),
            Form::Large(large) => large.field(name),
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
        match &mut self.0 {
            Form::Large(large) => return large.set(name, value, ttl),
            Form::Packed(packed) if !long && packed.fits(name, value) => {
                let new = packed.set(name, value, ttl);
                if new && packed.len() > limits.pack.entries {
                    self.enlarge(limits.seed);
                }
                return new;
            }
            Form::Packed(_) => {}
        }
        self.enlarge(limits.seed);
        self.set(name, value, ttl, limits)
    }

    /// Removes a field; false if there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Packed(packed) => packed.remove(name),
            Form::Large(large) => large.remove(name),
        }
    }

    /// All fields, in no particular order.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Form::Packed(packed) => Iter::Packed(packed.iter()),
            Form::Large(large) => Iter::Large(large.iter()),
        }
    }

    /// All fields that have not expired yet.
    pub fn live(&self, now_ms: i64) -> impl Iterator<Item = Field<'_>> {
        self.iter().filter(move |field| field.is_live(now_ms))
    }

    /// Visits about `count` fields at `cursor` (0 begins) and gives the cursor to go on with; 0 ends.
    /// Packed hashes are visited whole. What is there throughout is visited, expired or not.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Field)) -> u64 {
        match &self.0 {
            Form::Large(large) => large.scan(cursor, count, f),
            Form::Packed(packed) => {
                packed.iter().for_each(&mut f);
                0
            }
        }
    }
}

/// Random fields.
impl Hash {
    /// A random field, expired or not, all equally likely; the random number decides which.
    pub fn random(&self, random: u64) -> Option<Field<'_>> {
        match &self.0 {
            Form::Packed(packed) => packed.random(random),
            Form::Large(large) => large.random(random),
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
        match &self.0 {
            Form::Large(large) if self.all_live(now_ms) => large.sample(count, random, f),
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
        match &mut self.0 {
            Form::Packed(packed) => packed.set_expiry(name, Some(expiry_ms)),
            Form::Large(large) => large.set_expiry(name, Some(expiry_ms)),
        }
        .is_some()
    }

    /// Makes a field one that does not expire; true if it did, `None` if there is no such field.
    pub fn persist(&mut self, name: &[u8]) -> Option<bool> {
        let before = match &mut self.0 {
            Form::Packed(packed) => packed.set_expiry(name, None),
            Form::Large(large) => large.set_expiry(name, None),
        };
        before.map(|expiry_ms| expiry_ms.is_some())
    }

    /// When the first field expires. Constant or logarithmic time.
    pub fn min_expiry(&self) -> Option<i64> {
        match &self.0 {
            Form::Packed(packed) => packed.min_expiry(),
            Form::Large(large) => large.min_expiry(),
        }
    }

    /// Whether no field has expired yet.
    pub fn all_live(&self, now_ms: i64) -> bool {
        self.min_expiry().is_none_or(|expiry_ms| now_ms <= expiry_ms)
    }

    /// Removes up to `max` expired fields, the first to expire first, after showing each to `f`; gives
    /// how many.
    pub fn expire_due(&mut self, now_ms: i64, max: usize, f: impl FnMut(Field)) -> usize {
        match &mut self.0 {
            Form::Packed(packed) => packed.expire_due(now_ms, max, f),
            Form::Large(large) => large.expire_due(now_ms, max, f),
        }
    }
}

/// Walks in slices, exact under changes: see `types/walk.rs`.
impl Hash {
    pub(super) fn walker(&self) -> Option<u32> {
        match &self.0 {
            Form::Packed(_) => None,
            Form::Large(large) => large.walker(),
        }
    }

    pub(super) fn begin_walk(&mut self, id: u32) {
        if let Form::Large(large) = &mut self.0 {
            large.begin_walk(id);
        }
    }

    pub(super) fn step_walk(&mut self, f: impl FnMut(Field)) -> bool {
        match &mut self.0 {
            Form::Packed(_) => true,
            Form::Large(large) => large.step_walk(f),
        }
    }

    pub(super) fn end_walk(&mut self) {
        if let Form::Large(large) = &mut self.0 {
            large.end_walk();
        }
    }
}

/// All fields of a hash.
pub enum Iter<'a> {
    /// Of a packed one.
    Packed(packed::Iter<'a>),
    /// Of a large one.
    Large(large::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Iter::Packed(iter) => iter.next(),
            Iter::Large(iter) => iter.next(),
        }
    }
}

#[cfg(test)]
mod tests;
