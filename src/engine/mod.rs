//! The engine: Redis without I/O.
