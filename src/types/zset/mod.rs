//! The sorted set type.

mod member;
mod range;
mod tree;

pub use range::{LexBound, LexRange, ScoreRange};
