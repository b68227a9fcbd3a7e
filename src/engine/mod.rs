//! The engine: Redis without I/O.

pub mod config;
