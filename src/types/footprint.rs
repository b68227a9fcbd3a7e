//! How much of the heap a block of memory takes, which is more than what was asked for.

/// Bytes that the allocator sets apart for a block of `size`. Allocators have size classes: here whole words of 8 bytes
/// up to eight of them, then four sizes to each power of two, which are those of mimalloc (a test beside the native
/// allocator compares them); others differ by a few bytes.
#[inline]
pub const fn footprint(size: usize) -> usize {
    let words = size.div_ceil(8);
    let words = match words {
        0..=8 => words,
        _ => {
            let step = 1 << ((words - 1).ilog2() - 2);
            words.div_ceil(step) * step
        }
    };
    words * 8
}
