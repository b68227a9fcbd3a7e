//! The allocator of the server: mimalloc, counted.
//!
//! Each thread counts for itself and hands its count over when it has moved by 64 KiB, so that counting
//! costs no shared cache line; the count is exact on the thread that asks, and within 64 KiB for each
//! other one. Redis' counterpart: `zmalloc.c`.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use libmimalloc_sys::mi_process_info;
use mimalloc::MiMalloc;

/// Bytes a thread may have counted for itself.
const SLACK: isize = 64 * 1024;

/// What all threads have handed over.
static SHARED: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static OWN: Cell<isize> = const { Cell::new(0) };
}

/// The counting allocator.
pub struct Counting;

/// Bytes now allocated by this process.
pub fn used_bytes() -> usize {
    let own = OWN.try_with(Cell::get).unwrap_or(0);
    (SHARED.load(Relaxed) + own).max(0) as usize
}

/// Bytes the allocator holds of the system, used or not.
pub fn committed_bytes() -> u64 {
    let (mut committed, none) = (0, std::ptr::null_mut());
    // SAFETY: figures that are not wanted may be null; the one that is has a place.
    unsafe { mi_process_info(none, none, none, none, none, &mut committed, none, none) };
    committed as u64
}

#[inline]
fn count(bytes: isize) {
    let slack = OWN.try_with(|own| {
        let sum = own.get() + bytes;
        if sum.abs() < SLACK {
            own.set(sum);
            return 0;
        }
        own.set(0);
        sum
    });
    match slack {
        Ok(0) => {}
        Ok(sum) => {
            SHARED.fetch_add(sum, Relaxed);
        }
        Err(_) => {
            SHARED.fetch_add(bytes, Relaxed);
        }
    }
}

// SAFETY: every call is handed on to mimalloc unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that mimalloc asks for.
        let block = unsafe { MiMalloc.alloc(layout) };
        if !block.is_null() {
            count(layout.size() as isize);
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !block.is_null() {
            count(layout.size() as isize);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { MiMalloc.realloc(block, layout, new_size) };
        if !moved.is_null() {
            count(new_size as isize - layout.size() as isize);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_to_where_they_were() {
        let before = used_bytes();
        let layout = Layout::from_size_align(1 << 20, 16).unwrap();
        // SAFETY: the layout has a size, and the block is given back with the layout it has then.
        unsafe {
            let block = Counting.alloc(layout);
            assert_eq!(used_bytes() - before, 1 << 20);
            let block = Counting.realloc(block, layout, 3 << 20);
            assert_eq!(used_bytes() - before, 3 << 20);
            Counting.dealloc(block, Layout::from_size_align(3 << 20, 16).unwrap());
        }
        assert_eq!(used_bytes(), before);
    }
}
