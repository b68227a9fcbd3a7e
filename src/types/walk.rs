//! Walks over large collections in slices, exact under changes: what they give is the collection as it was
//! when the walk began.
//!
//! A table is visited in the order of its positions. What has a position behind the cursor has been given;
//! before anything ahead of it comes, goes or changes, all elements of that hash are kept as they are, and
//! the hash is noted as *dealt with*: the walk passes over whatever it finds there later. Going by hashes
//! and not by elements is exact, because a hash is dealt with as a whole. Sorted sets do the same in the
//! order of their tree (`zset/walk.rs`), lists keep nodes (`list/walk.rs`), strings pieces (`text.rs`).
//!
//! A collection that nobody walks pays one pointer in its large form and one branch for each change. A copy
//! of a collection is not walked. Redis has no counterpart: it forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::hash::Field;
use super::list::NodeRef;
use super::listpack::Item;
use super::table::{Table, passed};
use super::text::Text;
use super::value::{Value, ValueMut, ValueRef};

mod aside;

pub(super) use aside::{Aside, Keep};

/// One of the parts that a collection is written in.
#[derive(Clone)]
pub enum Piece<'a> {
    /// Of a list: the elements of a node.
    Node(NodeRef<'a>),
    /// Of a set.
    Member(Item<'a>),
    /// Of a sorted set.
    Scored(Item<'a>, f64),
    /// Of a hash.
    Field(Field<'a>),
    /// Of a string: the next bytes.
    Text(&'a [u8]),
}

/// How many bytes walks have put aside, about: all that belong to one snapshot count together.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicUsize>);

impl Tally {
    /// So many now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one walk has put aside; it goes from the tally with the walk.
#[derive(Debug)]
pub struct Share {
    tally: Tally,
    bytes: usize,
}

impl Share {
    /// Nothing.
    pub fn new(tally: &Tally) -> Share {
        Share { tally: tally.clone(), bytes: 0 }
    }

    /// So much more.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.tally.add(bytes);
    }

    /// So much less.
    pub fn sub(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.tally.sub(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.tally.sub(self.bytes);
    }
}

/// Who begins a walk, and where it counts what it puts aside.
#[derive(Clone, Debug)]
pub struct Walker {
    id: u32,
    tally: Tally,
}

impl Walker {
    /// The walker with this number.
    pub fn new(id: u32, tally: &Tally) -> Walker {
        Walker { id, tally: tally.clone() }
    }

    /// Its number, and a share that is empty.
    pub fn split(self) -> (u32, Share) {
        (self.id, Share::new(&self.tally))
    }
}

/// The walk of a large form, if there is one.
pub(super) struct Walking<W>(Option<Box<W>>);

impl<W> Walking<W> {
    /// No walk.
    pub const NONE: Walking<W> = Walking(None);

    /// Whether there is a walk.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The walk.
    pub fn get(&self) -> Option<&W> {
        self.0.as_deref()
    }

    /// The walk, for changing.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut W> {
        self.0.as_deref_mut()
    }

    /// Begins a walk.
    pub fn begin(&mut self, walk: W) {
        self.0 = Some(Box::new(walk));
    }

    /// Ends the walk, wherever it is.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

impl<W> Clone for Walking<W> {
    /// A copy is not walked.
    fn clone(&self) -> Self {
        Self::NONE
    }
}

impl<W> std::fmt::Debug for Walking<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_on() { "walked" } else { "not walked" })
    }
}

/// A walk over a table.
pub(super) struct TableWalk<T> {
    /// Who walks.
    pub id: u32,
    cursor: u64,
    aside: Aside<T>,
}

impl<T: Keep> TableWalk<T> {
    pub fn new(walker: Walker) -> TableWalk<T> {
        let (id, aside) = Aside::new(walker);
        TableWalk { id, cursor: 0, aside }
    }

    /// Nobody wants more of it.
    pub fn cancel(&mut self) {
        self.aside.finish();
    }

    /// An element with this hash is about to come, to go or to change.
    #[cold]
    pub fn keep(&mut self, table: &Table<T>, hash: u64, rehash: impl Fn(&T) -> u64) {
        if !passed(hash, self.cursor) && self.aside.deal(hash) {
            table.alike(hash, rehash, |element| self.aside.keep(element));
        }
    }

    /// Gives the elements kept so far, or those of the next bucket. True at the end.
    pub fn step(&mut self, table: &Table<T>, rehash: impl Fn(&T) -> u64, mut f: impl FnMut(&T)) -> bool {
        if let Some(ended) = self.aside.step(&mut f) {
            return ended;
        }
        self.cursor = table.scan(self.cursor, &rehash, |element| {
            if self.aside.is_due(|| rehash(element)) {
                f(element);
            }
        });
        self.cursor == 0 && self.aside.finish()
    }
}

impl ValueRef<'_> {
    /// Whether the collection takes more than `bytes` and has a form that can be walked in slices. Of a string only
    /// its holder knows.
    pub fn is_walkable(&self, bytes: usize) -> bool {
        match self {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => false,
            ValueRef::List(list) => list.encoding() == "quicklist" && list.heap_bytes() > bytes,
            ValueRef::Set(set) => matches!(set.view(), super::set::View::Large) && set.heap_bytes() > bytes,
            ValueRef::Hash(hash) => hash.layout() == super::hash::Layout::Large && hash.heap_bytes() > bytes,
            ValueRef::Zset(zset) => zset.as_listpack().is_none() && zset.heap_bytes() > bytes,
        }
    }

    /// Who walks the collection, if anybody does.
    pub fn walker(&self) -> Option<u32> {
        match self {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => None,
            ValueRef::List(list) => list.walker(),
            ValueRef::Set(set) => set.walker(),
            ValueRef::Hash(hash) => hash.walker(),
            ValueRef::Zset(zset) => zset.walker(),
        }
    }

    /// How many pieces the value is written in, if it is.
    pub fn piece_count(&self) -> usize {
        match self {
            ValueRef::Int(_) | ValueRef::Ascii(_) => 0,
            ValueRef::String(bytes) => Text::piece_count(bytes.len()),
            ValueRef::List(list) => list.node_count(),
            ValueRef::Set(set) => set.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Zset(zset) => zset.len(),
        }
    }

    /// All pieces of a collection at once.
    pub fn pieces(&self, mut f: impl FnMut(Piece)) {
        match self {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => {}
            ValueRef::List(list) => list.nodes().for_each(|node| f(Piece::Node(node))),
            ValueRef::Set(set) => set.iter().for_each(|member| f(Piece::Member(member))),
            // From the highest score down, as Redis does: its skiplist then inserts at the head.
            ValueRef::Zset(zset) => {
                zset.range(0..usize::MAX, true).for_each(|(member, score)| f(Piece::Scored(member, score)));
            }
            ValueRef::Hash(hash) => hash.iter().for_each(|field| f(Piece::Field(field))),
        }
    }
}

impl ValueMut<'_> {
    /// Begins a walk, if the form can be walked; there must be none under way.
    pub fn begin_walk(&mut self, walker: Walker) {
        match self {
            ValueMut::String => {}
            ValueMut::Text(text) => text.begin_walk(walker),
            ValueMut::List(list) => list.begin_walk(walker),
            ValueMut::Set(set) => set.begin_walk(walker),
            ValueMut::Hash(hash) => hash.begin_walk(walker),
            ValueMut::Zset(zset) => zset.begin_walk(walker),
        }
    }

    /// Gives the next pieces of the walk, a few, or none; true if those were the last, and the walk has ended.
    pub fn step_walk(&mut self, mut f: impl FnMut(Piece)) -> bool {
        match self {
            ValueMut::String => true,
            ValueMut::Text(text) => text.step_walk(|bytes| f(Piece::Text(bytes))),
            ValueMut::List(list) => list.step_walk(|node| f(Piece::Node(node))),
            ValueMut::Set(set) => set.step_walk(|member| f(Piece::Member(member))),
            ValueMut::Hash(hash) => hash.step_walk(|field| f(Piece::Field(field))),
            ValueMut::Zset(zset) => zset.step_walk(|member, score| f(Piece::Scored(member, score))),
        }
    }

    /// Nobody wants more of the walk, wherever it is: what is left of its steps only ends it.
    pub fn cancel_walk(&mut self) {
        match self {
            ValueMut::String => {}
            ValueMut::Text(text) => text.cancel_walk(),
            ValueMut::List(list) => list.cancel_walk(),
            ValueMut::Set(set) => set.cancel_walk(),
            ValueMut::Hash(hash) => hash.cancel_walk(),
            ValueMut::Zset(zset) => zset.cancel_walk(),
        }
    }
}

impl Value {
    /// Borrows the value for writing.
    pub fn as_mut(&mut self) -> ValueMut<'_> {
        match self {
            Value::Int(_) | Value::String(_) => ValueMut::String,
            Value::Text(text) => ValueMut::Text(text),
            Value::List(list) => ValueMut::List(list),
            Value::Set(set) => ValueMut::Set(set),
            Value::Hash(hash) => ValueMut::Hash(hash),
            Value::Zset(zset) => ValueMut::Zset(zset),
        }
    }
}

#[cfg(test)]
mod tests;
