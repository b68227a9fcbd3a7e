//! Addresses in less than eight bytes.
//!
//! On the 64-bit processors named below a program's addresses have 48 bits: systems give out more of them only to
//! who asks for it, which no allocator here does. The 16 bits that are left hold something else ([`Tagged`]), or
//! are left out ([`Address`]), and a table whose entries are addresses has nine slots in a cache line instead of
//! seven. Everywhere else, also in 32-bit wasm, an address is what a pointer is and a tag has no room.
//!
//! Invariant: both are made of a pointer that fits, which is asserted, and give back that very pointer.
//! Redis' counterpart: none; Valkey's `fifo` and others put flags into pointers, too.

use core::ptr::NonNull;

/// Whether 16 bits of a pointer are free.
pub const NARROW: bool = cfg!(all(
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
));

/// Bits of an address where the rest is free.
const BITS: u32 = 48;

/// Bytes of an [`Address`].
const WIDTH: usize = if NARROW { BITS as usize / 8 } else { size_of::<usize>() };

/// The number of a pointer, which fits.
#[inline]
fn number(pointer: NonNull<u8>) -> u64 {
    let number = pointer.as_ptr().expose_provenance() as u64;
    assert!(!NARROW || number >> BITS == 0, "an address has 48 bits");
    number
}

/// A pointer in as few bytes as an address needs, at any place.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address([u8; WIDTH]);

impl Address {
    /// The address of a pointer.
    #[inline]
    pub fn new(pointer: NonNull<u8>) -> Address {
        let bytes = number(pointer).to_le_bytes();
        Address(bytes[..WIDTH].try_into().expect("so many were taken"))
    }

    /// The pointer.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        let number = if NARROW {
            let (low, high) = self.0.split_at(4);
            let low = u32::from_le_bytes(low.try_into().expect("four bytes"));
            let high = u16::from_le_bytes(high[..2].try_into().expect("two bytes"));
            u64::from(high) << 32 | u64::from(low)
        } else {
            let mut bytes = [0; 8];
            bytes[..WIDTH].copy_from_slice(&self.0);
            u64::from_le_bytes(bytes)
        };
        core::ptr::with_exposed_provenance_mut(number as usize)
    }
}

/// A pointer with a tag of 16 bits, which is always 0 where there is no room for it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tagged(NonNull<u8>);

impl Tagged {
    /// A pointer with a tag.
    #[inline]
    pub fn new(pointer: NonNull<u8>, tag: u16) -> Tagged {
        if !NARROW {
            assert_eq!(tag, 0, "there is no room for a tag");
            return Tagged(pointer);
        }
        number(pointer);
        Tagged(pointer.map_addr(|at| at | (u64::from(tag) << BITS) as usize))
    }

    /// The pointer without its tag.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        let mask = if NARROW { (1u64 << BITS) - 1 } else { u64::MAX };
        self.0.as_ptr().map_addr(|at| at & mask as usize)
    }

    /// The tag.
    #[inline]
    pub fn tag(self) -> u16 {
        if NARROW { (self.0.as_ptr().addr() as u64 >> BITS) as u16 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_come_back() {
        assert_eq!(size_of::<Option<Tagged>>(), size_of::<usize>());
        let mut byte = 7;
        let pointer = NonNull::from(&mut byte);
        assert_eq!(Address::new(pointer).as_ptr(), pointer.as_ptr());
        assert_eq!(align_of::<Address>(), 1);
        for tag in [0, 1, 0x7fff, 0xffff] {
            let tag = if NARROW { tag } else { 0 };
            let tagged = Tagged::new(pointer, tag);
            assert_eq!((tagged.as_ptr(), tagged.tag()), (pointer.as_ptr(), tag));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[should_panic(expected = "48 bits")]
    fn a_pointer_that_does_not_fit_is_refused() {
        let pointer = core::ptr::without_provenance_mut::<u8>(1 << BITS);
        Address::new(NonNull::new(pointer).expect("it is not null"));
    }
}
