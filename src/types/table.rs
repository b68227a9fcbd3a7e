//! The hash table behind the keyspace and every large collection: Redis' `dict`, Valkey's `hashtable`.
//!
//! It is a linear hash table of cache-line buckets. A bucket holds seven entries of eight bytes or nine of six, and a
//! tag byte for each; inserting past the load limit splits one bucket in two, removing below the low limit merges two
//! into one, and nothing else ever moves: each operation does bounded work at any size, the load is steady, and there
//! is neither a "rehashing" state nor a second table.
//!
//! It is deliberately not a map: it neither hashes nor compares. The caller passes the hash, an
//! equality test, and a function that recomputes an entry's hash (entries do not store theirs).
//!
//! # Order and cursors
//!
//! The bucket of a hash is its lowest `d` or `d + 1` bits. So the *position* of an entry, its hash
//! with the bits reversed, orders all entries for good: each bucket is one contiguous range of
//! positions, a split cuts a range in two and a merge joins two neighbours. A cursor is a threshold
//! in that order ("everything below has been visited") and stays exact while the table grows and
//! shrinks. Cursors are handed out bit-reversed, as Redis does: then they are small numbers.
//!
//! # Invariants
//!
//! - `buckets` lines are in use, numbered `0..buckets`; `mask + 1` is `buckets` rounded up to a power
//!   of two. The line of a hash is `hash & mask`, or without the mask's highest bit if that line is
//!   not in use yet.
//! - Lines live in segments of [`SEGMENT`] lines; only the last may be shorter. All but the last
//!   `capacity - buckets` lines are initialized.
//! - The lines of a bucket are a chain; what is true of each of them is said in `line.rs`. A line below another
//!   has at least two entries.
//!
//! A panic in a caller's closure may leak entries, but leaves a table that is safe to use.

mod line;

use crate::types::prefetch::prefetch;
use crate::types::sample::{Selection, splitmix};
use core::hash::{BuildHasher, Hasher};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use line::{Copied, Line, filter_bit, tag_of};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::collections::BTreeSet;

/// Lines of a full segment: the most that growing ever copies.
const SEGMENT: usize = 1 << 11;
/// Hashes bytes with a seed. Deterministic on one target; low and high bits are equally good.
#[inline]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Whether a walk that stands at `cursor` has visited the entry with this hash already.
///
/// A cursor of 0 is a walk that has not begun.
#[inline]
pub fn passed(hash: u64, cursor: u64) -> bool {
    hash.reverse_bits() < cursor.reverse_bits()
}

/// A linear hash table; see the module's documentation.
pub struct Table<T> {
    /// The segments: `SEGMENT` lines each, the last one what `capacity` leaves for it.
    segments: Vec<NonNull<u8>>,
    /// Entries.
    len: usize,
    /// Lines in use; 0 only as long as nothing is allocated.
    buckets: usize,
    /// `buckets` rounded up to a power of two, minus one.
    mask: usize,
    /// Lines allocated in segments.
    capacity: usize,
    /// Bytes of the lines below others.
    child_bytes: usize,
    owns: PhantomData<T>,
}

// SAFETY: the table owns its entries and memory; the pointers are not shared.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: a shared table gives out only shared references.
unsafe impl<T: Sync> Sync for Table<T> {}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        self.release();
    }
}

/// A place where an entry is looked for, whose memory is on its way.
pub struct Spot<'a, T> {
    line: Line<T>,
    tag: u8,
    table: PhantomData<&'a Table<T>>,
}

impl<'a, T> Spot<'a, T> {
    /// Hands `ask` the entries there that may be the one looked for, so that it asks for their memory. Where to look
    /// further if there is none; that memory is asked for.
    ///
    /// One in five entries is not in its bucket's first line: GET of 100 thousand keys in a pipeline waited for two
    /// cache lines one after the other with each of these; without that 1.12 times as many, MGET of 10 1.3 times.
    #[inline]
    pub fn approach(self, ask: impl FnMut(&T)) -> Option<Spot<'a, T>> {
        // SAFETY: as in `locate`; the table is borrowed, so that the line is what it was.
        unsafe {
            let hits = self.line.hits(self.tag);
            if hits.is_empty() && self.line.may_be_below(self.tag) {
                let line = self.line.child();
                prefetch(line.as_ptr());
                return Some(Spot { line, ..self });
            }
            hits.map(|i| &*self.line.entry(i)).for_each(ask);
        }
        None
    }
}

/// Memory and geometry.
impl<T> Table<T> {
    /// Entries per two buckets above which an insertion splits a bucket.
    const LOAD_HIGH: usize = 2 * Line::<T>::SLOTS - 1;
    /// Entries per two buckets below which a removal merges two.
    const LOAD_LOW: usize = 2 * Line::<T>::SLOTS - 3;
    /// Slots a random pick draws from in a bucket already split in this round, twice as many in one not
    /// split yet; entries of buckets with more than that are picked a little too rarely.
    const RANDOM_SLOTS: usize = 2 * Line::<T>::SLOTS + 2;

    /// An empty table; it allocates nothing.
    pub const fn new() -> Table<T> {
        Table { segments: Vec::new(), len: 0, buckets: 0, mask: 0, capacity: 0, child_bytes: 0, owns: PhantomData }
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of buckets: what INFO and DEBUG call the table size, divided by the bucket's slots.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// Bytes the table itself has allocated, without what its entries point to.
    pub fn table_bytes(&self) -> usize {
        self.capacity * Line::<T>::BYTES + self.child_bytes + self.segments.capacity() * size_of::<NonNull<u8>>()
    }

    /// The layout of a segment of `lines` lines: cache-line aligned where a line is a cache line.
    fn segment_layout(lines: usize) -> Layout {
        Layout::from_size_align(lines * Line::<T>::BYTES, Line::<T>::ALIGN).expect("a segment is small")
    }

    /// Lines of the last segment.
    fn tail(&self) -> usize {
        self.capacity - (self.segments.len().max(1) - 1) * SEGMENT
    }

    /// Lines to add or give back at once.
    fn step(&self) -> usize {
        (self.buckets / 16).clamp(1, SEGMENT)
    }

    /// Gives the last segment `lines` lines.
    fn resize_tail(&mut self, lines: usize) {
        let tail = self.tail();
        let old = self.segments.pop().expect("there is a segment");
        let layout = Self::segment_layout(lines);
        // SAFETY: the segment was allocated with this layout for `tail` lines; moving lines is fine
        // because nothing points to them.
        let new = unsafe { realloc(old.as_ptr(), Self::segment_layout(tail), layout.size()) };
        let new = NonNull::new(new).unwrap_or_else(|| handle_alloc_error(layout));
        self.segments.push(new);
        self.capacity = self.capacity - tail + lines;
    }

    /// Takes one more line into use, allocating if there is none, and gives its number.
    fn add_bucket(&mut self) -> usize {
        if self.buckets == self.capacity {
            let step = self.step();
            if self.capacity == self.segments.len() * SEGMENT {
                let layout = Self::segment_layout(step);
                // SAFETY: the layout is not empty.
                let segment = NonNull::new(unsafe { alloc(layout) });
                let segment = segment.unwrap_or_else(|| handle_alloc_error(layout));
                self.segments.push(segment);
                self.capacity += step;
            } else {
                self.resize_tail((self.tail() + step).min(SEGMENT));
            }
        }
        let bucket = self.buckets;
        self.buckets += 1;
        self.mask = self.buckets.next_power_of_two() - 1;
        // SAFETY: the line is allocated, and this makes it an empty, initialized one.
        unsafe { self.line(bucket).clear() };
        bucket
    }

    /// Gives the last line, which must be empty, out of use, and memory back if much is spare.
    fn drop_bucket(&mut self) {
        self.buckets -= 1;
        self.mask = self.buckets.next_power_of_two() - 1;
        let step = self.step();
        if self.buckets == 0 || self.capacity - self.buckets < 2 * step {
            return;
        }
        let full = (self.segments.len() - 1) * SEGMENT;
        if self.buckets + step <= full {
            let layout = Self::segment_layout(self.tail());
            let segment = self.segments.pop().expect("there is a segment");
            // SAFETY: allocated with this layout, and no line of it is in use.
            unsafe { dealloc(segment.as_ptr(), layout) };
            self.capacity = full;
            if self.segments.len() < self.segments.capacity() / 4 {
                self.segments.shrink_to(self.segments.len() * 2);
            }
        } else {
            self.resize_tail(self.buckets + step - full);
        }
    }

    /// Gives all segments back; no entry may be left.
    fn release(&mut self) {
        debug_assert_eq!(self.len, 0);
        while !self.segments.is_empty() {
            let layout = Self::segment_layout(self.tail());
            self.capacity -= self.tail();
            let segment = self.segments.pop().expect("there is a segment");
            // SAFETY: allocated with this layout; nothing in it owns anything.
            unsafe { dealloc(segment.as_ptr(), layout) };
        }
        self.segments = Vec::new();
        self.buckets = 0;
        self.mask = 0;
    }

    /// The line with this number, which must be allocated.
    #[inline]
    fn line(&self, bucket: usize) -> Line<T> {
        debug_assert!(bucket < self.capacity);
        // SAFETY: line `bucket` lies in segment `bucket / SEGMENT`, within its length.
        unsafe {
            let segment = *self.segments.get_unchecked(bucket / SEGMENT);
            Line::at(segment.add(bucket % SEGMENT * Line::<T>::BYTES))
        }
    }

    /// The number of the bucket of a hash; the table must have buckets.
    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let bucket = hash as usize & self.mask;
        if bucket < self.buckets { bucket } else { bucket & (self.mask >> 1) }
    }

    /// How many low bits of its hash decide that an entry is in this bucket.
    fn depth(&self, bucket: usize) -> u32 {
        let bits = self.mask.count_ones();
        let twin = bucket ^ (self.mask ^ (self.mask >> 1));
        if bits > 0 && twin >= self.buckets { bits - 1 } else { bits }
    }
}

/// Chains: all entries of one bucket.
impl<T> Table<T> {
    /// Adds an entry to the chain that begins with a bucket.
    fn push(&mut self, bucket: usize, tag: u8, entry: T) {
        let mut above = None;
        let mut line = self.line(bucket);
        // SAFETY: the lines of a chain are initialized and ours; slot numbers follow the invariants.
        unsafe {
            let mut header = line.header();
            while header.filter != 0 {
                line.set_filter(header.filter | filter_bit(tag));
                above = Some(line);
                line = line.child();
                header = line.header();
            }
            let n = header.count();
            if n == Line::<T>::SLOTS {
                let child = self.new_child(2);
                let (last_tag, last) = line.pull(n - 1);
                child.put(0, last_tag, last);
                child.put(1, tag, entry);
                line.set_child(child);
                line.set_filter(filter_bit(last_tag) | filter_bit(tag));
                return;
            }
            if let Some(above) = above {
                line = self.resize_child(line, n, n + 1);
                above.set_child(line);
            }
            line.put(n, tag, entry);
        }
    }

    /// Takes the entry in slot `i` of line `at` out of the chain that begins with a bucket.
    fn take(&mut self, bucket: usize, at: Line<T>, i: usize) -> T {
        let mut above = None;
        let mut last = self.line(bucket);
        // SAFETY: as in `push`; `at` and `i` name an entry of this chain.
        unsafe {
            let mut header = last.header();
            while header.filter != 0 {
                above = Some(last);
                last = last.child();
                header = last.header();
            }
            let n = header.count() - 1;
            let (tag, mut entry) = last.pull(n);
            if at != last || i != n {
                let hole = at.entry(i).read();
                at.put(i, tag, entry);
                entry = hole;
            }
            if let Some(above) = above {
                if n == 1 {
                    let (tag, only) = last.pull(0);
                    self.free_child(last, 2);
                    above.set_filter(0);
                    above.put(Line::<T>::SLOTS - 1, tag, only);
                } else {
                    let last = self.resize_child(last, n + 1, n);
                    above.set_child(last);
                    above.set_filter(last.header().filter_above());
                }
            }
            entry
        }
    }

    /// Empties a bucket, handing each entry with its tag to `f`, which may fill this table.
    fn empty(&mut self, bucket: usize, mut f: impl FnMut(&mut Self, u8, T)) {
        let line = self.line(bucket);
        let mut copy = Copied::uninit();
        // SAFETY: a bucket's line has full length. Its entries now belong to the copy (a `MaybeUninit`,
        // so nothing is dropped twice), and the bucket is empty before `f` runs.
        let mut line = unsafe {
            ptr::copy_nonoverlapping(line.as_ptr(), copy.as_mut_ptr().cast(), Line::<T>::BYTES);
            line.clear();
            Line::<T>::at(NonNull::new_unchecked(copy.as_mut_ptr().cast()))
        };
        let mut below = false;
        loop {
            // SAFETY: the chain hangs on the copy alone; each entry is read once, and a line is freed
            // after its last entry has been read.
            unsafe {
                let header = line.header();
                let n = header.count();
                for i in 0..n {
                    f(self, header.tag(i), line.entry(i).read());
                }
                let next = (header.filter != 0).then(|| line.child());
                if below {
                    let slots = if next.is_some() { Line::<T>::SLOTS } else { n };
                    self.free_child(line, slots);
                }
                match next {
                    Some(next) => line = next,
                    None => return,
                }
            }
            below = true;
        }
    }

    /// A new empty line with room for `n` entries.
    fn new_child(&mut self, n: usize) -> Line<T> {
        let layout = Line::<T>::layout(n);
        // SAFETY: the layout is not empty.
        let line = NonNull::new(unsafe { alloc(layout) });
        let line = Line::<T>::at(line.unwrap_or_else(|| handle_alloc_error(layout)));
        self.child_bytes += layout.size();
        // SAFETY: just allocated; an empty header makes it initialized.
        unsafe { line.clear() };
        line
    }

    /// Fits the last line of a chain, which has room for `from` entries, to `to` entries.
    fn resize_child(&mut self, line: Line<T>, from: usize, to: usize) -> Line<T> {
        let old = Line::<T>::layout(from);
        let new = Line::<T>::layout(to);
        if old == new {
            return line;
        }
        // SAFETY: allocated with the layout `old`; the caller updates the only pointer to it.
        let moved = unsafe { realloc(line.as_ptr(), old, new.size()) };
        self.child_bytes = self.child_bytes - old.size() + new.size();
        Line::at(NonNull::new(moved).unwrap_or_else(|| handle_alloc_error(new)))
    }

    /// Frees a line that has room for `n` entries.
    fn free_child(&mut self, line: Line<T>, n: usize) {
        let layout = Line::<T>::layout(n);
        self.child_bytes -= layout.size();
        // SAFETY: allocated with this layout; the caller has moved its entries out.
        unsafe { dealloc(line.as_ptr(), layout) };
    }

    /// Finds an entry: its line and slot.
    #[inline]
    fn locate(&self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<(Line<T>, usize)> {
        if self.len == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let mut line = self.line(self.bucket_of(hash));
        loop {
            // SAFETY: lines in use are initialized; a hit is a slot in use; a filter means a child.
            unsafe {
                for i in line.hits(tag) {
                    if eq(&*line.entry(i)) {
                        return Some((line, i));
                    }
                }
                if !line.may_be_below(tag) {
                    return None;
                }
                line = line.child();
            }
        }
    }

    /// The entry number `i` of a bucket, if it has as many.
    fn nth(&self, bucket: usize, mut i: usize) -> Option<&T> {
        let mut line = self.line(bucket);
        loop {
            // SAFETY: as in `locate`.
            unsafe {
                let header = line.header();
                let n = header.count();
                if i < n {
                    return Some(&*line.entry(i));
                }
                i -= n;
                if header.filter == 0 {
                    return None;
                }
                line = line.child();
            }
        }
    }
}

/// What the world uses.
impl<T> Table<T> {
    /// Asks for the memory of the bucket that an entry with this hash is in.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if self.len > 0 {
            prefetch(self.line(self.bucket_of(hash)).as_ptr());
        }
    }

    /// Where an entry with this hash is looked for first; that memory is asked for.
    #[inline]
    pub fn spot(&self, hash: u64) -> Option<Spot<'_, T>> {
        (self.len > 0).then(|| {
            let line = self.line(self.bucket_of(hash));
            prefetch(line.as_ptr());
            Spot { line, tag: tag_of(hash), table: PhantomData }
        })
    }

    /// An entry that may be the one with this hash: there is none that is likelier.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<&T> {
        // SAFETY: as in `find`.
        self.locate(hash, |_| true).map(|(line, i)| unsafe { &*line.entry(i) })
    }

    /// The entry with this hash for which `eq` holds.
    #[inline]
    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        // SAFETY: `locate` names an entry that lives as long as the table is borrowed.
        self.locate(hash, eq).map(|(line, i)| unsafe { &*line.entry(i) })
    }

    /// Shows all entries with this hash.
    pub fn alike(&self, hash: u64, rehash: impl Fn(&T) -> u64, mut f: impl FnMut(&T)) {
        // The search never finds what it looks for, so it sees everything that may be it.
        self.find(hash, |entry| {
            if rehash(entry) == hash {
                f(entry);
            }
            false
        });
    }

    /// The same, to be changed; its hash must stay what it is.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        // SAFETY: as in `find`, with the table borrowed exclusively.
        self.locate(hash, eq).map(|(line, i)| unsafe { &mut *line.entry(i) })
    }

    /// Adds an entry that is not in the table yet.
    #[inline]
    pub fn insert_unique(&mut self, hash: u64, entry: T, rehash: impl Fn(&T) -> u64) {
        if 2 * self.len >= self.buckets * Self::LOAD_HIGH {
            self.split(rehash);
        }
        self.len += 1;
        self.push(self.bucket_of(hash), tag_of(hash), entry);
    }

    /// The entry with this hash for which `eq` holds, or the place to insert it.
    #[inline]
    pub fn entry(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Entry<'_, T> {
        match self.locate(hash, eq) {
            // SAFETY: as in `find_mut`.
            Some((line, i)) => Entry::Occupied(unsafe { &mut *line.entry(i) }),
            None => Entry::Vacant(Vacant { table: self, hash }),
        }
    }

    /// Takes the entry with this hash for which `eq` holds out of the table.
    #[inline]
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<T> {
        let (line, i) = self.locate(hash, eq)?;
        let entry = self.take(self.bucket_of(hash), line, i);
        self.len -= 1;
        if self.buckets > 1 && 2 * self.len < (self.buckets - 1) * Self::LOAD_LOW {
            self.merge();
        }
        Some(entry)
    }

    /// Makes an empty table as large as it will be with `n` entries: then they need not be moved about while
    /// they come. The other operations expect a table that is not much too large: see [`Table::settle`].
    pub fn reserve(&mut self, n: usize) {
        while self.len == 0 && 2 * n > self.buckets * Self::LOAD_HIGH {
            self.add_bucket();
        }
    }

    /// Makes a table smaller that [`Table::reserve`] has made larger than its entries need.
    pub fn settle(&mut self) {
        while self.buckets > 1 && 2 * self.len < (self.buckets - 1) * Self::LOAD_LOW {
            self.merge();
        }
    }

    /// Takes any entry out, the cheapest: for taking a table apart piece by piece.
    pub fn pop(&mut self) -> Option<T> {
        while self.buckets > 0 {
            let bucket = self.buckets - 1;
            let line = self.line(bucket);
            // SAFETY: the line is in use.
            let n = unsafe { line.header() }.count();
            if n > 0 {
                self.len -= 1;
                return Some(self.take(bucket, line, n - 1));
            }
            if bucket == 0 {
                break;
            }
            self.drop_bucket();
        }
        None
    }

    /// Drops up to `n` entries; gives whether any are left.
    pub fn drain_some(&mut self, n: usize) -> bool {
        for _ in 0..n {
            if self.pop().is_none() {
                break;
            }
        }
        !self.is_empty()
    }

    /// Drops all entries and gives the memory back.
    pub fn clear(&mut self) {
        *self = Table::new();
    }

    /// Splits one bucket; the next in turn.
    fn split(&mut self, rehash: impl Fn(&T) -> u64) {
        let new = self.add_bucket();
        if new == 0 {
            return;
        }
        let bit = 1 << new.ilog2();
        let old = new ^ bit;
        self.empty(old, |table, tag, entry| {
            let bucket = if rehash(&entry) as usize & bit == 0 { old } else { new };
            table.push(bucket, tag, entry);
        });
    }

    /// Undoes the last split.
    fn merge(&mut self) {
        let last = self.buckets - 1;
        let into = last ^ (1 << last.ilog2());
        self.empty(last, |table, tag, entry| table.push(into, tag, entry));
        self.drop_bucket();
    }

    /// Visits the next bucket at `cursor` (0 begins) and gives the cursor to go on with; 0 ends.
    ///
    /// An entry that is in the table from the first call to the last is visited exactly once, however
    /// the table grows and shrinks in between. `rehash` is asked only where the table has shrunk.
    pub fn scan<'a>(&'a self, cursor: u64, rehash: impl Fn(&T) -> u64, mut f: impl FnMut(&'a T)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let bucket = self.bucket_of(cursor);
        let whole = cursor == bucket as u64;
        for entry in self.chain(bucket) {
            if whole || !passed(rehash(entry), cursor) {
                f(entry);
            }
        }
        self.after(bucket)
    }

    /// Visits the entries of the bucket with this number, below [`buckets`](Self::buckets).
    ///
    /// For deleting many: whoever goes from the last bucket down leaves a table that shrinks with what is left of it.
    /// In the order of cursors, in which what is left lies ever closer together, a million entries end in chains of
    /// thousands.
    pub fn visit_bucket<'a>(&'a self, bucket: usize, f: impl FnMut(&'a T)) {
        assert!(bucket < self.buckets);
        self.chain(bucket).for_each(f);
    }

    /// The cursor behind a bucket; 0 behind the last.
    fn after(&self, bucket: usize) -> u64 {
        let Some(range) = 1u64.checked_shl(64 - self.depth(bucket)) else {
            return 0;
        };
        let start = (bucket as u64).reverse_bits();
        start.wrapping_add(range).reverse_bits()
    }

    /// The cursor behind the bucket that a scan at `cursor` would visit next.
    pub fn cursor_after(&self, cursor: u64) -> u64 {
        if self.len == 0 { 0 } else { self.after(self.bucket_of(cursor)) }
    }

    /// Shows the entries of the bucket's first line that a scan at `cursor` would visit next, and gives the
    /// cursor behind it: for asking early for memory.
    pub fn peek(&self, cursor: u64, mut f: impl FnMut(&T)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let bucket = self.bucket_of(cursor);
        self.chain(bucket).take(Line::<T>::SLOTS).for_each(&mut f);
        self.after(bucket)
    }

    /// Like [`scan`](Self::scan), with entries that may be changed; their hashes must stay what they are.
    pub fn scan_mut(&mut self, cursor: u64, rehash: impl Fn(&T) -> u64, mut f: impl FnMut(&mut T)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let bucket = self.bucket_of(cursor);
        let whole = cursor == bucket as u64;
        let mut line = self.line(bucket);
        loop {
            // SAFETY: the line is in use, and the table is borrowed exclusively; each slot is visited once.
            unsafe {
                let header = line.header();
                for i in 0..header.count() {
                    let entry = &mut *line.entry(i);
                    if whole || !passed(rehash(entry), cursor) {
                        f(entry);
                    }
                }
                if header.filter == 0 {
                    break;
                }
                line = line.child();
            }
        }
        self.after(bucket)
    }

    /// Like [`Table::scan`], until about `count` entries or ten times as many buckets were visited.
    pub fn scan_some<'a>(
        &'a self,
        mut cursor: u64,
        count: usize,
        rehash: impl Fn(&T) -> u64,
        mut f: impl FnMut(&'a T),
    ) -> u64 {
        let mut visited = 0;
        for _ in 0..count.max(1).saturating_mul(10) {
            cursor = self.scan(cursor, &rehash, |entry| {
                visited += 1;
                f(entry);
            });
            if cursor == 0 || visited >= count {
                break;
            }
        }
        cursor
    }

    /// A random entry, all equally likely; `seed` decides which.
    pub fn random(&self, mut seed: u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        // A random hash leads to a bucket not split yet twice as often as to one that was, so twice
        // the slots make all slots equally likely; one that is not in use means another try. A few
        // do nearly always, as the load has a lower limit.
        for _ in 0..256 {
            let random = splitmix(&mut seed);
            let bucket = self.bucket_of(random);
            let unsplit = self.mask.count_ones() - self.depth(bucket);
            let slots = Self::RANDOM_SLOTS << unsplit;
            let slot = (random >> 48) as usize % slots;
            match self.nth(bucket, slot) {
                Some(_) if slot + 1 == slots => {
                    let n = self.chain(bucket).count();
                    let slot = splitmix(&mut seed) % n as u64;
                    return self.nth(bucket, slot as usize);
                }
                Some(entry) => return Some(entry),
                None => {}
            }
        }
        self.iter().next()
    }

    /// Visits `count` different entries (all, if there are fewer), every choice equally likely.
    pub fn sample<'a>(&'a self, count: usize, random: &mut impl FnMut() -> u64, mut f: impl FnMut(&'a T)) {
        if count.saturating_mul(3) > self.len {
            let mut selection = Selection::new(count, self.len);
            self.iter().filter(|_| selection.next(random)).for_each(f);
            return;
        }
        let mut chosen = BTreeSet::new();
        for _ in 0..8 * count + 64 {
            if chosen.len() == count {
                return;
            }
            let Some(entry) = self.random(random()) else { return };
            if chosen.insert(ptr::from_ref(entry)) {
                f(entry);
            }
        }
        // Only bad luck, or equal hashes in great number, lead here.
        let rest = self.iter().filter(|&entry| !chosen.contains(&ptr::from_ref(entry)));
        rest.take(count - chosen.len()).for_each(f);
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { table: self, bucket: 0, chain: Chain::ended() }
    }

    /// All entries of a bucket.
    fn chain(&self, bucket: usize) -> Chain<'_, T> {
        Chain { line: Some(self.line(bucket)), i: 0, table: PhantomData }
    }

    /// A table of the same shape with other entries of the same hashes.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Table<U> {
        let mut table = Table::new();
        for bucket in 0..self.buckets {
            table.add_bucket();
            let mut line = self.line(bucket);
            loop {
                // SAFETY: as in `locate`.
                unsafe {
                    let header = line.header();
                    for i in 0..header.count() {
                        let entry = f(&*line.entry(i));
                        table.push(bucket, header.tag(i), entry);
                        table.len += 1;
                    }
                    if header.filter == 0 {
                        break;
                    }
                    line = line.child();
                }
            }
        }
        table
    }
}

impl<T: Clone> Clone for Table<T> {
    fn clone(&self) -> Self {
        self.map(T::clone)
    }
}

/// What [`Table::entry`] found.
pub enum Entry<'a, T> {
    /// The entry that is there; its hash must stay what it is.
    Occupied(&'a mut T),
    /// The place for a new one.
    Vacant(Vacant<'a, T>),
}

/// The place for an entry that is not in the table.
pub struct Vacant<'a, T> {
    table: &'a mut Table<T>,
    hash: u64,
}

impl<T> Vacant<'_, T> {
    /// Inserts the entry, which must have the hash that was looked for.
    pub fn insert(self, entry: T, rehash: impl Fn(&T) -> u64) {
        self.table.insert_unique(self.hash, entry, rehash);
    }
}

/// The entries of one bucket.
struct Chain<'a, T> {
    line: Option<Line<T>>,
    i: usize,
    table: PhantomData<&'a Table<T>>,
}

impl<T> Chain<'_, T> {
    fn ended() -> Self {
        Chain { line: None, i: 0, table: PhantomData }
    }
}

impl<'a, T> Iterator for Chain<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            let line = self.line?;
            // SAFETY: the table is borrowed for 'a, so its lines stay as they are.
            unsafe {
                let header = line.header();
                if self.i < header.count() {
                    self.i += 1;
                    return Some(&*line.entry(self.i - 1));
                }
                self.line = (header.filter != 0).then(|| line.child());
                self.i = 0;
            }
        }
    }
}

/// All entries of a table.
pub struct Iter<'a, T> {
    table: &'a Table<T>,
    bucket: usize,
    chain: Chain<'a, T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(entry) = self.chain.next() {
                return Some(entry);
            }
            if self.bucket == self.table.buckets {
                return None;
            }
            self.chain = self.table.chain(self.bucket);
            self.bucket += 1;
        }
    }
}

#[cfg(test)]
mod tests;
