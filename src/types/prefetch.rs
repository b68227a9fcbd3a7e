//! Asking for memory before it is needed.
//!
//! A hint to the processor, nothing else: it may be ignored, and on targets without such an instruction it
//! is nothing at all.

/// Asks for the cache line at `at`, whatever is there.
#[inline]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing the program can see, and that no address makes fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
