//! The allocator of the server: mimalloc, counted.
//!
//! Each thread counts for itself and hands its count over when it has moved by 64 KiB, so that counting
//! costs no shared cache line; the count is exact on the thread that asks, and within 64 KiB for each
//! other one. Redis' counterpart: `zmalloc.c`.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::c_long;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use libmimalloc_sys::{
    mi_collect, mi_malloc, mi_option_set, mi_option_t, mi_option_use_numa_nodes, mi_process_info, mi_realloc,
    mi_thread_init, mi_zalloc,
};
use mimalloc::MiMalloc;

use crate::types::footprint::footprint;

/// What every block is aligned to. Asked for so much, mimalloc would look for it nevertheless, and where it is not
/// sure take a block that is larger by as much: 32 bytes for 24.
const ALIGN: usize = 8;

/// The allocator's option that says after how many milliseconds it gives memory back by itself; the bindings name only
/// its neighbours.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;

/// Twenty-four hours in milliseconds.
const DAY_MS: c_long = 24 * 60 * 60 * 1000;

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

/// Lets memory that is free stay with the process until [`give_back`]. The allocator would give it back by itself, once
/// a second, on whichever thread frees something next: deleting millions of keys, the engine's thread stood still for
/// ten milliseconds each time.
pub fn keep_free() {
    // SAFETY: options may be read and set at any time.
    unsafe { mi_option_set(PURGE_DELAY, DAY_MS) };
}

/// Gives what is free back to the system. It can take tens of milliseconds: not for the engine's thread.
pub fn give_back() {
    // A thread that has allocated nothing yet collects nothing.
    // SAFETY: both may be called at any time, from any thread.
    unsafe {
        mi_thread_init();
        mi_collect(true);
    }
}

/// Has the allocator let go of the pages in which this thread has nothing any more; it keeps the last one of each size
/// until it has been asked some sixteen times. It looks at each page that is not full, 20 ns or so.
pub fn let_go() {
    // SAFETY: as above.
    (0..16).for_each(|_| unsafe { mi_collect(false) });
}

/// What the allocator sets apart for a block of `size`: so what is counted is what is taken.
#[inline]
const fn taken(size: usize) -> isize {
    footprint(size) as isize
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

// SAFETY: every call is handed on to mimalloc, and what it gives has the alignment asked for; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that mimalloc asks for.
        let block =
            unsafe { if layout.align() <= ALIGN { mi_malloc(layout.size()).cast() } else { MiMalloc.alloc(layout) } };
        if !block.is_null() {
            count(taken(layout.size()));
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe {
            if layout.align() <= ALIGN { mi_zalloc(layout.size()).cast() } else { MiMalloc.alloc_zeroed(layout) }
        };
        if !block.is_null() {
            count(taken(layout.size()));
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-taken(layout.size()));
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe {
            match layout.align() <= ALIGN {
                true => mi_realloc(block.cast(), new_size).cast(),
                false => MiMalloc.realloc(block, layout, new_size),
            }
        };
        if !moved.is_null() {
            count(taken(new_size) - taken(layout.size()));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprints_are_those_of_the_allocator() {
        for size in (1..4096).chain([5000, 10_000, 100_000]) {
            // SAFETY: it only computes.
            let real = unsafe { libmimalloc_sys::mi_good_size(size) };
            assert_eq!(footprint(size), real, "{size}");
        }
    }

    #[test]
    fn the_option_is_the_one_that_delays_giving_back() {
        // SAFETY: it only reads.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 1000, "what the allocator has by default");
    }

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
