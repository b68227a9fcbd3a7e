//! One key and its value in one allocation, behind an address of six bytes (where that is enough).
//!
//! Small strings lie beside their key; collections and big mutable strings are boxes that the entry
//! owns. Redis' counterpart is the key object with embedded key, value and expire time.
//!
//! Layout, unaligned and little: `meta u32 | [expire i64] | key_len u8 or u32 | [value_len u8 or u32] |
//! key | value`, where the value is its bytes (short, long), packed text (ascii: `value_len` counts characters), eight
//! bytes (int), a hash, which has the size of a pointer, or a pointer (the rest).
//! The lower 24 bits of `meta` are the access clock of LRU or LFU, then four bits kind, four bits flags.
//!
//! Invariants: `kind` says which owner the trailing pointer has; the allocation's size is always
//! [`Parts::size`] with alignment 1; an entry is the only owner of its allocation and of its box.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::{self, NonNull};

use crate::types::address::Address;
use crate::types::ascii::{self, Ascii};
use crate::types::footprint::footprint;
use crate::types::hash::{self, Hash};
use crate::types::list::List;
use crate::types::number;
use crate::types::prefetch::prefetch;
use crate::types::set::{self, Set};
use crate::types::sought::Sought;
use crate::types::text::{self, Text};
use crate::types::walk::Walker;
use crate::types::zset::Zset;

pub use crate::types::value::{Kind, Value, ValueMut, ValueRef};

const SHORT: u8 = 0;
const LONG: u8 = 1;
const INT: u8 = 2;
const RAW: u8 = 3;
const LIST: u8 = 4;
const SET: u8 = 5;
const HASH: u8 = 6;
const ZSET: u8 = 7;
const TEXT: u8 = 8;
const ASCII: u8 = 9;

const KIND_SHIFT: u32 = 24;
const ACCESS_MASK: u32 = (1 << KIND_SHIFT) - 1;
const HAS_EXPIRE: u32 = 1 << 28;
const WIDE_KEY: u32 = 1 << 29;
const MARKED: u32 = 1 << 30;
const MODIFIED: u32 = 1 << 31;

/// Strings up to this many bytes lie beside their key; longer ones have an allocation of their own.
const EMBED_MAX: usize = 64 * 1024;

/// An owning pointer to one key and its value.
pub struct Entry(Address);

// SAFETY: an entry owns everything it points to, and nothing in it is tied to a thread.
unsafe impl Send for Entry {}

/// Where the pieces of an allocation lie.
#[derive(Clone, Copy)]
struct Parts {
    key_at: usize,
    key_len: usize,
    value_at: usize,
    /// Bytes of the value field, and of the string if it is one.
    value_len: usize,
    string_len: usize,
}

/// What lies in the value field.
#[derive(Clone, Copy)]
struct Tail<'a> {
    kind: u8,
    bytes: &'a [u8],
    string_len: usize,
}

impl<'a> Tail<'a> {
    fn new(kind: u8, bytes: &'a [u8]) -> Tail<'a> {
        Tail { kind, bytes, string_len: bytes.len() }
    }

    /// Gives `f` the form of a string that lies beside its key.
    #[inline]
    fn with_string<R>(text: &[u8], f: impl FnOnce(Tail) -> R) -> R {
        if text.len() >= ascii::SHORTEST
            && let Some(bytes) = ascii::pack(text, &mut [0; ascii::MOST_BYTES])
        {
            return f(Tail { kind: ASCII, bytes, string_len: text.len() });
        }
        f(Tail::new(if text.len() <= 255 { SHORT } else { LONG }, text))
    }
}

impl Parts {
    fn new(kind: u8, expire: bool, key_len: usize, string_len: usize) -> Parts {
        let (string_len_bytes, value_len) = match kind {
            SHORT => (1, string_len),
            LONG => (4, string_len),
            ASCII => (1, ascii::packed_len(string_len)),
            INT => (0, 8),
            _ => (0, size_of::<usize>()),
        };
        let key_at = 4 + if expire { 8 } else { 0 } + if key_len > 255 { 4 } else { 1 } + string_len_bytes;
        Parts { key_at, key_len, value_at: key_at + key_len, value_len, string_len }
    }

    fn size(&self) -> usize {
        self.value_at + self.value_len
    }

    fn layout(&self) -> Layout {
        Layout::from_size_align(self.size(), 1).expect("an entry is smaller than the address space")
    }
}

impl Entry {
    /// A new entry. The access clock starts at zero; there is no expire time.
    pub fn new(key: &[u8], value: Value) -> Entry {
        match value {
            Value::Int(n) => Entry::build(0, key, None, Tail::new(INT, &n.to_le_bytes())),
            Value::String(bytes) => match number::parse_i64(&bytes) {
                Some(n) => Entry::build(0, key, None, Tail::new(INT, &n.to_le_bytes())),
                None if bytes.len() > EMBED_MAX => Entry::boxed(RAW, key, Box::new(bytes)),
                None => Entry::string(key, &bytes),
            },
            Value::Text(text) => Entry::boxed(TEXT, key, text),
            Value::List(list) => Entry::boxed(LIST, key, list),
            Value::Set(set) => Entry::boxed(SET, key, set),
            Value::Hash(hash) => {
                let hash = ManuallyDrop::new(*hash);
                // SAFETY: any hash is as many bytes as it has; what they own the entry owns from here on.
                let bytes = unsafe { &*ptr::from_ref(&hash).cast::<[u8; size_of::<Hash>()]>() };
                Entry::build(0, key, None, Tail::new(HASH, bytes))
            }
            Value::Zset(zset) => Entry::boxed(ZSET, key, zset),
        }
    }

    /// A new string entry; canonical integers become integers.
    pub fn string(key: &[u8], bytes: &[u8]) -> Entry {
        if let Some(n) = number::parse_i64(bytes) {
            return Entry::build(0, key, None, Tail::new(INT, &n.to_le_bytes()));
        }
        match bytes.len() {
            0..=EMBED_MAX => Tail::with_string(bytes, |tail| Entry::build(0, key, None, tail)),
            _ => Entry::boxed(RAW, key, Box::new(bytes.to_vec())),
        }
    }

    fn boxed<T>(kind: u8, key: &[u8], value: Box<T>) -> Entry {
        let pointer = Box::into_raw(value) as usize;
        Entry::build(0, key, None, Tail::new(kind, &pointer.to_ne_bytes()))
    }

    /// Allocates and fills; `meta` keeps access clock and flags.
    fn build(meta: u32, key: &[u8], expire: Option<i64>, tail: Tail) -> Entry {
        let parts = Parts::new(tail.kind, expire.is_some(), key.len(), tail.string_len);
        debug_assert_eq!(parts.value_len, tail.bytes.len());
        let wide = key.len() > 255;
        let mut meta = meta & !(HAS_EXPIRE | WIDE_KEY | (15 << KIND_SHIFT)) | u32::from(tail.kind) << KIND_SHIFT;
        if expire.is_some() {
            meta |= HAS_EXPIRE;
        }
        if wide {
            meta |= WIDE_KEY;
        }
        // SAFETY: the size is not zero (meta alone is four bytes); every write below stays inside
        // `parts.size()`, because the offsets are those that `Parts` added up.
        unsafe {
            let Some(base) = NonNull::new(alloc(parts.layout())) else { handle_alloc_error(parts.layout()) };
            let p = base.as_ptr();
            ptr::write_unaligned(p.cast::<u32>(), meta);
            let mut at = 4;
            if let Some(ms) = expire {
                ptr::write_unaligned(p.add(at).cast::<i64>(), ms);
                at += 8;
            }
            if wide {
                ptr::write_unaligned(p.add(at).cast::<u32>(), key.len() as u32);
                at += 4;
            } else {
                *p.add(at) = key.len() as u8;
                at += 1;
            }
            match tail.kind {
                SHORT | ASCII => *p.add(at) = tail.string_len as u8,
                LONG => ptr::write_unaligned(p.add(at).cast::<u32>(), tail.string_len as u32),
                _ => {}
            }
            ptr::copy_nonoverlapping(key.as_ptr(), p.add(parts.key_at), key.len());
            ptr::copy_nonoverlapping(tail.bytes.as_ptr(), p.add(parts.value_at), parts.value_len);
            Entry(Address::new(base))
        }
    }

    fn meta(&self) -> u32 {
        // SAFETY: every allocation begins with four bytes of meta.
        unsafe { ptr::read_unaligned(self.0.as_ptr().cast::<u32>()) }
    }

    fn set_meta(&mut self, meta: u32) {
        // SAFETY: as in `meta`; we hold the entry exclusively.
        unsafe { ptr::write_unaligned(self.0.as_ptr().cast::<u32>(), meta) }
    }

    fn tag(&self) -> u8 {
        (self.meta() >> KIND_SHIFT) as u8 & 15
    }

    #[inline]
    fn parts(&self) -> Parts {
        let meta = self.meta();
        let kind = (meta >> KIND_SHIFT) as u8 & 15;
        let p = self.0.as_ptr();
        let mut at = if meta & HAS_EXPIRE != 0 { 12 } else { 4 };
        // SAFETY: reads the length fields that `build` wrote for these flags and this kind.
        unsafe {
            let key_len = if meta & WIDE_KEY != 0 {
                at += 4;
                ptr::read_unaligned(p.add(at - 4).cast::<u32>()) as usize
            } else {
                at += 1;
                usize::from(*p.add(at - 1))
            };
            let (string_len, value_len) = match kind {
                SHORT | ASCII => {
                    at += 1;
                    let len = usize::from(*p.add(at - 1));
                    (len, if kind == ASCII { ascii::packed_len(len) } else { len })
                }
                LONG => {
                    at += 4;
                    let len = ptr::read_unaligned(p.add(at - 4).cast::<u32>()) as usize;
                    (len, len)
                }
                INT => (8, 8),
                _ => (size_of::<usize>(), size_of::<usize>()),
            };
            Parts { key_at: at, key_len, value_at: at + key_len, value_len, string_len }
        }
    }

    fn slice(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: callers pass offsets from `parts`, which lie inside the allocation.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), len) }
    }

    /// The value field.
    fn tail(&self, parts: Parts) -> Tail<'_> {
        let bytes = self.slice(parts.value_at, parts.value_len);
        Tail { kind: self.tag(), bytes, string_len: parts.string_len }
    }

    fn int(&self, parts: Parts) -> i64 {
        i64::from_le_bytes(self.slice(parts.value_at, 8).try_into().expect("eight bytes"))
    }

    fn pointer<T>(&self, parts: Parts) -> *mut T {
        let bytes = self.slice(parts.value_at, size_of::<usize>());
        usize::from_ne_bytes(bytes.try_into().expect("pointer size")) as *mut T
    }

    /// The hash, which lies in the value field itself.
    fn hash(&self, parts: Parts) -> *mut Hash {
        const { assert!(size_of::<Hash>() == size_of::<usize>() && align_of::<Hash>() == 1) };
        self.0.as_ptr().wrapping_add(parts.value_at).cast()
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let parts = self.parts();
        self.slice(parts.key_at, parts.key_len)
    }

    /// The value's type.
    pub fn kind(&self) -> Kind {
        match self.tag() {
            SHORT | LONG | INT | RAW | TEXT | ASCII => Kind::String,
            LIST => Kind::List,
            SET => Kind::Set,
            HASH => Kind::Hash,
            _ => Kind::Zset,
        }
    }

    /// The value, for reading.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        let parts = self.parts();
        // SAFETY: the tag says which type the owned pointer has (invariant of this module).
        unsafe {
            match self.tag() {
                SHORT | LONG => ValueRef::String(self.slice(parts.value_at, parts.value_len)),
                INT => ValueRef::Int(self.int(parts)),
                RAW => ValueRef::String(&*self.pointer::<Vec<u8>>(parts)),
                LIST => ValueRef::List(&*self.pointer(parts)),
                SET => ValueRef::Set(&*self.pointer(parts)),
                HASH => ValueRef::Hash(&*self.hash(parts)),
                ZSET => ValueRef::Zset(&*self.pointer(parts)),
                ASCII => ValueRef::Ascii(Ascii::new(self.slice(parts.value_at, parts.value_len), parts.string_len)),
                _ => ValueRef::String((*self.pointer::<Text>(parts)).bytes()),
            }
        }
    }

    /// The value, for writing in place.
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        let parts = self.parts();
        // SAFETY: as in `value`, and we hold the entry, hence its box, exclusively.
        unsafe {
            match self.tag() {
                LIST => ValueMut::List(&mut *self.pointer(parts)),
                SET => ValueMut::Set(&mut *self.pointer(parts)),
                HASH => ValueMut::Hash(&mut *self.hash(parts)),
                ZSET => ValueMut::Zset(&mut *self.pointer(parts)),
                TEXT => ValueMut::Text(&mut *self.pointer(parts)),
                _ => ValueMut::String,
            }
        }
    }

    /// Replaces the value by a string; key, expire time, access clock and mark stay.
    pub fn write_string(&mut self, bytes: &[u8]) {
        match number::parse_i64(bytes) {
            Some(n) => self.write_int(n),
            None => self.write_text(bytes),
        }
    }

    /// As [`write_string`](Self::write_string), but digits stay text (the encoding after INCRBYFLOAT).
    pub fn write_text(&mut self, bytes: &[u8]) {
        match bytes.len() {
            0..=EMBED_MAX => Tail::with_string(bytes, |tail| self.rebuild(tail)),
            _ => {
                let pointer = Box::into_raw(Box::new(bytes.to_vec())) as usize;
                self.rebuild(Tail::new(RAW, &pointer.to_ne_bytes()));
            }
        }
    }

    /// Replaces the value by an integer; key, expire time, access clock and mark stay.
    pub fn write_int(&mut self, n: i64) {
        self.rebuild(Tail::new(INT, &n.to_le_bytes()));
    }

    /// Gives the entry another embedded value: in place when the size is the same, which it is for
    /// counters and for values of a fixed length.
    fn rebuild(&mut self, tail: Tail) {
        let parts = self.parts();
        debug_assert!(self.walker().is_none(), "a value that is walked goes to the walk");
        let owns_nothing = matches!(tail.kind, SHORT | LONG | INT | ASCII);
        if self.tag() == tail.kind && owns_nothing && parts.string_len == tail.string_len {
            let len = parts.value_len;
            // SAFETY: the value field has as many bytes as any of this kind and length, inside our allocation.
            unsafe { ptr::copy_nonoverlapping(tail.bytes.as_ptr(), self.0.as_ptr().add(parts.value_at), len) };
            self.set_meta(self.meta() & !MODIFIED);
            return;
        }
        let fresh = Entry::build(self.meta() & !MODIFIED, self.key(), self.expire_at(), tail);
        *self = fresh;
    }

    /// The string as a growable buffer of which these bytes are about to be changed in place; `None` for other types.
    /// It must not become shorter. Afterwards OBJECT ENCODING says "raw".
    pub fn string_mut(&mut self, changed: Range<usize>) -> Option<&mut Vec<u8>> {
        if self.tag() != RAW && self.tag() != TEXT {
            if self.kind() != Kind::String {
                return None;
            }
            let bytes = self.value().text(&mut Vec::new()).to_vec();
            let pointer = Box::into_raw(Box::new(bytes)) as usize;
            self.rebuild(Tail::new(RAW, &pointer.to_ne_bytes()));
        }
        self.set_meta(self.meta() | MODIFIED);
        let parts = self.parts();
        if self.tag() == TEXT {
            // SAFETY: the tag says that the pointer is our own `Box<Text>`; we hold it exclusively.
            return Some(unsafe { &mut *self.pointer::<Text>(parts) }.bytes_mut(changed));
        }
        // SAFETY: the tag is RAW, so the pointer is our own `Box<Vec<u8>>`; we hold it exclusively.
        Some(unsafe { &mut *self.pointer::<Vec<u8>>(parts) })
    }

    /// Whether the value takes more than `bytes` and can be walked in slices.
    #[inline]
    pub fn is_walkable(&self, bytes: usize) -> bool {
        match self.tag() {
            SHORT | LONG | INT | ASCII => false,
            RAW | TEXT => matches!(self.value(), ValueRef::String(text) if text.len() > bytes.max(text::SMALLEST)),
            _ => self.value().is_walkable(bytes),
        }
    }

    /// Who walks the value, if anybody does.
    pub fn walker(&self) -> Option<u32> {
        match self.tag() {
            SHORT | LONG | INT | RAW | ASCII => None,
            // SAFETY: the tag says which type the owned pointer has.
            TEXT => unsafe { (*self.pointer::<Text>(self.parts())).walker() },
            _ => self.value().walker(),
        }
    }

    /// Begins a walk over a value that can be walked; there must be none under way.
    pub fn begin_walk(&mut self, walker: Walker) {
        if self.tag() == RAW {
            let parts = self.parts();
            // SAFETY: the tag is RAW, so the pointer is our own `Box<Vec<u8>>`. It is taken apart, and a box of the type
            // that goes with the new tag comes in its place, in as many bytes, before anybody can look.
            unsafe {
                let bytes = *Box::from_raw(self.pointer::<Vec<u8>>(parts));
                let pointer = Box::into_raw(Box::new(Text::new(bytes))) as usize;
                ptr::write_unaligned(self.0.as_ptr().add(parts.value_at).cast::<usize>(), pointer);
            }
            self.set_meta(self.meta() & !(15 << KIND_SHIFT) | u32::from(TEXT) << KIND_SHIFT);
        }
        self.value_mut().begin_walk(walker);
    }

    /// Whether the string was changed in place since it was set (then its encoding shows as "raw").
    pub fn is_modified(&self) -> bool {
        self.meta() & MODIFIED != 0
    }

    /// When the key expires, in milliseconds since the Unix epoch.
    #[inline]
    pub fn expire_at(&self) -> Option<i64> {
        if self.meta() & HAS_EXPIRE == 0 {
            return None;
        }
        // SAFETY: the flag says that eight bytes of expire time follow the meta.
        Some(unsafe { ptr::read_unaligned(self.0.as_ptr().add(4).cast::<i64>()) })
    }

    /// Sets or removes the expire time.
    pub fn set_expire_at(&mut self, at: Option<i64>) {
        if let (Some(ms), true) = (at, self.meta() & HAS_EXPIRE != 0) {
            // SAFETY: as in `expire_at`; we hold the entry exclusively.
            unsafe { ptr::write_unaligned(self.0.as_ptr().add(4).cast::<i64>(), ms) };
        } else if at.is_some() || self.meta() & HAS_EXPIRE != 0 {
            self.relocate(|entry| Entry::build(entry.meta(), entry.key(), at, entry.tail(entry.parts())));
        }
    }

    /// The same value under another key, without expire time and mark.
    pub fn rename(mut self, key: &[u8]) -> Entry {
        self.relocate(|entry| Entry::build(entry.meta() & !MARKED, key, None, entry.tail(entry.parts())));
        self
    }

    /// Moves the contents, an owned box included, to a new allocation that `make` builds.
    fn relocate(&mut self, make: impl FnOnce(&Entry) -> Entry) {
        let fresh = make(self);
        let old = std::mem::replace(self, fresh);
        let layout = old.parts().layout();
        // SAFETY: `old` was allocated with this layout; its box now belongs to the fresh entry, so only
        // the allocation is freed and the destructor is forgotten.
        unsafe { dealloc(old.0.as_ptr(), layout) };
        std::mem::forget(old);
    }

    /// Takes the value out.
    pub fn into_value(self) -> Value {
        let parts = self.parts();
        let value = match self.tag() {
            SHORT | LONG => Value::String(self.slice(parts.value_at, parts.value_len).to_vec()),
            ASCII => Value::String(self.value().text(&mut Vec::new()).to_vec()),
            INT => Value::Int(self.int(parts)),
            // SAFETY: the tag says which type the owned pointer has; ownership moves to the caller, and
            // below only the allocation is freed.
            tag => unsafe {
                match tag {
                    RAW => Value::String(*Box::from_raw(self.pointer::<Vec<u8>>(parts))),
                    TEXT => Value::Text(Box::from_raw(self.pointer(parts))),
                    LIST => Value::List(Box::from_raw(self.pointer(parts))),
                    SET => Value::Set(Box::from_raw(self.pointer(parts))),
                    HASH => Value::Hash(Box::new(self.hash(parts).read())),
                    _ => Value::Zset(Box::from_raw(self.pointer(parts))),
                }
            },
        };
        // SAFETY: allocated with this layout; the contents have moved out, so no destructor runs.
        unsafe { dealloc(self.0.as_ptr(), parts.layout()) };
        std::mem::forget(self);
        value
    }

    /// The access clock: 24 bits whose meaning LRU or LFU gives them.
    pub fn access(&self) -> u32 {
        self.meta() & ACCESS_MASK
    }

    /// Sets the access clock (lower 24 bits).
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.set_meta(self.meta() & !ACCESS_MASK | access & ACCESS_MASK);
    }

    /// Asks for the memory of the key, and of the value if both are short.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
        // Every other entry of some forty bytes lies in two cache lines: 1.1 times as many GET in a pipeline of 16.
        prefetch(self.0.as_ptr().wrapping_add(39));
    }

    /// Asks for all the memory of an entry of a usual size.
    #[inline]
    pub fn prefetch_whole(&self) {
        prefetch(self.0.as_ptr());
        prefetch(self.0.as_ptr().wrapping_add(64));
    }

    /// Where the value, a large collection, looks for this element.
    #[inline]
    pub fn seek(&self, element: &[u8]) -> Option<Sought<'_>> {
        match self.value() {
            ValueRef::Set(set) => set.seek(element),
            ValueRef::Hash(hash) => hash.seek(element),
            ValueRef::Zset(zset) => zset.seek(element),
            _ => None,
        }
    }

    /// Whether a running walk has already taken this entry (or must not take it).
    pub fn is_marked(&self) -> bool {
        self.meta() & MARKED != 0
    }

    /// Marks or unmarks the entry for a running walk.
    pub fn set_marked(&mut self, marked: bool) {
        let meta = self.meta();
        self.set_meta(if marked { meta | MARKED } else { meta & !MARKED });
    }

    /// A copy under another key, without expire time.
    pub fn copy_to(&self, key: &[u8]) -> Entry {
        let value = match self.value() {
            ValueRef::Int(n) => Value::Int(n),
            value @ (ValueRef::String(_) | ValueRef::Ascii(_)) => {
                let mut room = Vec::new();
                let bytes = value.text(&mut room);
                let mut copy = Entry::string(key, bytes);
                // Digits that are text stay text.
                if matches!(copy.value(), ValueRef::Int(_)) {
                    copy.write_text(bytes);
                }
                return copy;
            }
            ValueRef::List(list) => Value::List(Box::new(list.clone())),
            ValueRef::Set(set) => Value::Set(Box::new(set.clone())),
            ValueRef::Hash(hash) => Value::Hash(Box::new(hash.clone())),
            ValueRef::Zset(zset) => Value::Zset(Box::new(zset.clone())),
        };
        Entry::new(key, value)
    }

    /// Bytes of memory that the entry owns, its boxes included.
    pub fn heap_bytes(&self) -> usize {
        footprint(self.parts().size())
            + match self.value() {
                ValueRef::Int(_) | ValueRef::Ascii(_) => 0,
                ValueRef::String(bytes) if self.tag() == RAW => size_of::<Vec<u8>>() + footprint(bytes.len()),
                ValueRef::String(bytes) if self.tag() == TEXT => size_of::<Text>() + footprint(bytes.len()),
                ValueRef::String(_) => 0,
                ValueRef::List(list) => size_of::<List>() + list.heap_bytes(),
                ValueRef::Set(set) => size_of::<Set>() + set.heap_bytes(),
                ValueRef::Hash(hash) => hash.heap_bytes(),
                ValueRef::Zset(zset) => size_of::<Zset>() + zset.heap_bytes(),
            }
    }

    /// Elements that freeing this entry must visit: 1 for strings and packed collections.
    pub fn free_effort(&self) -> usize {
        match self.value() {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => 1,
            ValueRef::List(list) => list.node_count(),
            ValueRef::Set(set) => match set.view() {
                set::View::Large => set.len(),
                _ => 1,
            },
            ValueRef::Hash(hash) if hash.layout() == hash::Layout::Large => hash.len(),
            ValueRef::Hash(_) => 1,
            ValueRef::Zset(zset) if zset.as_listpack().is_some() => 1,
            ValueRef::Zset(zset) => zset.len(),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let parts = self.parts();
        // SAFETY: the tag says which box we own; after it is dropped the allocation, made with this
        // layout, is freed and never touched again.
        unsafe {
            match self.tag() {
                SHORT | LONG | INT | ASCII => {}
                RAW => drop(Box::from_raw(self.pointer::<Vec<u8>>(parts))),
                LIST => drop(Box::from_raw(self.pointer::<List>(parts))),
                SET => drop(Box::from_raw(self.pointer::<Set>(parts))),
                HASH => self.hash(parts).drop_in_place(),
                TEXT => drop(Box::from_raw(self.pointer::<Text>(parts))),
                _ => drop(Box::from_raw(self.pointer::<Zset>(parts))),
            }
            dealloc(self.0.as_ptr(), parts.layout());
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &String::from_utf8_lossy(self.key())).field("kind", &self.kind()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entry: &Entry) -> Vec<u8> {
        assert_eq!(entry.kind(), Kind::String);
        entry.value().text(&mut Vec::new()).to_vec()
    }

    #[test]
    fn strings_keep_key_and_expire_through_every_size() {
        for key_len in [0, 1, 255, 256, 70_000] {
            let key = vec![b'k'; key_len];
            let mut entry = Entry::string(&key, b"first");
            for len in [0, 1, 19, 64, 71, 72, 255, 256, 65_536, 65_537, 3, 255, 400_000, 7] {
                let value = vec![b'v'; len];
                entry.write_string(&value);
                assert_eq!((entry.key(), bytes(&entry)), (&key[..], value.clone()));
                entry.set_expire_at(Some(len as i64));
                assert_eq!(entry.expire_at(), Some(len as i64));
                entry.string_mut(0..0).unwrap().push(b'x');
                assert_eq!(bytes(&entry).len(), len + 1);
                assert!(entry.is_modified());
                entry.write_int(-5);
                assert_eq!(
                    (bytes(&entry), entry.expire_at(), entry.key()),
                    (b"-5".to_vec(), Some(len as i64), &key[..])
                );
                entry.set_expire_at(None);
                assert_eq!((bytes(&entry), entry.expire_at()), (b"-5".to_vec(), None));
            }
        }
    }

    #[test]
    fn canonical_integers_become_integers() {
        assert!(matches!(Entry::string(b"k", b"12").value(), ValueRef::Int(12)));
        assert!(matches!(Entry::string(b"k", b"012").value(), ValueRef::String(b"012")));
        assert!(matches!(Entry::new(b"k", Value::String(b"-7".to_vec())).value(), ValueRef::Int(-7)));
    }

    #[test]
    fn marks_and_access_survive_changes() {
        let mut entry = Entry::string(b"k", b"v");
        entry.set_access(0x00ab_cdef);
        entry.set_marked(true);
        entry.write_string(&[b'x'; 300]);
        entry.set_expire_at(Some(9));
        assert_eq!((entry.access(), entry.is_marked()), (0x00ab_cdef, true));
        let entry = entry.rename(b"other");
        assert_eq!((entry.key(), entry.is_marked(), entry.expire_at()), (&b"other"[..], false, None));
    }
}
