//! A large hash: a table of blocks, one for each field, and an index of those that expire.
//!
//! A block is a thin string: a varint (twice the length of the name, plus one if the field expires),
//! the expiry time if it does (8 bytes), the name, the value.
//!
//! Invariants: no name occurs twice. `expiries` holds (time, hash of the name) for each field that
//! expires, and nothing else; fields alike in both share an element. `block_bytes` is the sum over all
//! blocks, until draining begins.

use super::{Field, FieldTtl};
use crate::types::listpack::{IntBuf, Item};
use crate::types::sought::{In, Sought};
use crate::types::table::{self, Entry, Table, hash_bytes};
use crate::types::thin::{ThinBytes, read_varint, write_varint};
use crate::types::walk::{Keep, TableWalk, Walker, Walking};
use std::collections::BTreeSet;

/// A table of fields.
#[derive(Clone)]
pub(super) struct Large {
    table: Table<Block>,
    expiries: BTreeSet<(i64, u64)>,
    block_bytes: usize,
    seed: u64,
    walk: Walking<TableWalk<Block>>,
}

/// A field in one allocation.
#[derive(Clone)]
pub(in crate::types) struct Block(ThinBytes);

impl Block {
    /// Asks for the memory of the field.
    #[inline]
    pub(in crate::types) fn prefetch(&self) {
        self.0.prefetch();
    }

    fn new(name: &[u8], value: &[u8], expiry_ms: Option<i64>) -> Block {
        let mut header = [0; 10];
        let n = write_varint(name.len() << 1 | usize::from(expiry_ms.is_some()), &mut header);
        let time = expiry_ms.unwrap_or(0).to_le_bytes();
        let time = if expiry_ms.is_some() { &time[..] } else { &[] };
        Block(ThinBytes::concat(&[&header[..n], time, name, value]))
    }

    /// Where the name begins and ends; the bytes before it are the expiry time if there is one.
    #[inline]
    fn name_range(&self) -> (usize, usize, bool) {
        let (header, n) = read_varint(&self.0);
        let expires = header & 1 == 1;
        let start = if expires { n + 8 } else { n };
        (start, start + (header >> 1), expires)
    }

    #[inline]
    fn name(&self) -> &[u8] {
        let (start, end, _) = self.name_range();
        &self.0[start..end]
    }

    fn expiry_ms(&self) -> Option<i64> {
        let (start, _, expires) = self.name_range();
        expires.then(|| i64::from_le_bytes(self.0[start - 8..start].try_into().expect("8 bytes")))
    }

    fn field(&self) -> Field<'_> {
        let (start, end, _) = self.name_range();
        Field {
            name: Item::Bytes(&self.0[start..end]),
            value: Item::Bytes(&self.0[end..]),
            expiry_ms: self.expiry_ms(),
        }
    }

    /// Gives the field another value and expiry time, in place if they take the same room.
    fn change(&mut self, value: &[u8], expiry_ms: Option<i64>) {
        let (start, end, expires) = self.name_range();
        if self.0.len() - end == value.len() && expires == expiry_ms.is_some() {
            if let Some(expiry_ms) = expiry_ms {
                self.0[start - 8..start].copy_from_slice(&expiry_ms.to_le_bytes());
            }
            self.0[end..].copy_from_slice(value);
        } else {
            *self = Block::new(self.name(), value, expiry_ms);
        }
    }

    /// Gives the field another expiry time.
    fn change_expiry(&mut self, expiry_ms: Option<i64>) {
        let (start, end, expires) = self.name_range();
        match expiry_ms {
            Some(expiry_ms) if expires => self.0[start - 8..start].copy_from_slice(&expiry_ms.to_le_bytes()),
            _ => *self = Block::new(&self.0[start..end], &self.0[end..], expiry_ms),
        }
    }
}

impl Keep for Block {
    fn copy(&self) -> Block {
        self.clone()
    }

    fn kept_bytes(&self) -> usize {
        size_of::<Block>() + self.0.heap_bytes()
    }
}

impl Large {
    pub(super) fn new(seed: u64) -> Large {
        Large { table: Table::new(), expiries: BTreeSet::new(), block_bytes: 0, seed, walk: Walking::NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn reserve(&mut self, fields: usize) {
        self.table.reserve(fields);
    }

    pub(super) fn settle(&mut self) {
        self.table.settle();
    }

    /// Bytes of heap held; those of the index are an estimate.
    pub(super) fn heap_bytes(&self) -> usize {
        // The nodes of the tree are about two thirds full.
        let index = self.expiries.len() * size_of::<(i64, u64)>() * 3 / 2;
        self.table.table_bytes() + self.block_bytes + index
    }

    fn hash(&self, name: &[u8]) -> u64 {
        hash_bytes(self.seed, name)
    }

    /// Where a field of this name is looked for.
    #[inline]
    pub(super) fn seek(&self, name: &[u8]) -> Option<Sought<'_>> {
        self.table.spot(self.hash(name)).map(|spot| Sought(In::Hash(spot)))
    }

    pub(super) fn field(&self, name: &[u8]) -> Option<Field<'_>> {
        self.table.find(self.hash(name), |block| block.name() == name).map(Block::field)
    }

    /// Adds a field of another form; one of the same name is kept.
    pub(super) fn add(&mut self, field: Field) {
        let (mut a, mut b) = (IntBuf::new(), IntBuf::new());
        let name = field.name.bytes(&mut a);
        if self.field(name).is_none() {
            let ttl = field.expiry_ms.map_or(FieldTtl::Clear, FieldTtl::At);
            self.set(name, field.value.bytes(&mut b), ttl);
        }
    }

    pub(super) fn set(&mut self, name: &[u8], value: &[u8], ttl: FieldTtl) -> bool {
        let (hash, seed) = (self.hash(name), self.seed);
        self.before_change(hash);
        let expiry_ms = |before| match ttl {
            FieldTtl::Clear => None,
            FieldTtl::Keep => before,
            FieldTtl::At(expiry_ms) => Some(expiry_ms.max(1)),
        };
        match self.table.entry(hash, |block| block.name() == name) {
            Entry::Occupied(block) => {
                let before = block.expiry_ms();
                let after = expiry_ms(before);
                self.block_bytes -= block.0.heap_bytes();
                block.change(value, after);
                self.block_bytes += block.0.heap_bytes();
                self.index(hash, before, after);
                false
            }
            Entry::Vacant(place) => {
                let after = expiry_ms(None);
                let block = Block::new(name, value, after);
                self.block_bytes += block.0.heap_bytes();
                place.insert(block, |block| hash_bytes(seed, block.name()));
                self.index(hash, None, after);
                true
            }
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = self.hash(name);
        self.before_change(hash);
        let removed = self.table.remove(hash, |block| block.name() == name);
        if let Some(block) = &removed {
            self.block_bytes -= block.0.heap_bytes();
            self.index(hash, block.expiry_ms(), None);
        }
        removed.is_some()
    }

    /// Sets when a field expires, and gives when it did before; `None` if there is no such field.
    pub(super) fn set_expiry(&mut self, name: &[u8], expiry_ms: Option<i64>) -> Option<Option<i64>> {
        let hash = self.hash(name);
        self.before_change(hash);
        let expiry_ms = expiry_ms.map(|expiry_ms| expiry_ms.max(1));
        let block = self.table.find_mut(hash, |block| block.name() == name)?;
        let before = block.expiry_ms();
        if before != expiry_ms {
            self.block_bytes -= block.0.heap_bytes();
            block.change_expiry(expiry_ms);
            self.block_bytes += block.0.heap_bytes();
            self.index(hash, before, expiry_ms);
        }
        Some(before)
    }

    /// Notes in the index that a field, already changed in the table, expires at another time.
    fn index(&mut self, hash: u64, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        if let Some(time) = before
            && self.table.find(hash, |block| block.expiry_ms() == before && self.hash(block.name()) == hash).is_none()
        {
            self.expiries.remove(&(time, hash));
        }
        if let Some(time) = after {
            self.expiries.insert((time, hash));
        }
    }

    pub(super) fn min_expiry(&self) -> Option<i64> {
        self.expiries.first().map(|&(time, _)| time)
    }

    pub(super) fn expire_due(&mut self, now_ms: i64, max: usize, mut f: impl FnMut(Field)) -> usize {
        let (mut n, seed) = (0, self.seed);
        while n < max
            && let Some(&(time, hash)) = self.expiries.first()
            && time < now_ms
        {
            self.before_change(hash);
            let due = |block: &Block| block.expiry_ms() == Some(time) && hash_bytes(seed, block.name()) == hash;
            let block = self.table.remove(hash, due).expect("the index names fields of the table");
            self.block_bytes -= block.0.heap_bytes();
            self.index(hash, Some(time), None);
            f(block.field());
            n += 1;
        }
        n
    }

    /// What has this hash is about to come, to go or to change: a walk may want to keep it.
    #[inline]
    fn before_change(&mut self, hash: u64) {
        let seed = self.seed;
        if let Some(walk) = self.walk.get_mut() {
            walk.keep(&self.table, hash, |block| hash_bytes(seed, block.name()));
        }
    }

    pub(super) fn walker(&self) -> Option<u32> {
        self.walk.get().map(|walk| walk.id)
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        self.walk.begin(TableWalk::new(walker));
    }

    pub(super) fn step_walk(&mut self, mut f: impl FnMut(Field)) -> bool {
        let seed = self.seed;
        let Some(walk) = self.walk.get_mut() else { return true };
        let done = walk.step(&self.table, |block| hash_bytes(seed, block.name()), |block| f(block.field()));
        if done {
            self.walk.end();
        }
        done
    }

    pub(super) fn cancel_walk(&mut self) {
        if let Some(walk) = self.walk.get_mut() {
            walk.cancel();
        }
    }

    pub(super) fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Field)) -> u64 {
        let rehash = |block: &Block| self.hash(block.name());
        self.table.scan_some(cursor, count, rehash, |block| f(block.field()))
    }

    pub(super) fn random(&self, random: u64) -> Option<Field<'_>> {
        self.table.random(random).map(Block::field)
    }

    pub(super) fn sample<'a>(&'a self, count: usize, random: &mut impl FnMut() -> u64, mut f: impl FnMut(Field<'a>)) {
        self.table.sample(count, random, |block| f(block.field()));
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter(self.table.iter())
    }

    /// Frees up to `n` fields and elements of the index, which no longer agree from then on.
    pub(super) fn drain_some(&mut self, n: usize) -> bool {
        for _ in 0..n {
            if self.expiries.pop_first().is_none() {
                break;
            }
        }
        self.table.drain_some(n)
    }
}

/// All fields of a large hash.
pub struct Iter<'a>(table::Iter<'a, Block>);

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        self.0.next().map(Block::field)
    }
}
