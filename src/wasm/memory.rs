//! The allocator of the browser build: the standard one, counted.
//!
//! Redis' counterpart: `zmalloc.c`. The module has one thread, so the counter is a plain number behind
//! an atomic's interface.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static USED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counting allocator.
struct Counting;

/// Bytes now allocated in this instance of the module, for all databases in it.
pub fn used_bytes() -> usize {
    USED.load(Relaxed)
}

// SAFETY: every call is handed on to the standard allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the standard allocator asks for.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            USED.fetch_add(layout.size(), Relaxed);
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            USED.fetch_add(layout.size(), Relaxed);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if !moved.is_null() {
            USED.fetch_add(new_size.wrapping_sub(layout.size()), Relaxed);
        }
        moved
    }
}
