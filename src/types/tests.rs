//! What property tests share: how many seeds they try.

use core::ops::Range;

/// The seeds of a property test: as many as usual, or `PROPERTY_ROUNDS` times that, as `pkg-scripts/deep-test` asks.
pub(crate) fn seeds(usual: u64) -> Range<u64> {
    let rounds = std::env::var("PROPERTY_ROUNDS").ok().map_or(1, |n| n.parse::<u64>().expect("a number"));
    0..usual * rounds
}
