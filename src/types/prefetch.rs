//! Asking for memory before it is needed.
//!
//! A hint to the processor, nothing else: it may be ignored, and on targets without such an instruction it
//! is nothing at all. WebAssembly has no such instruction either, but a load whose value nobody waits for does the
//! same: processors go on with what comes behind it. Without it GET of 100 thousand keys is 2.5 × slower than
//! natively, with it 1.7 ×.

/// Asks for the cache line at `at`, whatever is there.
#[inline]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing the program can see, and that no address makes fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(target_arch = "wasm32")]
    if at.addr() >> 16 < core::arch::wasm32::memory_size::<0>() {
        // SAFETY: all addresses below the size of the memory can be read, and the value, which may be none, is dropped.
        unsafe { core::ptr::read_volatile(at.cast::<core::mem::MaybeUninit<u8>>()) };
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "wasm32")))]
    let _ = at;
}
