//! The sorted set type.
