//! Data structures that know no reply, no key, no client and no clock.
//!
//! Everything here is a plain value with methods; limits come in as arguments, times as integers
//! (milliseconds since the Unix epoch), randomness as a `u64` drawn by the caller.

pub mod address;
pub mod ascii;
pub mod block;
pub mod footprint;
pub mod glob;
pub mod hash;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod long_double;
pub mod number;
pub mod prefetch;
pub mod sample;
pub mod set;
pub mod sought;
pub mod table;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
pub mod thin;
pub mod value;
pub mod walk;
pub mod zset;

/// When a packed collection turns into its large form: the limits of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Most elements (fields, members) that stay packed.
    pub entries: usize,
    /// Longest element in bytes that stays packed.
    pub value: usize,
}
