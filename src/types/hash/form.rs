//! Which of its three forms a hash has, in the size of one pointer.
//!
//! The forms are a [`Block`] of pairs, a boxed listpack of triples, a boxed table. All three are addresses of
//! something aligned to four bytes at least, so the lowest two bits tell them apart. It may lie at any address,
//! also unaligned: an entry of the keyspace holds it beside its key.
//!
//! Invariant: with the tag [`PAIRS`] the bytes are those of a `Block`, which this then is; with another one they
//! are that tag and the address of a `Box` of the form, which this owns.

use super::large::Large;
use super::packed::Packed;
use crate::types::block::Block;

const PAIRS: usize = 0;
const TRIPLES: usize = 1;
const LARGE: usize = 2;
const TAGS: usize = 3;

const _: () = assert!(align_of::<Packed>() > TAGS && align_of::<Large>() > TAGS);

/// The form of a hash.
#[repr(transparent)]
pub(super) struct Form([u8; size_of::<usize>()]);

/// A form for reading.
pub(super) enum View<'a> {
    /// Neither large nor with an expiry time.
    Pairs(&'a [u8]),
    /// Not large, and a field had an expiry time.
    Triples(&'a Packed),
    /// Large.
    Large(&'a Large),
}

/// A form for changing.
pub(super) enum ViewMut<'a> {
    /// Neither large nor with an expiry time.
    Pairs(&'a mut Block),
    /// Not large, and a field had an expiry time.
    Triples(&'a mut Packed),
    /// Large.
    Large(&'a mut Large),
}

impl Form {
    /// A hash without fields.
    pub fn new() -> Form {
        Form::pairs(Block::new())
    }

    /// A small hash.
    pub fn pairs(block: Block) -> Form {
        // SAFETY: both are the same bytes, and the tag of a block's address is that of pairs. What the block
        // owned this owns now.
        unsafe { core::mem::transmute(block) }
    }

    /// A small hash with expiry times.
    pub fn triples(packed: Packed) -> Form {
        Form::boxed(packed, TRIPLES)
    }

    /// A large hash.
    pub fn large(large: Large) -> Form {
        Form::boxed(large, LARGE)
    }

    fn boxed<T>(form: T, tag: usize) -> Form {
        let address = Box::into_raw(Box::new(form)).expose_provenance();
        Form((address | tag).to_ne_bytes())
    }

    #[inline]
    fn tag(&self) -> usize {
        usize::from_ne_bytes(self.0) & TAGS
    }

    #[inline]
    fn pointer<T>(&self) -> *mut T {
        core::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(self.0) & !TAGS)
    }

    /// The form, for reading.
    #[inline]
    pub fn view(&self) -> View<'_> {
        // SAFETY: the tag says what this is or points to (invariant), and it lives as long as `self`.
        unsafe {
            match self.tag() {
                PAIRS => View::Pairs((*core::ptr::from_ref(self).cast::<Block>()).bytes()),
                TRIPLES => View::Triples(&*self.pointer()),
                _ => View::Large(&*self.pointer()),
            }
        }
    }

    /// The form, for changing.
    #[inline]
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        // SAFETY: as in `view`, borrowed exclusively. Whatever becomes of the block, its tag stays.
        unsafe {
            match self.tag() {
                PAIRS => ViewMut::Pairs(&mut *core::ptr::from_mut(self).cast::<Block>()),
                TRIPLES => ViewMut::Triples(&mut *self.pointer()),
                _ => ViewMut::Large(&mut *self.pointer()),
            }
        }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        match self.tag() {
            // SAFETY: as in `view`.
            PAIRS => unsafe { (*core::ptr::from_ref(self).cast::<Block>()).heap_bytes() },
            _ => match self.view() {
                View::Pairs(_) => 0,
                View::Triples(packed) => size_of::<Packed>() + packed.listpack().heap_bytes(),
                View::Large(large) => size_of::<Large>() + large.heap_bytes(),
            },
        }
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        // SAFETY: the tag says what this owns; it is used no more.
        unsafe {
            match self.tag() {
                PAIRS => core::ptr::drop_in_place(core::ptr::from_mut(self).cast::<Block>()),
                TRIPLES => drop(Box::from_raw(self.pointer::<Packed>())),
                _ => drop(Box::from_raw(self.pointer::<Large>())),
            }
        }
    }
}

impl Clone for Form {
    fn clone(&self) -> Form {
        match self.view() {
            View::Pairs(bytes) => Form::pairs(Block::of(bytes)),
            View::Triples(packed) => Form::triples(packed.clone()),
            View::Large(large) => Form::large(large.clone()),
        }
    }
}
